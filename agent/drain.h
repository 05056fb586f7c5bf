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

/* A destination that drains. */
struct drain {
	struct service_key service;
	struct ip_addr address;
	uint16_t port;
	nsec_t since, deadline; /* monotonic */
	unsigned int n_idle;    /* readings in a row that showed no active connection */
	bool seen;              /* by the drains_extend() under way */
};

struct drains *drains_new(void);
struct drains *drains_free(struct drains *d); /* takes NULL; returns NULL */

/*
 * Adds to `want` what has to be drained: every TCP destination of `have`, in a service that is
 * vipd's, that `want` lacks, with weight 0. What is over (idle, or past its deadline) is not
 * added, and so is removed by the plan. Drains of destinations that are wanted again or are
 * gone are forgotten. A service that only drains is kept, with its route, until it is empty.
 * `timeout` is the time a new drain gets; 0 drains nothing. True if a drain was begun or
 * forgotten. `want` is then no longer complete (kernel_state_complete()).
 */
bool drains_extend(struct drains *d, struct kernel_state *want, const struct kernel_state *have,
	nsec_t now, nsec_t timeout);
/* Takes the connection counts of `have` into account; call it after they were read, at most
 * about once a second. True if a drain is over by that. */
bool drains_observe(struct drains *d, const struct kernel_state *have, nsec_t now);
/* When the next drain is over at the latest; UINT64_MAX: there is none. */
nsec_t drains_deadline(const struct drains *d);
size_t drains_count(const struct drains *d);
/* The i-th drain; order unspecified. */
const struct drain *drains_get(const struct drains *d, size_t i);
/* The drain of this destination, or NULL. */
const struct drain *drains_find(const struct drains *d, const struct service_key *service,
	const struct ip_addr *address, uint16_t port);

/* The deadlines survive a restart in a small file, valid for this boot only. Saving replaces
 * it atomically. A missing, foreign or damaged file is as good as none. 0 or negative errno. */
int drains_save(const struct drains *d, const char *path);
int drains_load(struct drains *d, const char *path);
