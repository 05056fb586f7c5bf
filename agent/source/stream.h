/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The operator API's event stream, as a master answers SUBSCRIBE: records of RecordIO ("LENGTH\n" and
 * so many bytes of JSON), the first a whole state, each of the others one change. Bytes go in as the
 * network delivers them; whenever records are complete, a `struct mesos_state` can be taken.
 *
 * A record counts when it is complete; until then nothing of it is to be seen. Whatever is not
 * understood breaks the stream, and the caller then polls instead.
 */
#include "agent/source/mesos.h"

struct mesos_stream;

/* `limits` as for a parser; `document` bounds each record, and the texts of all tasks together. */
struct mesos_stream *mesos_stream_new(const struct mesos_limits *limits);
struct mesos_stream *mesos_stream_free(struct mesos_stream *s); /* takes NULL; returns NULL */
/* 0, or -EBADMSG: mesos_stream_error() says what and where, and every later call fails alike. */
int mesos_stream_feed(struct mesos_stream *s, const void *bytes, size_t n_bytes);
const char *mesos_stream_error(const struct mesos_stream *s);
/* True if something has changed since the last mesos_stream_state(). Never before the first
 * record, the whole state, is complete. */
bool mesos_stream_changed(const struct mesos_stream *s);
/* All tasks of now. Of those without VIP labels n_tasks_seen counts what the first record had;
 * n_bytes is that record's size. */
struct mesos_state *mesos_stream_state(struct mesos_stream *s);
/* What the master promised: a record comes at least this often. 0: not known. */
uint64_t mesos_stream_heartbeat_ms(const struct mesos_stream *s);
/* Records so far, heartbeats included. */
uint64_t mesos_stream_n_records(const struct mesos_stream *s);
