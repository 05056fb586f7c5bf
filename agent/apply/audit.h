/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The auditor: a thread that reads kernels and compares them with what is wanted, so that
 * even a table of 100,000 objects is checked without holding the event loop. It only reads; what
 * is to be done about a difference is the reconcile's part.
 *
 * A dump taken while others write may lack entries or show them twice, and does not say so. A
 * difference therefore counts only if a second dump, taken after the first, shows it too.
 */
#include <systemd/sd-event.h>

#include "agent/util.h"
#include "ipvs/kernel.h"

struct auditor;

/* One kernel to be compared. All members but the results belong to the caller, and stay
 * untouched until `done`. */
struct audit {
	struct kernel_options open;      /* which kernel: opened for this audit only */
	const struct kernel_state *want; /* NULL: to be read only, for who wants to look */
	struct plan_options options;
	/* Instead of reading and comparing: called in the thread with the kernel open. What it
	 * returns becomes `error`. NULL: compare. */
	int (*look)(struct audit *audit, struct kernel *kernel);
	void (*done)(struct audit *audit); /* called from the event loop */
	void *userdata;

	/* results, the caller's to free */
	int error;                 /* 0 or a negative errno: then there are no others */
	struct kernel_state *have; /* what the last dump showed */
	struct plan plan; /* from there to `want`, if given: steps that both dumps asked for */
	nsec_t duration;
	struct audit *next; /* the auditor's own */
};

/* Keeps the steps of `plan` that `earlier`, made from another look, has as well. */
void audit_keep_confirmed(struct plan *plan, const struct plan *earlier);

int auditor_new(sd_event *loop, struct auditor **ret);
/* Waits for the audit under way; those not begun end with -ECANCELED. All that was submitted is
 * `done` then. Takes NULL; returns NULL. */
struct auditor *auditor_free(struct auditor *a);
void auditor_submit(struct auditor *a, struct audit *audit);
