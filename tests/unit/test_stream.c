/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stream of events: each kind of event and what it does to the table, records cut anywhere, and
 * streams that break.
 */
#include "agent/source/stream.h"

#include "mesos_help.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define LABEL "'labels': {'labels': [{'key': 'VIP_0', 'value': '1.2.3.4:5000'}]}"
#define PORTS "'discovery': {'ports': {'ports': [{'number': 80, 'protocol': 'tcp', " LABEL "}]}}"
#define IDS(id)                                                                        \
	"'task_id': {'value': '" id "'}, 'framework_id': {'value': 'F'}, 'agent_id': " \
	"{'value': 'S'}"
#define TASK(id, state, more) "{" IDS(id) ", 'state': '" state "', " PORTS more "}"
#define FRAMEWORK "{'framework_info': {'id': {'value': 'F'}, 'name': 'marathon'}}"
#define AGENT(id, address) "{'agent_info': {'id': {'value': '" id "'}, 'hostname': '" address "'}}"
#define SUBSCRIBED(tasks, frameworks, agents)                                        \
	"{'type': 'SUBSCRIBED', 'subscribed': {'heartbeat_interval_seconds': 15.0, " \
	"'get_state': {'get_tasks': {'tasks': [" tasks "]}, 'get_frameworks': "      \
	"{'frameworks': [" frameworks "]}, 'get_agents': {'agents': [" agents "]}}}}"
#define RECOVERED(id, address)    \
	SUBSCRIBED("", FRAMEWORK, \
		"], 'recovered_agents': [{'id': {'value': '" id "'}, 'hostname': '" address "'}")
#define WHOLE(tasks) SUBSCRIBED(tasks, FRAMEWORK, AGENT("S", "10.0.0.5"))
#define ADDED(id, state) "{'type': 'TASK_ADDED', 'task_added': {'task': " TASK(id, state, "") "}}"
#define UPDATED(id, state, more)                                                              \
	"{'type': 'TASK_UPDATED', 'task_updated': {'framework_id': {'value': 'F'}, 'state': " \
	"'" state "', 'status': {'task_id': {'value': '" id "'}, 'state': '" state "'" more "}}}"
#define ADDRESS(a)                                                                     \
	", 'timestamp': 2.0, 'container_status': {'network_infos': [{'ip_addresses': " \
	"[{'ip_address': '" a "'}]}]}"
#define HEARTBEAT "{'type': 'HEARTBEAT'}"
#define RUNS "tcp 1.2.3.4:5000: 10.0.0.5:80*1"

/* Appends a record in its frame. */
static char *frame(char *stream, const char *record)
{
	char *text = quoted(record), *longer;

	if (asprintf(&longer, "%s%zu\n%s", stream ? stream : "", strlen(text), text) < 0)
		abort();
	free(text);
	free(stream);
	return longer;
}

static int feed(struct mesos_stream *s, const char *bytes, size_t n, size_t piece)
{
	int r = 0;

	for (size_t at = 0; r == 0 && at < n; at += piece) {
		size_t m = piece < n - at ? piece : n - at;
		char *copy = malloc(m); /* so that a sanitizer sees reads beyond it */

		memcpy(copy, bytes + at, m);
		r = mesos_stream_feed(s, copy, m);
		free(copy);
	}
	return r;
}

static char *list_of(struct mesos_stream *s, size_t *ret_rejected)
{
	struct mesos_state *state = mesos_stream_state(s);
	struct vip_table *t = vip_table_build(state, NULL);
	char *list = table_list(t);

	mesos_state_free(state);
	if (ret_rejected)
		memcpy(ret_rejected, t->n_rejected, sizeof(t->n_rejected));
	vip_table_free(t);
	return list;
}

#define RECORDS_MAX 6

struct row {
	const char *what, *records[RECORDS_MAX], *expected;
	enum mesos_reject reject; /* with n_rejected */
	size_t n_rejected;
};

static const struct row rows[] = {
	{"the whole state", {WHOLE(TASK("t", "TASK_RUNNING", ""))}, RUNS},
	{"nothing at all", {"{'subscribed': {'get_state': {'get_tasks': {}}}}"}, ""},
	{"a heartbeat", {WHOLE(TASK("t", "TASK_RUNNING", "")), HEARTBEAT}, RUNS},
	{"an event of a later Mesos",
		{WHOLE(TASK("t", "TASK_RUNNING", "")), "{'type': 'X', 'x': {'task': [1, {}]}}"},
		RUNS},
	{"a task that waits is none yet", {WHOLE(""), ADDED("t", "TASK_STAGING")}, ""},
	{"it comes to run",
		{WHOLE(""), ADDED("t", "TASK_STAGING"), UPDATED("t", "TASK_STARTING", ""),
			UPDATED("t", "TASK_RUNNING", "")},
		RUNS},
	{"with an address of its own",
		{WHOLE(""), ADDED("t", "TASK_STAGING"),
			UPDATED("t", "TASK_RUNNING", ADDRESS("9.0.0.7"))},
		"tcp 1.2.3.4:5000: 9.0.0.7:80*1"},
	{"a status before the last does not count",
		{WHOLE(TASK("t", "TASK_RUNNING", ", 'statuses': [{'timestamp': 3.0}]")),
			UPDATED("t", "TASK_RUNNING", ADDRESS("9.0.0.7"))},
		RUNS},
	{"it turns unhealthy",
		{WHOLE(TASK("t", "TASK_RUNNING", "")),
			UPDATED("t", "TASK_RUNNING", ", 'timestamp': 2.0, 'healthy': false")},
		"tcp 1.2.3.4:5000: 10.0.0.5:80*0"},
	{"it is being killed",
		{WHOLE(TASK("t", "TASK_RUNNING", "")), UPDATED("t", "TASK_KILLING", "")},
		"tcp 1.2.3.4:5000: 10.0.0.5:80*0"},
	{"it ends", {WHOLE(TASK("t", "TASK_RUNNING", "")), UPDATED("t", "TASK_FAILED", "")}, ""},
	{"it is unreachable, and found again",
		{WHOLE(TASK("t", "TASK_RUNNING", "")), UPDATED("t", "TASK_UNREACHABLE", ""),
			UPDATED("t", "TASK_RUNNING", "")},
		RUNS},
	{"one that nobody knows is updated",
		{WHOLE(TASK("t", "TASK_RUNNING", "")), UPDATED("u", "TASK_RUNNING", "")}, RUNS},
	{"its framework is not known",
		{SUBSCRIBED("", "", AGENT("S", "10.0.0.5")), ADDED("t", "TASK_RUNNING")}, "",
		MESOS_REJECT_NO_FRAMEWORK, 1},
	{"its framework comes later",
		{SUBSCRIBED("", "", AGENT("S", "10.0.0.5")), ADDED("t", "TASK_RUNNING"),
			"{'framework_added': {'framework': " FRAMEWORK "}}"},
		RUNS},
	{"its framework goes",
		{WHOLE(TASK("t", "TASK_RUNNING", "")), "{'framework_removed': {'framework_info': "
						       "{'id': {'value': 'F'}, 'name': 'x'}}}"},
		""},
	{"its agent goes",
		{WHOLE(TASK("t", "TASK_RUNNING", "")),
			"{'agent_removed': {'agent_id': {'value': 'S'}}}"},
		"", MESOS_REJECT_NO_AGENT, 1},
	{"its agent comes back elsewhere",
		{WHOLE(TASK("t", "TASK_RUNNING", "")),
			"{'agent_removed': {'agent_id': {'value': 'S'}}}",
			"{'agent_added': {'agent': " AGENT("S", "10.0.0.6") "}}"},
		"tcp 1.2.3.4:5000: 10.0.0.6:80*1"},
	{"an agent that is only recovered has no tasks yet",
		{RECOVERED("S", "10.0.0.5"), ADDED("t", "TASK_RUNNING")}, "", MESOS_REJECT_NO_AGENT,
		1},
	{"it registers",
		{RECOVERED("S", "10.0.0.5"), ADDED("t", "TASK_RUNNING"),
			"{'agent_added': {'agent': " AGENT("S", "10.0.0.5") "}}"},
		RUNS},
	{"everything anew",
		{WHOLE(TASK("t", "TASK_RUNNING", "")), WHOLE(TASK("u", "TASK_STAGING", ""))}, ""},
	{"a label that is none, twice told, counts once",
		{WHOLE(""),
			"{'task_added': {'task': {" IDS(
				"t") ", 'state': 'TASK_RUNNING', 'discovery': "
				     "{'ports': {'ports': [{'number': 99999, " LABEL "}]}}}}}",
			UPDATED("t", "TASK_RUNNING", ", 'timestamp': 2.0")},
		"", MESOS_REJECT_PORT, 1},
};

static char *whole_stream(const struct row *row)
{
	char *stream = NULL;

	for (size_t i = 0; i < RECORDS_MAX && row->records[i]; i++)
		stream = frame(stream, row->records[i]);
	return stream;
}

static void test_events(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct mesos_stream *s = mesos_stream_new(NULL);
		size_t rejected[_MESOS_REJECT_N], sum = 0;
		char *stream = whole_stream(&rows[i]), *list;

		if (feed(s, stream, strlen(stream), 1000) < 0)
			fail_msg("%s: %s", rows[i].what, mesos_stream_error(s));
		assert_true(mesos_stream_changed(s));
		list = list_of(s, rejected);
		if (strcmp(list, rows[i].expected) != 0)
			fail_msg("%s:\n  have %s\n  want %s", rows[i].what, list, rows[i].expected);
		for (size_t k = 0; k < _MESOS_REJECT_N; k++)
			sum += rejected[k];
		if (sum != rows[i].n_rejected || rejected[rows[i].reject] != rows[i].n_rejected)
			fail_msg("%s: %zu rejections", rows[i].what, sum);
		assert_false(mesos_stream_changed(s));
		free(list);
		free(stream);
		mesos_stream_free(s);
	}
}

/* However the bytes are cut, and wherever somebody looks: what is seen is what the complete records
 * say. */
static void test_cut_anywhere(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char *stream = whole_stream(&rows[i]), *list;
		size_t n = strlen(stream), first = strlen(strchr(stream, '\n')) + 1;

		first = n - first + 1 + strtoul(stream, NULL, 10);
		for (size_t piece = 1; piece < 40; piece += 6) {
			struct mesos_stream *s = mesos_stream_new(NULL);

			assert_int_equal(feed(s, stream, n, piece), 0);
			list = list_of(s, NULL);
			assert_string_equal(list, rows[i].expected);
			free(list);
			mesos_stream_free(s);
		}
		for (size_t cut = 0; cut < n; cut++) {
			struct mesos_stream *s = mesos_stream_new(NULL);

			assert_int_equal(feed(s, stream, cut, n), 0);
			if (cut < first)
				assert_false(mesos_stream_changed(s));
			if (mesos_stream_changed(s))
				mesos_state_free(mesos_stream_state(s));
			mesos_stream_free(s);
		}
		free(stream);
	}
}

static void check_breaks(const char *stream, const char *says, const struct mesos_limits *limits)
{
	struct mesos_stream *s = mesos_stream_new(limits);

	assert_int_equal(feed(s, stream, strlen(stream), 7), -EBADMSG);
	if (!strstr(mesos_stream_error(s), says))
		fail_msg("%s: says %s", stream, mesos_stream_error(s));
	assert_false(mesos_stream_changed(s));
	assert_int_equal(mesos_stream_feed(s, "1", 1), -EBADMSG);
	mesos_stream_free(s);
}

static void test_breaks(void **state)
{
	static const struct {
		const char *record, *says;
	} bad[] = {
		{HEARTBEAT, "not a whole state"},
		{"{'subscribed': {'get_state': {}}}", "not a whole state"},
		{"{'subscribed': {'get_state': {'get_tasks': []}}}", "not a whole state"},
		{"{'type': 'SUBSCRIBED', 'subscribed'}", "':'"},
		{"{'subscribed': {'get_state': {'get_tasks': {}}}} x", "the end"},
		{"{'subscribed': {'get_state': {'get_tasks': {'tasks': [], 'tasks': []}}}}",
			"twice"},
		{"", "not complete"},
	};
	static const struct mesos_limits small = {.document = 200};
	char *stream;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		stream = frame(NULL, bad[i].record);
		check_breaks(stream, bad[i].says, NULL);
		free(stream);
	}
	check_breaks("x\n{}", "is no number", NULL);
	check_breaks("\n{}", "is no number", NULL);
	check_breaks("-2\n{}", "is no number", NULL);
	check_breaks("201\n{}", "over the limit", &small);
	check_breaks("99999999999999999999999999\n", "over the limit", NULL);
	stream =
		frame(frame(NULL, WHOLE("")), "{'task_updated': {'framework_id': {'value': 'F'}}}");
	check_breaks(stream, "without framework, task or state", NULL);
	free(stream);
}

static void test_limits(void **state)
{
	static const struct mesos_limits few = {.tasks = 1};
	char *stream = frame(frame(frame(NULL, WHOLE("")), ADDED("t", "TASK_RUNNING")),
		ADDED("u", "TASK_RUNNING"));

	check_breaks(stream, "more than 1 tasks", &few);
	free(stream);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_cut_anywhere),
		cmocka_unit_test(test_breaks),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
