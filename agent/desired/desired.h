/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The desired state: what this node's kernel should hold, given the cluster's VIP table
 * and what is particular to the node. Pure. All policy about what is programmed lives here.
 */
#include "agent/desired/drain.h"
#include "agent/desired/health.h"
#include "agent/desired/node.h"
#include "agent/desired/ramp.h"
#include "agent/source/vip_table.h"

/* Why a VIP of the table, or some of its backends, are not programmed on this node. */
enum refusal {
	REFUSAL_UNUSABLE,        /* no unicast address of a network: loopback, multicast, ... */
	REFUSAL_OWN_ADDRESS,     /* the VIP is an address of a node or master of the cluster */
	REFUSAL_SUBNET,          /* it lies in a network that a link of this node is connected to */
	REFUSAL_OTHER_FRAMEWORK, /* backends: an IP VIP that another framework has claimed */
	_REFUSAL_N,
};
const char *refusal_text(enum refusal r);

struct refused {
	const struct vip *vip; /* in the table it was made from */
	enum refusal reason;
	const char *framework_id; /* REFUSAL_OTHER_FRAMEWORK: whose backends; else NULL: the VIP */
};

struct desired {
	struct kernel_state *want; /* complete */
	size_t n_refused;
	struct refused *refused;
	size_t n_all_down;   /* VIPs whose backends are all on down nodes, and stay */
	bool drains_changed; /* a drain was begun or forgotten */
	/* For the next one: VIPs that are not to be shared with it, sorted, and all that decides
	 * about a VIP beside the VIP itself, as bytes. */
	size_t n_special;
	struct service_key *special;
	size_t n_circumstances;
	uint8_t *circumstances;
};

struct desired_input {
	const struct vip_table *table;
	const struct node *node;
	const struct ip_addr *masters; /* sorted */
	size_t n_masters;
	const struct prefix *allowed; /* VIPs in these may lie in a connected network */
	size_t n_allowed;
	const struct node_health *healths; /* sorted by agent; who is not listed is up */
	size_t n_healths;
	const struct kernel_state
		*have;         /* what the kernel holds: what leaves it may have to drain */
	struct drains *drains; /* brought up to date */
	struct ramps *ramps;   /* brought up to date */
	nsec_t now, drain_timeout, slow_start;
	/* NULL: none. Else `have` is the state that it wanted, and `changed` (sorted) are the keys
	 * of the VIPs of the table that were not, or not so, in the table it was made from. Then
	 * the services of all others are shared with `have`. The result is the same. */
	const struct desired *previous;
	const struct service_key *changed;
	size_t n_changed;
};

/*
 * Admission: a VIP is refused if its address is not usable, is an address of this node, of a
 * master or of any agent, or lies in a network that this node is connected to and that is not
 * among `allowed`. Of several frameworks that claim one IP VIP the one with the smallest id in byte
 * order has it: Mesos numbers frameworks, so that is the one that was there first. The rule
 * is a function of the table and the node, and does not depend on who came when.
 *
 * Dead nodes: see enum health. If all backends of a VIP are on nodes that are not up, they all
 * stay.
 */
struct desired *desired_new(const struct desired_input *in);
struct desired *desired_free(struct desired *d); /* takes NULL; returns NULL */

/* The refusal of this VIP as a whole, or, if a framework is given, of its backends in it; NULL:
 * none. */
const struct refused *desired_refusal(
	const struct desired *d, const struct vip *vip, const char *framework_id);
