/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/* How many durations were how long. */
#include "agent/util.h"

#define HISTOGRAM_N 13
/* The buckets' upper bounds, inclusive; what is longer than the last counts in `n` alone. From a
 * command's own time to a node's that stayed down, about three a decade. */
extern const nsec_t histogram_bounds[HISTOGRAM_N];

struct histogram {
	uint64_t counts[HISTOGRAM_N]; /* in each bucket, not summed up */
	uint64_t n;
	nsec_t sum;
};

void histogram_add(struct histogram *h, nsec_t d);
