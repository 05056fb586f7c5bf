/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * What happened on this node, newest last: a ring of bounded size whose events are numbered, so
 * that who reads them sees what was dropped in between. Pure: times are arguments.
 *
 * An event about the kernel is added when the kernel has acknowledged it, and carries three
 * times: when its cause was *seen* (a document's last byte, the tick that found a drain over,
 * the end of an audit), when it was *decided* what to do, and when the *kernel* had done it.
 */
#include "agent/history/histogram.h"
#include "agent/util.h"
#include "ipvs/model.h"

/* Events that are kept: a few hours of an ordinary cluster, under 2 MB. */
#define EVENTS_KEPT 4096
/* Changes whose latencies are kept for events_latency(). */
#define EVENTS_LATENCIES 1000

enum event_kind {
	EVENT_VIP_ADDED,
	EVENT_VIP_REMOVED,
	EVENT_BACKEND_ADDED,
	EVENT_BACKEND_REMOVED,
	EVENT_WEIGHT,
	EVENT_DRAIN_BEGUN,
	EVENT_DRAIN_OVER,
	EVENT_REFUSED,
	EVENT_REFUSAL_OVER,
	EVENT_CONFLICT,
	EVENT_CONFLICT_OVER,
	EVENT_REPAIRED,
	EVENT_STEP_FAILED,
	EVENT_SOURCE_FAILED,
	EVENT_SOURCE_OK,
	EVENT_NODE_DOWN,
	EVENT_NODE_OUT,       /* and its backends are out of the kernel: no new connections */
	EVENT_NODE_CONFIRMED, /* down for so long that its backends go */
	EVENT_NODE_UP,
	EVENT_NODE_HELD,    /* up again, but it went down too often to be used at once */
	EVENT_VIPD_GONE,    /* a node is agentless: its backends stay */
	EVENT_VIPD_STALLED, /* likewise stalled */
	EVENT_VIPD_BACK,    /* and answers again */
	EVENT_SELF_DOUBT,   /* this node judges no others, for it is cut off, or in a minority */
	EVENT_SELF_WELL,
	EVENT_FLUSHED,
	EVENT_MORE, /* changes of one cause that were too many to be told one by one */
	_EVENT_KIND_N,
};
/* "vip-added" */
const char *event_kind_text(enum event_kind kind);

enum event_cause {
	CAUSE_NONE,
	CAUSE_DOCUMENT,
	CAUSE_DRAIN, /* a drain is over */
	CAUSE_RAMP,  /* slow start */
	CAUSE_NODE,  /* a node went down, was confirmed, or came back */
	CAUSE_START,
	CAUSE_RELOAD,
	CAUSE_AUDIT,
	CAUSE_OPERATOR,
	_EVENT_CAUSE_N,
};
/* "document" */
const char *event_cause_text(enum event_cause cause);

/* How a silence became a verdict (overlay.h); 0: that step was not taken at this node. */
struct node_steps {
	nsec_t missed, severed, probed, told;
};

struct event {
	uint64_t seq; /* 1, 2, ...; set by events_add() */
	enum event_kind kind;
	enum event_cause cause;
	nsec_t at;                    /* monotonic */
	uint64_t wall_us;             /* us since 1970 */
	nsec_t seen, decided, kernel; /* monotonic; 0: does not apply */
	struct service_key service;   /* address AF_UNSPEC: not about a VIP */
	struct ip_addr backend;       /* as the kernel has it; AF_UNSPEC: not about a backend */
	uint16_t backend_port;
	uint32_t weight, weight_before;
	struct node_steps steps; /* NODE_OUT; `seen` is `told` */
	char *name;              /* the VIP's DNS name; NULL: none or not known */
	char *task;              /* id; NULL likewise */
	char *detail;            /* a sentence; NULL */
};

struct events;

struct events *events_new(size_t capacity);
struct events *events_free(struct events *e); /* takes NULL; returns NULL */

/* Copies the event, texts included, and returns its number. The oldest one goes if need be. */
uint64_t events_add(struct events *e, const struct event *event);
/* The oldest that is kept; events_next() if there is none. */
uint64_t events_first(const struct events *e);
uint64_t events_next(const struct events *e); /* the number that the next one will get */
/* NULL: dropped, or not there yet. Valid until the next events_add(). */
const struct event *events_get(const struct events *e, uint64_t seq);

/* From a document's last byte to the kernel's acknowledgement, over the last EVENTS_LATENCIES
 * changes that a document caused. The p-th percentile is the smallest value that p % of them do
 * not exceed. */
struct events_latency {
	size_t n;
	nsec_t p50, p99, max; /* 0 if n is 0 */
};
void events_latency(const struct events *e, struct events_latency *ret);

/* Since the start: how many events of a kind there were, and how long after its cause each was in the
 * kernel. */
uint64_t events_count(const struct events *e, enum event_kind kind);
const struct histogram *events_histogram(const struct events *e, enum event_cause cause);
