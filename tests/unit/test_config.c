/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>

#include "agent/config.h"

/* Reads `text` as a file. Returns the errors ("" if none); *ret_config is what it made. */
static char *read_text(const char *text, struct config **ret_config)
{
	char path[] = "/tmp/vipd-config-XXXXXX", *errors = NULL;
	size_t n = 0, len = strlen(path);
	int fd = mkstemp(path), r;
	FILE *out = open_memstream(&errors, &n);
	struct config *c = config_new();

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	r = config_read_file(c, path, out);
	fclose(out);
	unlink(path);
	assert_int_equal(r, *errors ? -EINVAL : 0);
	/* The name of the file is random: a message is compared from its line number on. */
	if (*errors) {
		char *rest = strstr(errors, path);

		assert_non_null(rest);
		memmove(errors, errors + len + 1, strlen(errors + len + 1) + 1);
	}
	if (ret_config)
		*ret_config = c;
	else
		config_free(c);
	return errors;
}

static void assert_error(const char *text, const char *error)
{
	char *errors = read_text(text, NULL);

	assert_string_equal(errors, error);
	free(errors);
}

static void test_values(void **state)
{
	struct config *c;
	char *errors = read_text("# a comment\n[vipd]\n"
				 "masters = http://10.0.0.1:5050/, http://10.0.0.2:5050\n"
				 "  https://[fd00::3]:5050/mesos/\n"
				 "poll_interval = 500ms ; quick\n"
				 "request_timeout=2m\nmax_document = 64M\n"
				 "ipv6 = no\nnode_address = 10.1.2.3\n"
				 "named_range = 10.9.0.0-10.9.255.255\nlog_level = debug\n",
		&c);

	assert_string_equal(errors, "");
	assert_string_equal(c->masters[0], "http://10.0.0.1:5050");
	assert_string_equal(c->masters[1], "http://10.0.0.2:5050");
	assert_string_equal(c->masters[2], "https://[fd00::3]:5050/mesos");
	assert_null(c->masters[3]);
	assert_int_equal(c->poll_interval, 500 * NSEC_PER_MSEC);
	assert_int_equal(c->request_timeout, 120 * NSEC_PER_SEC);
	assert_int_equal(c->max_document, 64 << 20);
	assert_false(c->ipv6);
	assert_int_equal(c->node_address.bytes[3], 3);
	assert_int_equal(c->named_range.min.bytes[1], 9);
	assert_int_equal(config_check(c, stderr), 0);
	assert_int_equal(c->source_kind, SOURCE_MESOS);
	config_free(c);
	free(errors);
}

static void test_errors_name_line(void **state)
{
	assert_error("[vipd]\n\npol_interval = 5s\n", "3: unknown key \"pol_interval\"\n");
	assert_error("[vipd]\npoll_interval = soon\n",
		"2: poll_interval: \"soon\" must be a time such as 500ms, 5s, 2m or 24h\n");
	assert_error("[vipd]\npoll_interval = 1ms\n",
		"2: poll_interval: \"1ms\" must be between 100ms and 1h\n");
	assert_error("[vipd]\nipv6 = maybe\n", "2: ipv6: \"maybe\" must be yes or no\n");
	assert_error(
		"[vpid]\nipv6 = yes\n", "2: unknown section [vpid]: all keys stand in [vipd]\n");
	assert_error("[vipd]\nipv6 = yes\nipv6 = no\n", "3: ipv6: given twice\n");
	assert_error("[vipd]\nmasters = 10.0.0.1:5050\n",
		"2: masters: \"10.0.0.1:5050\" each master is "
		"a URL such as http://10.0.0.1:5050\n");
	assert_error("[vipd]\nwhat is this\n", "2: not a line of the form key = value\n");
	assert_error("[vipd]\nsocket = vipd.sock\n",
		"2: socket: \"vipd.sock\" must be an absolute path\n");
	assert_error("[vipd]\ndevice = a-name-that-is-too-long\n",
		"2: device: \"a-name-that-is-too-long\" must be a link name of 1 to 15 "
		"characters\n");
	assert_error("[vipd]\nnode_address = fd00::1\n",
		"2: node_address: \"fd00::1\" must be an IPv4 address or auto\n");
	assert_error("[vipd]\ndns_listen = 127.0.0.61, [::]:53\n",
		"2: dns_listen: \"127.0.0.61, [::]:53\" each is one address of this node, not all "
		"of them\n");
}

static void assert_listen(const char *text, const char *printed)
{
	AUTO_FREE char *out = NULL;
	struct config *c;
	char *errors = read_text(text, &c);
	size_t n;
	FILE *f = open_memstream(&out, &n);

	assert_string_equal(errors, "");
	config_print(c, f);
	fclose(f);
	assert_non_null(strstr(out, printed));
	config_free(c);
	free(errors);
}

/* Off is not the default, so it has to be printed too. */
static void test_listen(void **state)
{
	assert_listen("[vipd]\n", "\ndns_listen = 127.0.0.61\n");
	assert_listen("[vipd]\ndns_listen =\n", "\ndns_listen = \n");
	assert_listen("[vipd]\ndns_listen = 172.17.0.1, [fd00::1]:5353\n",
		"\ndns_listen = 172.17.0.1,[fd00::1]:5353\n");
}

static void test_all_errors_are_told(void **state)
{
	char *errors = read_text("[vipd]\na = 1\nipv6 = yes\nb = 2\n", NULL);

	assert_non_null(strstr(errors, "2: unknown key \"a\""));
	assert_non_null(strstr(errors, ":4: unknown key \"b\""));
	free(errors);
}

static void test_long_line(void **state)
{
	char text[1000] = "[vipd]\nmasters = ";
	char *errors;

	memset(text + strlen(text), 'x', 700);
	strcpy(text + 800, "");
	errors = read_text(text, NULL);
	assert_non_null(strstr(errors, "2: line longer than"));
	free(errors);
}

static void test_command_line_wins(void **state)
{
	struct config *c;
	char *errors = read_text("[vipd]\nmasters = http://10.0.0.1:5050\nlog_level = debug\n", &c);

	free(errors);
	assert_int_equal(config_set(c, "masters", "http://10.0.0.9:5050", stderr), 0);
	assert_string_equal(c->masters[0], "http://10.0.0.9:5050");
	assert_null(c->masters[1]);
	assert_int_equal(config_set(c, "poll-interval", "1s", stderr), 0);
	assert_int_equal(c->poll_interval, NSEC_PER_SEC);
	config_free(c);
}

static void test_source(void **state)
{
	struct config *c = config_new();
	char *text = NULL;
	size_t n;
	FILE *out = open_memstream(&text, &n);

	assert_int_equal(config_check(c, out), -EINVAL); /* no masters, no file */
	assert_int_equal(config_set(c, "source", "file:/var/tasks.json", out), 0);
	assert_int_equal(config_check(c, out), 0);
	assert_int_equal(c->source_kind, SOURCE_FILE);
	assert_string_equal(c->source_path, "/var/tasks.json");
	assert_int_equal(config_set(c, "source", "file:relative", out), -EINVAL);
	fclose(out);
	free(text);
	config_free(c);
}

/* What is printed reads back as the same. */
static void test_print_round_trip(void **state)
{
	struct config *a = config_new(), *b;
	char *one = NULL, *two = NULL, *errors;
	size_t n;
	FILE *out = open_memstream(&one, &n);

	config_set(a, "masters", "http://a:1,http://b:2", stderr);
	config_set(a, "request_timeout", "1500ms", stderr);
	config_set(a, "node_address6", "fd00::7", stderr);
	config_print(a, out);
	fclose(out);
	errors = read_text(one, &b);
	assert_string_equal(errors, "");
	out = open_memstream(&two, &n);
	config_print(b, out);
	fclose(out);
	assert_string_equal(one, two);
	free(one);
	free(two);
	free(errors);
	config_free(a);
	config_free(b);
}

static char *printed(void (*print)(FILE *out))
{
	char *text = NULL;
	size_t n;
	FILE *out = open_memstream(&text, &n);

	print(out);
	fclose(out);
	return text;
}

static void print_defaults(FILE *out)
{
	struct config *c = config_new();

	config_print(c, out);
	config_free(c);
}

/* What the example says of the defaults is true: with its keys no longer commented out it is what is
 * in force without a file. */
static void test_example(void **state)
{
	char *example = printed(config_example), *defaults = printed(print_defaults);
	char *live = calloc(1, strlen(example) + 1), *out = live, *errors, *save = NULL,
	     *again = NULL;
	struct config *c;
	size_t n, n_keys = 0;
	FILE *f;

	for (char *line = strtok_r(example, "\n", &save); line;
		line = strtok_r(NULL, "\n", &save)) {
		bool key = line[0] == '#' && line[1] != ' ';

		assert_true(strlen(line) <= 100);
		n_keys += key;
		if (key && line[strlen(line) - 1] == '=')
			continue; /* a list that is empty */
		out += sprintf(out, "%s\n", key ? line + 1 : line);
	}
	errors = read_text(live, &c);
	assert_string_equal(errors, "");
	f = open_memstream(&again, &n);
	config_print(c, f);
	fclose(f);
	assert_string_equal(again, defaults);
	assert_true(n_keys > 30);
	free(example);
	free(defaults);
	free(live);
	free(errors);
	free(again);
	config_free(c);
}

static void test_reload(void **state)
{
	struct config *a = config_new(), *b = config_new();
	char *text = NULL;
	size_t n;
	FILE *out = open_memstream(&text, &n);

	config_set(a, "masters", "http://a:1,http://b:2", stderr);
	config_set(b, "masters", "http://c:3", stderr);
	config_set(b, "poll_interval", "9s", stderr);
	config_set(b, "device", "vips", stderr);
	assert_int_equal(config_reload(a, b, out), 1);
	fclose(out);
	assert_string_equal(text, "device: stays vipd0 until a restart\n");
	assert_string_equal(a->masters[0], "http://c:3");
	assert_null(a->masters[1]);
	assert_int_equal(a->poll_interval, 9 * NSEC_PER_SEC);
	assert_string_equal(a->device, "vipd0");
	free(text);
	config_free(a);
	config_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_errors_name_line),
		cmocka_unit_test(test_all_errors_are_told),
		cmocka_unit_test(test_listen),
		cmocka_unit_test(test_long_line),
		cmocka_unit_test(test_command_line_wins),
		cmocka_unit_test(test_source),
		cmocka_unit_test(test_print_round_trip),
		cmocka_unit_test(test_example),
		cmocka_unit_test(test_reload),
	};

	return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
