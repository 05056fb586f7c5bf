/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes into the overlay: the first says which door (a datagram, or a link whose peer is a
 * neighbour), the second in what portions and how much time passes; the rest is what comes. Nothing
 * may break, the node stays up at itself, and its bounds hold.
 */
#include "gossip/gossip.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const struct gossip_addr us = {.family = 4, .port = 61420, .bytes = {10, 0, 0, 1}};
static const struct gossip_addr them = {.family = 4, .port = 61420, .bytes = {10, 0, 0, 2}};

static void drain(struct gossip *g)
{
	struct gossip_effect effect;
	struct gossip_event event;

	while (gossip_pop_effect(g, &effect)) {
		if (effect.kind == GOSSIP_EFFECT_PACKET && effect.n_bytes > GOSSIP_DATAGRAM_MAX)
			abort();
	}
	while (gossip_pop_event(g, &event))
		;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const uint64_t neighbours[] = {1, 3}, ours[] = {2};
	struct gossip_config config;
	struct gossip_stats stats;
	struct gossip *g;
	nsec_t now = NSEC_PER_SEC;
	uint32_t link;

	if (n < 2)
		return 0;
	gossip_config_init(&config);
	config.id = config.incarnation = config.seed = 1;
	config.address = us;
	if (gossip_new(&g, &config, now) < 0)
		return 0;
	gossip_preload(g, 1, 1, 5, &us, ours, 1);
	gossip_preload(g, 2, 1, 5, &them, neighbours, 2);
	gossip_preload_link(g, now, 2, NSEC_PER_MSEC, false, &link);
	for (size_t at = 2; at < n;) {
		size_t part = data[1] % 16 == 0 ? n - at : (size_t)(data[1] % 16) * 16;

		part = part < n - at ? part : n - at;
		if (data[0] & 1)
			gossip_link_bytes(g, now, link, data + at, part);
		else
			gossip_receive(g, now, &them, data + at, part);
		drain(g);
		at += part;
		now += (nsec_t)(data[1] / 16) * 40 * NSEC_PER_MSEC;
		gossip_tick(g, now);
		drain(g);
	}
	gossip_stats(g, &stats);
	if (gossip_member_status(g, 1) != GOSSIP_STATUS_UP ||
		stats.n_neighbours > GOSSIP_NEIGHBOURS_MAX || stats.n_memory > 8u << 20)
		abort();
	gossip_free(g);
	return 0;
}
