/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The value types of the kernel edge: what a virtual service is, and what a
 * network namespace holds. Plain values: no socket, no policy, nothing hidden.
 *
 * A `struct kernel_state` describes the part of one network namespace that
 * matters to vipd. It serves both as what *is* there (read from the kernel) and as
 * what is *wanted*; plan.h turns the pair into steps.
 *
 * Everything is kept sorted, so that two states compare by one merge.
 */
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* An IPv4 or IPv6 address. `bytes` is in network order; IPv4 uses the first four and
 * keeps the others zero, so that two equal addresses are equal bytes. A zeroed struct
 * (family AF_UNSPEC) is "no address". */
struct ip_addr {
	uint8_t family; /* AF_UNSPEC, AF_INET or AF_INET6 */
	uint8_t bytes[16];
};

/* Longest text of an address and of "[address]:port", both with the final NUL. */
#define IP_ADDR_STRLEN INET6_ADDRSTRLEN
#define ENDPOINT_STRLEN (INET6_ADDRSTRLEN + 8)

/* Orders by family (IPv4 first), then numerically. Returns <0, 0, >0. */
int ip_addr_cmp(const struct ip_addr *a, const struct ip_addr *b);
/* The same question without an order: a few instructions, for walks over all backends. */
static inline bool ip_addr_equal(const struct ip_addr *a, const struct ip_addr *b)
{
	uint64_t x[2], y[2];

	memcpy(x, a->bytes, sizeof(x)); /* gcc 12 calls memcmp() for 17 bytes */
	memcpy(y, b->bytes, sizeof(y));
	return a->family == b->family && !((x[0] ^ y[0]) | (x[1] ^ y[1]));
}
/* Parses a literal: strict dotted quad or IPv6, no brackets, no zone, no white space.
 * 0, or -EINVAL with *ret untouched. */
int ip_addr_parse(const char *text, struct ip_addr *ret);
/* Writes the canonical text (RFC 5952) into buf; returns buf. */
const char *ip_addr_format(const struct ip_addr *addr, char buf[static IP_ADDR_STRLEN]);
/* Bytes of an address of this family: 4, 16, or 0. */
size_t ip_addr_len(uint8_t family);
/* Writes "1.2.3.4:80" or "[fd01::1]:80"; returns buf. */
const char *endpoint_format(
	const struct ip_addr *addr, uint16_t port, char buf[static ENDPOINT_STRLEN]);

/* What names a virtual service in IPVS. Order: protocol, address, port. */
struct service_key {
	struct ip_addr address;
	uint16_t port;    /* host order */
	uint8_t protocol; /* IPPROTO_TCP or IPPROTO_UDP */
};

int service_key_cmp(const struct service_key *a, const struct service_key *b);
static inline bool service_key_equal(const struct service_key *a, const struct service_key *b)
{
	return ip_addr_equal(&a->address, &b->address) && a->port == b->port &&
	       a->protocol == b->protocol;
}
/* Writes "tcp 1.2.3.4:80"; returns buf. */
#define SERVICE_KEY_STRLEN (ENDPOINT_STRLEN + 4)
const char *service_key_format(const struct service_key *key, char buf[static SERVICE_KEY_STRLEN]);

/* One destination (real server) of a service; forwarding is always masquerade.
 * Order: address, port. */
struct destination {
	struct ip_addr address;
	uint16_t port;            /* host order */
	uint32_t weight;          /* 0: keeps what it has, gets nothing new */
	uint32_t upper_threshold; /* connections at which IPVS stops giving new ones; 0: never */
	uint32_t lower_threshold; /* and below which it begins again; 0 in wanted states */
	uint32_t forward;         /* IP_VS_CONN_F_FWD_MASK bits; 0 is masquerade. Read only. */
	uint32_t n_active;        /* connections, as the kernel last told; 0 in wanted states */
	uint32_t n_inactive;
};

int destination_cmp(const struct destination *a, const struct destination *b);

/* IPVS' IP_VS_SCHEDNAME_MAXLEN. */
#define SCHEDULER_MAX 16
/* The scheduler of every service that vipd programs: weighted least connections. */
#define SERVICE_SCHEDULER "wlc"

struct service {
	struct service_key key;
	char scheduler[SCHEDULER_MAX]; /* "wlc" */
	uint32_t flags;                /* IP_VS_SVC_F_*, without the kernel's own HASHED bit */
	uint32_t timeout;              /* s; see SERVICE_SIGNATURE */
	uint32_t netmask;              /* network order for IPv4, prefix length for IPv6 */
	uint32_t place;                /* in the kernel's order, from 1; 0: it was not read */
	unsigned int n_shares;         /* states that hold it beside the first; atomic */
	size_t n_destinations;
	size_t destinations_allocated;
	struct destination *destinations; /* sorted */
};

/*
 * How vipd knows its own services again: the time-out of a service that is not
 * persistent is kept by the kernel and means nothing to it, so vipd writes this one.
 * A service is vipd's if it has two of three marks: this signature, its key in vipd's set, its
 * address routed on vipd's link. (To a vipd that has programmed it and still runs, signature
 * or key is enough.) Nothing else in IPVS is ever touched.
 */
#define SERVICE_SIGNATURE 61420U

/* A `local` route of one VIP address on vipd's link, in the local table. */
struct vip_route {
	struct ip_addr address; /* /32 or /128 */
	struct ip_addr source;  /* preferred source (RTA_PREFSRC); AF_UNSPEC if none */
};

int vip_route_cmp(const struct vip_route *a, const struct vip_route *b); /* by address only */

/*
 * The state of one network namespace, as far as it is vipd's concern. In a wanted
 * state `has_link` and `has_sets` are true; services, routes, ports and addresses agree
 * (kernel_state_complete()). In a state that was read, `services` holds *all* of IPVS'
 * services, `routes` all local routes on vipd's link, `ports` and `addresses` the sets.
 */
struct kernel_state {
	bool has_link; /* the dummy link exists and is up */
	bool has_sets; /* all four sets exist with the right type */
	size_t n_services, services_allocated;
	struct service **services; /* sorted by key; owned */
	size_t n_routes, routes_allocated;
	struct vip_route *routes; /* sorted */
	size_t n_ports, ports_allocated;
	struct service_key *ports; /* sets vipd, vipd6 (hash:ip,port); sorted */
	size_t n_addresses, addresses_allocated;
	struct ip_addr *addresses; /* sets vipd-ip, vipd-ip6 (hash:ip); sorted */
};

struct kernel_state *kernel_state_new(void);                    /* NULL: out of memory */
struct kernel_state *kernel_state_free(struct kernel_state *s); /* takes NULL; returns NULL */

/* The netmask of a service that is not grouped by netmask: that of one host. */
uint32_t service_host_netmask(uint8_t family);

/* Adds a service (scheduler, flags and signature as vipd programs them) or finds the one
 * that is there; keeps the order (appending in order is O(1)). NULL: out of memory.
 * The pointer stays valid until the service is removed. */
struct service *kernel_state_service(struct kernel_state *s, const struct service_key *key);
/* The service with this key, or NULL. O(log n). */
struct service *kernel_state_find(const struct kernel_state *s, const struct service_key *key);
int kernel_state_remove_service(struct kernel_state *s, const struct service_key *key);
/* Adds a destination or replaces the one that is there. 0 or -ENOMEM. */
int service_set_destination(struct service *svc, const struct destination *dest);
struct destination *service_find_destination(
	const struct service *svc, const struct ip_addr *address, uint16_t port);
/* 0 or -ENOENT, as the other removals below and above. */
int service_remove_destination(struct service *svc, const struct ip_addr *address, uint16_t port);

/* Adds a service of another state that comes after all of this one's, without a copy: for
 * successive wanted states, of which most is the same. From then on neither state's holder
 * may change it; the last one to be freed frees it, in whatever thread. 0 or -ENOMEM. */
int kernel_state_share_service(struct kernel_state *s, struct service *svc);

/* The other parts, one element at a time. Setting replaces an equal one: 0 or -ENOMEM. */
int kernel_state_set_route(struct kernel_state *s, const struct vip_route *route);
int kernel_state_set_port(struct kernel_state *s, const struct service_key *key);
int kernel_state_set_address(struct kernel_state *s, const struct ip_addr *address);
int kernel_state_remove_route(struct kernel_state *s, const struct ip_addr *address);
int kernel_state_remove_port(struct kernel_state *s, const struct service_key *key);
int kernel_state_remove_address(struct kernel_state *s, const struct ip_addr *address);
const struct vip_route *kernel_state_find_route(/* NULL: none */
	const struct kernel_state *s, const struct ip_addr *address);
bool kernel_state_has_port(const struct kernel_state *s, const struct service_key *key);
bool kernel_state_has_address(const struct kernel_state *s, const struct ip_addr *address);

/* For readers, whose elements come in no order and perhaps twice: these append at O(1),
 * and kernel_state_sort() must follow before anything else is done with the state; of
 * equal elements it keeps one. NULL or -ENOMEM: out of memory. */
struct service *kernel_state_append_service(struct kernel_state *s, const struct service_key *key);
int service_append_destination(struct service *svc, const struct destination *dest);
int kernel_state_append_route(struct kernel_state *s, const struct vip_route *route);
int kernel_state_append_port(struct kernel_state *s, const struct service_key *key);
int kernel_state_append_address(struct kernel_state *s, const struct ip_addr *address);
void service_sort(struct service *svc);
void kernel_state_sort(struct kernel_state *s);

/* Completes a wanted state from its services: one route per distinct address, with the
 * preferred source of its family (AF_UNSPEC: none), and the entries of the sets; the link
 * and the sets wanted. 0 or -ENOMEM. */
int kernel_state_complete(
	struct kernel_state *s, const struct ip_addr *source4, const struct ip_addr *source6);
