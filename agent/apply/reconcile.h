/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The reconcile: brings one network namespace from what it holds to what is wanted, a
 * few milliseconds at a time. It reads the kernel once at the start, then keeps its own
 * copy in step with every command that succeeded, so that a change costs its own commands
 * and no reading.
 *
 * Level-triggered: only the latest wanted state counts. A new one that comes while steps are
 * under way replaces the rest of the plan.
 */
#include <systemd/sd-event.h>

#include "agent/apply/audit.h"
#include "agent/apply/explain.h"

struct reconcile;
struct wanted;

struct reconcile_stats {
	uint64_t n_runs;              /* wanted states brought into the kernel */
	uint64_t n_steps;             /* commands sent */
	uint64_t n_failed;            /* commands refused, retries included */
	uint64_t n_reads;             /* whole reads of the kernel in the event loop */
	uint64_t n_audits;            /* whole reads beside it */
	uint64_t n_repairs;           /* commands of audits: what others had changed */
	nsec_t last_done;             /* monotonic; 0: never */
	nsec_t last_duration;         /* from the wanted state to its last acknowledgement */
	nsec_t longest_hold;          /* longest time the event loop was held by one portion */
	bool busy;                    /* steps under way */
	size_t n_pending;             /* steps left of the plan in force */
	size_t n_failing;             /* steps that failed twice and are tried again later */
	char failing[EXPLAIN_STRLEN]; /* the first of them, and why; "" if there is none */
	uint64_t n_retries;           /* of what failed, between audits */
	size_t n_conflicts;           /* services that are wanted, but belong to someone else */
	nsec_t last_audit, last_audit_duration;
};

struct reconcile_handler {
	/* The kernel holds what was wanted, as far as it would take it. */
	void (*settled)(void *userdata);
	void *userdata;
	/* A step was acknowledged (error 0), or has failed when none failed before (negative
	 * errno). reconcile_have() is as it was before the step. `repair`: it was an audit's. NULL:
	 * nobody wants to know. */
	void (*step)(void *userdata, const struct step *step, int error, bool repair);
};

/* Opens the kernel and reads it. `auditor` may be NULL: then reconcile_audit() does nothing. 0 or a
 * negative errno, *ret_what (static text) then says what failed. The strings of `kernel` must
 * outlive it. */
int reconcile_new(sd_event *loop, const struct kernel_options *kernel, uint64_t seed,
	struct auditor *auditor, const struct reconcile_handler *handler, struct reconcile **ret,
	const char **ret_what);
/* Leaves the kernel as it is: everything goes on forwarding. */
struct reconcile *reconcile_free(struct reconcile *r);

/* Wants this; takes ownership. `since` is when its cause came in (for latencies). */
void reconcile_want(struct reconcile *r, struct kernel_state *want, nsec_t since);
/* Has the auditor compare the kernel with what is wanted, and repairs what others changed. Does
 * nothing while one is under way, steps are, or nothing is wanted. */
void reconcile_audit(struct reconcile *r);
/* Reads the connection counts of these services into reconcile_have(). 0 or negative errno. */
int reconcile_observe(struct reconcile *r, const struct service_key *keys, size_t n_keys);
/* Plans from what was read of the kernel, without applying. 0 or a negative errno; -EAGAIN: nothing is
 * wanted yet. */
int reconcile_diff(const struct reconcile *r, const struct kernel_state *have, struct plan *ret);
/* Makes the link and the sets if they are missing, before it returns. 0 or a negative errno. */
int reconcile_frame(struct reconcile *r);
/* Removes every VIP before it returns, and stops wanting anything until the next
 * reconcile_want(). The link and the sets stay, empty, until reconcile_remove_frame(): rules may
 * name the sets. 0, or the first error. */
int reconcile_flush(struct reconcile *r);
int reconcile_remove_frame(struct reconcile *r);

const struct reconcile_stats *reconcile_stats(const struct reconcile *r);
const struct kernel_state *reconcile_have(const struct reconcile *r);
/* True if the kernel has taken all that is wanted: then reconcile_wanted() says what it holds of
 * vipd's. A wanted state that shares services with that one is planned in no time. */
bool reconcile_in_step(const struct reconcile *r);
/* What is wanted; NULL: nothing yet, or no more since a flush. Borrowed. */
struct wanted *reconcile_wanted(const struct reconcile *r);
/* Services that exist, are wanted and belong to someone else. */
const struct service_key *reconcile_conflicts(const struct reconcile *r, size_t *ret_n);
