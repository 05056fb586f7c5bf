/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a line of the log looks like, by who reads it. */
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/log.h"

/* What log_warning(text) writes if systemd named the file of `inode` + `offset` as the journal's; valid
 * until the next call. */
static const char *logged(const char *text, bool journal, uintmax_t offset)
{
	static char line[256];
	char stream[64];
	FILE *file = tmpfile();
	int saved = dup(STDERR_FILENO);
	struct stat st;
	ssize_t n;

	assert_non_null(file);
	assert_int_equal(fstat(fileno(file), &st), 0);
	snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev,
		(uintmax_t)st.st_ino + offset);
	if (journal)
		setenv("JOURNAL_STREAM", stream, 1);
	else
		unsetenv("JOURNAL_STREAM");
	dup2(fileno(file), STDERR_FILENO);
	log_warning("%s", text);
	dup2(saved, STDERR_FILENO);
	close(saved);
	unsetenv("JOURNAL_STREAM");
	n = pread(fileno(file), line, sizeof(line) - 1, 0);
	assert_true(n >= 0);
	line[n] = '\0';
	fclose(file);
	return line;
}

static void test_the_journal_is_told_the_priority(void **state)
{
	assert_string_equal(logged("a master is silent", true, 0), "<4>a master is silent\n");
}

/* Not a file, nor a pipe to `less`, nor what a child of the service writes elsewhere. */
static void test_people_are_not(void **state)
{
	assert_string_equal(logged("a master is silent", false, 0), "a master is silent\n");
	assert_string_equal(logged("a master is silent", true, 1), "a master is silent\n");
}

static void test_no_text_forges_a_line(void **state)
{
	assert_string_equal(logged("name\n<0>forged", true, 0), "<4>name?<0>forged\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_journal_is_told_the_priority),
		cmocka_unit_test(test_people_are_not),
		cmocka_unit_test(test_no_text_forges_a_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
