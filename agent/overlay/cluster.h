/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * This node in the cluster: opens the overlay, tells it whom to join through, and makes of what
 * it says the health of agents' addresses. The daemon asks for the healths when `changed` is
 * called. What daemons say to each other passes through.
 */
#include <systemd/sd-event.h>

#include "agent/config.h"
#include "agent/overlay/liveness.h"
#include "agent/source/vip_table.h"

struct cluster;

struct cluster_handler {
	/* Healths are other than before; `since` is when the overlay's thread said so. */
	void (*changed)(void *userdata, nsec_t since);
	/* The node's status is another than `before`; `since` when no path of links had led to it, 0: one
	 * did. */
	void (*status)(void *userdata, const struct overlay_node *node, enum gossip_status before,
		nsec_t since);
	/* What this node thinks of itself is another than before; `text` says it in words. */
	void (*self)(void *userdata, enum gossip_self self, const char *text);
	/* The overlay is on. */
	void (*opened)(void *userdata);
	/* As in struct overlay_handler. */
	void (*multicast)(void *userdata, uint64_t from, const uint8_t *bytes, size_t n);
	void (*request)(
		void *userdata, uint64_t from, uint32_t tag, const uint8_t *bytes, size_t n);
	void (*response)(void *userdata, uint64_t from, const uint8_t *bytes, size_t n);
	void (*neighbours)(void *userdata, const uint64_t *ids, size_t n);
	void *userdata;
};

/* Without a key file, and not insecure, the overlay stays off: everybody is taken for up, and
 * cluster_off() says why; likewise while its address or port cannot be had, which is tried again.
 * `config` and `node` must outlive it. 0 or a negative errno (logged). */
int cluster_new(sd_event *loop, const struct config *config, const struct node *node,
	const struct cluster_handler *handler, struct cluster **ret);
struct cluster *cluster_free(struct cluster *c); /* takes NULL; returns NULL */

/* The table's agents are members, or should be: they can be joined through. */
void cluster_set_table(struct cluster *c, const struct vip_table *table);
/* `node` has other addresses than before. */
void cluster_node_changed(struct cluster *c);
/* The configuration was reloaded: keys and contacts may be others. */
void cluster_reload(struct cluster *c);

/* Why the overlay is off; NULL if it is on. */
const char *cluster_off(const struct cluster *c);
/* The ids of the keys in force; the first one sends. None without. */
const uint8_t *cluster_key_ids(const struct cluster *c, size_t *ret_n);
/* When another vipd spoke as this node last, from a later start; 0: never. */
nsec_t cluster_conflict(const struct cluster *c);
struct liveness *cluster_liveness(struct cluster *c);
/* What the overlay knows now; NULL if it is off or does not answer. Caller frees. */
struct overlay_snapshot *cluster_snapshot(struct cluster *c);

/* This node's id in the overlay; 0 while it is off. */
uint64_t cluster_id(const struct cluster *c);
/* NULL while it is off. */
struct overlay *cluster_overlay(struct cluster *c);
/* A Mesos master runs on this node, or none does: the others are told. */
void cluster_set_master(struct cluster *c, bool master);
/*
 * Whether this node may speak for its Mesos master: it says that it has one, if all configured
 * masters are given by address, has one of those, and, if that matters, is up. Whoever has the key
 * can claim anything; this guards against mistakes, such as an agent that is configured like a
 * master.
 */
bool cluster_is_master(const struct cluster *c, uint64_t id, bool up);
/* An address of a node that says it is a master; AF_UNSPEC: not known. */
struct ip_addr cluster_master_address(const struct cluster *c, uint64_t id);
