/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "agent/drain.h"

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

	drains_extend(d, want, have, now, TIMEOUT);
	return want;
}

static void test_leaver_drains_until_deadline(void **state)
{
	struct drains *d = drains_new();
	struct kernel_state *have = state_of(IPPROTO_TCP, 3), *want = extended(d, have, 2, S);

	assert_int_equal(drains_count(d), 1);
	assert_non_null(dest(want, "10.0.0.3"));
	assert_int_equal(dest(want, "10.0.0.3")->weight, 0);
	assert_int_equal(dest(want, "10.0.0.1")->weight, 1);
	assert_int_equal(drains_deadline(d), S + TIMEOUT);
	kernel_state_free(want);

	/* Later calls do not start the clock anew. */
	want = extended(d, have, 2, 20 * S);
	assert_int_equal(drains_deadline(d), S + TIMEOUT);
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
	assert_false(drains_observe(d, have, 2 * S));
	dest(have, "10.0.0.2")->n_active = 0;
	assert_false(drains_observe(d, have, 3 * S)); /* one may be in its handshake */
	dest(have, "10.0.0.2")->n_active = 1;
	assert_false(drains_observe(d, have, 4 * S));
	dest(have, "10.0.0.2")->n_active = 0;
	assert_false(drains_observe(d, have, 5 * S));
	assert_true(drains_observe(d, have, 6 * S));
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
	assert_int_equal(drains_deadline(d), 100 * S + TIMEOUT);
	kernel_state_free(want);
	kernel_state_free(have);
	drains_free(d);
}

/* The VIP itself goes: it stays, with nothing but weight 0, until it is empty. */
static void test_last_service_drains(void **state)
{
	struct drains *d = drains_new();
	struct kernel_state *have = state_of(IPPROTO_TCP, 2), *want = kernel_state_new();

	drains_extend(d, want, have, S, TIMEOUT);
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

	drains_extend(d, want, have, S, TIMEOUT);
	assert_int_equal(want->n_services + drains_count(d), 0);
	kernel_state_free(have);

	have = state_of(IPPROTO_TCP, 2);
	have->n_ports = have->n_routes = 0; /* neither in the sets nor routed: not vipd's */
	drains_extend(d, want, have, S, TIMEOUT);
	assert_int_equal(want->n_services + drains_count(d), 0);
	kernel_state_free(have);
	kernel_state_free(want);
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
	assert_int_equal(drains_deadline(e), S + TIMEOUT);
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
		cmocka_unit_test(test_deadlines_survive),
	};

	return cmocka_run_group_tests_name("drain", tests, NULL, NULL);
}
