/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The narrow interface to a kernel: read what is there, apply steps. Behind it stands a
 * network namespace of the running kernel (kernel_open()) or, in unit tests, a model of
 * one (model_kernel.h) that fails as a real one may.
 */
#include "plan.h"

struct kernel;

struct kernel_options {
	const char *device;     /* name of the dummy link; NULL: "vipd0" */
	const char *netns_path; /* NULL: the caller's namespace; else a file such as /run/netns/x */
	size_t batch;           /* commands per send; 0: the default (128) */
};

/* Opens the netlink sockets inside the namespace. 0 or a negative errno: -EPERM without
 * CAP_NET_ADMIN, -ENOENT or -EPROTONOSUPPORT if the kernel has no IPVS (module ip_vs), ...
 * In *ret_what (may be NULL) a static text says which part failed. */
int kernel_open(const struct kernel_options *options, struct kernel **ret, const char **ret_what);
struct kernel *kernel_free(struct kernel *k); /* takes NULL; returns NULL */

/* Reads the whole state. A set or link that does not exist is no error (has_sets,
 * has_link). 0 or negative errno, *ret untouched. Blocks on netlink only. */
int kernel_read(struct kernel *k, struct kernel_state **ret);

/* What became of one step that failed. */
struct step_error {
	size_t index; /* into the steps given */
	int error;    /* negative errno: the kernel's answer */
};

/* Applies the steps in order; runs of one kind of object go out in batches with one
 * acknowledgement each. A step that fails does not stop the others. Failures are written
 * to errors (at most n_errors of them), their true count to *ret_n_errors. 0 if all steps
 * were delivered and answered, else a negative errno: how far they got is then unknown,
 * and the caller reads the state anew. */
int kernel_apply(struct kernel *k, const struct step *steps, size_t n_steps,
	struct step_error *errors, size_t n_errors, size_t *ret_n_errors);

/* Removes the link and the sets (which must be unused); for `flush`, after a plan to an
 * empty state was applied. Missing ones are no error. 0 or negative errno. */
int kernel_remove_frame(struct kernel *k);
