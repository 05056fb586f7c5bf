/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The preferred source is found as a program would get it: a UDP socket is connected
 * (which sends nothing) toward a master, or toward an address that only the default route
 * leads to, and asked for its own end. Where that gives nothing (no default route), the
 * first global address will do. Addresses on the VIPs' link cannot come up: it has routes only.
 */
#include "agent/desired/node.h"

#include <errno.h>
#include <ifaddrs.h>
#include <linux/if_addr.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/socket.h>

#include "agent/sockaddr.h"
#include "agent/util.h"

/* TEST-NET-1 (RFC 5737) and the documentation prefix (RFC 3849): never on a link of ours. */
static const struct ip_addr far4 = {AF_INET, {192, 0, 2, 1}};
static const struct ip_addr far6 = {AF_INET6, {0x20, 0x01, 0x0d, 0xb8, [15] = 1}};

bool node_is_usable(const struct ip_addr *a)
{
	if (a->family == AF_INET)
		return a->bytes[0] != 0 && a->bytes[0] != 127 &&
		       !(a->bytes[0] == 169 && a->bytes[1] == 254);
	if (a->family == AF_INET6) /* not ::, ::1, link-local */
		return (a->bytes[0] || a->bytes[1]) &&
		       !(a->bytes[0] == 0xfe && (a->bytes[1] & 0xc0) == 0x80);
	return false;
}

/* The source address that a packet to `far` would have; AF_UNSPEC if there is no way. */
static struct ip_addr source_toward(const struct ip_addr *far)
{
	struct sockaddr_storage ss;
	struct ip_addr none = {0}, a;
	socklen_t len;
	AUTO_CLOSE int fd = socket(far->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	len = sockaddr_make(far, 9, &ss); /* discard */
	if (fd < 0 || connect(fd, (struct sockaddr *)&ss, len) < 0)
		return none;
	len = sizeof(ss);
	if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0)
		return none;
	a = sockaddr_address((struct sockaddr *)&ss);
	return node_is_usable(&a) ? a : none;
}

int prefix_parse(const char *text, struct prefix *ret)
{
	const char *slash = strchr(text, '/');
	AUTO_FREE char *literal = xstrndup(text, slash ? (size_t)(slash - text) : strlen(text));
	struct prefix p;
	unsigned long length;
	char *end = NULL;

	if (ip_addr_parse(literal, &p.address) < 0)
		return -EINVAL;
	length = ip_addr_len(p.address.family) * 8;
	p.length = (uint8_t)length;
	if (slash) {
		if (slash[1] < '0' || slash[1] > '9')
			return -EINVAL;
		length = strtoul(slash + 1, &end, 10);
		if (*end || length > p.length)
			return -EINVAL;
		p.length = (uint8_t)length;
	}
	*ret = p;
	return 0;
}

bool prefix_covers(const struct prefix *p, const struct ip_addr *a)
{
	size_t whole = p->length / 8;
	uint8_t mask = (uint8_t)(0xff00 >> (p->length % 8));

	if (a->family != p->address.family || memcmp(a->bytes, p->address.bytes, whole) != 0)
		return false;
	return whole == ip_addr_len(a->family) ||
	       ((a->bytes[whole] ^ p->address.bytes[whole]) & mask) == 0;
}

static int cmp_addr(const void *a, const void *b)
{
	return ip_addr_cmp(a, b);
}

static void add_own(struct node *n, const struct ip_addr *a)
{
	if ((n->n_own & (n->n_own - 1)) == 0) /* a power of two: full, or empty */
		n->own = xrealloc(n->own, n->n_own ? 2 * n->n_own : 1, sizeof(*n->own));
	n->own[n->n_own++] = *a;
}

/* The network behind an address, unless it is only the address itself, or loopback. */
static void add_subnet(struct node *n, const struct ip_addr *a, const struct sockaddr *netmask)
{
	struct ip_addr mask = sockaddr_address(netmask);
	struct prefix p = {.address = *a};

	mask.family = a->family; /* some links leave it out */
	while (p.length < 8 * ip_addr_len(a->family) &&
		mask.bytes[p.length / 8] & (0x80 >> (p.length % 8)))
		p.length++;
	if (!node_is_usable(a) || p.length == 0 || p.length == 8 * ip_addr_len(a->family))
		return;
	if ((n->n_subnets & (n->n_subnets - 1)) == 0)
		n->subnets = xrealloc(
			n->subnets, n->n_subnets ? 2 * n->n_subnets : 1, sizeof(*n->subnets));
	n->subnets[n->n_subnets++] = p;
}

static int own_addresses(struct node *n)
{
	struct ifaddrs *list, *i;

	if (getifaddrs(&list) < 0)
		return -errno;
	for (i = list; i; i = i->ifa_next) {
		struct ip_addr a = {0};

		if (i->ifa_addr)
			a = sockaddr_address(i->ifa_addr);
		if (!a.family)
			continue;
		add_own(n, &a);
		if (i->ifa_netmask)
			add_subnet(n, &a, i->ifa_netmask);
	}
	freeifaddrs(list);
	qsort(n->own, n->n_own, sizeof(*n->own), cmp_addr);
	return 0;
}

/* The flags of an IPv6 address (linux/if_addr.h), as the kernel has them now; 0 if it is not there.
 * A line is "fd0000aa000000000000000000000011 02 40 00 80     eth0". */
static unsigned int ipv6_flags(const struct ip_addr *a)
{
	FILE *f = fopen("/proc/net/if_inet6", "re");
	char line[128], wanted[33];
	unsigned int flags, found = 0;

	for (size_t i = 0; i < 16; i++)
		snprintf(wanted + 2 * i, 3, "%02x", a->bytes[i]);
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, wanted, 32) == 0 &&
			sscanf(line + 32, "%*x %*x %*x %x", &flags) == 1)
			found = flags;
	if (f)
		fclose(f);
	return found;
}

enum source_state node_source_state(const struct node *n, const struct ip_addr *a)
{
	unsigned int flags = a->family == AF_INET6 ? ipv6_flags(a) : 0;

	if (!node_owns(n, a))
		return SOURCE_ABSENT;
	if (flags & IFA_F_DADFAILED)
		return SOURCE_DUPLICATE;
	if (flags & IFA_F_TENTATIVE)
		return SOURCE_TENTATIVE;
	return flags & IFA_F_DEPRECATED ? SOURCE_DEPRECATED : SOURCE_USABLE;
}

/* The first that the kernel takes as a source, else one that is about to go; one that cannot be used
 * yet rather than none, for it may be soon. */
static struct ip_addr first_own(const struct node *n, uint8_t family)
{
	static const enum source_state states[] = {
		SOURCE_USABLE, SOURCE_DEPRECATED, SOURCE_TENTATIVE};

	for (size_t k = 0; k < ARRAY_SIZE(states); k++)
		for (size_t i = 0; i < n->n_own; i++)
			if (n->own[i].family == family && node_is_usable(&n->own[i]) &&
				node_source_state(n, &n->own[i]) == states[k])
				return n->own[i];
	return (struct ip_addr){0};
}

static struct ip_addr choose(const struct node *n, const struct ip_addr *fixed,
	const struct ip_addr *toward, const struct ip_addr *far)
{
	struct ip_addr a = {0};

	if (fixed->family)
		return *fixed;
	if (toward->family == far->family)
		a = source_toward(toward);
	if (!a.family)
		a = source_toward(far);
	return a.family ? a : first_own(n, far->family);
}

int node_update(struct node *n, const struct ip_addr *fixed, const struct ip_addr *fixed6,
	const struct ip_addr *toward)
{
	struct node fresh = {0};
	int r = own_addresses(&fresh);

	if (r < 0)
		return r;
	fresh.address = choose(&fresh, fixed, toward, &far4);
	fresh.address6 = choose(&fresh, fixed6, toward, &far6);
	r = fresh.n_own != n->n_own || ip_addr_cmp(&fresh.address, &n->address) ||
	    ip_addr_cmp(&fresh.address6, &n->address6) ||
	    (n->n_own && memcmp(fresh.own, n->own, n->n_own * sizeof(*n->own))) ||
	    fresh.n_subnets != n->n_subnets ||
	    (n->n_subnets && memcmp(fresh.subnets, n->subnets, n->n_subnets * sizeof(*n->subnets)));
	node_done(n);
	*n = fresh;
	return r;
}

bool node_owns(const struct node *n, const struct ip_addr *address)
{
	return n->n_own && bsearch(address, n->own, n->n_own, sizeof(*n->own), cmp_addr);
}

bool node_is_connected(const struct node *n, const struct ip_addr *address)
{
	for (size_t i = 0; i < n->n_subnets; i++)
		if (prefix_covers(&n->subnets[i], address))
			return true;
	return false;
}

void node_done(struct node *n)
{
	free(n->own);
	free(n->subnets);
	*n = (struct node){0};
}
