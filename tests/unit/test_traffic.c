/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ipvs/traffic.h"

static struct service_traffic service(const char *address, uint64_t connections)
{
	struct service_traffic s = {.key = {.port = 80, .protocol = IPPROTO_TCP}};

	assert_int_equal(ip_addr_parse(address, &s.key.address), 0);
	s.total.connections = connections;
	return s;
}

static struct destination_traffic destination(const char *address, uint32_t n_active)
{
	struct destination_traffic d = {.port = 8080, .n_active = n_active};

	assert_int_equal(ip_addr_parse(address, &d.address), 0);
	return d;
}

/* A dump that others disturbed repeats entries. */
static void test_sort_and_find(void **state)
{
	static const char *const addresses[] = {"9.0.0.3", "9.0.0.1", "9.0.0.3", "9.0.0.2"};
	struct traffic_table *t = traffic_table_new();
	struct destination_traffic d = destination("10.0.0.2", 2);
	struct service_traffic *first;

	for (size_t i = 0; i < 4; i++) {
		struct service_traffic s = service(addresses[i], i);

		assert_non_null(traffic_table_append(t, &s));
	}
	traffic_table_sort(t);
	assert_int_equal(t->n_services, 3);
	first = &t->services[0];
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(service_traffic_append(first, &d), 0);
	d = destination("10.0.0.1", 1);
	assert_int_equal(service_traffic_append(first, &d), 0);
	service_traffic_sort(first);
	assert_int_equal(first->n_destinations, 2);
	assert_int_equal(service_traffic_find(first, &d.address, 8080)->n_active, 1);
	assert_null(service_traffic_find(first, &d.address, 8081));
	assert_ptr_equal(traffic_table_find(t, &first->key), first);
	assert_int_equal(traffic_table_find(t, &(struct service_key){.protocol = 17}) == NULL, 1);
	assert_null(traffic_table_find(NULL, &first->key));
	assert_null(service_traffic_find(NULL, &d.address, 8080));
	traffic_table_free(t);
}

static void test_idle(void **state)
{
	struct service_traffic before = service("9.0.0.1", 5), now = before, copy = before;
	struct destination_traffic d = destination("10.0.0.1", 0);

	assert_int_equal(service_traffic_append(&before, &d), 0);
	assert_true(service_traffic_is_idle(&before, &now));
	assert_int_equal(service_traffic_copy_destinations(&copy, &before), 0);
	assert_int_equal(copy.n_destinations, 1);
	free(copy.destinations);

	now.total.packets_out++;
	assert_false(service_traffic_is_idle(&before, &now));
	now = before;
	now.total.connections++;
	assert_false(service_traffic_is_idle(&before, &now));
	/* A connection that times out is counted nowhere. */
	now = before;
	before.destinations[0].n_inactive = 1;
	assert_false(service_traffic_is_idle(&before, &now));
	free(before.destinations);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sort_and_find),
		cmocka_unit_test(test_idle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
