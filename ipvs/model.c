/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sorted arrays, and nothing else. Appending in order, which is what the builders of a
 * wanted state do, costs a comparison with the last element; an insertion elsewhere
 * moves the tail. A reader of the kernel, whose dumps come in the order of hash tables,
 * appends without order and sorts once at the end.
 *
 * Services are allocated one by one, so that a pointer to one survives the growth of
 * the array.
 */
#include "model.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int ip_addr_cmp(const struct ip_addr *a, const struct ip_addr *b)
{
	if (a->family != b->family)
		return a->family < b->family ? -1 : 1;
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

int ip_addr_parse(const char *text, struct ip_addr *ret)
{
	struct ip_addr addr = {};

	addr.family = strchr(text, ':') ? AF_INET6 : AF_INET;
	if (inet_pton(addr.family, text, addr.bytes) != 1)
		return -EINVAL;
	*ret = addr;
	return 0;
}

const char *ip_addr_format(const struct ip_addr *addr, char buf[static IP_ADDR_STRLEN])
{
	if (!ip_addr_len(addr->family) ||
		!inet_ntop(addr->family, addr->bytes, buf, IP_ADDR_STRLEN))
		strcpy(buf, "none");
	return buf;
}

size_t ip_addr_len(uint8_t family)
{
	switch (family) {
	case AF_INET:
		return 4;
	case AF_INET6:
		return 16;
	default:
		return 0;
	}
}

const char *endpoint_format(
	const struct ip_addr *addr, uint16_t port, char buf[static ENDPOINT_STRLEN])
{
	char text[IP_ADDR_STRLEN];

	snprintf(buf, ENDPOINT_STRLEN, addr->family == AF_INET6 ? "[%s]:%u" : "%s:%u",
		ip_addr_format(addr, text), port);
	return buf;
}

int service_key_cmp(const struct service_key *a, const struct service_key *b)
{
	int r;

	if (a->protocol != b->protocol)
		return a->protocol < b->protocol ? -1 : 1;
	r = ip_addr_cmp(&a->address, &b->address);
	if (r)
		return r;
	return (int)a->port - (int)b->port;
}

const char *service_key_format(const struct service_key *key, char buf[static SERVICE_KEY_STRLEN])
{
	char endpoint[ENDPOINT_STRLEN];

	snprintf(buf, SERVICE_KEY_STRLEN, "%s %s", key->protocol == IPPROTO_UDP ? "udp" : "tcp",
		endpoint_format(&key->address, key->port, endpoint));
	return buf;
}

int destination_cmp(const struct destination *a, const struct destination *b)
{
	int r = ip_addr_cmp(&a->address, &b->address);

	return r ? r : (int)a->port - (int)b->port;
}

int vip_route_cmp(const struct vip_route *a, const struct vip_route *b)
{
	return ip_addr_cmp(&a->address, &b->address);
}

/* A sorted array of elements of one size, as the helpers below see it. */
typedef int (*cmp_fn)(const void *a, const void *b);

static int service_ptr_cmp(const void *a, const void *b)
{
	return service_key_cmp(
		&(*(struct service *const *)a)->key, &(*(struct service *const *)b)->key);
}

static int service_vs_key(const void *service, const void *key)
{
	return service_key_cmp(&(*(struct service *const *)service)->key, key);
}

static int port_cmp(const void *a, const void *b)
{
	return service_key_cmp(a, b);
}

static int address_cmp(const void *a, const void *b)
{
	return ip_addr_cmp(a, b);
}

static int route_cmp(const void *a, const void *b)
{
	return vip_route_cmp(a, b);
}

static int dest_cmp(const void *a, const void *b)
{
	return destination_cmp(a, b);
}

/* Returns the grown (perhaps moved) array with room for one more, or NULL. */
static void *grow(void *array, size_t n, size_t *allocated, size_t size)
{
	size_t more;

	if (n < *allocated)
		return array;
	more = *allocated ? *allocated * 2 : 8;
	array = reallocarray(array, more, size);
	if (array)
		*allocated = more;
	return array;
}

/* The index of the first element that is not below `key`; *ret_found: equal to it.
 * cmp() is called with an element and the key, in this order. */
static size_t lower_bound(
	const void *array, size_t n, size_t size, cmp_fn cmp, const void *key, bool *ret_found)
{
	size_t low = 0, high = n;
	int r;

	*ret_found = false;
	if (!n)
		return 0;
	r = cmp((const char *)array + (n - 1) * size, key);
	if (r < 0)
		return n;
	if (!r) {
		*ret_found = true;
		return n - 1;
	}
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		r = cmp((const char *)array + mid * size, key);
		if (!r) {
			*ret_found = true;
			return mid;
		}
		if (r < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Makes a gap at `index` and copies the element in; the array has room. */
static void insert_at(void *array, size_t *n, size_t size, size_t index, const void *element)
{
	char *at = (char *)array + index * size;

	memmove(at + size, at, (*n - index) * size);
	memcpy(at, element, size);
	(*n)++;
}

static void remove_at(void *array, size_t *n, size_t size, size_t index)
{
	char *at = (char *)array + index * size;

	(*n)--;
	memmove(at, at + size, (*n - index) * size);
}

struct kernel_state *kernel_state_new(void)
{
	return calloc(1, sizeof(struct kernel_state));
}

static void service_free(struct service *svc)
{
	if (__atomic_fetch_sub(&svc->n_shares, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	free(svc->destinations);
	free(svc);
}

struct kernel_state *kernel_state_free(struct kernel_state *s)
{
	if (!s)
		return NULL;
	for (size_t i = 0; i < s->n_services; i++)
		service_free(s->services[i]);
	free(s->services);
	free(s->routes);
	free(s->ports);
	free(s->addresses);
	free(s);
	return NULL;
}

static struct service *service_new(const struct service_key *key)
{
	struct service *svc = calloc(1, sizeof(*svc));

	if (!svc)
		return NULL;
	svc->key = *key;
	strcpy(svc->scheduler, SERVICE_SCHEDULER);
	svc->timeout = SERVICE_SIGNATURE;
	svc->netmask = service_host_netmask(key->address.family);
	return svc;
}

uint32_t service_host_netmask(uint8_t family)
{
	return family == AF_INET6 ? 128 : UINT32_MAX;
}

static size_t find_service(
	const struct kernel_state *s, const struct service_key *key, bool *ret_found)
{
	return lower_bound(
		s->services, s->n_services, sizeof(s->services[0]), service_vs_key, key, ret_found);
}

struct service *kernel_state_service(struct kernel_state *s, const struct service_key *key)
{
	struct service **grown;
	struct service *svc;
	bool found;
	size_t index = find_service(s, key, &found);

	if (found)
		return s->services[index];
	grown = grow(s->services, s->n_services, &s->services_allocated, sizeof(*grown));
	if (!grown)
		return NULL;
	s->services = grown;
	svc = service_new(key);
	if (svc)
		insert_at(s->services, &s->n_services, sizeof(*grown), index, &svc);
	return svc;
}

int kernel_state_share_service(struct kernel_state *s, struct service *svc)
{
	struct service **grown =
		grow(s->services, s->n_services, &s->services_allocated, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	__atomic_fetch_add(&svc->n_shares, 1, __ATOMIC_RELAXED);
	s->services = grown;
	s->services[s->n_services++] = svc;
	return 0;
}

struct service *kernel_state_find(const struct kernel_state *s, const struct service_key *key)
{
	bool found;
	size_t index = find_service(s, key, &found);

	return found ? s->services[index] : NULL;
}

int kernel_state_remove_service(struct kernel_state *s, const struct service_key *key)
{
	bool found;
	size_t index = find_service(s, key, &found);

	if (!found)
		return -ENOENT;
	service_free(s->services[index]);
	remove_at(s->services, &s->n_services, sizeof(s->services[0]), index);
	return 0;
}

static size_t find_destination(
	const struct service *svc, const struct ip_addr *address, uint16_t port, bool *ret_found)
{
	const struct destination probe = {.address = *address, .port = port};

	return lower_bound(
		svc->destinations, svc->n_destinations, sizeof(probe), dest_cmp, &probe, ret_found);
}

int service_set_destination(struct service *svc, const struct destination *dest)
{
	struct destination *grown;
	bool found;
	size_t index = find_destination(svc, &dest->address, dest->port, &found);

	if (found) {
		svc->destinations[index] = *dest;
		return 0;
	}
	grown = grow(svc->destinations, svc->n_destinations, &svc->destinations_allocated,
		sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	svc->destinations = grown;
	insert_at(svc->destinations, &svc->n_destinations, sizeof(*dest), index, dest);
	return 0;
}

struct destination *service_find_destination(
	const struct service *svc, const struct ip_addr *address, uint16_t port)
{
	bool found;
	size_t index = find_destination(svc, address, port, &found);

	return found ? &svc->destinations[index] : NULL;
}

int service_remove_destination(struct service *svc, const struct ip_addr *address, uint16_t port)
{
	bool found;
	size_t index = find_destination(svc, address, port, &found);

	if (!found)
		return -ENOENT;
	remove_at(svc->destinations, &svc->n_destinations, sizeof(svc->destinations[0]), index);
	return 0;
}

/* The four kinds of array of a state, insertion in order. `ret` points at the array's
 * pointer in the state. */
static int set_insert(
	void **array, size_t *n, size_t *allocated, size_t size, cmp_fn cmp, const void *element)
{
	void *grown;
	bool found;
	size_t index = lower_bound(*array, *n, size, cmp, element, &found);

	if (found) {
		memcpy((char *)*array + index * size, element, size);
		return 0;
	}
	grown = grow(*array, *n, allocated, size);
	if (!grown)
		return -ENOMEM;
	*array = grown;
	insert_at(grown, n, size, index, element);
	return 0;
}

static int set_remove(void *array, size_t *n, size_t size, cmp_fn cmp, const void *element)
{
	bool found;
	size_t index = lower_bound(array, *n, size, cmp, element, &found);

	if (!found)
		return -ENOENT;
	remove_at(array, n, size, index);
	return 0;
}

int kernel_state_set_route(struct kernel_state *s, const struct vip_route *route)
{
	return set_insert((void **)&s->routes, &s->n_routes, &s->routes_allocated, sizeof(*route),
		route_cmp, route);
}

int kernel_state_set_port(struct kernel_state *s, const struct service_key *key)
{
	return set_insert(
		(void **)&s->ports, &s->n_ports, &s->ports_allocated, sizeof(*key), port_cmp, key);
}

int kernel_state_set_address(struct kernel_state *s, const struct ip_addr *address)
{
	return set_insert((void **)&s->addresses, &s->n_addresses, &s->addresses_allocated,
		sizeof(*address), address_cmp, address);
}

int kernel_state_remove_route(struct kernel_state *s, const struct ip_addr *address)
{
	const struct vip_route probe = {.address = *address};

	return set_remove(s->routes, &s->n_routes, sizeof(probe), route_cmp, &probe);
}

int kernel_state_remove_port(struct kernel_state *s, const struct service_key *key)
{
	return set_remove(s->ports, &s->n_ports, sizeof(*key), port_cmp, key);
}

int kernel_state_remove_address(struct kernel_state *s, const struct ip_addr *address)
{
	return set_remove(s->addresses, &s->n_addresses, sizeof(*address), address_cmp, address);
}

const struct vip_route *kernel_state_find_route(
	const struct kernel_state *s, const struct ip_addr *address)
{
	const struct vip_route probe = {.address = *address};
	bool found;
	size_t index =
		lower_bound(s->routes, s->n_routes, sizeof(probe), route_cmp, &probe, &found);

	return found ? &s->routes[index] : NULL;
}

bool kernel_state_has_port(const struct kernel_state *s, const struct service_key *key)
{
	bool found;

	lower_bound(s->ports, s->n_ports, sizeof(*key), port_cmp, key, &found);
	return found;
}

bool kernel_state_has_address(const struct kernel_state *s, const struct ip_addr *address)
{
	bool found;

	lower_bound(s->addresses, s->n_addresses, sizeof(*address), address_cmp, address, &found);
	return found;
}

struct service *kernel_state_append_service(struct kernel_state *s, const struct service_key *key)
{
	struct service **grown =
		grow(s->services, s->n_services, &s->services_allocated, sizeof(*grown));
	struct service *svc;

	if (!grown)
		return NULL;
	s->services = grown;
	svc = service_new(key);
	if (svc)
		s->services[s->n_services++] = svc;
	return svc;
}

static int append(void **array, size_t *n, size_t *allocated, size_t size, const void *element)
{
	void *grown = grow(*array, *n, allocated, size);

	if (!grown)
		return -ENOMEM;
	*array = grown;
	memcpy((char *)grown + *n * size, element, size);
	(*n)++;
	return 0;
}

int service_append_destination(struct service *svc, const struct destination *dest)
{
	return append((void **)&svc->destinations, &svc->n_destinations,
		&svc->destinations_allocated, sizeof(*dest), dest);
}

int kernel_state_append_route(struct kernel_state *s, const struct vip_route *route)
{
	return append(
		(void **)&s->routes, &s->n_routes, &s->routes_allocated, sizeof(*route), route);
}

int kernel_state_append_port(struct kernel_state *s, const struct service_key *key)
{
	return append((void **)&s->ports, &s->n_ports, &s->ports_allocated, sizeof(*key), key);
}

int kernel_state_append_address(struct kernel_state *s, const struct ip_addr *address)
{
	return append((void **)&s->addresses, &s->n_addresses, &s->addresses_allocated,
		sizeof(*address), address);
}

/* Sorts and drops repeated elements; returns the new count. */
static size_t sort_unique(void *array, size_t n, size_t size, cmp_fn cmp)
{
	char *base = array;
	size_t kept = 0;

	if (n < 2)
		return n;
	qsort(array, n, size, cmp);
	for (size_t i = 1; i < n; i++) {
		if (!cmp(base + kept * size, base + i * size))
			continue;
		kept++;
		if (kept != i)
			memcpy(base + kept * size, base + i * size, size);
	}
	return kept + 1;
}

void service_sort(struct service *svc)
{
	svc->n_destinations = sort_unique(
		svc->destinations, svc->n_destinations, sizeof(svc->destinations[0]), dest_cmp);
}

/* As sort_unique(), but the repeated ones are freed. */
static void sort_services(struct kernel_state *s)
{
	size_t kept = 0;

	if (s->n_services < 2)
		return;
	qsort(s->services, s->n_services, sizeof(s->services[0]), service_ptr_cmp);
	for (size_t i = 1; i < s->n_services; i++) {
		if (service_key_cmp(&s->services[kept]->key, &s->services[i]->key))
			s->services[++kept] = s->services[i];
		else
			service_free(s->services[i]);
	}
	s->n_services = kept + 1;
}

void kernel_state_sort(struct kernel_state *s)
{
	sort_services(s);
	for (size_t i = 0; i < s->n_services; i++)
		service_sort(s->services[i]);
	s->n_routes = sort_unique(s->routes, s->n_routes, sizeof(s->routes[0]), route_cmp);
	s->n_ports = sort_unique(s->ports, s->n_ports, sizeof(s->ports[0]), port_cmp);
	s->n_addresses =
		sort_unique(s->addresses, s->n_addresses, sizeof(s->addresses[0]), address_cmp);
}

/* Ports and addresses of the services. Those of one protocol come in the order of their
 * addresses, so mostly there is nothing to sort. */
static int add_entries(struct kernel_state *s)
{
	bool sorted = true;

	for (size_t i = 0; i < s->n_services; i++) {
		const struct service_key *key = &s->services[i]->key;
		int r = s->n_addresses
				? ip_addr_cmp(&s->addresses[s->n_addresses - 1], &key->address)
				: -1;

		if (kernel_state_append_port(s, key) < 0 ||
			(r && kernel_state_append_address(s, &key->address) < 0))
			return -ENOMEM;
		sorted = sorted && r <= 0;
	}
	if (!sorted)
		s->n_addresses = sort_unique(
			s->addresses, s->n_addresses, sizeof(s->addresses[0]), address_cmp);
	return 0;
}

int kernel_state_complete(
	struct kernel_state *s, const struct ip_addr *source4, const struct ip_addr *source6)
{
	s->has_link = s->has_sets = true;
	s->n_routes = s->n_ports = s->n_addresses = 0;
	if (add_entries(s) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < s->n_addresses; i++) {
		const struct ip_addr *address = &s->addresses[i];
		const struct ip_addr *source = address->family == AF_INET6 ? source6 : source4;
		struct vip_route route = {.address = *address};

		if (source)
			route.source = *source;
		if (kernel_state_append_route(s, &route) < 0)
			return -ENOMEM;
	}
	return 0;
}
