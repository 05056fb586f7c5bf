/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Documents one after the other: what the later ones take from the earlier, and when they say the same. */
#include "agent/source/task_pool.h"

#include "mesos_help.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define PORT(number, vip)                                                                 \
	"'discovery': {'ports': {'ports': [{'number': " #number ", 'labels': {'labels': " \
	"[{'key': 'VIP_0', 'value': '" vip "'}]}}]}}"
#define TASK(id, port, vip) \
	"{'id': '" id       \
	"', 'framework_id': 'F', 'slave_id': 'S', 'state': 'TASK_RUNNING', " PORT(port, vip) "}"
#define PLAIN(id, state) "{'id': '" id "', 'state': '" state "'}"
#define DOC(name, tasks, address)                                                            \
	"{'frameworks': [{'id': 'F', 'name': '" name "', 'tasks': [" tasks "]}], 'slaves': " \
	"[{'id': 'S', 'hostname': '" address "'}]}"
#define TWO TASK("t", 80, "1.2.3.4:5000") ", " TASK("u", 81, "1.2.3.4:5000")
#define BASE DOC("marathon", TWO, "10.0.0.5")

/* Reads a document with what is known. *ret is set only if it is 0. */
static int read_with(
	struct task_pool *pool, const char *text, const uint8_t *known, struct mesos_state **ret)
{
	struct mesos_parser *p = mesos_parser_new(NULL, pool);
	char *doc = quoted(text);
	int r = mesos_parser_feed(p, doc, strlen(doc));

	if (r == 0)
		r = mesos_parser_finish(p, known, ret);
	free(doc);
	mesos_parser_free(p);
	return r;
}

static void test_same_or_not(void **state)
{
	static const struct {
		const char *what, *doc;
		bool same;
	} rows[] = {
		{"the same", BASE, true},
		{"members that do not matter",
			"{'x': [1], 'frameworks': [{'id': 'F', 'y': {}, 'name': 'marathon', "
			"'tasks': [" TWO "], 'completed_tasks': [" TASK(
				"v", 1, "x:1") "]}], 'slaves': [{'id': 'S', 'hostname': "
					       "'10.0.0.5', 'used': 3}]}",
			true},
		{"another port",
			DOC("marathon",
				TASK("t", 80, "1.2.3.4:5000") ", " TASK("u", 82, "1.2.3.4:5000"),
				"10.0.0.5"),
			false},
		{"another label",
			DOC("marathon",
				TASK("t", 80, "1.2.3.4:5000") ", " TASK("u", 81, "1.2.3.4:5001"),
				"10.0.0.5"),
			false},
		{"a task less", DOC("marathon", TASK("t", 80, "1.2.3.4:5000"), "10.0.0.5"), false},
		{"a plain task more",
			DOC("marathon", TWO ", " PLAIN("p", "TASK_RUNNING"), "10.0.0.5"), false},
		{"a plain task that has ended",
			DOC("marathon", TWO ", " PLAIN("p", "TASK_FAILED"), "10.0.0.5"), true},
		{"another name of the framework", DOC("other", TWO, "10.0.0.5"), false},
		{"another address of the agent", DOC("marathon", TWO, "10.0.0.6"), false},
		{"a key twice",
			"{'slaves': [], "
			"'frameworks': [{'id': 'F', 'name': 'marathon', 'tasks': [" TWO
			"]}], 'slaves': [{'id': 'S', 'hostname': '10.0.0.5'}]}",
			false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct task_pool *pool = task_pool_new();
		struct mesos_state *base, *other = NULL;
		int r;

		assert_int_equal(read_with(pool, BASE, NULL, &base), 0);
		r = read_with(pool, rows[i].doc, base->digest, &other);
		if (r != (rows[i].same ? MESOS_UNCHANGED : 0) || !other != rows[i].same)
			fail_msg("%s: %d", rows[i].what, r);
		mesos_state_free(other);
		mesos_state_free(base);
		task_pool_unref(pool);
	}
}

/* A document with a key twice is never the same as another, not even as itself. */
static void test_odd(void **state)
{
	static const char doc[] = "{'slaves': [], 'slaves': [], 'frameworks': []}";
	struct task_pool *pool = task_pool_new();
	struct mesos_state *a, *b;

	assert_int_equal(read_with(pool, doc, NULL, &a), 0);
	assert_int_equal(read_with(pool, doc, a->digest, &b), 0);
	mesos_state_free(a);
	mesos_state_free(b);
	task_pool_unref(pool);
}

/* What is shared outlives the document that brought it, and goes with the last that has it. */
static void test_sharing(void **state)
{
	struct task_pool *pool = task_pool_new();
	struct mesos_state *a, *b, *c;
	struct vip_table *t;
	char *list;

	assert_int_equal(read_with(pool, BASE, NULL, &a), 0);
	assert_int_equal(read_with(pool, DOC("marathon", TASK("u", 81, "1.2.3.4:5000"), "10.0.0.6"),
				 a->digest, &b),
		0);
	assert_int_equal(b->n_tasks, 1);
	assert_ptr_equal(b->tasks[0].task, a->tasks[1].task);
	mesos_state_free(a);
	t = vip_table_build(b, NULL);
	list = table_list(t);
	assert_string_equal(list, "tcp 1.2.3.4:5000: 10.0.0.6:81*1");
	free(list);
	vip_table_free(t);
	assert_int_equal(read_with(pool, BASE, b->digest, &c), 0);
	mesos_state_free(b);
	task_pool_unref(pool); /* c holds it */
	mesos_state_free(c);
}

/* Complaints come with every document that gives cause for them. */
static void test_complaints_are_repeated(void **state)
{
	static const char doc[] = DOC(
		"marathon", TASK("t", 80, "1.2.3.4:5000") ", " TASK("b", 99999, "x:1"), "10.0.0.5");
	struct task_pool *pool = task_pool_new();
	struct mesos_state *a, *b;

	assert_int_equal(read_with(pool, doc, NULL, &a), 0);
	assert_int_equal(read_with(pool, doc, NULL, &b), 0);
	assert_int_equal(a->n_rejected[MESOS_REJECT_PORT], 1);
	assert_int_equal(b->n_rejected[MESOS_REJECT_PORT], 1);
	assert_string_equal(b->rejections[0].task, "b");
	mesos_state_free(a);
	assert_int_equal(read_with(pool, doc, b->digest, &a), MESOS_UNCHANGED);
	mesos_state_free(b);
	task_pool_unref(pool);
}

/* Ids that are not used any more make a pool worn, in time. */
static void test_wear(void **state)
{
	struct task_pool *pool = task_pool_new();
	char id[32];

	for (int i = 0; i < 5000; i++) {
		int n = snprintf(id, sizeof(id), "agent %d", i);

		strset_add(task_pool_agents(pool), id, (size_t)n);
	}
	assert_false(task_pool_is_worn(pool, 5000));
	assert_true(task_pool_is_worn(pool, 100));
	task_pool_unref(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_or_not),
		cmocka_unit_test(test_odd),
		cmocka_unit_test(test_sharing),
		cmocka_unit_test(test_complaints_are_repeated),
		cmocka_unit_test(test_wear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
