/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "agent/desired/drain.h"

#define S NSEC_PER_SEC
#define TIMEOUT (30 * S)

static struct ip_addr addr(const char *text)
{
	struct ip_addr a = {0};

	assert_int_equal(ip_addr_parse(text, &a), 0);
	return a;
}

static struct service_key key(uint8_t protocol)
{
	return (struct service_key){.address = addr("1.2.3.4"), .port = 80, .protocol = protocol};
}

/* A complete state with one service and destinations 10.0.0.1 ... 10.0.0.n (n <= 9). */
static struct kernel_state *state_of(uint8_t protocol, int n)
{
	struct kernel_state *s = kernel_state_new();
	struct service_key k = key(protocol);

	for (int i = 1; i <= n; i++) {
		char text[] = "10.0.0.0";
		struct destination d = {.port = 8080, .weight = 1};

		text[7] = (char)('0' + i);
		d.address = addr(text);
		assert_int_equal(service_set_destination(kernel_state_service(s, &k), &d), 0);
	}
	assert_int_equal(kernel_state_complete(s, &(struct ip_addr){0}, &(struct ip_addr){0}), 0);
	return s;
}

static struct destination *dest(struct kernel_state *s, const char *address)
{
	struct service_key k = key(IPPROTO_TCP);
	struct service *svc = kernel_state_find(s, &k);
	struct ip_addr a = addr(address);

	return svc ? service_find_destination(svc, &a, 8080) : NULL;
}

/* The wanted state of n destinations, extended by what drains at `now`. */
static struct kernel_state *extended(
	struct drains *d, const struct kernel_state *have, int n, nsec_t now)
{
	struct kernel_state *want = state_of(IPPROTO_TCP, n);

	drains_extend(
		d, want, &(struct drains_input){.have = have, .now = now, .timeout = TIMEOUT});
	return want;
}

static nsec_t deadline(const struct drains *d)
{
	assert_true(drains_count(d) > 0);
	return drains_get(d, 0)->deadline;
}

static bool observe(struct drains *d, const struct kernel_state *have, nsec_t now)
{
	struct service_key keys[4];
	size_t n = drains_next(d, now, keys, 4);

	return drains_observe(d, have, keys, n, now);
}

static void test_leaver_drains_until_deadline(void **state)
{
	struct drains *d = drains_new();
	struct kernel_state *have = state_of(IPPROTO_TCP, 3), *want = extended(d, have, 2, S);

	assert_int_equal(drains_count(d), 1);
	assert_non_null(dest(want, "10.0.0.3"));
	assert_int_equal(dest(want, "10.0.0.3")->weight, 0);
	assert_int_equal(dest(want, "10.0.0.1")->weight, 1);
	assert_int_equal(deadline(d), S + TIMEOUT);
	kernel_state_free(want);

	/* Later calls do not start the clock anew. */
	want = extended(d, have, 2, 20 * S);
	assert_int_equal(deadline(d), S + TIMEOUT);
	assert_non_null(dest(want, "10.0.0.3"));
	kernel_state_free(want);

	want = extended(d, have, 2, S + TIMEOUT);
	assert_null(dest(want, "10.0.0.3"));
	kernel_state_free(want);
	kernel_state_free(have);

	/* Gone from the kernel: forgotten. */
	have = state_of(IPPROTO_TCP, 2);
	want = extended(d, have, 2, S + TIMEOUT + 1);
	assert_int_equal(drains_count(d), 0);
	kernel_state_free(want);
	kernel_state_free(have);
	drains_free(d);
}

static void test_over_when_idle_twice(void **state)
{
	struct drains *d = drains_new();
	struct kernel_state *have = state_of(IPPROTO_TCP, 2), *want = extended(d, have, 1, S);

	kernel_state_free(want);
	dest(have, "10.0.0.2")->n_active = 3;
	assert_false(observe(d, have, 2 * S));
	dest(have, "10.0.0.2")->n_active = 0;
	assert_false(observe(d, have, 3 * S)); /* one may be in its handshake */
	dest(have, "10.0.0.2")->n_active = 1;
	assert_false(observe(d, have, 4 * S));
	dest(have, "10.0.0.2")->n_active = 0;
	assert_false(observe(d, have, 5 * S));
	assert_true(observe(d, have, 6 * S));
	want = extended(d, have, 1, 6 * S);
	assert_null(dest(want, "10.0.0.2"));
	kernel_state_free(want);
	kernel_state_free(have);
	drains_free(d);
}

static void test_comes_back(void **state)
{
	struct drains *d = drains_new();
	struct kernel_state *have = state_of(IPPROTO_TCP, 2), *want = extended(d, have, 1, S);

	kernel_state_free(want);
	want = extended(d, have, 2, 2 * S); /* wanted again */
	assert_int_equal(dest(want, "10.0.0.2")->weight, 1);
	assert_int_equal(drains_count(d), 0);
	kernel_state_free(want);
	want = extended(d, have, 1, 100 * S); /* leaves again: a new clock */
	assert_int_equal(deadline(d), 100 * S + TIMEOUT);
	kernel_state_free(want);
	kernel_state_free(have);
	drains_free(d);
}

/* The VIP itself goes: it stays, with nothing but weight 0, until it is empty. */
static void test_last_service_drains(void **state)
{
	struct drains *d = drains_new();
	struct kernel_state *have = state_of(IPPROTO_TCP, 2), *want = kernel_state_new();

	drains_extend(d, want, &(struct drains_input){.have = have, .now = S, .timeout = TIMEOUT});
	assert_int_equal(want->n_services, 1);
	assert_int_equal(want->services[0]->n_destinations, 2);
	assert_int_equal(want->services[0]->destinations[0].weight, 0);
	kernel_state_free(want);
	kernel_state_free(have);
	drains_free(d);
}

static void test_udp_and_foreign_do_not_drain(void **state)
{
	struct drains *d = drains_new();
	struct kernel_state *have = state_of(IPPROTO_UDP, 2), *want = kernel_state_new();

	drains_extend(d, want, &(struct drains_input){.have = have, .now = S, .timeout = TIMEOUT});
	assert_int_equal(want->n_services + drains_count(d), 0);
	kernel_state_free(have);

	have = state_of(IPPROTO_TCP, 2);
	have->n_ports = have->n_routes = 0; /* neither in the sets nor routed: not vipd's */
	drains_extend(d, want, &(struct drains_input){.have = have, .now = S, .timeout = TIMEOUT});
	assert_int_equal(want->n_services + drains_count(d), 0);
	kernel_state_free(have);
	kernel_state_free(want);
	drains_free(d);
}

/* On a dead node: removed without draining. */
static void test_gone_does_not_drain(void **state)
{
	struct drains *d = drains_new();
	struct kernel_state *have = state_of(IPPROTO_TCP, 3), *want = state_of(IPPROTO_TCP, 1);
	struct drain_key gone = {key(IPPROTO_TCP), addr("10.0.0.2"), 8080};
	struct drains_input in = {
		.have = have, .now = S, .timeout = TIMEOUT, .gone = &gone, .n_gone = 1};

	assert_true(drains_extend(d, want, &in));
	assert_null(dest(want, "10.0.0.2"));
	assert_non_null(dest(want, "10.0.0.3"));
	kernel_state_free(want);
	kernel_state_free(have);
	drains_free(d);
}

/* A state of n services with one destination each. */
static struct kernel_state *wide(size_t n)
{
	struct kernel_state *s = kernel_state_new();

	for (size_t i = 0; i < n; i++) {
		struct service_key k = key(IPPROTO_TCP);
		struct destination d = {.address = addr("10.0.0.1"), .port = 80, .weight = 1};

		k.port = (uint16_t)(i + 1);
		assert_int_equal(service_set_destination(kernel_state_service(s, &k), &d), 0);
	}
	assert_int_equal(kernel_state_complete(s, &(struct ip_addr){0}, &(struct ip_addr){0}), 0);
	return s;
}

/* However many end at once, few are removed within the time the kernel remembers them. */
static void test_mass_removal_is_spread(void **state)
{
	struct drains *d = drains_new();
	struct kernel_state *have = wide(2000);
	size_t left[4];

	for (int i = 0; i < 4; i++) {
		static const nsec_t times[] = {S, 60 * S, 61 * S, 700 * S};
		struct kernel_state *want = kernel_state_new();

		drains_extend(d, want,
			&(struct drains_input){.have = have, .now = times[i], .timeout = TIMEOUT});
		left[i] = want->n_services;
		if (i > 0) { /* the kernel does what was planned */
			kernel_state_complete(want, &(struct ip_addr){0}, &(struct ip_addr){0});
			kernel_state_free(have);
			have = want;
		} else {
			kernel_state_free(want);
		}
	}
	assert_int_equal(left[0], 2000); /* draining */
	assert_true(left[1] < 2000 && left[1] >= 1000);
	assert_int_equal(left[2], left[1]); /* no more for now */
	assert_true(left[3] < left[2]);
	kernel_state_free(have);
	drains_free(d);
}

/* Counting goes round in slices. */
static void test_next_goes_round(void **state)
{
	struct drains *d = drains_new();
	struct kernel_state *have = wide(10), *want = kernel_state_new();
	struct service_key keys[4];
	unsigned int seen[11] = {0};

	drains_extend(d, want, &(struct drains_input){.have = have, .now = S, .timeout = TIMEOUT});
	for (int i = 0; i < 5; i++) {
		assert_int_equal(drains_next(d, S, keys, 4), 4);
		for (int k = 0; k < 4; k++)
			seen[keys[k].port]++;
	}
	for (int i = 1; i <= 10; i++)
		assert_int_equal(seen[i], 2);
	kernel_state_free(want);
	kernel_state_free(have);
	drains_free(d);
}

static void test_deadlines_survive(void **state)
{
	char path[] = "/tmp/vipd-drains-XXXXXX";
	struct drains *d = drains_new(), *e = drains_new();
	struct kernel_state *have = state_of(IPPROTO_TCP, 3), *want = extended(d, have, 1, S);
	FILE *f;

	close(mkstemp(path));
	assert_int_equal(drains_save(d, path), 0);
	kernel_state_free(want);
	assert_int_equal(drains_load(e, path), 0);
	assert_int_equal(drains_count(e), 2);
	want = extended(e, have, 1, 10 * S);
	assert_int_equal(deadline(e), S + TIMEOUT);
	assert_int_equal(drains_count(e), 2);
	drains_free(e);

	/* Another boot, or damage: as good as none. */
	f = fopen(path, "w");
	fputs("vipd drains 1 00000000000000000000000000000000\n1.2.3.4 80 10.0.0.2 8080 1 2\n", f);
	fclose(f);
	e = drains_new();
	assert_true(drains_load(e, path) < 0);
	assert_int_equal(drains_count(e), 0);
	unlink(path);
	assert_true(drains_load(e, path) < 0);

	/* None left: no file. */
	drains_save(d, path);
	drains_free(d);
	d = drains_new();
	assert_int_equal(drains_save(d, path), 0);
	assert_int_not_equal(access(path, F_OK), 0);
	kernel_state_free(want);
	kernel_state_free(have);
	drains_free(d);
	drains_free(e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_leaver_drains_until_deadline),
		cmocka_unit_test(test_over_when_idle_twice),
		cmocka_unit_test(test_comes_back),
		cmocka_unit_test(test_last_service_drains),
		cmocka_unit_test(test_udp_and_foreign_do_not_drain),
		cmocka_unit_test(test_gone_does_not_drain),
		cmocka_unit_test(test_mass_removal_is_spread),
		cmocka_unit_test(test_next_goes_round),
		cmocka_unit_test(test_deadlines_survive),
	};

	return cmocka_run_group_tests_name("drain", tests, NULL, NULL);
}
