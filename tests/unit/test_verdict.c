/* SPDX-License-Identifier: GPL-2.0-or-later */
/* When a verdict that is due is kept back (gossip/verdict.c), seen from inside. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/gossip_help.h"

#define LOST 9 /* whose neighbours are those that vote */

/* Node 1 with links to 2, 3 and 4, which were linked to 9. */
static struct gossip *node(void)
{
	struct gossip_addr one = address(1);
	struct gossip *g = node_one();
	uint32_t link;

	assert_int_equal(gossip_preload(g, 1, 1, 10, &one, (uint64_t[]){2, 3, 4}, 3), 0);
	for (unsigned i = 2; i < 5; i++) {
		struct gossip_addr a = address(i);
		uint64_t neighbours[] = {1, LOST};

		assert_int_equal(gossip_preload(g, i, 1, 1, &a, neighbours, 2), 0);
		assert_int_equal(gossip_preload_link(g, SEC, i, MSEC, true, &link), 0);
	}
	assert_int_equal(
		gossip_preload(g, LOST, 1, 1, &(struct gossip_addr){.family = 4, .bytes = {9}},
			(uint64_t[]){2, 3, 4}, 3),
		0);
	assert_int_equal(gossip_tick(g, SEC), 0);
	return g;
}

static void deliver(struct gossip *g, unsigned from, nsec_t now, const struct wire_item *item)
{
	struct gossip_addr a = address(from);
	uint8_t bytes[GOSSIP_DATAGRAM_MAX];
	struct writer w;

	writer_init(&w, bytes, sizeof(bytes));
	wire_head_write(&w, &(struct wire_head){.sender = from, .boot = wire_boot(1)});
	if (item) {
		write_message_begin(&w, WIRE_NEWS);
		wire_item_write(&w, item);
		write_message_end(&w);
	}
	assert_int_equal(gossip_receive(g, now, &a, bytes, w.n), 0);
}

/* `from` says this of 9 in its life `incarnation`. It has said as much as `base` before. */
static void say(struct gossip *g, unsigned from, nsec_t now, uint64_t base, enum wire_op op,
	uint64_t incarnation)
{
	struct wire_item item = {.kind = ITEM_DELTA, .owner = from};

	item.delta.boot = wire_boot(1);
	item.delta.base = base;
	item.delta.n_ops = 1;
	item.delta.ops[0] = (struct wire_lost){
		.id = LOST, .version = 1, .boot = wire_boot(incarnation), .op = op};
	deliver(g, from, now, &item);
}

/* `from` says something; `loses`: that it has lost 9. */
static void hear(struct gossip *g, unsigned from, nsec_t now, bool loses)
{
	if (loses)
		say(g, from, now, 1, OP_SILENT, 1);
	else
		deliver(g, from, now, NULL);
}

/* No heartbeat is late before then, as after one of each neighbour in a large mesh. */
static void nobody_is_late_until(struct gossip *g, nsec_t then)
{
	for (unsigned i = 0; i < g->n_links; i++)
		g->links[i].expected = then;
}

static enum gossip_status status(const struct gossip *g)
{
	struct gossip_member m;

	assert_true(gossip_member_get(g, LOST, &m));
	return m.status;
}

static void run(struct gossip *g, nsec_t until)
{
	for (nsec_t now = g->now; now <= until; now += 5 * MSEC) {
		struct gossip_effect effect;

		assert_int_equal(gossip_tick(g, now), 0);
		while (gossip_pop_effect(g, &effect))
			;
	}
}

static void test_due_at_once(void **state)
{
	struct gossip *g = node();
	nsec_t now = SEC + 100 * MSEC;

	assert_int_equal(status(g), GOSSIP_STATUS_UP);
	nobody_is_late_until(g, 4 * SEC);
	for (unsigned i = 2; i < 5; i++)
		hear(g, i, now, true);
	run(g, now + 20 * MSEC);
	assert_int_equal(status(g), GOSSIP_STATUS_DOWN);
	gossip_free(g);
}

/* Who is just out of doubt waits with its verdict. If nobody has been heard meanwhile, it may be cut off
 * again, and waits on, though no heartbeat is late yet. (Found by the random search, seed 21600.) */
static void test_nobody_heard_since(void **state)
{
	struct gossip *g = node();
	nsec_t now = SEC + 100 * MSEC, due = now + 1200 * MSEC;

	nobody_is_late_until(g, 4 * SEC);
	g->verdict_not_before = due;
	for (unsigned i = 2; i < 5; i++)
		hear(g, i, now, true);
	run(g, due + 200 * MSEC);
	assert_int_equal(status(g), GOSSIP_STATUS_UP);
	hear(g, 3, due + 210 * MSEC, false);
	run(g, due + 220 * MSEC);
	assert_int_equal(status(g), GOSSIP_STATUS_DOWN);
	gossip_free(g);
}

/* The end of a moment's doubt does not end the wait that a longer one before it has left. */
static void test_second_doubt_is_short(void **state)
{
	struct gossip *g = node();
	nsec_t now = SEC + 100 * MSEC;

	gossip_set_local(g, now, false);
	run(g, now + 3 * SEC);
	for (unsigned i = 2; i < 5; i++)
		hear(g, i, now + 3 * SEC, false);
	gossip_set_local(g, now + 3 * SEC, true);
	assert_int_equal(g->verdict_not_before, now + 5 * SEC);
	gossip_set_local(g, now + 3 * SEC, false);
	gossip_set_local(g, now + 3 * SEC + MSEC, true);
	assert_int_equal(g->verdict_not_before, now + 5 * SEC);
	gossip_free(g);
}

/* 9 has started again, and its only link broke before anybody else got one: the words of its former life are void, and
 * nobody has had the time to hear the new one. Its absence is as old as the life before's end, but two who cannot
 * hear it are not enough at once. (Found by the random search, seed 22978.) */
static void test_new_life_gets_time(void **state)
{
	struct gossip *g = node();
	struct wire_item life = {.kind = ITEM_RECORD, .owner = LOST};
	nsec_t now = SEC + 100 * MSEC;

	life.record.incarnation = 2;
	life.record.version = 1;
	life.record.address = (struct gossip_addr){.family = 4, .bytes = {9}};
	nobody_is_late_until(g, 60 * SEC);
	for (unsigned i = 2; i < 5; i++)
		say(g, i, now, 1, OP_AGENTLESS, 1);
	run(g, 9 * SEC);
	assert_int_equal(status(g), GOSSIP_STATUS_AGENTLESS);
	deliver(g, 2, 9 * SEC, &life);
	for (unsigned i = 3; i < 5; i++)
		say(g, i, 9 * SEC + 50 * MSEC, 2, OP_SILENT, 2);
	for (now = 9 * SEC + 50 * MSEC; now < 11500 * MSEC; now += 200 * MSEC) {
		run(g, now);
		assert_int_not_equal(status(g), GOSSIP_STATUS_DOWN);
		hear(g, 2, now, false);
	}
	for (; now < 13 * SEC; now += 200 * MSEC) {
		run(g, now);
		hear(g, 2, now, false);
	}
	assert_int_equal(status(g), GOSSIP_STATUS_DOWN);
	gossip_free(g);
}

static uint32_t digest(const struct gossip *g)
{
	return g->digest ^ g->digest >> 32;
}

/* The wait after doubt is for a table as the others have it. Who has that already judges at once: of 16 nodes, one that
 * had itself been cut off two seconds before was the last to let go of the next. */
static void test_caught_up_after_doubt(void **state)
{
	struct gossip *g = node();
	nsec_t now = SEC + 100 * MSEC;

	gossip_set_local(g, now, false);
	run(g, now + 3 * SEC);
	beat(g, now + 3 * SEC, 3, 1, digest(g)); /* while in doubt: no end of it */
	gossip_set_local(g, now + 3 * SEC, true);
	assert_int_equal(g->verdict_not_before, now + 5 * SEC);
	beat(g, now + 3 * SEC + 100 * MSEC, 3, 2, digest(g) + 1);
	assert_int_equal(g->verdict_not_before, now + 5 * SEC);
	beat(g, now + 3 * SEC + 200 * MSEC, 3, 3, digest(g));
	assert_true(g->verdict_not_before <= g->now);
	gossip_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_due_at_once),
		cmocka_unit_test(test_nobody_heard_since),
		cmocka_unit_test(test_second_doubt_is_short),
		cmocka_unit_test(test_new_life_gets_time),
		cmocka_unit_test(test_caught_up_after_doubt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
