/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * A thread that makes VIP tables of bytes, so that neither a large document nor a large table holds
 * the event loop. The loop hands over the bytes as they come and gets tables back; what was read
 * of a task stays with the thread, so that the next document pays only for what is new.
 *
 * One text at a time: a document, that has an end and becomes one table, or a stream of events
 * (agent/source/stream.h), that becomes one after the other.
 */
#include <systemd/sd-event.h>

#include "agent/source/mesos.h"
#include "agent/source/vip_table.h"
#include "agent/util.h"

struct reader;

enum reading_kind {
	READING_TABLE,     /* `table` is the receiver's */
	READING_UNCHANGED, /* the document says what the table named at its end was made of */
	READING_REBUILT,   /* after reader_rebuild(): another table of the same text */
	READING_BROKEN,    /* `error` says why; nothing more comes of this text */
};

struct reading {
	enum reading_kind kind;
	struct vip_table *table;
	char *error;
	uint64_t n_bytes;     /* of the document */
	nsec_t last_byte;     /* when the last byte that it is made of was handed over */
	nsec_t heartbeat;     /* of a stream: a byte comes at least this often; 0: not known */
	struct reading *next; /* the reader's own, as the rest */
	unsigned int text;
};

struct reader_handler {
	/* `reading` is lent. */
	void (*done)(void *userdata, struct reading *reading);
	/* There is room again after READER_FULL. */
	void (*room)(void *userdata);
	void *userdata;
};

/* `options->resolve` is called in the thread. 0 or a negative errno. */
int reader_new(sd_event *loop, const struct vip_table_options *options,
	const struct reader_handler *handler, struct reader **ret);
struct reader *reader_free(struct reader *r); /* takes NULL; returns NULL */

/* A document, or a stream of events, of at most so many bytes (a stream: each event) begins.
 * Nothing more is heard of the one before. */
void reader_begin(struct reader *r, size_t max_document, bool stream);
/* 0, or READER_FULL: nothing was taken, since the thread is behind. */
#define READER_FULL 1
int reader_feed(struct reader *r, const void *bytes, size_t n_bytes);
/* The document is whole. `known` is the digest of the table in force (vip_table.digest), or NULL. */
void reader_finish(struct reader *r, const uint8_t known[16]);
/* What options->resolve() answers may have changed: if it has, the last table is made again. */
void reader_rebuild(struct reader *r);
/* Nothing more is to be heard of the text under way. */
void reader_abort(struct reader *r);
