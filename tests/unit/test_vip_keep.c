/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A master that has just taken over: its documents list agents as recovered, without their tasks, and
 * their backends stay. Documents are made of a few agents and tasks, in both shapes.
 */
#include "agent/source/vip_keep.h"

#include "mesos_help.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define N_AGENTS 6

struct task {
	unsigned int agent;
	const char *vip, *address; /* its own; NULL: the agent's */
	unsigned int port;
};

enum presence {
	GONE,
	REGISTERED,
	RECOVERED,
};

struct cluster {
	const char *hostnames[N_AGENTS]; /* NULL: no such agent */
	enum presence presence[N_AGENTS];
	bool other_id[N_AGENTS]; /* registered anew, while its old id is recovered */
	bool v1;
	const struct task *tasks;
	size_t n_tasks;
};

static void put_task(FILE *f, const struct cluster *c, size_t i)
{
	const struct task *t = &c->tasks[i];

	fprintf(f,
		c->v1 ? "{'task_id': {'value': 't%zu'}, 'framework_id': {'value': 'F'}, "
			"'agent_id': {'value': 'S%u%s'}"
		      : "{'id': 't%zu', 'framework_id': 'F', 'slave_id': 'S%u%s'",
		i, t->agent, c->other_id[t->agent] ? "b" : "");
	fprintf(f, ", 'state': 'TASK_RUNNING', 'statuses': [{'timestamp': 1.0, ");
	if (t->address)
		fprintf(f,
			"'container_status': {'network_infos': [{'ip_addresses': "
			"[{'ip_address': '%s'}]}]}, ",
			t->address);
	fprintf(f,
		"'state': 'TASK_RUNNING'}], 'discovery': {'ports': {'ports': [{'number': %u, "
		"'protocol': 'tcp', 'labels': {'labels': [{'key': 'VIP_0', 'value': '%s'}]}}]}}}",
		t->port, t->vip);
}

static void put_tasks(FILE *f, const struct cluster *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->n_tasks; i++) {
		if (c->presence[c->tasks[i].agent] != REGISTERED)
			continue;
		fputs(n++ ? ", " : "", f);
		put_task(f, c, i);
	}
}

/* A registered agent has a pid, a recovered one none. */
static void put_agent(FILE *f, const struct cluster *c, unsigned int i, bool registered)
{
	const char *id = registered && c->other_id[i] ? "b" : "";

	fprintf(f, c->v1 && registered ? "{'agent_info': " : "%s", "");
	fprintf(f,
		c->v1 ? "{'id': {'value': 'S%u%s'}, 'hostname': '%s'"
		      : "{'id': 'S%u%s', 'hostname': '%s'",
		i, id, c->hostnames[i]);
	if (registered)
		fprintf(f, "%s, 'pid': 'slave(1)@10.0.0.%u:5051'", c->v1 ? "}" : "", i + 1);
	fputs("}", f);
}

static void put_agents(FILE *f, const struct cluster *c, bool registered)
{
	size_t n = 0;

	for (unsigned int i = 0; i < N_AGENTS; i++) {
		bool is = c->presence[i] == (registered ? REGISTERED : RECOVERED) ||
			  (!registered && c->other_id[i]);

		if (!c->hostnames[i] || !is)
			continue;
		fputs(n++ ? ", " : "", f);
		put_agent(f, c, i, registered);
	}
}

static char *make_document(const struct cluster *c)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	fputs(c->v1 ? "{'type': 'GET_STATE', 'get_state': {'get_tasks': {'tasks': ["
		    : "{'frameworks': [{'id': 'F', 'name': 'marathon', 'tasks': [",
		f);
	put_tasks(f, c);
	fputs(c->v1 ? "]}, 'get_frameworks': {'frameworks': [{'framework_info': {'id': {'value': "
		      "'F'}, 'name': 'marathon'}}]}, 'get_agents': {'agents': ["
		    : "]}], 'slaves': [",
		f);
	put_agents(f, c, true);
	fputs(c->v1 ? "], 'recovered_agents': [" : "], 'recovered_slaves': [", f);
	put_agents(f, c, false);
	fputs(c->v1 ? "]}}}" : "]}", f);
	fclose(f);
	return text;
}

/* With room for few names, so that they collide. */
static struct vip_table_options narrow(void)
{
	struct vip_table_options o = {0};
	const char *error;

	assert_int_equal(address_range_parse("11.0.0.0-11.0.0.16", AF_INET, &o.range4, &error), 0);
	assert_int_equal(
		address_range_parse("fd01:c::-fd01:c::10", AF_INET6, &o.range6, &error), 0);
	return o;
}

static struct vip_table *table_for(const struct cluster *c)
{
	const struct vip_table_options options = narrow();
	char *doc = make_document(c), error[200];
	struct mesos_state *s = read_doc(doc, error);
	struct vip_table *t;

	if (!s)
		fail_msg("%s: %s", doc, error);
	t = vip_table_build(s, &options);
	mesos_state_free(s);
	free(doc);
	return t;
}

/* The next document's table in place of `old`, which is freed. */
static struct vip_table *next(struct vip_table *old, const struct cluster *c)
{
	const struct vip_table_options options = narrow();
	struct vip_table *t = table_for(c);

	(void)vip_table_keep_recovered(t, old, &options);
	vip_table_free(old);
	return t;
}

static void check_list(const struct vip_table *t, const char *expected)
{
	char *list = table_list(t);

	assert_string_equal(list, expected);
	free(list);
}

static const struct task some_tasks[] = {
	{0, "1.2.3.4:80", NULL, 8001},
	{1, "1.2.3.4:80", NULL, 8002},
	{1, "1.2.3.4:80", NULL, 8001},
	{1, "[fd00::1]:80", "fd01::7", 8001},
	{2, "1.2.3.5:80", "9.0.0.7", 8001},
};

static struct cluster some_cluster(bool v1)
{
	return (struct cluster){
		.hostnames = {"10.0.0.1", "10.0.0.2", "10.0.0.3"},
		.presence = {REGISTERED, REGISTERED, REGISTERED},
		.v1 = v1,
		.tasks = some_tasks,
		.n_tasks = sizeof(some_tasks) / sizeof(*some_tasks),
	};
}

#define ALL                                                                   \
	"tcp 1.2.3.4:80: 10.0.0.1:8001*1, 10.0.0.2:8001*1, 10.0.0.2:8002*1\n" \
	"tcp 1.2.3.5:80: 9.0.0.7:8001*1\n"                                    \
	"tcp [fd00::1]:80: [fd01::7]:8001*1"

static void test_read(void **state)
{
	for (int v1 = 0; v1 < 2; v1++) {
		struct cluster c = some_cluster(v1);
		struct vip_table *t;

		c.presence[1] = c.presence[2] = RECOVERED;
		t = table_for(&c);
		check_list(t, "tcp 1.2.3.4:80: 10.0.0.1:8001*1");
		assert_int_equal(t->n_agents, 3);
		assert_int_equal(t->n_recovered, 2);
		assert_int_equal(t->recovered[0].bytes[3], 2);
		assert_int_equal(t->recovered[1].bytes[3], 3);
		vip_table_free(t);
	}
}

/* A list that is there twice counts as it is there last; who is in both has registered. */
static void test_read_oddly(void **state)
{
	static const struct {
		const char *doc;
		size_t n_recovered, n_nowhere;
	} rows[] = {
		{"{'frameworks': [], 'slaves': [], 'recovered_slaves': [{'id': 'A', 'hostname': "
		 "'10.0.0.1'}], 'recovered_slaves': [{'id': 'B', 'hostname': 'b'}]}",
			0, 1},
		{"{'frameworks': [], 'recovered_slaves': [{'id': 'A', 'hostname': '10.0.0.1'}], "
		 "'slaves': [{'id': 'A', 'hostname': '10.0.0.2'}]}",
			0, 0},
		{"{'frameworks': [], 'slaves': [], 'recovered_slaves': [{'id': 'B', 'hostname': "
		 "'10.0.0.1'}, {'id': 'A', 'hostname': '10.0.0.1'}, {'hostname': '10.0.0.3'}, 7]}",
			1, 0},
		{"{'frameworks': [], 'slaves': [], 'recovered_slaves': null}", 0, 0},
	};
	char error[200];

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct mesos_state *s = read_doc(rows[i].doc, error);
		struct vip_table *t;

		assert_non_null(s);
		t = vip_table_build(s, NULL);
		assert_int_equal(t->n_recovered, rows[i].n_recovered);
		assert_int_equal(t->n_recovered_nowhere, rows[i].n_nowhere);
		vip_table_free(t);
		mesos_state_free(s);
	}
}

/* They share the limit of agents, and a document that differs in them only is another one. */
static void test_limit_and_digest(void **state)
{
	const struct mesos_limits limits = {.agents = 2};
	struct cluster c = some_cluster(false);
	struct vip_table *before = table_for(&c), *after;
	char *doc, *text, error[200];

	c.presence[0] = c.presence[1] = c.presence[2] = RECOVERED;
	doc = make_document(&c);
	text = quoted(doc);
	assert_null(read_pieces(text, strlen(text), 0, &limits, error));
	assert_non_null(strstr(error, "more than 2 agents"));
	after = table_for(&c);
	assert_memory_not_equal(before->digest, after->digest, sizeof(before->digest));
	vip_table_free(before);
	vip_table_free(after);
	free(text);
	free(doc);
}

static void test_they_stay_until_they_register(void **state)
{
	for (int v1 = 0; v1 < 2; v1++) {
		struct cluster c = some_cluster(v1);
		struct vip_table *t = next(NULL, &c);

		assert_int_equal(t->n_kept, 0);
		c.presence[0] = c.presence[1] = c.presence[2] = RECOVERED;
		t = next(t, &c);
		check_list(t, ALL);
		assert_int_equal(t->n_kept, 5);
		assert_true(t->vips[0].backends[0].kept);
		/* Once more; then one comes, with other tasks: what it had is over. */
		t = next(t, &c);
		c.presence[1] = REGISTERED;
		c.tasks = (const struct task[]){{1, "1.2.3.4:80", NULL, 8002}};
		c.n_tasks = 1;
		t = next(t, &c);
		check_list(t, "tcp 1.2.3.4:80: 10.0.0.1:8001*1, 10.0.0.2:8002*1\n"
			      "tcp 1.2.3.5:80: 9.0.0.7:8001*1");
		assert_int_equal(t->n_kept, 2);
		assert_true(t->vips[0].backends[0].kept && !t->vips[0].backends[1].kept);
		/* One is given up, one is heard of. */
		c.presence[0] = GONE;
		c.presence[2] = REGISTERED;
		t = next(t, &c);
		check_list(t, "tcp 1.2.3.4:80: 10.0.0.2:8002*1");
		assert_int_equal(t->n_kept, 0);
		vip_table_free(t);
	}
}

static void test_nothing_to_keep(void **state)
{
	struct cluster c = some_cluster(false);
	struct vip_table *t;

	c.presence[1] = c.presence[2] = RECOVERED;
	t = next(NULL, &c);
	check_list(t, "tcp 1.2.3.4:80: 10.0.0.1:8001*1");
	/* An agent that vanishes otherwise takes its backends along. */
	c.presence[0] = GONE;
	t = next(t, &c);
	check_list(t, "");
	vip_table_free(t);
}

/* The same endpoint behind the same VIP: what the document says counts. */
static void test_an_address_that_moved(void **state)
{
	struct cluster c = some_cluster(false);
	struct vip_table *t = next(NULL, &c);

	c.presence[1] = c.presence[2] = RECOVERED;
	c.tasks = (const struct task[]){{0, "1.2.3.5:80", "9.0.0.7", 8001}};
	c.n_tasks = 1;
	t = next(t, &c);
	assert_int_equal(t->n_vips, 3);
	assert_int_equal(t->vips[1].n_backends, 1);
	assert_int_equal(t->vips[1].backends[0].agent.bytes[3], 1);
	assert_int_equal(t->n_kept, 3);
	vip_table_free(t);
}

/* At the address of a recovered agent one has registered under a new id: the old tasks are gone. */
static void test_another_agent_at_its_address(void **state)
{
	struct cluster c = some_cluster(false);
	struct vip_table *t = next(NULL, &c);

	c.other_id[1] = true;
	c.tasks = &some_tasks[0];
	c.n_tasks = 2;
	t = next(t, &c);
	check_list(t, "tcp 1.2.3.4:80: 10.0.0.1:8001*1, 10.0.0.2:8002*1");
	vip_table_free(t);
}

/* Where the document does not say where a recovered agent is, it may be any that has not registered. */
static void test_agents_by_name(void **state)
{
	struct cluster c = some_cluster(false);
	struct vip_table *t;

	c.hostnames[1] = "two.example";
	t = next(NULL, &c);
	check_list(t, ALL);
	c.presence[0] = c.presence[1] = c.presence[2] = RECOVERED;
	t = next(t, &c);
	check_list(t, ALL);
	assert_int_equal(t->n_recovered, 2);
	assert_int_equal(t->n_recovered_nowhere, 1);
	assert_int_equal(t->n_agents, 3);
	c.presence[0] = REGISTERED;
	c.n_tasks = 0;
	t = next(t, &c);
	assert_int_equal(t->n_kept, 4);
	c.presence[1] = REGISTERED;
	t = next(t, &c);
	check_list(t, "tcp 1.2.3.5:80: 9.0.0.7:8001*1");
	vip_table_free(t);
}

/*
 * Whatever order the agents register in, what is in force is what it was with all of them: names
 * that collide, named and other VIPs, both families, and no order lost.
 */
static void test_any_order(void **state)
{
	static char vips[N_AGENTS * 6][32], addresses[N_AGENTS * 6][32];
	static struct task tasks[N_AGENTS * 6];
	static const char *const hosts[N_AGENTS] = {
		"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"};
	struct cluster c = {.tasks = tasks, .n_tasks = N_AGENTS * 6};
	struct vip_table *whole;
	unsigned int seed = 20;

	for (unsigned int i = 0; i < c.n_tasks; i++) {
		snprintf(vips[i], sizeof(vips[i]), i % 6 ? "svc%u:80" : "11.0.0.%u:80",
			i % 6 ? i % 13 : i / 6 * 2);
		snprintf(addresses[i], sizeof(addresses[i]), i % 5 ? "9.0.0.%u" : "fd01::%u", i);
		tasks[i] = (struct task){i % N_AGENTS ? i % N_AGENTS : 5 - i / 6 % 6, vips[i],
			i % 5   ? addresses[i]
			: i % 6 ? addresses[i]
				: NULL,
			8000 + i % 3};
	}
	for (unsigned int i = 0; i < N_AGENTS; i++) {
		c.hostnames[i] = hosts[i];
		c.presence[i] = REGISTERED;
	}
	whole = table_for(&c);
	assert_true(whole->n_vips > 12);
	for (unsigned int round = 0; round < 200; round++) {
		struct vip_table *t = table_for(&c);

		for (unsigned int i = 0; i < N_AGENTS; i++)
			c.presence[i] = RECOVERED;
		for (unsigned int left = N_AGENTS; left > 0;) {
			unsigned int i = (unsigned int)rand_r(&seed) % N_AGENTS;

			t = next(t, &c);
			assert_true(vip_table_equal(t, whole));
			left -= c.presence[i] == RECOVERED;
			c.presence[i] = REGISTERED;
		}
		t = next(t, &c);
		assert_true(vip_table_equal(t, whole));
		assert_int_equal(t->n_kept, 0);
		vip_table_free(t);
	}
	vip_table_free(whole);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_read_oddly),
		cmocka_unit_test(test_limit_and_digest),
		cmocka_unit_test(test_they_stay_until_they_register),
		cmocka_unit_test(test_nothing_to_keep),
		cmocka_unit_test(test_an_address_that_moved),
		cmocka_unit_test(test_another_agent_at_its_address),
		cmocka_unit_test(test_agents_by_name),
		cmocka_unit_test(test_any_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
