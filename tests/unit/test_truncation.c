/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A large document, cut at random places: it is refused at each, and right when it is whole. One
 * process reads it once; at each place a child takes over and finishes what has come so far, so that
 * a thousand cuts cost not much more than one document.
 *
 * VIPD_TRUNCATIONS says how many places (1,000), VIPD_TASKS how large the document is (5,000 tasks,
 * 4.5 MB); VIPD_SEED repeats a run, whose seed is printed.
 */
#include "mesos_help.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static size_t setting(const char *name, size_t usual)
{
	const char *text = getenv(name);

	return text ? strtoul(text, NULL, 10) : usual;
}

/* As a master writes it; every tenth task has a label, in apps of five. */
static void print_task(FILE *f, size_t i)
{
	fprintf(f,
		"%s{\"id\":\"app-%zu.92ed0e79-ed3c-11e8-841d-%012zx\",\"name\":\"app-%zu\","
		"\"framework_id\":\"F\","
		"\"executor_id\":\"\",\"slave_id\":\"S\",\"state\":\"TASK_RUNNING\",\"resources\":{"
		"\"disk\":0.0,"
		"\"mem\":128.0,\"gpus\":0.0,\"cpus\":0.1,\"ports\":\"[%zu-%zu]\"},\"role\":\"slave_"
		"public\","
		"\"statuses\":[{\"state\":\"TASK_RUNNING\",\"timestamp\":1542770516.399176,"
		"\"container_status\":"
		"{\"container_id\":{\"value\":\"393301c8-0eef-44d6-a244-%012zx\"},\"network_"
		"infos\":[{\"ip_addresses\":"
		"[{\"protocol\":\"IPv4\",\"ip_address\":\"9.%zu.%zu.%zu\"}],\"name\":\"dcos\"}]}}],"
		"\"discovery\":"
		"{\"visibility\":\"FRAMEWORK\",\"name\":\"app-%zu\",\"ports\":{\"ports\":[{"
		"\"number\":%zu,\"protocol\":"
		"\"tcp\",\"labels\":{\"labels\":[{\"key\":\"%s\",\"value\":\"\\/"
		"app-%zu:80\"},{\"key\":"
		"\"network-scope\",\"value\":\"host\"}]}}]}},\"container\":{\"type\":\"MESOS\"}}\n",
		i ? "," : "", i / 5, i, i / 5, 1025 + i % 30000, 1025 + i % 30000, i, i >> 16 & 255,
		i >> 8 & 255, i & 255, i / 5, 1025 + i % 30000, i / 5 % 10 ? "NONE" : "VIP_0",
		i / 5);
}

static char *make_document(size_t n_tasks, size_t *ret_n)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, ret_n);

	fputs("{\"slaves\":[{\"id\":\"S\",\"hostname\":\"10.0.0.5\"}],\"frameworks\":[{\"id\":"
	      "\"F\",\"name\":"
	      "\"marathon\",\"tasks\":[",
		f);
	for (size_t i = 0; i < n_tasks; i++)
		print_task(f, i);
	fputs("],\"completed_tasks\":[]}],\"completed_frameworks\":[]}", f);
	fclose(f);
	return text;
}

static int cmp_place(const void *a, const void *b)
{
	size_t x = *(const size_t *)a, y = *(const size_t *)b;

	return x < y ? -1 : x > y;
}

static size_t *random_places(size_t n, size_t below)
{
	unsigned int seed = (unsigned int)setting("VIPD_SEED", (size_t)time(NULL));
	size_t *places = calloc(n, sizeof(*places));

	print_message("VIPD_SEED=%u, %zu places in %zu bytes\n", seed, n, below);
	srandom(seed);
	for (size_t i = 0; i < n; i++)
		places[i] = ((size_t)random() << 31 | (size_t)random()) % below;
	qsort(places, n, sizeof(*places), cmp_place);
	return places;
}

/* In a child: the document ends here. Its exit status is 0 if it is refused, with a reason. */
static bool is_refused_here(struct mesos_parser *p)
{
	struct mesos_state *s;
	int status;
	pid_t child = fork();

	if (child == 0)
		_exit(mesos_parser_finish(p, NULL, &s) == -EBADMSG && *mesos_parser_error(p) ? 0
											     : 1);
	return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) &&
	       WEXITSTATUS(status) == 0;
}

static void check_whole(struct mesos_parser *p, size_t n_tasks)
{
	struct mesos_state *s;
	struct vip_table *t;
	size_t n_backends = 0;

	assert_int_equal(mesos_parser_finish(p, NULL, &s), 0);
	t = vip_table_build(s, NULL);
	for (size_t i = 0; i < t->n_vips; i++)
		n_backends += t->vips[i].n_backends;
	assert_int_equal(t->n_tasks_seen, n_tasks);
	assert_int_equal(t->n_vips, (n_tasks / 5 + 9) / 10);
	assert_int_equal(n_backends, 5 * t->n_vips);
	vip_table_free(t);
	mesos_state_free(s);
}

static void test_random_places(void **state)
{
	size_t n_tasks = setting("VIPD_TASKS", 5000) / 5 * 5,
	       n_places = setting("VIPD_TRUNCATIONS", 1000);
	size_t n, at = 0;
	char *doc = make_document(n_tasks, &n);
	size_t *places = random_places(n_places, n);
	struct mesos_parser *p = mesos_parser_new(NULL, NULL);

	for (size_t i = 0; i < n_places; i++) {
		assert_int_equal(mesos_parser_feed(p, doc + at, places[i] - at), 0);
		at = places[i];
		if (!is_refused_here(p))
			fail_msg("cut at byte %zu of %zu it is not refused", at, n);
	}
	assert_int_equal(mesos_parser_feed(p, doc + at, n - at), 0);
	check_whole(p, n_tasks);
	mesos_parser_free(p);
	free(places);
	free(doc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_places),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
