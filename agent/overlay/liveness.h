/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * From what the overlay says about its nodes to the health of the addresses that backends' agents
 * have. An overlay node names its addresses itself; an address is down if a node that names
 * it is down and none that names it is up, stalled or agentless (several nodes may name one:
 * a bridge's address, or a node and its own earlier self). Pure.
 */
#include "agent/desired/health.h"
#include "agent/overlay/overlay.h"

struct liveness;

struct liveness *liveness_new(const struct health_options *options);
struct liveness *liveness_free(struct liveness *l); /* takes NULL; returns NULL */

/* Each returns true if the health of any address changed by it. */
bool liveness_node(struct liveness *l, const struct overlay_node *node, nsec_t now);
bool liveness_forgotten(struct liveness *l, uint64_t id, nsec_t now);
/* A node that is cut off, or in a part of the cluster that is too small, judges nobody. */
bool liveness_self(struct liveness *l, enum gossip_self self);
bool liveness_tick(struct liveness *l, nsec_t now);
nsec_t liveness_deadline(const struct liveness *l);

enum gossip_self liveness_get_self(const struct liveness *l);
/* The addresses that are not simply up, sorted; none while nobody is judged. */
const struct node_health *liveness_healths(const struct liveness *l, size_t *ret_n);
/* What is known of one of them; NULL: it is simply up, or nobody is judged. Valid until the next call. */
const struct node_health *liveness_health(const struct liveness *l, const struct ip_addr *address);
/* The overlay's node with this address, preferring one that is up; NULL: none names it. */
const struct overlay_node *liveness_find(const struct liveness *l, const struct ip_addr *address);
/* The overlay's node with this id; NULL: not known. */
const struct overlay_node *liveness_get(const struct liveness *l, uint64_t id);
size_t liveness_count(const struct liveness *l, enum gossip_status status);
