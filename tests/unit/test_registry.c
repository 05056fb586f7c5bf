/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The registry: what a file may hold, and a real directory that things happen to. */
#include "agent/containers/registry.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "agent/log.h"
#include "agent/util.h"

/* --- the parser ------------------------------------------------------------ */

static void test_parse(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
		const char *path; /* NULL: refused */
	} cases[] = {
		{"/proc/12/ns/net", 15, "/proc/12/ns/net"},
		{"/proc/12/ns/net\n", 16, "/proc/12/ns/net"},
		{"/a b", 4, "/a b"},
		{"/", 1, "/"},
		{"", 0, NULL},
		{"\n", 1, NULL},
		{"proc/12/ns/net", 14, NULL},
		{"/a\n\n", 4, NULL},
		{"/a\n/b\n", 6, NULL},
		{"/a\0", 3, NULL},
		{"/a\0b", 4, NULL},
		{"/a\x7f", 3, NULL},
		{" /a", 3, NULL},
	};
	char path[REGISTRY_PATH_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *problem;

		strcpy(path, "untouched");
		problem = registry_parse(cases[i].bytes, cases[i].n, path);
		assert_int_equal(problem == NULL, cases[i].path != NULL);
		assert_string_equal(path, cases[i].path ? cases[i].path : "untouched");
	}
}

static void test_parse_length(void **state)
{
	char bytes[REGISTRY_PATH_SIZE + 1], path[REGISTRY_PATH_SIZE];

	memset(bytes, '/', sizeof(bytes));
	assert_null(registry_parse(bytes, REGISTRY_PATH_SIZE - 1, path));
	assert_int_equal(strlen(path), REGISTRY_PATH_SIZE - 1);
	assert_non_null(registry_parse(bytes, REGISTRY_PATH_SIZE, path));
	bytes[REGISTRY_PATH_SIZE - 1] = '\n';
	assert_null(registry_parse(bytes, REGISTRY_PATH_SIZE, path));
	assert_non_null(registry_parse(bytes, sizeof(bytes), path));
}

static void test_names(void **state)
{
	static const char *const good[] = {"a", "0f6e3a2c-9b1d-4e53.nested_1", "a:b@c+d=e"};
	static const char *const bad[] = {
		"", ".", "..", ".hidden", "a b", "a\nb", "\xc3\xa4", "a/b"};
	char long_name[258] = {0};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_true(registry_name_ok(good[i]));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(registry_name_ok(bad[i]));
	memset(long_name, 'a', 255);
	assert_true(registry_name_ok(long_name));
	long_name[255] = 'a';
	assert_false(registry_name_ok(long_name));
}

/* --- a directory ----------------------------------------------------------- */

struct place {
	char root[64], directory[128];
	sd_event *loop;
	struct registry *registry;
	char told[1 << 16]; /* "+name=path " and "-name " in the order of the calls */
};

static void tell(struct place *p, const char *text)
{
	assert_true(strlen(p->told) + strlen(text) < sizeof(p->told));
	strcat(p->told, text);
}

static void on_set(void *userdata, const char *name, const char *path)
{
	AUTO_FREE char *text = xasprintf("+%s=%s ", name, path);

	tell(userdata, text);
}

static void on_removed(void *userdata, const char *name)
{
	AUTO_FREE char *text = xasprintf("-%s ", name);

	tell(userdata, text);
}

static void run(struct place *p)
{
	while (sd_event_run(p->loop, 20000) > 0)
		;
}

/* What was told since the last time. */
#define assert_told(p, expected)                          \
	do {                                              \
		run(p);                                   \
		assert_string_equal((p)->told, expected); \
		(p)->told[0] = '\0';                      \
	} while (0)

static void shell(const struct place *p, const char *command)
{
	AUTO_FREE char *line = xasprintf("set -e; cd %s; %s", p->root, command);

	assert_int_equal(system(line), 0);
}

static int begin(void **state)
{
	struct place *p = xcalloc(1, sizeof(*p));

	log_set_level(LOG_ERR);
	strcpy(p->root, "/tmp/vipd-registry-XXXXXX");
	assert_non_null(mkdtemp(p->root));
	snprintf(p->directory, sizeof(p->directory), "%s/a/b/l4lb", p->root);
	assert_true(sd_event_new(&p->loop) >= 0);
	*state = p;
	return 0;
}

static int end(void **state)
{
	struct place *p = *state;

	registry_free(p->registry);
	sd_event_unref(p->loop);
	shell(p, "rm -rf -- \"$PWD\"");
	free(p);
	return 0;
}

static void open_registry(struct place *p)
{
	const struct registry_handler handler = {on_set, on_removed, p};

	assert_int_equal(registry_new(p->loop, p->directory, &handler, &p->registry), 0);
}

static void test_files_come_and_go(void **state)
{
	struct place *p = *state;

	shell(p, "mkdir -p a/b/l4lb; cd a/b/l4lb; echo /n/1 >one; printf /n/2 >two; echo x "
		 ">.hidden");
	open_registry(p);
	run(p);
	assert_non_null(strstr(p->told, "+one=/n/1 "));
	assert_non_null(strstr(p->told, "+two=/n/2 "));
	assert_int_equal(strlen(p->told), 20);
	p->told[0] = '\0';

	shell(p, "cd a/b/l4lb; echo /n/3 >three");
	assert_told(p, "+three=/n/3 ");
	shell(p, "cd a/b/l4lb; echo /n/3 >three; touch three");
	assert_told(p, "");
	shell(p, "cd a/b/l4lb; echo /n/4 >.tmp; mv .tmp three");
	assert_told(p, "+three=/n/4 ");
	shell(p, "cd a/b/l4lb; mv three four");
	assert_told(p, "-three +four=/n/4 ");
	shell(p, "cd a/b/l4lb; rm four one");
	assert_told(p, "-four -one ");
	registry_rescan(p->registry);
	assert_told(p, "");
}

static void test_bad_files(void **state)
{
	struct place *p = *state;
	const struct registry_file *files;
	size_t n;

	open_registry(p);
	shell(p, "mkdir -p a/b/l4lb; cd a/b/l4lb; echo /n/1 >good; mkdir directory; mkfifo fifo;"
		 "ln -s good link; head -c 100000 /dev/zero >huge; echo relative >relative; : "
		 ">empty;"
		 "echo /n/9 >'a b'");
	assert_told(p, "+good=/n/1 ");
	files = registry_files(p->registry, &n);
	assert_int_equal(n, 7);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(files[i].problem == NULL, strcmp(files[i].name, "good") == 0);
	registry_rescan(p->registry);
	assert_int_equal(registry_n_ignored(p->registry), 1);

	/* A file that turns bad keeps what it named: it may be half written. */
	shell(p, "cd a/b/l4lb; : >good");
	assert_told(p, "");
	files = registry_files(p->registry, &n);
	assert_string_equal(files[3].name, "good");
	assert_non_null(files[3].problem);
	shell(p, "cd a/b/l4lb; echo /n/1 >good");
	assert_told(p, "");
	assert_null(registry_files(p->registry, &n)[3].problem);
	shell(p, "cd a/b/l4lb; echo /n/2 >relative; rmdir directory; rm good");
	assert_told(p, "+relative=/n/2 -good ");
}

static void test_directory_comes_and_goes(void **state)
{
	struct place *p = *state;

	open_registry(p);
	assert_told(p, "");
	shell(p, "mkdir a");
	assert_told(p, "");
	shell(p, "mkdir -p a/b/l4lb; echo /n/1 >a/b/l4lb/one");
	assert_told(p, "+one=/n/1 ");
	shell(p, "rm -r a/b");
	assert_told(p, "-one ");
	shell(p, "mkdir -p a/b/l4lb");
	run(p);
	shell(p, "echo /n/2 >a/b/l4lb/two");
	assert_told(p, "+two=/n/2 ");
	/* Moved away with all that is in it: no event tells, the scan does. */
	shell(p, "mv a c");
	registry_rescan(p->registry);
	assert_told(p, "-two ");
	shell(p, "mv c a");
	assert_told(p, "+two=/n/2 ");
}

static void rename_file(const struct place *p, const char *from, const char *to)
{
	AUTO_FREE char *a = xasprintf("%s/%s", p->directory, from);
	AUTO_FREE char *b = xasprintf("%s/%s", p->directory, to);

	assert_int_equal(rename(a, b), 0);
}

/* More files than are taken, and more events than the kernel's queue holds. */
static void test_bounds(void **state)
{
	struct place *p = *state;
	size_t n;

	shell(p, "mkdir -p a/b/l4lb");
	open_registry(p);
	shell(p, "cd a/b/l4lb; for i in $(seq 1100); do echo /n/$i >f$i; done");
	run(p);
	registry_rescan(p->registry);
	registry_files(p->registry, &n);
	assert_int_equal(n, REGISTRY_MAX);
	assert_int_equal(registry_n_ignored(p->registry), 1100 - REGISTRY_MAX);
	p->told[0] = '\0';
	/* 16,384 is the queue's usual size; each round is four events. */
	for (int i = 0; i < 5000; i++) {
		rename_file(p, "f1", "f2");
		rename_file(p, "f2", "f1");
	}
	shell(p, "cd a/b/l4lb; rm f*; echo /n/x >last");
	run(p);
	p->told[0] = '\0';
	registry_files(p->registry, &n);
	assert_int_equal(n, 1);
	assert_string_equal(registry_files(p->registry, &n)[0].name, "last");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_parse_length),
		cmocka_unit_test(test_names),
		cmocka_unit_test_setup_teardown(test_files_come_and_go, begin, end),
		cmocka_unit_test_setup_teardown(test_bad_files, begin, end),
		cmocka_unit_test_setup_teardown(test_directory_comes_and_goes, begin, end),
		cmocka_unit_test_setup_teardown(test_bounds, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
