/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How changes of a node's own record become versions and rumours (gossip/spread.c), seen from inside. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/gossip_help.h"

#define N 12
#define N_LINKS 6

/* How often its own record has gone out, whole, by datagram. */
static unsigned records_sent(struct gossip *g)
{
	struct gossip_effect effect;
	unsigned n = 0;

	while (gossip_pop_effect(g, &effect)) {
		struct wire_head head;
		struct reader r, message;
		uint8_t type;
		struct wire_item item;

		if (effect.kind != GOSSIP_EFFECT_PACKET)
			continue;
		reader_init(&r, effect.bytes, effect.n_bytes);
		assert_true(wire_head_read(&r, &head));
		while (wire_message_next(&r, &type, &message) > 0) {
			while (type == WIRE_NEWS && wire_item_next(&message, &item))
				n += item.kind == ITEM_RECORD && item.owner == 1;
		}
	}
	return n;
}

/* Twice: what was changed from inside, behind its back, it sees when the first one ends. */
static void tick(struct gossip *g, nsec_t at)
{
	assert_int_equal(gossip_tick(g, at), 0);
	assert_int_equal(gossip_tick(g, at), 0);
}

/* Node 1 among others, with links to the first of them. */
static struct gossip *node(void)
{
	struct gossip *g = node_one();
	uint32_t link;

	for (unsigned i = 2; i < N + 2; i++) {
		struct gossip_addr a = address(i);
		uint64_t neighbours[] = {1, i + 1};

		assert_int_equal(gossip_preload(g, i, 1, 1, &a, neighbours, 2), 0);
	}
	for (unsigned i = 2; i < N_LINKS + 2; i++)
		assert_int_equal(gossip_preload_link(g, SEC, i, MSEC, true, &link), 0);
	/* Up to a heartbeat: the next one tells the digest, and so is not to come yet. */
	for (nsec_t now = SEC; g->stats.sent[WIRE_BEAT].messages == 0; now += MSEC)
		tick(g, now);
	records_sent(g);
	return g;
}

static uint64_t version(const struct gossip *g)
{
	struct gossip_member m;

	assert_true(gossip_member_get(g, 1, &m));
	return m.version;
}

/* What changes before anybody has seen the last change goes into the same version. */
static void test_unseen_changes_are_one_version(void **state)
{
	struct gossip *g = node();
	uint64_t before = version(g);

	own_change(g, OP_DROP, member_find(g, 2), false);
	assert_int_equal(version(g), before + 1);
	own_change(g, OP_DROP, member_find(g, 3), false);
	assert_int_equal(version(g), before + 1);
	spread_digest(g); /* somebody is told what our table is */
	own_change(g, OP_DROP, member_find(g, 4), false);
	assert_int_equal(version(g), before + 2);
	gossip_free(g);
}

/* A record that stands for too many deltas was sent whole, with a change in it whose own delta was still
 * being gathered: the next change then went into that version. Tables differed, and their digests did not. */
static void test_whole_record_is_seen(void **state)
{
	struct gossip *g = node();
	uint16_t subject = member_find(g, 2);
	uint64_t before;

	for (unsigned i = 0; i < 6; i++) {
		spread_digest(g);
		own_change(g, i % 2 ? OP_ADD : OP_DROP, member_find(g, 7), true);
	}
	own_change(g, OP_SILENT, subject, true);
	spread_gather(g, subject, g->now + 200 * MSEC);
	tick(g, g->now + 9 * MSEC);
	assert_int_not_equal(records_sent(g), 0);
	assert_int_equal(g->stats.sent[WIRE_BEAT].messages, 1);
	before = version(g);
	own_change(g, OP_SILENT, member_find(g, 3), true);
	assert_int_equal(version(g), before + 1);
	gossip_free(g);
}

/* What cannot wait for a heartbeat does not when it is said by the record instead of one delta too many. */
static void test_urgent_in_a_whole_record(void **state)
{
	struct gossip *g = node();

	for (unsigned i = 0; i < 6; i++) {
		spread_digest(g);
		own_change(g, i < 5 ? (i % 2 ? OP_ADD : OP_DROP) : OP_SILENT, member_find(g, 7),
			i == 5);
	}
	tick(g, g->now + 9 * MSEC);
	assert_int_equal(g->stats.sent[WIRE_BEAT].messages, 1);
	assert_int_not_equal(records_sent(g), 0);
	gossip_free(g);
}

/* A state_dir was copied, and whoever has it now started later: all take that one's record, and nobody will be
 * linked to the first any more. It hears why, from whomever it asks. */
static void test_former_life_is_told(void **state)
{
	struct gossip_addr a = address(1), b = address(5);
	struct gossip_config config;
	struct gossip *g = node(), *first;
	struct gossip_effect effect;
	struct gossip_event event;
	bool told = false;

	assert_int_equal(gossip_preload(g, 5, 9, 1, &b, NULL, 0), 0);
	gossip_config_init(&config);
	config.id = 5;
	config.incarnation = 1;
	config.seed = 5;
	config.address = b;
	assert_int_equal(gossip_new(&first, &config, SEC), 0);
	records_sent(g);
	greet(g, 5, 1);
	while (gossip_pop_effect(g, &effect))
		if (effect.kind == GOSSIP_EFFECT_PACKET && gossip_addr_equal(&effect.address, &b))
			assert_int_equal(
				gossip_receive(first, SEC, &a, effect.bytes, effect.n_bytes), 0);
	while (gossip_pop_event(first, &event))
		told |= event.kind == GOSSIP_EVENT_CONFLICT;
	assert_true(told);
	gossip_free(first);
	gossip_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unseen_changes_are_one_version),
		cmocka_unit_test(test_whole_record_is_seen),
		cmocka_unit_test(test_urgent_in_a_whole_record),
		cmocka_unit_test(test_former_life_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
