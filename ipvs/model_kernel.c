/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The state is a kernel_state; commands are kernel_state_apply(), which answers as the
 * kernel does, and what a reader sees is a copy with entries skipped and repeated.
 *
 * The trash is IPVS' list of deleted destinations, kept for two minutes and searched by
 * every addition. A model has no clock, so nothing ever leaves it, except a destination
 * that is added again.
 */
#include "model_kernel.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Failures of commands that are nobody's fault. */
static const int random_errors[] = {-ENOMEM, -EAGAIN, -EBUSY, -EINTR, -ENOBUFS};

#define DEFAULT_FAIL_ONE_IN 10

struct trash_entry {
	struct service_key key;
	struct destination destination;
};

struct model_kernel {
	struct kernel base;
	struct model_kernel_options options;
	uint64_t random;
	struct kernel_state *state;
	unsigned int n_set_references;
	struct model_kernel_counters counters;
	size_t trash_allocated;
	struct trash_entry *trash;
	void (*watch)(void *userdata, const struct kernel_state *s, const struct step *next);
	void *watch_userdata;
};

static uint64_t next_random(struct model_kernel *m)
{
	/* xorshift64*: Vigna, 2016 */
	m->random ^= m->random >> 12;
	m->random ^= m->random << 25;
	m->random ^= m->random >> 27;
	return m->random * 0x2545f4914f6cdd1d;
}

static bool one_in(struct model_kernel *m, unsigned int n)
{
	return n && n != UINT_MAX && (next_random(m) >> 33) % n == 0;
}

static void model_free(struct kernel *k)
{
	struct model_kernel *m = (struct model_kernel *)k;

	kernel_state_free(m->state);
	free(m->trash);
	free(m);
}

static void trash_add(struct model_kernel *m, const struct service_key *key,
	const struct destination *destination)
{
	if (m->counters.n_trash == m->trash_allocated) {
		size_t more = m->trash_allocated ? m->trash_allocated * 2 : 64;
		struct trash_entry *grown = reallocarray(m->trash, more, sizeof(*grown));

		if (!grown)
			return;
		m->trash = grown;
		m->trash_allocated = more;
	}
	m->trash[m->counters.n_trash++] =
		(struct trash_entry){.key = *key, .destination = *destination};
}

/* An addition looks for its former self in the list, from the latest to the first. */
static void trash_search(struct model_kernel *m, const struct step *step)
{
	for (size_t i = m->counters.n_trash; i-- > 0;) {
		m->counters.cost++;
		if (service_key_cmp(&m->trash[i].key, &step->key) ||
			destination_cmp(&m->trash[i].destination, &step->destination))
			continue;
		m->counters.n_trash--;
		memmove(&m->trash[i], &m->trash[i + 1],
			(m->counters.n_trash - i) * sizeof(*m->trash));
		return;
	}
}

static void before_command(struct model_kernel *m, const struct step *step)
{
	const struct service *svc = kernel_state_find(m->state, &step->key);

	if (step->kind == STEP_DESTINATION_ADD)
		trash_search(m, step);
	else if (step->kind == STEP_DESTINATION_DEL)
		trash_add(m, &step->key, &step->destination);
	else if (step->kind == STEP_SERVICE_DEL && svc)
		for (size_t i = 0; i < svc->n_destinations; i++)
			trash_add(m, &svc->key, &svc->destinations[i]);
}

static bool same_service(const struct service *svc, const struct step *step)
{
	return strcmp(svc->scheduler, step->service.scheduler) == 0 &&
	       svc->flags == step->service.flags && svc->timeout == step->service.timeout &&
	       svc->netmask == step->service.netmask;
}

static bool same_destination(const struct service *svc, const struct step *step)
{
	const struct destination *want = &step->destination, *d;

	d = service_find_destination((struct service *)svc, &want->address, want->port);
	return d && d->weight == want->weight && d->forward == 0 &&
	       d->upper_threshold == want->upper_threshold &&
	       d->lower_threshold == want->lower_threshold;
}

/* A command that succeeds and leaves everything as it is. */
static bool is_redundant(const struct model_kernel *m, const struct step *step)
{
	const struct service *svc = kernel_state_find(m->state, &step->key);

	switch (step->kind) {
	case STEP_SERVICE_EDIT:
		return svc && same_service(svc, step);
	case STEP_DESTINATION_EDIT:
		return svc && same_destination(svc, step);
	case STEP_PORT_ADD:
		return kernel_state_has_port(m->state, &step->key);
	case STEP_PORT_DEL:
		return !kernel_state_has_port(m->state, &step->key);
	case STEP_ROUTE_ADD: {
		const struct vip_route *r = kernel_state_find_route(m->state, &step->route.address);

		return r && ip_addr_equal(&r->source, &step->route.source);
	}
	case STEP_ROUTE_DEL:
		return !kernel_state_find_route(m->state, &step->route.address);
	case STEP_LINK_ADD:
		return m->state->has_link;
	case STEP_SETS_ADD:
		return m->state->has_sets;
	case STEP_ADDRESS_ADD: /* an entry of the set of addresses costs next to nothing */
	case STEP_ADDRESS_DEL:
	case STEP_SERVICE_ADD: /* these fail instead */
	case STEP_SERVICE_DEL:
	case STEP_DESTINATION_ADD:
	case STEP_DESTINATION_DEL:
		break;
	}
	return false;
}

static int command(struct model_kernel *m, const struct step *step)
{
	unsigned int n = m->options.fail_one_in;

	if (m->watch)
		m->watch(m->watch_userdata, m->state, step);
	m->counters.n_commands++;
	if (one_in(m, n ? n : DEFAULT_FAIL_ONE_IN)) {
		m->counters.n_failed++;
		return random_errors[next_random(m) %
				     (sizeof(random_errors) / sizeof(random_errors[0]))];
	}
	m->counters.n_redundant += is_redundant(m, step);
	before_command(m, step);
	return kernel_state_apply(m->state, step);
}

static int model_apply(struct kernel *k, struct step_report *r, size_t first, size_t n)
{
	struct model_kernel *m = (struct model_kernel *)k;
	bool lose = one_in(m, m->options.lose_one_in);
	size_t done = lose ? next_random(m) % n : n;

	for (size_t i = first; i < first + done; i++) {
		int error = command(m, &r->steps[i]);

		if (error && !lose)
			step_report_add(r, i, error);
	}
	return lose ? -ENOBUFS : 0;
}

/* How often a dump shows an entry. */
static int n_shown(struct model_kernel *m)
{
	if (one_in(m, m->options.skip_one_in))
		return 0;
	return one_in(m, m->options.skip_one_in) ? 2 : 1;
}

static int copy_service(struct model_kernel *m, const struct service *from, bool destinations,
	struct kernel_state *s)
{
	struct service *to = kernel_state_append_service(s, &from->key);
	int r = 0;

	if (!to)
		return -ENOMEM;
	*to = *from;
	to->place = (uint32_t)s->n_services;
	to->n_destinations = to->destinations_allocated = 0;
	to->n_shares = 0;
	to->destinations = NULL;
	for (size_t i = 0; destinations && i < from->n_destinations; i++)
		for (int n = n_shown(m); n > 0 && !r; n--)
			r = service_append_destination(to, &from->destinations[i]);
	return r;
}

static int read_named(struct model_kernel *m, const struct service_key *keys, size_t n_keys,
	struct kernel_state *s)
{
	for (size_t i = 0; i < n_keys; i++) {
		const struct service *svc = kernel_state_find(m->state, &keys[i]);
		int r = svc ? copy_service(m, svc, true, s) : 0;

		if (r)
			return r;
	}
	return 0;
}

static int read_services(struct model_kernel *m, unsigned int parts, struct kernel_state *s)
{
	bool broken = one_in(m, m->options.break_one_in);

	if (!(parts & (KERNEL_SERVICES | KERNEL_DESTINATIONS)))
		return 0;
	for (size_t i = 0; i < m->state->n_services; i++) {
		if (broken && i >= m->state->n_services / 2)
			return -ENOBUFS;
		for (int n = n_shown(m); n > 0; n--) {
			int r = copy_service(
				m, m->state->services[i], parts & KERNEL_DESTINATIONS, s);

			if (r)
				return r;
		}
	}
	return 0;
}

static int read_sets(const struct kernel_state *from, struct kernel_state *s)
{
	int r = 0;

	s->has_sets = from->has_sets;
	for (size_t i = 0; i < from->n_ports && !r; i++)
		r = kernel_state_append_port(s, &from->ports[i]);
	for (size_t i = 0; i < from->n_addresses && !r; i++)
		r = kernel_state_append_address(s, &from->addresses[i]);
	return r;
}

static int model_read(struct kernel *k, unsigned int parts, const struct service_key *keys,
	size_t n_keys, struct kernel_state *s)
{
	struct model_kernel *m = (struct model_kernel *)k;
	int r = keys ? read_named(m, keys, n_keys, s) : read_services(m, parts, s);

	m->counters.n_reads++;
	if (parts & KERNEL_LINK)
		s->has_link = m->state->has_link;
	if (parts & KERNEL_ROUTES)
		for (size_t i = 0; i < m->state->n_routes && !r; i++)
			r = kernel_state_append_route(s, &m->state->routes[i]);
	if (!r && parts & KERNEL_SETS)
		r = read_sets(m->state, s);
	return r;
}

static int model_remove_frame(struct kernel *k)
{
	struct model_kernel *m = (struct model_kernel *)k;

	m->state->has_link = false;
	m->state->n_routes = 0;
	if (m->n_set_references)
		return -EBUSY;
	m->state->has_sets = false;
	m->state->n_ports = m->state->n_addresses = 0;
	return 0;
}

static const struct kernel_ops model_ops = {
	.free = model_free,
	.read = model_read,
	.apply = model_apply,
	.remove_frame = model_remove_frame,
};

struct kernel *model_kernel_new(const struct model_kernel_options *options)
{
	struct model_kernel *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->base.ops = &model_ops;
	if (options)
		m->options = *options;
	m->random = m->options.seed * 2 + 1; /* never 0 */
	m->state = kernel_state_new();
	if (!m->state) {
		free(m);
		return NULL;
	}
	return &m->base;
}

struct kernel_state *model_kernel_state(struct kernel *k)
{
	return ((struct model_kernel *)k)->state;
}

void model_kernel_hold_sets(struct kernel *k, unsigned int n_rules)
{
	((struct model_kernel *)k)->n_set_references = n_rules;
}

void model_kernel_set(struct kernel *k, const struct model_kernel_options *options)
{
	((struct model_kernel *)k)->options = *options;
}

const struct model_kernel_counters *model_kernel_counters(const struct kernel *k)
{
	return &((const struct model_kernel *)k)->counters;
}

void model_kernel_watch(struct kernel *k,
	void (*watch)(void *userdata, const struct kernel_state *s, const struct step *next),
	void *userdata)
{
	struct model_kernel *m = (struct model_kernel *)k;

	m->watch = watch;
	m->watch_userdata = userdata;
}
