/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * What goes through IPVS, for those who want to look. The kernel's counters are read beside the
 * loop, by the auditor's thread; only when somebody asks; and so seldom that it never takes more than
 * 5 % of a processor. Who asks more often gets the last reading, with its age.
 */
#include "agent/apply/audit.h"

struct meter;

struct meter_view {
	const struct traffic_table *now; /* NULL: could not be read, for this errno */
	int error;
	nsec_t at; /* when `now` was read */
	/* The reading before, for rates; NULL: it is too long ago for a rate to mean anything. */
	const struct traffic_table *before;
	nsec_t interval; /* between the two */
};

/* `auditor` NULL: there is no kernel, and readings fail with -EOPNOTSUPP. `device` must outlive it. */
struct meter *meter_new(struct auditor *auditor, const char *device);
/* After auditor_free(). Takes NULL; returns NULL. */
struct meter *meter_free(struct meter *m);

/* True with the last reading, if it is one of the last seconds (or there is no kernel); a new one is
 * made if it is time. False: there will be one, and meter_wait() tells when. */
bool meter_look(struct meter *m, struct meter_view *ret);
/* Calls `ready` once, when the reading under way is done. */
void meter_wait(struct meter *m, void (*ready)(void *userdata), void *userdata);

struct meter_stats {
	uint64_t n_readings, n_failures;
	nsec_t last_duration;
};
struct meter_stats meter_stats(const struct meter *m);

/* Per second from an earlier count to a later one; 0 if the later is of a new service. */
double meter_rate(uint64_t before, uint64_t now, nsec_t interval);
