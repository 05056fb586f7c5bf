/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/overlay/metadata.h"
#include "agent/util.h"

static void test_there_and_back(void **state)
{
	struct ip_addr own[3] = {{AF_INET, {10, 0, 0, 1}}, {AF_INET6, {0xfd, 1, [15] = 9}},
		{AF_INET, {172, 17, 0, 1}}};
	struct overlay_node n = {0};
	uint8_t bytes[GOSSIP_METADATA_MAX];
	size_t len = metadata_encode(own, 3, true, "1.2.3", bytes);

	metadata_decode(bytes, len, &n);
	assert_string_equal(n.version, "1.2.3");
	assert_true(n.master);
	assert_int_equal(n.n_addresses, 3);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(ip_addr_cmp(&n.addresses[i], &own[i]), 0);
	/* Cut anywhere, it gives what is whole. */
	for (size_t cut = 0; cut < len; cut++) {
		struct overlay_node m = {0};

		metadata_decode(bytes, cut, &m);
		assert_true(m.n_addresses < 3);
	}
}

static void test_bounds(void **state)
{
	struct ip_addr own[2 * OVERLAY_ADDRESSES_MAX];
	uint8_t bytes[GOSSIP_METADATA_MAX];
	struct overlay_node n = {0};
	size_t len;

	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		own[i] = (struct ip_addr){AF_INET6, {0xfd, [15] = (uint8_t)i}};
	len = metadata_encode(own, ARRAY_SIZE(own), false, "1", bytes);
	metadata_decode(bytes, len, &n);
	metadata_decode(bytes, len, &n); /* and more than there is room for */
	assert_int_equal(n.n_addresses, OVERLAY_ADDRESSES_MAX);
}

/* What another version may say: types unknown, lengths wrong, a text that no terminal should see.
 */
static void test_strange(void **state)
{
	static const uint8_t bytes[] = {99, 2, 1, 2, 1, 3, 10, 0, 0, 3, 3, '1', 27, '[', 1, 4, 10,
		0, 0, 7, 2, 4, 1, 2, 3, 4, 1, 200, 1};
	struct overlay_node n = {0};

	metadata_decode(bytes, sizeof(bytes), &n);
	assert_int_equal(n.n_addresses, 1);
	assert_int_equal(n.addresses[0].bytes[3], 7);
	assert_string_equal(n.version, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_strange),
	};

	return cmocka_run_group_tests_name("metadata", tests, NULL, NULL);
}
