/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "agent/serve/header.h"

static void test_local_hosts(void **state)
{
	static const char *const local[] = {"localhost", "LocalHost:62080", "127.0.0.1",
		"127.0.0.1:62080", "10.1.2.3:1", "[::1]", "[::1]:65535", "[fd01:c::1]:80"};
	static const char *const strange[] = {"", ":80", "evil.example", "localhost.evil.example",
		"localhost:80:80", "127.0.0.1.nip.io", "127.0.0.1:", "127.0.0.1:123456",
		"127.0.0.1:8o", "127.1", "::1", "[::1", "[::1]x", "[127.0.0.1]", "[]:80",
		"[evil.example]:80", "2130706433", " 127.0.0.1"};

	for (size_t i = 0; i < sizeof(local) / sizeof(*local); i++)
		assert_true(header_host_is_local(local[i]));
	for (size_t i = 0; i < sizeof(strange) / sizeof(*strange); i++)
		assert_false(header_host_is_local(strange[i]));
}

static void test_tags(void **state)
{
	assert_true(header_etag_matches("\"a-1\"", "\"a-1\""));
	assert_true(header_etag_matches("W/\"a-1\"", "\"a-1\""));
	assert_true(header_etag_matches("*", "\"a-1\""));
	assert_true(header_etag_matches("\"x\" , W/\"y\",\"a-1\"", "\"a-1\""));
	assert_true(header_etag_matches("\"a,\"  ,\"a-1\"\t", "\"a-1\""));
	assert_false(header_etag_matches("", "\"a-1\""));
	assert_false(header_etag_matches("a-1", "\"a-1\""));
	assert_false(header_etag_matches("\"a-11\"", "\"a-1\""));
	assert_false(header_etag_matches("\"b\", \"c\"", "\"a-1\""));
	/* the tag inside another's quotes is not the tag */
	assert_false(header_etag_matches("\"x,a\"", "\"a\""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_local_hosts),
		cmocka_unit_test(test_tags),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
