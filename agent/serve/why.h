/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * Why something does not work: follows one VIP, backend or task from its label to the kernel, one
 * step at a time, and names the first that stands in its way. Pure: all that it looks at is
 * handed to it.
 */
#include <json-c/json.h>

#include "agent/apply/firewall.h"
#include "agent/apply/reconcile.h"
#include "agent/desired/desired.h"
#include "agent/feed/feed.h"
#include "agent/history/gone.h"
#include "agent/overlay/liveness.h"
#include "agent/serve/dns.h"

struct why_input {
	/* A VIP ("redis.marathon", with or without port or the suffix; "1.2.3.4:80"), a backend
	 * ("10.0.0.5:31000", or an address for all of them there) or a task's id, whole or its
	 * beginning. */
	const char *query;
	const struct feed_stats *source;
	bool from_file, emptying_held;
	/* The table is the one that a master's vipd publishes: there is no document here. */
	bool followed;
	struct ip_addr publisher;            /* AF_UNSPEC: not known */
	nsec_t confirmed;                    /* when the table was the published one last */
	const struct vip_table *table;       /* NULL: none yet */
	struct address_range range4, range6; /* zeroed: names_default_range() */
	const struct gone *gone;
	const struct node *node;
	/* of node->address and node->address6 */
	enum source_state source_state, source_state6;
	const struct desired *desired;     /* NULL: none yet */
	const struct node_health *healths; /* sorted by agent; who is not listed is up */
	size_t n_healths;
	const struct liveness *liveness; /* what the overlay knows of nodes; NULL: it is off */
	const struct drains *drains;
	bool paused, surrounded;
	const struct reconcile_stats *kernel;
	const struct service_key *conflicts;
	size_t n_conflicts;
	const struct kernel_state *have; /* read just now; NULL: it could not be, for this errno */
	int error;
	nsec_t audit_interval;
	const struct firewall_stats *firewall; /* NULL: no rules are wanted */
	const int *sysctl_values; /* as sysctl_read(), one per sysctls[]; NULL: not ours */
	bool masquerade;
	const struct dns_listener_view *listeners; /* where names are answered */
	size_t n_listeners;
	nsec_t now;
};

/*
 * An array with one object for each thing that the query means, at least one:
 *
 *   {"object": "redis.marathon.l4lb.thisdcos.directory:6379", "kind": "vip", "ok": false,
 *    "verdict": "...", "mend": "..." or null,
 *    "steps": [{"stage": "kernel", "mark": "ok", "note" or "bad", "text": "...", "mend": ...}]}
 *
 * `ok` is true if no step is bad; the verdict is about the first that is. Kinds: vip, backend,
 * drain (a backend that has left the table), rejected (a task or label), gone, unknown.
 */
json_object *why_trace(const struct why_input *in);
