/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One merge of two sorted states per phase; each phase emits the steps of one line of
 * the table in plan.h. Everything the phases ask of the other parts of a state (is this
 * address routed? does its port stay?) is a binary search, so a plan of equal states is a
 * walk over both.
 *
 * Services that are wanted, exist and are not vipd's are found first. If there are any,
 * the phases see a reduced copy of the wanted state: without those services, without
 * their port entries, and without the routes and address entries of addresses that have
 * no other service left. A foreign service thus never gets vipd's route nor an entry in
 * vipd's sets, and never hinders the other ports of its address.
 *
 * Why the order is safe against a stop between any two steps:
 * - A service that comes is known as vipd's from its first moment: by its signature, and by
 *   its port entry if its address is not routed yet, by the route if it is.
 * - A service that goes is known until it is gone: by its signature, and by its port entry if
 *   the route goes first, by the route if the port entry does. One whose signature somebody
 *   has overwritten gets it back before anything else.
 * - A port entry alone is no proof: it may have been written for a service that then could
 *   not be added, since a stranger had made one just before.
 * - While an address is local, a port in the sets has its service, complete with
 *   destinations; a port not in the sets is refused by the reject rule.
 */
#include "plan.h"

#include <errno.h>
#include <linux/ip_vs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const step_names[] = {
	[STEP_LINK_ADD] = "link add",
	[STEP_SETS_ADD] = "sets add",
	[STEP_ROUTE_ADD] = "route add",
	[STEP_ROUTE_DEL] = "route del",
	[STEP_PORT_ADD] = "port add",
	[STEP_PORT_DEL] = "port del",
	[STEP_ADDRESS_ADD] = "address add",
	[STEP_ADDRESS_DEL] = "address del",
	[STEP_SERVICE_ADD] = "service add",
	[STEP_SERVICE_EDIT] = "service edit",
	[STEP_SERVICE_DEL] = "service del",
	[STEP_DESTINATION_ADD] = "destination add",
	[STEP_DESTINATION_EDIT] = "destination edit",
	[STEP_DESTINATION_DEL] = "destination del",
};

static void format_route(const struct step *step, const char *name, char buf[static STEP_STRLEN])
{
	char address[IP_ADDR_STRLEN], source[IP_ADDR_STRLEN];

	ip_addr_format(&step->route.address, address);
	if (step->kind == STEP_ROUTE_ADD && step->route.source.family)
		snprintf(buf, STEP_STRLEN, "%s %s src %s", name, address,
			ip_addr_format(&step->route.source, source));
	else
		snprintf(buf, STEP_STRLEN, "%s %s", name, address);
}

static void format_destination(
	const struct step *step, const char *name, char buf[static STEP_STRLEN])
{
	char key[SERVICE_KEY_STRLEN], endpoint[ENDPOINT_STRLEN];

	service_key_format(&step->key, key);
	endpoint_format(&step->destination.address, step->destination.port, endpoint);
	if (step->kind == STEP_DESTINATION_DEL)
		snprintf(buf, STEP_STRLEN, "%s %s -> %s", name, key, endpoint);
	else
		snprintf(buf, STEP_STRLEN, "%s %s -> %s weight %u", name, key, endpoint,
			step->destination.weight);
}

const char *step_format(const struct step *step, char buf[static STEP_STRLEN])
{
	const char *name = step_names[step->kind];
	char key[SERVICE_KEY_STRLEN];

	switch (step->kind) {
	case STEP_LINK_ADD:
	case STEP_SETS_ADD:
		snprintf(buf, STEP_STRLEN, "%s", name);
		break;
	case STEP_ROUTE_ADD:
	case STEP_ROUTE_DEL:
	case STEP_ADDRESS_ADD:
	case STEP_ADDRESS_DEL:
		format_route(step, name, buf);
		break;
	case STEP_PORT_ADD:
	case STEP_PORT_DEL:
	case STEP_SERVICE_DEL:
		snprintf(buf, STEP_STRLEN, "%s %s", name, service_key_format(&step->key, key));
		break;
	case STEP_SERVICE_ADD:
	case STEP_SERVICE_EDIT:
		snprintf(buf, STEP_STRLEN, "%s %s %s", name, service_key_format(&step->key, key),
			step->service.scheduler);
		break;
	case STEP_DESTINATION_ADD:
	case STEP_DESTINATION_EDIT:
	case STEP_DESTINATION_DEL:
		format_destination(step, name, buf);
		break;
	}
	return buf;
}

const struct ip_addr *step_address(const struct step *step)
{
	switch (step->kind) {
	case STEP_LINK_ADD:
	case STEP_SETS_ADD:
		return NULL;
	case STEP_ROUTE_ADD:
	case STEP_ROUTE_DEL:
	case STEP_ADDRESS_ADD:
	case STEP_ADDRESS_DEL:
		return &step->route.address;
	case STEP_PORT_ADD:
	case STEP_PORT_DEL:
	case STEP_SERVICE_ADD:
	case STEP_SERVICE_EDIT:
	case STEP_SERVICE_DEL:
	case STEP_DESTINATION_ADD:
	case STEP_DESTINATION_EDIT:
	case STEP_DESTINATION_DEL:
		return &step->key.address;
	}
	return NULL;
}

void plan_done(struct plan *p)
{
	free(p->steps);
	free(p->conflicts);
	*p = (struct plan){};
}

static bool has_signature(const struct service *svc)
{
	return svc->timeout == SERVICE_SIGNATURE && !(svc->flags & IP_VS_SVC_F_PERSISTENT);
}

bool kernel_state_owns(const struct kernel_state *have, const struct service *svc)
{
	unsigned int marks = has_signature(svc);

	marks += kernel_state_has_port(have, &svc->key);
	marks += kernel_state_find_route(have, &svc->key.address) != NULL;
	return marks >= 2;
}

/* What the phases work on. An allocation that fails is noted once and ends the plan. */
struct planner {
	struct plan *plan;
	const struct kernel_state *have;
	const struct kernel_state *want;
	struct plan_options options;
	bool out_of_memory;
	/* Noticed while looking for destinations to add; mostly there are none of these, and
	 * then two walks over all of them are saved. */
	bool destinations_differ, destinations_surplus;
	/* So mostly are these, and need no walk at all. */
	bool same_routes, same_ports, same_addresses;
};

/* A zeroed new step at the end of the plan, or NULL. */
static struct step *emit(struct planner *pl, enum step_kind kind)
{
	struct plan *p = pl->plan;
	struct step *step;

	if (pl->out_of_memory)
		return NULL;
	if (p->n_steps == p->steps_allocated) {
		size_t more = p->steps_allocated ? p->steps_allocated * 2 : 64;
		struct step *grown = reallocarray(p->steps, more, sizeof(*grown));

		if (!grown) {
			pl->out_of_memory = true;
			return NULL;
		}
		p->steps = grown;
		p->steps_allocated = more;
	}
	step = &p->steps[p->n_steps++];
	*step = (struct step){.kind = kind};
	return step;
}

static void emit_key(struct planner *pl, enum step_kind kind, const struct service_key *key)
{
	struct step *step = emit(pl, kind);

	if (step)
		step->key = *key;
}

static void emit_route(struct planner *pl, enum step_kind kind, const struct vip_route *route)
{
	struct step *step = emit(pl, kind);

	if (step)
		step->route = *route;
}

static void emit_address(struct planner *pl, enum step_kind kind, const struct ip_addr *address)
{
	struct step *step = emit(pl, kind);

	if (step)
		step->route.address = *address;
}

static void emit_service(
	struct planner *pl, enum step_kind kind, const struct service *svc, uint32_t timeout)
{
	struct step *step = emit(pl, kind);

	if (!step)
		return;
	step->key = svc->key;
	memcpy(step->service.scheduler, svc->scheduler, sizeof(svc->scheduler));
	step->service.flags = svc->flags;
	step->service.timeout = timeout;
	step->service.netmask = svc->netmask;
}

static void emit_destination(struct planner *pl, enum step_kind kind, const struct service_key *key,
	const struct destination *dest)
{
	struct step *step = emit(pl, kind);

	if (!step)
		return;
	step->key = *key;
	step->destination = *dest;
}

static bool service_differs(const struct service *a, const struct service *b)
{
	return strncmp(a->scheduler, b->scheduler, sizeof(a->scheduler)) || a->flags != b->flags ||
	       a->timeout != b->timeout || a->netmask != b->netmask;
}

static bool destination_differs(const struct destination *a, const struct destination *b)
{
	return a->weight != b->weight || a->forward != b->forward ||
	       a->upper_threshold != b->upper_threshold || a->lower_threshold != b->lower_threshold;
}

/* Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014. */
static uint64_t splitmix64(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

/* Mixes the key into the seed, so that one node's services do not all start alike. */
static uint64_t seed_of(uint64_t seed, const struct service_key *key)
{
	uint64_t words[3] = {(uint64_t)key->protocol << 32 | key->port};

	memcpy(&words[1], key->address.bytes, sizeof(key->address.bytes));
	for (size_t i = 0; i < 3; i++) {
		seed ^= words[i];
		seed = splitmix64(&seed);
	}
	return seed;
}

/* Fisher and Yates, over the destination steps that were emitted since `first`. */
static void shuffle_from(struct planner *pl, size_t first, const struct service_key *key)
{
	size_t n = pl->plan->n_steps - first;
	struct step *steps;
	uint64_t state;

	if (n < 2)
		return;
	steps = pl->plan->steps + first;
	state = seed_of(pl->options.seed, key);
	for (size_t i = n - 1; i > 0; i--) {
		size_t j = splitmix64(&state) % (i + 1);
		struct step tmp = steps[i];

		steps[i] = steps[j];
		steps[j] = tmp;
	}
}

/* Emits one kind of difference between the destinations of a service that is there
 * (NULL: a new one) and the wanted ones. */
static void plan_destinations(struct planner *pl, const struct service *have,
	const struct service *want, enum step_kind kind)
{
	size_t n_have = have ? have->n_destinations : 0, first = pl->plan->n_steps;
	size_t i = 0, j = 0;

	if (have && pl->options.skip_destinations)
		return;
	while (i < n_have || j < want->n_destinations) {
		const struct destination *h = i < n_have ? &have->destinations[i] : NULL;
		const struct destination *w =
			j < want->n_destinations ? &want->destinations[j] : NULL;
		int r = !h ? 1 : !w ? -1 : destination_cmp(h, w);

		if (r < 0) {
			pl->destinations_surplus = true;
			if (kind == STEP_DESTINATION_DEL)
				emit_destination(pl, kind, &want->key, h);
		} else if (r > 0) {
			if (kind == STEP_DESTINATION_ADD)
				emit_destination(pl, kind, &want->key, w);
		} else if (destination_differs(h, w)) {
			pl->destinations_differ = true;
			if (kind == STEP_DESTINATION_EDIT)
				emit_destination(pl, kind, &want->key, w);
		}
		i += r <= 0;
		j += r >= 0;
	}
	if (kind == STEP_DESTINATION_ADD)
		shuffle_from(pl, first, &want->key);
}

/* Calls visit(have, want) for each service of either state, in order; the one that a
 * state lacks is NULL. */
typedef void (*service_visitor)(
	struct planner *pl, const struct service *have, const struct service *want);

static void each_service(struct planner *pl, service_visitor visit)
{
	const struct kernel_state *have = pl->have, *want = pl->want;
	size_t i = 0, j = 0;

	while (i < have->n_services || j < want->n_services) {
		const struct service *h = i < have->n_services ? have->services[i] : NULL;
		const struct service *w = j < want->n_services ? want->services[j] : NULL;
		int r;

		if (h == w) { /* shared */
			i++;
			j++;
			continue;
		}
		r = !h ? 1 : !w ? -1 : service_key_cmp(&h->key, &w->key);
		visit(pl, r <= 0 ? h : NULL, r >= 0 ? w : NULL);
		i += r <= 0;
		j += r >= 0;
	}
}

static void visit_add(struct planner *pl, const struct service *have, const struct service *want)
{
	if (!have)
		emit_service(pl, STEP_SERVICE_ADD, want, want->timeout);
}

static void visit_edit(struct planner *pl, const struct service *have, const struct service *want)
{
	if (!want)
		return;
	if (have && has_signature(have) && service_differs(have, want)) /* else: visit_unsigned() */
		emit_service(pl, STEP_SERVICE_EDIT, want, want->timeout);
	plan_destinations(pl, have, want, STEP_DESTINATION_ADD);
}

static void visit_edit_destinations(
	struct planner *pl, const struct service *have, const struct service *want)
{
	if (have && want)
		plan_destinations(pl, have, want, STEP_DESTINATION_EDIT);
}

static void visit_del_destinations(
	struct planner *pl, const struct service *have, const struct service *want)
{
	if (have && want)
		plan_destinations(pl, have, want, STEP_DESTINATION_DEL);
}

static bool is_ours(const struct planner *pl, const struct service *svc)
{
	if (pl->options.trust_marks &&
		(has_signature(svc) || kernel_state_has_port(pl->have, &svc->key)))
		return true;
	return kernel_state_owns(pl->have, svc);
}

/* One whose signature somebody has overwritten, while another of its marks is about to go. */
static void visit_unsigned(
	struct planner *pl, const struct service *have, const struct service *want)
{
	struct service repaired;

	if (!have || has_signature(have) || !is_ours(pl, have))
		return;
	repaired = want ? *want : *have;
	repaired.flags &= ~(uint32_t)IP_VS_SVC_F_PERSISTENT;
	emit_service(pl, STEP_SERVICE_EDIT, &repaired, SERVICE_SIGNATURE);
}

static void visit_del(struct planner *pl, const struct service *have, const struct service *want)
{
	if (!want && is_ours(pl, have))
		emit_key(pl, STEP_SERVICE_DEL, &have->key);
}

static void plan_frame(struct planner *pl)
{
	if (pl->want->has_link && !pl->have->has_link)
		emit(pl, STEP_LINK_ADD);
	if (pl->want->has_sets && !pl->have->has_sets)
		emit(pl, STEP_SETS_ADD);
}

static const struct ip_addr *source_of(
	const struct vip_route *route, const struct plan_sources *instead)
{
	if (!instead)
		return &route->source;
	return route->address.family == AF_INET ? &instead->v4 : &instead->v6;
}

static bool source_differs(
	const struct planner *pl, const struct vip_route *have, const struct vip_route *want)
{
	return ip_addr_cmp(source_of(have, pl->options.have_sources),
		source_of(want, pl->options.want_sources));
}

static void emit_route_add(struct planner *pl, const struct vip_route *want)
{
	struct vip_route route = *want;

	route.source = *source_of(want, pl->options.want_sources);
	emit_route(pl, STEP_ROUTE_ADD, &route);
}

static void plan_routes(struct planner *pl, enum step_kind kind)
{
	const struct kernel_state *have = pl->have, *want = pl->want;
	size_t i = 0, j = 0;

	if (pl->same_routes)
		return;
	while (i < have->n_routes || j < want->n_routes) {
		const struct vip_route *h = i < have->n_routes ? &have->routes[i] : NULL;
		const struct vip_route *w = j < want->n_routes ? &want->routes[j] : NULL;
		int r = !h ? 1 : !w ? -1 : vip_route_cmp(h, w);

		if (r < 0 && kind == STEP_ROUTE_DEL)
			emit_route(pl, kind, h);
		else if (kind == STEP_ROUTE_ADD && (r > 0 || (!r && source_differs(pl, h, w))))
			emit_route_add(pl, w);
		i += r <= 0;
		j += r >= 0;
	}
}

static void plan_addresses(struct planner *pl, enum step_kind kind)
{
	const struct kernel_state *have = pl->have, *want = pl->want;
	size_t i = 0, j = 0;

	if (pl->same_addresses)
		return;
	while (i < have->n_addresses || j < want->n_addresses) {
		const struct ip_addr *h = i < have->n_addresses ? &have->addresses[i] : NULL;
		const struct ip_addr *w = j < want->n_addresses ? &want->addresses[j] : NULL;
		int r = !h ? 1 : !w ? -1 : ip_addr_cmp(h, w);

		if (r < 0 && kind == STEP_ADDRESS_DEL)
			emit_address(pl, kind, h);
		else if (r > 0 && kind == STEP_ADDRESS_ADD)
			emit_address(pl, kind, w);
		i += r <= 0;
		j += r >= 0;
	}
}

/* Which port entries a phase is about. */
enum port_phase {
	PORTS_DEL_ADDRESS_STAYS,
	PORTS_ADD_NOT_ROUTED,
	PORTS_ADD_ROUTED,
	PORTS_DEL_ADDRESS_GOES,
};

static void visit_port_gone(
	struct planner *pl, const struct service_key *key, enum port_phase phase)
{
	bool stays = kernel_state_find_route(pl->want, &key->address);

	if ((phase == PORTS_DEL_ADDRESS_STAYS && stays) ||
		(phase == PORTS_DEL_ADDRESS_GOES && !stays))
		emit_key(pl, STEP_PORT_DEL, key);
}

static void visit_port_new(struct planner *pl, const struct service_key *key, enum port_phase phase)
{
	bool routed = kernel_state_find_route(pl->have, &key->address);

	if ((phase == PORTS_ADD_NOT_ROUTED && !routed) || (phase == PORTS_ADD_ROUTED && routed))
		emit_key(pl, STEP_PORT_ADD, key);
}

static void plan_ports(struct planner *pl, enum port_phase phase)
{
	const struct kernel_state *have = pl->have, *want = pl->want;
	size_t i = 0, j = 0;

	if (pl->same_ports)
		return;
	while (i < have->n_ports || j < want->n_ports) {
		const struct service_key *h = i < have->n_ports ? &have->ports[i] : NULL;
		const struct service_key *w = j < want->n_ports ? &want->ports[j] : NULL;
		int r = !h ? 1 : !w ? -1 : service_key_cmp(h, w);

		if (r < 0)
			visit_port_gone(pl, h, phase);
		else if (r > 0)
			visit_port_new(pl, w, phase);
		i += r <= 0;
		j += r >= 0;
	}
}

static int add_conflict(struct plan *p, const struct service_key *key)
{
	if (p->n_conflicts == p->conflicts_allocated) {
		size_t more = p->conflicts_allocated ? p->conflicts_allocated * 2 : 8;
		struct service_key *grown = reallocarray(p->conflicts, more, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		p->conflicts = grown;
		p->conflicts_allocated = more;
	}
	p->conflicts[p->n_conflicts++] = *key;
	return 0;
}

static void visit_conflict(
	struct planner *pl, const struct service *have, const struct service *want)
{
	if (have && want && !is_ours(pl, have) && add_conflict(pl->plan, &want->key) < 0)
		pl->out_of_memory = true;
}

static int key_cmp(const void *a, const void *b)
{
	return service_key_cmp(a, b);
}

static bool in_conflict(const struct plan *p, const struct service_key *key)
{
	return p->n_conflicts && bsearch(key, p->conflicts, p->n_conflicts, sizeof(*key), key_cmp);
}

/* Frees a state whose services belong to another one. */
static struct kernel_state *reduced_free(struct kernel_state *s)
{
	if (s)
		s->n_services = 0;
	return kernel_state_free(s);
}

/* Fills `ret` with what is left of `want` without the conflicts. */
static int reduce_into(
	struct kernel_state *ret, const struct kernel_state *want, const struct plan *p)
{
	struct kernel_state keep = {};
	int r = 0;

	ret->has_link = want->has_link;
	ret->has_sets = want->has_sets;
	ret->services = calloc(want->n_services, sizeof(ret->services[0]));
	if (!ret->services)
		return -ENOMEM;
	for (size_t i = 0; i < want->n_services && !r; i++) {
		if (in_conflict(p, &want->services[i]->key))
			continue;
		ret->services[ret->n_services++] = want->services[i];
		r = kernel_state_append_address(&keep, &want->services[i]->key.address);
	}
	kernel_state_sort(&keep);
	for (size_t i = 0; i < want->n_ports && !r; i++)
		if (!in_conflict(p, &want->ports[i]))
			r = kernel_state_append_port(ret, &want->ports[i]);
	for (size_t i = 0; i < want->n_routes && !r; i++)
		if (kernel_state_has_address(&keep, &want->routes[i].address))
			r = kernel_state_append_route(ret, &want->routes[i]);
	for (size_t i = 0; i < want->n_addresses && !r; i++)
		if (kernel_state_has_address(&keep, &want->addresses[i]))
			r = kernel_state_append_address(ret, &want->addresses[i]);
	free(keep.addresses);
	return r;
}

static bool same_bytes(const void *a, size_t n_a, const void *b, size_t n_b, size_t size)
{
	return n_a == n_b && (!n_a || memcmp(a, b, n_a * size) == 0);
}

static bool same_sources(const struct plan_options *o)
{
	if (!o->have_sources || !o->want_sources)
		return o->have_sources == o->want_sources;
	return ip_addr_cmp(&o->have_sources->v4, &o->want_sources->v4) == 0 &&
	       ip_addr_cmp(&o->have_sources->v6, &o->want_sources->v6) == 0;
}

/* Finds the parts that are the same to the byte. Two equal elements may differ in a byte of
 * padding; then the walks find what memcmp() did not. */
static void compare_parts(struct planner *pl)
{
	const struct kernel_state *h = pl->have, *w = pl->want;

	pl->same_routes =
		same_sources(&pl->options) &&
		same_bytes(h->routes, h->n_routes, w->routes, w->n_routes, sizeof(h->routes[0]));
	pl->same_ports =
		same_bytes(h->ports, h->n_ports, w->ports, w->n_ports, sizeof(h->ports[0]));
	pl->same_addresses = same_bytes(h->addresses, h->n_addresses, w->addresses, w->n_addresses,
		sizeof(h->addresses[0]));
}

static void plan_all(struct planner *pl)
{
	compare_parts(pl);
	plan_frame(pl);
	each_service(pl, visit_unsigned);
	plan_routes(pl, STEP_ROUTE_DEL);
	plan_ports(pl, PORTS_DEL_ADDRESS_STAYS);
	plan_ports(pl, PORTS_ADD_NOT_ROUTED);
	each_service(pl, visit_add);
	each_service(pl, visit_edit);
	plan_ports(pl, PORTS_ADD_ROUTED);
	plan_addresses(pl, STEP_ADDRESS_ADD);
	plan_routes(pl, STEP_ROUTE_ADD);
	if (pl->destinations_differ)
		each_service(pl, visit_edit_destinations);
	if (pl->destinations_surplus)
		each_service(pl, visit_del_destinations);
	each_service(pl, visit_del);
	plan_ports(pl, PORTS_DEL_ADDRESS_GOES);
	plan_addresses(pl, STEP_ADDRESS_DEL);
}

int plan_make(struct plan *p, const struct kernel_state *have, const struct kernel_state *want,
	const struct plan_options *options)
{
	struct kernel_state *reduced = NULL;
	struct planner pl = {.plan = p, .have = have, .want = want};

	*p = (struct plan){};
	if (options)
		pl.options = *options;
	each_service(&pl, visit_conflict);
	if (p->n_conflicts && !pl.out_of_memory) {
		reduced = kernel_state_new();
		pl.out_of_memory = !reduced || reduce_into(reduced, want, p) < 0;
		pl.want = reduced;
	}
	if (!pl.out_of_memory)
		plan_all(&pl);
	reduced_free(reduced);
	if (pl.out_of_memory) {
		plan_done(p);
		return -ENOMEM;
	}
	return 0;
}

static int apply_service(struct kernel_state *s, const struct step *step)
{
	struct service *svc = kernel_state_find(s, &step->key);

	if (step->kind == STEP_SERVICE_ADD && svc)
		return -EEXIST;
	if (step->kind != STEP_SERVICE_ADD && !svc)
		return -ESRCH;
	if (step->kind == STEP_SERVICE_DEL)
		return kernel_state_remove_service(s, &step->key);
	if (!svc)
		svc = kernel_state_service(s, &step->key);
	if (!svc)
		return -ENOMEM;
	memcpy(svc->scheduler, step->service.scheduler, sizeof(svc->scheduler));
	svc->flags = step->service.flags;
	svc->timeout = step->service.timeout;
	svc->netmask = step->service.netmask;
	return 0;
}

static int apply_destination(struct kernel_state *s, const struct step *step)
{
	struct service *svc = kernel_state_find(s, &step->key);
	struct destination *dest;

	if (!svc)
		return -ESRCH;
	dest = service_find_destination(svc, &step->destination.address, step->destination.port);
	if (step->kind == STEP_DESTINATION_ADD && dest)
		return -EEXIST;
	if (step->kind != STEP_DESTINATION_ADD && !dest)
		return -ENOENT;
	if (step->kind == STEP_DESTINATION_DEL)
		return service_remove_destination(
			svc, &step->destination.address, step->destination.port);
	return service_set_destination(svc, &step->destination);
}

static int apply_set_entry(struct kernel_state *s, const struct step *step)
{
	if (!s->has_sets)
		return -ENOENT;
	if (step->kind == STEP_PORT_ADD)
		return kernel_state_set_port(s, &step->key);
	if (step->kind == STEP_ADDRESS_ADD)
		return kernel_state_set_address(s, &step->route.address);
	if (step->kind == STEP_PORT_DEL)
		kernel_state_remove_port(s, &step->key);
	else
		kernel_state_remove_address(s, &step->route.address);
	return 0;
}

int kernel_state_apply(struct kernel_state *s, const struct step *step)
{
	switch (step->kind) {
	case STEP_LINK_ADD:
		s->has_link = true;
		return 0;
	case STEP_SETS_ADD:
		s->has_sets = true;
		return 0;
	case STEP_ROUTE_ADD:
		return s->has_link ? kernel_state_set_route(s, &step->route) : -ENODEV;
	case STEP_ROUTE_DEL:
		kernel_state_remove_route(s, &step->route.address);
		return 0;
	case STEP_PORT_ADD:
	case STEP_PORT_DEL:
	case STEP_ADDRESS_ADD:
	case STEP_ADDRESS_DEL:
		return apply_set_entry(s, step);
	case STEP_SERVICE_ADD:
	case STEP_SERVICE_EDIT:
	case STEP_SERVICE_DEL:
		return apply_service(s, step);
	case STEP_DESTINATION_ADD:
	case STEP_DESTINATION_EDIT:
	case STEP_DESTINATION_DEL:
		return apply_destination(s, step);
	}
	return -EINVAL;
}
