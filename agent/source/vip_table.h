/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The VIP table: which virtual addresses the cluster wants, with their backends. A pure
 * function of a Mesos state and a few settings: the same on every node. What a single
 * node makes of it (its own backends' local form, drains, dead nodes, refusals) is
 * agent/desired's part.
 */
#include "agent/source/mesos.h"

struct vip_backend {
	struct ip_addr address; /* as reached from other nodes */
	struct ip_addr
		local_address; /* as reached on `agent` itself: differs, as does the port, for a */
	struct ip_addr agent;  /* non-Docker task with a port mapping */
	uint16_t port, local_port;
	uint32_t weight; /* 0 or 1 */
	enum weight_reason weight_reason;
	bool kept;             /* here only since its agent is awaited: vip_keep.h */
	const char *task;      /* id */
	const char *framework; /* name */
	const char *framework_id;
};

struct vip {
	struct service_key key;
	const char *name; /* "redis.marathon.l4lb.thisdcos.directory"; NULL for an IP VIP */
	size_t n_backends;
	struct vip_backend *backends; /* sorted by address, port; those are unique */
};

struct vip_table {
	size_t n_vips;
	struct vip *vips; /* sorted by key; keys are unique */
	size_t n_agents;
	struct ip_addr
		*agents; /* of all agents with a known address, tasks or not; sorted, unique */
	/* Agents that the master has not heard from since it took over, see vip_keep.h: those of
	 * `agents` that are none but such; and how many others there are of whose address the document
	 * says nothing. */
	size_t n_recovered, n_recovered_nowhere;
	struct ip_addr *recovered; /* sorted, unique */
	size_t n_kept;             /* backends that are here only since such agents had them */
	/* What was left out, of the document and of the table. */
	size_t n_rejected[_MESOS_REJECT_N];
	size_t n_rejections;
	struct mesos_rejection *rejections;
	size_t n_tasks_seen;
	size_t n_tasks; /* of those with VIP labels that can be placed */
	uint64_t n_bytes;
	uint8_t digest[16]; /* the state's; zeroed: none */
	struct arena *arena;
};

/* An inclusive range of addresses of one family, min < max. */
struct address_range {
	struct ip_addr min, max;
};
/* "11.0.0.0-11.255.255.255" or "fd01:c::-fd01:c::ffff:ffff:ffff:ffff". 0, or -EINVAL with
 * *ret_error (static text) saying why; *ret untouched. */
int address_range_parse(
	const char *text, uint8_t family, struct address_range *ret, const char **ret_error);

struct vip_table_options {
	bool no_ipv6;                /* leave IPv6 VIPs out */
	struct address_range range4; /* of named VIPs; zeroed: names_default_range() */
	struct address_range range6;
	/* Resolves an agent's host name; called only where the document gives no address.
	 * 0 and *ret, or a negative errno (not known, not known yet). NULL: never resolves. */
	int (*resolve)(void *userdata, const char *hostname, struct ip_addr *ret);
	void *userdata;
};

/* Never fails: what cannot become part of the table is in its rejections. */
struct vip_table *vip_table_build(
	const struct mesos_state *state, const struct vip_table_options *options);
struct vip_table *vip_table_free(struct vip_table *t); /* takes NULL; returns NULL */

/* How two tables differ in what they mean to kernels and names (task ids may differ). */
struct vip_table_diff {
	size_t n_added, n_removed, n_changed;
	bool same_agents;
	struct service_key *keys; /* of the n_added + n_changed VIPs, sorted; owned */
};
/* `old` may be NULL: no VIPs. */
void vip_table_diff(
	const struct vip_table *old, const struct vip_table *new, struct vip_table_diff *ret);
void vip_table_diff_done(struct vip_table_diff *diff);
/* True if both tables mean the same. */
bool vip_table_equal(const struct vip_table *a, const struct vip_table *b);
const struct vip *vip_table_find(const struct vip_table *t, const struct service_key *key);

/* The backend with this address and port, in either of its forms; NULL: none. */
const struct vip_backend *vip_find_backend(
	const struct vip *vip, const struct ip_addr *address, uint16_t port);

/* The JSON array of `vipctl table --json`; ends with a newline. Caller frees. */
char *vip_table_to_json(const struct vip_table *t);
