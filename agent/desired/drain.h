/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * Draining: a TCP destination whose task has ended keeps what connections it has, gets no
 * new ones (weight 0), and is removed when they are gone or its time is up. This file keeps
 * the deadlines. It is pure but for drains_load() and drains_save().
 *
 * Which destinations drain is not remembered but seen: those that stand in a service of
 * vipd's and that nobody wants (drains_extend()). So a lost file costs nothing but the
 * deadlines, which then start anew.
 */
#include "agent/util.h"
#include "ipvs/model.h"

struct drains;

/* A destination of a service. */
struct drain_key {
	struct service_key service;
	struct ip_addr address;
	uint16_t port;
};

int drain_key_cmp(const struct drain_key *a, const struct drain_key *b);

/* A destination that drains. */
struct drain {
	struct drain_key key;
	nsec_t since, deadline; /* monotonic */
	unsigned int n_idle;    /* readings in a row that showed no active connection */
	bool waiting;           /* over, but too many were removed of late: see drain.c */
	bool seen;              /* by the drains_extend() under way */
};

struct drains *drains_new(void);
struct drains *drains_free(struct drains *d); /* takes NULL; returns NULL */

struct drains_input {
	const struct kernel_state *have; /* services that `want` shares with it do not drain */
	nsec_t now;
	nsec_t timeout;               /* the time a new drain gets; 0: nothing drains */
	const struct drain_key *gone; /* sorted; to be removed without draining: on dead nodes */
	size_t n_gone;
};

/*
 * Adds to `want` what has to be drained: every TCP destination of `have`, in a service that is
 * vipd's, that `want` lacks and that is not gone, with weight 0. What is over (idle, or past its
 * deadline) is not added, and so is removed by the plan. Drains of destinations that are wanted
 * again or are gone are forgotten. A service that only drains is kept, with its route, until it
 * is empty. `want` is then no longer complete (kernel_state_complete()). True if a drain was
 * begun or forgotten.
 */
bool drains_extend(struct drains *d, struct kernel_state *want, const struct drains_input *in);
/* The next services whose connections are to be counted: at most `max`, in turn, those with drains
 * that are not over. Returns how many were written to `keys`. */
size_t drains_next(struct drains *d, nsec_t now, struct service_key *keys, size_t max);
/* Takes the connection counts of `have` for these services into account, just after they
 * were read. True if drains_extend() would let go of a destination now. */
bool drains_observe(struct drains *d, const struct kernel_state *have,
	const struct service_key *keys, size_t n_keys, nsec_t now);
size_t drains_count(const struct drains *d);
/* The i-th drain; order unspecified. */
const struct drain *drains_get(const struct drains *d, size_t i);
/* The drain of this destination, or NULL. */
const struct drain *drains_find(const struct drains *d, const struct drain_key *key);

/* The deadlines survive a restart in a small file, valid for this boot only. Saving replaces
 * it atomically. A missing, foreign or damaged file is as good as none. 0 or negative errno. */
int drains_save(const struct drains *d, const char *path);
int drains_load(struct drains *d, const char *path);
