/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vipctl's output for people: columns, colours, and what was meant. */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tools/columns.h"
#include "tools/suggest.h"

static char *printed(struct columns *c, int indent)
{
	char *text = NULL;
	size_t n;
	FILE *out = open_memstream(&text, &n);

	assert_non_null(out);
	columns_print(c, out, indent);
	fclose(out);
	return text;
}

static void expect_print(struct columns *c, int indent, const char *expected)
{
	char *text = printed(c, indent);

	assert_string_equal(text, expected);
	free(text);
}

static void test_columns_are_as_wide_as_their_widest_cell(void **state)
{
	static const char *const headings[] = {"ADDRESS", "N", "TASK"};
	struct columns *c = columns_new(3, headings);

	columns_add(c, "[fd01:c::da94:49ac:1e87:4a07]:%d", 6379);
	columns_add(c, "%d", 12);
	columns_add(c, "a");
	columns_add(c, "1.2.3.4:80");
	columns_add(c, "-");
	columns_add(c, "b");
	expect_print(c, 1,
		" ADDRESS                             N   TASK\n"
		" [fd01:c::da94:49ac:1e87:4a07]:6379  12  a\n"
		" 1.2.3.4:80                          -   b\n");
}

static void test_nothing_is_behind_the_last_cell(void **state)
{
	struct columns *c = columns_new(3, NULL);

	columns_add(c, "a");
	columns_add(c, "%s", "");
	columns_add(c, "%s", "");
	columns_add(c, "b");
	columns_add(c, "%s", "");
	columns_add(c, "note");
	expect_print(c, 0, "a\nb    note\n");
}

/* Two columns for a wide character, none for a combining one. */
static void test_columns_count_what_the_terminal_shows(void **state)
{
	struct columns *c = columns_new(2, NULL);

	if (!setlocale(LC_CTYPE, "C.UTF-8"))
		skip();
	columns_add(c, "\xe7\x95\x8c"); /* U+754C */
	columns_add(c, "x");
	columns_add(c, "e\xcc\x81"); /* e, U+0301 */
	columns_add(c, "y");
	expect_print(c, 0, "\xe7\x95\x8c  x\ne\xcc\x81   y\n");
}

static void test_no_cell_drives_the_terminal(void **state)
{
	struct columns *c = columns_new(1, NULL);

	columns_add(c, "a\033[2Jb\n");
	expect_print(c, 0, "a?[2Jb?\n");
}

static void test_colours_are_around_the_text_alone(void **state)
{
	struct columns *c = columns_new(2, NULL);

	columns_add(c, "a");
	columns_style(c, STYLE_BAD);
	columns_add(c, "b");
	assert_int_equal(style_init("always"), 0);
	expect_print(c, 0, "\033[1;31ma\033[0m  b\n");
	assert_int_equal(style_init("never"), 0);
	assert_string_equal(style_begin(STYLE_BAD), "");
	assert_int_equal(style_init("sometimes"), -1);
}

static void test_no_color_wins_over_force(void **state)
{
	setenv("FORCE_COLOR", "1", 1);
	assert_int_equal(style_init("auto"), 0);
	assert_string_not_equal(style_begin(STYLE_GOOD), "");
	setenv("NO_COLOR", "1", 1);
	assert_int_equal(style_init("auto"), 0);
	assert_string_equal(style_begin(STYLE_GOOD), "");
	setenv("NO_COLOR", "", 1); /* no-color.org: if it is not empty */
	assert_int_equal(style_init("auto"), 0);
	assert_string_not_equal(style_begin(STYLE_GOOD), "");
	unsetenv("FORCE_COLOR");
	unsetenv("NO_COLOR");
	assert_int_equal(style_init("never"), 0);
}

/* A pipe has no width: nothing is cut there. */
static void test_signs_say_it_without_colours(void **state)
{
	assert_string_equal(style_sign("ok"), "OK");
	assert_string_equal(style_sign("error"), "!!");
	assert_string_equal(style_sign("warning"), "! ");
	assert_int_equal(style_of("bad"), STYLE_BAD);
}

static const char *suggestion(const char *word)
{
	static const char *const words[] = {"status", "vips", "vip", "top", "redis.marathon",
		"web.marathon", "--once", "--last=N"};
	struct suggestion s;

	suggest_begin(&s, word);
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		suggest_offer(&s, words[i]);
	return s.best ? s.best : "nothing";
}

static void test_what_was_meant(void **state)
{
	assert_string_equal(suggestion("statsu"), "status");
	assert_string_equal(suggestion("rediss.marathon"), "redis.marathon");
	assert_string_equal(suggestion("redis"), "redis.marathon");
	assert_string_equal(suggestion("--onec"), "--once");
	assert_string_equal(suggestion("vpis"), "vips");
	assert_string_equal(suggestion("tpo"), "top");
	assert_string_equal(
		suggestion("foo"), "nothing"); /* two of its three letters are others than top's */
	assert_string_equal(suggestion("something-else"), "nothing");
	assert_string_equal(suggestion(""), "nothing");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_columns_are_as_wide_as_their_widest_cell),
		cmocka_unit_test(test_nothing_is_behind_the_last_cell),
		cmocka_unit_test(test_columns_count_what_the_terminal_shows),
		cmocka_unit_test(test_no_cell_drives_the_terminal),
		cmocka_unit_test(test_colours_are_around_the_text_alone),
		cmocka_unit_test(test_no_color_wins_over_force),
		cmocka_unit_test(test_signs_say_it_without_colours),
		cmocka_unit_test(test_what_was_meant),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
