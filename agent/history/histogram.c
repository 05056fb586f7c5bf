/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/history/histogram.h"

const nsec_t histogram_bounds[HISTOGRAM_N] = {
	1 * NSEC_PER_MSEC,
	2500 * NSEC_PER_USEC,
	5 * NSEC_PER_MSEC,
	10 * NSEC_PER_MSEC,
	25 * NSEC_PER_MSEC,
	50 * NSEC_PER_MSEC,
	100 * NSEC_PER_MSEC,
	250 * NSEC_PER_MSEC,
	500 * NSEC_PER_MSEC,
	1 * NSEC_PER_SEC,
	2500 * NSEC_PER_MSEC,
	5 * NSEC_PER_SEC,
	10 * NSEC_PER_SEC,
};

void histogram_add(struct histogram *h, nsec_t d)
{
	h->n++;
	h->sum += d;
	for (size_t i = 0; i < HISTOGRAM_N; i++)
		if (d <= histogram_bounds[i]) {
			h->counts[i]++;
			return;
		}
}
