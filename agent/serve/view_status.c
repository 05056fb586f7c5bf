/* SPDX-License-Identifier: GPL-2.0-or-later */
/* GET /v1/status: one object, with a part for each room of the daemon. */
#include <inttypes.h>
#include <stdio.h>

#include "agent/serve/put.h"
#include "agent/serve/view.h"

static bool follows(const struct daemon *d)
{
	return publisher_mode(d->publisher) == PUBLISH_FOLLOWING;
}

json_object *view_source(const struct daemon *d)
{
	const struct feed_stats *s = feed_stats(d->feed);
	json_object *o = json_object_new_object();

	put_string(o, "kind", d->config->source_kind == SOURCE_FILE ? "file" : "mesos");
	put_string(o, "url", s->url);
	put_bool(o, "ok", follows(d) || (!s->error && s->n_documents > 0));
	put_string(o, "error", s->error);
	put_age(o, "age", s->last_success);
	put_int(o, "polls", s->n_polls);
	put_int(o, "failures", s->n_failures);
	put_int(o, "documents", s->n_documents);
	put_int(o, "unchanged", s->n_unchanged);
	put_int(o, "bytes", s->n_bytes);
	put_int(o, "document_bytes", s->document);
	put_bool(o, "subscribed", s->subscribed);
	put_string(o, "lost", s->lost);
	put_int(o, "subscriptions", s->n_subscriptions);
	put_int(o, "subscriptions_lost", s->n_subscriptions_lost);
	put_age(o, "heard", s->last_heard);
	put_duration(o, "last_duration", s->last_duration);
	return o;
}

static void put_version(json_object *o, const char *key, const struct version *v)
{
	char text[64];

	snprintf(text, sizeof(text), "%" PRIu64 ".%016" PRIx64 ".%" PRIu64, v->term, v->node,
		v->seq);
	put_string(o, key, v->term ? text : NULL);
}

/* For how long it is told that another vipd spoke as this node: longer than until it does so again. */
#define CONFLICT_TOLD (600 * NSEC_PER_SEC)

/* What comes by the overlay; null without one. */
json_object *view_publisher(struct daemon *d)
{
	struct publish_status s;
	struct ip_addr address;
	json_object *o;

	if (!publisher_status(d->publisher, &s))
		return NULL;
	address = cluster_master_address(d->cluster, s.announced.node);
	o = json_object_new_object();
	put_string(o, "mode", publish_mode_text(s.mode));
	put_address(o, "address", &address);
	put_string(o, "own_master", publisher_own_master(d->publisher));
	put_version(o, "version", &s.have);
	put_version(o, "announced", &s.announced);
	put_int(o, "term", s.term);
	put_int(o, "records", s.n_records);
	put_age(o, "heard", s.heard);
	put_age(o, "confirmed", s.confirmed);
	put_bool(o, "fetching", s.fetching);
	put_int(o, "announcements", s.announcements);
	put_int(o, "deltas", s.deltas);
	put_int(o, "deltas_applied", s.deltas_applied);
	put_int(o, "fetches", s.fetches);
	put_int(o, "pages", s.pages);
	put_int(o, "served", s.served);
	put_int(o, "bytes_out", s.bytes_out);
	put_int(o, "malformed", s.malformed);
	put_int(o, "disbelieved", s.disbelieved);
	put_int(o, "refused", s.refused);
	put_int(o, "claims", s.claims);
	put_int(o, "yields", s.yields);
	put_int(o, "fallbacks", s.fallbacks);
	put_int(o, "returns", s.returns);
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
	put_int(o, "agents_awaited", t ? t->n_recovered + t->n_recovered_nowhere : 0);
	put_int(o, "backends_kept", t ? t->n_kept : 0);
	if (t) {
		json_object_object_add(o, "rejected_by_reason", rejected_view(t));
		json_object_object_add(o, "rejections", view_rejections(t));
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
	put_string(o, "failing_step", *s->failing ? s->failing : NULL);
	put_int(o, "retries", s->n_retries);
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

/* As two hexadecimal digits each; the first one sends. */
static json_object *key_ids(const struct daemon *d)
{
	json_object *list = json_object_new_array();
	size_t n;
	const uint8_t *ids = cluster_key_ids(d->cluster, &n);
	char text[3];

	for (size_t i = 0; i < n; i++) {
		snprintf(text, sizeof(text), "%02x", ids[i]);
		json_object_array_add(list, json_object_new_string(text));
	}
	return list;
}

static json_object *overlay_view(const struct daemon *d)
{
	const struct liveness *l = cluster_liveness(d->cluster);
	nsec_t conflict = cluster_conflict(d->cluster);
	json_object *o = json_object_new_object();
	size_t n, n_out = 0;
	const struct node_health *healths = liveness_healths(l, &n);

	for (size_t i = 0; i < n; i++)
		n_out += healths[i].health != HEALTH_UP;
	put_bool(o, "on", !cluster_off(d->cluster));
	put_string(o, "off_because", cluster_off(d->cluster));
	put_bool(o, "insecure", d->config->insecure);
	json_object_object_add(o, "keys", key_ids(d));
	if (conflict && now_ns() - conflict < CONFLICT_TOLD)
		put_age(o, "id_conflict", conflict);
	put_string(o, "self", self_name(liveness_get_self(l)));
	put_int(o, "up", liveness_count(l, GOSSIP_STATUS_UP));
	put_int(o, "stalled", liveness_count(l, GOSSIP_STATUS_STALLED));
	put_int(o, "agentless", liveness_count(l, GOSSIP_STATUS_AGENTLESS));
	put_int(o, "down", liveness_count(l, GOSSIP_STATUS_DOWN));
	put_int(o, "addresses_out", n_out);
	put_int(o, "vips_all_down", d->desired ? d->desired->n_all_down : 0);
	return o;
}

static json_object *listeners_view(const struct daemon *d)
{
	json_object *list = json_object_new_array();
	size_t n;
	AUTO_FREE struct dns_listener_view *views = dns_listeners(d->dns, &n);

	for (size_t i = 0; i < n; i++) {
		json_object *o = json_object_new_object();

		put_address(o, "address", &views[i].endpoint.address);
		put_int(o, "port", views[i].endpoint.port);
		put_string(o, "error", views[i].error);
		json_object_array_add(list, o);
	}
	return list;
}

static json_object *dns_counts_view(const struct dns_counts *c)
{
	json_object *o = json_object_new_object(), *answers = json_object_new_object();

	for (unsigned int i = 0; i < DNS_N_RCODES; i++)
		if (dns_rcode_text(i))
			put_int(answers, dns_rcode_text(i), c->n_answers[i]);
	put_int(o, "queries", c->n_queries);
	put_int(o, "ignored", c->n_ignored);
	put_int(o, "truncated", c->n_truncated);
	json_object_object_add(o, "answers", answers);
	return o;
}

static json_object *dns_view(const struct daemon *d)
{
	const struct dns_zone *zone = dns_get_zone(d->dns);
	const struct dns_stats s = dns_stats(d->dns);
	json_object *o = json_object_new_object();

	json_object_object_add(o, "listen", listeners_view(d));
	put_bool(o, "known", zone != NULL);
	put_int(o, "names", zone ? dns_zone_n_names(zone) : 0);
	json_object_object_add(o, "udp", dns_counts_view(&s.udp));
	json_object_object_add(o, "tcp", dns_counts_view(&s.tcp));
	put_int(o, "lost", s.n_lost);
	put_int(o, "unsent", s.n_unsent);
	put_int(o, "clients", s.n_clients);
	put_int(o, "accepted", s.n_accepted);
	put_int(o, "displaced", s.n_displaced);
	put_int(o, "timed_out", s.n_timed_out);
	put_int(o, "malformed", s.n_malformed);
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

static json_object *http_view(const struct daemon *d)
{
	const struct endpoint *e = &d->config->http_listen;
	struct control_stats s = control_stats(d->http);
	json_object *o = json_object_new_object();
	char text[ENDPOINT_STRLEN];

	put_string(o, "listen", e->port ? endpoint_format(&e->address, e->port, text) : NULL);
	put_string(o, "error", d->http_error ? strerror(-d->http_error) : NULL);
	put_int(o, "clients", s.n_clients);
	put_int(o, "streams", s.n_streams);
	put_int(o, "requests", s.n_requests);
	put_int(o, "refused", s.n_refused);
	put_int(o, "overtime", s.n_overtime);
	put_int(o, "deferred", s.n_deferred);
	return o;
}

void view_status(
	struct daemon *d, const struct control_request *request, struct control_reply *reply)
{
	json_object *o = json_object_new_object();

	put_string(o, "version", VIPD_VERSION);
	put_int(o, "pid", (uint64_t)getpid());
	put_age(o, "uptime", d->started);
	json_object_object_add(o, "node", node_view(d));
	json_object_object_add(o, "source", view_source(d));
	json_object_object_add(o, "publisher", view_publisher(d));
	json_object_object_add(o, "table", table_summary(d));
	json_object_object_add(o, "kernel", kernel_view(d));
	json_object_object_add(o, "firewall", firewall_view(d));
	json_object_object_add(o, "overlay", overlay_view(d));
	json_object_object_add(o, "namespaces", namespaces_summary(d));
	json_object_object_add(o, "http", http_view(d));
	json_object_object_add(o, "dns", dns_view(d));
	json_object_object_add(o, "document_to_kernel", latency_view(d));
	reply->body = put_to_text(o);
}
