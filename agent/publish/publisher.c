/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/publish/publisher.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>

#include "agent/log.h"

struct publisher {
	sd_event *loop;
	const struct config *config;
	const struct node *node;
	struct cluster *cluster;
	struct publisher_handler handler;
	struct publish *publish; /* NULL: the overlay was never on */
	sd_event_source *timer;
	enum publish_mode mode; /* as the handler was told */
	const char *own;        /* in config */
	size_t n_neighbours;
	uint64_t neighbours[GOSSIP_NEIGHBOURS_MAX];
	bool draining;
};

/* ---- the greatest term, on disk ---- */

static char *term_path(const struct publisher *p)
{
	return xasprintf("%s/term", p->config->state_dir);
}

static uint64_t load_term(const struct publisher *p)
{
	AUTO_FREE char *path = term_path(p);
	FILE *f = fopen(path, "re");
	uint64_t term = 0;

	if (f && fscanf(f, "%" SCNu64, &term) != 1)
		term = 0;
	if (f)
		fclose(f);
	return term;
}

/* Losing it is harmless as long as a neighbour remembers. */
static void save_term(const struct publisher *p, uint64_t term)
{
	AUTO_FREE char *path = term_path(p);
	AUTO_FREE char *tmp = xasprintf("%s.new", path);
	FILE *f = fopen(tmp, "we");
	int r = f ? 0 : -errno;

	if (f && (fprintf(f, "%" PRIu64 "\n", term) < 0 || fflush(f) != 0 || fsync(fileno(f)) < 0))
		r = -errno;
	if (f && fclose(f) != 0 && r == 0)
		r = -errno;
	if (r == 0 && rename(tmp, path) < 0)
		r = -errno;
	if (r < 0)
		log_warning("%s: %s", path, strerror(-r));
}

/* ---- what the state machine wants ---- */

static void tell_mode(struct publisher *p)
{
	enum publish_mode before = p->mode;

	p->mode = publish_mode(p->publish);
	p->handler.mode(p->handler.userdata, p->mode, before);
}

static void send_message(struct publisher *p, const struct publish_output *o)
{
	struct overlay *overlay = cluster_overlay(p->cluster);

	if (!overlay)
		return;
	if (o->kind == OUTPUT_MULTICAST)
		overlay_multicast(overlay, o->bytes, o->n);
	else if (o->kind == OUTPUT_REQUEST)
		overlay_request(overlay, o->peer, o->bytes, o->n);
	else
		overlay_respond(overlay, o->peer, o->tag, o->bytes, o->n);
}

static void take_output(struct publisher *p, const struct publish_output *o)
{
	struct publish_status s;

	switch (o->kind) {
	case OUTPUT_TERM:
		publish_status(p->publish, &s);
		save_term(p, s.term);
		break;
	case OUTPUT_MODE:
		tell_mode(p);
		break;
	case OUTPUT_MULTICAST:
	case OUTPUT_REQUEST:
	case OUTPUT_RESPONSE:
		send_message(p, o);
		break;
	case OUTPUT_TABLE:
		p->handler.table(p->handler.userdata, publish_table(p->publish, !p->config->ipv6));
		break;
	case OUTPUT_CONFIRMED:
		p->handler.confirmed(p->handler.userdata);
		break;
	case OUTPUT_LEAD:
		p->handler.lead(p->handler.userdata);
		break;
	}
}

/* Handlers may call back into the state machine: what comes of that is taken in the same loop. */
static void drain(struct publisher *p)
{
	struct publish_output o;
	nsec_t deadline;

	if (p->draining)
		return;
	p->draining = true;
	while (publish_pop(p->publish, &o))
		take_output(p, &o);
	p->draining = false;
	deadline = publish_deadline(p->publish);
	if (deadline == UINT64_MAX) {
		sd_event_source_set_enabled(p->timer, SD_EVENT_OFF);
		return;
	}
	/* Rounded up: the machine's clock must have reached it. */
	sd_event_source_set_time(p->timer, deadline / NSEC_PER_USEC + 1);
	sd_event_source_set_enabled(p->timer, SD_EVENT_ONESHOT);
}

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct publisher *p = userdata;

	publish_tick(p->publish, now_ns());
	drain(p);
	return 0;
}

/* ---- in ---- */

void publisher_multicast(struct publisher *p, uint64_t from, const uint8_t *bytes, size_t n)
{
	if (!p || !p->publish)
		return;
	publish_take_multicast(p->publish, now_ns(), from, bytes, n);
	drain(p);
}

void publisher_request(
	struct publisher *p, uint64_t from, uint32_t tag, const uint8_t *bytes, size_t n)
{
	if (!p || !p->publish)
		return;
	publish_take_request(p->publish, now_ns(), from, tag, bytes, n);
	drain(p);
}

void publisher_response(struct publisher *p, uint64_t from, const uint8_t *bytes, size_t n)
{
	if (!p || !p->publish)
		return;
	publish_take_response(p->publish, now_ns(), from, bytes, n);
	drain(p);
}

void publisher_neighbours(struct publisher *p, const uint64_t *ids, size_t n)
{
	if (!p)
		return;
	p->n_neighbours = n < GOSSIP_NEIGHBOURS_MAX ? n : GOSSIP_NEIGHBOURS_MAX;
	memcpy(p->neighbours, ids, p->n_neighbours * sizeof(*ids));
	if (!p->publish)
		return;
	publish_set_neighbours(p->publish, now_ns(), ids, n);
	drain(p);
}

bool publisher_lead(struct publisher *p, const struct vip_table *table)
{
	bool use = true;

	if (!p || !p->publish)
		return true;
	use = publish_lead(p->publish, now_ns(), table);
	drain(p);
	return use;
}

void publisher_stop_leading(struct publisher *p)
{
	if (!p || !p->publish)
		return;
	publish_stop_leading(p->publish, now_ns());
	drain(p);
}

void publisher_polled(struct publisher *p)
{
	if (p && p->publish)
		publish_polled(p->publish, now_ns());
}

/* ---- configuration and overlay ---- */

/* The master beside this vipd: said so, or one of the list that has an address of this node. */
static const char *find_own(const struct publisher *p)
{
	const struct config *c = p->config;

	if (strcmp(c->publish, "no") == 0 || c->source_kind != SOURCE_MESOS)
		return NULL;
	if (strcmp(c->publish, "auto") != 0)
		return c->publish;
	for (char **m = c->masters; m && *m; m++) {
		struct ip_addr a = config_master_address(*m);

		if (a.family && node_is_usable(&a) && node_owns(p->node, &a))
			return *m;
	}
	return NULL;
}

static bool believes(void *userdata, uint64_t node, bool speaks)
{
	const struct publisher *p = userdata;

	return cluster_is_master(p->cluster, node, speaks);
}

static void start(struct publisher *p)
{
	struct publish_options options = {
		.node = cluster_id(p->cluster),
		.term = load_term(p),
		.timeout = p->config->publisher_timeout,
		.believes = believes,
		.userdata = p,
	};

	if (!options.node || p->config->source_kind != SOURCE_MESOS)
		return;
	randombytes_buf(&options.seed, sizeof(options.seed));
	p->publish = publish_new(&options, now_ns());
	tell_mode(p);
}

void publisher_update(struct publisher *p)
{
	if (!p)
		return;
	if (!p->publish)
		start(p);
	p->own = find_own(p);
	cluster_set_master(p->cluster, p->own != NULL);
	if (!p->publish)
		return;
	publish_set_may_lead(p->publish, now_ns(), p->own != NULL);
	publish_set_neighbours(p->publish, now_ns(), p->neighbours, p->n_neighbours);
	drain(p);
}

/* ---- to look at, and life ---- */

enum publish_mode publisher_mode(const struct publisher *p)
{
	return p && p->publish ? p->mode : PUBLISH_POLLING;
}

const char *publisher_own_master(const struct publisher *p)
{
	return p && p->publish ? p->own : NULL;
}

bool publisher_status(struct publisher *p, struct publish_status *ret)
{
	if (!p || !p->publish)
		return false;
	publish_status(p->publish, ret);
	return true;
}

int publisher_new(sd_event *loop, const struct config *config, const struct node *node,
	struct cluster *cluster, const struct publisher_handler *handler, struct publisher **ret)
{
	struct publisher *p = xcalloc(1, sizeof(*p));
	int r;

	p->loop = sd_event_ref(loop);
	p->config = config;
	p->node = node;
	p->cluster = cluster;
	p->handler = *handler;
	p->mode = PUBLISH_POLLING;
	r = sd_event_add_time(loop, &p->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, p);
	if (r >= 0)
		r = sd_event_source_set_enabled(p->timer, SD_EVENT_OFF);
	if (r < 0) {
		publisher_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

struct publisher *publisher_free(struct publisher *p)
{
	if (!p)
		return NULL;
	publish_free(p->publish);
	sd_event_source_disable_unref(p->timer);
	sd_event_unref(p->loop);
	free(p);
	return NULL;
}
