/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A run is all that happens to the kernel from one wanted state on until it settles. Its changes
 * are told one by one as they are acknowledged, up to RUN_TOLD; the others are summed up when it
 * settles. A VIP that comes is told then too, since it answers only when its route is there.
 *
 * A wanted state may replace another whose steps are not through. What is left of them is
 * then told as the older cause's, so that latencies are never shown better than they are.
 */
#include "agent/history/watch.h"

#include <errno.h>
#include <stdio.h>
#include <systemd/sd-id128.h>
#include <time.h>

#include "agent/daemon.h"
#include "agent/serve/put.h"

/* Changes of one run that are told one by one: more than a person reads, and little enough that
 * telling them (a few microseconds each) does not hold up a table of 100,000. */
#define RUN_TOLD 1000
/* Changes of nodes that move no backend and are told one by one in a second; of more the number is. */
#define STATUS_TOLD 100
/* Events that are made into lines at once. */
#define LINES_AT_ONCE 64

/* What holds for some VIPs until it does not any more: refused, in conflict. Sorted. */
struct standing_item {
	struct service_key key;
	unsigned int reason;
};

struct standing {
	size_t n;
	struct standing_item *list;
};

struct watch {
	struct daemon *daemon;
	struct events *events;
	struct gone *gone;
	char instance[SD_ID128_STRING_MAX]; /* of this process: numbers begin anew with each */
	/* the run */
	enum event_cause cause;
	nsec_t seen, decided;
	size_t n_told, n_more[_EVENT_KIND_N];
	size_t n_added;
	struct event *added; /* VIPs that came, until they are told; texts are owned */
	struct standing refused, conflicts;
	size_t n_healths;
	struct node_health *healths; /* as they were told; sorted by agent */
	size_t n_leaving;
	struct ip_addr *leaving; /* nodes that went down in this run */
	uint64_t n_rule_repairs;
	nsec_t status_second; /* in which n_status such changes came */
	size_t n_status;
};

const struct events *watch_events(const struct watch *w)
{
	return w->events;
}

const struct gone *watch_gone(const struct watch *w)
{
	return w->gone;
}

const char *watch_instance(const struct watch *w)
{
	return w->instance;
}

/* --- making events --------------------------------------------------------- */

static uint64_t wall_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void tell(struct watch *w, struct event *e)
{
	e->at = now_ns();
	e->wall_us = wall_us();
	events_add(w->events, e);
	control_wake(w->daemon->control);
	control_wake(w->daemon->http);
}

static const char *vip_name(const struct watch *w, const struct service_key *key)
{
	const struct vip *vip = w->daemon->table ? vip_table_find(w->daemon->table, key) : NULL;
	const struct gone_item *item;

	if (vip)
		return vip->name;
	item = gone_find(w->gone, key, &(struct ip_addr){0}, 0);
	return item ? item->name : NULL;
}

static const char *backend_task(const struct watch *w, const struct service_key *key,
	const struct ip_addr *address, uint16_t port)
{
	const struct vip *vip = w->daemon->table ? vip_table_find(w->daemon->table, key) : NULL;
	const struct vip_backend *b = vip ? vip_find_backend(vip, address, port) : NULL;
	const struct gone_item *item;

	if (b)
		return b->task;
	item = gone_find(w->gone, key, address, port);
	return item ? item->task : NULL;
}

static void tell_vip(
	struct watch *w, enum event_kind kind, const struct service_key *key, const char *detail)
{
	struct event e = {
		.kind = kind,
		.cause = w->cause,
		.seen = w->seen,
		.decided = w->decided,
		.service = *key,
		.name = (char *)vip_name(w, key),
		.detail = (char *)detail,
	};

	tell(w, &e);
}

/* --- what stands ----------------------------------------------------------- */

static int cmp_standing(const void *pa, const void *pb)
{
	const struct standing_item *a = pa, *b = pb;
	int c = service_key_cmp(&a->key, &b->key);

	return c ? c : (a->reason > b->reason) - (a->reason < b->reason);
}

/* Tells what began and what ended, and keeps `fresh` (sorted here, duplicates welcome). */
static void change_standing(struct watch *w, struct standing *s, struct standing fresh,
	enum event_kind begins, enum event_kind ends, const char *(*text)(unsigned int reason))
{
	size_t i = 0, k = 0;

	if (fresh.n)
		qsort(fresh.list, fresh.n, sizeof(*fresh.list), cmp_standing);
	while (i < s->n || k < fresh.n) {
		int c = i == s->n      ? 1
			: k == fresh.n ? -1
				       : cmp_standing(&s->list[i], &fresh.list[k]);

		if (k > 0 && c >= 0 && cmp_standing(&fresh.list[k], &fresh.list[k - 1]) == 0) {
			k++;
			continue;
		}
		if (c < 0)
			tell_vip(w, ends, &s->list[i].key, text(s->list[i].reason));
		else if (c > 0)
			tell_vip(w, begins, &fresh.list[k].key, text(fresh.list[k].reason));
		i += c <= 0;
		k += c >= 0;
	}
	free(s->list);
	*s = fresh;
}

static const char *refusal_words(unsigned int reason)
{
	return refusal_text((enum refusal)reason);
}

static const char *conflict_words(unsigned int reason)
{
	return "an IPVS service with this address and port exists that vipd did not make";
}

static void change_refused(struct watch *w)
{
	const struct desired *d = w->daemon->desired;
	struct standing fresh = {.list = xcalloc(d->n_refused, sizeof(*fresh.list))};

	for (size_t i = 0; i < d->n_refused; i++)
		fresh.list[fresh.n++] =
			(struct standing_item){d->refused[i].vip->key, d->refused[i].reason};
	change_standing(w, &w->refused, fresh, EVENT_REFUSED, EVENT_REFUSAL_OVER, refusal_words);
}

static void change_conflicts(struct watch *w)
{
	size_t n;
	const struct service_key *keys = reconcile_conflicts(w->daemon->reconcile, &n);
	struct standing fresh = {.list = xcalloc(n, sizeof(*fresh.list))};

	for (size_t i = 0; i < n; i++)
		fresh.list[fresh.n++] = (struct standing_item){keys[i], 0};
	change_standing(
		w, &w->conflicts, fresh, EVENT_CONFLICT, EVENT_CONFLICT_OVER, conflict_words);
}

/* `h` is what is known of it now; NULL: it is simply up. */
static void tell_node(struct watch *w, const struct ip_addr *agent, const struct node_health *h)
{
	enum health health = h ? h->health : HEALTH_UP;
	AUTO_FREE char *confirmed = NULL;
	static const enum event_kind kinds[] = {
		[HEALTH_UP] = EVENT_NODE_UP,
		[HEALTH_DOWN] = EVENT_NODE_DOWN,
		[HEALTH_CONFIRMED] = EVENT_NODE_CONFIRMED,
	};
	char buf[IP_ADDR_STRLEN];
	struct event e = {
		.kind = kinds[health],
		.cause = w->cause,
		.detail = (char *)ip_addr_format(agent, buf),
	};

	if (health == HEALTH_CONFIRMED)
		e.detail = confirmed = xasprintf("%s: down for %.1f s, its backends go", buf,
			(double)(now_ns() - h->since) / (double)NSEC_PER_SEC);
	tell(w, &e);
	if (health != HEALTH_DOWN || w->n_leaving >= RUN_TOLD)
		return;
	w->leaving = xrealloc(w->leaving, w->n_leaving + 1, sizeof(*w->leaving));
	w->leaving[w->n_leaving++] = *agent;
}

/* Who is not listed is up. */
static void change_healths(struct watch *w)
{
	size_t n, i = 0, k = 0;
	const struct node_health *fresh =
		liveness_healths(cluster_liveness(w->daemon->cluster), &n);

	while (i < w->n_healths || k < n) {
		int c = i == w->n_healths ? 1
			: k == n          ? -1
					  : ip_addr_cmp(&w->healths[i].agent, &fresh[k].agent);
		enum health before = c <= 0 ? w->healths[i].health : HEALTH_UP;
		enum health now = c >= 0 ? fresh[k].health : HEALTH_UP;

		if (before != now)
			tell_node(w, c <= 0 ? &w->healths[i].agent : &fresh[k].agent,
				c >= 0 ? &fresh[k] : NULL);
		i += c <= 0;
		k += c >= 0;
	}
	w->healths = xrealloc(w->healths, n, sizeof(*w->healths));
	if (n)
		memcpy(w->healths, fresh, n * sizeof(*fresh));
	w->n_healths = n;
}

/* --- a run ----------------------------------------------------------------- */

void watch_table(struct watch *w, const struct vip_table *fresh, const struct vip_table_diff *diff,
	nsec_t now)
{
	gone_note(w->gone, w->daemon->table, fresh, diff, now);
}

/* Drains that begin with a destination that has weight 0 already need no step. */
static void tell_silent_drains(struct watch *w, nsec_t now)
{
	const struct daemon *d = w->daemon;

	for (size_t i = 0; i < drains_count(d->drains); i++) {
		const struct drain *drain = drains_get(d->drains, i);
		const struct drain_key *key = &drain->key;
		const struct service *svc =
			kernel_state_find(reconcile_have(d->reconcile), &key->service);
		const struct destination *dest =
			svc ? service_find_destination(svc, &key->address, key->port) : NULL;
		struct event e = {
			.kind = EVENT_DRAIN_BEGUN,
			.cause = w->cause,
			.seen = w->seen,
			.decided = w->decided,
			.kernel = w->decided,
			.service = key->service,
			.backend = key->address,
			.backend_port = key->port,
		};

		if (drain->since != now || !dest || dest->weight != 0 || w->n_told++ >= RUN_TOLD)
			continue;
		e.name = (char *)vip_name(w, &key->service);
		e.task = (char *)backend_task(w, &key->service, &key->address, key->port);
		tell(w, &e);
	}
}

void watch_desired(struct watch *w, enum event_cause cause, nsec_t seen, nsec_t now)
{
	const struct reconcile_stats *s = reconcile_stats(w->daemon->reconcile);

	if (!s->busy) {
		w->n_told = 0;
		w->cause = cause;
		w->seen = seen;
	} else if (cause == CAUSE_DOCUMENT) {
		w->cause = cause; /* and seen when the older cause was */
	}
	w->decided = now;
	change_healths(w);
	change_refused(w);
	if (w->daemon->desired->drains_changed)
		tell_silent_drains(w, now);
}

/* The event that an acknowledged step of a change is; _EVENT_KIND_N: none. */
static enum event_kind kind_of(const struct watch *w, const struct step *step, bool drains)
{
	switch (step->kind) {
	case STEP_SERVICE_ADD:
		return EVENT_VIP_ADDED;
	case STEP_SERVICE_DEL:
		return EVENT_VIP_REMOVED;
	case STEP_DESTINATION_ADD:
		return EVENT_BACKEND_ADDED;
	case STEP_DESTINATION_EDIT:
		return drains && step->destination.weight == 0 ? EVENT_DRAIN_BEGUN : EVENT_WEIGHT;
	case STEP_DESTINATION_DEL:
		return drains ? EVENT_DRAIN_OVER : EVENT_BACKEND_REMOVED;
	case STEP_LINK_ADD:
	case STEP_SETS_ADD:
	case STEP_ROUTE_ADD:
	case STEP_ROUTE_DEL:
	case STEP_PORT_ADD:
	case STEP_PORT_DEL:
	case STEP_ADDRESS_ADD:
	case STEP_ADDRESS_DEL:
	case STEP_SERVICE_EDIT:
		break;
	}
	return _EVENT_KIND_N;
}

static bool about_destination(const struct step *step)
{
	return step->kind == STEP_DESTINATION_ADD || step->kind == STEP_DESTINATION_EDIT ||
	       step->kind == STEP_DESTINATION_DEL;
}

static bool about_service(const struct step *step)
{
	return about_destination(step) || step->kind == STEP_SERVICE_ADD ||
	       step->kind == STEP_SERVICE_EDIT || step->kind == STEP_SERVICE_DEL ||
	       step->kind == STEP_PORT_ADD || step->kind == STEP_PORT_DEL;
}

/* What the step is about. */
static void set_object(struct watch *w, struct event *e, const struct step *step)
{
	if (!about_service(step))
		return;
	e->service = step->key;
	e->name = (char *)vip_name(w, &step->key);
	if (!about_destination(step))
		return;
	e->backend = step->destination.address;
	e->backend_port = step->destination.port;
	e->task = (char *)backend_task(w, &e->service, &e->backend, e->backend_port);
}

static const struct drain *drain_of(const struct watch *w, const struct step *step)
{
	struct drain_key key;

	if (!about_destination(step))
		return NULL;
	key = (struct drain_key){step->key, step->destination.address, step->destination.port};
	return drains_find(w->daemon->drains, &key);
}

static void set_weights(const struct watch *w, struct event *e, const struct step *step)
{
	const struct service *svc =
		kernel_state_find(reconcile_have(w->daemon->reconcile), &step->key);
	const struct destination *before =
		svc ? service_find_destination(svc, &e->backend, e->backend_port) : NULL;

	e->weight_before = before ? before->weight : 0;
	e->weight = step->kind == STEP_DESTINATION_DEL ? 0 : step->destination.weight;
}

/* A VIP that came is told when it answers. */
static void keep_added(struct watch *w, const struct event *e)
{
	w->added = xrealloc(w->added, w->n_added + 1, sizeof(*w->added));
	w->added[w->n_added] = *e;
	w->added[w->n_added++].name = e->name ? xstrdup(e->name) : NULL;
}

static void tell_change(struct watch *w, const struct step *step)
{
	const struct drain *drain = drain_of(w, step);
	struct event e = {
		.kind = kind_of(w, step, drain != NULL),
		.cause = w->cause,
		.seen = w->seen,
		.decided = w->decided,
		.kernel = now_ns(),
	};
	AUTO_FREE char *detail = NULL;

	if (e.kind == _EVENT_KIND_N)
		return;
	if (w->n_told >= RUN_TOLD) {
		w->n_more[e.kind]++;
		return;
	}
	w->n_told++;
	set_object(w, &e, step);
	if (about_destination(step))
		set_weights(w, &e, step);
	if (e.kind == EVENT_DRAIN_OVER)
		e.detail = detail =
			xasprintf("after %.1f s: %s", (double)(e.kernel - drain->since) / 1e9,
				e.kernel >= drain->deadline ? "its time is up"
							    : "its connections are gone");
	if (e.kind == EVENT_VIP_ADDED)
		keep_added(w, &e);
	else
		tell(w, &e);
}

/* A repair, or a step that failed. */
static void tell_step(struct watch *w, const struct step *step, int error, bool repair)
{
	struct event e = {
		.kind = error ? EVENT_STEP_FAILED : EVENT_REPAIRED,
		.cause = repair ? CAUSE_AUDIT : w->cause,
		.seen = repair ? reconcile_stats(w->daemon->reconcile)->last_audit : w->seen,
		.kernel = now_ns(),
	};
	char text[STEP_STRLEN];
	AUTO_FREE char *detail = NULL;

	if (w->n_told >= RUN_TOLD) {
		w->n_more[e.kind]++;
		return;
	}
	w->n_told++;
	e.decided = repair ? e.seen : w->decided;
	step_format(step, text);
	detail = error ? xasprintf("%s: %s", text, strerror(-error)) : xstrdup(text);
	e.detail = detail;
	set_object(w, &e, step);
	tell(w, &e);
}

void watch_step(struct watch *w, const struct step *step, int error, bool repair)
{
	if (error || repair)
		tell_step(w, step, error, repair);
	else
		tell_change(w, step);
}

static void tell_added(struct watch *w, nsec_t now)
{
	for (size_t i = 0; i < w->n_added; i++) {
		w->added[i].kernel = now;
		tell(w, &w->added[i]);
		free(w->added[i].name);
	}
	w->n_added = 0;
}

/* The first of a node's steps that this node saw; `told` if it was no neighbour. */
static nsec_t first_step(const struct node_steps *s)
{
	nsec_t first = s->told;

	if (s->missed && s->missed < first)
		first = s->missed;
	if (s->severed && s->severed < first)
		first = s->severed;
	if (s->probed && s->probed < first)
		first = s->probed;
	return first;
}

static void print_step(FILE *f, const char *what, nsec_t at, nsec_t first)
{
	if (at)
		fprintf(f, ", %s +%llu ms", what,
			(unsigned long long)((at - first) / NSEC_PER_MSEC));
}

/* "10.0.0.12: missed a ping +0 ms, its kernel asked +51 ms, ..." Caller frees. */
static char *steps_text(const struct ip_addr *agent, const struct node_steps *s, nsec_t kernel)
{
	char *text = NULL, buf[IP_ADDR_STRLEN];
	nsec_t first = first_step(s);
	size_t n;
	FILE *f = open_memstream(&text, &n);

	if (!f)
		abort(); /* out of memory */
	fprintf(f, "%s: is down", ip_addr_format(agent, buf));
	print_step(f, "missed a ping", s->missed, first);
	print_step(f, "its kernel asked", s->probed, first);
	print_step(f, "a link severed", s->severed, first);
	print_step(f, "known to be down", s->told, first);
	print_step(f, "out of the kernel", kernel, first);
	fclose(f);
	return text;
}

/* The kernel has done what their going down made necessary. A node is told by its first address. */
static void tell_out(struct watch *w, nsec_t now)
{
	for (size_t i = 0; i < w->n_leaving; i++) {
		const struct ip_addr *agent = &w->leaving[i];
		const struct overlay_node *n =
			liveness_find(cluster_liveness(w->daemon->cluster), agent);
		struct event e = {.kind = EVENT_NODE_OUT, .cause = CAUSE_NODE, .kernel = now};
		AUTO_FREE char *detail = NULL;

		if (!n || ip_addr_cmp(&n->addresses[0], agent) != 0)
			continue;
		e.steps = (struct node_steps){n->missed, n->severed, n->probed, n->told};
		e.seen = n->told;
		e.decided = w->decided;
		e.detail = detail = steps_text(agent, &e.steps, now);
		tell(w, &e);
	}
	w->n_leaving = 0;
}

static void tell_more(struct watch *w, nsec_t now)
{
	struct event e = {
		.kind = EVENT_MORE,
		.cause = w->cause,
		.seen = w->seen,
		.decided = w->decided,
		.kernel = now,
	};
	AUTO_FREE char *detail = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&detail, &n);

	n = 0;
	for (size_t i = 0; f && i < _EVENT_KIND_N; i++)
		if (w->n_more[i])
			fprintf(f, "%s%zu %s", n++ ? ", " : "and ", w->n_more[i],
				event_kind_text((enum event_kind)i));
	memset(w->n_more, 0, sizeof(w->n_more));
	if (!f)
		abort(); /* out of memory */
	fclose(f);
	e.detail = detail;
	if (*detail)
		tell(w, &e);
}

void watch_settled(struct watch *w)
{
	nsec_t now = now_ns();

	tell_added(w, now);
	tell_out(w, now);
	tell_more(w, now);
	w->n_told = 0;
	change_conflicts(w);
}

/* --- what moves no backend ------------------------------------------------- */

static void tell_more(struct watch *w, nsec_t now);

static void tell_status(struct watch *w, struct event *e)
{
	nsec_t now = now_ns();

	if (now / NSEC_PER_SEC != w->status_second) {
		if (w->n_status > STATUS_TOLD)
			tell_more(w, now);
		w->status_second = now / NSEC_PER_SEC;
		w->n_status = 0;
	}
	if (w->n_status++ < STATUS_TOLD)
		tell(w, e);
	else
		w->n_more[e->kind]++;
}

/* What is told of it, as watch_desired() tells it, is that it is down. */
static bool told_down(const struct watch *w, const struct ip_addr *agent)
{
	for (size_t i = 0; i < w->n_healths; i++)
		if (ip_addr_cmp(&w->healths[i].agent, agent) == 0)
			return w->healths[i].health != HEALTH_UP;
	return false;
}

/* One that comes back and is held, and that goes down while it is held, changes nothing for backends. */
static bool tell_held(struct watch *w, const struct overlay_node *node)
{
	const struct ip_addr *agent = &node->addresses[0];
	const struct node_health *h = liveness_health(cluster_liveness(w->daemon->cluster), agent);
	nsec_t now = now_ns();
	AUTO_FREE char *detail = NULL;
	char buf[IP_ADDR_STRLEN];
	struct event e = {.cause = CAUSE_NODE};

	ip_addr_format(agent, buf);
	if (!h || !told_down(w, agent))
		return false;
	if (node->status == GOSSIP_STATUS_DOWN) {
		e.kind = EVENT_NODE_DOWN;
		detail = xstrdup(buf);
	} else if (node->status == GOSSIP_STATUS_UP && h->until > now) {
		e.kind = EVENT_NODE_HELD;
		detail = xasprintf("%s: up again, went down %u times: held down for %.0f s", buf,
			h->n_flaps, (double)(h->until - now) / (double)NSEC_PER_SEC);
	} else {
		return false;
	}
	e.detail = detail;
	tell_status(w, &e);
	return true;
}

void watch_status(
	struct watch *w, const struct overlay_node *node, enum gossip_status before, nsec_t since)
{
	bool gone = node->status == GOSSIP_STATUS_AGENTLESS;
	bool stalled = node->status == GOSSIP_STATUS_STALLED;
	bool was_heard = before == GOSSIP_STATUS_AGENTLESS || before == GOSSIP_STATUS_STALLED;
	AUTO_FREE char *detail = NULL;
	char buf[IP_ADDR_STRLEN];
	struct event e = {.cause = CAUSE_NODE};

	if (!node->n_addresses || tell_held(w, node))
		return;
	ip_addr_format(&node->addresses[0], buf);
	if (gone || stalled) {
		e.kind = gone ? EVENT_VIPD_GONE : EVENT_VIPD_STALLED;
		detail = xasprintf("%s: its vipd %s, its host answers: its backends stay", buf,
			gone ? "is gone" : "is stalled");
	} else if (node->status == GOSSIP_STATUS_UP && was_heard) {
		nsec_t now = now_ns();

		e.kind = EVENT_VIPD_BACK;
		detail = xasprintf("%s: after %.1f s", buf,
			since && now > since ? (double)(now - since) / (double)NSEC_PER_SEC : 0.0);
	} else {
		return;
	}
	e.detail = detail;
	tell_status(w, &e);
}

void watch_self(struct watch *w, enum gossip_self self, const char *text)
{
	struct event e = {
		.kind = self == GOSSIP_SELF_WELL ? EVENT_SELF_WELL : EVENT_SELF_DOUBT,
		.cause = CAUSE_NODE,
		.detail = (char *)text,
	};

	tell(w, &e);
}

/* --- beside the way -------------------------------------------------------- */

void watch_source(struct watch *w, const char *error)
{
	struct event e = {
		.kind = error ? EVENT_SOURCE_FAILED : EVENT_SOURCE_OK,
		.detail = (char *)(error ? error : feed_stats(w->daemon->feed)->url),
	};

	tell(w, &e);
}

void watch_rules(struct watch *w, uint64_t n_repairs)
{
	struct event e = {
		.kind = EVENT_REPAIRED,
		.cause = CAUSE_AUDIT,
		.detail = (char *)"iptables rules",
	};

	if (n_repairs > w->n_rule_repairs)
		tell(w, &e);
	w->n_rule_repairs = n_repairs;
}

void watch_flushed(struct watch *w)
{
	struct event e = {
		.kind = EVENT_FLUSHED,
		.cause = CAUSE_OPERATOR,
		.detail = (char *)"everything of vipd's was removed from the kernel",
	};

	tell(w, &e);
}

/* --- showing them ---------------------------------------------------------- */

static void put_vip(json_object *o, const struct event *e)
{
	char buf[ENDPOINT_STRLEN];
	AUTO_FREE char *text = NULL;

	if (e->service.address.family == AF_UNSPEC)
		return;
	endpoint_format(&e->service.address, e->service.port, buf);
	text = e->name ? xasprintf("%s:%u", e->name, e->service.port) : xstrdup(buf);
	put_string(o, "vip", text);
	put_protocol(o, "protocol", e->service.protocol);
	put_address(o, "address", &e->service.address);
	put_int(o, "port", e->service.port);
}

static void put_backend(json_object *o, const struct event *e)
{
	char buf[ENDPOINT_STRLEN];

	if (e->backend.family == AF_UNSPEC)
		return;
	put_string(o, "backend", endpoint_format(&e->backend, e->backend_port, buf));
	put_string(o, "task", e->task);
	put_int(o, "weight_before", e->weight_before);
	put_int(o, "weight", e->weight);
}

static void put_step(json_object *o, const char *key, nsec_t at, nsec_t first)
{
	if (at)
		put_duration(o, key, at - first);
}

/* Seconds since the first of them. */
static void put_steps(json_object *o, const struct event *e)
{
	json_object *steps;
	nsec_t first = first_step(&e->steps);

	if (e->kind != EVENT_NODE_OUT)
		return;
	steps = json_object_new_object();
	put_step(steps, "missed", e->steps.missed, first);
	put_step(steps, "probed", e->steps.probed, first);
	put_step(steps, "severed", e->steps.severed, first);
	put_step(steps, "known", e->steps.told, first);
	put_step(steps, "kernel", e->kernel, first);
	json_object_object_add(o, "steps", steps);
}

static char *event_line(const struct event *e)
{
	json_object *o = json_object_new_object(), *latency;

	put_int(o, "seq", e->seq);
	put_seconds_us(o, "time", e->wall_us);
	put_seconds_us(o, "monotonic", e->at / NSEC_PER_USEC);
	put_string(o, "kind", event_kind_text(e->kind));
	put_vip(o, e);
	put_backend(o, e);
	put_string(o, "cause", event_cause_text(e->cause));
	put_string(o, "detail", e->detail);
	put_steps(o, e);
	if (e->seen && e->kernel >= e->seen) {
		latency = json_object_new_object();
		put_duration(latency, "decided", e->decided > e->seen ? e->decided - e->seen : 0);
		put_duration(latency, "kernel", e->kernel - e->seen);
		json_object_object_add(o, "latency", latency);
	}
	return put_to_text(o);
}

/* {"what": {"lost": n}} */
static char *lost_line(const char *what, uint64_t n)
{
	return xasprintf("{\"%s\":{\"lost\":%llu}}\n", what, (unsigned long long)n);
}

struct watcher {
	struct watch *watch;
	uint64_t next; /* event to be shown */
	bool greeted, over, follow;
};

static char *greeting(struct watcher *r)
{
	const struct watch *w = r->watch;
	json_object *o = json_object_new_object(), *hello = json_object_new_object();
	uint64_t first = events_first(w->events);
	AUTO_FREE char *text = NULL, *gap = NULL;

	put_string(hello, "version", VIPD_VERSION);
	put_string(hello, "instance", w->instance);
	put_int(hello, "first", first);
	put_int(hello, "next", events_next(w->events));
	json_object_object_add(o, "hello", hello);
	text = put_to_text(o);
	r->greeted = true;
	if (r->next < first) {
		gap = lost_line("gap", first - r->next);
		r->next = first;
	}
	return xasprintf("%s%s", text, str_or(gap, ""));
}

static char *some_lines(struct watcher *r)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);
	const struct event *e;

	if (!f)
		abort(); /* out of memory */
	for (int i = 0; i < LINES_AT_ONCE && (e = events_get(r->watch->events, r->next)); i++) {
		AUTO_FREE char *line = event_line(e);

		fputs(line, f);
		r->next++;
	}
	fclose(f);
	return text;
}

static char *watcher_next(void *userdata, bool *ret_end)
{
	struct watcher *r = userdata;
	const struct events *events = r->watch->events;

	if (!r->greeted)
		return greeting(r);
	if (r->next < events_first(events) && !r->over) {
		r->over = true;
		return lost_line("lagged", events_first(events) - r->next);
	}
	if (!r->over && r->next < events_next(events))
		return some_lines(r);
	*ret_end = r->over || !r->follow;
	return NULL;
}

static void watcher_done(void *userdata)
{
	free(userdata);
}

void watch_view(struct watch *w, const struct control_request *request, struct control_reply *reply)
{
	const char *instance = control_argument(request, "instance");
	const char *follow = control_argument(request, "follow");
	uint64_t since, last, next = events_next(w->events), first = events_first(w->events);
	struct watcher *r;

	if (!control_number(request, "since", 0, &since) ||
		!control_number(request, "last", next, &last)) {
		reply->status = 400;
		reply->body = put_error("since and last are numbers");
		return;
	}
	if (instance && strcmp(instance, w->instance) != 0)
		since = 0;
	r = xcalloc(1, sizeof(*r));
	r->watch = w;
	r->follow = follow && strcmp(follow, "0") != 0;
	r->next = control_argument(request, "since") ? (since < next ? since + 1 : next) : first;
	if (next - r->next > last && r->next < next)
		r->next = next - last;
	reply->type = "application/x-ndjson";
	reply->stream = (struct control_stream){watcher_next, watcher_done, r, r->follow};
}

/* --- life ------------------------------------------------------------------ */

struct watch *watch_new(struct daemon *d)
{
	struct watch *w = xcalloc(1, sizeof(*w));
	sd_id128_t id = SD_ID128_NULL;

	(void)sd_id128_randomize(&id);
	sd_id128_to_string(id, w->instance);
	w->daemon = d;
	w->events = events_new(EVENTS_KEPT);
	w->gone = gone_new();
	return w;
}

struct watch *watch_free(struct watch *w)
{
	if (!w)
		return NULL;
	events_free(w->events);
	gone_free(w->gone);
	for (size_t i = 0; i < w->n_added; i++)
		free(w->added[i].name);
	free(w->added);
	free(w->healths);
	free(w->leaving);
	free(w->refused.list);
	free(w->conflicts.list);
	free(w);
	return NULL;
}
