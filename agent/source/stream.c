/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A record is read by the scanner that reads documents, and says by its members what it is:
 *
 *   subscribed.get_state      everything; what was known before is dropped
 *   task_added.task           a task, as in the state
 *   task_updated              the new state and status of a task, without its labels
 *   framework_added, _updated, _removed; agent_added, _removed
 *   anything else             (heartbeats, newer events) is of no interest
 *
 * A TASK_UPDATED names no labels, so of each task that may have some its tokens are kept, as
 * the scanner gave them; an update is put among them, and the task read anew. Tasks
 * that only wait to run are kept too, since their labels never come again.
 *
 * Within a record its parts may have any order, so an update is made when the record is
 * complete; all else is taken in as it passes. Nobody looks while a record is under way.
 */
#include "agent/source/stream.h"

#include "agent/source/arena.h"
#include "agent/source/element.h"
#include "agent/source/reject.h"
#include "agent/source/task_pool.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HASH_FUNCTION HASH_FNV /* uthash's default falls through cases, which clang warns about */
#include <uthash.h>

#define LIMIT_RECORD ((size_t)1 << 30)
#define LIMIT_ELEMENT ((size_t)4 << 20)
#define LIMIT_TASKS ((size_t)1000000)
#define LIMIT_AGENTS ((size_t)100000)
#define LIMIT_FRAMEWORKS ((size_t)100000)
#define LIMIT_LABELS ((size_t)1000)
#define LIMIT_DEPTH ((size_t)64)

enum {
	PATH_SUBSCRIBED,
	PATH_GET_STATE,
	PATH_HEARTBEAT,
	PATH_GET_TASKS,
	PATH_TASKS,
	PATH_TASK,
	PATH_GET_FRAMEWORKS,
	PATH_FRAMEWORKS,
	PATH_FRAMEWORK,
	PATH_GET_AGENTS,
	PATH_AGENTS,
	PATH_AGENT,
	PATH_RECOVERED_AGENTS,
	PATH_RECOVERED_AGENT,
	PATH_TASK_ADDED,
	PATH_ADDED_TASK,
	PATH_TASK_UPDATED,
	PATH_UPDATED_FRAMEWORK,
	PATH_UPDATED_STATUS,
	PATH_UPDATED_STATE,
	PATH_FRAMEWORK_ADDED,
	PATH_FRAMEWORK_UPDATED,
	PATH_FRAMEWORK_REMOVED,
	PATH_AGENT_ADDED,
	PATH_AGENT_REMOVED,
	_PATH_N,
};

#define BEGIN JSON_PATH_BEGIN
#define ELEMENT JSON_PATH_ELEMENT
#define STATE "subscribed.get_state"

static const struct json_path paths[_PATH_N + 1] = {
	[PATH_SUBSCRIBED] = {"subscribed", BEGIN},
	[PATH_GET_STATE] = {STATE, BEGIN},
	[PATH_HEARTBEAT] = {"subscribed.heartbeat_interval_seconds", ELEMENT},
	[PATH_GET_TASKS] = {STATE ".get_tasks", BEGIN},
	[PATH_TASKS] = {STATE ".get_tasks.tasks", BEGIN},
	[PATH_TASK] = {STATE ".get_tasks.tasks[]", ELEMENT, element_task_paths},
	[PATH_GET_FRAMEWORKS] = {STATE ".get_frameworks", BEGIN},
	[PATH_FRAMEWORKS] = {STATE ".get_frameworks.frameworks", BEGIN},
	[PATH_FRAMEWORK] = {STATE ".get_frameworks.frameworks[]", ELEMENT, element_framework_paths},
	[PATH_GET_AGENTS] = {STATE ".get_agents", BEGIN},
	[PATH_AGENTS] = {STATE ".get_agents.agents", BEGIN},
	[PATH_AGENT] = {STATE ".get_agents.agents[]", ELEMENT, element_agent_paths},
	[PATH_RECOVERED_AGENTS] = {STATE ".get_agents.recovered_agents", BEGIN},
	[PATH_RECOVERED_AGENT] = {STATE ".get_agents.recovered_agents[]", ELEMENT,
		element_agent_paths},
	[PATH_TASK_ADDED] = {"task_added", BEGIN},
	[PATH_ADDED_TASK] = {"task_added.task", BEGIN | ELEMENT, element_task_paths},
	[PATH_TASK_UPDATED] = {"task_updated", BEGIN},
	[PATH_UPDATED_FRAMEWORK] = {"task_updated.framework_id", BEGIN | ELEMENT, element_id_paths},
	[PATH_UPDATED_STATUS] = {"task_updated.status", BEGIN | ELEMENT, element_status_paths},
	[PATH_UPDATED_STATE] = {"task_updated.state", BEGIN | ELEMENT, element_id_paths},
	[PATH_FRAMEWORK_ADDED] = {"framework_added.framework", ELEMENT, element_framework_paths},
	[PATH_FRAMEWORK_UPDATED] = {"framework_updated.framework", ELEMENT,
		element_framework_paths},
	[PATH_FRAMEWORK_REMOVED] = {"framework_removed.framework_info", ELEMENT,
		element_framework_paths},
	[PATH_AGENT_ADDED] = {"agent_added.agent", ELEMENT, element_agent_paths},
	[PATH_AGENT_REMOVED] = {"agent_removed.agent_id", ELEMENT, element_id_paths},
};

/* ---- the store ---- */

/* A task with something like a VIP label. */
struct entry {
	UT_hash_handle hh;
	const struct mesos_task *task; /* NULL: none of its labels is of use */
	struct reject_list *rejects;   /* NULL: no complaints */
	bool counts;                   /* runs or is being killed */
	struct json_tokens tokens;
	uint32_t framework; /* with the id, the key */
	char id[];
};

struct agent {
	UT_hash_handle hh;
	uint32_t id;
	bool recovered; /* not heard of since the master took over */
	char *hostname;
	struct ip_addr address;
};

struct framework {
	UT_hash_handle hh;
	uint32_t id;
	char *name;
};

/* What has been read of a TASK_UPDATED under way. */
struct pending {
	struct json_tokens framework, status, state;
};

struct mesos_stream {
	struct mesos_limits limits;
	struct json_values values; /* reused */
	struct task_pool *pool;
	struct task_reader reader;
	struct reject_list rejects; /* of the task that is being read */
	struct entry *tasks;
	struct agent *agents;
	struct framework *frameworks;
	size_t n_tokens; /* bytes of all tasks' tokens */
	size_t n_unlabelled;
	uint64_t n_state; /* bytes of the whole state */
	uint64_t heartbeat_ms, n_records;
	bool known;   /* the whole state has come */
	bool changed; /* something is new since it was taken */

	uint64_t n_bytes; /* before the record under way */
	unsigned int n_digits;
	uint64_t n_record, n_left; /* its length, and what of it is still to come */
	struct json_scan *scan;
	bool in_record; /* else its length is being read */
	bool has_state; /* it has tasks: it is a whole state */
	struct pending pending;
	bool failed;
	char error[240];
};

__attribute__((format(printf, 2, 3))) static int fail(
	struct mesos_stream *s, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(s->error, sizeof(s->error), format, args);
	va_end(args);
	s->failed = true;
	return -EBADMSG;
}

static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

static void rejects_free(struct reject_list *rejects)
{
	if (!rejects)
		return;
	arena_free(rejects->arena);
	reject_list_done(rejects);
	free(rejects);
}

static void entry_remove(struct mesos_stream *s, struct entry *e)
{
	HASH_DEL(s->tasks, e);
	if (e->task)
		task_pool_release(s->pool, e->task);
	rejects_free(e->rejects);
	s->n_tokens -= e->tokens.n;
	free(e->tokens.bytes);
	free(e);
}

static void agent_remove(struct mesos_stream *s, struct agent *a)
{
	HASH_DEL(s->agents, a);
	free(a->hostname);
	free(a);
}

static void framework_remove(struct mesos_stream *s, struct framework *f)
{
	HASH_DEL(s->frameworks, f);
	free(f->name);
	free(f);
}

static void forget_all(struct mesos_stream *s)
{
	struct entry *e, *next_e;
	struct agent *a, *next_a;
	struct framework *f, *next_f;

	HASH_ITER (hh, s->tasks, e, next_e)
		entry_remove(s, e);
	HASH_ITER (hh, s->agents, a, next_a)
		agent_remove(s, a);
	HASH_ITER (hh, s->frameworks, f, next_f)
		framework_remove(s, f);
	s->n_unlabelled = 0;
	s->known = false;
}

static char *copy_text(const char *text, size_t n)
{
	char *copy = must(malloc(n + 1));

	memcpy(copy, text, n);
	copy[n] = '\0';
	return copy;
}

/* The key is the framework's number followed by the task's id, as they stand in an entry. */
static size_t key_length(const char *id)
{
	return sizeof(uint32_t) + strlen(id);
}

static struct entry *entry_new(uint32_t framework, const char *id)
{
	struct entry *e = must(calloc(1, sizeof(*e) + strlen(id) + 1));

	e->framework = framework;
	memcpy(e->id, id, strlen(id) + 1);
	return e;
}

static struct entry *entry_find(struct mesos_stream *s, uint32_t framework, const char *id)
{
	struct entry *key = entry_new(framework, id), *found;

	HASH_FIND(hh, s->tasks, &key->framework, key_length(id), found);
	free(key);
	return found;
}

static uint32_t number(struct strset *set, const char *id)
{
	return id ? strset_add(set, id, strlen(id)) : MESOS_NO_ID;
}

/* ---- tasks ---- */

static void keep_complaints(struct mesos_stream *s, struct entry *e)
{
	if (!s->rejects.n_all)
		return;
	e->rejects = must(calloc(1, sizeof(*e->rejects)));
	reject_list_init(e->rejects, arena_new());
	reject_copy(e->rejects, s->rejects.list, s->rejects.n);
	memcpy(e->rejects->n_rejected, s->rejects.n_rejected, sizeof(s->rejects.n_rejected));
}

static struct json_tokens copy_tokens(const char *bytes, size_t n)
{
	struct json_tokens copy = {.bytes = must(malloc(n + 1)), .n = n, .allocated = n + 1};

	memcpy(copy.bytes, bytes, n);
	return copy;
}

/* Reads a task and keeps it, in place of one of its id. */
static int store_task(struct mesos_stream *s, const char *tokens, size_t n_tokens)
{
	struct mesos_task task;
	struct entry *e;
	int what;

	arena_reset(s->reader.arena);
	reject_list_done(&s->rejects);
	reject_list_init(&s->rejects, s->reader.arena);
	what = task_read(&s->reader, tokens, n_tokens, &task);
	if (what == TASK_READ_SKIP || !task.id)
		return 0;
	e = entry_find(s, task.framework, task.id);
	if (e)
		entry_remove(s, e);
	if (HASH_COUNT(s->tasks) >= s->limits.tasks)
		return fail(s, "more than %zu tasks with VIPs", s->limits.tasks);
	if (n_tokens > s->limits.document - s->n_tokens)
		return fail(s, "the tasks have more than %zu bytes", s->limits.document);
	e = entry_new(task.framework, task.id);
	e->task = what == TASK_READ_KEEP ? task_pool_add(s->pool, NULL, &task) : NULL;
	e->counts = !task.waiting;
	e->tokens = copy_tokens(tokens, n_tokens);
	s->n_tokens += n_tokens;
	keep_complaints(s, e);
	HASH_ADD(hh, s->tasks, framework, key_length(task.id), e);
	return 0;
}

static int update_entry(struct mesos_stream *s, const struct entry *e, const char *state)
{
	struct json_tokens updated = {0};
	int r;

	element_task_update(&e->tokens, state, &s->pending.status, &updated);
	r = store_task(s, updated.bytes, updated.n);
	free(updated.bytes);
	return r;
}

static const struct json_value *read_tokens(struct mesos_stream *s, const struct json_tokens *t)
{
	return t->n ? json_values_read(&s->values, t->bytes, t->n) : NULL;
}

/* TASK_UPDATED. Of a task without labels nothing is known, and nothing needs to be. */
static int update_task(struct mesos_stream *s)
{
	const struct pending *p = &s->pending;
	const char *framework = element_id(read_tokens(s, &p->framework));
	const char *state = element_id(read_tokens(s, &p->state));
	const char *id = element_id(json_member(read_tokens(s, &p->status), FIELD_TASK_ID));
	struct entry *e;

	if (!framework || !state || !id)
		return fail(s, "TASK_UPDATED without framework, task or state");
	e = entry_find(s, number(task_pool_frameworks(s->pool), framework), id);
	if (!e)
		return 0;
	if (!task_state_is_final(state))
		return update_entry(s, e, state);
	entry_remove(s, e);
	return 0;
}

/* ---- frameworks and agents ---- */

static int store_framework(struct mesos_stream *s, const struct json_value *v)
{
	struct element_framework read = element_read_framework(v);
	uint32_t id = number(task_pool_frameworks(s->pool), read.id);
	struct framework *f;

	if (!read.id || !read.name)
		return 0;
	HASH_FIND(hh, s->frameworks, &id, sizeof(id), f);
	if (f)
		framework_remove(s, f);
	if (HASH_COUNT(s->frameworks) >= s->limits.frameworks)
		return fail(s, "more than %zu frameworks", s->limits.frameworks);
	f = must(calloc(1, sizeof(*f)));
	f->id = id;
	f->name = copy_text(read.name, strlen(read.name));
	HASH_ADD(hh, s->frameworks, id, sizeof(f->id), f);
	return 0;
}

/* Its tasks have ended, or will never be told of again. */
static void forget_framework(struct mesos_stream *s, const struct json_value *v)
{
	uint32_t id = number(task_pool_frameworks(s->pool), element_read_framework(v).id);
	struct framework *f;
	struct entry *e, *next;

	HASH_FIND(hh, s->frameworks, &id, sizeof(id), f);
	if (f)
		framework_remove(s, f);
	HASH_ITER (hh, s->tasks, e, next)
		if (e->framework == id)
			entry_remove(s, e);
}

static struct agent *find_agent(struct mesos_stream *s, const char *id)
{
	uint32_t n = number(task_pool_agents(s->pool), id);
	struct agent *a;

	HASH_FIND(hh, s->agents, &n, sizeof(n), a);
	return a;
}

static int store_agent(struct mesos_stream *s, const struct json_value *v, bool recovered)
{
	struct element_agent read = element_read_agent(v);
	const char *hostname = read.hostname ? read.hostname : "";
	struct agent *a;

	if (!read.id)
		return 0;
	a = find_agent(s, read.id);
	if (a && recovered && !a->recovered)
		return 0; /* in both lists of a state: it has registered */
	if (a)
		agent_remove(s, a);
	if (HASH_COUNT(s->agents) >= s->limits.agents)
		return fail(s, "more than %zu agents", s->limits.agents);
	a = must(calloc(1, sizeof(*a)));
	a->id = number(task_pool_agents(s->pool), read.id);
	a->recovered = recovered;
	a->hostname = copy_text(hostname, strlen(hostname));
	a->address = element_agent_address(read.hostname, read.pid);
	HASH_ADD(hh, s->agents, id, sizeof(a->id), a);
	return 0;
}

/* Its tasks stay, unplaced, until they are told to be lost. */
static void forget_agent(struct mesos_stream *s, const struct json_value *v)
{
	const char *id = element_id(v);
	struct agent *a = id ? find_agent(s, id) : NULL;

	if (a)
		agent_remove(s, a);
}

/* ---- a record's parts ---- */

static int on_begin(void *userdata, const struct json_begin *b)
{
	struct mesos_stream *s = userdata;

	if (b->repeated)
		return json_scan_fail(s->scan, "\"%s\" is there twice", paths[b->path].path);
	if (b->path == PATH_SUBSCRIBED)
		forget_all(s);
	if (b->path == PATH_GET_TASKS && b->kind == JSON_OBJECT)
		s->has_state = true;
	return 0;
}

static int take_task(struct mesos_stream *s, const struct json_element *e)
{
	if (e->too_large)
		return 0;
	if (element_task_look(e) == TASK_READ_KEEP)
		return store_task(s, e->tokens, e->n_tokens);
	s->n_unlabelled += element_task_look(e) == TASK_READ_COUNT;
	return 0;
}

static void note(struct json_tokens *where, const struct json_element *e)
{
	where->n = 0;
	if (e->n_tokens)
		json_tokens_append(where, e->tokens, e->n_tokens);
}

static void take_heartbeat(struct mesos_stream *s, const struct json_value *v)
{
	double seconds = json_number(v, 0);

	s->heartbeat_ms = seconds > 0 && seconds < 86400 ? (uint64_t)(seconds * 1000) : 0;
}

static int take_element(struct mesos_stream *s, const struct json_element *e)
{
	const struct json_value *v = NULL;

	if (!e->too_large)
		v = json_values_read(&s->values, e->tokens, e->n_tokens);
	switch (e->path) {
	case PATH_HEARTBEAT:
		take_heartbeat(s, v);
		break;
	case PATH_UPDATED_FRAMEWORK:
		note(&s->pending.framework, e);
		break;
	case PATH_UPDATED_STATUS:
		note(&s->pending.status, e);
		break;
	case PATH_UPDATED_STATE:
		note(&s->pending.state, e);
		break;
	case PATH_FRAMEWORK:
	case PATH_FRAMEWORK_ADDED:
	case PATH_FRAMEWORK_UPDATED:
		return store_framework(s, v);
	case PATH_FRAMEWORK_REMOVED:
		forget_framework(s, v);
		break;
	case PATH_AGENT:
	case PATH_AGENT_ADDED:
	case PATH_RECOVERED_AGENT:
		return store_agent(s, v, e->path == PATH_RECOVERED_AGENT);
	case PATH_AGENT_REMOVED:
		forget_agent(s, v);
		break;
	}
	return 0;
}

static int on_element(void *userdata, const struct json_element *e)
{
	struct mesos_stream *s = userdata;
	int r;

	s->changed |= e->path != PATH_HEARTBEAT;
	r = e->path == PATH_TASK || e->path == PATH_ADDED_TASK ? take_task(s, e)
							       : take_element(s, e);
	return r < 0 ? json_scan_fail(s->scan, "%s", s->error) : 0;
}

/* ---- framing ---- */

static void forget_pending(struct mesos_stream *s)
{
	s->pending.framework.n = s->pending.status.n = s->pending.state.n = 0;
}

static int fail_in_record(struct mesos_stream *s)
{
	return fail(s, "record %" PRIu64 " at byte %" PRIu64 ": %s", s->n_records + 1, s->n_bytes,
		json_scan_error(s->scan));
}

static int end_record(struct mesos_stream *s)
{
	if (json_scan_finish(s->scan) < 0)
		return fail_in_record(s);
	if (s->has_state) {
		s->n_state = s->n_record;
		s->known = s->changed = true;
	}
	if (!s->known)
		return fail(s, "the first record is not a whole state");
	if (s->pending.framework.n && update_task(s) < 0)
		return -EBADMSG;
	forget_pending(s);
	s->has_state = false;
	s->in_record = false;
	s->n_records++;
	s->n_bytes += s->n_record;
	s->n_record = s->n_digits = 0;
	return 0;
}

/* One byte of a record's length: decimal digits, then a line's end. */
static int take_length(struct mesos_stream *s, char c)
{
	s->n_bytes++;
	if (c >= '0' && c <= '9' && s->n_record <= s->limits.document) {
		s->n_record = s->n_record * 10 + (uint64_t)(c - '0');
		s->n_digits++;
		return 0;
	}
	if (c != '\n' || !s->n_digits || s->n_record > s->limits.document)
		return fail(s, "record %" PRIu64 ": its length is %s", s->n_records + 1,
			s->n_record > s->limits.document ? "over the limit" : "no number");
	s->n_left = s->n_record;
	s->in_record = true;
	json_scan_restart(s->scan);
	return s->n_left ? 0 : end_record(s);
}

int mesos_stream_feed(struct mesos_stream *s, const void *bytes, size_t n_bytes)
{
	const char *p = bytes, *end = p + n_bytes;

	while (!s->failed && p < end) {
		size_t n = (size_t)(end - p);

		if (!s->in_record) {
			take_length(s, *p++);
			continue;
		}
		if (n > s->n_left)
			n = (size_t)s->n_left;
		if (json_scan_feed(s->scan, p, n) < 0) {
			fail_in_record(s);
			continue;
		}
		p += n;
		s->n_left -= n;
		if (!s->n_left)
			end_record(s);
	}
	return s->failed ? -EBADMSG : 0;
}

/* ---- the state ---- */

struct snapshot {
	struct mesos_stream *stream;
	struct mesos_state *state;
	struct reject_list rejects;
	struct mesos_agent **agents; /* by number of id */
	const char **names;          /* of frameworks, by number of id, in the state's arena */
};

static void take_agents(struct snapshot *k)
{
	struct mesos_stream *s = k->stream;
	struct mesos_state *state = k->state;
	struct agent *a, *next;

	state->agents = arena_alloc(state->arena, HASH_COUNT(s->agents) * sizeof(*state->agents));
	state->recovered =
		arena_alloc(state->arena, HASH_COUNT(s->agents) * sizeof(*state->recovered));
	HASH_ITER (hh, s->agents, a, next) {
		struct mesos_agent *to = a->recovered ? &state->recovered[state->n_recovered++]
						      : &state->agents[state->n_agents++];

		*to = (struct mesos_agent){.id = task_pool_agents(s->pool)->strings[a->id],
			.hostname = arena_strdup(state->arena, a->hostname),
			.address = a->address};
		if (!a->recovered)
			k->agents[a->id] = to;
	}
}

static const char *text_of(const struct strset *set, uint32_t n)
{
	return n == MESOS_NO_ID ? NULL : set->strings[n];
}

static void reject_unplaced(struct snapshot *k, const struct entry *e, const char *framework)
{
	const struct strset *frameworks = task_pool_frameworks(k->stream->pool);
	const struct strset *agents = task_pool_agents(k->stream->pool);
	const char *framework_id = text_of(frameworks, e->framework);
	const char *agent_id = text_of(agents, e->task->agent);

	if (!framework)
		reject_add(&k->rejects,
			&(struct mesos_rejection){.reason = MESOS_REJECT_NO_FRAMEWORK,
				.task = e->id,
				.framework = framework_id},
			"framework %.100s is not known to the master",
			framework_id ? framework_id : "(none)");
	else
		reject_add(&k->rejects,
			&(struct mesos_rejection){.reason = MESOS_REJECT_NO_AGENT,
				.task = e->id,
				.framework = framework},
			"agent %.100s is not known to the master", agent_id ? agent_id : "(none)");
}

static void take_entry(struct snapshot *k, const struct entry *e)
{
	struct mesos_stream *s = k->stream;
	const char *framework = e->framework == MESOS_NO_ID ? NULL : k->names[e->framework];
	struct mesos_agent *agent = NULL;

	k->state->n_tasks_seen += e->counts;
	if (!e->counts)
		return;
	if (e->rejects) {
		reject_copy(&k->rejects, e->rejects->list, e->rejects->n);
		for (size_t i = 0; i < _MESOS_REJECT_N; i++)
			k->rejects.n_rejected[i] += e->rejects->n_rejected[i];
	}
	if (!e->task)
		return;
	if (e->task->agent != MESOS_NO_ID)
		agent = k->agents[e->task->agent];
	if (!framework || !agent) {
		reject_unplaced(k, e, framework);
		return;
	}
	k->state->tasks[k->state->n_tasks++] =
		(struct mesos_placed){.task = task_pool_hold(e->task),
			.framework = framework,
			.framework_id = task_pool_frameworks(s->pool)->strings[e->framework],
			.agent = agent};
}

static void take_frameworks(struct snapshot *k)
{
	struct framework *f, *next;

	HASH_ITER (hh, k->stream->frameworks, f, next)
		k->names[f->id] = arena_strdup(k->state->arena, f->name);
}

struct mesos_state *mesos_stream_state(struct mesos_stream *s)
{
	struct arena *scratch = arena_new();
	struct snapshot k = {.stream = s, .state = must(calloc(1, sizeof(*k.state)))};
	struct mesos_state *state = k.state;
	struct entry *e, *next;

	state->arena = arena_new();
	state->pool = task_pool_ref(s->pool);
	state->n_bytes = s->n_state;
	state->n_tasks_seen = s->n_unlabelled;
	state->n_ids = HASH_COUNT(s->agents) + HASH_COUNT(s->frameworks);
	reject_list_init(&k.rejects, state->arena);
	k.agents = arena_alloc(scratch, task_pool_agents(s->pool)->n * sizeof(*k.agents));
	k.names = arena_alloc(scratch, task_pool_frameworks(s->pool)->n * sizeof(*k.names));
	take_agents(&k);
	take_frameworks(&k);
	state->tasks = arena_alloc(state->arena, HASH_COUNT(s->tasks) * sizeof(*state->tasks));
	HASH_ITER (hh, s->tasks, e, next)
		take_entry(&k, e);
	state->n_rejections = k.rejects.n;
	state->rejections = reject_list_keep(&k.rejects);
	memcpy(state->n_rejected, k.rejects.n_rejected, sizeof(state->n_rejected));
	reject_list_done(&k.rejects);
	arena_free(scratch);
	s->changed = false;
	return state;
}

/* ---- life ---- */

static size_t limit(size_t value, size_t usual)
{
	return value ? value : usual;
}

struct mesos_stream *mesos_stream_new(const struct mesos_limits *limits)
{
	static const struct json_events events = {on_begin, on_element};
	struct mesos_stream *s = must(calloc(1, sizeof(*s)));
	struct mesos_limits *l = &s->limits;

	if (limits)
		*l = *limits;
	l->document = limit(l->document, LIMIT_RECORD);
	l->element = limit(l->element, LIMIT_ELEMENT);
	l->tasks = limit(l->tasks, LIMIT_TASKS);
	l->agents = limit(l->agents, LIMIT_AGENTS);
	l->frameworks = limit(l->frameworks, LIMIT_FRAMEWORKS);
	l->labels = limit(l->labels, LIMIT_LABELS);
	l->depth = limit(l->depth, LIMIT_DEPTH);
	s->scan = json_scan_new(paths, element_fields, &events, s, l->depth, l->element);
	s->pool = task_pool_new();
	s->reader = (struct task_reader){.arena = arena_new(),
		.rejects = &s->rejects,
		.frameworks = task_pool_frameworks(s->pool),
		.agents = task_pool_agents(s->pool),
		.max_labels = l->labels,
		.keep_waiting = true};
	return s;
}

struct mesos_stream *mesos_stream_free(struct mesos_stream *s)
{
	if (!s)
		return NULL;
	forget_all(s);
	free(s->pending.framework.bytes);
	free(s->pending.status.bytes);
	free(s->pending.state.bytes);
	json_scan_free(s->scan);
	json_values_done(&s->values);
	reject_list_done(&s->rejects);
	task_reader_done(&s->reader);
	arena_free(s->reader.arena);
	task_pool_unref(s->pool);
	free(s);
	return NULL;
}

const char *mesos_stream_error(const struct mesos_stream *s)
{
	return s->error;
}

bool mesos_stream_changed(const struct mesos_stream *s)
{
	return s->known && s->changed && !s->in_record && !s->failed;
}

uint64_t mesos_stream_heartbeat_ms(const struct mesos_stream *s)
{
	return s->heartbeat_ms;
}

uint64_t mesos_stream_n_records(const struct mesos_stream *s)
{
	return s->n_records;
}
