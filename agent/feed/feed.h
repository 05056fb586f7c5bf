/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The feed: where documents come from. It polls the Mesos masters, or watches a file,
 * and hands over whole, valid documents only; everything else is a failure with a reason,
 * and changes nothing.
 *
 * Polling asks one master at a time, at random first, and stays with the one that answers.
 * A master that does not lead redirects to the one that does, and is followed. If the asked
 * one fails, the others are tried in turn within the same poll.
 *
 * On a master the node's own one can be told from the others: it is asked first, and its redirect
 * is not followed, for it is an answer: that it does not lead.
 */
#include <systemd/sd-event.h>

#include "agent/config.h"
#include "agent/source/mesos.h"

struct feed;

struct feed_handler {
	/* A whole document; the handler owns it. */
	void (*document)(void *userdata, struct mesos_state *state);
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
	uint64_t n_polls;    /* begun */
	uint64_t n_failures; /* polls without a document */
	uint64_t n_bytes;    /* document bytes received, decompressed */
	uint64_t n_documents;
	const char *url; /* what the last document was asked of, after redirects; or the file */
	bool from_own;   /* that was this node's own master, which leads */
	nsec_t last_begun, last_success; /* monotonic; 0: never */
	nsec_t last_byte;                /* when the last byte of the last answer came in */
	nsec_t last_duration;
	const char *error; /* why the last poll failed; NULL if it did not */
};

/* Starts at once. `config` must outlive the feed; its reloadable keys are read anew at each
 * poll. 0 or a negative errno. */
int feed_new(sd_event *loop, const struct config *config, const struct feed_handler *handler,
	struct feed **ret);
struct feed *feed_free(struct feed *f); /* takes NULL; returns NULL */
const struct feed_stats *feed_stats(const struct feed *f);
/* Polls now instead of waiting for the interval (after a reload). */
void feed_kick(struct feed *f);
/* The base URL of this node's own master; NULL: it has none. FEED_ANY is the mode until another
 * is set. No effect on a file. */
void feed_set_own(struct feed *f, const char *url);
/* Its first poll begins at a random moment `within` this time, or at once if that is 0: when a
 * cluster's nodes begin to poll together, the master is not to meet them all at once. */
void feed_set_mode(struct feed *f, enum feed_mode mode, nsec_t within);
