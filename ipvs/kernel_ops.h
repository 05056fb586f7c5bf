/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * What stands behind kernel.h: a table of operations, of the running kernel (kernel.c), of none
 * (dry_kernel.c) or of a model of one (model_kernel.c).
 */
#include "kernel.h"

/* Collects what became of the steps of one kernel_apply(). */
struct step_report {
	struct step_error *errors;
	size_t n_errors; /* room */
	size_t n;        /* failures so far */
	const struct step *steps;
	struct kernel_state blocked; /* its addresses and ports: see kernel_apply() */
	bool out_of_memory;
};

/* Notes that steps[index] of the report failed. */
void step_report_add(struct step_report *r, size_t index, int error);

struct kernel_ops {
	void (*free)(struct kernel *k);
	/* Adds `parts` to an empty state; with keys, of the services only these. */
	int (*read)(struct kernel *k, unsigned int parts, const struct service_key *keys,
		size_t n_keys, struct kernel_state *s);
	/* Applies steps[first .. first + n) of the report, all of one class (step_class()). */
	int (*apply)(struct kernel *k, struct step_report *r, size_t first, size_t n);
	int (*remove_frame)(struct kernel *k);
	/* NULL: nothing is forwarded there, so nothing counted. */
	int (*read_traffic)(
		struct kernel *k, const struct traffic_table *before, struct traffic_table *table);
};

/* The first member of what implements it. */
struct kernel {
	const struct kernel_ops *ops;
};

/* Which steps may go out together; the order of the enum means nothing. */
enum step_class {
	STEP_CLASS_LINK,
	STEP_CLASS_SETS,
	STEP_CLASS_ROUTE,
	STEP_CLASS_ENTRY,
	STEP_CLASS_SERVICE_ADD, /* apart from its destinations: see kernel_apply() */
	STEP_CLASS_IPVS,        /* all else of IPVS */
};
enum step_class step_class(enum step_kind kind);

/* For kernel_open(): one that only remembers. 0 or -ENOMEM. */
int dry_kernel_open(struct kernel **ret);
