/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The health of the cluster's nodes, as far as it decides about backends: a node that is
 * down loses its share of new connections at once, and its connections when that is confirmed.
 *
 *   up -- down --> down -- (confirm) --> confirmed -- up --> held or up -- (hold) --> up
 *
 * A node that comes back after having gone down often of late is held: it stays down for a time
 * that doubles with each return, and is forgiven as time goes by without another. Pure: times are
 * arguments.
 */
#include "agent/util.h"
#include "ipvs/model.h"

enum health {
	HEALTH_UP,
	HEALTH_DOWN,      /* no new connections: weight 0; UDP backends are removed */
	HEALTH_CONFIRMED, /* its connections end: its backends are removed */
};

struct node_health {
	struct ip_addr agent;
	enum health health;
	bool reported_up;     /* the last report; up and not HEALTH_UP: held */
	nsec_t since;         /* of the last report */
	nsec_t until;         /* held until; 0: not held */
	unsigned int n_flaps; /* returns that were not forgiven yet */
	nsec_t forgiven;      /* when one of them was forgiven last */
};

struct healths;

struct health_options {
	nsec_t confirm;  /* from down to confirmed */
	nsec_t hold;     /* the first hold; doubles up to hold_max */
	nsec_t hold_max; /* also the time after which one return is forgiven */
};

struct healths *healths_new(const struct health_options *options);
struct healths *healths_free(struct healths *h); /* takes NULL; returns NULL */

/* What was learned about a node. True if its health changed by it. */
bool healths_report(struct healths *h, const struct ip_addr *agent, bool up, nsec_t now);
/* Lets time pass: confirms, releases, forgives, forgets. True if any health changed. */
bool healths_tick(struct healths *h, nsec_t now);
/* When healths_tick() has something to do; UINT64_MAX: never. */
nsec_t healths_deadline(const struct healths *h);
/* HEALTH_UP for a node that was never reported down. */
enum health healths_get(const struct healths *h, const struct ip_addr *agent);
/* All nodes that are not simply up, sorted by address; valid until the next call. */
const struct node_health *healths_list(const struct healths *h, size_t *ret_n);
