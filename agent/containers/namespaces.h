/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The network namespaces of containers that cannot route to VIPs: each that is registered
 * (registry.h) is given what the host has, from the moment its file appears until it goes.
 *
 * All work on them is done in one thread beside the event loop, which neither waits for it nor
 * shares a lock with it for longer than a few list operations.
 */
#include "agent/containers/registry.h"
#include "agent/containers/visit.h"

struct namespaces;

struct namespaces_options {
	const char *directory; /* registry */
	const char *device;    /* dummy link */
	uint64_t seed;
	bool sysctls;
	nsec_t audit_interval; /* as long as the audits' share of time allows */
};
/* The strings must outlive it. 0 or a negative errno. */
int namespaces_new(
	sd_event *loop, const struct namespaces_options *options, struct namespaces **ret);
/* Waits for the visit under way. Leaves everything forwarding. Takes NULL; returns NULL. */
struct namespaces *namespaces_free(struct namespaces *n);

/* All are to hold this; takes a reference. */
void namespaces_want(struct namespaces *n, struct wanted *want);
/* All are to be cleared, until the next namespaces_want(). Does not wait for it. */
void namespaces_flush(struct namespaces *n);
/* Whether that has come to its end. */
bool namespaces_flushed(struct namespaces *n);
/* Looks for files that no event told of. The audits of namespaces need no such call. */
void namespaces_rescan(struct namespaces *n);

enum namespace_state {
	NAMESPACE_WAITING,    /* for the table, or for its turn */
	NAMESPACE_PROGRAMMED, /* holds what is wanted */
	NAMESPACE_FAILING,    /* see `problem`; tried again by and by */
	NAMESPACE_TWIN,       /* another file names the same namespace */
	NAMESPACE_LEAVING,    /* its file is gone: being cleared */
	NAMESPACE_CLEARED,    /* by a flush */
	_NAMESPACE_STATE_N,
};
const char *namespace_state_text(enum namespace_state s);

struct namespace_view {
	char *name, *path;
	enum namespace_state state;
	char problem[VISIT_PROBLEM_SIZE]; /* "": none */
	uint64_t inode;
	bool ipv6;
	struct plan_sources sources;
	uint64_t n_visits, n_steps, n_repairs;
	size_t n_failing, n_conflicts;
	nsec_t last_visit, last_duration; /* monotonic; 0: never */
};
/* Copies, in the order of registration; *ret is freed by namespace_views_free(). */
size_t namespaces_list(struct namespaces *n, struct namespace_view **ret);
void namespace_views_free(struct namespace_view *views, size_t n);
const struct registry *namespaces_registry(const struct namespaces *n);

struct namespaces_stats {
	size_t n_registered, n_by_state[_NAMESPACE_STATE_N];
	uint64_t n_visits, n_audits, n_steps, n_repairs, n_removed;
	nsec_t oldest_visit; /* of those programmed; 0: none */
	nsec_t busy;         /* spent in visits so far */
	nsec_t busy_since;   /* when the visit under way began; 0: none is */
};
struct namespaces_stats namespaces_stats(struct namespaces *n);
