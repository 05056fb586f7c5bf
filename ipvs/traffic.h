/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * What went through IPVS: the counters of services and destinations. Values that are read now and
 * then beside a kernel_state, and no part of it: nobody wants counters, and they would make every
 * state twice as large.
 */
#include "model.h"

/* Since the service or destination was made. "In" is from client to backend. */
struct traffic {
	uint64_t connections, packets_in, packets_out, bytes_in, bytes_out;
};

struct destination_traffic {
	struct ip_addr address;
	uint16_t port;
	uint32_t n_active, n_inactive; /* connections, now */
	struct traffic total;
};

struct service_traffic {
	struct service_key key;
	struct traffic total;
	size_t n_destinations, destinations_allocated;
	struct destination_traffic *destinations; /* sorted */
};

struct traffic_table {
	size_t n_services, services_allocated;
	struct service_traffic *services; /* sorted by key; of all of IPVS, vipd's or not */
	size_t n_asked; /* services whose destinations were asked for: see kernel_read_traffic() */
};

struct traffic_table *traffic_table_new(void);                     /* NULL: out of memory */
struct traffic_table *traffic_table_free(struct traffic_table *t); /* takes NULL; returns NULL */

/* For readers; traffic_table_sort() must follow. NULL or -ENOMEM: out of memory. */
struct service_traffic *traffic_table_append(
	struct traffic_table *t, const struct service_traffic *counted);
int service_traffic_append(struct service_traffic *s, const struct destination_traffic *counted);
void traffic_table_sort(struct traffic_table *t); /* of equal keys it keeps one */
void service_traffic_sort(struct service_traffic *s);

/* True if nothing can have changed among the destinations of `now`, which stands without them yet,
 * since `before`: the service has counted nothing, and no connection was there to end. */
bool service_traffic_is_idle(
	const struct service_traffic *before, const struct service_traffic *now);
/* 0 or -ENOMEM. */
int service_traffic_copy_destinations(
	struct service_traffic *to, const struct service_traffic *from);

/* NULL: not there. O(log n). `t` and `s` may be NULL. */
const struct service_traffic *traffic_table_find(
	const struct traffic_table *t, const struct service_key *key);
const struct destination_traffic *service_traffic_find(
	const struct service_traffic *s, const struct ip_addr *address, uint16_t port);
