/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/stat.h>

#include "agent/overlay/keys.h"
#include "agent/util.h"

#define ONE "0101010101010101010101010101010101010101010101010101010101010101"
#define TWO "0202020202020202020202020202020202020202020202020202020202020202"
#define THREE "0303030303030303030303030303030303030303030303030303030303030303"
#define FOUR "0404040404040404040404040404040404040404040404040404040404040404"

/* Reads `text` as a key file with this mode. The result; the error's text from its line on. */
static int read_text(const char *text, mode_t mode, struct keys *ret, char error[static 200])
{
	char path[] = "/tmp/vipd-keys-XXXXXX", *said = NULL;
	int fd = mkstemp(path), r;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	fchmod(fd, mode);
	close(fd);
	r = keys_read(path, ret, &said);
	unlink(path);
	snprintf(error, 200, "%s", said ? said + strlen(path) : "");
	assert_true((r < 0) == (said != NULL));
	free(said);
	return r;
}

static void test_reads(void **state)
{
	struct keys k;
	char error[200];

	assert_int_equal(read_text(ONE "\n", 0600, &k, error), 0);
	assert_int_equal(k.n, 1);
	assert_int_equal(k.list[0].bytes[31], 1);
	assert_int_equal(k.list[0].id, key_id(k.list[0].bytes));
	assert_int_equal(
		read_text("# new\n" TWO "  # sends\n\n" ONE "\r\n" THREE, 0640, &k, error), 0);
	assert_int_equal(k.n, 3);
	assert_int_equal(k.list[0].bytes[0], 2);
	assert_int_equal(k.list[2].bytes[0], 3);
}

static void test_refuses(void **state)
{
	struct keys k = {.n = 77};
	char error[200];

	assert_int_equal(read_text("", 0600, &k, error), -EINVAL);
	assert_string_equal(error, ": holds no key");
	assert_int_equal(read_text("# none\n", 0600, &k, error), -EINVAL);
	assert_int_equal(read_text("\n0101\n", 0600, &k, error), -EINVAL);
	assert_non_null(strstr(error, ":2: not a key"));
	assert_int_equal(read_text(ONE "01\n", 0600, &k, error), -EINVAL);
	assert_int_equal(read_text(ONE "\n" ONE "\n", 0600, &k, error), -EINVAL);
	assert_non_null(strstr(error, ":2: has the same id"));
	assert_int_equal(
		read_text(ONE "\n" TWO "\n" THREE "\n" FOUR "\n", 0600, &k, error), -EINVAL);
	assert_non_null(strstr(error, ":4: more than three"));
	assert_int_equal(read_text(ONE "\n", 0604, &k, error), -EACCES);
	assert_int_equal(read_text(ONE "\n", 0620, &k, error), -EACCES);
	assert_int_equal(k.n, 77); /* untouched throughout */
}

static void test_missing(void **state)
{
	struct keys k;
	char *error = NULL;

	assert_int_equal(keys_read("/tmp/no/such/file", &k, &error), -ENOENT);
	assert_non_null(error);
	free(error);
	assert_true(keys_read("/tmp", &k, &error) < 0); /* no file */
	assert_non_null(error);
	free(error);
}

static void test_insecure_is_known_to_all(void **state)
{
	struct keys a, b;

	keys_insecure(&a);
	keys_insecure(&b);
	assert_int_equal(a.n, 1);
	assert_memory_equal(&a, &b, sizeof(a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads),
		cmocka_unit_test(test_refuses),
		cmocka_unit_test(test_missing),
		cmocka_unit_test(test_insecure_is_known_to_all),
	};

	if (sodium_init() < 0)
		return 99;
	return cmocka_run_group_tests_name("keys", tests, NULL, NULL);
}
