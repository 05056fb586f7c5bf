/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "traffic.h"

#include <errno.h>
#include <stdlib.h>

struct traffic_table *traffic_table_new(void)
{
	return calloc(1, sizeof(struct traffic_table));
}

struct traffic_table *traffic_table_free(struct traffic_table *t)
{
	if (!t)
		return NULL;
	for (size_t i = 0; i < t->n_services; i++)
		free(t->services[i].destinations);
	free(t->services);
	free(t);
	return NULL;
}

/* Room for one more of `size` bytes in *list. */
static int grow(void *list, size_t n, size_t *allocated, size_t size)
{
	void **p = list, *larger;
	size_t want = *allocated ? 2 * *allocated : 8;

	if (n < *allocated)
		return 0;
	larger = reallocarray(*p, want, size);
	if (!larger)
		return -ENOMEM;
	*p = larger;
	*allocated = want;
	return 0;
}

struct service_traffic *traffic_table_append(
	struct traffic_table *t, const struct service_traffic *counted)
{
	if (grow(&t->services, t->n_services, &t->services_allocated, sizeof(*t->services)) < 0)
		return NULL;
	t->services[t->n_services] = *counted;
	return &t->services[t->n_services++];
}

int service_traffic_append(struct service_traffic *s, const struct destination_traffic *counted)
{
	int r = grow(&s->destinations, s->n_destinations, &s->destinations_allocated,
		sizeof(*s->destinations));

	if (!r)
		s->destinations[s->n_destinations++] = *counted;
	return r;
}

static int cmp_service(const void *pa, const void *pb)
{
	const struct service_traffic *a = pa, *b = pb;

	return service_key_cmp(&a->key, &b->key);
}

static int cmp_destination(const void *pa, const void *pb)
{
	const struct destination_traffic *a = pa, *b = pb;
	int c = ip_addr_cmp(&a->address, &b->address);

	return c ? c : (a->port > b->port) - (a->port < b->port);
}

void traffic_table_sort(struct traffic_table *t)
{
	size_t n = 0;

	if (!t->n_services)
		return;
	qsort(t->services, t->n_services, sizeof(*t->services), cmp_service);
	for (size_t i = 1; i < t->n_services; i++) {
		if (cmp_service(&t->services[i], &t->services[n]) == 0)
			free(t->services[i].destinations);
		else
			t->services[++n] = t->services[i];
	}
	t->n_services = n + 1;
}

void service_traffic_sort(struct service_traffic *s)
{
	size_t n = 0;

	if (!s->n_destinations)
		return;
	qsort(s->destinations, s->n_destinations, sizeof(*s->destinations), cmp_destination);
	for (size_t i = 1; i < s->n_destinations; i++)
		if (cmp_destination(&s->destinations[i], &s->destinations[n]) != 0)
			s->destinations[++n] = s->destinations[i];
	s->n_destinations = n + 1;
}

bool service_traffic_is_idle(
	const struct service_traffic *before, const struct service_traffic *now)
{
	const struct traffic *a = &before->total, *b = &now->total;

	/* A packet of a connection, its end included, is counted; its time-out is not. */
	if (a->connections != b->connections || a->packets_in != b->packets_in ||
		a->packets_out != b->packets_out)
		return false;
	for (size_t i = 0; i < before->n_destinations; i++)
		if (before->destinations[i].n_active || before->destinations[i].n_inactive)
			return false;
	return true;
}

int service_traffic_copy_destinations(
	struct service_traffic *to, const struct service_traffic *from)
{
	int r = 0;

	for (size_t i = 0; i < from->n_destinations && !r; i++)
		r = service_traffic_append(to, &from->destinations[i]);
	return r;
}

const struct service_traffic *traffic_table_find(
	const struct traffic_table *t, const struct service_key *key)
{
	const struct service_traffic wanted = {.key = *key};

	return t && t->n_services ? bsearch(&wanted, t->services, t->n_services,
					    sizeof(*t->services), cmp_service)
				  : NULL;
}

const struct destination_traffic *service_traffic_find(
	const struct service_traffic *s, const struct ip_addr *address, uint16_t port)
{
	const struct destination_traffic wanted = {.address = *address, .port = port};

	return s && s->n_destinations ? bsearch(&wanted, s->destinations, s->n_destinations,
						sizeof(*s->destinations), cmp_destination)
				      : NULL;
}
