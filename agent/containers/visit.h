/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * One visit to a container's network namespace: its path is opened and checked, sockets are made
 * inside, the namespace is brought to what is wanted (or audited, or cleared), and everything
 * is closed again. Blocks; for a thread that has nothing else to do.
 *
 * Between visits nothing of the namespace is held open: a socket or a file descriptor would keep
 * it alive after its container. What is remembered is small.
 */
#include "agent/apply/wanted.h"
#include "agent/util.h"
#include "ipvs/kernel.h"

/* Longest text about what is wrong, with its final NUL. */
#define VISIT_PROBLEM_SIZE (STEP_STRLEN + 64)

/* Which namespace it is. Inode numbers are given again once a namespace is gone; cookies never
 * are (0: the kernel has none, before Linux 5.14). */
struct netns_id {
	uint64_t device, inode, cookie;
};
/* Whether two ids, both of namespaces that exist now, mean the same one. */
bool netns_id_same(const struct netns_id *a, const struct netns_id *b);

/* What is remembered between visits; zeroed: nothing. */
struct visit_memory {
	struct netns_id id;
	struct plan_sources sources; /* of its routes */
	struct wanted *reached;      /* what it holds, as far as we know; NULL: unknown */
	bool sysctls_done;
};
void visit_forget(struct visit_memory *m);

struct visit {
	/* given */
	const char *device;
	uint64_t seed;
	bool sysctls; /* whether net.ipv4.vs settings are set */
	struct visit_memory *memory;

	/* found */
	struct netns_id id;          /* cookie: by visit_enter() */
	bool ipv6;                   /* VIPs of IPv6 can be routed in there */
	struct plan_sources sources; /* addresses of its own; AF_UNSPEC if there is none yet */
	size_t n_steps;              /* commands sent */
	size_t n_repairs;            /* those of visit_audit() that succeeded */
	size_t n_failing;            /* commands that failed also from a fresh reading */
	size_t n_conflicts;          /* wanted services that exist and belong to someone else */
	char problem[VISIT_PROBLEM_SIZE]; /* "": none */

	/* its own */
	int fd;
	struct kernel *kernel;
};

/* Each of these returns 0, or a negative errno with v->problem set. visit_close() must follow in
 * any case. */

/* Opens the file, if it is a network namespace, without touching it if it is anything else. */
int visit_open(struct visit *v, const char *path);
/* Opens the sockets inside. */
int visit_enter(struct visit *v);
/* Brings it to `want`. 0 also if commands were refused: n_failing, problem. */
int visit_change(struct visit *v, struct wanted *want);
/* Compares it with `want`, which it has reached, and repairs what others changed; destinations of
 * services that exist are compared only if `full`. */
int visit_audit(struct visit *v, struct wanted *want, bool full);
/* Removes all that is vipd's, link and sets too. */
int visit_remove(struct visit *v);
void visit_close(struct visit *v);
