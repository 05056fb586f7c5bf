/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "agent/desired/ramp.h"

#define S NSEC_PER_SEC
#define TIME (10 * S)

static const struct service_key key = {
	.address = {AF_INET, {1, 2, 3, 4}}, .port = 80, .protocol = IPPROTO_TCP};

/* One service with destinations 10.0.0.1 ... 10.0.0.n, of these weights. */
static struct kernel_state *state_of(const char *weights)
{
	struct kernel_state *s = kernel_state_new();

	for (uint8_t i = 0; weights[i]; i++) {
		struct destination d = {.address = {AF_INET, {10, 0, 0, (uint8_t)(i + 1)}},
			.port = 80,
			.weight = (uint32_t)(weights[i] - '0')};

		assert_int_equal(service_set_destination(kernel_state_service(s, &key), &d), 0);
	}
	return s;
}

/* The weights of a wanted state after the ramps, e.g. "10 10 1". */
static const char *ramped(
	struct ramps *r, const char *want, const char *have, nsec_t now, nsec_t time)
{
	static char text[64];
	struct kernel_state *w = state_of(want), *h = state_of(have);
	int n = 0;

	ramps_apply(r, w, h, now, time);
	for (size_t i = 0; i < w->services[0]->n_destinations; i++)
		n += snprintf(text + n, sizeof(text) - (size_t)n, "%s%u", i ? " " : "",
			w->services[0]->destinations[i].weight);
	kernel_state_free(w);
	kernel_state_free(h);
	return text;
}

static void test_grows_to_full_share(void **state)
{
	struct ramps *r = ramps_new();

	assert_string_equal(ramped(r, "111", "11", S, TIME), "10 10 1");
	assert_int_equal(ramps_count(r), 1);
	assert_string_equal(ramped(r, "111", "111", S + TIME / 2, TIME), "10 10 5");
	assert_string_equal(ramped(r, "111", "111", S + TIME, TIME), "1 1 1");
	assert_int_equal(ramps_count(r), 0);
	assert_string_equal(ramped(r, "111", "111", 2 * S + TIME, TIME), "1 1 1");
	ramps_free(r);
}

static void test_off_and_idle_services_do_not_ramp(void **state)
{
	struct ramps *r = ramps_new();

	assert_string_equal(ramped(r, "111", "11", S, 0), "1 1 1");
	assert_string_equal(ramped(r, "111", "", S, TIME), "1 1 1");   /* the service is new */
	assert_string_equal(ramped(r, "111", "00", S, TIME), "1 1 1"); /* nobody else takes any */
	assert_int_equal(ramps_count(r), 0);
	ramps_free(r);
}

/* Healthy again after weight 0 is as good as new; unhealthy stays 0. */
static void test_recovered_ramps(void **state)
{
	struct ramps *r = ramps_new();

	assert_string_equal(ramped(r, "110", "101", S, TIME), "10 1 0");
	assert_string_equal(ramped(r, "100", "110", 2 * S, TIME), "1 0 0"); /* and down again */
	assert_int_equal(ramps_count(r), 0);
	ramps_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grows_to_full_share),
		cmocka_unit_test(test_off_and_idle_services_do_not_ramp),
		cmocka_unit_test(test_recovered_ramps),
	};

	return cmocka_run_group_tests_name("ramp", tests, NULL, NULL);
}
