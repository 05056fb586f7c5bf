/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The plan: what is there + what is wanted = ordered steps. Pure; never talks to a kernel.
 *
 * Order (each line complete before the next, so that a stop between any two steps
 * leaves nothing that misroutes and nothing that vipd would not know as its own again):
 *
 *   link and sets created
 *   services that lost their signature get it back
 *   routes of addresses that go                   the VIP loses its route before its service
 *   port entries of services that go, where the   (from here the reject rule answers, not the
 *     address stays                                host's own daemons)
 *   port entries of services that come, where     so that a service is always known as vipd's,
 *     the address is not routed yet                also if the next step is never done
 *   services added                                (all before the first destination, so that
 *                                                 a stranger's, made just before, gets none)
 *   services edited; destinations added
 *   port entries of services that come, where     the address is local already: complete first
 *     the address is routed already
 *   address entries added
 *   routes added or replaced                      the VIP begins to answer
 *   destinations edited (weights)
 *   destinations deleted
 *   services deleted
 *   port entries of services whose address went; address entries deleted
 */
#include "model.h"

enum step_kind {
	STEP_LINK_ADD,
	STEP_SETS_ADD,
	STEP_ROUTE_ADD, /* creates, or replaces the preferred source */
	STEP_ROUTE_DEL,
	STEP_PORT_ADD,
	STEP_PORT_DEL,
	STEP_ADDRESS_ADD,
	STEP_ADDRESS_DEL,
	STEP_SERVICE_ADD,
	STEP_SERVICE_EDIT,
	STEP_SERVICE_DEL,
	STEP_DESTINATION_ADD,
	STEP_DESTINATION_EDIT,
	STEP_DESTINATION_DEL,
};

/* One command to the kernel, complete in itself. */
struct step {
	enum step_kind kind;
	union {
		struct {
			struct service_key key; /* SERVICE_*, PORT_*, DESTINATION_* */
			union {
				struct {
					char scheduler[SCHEDULER_MAX];
					uint32_t flags, timeout, netmask;
				} service;                      /* SERVICE_ADD, SERVICE_EDIT */
				struct destination destination; /* DESTINATION_* */
			};
		};
		struct vip_route route; /* ROUTE_*, ADDRESS_* (its address) */
	};
};

/* Longest text of a step, with the final NUL. */
#define STEP_STRLEN 192
/* "destination add tcp 1.2.3.4:80 -> 10.0.0.5:31000 weight 1"; returns buf. */
const char *step_format(const struct step *step, char buf[static STEP_STRLEN]);

/* The VIP address that a step is about; NULL for those of the frame (link, sets). */
const struct ip_addr *step_address(const struct step *step);

struct plan {
	size_t n_steps, steps_allocated;
	struct step *steps;
	/* Services that are wanted and exist, but are not vipd's: not touched, to be shown. */
	size_t n_conflicts, conflicts_allocated;
	struct service_key *conflicts;
};

void plan_done(struct plan *p);

/* The preferred source of every route of one family; AF_UNSPEC: none. */
struct plan_sources {
	struct ip_addr v4, v6;
};

struct plan_options {
	/* Seeds the order in which new destinations are added to each service, so that the
	 * nodes of a cluster do not all start with the same one (IPVS' wlc breaks ties by
	 * position). Any value that differs per node. */
	uint64_t seed;
	/* Instead of the sources that the routes of a state bear, so that one wanted state
	 * serves namespaces with different addresses; NULL: those. `have_sources` is for a
	 * `have` that is itself a wanted state, and was applied with these. */
	const struct plan_sources *have_sources, *want_sources;
	/* One mark, signature or entry, is proof. For a process that has programmed
	 * `have` itself before: hands may have removed the others meanwhile. */
	bool trust_marks;
	/* `have` was read without destinations: those of services that exist are left alone. */
	bool skip_destinations;
};

/* True if `svc`, found in `have`, is vipd's own (see SERVICE_SIGNATURE). */
bool kernel_state_owns(const struct kernel_state *have, const struct service *svc);

/* The steps from `have` to `want`, into a zeroed or done plan. `want` may be empty: then
 * everything that is vipd's goes, but the link and the sets stay. Equal states give no
 * step. 0 or -ENOMEM (the plan is then empty). O(n log n) in the size of both; services that both
 * share (kernel_state_share_service()) are taken to be equal and vipd's own, and cost next to
 * nothing. */
int plan_make(struct plan *p, const struct kernel_state *have, const struct kernel_state *want,
	const struct plan_options *options);

/* Changes `s` as the kernel changes when `step` succeeds. 0; -ENOMEM; or what the kernel
 * answers: -EEXIST, -ENOENT (destination, set), -ESRCH (service), -ENODEV (link). Entries
 * and routes that are as wanted already are no error. */
int kernel_state_apply(struct kernel_state *s, const struct step *step);
