/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * This node in the cluster: opens the overlay, tells it whom to join through, and makes of what
 * it says the health of agents' addresses. The daemon asks for the healths when `changed` is
 * called.
 */
#include <systemd/sd-event.h>

#include "agent/config.h"
#include "agent/overlay/liveness.h"
#include "agent/source/vip_table.h"

struct cluster;

struct cluster_handler {
	/* Healths are other than before; `since` is when the overlay's thread said so. */
	void (*changed)(void *userdata, nsec_t since);
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
struct liveness *cluster_liveness(struct cluster *c);
/* What the overlay knows now; NULL if it is off or does not answer. Caller frees. */
struct overlay_snapshot *cluster_snapshot(struct cluster *c);
