/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * What must be true of a node's member table, said again as plainly as possible: lists, no trees of
 * parents, no bits, no digests kept up to date. Pure functions of values that a test can make by hand.
 */
#include "gossip/gossip.h"

/* A member table as it can be looked at, neighbours and lost ones in the order of their ids. */
struct table {
	uint64_t self;
	size_t n, n_reachable; /* members; of these reachable, as the node itself counts */
	uint64_t digest;
	struct gossip_member *members; /* in the order of their ids */
};

/* Replaces *table, which must be zeroed or read before. */
void table_read(const struct gossip *g, uint64_t self, struct table *table);
void table_done(struct table *table);

/* NULL, or what is wrong. */

/* Reachable are just those to whom a way of edges leads that both ends list; a plain search. */
const char *table_check_paths(const struct table *table);
/* That the members that are reachable, two at least or the only one there is, say of `subject` that they
 * heard nothing of it, and that no path leads to it. For the moment of a verdict. */
const char *table_check_verdict(const struct table *table, uint64_t subject);
/* Tables with the same digest hold the same records. */
const char *table_check_equal(const struct table *a, const struct table *b);
