/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The document may have its parts in any order: a task can come before the framework and the
 * agent that it names, and a framework's tasks before the framework's own name. So the
 * parts are noted as they pass, tasks with the numbers of their framework's and agent's
 * ids, and put together when the document is complete.
 *
 * Of a key that an object has twice, the last counts, as in every JSON reader that makes
 * maps. For members inside an element json_member() sees to that. For those around the elements
 * (a second "frameworks", say) what the first one brought is dropped; everything noted carries
 * its place in the document and its path for that. The counts of what was seen and
 * rejected then still contain the first one's.
 */
#include "agent/source/mesos.h"

#include "agent/source/arena.h"
#include "agent/source/element.h"
#include "agent/source/json_scan.h"
#include "agent/source/reject.h"
#include "agent/source/strset.h"
#include "agent/source/task.h"
#include "agent/source/task_pool.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_DOCUMENT ((size_t)1 << 30)
#define LIMIT_ELEMENT ((size_t)4 << 20)
#define LIMIT_TASKS ((size_t)1000000)
#define LIMIT_AGENTS ((size_t)100000)
#define LIMIT_FRAMEWORKS ((size_t)100000)
#define LIMIT_LABELS ((size_t)1000)
#define LIMIT_DEPTH ((size_t)64)
/* Keys around the elements that an object has twice. No master writes such; for each, all that has
 * been noted is looked through. */
#define LIMIT_REPEATED ((size_t)100)

/* ---- what is wanted of a document ---- */

enum {
	PATH_FRAMEWORKS,
	PATH_FRAMEWORK,
	PATH_FRAMEWORK_ID,
	PATH_FRAMEWORK_NAME,
	PATH_FRAMEWORK_TASKS,
	PATH_FRAMEWORK_TASK,
	PATH_EXECUTORS,
	PATH_EXECUTOR_TASKS,
	PATH_EXECUTOR_TASK,
	PATH_SLAVES,
	PATH_SLAVE,
	PATH_RECOVERED_SLAVES,
	PATH_RECOVERED_SLAVE,
	PATH_ID,
	PATH_HOSTNAME,
	PATH_PID,
	PATH_GET_STATE,
	PATH_GET_TASKS,
	PATH_TASKS,
	PATH_TASK,
	PATH_LAUNCHED_TASKS,
	PATH_LAUNCHED_TASK,
	PATH_GET_FRAMEWORKS,
	PATH_V1_FRAMEWORKS,
	PATH_V1_FRAMEWORK,
	PATH_GET_AGENTS,
	PATH_AGENTS,
	PATH_AGENT,
	PATH_RECOVERED_AGENTS,
	PATH_RECOVERED_AGENT,
	PATH_GET_AGENT,
	PATH_STATE_GET_AGENT,
	_PATH_N,
};

#define BEGIN JSON_PATH_BEGIN
#define ELEMENT JSON_PATH_ELEMENT

static const struct json_path paths[_PATH_N + 1] = {
	/* /state, of a master and of an agent */
	[PATH_FRAMEWORKS] = {"frameworks", BEGIN},
	[PATH_FRAMEWORK] = {"frameworks[]", BEGIN},
	[PATH_FRAMEWORK_ID] = {"frameworks[].id", ELEMENT, element_id_paths},
	[PATH_FRAMEWORK_NAME] = {"frameworks[].name", ELEMENT, element_id_paths},
	[PATH_FRAMEWORK_TASKS] = {"frameworks[].tasks", BEGIN},
	[PATH_FRAMEWORK_TASK] = {"frameworks[].tasks[]", ELEMENT, element_task_paths},
	[PATH_EXECUTORS] = {"frameworks[].executors", BEGIN},
	[PATH_EXECUTOR_TASKS] = {"frameworks[].executors[].tasks", BEGIN},
	[PATH_EXECUTOR_TASK] = {"frameworks[].executors[].tasks[]", ELEMENT, element_task_paths},
	[PATH_SLAVES] = {"slaves", BEGIN},
	[PATH_SLAVE] = {"slaves[]", ELEMENT, element_agent_paths},
	[PATH_RECOVERED_SLAVES] = {"recovered_slaves", BEGIN},
	[PATH_RECOVERED_SLAVE] = {"recovered_slaves[]", ELEMENT, element_agent_paths},
	[PATH_ID] = {"id", ELEMENT, element_id_paths},
	[PATH_HOSTNAME] = {"hostname", ELEMENT, element_id_paths},
	[PATH_PID] = {"pid", ELEMENT, element_id_paths},
	/* the v1 API */
	[PATH_GET_STATE] = {"get_state", BEGIN},
	[PATH_GET_TASKS] = {"get_state.get_tasks", BEGIN},
	[PATH_TASKS] = {"get_state.get_tasks.tasks", BEGIN},
	[PATH_TASK] = {"get_state.get_tasks.tasks[]", ELEMENT, element_task_paths},
	[PATH_LAUNCHED_TASKS] = {"get_state.get_tasks.launched_tasks", BEGIN},
	[PATH_LAUNCHED_TASK] = {"get_state.get_tasks.launched_tasks[]", ELEMENT,
		element_task_paths},
	[PATH_GET_FRAMEWORKS] = {"get_state.get_frameworks", BEGIN},
	[PATH_V1_FRAMEWORKS] = {"get_state.get_frameworks.frameworks", BEGIN},
	[PATH_V1_FRAMEWORK] = {"get_state.get_frameworks.frameworks[]", ELEMENT,
		element_framework_paths},
	[PATH_GET_AGENTS] = {"get_state.get_agents", BEGIN},
	[PATH_AGENTS] = {"get_state.get_agents.agents", BEGIN},
	[PATH_AGENT] = {"get_state.get_agents.agents[]", ELEMENT, element_agent_paths},
	[PATH_RECOVERED_AGENTS] = {"get_state.get_agents.recovered_agents", BEGIN},
	[PATH_RECOVERED_AGENT] = {"get_state.get_agents.recovered_agents[]", ELEMENT,
		element_agent_paths},
	[PATH_GET_AGENT] = {"get_agent", BEGIN | ELEMENT, element_agent_paths},
	[PATH_STATE_GET_AGENT] = {"get_state.get_agent", BEGIN | ELEMENT, element_agent_paths},
};

/* ---- the parser ---- */

/* Where something was found. */
struct place {
	uint64_t begin;
	uint32_t path;
};

struct framework {
	struct place place;
	uint32_t id; /* number in the pool, or MESOS_NO_ID */
	const char *name;
};

struct agent {
	struct place place;
	uint32_t id;
	const char *hostname, *pid;
};

#define NOWHERE UINT64_MAX

struct task {
	uint64_t begin, enclosing;     /* where it and its framework begin; NOWHERE: in none */
	const struct mesos_task *task; /* a reference */
	uint32_t framework;            /* its own or the enclosing one's: number in the pool */
	uint32_t path;
};

/* Digests of what matters are digested in their order, some at a time. */
#define LINKS 32

struct link {
	struct digest digest;
	uint32_t path, kind;
};

struct links {
	struct digest before;
	uint64_t n;
	struct link list[LINKS];
};

struct mesos_parser {
	struct json_scan *scan;
	struct json_values values; /* reused */
	struct arena *arena;
	struct task_pool *pool;
	struct strset *framework_ids, *agent_ids; /* the pool's */
	struct reject_list rejects;
	struct task_reader reader;
	bool is_first;      /* the pool had nothing */
	struct links links; /* of what has passed that matters */
	size_t n_repeated;  /* keys that were there before: what the digest stands for then depends
			     * on where */
	struct mesos_limits limits;
	enum json_kind kinds[_PATH_N]; /* of the values at paths with BEGIN */

	size_t n_frameworks, frameworks_allocated;
	struct framework *frameworks;
	size_t n_agents, agents_allocated;
	struct agent *agents;
	size_t n_tasks, tasks_allocated;
	size_t n_tasks_taken; /* the first have given their references to the state */
	struct task *tasks;
	size_t n_tasks_seen;
	struct agent self; /* /state of an agent: its own members */
};

/* A place for one more at the end of an array, zeroed. */
#define APPEND(array, n, allocated)                                                    \
	({                                                                             \
		if ((n) == (allocated)) {                                              \
			(allocated) = (allocated) ? (allocated)*2 : 16;                \
			(array) = reallocarray((array), (allocated), sizeof *(array)); \
			if (!(array))                                                  \
				abort();                                               \
		}                                                                      \
		memset(&(array)[(n)], 0, sizeof *(array));                             \
		&(array)[(n)++];                                                       \
	})

static void limit(size_t *value, size_t usual)
{
	if (!*value)
		*value = usual;
}

static int on_begin(void *userdata, const struct json_begin *b);
static int on_element(void *userdata, const struct json_element *e);

struct mesos_parser *mesos_parser_new(const struct mesos_limits *limits, struct task_pool *pool)
{
	static const struct json_events events = {on_begin, on_element};
	struct mesos_parser *p = calloc(1, sizeof *p);

	if (!p)
		abort();
	if (limits)
		p->limits = *limits;
	limit(&p->limits.document, LIMIT_DOCUMENT);
	limit(&p->limits.element, LIMIT_ELEMENT);
	limit(&p->limits.tasks, LIMIT_TASKS);
	limit(&p->limits.agents, LIMIT_AGENTS);
	limit(&p->limits.frameworks, LIMIT_FRAMEWORKS);
	limit(&p->limits.labels, LIMIT_LABELS);
	limit(&p->limits.depth, LIMIT_DEPTH);
	if (p->limits.labels > LIMIT_LABELS) /* what mesos_task's counts hold, with room to spare */
		p->limits.labels = LIMIT_LABELS;
	if (p->limits.element > INT_MAX) /* tokens' lengths */
		p->limits.element = INT_MAX;
	p->scan = json_scan_new(
		paths, element_fields, &events, p, p->limits.depth, p->limits.element);
	p->arena = arena_new();
	reject_list_init(&p->rejects, p->arena);
	p->pool = pool ? task_pool_ref(pool) : task_pool_new();
	p->is_first = task_pool_is_empty(p->pool);
	p->framework_ids = task_pool_frameworks(p->pool);
	p->agent_ids = task_pool_agents(p->pool);
	p->reader = (struct task_reader){.arena = arena_new(),
		.rejects = &p->rejects,
		.frameworks = p->framework_ids,
		.agents = p->agent_ids,
		.max_labels = p->limits.labels};
	p->self = (struct agent){.place.path = PATH_ID, .id = MESOS_NO_ID};
	return p;
}

struct mesos_parser *mesos_parser_free(struct mesos_parser *p)
{
	if (!p)
		return NULL;
	json_scan_free(p->scan);
	json_values_done(&p->values);
	reject_list_done(&p->rejects);
	task_reader_done(&p->reader);
	arena_free(p->reader.arena);
	for (size_t i = p->n_tasks_taken; i < p->n_tasks; i++)
		task_pool_release(p->pool, p->tasks[i].task);
	task_pool_unref(p->pool);
	free(p->frameworks);
	free(p->agents);
	free(p->tasks);
	arena_free(p->arena);
	free(p);
	return NULL;
}

const char *mesos_parser_error(const struct mesos_parser *p)
{
	return json_scan_error(p->scan);
}

/* ---- what passes by ---- */

/* True if a place is in a value at `path` of the object that began at `parent`. */
static bool is_void(struct mesos_parser *p, struct place place, const struct json_begin *b)
{
	return place.begin >= b->parent && json_scan_within(p->scan, place.path, b->path);
}

#define DROP_VOID(p, array, n, b)                                 \
	do {                                                      \
		size_t kept = 0;                                  \
		for (size_t i = 0; i < (n); i++)                  \
			if (!is_void((p), (array)[i].place, (b))) \
				(array)[kept++] = (array)[i];     \
		(n) = kept;                                       \
	} while (0)

static void drop_void_tasks(struct mesos_parser *p, const struct json_begin *b)
{
	size_t n = p->n_tasks;

	p->n_tasks = 0;
	for (size_t i = 0; i < n; i++)
		if (is_void(p, (struct place){p->tasks[i].begin, p->tasks[i].path}, b))
			task_pool_release(p->pool, p->tasks[i].task);
		else
			p->tasks[p->n_tasks++] = p->tasks[i];
}

/* A key is repeated: what came with the earlier one does not count. */
static void drop_void(struct mesos_parser *p, const struct json_begin *b)
{
	for (size_t path = 0; path < _PATH_N; path++)
		if (json_scan_within(p->scan, path, b->path))
			p->kinds[path] = JSON_NONE;
	drop_void_tasks(p, b);
	DROP_VOID(p, p->agents, p->n_agents, b);
	DROP_VOID(p, p->frameworks, p->n_frameworks, b);
}

static int framework_begin(struct mesos_parser *p, const struct json_begin *b)
{
	struct framework *f;

	if (p->n_frameworks == p->limits.frameworks)
		return json_scan_fail(p->scan, "more than %zu frameworks", p->limits.frameworks);
	f = APPEND(p->frameworks, p->n_frameworks, p->frameworks_allocated);
	f->place = (struct place){b->begin, (uint32_t)b->path};
	f->id = MESOS_NO_ID;
	return 0;
}

/* What has passed is digested, with the digest of what was before. */
static void digest_links(struct mesos_parser *p)
{
	p->links.before = task_pool_digest(p->pool, &p->links,
		offsetof(struct links, list) + p->links.n * sizeof(*p->links.list));
	p->links.n = 0;
}

/* Something that matters passes. */
static void digest_add(struct mesos_parser *p, size_t path, size_t kind, struct digest digest)
{
	p->links.list[p->links.n++] = (struct link){digest, (uint32_t)path, (uint32_t)kind};
	if (p->links.n == LINKS)
		digest_links(p);
}

static int on_begin(void *userdata, const struct json_begin *b)
{
	struct mesos_parser *p = userdata;

	digest_add(p, b->path, b->kind, (struct digest){0});
	if (b->repeated && p->n_repeated++ == LIMIT_REPEATED)
		return json_scan_fail(
			p->scan, "more than %zu keys are there twice", LIMIT_REPEATED);
	if (b->repeated)
		drop_void(p, b);
	p->kinds[b->path] = b->kind;
	return b->path == PATH_FRAMEWORK ? framework_begin(p, b) : 0;
}

static const char *keep_text(struct mesos_parser *p, const char *s)
{
	return s ? arena_strdup(p->arena, s) : NULL;
}

static uint32_t number(struct strset *set, const char *s)
{
	return s ? strset_add(set, s, strlen(s)) : MESOS_NO_ID;
}

/* The framework whose members are passing by. */
static struct framework *current_framework(struct mesos_parser *p)
{
	return &p->frameworks[p->n_frameworks - 1];
}

static int take_framework(
	struct mesos_parser *p, const struct json_element *e, const struct json_value *v)
{
	struct element_framework f = element_read_framework(v);
	struct json_begin begin = {.path = e->path, .begin = e->begin};
	int r = framework_begin(p, &begin);

	if (r < 0)
		return r;
	current_framework(p)->id = number(p->framework_ids, f.id);
	current_framework(p)->name = keep_text(p, f.name);
	return 0;
}

static int take_agent(
	struct mesos_parser *p, const struct json_element *e, const struct json_value *v)
{
	struct element_agent read = element_read_agent(v);
	struct agent *a;

	if (p->n_agents == p->limits.agents)
		return json_scan_fail(p->scan, "more than %zu agents", p->limits.agents);
	a = APPEND(p->agents, p->n_agents, p->agents_allocated);
	a->place = (struct place){e->begin, (uint32_t)e->path};
	a->id = number(p->agent_ids, read.id);
	a->hostname = keep_text(p, read.hostname);
	a->pid = keep_text(p, read.pid);
	return 0;
}

static int take_member(struct mesos_parser *p, const struct json_element *e)
{
	const struct json_value *v = NULL;

	digest_add(p, e->path, 0, task_pool_digest(p->pool, e->tokens, e->n_tokens));
	if (!e->too_large)
		v = json_values_read(&p->values, e->tokens, e->n_tokens);
	switch (e->path) {
	case PATH_FRAMEWORK_ID:
		current_framework(p)->id = number(p->framework_ids, element_id(v));
		break;
	case PATH_FRAMEWORK_NAME:
		current_framework(p)->name = keep_text(p, element_id(v));
		break;
	case PATH_ID:
		p->self.id = number(p->agent_ids, element_id(v));
		break;
	case PATH_HOSTNAME:
		p->self.hostname = keep_text(p, element_id(v));
		break;
	case PATH_PID:
		p->self.pid = keep_text(p, element_id(v));
		break;
	case PATH_V1_FRAMEWORK:
		return take_framework(p, e, v);
	default:
		return take_agent(p, e, v);
	}
	return 0;
}

static bool in_framework(const struct json_element *e)
{
	return e->path == PATH_FRAMEWORK_TASK || e->path == PATH_EXECUTOR_TASK;
}

/* Reads a task that may have VIP labels, or finds it as read before. Only a task about which
 * there was nothing to complain is kept for later, or the complaints would be lost. */
static int read_task(
	struct mesos_parser *p, const struct json_element *e, const struct mesos_task **ret)
{
	struct digest digest = task_pool_digest(p->pool, e->tokens, e->n_tokens);
	size_t n_complaints = p->rejects.n_all;
	struct mesos_task task;
	int what;

	digest_add(p, e->path, 0, digest);
	*ret = p->is_first ? NULL : task_pool_find(p->pool, &digest);
	if (*ret)
		return TASK_READ_KEEP;
	arena_reset(p->reader.arena);
	what = task_read(&p->reader, e->tokens, e->n_tokens, &task);
	if (what != TASK_READ_KEEP)
		return what;
	*ret = task_pool_add(p->pool, p->rejects.n_all == n_complaints ? &digest : NULL, &task);
	return what;
}

static int take_task(struct mesos_parser *p, const struct json_element *e)
{
	const struct mesos_task *task = NULL;
	struct task *t;
	int what = element_task_look(e);

	if (e->too_large) {
		reject_add(&p->rejects, &(struct mesos_rejection){.reason = MESOS_REJECT_TOO_LARGE},
			"the task at byte %llu has more than %zu bytes",
			(unsigned long long)e->begin, p->limits.element);
		return 0;
	}
	if (what == TASK_READ_KEEP)
		what = read_task(p, e, &task);
	p->n_tasks_seen += what != TASK_READ_SKIP && !(task && task->waiting);
	if (what != TASK_READ_KEEP)
		return 0;
	if (p->n_tasks == p->limits.tasks) {
		task_pool_release(p->pool, task);
		return json_scan_fail(p->scan, "more than %zu tasks with VIPs", p->limits.tasks);
	}
	t = APPEND(p->tasks, p->n_tasks, p->tasks_allocated);
	t->begin = e->begin;
	t->path = (uint32_t)e->path;
	t->task = task;
	t->framework = task->framework;
	t->enclosing = in_framework(e) ? current_framework(p)->place.begin : NOWHERE;
	return 0;
}

static int on_element(void *userdata, const struct json_element *e)
{
	struct mesos_parser *p = userdata;

	switch (e->path) {
	case PATH_FRAMEWORK_TASK:
	case PATH_EXECUTOR_TASK:
	case PATH_TASK:
	case PATH_LAUNCHED_TASK:
		return take_task(p, e);
	default:
		return take_member(p, e);
	}
}

int mesos_parser_feed(struct mesos_parser *p, const void *bytes, size_t n_bytes)
{
	if (n_bytes > p->limits.document - json_scan_position(p->scan))
		return json_scan_fail(
			p->scan, "the document has more than %zu bytes", p->limits.document);
	return json_scan_feed(p->scan, bytes, n_bytes);
}

/* ---- putting it together ---- */

static struct mesos_agent agent_finish(struct mesos_parser *p, const struct agent *a)
{
	struct mesos_agent m = {
		.id = p->agent_ids->strings[a->id], .hostname = a->hostname ? a->hostname : ""};

	m.address = element_agent_address(a->hostname, a->pid);
	return m;
}

static bool is_recovered(const struct agent *a)
{
	return a->place.path == PATH_RECOVERED_SLAVE || a->place.path == PATH_RECOVERED_AGENT;
}

/* An agent that is in both lists has registered. */
static void recovered_finish(struct mesos_parser *p, struct mesos_state *s, const size_t *by_id)
{
	s->recovered = arena_alloc(p->arena, p->n_agents * sizeof *s->recovered);
	for (size_t i = 0; i < p->n_agents; i++) {
		const struct agent *a = &p->agents[i];

		if (a->id != MESOS_NO_ID && is_recovered(a) && !by_id[a->id])
			s->recovered[s->n_recovered++] = agent_finish(p, a);
	}
}

/* Fills by_id with 1 + the place of each id's agent in the state's array. */
static void agents_finish(struct mesos_parser *p, struct mesos_state *s, size_t *by_id)
{
	s->agents = arena_alloc(p->arena, p->n_agents * sizeof *s->agents);
	for (size_t i = 0; i < p->n_agents; i++) {
		const struct agent *a = &p->agents[i];

		if (a->id == MESOS_NO_ID || is_recovered(a))
			continue;
		if (!by_id[a->id])
			by_id[a->id] = ++s->n_agents;
		s->agents[by_id[a->id] - 1] = agent_finish(p, a);
	}
}

static void reject_task(struct mesos_parser *p, const struct mesos_placed *t,
	enum mesos_reject reason, const char *what, const char *id)
{
	reject_add(&p->rejects,
		&(struct mesos_rejection){.reason = reason,
			.task = t->task->id,
			.framework = t->framework ? t->framework : t->framework_id},
		id ? "%s %.100s is not in the document" : "the task names no %s", what, id);
}

struct resolver {
	size_t *agents;          /* by number of id: 1 + place in the state's array */
	const char **frameworks; /* by number of id: name */
	uint32_t *seen;          /* open addressing: 1 + place among the kept */
	size_t n_seen;           /* slots, a power of two, at most half full */
};

static int framework_cmp(const void *begin, const void *framework)
{
	uint64_t a = *(const uint64_t *)begin,
		 b = ((const struct framework *)framework)->place.begin;

	return a < b ? -1 : a > b;
}

/* The id of the framework that a task stands in; frameworks are in the document's order. */
static uint32_t enclosing_framework(const struct mesos_parser *p, const struct task *t)
{
	const struct framework *f = NULL;

	if (t->enclosing != NOWHERE)
		f = bsearch(
			&t->enclosing, p->frameworks, p->n_frameworks, sizeof *f, framework_cmp);
	return f ? f->id : MESOS_NO_ID;
}

static bool resolve_framework(
	struct mesos_parser *p, struct resolver *r, struct task *t, struct mesos_placed *ret)
{
	if (t->framework == MESOS_NO_ID)
		t->framework = enclosing_framework(p, t);
	if (t->framework != MESOS_NO_ID) {
		ret->framework_id = p->framework_ids->strings[t->framework];
		ret->framework = r->frameworks[t->framework];
	}
	if (ret->framework)
		return true;
	reject_task(p, ret, MESOS_REJECT_NO_FRAMEWORK, "framework", ret->framework_id);
	return false;
}

/* True for the agent whose own document this is. */
static bool is_lone(const struct agent *a)
{
	return a->place.path == PATH_ID || a->place.path == PATH_GET_AGENT ||
	       a->place.path == PATH_STATE_GET_AGENT;
}

static bool resolve_agent(struct mesos_parser *p, const struct mesos_state *s, struct resolver *r,
	struct mesos_placed *ret)
{
	uint32_t agent = ret->task->agent;

	/* In an agent's own document there is only one that can be meant. */
	if (agent == MESOS_NO_ID && p->n_agents == 1 && is_lone(&p->agents[0]))
		agent = p->agents[0].id;
	if (agent != MESOS_NO_ID && r->agents[agent]) {
		ret->agent = &s->agents[r->agents[agent] - 1];
		return true;
	}
	reject_task(p, ret, MESOS_REJECT_NO_AGENT, "agent",
		agent == MESOS_NO_ID ? NULL : p->agent_ids->strings[agent]);
	return false;
}

static bool is_same_task(const struct task *a, const struct task *b)
{
	return a->framework == b->framework && strcmp(a->task->id, b->task->id) == 0;
}

/* Where an equal task (framework and id) was kept, or SIZE_MAX; then this one will be at `place`. */
static size_t seen_before(
	const struct mesos_parser *p, struct resolver *r, const struct task *t, size_t place)
{
	size_t h = strset_hash(
		p->framework_ids->seed + t->framework, t->task->id, strlen(t->task->id));

	for (;; h++) {
		uint32_t *slot = &r->seen[h & (r->n_seen - 1)];

		if (*slot && is_same_task(t, &p->tasks[*slot - 1]))
			return *slot - 1;
		if (*slot)
			continue;
		*slot = (uint32_t)place + 1;
		return SIZE_MAX;
	}
}

/* Puts what is kept first in p->tasks as well. Of two, `tasks` is the newer list, `launched_tasks`
 * that of older agents; in one list the later counts. */
static void tasks_finish(struct mesos_parser *p, struct mesos_state *s, struct resolver *r)
{
	s->tasks = arena_alloc(p->arena, p->n_tasks * sizeof *s->tasks);
	for (size_t i = 0; i < p->n_tasks; i++) {
		struct task t = p->tasks[i], *keep = &p->tasks[s->n_tasks];
		struct mesos_placed placed = {.task = t.task};
		size_t before;

		if (!resolve_framework(p, r, &t, &placed) || !resolve_agent(p, s, r, &placed))
			continue;
		before = seen_before(p, r, &t, s->n_tasks);
		if (before == SIZE_MAX) {
			p->tasks[i] = *keep;
			*keep = t;
			s->tasks[s->n_tasks++] = placed;
		} else if (t.path == p->tasks[before].path || t.path == PATH_TASK) {
			p->tasks[i] = p->tasks[before];
			p->tasks[before] = t;
			s->tasks[before] = placed;
		}
	}
	p->n_tasks_taken = s->n_tasks;
}

/* Rejections of labels were written when only the framework's id was known. */
static void name_rejections(struct mesos_parser *p, const struct resolver *r)
{
	for (size_t i = 0; i < p->rejects.n; i++) {
		struct mesos_rejection *j = &p->rejects.list[i];
		uint32_t id = strset_find(p->framework_ids, j->framework, strlen(j->framework));

		if (id != STRSET_NONE && r->frameworks[id])
			j->framework = r->frameworks[id];
	}
}

static size_t slots_for(size_t n)
{
	size_t slots = 16;

	while (slots < 2 * n)
		slots *= 2;
	return slots;
}

static void resolve(struct mesos_parser *p, struct mesos_state *s)
{
	struct arena *scratch = arena_new();
	struct resolver r = {
		.agents = arena_alloc(scratch, p->agent_ids->n * sizeof *r.agents),
		.frameworks = arena_alloc(scratch, p->framework_ids->n * sizeof *r.frameworks),
		.n_seen = slots_for(p->n_tasks),
	};

	r.seen = arena_alloc(scratch, r.n_seen * sizeof *r.seen);
	agents_finish(p, s, r.agents);
	recovered_finish(p, s, r.agents);
	for (size_t i = 0; i < p->n_frameworks; i++)
		if (p->frameworks[i].id != MESOS_NO_ID)
			r.frameworks[p->frameworks[i].id] = p->frameworks[i].name;
	tasks_finish(p, s, &r);
	name_rejections(p, &r);
	arena_free(scratch);
}

static bool is_v1(const struct mesos_parser *p)
{
	return p->kinds[PATH_GET_STATE] == JSON_OBJECT && p->kinds[PATH_GET_TASKS] == JSON_OBJECT;
}

static bool is_master_state(const struct mesos_parser *p)
{
	return p->kinds[PATH_FRAMEWORKS] == JSON_ARRAY && p->kinds[PATH_SLAVES] == JSON_ARRAY;
}

/* A master calls itself by the same members, but its pid begins otherwise. */
static bool is_agent_state(const struct mesos_parser *p)
{
	const struct agent *self = &p->self;

	return p->kinds[PATH_FRAMEWORKS] == JSON_ARRAY && p->kinds[PATH_SLAVES] == JSON_NONE &&
	       self->id != MESOS_NO_ID && (self->hostname || self->pid) &&
	       !(self->pid && strncmp(self->pid, "master@", 7) == 0);
}

/* What every state has, whether it was put together or only counted. */
static void seal(struct mesos_parser *p)
{
	uint64_t counts[] = {p->n_tasks_seen, p->rejects.n_all};

	digest_add(p, _PATH_N, 0, task_pool_digest(p->pool, counts, sizeof counts));
	digest_links(p);
}

/* A digest of zeros is none, even were it one. */
static bool is_known(const struct mesos_parser *p, const uint8_t *known)
{
	static const struct digest none;

	return known && !p->n_repeated && memcmp(known, none.bytes, sizeof none) != 0 &&
	       memcmp(known, p->links.before.bytes, sizeof p->links.before) == 0;
}

static struct mesos_state *make_state(struct mesos_parser *p)
{
	struct mesos_state *s = calloc(1, sizeof *s);

	if (!s)
		abort();
	resolve(p, s);
	s->n_tasks_seen = p->n_tasks_seen;
	s->n_bytes = json_scan_position(p->scan);
	s->n_rejections = p->rejects.n;
	s->rejections = reject_list_keep(&p->rejects);
	memcpy(s->n_rejected, p->rejects.n_rejected, sizeof s->n_rejected);
	s->arena = p->arena;
	p->arena = NULL;
	s->pool = task_pool_ref(p->pool);
	s->n_ids = p->n_agents + p->n_frameworks;
	if (!p->n_repeated)
		memcpy(s->digest, p->links.before.bytes, sizeof s->digest);
	return s;
}

int mesos_parser_finish(struct mesos_parser *p, const uint8_t known[16], struct mesos_state **ret)
{
	int r = json_scan_finish(p->scan);

	if (r < 0)
		return r;
	if (is_agent_state(p))
		*APPEND(p->agents, p->n_agents, p->agents_allocated) = p->self;
	else if (!is_v1(p) && !is_master_state(p))
		return json_scan_fail(
			p->scan, "neither a master's or agent's /state nor an answer to GET_STATE");
	seal(p);
	if (is_known(p, known))
		return MESOS_UNCHANGED;
	*ret = make_state(p);
	return 0;
}

uint64_t mesos_parser_position(const struct mesos_parser *p)
{
	return json_scan_position(p->scan);
}

struct mesos_state *mesos_state_free(struct mesos_state *s)
{
	if (!s)
		return NULL;
	for (size_t i = 0; i < s->n_tasks; i++)
		task_pool_release(s->pool, s->tasks[i].task);
	task_pool_unref(s->pool);
	arena_free(s->arena);
	free(s);
	return NULL;
}
