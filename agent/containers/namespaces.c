/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The thread picks one namespace after the other and visits it (visit.h). Which one, is decided
 * by pick(), from times and counters alone; in this order:
 *
 *   those that hold an earlier wanted state    a few commands, and somebody waits for them
 *   those of which nothing is known            new ones; all, after a restart
 *   those that are to be cleared
 *   audits, of which the one longest overdue; spaced so that they take a bounded share of a core
 *
 * Everything in `struct namespaces` is under its lock, which is not held during a visit. Of the
 * namespace that is being visited, the loop reads all and changes only `leaving`.
 *
 * Removal is slow on purpose (LINGER): a file that is renamed, or written anew under the same
 * name, is a removal and an arrival. The arrival then finds its namespace among those that
 * leave, and takes over what is known of it.
 */
#include "agent/containers/namespaces.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "agent/log.h"

/* Of so many audits, one compares destinations too: every five minutes, by default. They are most
 * of the reading, since the kernel has a dump per service. */
#define AUDITS_PER_FULL 20
/* After an audit that took t, the next of any namespace comes 49 t later: 2 % of a core. */
#define AUDIT_PAUSE 49
/* Between a file's end and that of what is in its namespace. */
#define LINGER (200 * NSEC_PER_MSEC)
/* Between visits to a namespace that fails, or has no address yet: doubled up to the longest. */
#define RETRY_FIRST (500 * NSEC_PER_MSEC)
#define RETRY_LONGEST (60 * NSEC_PER_SEC)
/* A namespace that leaves and cannot be cleared is let go after so many visits. */
#define REMOVE_ATTEMPTS 4
/* Quick visits in a row while others wait. */
#define QUICK_ROW 32

struct namespace
{
	char *name, *path;
	struct visit_memory memory;
	uint64_t generation; /* of the wanted state it was last brought to; 0: none */
	bool leaving, cleared, twin;
	unsigned int n_faults; /* in a row: it could not be opened, or not be read */
	nsec_t wait_until;     /* no visit before, unless for an audit */
	unsigned int n_retries;
	nsec_t retry_at; /* though it was brought to the wanted state as far as possible; 0: not */
	nsec_t audit_at;
	unsigned int n_light;       /* audits since the last full one */
	struct namespace_view view; /* name, path and state are not kept in here */
};

struct namespaces {
	struct namespaces_options options;
	struct registry *registry;
	pthread_t thread;
	bool running, stop;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct netns_id host;
	size_t n_all, allocated;
	struct namespace **all;
	struct wanted *want, *want4; /* want4: its IPv4 part, made when first needed */
	uint64_t generation;
	bool flushing;
	bool told_permission;
	unsigned int quick_row;
	nsec_t audit_gate; /* no audit before */
	struct namespaces_stats stats;
};

enum task { TASK_CHANGE, TASK_AUDIT, TASK_REMOVE };

const char *namespace_state_text(enum namespace_state s)
{
	static const char *const texts[_NAMESPACE_STATE_N] = {
		[NAMESPACE_WAITING] = "waiting",
		[NAMESPACE_PROGRAMMED] = "programmed",
		[NAMESPACE_FAILING] = "failing",
		[NAMESPACE_TWIN] = "twin",
		[NAMESPACE_LEAVING] = "leaving",
		[NAMESPACE_CLEARED] = "cleared",
	};

	return texts[s];
}

static enum namespace_state state_of(const struct namespaces *n, const struct namespace *s)
{
	if (s->leaving)
		return NAMESPACE_LEAVING;
	if (s->n_faults || s->view.n_failing)
		return NAMESPACE_FAILING;
	if (s->twin)
		return NAMESPACE_TWIN;
	if (s->cleared)
		return NAMESPACE_CLEARED;
	return n->want && s->generation == n->generation ? NAMESPACE_PROGRAMMED : NAMESPACE_WAITING;
}

/* --- the list -------------------------------------------------------------- */

static void namespace_free(struct namespace *s)
{
	visit_forget(&s->memory);
	free(s->name);
	free(s->path);
	free(s);
}

static void drop(struct namespaces *n, struct namespace *s)
{
	size_t i = 0;

	while (n->all[i] != s)
		i++;
	n->n_all--;
	memmove(&n->all[i], &n->all[i + 1], (n->n_all - i) * sizeof(*n->all));
	namespace_free(s);
}

static void add(struct namespaces *n, const char *name, const char *path)
{
	struct namespace *s = xcalloc(1, sizeof(*s));

	s->name = xstrdup(name);
	s->path = xstrdup(path);
	if (n->n_all == n->allocated) {
		n->allocated = n->allocated ? 2 * n->allocated : 16;
		n->all = xrealloc(n->all, n->allocated, sizeof(*n->all));
	}
	n->all[n->n_all++] = s;
}

static void leave(struct namespaces *n, const char *name)
{
	for (size_t i = 0; i < n->n_all; i++) {
		struct namespace *s = n->all[i];

		if (s->leaving || strcmp(s->name, name) != 0)
			continue;
		s->leaving = true;
		s->n_faults = 0;
		s->wait_until = now_ns() + LINGER;
	}
}

static void on_set(void *userdata, const char *name, const char *path)
{
	struct namespaces *n = userdata;

	pthread_mutex_lock(&n->lock);
	leave(n, name);
	add(n, name, path);
	pthread_cond_signal(&n->wake);
	pthread_mutex_unlock(&n->lock);
	log_info("namespace %s: registered, %s", name, path);
}

static void on_removed(void *userdata, const char *name)
{
	struct namespaces *n = userdata;

	pthread_mutex_lock(&n->lock);
	leave(n, name);
	pthread_cond_signal(&n->wake);
	pthread_mutex_unlock(&n->lock);
	log_info("namespace %s: its file is gone", name);
}

/* --- what to do next ------------------------------------------------------- */

enum rank { RANK_QUICK, RANK_SLOW, RANK_REMOVE, RANK_AUDIT, RANK_NONE };

struct choice {
	struct namespace *namespace;
	enum rank rank;
	enum task task;
	nsec_t since;   /* of equal rank, the earliest is taken */
	nsec_t wake_at; /* when there will be something; UINT64_MAX: not by itself */
};

static bool is_behind(const struct namespaces *n, const struct namespace *s)
{
	return !s->twin && s->generation != n->generation;
}

static void offer(struct choice *c, struct namespace *s, enum rank rank, enum task task, nsec_t due,
	nsec_t now)
{
	if (due > now) {
		if (due < c->wake_at)
			c->wake_at = due;
	} else if (rank < c->rank || (rank == c->rank && due < c->since)) {
		c->namespace = s;
		c->rank = rank;
		c->task = task;
		c->since = due;
	}
}

static void consider(const struct namespaces *n, struct namespace *s, struct choice *c, nsec_t now)
{
	enum rank quick = n->quick_row < QUICK_ROW ? RANK_QUICK : RANK_SLOW;
	nsec_t audit_at = s->audit_at > n->audit_gate ? s->audit_at : n->audit_gate;

	if (s->leaving || (n->flushing && !s->cleared && !s->twin))
		offer(c, s, RANK_REMOVE, TASK_REMOVE, s->wait_until, now);
	else if (!n->want)
		return;
	else if (is_behind(n, s))
		offer(c, s, s->memory.reached ? quick : RANK_SLOW, TASK_CHANGE, s->wait_until, now);
	else if (s->retry_at && s->retry_at < audit_at)
		offer(c, s, RANK_SLOW, TASK_CHANGE, s->retry_at, now);
	else
		offer(c, s, RANK_AUDIT, TASK_AUDIT, audit_at, now);
}

static struct choice pick(struct namespaces *n, nsec_t now)
{
	struct choice c = {.rank = RANK_NONE, .since = UINT64_MAX, .wake_at = UINT64_MAX};

	for (size_t i = 0; i < n->n_all; i++)
		consider(n, n->all[i], &c, now);
	n->quick_row = c.rank == RANK_QUICK ? n->quick_row + 1 : 0;
	return c;
}

/* --- what came of it ------------------------------------------------------- */

static nsec_t backoff(unsigned int n_times)
{
	nsec_t d = RETRY_FIRST;

	for (unsigned int i = 1; i < n_times && d < RETRY_LONGEST; i++)
		d *= 2;
	return d < RETRY_LONGEST ? d : RETRY_LONGEST;
}

static void set_problem(struct namespace *s, const char *problem)
{
	if (*problem && !*s->view.problem)
		log_warning(
			"namespace %s (%s): %s; tried again by and by", s->name, s->path, problem);
	else if (!*problem && *s->view.problem && !s->leaving)
		log_notice("namespace %s: has no problem any more", s->name);
	snprintf(s->view.problem, sizeof(s->view.problem), "%s", problem);
}

/* It could not even be opened, or not be read. */
static void on_fault(struct namespaces *n, struct namespace *s, const char *problem, int error)
{
	s->n_faults++;
	s->wait_until = now_ns() + backoff(s->n_faults);
	s->generation = 0;
	s->twin = false;
	visit_forget(&s->memory);
	if (error == -EPERM && !n->told_permission) {
		n->told_permission = true;
		log_error("namespaces: vipd may not enter network namespaces: it needs "
			  "CAP_SYS_ADMIN beside CAP_NET_ADMIN");
	}
	set_problem(s, problem);
}

/* Both families' addresses are still missing: the container is being made. */
static bool has_no_address(const struct visit *v)
{
	return !v->sources.v4.family && !v->sources.v6.family;
}

static void on_changed(struct namespaces *n, struct namespace *s, const struct visit *v)
{
	nsec_t now = now_ns();

	s->audit_at = now + n->options.audit_interval;
	s->cleared = false;
	s->n_retries = v->n_failing || has_no_address(v) ? s->n_retries + 1 : 0;
	s->retry_at = s->n_retries ? now + backoff(s->n_retries) : 0;
	if (s->view.n_visits == 0 && v->n_steps > 0)
		log_info("namespace %s: programmed, %zu commands", s->name, v->n_steps);
}

static void on_audited(struct namespaces *n, struct namespace *s, const struct visit *v, bool full)
{
	s->audit_at = now_ns() + n->options.audit_interval;
	/* What is amiss once may be so in what was not compared, too. */
	s->n_light = full ? 0 : v->n_repairs ? AUDITS_PER_FULL : s->n_light + 1;
	if (v->n_repairs)
		log_warning("namespace %s: differed from the table, repaired in %zu commands",
			s->name, v->n_repairs);
}

static void take_figures(struct namespaces *n, struct namespace *s, const struct visit *v)
{
	s->view.n_visits++;
	s->view.n_steps += v->n_steps;
	s->view.n_repairs += v->n_repairs;
	s->view.n_failing = v->n_failing;
	s->view.n_conflicts = v->n_conflicts;
	s->view.inode = v->id.inode;
	s->view.ipv6 = v->ipv6;
	s->view.sources = v->sources;
	n->stats.n_visits++;
	n->stats.n_steps += v->n_steps;
	n->stats.n_repairs += v->n_repairs;
}

/* --- the visits ------------------------------------------------------------ */

/* Appends the part of `from` that is of IPv4. */
static struct kernel_state *only_ipv4(const struct kernel_state *from)
{
	struct kernel_state *to = kernel_state_new();
	const struct ip_addr none = {0};
	int r = to ? 0 : -ENOMEM;

	for (size_t i = 0; i < from->n_services && r >= 0; i++) {
		const struct service *svc = from->services[i];
		struct service *copy;

		if (svc->key.address.family != AF_INET)
			continue;
		copy = kernel_state_service(to, &svc->key);
		r = copy ? 0 : -ENOMEM;
		for (size_t k = 0; k < svc->n_destinations && r >= 0; k++)
			r = service_set_destination(copy, &svc->destinations[k]);
	}
	if (r < 0 || kernel_state_complete(to, &none, &none) < 0)
		abort(); /* out of memory, as everywhere in agent/ */
	return to;
}

/* What a namespace is to hold, referenced; NULL: nothing. *ret_generation is its number. */
static struct wanted *choose_wanted(struct namespaces *n, bool ipv6, uint64_t *ret_generation)
{
	struct wanted *all, *part, *stale = NULL;

	pthread_mutex_lock(&n->lock);
	all = wanted_ref(n->want);
	part = wanted_ref(n->want4);
	*ret_generation = n->generation;
	pthread_mutex_unlock(&n->lock);
	if (all && !ipv6 && !part) {
		part = wanted_new(only_ipv4(all->state));
		pthread_mutex_lock(&n->lock);
		if (n->want == all) {
			stale = n->want4;
			n->want4 = wanted_ref(part);
		}
		pthread_mutex_unlock(&n->lock);
	}
	wanted_unref(stale);
	wanted_unref(ipv6 || !all ? part : all);
	return all && !ipv6 ? part : all;
}

/* Another file's namespace that is this one: one that stays, or else one that leaves. */
static struct namespace *find_same(
	struct namespaces *n, const struct namespace *s, const struct netns_id *id, bool leaving)
{
	for (size_t i = 0; i < n->n_all; i++)
		if (n->all[i] != s && n->all[i]->leaving == leaving && !n->all[i]->twin &&
			netns_id_same(&n->all[i]->memory.id, id))
			return n->all[i];
	return NULL;
}

/* Hands over what is known of a namespace to another file that names it. */
static void take_over(struct namespace *to, struct namespace *from)
{
	visit_forget(&to->memory);
	to->memory = from->memory;
	from->memory = (struct visit_memory){0};
	to->generation = from->generation;
	to->cleared = from->cleared;
	to->audit_at = from->audit_at;
	to->twin = false;
}

/* With the lock held: true if another file sees to this namespace already. */
static bool settle_identity(struct namespaces *n, struct namespace *s, const struct netns_id *id)
{
	struct namespace *other = find_same(n, s, id, false);

	if (other) {
		if (!s->twin)
			log_info("namespace %s: is the one of %s", s->name, other->name);
		visit_forget(&s->memory);
		s->memory.id = *id;
		s->twin = true;
		s->generation = 0;
		s->n_faults = 0;
		s->audit_at = now_ns() + n->options.audit_interval;
		return true;
	}
	s->twin = false;
	other = s->memory.id.inode ? NULL : find_same(n, s, id, true);
	if (other) {
		take_over(s, other);
		drop(n, other);
	}
	return false;
}

/* 0; 1 if there is nothing to do in there; or a negative errno. */
static int go_in(struct namespaces *n, struct namespace *s, struct visit *v)
{
	int r = visit_open(v, s->path);
	bool twin;

	if (r < 0)
		return r;
	if (netns_id_same(&v->id, &n->host)) {
		snprintf(v->problem, sizeof(v->problem),
			"is the host's own network namespace, which is not a container's");
		return -EINVAL;
	}
	pthread_mutex_lock(&n->lock);
	twin = settle_identity(n, s, &v->id);
	pthread_mutex_unlock(&n->lock);
	return twin ? 1 : visit_enter(v);
}

static void work(struct namespaces *n, struct namespace *s, enum task task)
{
	struct visit v = {
		.device = n->options.device,
		.sysctls = n->options.sysctls,
		.memory = &s->memory,
	};
	bool full = s->n_light + 1 >= AUDITS_PER_FULL;
	uint64_t generation = 0;
	struct wanted *want = NULL;
	int r = go_in(n, s, &v);

	/* Nodes and namespaces do not all begin with the same destination. */
	v.seed = n->options.seed ^ v.id.inode * 0x9e3779b97f4a7c15;
	if (r == 0) {
		want = choose_wanted(n, v.ipv6, &generation);
		if (!want)
			r = 1; /* flushed meanwhile */
	}
	if (r == 0 && task == TASK_AUDIT && s->memory.reached == want)
		r = visit_audit(&v, want, full);
	else if (r == 0) {
		task = TASK_CHANGE;
		r = visit_change(&v, want);
	}
	visit_close(&v);
	wanted_unref(want);

	pthread_mutex_lock(&n->lock);
	if (r < 0) {
		on_fault(n, s, v.problem, r);
	} else if (r == 0) {
		if (task == TASK_AUDIT)
			on_audited(n, s, &v, full);
		else
			on_changed(n, s, &v);
		s->n_faults = 0;
		s->generation = generation;
		n->stats.n_audits += task == TASK_AUDIT;
		set_problem(s, v.problem);
	}
	take_figures(n, s, &v);
	pthread_mutex_unlock(&n->lock);
}

/* Whether this one is not to be cleared: another file names the same namespace, and goes on with
 * it; or it is the host's, or another one than it was. */
static bool is_spared(struct namespaces *n, struct namespace *s, const struct netns_id *id)
{
	bool spared = netns_id_same(id, &n->host) ||
		      (s->memory.id.inode && !netns_id_same(id, &s->memory.id));

	pthread_mutex_lock(&n->lock);
	for (size_t i = 0; i < n->n_all && s->leaving && !spared; i++) {
		struct namespace *other = n->all[i];

		if (other == s || other->leaving || !netns_id_same(&other->memory.id, id))
			continue;
		if (other->twin && !s->twin)
			take_over(other, s);
		spared = true;
	}
	pthread_mutex_unlock(&n->lock);
	return spared;
}

/* One that is gone needs no clearing. */
static int clear(struct namespaces *n, struct namespace *s, struct visit *v)
{
	if (visit_open(v, s->path) < 0 || is_spared(n, s, &v->id)) {
		v->problem[0] = '\0';
		return 0;
	}
	return visit_enter(v) < 0 ? -EIO : visit_remove(v);
}

static void on_cleared(struct namespaces *n, struct namespace *s)
{
	if (s->leaving) {
		n->stats.n_removed++;
		drop(n, s);
		return;
	}
	s->cleared = true;
	s->generation = 0;
	s->n_faults = 0;
	s->wait_until = 0;
	visit_forget(&s->memory);
}

static void remove_from(struct namespaces *n, struct namespace *s)
{
	struct visit v = {.device = n->options.device, .memory = &s->memory};
	int r = clear(n, s, &v);

	visit_close(&v);
	pthread_mutex_lock(&n->lock);
	take_figures(n, s, &v);
	if (r < 0) {
		s->n_faults++;
		s->wait_until = now_ns() + backoff(s->n_faults);
		set_problem(s, v.problem);
	}
	if (r < 0 && s->n_faults >= REMOVE_ATTEMPTS)
		log_warning("namespace %s: could not be cleared, and is let go: %s", s->name,
			v.problem);
	if (r == 0 || s->n_faults >= REMOVE_ATTEMPTS)
		on_cleared(n, s);
	pthread_mutex_unlock(&n->lock);
}

/* With the lock held, which is let go meanwhile. */
static void visit_one(struct namespaces *n, const struct choice *c)
{
	struct namespace *s = c->namespace;
	nsec_t begun = now_ns(), took;

	n->stats.busy_since = begun;
	pthread_mutex_unlock(&n->lock);
	if (c->task == TASK_REMOVE)
		remove_from(n, s);
	else
		work(n, s, c->task);
	pthread_mutex_lock(&n->lock);
	took = now_ns() - begun; /* of a task that removes, the namespace may be freed by now */
	n->stats.busy += took;
	n->stats.busy_since = 0;
	if (c->task == TASK_AUDIT)
		n->audit_gate = now_ns() + AUDIT_PAUSE * took;
	if (c->task != TASK_REMOVE) {
		s->view.last_visit = begun;
		s->view.last_duration = took;
	}
}

static void sleep_until(struct namespaces *n, nsec_t when)
{
	const struct timespec ts = {
		.tv_sec = (time_t)(when / NSEC_PER_SEC),
		.tv_nsec = (long)(when % NSEC_PER_SEC),
	};

	if (when == UINT64_MAX)
		pthread_cond_wait(&n->wake, &n->lock);
	else
		pthread_cond_timedwait(&n->wake, &n->lock, &ts);
}

static void *thread_main(void *userdata)
{
	struct namespaces *n = userdata;

	pthread_mutex_lock(&n->lock);
	while (!n->stop) {
		struct choice c = pick(n, now_ns());

		if (c.namespace)
			visit_one(n, &c);
		else
			sleep_until(n, c.wake_at);
	}
	pthread_mutex_unlock(&n->lock);
	return NULL;
}

/* --- the loop's side ------------------------------------------------------- */

static void set_want(struct namespaces *n, struct wanted *want, bool flushing)
{
	struct wanted *old, *old4;

	pthread_mutex_lock(&n->lock);
	old = n->want;
	old4 = STEAL(n->want4);
	n->want = wanted_ref(want);
	n->generation++;
	n->flushing = flushing;
	pthread_cond_signal(&n->wake);
	pthread_mutex_unlock(&n->lock);
	wanted_unref(old);
	wanted_unref(old4);
}

void namespaces_want(struct namespaces *n, struct wanted *want)
{
	set_want(n, want, false);
}

void namespaces_flush(struct namespaces *n)
{
	set_want(n, NULL, true);
}

void namespaces_rescan(struct namespaces *n)
{
	registry_rescan(n->registry);
}

const struct registry *namespaces_registry(const struct namespaces *n)
{
	return n->registry;
}

bool namespaces_flushed(struct namespaces *n)
{
	bool all = true;

	pthread_mutex_lock(&n->lock);
	for (size_t i = 0; i < n->n_all; i++)
		all &= n->all[i]->cleared || n->all[i]->twin;
	pthread_mutex_unlock(&n->lock);
	return all;
}

size_t namespaces_list(struct namespaces *n, struct namespace_view **ret)
{
	size_t n_all;

	pthread_mutex_lock(&n->lock);
	n_all = n->n_all;
	*ret = xcalloc(n_all, sizeof(**ret));
	for (size_t i = 0; i < n_all; i++) {
		(*ret)[i] = n->all[i]->view;
		(*ret)[i].name = xstrdup(n->all[i]->name);
		(*ret)[i].path = xstrdup(n->all[i]->path);
		(*ret)[i].state = state_of(n, n->all[i]);
	}
	pthread_mutex_unlock(&n->lock);
	return n_all;
}

void namespace_views_free(struct namespace_view *views, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(views[i].name);
		free(views[i].path);
	}
	free(views);
}

struct namespaces_stats namespaces_stats(struct namespaces *n)
{
	struct namespaces_stats s;

	pthread_mutex_lock(&n->lock);
	s = n->stats;
	s.n_registered = n->n_all;
	for (size_t i = 0; i < n->n_all; i++) {
		enum namespace_state state = state_of(n, n->all[i]);
		nsec_t last = n->all[i]->view.last_visit;

		s.n_by_state[state]++;
		if (state == NAMESPACE_PROGRAMMED && (!s.oldest_visit || last < s.oldest_visit))
			s.oldest_visit = last;
	}
	pthread_mutex_unlock(&n->lock);
	return s;
}

static void init_locks(struct namespaces *n)
{
	pthread_condattr_t attributes;

	pthread_mutex_init(&n->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&n->wake, &attributes);
	pthread_condattr_destroy(&attributes);
}

int namespaces_new(
	sd_event *loop, const struct namespaces_options *options, struct namespaces **ret)
{
	struct registry_handler handler = {on_set, on_removed, NULL};
	struct namespaces *n = xcalloc(1, sizeof(*n));
	struct stat st;
	int r;

	n->options = *options;
	handler.userdata = n;
	init_locks(n);
	if (stat("/proc/self/ns/net", &st) == 0)
		n->host = (struct netns_id){.device = st.st_dev, .inode = st.st_ino};
	r = registry_new(loop, options->directory, &handler, &n->registry);
	if (r >= 0) {
		r = -pthread_create(&n->thread, NULL, thread_main, n);
		n->running = r == 0;
	}
	if (r < 0) {
		namespaces_free(n);
		return r;
	}
	*ret = n;
	return 0;
}

struct namespaces *namespaces_free(struct namespaces *n)
{
	if (!n)
		return NULL;
	registry_free(n->registry);
	pthread_mutex_lock(&n->lock);
	n->stop = true;
	pthread_cond_signal(&n->wake);
	pthread_mutex_unlock(&n->lock);
	if (n->running)
		pthread_join(n->thread, NULL);
	for (size_t i = 0; i < n->n_all; i++)
		namespace_free(n->all[i]);
	free(n->all);
	wanted_unref(n->want);
	wanted_unref(n->want4);
	pthread_cond_destroy(&n->wake);
	pthread_mutex_destroy(&n->lock);
	free(n);
	return NULL;
}
