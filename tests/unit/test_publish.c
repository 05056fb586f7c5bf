/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Publishing and following: a handful of nodes in one process, each a state machine, on a network
 * that loses, delays and splits as told. Time is a number.
 */
#include "tests/lib/paper_cluster.h"

#include <stdarg.h>
#include <stdio.h>

#include <setjmp.h>

#include <cmocka.h>

static void assert_all_hold(struct paper *c, unsigned int table)
{
	struct vip_table *t = paper_table(table);

	for (unsigned int i = 0; i < c->n; i++) {
		if (c->nodes[i].publish && !paper_holds(c, i, t))
			fail_msg("node %u does not hold table %u (mode %s)", i, table,
				publish_mode_text(publish_mode(c->nodes[i].publish)));
	}
	vip_table_free(t);
}

static void assert_modes(struct paper *c, unsigned int leader)
{
	for (unsigned int i = 0; i < c->n; i++)
		if (c->nodes[i].publish)
			assert_int_equal(publish_mode(c->nodes[i].publish),
				i == leader ? PUBLISH_LEADING : PUBLISH_FOLLOWING);
}

static void assert_no_error(const struct paper *c)
{
	if (c->error)
		fail_msg("%s", c->error);
}

/* ---- records and sets ---- */

static void test_table_is_the_same_after_a_round_trip(void **state)
{
	for (unsigned int k = 0; k < 40; k++) {
		struct vip_table *t = paper_table(k), *back;
		struct store *s = store_new();
		size_t n;
		uint8_t *changes = store_diff(s, t, &n);
		const struct record *const *records;

		assert_int_equal(store_apply(s, changes, n), 0);
		records = store_sorted(s, &n);
		back = records_to_table(records, n, false);
		assert_true(paper_same(t, back));
		free(changes);
		changes = store_diff(s, t, &n);
		assert_int_equal(n, 0);
		free(changes);
		vip_table_free(t);
		vip_table_free(back);
		store_free(s);
	}
}

static void test_root_tells_sets_apart_and_only_them(void **state)
{
	struct store *a = store_new();
	uint8_t roots[40][STORE_DIGEST];

	for (unsigned int k = 0; k < 40; k++) {
		struct vip_table *t = paper_table(k);
		struct store *b = store_new();
		size_t n;
		uint8_t *changes = store_diff(a, t, &n);

		assert_int_equal(store_apply(a, changes, n), 0); /* from the table before */
		free(changes);
		changes = store_diff(b, t, &n);
		assert_int_equal(store_apply(b, changes, n), 0); /* from nothing */
		free(changes);
		assert_memory_equal(store_root(a), store_root(b), STORE_DIGEST);
		memcpy(roots[k], store_root(a), STORE_DIGEST);
		for (unsigned int i = 0; i < k; i++)
			assert_memory_not_equal(roots[i], roots[k], STORE_DIGEST);
		store_free(b);
		vip_table_free(t);
	}
	store_free(a);
}

/* The bytes are a contract between versions of vipd: drawn in record.h, written here by hand. */
static void test_golden_records(void **state)
{
	static const uint8_t agent[] = {1, 4, 10, 0, 0, 5};
	static const uint8_t name[] = {
		2, 6, 4, 11, 202, 66, 36, 0x18, 0xeb, 0, 0, 3, 'a', '.', 'b'};
	static const uint8_t plain[] = {2, 6, 4, 11, 202, 66, 36, 0x18, 0xeb, 1, 10, 0, 0, 5, 0x79,
		0x18, 0, 0, 1, 't', 0, 1, 'm', 0, 2, 'f', '0'};
	static const uint8_t mapped[] = {2, 6, 4, 11, 202, 66, 36, 0x18, 0xeb, 1, 10, 0, 0, 6, 0x79,
		0x18, 4 | 8 | 2, 172, 17, 0, 2, 0, 80, 4, 10, 0, 0, 7, 0, 1, 'u', 0, 1, 'm', 0, 2,
		'f', '0'};
	struct vip_backend backends[2] = {
		{.address = paper_ip("10.0.0.5"),
			.port = 31000,
			.local_address = paper_ip("10.0.0.5"),
			.local_port = 31000,
			.weight = 1,
			.agent = paper_ip("10.0.0.5"),
			.task = "t",
			.framework = "m",
			.framework_id = "f0"},
		{.address = paper_ip("10.0.0.6"),
			.port = 31000,
			.local_address = paper_ip("172.17.0.2"),
			.local_port = 80,
			.weight_reason = WEIGHT_NO_RESULT,
			.agent = paper_ip("10.0.0.7"),
			.task = "u",
			.framework = "m",
			.framework_id = "f0"},
	};
	struct vip vip = {.key = {paper_ip("11.202.66.36"), 6379, IPPROTO_TCP},
		.name = "a.b",
		.n_backends = 2,
		.backends = backends};
	struct ip_addr agents[] = {paper_ip("10.0.0.5")};
	struct vip_table t = {.n_vips = 1, .vips = &vip, .n_agents = 1, .agents = agents};
	const struct {
		const uint8_t *bytes;
		size_t n;
	} golden[] = {{agent, sizeof(agent)}, {name, sizeof(name)}, {plain, sizeof(plain)},
		{mapped, sizeof(mapped)}};
	struct record_walk w;

	record_walk_init(&w, &t);
	for (size_t i = 0; i < ARRAY_SIZE(golden); i++) {
		assert_true(record_walk_next(&w));
		assert_int_equal(w.n, golden[i].n);
		assert_memory_equal(w.bytes, golden[i].bytes, w.n);
		assert_int_equal(record_check(w.bytes, w.n), w.n_key);
	}
	assert_false(record_walk_next(&w));
}

/* One content has one encoding: each flag that could be left out must be. */
static void test_what_is_not_canonical_is_no_record(void **state)
{
	static const uint8_t needless_local[] = {2, 6, 4, 9, 9, 9, 9, 0, 80, 1, 10, 0, 0, 5, 0, 80,
		4, 10, 0, 0, 5, 0, 80, 0, 0, 0, 0, 0, 0};
	static const uint8_t needless_agent[] = {2, 6, 4, 9, 9, 9, 9, 0, 80, 1, 10, 0, 0, 5, 0, 80,
		8, 4, 10, 0, 0, 5, 0, 0, 0, 0, 0, 0};
	static const uint8_t good[] = {
		2, 6, 4, 9, 9, 9, 9, 0, 80, 1, 10, 0, 0, 5, 0, 80, 0, 0, 0, 0, 0, 0, 0};
	uint8_t bytes[sizeof(good) + 1];

	assert_int_equal(record_check(needless_local, sizeof(needless_local)), 0);
	assert_int_equal(record_check(needless_agent, sizeof(needless_agent)), 0);
	assert_int_equal(record_check(good, sizeof(good)), 16);
	for (size_t n = 0; n < sizeof(good); n++)
		assert_int_equal(record_check(good, n), 0);
	memcpy(bytes, good, sizeof(good));
	bytes[sizeof(good)] = 0;
	assert_int_equal(record_check(bytes, sizeof(bytes)), 0);
	for (size_t i = 0; i < 3; i++) { /* class, protocol, family */
		memcpy(bytes, good, sizeof(good));
		bytes[i] = 77;
		assert_int_equal(record_check(bytes, sizeof(good)), 0);
	}
}

static void test_copies_do_not_disturb_each_other(void **state)
{
	struct store *a = store_new(), *b;
	struct vip_table *one = paper_table(1), *two = paper_table(2);
	uint8_t root[STORE_DIGEST], *changes;
	size_t n;

	changes = store_diff(a, one, &n);
	store_apply(a, changes, n);
	free(changes);
	memcpy(root, store_root(a), STORE_DIGEST);
	b = store_copy(a);
	changes = store_diff(b, two, &n);
	assert_true(n > 0);
	store_apply(b, changes, n);
	free(changes);
	assert_memory_equal(store_root(a), root, STORE_DIGEST);
	assert_memory_not_equal(store_root(b), root, STORE_DIGEST);
	store_free(a);
	changes = store_diff(b, two, &n);
	assert_int_equal(n, 0);
	free(changes);
	store_free(b);
	vip_table_free(one);
	vip_table_free(two);
}

/* ---- following ---- */

static void test_all_follow_and_nobody_polls(void **state)
{
	struct paper *c = paper_new(20, 3, 1);

	paper_lead(c, 0, 5);
	paper_run(c, 20 * NSEC_PER_SEC);
	assert_modes(c, 0);
	assert_all_hold(c, 5);
	paper_reset_polls(c);
	for (unsigned int k = 6; k < 20; k++) {
		paper_lead(c, 0, k);
		paper_run(c, 7 * NSEC_PER_SEC);
		assert_all_hold(c, k);
	}
	assert_int_equal(paper_polls(c), 0);
	paper_free(c);
}

static void test_a_delta_is_everywhere_within_its_way(void **state)
{
	struct paper *c = paper_new(20, 3, 2);

	paper_lead(c, 0, 5);
	paper_run(c, 20 * NSEC_PER_SEC);
	paper_lead(c, 0, 6);
	paper_poll_now(c, 0);
	paper_run(c, 20 * NSEC_PER_MSEC);
	assert_all_hold(c, 6);
	paper_free(c);
}

static void test_a_change_too_large_for_deltas(void **state)
{
	struct paper *c = paper_new(20, 3, 3);

	paper_lead(c, 0, 5);
	paper_run(c, 20 * NSEC_PER_SEC);
	paper_lead(c, 0, PAPER_LARGE);
	paper_poll_now(c, 0);
	paper_run(c, 2 * NSEC_PER_SEC);
	assert_all_hold(c, PAPER_LARGE);
	assert_modes(c, 0);
	paper_free(c);
}

static void test_losses_are_repaired(void **state)
{
	for (uint64_t seed = 1; seed <= 5; seed++) {
		struct paper *c = paper_new(20, 3, seed);

		c->cast_loss = 300;
		c->message_loss = 200;
		paper_lead(c, 0, 5);
		for (unsigned int k = 6; k < 20; k++) {
			paper_lead(c, 0, k);
			paper_run(c, 6 * NSEC_PER_SEC);
		}
		c->cast_loss = c->message_loss = 0;
		paper_run(
			c, 20 * NSEC_PER_SEC); /* who polls goes back at the third or fourth word */
		assert_all_hold(c, 19);
		assert_modes(c, 0);
		assert_no_error(c);
		paper_free(c);
	}
}

static void test_who_starts_late_asks_a_neighbour(void **state)
{
	struct paper *c = paper_new(20, 3, 4);

	paper_lead(c, 0, PAPER_LARGE);
	paper_stop(c, 19);
	paper_run(c, 20 * NSEC_PER_SEC);
	paper_reset_polls(c);
	paper_start(c, 19);
	paper_run(c, NSEC_PER_SEC);
	assert_all_hold(c, PAPER_LARGE);
	assert_modes(c, 0);
	assert_int_equal(paper_polls(c), 0);
	paper_free(c);
}

static void test_silence_makes_them_poll_and_the_publisher_makes_them_stop(void **state)
{
	struct paper *c = paper_new(10, 1, 5);

	paper_lead(c, 0, 5);
	paper_run(c, 20 * NSEC_PER_SEC);
	paper_reset_polls(c);
	paper_stop(c, 0);
	paper_run(c, 9 * NSEC_PER_SEC);
	assert_int_equal(paper_polls(c), 0);
	c->truth = 7;
	paper_run(c, 18 * NSEC_PER_SEC);
	assert_all_hold(c, 7);
	paper_start(c, 0);
	paper_run(c, 20 * NSEC_PER_SEC);
	assert_modes(c, 0);
	paper_reset_polls(c);
	paper_run(c, 60 * NSEC_PER_SEC);
	assert_int_equal(paper_polls(c), 0);
	assert_no_error(c);
	paper_free(c);
}

static void test_one_announcement_is_no_publisher(void **state)
{
	struct paper *c = paper_new(10, 1, 6);

	paper_lead(c, 0, 5);
	paper_run(c, 20 * NSEC_PER_SEC);
	paper_stop(c, 0);
	paper_run(c, 30 * NSEC_PER_SEC);
	paper_start(c, 0);
	paper_run(c, 3 * NSEC_PER_SEC); /* it has claimed, and said so once */
	paper_stop(c, 0);
	paper_reset_polls(c);
	paper_run(c, 11 * NSEC_PER_SEC);
	assert_true(paper_polls(c) >= 9);
	paper_free(c);
}

/* ---- who publishes ---- */

static void test_a_new_leader_goes_above_the_old(void **state)
{
	struct paper *c = paper_new(12, 3, 7);
	struct publish_status before, after;

	paper_lead(c, 0, 5);
	paper_run(c, 20 * NSEC_PER_SEC);
	publish_status(c->nodes[11].publish, &before);
	paper_reset_polls(c);
	paper_not_leading(c, 0);
	paper_run(c, 4 * NSEC_PER_SEC);
	paper_lead(c, 1, 6);
	paper_run(c, 8 * NSEC_PER_SEC);
	publish_status(c->nodes[11].publish, &after);
	assert_all_hold(c, 6);
	assert_modes(c, 1);
	assert_int_equal(after.have.term, before.have.term + 1);
	assert_int_equal(paper_polls(c), 0);
	assert_no_error(c);
	paper_free(c);
}

static void test_two_that_both_lead(void **state)
{
	struct paper *c = paper_new(12, 3, 8);

	paper_lead(c, 0, 5);
	paper_run(c, 20 * NSEC_PER_SEC);
	paper_lead_other(c, 1, 6); /* 0 goes on believing that it leads, with table 5 */
	paper_run(c, 30 * NSEC_PER_SEC);
	assert_int_equal(publish_mode(c->nodes[1].publish), PUBLISH_LEADING);
	assert_int_equal(publish_mode(c->nodes[0].publish), PUBLISH_FOLLOWING);
	assert_all_hold(c, 6);
	paper_not_leading(c, 0);
	paper_run(c, 10 * NSEC_PER_SEC);
	assert_modes(c, 1);
	assert_all_hold(c, 6);
	assert_no_error(c);
	paper_free(c);
}

static void test_the_wrong_one_wins_until_it_notices(void **state)
{
	struct paper *c = paper_new(12, 3, 9);

	paper_lead(c, 1, 6);
	paper_run(c, 20 * NSEC_PER_SEC);
	paper_lead_other(c, 0, 5); /* the stale one claims last */
	paper_run(c, 10 * NSEC_PER_SEC);
	assert_int_equal(publish_mode(c->nodes[1].publish), PUBLISH_FOLLOWING);
	paper_not_leading(c, 0);
	paper_run(c, 2 * NSEC_PER_SEC);
	assert_modes(c, 1);
	assert_all_hold(c, 6);
	paper_free(c);
}

static void test_a_publisher_restarts(void **state)
{
	for (int disk = 0; disk < 2; disk++) {
		struct paper *c = paper_new(12, 3, 10);

		paper_lead(c, 0, 5);
		paper_run(c, 20 * NSEC_PER_SEC);
		paper_reset_polls(c);
		paper_stop(c, 0);
		if (!disk)
			c->nodes[0].term = 0; /* what was written down is lost */
		paper_lead(c, 0, 6);
		paper_start(c, 0);
		paper_run(c, 12 * NSEC_PER_SEC);
		assert_modes(c, 0);
		assert_all_hold(c, 6);
		assert_int_equal(paper_polls(c), 0);
		assert_no_error(c);
		paper_free(c);
	}
}

static void test_killed_in_the_middle_of_a_delta(void **state)
{
	struct paper *c = paper_new(12, 3, 11);

	paper_lead(c, 0, 5);
	paper_run(c, 20 * NSEC_PER_SEC);
	paper_reset_polls(c);
	c->casts_left = 2; /* of the parts of what comes, two get out */
	paper_lead(c, 0, PAPER_MIDDLE);
	paper_poll_now(c, 0);
	paper_stop(c, 0);
	c->casts_left = UINT32_MAX;
	paper_run(c, 3 * NSEC_PER_SEC);
	for (unsigned int i = 1; i < c->n; i++) {
		struct vip_table *t = paper_table(5);

		assert_true(paper_holds(c, i, t));
		vip_table_free(t);
	}
	paper_lead(c, 1, 7);
	paper_run(c, 15 * NSEC_PER_SEC);
	assert_modes(c, 1);
	assert_all_hold(c, 7);
	assert_int_equal(paper_polls(c), 0);
	assert_no_error(c);
	paper_free(c);
}

static void test_two_halves_each_with_a_publisher(void **state)
{
	for (unsigned int greater = 0; greater < 2; greater++) {
		struct paper *c = paper_new(16, 2, 12);

		paper_lead(c, 0, 5);
		paper_run(c, 20 * NSEC_PER_SEC);
		paper_split(c, true); /* even and odd numbers */
		paper_lead_other(c, 1, 6);
		paper_run(c, 30 * NSEC_PER_SEC);
		/* The one that stops leading is the one with the greater term, or the other. */
		if (greater)
			paper_stop(c, 1);
		else
			paper_not_leading(c, 0);
		c->truth = greater ? 5 : 6;
		paper_run(c, 20 * NSEC_PER_SEC);
		paper_split(c, false);
		paper_run(c, 45 * NSEC_PER_SEC);
		assert_modes(c, greater ? 0 : 1);
		assert_all_hold(c, greater ? 5 : 6);
		if (!greater) /* else the truth of one half was given up */
			assert_no_error(c);
		paper_free(c);
	}
}

static void test_strangers_are_not_believed(void **state)
{
	struct paper *c = paper_new(10, 1, 13);
	struct publish_status s;

	paper_lead(c, 0, 5);
	paper_run(c, 20 * NSEC_PER_SEC);
	c->nodes[4].may_lead = true; /* an agent that takes itself for a master */
	paper_stop(c, 4);
	paper_lead_other(c, 4, 6);
	paper_start(c, 4);
	paper_run(c, 12 * NSEC_PER_SEC);
	for (unsigned int i = 0; i < c->n; i++) {
		struct vip_table *t = paper_table(5);

		if (i != 4)
			assert_true(paper_holds(c, i, t));
		vip_table_free(t);
	}
	publish_status(c->nodes[7].publish, &s);
	assert_true(s.disbelieved > 0);
	assert_int_equal(s.have.node, paper_id(0));
	paper_free(c);
}

/* ---- whatever happens ---- */

/* Random faults for some minutes; the invariants are checked all along (paper_cluster.c), and when
 * the faults end all are equal. */
static void random_faults(uint64_t seed)
{
	struct paper *c = paper_new(12, 3, seed);

	paper_random_faults(c, 300 * NSEC_PER_SEC);
	paper_run(c, 60 * NSEC_PER_SEC);
	if (c->error || !paper_all_equal(c))
		fail_msg("VIPD_TEST_SEED=%llu: %s", (unsigned long long)seed,
			c->error ? c->error : "not all are equal at the end");
	paper_free(c);
}

/* A split heals, and what was said before a node's own poll is heard after it. */
static void test_late_words_are_not_later_words(void **state)
{
	random_faults(127);
	random_faults(750);
}

/* Two halves had a publisher each, of one term; both have stopped, and their last words cross. */
static void test_last_words_of_another_half(void **state)
{
	random_faults(972);
}

/* The same, and the publisher of this half has died. */
static void test_last_words_as_the_publisher_is_gone(void **state)
{
	random_faults(1888);
}

/* VIPD_TEST_SEED is the first seed, VIPD_RUNS says how many there are. */
static void test_random_faults(void **state)
{
	const char *given = getenv("VIPD_TEST_SEED"), *runs = getenv("VIPD_RUNS");
	uint64_t first = given ? strtoull(given, NULL, 0) : 1;
	uint64_t n = runs ? strtoull(runs, NULL, 0) : given ? 1 : 40;

	for (uint64_t seed = first; seed < first + n; seed++)
		random_faults(seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table_is_the_same_after_a_round_trip),
		cmocka_unit_test(test_root_tells_sets_apart_and_only_them),
		cmocka_unit_test(test_golden_records),
		cmocka_unit_test(test_what_is_not_canonical_is_no_record),
		cmocka_unit_test(test_copies_do_not_disturb_each_other),
		cmocka_unit_test(test_all_follow_and_nobody_polls),
		cmocka_unit_test(test_a_delta_is_everywhere_within_its_way),
		cmocka_unit_test(test_a_change_too_large_for_deltas),
		cmocka_unit_test(test_losses_are_repaired),
		cmocka_unit_test(test_who_starts_late_asks_a_neighbour),
		cmocka_unit_test(test_silence_makes_them_poll_and_the_publisher_makes_them_stop),
		cmocka_unit_test(test_one_announcement_is_no_publisher),
		cmocka_unit_test(test_a_new_leader_goes_above_the_old),
		cmocka_unit_test(test_two_that_both_lead),
		cmocka_unit_test(test_the_wrong_one_wins_until_it_notices),
		cmocka_unit_test(test_a_publisher_restarts),
		cmocka_unit_test(test_killed_in_the_middle_of_a_delta),
		cmocka_unit_test(test_two_halves_each_with_a_publisher),
		cmocka_unit_test(test_strangers_are_not_believed),
		cmocka_unit_test(test_late_words_are_not_later_words),
		cmocka_unit_test(test_last_words_of_another_half),
		cmocka_unit_test(test_last_words_as_the_publisher_is_gone),
		cmocka_unit_test(test_random_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
