/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The dummy link and the `local` routes of the VIPs on it.
 *
 * A VIP is made local by a route, not by an address on the link: 10,000 addresses on one
 * device take seconds (quadratic), as many routes a few hundredths of one.
 */
#include "kernel_ops.h"

#include <linux/netlink.h>

/* The routing protocol number in vipd's routes, as `ip route` shows it ("proto 61"): the
 * first digits of the overlay's port; not in rtnetlink's list nor in iproute2's. */
#define RTPROT_VIPD 61

struct route_socket;

/* Connects in the calling thread's network namespace. `device` is copied. 0, -EINVAL (no
 * possible name of a link), -ENOMEM, ... */
int route_socket_open(const char *device, size_t batch, struct route_socket **ret);
struct route_socket *route_socket_free(struct route_socket *s); /* takes NULL; returns NULL */

/* *ret: the link exists and is up. 0, or -ENOTUNIQ: it exists and is not a dummy. */
int route_link_read(struct route_socket *s, bool *ret);
/* Creates the link or brings it up. 0, -ENOTUNIQ, -EOPNOTSUPP (no dummy driver), ... */
int route_link_add(struct route_socket *s);
/* Deletes the link, if it is there, and with it its routes. 0, -ENOTUNIQ, ... */
int route_link_del(struct route_socket *s);

/* Applies steps of STEP_CLASS_ROUTE; errors as kernel_apply(); -EEXIST if the address has a
 * local route that is not vipd's (it is the host's own, say), which is left alone. */
int route_apply(struct route_socket *s, struct step_report *r, size_t first, size_t n);
/* Adds the link's local routes to an unsorted state. */
int route_read(struct route_socket *s, struct kernel_state *state);

/* Pure parts. Room for any message built here, bytes: */
#define ROUTE_MESSAGE_SIZE 256
/* STEP_ROUTE_ADD or _DEL; flags as NLM_F_CREATE | NLM_F_EXCL. buf is aligned as a header. */
struct nlmsghdr *route_build(
	void *buf, const struct vip_route *route, int index, enum step_kind kind, uint16_t flags);
struct nlmsghdr *route_build_link_add(void *buf, const char *device);
/* Parses a route of a dump. ROUTE_E_OTHER: not a local route made by a daemon or by hand on
 * this link. -EBADMSG. */
#define ROUTE_E_OTHER 1
int route_parse(const struct nlmsghdr *message, int index, struct vip_route *ret);

struct route_link {
	int index;
	bool up;
	bool dummy;
};
int route_parse_link(const struct nlmsghdr *message, struct route_link *ret); /* 0 or -EBADMSG */
