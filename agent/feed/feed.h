/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The feed: where VIP tables come from. It polls the Mesos masters, subscribes to the events of one,
 * or watches a file, and hands over the tables of whole, valid documents only; everything else is a
 * failure with a reason, and changes nothing.
 *
 * Polling asks one master at a time, at random first, and stays with the one that answers.
 * A master that does not lead redirects to the one that does, and is followed. If the asked
 * one fails, the others are tried in turn within the same poll.
 *
 * With `mesos_api = subscribe` each poll first tries to subscribe, in the same way. A subscription
 * holds until it breaks or falls silent; then there is a poll at once, and the next one tries again.
 *
 * On a master the node's own one can be told from the others: it is asked first, and its redirect
 * is not followed, for it is an answer: that it does not lead.
 */
#include <systemd/sd-event.h>

#include "agent/config.h"
#include "agent/source/vip_table.h"

struct feed;

struct feed_handler {
	/* The table of a whole document, which the handler owns; NULL: the document says what
	 * the table named by known() was made of. */
	void (*table)(void *userdata, struct vip_table *table);
	/* The table that the next document is compared with; NULL: none. */
	const struct vip_table *(*known)(void *userdata);
	/* A poll failed at all masters (or the file is unreadable): the reason, a sentence. */
	void (*failure)(void *userdata, const char *reason);
	/* This node's own master answered that it does not lead. May be NULL. */
	void (*not_leading)(void *userdata);
	void *userdata;
};

/* Whom a poll asks. */
enum feed_mode {
	FEED_ANY,  /* the own master, if there is one; then the others until one gives a document */
	FEED_OWN,  /* the own master only */
	FEED_NONE, /* nobody: there are no polls */
};

struct feed_stats {
	uint64_t n_polls;     /* begun */
	uint64_t n_failures;  /* polls without a document */
	uint64_t n_bytes;     /* document bytes received, decompressed */
	uint64_t n_documents; /* whole and valid, and tables of events */
	uint64_t n_unchanged; /* of those: that said what the one before said */
	uint64_t n_subscriptions, n_subscriptions_lost;
	bool subscribed;   /* to url's events, now */
	const char *url;   /* what the last document was asked of, after redirects; or the file */
	bool from_own;     /* that was this node's own master, which leads */
	uint64_t document; /* bytes of the last whole document */
	nsec_t last_begun, last_success; /* monotonic; 0: never */
	nsec_t last_byte;  /* when the last byte came that the last table is made of */
	nsec_t last_heard; /* when any byte came from a master, heartbeats too */
	nsec_t last_duration;
	const char *error; /* why the last poll failed; NULL if it did not */
	const char *lost;  /* why there is no subscription although one is wanted; NULL */
};

/* Starts at once. `config` must outlive the feed; its reloadable keys are read anew at each
 * poll. `options` is how tables are made; its resolve() is called in another thread. 0 or a
 * negative errno. */
int feed_new(sd_event *loop, const struct config *config, const struct vip_table_options *options,
	const struct feed_handler *handler, struct feed **ret);
struct feed *feed_free(struct feed *f); /* takes NULL; returns NULL */
const struct feed_stats *feed_stats(const struct feed *f);
/* Polls now instead of waiting for the interval (after a reload). */
void feed_kick(struct feed *f);
/* A host name was resolved: the table of the last document may be another one now. */
void feed_resolved(struct feed *f);
/* The base URL of this node's own master; NULL: it has none. FEED_ANY is the mode until another
 * is set. No effect on a file. */
void feed_set_own(struct feed *f, const char *url);
/* Its first poll begins at a random moment `within` this time, or at once if that is 0: when a
 * cluster's nodes begin to poll together, the master is not to meet them all at once. */
void feed_set_mode(struct feed *f, enum feed_mode mode, nsec_t within);
