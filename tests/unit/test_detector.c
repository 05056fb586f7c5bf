/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Heartbeats (gossip/detector.c), seen from inside. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/gossip_help.h"

/* Node 1 knows of 2. */
static struct gossip *node(void)
{
	struct gossip_addr two = address(2);
	struct gossip *g = node_one();

	assert_int_equal(gossip_preload(g, 2, 1, 1, &two, NULL, 0), 0);
	return g;
}

/* The number of the last heartbeat that it has sent. */
static uint16_t last_sent(struct gossip *g)
{
	struct gossip_effect effect;
	bool any = false;
	uint16_t seq = 0;

	while (gossip_pop_effect(g, &effect)) {
		struct reader r, body;
		struct wire_head head;
		struct wire_beat beat;
		uint8_t type;

		if (effect.kind != GOSSIP_EFFECT_PACKET)
			continue;
		reader_init(&r, effect.bytes, effect.n_bytes);
		assert_true(wire_head_read(&r, &head));
		while (wire_message_next(&r, &type, &body) > 0)
			if (type == WIRE_BEAT && wire_beat_read(&body, &beat)) {
				seq = beat.seq;
				any = true;
			}
	}
	assert_true(any);
	return seq;
}

/* A heartbeat of a link that has been replaced may come after the new one is up. When each link began to count
 * anew, all those of the new link were then taken for older ones, for as many as the old link had had: the
 * neighbour was tested each time. (Found by the random search, seed 1934.) */
static void test_later_links_have_later_numbers(void **state)
{
	struct gossip *g = node();
	uint16_t before, after;

	assert_int_equal(gossip_tick(g, SEC), 0);
	greet(g, 2, 1);
	for (unsigned i = 1; i <= 8; i++)
		beat(g, SEC + i * 250 * MSEC, 2, i, 0);
	assert_int_equal(gossip_tick(g, 4 * SEC), 0);
	before = last_sent(g);
	greet(g, 2, 1);
	beat(g, 4 * SEC + MSEC, 2, 1, 0);
	after = last_sent(g);
	assert_in_range((uint16_t)(after - before), 1, 0x7fff);
	gossip_free(g);
}

/* Node 1 with a link to 2. */
static struct gossip *linked(void)
{
	struct gossip *g = node();
	uint32_t link;

	assert_int_equal(
		gossip_preload(g, 1, 1, 10, &(struct gossip_addr){.family = 4}, (uint64_t[]){2}, 1),
		0);
	assert_int_equal(gossip_preload_link(g, SEC, 2, MSEC, true, &link), 0);
	return g;
}

/* 2 says nothing, and each probe of its kernel ends like this. Returns how many there were. */
static unsigned run(struct gossip *g, nsec_t until, enum gossip_probe result)
{
	struct gossip_effect effect;
	unsigned n = 0;

	for (nsec_t now = g->now; now < until; now += 5 * MSEC) {
		assert_int_equal(gossip_tick(g, now), 0);
		while (gossip_pop_effect(g, &effect)) {
			if (effect.kind != GOSSIP_EFFECT_PROBE || result == GOSSIP_PROBE_SILENT)
				continue;
			assert_int_equal(gossip_probe_result(g, now, effect.link, result), 0);
			n++;
		}
	}
	return n;
}

/* How many members node 1 then says that it has lost. */
static size_t say_of_silent_one(enum gossip_probe result)
{
	struct gossip *g = linked();
	struct gossip_member own;
	unsigned n = run(g, 6 * SEC, result);

	assert_true(gossip_member_get(g, 1, &own));
	assert_int_equal(own.n_neighbours, 0);
	assert_true(result == GOSSIP_PROBE_SILENT || n > 0);
	gossip_free(g);
	return own.n_lost;
}

/* Who cannot ask the host's kernel, having no descriptor left, gives up the link and says nothing of the host: its word
 * would be half of a verdict on one whose vipd has only been stopped. */
static void test_kernel_not_asked_is_no_vote(void **state)
{
	assert_int_equal(say_of_silent_one(GOSSIP_PROBE_SILENT), 1);
	assert_int_equal(say_of_silent_one(GOSSIP_PROBE_NOT_ASKED), 0);
	/* But a route may be gone with the host. */
	assert_int_equal(say_of_silent_one(GOSSIP_PROBE_LOCAL), 1);
}

/* Who goes on hearing a kernel says so of the newest version that it knows of its node: that may have had another
 * neighbour in its last moment, whose word alone was valid, and went with it. (Found by the random search, seed 22978: six
 * heard it each second, and it was called down.) */
static void test_hearer_keeps_its_word_valid(void **state)
{
	struct gossip *g = linked();
	struct gossip_addr two = address(2);
	uint16_t m = member_find(g, 2);

	assert_int_not_equal(run(g, 6 * SEC, GOSSIP_PROBE_REFUSED), 0);
	assert_int_equal(own_lost(g, m)->op, OP_AGENTLESS);
	assert_int_equal(gossip_preload(g, 2, 1, 7, &two, (uint64_t[]){3}, 1), 0);
	assert_false(lost_valid(g, own_lost(g, m)));
	assert_int_not_equal(run(g, 9 * SEC, GOSSIP_PROBE_REFUSED), 0);
	assert_int_equal(own_lost(g, m)->op, OP_AGENTLESS);
	assert_true(lost_valid(g, own_lost(g, m)));
	gossip_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_later_links_have_later_numbers),
		cmocka_unit_test(test_kernel_not_asked_is_no_vote),
		cmocka_unit_test(test_hearer_keeps_its_word_valid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
