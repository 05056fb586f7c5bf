/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * GET /v1/table: the VIPs, and what became of each on this node; GET /v1/vips: the same table in
 * the shape that dcos-net has.
 */
#include <errno.h>

#include "agent/serve/put.h"
#include "agent/serve/view.h"

/* "redis.marathon.l4lb.thisdcos.directory:6379", "1.2.3.4:5000" */
char *view_vip_text(const struct vip *vip)
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
const char *view_vip_state(const struct daemon *d, const struct vip *vip,
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

json_object *view_backend(const struct daemon *d, const struct vip *vip,
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
	AUTO_FREE char *text = view_vip_text(vip);
	const char *reason, *state = view_vip_state(d, vip, have, &reason);

	put_string(o, "vip", text);
	put_string(o, "name", vip->name);
	put_key(o, &vip->key);
	put_string(o, "state", state);
	put_string(o, "reason", reason);
	for (size_t i = 0; i < vip->n_backends; i++)
		json_object_array_add(
			backends, view_backend(d, vip, &vip->backends[i], svc, fresh));
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
	AUTO_FREE char *text = view_vip_text(&vip);

	put_string(o, "vip", text);
	put_string(o, "name", vip.name);
	put_key(o, &vip.key);
	put_string(o, "state", "draining");
	put_string(o, "reason", "its tasks have ended; what connections there are go on");
	json_object_object_add(o, "backends", json_object_new_array());
	json_object_object_add(o, "draining", drains_view(d, svc));
	return o;
}

/* --- listings -------------------------------------------------------------- */

/*
 * A table may be too large to be written in one turn of the loop, so a listing writes a few VIPs at
 * a time, as the client takes them. If the table changes meanwhile it goes on behind the last key:
 * every VIP that stayed is in it once.
 */
struct listing {
	const struct daemon *daemon;
	json_object *(*element)(const struct daemon *d, const struct vip *vip);
	bool begun, over;
	struct service_key last;
};

/* Bytes in one piece, or one VIP if that has more: a few milliseconds' work. */
#define LISTING_PIECE 16384

/* The first VIP behind the last one that was written. */
static size_t next_vip(const struct listing *l)
{
	const struct vip_table *t = l->daemon->table;
	size_t low = 0, high = t->n_vips;

	while (l->begun && low < high) {
		size_t middle = (low + high) / 2;

		if (service_key_cmp(&t->vips[middle].key, &l->last) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void write_element(struct listing *l, FILE *f, json_object *o)
{
	fputs(l->begun ? "," : "[", f);
	fputs(json_object_to_json_string_ext(
		      o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
		f);
	json_object_put(o);
	l->begun = true;
}

static void write_vips(struct listing *l, FILE *f)
{
	const struct vip_table *t = l->daemon->table;
	size_t i = t ? next_vip(l) : 0, n = t ? t->n_vips : 0;

	for (; i < n && ftell(f) < LISTING_PIECE; i++) {
		write_element(l, f, l->element(l->daemon, &t->vips[i]));
		l->last = t->vips[i].key;
	}
	l->over = i >= n;
}

static char *listing_next(void *userdata, bool *ret_end)
{
	struct listing *l = userdata;
	char *text = NULL;
	size_t n = 0;
	FILE *f;

	if (l->over) {
		*ret_end = true;
		return NULL;
	}
	f = open_memstream(&text, &n);
	if (!f)
		abort(); /* out of memory */
	write_vips(l, f);
	if (l->over)
		fputs(l->begun ? "]\n" : "[]\n", f);
	fclose(f);
	return text;
}

/* The whole table in pieces. */
static struct control_stream listing_stream(const struct daemon *d,
	json_object *(*element)(const struct daemon *d, const struct vip *vip))
{
	struct listing *l = xcalloc(1, sizeof(*l));

	l->daemon = d;
	l->element = element;
	return (struct control_stream){listing_next, free, l, false};
}

static json_object *table_element(const struct daemon *d, const struct vip *vip)
{
	return vip_view(d, vip, reconcile_have(d->reconcile), false);
}

/* With what the kernel held just now, drains included. */
static char *fresh_text(const struct daemon *d, const struct kernel_state *have)
{
	json_object *list = json_object_new_array();

	for (size_t i = 0; d->table && i < d->table->n_vips; i++)
		json_object_array_add(list, vip_view(d, &d->table->vips[i], have, true));
	for (size_t i = 0; d->table && i < have->n_services; i++) {
		const struct service *svc = have->services[i];

		if (kernel_state_owns(have, svc) && !vip_table_find(d->table, &svc->key))
			json_object_array_add(list, gone_vip_view(d, svc));
	}
	return put_to_text(list);
}

static char *answer_table(struct daemon *d, const struct kernel_state *have, int error,
	const char *query, unsigned int *status)
{
	AUTO_FREE char *reason = NULL;

	if (have)
		return fresh_text(d, have);
	*status = 503;
	reason = xasprintf("the kernel cannot be read: %s", strerror(-error));
	return put_error(reason);
}

void view_table(
	struct daemon *d, const struct control_request *request, struct control_reply *reply)
{
	bool fresh = control_argument(request, "fresh");

	if (fresh && request->looking) {
		reply->status = 403;
		reply->body = put_error("fresh=1 makes work: only at the control socket");
	} else if (fresh) {
		view_read_kernel(d, request, reply, "", answer_table);
	} else {
		reply->stream = listing_stream(d, table_element);
	}
}

static json_object *vips_element(const struct daemon *d, const struct vip *vip)
{
	json_object *o = json_object_new_object(), *backends = json_object_new_array();
	AUTO_FREE char *text = view_vip_text(vip);

	put_string(o, "vip", text);
	put_protocol(o, "protocol", vip->key.protocol);
	for (size_t k = 0; k < vip->n_backends; k++) {
		json_object *b = json_object_new_object();

		put_address(b, "ip", &vip->backends[k].address);
		put_int(b, "port", vip->backends[k].port);
		json_object_array_add(backends, b);
	}
	json_object_object_add(o, "backend", backends);
	return o;
}

/* dcos-net's own shape, for what reads it today. Without a table nothing is known, which is something
 * else than no VIPs: a client that took the one for the other would withdraw them all. */
void view_vips(struct daemon *d, const struct control_request *request, struct control_reply *reply)
{
	if (!d->table) {
		reply->status = 503;
		reply->body = put_error("there is no table yet");
		return;
	}
	reply->etag = xasprintf(
		"\"%s-%llu\"", watch_instance(d->watch), (unsigned long long)d->n_table_changes);
	reply->stream = listing_stream(d, vips_element);
}
