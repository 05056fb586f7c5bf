/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The narrow interface to a kernel: read what is there, apply steps. Behind it stands a
 * network namespace of the running kernel (kernel_open()) or, in unit tests, a model of
 * one (model_kernel.h) that fails as a real one may.
 */
#include "plan.h"
#include "traffic.h"

struct kernel;

struct kernel_options {
	const char *device;     /* name of the dummy link; NULL: "vipd0" */
	const char *netns_path; /* NULL: the caller's namespace; else a file such as /run/netns/x */
	size_t batch;           /* commands per send; 0: the default (512) */
	bool dry;               /* no kernel: steps are accepted in memory, which begins empty */
	/* NULL: the running kernel. Else called instead, for tests with a model of one. */
	int (*open)(const struct kernel_options *options, struct kernel **ret);
	void *userdata; /* for open */
};

/* A struct kernel belongs to one thread at a time; several threads may have one each.
 *
 * Opens the netlink sockets inside the namespace. 0 or a negative errno: -EPERM without
 * CAP_NET_ADMIN, -ENOENT or -EPROTONOSUPPORT if the kernel has no IPVS (module ip_vs), ...
 * In *ret_what (may be NULL) a static text says which part failed. */
int kernel_open(const struct kernel_options *options, struct kernel **ret, const char **ret_what);
struct kernel *kernel_free(struct kernel *k); /* takes NULL; returns NULL */

/* The parts of a state that can be read by themselves. */
enum kernel_part {
	KERNEL_LINK = 1 << 0,         /* has_link */
	KERNEL_SETS = 1 << 1,         /* has_sets, ports, addresses */
	KERNEL_ROUTES = 1 << 2,       /* routes; none if there is no link */
	KERNEL_SERVICES = 1 << 3,     /* services without their destinations */
	KERNEL_DESTINATIONS = 1 << 4, /* the services' destinations; includes KERNEL_SERVICES */
	KERNEL_ALL = (1 << 5) - 1,
};

/* Reads the whole state. A set or link that does not exist is no error (has_sets,
 * has_link). 0 or negative errno, *ret untouched; -ENOTUNIQ: a link of that name exists
 * and is not a dummy. Blocks on netlink only. What a dump says while others write may lack
 * entries; whoever removes something because it was not seen must look twice. */
int kernel_read(struct kernel *k, struct kernel_state **ret);
/* The same, of some parts; the others are left empty. */
int kernel_read_parts(struct kernel *k, unsigned int parts, struct kernel_state **ret);
/* Reads the named services with destinations and connection counts, nothing else. Those
 * that do not exist are absent from *ret. A few microseconds each: for audits in slices,
 * drains, and the true state after a step failed. */
int kernel_read_services(
	struct kernel *k, const struct service_key *keys, size_t n_keys, struct kernel_state **ret);

/*
 * Reads the counters of all services, in one dump, and of their destinations, in one more for each
 * service: those cost. So the destinations of a service that is idle since `before` (an earlier reading;
 * may be NULL) are taken from there. 0 or a negative errno.
 */
int kernel_read_traffic(
	struct kernel *k, const struct traffic_table *before, struct traffic_table **ret);

/* What became of one step that failed. */
struct step_error {
	size_t index; /* into the steps given */
	int error;    /* negative errno: the kernel's answer; -ECANCELED: see kernel_apply() */
};

/*
 * Applies the steps in order; runs of one kind of object go out in batches with one
 * acknowledgement each. A step that fails does not stop the others, with one exception:
 * after a failed step about a VIP address, later steps about the same address are
 * withheld and reported -ECANCELED, as far as they have not been sent with it already. So
 * a route that could not be removed keeps its services, and a service that could not be
 * added gets no route. Destinations are apart: only those of a service that could not be added
 * are withheld (it may be somebody else's), and none that is refused withholds anything; nor does a
 * route that could not be added.
 *
 * Failures are written to errors, at most n_errors of them, sorted by index, and their
 * true count to *ret_n_errors. 0 if all steps were delivered and answered, else a negative
 * errno: how far they got is then unknown. In both cases of failure the caller reads the
 * true state and plans anew before it goes on: the rest of an old plan assumes the part
 * that failed.
 */
int kernel_apply(struct kernel *k, const struct step *steps, size_t n_steps,
	struct step_error *errors, size_t n_errors, size_t *ret_n_errors);

/* Removes the link and the sets (which must be unused); for `flush`, after a plan to an
 * empty state was applied. Missing ones are no error. 0 or negative errno. */
int kernel_remove_frame(struct kernel *k);
