/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * Slow start: weighted least connection gives a destination that is new and idle *all* new
 * connections of a busy service until it has caught up. With `slow_start` set, the weight of a new
 * backend grows from a tenth of the others' to theirs over that time. Meanwhile the others have
 * the weight RAMP_FULL; before and after all have 1.
 *
 * Pure. What is new is what the kernel has not: a destination that a restart finds there is not.
 */
#include "agent/desired/drain.h"

#define RAMP_FULL 10

struct ramps;

struct ramps *ramps_new(void);
struct ramps *ramps_free(struct ramps *r); /* takes NULL; returns NULL */

/* Sets the weights in `want` of services with a new destination: one of weight > 0 that a service
 * of `have` lacks, which has another of weight > 0. Services that both states share stay as they
 * are. `time` is the slow start; 0: off, all ramps end. */
void ramps_apply(struct ramps *r, struct kernel_state *want, const struct kernel_state *have,
	nsec_t now, nsec_t time);
/* When the next weight is due; UINT64_MAX: nothing ramps. */
nsec_t ramps_deadline(const struct ramps *r, nsec_t now, nsec_t time);
size_t ramps_count(const struct ramps *r);
/* The service of the i-th ramp; order unspecified. */
const struct service_key *ramps_get(const struct ramps *r, size_t i);
