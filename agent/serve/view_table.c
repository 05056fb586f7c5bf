/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * GET /v1/table: the VIPs, and what became of each on this node; GET /v1/vips: the same table in
 * the shape that dcos-net has.
 */
#include <errno.h>

#include "agent/serve/put.h"
#include "agent/serve/view.h"

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

void view_table(
	struct daemon *d, const struct control_request *request, struct control_reply *reply)
{
	if (control_argument(request, "fresh"))
		view_read_kernel(d, request, reply, "", answer_table);
	else
		reply->body = table_text(d, reconcile_have(d->reconcile), false);
}

/* dcos-net's own shape, for what reads it today. */
void view_vips(struct daemon *d, const struct control_request *request, struct control_reply *reply)
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
