/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 *   GET  /v1/status  one object: source, table, node, kernel
 *   GET  /v1/table   the VIPs, each with what became of it here; ?fresh=1: the kernel is read for
 *                    it, with connection counts and drains
 *   GET  /v1/why     ?q=VIP|BACKEND|TASK: what stands in its way (why.h)
 *   GET  /v1/events  what happened here (watch.h)
 *   GET  /v1/vips    the VIPs in the shape of dcos-net
 *   GET  /v1/nodes   the overlay's members
 *   GET  /v1/links   this node's own links, and the overlay's counters
 *   GET  /v1/diff    the steps from kernel to table: [] if there are none
 *   GET  /v1/namespaces  the registered containers' namespaces
 *   POST /v1/flush   removes everything from the kernel
 *
 * Times are in seconds, as numbers; -1 means never.
 *
 * Where a fresh reading of the kernel is needed, the auditor's thread makes it, and the answer
 * waits for it: with a large table that takes a good part of a second.
 */
#include "agent/serve/views.h"

#include <errno.h>

#include "agent/apply/sysctl.h"
#include "agent/serve/put.h"
#include "agent/serve/why.h"

/* --- status ---------------------------------------------------------------- */

static json_object *source_view(const struct daemon *d)
{
	const struct feed_stats *s = feed_stats(d->feed);
	json_object *o = json_object_new_object();

	put_string(o, "kind", d->config->source_kind == SOURCE_FILE ? "file" : "mesos");
	put_string(o, "url", s->url);
	put_bool(o, "ok", !s->error && s->n_documents > 0);
	put_string(o, "error", s->error);
	put_age(o, "age", s->last_success);
	put_int(o, "polls", s->n_polls);
	put_int(o, "failures", s->n_failures);
	put_int(o, "documents", s->n_documents);
	put_int(o, "bytes", s->n_bytes);
	put_duration(o, "last_duration", s->last_duration);
	return o;
}

static size_t sum(const size_t *counts, size_t n)
{
	size_t total = 0;

	for (size_t i = 0; i < n; i++)
		total += counts[i];
	return total;
}

static json_object *rejected_view(const struct vip_table *t)
{
	json_object *o = json_object_new_object();

	for (size_t i = 0; i < _MESOS_REJECT_N; i++)
		if (t->n_rejected[i])
			put_int(o, mesos_reject_text((enum mesos_reject)i), t->n_rejected[i]);
	return o;
}

static json_object *rejections_view(const struct vip_table *t)
{
	json_object *list = json_object_new_array();

	for (size_t i = 0; i < t->n_rejections; i++) {
		const struct mesos_rejection *r = &t->rejections[i];
		json_object *o = json_object_new_object();

		put_string(o, "reason", mesos_reject_text(r->reason));
		put_string(o, "task", r->task);
		put_string(o, "framework", r->framework);
		put_string(o, "key", r->key);
		put_string(o, "value", r->value);
		put_string(o, "detail", r->detail);
		json_object_array_add(list, o);
	}
	return list;
}

static json_object *table_summary(const struct daemon *d)
{
	const struct vip_table *t = d->table;
	json_object *o = json_object_new_object();
	size_t n_backends = 0;

	put_bool(o, "known", t != NULL);
	put_int(o, "vips", t ? t->n_vips : 0);
	for (size_t i = 0; t && i < t->n_vips; i++)
		n_backends += t->vips[i].n_backends;
	put_int(o, "backends", n_backends);
	put_int(o, "tasks", t ? t->n_tasks_seen : 0);
	put_int(o, "rejected", t ? sum(t->n_rejected, _MESOS_REJECT_N) : 0);
	put_int(o, "refused", d->desired ? d->desired->n_refused : 0);
	put_int(o, "changes", d->n_table_changes);
	put_age(o, "unchanged_for", d->table_since);
	put_bool(o, "emptying_held", d->held != NULL);
	if (t) {
		json_object_object_add(o, "rejected_by_reason", rejected_view(t));
		json_object_object_add(o, "rejections", rejections_view(t));
	}
	return o;
}

static json_object *node_view(const struct daemon *d)
{
	json_object *o = json_object_new_object();

	put_address(o, "address", &d->node.address);
	put_address(o, "address6", &d->node.address6);
	put_string(o, "device", d->config->device);
	return o;
}

static json_object *kernel_view(const struct daemon *d)
{
	const struct reconcile_stats *s = reconcile_stats(d->reconcile);
	const struct kernel_state *have = reconcile_have(d->reconcile);
	json_object *o = json_object_new_object();
	size_t n_services = 0, n_destinations = 0;

	for (size_t i = 0; i < have->n_services; i++)
		if (kernel_state_owns(have, have->services[i])) {
			n_services++;
			n_destinations += have->services[i]->n_destinations;
		}
	put_bool(o, "in_sync",
		d->desired && !d->paused && !s->busy && !s->n_failing && !s->n_conflicts);
	put_bool(o, "paused", d->paused);
	put_bool(o, "observe_only", d->config->observe);
	put_int(o, "services", n_services);
	put_int(o, "destinations", n_destinations);
	put_int(o, "routes", have->n_routes);
	put_int(o, "foreign_services", have->n_services - n_services);
	put_int(o, "conflicts", s->n_conflicts);
	put_int(o, "draining", drains_count(d->drains));
	put_int(o, "ramping", ramps_count(d->ramps));
	put_int(o, "pending_steps", s->n_pending);
	put_int(o, "failing_steps", s->n_failing);
	put_int(o, "runs", s->n_runs);
	put_int(o, "steps", s->n_steps);
	put_int(o, "failed_steps", s->n_failed);
	put_int(o, "repairs", s->n_repairs);
	put_int(o, "reads", s->n_reads);
	put_int(o, "audits", s->n_audits);
	put_age(o, "last_audit", s->last_audit);
	put_duration(o, "last_audit_duration", s->last_audit_duration);
	put_age(o, "settled_age", s->last_done);
	put_duration(o, "last_duration", s->last_duration);
	put_duration(o, "longest_hold", s->longest_hold);
	return o;
}

static json_object *latency_view(const struct daemon *d)
{
	struct events_latency latency;
	json_object *o = json_object_new_object();

	events_latency(watch_events(d->watch), &latency);
	put_int(o, "changes", latency.n);
	put_duration(o, "p50", latency.p50);
	put_duration(o, "p99", latency.p99);
	put_duration(o, "max", latency.max);
	return o;
}

static json_object *firewall_view(const struct daemon *d)
{
	const struct firewall_stats *s = d->firewall ? firewall_stats(d->firewall) : NULL;
	json_object *o = json_object_new_object();

	put_bool(o, "wanted", s != NULL);
	put_bool(o, "ok", s && !s->error && s->n_checks > 0);
	put_string(o, "error", s ? s->error : NULL);
	put_int(o, "checks", s ? s->n_checks : 0);
	put_int(o, "writes", s ? s->n_writes : 0);
	put_int(o, "repairs", s ? s->n_repairs : 0);
	return o;
}

static const char *self_name(enum gossip_self self)
{
	switch (self) {
	case GOSSIP_SELF_WELL:
		return "well";
	case GOSSIP_SELF_MINORITY:
		return "minority";
	case GOSSIP_SELF_CUT_OFF:
		return "cut off";
	}
	return "?";
}

static json_object *overlay_view(const struct daemon *d)
{
	const struct liveness *l = cluster_liveness(d->cluster);
	json_object *o = json_object_new_object();
	size_t n, n_out = 0;
	const struct node_health *healths = liveness_healths(l, &n);

	for (size_t i = 0; i < n; i++)
		n_out += healths[i].health != HEALTH_UP;
	put_bool(o, "on", !cluster_off(d->cluster));
	put_string(o, "off_because", cluster_off(d->cluster));
	put_bool(o, "insecure", d->config->insecure);
	put_string(o, "self", self_name(liveness_get_self(l)));
	put_int(o, "up", liveness_count(l, GOSSIP_STATUS_UP));
	put_int(o, "stalled", liveness_count(l, GOSSIP_STATUS_STALLED));
	put_int(o, "agentless", liveness_count(l, GOSSIP_STATUS_AGENTLESS));
	put_int(o, "down", liveness_count(l, GOSSIP_STATUS_DOWN));
	put_int(o, "addresses_out", n_out);
	put_int(o, "vips_all_down", d->desired ? d->desired->n_all_down : 0);
	return o;
}

/* Namespaces and files that are named in the status; the others are counted. */
#define TROUBLES_SHOWN 5

static void add_trouble(json_object *list, const char *name, const char *problem)
{
	json_object *o = json_object_new_object();

	put_string(o, "name", name);
	put_string(o, "problem", problem);
	json_object_array_add(list, o);
}

/* Adds the first few that fail, and returns how many files do. */
static size_t add_troubles(const struct daemon *d, json_object *list)
{
	struct namespace_view *views;
	size_t n = namespaces_list(d->namespaces, &views), n_files, n_bad = 0;
	const struct registry_file *files =
		registry_files(namespaces_registry(d->namespaces), &n_files);

	for (size_t i = 0; i < n_files; i++) {
		if (files[i].problem && json_object_array_length(list) < TROUBLES_SHOWN)
			add_trouble(list, files[i].name, files[i].problem);
		n_bad += files[i].problem != NULL;
	}
	for (size_t i = 0; i < n && json_object_array_length(list) < TROUBLES_SHOWN; i++)
		if (views[i].state == NAMESPACE_FAILING)
			add_trouble(list, views[i].name, views[i].problem);
	namespace_views_free(views, n);
	return n_bad;
}

static json_object *namespaces_summary(const struct daemon *d)
{
	json_object *o = json_object_new_object(), *troubles = json_object_new_array();
	struct namespaces_stats s = {0};

	put_bool(o, "wanted", d->namespaces != NULL);
	put_string(o, "directory", d->config->cni_dir);
	if (d->namespaces) {
		s = namespaces_stats(d->namespaces);
		put_int(o, "bad_files", add_troubles(d, troubles));
		put_int(o, "ignored_files", registry_n_ignored(namespaces_registry(d->namespaces)));
	}
	put_int(o, "registered", s.n_registered);
	for (size_t i = 0; i < _NAMESPACE_STATE_N; i++)
		put_int(o, namespace_state_text((enum namespace_state)i), s.n_by_state[i]);
	put_int(o, "visits", s.n_visits);
	put_int(o, "audits", s.n_audits);
	put_int(o, "steps", s.n_steps);
	put_int(o, "repairs", s.n_repairs);
	put_int(o, "removed", s.n_removed);
	put_age(o, "oldest_visit", s.oldest_visit);
	put_duration(o, "busy", s.busy);
	put_age(o, "busy_for", s.busy_since);
	json_object_object_add(o, "troubles", troubles);
	return o;
}

static void view_status(
	struct daemon *d, const struct control_request *request, struct control_reply *reply)
{
	json_object *o = json_object_new_object();

	put_string(o, "version", VIPD_VERSION);
	put_int(o, "pid", (uint64_t)getpid());
	put_age(o, "uptime", d->started);
	json_object_object_add(o, "node", node_view(d));
	json_object_object_add(o, "source", source_view(d));
	json_object_object_add(o, "table", table_summary(d));
	json_object_object_add(o, "kernel", kernel_view(d));
	json_object_object_add(o, "firewall", firewall_view(d));
	json_object_object_add(o, "overlay", overlay_view(d));
	json_object_object_add(o, "namespaces", namespaces_summary(d));
	json_object_object_add(o, "document_to_kernel", latency_view(d));
	reply->body = put_to_text(o);
}

/* --- the table ------------------------------------------------------------- */

/* "redis.marathon.l4lb.thisdcos.directory:6379", "1.2.3.4:5000" */
static char *vip_text(const struct vip *vip)
{
	char buf[ENDPOINT_STRLEN];

	return vip->name ? xasprintf("%s:%u", vip->name, vip->key.port)
			 : xstrdup(endpoint_format(&vip->key.address, vip->key.port, buf));
}

static bool in_conflict(const struct daemon *d, const struct service_key *key)
{
	size_t n;
	const struct service_key *keys = reconcile_conflicts(d->reconcile, &n);

	for (size_t i = 0; i < n; i++)
		if (service_key_cmp(&keys[i], key) == 0)
			return true;
	return false;
}

/* What became of a VIP on this node, in one word and a reason. */
static const char *vip_state(const struct daemon *d, const struct vip *vip,
	const struct kernel_state *have, const char **ret_reason)
{
	const struct refused *refused = desired_refusal(d->desired, vip, NULL);

	*ret_reason = NULL;
	if (d->paused) {
		*ret_reason = "flushed: nothing is programmed until vipd is restarted or reloaded";
		return "paused";
	}
	if (refused) {
		*ret_reason = refusal_text(refused->reason);
		return "refused";
	}
	if (in_conflict(d, &vip->key)) {
		*ret_reason =
			"an IPVS service with this address and port exists that vipd did not make";
		return "conflict";
	}
	if (!kernel_state_find(have, &vip->key)) {
		*ret_reason = "not in the kernel yet";
		return "pending";
	}
	return "programmed";
}

static const char *weight_text(const struct vip_backend *b)
{
	static const char *const texts[] = {
		[WEIGHT_HEALTHY] = "healthy",
		[WEIGHT_UNHEALTHY] = "unhealthy",
		[WEIGHT_NO_RESULT] = "no result of its health check yet",
		[WEIGHT_KILLING] = "being killed",
	};

	return texts[b->weight_reason];
}

static json_object *backend_view(const struct daemon *d, const struct vip *vip,
	const struct vip_backend *b, const struct service *svc, bool fresh)
{
	const struct refused *refused = desired_refusal(d->desired, vip, b->framework_id);
	json_object *o = json_object_new_object();
	bool local = node_owns(&d->node, &b->agent);
	const struct ip_addr *address = local ? &b->local_address : &b->address;
	uint16_t port = local ? b->local_port : b->port;
	const struct destination *dest = svc ? service_find_destination(svc, address, port) : NULL;

	put_address(o, "address", &b->address);
	put_int(o, "port", b->port);
	put_int(o, "weight", b->weight);
	put_string(o, "health", weight_text(b));
	put_address(o, "agent", &b->agent);
	put_string(o, "task", b->task);
	put_string(o, "framework", b->framework);
	put_bool(o, "local", local);
	put_string(o, "refused", refused ? refusal_text(refused->reason) : NULL);
	put_bool(o, "in_kernel", dest != NULL);
	if (dest) {
		put_address(o, "kernel_address", address);
		put_int(o, "kernel_port", port);
		put_int(o, "kernel_weight", dest->weight);
	}
	if (dest && fresh) {
		put_int(o, "active", dest->n_active);
		put_int(o, "inactive", dest->n_inactive);
	}
	return o;
}

static json_object *drain_view(const struct daemon *d, const struct service *svc,
	const struct destination *dest, const struct drain *drain)
{
	const struct gone_item *item =
		gone_find(watch_gone(d->watch), &svc->key, &dest->address, dest->port);
	nsec_t now = now_ns();
	json_object *o = json_object_new_object();

	put_address(o, "address", &dest->address);
	put_int(o, "port", dest->port);
	put_string(o, "task", item ? item->task : NULL);
	put_int(o, "active", dest->n_active);
	put_int(o, "inactive", dest->n_inactive);
	put_duration(o, "since", now - drain->since);
	put_duration(o, "left", drain->deadline > now ? drain->deadline - now : 0);
	return o;
}

/* The destinations of a service that drain. */
static json_object *drains_view(const struct daemon *d, const struct service *svc)
{
	json_object *list = json_object_new_array();

	for (size_t i = 0; svc && i < svc->n_destinations; i++) {
		const struct destination *dest = &svc->destinations[i];
		struct drain_key key = {svc->key, dest->address, dest->port};
		const struct drain *drain = drains_find(d->drains, &key);

		if (drain)
			json_object_array_add(list, drain_view(d, svc, dest, drain));
	}
	return list;
}

static void put_key(json_object *o, const struct service_key *key)
{
	put_protocol(o, "protocol", key->protocol);
	put_address(o, "address", &key->address);
	put_int(o, "port", key->port);
}

static json_object *vip_view(
	const struct daemon *d, const struct vip *vip, const struct kernel_state *have, bool fresh)
{
	const struct service *svc = kernel_state_find(have, &vip->key);
	json_object *o = json_object_new_object(), *backends = json_object_new_array();
	AUTO_FREE char *text = vip_text(vip);
	const char *reason, *state = vip_state(d, vip, have, &reason);

	put_string(o, "vip", text);
	put_string(o, "name", vip->name);
	put_key(o, &vip->key);
	put_string(o, "state", state);
	put_string(o, "reason", reason);
	for (size_t i = 0; i < vip->n_backends; i++)
		json_object_array_add(
			backends, backend_view(d, vip, &vip->backends[i], svc, fresh));
	json_object_object_add(o, "backends", backends);
	if (fresh)
		json_object_object_add(o, "draining", drains_view(d, svc));
	return o;
}

/* A VIP that has left the table and is in the kernel for what drains behind it. */
static json_object *gone_vip_view(const struct daemon *d, const struct service *svc)
{
	const struct gone_item *item =
		gone_find(watch_gone(d->watch), &svc->key, &(struct ip_addr){0}, 0);
	struct vip vip = {.key = svc->key, .name = item ? item->name : NULL};
	json_object *o = json_object_new_object();
	AUTO_FREE char *text = vip_text(&vip);

	put_string(o, "vip", text);
	put_string(o, "name", vip.name);
	put_key(o, &vip.key);
	put_string(o, "state", "draining");
	put_string(o, "reason", "its tasks have ended; what connections there are go on");
	json_object_object_add(o, "backends", json_object_new_array());
	json_object_object_add(o, "draining", drains_view(d, svc));
	return o;
}

static char *table_text(const struct daemon *d, const struct kernel_state *have, bool fresh)
{
	json_object *list = json_object_new_array();

	for (size_t i = 0; d->table && i < d->table->n_vips; i++)
		json_object_array_add(list, vip_view(d, &d->table->vips[i], have, fresh));
	for (size_t i = 0; fresh && d->table && i < have->n_services; i++) {
		const struct service *svc = have->services[i];

		if (kernel_state_owns(have, svc) && !vip_table_find(d->table, &svc->key))
			json_object_array_add(list, gone_vip_view(d, svc));
	}
	return put_to_text(list);
}

/* --- answers that need a fresh reading of the kernel ----------------------- */

struct reading {
	struct audit audit;
	struct daemon *daemon;
	struct control_promise *promise;
	bool remembered; /* what was read is the reconcile's own copy */
	/* Gives the answer's text. `have` is NULL if the kernel cannot be read, for that errno. */
	char *(*answer)(struct daemon *d, const struct kernel_state *have, int error,
		const char *query, unsigned int *status);
	char *query;
};

static void on_read(struct audit *audit)
{
	struct reading *r = audit->userdata;
	unsigned int status = 200;
	char *text = NULL;

	if (r->daemon->control) /* else nobody waits for it */
		text = r->answer(r->daemon, audit->have, audit->error, r->query, &status);
	control_fulfil(r->promise, status, text);
	if (!r->remembered)
		kernel_state_free(audit->have);
	free(r->query);
	free(r);
}

static void read_and_answer(struct daemon *d, const struct control_request *request,
	struct control_reply *reply, const char *query, __typeof__(((struct reading *)0)->answer) f)
{
	struct reading *r = xcalloc(1, sizeof(*r));

	r->daemon = d;
	r->answer = f;
	r->query = xstrdup(query);
	r->promise = control_promise(request);
	r->audit.open = (struct kernel_options){.device = d->config->device};
	r->audit.done = on_read;
	r->audit.userdata = r;
	reply->promised = true;
	if (d->auditor) {
		auditor_submit(d->auditor, &r->audit);
		return;
	}
	/* Only observing: what is remembered is all there is. */
	r->remembered = true;
	r->audit.have = (struct kernel_state *)reconcile_have(d->reconcile);
	on_read(&r->audit);
}

static char *answer_table(struct daemon *d, const struct kernel_state *have, int error,
	const char *query, unsigned int *status)
{
	AUTO_FREE char *reason = NULL;

	if (have)
		return table_text(d, have, true);
	*status = 503;
	reason = xasprintf("the kernel cannot be read: %s", strerror(-error));
	return put_error(reason);
}

static void view_table(
	struct daemon *d, const struct control_request *request, struct control_reply *reply)
{
	if (control_argument(request, "fresh"))
		read_and_answer(d, request, reply, "", answer_table);
	else
		reply->body = table_text(d, reconcile_have(d->reconcile), false);
}

/* --- why and events -------------------------------------------------------- */

static char *answer_why(struct daemon *d, const struct kernel_state *have, int error,
	const char *query, unsigned int *status)
{
	struct why_input in = {
		.query = query,
		.source = feed_stats(d->feed),
		.from_file = d->config->source_kind == SOURCE_FILE,
		.emptying_held = d->held != NULL,
		.table = d->table,
		.range4 = d->config->named_range,
		.range6 = d->config->named_range6,
		.gone = watch_gone(d->watch),
		.node = &d->node,
		.desired = d->desired_stale ? NULL : d->desired,
		.drains = d->drains,
		.paused = d->paused,
		.surrounded = d->surrounded,
		.kernel = reconcile_stats(d->reconcile),
		.have = have,
		.error = error,
		.audit_interval = d->config->audit_interval,
		.firewall = d->firewall ? firewall_stats(d->firewall) : NULL,
		.now = now_ns(),
	};
	AUTO_FREE int *values = xcalloc(n_sysctls, sizeof(*values));

	in.healths = liveness_healths(cluster_liveness(d->cluster), &in.n_healths);
	in.conflicts = reconcile_conflicts(d->reconcile, &in.n_conflicts);
	for (size_t i = 0; i < n_sysctls; i++)
		values[i] = sysctl_read(&sysctls[i]);
	in.sysctl_values = d->config->sysctls ? values : NULL;
	in.masquerade = d->config->masquerade;
	return put_to_text(why_trace(&in));
}

static void view_why(
	struct daemon *d, const struct control_request *request, struct control_reply *reply)
{
	const char *query = control_argument(request, "q");

	if (!query || !*query) {
		reply->status = 400;
		reply->body = put_error("q is missing");
		return;
	}
	read_and_answer(d, request, reply, query, answer_why);
}

static void view_events(
	struct daemon *d, const struct control_request *request, struct control_reply *reply)
{
	watch_view(d->watch, request, reply);
}

/* dcos-net's own shape, for what reads it today. */
static void view_vips(
	struct daemon *d, const struct control_request *request, struct control_reply *reply)
{
	json_object *list = json_object_new_array();

	for (size_t i = 0; d->table && i < d->table->n_vips; i++) {
		const struct vip *vip = &d->table->vips[i];
		json_object *o = json_object_new_object(), *backends = json_object_new_array();
		AUTO_FREE char *text = vip_text(vip);

		put_string(o, "vip", text);
		put_protocol(o, "protocol", vip->key.protocol);
		for (size_t k = 0; k < vip->n_backends; k++) {
			json_object *b = json_object_new_object();

			put_address(b, "ip", &vip->backends[k].address);
			put_int(b, "port", vip->backends[k].port);
			json_object_array_add(backends, b);
		}
		json_object_object_add(o, "backend", backends);
		json_object_array_add(list, o);
	}
	reply->body = put_to_text(list);
}

/* --- namespaces ------------------------------------------------------------ */

static json_object *namespace_object(const struct namespace_view *v)
{
	json_object *o = json_object_new_object();

	put_string(o, "name", v->name);
	put_string(o, "path", v->path);
	put_string(o, "state", namespace_state_text(v->state));
	put_string(o, "problem", *v->problem ? v->problem : NULL);
	put_int(o, "inode", v->inode);
	put_bool(o, "ipv6", v->ipv6);
	put_address(o, "address", &v->sources.v4);
	put_address(o, "address6", &v->sources.v6);
	put_int(o, "visits", v->n_visits);
	put_int(o, "steps", v->n_steps);
	put_int(o, "repairs", v->n_repairs);
	put_int(o, "failing_steps", v->n_failing);
	put_int(o, "conflicts", v->n_conflicts);
	put_age(o, "last_visit", v->last_visit);
	put_duration(o, "last_duration", v->last_duration);
	return o;
}

/* Files with problems stand beside the namespaces, in the state "bad file". */
static void add_bad_files(const struct daemon *d, json_object *list)
{
	size_t n;
	const struct registry_file *files = registry_files(namespaces_registry(d->namespaces), &n);

	for (size_t i = 0; i < n; i++) {
		json_object *o;

		if (!files[i].problem)
			continue;
		o = json_object_new_object();
		put_string(o, "name", files[i].name);
		put_string(o, "state", "bad file");
		put_string(o, "problem", files[i].problem);
		json_object_array_add(list, o);
	}
}

static void view_namespaces(
	struct daemon *d, const struct control_request *request, struct control_reply *reply)
{
	json_object *list = json_object_new_array();
	struct namespace_view *views = NULL;
	size_t n = d->namespaces ? namespaces_list(d->namespaces, &views) : 0;

	for (size_t i = 0; i < n; i++)
		json_object_array_add(list, namespace_object(&views[i]));
	namespace_views_free(views, n);
	if (d->namespaces)
		add_bad_files(d, list);
	reply->body = put_to_text(list);
}

/* --- diff and flush -------------------------------------------------------- */

static void view_diff(
	struct daemon *d, const struct control_request *request, struct control_reply *reply)
{
	struct plan plan = {0};
	char buf[STEP_STRLEN], key[SERVICE_KEY_STRLEN];
	json_object *list;
	int r = reconcile_diff(d->reconcile, &plan);

	if (r < 0) {
		reply->status = 503;
		reply->body = put_error(r == -EAGAIN ? "there is no table yet" : strerror(-r));
		return;
	}
	list = json_object_new_array();
	for (size_t i = 0; i < plan.n_steps; i++)
		json_object_array_add(
			list, json_object_new_string(step_format(&plan.steps[i], buf)));
	for (size_t i = 0; i < plan.n_conflicts; i++) {
		AUTO_FREE char *text = xasprintf("conflict %s: made by someone else, left alone",
			service_key_format(&plan.conflicts[i], key));

		json_object_array_add(list, json_object_new_string(text));
	}
	plan_done(&plan);
	reply->body = put_to_text(list);
}

static void do_flush(
	struct daemon *d, const struct control_request *request, struct control_reply *reply)
{
	int r = daemon_flush(d);

	if (r < 0) {
		reply->status = 500;
		reply->body = put_error(strerror(-r));
		return;
	}
	reply->body = xstrdup("{\"flushed\":true}\n");
}

/* --- the overlay ----------------------------------------------------------- */

static void put_id(json_object *o, const char *key, uint64_t id)
{
	char text[17];

	snprintf(text, sizeof(text), "%016llx", (unsigned long long)id);
	put_string(o, key, text);
}

static json_object *member_view(const struct daemon *d, const struct overlay_snapshot *s, size_t i)
{
	const struct gossip_member *m = &s->members[i];
	const struct overlay_node *node = &s->nodes[i];
	json_object *o = json_object_new_object(), *list = json_object_new_array();
	struct ip_addr a = overlay_ip(&m->address);
	size_t n;
	const struct node_health *healths = liveness_healths(cluster_liveness(d->cluster), &n);
	char buf[IP_ADDR_STRLEN];

	put_id(o, "id", m->id);
	put_bool(o, "self", m->id == s->id);
	put_address(o, "address", &a);
	put_int(o, "port", m->address.port);
	put_string(o, "status", gossip_status_name(m->id == s->id ? GOSSIP_STATUS_UP : m->status));
	put_id(o, "incarnation", m->incarnation);
	put_int(o, "version", m->version);
	put_string(o, "software", *node->version ? node->version : NULL);
	for (size_t k = 0; k < node->n_addresses; k++)
		json_object_array_add(
			list, json_object_new_string(ip_addr_format(&node->addresses[k], buf)));
	json_object_object_add(o, "addresses", list);
	list = json_object_new_array();
	for (size_t k = 0; k < m->n_neighbours; k++) {
		snprintf(buf, sizeof(buf), "%016llx", (unsigned long long)m->neighbours[k]);
		json_object_array_add(list, json_object_new_string(buf));
	}
	json_object_object_add(o, "neighbours", list);
	for (size_t k = 0; k < n; k++)
		if (ip_addr_cmp(&healths[k].agent, &a) == 0) {
			put_bool(o, "held", healths[k].until != 0);
			put_bool(o, "backends_removed", healths[k].health == HEALTH_CONFIRMED);
		}
	return o;
}

/* True with an answer if there is nothing to tell. */
static bool no_overlay(struct daemon *d, struct overlay_snapshot *s, struct control_reply *reply)
{
	if (s)
		return false;
	reply->status = 503;
	reply->body = put_error(cluster_off(d->cluster) ? cluster_off(d->cluster)
							: "the overlay's thread does not answer");
	return true;
}

static void view_nodes(
	struct daemon *d, const struct control_request *request, struct control_reply *reply)
{
	struct overlay_snapshot *s = cluster_snapshot(d->cluster);
	json_object *list;

	if (no_overlay(d, s, reply))
		return;
	list = json_object_new_array();
	for (size_t i = 0; i < s->n_members; i++)
		json_object_array_add(list, member_view(d, s, i));
	overlay_snapshot_free(s);
	reply->body = put_to_text(list);
}

static json_object *link_view(const struct overlay_snapshot *s, const struct gossip_neighbour *n)
{
	json_object *o = json_object_new_object();

	put_id(o, "id", n->id);
	for (size_t i = 0; i < s->n_members; i++)
		if (s->members[i].id == n->id) {
			struct ip_addr a = overlay_ip(&s->members[i].address);

			put_address(o, "address", &a);
		}
	put_bool(o, "listed", n->listed);
	put_bool(o, "testing", n->testing);
	put_bool(o, "tcp_only", n->degraded);
	put_bool(o, "eager", n->eager);
	put_string(o, "opened_by", n->incoming ? "them" : "us");
	put_age(o, "heard", n->heard);
	put_duration(o, "rtt_min", n->rtt_min);
	put_duration(o, "rtt_median", n->rtt_median);
	put_duration(o, "rtt_max", n->rtt_max);
	put_duration(o, "timeout", n->timeout);
	put_seconds(o, "loss", n->loss_permille / 1000.0);
	return o;
}

static json_object *transport_view(const struct overlay_snapshot *s)
{
	const struct overlay_transport_stats *t = &s->transport;
	json_object *o = json_object_new_object();

	put_int(o, "packets_in", t->packets_in);
	put_int(o, "packets_out", t->packets_out);
	put_int(o, "bytes_in", t->bytes_in);
	put_int(o, "bytes_out", t->bytes_out);
	put_int(o, "link_bytes_in", t->links_bytes_in);
	put_int(o, "link_bytes_out", t->links_bytes_out);
	put_int(o, "send_errors", t->send_errors);
	put_int(o, "links_refused", t->links_refused);
	put_int(o, "handshakes_failed", t->handshakes_failed);
	put_int(o, "forged", t->forged);
	put_int(o, "replayed", t->replayed);
	put_int(o, "malformed", t->malformed);
	put_int(o, "unknown_key", t->unknown_key);
	put_int(o, "challenges", t->challenges);
	put_int(o, "events_dropped", t->events_dropped);
	put_int(o, "floods", t->floods);
	put_int(o, "accepts_paused", t->accepts_paused);
	put_int(o, "receive_buffer", (uint64_t)t->receive_buffer);
	put_int(o, "send_buffer", (uint64_t)t->send_buffer);
	put_duration(o, "longest_turn", t->longest_turn);
	return o;
}

static json_object *gossip_view(const struct gossip_stats *g)
{
	json_object *o = json_object_new_object();

	put_int(o, "members", g->n_members);
	put_int(o, "reachable", g->n_reachable);
	put_int(o, "memory", g->n_memory);
	put_duration(o, "lateness", g->lateness);
	put_seconds(o, "loss", g->loss_permille / 1000.0);
	put_int(o, "beats_missed", g->beats_missed);
	put_int(o, "tests", g->tests);
	put_int(o, "tests_heard", g->tests_heard);
	put_int(o, "probes", g->probes);
	put_int(o, "severed_silent", g->severed_silent);
	put_int(o, "severed_stalled", g->severed_stalled);
	put_int(o, "severed_agentless", g->severed_agentless);
	put_int(o, "severed_by_peer", g->severed_by_peer);
	put_int(o, "malformed", g->malformed);
	put_int(o, "refused", g->refused);
	return o;
}

static void view_links(
	struct daemon *d, const struct control_request *request, struct control_reply *reply)
{
	struct overlay_snapshot *s = cluster_snapshot(d->cluster);
	json_object *o, *list;

	if (no_overlay(d, s, reply))
		return;
	o = json_object_new_object();
	list = json_object_new_array();
	for (size_t i = 0; i < s->n_neighbours; i++)
		json_object_array_add(list, link_view(s, &s->neighbours[i]));
	put_id(o, "id", s->id);
	json_object_object_add(o, "links", list);
	json_object_object_add(o, "transport", transport_view(s));
	json_object_object_add(o, "gossip", gossip_view(&s->stats));
	overlay_snapshot_free(s);
	reply->body = put_to_text(o);
}

static const struct view {
	const char *method, *path;
	void (*run)(struct daemon *d, const struct control_request *request,
		struct control_reply *reply);
} views[] = {
	{"GET", "/v1/status", view_status},
	{"GET", "/v1/table", view_table},
	{"GET", "/v1/why", view_why},
	{"GET", "/v1/events", view_events},
	{"GET", "/v1/vips", view_vips},
	{"GET", "/v1/nodes", view_nodes},
	{"GET", "/v1/links", view_links},
	{"GET", "/v1/diff", view_diff},
	{"GET", "/v1/namespaces", view_namespaces},
	{"POST", "/v1/flush", do_flush},
};

void views_handle(
	void *userdata, const struct control_request *request, struct control_reply *reply)
{
	for (size_t i = 0; i < ARRAY_SIZE(views); i++) {
		if (strcmp(request->path, views[i].path) != 0)
			continue;
		if (strcmp(request->method, views[i].method) == 0) {
			views[i].run(userdata, request, reply);
			return;
		}
		reply->status = 405;
		reply->body = put_error("method not allowed");
	}
}
