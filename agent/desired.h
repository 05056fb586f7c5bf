/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The desired state: what this node's kernel should hold, given the cluster's VIP table
 * and what is particular to the node. Pure. All policy about what is programmed lives here.
 */
#include "agent/drain.h"
#include "agent/node.h"
#include "agent/source/vip_table.h"

/* Why a VIP of the table is not programmed on this node. */
enum refusal {
	REFUSAL_UNUSABLE,    /* no unicast address of a network: loopback, multicast, ... */
	REFUSAL_OWN_ADDRESS, /* the VIP is an address of a node of the cluster */
	_REFUSAL_N,
};
const char *refusal_text(enum refusal r);

struct refused {
	const struct vip *vip; /* in the table it was made from */
	enum refusal reason;
};

struct desired {
	struct kernel_state *want; /* complete */
	size_t n_refused;
	struct refused *refused;
	bool drains_changed; /* a drain was begun or forgotten */
};

struct desired_input {
	const struct vip_table *table;
	const struct node *node;
	const struct kernel_state
		*have;         /* what the kernel holds: what leaves it may have to drain */
	struct drains *drains; /* brought up to date */
	nsec_t now, drain_timeout;
};

struct desired *desired_new(const struct desired_input *in);
struct desired *desired_free(struct desired *d); /* takes NULL; returns NULL */
