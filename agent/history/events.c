/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/history/events.h"

struct events {
	size_t capacity;
	struct event *ring; /* seq s stands at s % capacity */
	uint64_t next;
	size_t n_latencies; /* ever; the last EVENTS_LATENCIES are kept */
	nsec_t latencies[EVENTS_LATENCIES];
	uint64_t counts[_EVENT_KIND_N];
	struct histogram histograms[_EVENT_CAUSE_N];
};

const char *event_kind_text(enum event_kind kind)
{
	static const char *const texts[_EVENT_KIND_N] = {
		[EVENT_VIP_ADDED] = "vip-added",
		[EVENT_VIP_REMOVED] = "vip-removed",
		[EVENT_BACKEND_ADDED] = "backend-added",
		[EVENT_BACKEND_REMOVED] = "backend-removed",
		[EVENT_WEIGHT] = "weight",
		[EVENT_DRAIN_BEGUN] = "drain-begun",
		[EVENT_DRAIN_OVER] = "drain-over",
		[EVENT_REFUSED] = "refused",
		[EVENT_REFUSAL_OVER] = "refusal-over",
		[EVENT_CONFLICT] = "conflict",
		[EVENT_CONFLICT_OVER] = "conflict-over",
		[EVENT_REPAIRED] = "repaired",
		[EVENT_STEP_FAILED] = "step-failed",
		[EVENT_SOURCE_FAILED] = "source-failed",
		[EVENT_SOURCE_OK] = "source-ok",
		[EVENT_NODE_DOWN] = "node-down",
		[EVENT_NODE_OUT] = "node-out",
		[EVENT_NODE_CONFIRMED] = "node-confirmed",
		[EVENT_NODE_UP] = "node-up",
		[EVENT_NODE_HELD] = "node-held",
		[EVENT_VIPD_GONE] = "vipd-gone",
		[EVENT_VIPD_STALLED] = "vipd-stalled",
		[EVENT_VIPD_BACK] = "vipd-back",
		[EVENT_SELF_DOUBT] = "self-doubt",
		[EVENT_SELF_WELL] = "self-well",
		[EVENT_FLUSHED] = "flushed",
		[EVENT_MORE] = "more",
	};

	return texts[kind];
}

const char *event_cause_text(enum event_cause cause)
{
	static const char *const texts[_EVENT_CAUSE_N] = {
		[CAUSE_NONE] = "none",
		[CAUSE_DOCUMENT] = "document",
		[CAUSE_DRAIN] = "drain",
		[CAUSE_RAMP] = "slow-start",
		[CAUSE_NODE] = "node",
		[CAUSE_START] = "start",
		[CAUSE_RELOAD] = "reload",
		[CAUSE_AUDIT] = "audit",
		[CAUSE_OPERATOR] = "operator",
	};

	return texts[cause];
}

struct events *events_new(size_t capacity)
{
	struct events *e = xcalloc(1, sizeof(*e));

	e->capacity = capacity;
	e->ring = xcalloc(capacity, sizeof(*e->ring));
	e->next = 1;
	return e;
}

static void event_done(struct event *event)
{
	free(event->name);
	free(event->task);
	free(event->detail);
}

struct events *events_free(struct events *e)
{
	if (!e)
		return NULL;
	for (size_t i = 0; i < e->capacity; i++)
		event_done(&e->ring[i]);
	free(e->ring);
	free(e);
	return NULL;
}

static char *copy(const char *text)
{
	return text ? xstrdup(text) : NULL;
}

static void note_latency(struct events *e, const struct event *event)
{
	nsec_t latency = event->kernel - event->seen;

	if (!event->seen || event->kernel < event->seen)
		return;
	histogram_add(&e->histograms[event->cause], latency);
	if (event->cause == CAUSE_DOCUMENT)
		e->latencies[e->n_latencies++ % EVENTS_LATENCIES] = latency;
}

uint64_t events_count(const struct events *e, enum event_kind kind)
{
	return e->counts[kind];
}

const struct histogram *events_histogram(const struct events *e, enum event_cause cause)
{
	return &e->histograms[cause];
}

uint64_t events_add(struct events *e, const struct event *event)
{
	struct event *slot = &e->ring[e->next % e->capacity];

	event_done(slot);
	*slot = *event;
	slot->name = copy(event->name);
	slot->task = copy(event->task);
	slot->detail = copy(event->detail);
	slot->seq = e->next;
	e->counts[event->kind]++;
	note_latency(e, event);
	return e->next++;
}

uint64_t events_first(const struct events *e)
{
	return e->next > e->capacity ? e->next - e->capacity : 1;
}

uint64_t events_next(const struct events *e)
{
	return e->next;
}

const struct event *events_get(const struct events *e, uint64_t seq)
{
	if (seq < events_first(e) || seq >= e->next)
		return NULL;
	return &e->ring[seq % e->capacity];
}

static int cmp_nsec(const void *a, const void *b)
{
	nsec_t x = *(const nsec_t *)a, y = *(const nsec_t *)b;

	return (x > y) - (x < y);
}

void events_latency(const struct events *e, struct events_latency *ret)
{
	size_t n = e->n_latencies < EVENTS_LATENCIES ? e->n_latencies : EVENTS_LATENCIES;
	nsec_t sorted[EVENTS_LATENCIES];

	*ret = (struct events_latency){.n = n};
	if (n == 0)
		return;
	memcpy(sorted, e->latencies, n * sizeof(*sorted));
	qsort(sorted, n, sizeof(*sorted), cmp_nsec);
	ret->p50 = sorted[(n * 50 + 99) / 100 - 1];
	ret->p99 = sorted[(n * 99 + 99) / 100 - 1];
	ret->max = sorted[n - 1];
}
