/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The four sets: vipd and vipd6 (hash:ip,port: each VIP's address, protocol and port),
 * vipd-ip and vipd-ip6 (hash:ip: each VIP's address). Rules refer to them by name.
 *
 * A socket belongs to one thread at a time; several may be used by several threads
 * (libipset, which is not made for that, is locked inside).
 */
#include "kernel_ops.h"

#include <linux/netlink.h>

/* Entries a set may hold. Far above what a cluster has (10,000 services), and no memory is
 * spent on it before it is used. */
#define IPSET_MAX_ENTRIES (1U << 20)
/* Buckets of a new set; the kernel doubles it as needed. Its own default. */
#define IPSET_HASH_SIZE 1024U

struct ipset_socket;

/* Connects in the calling thread's network namespace. 0; -EPROTONOSUPPORT if the kernel has
 * no ipset or not these types; -EPERM; ... */
int ipset_socket_open(struct ipset_socket **ret);
struct ipset_socket *ipset_socket_free(struct ipset_socket *s); /* takes NULL; returns NULL */

/* Creates the sets that do not exist. 0; -EEXIST if one exists with another type; ... */
int ipset_create(struct ipset_socket *s);
/* Destroys those that exist and are of the right type. 0; -EBUSY: rules refer to one; ... */
int ipset_destroy(struct ipset_socket *s);
/* Applies steps of STEP_CLASS_ENTRY; errors as kernel_apply(). An entry that is there (to
 * be added) or not (to be deleted) is no error. */
int ipset_apply(struct ipset_socket *s, struct step_report *r, size_t first, size_t n);
/* Adds the sets' entries to an unsorted state, and sets has_sets. */
int ipset_read(struct ipset_socket *s, struct kernel_state *state);

/* Pure part: one message of a set's listing. */
struct ipset_listing {
	uint8_t family;
	bool has_ports;             /* hash:ip,port, else hash:ip */
	bool right_type;            /* the set is what it should be; set by its first message */
	struct kernel_state *state; /* entries are appended here */
};
/* 0, -EBADMSG, -ENOMEM. Entries of a set of another type are not read. */
int ipset_parse_listing(const struct nlmsghdr *message, struct ipset_listing *l);
