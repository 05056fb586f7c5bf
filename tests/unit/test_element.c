/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What vipd's own reader takes of a document's elements is what json-c reads there: random
 * documents of tasks that are much alike, in every spelling that JSON has, in pieces of any size,
 * one after the other.
 *
 * VIPD_RUNS says how many documents (2,000); VIPD_SEED repeats a run, whose seed is printed.
 */
#include "agent/source/element.h"

#include <json-c/json.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

static const struct json_path paths[] = {
	{"tasks[]", JSON_PATH_ELEMENT, element_task_paths},
	{"agents[]", JSON_PATH_ELEMENT, element_agent_paths},
	{NULL},
};

/* ---- values as text: members in the order of their numbers, each once ---- */

static void write_text(FILE *f, const char *text, size_t n)
{
	fputc('"', f);
	for (size_t i = 0; i < n; i++)
		fprintf(f, text[i] > ' ' && text[i] < 0x7f ? "%c" : "<%02x>",
			(unsigned char)text[i]);
	fputc('"', f);
}

static void write_number(FILE *f, double d)
{
	fprintf(f, "%.17g",
		d > 1e18 ? 1e18
		: d == 0 ? 0
			 : d); /* json-c has whole numbers of 64 bits */
}

static void write_value(FILE *f, const struct json_value *v)
{
	if (!v) {
		fputs("null", f);
		return;
	}
	switch ((enum json_kind)v->kind) {
	case JSON_OBJECT:
		fputc('{', f);
		for (uint8_t i = 1; i < _FIELD_N; i++)
			if (json_member(v, i)) {
				fprintf(f, "%s:", element_fields[i]);
				write_value(f, json_member(v, i));
			}
		fputc('}', f);
		break;
	case JSON_ARRAY:
		fputc('[', f);
		JSON_EACH(each, v)
		{
			write_value(f, each);
			fputc(',', f);
		}
		fputc(']', f);
		break;
	case JSON_STRING:
	case JSON_BINARY:
		write_text(f, v->text, v->n);
		break;
	case JSON_NUMBER:
		write_number(f, json_number(v, 0));
		break;
	case JSON_TRUE:
	case JSON_FALSE:
		fputs(v->kind == JSON_TRUE ? "true" : "false", f);
		break;
	case JSON_NULL:
	case JSON_CLOSE:
	case JSON_NONE:
		fputs("null", f);
		break;
	}
}

/* True if a table has this path, or one below it. */
static bool is_wanted(const struct json_path *table, const char *path)
{
	size_t n = strlen(path);

	for (; table->path; table++)
		if (strncmp(table->path, path, n) == 0 && strchr(".[", table->path[n]))
			return true;
	return false;
}

/* The same of json-c's tree: only what the table wants. */
static void write_oracle(FILE *f, json_object *o, const struct json_path *table, const char *path)
{
	char below[200];

	switch (json_object_get_type(o)) {
	case json_type_object:
		fputc('{', f);
		for (uint8_t i = 1; i < _FIELD_N; i++) {
			json_object *member;

			snprintf(below, sizeof(below), "%s%s%s", path, *path ? "." : "",
				element_fields[i]);
			if (!is_wanted(table, below) ||
				!json_object_object_get_ex(o, element_fields[i], &member) ||
				!member)
				continue;
			fprintf(f, "%s:", element_fields[i]);
			write_oracle(f, member, table, below);
		}
		fputc('}', f);
		break;
	case json_type_array:
		fputc('[', f);
		snprintf(below, sizeof(below), "%s[]", path);
		for (size_t i = 0; is_wanted(table, below) && i < json_object_array_length(o);
			i++) {
			write_oracle(f, json_object_array_get_idx(o, i), table, below);
			fputc(',', f);
		}
		fputc(']', f);
		break;
	case json_type_string:
		write_text(f, json_object_get_string(o), (size_t)json_object_get_string_len(o));
		break;
	case json_type_int:
	case json_type_double:
		write_number(f, json_object_get_double(o));
		break;
	case json_type_boolean:
		fputs(json_object_get_boolean(o) ? "true" : "false", f);
		break;
	case json_type_null:
		fputs("null", f);
		break;
	}
}

/* ---- documents ---- */

static unsigned int pick(unsigned int n)
{
	return (unsigned int)random() % n;
}

static void write_space(FILE *f)
{
	static const char *const spaces[] = {" ", "\n", "\t", "\r\n  ", "                    "};

	if (pick(12) == 0)
		fputs(spaces[pick(5)], f);
}

/* Now and then a character as an escape. */
static void write_string(FILE *f, const char *text)
{
	fputc('"', f);
	for (; *text; text++)
		if (pick(60) == 0)
			fprintf(f, pick(2) ? "\\u%04x" : "\\u%04X", *text);
		else
			fputc(*text, f);
	fputc('"', f);
}

static void write_scalar(FILE *f)
{
	static const char *const scalars[] = {"true", "false", "null", "0", "-0", "80", "80.0",
		"8e1", "-1.5E-3", "65536", "12345678901234567890123", "1e400", "\"\"",
		"\"\\u0000VIP\"", "\"V\\u0049P\"", "\"\\ud83d\\ude00\\ud83d \\ude00\"",
		"\"\xff\xc3\"", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
		"\"a string that is longer than sixteen bytes\""};

	fputs(scalars[pick(sizeof(scalars) / sizeof(*scalars))], f);
}

static void write_any(FILE *f, unsigned int depth);

static void write_members(FILE *f, unsigned int depth)
{
	for (unsigned int i = 0, n = pick(4); i < n; i++) {
		fputs(i ? "," : "", f);
		write_space(f);
		write_string(f, pick(3) ? element_fields[1 + pick(_FIELD_N - 1)] : "other");
		write_space(f);
		fputc(':', f);
		write_any(f, depth);
	}
}

static void write_any(FILE *f, unsigned int depth)
{
	unsigned int what = depth < 6 ? pick(5) : 4;

	write_space(f);
	if (what == 0) {
		fputc('{', f);
		write_members(f, depth + 1);
		fputc('}', f);
	} else if (what == 1) {
		fputc('[', f);
		for (unsigned int i = 0, n = pick(4); i < n; i++) {
			fputs(i ? "," : "", f);
			write_any(f, depth + 1);
		}
		fputc(']', f);
	} else {
		write_scalar(f);
	}
	write_space(f);
}

/* A template's text; "%" becomes something that differs from task to task, and anything may
 * become anything. */
static void write_template(FILE *f, const char *t, unsigned int oddity)
{
	for (bool in_string = false; *t; t++) {
		if (*t == '%')
			fprintf(f, "%u", 1 + pick(1000));
		else
			fputc(*t == '\'' ? '"' : *t, f);
		in_string ^= *t == '\'';
		if (in_string || !oddity || !strchr("{}[]:,", *t))
			continue;
		write_space(f);
		if (*t == ':' && pick(oddity) == 0) { /* another value, and a member for this one */
			write_any(f, 3);
			fputc(',', f);
			write_string(f, element_fields[1 + pick(_FIELD_N - 1)]);
			fputc(':', f);
		} else if (*t == '{' && pick(oddity) == 0) { /* more members, some twice */
			fputs("\"more\":", f);
			write_any(f, 3);
			fputs(t[1] == '}' ? "" : ",", f);
		}
	}
}

static const char *const tasks[] = {
	"{'id':'app.%','name':'app','framework_id':'F','slave_id':'S%','state':'TASK_RUNNING',"
	"'resources':{'cpus':0.1,'ports':'[31000-31001, 310%-310%]'},'statuses':[{'state':"
	"'TASK_RUNNING','timestamp':154277.%,'healthy':true,'container_status':{'network_infos':[{"
	"'ip_addresses':[{'protocol':'IPv4','ip_address':'9.0.0.%'}]}]}}],'discovery':{'ports':{"
	"'ports':[{'number':%,'protocol':'tcp','labels':{'labels':[{'key':'VIP_0','value':'/"
	"app%:80'},"
	"{'key':'network-scope','value':'host'}]}}]}},'container':{'type':'MESOS','network_infos':["
	"{"
	"'port_mappings':[{'host_port':%,'container_port':80,'protocol':'tcp'}]}]}}",
	"{'task_id':{'value':'t%'},'framework_id':{'value':'F'},'agent_id':{'value':'S%'},'state':"
	"'TASK_STAGING','resources':[{'name':'ports','type':'RANGES','ranges':{'range':[{'begin':%,"
	"'end':%}]}},{'name':'cpus','scalar':{'value':0.%}}],'health_check':{'http':{'port':%}},"
	"'labels':{'labels':[{'key':'vip_port0','value':'tcp://a%:1'}]}}",
	"{'id':'%','state':'TASK_RUNNING','labels':[{'key':'k','value':'v%'},{'key':'l','value':"
	"null}],"
	"'statuses':[],'container':{'type':'DOCKER','docker':{'port_mappings':[{'host_port':1%,"
	"'container_port':%}]}}}",
};

static char *make_document(size_t *ret_n)
{
	unsigned int oddity = pick(4) ? 100 + pick(400) : 0, n = 1 + pick(12);
	char *text = NULL;
	FILE *f = open_memstream(&text, ret_n);

	fputs("{\"tasks\":[", f);
	for (unsigned int i = 0; i < n; i++) {
		fputs(i ? "," : "", f);
		if (pick(20) == 0)
			write_any(f, 1);
		else
			write_template(f, tasks[pick(4) ? 0 : pick(3)], oddity);
	}
	fputs("],\"other\":", f);
	write_any(f, 0);
	fputs(",\"completed\":[", f);
	for (unsigned int i = 0; i < 3; i++) {
		write_template(f, tasks[0], oddity);
		fputc(',', f);
	}
	fputs("0],\"agents\":[{\"id\":\"S\",\"pid\":\"slave(1)@10.0.0.1:5051\"}]}", f);
	fclose(f);
	return text;
}

/* ---- the comparison ---- */

static int on_begin(void *userdata, const struct json_begin *b)
{
	return 0;
}

struct listing {
	FILE *f;
	struct json_values values;
};

static int on_element(void *userdata, const struct json_element *e)
{
	struct listing *l = userdata;

	write_value(l->f, json_values_read(&l->values, e->tokens, e->n_tokens));
	fputc('\n', l->f);
	return 0;
}

static char *list_ours(struct json_scan *s, struct listing *l, const char *doc, size_t n)
{
	char *text = NULL;
	size_t size, limit = pick(3) ? n : 1 + pick(200);

	l->f = open_memstream(&text, &size);
	json_scan_restart(s);
	for (size_t at = 0; at < n;) {
		size_t m = 1 + pick((unsigned int)limit);
		char *copy;

		m = m < n - at ? m : n - at;
		copy = malloc(m); /* so that a sanitizer sees reads beyond it */
		memcpy(copy, doc + at, m);
		if (json_scan_feed(s, copy, m) < 0)
			fail_msg("%s: %s", json_scan_error(s), doc);
		free(copy);
		at += m;
	}
	if (json_scan_finish(s) < 0)
		fail_msg("%s: %s", json_scan_error(s), doc);
	fclose(l->f);
	return text;
}

static char *list_oracle(const char *doc)
{
	json_object *o = json_tokener_parse(doc), *list;
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!o)
		fail_msg("json-c refuses %s", doc);
	for (const struct json_path *p = paths; p->path; p++) {
		char key[20];

		snprintf(key, sizeof(key), "%.*s", (int)strcspn(p->path, "["), p->path);
		json_object_object_get_ex(o, key, &list);
		for (size_t i = 0; i < json_object_array_length(list); i++) {
			write_oracle(f, json_object_array_get_idx(list, i), p->inner, "");
			fputc('\n', f);
		}
	}
	json_object_put(o);
	fclose(f);
	return text;
}

static size_t setting(const char *name, size_t usual)
{
	const char *text = getenv(name);

	return text ? strtoul(text, NULL, 10) : usual;
}

static void test_as_json_c_reads_it(void **state)
{
	static const struct json_events events = {on_begin, on_element};
	unsigned int seed = (unsigned int)setting("VIPD_SEED", (size_t)time(NULL));
	size_t n_runs = setting("VIPD_RUNS", 2000);
	struct listing listing = {0};
	struct json_scan *s = json_scan_new(paths, element_fields, &events, &listing, 64, 1 << 20);

	print_message("VIPD_SEED=%u\n", seed);
	srandom(seed);
	for (size_t i = 0; i < n_runs; i++) {
		size_t n;
		char *doc = make_document(&n), *have = list_ours(s, &listing, doc, n),
		     *want = list_oracle(doc);

		if (strcmp(have, want) != 0) {
			fprintf(stderr, "%s:\n  have %s\n  want %s\n", doc, have, want);
			fail_msg("document %zu", i);
		}
		free(doc);
		free(have);
		free(want);
	}
	json_scan_free(s);
	json_values_done(&listing.values);
}

int main(void)
{
	const struct CMUnitTest tests_[] = {
		cmocka_unit_test(test_as_json_c_reads_it),
	};

	return cmocka_run_group_tests(tests_, NULL, NULL);
}
