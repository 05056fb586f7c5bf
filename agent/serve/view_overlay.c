/* SPDX-License-Identifier: GPL-2.0-or-later */
/* GET /v1/nodes and /v1/links: the overlay, as this node knows it. */
#include <stdio.h>

#include "agent/serve/put.h"
#include "agent/serve/view.h"

static void put_id(json_object *o, const char *key, uint64_t id)
{
	char text[17];

	snprintf(text, sizeof(text), "%016llx", (unsigned long long)id);
	put_string(o, key, text);
}

/* What is known of one that is not up: for how long, who tested it, and whether the node at its
 * address is up under a new id. */
static void put_silence(const struct daemon *d, const struct overlay_snapshot *s, json_object *o,
	const struct gossip_member *m)
{
	const struct liveness *l = cluster_liveness(d->cluster);
	const struct overlay_node *n = liveness_get(l, m->id), *now;
	struct ip_addr address = overlay_ip(&m->address);

	if (!n || n->status == GOSSIP_STATUS_UP)
		return;
	now = liveness_find(l, &address);
	put_bool(o, "replaced",
		node_owns(&d->node, &address) ||
			(now && now != n && now->status == GOSSIP_STATUS_UP));
	if (n->silent)
		put_age(o, "silent", n->silent);
	for (size_t i = 0; i < s->n_members; i++)
		if (n->accuser && s->members[i].id == n->accuser) {
			struct ip_addr a = overlay_ip(&s->members[i].address);

			put_address(o, "tested_by", &a);
		}
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
	put_silence(d, s, o, m);
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
			put_duration(o, "held_for",
				healths[k].until > now_ns() ? healths[k].until - now_ns() : 0);
			put_int(o, "flaps", healths[k].n_flaps);
			put_bool(o, "backends_removed", healths[k].health == HEALTH_CONFIRMED);
		}
	return o;
}

/* True with an answer if there is nothing to tell. */
static bool no_overlay(struct daemon *d, struct overlay_snapshot *s, struct control_reply *reply)
{
	const char *off = cluster_off(d->cluster);
	AUTO_FREE char *text = off ? xasprintf("the overlay is off: %s", off) : NULL;

	if (s)
		return false;
	reply->status = 503;
	reply->body = put_error(text ? text : "the overlay's thread does not answer");
	return true;
}

/* Whoever shows some of very many shows himself and those that are not well first. */
static bool comes_first(const struct overlay_snapshot *s, size_t i)
{
	return s->members[i].id == s->id || s->members[i].status != GOSSIP_STATUS_UP;
}

static json_object *members_view(
	const struct daemon *d, const struct overlay_snapshot *s, uint64_t limit)
{
	json_object *list = json_object_new_array();
	uint64_t n = 0;

	for (int first = 1; first >= 0; first--)
		for (size_t i = 0; i < s->n_members && n < limit; i++)
			if (comes_first(s, i) == first) {
				json_object_array_add(list, member_view(d, s, i));
				n++;
			}
	return list;
}

/* Of all but what changes by itself as time passes. Takes `list`. */
static char *ageless_etag(json_object *list)
{
	AUTO_FREE char *text = NULL;

	for (size_t i = 0; i < json_object_array_length(list); i++) {
		json_object *o = json_object_array_get_idx(list, i);

		json_object_object_del(o, "silent");
		json_object_object_del(o, "held_for");
	}
	text = put_to_text(list);
	return view_etag(text);
}

void view_nodes(
	struct daemon *d, const struct control_request *request, struct control_reply *reply)
{
	struct overlay_snapshot *s;
	json_object *list;
	uint64_t limit;

	if (!control_number(request, "limit", UINT64_MAX, &limit)) {
		reply->status = 400;
		reply->body = put_error("limit is a number");
		return;
	}
	s = cluster_snapshot(d->cluster);
	if (no_overlay(d, s, reply))
		return;
	list = members_view(d, s, limit);
	reply->body = put_to_text(json_object_get(list));
	reply->etag = ageless_etag(list);
	overlay_snapshot_free(s);
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
	put_bool(o, "udp_unheard", n->unheard);
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
	put_int(o, "probes_not_asked", t->probes_not_asked);
	put_int(o, "accepts_paused", t->accepts_paused);
	put_int(o, "receive_buffer", (uint64_t)t->receive_buffer);
	put_int(o, "send_buffer", (uint64_t)t->send_buffer);
	put_duration(o, "longest_turn", t->longest_turn);
	return o;
}

/* By type of message; those that were never sent are left out. */
static json_object *sent_view(const struct gossip_stats *g)
{
	json_object *o = json_object_new_object();

	for (unsigned int i = 0; i < GOSSIP_MESSAGE_KINDS; i++) {
		json_object *kind;

		if (!g->sent[i].messages)
			continue;
		kind = json_object_new_object();
		put_int(kind, "messages", g->sent[i].messages);
		put_int(kind, "bytes", g->sent[i].bytes);
		json_object_object_add(o, gossip_message_name(i), kind);
	}
	return o;
}

static json_object *gossip_view(const struct gossip_stats *g)
{
	json_object *o = json_object_new_object();

	put_int(o, "members", g->n_members);
	put_int(o, "reachable", g->n_reachable);
	put_id(o, "digest", g->digest);
	put_int(o, "memory", g->n_memory);
	put_duration(o, "lateness", g->lateness);
	put_int(o, "pauses", g->pauses);
	put_duration(o, "longest_pause", g->longest_pause);
	put_seconds(o, "loss", g->loss_permille / 1000.0);
	put_int(o, "beats_missed", g->beats_missed);
	put_int(o, "tests", g->tests);
	put_int(o, "tests_heard", g->tests_heard);
	put_int(o, "probes", g->probes);
	put_int(o, "opens", g->opens);
	put_int(o, "syncs", g->syncs);
	json_object_object_add(o, "sent", sent_view(g));
	put_int(o, "severed_silent", g->severed_silent);
	put_int(o, "severed_stalled", g->severed_stalled);
	put_int(o, "severed_agentless", g->severed_agentless);
	put_int(o, "severed_by_peer", g->severed_by_peer);
	put_int(o, "malformed", g->malformed);
	put_int(o, "refused", g->refused);
	return o;
}

void view_links(
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
