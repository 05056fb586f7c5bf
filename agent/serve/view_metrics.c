/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * GET /metrics, for Prometheus: one function per room of the daemon. Labels have few values: states,
 * reasons, causes, neighbours (at most GOSSIP_LINKS_MAX); only those of VIPs and backends have many, and
 * `metrics_max` bounds them.
 */
#include <stdio.h>
#include <sys/resource.h>

#include "agent/serve/metrics.h"
#include "agent/serve/view.h"

static double seconds(nsec_t d)
{
	return (double)d / 1e9;
}

static double age(nsec_t when)
{
	return when ? seconds(now_ns() - when) : -1;
}

/* --- the process ----------------------------------------------------------- */

/* Resident memory now, in bytes; 0 if it is not known. */
static double resident_bytes(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	unsigned long pages = 0;

	if (f && fscanf(f, "%*u %lu", &pages) != 1)
		pages = 0;
	if (f)
		fclose(f);
	return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static void process_metrics(FILE *f, const struct daemon *d)
{
	struct rusage u = {0};

	metrics_head(f, "vipd_build_info", "gauge", "Always 1; the version is the label.");
	metrics_sample(f, "vipd_build_info", 1, "version", VIPD_VERSION, NULL);
	metrics_gauge(f, "vipd_uptime_seconds", age(d->started), "Time since this vipd started.");
	getrusage(RUSAGE_SELF, &u);
	metrics_counter(f, "vipd_cpu_seconds_total",
		(double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
			(double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6,
		"Processor time used, of all threads.");
	metrics_gauge(f, "vipd_resident_memory_bytes", resident_bytes(), "Resident memory.");
}

/* --- where the tasks come from --------------------------------------------- */

static void source_metrics(FILE *f, const struct daemon *d)
{
	const struct feed_stats *s = feed_stats(d->feed);
	bool follows = publisher_mode(d->publisher) == PUBLISH_FOLLOWING;

	metrics_gauge(f, "vipd_source_up", follows || (!s->error && s->n_documents > 0),
		"1 if the last poll of the source gave a document, or a published table is "
		"followed.");
	metrics_gauge(f, "vipd_source_age_seconds", age(s->last_success),
		"Time since the last document; -1 before the first.");
	metrics_counter(f, "vipd_source_polls_total", (double)s->n_polls, "Polls begun.");
	metrics_counter(f, "vipd_source_failures_total", (double)s->n_failures,
		"Polls that gave no document.");
	metrics_counter(f, "vipd_source_documents_total", (double)s->n_documents,
		"Whole, valid documents.");
	metrics_counter(f, "vipd_source_received_bytes_total", (double)s->n_bytes,
		"Bytes of documents, decompressed.");
	metrics_gauge(f, "vipd_source_poll_duration_seconds", seconds(s->last_duration),
		"How long the last poll took.");
}

/* Nothing without an overlay. */
static void publisher_metrics(FILE *f, const struct daemon *d)
{
	static const char mode[] = "vipd_publisher_mode";
	struct publish_status s;

	if (!publisher_status(d->publisher, &s))
		return;
	metrics_head(f, mode, "gauge", "1 for the mode in which this node is.");
	for (int m = 0; m <= PUBLISH_LEADING; m++)
		metrics_sample(f, mode, s.mode == (enum publish_mode)m, "mode",
			publish_mode_text((enum publish_mode)m), NULL);
	metrics_gauge(f, "vipd_publisher_confirmed_age_seconds", age(s.confirmed),
		"Time since the table was the announced one; -1: never.");
	metrics_counter(f, "vipd_publisher_announcements_total", (double)s.announcements,
		"Announcements heard or made.");
	metrics_counter(f, "vipd_publisher_deltas_applied_total", (double)s.deltas_applied,
		"Changes taken over from the publisher.");
	metrics_counter(f, "vipd_publisher_fetches_total", (double)s.fetches,
		"Tables asked of a neighbour.");
	metrics_counter(
		f, "vipd_publisher_served_total", (double)s.served, "Pages given to neighbours.");
	metrics_counter(
		f, "vipd_publisher_sent_bytes_total", (double)s.bytes_out, "Bytes of all that.");
	metrics_counter(f, "vipd_publisher_rejected_total",
		(double)(s.malformed + s.disbelieved + s.refused),
		"Messages that were malformed, not believed, or over a bound.");
	metrics_counter(f, "vipd_publisher_fallbacks_total", (double)s.fallbacks,
		"Times that this node went back to asking the masters itself.");
}

static void rejected_metrics(FILE *f, const struct vip_table *t)
{
	static const char name[] = "vipd_table_rejected";

	metrics_head(f, name, "gauge",
		"Tasks and labels of the last document that were left out, by reason.");
	for (size_t i = 0; i < _MESOS_REJECT_N; i++)
		metrics_sample(f, name, t ? (double)t->n_rejected[i] : 0, "reason",
			mesos_reject_text((enum mesos_reject)i), NULL);
}

static void refused_metrics(FILE *f, const struct daemon *d)
{
	static const char name[] = "vipd_table_refused";
	static const char *const words[_REFUSAL_N] = {
		[REFUSAL_UNUSABLE] = "unusable address",
		[REFUSAL_OWN_ADDRESS] = "address of a node",
		[REFUSAL_SUBNET] = "in a connected network",
		[REFUSAL_OTHER_FRAMEWORK] = "claimed by another framework",
	};
	size_t counts[_REFUSAL_N] = {0};

	for (size_t i = 0; d->desired && i < d->desired->n_refused; i++)
		counts[d->desired->refused[i].reason]++;
	metrics_head(f, name, "gauge", "VIPs that are refused on this node, by reason.");
	for (size_t i = 0; i < _REFUSAL_N; i++)
		metrics_sample(f, name, (double)counts[i], "reason", words[i], NULL);
}

static void table_metrics(FILE *f, const struct daemon *d)
{
	const struct vip_table *t = d->table;
	size_t n_backends = 0;

	for (size_t i = 0; t && i < t->n_vips; i++)
		n_backends += t->vips[i].n_backends;
	metrics_gauge(f, "vipd_table_known", t != NULL, "1 once there was a document.");
	metrics_gauge(f, "vipd_table_vips", t ? (double)t->n_vips : 0, "VIPs of the table.");
	metrics_gauge(f, "vipd_table_backends", (double)n_backends, "Backends of all its VIPs.");
	metrics_gauge(f, "vipd_table_tasks", t ? (double)t->n_tasks_seen : 0,
		"Running tasks of the last document.");
	metrics_counter(f, "vipd_table_changes_total", (double)d->n_table_changes,
		"Documents that changed the table.");
	metrics_gauge(f, "vipd_table_unchanged_seconds", age(d->table_since),
		"Time since the table last changed; -1: there is none.");
	metrics_gauge(f, "vipd_table_emptying_held", d->held != NULL,
		"1 while a document without VIPs waits to be repeated.");
	metrics_gauge(f, "vipd_table_backends_kept", t ? (double)t->n_kept : 0,
		"Backends that stay since the master has not heard from their agents yet.");
	rejected_metrics(f, t);
	refused_metrics(f, d);
}

/* --- the kernel ------------------------------------------------------------ */

static void held_metrics(FILE *f, const struct daemon *d)
{
	const struct kernel_state *have = reconcile_have(d->reconcile);
	size_t n_services = 0, n_destinations = 0;

	for (size_t i = 0; i < have->n_services; i++)
		if (kernel_state_owns(have, have->services[i])) {
			n_services++;
			n_destinations += have->services[i]->n_destinations;
		}
	metrics_gauge(f, "vipd_kernel_services", (double)n_services, "IPVS services of vipd's.");
	metrics_gauge(f, "vipd_kernel_destinations", (double)n_destinations,
		"Destinations of these services.");
	metrics_gauge(f, "vipd_kernel_foreign_services", (double)(have->n_services - n_services),
		"IPVS services that others made.");
	metrics_gauge(f, "vipd_kernel_routes", (double)have->n_routes, "Routes on vipd's link.");
	metrics_gauge(f, "vipd_kernel_draining", (double)drains_count(d->drains),
		"Destinations that drain.");
	metrics_gauge(f, "vipd_kernel_ramping", (double)ramps_count(d->ramps),
		"Destinations in their slow start.");
}

static void reconcile_metrics(FILE *f, const struct daemon *d)
{
	const struct reconcile_stats *s = reconcile_stats(d->reconcile);

	metrics_gauge(f, "vipd_kernel_in_sync",
		d->desired && !d->paused && !s->busy && !s->n_failing && !s->n_conflicts,
		"1 if the kernel holds all that is wanted.");
	metrics_gauge(f, "vipd_kernel_paused", d->paused, "1 after vipctl flush.");
	metrics_gauge(f, "vipd_kernel_conflicts", (double)s->n_conflicts,
		"Services that are wanted, but belong to someone else.");
	metrics_gauge(f, "vipd_kernel_pending_steps", (double)s->n_pending,
		"Commands of the change under way that are left.");
	metrics_gauge(f, "vipd_kernel_failing_steps", (double)s->n_failing,
		"Commands that the kernel refuses.");
	metrics_counter(f, "vipd_kernel_runs_total", (double)s->n_runs,
		"Wanted states brought into the kernel.");
	metrics_counter(f, "vipd_kernel_steps_total", (double)s->n_steps, "Commands sent.");
	metrics_counter(f, "vipd_kernel_failed_steps_total", (double)s->n_failed,
		"Commands refused, retries included.");
	metrics_counter(f, "vipd_kernel_repairs_total", (double)s->n_repairs,
		"Commands that put back what others had changed.");
	metrics_counter(f, "vipd_kernel_audits_total", (double)s->n_audits,
		"Comparisons of the whole kernel with the table.");
	metrics_gauge(f, "vipd_kernel_audit_age_seconds", age(s->last_audit),
		"Time since the last audit; -1: there was none.");
	metrics_gauge(f, "vipd_kernel_audit_duration_seconds", seconds(s->last_audit_duration),
		"How long the last audit took.");
	metrics_gauge(f, "vipd_kernel_run_duration_seconds", seconds(s->last_duration),
		"From the last wanted state to its last acknowledgement.");
	metrics_gauge(f, "vipd_loop_longest_hold_seconds", seconds(s->longest_hold),
		"The longest time that programming held the event loop.");
}

static void firewall_metrics(FILE *f, const struct daemon *d)
{
	const struct firewall_stats *s = d->firewall ? firewall_stats(d->firewall) : NULL;

	if (!s)
		return;
	metrics_gauge(f, "vipd_rules_in_place", !s->error && s->n_checks > 0,
		"1 if the iptables rules are as they should be.");
	metrics_counter(f, "vipd_rules_checks_total", (double)s->n_checks, "Checks of the rules.");
	metrics_counter(f, "vipd_rules_writes_total", (double)s->n_writes, "Rules written.");
	metrics_counter(f, "vipd_rules_repairs_total", (double)s->n_repairs,
		"Rules written because others had changed them.");
}

/* --- what happened --------------------------------------------------------- */

static void event_metrics(FILE *f, const struct daemon *d)
{
	const struct events *e = watch_events(d->watch);
	static const char latency[] = "vipd_cause_to_kernel_seconds";
	static const char events[] = "vipd_events_total";

	metrics_head(f, events, "counter", "Events, by kind; vipctl watch shows them.");
	for (size_t i = 0; i < _EVENT_KIND_N; i++)
		metrics_sample(f, events, (double)events_count(e, (enum event_kind)i), "kind",
			event_kind_text((enum event_kind)i), NULL);
	metrics_head(f, latency, "histogram",
		"Of each change: from its cause (a document's last byte, the overlay's verdict, "
		"an audit's end) to the kernel's acknowledgement.");
	for (size_t i = CAUSE_NONE + 1; i < _EVENT_CAUSE_N; i++)
		metrics_histogram(f, latency, events_histogram(e, (enum event_cause)i), "cause",
			event_cause_text((enum event_cause)i));
}

/* --- the overlay ----------------------------------------------------------- */

static void member_metrics(FILE *f, const struct daemon *d)
{
	static const enum gossip_status statuses[] = {GOSSIP_STATUS_UP, GOSSIP_STATUS_STALLED,
		GOSSIP_STATUS_AGENTLESS, GOSSIP_STATUS_DOWN};
	const struct liveness *l = cluster_liveness(d->cluster);
	size_t n;

	(void)liveness_healths(l, &n);
	metrics_gauge(f, "vipd_overlay_on", !cluster_off(d->cluster), "1 if the overlay runs.");
	metrics_gauge(f, "vipd_overlay_self_well", liveness_get_self(l) == GOSSIP_SELF_WELL,
		"0 while this node is cut off or in a minority, and judges nobody.");
	metrics_head(
		f, "vipd_overlay_members", "gauge", "Other nodes, by what this one holds of them.");
	for (size_t i = 0; i < ARRAY_SIZE(statuses); i++)
		metrics_sample(f, "vipd_overlay_members", (double)liveness_count(l, statuses[i]),
			"status", gossip_status_name(statuses[i]), NULL);
	metrics_gauge(f, "vipd_overlay_addresses_out", (double)n,
		"Addresses whose backends get no new connections because of the overlay.");
	metrics_gauge(f, "vipd_overlay_vips_all_down",
		d->desired ? (double)d->desired->n_all_down : 0,
		"VIPs whose backends are all on nodes that are down, and therefore stay.");
}

static void transport_metrics(FILE *f, const struct overlay_transport_stats *t)
{
	static const char dropped[] = "vipd_overlay_dropped_packets_total";

	metrics_counter(f, "vipd_overlay_received_packets_total", (double)t->packets_in,
		"Datagrams received.");
	metrics_counter(
		f, "vipd_overlay_sent_packets_total", (double)t->packets_out, "Datagrams sent.");
	metrics_counter(f, "vipd_overlay_received_bytes_total", (double)t->bytes_in,
		"Bytes of datagrams received, with all heads.");
	metrics_counter(f, "vipd_overlay_sent_bytes_total", (double)t->bytes_out,
		"Bytes of datagrams sent, with all heads.");
	metrics_counter(f, "vipd_overlay_link_received_bytes_total", (double)t->links_bytes_in,
		"Bytes received on TCP links.");
	metrics_counter(f, "vipd_overlay_link_sent_bytes_total", (double)t->links_bytes_out,
		"Bytes sent on TCP links.");
	metrics_head(f, dropped, "counter", "Datagrams that were not believed, by reason.");
	metrics_sample(f, dropped, (double)t->forged, "reason", "forged", NULL);
	metrics_sample(f, dropped, (double)t->replayed, "reason", "replayed", NULL);
	metrics_sample(f, dropped, (double)t->malformed, "reason", "malformed", NULL);
	metrics_sample(f, dropped, (double)t->unknown_key, "reason", "unknown key", NULL);
	metrics_counter(f, "vipd_overlay_handshakes_failed_total", (double)t->handshakes_failed,
		"Links that did not come to be.");
	metrics_counter(f, "vipd_overlay_links_refused_total", (double)t->links_refused,
		"Links refused for want of room.");
	metrics_counter(f, "vipd_overlay_send_errors_total", (double)t->send_errors,
		"Datagrams that this node could not send.");
	metrics_counter(f, "vipd_overlay_probes_not_asked_total", (double)t->probes_not_asked,
		"Probes of hosts' kernels for which no descriptor or port was left.");
	metrics_counter(f, "vipd_overlay_floods_total", (double)t->floods,
		"Seconds with more datagrams than a cluster sends.");
	metrics_gauge(f, "vipd_overlay_longest_turn_seconds", seconds(t->longest_turn),
		"The longest turn of the overlay's thread.");
}

static void gossip_metrics(FILE *f, const struct gossip_stats *g)
{
	static const char severed[] = "vipd_overlay_links_severed_total";

	metrics_gauge(f, "vipd_overlay_reachable", (double)g->n_reachable,
		"Nodes that a path of links leads to, this one included.");
	metrics_gauge(f, "vipd_overlay_memory_bytes", (double)g->n_memory,
		"Memory of the overlay's table.");
	metrics_gauge(f, "vipd_overlay_lateness_seconds", seconds(g->lateness),
		"How late the own loop is while it runs, as allowed for in every time-out.");
	metrics_counter(f, "vipd_overlay_pauses_total", (double)g->pauses,
		"Times that the own loop stood still for half a second or more.");
	metrics_gauge(f, "vipd_overlay_longest_pause_seconds", seconds(g->longest_pause),
		"The longest of them.");
	metrics_counter(f, "vipd_overlay_beats_missed_total", (double)g->beats_missed,
		"Heartbeats of neighbours that did not come in time.");
	metrics_counter(f, "vipd_overlay_tests_total", (double)g->tests,
		"Tests of a silent neighbour by pings.");
	metrics_counter(f, "vipd_overlay_tests_heard_total", (double)g->tests_heard,
		"Tests that the neighbour answered.");
	metrics_counter(f, "vipd_overlay_probes_total", (double)g->probes,
		"Questions to a silent node's kernel.");
	metrics_counter(f, "vipd_overlay_links_asked_total", (double)g->opens,
		"Links that this node asked for.");
	metrics_counter(f, "vipd_overlay_syncs_total", (double)g->syncs,
		"Comparisons of the whole table with a neighbour's.");
	metrics_head(f, severed, "counter", "Links severed, by reason.");
	metrics_sample(f, severed, (double)g->severed_silent, "reason", "silent", NULL);
	metrics_sample(f, severed, (double)g->severed_stalled, "reason", "stalled", NULL);
	metrics_sample(f, severed, (double)g->severed_agentless, "reason", "agentless", NULL);
	metrics_sample(f, severed, (double)g->severed_by_peer, "reason", "by the other side", NULL);
}

static void message_metrics(FILE *f, const struct gossip_stats *g)
{
	static const char messages[] = "vipd_overlay_sent_messages_total";
	static const char bytes[] = "vipd_overlay_sent_message_bytes_total";

	metrics_head(f, messages, "counter", "Messages sent to other nodes, by type.");
	for (unsigned int i = 0; i < GOSSIP_MESSAGE_KINDS; i++)
		if (gossip_message_name(i))
			metrics_sample(f, messages, (double)g->sent[i].messages, "type",
				gossip_message_name(i), NULL);
	metrics_head(f, bytes, "counter", "Their bytes, without heads and encryption.");
	for (unsigned int i = 0; i < GOSSIP_MESSAGE_KINDS; i++)
		if (gossip_message_name(i))
			metrics_sample(f, bytes, (double)g->sent[i].bytes, "type",
				gossip_message_name(i), NULL);
}

/* Each neighbour's value by `of`. */
static void neighbour_gauge(FILE *f, const struct overlay_snapshot *s, const char *name,
	double (*of)(const struct gossip_neighbour *n), const char *help)
{
	char text[IP_ADDR_STRLEN];

	metrics_head(f, name, "gauge", help);
	for (size_t i = 0; i < s->n_neighbours; i++)
		for (size_t k = 0; k < s->n_members; k++) {
			struct ip_addr a = overlay_ip(&s->members[k].address);

			if (s->members[k].id == s->neighbours[i].id)
				metrics_sample(f, name, of(&s->neighbours[i]), "neighbour",
					ip_addr_format(&a, text), NULL);
		}
}

static double rtt_of(const struct gossip_neighbour *n)
{
	return seconds(n->rtt_median);
}

static double rtt_max_of(const struct gossip_neighbour *n)
{
	return seconds(n->rtt_max);
}

static double timeout_of(const struct gossip_neighbour *n)
{
	return seconds(n->timeout);
}

static double loss_of(const struct gossip_neighbour *n)
{
	return n->loss_permille / 1000.0;
}

static void overlay_metrics(FILE *f, const struct daemon *d)
{
	struct overlay_snapshot *s;

	member_metrics(f, d);
	s = cluster_off(d->cluster) ? NULL : cluster_snapshot(d->cluster);
	if (!s)
		return;
	transport_metrics(f, &s->transport);
	gossip_metrics(f, &s->stats);
	message_metrics(f, &s->stats);
	neighbour_gauge(f, s, "vipd_overlay_round_trip_seconds", rtt_of,
		"Median of the last round trips to a neighbour.");
	neighbour_gauge(f, s, "vipd_overlay_round_trip_max_seconds", rtt_max_of,
		"Longest of the last round trips to a neighbour.");
	neighbour_gauge(f, s, "vipd_overlay_ping_timeout_seconds", timeout_of,
		"Time-out of a ping to a neighbour, as derived from its round trips.");
	neighbour_gauge(f, s, "vipd_overlay_loss_ratio", loss_of,
		"Share of the pings to a neighbour that are lost.");
	overlay_snapshot_free(s);
}

/* --- namespaces and doors -------------------------------------------------- */

static void namespace_metrics(FILE *f, const struct daemon *d)
{
	static const char name[] = "vipd_namespaces";
	struct namespaces_stats s;

	if (!d->namespaces)
		return;
	s = namespaces_stats(d->namespaces);
	metrics_head(f, name, "gauge", "Containers' network namespaces, by state.");
	for (size_t i = 0; i < _NAMESPACE_STATE_N; i++)
		metrics_sample(f, name, (double)s.n_by_state[i], "state",
			namespace_state_text((enum namespace_state)i), NULL);
	metrics_counter(f, "vipd_namespace_visits_total", (double)s.n_visits, "Visits.");
	metrics_counter(f, "vipd_namespace_audits_total", (double)s.n_audits, "Audits of them.");
	metrics_counter(
		f, "vipd_namespace_steps_total", (double)s.n_steps, "Commands sent in them.");
	metrics_counter(f, "vipd_namespace_repairs_total", (double)s.n_repairs,
		"Commands that put back what others had changed.");
	metrics_counter(f, "vipd_namespace_removed_total", (double)s.n_removed,
		"Namespaces that were cleared or are gone.");
	metrics_counter(
		f, "vipd_namespace_busy_seconds_total", seconds(s.busy), "Time spent in visits.");
}

static void door_metrics(FILE *f, const struct daemon *d)
{
	const struct control_stats s[] = {control_stats(d->control), control_stats(d->http)};
	static const char *const doors[] = {"socket", "port"};

	metrics_head(f, "vipd_http_clients", "gauge", "Connections, by door.");
	for (size_t i = 0; i < ARRAY_SIZE(s); i++)
		metrics_sample(
			f, "vipd_http_clients", (double)s[i].n_clients, "door", doors[i], NULL);
	metrics_head(f, "vipd_http_requests_total", "counter", "Requests, by door.");
	for (size_t i = 0; i < ARRAY_SIZE(s); i++)
		metrics_sample(f, "vipd_http_requests_total", (double)s[i].n_requests, "door",
			doors[i], NULL);
	metrics_head(f, "vipd_http_refused_total", "counter",
		"Requests refused for a body or a foreign Host.");
	for (size_t i = 0; i < ARRAY_SIZE(s); i++)
		metrics_sample(f, "vipd_http_refused_total", (double)s[i].n_refused, "door",
			doors[i], NULL);
	metrics_head(f, "vipd_http_overtime_total", "counter",
		"Clients put out for slowness, or for room.");
	for (size_t i = 0; i < ARRAY_SIZE(s); i++)
		metrics_sample(f, "vipd_http_overtime_total", (double)s[i].n_overtime, "door",
			doors[i], NULL);
}

/* --- names ----------------------------------------------------------------- */

static void dns_answer_metrics(FILE *f, const struct dns_stats *s)
{
	static const char name[] = "vipd_dns_answers_total";
	const struct dns_counts *counts[] = {&s->udp, &s->tcp};
	static const char *const transports[] = {"udp", "tcp"};

	metrics_head(f, name, "counter", "Answers, by transport and response code.");
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
		for (unsigned int code = 0; code < DNS_N_RCODES; code++)
			if (dns_rcode_text(code))
				metrics_sample(f, name, (double)counts[i]->n_answers[code],
					"transport", transports[i], "code", dns_rcode_text(code),
					NULL);
}

static void dns_metrics(FILE *f, const struct daemon *d)
{
	struct dns_stats s = dns_stats(d->dns);
	const struct dns_zone *zone = dns_get_zone(d->dns);

	metrics_gauge(f, "vipd_dns_names", zone ? (double)dns_zone_n_names(zone) : 0,
		"Names with an address.");
	metrics_head(f, "vipd_dns_queries_total", "counter", "Messages taken, by transport.");
	metrics_sample(
		f, "vipd_dns_queries_total", (double)s.udp.n_queries, "transport", "udp", NULL);
	metrics_sample(
		f, "vipd_dns_queries_total", (double)s.tcp.n_queries, "transport", "tcp", NULL);
	dns_answer_metrics(f, &s);
	metrics_counter(f, "vipd_dns_truncated_total", (double)s.udp.n_truncated,
		"UDP answers that did not fit.");
	metrics_counter(f, "vipd_dns_ignored_total", (double)(s.udp.n_ignored + s.tcp.n_ignored),
		"Messages that are no queries.");
	metrics_counter(f, "vipd_dns_lost_total", (double)s.n_lost,
		"UDP queries that came while the socket's buffer was full.");
	metrics_counter(f, "vipd_dns_unsent_total", (double)s.n_unsent,
		"UDP answers that the kernel did not take.");
	metrics_gauge(f, "vipd_dns_clients", (double)s.n_clients, "TCP clients.");
	metrics_counter(f, "vipd_dns_clients_dropped_total",
		(double)(s.n_displaced + s.n_timed_out + s.n_malformed),
		"TCP clients put out for room, slowness or nonsense.");
}

/* --- VIPs ------------------------------------------------------------------ */

/* One VIP, or one backend of it (`backend` is "" for the VIP itself). */
struct series {
	char *vip;
	const char *protocol;
	char backend[ENDPOINT_STRLEN];
	uint64_t n_active, n_inactive;
	const struct traffic *total;
};

struct series_list {
	size_t n, allocated, n_left_out; /* the latter: VIPs */
	struct series *list;
};

static void add_series(struct series_list *l, const struct series *s)
{
	if (l->n == l->allocated) {
		l->allocated = l->allocated ? 2 * l->allocated : 64;
		l->list = xrealloc(l->list, l->allocated, sizeof(*l->list));
	}
	l->list[l->n++] = *s;
}

static void add_vip(struct series_list *l, const struct vip *vip, const struct service_traffic *t)
{
	const char *protocol = vip->key.protocol == IPPROTO_UDP ? "udp" : "tcp";
	struct series sum = {.protocol = protocol, .total = &t->total};

	for (size_t i = 0; i < t->n_destinations; i++) {
		const struct destination_traffic *dest = &t->destinations[i];
		struct series s = {
			.vip = view_vip_text(vip),
			.protocol = protocol,
			.n_active = dest->n_active,
			.n_inactive = dest->n_inactive,
			.total = &dest->total,
		};

		endpoint_format(&dest->address, dest->port, s.backend);
		add_series(l, &s);
		sum.n_active += dest->n_active;
		sum.n_inactive += dest->n_inactive;
	}
	sum.vip = view_vip_text(vip);
	add_series(l, &sum);
}

/* In the table's order, so that who is shown does not depend on who is busy: a series that comes and
 * goes is worse than one that is missing. */
static void choose_series(
	struct series_list *l, const struct daemon *d, const struct traffic_table *traffic)
{
	for (size_t i = 0; d->table && i < d->table->n_vips; i++) {
		const struct vip *vip = &d->table->vips[i];
		const struct service_traffic *t = traffic_table_find(traffic, &vip->key);

		if (t && l->n + t->n_destinations < d->config->metrics_max)
			add_vip(l, vip, t);
		else if (t)
			l->n_left_out++;
	}
}

static double active_of(const struct series *s)
{
	return (double)s->n_active;
}

static double inactive_of(const struct series *s)
{
	return (double)s->n_inactive;
}

static double connections_of(const struct series *s)
{
	return (double)s->total->connections;
}

static double packets_in_of(const struct series *s)
{
	return (double)s->total->packets_in;
}

static double packets_out_of(const struct series *s)
{
	return (double)s->total->packets_out;
}

static double bytes_in_of(const struct series *s)
{
	return (double)s->total->bytes_in;
}

static double bytes_out_of(const struct series *s)
{
	return (double)s->total->bytes_out;
}

static const struct {
	const char *name, *type, *help;
	double (*of)(const struct series *s);
} per_series[] = {
	{"active_connections", "gauge", "Established connections", active_of},
	{"inactive_connections", "gauge", "Connections that begin or end, and UDP flows",
		inactive_of},
	{"connections_total", "counter", "Connections", connections_of},
	{"received_packets_total", "counter", "Packets from clients", packets_in_of},
	{"sent_packets_total", "counter", "Packets to clients", packets_out_of},
	{"received_bytes_total", "counter", "Bytes from clients", bytes_in_of},
	{"sent_bytes_total", "counter", "Bytes to clients", bytes_out_of},
};

/* One metric of all VIPs (or of all backends). */
static void series_metric(FILE *f, const struct series_list *l, size_t which, bool backends)
{
	AUTO_FREE char *name =
		xasprintf("vipd_%s_%s", backends ? "backend" : "vip", per_series[which].name);
	AUTO_FREE char *help = xasprintf("%s by way of %s from this node.", per_series[which].help,
		backends ? "a VIP to a backend" : "a VIP");

	metrics_head(f, name, per_series[which].type, help);
	for (size_t i = 0; i < l->n; i++) {
		const struct series *s = &l->list[i];

		if (!*s->backend == !backends)
			metrics_sample(f, name, per_series[which].of(s), "vip", s->vip, "protocol",
				s->protocol, backends ? "backend" : NULL, s->backend, NULL);
	}
}

static void vip_metrics(FILE *f, const struct daemon *d, const struct meter_view *m)
{
	struct series_list l = {0};

	choose_series(&l, d, m->now);
	for (size_t i = 0; i < ARRAY_SIZE(per_series); i++) {
		series_metric(f, &l, i, false);
		series_metric(f, &l, i, true);
	}
	metrics_gauge(f, "vipd_vips_left_out", (double)l.n_left_out,
		"VIPs without metrics of their own, for metrics_max is reached.");
	for (size_t i = 0; i < l.n; i++)
		free(l.list[i].vip);
	free(l.list);
}

static void meter_metrics(FILE *f, const struct daemon *d, const struct meter_view *m)
{
	struct meter_stats s = meter_stats(d->meter);

	metrics_counter(f, "vipd_meter_readings_total", (double)s.n_readings,
		"Readings of the kernel's counters.");
	metrics_counter(
		f, "vipd_meter_failures_total", (double)s.n_failures, "Readings that failed.");
	metrics_gauge(f, "vipd_meter_duration_seconds", seconds(s.last_duration),
		"How long the last reading took.");
	metrics_gauge(f, "vipd_meter_age_seconds", m->now ? age(m->at) : -1,
		"How old the counters of the VIPs in this answer are; -1: there are none.");
}

/* --- the answer ------------------------------------------------------------ */

static void (*const rooms[])(FILE *f, const struct daemon *d) = {
	process_metrics,
	source_metrics,
	publisher_metrics,
	table_metrics,
	held_metrics,
	reconcile_metrics,
	firewall_metrics,
	event_metrics,
	overlay_metrics,
	namespace_metrics,
	door_metrics,
	dns_metrics,
};

static char *metrics_text(const struct daemon *d, const struct meter_view *m)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	if (!f)
		abort(); /* out of memory */
	for (size_t i = 0; i < ARRAY_SIZE(rooms); i++)
		rooms[i](f, d);
	meter_metrics(f, d, m);
	vip_metrics(f, d, m);
	fclose(f);
	return text;
}

void view_metrics(
	struct daemon *d, const struct control_request *request, struct control_reply *reply)
{
	struct meter_view m;

	if (!meter_look(d->meter, &m)) {
		view_wait_for_meter(d, request, reply);
		return;
	}
	reply->type = METRICS_TYPE;
	reply->body = metrics_text(d, &m);
}
