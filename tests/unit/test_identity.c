/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sodium.h>
#include <stdio.h>

#include "agent/overlay/identity.h"
#include "agent/util.h"

static char dir[] = "/tmp/vipd-identity-XXXXXX";
static char path[64];

static void write_text(const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void test_lives_on(void **state)
{
	struct identity first, then;

	unlink(path);
	assert_int_equal(identity_load(path, &first), 0);
	assert_int_not_equal(first.id, 0);
	assert_int_equal(first.incarnation >> 32, 1);
	for (unsigned int i = 2; i < 5; i++) {
		assert_int_equal(identity_load(path, &then), 0);
		assert_true(then.id == first.id);
		assert_int_equal(then.incarnation >> 32, i);
	}
}

/* Whatever the file holds, the node starts; a new identity is better than a wrong one. */
static void test_damaged(void **state)
{
	static const char *const texts[] = {"", "vipd node 2\nid 1\nstart 5\n",
		"vipd node 1\nid 0000000000000000\nstart 5\n", "vipd node 1\nid zz\n",
		"\xff\xff\xff", "vipd node 1\nid 0123456789abcdef\n"};
	struct identity id, again;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		write_text(texts[i]);
		assert_int_equal(identity_load(path, &id), 0);
		assert_true(id.id != 0 && id.id != 1 && id.id != UINT64_C(0x0123456789abcdef));
		assert_int_equal(identity_load(path, &again), 0);
		assert_true(again.id == id.id && again.incarnation > id.incarnation);
	}
}

static void test_unwritable(void **state)
{
	struct identity id;

	assert_true(identity_load("/proc/none/node", &id) < 0);
	assert_true(id.id != 0 && id.incarnation != 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lives_on),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_unwritable),
	};
	int r;

	if (sodium_init() < 0 || !mkdtemp(dir))
		return 99;
	snprintf(path, sizeof(path), "%s/node", dir);
	r = cmocka_run_group_tests_name("identity", tests, NULL, NULL);
	unlink(path);
	rmdir(dir);
	return r;
}
