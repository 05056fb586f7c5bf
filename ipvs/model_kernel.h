/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * A model of a kernel behind the interface of kernel.h, for tests: it keeps the state that
 * a namespace would hold, answers as the kernel does, and fails as it may. By default one
 * command in ten fails. Deterministic from its seed. Not linked into the daemon.
 */
#include "kernel_ops.h"

struct model_kernel_options {
	uint64_t seed;
	/* One in so many commands fails with an error of the kernel's (-ENOMEM, -EAGAIN, ...)
	 * and changes nothing; 0: the default (10); 1: every one; UINT_MAX: none. */
	unsigned int fail_one_in;
	/* One in so many calls of kernel_apply() stops half-way, with answers lost (-ENOBUFS);
	 * 0: none. */
	unsigned int lose_one_in;
	/* One in so many readings of all services ends half-way, as when the socket's buffer has
	 * overflowed (-ENOBUFS); 0: none. */
	unsigned int break_one_in;
	/* One in so many services and destinations is skipped, and as many repeated, by each
	 * dump; 0: none. */
	unsigned int skip_one_in;
};

struct kernel *model_kernel_new(const struct model_kernel_options *options);

/* What the kernel holds. The test may change it, as a hand with ipvsadm would. */
struct kernel_state *model_kernel_state(struct kernel *k);
/* So many rules of a firewall refer to the sets, which therefore cannot be removed (-EBUSY). */
void model_kernel_hold_sets(struct kernel *k, unsigned int n_rules);
/* Changes the chances of failure from now on; the seed is ignored. */
void model_kernel_set(struct kernel *k, const struct model_kernel_options *options);

struct model_kernel_counters {
	size_t n_commands; /* that reached the kernel, failed ones too */
	size_t n_failed;
	size_t n_redundant; /* edits, additions and deletions that changed nothing: there is to be none */
	size_t n_reads;
	size_t n_trash; /* destinations deleted: those that IPVS would still hold */
	size_t cost;    /* entries of the trash that additions had to scan */
};
const struct model_kernel_counters *model_kernel_counters(const struct kernel *k);

/* Called before each command with the state so far; it may check invariants. */
void model_kernel_watch(struct kernel *k,
	void (*watch)(void *userdata, const struct kernel_state *s, const struct step *next),
	void *userdata);
