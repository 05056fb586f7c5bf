/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * This node's own addresses: which of them its connections to VIPs come from, and which
 * agents of a Mesos document are this very machine.
 */
#include "ipvs/model.h"

struct prefix {
	struct ip_addr address;
	uint8_t length; /* bits */
};

/* "10.0.0.0/8", "fd00::/8"; an address alone is all its bits. 0 or -EINVAL. */
int prefix_parse(const char *text, struct prefix *ret);
bool prefix_covers(const struct prefix *p, const struct ip_addr *a);

struct node {
	struct ip_addr address, address6; /* preferred sources; AF_UNSPEC if there is none */
	size_t n_own;
	struct ip_addr *own; /* all addresses of all links; sorted */
	size_t n_subnets;
	struct prefix *subnets; /* networks that links are connected to; no loopback */
};

/* Finds out anew. `fixed` and `fixed6` (may be AF_UNSPEC) are what the operator said;
 * `toward` (may be AF_UNSPEC) is an address whose route decides otherwise. 1 if anything
 * changed, 0 if not, or a negative errno (then nothing did). */
int node_update(struct node *n, const struct ip_addr *fixed, const struct ip_addr *fixed6,
	const struct ip_addr *toward);
/* True if a link is connected to a network that this address is in. */
bool node_is_connected(const struct node *n, const struct ip_addr *address);
/* True for an address that others can reach a node by: not loopback, link-local or unspecified. */
bool node_is_usable(const struct ip_addr *address);

/* Whether the kernel takes an address as the source of this node's connections now. */
enum source_state {
	SOURCE_USABLE,
	SOURCE_ABSENT,     /* no link has it */
	SOURCE_TENTATIVE,  /* IPv6: the kernel still asks whether another machine has it */
	SOURCE_DUPLICATE,  /* IPv6: another machine has it */
	SOURCE_DEPRECATED, /* IPv6: it works, and is about to go */
};
enum source_state node_source_state(const struct node *n, const struct ip_addr *a);

bool node_owns(const struct node *n, const struct ip_addr *address);
void node_done(struct node *n);
