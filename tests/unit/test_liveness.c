/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/overlay/liveness.h"

#define S NSEC_PER_SEC

static const struct health_options options = {.confirm = 2 * S, .hold = 5 * S, .hold_max = 300 * S};
static const struct ip_addr a = {AF_INET, {10, 0, 0, 1}}, b = {AF_INET, {10, 0, 0, 2}},
			    bridge = {AF_INET, {172, 17, 0, 1}};

static struct overlay_node node(
	uint64_t id, enum gossip_status status, const struct ip_addr *own, bool with_bridge)
{
	struct overlay_node n = {.id = id, .status = status, .n_addresses = 1};

	n.addresses[0] = *own;
	if (with_bridge)
		n.addresses[n.n_addresses++] = bridge;
	return n;
}

static bool report(struct liveness *l, uint64_t id, enum gossip_status status,
	const struct ip_addr *own, nsec_t now)
{
	struct overlay_node n = node(id, status, own, true);

	return liveness_node(l, &n, now);
}

static enum health health(const struct liveness *l, const struct ip_addr *address)
{
	size_t n;
	const struct node_health *list = liveness_healths(l, &n);

	for (size_t i = 0; i < n; i++)
		if (ip_addr_cmp(&list[i].agent, address) == 0)
			return list[i].health;
	return HEALTH_UP;
}

static void test_down_and_back(void **state)
{
	struct liveness *l = liveness_new(&options);

	assert_false(report(l, 1, GOSSIP_STATUS_UP, &a, S));
	assert_false(report(l, 2, GOSSIP_STATUS_UP, &b, S));
	assert_true(report(l, 1, GOSSIP_STATUS_DOWN, &a, 2 * S));
	assert_int_equal(health(l, &a), HEALTH_DOWN);
	assert_int_equal(health(l, &bridge), HEALTH_UP); /* the other one has it too */
	assert_int_equal(liveness_count(l, GOSSIP_STATUS_DOWN), 1);
	assert_int_equal(liveness_get(l, 1)->status, GOSSIP_STATUS_DOWN);
	assert_null(liveness_get(l, 3));
	assert_int_equal(liveness_deadline(l), 4 * S);
	assert_true(liveness_tick(l, 4 * S));
	assert_int_equal(health(l, &a), HEALTH_CONFIRMED);
	assert_true(report(l, 1, GOSSIP_STATUS_UP, &a, 5 * S));
	assert_int_equal(health(l, &a), HEALTH_UP);
	assert_null(liveness_free(l));
}

/* Whose kernel answers keeps its backends; whoever was never seen linked is not judged. */
static void test_only_down_counts(void **state)
{
	static const enum gossip_status kept[] = {GOSSIP_STATUS_UNKNOWN, GOSSIP_STATUS_UP,
		GOSSIP_STATUS_STALLED, GOSSIP_STATUS_AGENTLESS};
	struct liveness *l = liveness_new(&options);

	for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
		assert_false(report(l, 1, kept[i], &a, S));
		assert_int_equal(health(l, &a), HEALTH_UP);
	}
	liveness_free(l);
}

/* A node that lost its disk has another id and the same address: its former self, which is down,
 * says nothing about it. */
static void test_former_self(void **state)
{
	struct liveness *l = liveness_new(&options);

	report(l, 1, GOSSIP_STATUS_UP, &a, S);
	report(l, 9, GOSSIP_STATUS_UP, &a, 2 * S);
	assert_false(report(l, 1, GOSSIP_STATUS_DOWN, &a, 3 * S));
	assert_true(liveness_find(l, &a)->id == 9);
	assert_true(report(l, 9, GOSSIP_STATUS_DOWN, &a, 4 * S));
	assert_true(report(l, 9, GOSSIP_STATUS_UP, &a, 5 * S));
	assert_false(liveness_forgotten(l, 1, 6 * S));
	assert_int_equal(health(l, &a), HEALTH_UP);
	liveness_free(l);
}

/* Addresses that a node does not name any more are not judged by it, and one that it does is. */
static void test_addresses_change(void **state)
{
	struct liveness *l = liveness_new(&options);

	report(l, 1, GOSSIP_STATUS_DOWN, &a, S);
	assert_int_equal(health(l, &a), HEALTH_DOWN);
	assert_true(report(l, 1, GOSSIP_STATUS_DOWN, &b, 2 * S));
	assert_int_equal(health(l, &a), HEALTH_UP);
	assert_int_equal(health(l, &b), HEALTH_DOWN);
	assert_null(liveness_find(l, &a));
	assert_true(liveness_forgotten(l, 1, 3 * S));
	assert_int_equal(health(l, &b), HEALTH_UP);
	assert_false(liveness_forgotten(l, 1, 3 * S));
	liveness_free(l);
}

/* Cut off, it judges nobody, and when it is back it judges by what is true then. */
static void test_self_doubt(void **state)
{
	struct liveness *l = liveness_new(&options);

	report(l, 1, GOSSIP_STATUS_UP, &a, S);
	report(l, 2, GOSSIP_STATUS_DOWN, &b, S);
	assert_true(liveness_self(l, GOSSIP_SELF_CUT_OFF));
	assert_int_equal(health(l, &b), HEALTH_UP);
	assert_false(report(l, 1, GOSSIP_STATUS_DOWN, &a, 2 * S));
	assert_false(liveness_tick(l, 10 * S));
	assert_false(liveness_self(l, GOSSIP_SELF_MINORITY));
	assert_false(report(l, 1, GOSSIP_STATUS_UP, &a, 11 * S));
	assert_true(liveness_self(l, GOSSIP_SELF_WELL));
	assert_int_equal(health(l, &a), HEALTH_UP);
	assert_int_equal(health(l, &b), HEALTH_CONFIRMED);
	liveness_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_down_and_back),
		cmocka_unit_test(test_only_down_counts),
		cmocka_unit_test(test_former_self),
		cmocka_unit_test(test_addresses_change),
		cmocka_unit_test(test_self_doubt),
	};

	return cmocka_run_group_tests_name("liveness", tests, NULL, NULL);
}
