/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes as a kernel's answer. The first byte chooses who reads them; the rest is a
 * datagram of messages. What is accepted must make sense: a family with addresses, a text
 * that ends, entries that a state can sort.
 */
#include "ipvs/batch.h"
#include "ipvs/ipset.h"
#include "ipvs/route.h"
#include "ipvs/wire.h"

#include <linux/ip_vs.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void require_address(const struct ip_addr *a)
{
	char text[IP_ADDR_STRLEN];
	struct ip_addr again;

	require(ip_addr_len(a->family));
	require(!ip_addr_parse(ip_addr_format(a, text), &again) && !ip_addr_cmp(a, &again));
}

static int on_service(void *userdata, const struct nlmsghdr *m)
{
	struct service svc = {};
	struct service_traffic counted = {};
	int r = wire_parse_service(m, &svc);

	if (r)
		return r < 0 ? r : 0;
	require_address(&svc.key.address);
	require(svc.key.protocol == IPPROTO_TCP || svc.key.protocol == IPPROTO_UDP);
	require(memchr(svc.scheduler, '\0', sizeof(svc.scheduler)));
	require(!(svc.flags & IP_VS_SVC_F_HASHED));
	if (wire_parse_service_traffic(m, &counted) == 0)
		require(service_key_equal(&svc.key, &counted.key));
	return 0;
}

static int on_destination(void *userdata, const struct nlmsghdr *m)
{
	struct destination d;
	struct destination_traffic counted;
	int r = wire_parse_destination(m, AF_INET, &d);

	if (!r)
		require_address(&d.address);
	if (wire_parse_destination_traffic(m, AF_INET, &counted) == 0)
		require(!r && ip_addr_equal(&d.address, &counted.address) &&
			d.port == counted.port);
	return r;
}

static int on_route(void *userdata, const struct nlmsghdr *m)
{
	struct vip_route route;
	int r = route_parse(m, 7, &route);

	if (r)
		return r < 0 ? r : 0;
	require_address(&route.address);
	require(!route.source.family || route.source.family == route.address.family);
	return 0;
}

static int on_link(void *userdata, const struct nlmsghdr *m)
{
	struct route_link link;

	return route_parse_link(m, &link);
}

static int on_listing(void *userdata, const struct nlmsghdr *m)
{
	return ipset_parse_listing(m, userdata);
}

static void on_error(void *userdata, size_t tag, int error)
{
	require(error < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const batch_answer_fn readers[] = {on_service, on_destination, on_route, on_link,
		on_listing, on_listing, on_listing, on_listing};
	struct kernel_state *state = kernel_state_new();
	struct ipset_listing listing = {.state = state};
	bool end = false;
	size_t n;
	char *bytes;

	if (!size || !state)
		goto out;
	listing.family = data[0] & 1 ? AF_INET6 : AF_INET;
	listing.has_ports = data[0] & 2;
	n = size - 1;
	/* netlink messages are aligned, and a receive buffer has room for the padding */
	bytes = calloc(1, NLMSG_ALIGN(n) + NLMSG_ALIGNTO);
	require(bytes);
	memcpy(bytes, data + 1, n);
	batch_walk(bytes, n, 0, UINT32_MAX, on_error, readers[data[0] % 8], &listing, &end);
	kernel_state_sort(state);
	free(bytes);
out:
	kernel_state_free(state);
	return 0;
}
