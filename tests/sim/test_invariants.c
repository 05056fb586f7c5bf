/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * That the invariants can fail; and what a run may not depend on: the clocks' readings, who has which
 * id, and whether packets come twice or in another order.
 */
#include "invariants.h"
#include "sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* ---- Tables by hand: 1 - 2 - 3, and 4, which has been lost ---- */

struct hand {
	struct gossip_member members[4];
	struct table table;
};

static void neighbour(struct gossip_member *m, uint64_t id)
{
	m->neighbours[m->n_neighbours++] = id;
}

static void lost(struct gossip_member *m, uint64_t id, enum gossip_status status)
{
	m->lost[m->n_lost].id = id;
	m->lost[m->n_lost++].status = status;
}

static void hand_make(struct hand *h)
{
	memset(h, 0, sizeof(*h));
	for (unsigned i = 0; i < 4; i++) {
		h->members[i].id = i + 1;
		h->members[i].incarnation = h->members[i].version = 1;
		h->members[i].reachable = i < 3;
	}
	neighbour(&h->members[0], 2);
	neighbour(&h->members[1], 1);
	neighbour(&h->members[1], 3);
	neighbour(&h->members[2], 2);
	neighbour(&h->members[3], 1); /* it still thinks so */
	lost(&h->members[0], 4, GOSSIP_STATUS_DOWN);
	lost(&h->members[2], 4, GOSSIP_STATUS_DOWN);
	h->table = (struct table){
		.self = 1, .n = 4, .n_reachable = 3, .digest = 7, .members = h->members};
}

static void test_paths_can_fail(void **state)
{
	struct hand h;

	hand_make(&h);
	assert_null(table_check_paths(&h.table));
	h.members[3].reachable = true; /* by an edge that one end alone lists */
	assert_non_null(table_check_paths(&h.table));
	hand_make(&h);
	h.members[2].reachable = false;
	assert_non_null(table_check_paths(&h.table));
	hand_make(&h);
	h.members[1].n_neighbours = 1; /* 2 does not list 3 any more */
	assert_non_null(table_check_paths(&h.table));
	hand_make(&h);
	h.table.n_reachable = 4;
	assert_non_null(table_check_paths(&h.table));
	hand_make(&h);
	h.table.self = 9;
	assert_non_null(table_check_paths(&h.table));
}

static void test_verdict_can_fail(void **state)
{
	struct hand h;

	hand_make(&h);
	assert_null(table_check_verdict(&h.table, 4));
	assert_non_null(table_check_verdict(&h.table, 3));   /* has a path */
	h.members[2].lost[0].status = GOSSIP_STATUS_STALLED; /* one vote of three */
	assert_non_null(table_check_verdict(&h.table, 4));
	hand_make(&h);
	h.members[2].reachable = false; /* and so its vote */
	assert_non_null(table_check_verdict(&h.table, 4));
	h.table.n_reachable = 1; /* who is alone has but its own */
	assert_null(table_check_verdict(&h.table, 4));
}

static void test_equality_can_fail(void **state)
{
	struct hand a, b;

	hand_make(&a);
	hand_make(&b);
	assert_null(table_check_equal(&a.table, &b.table));
	b.members[2].version++;
	assert_non_null(table_check_equal(&a.table, &b.table));
	b.table.digest++; /* that is what digests are for */
	assert_null(table_check_equal(&a.table, &b.table));
	hand_make(&b);
	b.members[1].neighbours[0] = 4;
	assert_non_null(table_check_equal(&a.table, &b.table));
	hand_make(&b);
	b.members[0].lost[0].status = GOSSIP_STATUS_AGENTLESS;
	assert_non_null(table_check_equal(&a.table, &b.table));
	hand_make(&b);
	b.table.n = 3;
	assert_non_null(table_check_equal(&a.table, &b.table));
}

/* A detector that takes the first lost packet for a death is found out by the checks of a simulation. */
static void test_a_hasty_detector_is_noticed(void **state)
{
	struct sim_options o = sim_options(12, 1);
	struct sim *s;

	gossip_config_init(&o.config);
	o.config.n_tries_min = o.config.n_tries_max = 1;
	o.config.try_interval = MSEC;
	s = sim_new(&o);
	sim_loss(s, 0.2);
	for (unsigned k = 0; k < 600 && !sim_check(s); k++)
		sim_run(s, SEC);
	assert_non_null(sim_check(s));
	assert_non_null(strstr(sim_check(s), "can be heard"));
	sim_free(s);
}

/* ---- What a run may not depend on ---- */

#define N 20

/* A bit of everything, by the parts that the hosts play; `part` says which host plays it. Returns what
 * each part says of each in the end. */
static void play(const struct sim_options *options, const unsigned part[N],
	enum gossip_status ret_end[N][N], uint64_t *ret_hash)
{
	struct sim *s = sim_new(options);
	unsigned cut;

	sim_start_all(s, 100 * MSEC);
	sim_run(s, 15 * SEC);
	sim_crash(s, part[5]);
	sim_run(s, 300 * MSEC);
	sim_kill(s, part[6]);
	sim_stop_for(s, part[7], 3 * SEC);
	sim_isolate(s, part[8]);
	sim_run(s, 8 * SEC);
	sim_join(s, part[8]);
	sim_kill(s, part[9]);
	sim_start(s, part[9]);
	sim_run(s, 2 * SEC);
	cut = sim_cut(s, part[10], 1, 0, N, true);
	sim_run(s, 5 * SEC);
	sim_heal(s, cut);
	sim_crash(s, part[11]);
	sim_run(s, 40 * SEC);
	assert_null(sim_check_quiet(s));
	for (unsigned i = 0; i < N; i++) {
		for (unsigned k = 0; k < N; k++)
			ret_end[i][k] = sim_status(s, part[i], part[k]);
	}
	*ret_hash = sim_hash(s);
	sim_free(s);
}

static struct sim_options play_options(void)
{
	struct sim_options o = sim_options(N, 1);

	o.cold = true;
	return o;
}

static void as_they_are(unsigned part[N])
{
	for (unsigned i = 0; i < N; i++)
		part[i] = i;
}

static void test_end_is_right(void **state)
{
	enum gossip_status end[N][N];
	struct sim_options o = play_options();
	unsigned part[N];
	uint64_t hash;

	as_they_are(part);
	play(&o, part, end, &hash);
	for (unsigned i = 0; i < N; i++) {
		for (unsigned k = 0; k < N; k++) {
			bool speaks = i != 5 && i != 6 && i != 11;

			assert_int_equal(end[i][k], !speaks             ? GOSSIP_STATUS_UNKNOWN
						    : k == 5 || k == 11 ? GOSSIP_STATUS_DOWN
						    : k == 6            ? GOSSIP_STATUS_AGENTLESS
									: GOSSIP_STATUS_UP);
		}
	}
}

/* All clocks ahead by years, each by more than the one before: the same run, byte for byte. */
static void test_clocks_are_nothing(void **state)
{
	enum gossip_status end[2][N][N];
	struct sim_options o = play_options();
	unsigned part[N];
	uint64_t hash[2];

	as_they_are(part);
	play(&o, part, end[0], &hash[0]);
	o.clock_shift = 365 * 24 * 3600 * SEC;
	play(&o, part, end[1], &hash[1]);
	assert_true(hash[0] == hash[1]);
	assert_memory_equal(end[0], end[1], sizeof(end[0]));
}

/* Other hosts, and so other ids, play the parts: the same end. The first three are the contacts. */
static void test_ids_are_nothing(void **state)
{
	enum gossip_status end[2][N][N];
	struct sim_options o = play_options();
	unsigned part[N];
	uint64_t hash;

	as_they_are(part);
	play(&o, part, end[0], &hash);
	for (unsigned shift = 1; shift <= 5; shift++) {
		for (unsigned i = 3; i < N; i++)
			part[i] = 3 + (i * shift + 5 * shift) % (N - 3);
		play(&o, part, end[1], &hash);
		assert_memory_equal(end[0], end[1], sizeof(end[0]));
	}
}

/* Packets come twice, late and in another order: the same end. */
static void test_order_is_nothing(void **state)
{
	enum gossip_status end[2][N][N];
	struct sim_options o = play_options();
	unsigned part[N];
	uint64_t hash;

	as_they_are(part);
	play(&o, part, end[0], &hash);
	for (unsigned k = 1; k <= 5; k++) {
		o.duplicate = 0.2 * k;
		o.reorder = 1 - 0.2 * k;
		play(&o, part, end[1], &hash);
		assert_memory_equal(end[0], end[1], sizeof(end[0]));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_paths_can_fail),
		cmocka_unit_test(test_verdict_can_fail),
		cmocka_unit_test(test_equality_can_fail),
		cmocka_unit_test(test_a_hasty_detector_is_noticed),
		cmocka_unit_test(test_end_is_right),
		cmocka_unit_test(test_clocks_are_nothing),
		cmocka_unit_test(test_ids_are_nothing),
		cmocka_unit_test(test_order_is_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
