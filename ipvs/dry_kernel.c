/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * No kernel at all: steps are accepted into a kernel_state in memory and answered as the
 * kernel would answer them, for who wants to see what would be done. Several opened ones share
 * nothing; each begins empty.
 */
#include "kernel_ops.h"

#include <errno.h>
#include <stdlib.h>

struct dry_kernel {
	struct kernel base;
	struct kernel_state *state;
};

static void dry_free(struct kernel *k)
{
	struct dry_kernel *d = (struct dry_kernel *)k;

	kernel_state_free(d->state);
	free(d);
}

static int dry_apply(struct kernel *k, struct step_report *r, size_t first, size_t n)
{
	struct dry_kernel *d = (struct dry_kernel *)k;

	for (size_t i = first; i < first + n; i++) {
		int error = kernel_state_apply(d->state, &r->steps[i]);

		if (error)
			step_report_add(r, i, error);
	}
	return 0;
}

static int copy_service(const struct service *from, bool destinations, struct kernel_state *s)
{
	struct service *to = kernel_state_append_service(s, &from->key);
	int r = 0;

	if (!to)
		return -ENOMEM;
	*to = *from;
	to->n_destinations = to->destinations_allocated = 0;
	to->destinations = NULL;
	for (size_t i = 0; destinations && i < from->n_destinations && !r; i++)
		r = service_append_destination(to, &from->destinations[i]);
	return r;
}

static int read_named(const struct kernel_state *from, const struct service_key *keys,
	size_t n_keys, struct kernel_state *s)
{
	int r = 0;

	for (size_t i = 0; i < n_keys && !r; i++) {
		const struct service *svc = kernel_state_find(from, &keys[i]);

		r = svc ? copy_service(svc, true, s) : 0;
	}
	return r;
}

static int read_services(
	const struct kernel_state *from, unsigned int parts, struct kernel_state *s)
{
	int r = 0;

	if (parts & (KERNEL_SERVICES | KERNEL_DESTINATIONS))
		for (size_t i = 0; i < from->n_services && !r; i++)
			r = copy_service(from->services[i], parts & KERNEL_DESTINATIONS, s);
	return r;
}

static int read_around(const struct kernel_state *from, unsigned int parts, struct kernel_state *s)
{
	int r = 0;

	s->has_link = parts & KERNEL_LINK && from->has_link;
	s->has_sets = parts & KERNEL_SETS && from->has_sets;
	for (size_t i = 0; parts & KERNEL_ROUTES && i < from->n_routes && !r; i++)
		r = kernel_state_append_route(s, &from->routes[i]);
	for (size_t i = 0; parts & KERNEL_SETS && i < from->n_ports && !r; i++)
		r = kernel_state_append_port(s, &from->ports[i]);
	for (size_t i = 0; parts & KERNEL_SETS && i < from->n_addresses && !r; i++)
		r = kernel_state_append_address(s, &from->addresses[i]);
	return r;
}

static int dry_read(struct kernel *k, unsigned int parts, const struct service_key *keys,
	size_t n_keys, struct kernel_state *s)
{
	const struct kernel_state *from = ((struct dry_kernel *)k)->state;
	int r = read_around(from, parts, s);

	if (r)
		return r;
	return keys ? read_named(from, keys, n_keys, s) : read_services(from, parts, s);
}

static int dry_remove_frame(struct kernel *k)
{
	struct kernel_state *s = ((struct dry_kernel *)k)->state;

	s->has_link = s->has_sets = false;
	s->n_routes = s->n_ports = s->n_addresses = 0;
	return 0;
}

static const struct kernel_ops dry_ops = {
	.free = dry_free,
	.read = dry_read,
	.apply = dry_apply,
	.remove_frame = dry_remove_frame,
};

int dry_kernel_open(struct kernel **ret)
{
	struct dry_kernel *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->base.ops = &dry_ops;
	d->state = kernel_state_new();
	if (!d->state) {
		free(d);
		return -ENOMEM;
	}
	*ret = &d->base;
	return 0;
}
