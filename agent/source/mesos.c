/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The document may have its parts in any order: a task can come before the framework and the
 * agent that it names, and a framework's tasks before the framework's own name. So the
 * parts are noted as they pass, tasks with the numbers of their framework's and agent's
 * ids, and put together when the document is complete.
 *
 * Of a key that an object has twice, the last counts, as in every JSON reader that makes
 * maps. For members inside an element json-c sees to that. For those around the elements
 * (a second "frameworks", say) what the first one brought is dropped; everything noted carries
 * its place in the document and its path for that. The counts of what was seen and
 * rejected then still contain the first one's.
 */
#include "agent/source/mesos.h"

#include "agent/source/arena.h"
#include "agent/source/json_scan.h"
#include "agent/source/reject.h"
#include "agent/source/strset.h"
#include "agent/source/task.h"

#include <errno.h>
#include <json-c/json.h>
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

/* ---- what is wanted of a document ---- */

static const struct json_path task_paths[] = {
	{"id"},
	{"task_id"},
	{"framework_id"},
	{"slave_id"},
	{"agent_id"},
	{"state", JSON_PATH_MARK},
	{"statuses[].timestamp"},
	{"statuses[].healthy"},
	{"statuses[].container_status.network_infos[].ip_addresses"},
	{"statuses[].container_status.network_infos[].ip_address"},
	{"statuses[].container_status.network_infos[].port_mappings"},
	{"discovery.ports", JSON_PATH_WATCH},
	{"labels", JSON_PATH_WATCH},
	{"container.type"},
	{"container.docker.port_mappings"},
	{"container.network_infos[].port_mappings"},
	{"health_check"},
	{"resources.ports"},
	{"resources[].name"},
	{"resources[].ranges"},
	{"resources[].scalar"},
	{NULL},
};

static const struct json_path framework_paths[] = {
	{"framework_info.id"},
	{"framework_info.name"},
	{"id"},
	{"name"},
	{NULL},
};

static const struct json_path agent_paths[] = {
	{"agent_info.id"},
	{"agent_info.hostname"},
	{"id"},
	{"hostname"},
	{"pid"},
	{NULL},
};

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
	[PATH_FRAMEWORK_ID] = {"frameworks[].id", ELEMENT},
	[PATH_FRAMEWORK_NAME] = {"frameworks[].name", ELEMENT},
	[PATH_FRAMEWORK_TASKS] = {"frameworks[].tasks", BEGIN},
	[PATH_FRAMEWORK_TASK] = {"frameworks[].tasks[]", ELEMENT, task_paths},
	[PATH_EXECUTORS] = {"frameworks[].executors", BEGIN},
	[PATH_EXECUTOR_TASKS] = {"frameworks[].executors[].tasks", BEGIN},
	[PATH_EXECUTOR_TASK] = {"frameworks[].executors[].tasks[]", ELEMENT, task_paths},
	[PATH_SLAVES] = {"slaves", BEGIN},
	[PATH_SLAVE] = {"slaves[]", ELEMENT, agent_paths},
	[PATH_ID] = {"id", ELEMENT},
	[PATH_HOSTNAME] = {"hostname", ELEMENT},
	[PATH_PID] = {"pid", ELEMENT},
	/* the v1 API */
	[PATH_GET_STATE] = {"get_state", BEGIN},
	[PATH_GET_TASKS] = {"get_state.get_tasks", BEGIN},
	[PATH_TASKS] = {"get_state.get_tasks.tasks", BEGIN},
	[PATH_TASK] = {"get_state.get_tasks.tasks[]", ELEMENT, task_paths},
	[PATH_LAUNCHED_TASKS] = {"get_state.get_tasks.launched_tasks", BEGIN},
	[PATH_LAUNCHED_TASK] = {"get_state.get_tasks.launched_tasks[]", ELEMENT, task_paths},
	[PATH_GET_FRAMEWORKS] = {"get_state.get_frameworks", BEGIN},
	[PATH_V1_FRAMEWORKS] = {"get_state.get_frameworks.frameworks", BEGIN},
	[PATH_V1_FRAMEWORK] = {"get_state.get_frameworks.frameworks[]", ELEMENT, framework_paths},
	[PATH_GET_AGENTS] = {"get_state.get_agents", BEGIN},
	[PATH_AGENTS] = {"get_state.get_agents.agents", BEGIN},
	[PATH_AGENT] = {"get_state.get_agents.agents[]", ELEMENT, agent_paths},
	[PATH_GET_AGENT] = {"get_agent", BEGIN | ELEMENT, agent_paths},
	[PATH_STATE_GET_AGENT] = {"get_state.get_agent", BEGIN | ELEMENT, agent_paths},
};

/* ---- the parser ---- */

/* Where something was found. */
struct place {
	uint64_t begin;
	size_t path;
};

struct framework {
	struct place place;
	uint32_t id; /* number in the set, or TASK_NO_ID */
	const char *name;
};

struct agent {
	struct place place;
	uint32_t id;
	const char *hostname, *pid;
};

#define NOWHERE UINT64_MAX

struct task {
	struct place place;
	uint64_t enclosing; /* where the framework that it stands in begins; NOWHERE: in none */
	struct task_read read;
};

struct mesos_parser {
	struct json_scan *scan;
	struct json_tokener *tokener;
	struct arena *arena;
	struct reject_list rejects;
	struct strset framework_ids, agent_ids;
	struct task_reader reader;
	struct mesos_limits limits;
	enum json_kind kinds[_PATH_N]; /* of the values at paths with BEGIN */

	size_t n_frameworks, frameworks_allocated;
	struct framework *frameworks;
	size_t n_agents, agents_allocated;
	struct agent *agents;
	size_t n_tasks, tasks_allocated;
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

struct mesos_parser *mesos_parser_new(const struct mesos_limits *limits)
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
	if (p->limits.element > INT_MAX) /* json-c's lengths */
		p->limits.element = INT_MAX;
	p->scan = json_scan_new(paths, &events, p, p->limits.depth, p->limits.element);
	p->tokener = json_tokener_new_ex((int)p->limits.depth + 1);
	if (!p->tokener)
		abort();
	p->arena = arena_new();
	reject_list_init(&p->rejects, p->arena);
	strset_init(&p->framework_ids, p->arena);
	strset_init(&p->agent_ids, p->arena);
	p->reader = (struct task_reader){.arena = p->arena,
		.rejects = &p->rejects,
		.frameworks = &p->framework_ids,
		.agents = &p->agent_ids,
		.max_labels = p->limits.labels,
		.tokener = p->tokener};
	p->self = (struct agent){.place.path = PATH_ID, .id = TASK_NO_ID};
	return p;
}

struct mesos_parser *mesos_parser_free(struct mesos_parser *p)
{
	if (!p)
		return NULL;
	json_scan_free(p->scan);
	json_tokener_free(p->tokener);
	reject_list_done(&p->rejects);
	strset_done(&p->framework_ids);
	strset_done(&p->agent_ids);
	port_set_done(&p->reader.ports);
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

/* True if `place` is in a value at `path` of the object that began at `parent`. */
static bool is_void(struct mesos_parser *p, const struct place *place, const struct json_begin *b)
{
	return place->begin >= b->parent && json_scan_within(p->scan, place->path, b->path);
}

#define DROP_VOID(p, array, n, b)                                  \
	do {                                                       \
		size_t kept = 0;                                   \
		for (size_t i = 0; i < (n); i++)                   \
			if (!is_void((p), &(array)[i].place, (b))) \
				(array)[kept++] = (array)[i];      \
		(n) = kept;                                        \
	} while (0)

/* A key is repeated: what came with the earlier one does not count. */
static void drop_void(struct mesos_parser *p, const struct json_begin *b)
{
	for (size_t path = 0; path < _PATH_N; path++)
		if (json_scan_within(p->scan, path, b->path))
			p->kinds[path] = JSON_KIND_NONE;
	DROP_VOID(p, p->tasks, p->n_tasks, b);
	DROP_VOID(p, p->agents, p->n_agents, b);
	DROP_VOID(p, p->frameworks, p->n_frameworks, b);
}

static int framework_begin(struct mesos_parser *p, const struct json_begin *b)
{
	struct framework *f;

	if (p->n_frameworks == p->limits.frameworks)
		return json_scan_fail(p->scan, "more than %zu frameworks", p->limits.frameworks);
	f = APPEND(p->frameworks, p->n_frameworks, p->frameworks_allocated);
	f->place = (struct place){b->begin, b->path};
	f->id = TASK_NO_ID;
	return 0;
}

static int on_begin(void *userdata, const struct json_begin *b)
{
	struct mesos_parser *p = userdata;

	if (b->repeated)
		drop_void(p, b);
	p->kinds[b->path] = b->kind;
	return b->path == PATH_FRAMEWORK ? framework_begin(p, b) : 0;
}

static const char *keep_text(struct mesos_parser *p, struct json_object *o)
{
	const char *s = json_id(o);

	return s ? arena_strdup(p->arena, s) : NULL;
}

static uint32_t number(struct strset *set, struct json_object *o)
{
	const char *s = json_id(o);

	return s ? strset_add(set, s, strlen(s)) : TASK_NO_ID;
}

/* The framework whose members are passing by. */
static struct framework *current_framework(struct mesos_parser *p)
{
	return &p->frameworks[p->n_frameworks - 1];
}

static int take_framework(
	struct mesos_parser *p, const struct json_element *e, struct json_object *o)
{
	struct json_object *info = json_member(o, "framework_info");
	struct json_begin begin = {.path = e->path, .begin = e->begin};
	int r = framework_begin(p, &begin);

	if (r < 0)
		return r;
	if (!info)
		info = o;
	current_framework(p)->id = number(&p->framework_ids, json_member(info, "id"));
	current_framework(p)->name = keep_text(p, json_member(info, "name"));
	return 0;
}

static int take_agent(struct mesos_parser *p, const struct json_element *e, struct json_object *o)
{
	struct json_object *info = json_member(o, "agent_info");
	struct agent *a;

	if (p->n_agents == p->limits.agents)
		return json_scan_fail(p->scan, "more than %zu agents", p->limits.agents);
	if (!info)
		info = o;
	a = APPEND(p->agents, p->n_agents, p->agents_allocated);
	a->place = (struct place){e->begin, e->path};
	a->id = number(&p->agent_ids, json_member(info, "id"));
	a->hostname = keep_text(p, json_member(info, "hostname"));
	a->pid = keep_text(p, json_member(o, "pid"));
	return 0;
}

static int take_member(struct mesos_parser *p, const struct json_element *e)
{
	struct json_object *o = task_json(p->tokener, e->text, e->n_text);
	int r = 0;

	switch (e->path) {
	case PATH_FRAMEWORK_ID:
		current_framework(p)->id = number(&p->framework_ids, o);
		break;
	case PATH_FRAMEWORK_NAME:
		current_framework(p)->name = keep_text(p, o);
		break;
	case PATH_ID:
		p->self.id = number(&p->agent_ids, o);
		break;
	case PATH_HOSTNAME:
		p->self.hostname = keep_text(p, o);
		break;
	case PATH_PID:
		p->self.pid = keep_text(p, o);
		break;
	case PATH_V1_FRAMEWORK:
		r = take_framework(p, e, o);
		break;
	default: /* agents */
		r = take_agent(p, e, o);
		break;
	}
	json_object_put(o);
	return r;
}

/* A task without VIP labels, to go by its strings: only whether it runs is of interest. That
 * is not certain (TASK_READ_KEEP) only if the state is spelled with escapes. */
static int unwatched_task(const struct json_element *e)
{
	char state[32];

	if (!e->mark || e->n_mark < 2 || e->n_mark >= sizeof state)
		return TASK_READ_SKIP;
	memcpy(state, e->mark + 1, e->n_mark - 2);
	state[e->n_mark - 2] = '\0';
	if (strchr(state, '\\'))
		return TASK_READ_KEEP;
	return task_state_counts(state) ? TASK_READ_COUNT : TASK_READ_SKIP;
}

static bool in_framework(const struct json_element *e)
{
	return e->path == PATH_FRAMEWORK_TASK || e->path == PATH_EXECUTOR_TASK;
}

static int take_task(struct mesos_parser *p, const struct json_element *e)
{
	struct task_read read;
	struct task *t;
	int what = e->watched || *e->text != '{' ? TASK_READ_KEEP : unwatched_task(e);

	if (e->too_large) {
		reject_add(&p->rejects, &(struct mesos_rejection){.reason = MESOS_REJECT_TOO_LARGE},
			"the task at byte %llu has more than %zu bytes",
			(unsigned long long)e->begin, p->limits.element);
		return 0;
	}
	if (what == TASK_READ_KEEP)
		what = task_read(&p->reader, e->text, e->n_text, &read);
	p->n_tasks_seen += what != TASK_READ_SKIP;
	if (what != TASK_READ_KEEP)
		return 0;
	if (p->n_tasks == p->limits.tasks)
		return json_scan_fail(p->scan, "more than %zu tasks with VIPs", p->limits.tasks);
	t = APPEND(p->tasks, p->n_tasks, p->tasks_allocated);
	t->place = (struct place){e->begin, e->path};
	t->read = read;
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

/* The address in "slave(1)@10.0.1.248:5051" or "slave(1)@[fd00::1]:5051". */
static int address_of_pid(const char *pid, struct ip_addr *ret)
{
	const char *at = strrchr(pid, '@'), *colon = strrchr(pid, ':');
	char text[IP_ADDR_STRLEN];
	size_t n;

	if (!at || !colon || colon < at)
		return -EINVAL;
	at++;
	n = (size_t)(colon - at);
	if (n > 2 && *at == '[' && colon[-1] == ']') {
		at++;
		n -= 2;
	}
	if (n >= sizeof text)
		return -EINVAL;
	memcpy(text, at, n);
	text[n] = '\0';
	return ip_addr_parse(text, ret);
}

static struct mesos_agent agent_finish(struct mesos_parser *p, const struct agent *a)
{
	struct mesos_agent m = {
		.id = p->agent_ids.strings[a->id], .hostname = a->hostname ? a->hostname : ""};

	if (ip_addr_parse(m.hostname, &m.address) < 0 && a->pid)
		address_of_pid(a->pid, &m.address);
	return m;
}

/* Fills by_id with 1 + the place of each id's agent in the state's array. */
static void agents_finish(struct mesos_parser *p, struct mesos_state *s, size_t *by_id)
{
	s->agents = arena_alloc(p->arena, p->n_agents * sizeof *s->agents);
	for (size_t i = 0; i < p->n_agents; i++) {
		const struct agent *a = &p->agents[i];

		if (a->id == TASK_NO_ID)
			continue;
		if (!by_id[a->id])
			by_id[a->id] = ++s->n_agents;
		s->agents[by_id[a->id] - 1] = agent_finish(p, a);
	}
}

static void reject_task(struct mesos_parser *p, const struct task *t, enum mesos_reject reason,
	const char *what, const char *id)
{
	reject_add(&p->rejects,
		&(struct mesos_rejection){.reason = reason,
			.task = t->read.task.id,
			.framework = t->read.task.framework ? t->read.task.framework
							    : t->read.task.framework_id},
		id ? "%s %.100s is not in the document" : "the task names no %s", what, id);
}

struct resolver {
	size_t *agents;          /* by number of id: 1 + place in the state's array */
	const char **frameworks; /* by number of id: name */
	struct strset seen;      /* tasks */
	size_t *seen_as;         /* by number in `seen`: place among the kept */
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
	return f ? f->id : TASK_NO_ID;
}

static bool resolve_framework(struct mesos_parser *p, struct resolver *r, struct task *t)
{
	if (t->read.framework == TASK_NO_ID) {
		t->read.framework = enclosing_framework(p, t);
		if (t->read.framework != TASK_NO_ID)
			t->read.task.framework_id = p->framework_ids.strings[t->read.framework];
	}
	if (t->read.framework != TASK_NO_ID)
		t->read.task.framework = r->frameworks[t->read.framework];
	if (t->read.task.framework)
		return true;
	reject_task(p, t, MESOS_REJECT_NO_FRAMEWORK, "framework", t->read.task.framework_id);
	return false;
}

/* True for the agent whose own document this is. */
static bool is_lone(const struct agent *a)
{
	return a->place.path == PATH_ID || a->place.path == PATH_GET_AGENT ||
	       a->place.path == PATH_STATE_GET_AGENT;
}

static bool resolve_agent(
	struct mesos_parser *p, const struct mesos_state *s, struct resolver *r, struct task *t)
{
	/* In an agent's own document there is only one that can be meant. */
	if (t->read.agent == TASK_NO_ID && p->n_agents == 1 && is_lone(&p->agents[0]))
		t->read.agent = p->agents[0].id;
	if (t->read.agent != TASK_NO_ID && r->agents[t->read.agent]) {
		t->read.task.agent = &s->agents[r->agents[t->read.agent] - 1];
		t->read.task.agent_id = t->read.task.agent->id;
		return true;
	}
	reject_task(p, t, MESOS_REJECT_NO_AGENT, "agent", t->read.task.agent_id);
	return false;
}

/* Where an equal task (framework and id) was kept, or SIZE_MAX; then this one will be at `place`.
 */
static size_t seen_before(struct resolver *r, const struct task *t, size_t place)
{
	size_t n_id = strlen(t->read.task.id), n = sizeof t->read.framework + n_id, before;
	char *key = malloc(n);
	uint32_t number;

	if (!key)
		abort();
	memcpy(key, &t->read.framework, sizeof t->read.framework);
	memcpy(key + sizeof t->read.framework, t->read.task.id, n_id);
	before = r->seen.n;
	number = strset_add(&r->seen, key, n);
	free(key);
	if (r->seen.n == before)
		return r->seen_as[number];
	r->seen_as[number] = place;
	return SIZE_MAX;
}

/* Of two, `tasks` is the newer list, `launched_tasks` that of older agents; in one list the
 * later counts. */
static void tasks_finish(struct mesos_parser *p, struct mesos_state *s, struct resolver *r)
{
	size_t n = 0;

	for (size_t i = 0; i < p->n_tasks; i++) {
		struct task t = p->tasks[i];
		size_t before;

		if (!resolve_framework(p, r, &t) || !resolve_agent(p, s, r, &t))
			continue;
		before = seen_before(r, &t, n);
		if (before == SIZE_MAX)
			p->tasks[n++] = t;
		else if (t.place.path == p->tasks[before].place.path || t.place.path == PATH_TASK)
			p->tasks[before] = t;
	}
	s->n_tasks = n;
	s->tasks = arena_alloc(p->arena, n * sizeof *s->tasks);
	for (size_t i = 0; i < n; i++)
		s->tasks[i] = p->tasks[i].read.task;
}

/* Rejections of labels were written when only the framework's id was known. */
static void name_rejections(struct mesos_parser *p, const struct resolver *r)
{
	for (size_t i = 0; i < p->rejects.n; i++) {
		struct mesos_rejection *j = &p->rejects.list[i];
		uint32_t id = strset_find(&p->framework_ids, j->framework, strlen(j->framework));

		if (id != STRSET_NONE && r->frameworks[id])
			j->framework = r->frameworks[id];
	}
}

static void resolve(struct mesos_parser *p, struct mesos_state *s)
{
	struct arena *scratch = arena_new();
	struct resolver r = {
		.agents = arena_alloc(scratch, p->agent_ids.n * sizeof *r.agents),
		.frameworks = arena_alloc(scratch, p->framework_ids.n * sizeof *r.frameworks),
		.seen_as = arena_alloc(scratch, p->n_tasks * sizeof *r.seen_as),
	};

	strset_init(&r.seen, scratch);
	agents_finish(p, s, r.agents);
	for (size_t i = 0; i < p->n_frameworks; i++)
		if (p->frameworks[i].id != TASK_NO_ID)
			r.frameworks[p->frameworks[i].id] = p->frameworks[i].name;
	tasks_finish(p, s, &r);
	name_rejections(p, &r);
	strset_done(&r.seen);
	arena_free(scratch);
}

static bool is_v1(const struct mesos_parser *p)
{
	return p->kinds[PATH_GET_STATE] == JSON_KIND_OBJECT &&
	       p->kinds[PATH_GET_TASKS] == JSON_KIND_OBJECT;
}

static bool is_master_state(const struct mesos_parser *p)
{
	return p->kinds[PATH_FRAMEWORKS] == JSON_KIND_ARRAY &&
	       p->kinds[PATH_SLAVES] == JSON_KIND_ARRAY;
}

/* A master calls itself by the same members, but its pid begins otherwise. */
static bool is_agent_state(const struct mesos_parser *p)
{
	const struct agent *self = &p->self;

	return p->kinds[PATH_FRAMEWORKS] == JSON_KIND_ARRAY &&
	       p->kinds[PATH_SLAVES] == JSON_KIND_NONE && self->id != TASK_NO_ID &&
	       (self->hostname || self->pid) &&
	       !(self->pid && strncmp(self->pid, "master@", 7) == 0);
}

int mesos_parser_finish(struct mesos_parser *p, struct mesos_state **ret)
{
	struct mesos_state *s;
	int r = json_scan_finish(p->scan);

	if (r < 0)
		return r;
	if (is_agent_state(p))
		*APPEND(p->agents, p->n_agents, p->agents_allocated) = p->self;
	else if (!is_v1(p) && !is_master_state(p))
		return json_scan_fail(
			p->scan, "neither a master's or agent's /state nor an answer to GET_STATE");
	s = calloc(1, sizeof *s);
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
	*ret = s;
	return 0;
}

struct mesos_state *mesos_state_free(struct mesos_state *s)
{
	if (!s)
		return NULL;
	arena_free(s->arena);
	free(s);
	return NULL;
}
