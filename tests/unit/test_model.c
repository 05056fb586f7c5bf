/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The value types: text, order, and the sorted arrays of a state. */
#include "ipvs/model.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct ip_addr addr(const char *text)
{
	struct ip_addr a = {};

	assert_int_equal(ip_addr_parse(text, &a), 0);
	return a;
}

static struct service_key key(uint8_t protocol, const char *address, uint16_t port)
{
	return (struct service_key){.address = addr(address), .port = port, .protocol = protocol};
}

static void test_parse_refuses(void **state)
{
	static const char *const bad[] = {"", " 1.2.3.4", "1.2.3.4 ", "1.2.3", "1.2.3.4.5",
		"01.2.3.4", "0x1.2.3.4", "256.1.1.1", "[::1]", "fe80::1%lo", "::1/128",
		"12345::", "1.2.3.4:80", ":", "localhost"};
	struct ip_addr a;

	memset(&a, 0x55, sizeof(a));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(ip_addr_parse(bad[i], &a), -EINVAL);
		assert_int_equal(a.family, 0x55); /* untouched */
	}
}

static void test_text_is_canonical(void **state)
{
	static const char *const pairs[][2] = {
		{"11.202.66.36", "11.202.66.36"},
		{"FD01:C:0:0:DA94:49AC:1E87:4A07", "fd01:c::da94:49ac:1e87:4a07"},
		{"0:0:0:0:0:0:0:0", "::"},
		{"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
		{"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},
	};
	char buf[IP_ADDR_STRLEN], endpoint[ENDPOINT_STRLEN], text[SERVICE_KEY_STRLEN];
	struct ip_addr a = addr("fd01::1"), b = addr("255.255.255.255"), none = {};
	struct service_key k = key(IPPROTO_UDP, "1.2.3.4", 53);

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		struct ip_addr p = addr(pairs[i][0]);

		assert_string_equal(ip_addr_format(&p, buf), pairs[i][1]);
	}
	assert_string_equal(ip_addr_format(&none, buf), "none");
	assert_string_equal(endpoint_format(&a, 80, endpoint), "[fd01::1]:80");
	assert_string_equal(endpoint_format(&b, 65535, endpoint), "255.255.255.255:65535");
	assert_string_equal(service_key_format(&k, text), "udp 1.2.3.4:53");
}

static void test_order(void **state)
{
	const struct service_key in_order[] = {
		key(IPPROTO_TCP, "1.2.3.4", 80),
		key(IPPROTO_TCP, "1.2.3.4", 443),
		key(IPPROTO_TCP, "1.2.4.3", 1),
		key(IPPROTO_TCP, "200.0.0.1", 65535),
		key(IPPROTO_TCP, "::1", 1),
		key(IPPROTO_UDP, "1.2.3.4", 80),
	};
	const size_t n = sizeof(in_order) / sizeof(in_order[0]);

	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < n; j++) {
			int r = service_key_cmp(&in_order[i], &in_order[j]);

			assert_true(i < j ? r < 0 : i > j ? r > 0 : r == 0);
		}
}

static struct service_key random_key(void)
{
	struct service_key k = {.port = (uint16_t)(1 + random() % 3),
		.protocol = random() % 2 ? IPPROTO_TCP : IPPROTO_UDP};

	k.address.family = random() % 4 ? AF_INET : AF_INET6;
	k.address.bytes[0] = 11;
	k.address.bytes[3] = (uint8_t)(random() % 8);
	return k;
}

static void check_sorted(const struct kernel_state *s)
{
	for (size_t i = 1; i < s->n_services; i++)
		assert_true(service_key_cmp(&s->services[i - 1]->key, &s->services[i]->key) < 0);
	for (size_t i = 1; i < s->n_ports; i++)
		assert_true(service_key_cmp(&s->ports[i - 1], &s->ports[i]) < 0);
	for (size_t i = 1; i < s->n_routes; i++)
		assert_true(vip_route_cmp(&s->routes[i - 1], &s->routes[i]) < 0);
	for (size_t i = 1; i < s->n_addresses; i++)
		assert_true(ip_addr_cmp(&s->addresses[i - 1], &s->addresses[i]) < 0);
}

/* Inserting in any order, removing, and appending with one sort all agree. */
static void test_random_states(void **state)
{
	const char *given = getenv("TEST_SEED");
	unsigned int seed = given ? (unsigned int)atoi(given) : 7;

	print_message("# TEST_SEED=%u\n", seed);
	srandom(seed);
	for (int round = 0; round < 200; round++) {
		struct kernel_state *a = kernel_state_new(), *b = kernel_state_new();

		for (int i = 0; i < 60; i++) {
			struct service_key k = random_key();
			struct destination d = {.address = k.address, .port = k.port, .weight = 1};
			struct service *svc = kernel_state_service(a, &k);

			assert_ptr_equal(kernel_state_service(a, &k), svc);
			assert_ptr_equal(kernel_state_find(a, &k), svc);
			for (d.port = 9; d.port < 10; d.port -= 2) {
				assert_int_equal(service_set_destination(svc, &d), 0);
				assert_non_null(service_find_destination(svc, &d.address, d.port));
			}
			assert_int_equal(svc->n_destinations, 5);
			svc = kernel_state_append_service(b, &k);
			for (d.port = 9; d.port < 10; d.port -= 2) {
				assert_int_equal(service_append_destination(svc, &d), 0);
				assert_int_equal(service_append_destination(svc, &d), 0);
			}
		}
		kernel_state_sort(b);
		check_sorted(a);
		check_sorted(b);
		assert_int_equal(a->n_services, b->n_services);
		for (size_t i = 0; i < a->n_services; i++) {
			assert_int_equal(
				service_key_cmp(&a->services[i]->key, &b->services[i]->key), 0);
			assert_int_equal(b->services[i]->n_destinations, 5);
		}
		while (a->n_services) {
			struct service_key k = a->services[(size_t)random() % a->n_services]->key;

			assert_int_equal(kernel_state_remove_service(a, &k), 0);
			assert_int_equal(kernel_state_remove_service(a, &k), -ENOENT);
			assert_null(kernel_state_find(a, &k));
			check_sorted(a);
		}
		kernel_state_free(a);
		kernel_state_free(b);
	}
}

static void test_complete(void **state)
{
	struct kernel_state *s = kernel_state_new();
	struct ip_addr source = addr("10.0.0.1");
	struct service_key keys[] = {key(IPPROTO_UDP, "11.0.0.1", 53),
		key(IPPROTO_TCP, "11.0.0.1", 80), key(IPPROTO_TCP, "11.0.0.1", 53),
		key(IPPROTO_TCP, "fd01::1", 80)};

	for (size_t i = 0; i < 4; i++)
		assert_non_null(kernel_state_service(s, &keys[i]));
	for (int twice = 0; twice < 2; twice++) {
		assert_int_equal(kernel_state_complete(s, &source, NULL), 0);
		assert_true(s->has_link && s->has_sets);
		assert_int_equal(s->n_ports, 4);
		assert_int_equal(s->n_addresses, 2);
		assert_int_equal(s->n_routes, 2);
		check_sorted(s);
		assert_int_equal(ip_addr_cmp(&s->routes[0].source, &source), 0);
		assert_int_equal(s->routes[1].source.family, AF_UNSPEC);
	}
	assert_string_equal(s->services[0]->scheduler, "wlc");
	assert_int_equal(s->services[0]->timeout, SERVICE_SIGNATURE);
	assert_int_equal(s->services[0]->netmask, 0xffffffff);
	assert_int_equal(s->services[2]->netmask, 128);
	kernel_state_free(s);
}

static void test_sets(void **state)
{
	struct kernel_state *s = kernel_state_new();
	struct vip_route r = {.address = addr("11.0.0.1")};
	struct service_key k = key(IPPROTO_TCP, "11.0.0.1", 80);

	assert_null(kernel_state_find_route(s, &r.address));
	assert_int_equal(kernel_state_remove_route(s, &r.address), -ENOENT);
	assert_int_equal(kernel_state_set_route(s, &r), 0);
	r.source = addr("10.0.0.1");
	assert_int_equal(kernel_state_set_route(s, &r), 0);
	assert_int_equal(s->n_routes, 1);
	assert_int_equal(kernel_state_find_route(s, &r.address)->source.family, AF_INET);
	assert_false(kernel_state_has_port(s, &k));
	assert_int_equal(kernel_state_set_port(s, &k), 0);
	assert_true(kernel_state_has_port(s, &k));
	assert_int_equal(kernel_state_remove_port(s, &k), 0);
	assert_int_equal(kernel_state_set_address(s, &r.address), 0);
	assert_true(kernel_state_has_address(s, &r.address));
	assert_int_equal(kernel_state_remove_address(s, &r.address), 0);
	assert_int_equal(kernel_state_remove_address(s, &r.address), -ENOENT);
	kernel_state_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse_refuses),
		cmocka_unit_test(test_text_is_canonical),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_random_states),
		cmocka_unit_test(test_complete),
		cmocka_unit_test(test_sets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
