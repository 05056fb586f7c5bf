/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The grammar, cut at every byte; and what of a document is handed on. */
#include "agent/source/json_scan.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const fields[] = {
	"", "state", "a", "b", "list", "x", "labels", "key", "health", NULL};

static const struct json_path inner[] = {
	{"state", JSON_PATH_MARK},
	{"a.b"},
	{"list[].x"},
	{"labels[].key", JSON_PATH_WATCH},
	{"health"},
	{NULL},
};

static const struct json_path paths[] = {
	{"top", JSON_PATH_BEGIN},
	{"top[].items[]", JSON_PATH_ELEMENT, inner},
	{"other.items[]", JSON_PATH_ELEMENT, inner},
	{"scalar", JSON_PATH_ELEMENT},
	{NULL},
};

/* A value as it would stand in a document without white space, strings as their bytes. Returns
 * what is behind it. */
static const char *write_tokens(FILE *f, const char *p)
{
	static const char *const literals[] = {
		[JSON_TRUE] = "true", [JSON_FALSE] = "false", [JSON_NULL] = "null"};
	struct json_value v, next;
	bool first = true;

	p = json_token_read(p, &v);
	if (v.field)
		fprintf(f, "'%s':", fields[v.field]);
	if (v.kind == JSON_NUMBER)
		fputs(v.text, f);
	else if (v.kind == JSON_STRING)
		fprintf(f, "'%s'", v.text);
	else if (v.kind == JSON_BINARY)
		fprintf(f, "'%s' and %zu bytes", v.text, v.n - strlen(v.text));
	else if (v.kind > JSON_ARRAY)
		fputs(literals[v.kind], f);
	if (v.kind > JSON_ARRAY)
		return p;
	fputc(v.kind == JSON_OBJECT ? '{' : '[', f);
	for (; json_token_read(p, &next), next.kind != JSON_CLOSE; first = false) {
		if (!first)
			fputc(',', f);
		p = write_tokens(f, p);
	}
	fputc(v.kind == JSON_OBJECT ? '}' : ']', f);
	return p + 1;
}

/* Events as text, one per line. */
static int write_begin(void *userdata, const struct json_begin *b)
{
	fprintf(userdata, "begin %zu kind %d%s\n", b->path, (int)b->kind,
		b->repeated ? " again" : "");
	return 0;
}

static int write_element(void *userdata, const struct json_element *e)
{
	fprintf(userdata, "%zu at %d: ", e->path, (int)e->begin);
	if (e->too_large)
		fputs("too large", userdata);
	else
		assert_ptr_equal(write_tokens(userdata, e->tokens), e->tokens + e->n_tokens);
	if (e->watched)
		fputs(" watched", userdata);
	if (e->mark) {
		fputs(" mark ", userdata);
		write_tokens(userdata, e->mark);
	}
	fputc('\n', userdata);
	return 0;
}

/* The events of a document in pieces, and its error. */
static char *scan_pieces(const char *doc, size_t n, size_t piece, size_t max_element)
{
	static const struct json_events events = {write_begin, write_element};
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	struct json_scan *s = json_scan_new(paths, fields, &events, f, 8, max_element);
	int r = 0;

	for (size_t at = 0; r == 0 && at < n; at += piece) {
		size_t m = piece < n - at ? piece : n - at;
		char *copy = malloc(m);

		memcpy(copy, doc + at, m);
		r = json_scan_feed(s, copy, m);
		free(copy);
	}
	if (r == 0)
		r = json_scan_finish(s);
	if (r < 0) {
		assert_int_equal(r, -EBADMSG);
		assert_int_equal(json_scan_feed(s, " ", 1), -EBADMSG);
		assert_int_equal(json_scan_finish(s), -EBADMSG);
		fputs(json_scan_error(s), f);
	} else {
		assert_int_equal(json_scan_position(s), n);
	}
	json_scan_free(s);
	fclose(f);
	return text;
}

static void check(const char *text, const char *expected)
{
	char *doc = strdup(text);
	size_t n = strlen(doc);

	for (char *p = doc; *p; p++)
		*p = *p == '\'' ? '"' : *p;
	for (size_t piece = 1; piece <= n + 1; piece++) {
		char *have = scan_pieces(doc, n, piece, 1000);

		if (strcmp(have, expected) != 0)
			fail_msg("%s in pieces of %zu:\n  have %s\n  want %s", doc, piece, have,
				expected);
		free(have);
	}
	free(doc);
}

static void test_valid(void **state)
{
	static const char *const docs[] = {"null", "true", "false", "0", "-0", "12", "-1.5", "1e5",
		"1E+05", "1.25e-7", "''", "[]", "{}", " [ ] ", "\t{\n}\r", "[1,2]", "[[],{},'']",
		"{'a':1,'b':[{}]}", "'\\u00e4\\uD83D\\uDE00\\\\\\/\\b\\f\\n\\r\\t\\''",
		"[0.5 ,1e1 ]", "'a string that is longer than sixteen bytes, by far'",
		"[[[[[[[[]]]]]]]]", "{'':{'':''}}"};

	for (size_t i = 0; i < sizeof docs / sizeof *docs; i++)
		check(docs[i], "");
}

static void test_invalid(void **state)
{
	static const char *const rows[][2] = {
		{"", "byte 0: the document is not complete"},
		{" ", "byte 1: the document is not complete"},
		{"[", "byte 1: the document is not complete"},
		{"-", "byte 1: the document is not complete"},
		{"1.", "byte 2: the document is not complete"},
		{"1e", "byte 2: the document is not complete"},
		{"tru", "byte 3: the document is not complete"},
		{"'abc", "byte 4: the document is not complete"},
		{"'\\", "byte 2: the document is not complete"},
		{"{'a':1", "byte 6: the document is not complete"},
		{"nul!", "byte 3: true, false or null expected, not '!'"},
		{"nan", "byte 1: true, false or null expected, not 'a'"},
		{"Infinity", "byte 0: a value expected, not 'I'"},
		{"01", "byte 1: the end expected, not '1'"},
		{"+1", "byte 0: a value expected, not '+'"},
		{".5", "byte 0: a value expected, not '.'"},
		{"-a", "byte 1: a digit expected, not 'a'"},
		{"[1.]", "byte 3: a digit expected, not ']'"},
		{"[1e+]", "byte 4: a digit expected, not ']'"},
		{"[1 2]", "byte 3: ',' or ']' expected, not '2'"},
		{"[1,]", "byte 3: a value expected, not ']'"},
		{"[,1]", "byte 1: a value expected, not ','"},
		{"[1}", "byte 2: ',' or ']' expected, not '}'"},
		{"{'a':1]", "byte 6: ',' or '}' expected, not ']'"},
		{"{'a':1,}", "byte 7: a key expected, not '}'"},
		{"{a:1}", "byte 1: a key or '}' expected, not 'a'"},
		{"{'a' 1}", "byte 5: ':' expected, not '1'"},
		{"{'a':}", "byte 5: a value expected, not '}'"},
		{"{1:2}", "byte 1: a key or '}' expected, not '1'"},
		{"'\\x'", "byte 2: an escape expected, not 'x'"},
		{"'\\u12g4'", "byte 5: a hexadecimal digit expected, not 'g'"},
		{"'a\nb'", "byte 2: no control character in a string expected, not byte 0x0a"},
		{"'a string that is longer than sixteen\x01'",
			"byte 37: no control character in a string expected, not byte 0x01"},
		{"{} {}", "byte 3: the end expected, not '{'"},
		{"]", "byte 0: a value expected, not ']'"},
		{"/* */ 1", "byte 0: a value expected, not '/'"},
		{"\xef\xbb\xbf{}", "byte 0: a value expected, not byte 0xef"},
		{"[[[[[[[[[]]]]]]]]]", "byte 8: nested deeper than 8"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		/* the expectation's own quotes stay */
		char *doc = strdup(rows[i][0]);

		for (char *p = doc; *p; p++)
			*p = *p == '\'' ? '"' : *p;
		for (size_t piece = 1; piece <= strlen(doc) + 1; piece++) {
			char *have = scan_pieces(doc, strlen(doc), piece, 1000);

			assert_string_equal(have, rows[i][1]);
			free(have);
		}
		free(doc);
	}
}

static void test_elements(void **state)
{
	check("{'scalar':1}", "3 at 10: 1\n");
	check("{'scalar':'x', 'scalar' : [1, {'a':2}] }", "3 at 10: 'x'\n3 at 26: []\n");
	check("{'scalar':null,'scalar':-1.5e3,'scalar':{'a':1}}",
		"3 at 10: null\n3 at 24: -1.5e3\n3 at 40: {}\n");
	check("{'x':{'scalar':1},'sc\\u0061lar':true}", "3 at 32: true\n");
	check("{'scalarx':1,'scala':2,'':3,'a key that is longer than any in the table':4}", "");
	check("{'top':[{'items':[{'state':'R','b':1,'a':{'c':0,'b':[1, 2]}}, 3]}]}",
		"begin 0 kind 2\n1 at 18: {'state':'R','a':{'b':[]}} mark 'state':'R'\n1 at 62: "
		"3\n");
	check("{'other':{'items':[{},{'a':5},{'a':[]},{'list':[{'x':1,'y':2},{},7]}]}}",
		"2 at 19: {}\n2 at 22: {'a':5}\n2 at 30: {'a':[]}\n2 at 39: "
		"{'list':[{'x':1},{},7]}\n");
	check("{'other':{'items':[{'health':{'x':[{}]}},{'health':null}]}}",
		"2 at 19: {'health':{}}\n2 at 41: {'health':null}\n");
	check("{'other':{'items':{'state':1}}}", "");
	check("{'top':1,'top':{}}", "begin 0 kind 5\nbegin 0 kind 1 again\n");
	check("{'other':{'items':[{'state':1,'state':22}]}}",
		"2 at 19: {'state':1,'state':22} mark 'state':22\n");
	check("{'other':{'items':[{'state':1,'state':{},'x':2}]}}",
		"2 at 19: {'state':1,'state':{}} mark 'state':{}\n");
}

static void test_strings(void **state)
{
	static const char *const rows[][2] = {
		{"", "''"},
		{"\\u0041\\n\\/\\\\\\u00e4\\u20ac", "'A\n/\\\u00e4\u20ac'"},
		{"\\uD83D\\uDE00", "'\U0001F600'"},
		{"\\uD83D", "'\ufffd'"},
		{"\\uD83Dx", "'\ufffdx'"},
		{"\\uD83D\\n", "'\ufffd\n'"},
		{"\\uD83D\\uD83D\\uDE00", "'\ufffd\U0001F600'"},
		{"\\uDE00\\uD83D", "'\ufffd\ufffd'"},
		{"ab\\u0000cd", "'ab' and 3 bytes"},
		{"\xff\xc0", "'\xff\xc0'"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char doc[200], want[200];

		snprintf(doc, sizeof(doc), "{'scalar':'%s'}", rows[i][0]);
		snprintf(want, sizeof(want), "3 at 10: %s\n", rows[i][1]);
		check(doc, want);
	}
}

#define WATCHED(value) "{'other':{'items':[{'labels':[{'key':" value "}]}]}}"

static void test_watch(void **state)
{
	static const char *const rows[][3] = {
		{"'VIP'", "'VIP'", " watched"},
		{"'vip_0'", "'vip_0'", " watched"},
		{"'Vip_port0'", "'Vip_port0'", " watched"},
		{"'xVIP'", "'xVIP'", ""},
		{"'VI'", "'VI'", ""},
		{"'\\u0056I\\u0050'", "'VIP'", " watched"},
		{"'\\u0076\\u0069\\u0070'", "'vip'", " watched"},
		{"'\\/VIP'", "'/VIP'", ""},
		{"['VIP']", "[]", ""},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char doc[200], want[200];

		snprintf(doc, sizeof doc, WATCHED("%s"), rows[i][0]);
		snprintf(want, sizeof want, "2 at 19: {'labels':[{'key':%s}]}%s\n", rows[i][1],
			rows[i][2]);
		check(doc, want);
	}
	/* elsewhere nobody watches */
	check("{'other':{'items':[{'state':'VIP'}]}}",
		"2 at 19: {'state':'VIP'} mark 'state':'VIP'\n");
	/* and the next element starts anew */
	check("{'other':{'items':[{'labels':[{'key':'VIP'}]},{'labels':1}]}}",
		"2 at 19: {'labels':[{'key':'VIP'}]} watched\n2 at 46: {'labels':1}\n");
}

/* Elements that are alike but for something small, so that what was remembered of those before
 * nearly fits. */
static void test_alike(void **state)
{
#define ALIKE(x) "{'list':[{'y':'" x "','x':'1'},{'x':2.5}],'c':[],'state':'R'}"
#define IS(x) "{'list':[{'x':'1'},{'x':2.5}],'state':'R'}"
	check("{'other':{'items':[" ALIKE("a") "," ALIKE("a long string, longer than 16 bytes") "," ALIKE(
		      "\\n") ",{'list':[{'y':1,'x':'1'},{'x':'2.5'}],'c':[],'state':'R'},"
			     "{'list':[{'y':'b','x':'1'},{'x':2.5}],'c':[],'state':null}," ALIKE(
				     "c") "]},'top':{'no':[" ALIKE("d") "," ALIKE("e") "]}}",
		"2 at 19: " IS("") " mark 'state':'R'\n2 at 77: " IS(
			"") " mark 'state':'R'\n"
			    "2 at 169: " IS("") " mark 'state':'R'\n2 at 228: "
						"{'list':[{'x':'1'},{'x':'2.5'}],'state':'R'} mark "
						"'state':'R'\n2 at 286: "
						"{'list':[{'x':'1'},{'x':2.5}],'state':null} mark "
						"'state':null\n2 at 345: " IS(
							"") " mark 'state':'R'\nbegin 0 kind 1\n");
}

static void test_alike_and_broken(void **state)
{
	static const char *const broken[] = {"{'list':[{'x':1},{'x':2]}",
		"{'list':[{'x':1},{'x':2}}", "{'list':[{'x':1},{'x':02}]}",
		"{'list':[{'x':1},{'x':}]}", "{'list':[{'x':1},{'x':-}]}",
		"{'list':[{'x':1},{'x':2.}]}", "{'list':[{'x':1},{'x':'\x01'}]}"};

	for (size_t i = 0; i < sizeof(broken) / sizeof(*broken); i++)
		for (size_t times = 0; times < 4; times++) {
			char doc[1000] = "{'other':{'items':[", *have;

			for (size_t k = 0; k < times; k++)
				strcat(doc, "{'list':[{'x':1},{'x':2}]},");
			strcat(doc, broken[i]);
			for (char *p = doc; *p; p++)
				*p = *p == '\'' ? '"' : *p;
			have = scan_pieces(doc, strlen(doc), sizeof(doc), 1000);
			assert_non_null(strstr(have, " expected, not "));
			free(have);
		}
}

/* Pieces between values of every length, from what is remembered to what is too long for it. */
static void test_space_of_any_length(void **state)
{
	for (int n = 0; n < 150; n++) {
		char doc[2000] = "{'other':{'items':[", *whole, *pieces;

		for (size_t i = 0; i < 4; i++)
			sprintf(doc + strlen(doc), "%s{'state':1,%*s'list':[{'x':'2'}]}",
				i ? "," : "", n, "");
		strcat(doc, "]}}");
		for (char *p = doc; *p; p++)
			*p = *p == '\'' ? '"' : *p;
		whole = scan_pieces(doc, strlen(doc), sizeof(doc), 1000);
		pieces = scan_pieces(doc, strlen(doc), 3, 1000);
		assert_string_equal(whole, pieces);
		assert_null(strstr(whole, "byte "));
		free(whole);
		free(pieces);
	}
}

/* More of different things than are remembered, again and again: keys, nesting and both. */
static void test_more_than_is_remembered(void **state)
{
	char *doc = NULL, *whole, *pieces;
	size_t n;
	FILE *f = open_memstream(&doc, &n);

	fputs("{\"other\":{\"items\":[0", f);
	for (unsigned int i = 0; i < 4000; i++) {
		fprintf(f, ",{\"k%u\":\"v\",\"state\":%u,\"list\":[{\"x\":%u},{\"l%u\":[", i, i,
			i % 3, i % 1500);
		fputs(i & 4 ? "[1]" : i & 8 ? "{\"a\":1}" : "1", f);
		fputs("]}]}", f);
	}
	fputs("]}}", f);
	fclose(f);
	whole = scan_pieces(doc, n, n, 1000);
	pieces = scan_pieces(doc, n, 5, 1000); /* too short to hold a run */
	assert_string_equal(whole, pieces);
	assert_null(strstr(whole, "byte "));
	free(doc);
	free(whole);
	free(pieces);
}

static void test_too_large(void **state)
{
	char *have = scan_pieces("{\"scalar\":\"0123456789\",\"scalar\":12}", 35, 7, 10);

	assert_string_equal(have, "3 at 10: too large\n3 at 32: 12\n");
	free(have);
}

/* An element that just fits does, however it comes: a bracket has one byte. */
static void test_just_fits(void **state)
{
	static const char doc[] = "{\"other\":{\"items\":[{\"health\":{}},{\"health\":{}}]}}";

	for (size_t piece = 1; piece < sizeof(doc); piece++) {
		char *have = scan_pieces(doc, strlen(doc), piece, 6);

		assert_string_equal(have, "2 at 19: {'health':{}}\n2 at 33: {'health':{}}\n");
		free(have);
		have = scan_pieces(doc, strlen(doc), piece, 5);
		assert_string_equal(have, "2 at 19: too large\n2 at 33: too large\n");
		free(have);
	}
}

static void test_within(void **state)
{
	static const struct json_events events = {write_begin, write_element};
	struct json_scan *s = json_scan_new(paths, fields, &events, NULL, 8, 1000);

	assert_true(json_scan_within(s, 1, 0));
	assert_true(json_scan_within(s, 0, 0));
	assert_false(json_scan_within(s, 0, 1));
	assert_false(json_scan_within(s, 2, 0));
	json_scan_free(s);
}

static int refuse(void *userdata, const struct json_element *e)
{
	return json_scan_fail(*(struct json_scan **)userdata, "%d too many", 1);
}

static void test_callback_stops(void **state)
{
	static const struct json_events events = {write_begin, refuse};
	struct json_scan *s;

	s = json_scan_new(paths, fields, &events, &s, 8, 1000);
	assert_int_equal(json_scan_feed(s, "{\"scalar\":1}", 12), -EBADMSG);
	assert_non_null(strstr(json_scan_error(s), ": 1 too many"));
	json_scan_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_valid),
		cmocka_unit_test(test_invalid),
		cmocka_unit_test(test_elements),
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_watch),
		cmocka_unit_test(test_alike),
		cmocka_unit_test(test_alike_and_broken),
		cmocka_unit_test(test_space_of_any_length),
		cmocka_unit_test(test_more_than_is_remembered),
		cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_just_fits),
		cmocka_unit_test(test_within),
		cmocka_unit_test(test_callback_stops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
