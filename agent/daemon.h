/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The daemon's own state: the parts, and the values that go from one to the next.
 *
 *   feed -> (document) -+-> table -> desired -> reconcile -> kernel
 *   publisher ----------+
 *
 * Only daemon.c writes it; views.c reads it.
 */
#include "agent/apply/firewall.h"
#include "agent/apply/reconcile.h"
#include "agent/config.h"
#include "agent/containers/namespaces.h"
#include "agent/desired/desired.h"
#include "agent/feed/feed.h"
#include "agent/feed/resolve.h"
#include "agent/history/watch.h"
#include "agent/overlay/cluster.h"
#include "agent/publish/publisher.h"
#include "agent/serve/control.h"
#include "agent/serve/dns.h"
#include "agent/serve/meter.h"

struct daemon {
	sd_event *loop;
	struct config *config;
	const char *config_path;
	struct config *(*load_config)(
		void *userdata, FILE *errors); /* for SIGHUP; NULL on errors */
	void *load_userdata;

	struct cluster *cluster;
	struct publisher *publisher;
	struct feed *feed;
	struct resolver *resolver;
	struct node node;
	struct vip_table *table; /* in force; NULL until the first document */
	nsec_t table_since;      /* when its meaning last changed */
	uint64_t n_table_changes;
	struct vip_table *held; /* a table that would empty a large one, until it is repeated */
	struct drains *drains;
	struct ramps *ramps;
	struct desired *desired;
	bool desired_stale; /* a change of the table was not taken into it */
	struct auditor *auditor;
	struct meter *meter;
	struct reconcile *reconcile;
	struct firewall *firewall;     /* NULL: the operator wants no rules */
	struct namespaces *namespaces; /* NULL: the operator wants none */
	bool surrounded;               /* the rules were seen to: VIPs may appear */
	struct control *control;
	struct control *http;    /* the port; NULL: none is wanted, or it cannot be had */
	int http_error;          /* why not: a negative errno; 0: it is not wanted */
	struct endpoint http_at; /* where it is, or was tried last */
	struct dns *dns;
	struct watch *watch;
	bool paused;    /* by flush: nothing is programmed */
	bool own_table; /* `table` is what this node's own leading master said */
	bool failing;   /* the feed failed last time, and that was logged */

	nsec_t started;
	sd_event_source *audit, *drain_tick, *ramp_tick, *sigs[3];
};

/* Opens everything and starts; errors are logged. 0 or a negative errno. */
int daemon_init(struct daemon *d);
void daemon_done(struct daemon *d);

/* Removes all that is vipd's from the kernel and stops programming until a restart or a
 * reload. 0 or a negative errno. */
int daemon_flush(struct daemon *d);
/* The work of it, for a vipd that only flushes. */
int flush_kernel(struct reconcile *reconcile);
