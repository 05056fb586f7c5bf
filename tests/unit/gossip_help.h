/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/* What tests of the gossip library from inside share: others' addresses and messages. After cmocka.h. */
#include "gossip/internal.h"

static inline struct gossip_addr address(unsigned i)
{
	return (struct gossip_addr){.family = 4, .port = 61420, .bytes = {10, 0, 0, i}};
}

/* Node 1, which knows of nobody yet, at SEC. */
static inline struct gossip *node_one(void)
{
	struct gossip_config config;
	struct gossip *g;

	gossip_config_init(&config);
	config.id = config.incarnation = config.seed = 1;
	config.address = address(1);
	assert_int_equal(gossip_new(&g, &config, SEC), 0);
	return g;
}

/* Member `id` opens a link, and greets. */
static inline void greet(struct gossip *g, uint64_t id, uint64_t incarnation)
{
	struct wire_hello hello = {
		.id = id, .incarnation = incarnation, .number = 1, .purpose = PURPOSE_HIGH};
	struct gossip_addr from = address(id);
	uint8_t bytes[GOSSIP_DATAGRAM_MAX];
	uint32_t link;
	struct writer w;

	hello.record = (struct wire_item){.kind = ITEM_RECORD, .owner = id};
	hello.record.record.incarnation = incarnation;
	hello.record.record.version = 1;
	hello.record.record.address = from;
	writer_init(&w, bytes, sizeof(bytes));
	write_message_begin(&w, WIRE_HELLO);
	wire_hello_write(&w, &hello);
	write_message_end(&w);
	assert_int_equal(gossip_link_accepted(g, g->now, &from, &link), 0);
	assert_int_equal(gossip_link_bytes(g, g->now, link, bytes, w.n), 0);
}

/* A heartbeat of member `id`, of its first life, whose table has this digest. */
static inline void beat(struct gossip *g, nsec_t now, uint64_t id, uint16_t seq, uint32_t digest)
{
	struct wire_beat beat = {
		.seq = seq, .next_ms = 1500, .digest = digest, .flags = BEAT_YOU_ARE_LISTED};
	struct gossip_addr from = address(id);
	uint8_t bytes[GOSSIP_DATAGRAM_MAX];
	struct writer w;

	writer_init(&w, bytes, sizeof(bytes));
	wire_head_write(&w, &(struct wire_head){.sender = id, .boot = wire_boot(1)});
	write_message_begin(&w, WIRE_BEAT);
	wire_beat_write(&w, &beat);
	write_message_end(&w);
	assert_int_equal(gossip_receive(g, now, &from, bytes, w.n), 0);
}
