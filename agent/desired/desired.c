/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/desired/desired.h"

const char *refusal_text(enum refusal r)
{
	static const char *const texts[_REFUSAL_N] = {
		[REFUSAL_UNUSABLE] = "not a usable unicast address",
		[REFUSAL_OWN_ADDRESS] = "is the address of a node or master of the cluster",
		[REFUSAL_SUBNET] = "lies in a network that this node is connected to",
		[REFUSAL_OTHER_FRAMEWORK] = "another framework has claimed this IP VIP",
	};

	return texts[r];
}

struct builder {
	const struct desired_input *in;
	struct desired *out;
	struct service_key *anew; /* sorted: VIPs not to be shared; NULL: none is */
	size_t n_anew;
	size_t at_service, at_anew; /* how far the walk over the table has come in `have`, `anew` */
	struct drain_key *gone;     /* on dead nodes: not to be drained */
	size_t n_gone, gone_allocated;
};

static void must(int r)
{
	if (r < 0)
		abort(); /* out of memory, as everywhere in agent/ */
}

/* Addresses that no route may make a VIP: unspecified, "this network", loopback, link-local,
 * multicast, reserved, broadcast, and IPv4 inside IPv6. */
static bool unusable(const struct ip_addr *a)
{
	static const uint8_t zero[16], mapped[12] = {[10] = 0xff, [11] = 0xff};
	const uint8_t *b = a->bytes;

	if (a->family == AF_INET)
		return b[0] == 0 || b[0] == 127 || b[0] >= 224 || (b[0] == 169 && b[1] == 254);
	return memcmp(b, zero, 15) == 0 || memcmp(b, mapped, 12) == 0 || b[0] == 0xff ||
	       (b[0] == 0xfe && (b[1] & 0xc0) == 0x80);
}

static int cmp_addr(const void *a, const void *b)
{
	return ip_addr_cmp(a, b);
}

static bool is_among(const struct ip_addr *a, const struct ip_addr *list, size_t n)
{
	return n && bsearch(a, list, n, sizeof(*list), cmp_addr);
}

static bool is_allowed(const struct desired_input *in, const struct ip_addr *a)
{
	for (size_t i = 0; i < in->n_allowed; i++)
		if (prefix_covers(&in->allowed[i], a))
			return true;
	return false;
}

/* What forbids this VIP, or _REFUSAL_N. */
static enum refusal admit(const struct desired_input *in, const struct vip *vip)
{
	const struct ip_addr *a = &vip->key.address;

	if (unusable(a))
		return REFUSAL_UNUSABLE;
	if (node_owns(in->node, a) || is_among(a, in->masters, in->n_masters) ||
		is_among(a, in->table->agents, in->table->n_agents))
		return REFUSAL_OWN_ADDRESS;
	if (node_is_connected(in->node, a) && !is_allowed(in, a))
		return REFUSAL_SUBNET;
	return _REFUSAL_N;
}

static void refuse(
	struct builder *b, const struct vip *vip, enum refusal reason, const char *framework_id)
{
	struct desired *d = b->out;

	if (framework_id && desired_refusal(d, vip, framework_id))
		return;
	d->refused = xrealloc(d->refused, d->n_refused + 1, sizeof(*d->refused));
	d->refused[d->n_refused++] = (struct refused){vip, reason, framework_id};
}

/* Who has an IP VIP: the framework with the smallest id. NULL for a named VIP, which has its
 * framework's name in its own. */
static const char *owner(const struct vip *vip)
{
	const char *first = NULL;

	for (size_t i = 0; i < vip->n_backends && !vip->name; i++)
		if (!first || strcmp(vip->backends[i].framework_id, first) < 0)
			first = vip->backends[i].framework_id;
	return first;
}

static enum health health_of(const struct desired_input *in, const struct ip_addr *agent)
{
	size_t low = 0, high = in->n_healths;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = ip_addr_cmp(&in->healths[mid].agent, agent);

		if (c == 0)
			return in->healths[mid].health;
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return HEALTH_UP;
}

/* True if some backend of the VIP is on a node that is not down. */
static bool any_up(const struct desired_input *in, const struct vip *vip)
{
	for (size_t i = 0; i < vip->n_backends; i++)
		if (health_of(in, &vip->backends[i].agent) == HEALTH_UP)
			return true;
	return false;
}

/* Its service depends on more than can be compared cheaply. */
static void mark_special(struct desired *d, const struct vip *vip)
{
	d->special = xrealloc(d->special, d->n_special + 1, sizeof(*d->special));
	d->special[d->n_special++] = vip->key;
}

static void mark_gone(struct builder *b, const struct vip *vip, const struct destination *d)
{
	if (b->n_gone == b->gone_allocated) {
		b->gone_allocated = b->gone_allocated ? 2 * b->gone_allocated : 64;
		b->gone = xrealloc(b->gone, b->gone_allocated, sizeof(*b->gone));
	}
	b->gone[b->n_gone++] = (struct drain_key){vip->key, d->address, d->port};
}

/* On its own node a backend is programmed in its local form. */
static struct destination destination_of(
	const struct desired_input *in, const struct vip_backend *b)
{
	bool local = node_owns(in->node, &b->agent);

	return (struct destination){
		.address = local ? b->local_address : b->address,
		.port = local ? b->local_port : b->port,
		.weight = b->weight,
	};
}

static void add_backend(struct builder *b, const struct vip *vip, struct service *svc,
	const struct vip_backend *backend, enum health health)
{
	struct destination d = destination_of(b->in, backend);
	const struct destination *twin = service_find_destination(svc, &d.address, d.port);

	if (health == HEALTH_CONFIRMED ||
		(health == HEALTH_DOWN && vip->key.protocol == IPPROTO_UDP)) {
		mark_gone(b, vip, &d);
		return;
	}
	if (health == HEALTH_DOWN)
		d.weight = 0;
	if (twin && twin->weight > d.weight)
		return; /* two tasks, one place: the healthier speaks for it */
	must(service_set_destination(svc, &d));
}

static void add_vip(struct builder *b, const struct vip *vip)
{
	struct service *svc = kernel_state_service(b->out->want, &vip->key);
	const char *framework_id = owner(vip);
	bool by_health = any_up(b->in, vip), all_down = !by_health && vip->n_backends > 0;
	size_t n_refused = b->out->n_refused;

	must(svc ? 0 : -1);
	b->out->n_all_down += all_down;
	for (size_t i = 0; i < vip->n_backends; i++) {
		const struct vip_backend *backend = &vip->backends[i];

		if (framework_id && strcmp(backend->framework_id, framework_id) != 0)
			refuse(b, vip, REFUSAL_OTHER_FRAMEWORK, backend->framework_id);
		else
			add_backend(b, vip, svc, backend,
				by_health ? health_of(b->in, &backend->agent) : HEALTH_UP);
	}
	if (all_down || b->out->n_refused > n_refused)
		mark_special(b->out, vip);
}

/* --- what has not changed --------------------------------------------------- */

static void note(struct desired *d, const void *bytes, size_t n)
{
	d->circumstances = xrealloc(d->circumstances, d->n_circumstances + n, 1);
	if (n)
		memcpy(d->circumstances + d->n_circumstances, bytes, n);
	d->n_circumstances += n;
}

static void note_list(struct desired *d, const void *list, size_t n, size_t size)
{
	note(d, &n, sizeof(n));
	note(d, list, n * size);
}

static void note_circumstances(struct desired *d, const struct desired_input *in)
{
	_Static_assert(sizeof(struct prefix) == sizeof(struct ip_addr) + 1, "has no padding");
	note(d, &in->node->address, sizeof(in->node->address));
	note(d, &in->node->address6, sizeof(in->node->address6));
	note_list(d, in->node->own, in->node->n_own, sizeof(*in->node->own));
	note_list(d, in->node->subnets, in->node->n_subnets, sizeof(*in->node->subnets));
	note_list(d, in->masters, in->n_masters, sizeof(*in->masters));
	note_list(d, in->table->agents, in->table->n_agents, sizeof(*in->table->agents));
	note_list(d, in->allowed, in->n_allowed, sizeof(*in->allowed));
	for (size_t i = 0; i < in->n_healths; i++) {
		const struct node_health *h = &in->healths[i];

		if (h->health == HEALTH_UP)
			continue; /* as who is not listed */
		note(d, &h->agent, sizeof(h->agent));
		note(d, &h->health, sizeof(h->health));
	}
	note(d, &in->slow_start, sizeof(in->slow_start));
}

static bool same_circumstances(const struct desired *a, const struct desired *b)
{
	return a && a->n_circumstances == b->n_circumstances &&
	       memcmp(a->circumstances, b->circumstances, a->n_circumstances) == 0;
}

static int cmp_key(const void *a, const void *b)
{
	return service_key_cmp(a, b);
}

/* VIPs that changed, and those that drain, ramp or were special, whether they changed or not. */
static void collect_anew(struct builder *b)
{
	const struct desired_input *in = b->in;
	size_t n_drains = drains_count(in->drains), n_ramps = ramps_count(in->ramps);
	struct service_key *k;

	b->anew = k = xcalloc(
		in->n_changed + n_drains + n_ramps + in->previous->n_special, sizeof(*b->anew));
	for (size_t i = 0; i < in->n_changed; i++)
		*k++ = in->changed[i];
	for (size_t i = 0; i < n_drains; i++)
		*k++ = drains_get(in->drains, i)->key.service;
	for (size_t i = 0; i < n_ramps; i++)
		*k++ = *ramps_get(in->ramps, i);
	for (size_t i = 0; i < in->previous->n_special; i++)
		*k++ = in->previous->special[i];
	b->n_anew = (size_t)(k - b->anew);
	qsort(b->anew, b->n_anew, sizeof(*b->anew), cmp_key);
}

/* True if list[*at ...) begins with the key, once what is below it was skipped. */
static bool walk_to(
	const struct service_key *list, size_t n, size_t *at, const struct service_key *key)
{
	while (*at < n && !service_key_equal(&list[*at], key) &&
		service_key_cmp(&list[*at], key) < 0)
		++*at;
	return *at < n && service_key_equal(&list[*at], key);
}

/* The service of a VIP that is as it was, to be shared; else NULL. Called in order. */
static struct service *service_to_share(struct builder *b, const struct vip *vip)
{
	const struct kernel_state *have = b->in->have;

	if (!b->anew || walk_to(b->anew, b->n_anew, &b->at_anew, &vip->key))
		return NULL;
	/* The ports of a wanted state are its services' keys, side by side in memory. */
	if (!walk_to(have->ports, have->n_ports, &b->at_service, &vip->key))
		return NULL; /* refused */
	return have->services[b->at_service];
}

static int cmp_gone(const void *a, const void *b)
{
	return drain_key_cmp(a, b);
}

/* What leaves drains, what comes ramps. */
static void add_transitions(struct builder *b)
{
	const struct desired_input *in = b->in;
	struct drains_input drains = {
		.have = in->have,
		.now = in->now,
		.timeout = in->drain_timeout,
		.gone = b->gone,
		.n_gone = b->n_gone,
	};

	if (b->n_gone)
		qsort(b->gone, b->n_gone, sizeof(*b->gone), cmp_gone);
	b->out->drains_changed = drains_extend(in->drains, b->out->want, &drains);
	ramps_apply(in->ramps, b->out->want, in->have, in->now, in->slow_start);
}

static void take_vip(struct builder *b, const struct vip *vip)
{
	struct service *same = service_to_share(b, vip);
	enum refusal why;

	if (same) {
		must(kernel_state_share_service(b->out->want, same));
		return;
	}
	why = admit(b->in, vip);
	if (why == _REFUSAL_N)
		add_vip(b, vip);
	else
		refuse(b, vip, why, NULL);
}

struct desired *desired_new(const struct desired_input *in)
{
	struct builder b = {.in = in, .out = xcalloc(1, sizeof(struct desired))};

	b.out->want = kernel_state_new();
	must(b.out->want ? 0 : -1);
	note_circumstances(b.out, in);
	if (same_circumstances(in->previous, b.out))
		collect_anew(&b);
	for (size_t i = 0; i < in->table->n_vips; i++)
		take_vip(&b, &in->table->vips[i]);
	add_transitions(&b);
	must(kernel_state_complete(b.out->want, &in->node->address, &in->node->address6));
	free(b.gone);
	free(b.anew);
	return b.out;
}

struct desired *desired_free(struct desired *d)
{
	if (!d)
		return NULL;
	kernel_state_free(d->want);
	free(d->refused);
	free(d->special);
	free(d->circumstances);
	free(d);
	return NULL;
}

const struct refused *desired_refusal(
	const struct desired *d, const struct vip *vip, const char *framework_id)
{
	for (size_t i = 0; d && i < d->n_refused; i++) {
		const struct refused *r = &d->refused[i];

		if (r->vip != vip)
			continue;
		if (!r->framework_id ||
			(framework_id && strcmp(r->framework_id, framework_id) == 0))
			return r;
	}
	return NULL;
}
