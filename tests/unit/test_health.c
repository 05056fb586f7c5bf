/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/desired/health.h"

#define S NSEC_PER_SEC
#define HOLD_MAX (300 * S)

static const struct health_options options = {
	.confirm = 2 * S, .hold = 5 * S, .hold_max = HOLD_MAX};
static const struct ip_addr a = {AF_INET, {10, 0, 0, 1}}, b = {AF_INET, {10, 0, 0, 2}};

static void test_down_then_confirmed(void **state)
{
	struct healths *h = healths_new(&options);
	size_t n;

	assert_int_equal(healths_get(h, &a), HEALTH_UP);
	assert_false(healths_report(h, &a, true, S)); /* nothing new */
	assert_int_equal(healths_deadline(h), UINT64_MAX);
	assert_true(healths_report(h, &a, false, 10 * S));
	assert_false(healths_report(h, &a, false, 11 * S)); /* known */
	assert_int_equal(healths_get(h, &a), HEALTH_DOWN);
	assert_int_equal(healths_get(h, &b), HEALTH_UP);
	assert_int_equal(healths_deadline(h), 12 * S);
	assert_false(healths_tick(h, 12 * S - 1));
	assert_true(healths_tick(h, 12 * S));
	assert_false(healths_tick(h, 12 * S));
	assert_int_equal(healths_get(h, &a), HEALTH_CONFIRMED);
	assert_true(healths_report(h, &b, false, 13 * S));
	assert_int_equal(ip_addr_cmp(&healths_list(h, &n)[1].agent, &b), 0);
	assert_int_equal(n, 2);
	healths_free(h);
}

static void test_first_return_is_free(void **state)
{
	struct healths *h = healths_new(&options);
	size_t n;

	healths_report(h, &a, false, 10 * S);
	assert_true(healths_report(h, &a, true, 11 * S));
	assert_int_equal(healths_get(h, &a), HEALTH_UP);
	/* Forgiven, it is forgotten. */
	assert_int_equal(healths_deadline(h), 11 * S + HOLD_MAX);
	healths_tick(h, 11 * S + HOLD_MAX);
	healths_list(h, &n);
	assert_int_equal(n, 0);
	healths_free(h);
}

/* Down and up every second: each time it is held longer, up to the bound. */
static void test_flapping_is_held_longer(void **state)
{
	static const unsigned int expected[] = {0, 5, 10, 20, 40, 80, 160, 300, 300};
	struct healths *h = healths_new(&options);
	nsec_t now = S;

	for (size_t i = 0; i < sizeof(expected) / sizeof(*expected); i++) {
		healths_report(h, &a, false, now);
		now += S;
		healths_tick(h, now);
		healths_report(h, &a, true, now);
		if (expected[i]) {
			assert_int_not_equal(healths_get(h, &a), HEALTH_UP);
			assert_int_equal(healths_deadline(h), now + expected[i] * S);
			now += expected[i] * S;
			assert_true(healths_tick(h, now));
		}
		assert_int_equal(healths_get(h, &a), HEALTH_UP);
		now += S;
	}
	healths_free(h);
}

/* A node that goes down while it is held does not get new connections in between. */
static void test_down_while_held(void **state)
{
	struct healths *h = healths_new(&options);

	healths_report(h, &a, false, 1 * S);
	healths_report(h, &a, true, 2 * S);
	healths_report(h, &a, false, 3 * S);
	assert_false(healths_report(h, &a, true, 4 * S)); /* held until 9 */
	assert_int_equal(healths_get(h, &a), HEALTH_DOWN);
	assert_false(healths_report(h, &a, false, 5 * S));
	assert_true(healths_tick(h, 9 * S)); /* confirmed, not released */
	assert_int_equal(healths_get(h, &a), HEALTH_CONFIRMED);
	healths_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_down_then_confirmed),
		cmocka_unit_test(test_first_return_is_free),
		cmocka_unit_test(test_flapping_is_held_longer),
		cmocka_unit_test(test_down_while_held),
	};

	return cmocka_run_group_tests_name("health", tests, NULL, NULL);
}
