/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine: a heap of events in virtual time, hosts, a network, and the doors of the overlay.
 *
 * Nothing here knows the protocol; it does what agent/ will do with sockets: hands in what arrived,
 * ticks at the deadline, and carries out the effects. What the wire would add is counted: 28 bytes
 * of IP and UDP and 44 of encryption to a datagram; 52 of IP and TCP and 20 of encryption to a
 * segment of up to 1,400, 52 for its acknowledgement, 60 for a SYN or its answer.
 */
#include "sim.h"
#include "gossip/wire.h"
#include "swim.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID_FACTOR UINT64_C(0x9e3779b97f4a7c15)
#define ID_INVERSE UINT64_C(0xf1de83e19937733d)
#define UDP_OVERHEAD (28 + 44)
#define TCP_OVERHEAD (52 + 20)
#define TCP_MSS 1400
#define TCP_ACK 52
#define TCP_SYN 60
#define TCP_RTO_MIN (200 * MSEC)
#define SOCKET_BUFFER 208 /* datagrams of about a kilobyte's buffer cost: rmem_default */
#define CUTS_MAX 32
#define WATCHES_MAX 512
#define HOST_ABSENT_BOUND (3 * SEC)
/* A round trip that fails more often than at 20 % loss each way proves nothing. */
#define LOSS_BOUND 0.45
#define PAIRS_MAX 128

enum event_kind {
	EV_TIMER,
	EV_DATAGRAM,
	EV_SYN,    /* a connection request reaches a host */
	EV_OPENED, /* its answer reaches the opener */
	EV_REFUSED,
	EV_STREAM, /* bytes reach the other end */
	EV_CLOSED, /* a FIN or RST reaches the other end */
	EV_PROBE,  /* a probe's SYN reaches a host */
	EV_PROBED, /* its answer comes back */
	EV_CONT,
	EV_RESUME,
	EV_START,
};

struct event {
	nsec_t at;
	uint64_t order;
	uint16_t kind;
	uint16_t n;
	uint32_t to, from;
	uint32_t a, b; /* conn, handle, probe, boot: as the kind needs */
	void *bytes;
};

/* One TCP connection. End 0 opened it. */
struct conn {
	uint32_t host[2], boot[2], handle[2];
	bool open[2];               /* this end's process still holds it */
	nsec_t clear[2];            /* bytes to this end arrive in order: not before */
	uint32_t sent[2], taken[2]; /* portions to this end, by number */
	uint32_t n_queued;          /* events under way */
	bool used;
};

struct host {
	bool alive, running, stopped;
	nsec_t paused_until;
	uint32_t boot;
	struct gossip *gossip;
	struct swim *swim;
	nsec_t timer;
	double loss_in, loss_out;
	nsec_t extra;
	nsec_t offset; /* of its clock */
	bool isolated;
	uint64_t bytes, packets;
	uint64_t second, second_bytes, rate_max; /* said in that one; the most */
	nsec_t touched;     /* last time its reachability changed by the scenario */
	struct event *held; /* what waits for a stopped process or a paused host */
	unsigned n_held, n_held_allocated;
	uint32_t *handles; /* pairs handle, conn */
	unsigned n_handles, n_handles_allocated;
	unsigned witness;
};

struct cut {
	bool active, one_way;
	unsigned a, n_a, b, n_b;
};

struct sim {
	struct sim_options options;
	nsec_t now;
	uint64_t random, order, hash;
	struct event *heap;
	size_t n_heap, n_heap_allocated;
	struct host *hosts;
	struct conn *conns;
	size_t n_conns, n_conns_allocated, at_free;
	struct cut cuts[CUTS_MAX];
	unsigned n_cuts, n_isolated;
	bool udp_blocked, verbose;
	nsec_t touched; /* last change of the network as a whole */
	struct sim_watch *watches[WATCHES_MAX];
	unsigned n_watches;
	struct sim_counts counts;
	sim_app *app;
	void *app_arg;
	/* For invariants, in clusters of up to PAIRS_MAX: by reporter and subject. */
	uint8_t *told; /* status reported last, plus one */
	uint32_t n_casts;
	uint8_t *cast_seen; /* by multicast and node, the first SIM_CASTS_MAX */
	char error[256];    /* the first that an event has broken */
	struct invariants *invariants;
};

static uint64_t rnd(struct sim *s)
{
	uint64_t v = s->random += ID_FACTOR;

	v = (v ^ v >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	v = (v ^ v >> 27) * UINT64_C(0x94d049bb133111eb);
	return v ^ v >> 31;
}

uint64_t sim_random(struct sim *s, uint64_t below)
{
	return below == 0 ? 0 : rnd(s) % below;
}

static double uniform(struct sim *s)
{
	return (rnd(s) >> 11) * (1.0 / 9007199254740992.0);
}

static bool chance(struct sim *s, double p)
{
	return p > 0 && uniform(s) < p;
}

uint64_t sim_id(unsigned i)
{
	return (i + 1) * ID_FACTOR;
}

unsigned sim_index(uint64_t id)
{
	return id * ID_INVERSE - 1;
}

void sim_address(unsigned i, struct gossip_addr *ret)
{
	*ret = (struct gossip_addr){.family = 4, .port = 61420, .bytes = {10, i >> 16, i >> 8, i}};
}

static unsigned host_of(const struct gossip_addr *a)
{
	return a->bytes[1] << 16 | a->bytes[2] << 8 | a->bytes[3];
}

/* ---- The heap ---- */

static bool before(const struct event *a, const struct event *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void heap_push(struct sim *s, struct event e)
{
	size_t i = s->n_heap++;

	if (s->n_heap > s->n_heap_allocated) {
		s->n_heap_allocated = s->n_heap_allocated * 2 + 1024;
		s->heap = realloc(s->heap, s->n_heap_allocated * sizeof(*s->heap));
		assert(s->heap);
	}
	e.order = s->order++;
	while (i > 0 && before(&e, &s->heap[(i - 1) / 4])) {
		s->heap[i] = s->heap[(i - 1) / 4];
		i = (i - 1) / 4;
	}
	s->heap[i] = e;
}

static struct event heap_pop(struct sim *s)
{
	struct event top = s->heap[0], last = s->heap[--s->n_heap];
	size_t i = 0;

	for (;;) {
		size_t best = 0, first = 4 * i + 1;

		for (size_t k = first; k < first + 4 && k < s->n_heap; k++) {
			if (best == 0 || before(&s->heap[k], &s->heap[best]))
				best = k;
		}
		if (best == 0 || !before(&s->heap[best], &last))
			break;
		s->heap[i] = s->heap[best];
		i = best;
	}
	if (s->n_heap > 0)
		s->heap[i] = last;
	return top;
}

/* ---- The network ---- */

static bool in(unsigned x, unsigned first, unsigned n)
{
	return x - first < n;
}

static bool blocked(const struct sim *s, unsigned from, unsigned to)
{
	if (from == to)
		return false;
	if (s->n_isolated > 0 && (s->hosts[from].isolated || s->hosts[to].isolated))
		return true;
	for (unsigned i = 0; i < s->n_cuts; i++) {
		const struct cut *c = &s->cuts[i];

		if (!c->active)
			continue;
		if (in(from, c->a, c->n_a) && in(to, c->b, c->n_b))
			return true;
		if (!c->one_way && in(from, c->b, c->n_b) && in(to, c->a, c->n_a))
			return true;
	}
	return false;
}

static bool lost(struct sim *s, unsigned from, unsigned to)
{
	return blocked(s, from, to) || chance(s, s->options.loss) ||
	       chance(s, s->hosts[from].loss_out) || chance(s, s->hosts[to].loss_in);
}

static nsec_t latency(struct sim *s, unsigned from, unsigned to)
{
	nsec_t t = s->options.latency_min;

	t += -log(1 - uniform(s)) * s->options.latency_spread;
	if (chance(s, s->options.reorder))
		t += uniform(s) * 5 * MSEC;
	return t + s->hosts[from].extra + s->hosts[to].extra;
}

static void count(struct sim *s, unsigned host, size_t bytes, unsigned packets)
{
	s->hosts[host].bytes += bytes;
	s->hosts[host].packets += packets;
}

static void count_said(struct sim *s, unsigned host, size_t bytes)
{
	struct host *h = &s->hosts[host];

	if (h->second != s->now / SEC) {
		h->second = s->now / SEC;
		h->second_bytes = 0;
	}
	h->second_bytes += bytes;
	if (h->second_bytes > h->rate_max)
		h->rate_max = h->second_bytes;
}

static void datagram_send(struct sim *s, unsigned from, unsigned to, const void *bytes, size_t n)
{
	unsigned copies = 1 + chance(s, s->options.duplicate);

	count(s, from, n + UDP_OVERHEAD, 1);
	s->counts.datagrams++;
	if (to >= s->options.n || s->udp_blocked)
		return;
	for (; copies > 0; copies--) {
		struct event e = {.kind = EV_DATAGRAM, .from = from, .to = to, .n = n};

		if (lost(s, from, to))
			continue;
		e.at = s->now + latency(s, from, to);
		e.bytes = malloc(n);
		assert(e.bytes);
		memcpy(e.bytes, bytes, n);
		heap_push(s, e);
	}
}

/* When a segment sent now gets there, with retransmissions; NSEC_NEVER if it has not after
 * `most`. Cuts are looked at as they are now: retransmission is tried again from outside. */
static nsec_t segment_arrival(struct sim *s, unsigned from, unsigned to, nsec_t rto, nsec_t most)
{
	nsec_t wait = 0;

	if (blocked(s, from, to) || blocked(s, to, from))
		return NSEC_NEVER;
	while (lost(s, from, to)) {
		wait += rto;
		rto *= 2;
		if (wait > most)
			return NSEC_NEVER;
	}
	return s->now + wait + latency(s, from, to);
}

/* ---- Connections ---- */

static uint32_t conn_of(const struct host *h, uint32_t handle)
{
	for (unsigned i = 0; i < h->n_handles; i++) {
		if (h->handles[2 * i] == handle)
			return h->handles[2 * i + 1];
	}
	return UINT32_MAX;
}

static void handle_add(struct host *h, uint32_t handle, uint32_t conn)
{
	if (h->n_handles == h->n_handles_allocated) {
		h->n_handles_allocated = h->n_handles_allocated * 2 + 12;
		h->handles = realloc(h->handles, h->n_handles_allocated * 8);
		assert(h->handles);
	}
	h->handles[2 * h->n_handles] = handle;
	h->handles[2 * h->n_handles++ + 1] = conn;
}

static void handle_remove(struct host *h, uint32_t handle)
{
	for (unsigned i = 0; i < h->n_handles; i++) {
		if (h->handles[2 * i] != handle)
			continue;
		h->n_handles--;
		h->handles[2 * i] = h->handles[2 * h->n_handles];
		h->handles[2 * i + 1] = h->handles[2 * h->n_handles + 1];
		return;
	}
}

static uint32_t conn_new(struct sim *s)
{
	struct conn *c;

	while (s->at_free < s->n_conns && s->conns[s->at_free].used)
		s->at_free++;
	if (s->at_free == s->n_conns) {
		if (s->n_conns == s->n_conns_allocated) {
			s->n_conns_allocated = s->n_conns_allocated * 2 + 1024;
			s->conns = realloc(s->conns, s->n_conns_allocated * sizeof(*c));
			assert(s->conns);
		}
		s->n_conns++;
	}
	c = &s->conns[s->at_free];
	memset(c, 0, sizeof(*c));
	c->used = true;
	return s->at_free;
}

static void conn_put(struct sim *s, uint32_t k)
{
	struct conn *c = &s->conns[k];

	if (c->open[0] || c->open[1] || c->n_queued > 0)
		return;
	c->used = false;
	if (k < s->at_free)
		s->at_free = k;
}

static void conn_event(struct sim *s, uint32_t k, enum event_kind kind, unsigned end, nsec_t at,
	void *bytes, size_t n, uint32_t b)
{
	struct conn *c = &s->conns[k];
	uint32_t number = kind == EV_STREAM ? c->sent[end]++ : 0;

	c->n_queued++;
	heap_push(s, (struct event){.kind = kind,
			     .at = at,
			     .to = c->host[end],
			     .from = end | number << 1,
			     .a = k,
			     .b = b,
			     .bytes = bytes,
			     .n = n});
}

static void conn_open(struct sim *s, unsigned from, uint32_t handle, unsigned to)
{
	uint32_t k;
	nsec_t at;

	count(s, from, TCP_SYN, 1);
	if (to >= s->options.n)
		return;
	k = conn_new(s);
	s->conns[k].host[0] = from;
	s->conns[k].host[1] = to;
	s->conns[k].boot[0] = s->hosts[from].boot;
	s->conns[k].handle[0] = handle;
	s->conns[k].open[0] = true;
	handle_add(&s->hosts[from], handle, k);
	at = segment_arrival(s, from, to, SEC, 3 * SEC);
	if (at != NSEC_NEVER)
		conn_event(s, k, EV_SYN, 1, at, NULL, 0, 0);
}

/* Bytes from this end to the other; in portions: a frame may be longer than a heap entry says. */
static void conn_send(struct sim *s, uint32_t k, unsigned end, const uint8_t *bytes, size_t n)
{
	struct conn *c = &s->conns[k];
	unsigned from = c->host[end], to = c->host[!end];

	while (n > 0) {
		size_t part = n < 60000 ? n : 60000;
		unsigned segments = (part + TCP_MSS - 1) / TCP_MSS;
		nsec_t at = segment_arrival(s, from, to, TCP_RTO_MIN, 30 * SEC);
		void *copy = malloc(part);

		assert(copy);
		memcpy(copy, bytes, part);
		count(s, from, part + segments * TCP_OVERHEAD, segments);
		if (at != NSEC_NEVER) {
			count(s, to, TCP_ACK * ((segments + 1) / 2), (segments + 1) / 2);
			if (at < c->clear[!end])
				at = c->clear[!end];
			c->clear[!end] = at;
		} else {
			at = s->now + TCP_RTO_MIN; /* to be tried again */
			if (at < c->clear[!end])
				at = c->clear[!end];
			c->clear[!end] = at;
			conn_event(s, k, EV_STREAM, !end, at, copy, part, 1);
			bytes += part;
			n -= part;
			continue;
		}
		conn_event(s, k, EV_STREAM, !end, at, copy, part, 0);
		bytes += part;
		n -= part;
	}
}

/* This end is closed, by its process or its death; the other hears of it if it can. */
static void conn_close(
	struct sim *s, uint32_t k, unsigned end, enum gossip_close reason, bool quiet)
{
	struct conn *c = &s->conns[k];
	nsec_t at;

	if (!c->open[end])
		return;
	c->open[end] = false;
	handle_remove(&s->hosts[c->host[end]], c->handle[end]);
	count(s, c->host[end], TCP_ACK, 1);
	at = segment_arrival(s, c->host[end], c->host[!end], TCP_RTO_MIN, SEC);
	if (!quiet && at != NSEC_NEVER) {
		if (at < c->clear[!end])
			at = c->clear[!end];
		conn_event(s, k, EV_CLOSED, !end, at, NULL, 0, reason);
	}
	conn_put(s, k);
}

/* ---- Nodes ---- */

static nsec_t local_time(const struct sim *s, const struct host *h)
{
	return s->now + h->offset;
}

static void set_timer(struct sim *s, unsigned i)
{
	struct host *h = &s->hosts[i];
	nsec_t d = h->gossip ? gossip_deadline(h->gossip) : swim_deadline(h->swim);

	d = d == NSEC_NEVER ? d : d - h->offset;
	if (d < s->now)
		d = s->now;
	if (d >= h->timer || d == NSEC_NEVER)
		return;
	h->timer = d;
	heap_push(s, (struct event){.kind = EV_TIMER, .at = d, .to = i, .a = h->boot});
}

static void hash_in(struct sim *s, uint64_t v)
{
	s->hash = (s->hash ^ v) * UINT64_C(0x100000001b3);
	s->hash ^= s->hash >> 29;
}

/* Whether it has a way, both ways, to most of those that run: views are bounded, so that a few
 * nodes cannot stand between many that do not hear each other. */
static bool central(const struct sim *s, unsigned i)
{
	unsigned n = 0, n_heard = 0;

	for (unsigned k = 0; k < s->options.n; k++) {
		if (!s->hosts[k].running)
			continue;
		n++;
		n_heard += !blocked(s, i, k) && !blocked(s, k, i);
	}
	return 2 * n_heard > n;
}

/* Whether the host could have been heard by i all the time that matters. */
static bool could_be_heard(const struct sim *s, unsigned of, unsigned i)
{
	const struct host *h = &s->hosts[of], *me = &s->hosts[i];
	double loss = h->loss_in + h->loss_out + me->loss_in + me->loss_out + 2 * s->options.loss;

	return h->alive && s->now - h->touched > HOST_ABSENT_BOUND &&
	       s->now - me->touched > HOST_ABSENT_BOUND &&
	       s->now - s->touched > HOST_ABSENT_BOUND && !blocked(s, of, i) &&
	       !blocked(s, i, of) && h->paused_until < s->now && loss < LOSS_BOUND &&
	       central(s, of) && central(s, i);
}

static void broken(struct sim *s, const char *what, unsigned a, unsigned b)
{
	if (!s->error[0])
		snprintf(s->error, sizeof(s->error), "%.3f s: %s (%u, %u)", (double)s->now / SEC,
			what, a, b);
}

/* Each report is news; an isolated node judges nobody. */
static void report_check(struct sim *s, unsigned i, unsigned of, enum gossip_status status)
{
	uint8_t *told;

	if (status == GOSSIP_STATUS_DOWN && s->hosts[i].isolated && s->options.n > 2 &&
		s->now - s->hosts[i].touched > SEC && s->options.kind == SIM_GOSSIP)
		broken(s, "a verdict from an isolated node", i, of);
	if (!s->told)
		return;
	told = &s->told[i * s->options.n + of];
	if (*told == status + 1)
		broken(s, "the same report twice", i, of);
	*told = status + 1;
}

static void cast_check(struct sim *s, unsigned i, const struct gossip_event *e)
{
	uint32_t k;

	s->counts.multicasts++;
	if (!s->cast_seen || e->n_bytes < sizeof(k))
		return;
	memcpy(&k, e->bytes, sizeof(k));
	if (k >= SIM_CASTS_MAX)
		return;
	if (s->cast_seen[k * s->options.n + i]++)
		broken(s, "a multicast twice", i, k);
}

static void reported(struct sim *s, unsigned i, unsigned of, enum gossip_status status)
{
	report_check(s, i, of, status);
	hash_in(s, s->now);
	hash_in(s, (uint64_t)i << 32 | of);
	hash_in(s, status);
	if (status == GOSSIP_STATUS_DOWN) {
		s->counts.down++;
		if (could_be_heard(s, of, i)) {
			s->counts.false_down++;
			broken(s, "one that can be heard is down (at, who)", i, of);
		}
	} else if (status == GOSSIP_STATUS_UP) {
		s->counts.up++;
	} else {
		s->counts.other++;
	}
	for (unsigned k = 0; k < s->n_watches; k++) {
		struct sim_watch *w = s->watches[k];

		if (w->subject != of)
			continue;
		if (status == GOSSIP_STATUS_UP) {
			w->n_up++;
			w->last_up = s->now;
			continue;
		}
		if (w->n_gone++ == 0)
			w->first_gone = s->now;
		w->last_gone = s->now;
		if (status != GOSSIP_STATUS_DOWN)
			continue;
		if (w->n_down++ == 0)
			w->first_down = s->now;
		w->last_down = s->now;
	}
}

static void event_take(struct sim *s, unsigned i, const struct gossip_event *e)
{
	if (s->verbose)
		printf("%12.6f %u: kind %d of %u %s self %d\n", (double)s->now / SEC, i, e->kind,
			sim_index(e->id), gossip_status_name(e->status), e->self);
	if (e->kind == GOSSIP_EVENT_NODE) {
		unsigned of = sim_index(e->id);
		const char *wrong = NULL;

		if (e->status == GOSSIP_STATUS_DOWN && e->accuser == 0)
			wrong = "a verdict without an accuser";
		else if (e->status == GOSSIP_STATUS_DOWN && sim_status(s, i, of) == e->status)
			wrong = sim_check_verdict(s, i, of);
		if (wrong)
			broken(s, wrong, i, of);
		reported(s, i, of, e->status);
		return;
	}
	if (s->app && (e->kind == GOSSIP_EVENT_MULTICAST || e->kind == GOSSIP_EVENT_REQUEST ||
			      e->kind == GOSSIP_EVENT_RESPONSE))
		s->app(s, s->app_arg, i, e);
	else if (e->kind == GOSSIP_EVENT_MULTICAST)
		cast_check(s, i, e);
	if (e->kind == GOSSIP_EVENT_CONFLICT)
		broken(s, "a double", i, i);
	hash_in(s, s->now);
	hash_in(s, (uint64_t)i << 32 | e->kind);
	hash_in(s, e->id ^ e->self);
}

static void effect_do(struct sim *s, unsigned i, const struct gossip_effect *e)
{
	struct host *h = &s->hosts[i];
	unsigned to = host_of(&e->address);
	uint32_t k;
	nsec_t at;

	switch (e->kind) {
	case GOSSIP_EFFECT_PACKET:
		count_said(s, i, e->n_bytes + UDP_OVERHEAD);
		datagram_send(s, i, to, e->bytes, e->n_bytes);
		break;
	case GOSSIP_EFFECT_LINK_OPEN:
		conn_open(s, i, e->link, to);
		break;
	case GOSSIP_EFFECT_LINK_SEND:
		if (e->bytes[0] < WIRE_CAST || e->bytes[0] == WIRE_RECORDS)
			count_said(s, i, e->n_bytes + TCP_OVERHEAD);
		k = conn_of(h, e->link);
		if (k != UINT32_MAX)
			conn_send(s, k,
				s->conns[k].handle[0] == e->link && s->conns[k].host[0] == i ? 0
											     : 1,
				e->bytes, e->n_bytes);
		gossip_link_backlog(h->gossip, e->link, 0);
		break;
	case GOSSIP_EFFECT_LINK_CLOSE:
	case GOSSIP_EFFECT_LINK_ABORT:
		k = conn_of(h, e->link);
		if (k != UINT32_MAX)
			conn_close(s, k,
				s->conns[k].handle[0] == e->link && s->conns[k].host[0] == i ? 0
											     : 1,
				GOSSIP_CLOSE_EOF, false);
		break;
	case GOSSIP_EFFECT_PROBE:
		count(s, i, TCP_SYN, 1);
		if (to >= s->options.n || lost(s, i, to))
			break;
		at = s->now + latency(s, i, to);
		heap_push(s, (struct event){.kind = EV_PROBE,
				     .at = at,
				     .to = to,
				     .from = i,
				     .a = e->link,
				     .b = h->boot});
		break;
	}
}

/* After each call into a node. */
static void drain(struct sim *s, unsigned i)
{
	struct host *h = &s->hosts[i];
	struct gossip_effect effect;
	struct gossip_event event;

	if (h->gossip) {
		while (gossip_pop_event(h->gossip, &event))
			event_take(s, i, &event);
		while (gossip_pop_effect(h->gossip, &effect))
			effect_do(s, i, &effect);
	}
	set_timer(s, i);
}

static void swim_send(void *arg, unsigned to, const void *bytes, size_t n)
{
	struct event *e = arg;
	struct sim *s = e->bytes;

	datagram_send(s, e->to, to, bytes, n);
}

static void swim_stream(void *arg, unsigned to, size_t n)
{
	struct event *e = arg;
	struct sim *s = e->bytes;

	count(s, e->to, 2 * TCP_SYN + n + (n / TCP_MSS + 1) * TCP_OVERHEAD, 3 + n / TCP_MSS);
	if (s->hosts[to].running)
		count(s, to, 2 * TCP_SYN + n + (n / TCP_MSS + 1) * TCP_OVERHEAD, 3 + n / TCP_MSS);
}

static void swim_report(void *arg, unsigned of, bool up)
{
	struct event *e = arg;

	reported(e->bytes, e->to, of, up ? GOSSIP_STATUS_UP : GOSSIP_STATUS_DOWN);
}

static void node_config(struct sim *s, unsigned i, struct gossip_config *c)
{
	static uint8_t metadata[GOSSIP_METADATA_MAX];

	gossip_config_init(c);
	if (s->options.config.beat_interval != 0)
		*c = s->options.config;
	c->id = sim_id(i);
	c->incarnation = (uint64_t)s->hosts[i].boot << 32 | (rnd(s) >> 33) | 1;
	c->seed = rnd(s);
	sim_address(i, &c->address);
	memset(metadata, i, sizeof(metadata));
	c->metadata = metadata;
	c->n_metadata = s->options.n_metadata;
}

static void swim_start(struct sim *s, unsigned i)
{
	struct event *arg = malloc(sizeof(*arg));

	*arg = (struct event){.to = i, .bytes = s};
	s->hosts[i].swim = swim_new(i, s->options.n, (s->hosts[i].boot - 1) * 1000 + 1, rnd(s),
		local_time(s, &s->hosts[i]),
		&(struct swim_out){.arg = arg,
			.send = swim_send,
			.stream = swim_stream,
			.report = swim_report});
}

static void contacts_set(struct sim *s, unsigned i)
{
	struct gossip_addr contacts[GOSSIP_CONTACTS_MAX];
	unsigned n = 0;

	for (; n < s->options.n_contacts && n < s->options.n; n++)
		sim_address(n, &contacts[n]);
	gossip_set_contacts(s->hosts[i].gossip, local_time(s, &s->hosts[i]), contacts, n);
}

void sim_start(struct sim *s, unsigned i)
{
	struct host *h = &s->hosts[i];
	struct gossip_config config;
	struct gossip_addr witness;

	if (h->running)
		return;
	if (!h->alive)
		h->touched = s->now;
	if (s->told) {
		memset(s->told + i * s->options.n, 0, s->options.n);
		for (unsigned k = 0; k < SIM_CASTS_MAX; k++) /* a new process has seen nothing */
			s->cast_seen[k * s->options.n + i] = 0;
	}
	h->alive = h->running = true;
	h->stopped = false;
	h->boot++;
	h->timer = NSEC_NEVER;
	if (s->options.kind == SIM_SWIM) {
		swim_start(s, i);
		set_timer(s, i);
		return;
	}
	node_config(s, i, &config);
	assert(gossip_new(&h->gossip, &config, local_time(s, h)) == 0);
	contacts_set(s, i);
	if (h->witness != SIM_ALL) {
		sim_address(h->witness, &witness);
		gossip_set_witnesses(h->gossip, &witness, 1);
	}
	drain(s, i);
}

void sim_witness(struct sim *s, unsigned i, unsigned host)
{
	struct gossip_addr witness;

	s->hosts[i].witness = host;
	sim_address(host, &witness);
	if (s->hosts[i].gossip)
		gossip_set_witnesses(s->hosts[i].gossip, &witness, 1);
}

void sim_start_all(struct sim *s, nsec_t spread)
{
	for (unsigned i = 0; i < s->options.n; i++)
		heap_push(s, (struct event){.kind = EV_START,
				     .at = s->now + sim_random(s, spread + 1),
				     .to = i});
}

/* ---- Events ---- */

static void hold(struct sim *s, struct host *h, const struct event *e)
{
	if (e->kind == EV_DATAGRAM && h->n_held >= SOCKET_BUFFER) {
		free(e->bytes);
		return;
	}
	if (h->n_held == h->n_held_allocated) {
		h->n_held_allocated = h->n_held_allocated * 2 + 16;
		h->held = realloc(h->held, h->n_held_allocated * sizeof(*h->held));
		assert(h->held);
	}
	h->held[h->n_held++] = *e;
}

static void on_syn(struct sim *s, const struct event *e)
{
	struct conn *c = &s->conns[e->a];
	struct host *h = &s->hosts[e->to];
	unsigned from = c->host[0];
	nsec_t at = segment_arrival(s, e->to, from, SEC, SEC);
	struct gossip_addr address;
	uint32_t handle;

	if (at == NSEC_NEVER)
		return;
	count(s, e->to, TCP_SYN, 1);
	if (!h->gossip) {
		conn_event(s, e->a, EV_REFUSED, 0, at, NULL, 0, 0);
		return;
	}
	/* The kernel completes the handshake whatever the process does. */
	sim_address(from, &address);
	if (gossip_link_accepted(h->gossip, local_time(s, h), &address, &handle) < 0) {
		conn_event(s, e->a, EV_REFUSED, 0, at, NULL, 0, 0);
		return;
	}
	c = &s->conns[e->a];
	c->boot[1] = h->boot;
	c->handle[1] = handle;
	c->open[1] = true;
	c->clear[0] = at;
	handle_add(h, handle, e->a);
	conn_event(s, e->a, EV_OPENED, 0, at, NULL, 0, 0);
	drain(s, e->to);
}

static void on_stream(struct sim *s, struct event *e)
{
	struct conn *c = &s->conns[e->a];
	unsigned end = e->from & 1;
	struct host *h = &s->hosts[e->to];

	c->taken[end]++;
	if (!c->open[end] || c->boot[end] != h->boot) {
		/* A kernel that knows nothing of it resets it. */
		if (h->alive && c->open[!end])
			conn_event(s, e->a, EV_CLOSED, !end,
				s->now + latency(s, e->to, c->host[!end]), NULL, 0,
				GOSSIP_CLOSE_RESET);
		return;
	}
	gossip_link_bytes(h->gossip, local_time(s, h), c->handle[end], e->bytes, e->n);
	drain(s, e->to);
}

static void on_conn(struct sim *s, struct event *e)
{
	struct conn *c = &s->conns[e->a];
	struct host *h = &s->hosts[e->to];
	unsigned end = e->from & 1;
	bool mine = c->open[end] && c->boot[end] == h->boot && h->gossip;

	c->n_queued--;
	if (e->kind == EV_SYN && h->alive && c->open[0]) {
		on_syn(s, e);
	} else if (e->kind == EV_OPENED && mine) {
		gossip_link_opened(h->gossip, local_time(s, h), c->handle[end]);
		drain(s, e->to);
	} else if ((e->kind == EV_REFUSED || e->kind == EV_CLOSED) && mine) {
		uint32_t handle = c->handle[end];

		c->open[end] = false;
		handle_remove(h, handle);
		gossip_link_closed(h->gossip, local_time(s, h), handle,
			e->kind == EV_REFUSED ? GOSSIP_CLOSE_REFUSED : e->b);
		drain(s, e->to);
	} else if (e->kind == EV_STREAM) {
		on_stream(s, e);
	}
	free(e->bytes);
	conn_put(s, e->a);
}

/* A segment that could not get through: its sender's kernel tries again. */
static bool stream_retry(struct sim *s, struct event *e)
{
	unsigned end = e->from & 1;
	struct host *sender;
	struct conn *c;
	nsec_t at;

	if (e->kind != EV_STREAM)
		return false;
	c = &s->conns[e->a];
	sender = &s->hosts[c->host[!end]];
	if (e->from >> 1 != (c->taken[end] & UINT32_MAX >> 1) && s->hosts[e->to].alive) {
		e->at = s->now + MSEC; /* one before it is being sent again */
		heap_push(s, *e);
		return true;
	}
	if (e->b == 0)
		return false;
	if (!c->open[!end] || !sender->alive) {
		c->taken[end]++;
		c->n_queued--;
		free(e->bytes);
		conn_put(s, e->a);
		return true;
	}
	at = segment_arrival(s, c->host[!end], e->to, TCP_RTO_MIN, 30 * SEC);
	count(s, c->host[!end], e->n + TCP_OVERHEAD, 1);
	if (at == NSEC_NEVER) {
		e->b = e->b < 64 ? e->b * 2 : 64;
		at = s->now + e->b * TCP_RTO_MIN;
	} else {
		e->b = 0;
	}
	e->at = at < c->clear[end] ? c->clear[end] : at;
	c->clear[end] = e->at;
	heap_push(s, *e);
	return true;
}

static void on_probe(struct sim *s, const struct event *e)
{
	struct host *h = &s->hosts[e->to];

	if (!h->alive)
		return;
	count(s, e->to, h->running ? TCP_SYN : 40, 1);
	if (h->running)
		count(s, e->from, 40, 1);
	if (lost(s, e->to, e->from))
		return;
	heap_push(s, (struct event){.kind = EV_PROBED,
			     .at = s->now + latency(s, e->to, e->from),
			     .to = e->from,
			     .from = e->to,
			     .a = e->a,
			     .b = e->b,
			     .n = h->running ? GOSSIP_PROBE_ANSWERED : GOSSIP_PROBE_REFUSED});
}

static void release(struct sim *s, unsigned i)
{
	struct host *h = &s->hosts[i];
	struct event *held = h->held;
	unsigned n = h->n_held;

	h->held = NULL;
	h->n_held = h->n_held_allocated = 0;
	for (unsigned k = 0; k < n; k++) {
		/* All at once, and before any timer: read first, then tick. */
		held[k].at = s->now;
		heap_push(s, held[k]);
	}
	free(held);
	if (h->running) {
		h->timer = s->now;
		heap_push(s, (struct event){.kind = EV_TIMER, .at = s->now, .to = i, .a = h->boot});
	}
}

/* A second tick at the same time does nothing. */
static void tick_again(struct sim *s, unsigned i)
{
	struct gossip_effect effect;
	struct gossip_event event;

	gossip_tick(s->hosts[i].gossip, local_time(s, &s->hosts[i]));
	if (gossip_pop_effect(s->hosts[i].gossip, &effect))
		broken(s, "a second tick has an effect", i, effect.kind);
	if (gossip_pop_event(s->hosts[i].gossip, &event))
		broken(s, "a second tick has an event", i, event.kind);
}

static void on_timer(struct sim *s, const struct event *e)
{
	struct host *h = &s->hosts[e->to];

	if (!h->running || h->boot != e->a || h->timer != e->at)
		return;
	h->timer = NSEC_NEVER;
	if (h->gossip)
		gossip_tick(h->gossip, local_time(s, h));
	else
		swim_tick(h->swim, local_time(s, h));
	drain(s, e->to);
	if (h->gossip && s->counts.steps % 64 == 0) {
		const char *error = sim_check_bounds(s, e->to);

		if (error)
			broken(s, error, e->to, e->to);
		tick_again(s, e->to);
	}
}

static void on_datagram(struct sim *s, const struct event *e)
{
	struct host *h = &s->hosts[e->to];
	struct gossip_addr from;

	if (h->running && h->gossip) {
		sim_address(e->from, &from);
		gossip_receive(h->gossip, local_time(s, h), &from, e->bytes, e->n);
		drain(s, e->to);
	} else if (h->running) {
		swim_receive(h->swim, local_time(s, h), e->bytes, e->n);
		drain(s, e->to);
	}
	free(e->bytes);
}

/* What a frozen host or a stopped process does not see yet. */
static bool held_back(struct sim *s, const struct event *e)
{
	struct host *h = &s->hosts[e->to];

	if (e->kind == EV_CONT || e->kind == EV_RESUME || e->kind == EV_START)
		return false;
	if (h->paused_until > s->now)
		return true;
	if (!h->stopped || !h->running)
		return false;
	return e->kind != EV_SYN && e->kind != EV_PROBE;
}

static void step(struct sim *s)
{
	struct event e = heap_pop(s);
	struct host *h = &s->hosts[e.to];

	s->now = e.at;
	s->counts.steps++;
	if (stream_retry(s, &e))
		return;
	if (!h->alive && e.kind != EV_START && e.kind != EV_RESUME) {
		if (e.kind >= EV_SYN && e.kind <= EV_CLOSED) {
			s->conns[e.a].taken[e.from & 1] += e.kind == EV_STREAM;
			s->conns[e.a].n_queued--;
			conn_put(s, e.a);
		}
		free(e.bytes);
		return;
	}
	if (held_back(s, &e)) {
		if (e.kind != EV_TIMER)
			hold(s, h, &e);
		return;
	}
	switch ((enum event_kind)e.kind) {
	case EV_TIMER:
		on_timer(s, &e);
		break;
	case EV_DATAGRAM:
		on_datagram(s, &e);
		break;
	case EV_SYN:
	case EV_OPENED:
	case EV_REFUSED:
	case EV_STREAM:
	case EV_CLOSED:
		on_conn(s, &e);
		break;
	case EV_PROBE:
		on_probe(s, &e);
		break;
	case EV_PROBED:
		if (h->gossip && h->boot == e.b) {
			gossip_probe_result(h->gossip, local_time(s, h), e.a, e.n);
			drain(s, e.to);
		}
		break;
	case EV_CONT:
		if (h->boot == e.a)
			sim_cont(s, e.to);
		break;
	case EV_RESUME:
		if (h->paused_until <= s->now)
			release(s, e.to);
		break;
	case EV_START:
		sim_start(s, e.to);
		break;
	}
}

void sim_run(struct sim *s, nsec_t duration)
{
	nsec_t until = s->now + duration;

	while (s->n_heap > 0 && s->heap[0].at <= until)
		step(s);
	s->now = until;
}

bool sim_run_until(struct sim *s, nsec_t most, bool (*done)(struct sim *s, void *arg), void *arg)
{
	nsec_t until = s->now + most;

	while (s->now < until) {
		if (done(s, arg))
			return true;
		sim_run(s, MSEC);
	}
	return done(s, arg);
}

/* ---- What can happen ---- */

static void process_end(struct sim *s, unsigned i, bool quiet)
{
	struct host *h = &s->hosts[i];

	while (h->n_handles > 0) {
		uint32_t k = h->handles[1], handle = h->handles[0];
		unsigned end = s->conns[k].host[0] == i && s->conns[k].handle[0] == handle ? 0 : 1;

		conn_close(s, k, end, GOSSIP_CLOSE_RESET, quiet);
		handle_remove(h, handle);
	}
	for (unsigned k = 0; k < h->n_held; k++) {
		if (h->held[k].kind >= EV_SYN && h->held[k].kind <= EV_CLOSED) {
			s->conns[h->held[k].a].taken[h->held[k].from & 1] +=
				h->held[k].kind == EV_STREAM;
			s->conns[h->held[k].a].n_queued--;
			conn_put(s, h->held[k].a);
		}
		free(h->held[k].bytes);
	}
	h->n_held = 0;
	h->gossip = gossip_free(h->gossip);
	h->swim = swim_free(h->swim);
	h->running = h->stopped = false;
}

void sim_crash(struct sim *s, unsigned i)
{
	if (!s->hosts[i].alive)
		return;
	process_end(s, i, true);
	s->hosts[i].alive = false;
	s->hosts[i].touched = s->now;
}

void sim_kill(struct sim *s, unsigned i)
{
	if (s->hosts[i].running)
		process_end(s, i, false);
}

void sim_stop(struct sim *s, unsigned i)
{
	if (s->hosts[i].running)
		s->hosts[i].stopped = true;
}

void sim_cont(struct sim *s, unsigned i)
{
	struct host *h = &s->hosts[i];

	if (!h->stopped)
		return;
	h->stopped = false;
	if (h->paused_until <= s->now)
		release(s, i);
}

void sim_stop_for(struct sim *s, unsigned i, nsec_t duration)
{
	sim_stop(s, i);
	heap_push(s,
		(struct event){
			.kind = EV_CONT, .at = s->now + duration, .to = i, .a = s->hosts[i].boot});
}

void sim_pause_for(struct sim *s, unsigned i, nsec_t duration)
{
	struct host *h = &s->hosts[i];

	if (h->paused_until < s->now + duration)
		h->paused_until = s->now + duration;
	if (duration > 150 * MSEC)
		h->touched = s->now + duration;
	heap_push(s, (struct event){.kind = EV_RESUME, .at = h->paused_until, .to = i});
}

void sim_loss(struct sim *s, double loss)
{
	s->options.loss = loss;
	s->touched = s->now;
}

void sim_host_loss(struct sim *s, unsigned i, double in_share, double out_share)
{
	s->hosts[i].loss_in = in_share;
	s->hosts[i].loss_out = out_share;
	s->hosts[i].touched = s->now;
}

void sim_slow(struct sim *s, unsigned i, nsec_t extra)
{
	s->hosts[i].extra = extra;
}

unsigned sim_cut(struct sim *s, unsigned a, unsigned n_a, unsigned b, unsigned n_b, bool one_way)
{
	unsigned i;

	for (i = 0; i < s->n_cuts && s->cuts[i].active; i++)
		;
	assert(i < CUTS_MAX);
	s->cuts[i] = (struct cut){
		.active = true, .one_way = one_way, .a = a, .n_a = n_a, .b = b, .n_b = n_b};
	if (i == s->n_cuts)
		s->n_cuts++;
	s->touched = s->now;
	return i;
}

void sim_heal(struct sim *s, unsigned cut)
{
	s->cuts[cut].active = false;
	while (s->n_cuts > 0 && !s->cuts[s->n_cuts - 1].active)
		s->n_cuts--;
	s->touched = s->now;
}

void sim_isolate(struct sim *s, unsigned i)
{
	s->n_isolated += !s->hosts[i].isolated;
	s->hosts[i].isolated = true;
	s->hosts[i].touched = s->now;
}

void sim_join(struct sim *s, unsigned i)
{
	s->n_isolated -= s->hosts[i].isolated;
	s->hosts[i].isolated = false;
	s->hosts[i].touched = s->now;
}

void sim_block_udp(struct sim *s, bool is_blocked)
{
	s->udp_blocked = is_blocked;
}

int sim_multicast(struct sim *s, unsigned i, size_t n)
{
	uint8_t bytes[GOSSIP_CAST_MAX] = {0};
	uint32_t k = s->n_casts;
	int r;

	memcpy(bytes, &k, sizeof(k));
	r = gossip_multicast(s->hosts[i].gossip, local_time(s, &s->hosts[i]), bytes,
		n < sizeof(k) ? sizeof(k) : n);
	s->n_casts += r == 0;
	if (r == 0 && s->cast_seen && k < SIM_CASTS_MAX)
		s->cast_seen[k * s->options.n + i] = 1;
	drain(s, i);
	return r;
}

void sim_set_app(struct sim *s, sim_app *app, void *arg)
{
	s->app = app;
	s->app_arg = arg;
}

int sim_app_multicast(struct sim *s, unsigned i, const void *bytes, size_t n)
{
	struct host *h = &s->hosts[i];

	return h->gossip ? gossip_multicast(h->gossip, local_time(s, h), bytes, n) : -ENOTCONN;
}

int sim_app_request(struct sim *s, unsigned i, uint64_t to, const void *bytes, size_t n)
{
	struct host *h = &s->hosts[i];
	uint32_t tag;

	return h->gossip ? gossip_request(h->gossip, local_time(s, h), to, bytes, n, &tag)
			 : -ENOTCONN;
}

int sim_app_respond(
	struct sim *s, unsigned i, uint64_t to, uint32_t tag, const void *bytes, size_t n)
{
	struct host *h = &s->hosts[i];

	return h->gossip ? gossip_respond(h->gossip, local_time(s, h), to, tag, bytes, n)
			 : -ENOTCONN;
}

void sim_app_drain(struct sim *s, unsigned i)
{
	drain(s, i);
}

bool sim_cast_everywhere(struct sim *s, unsigned k)
{
	for (unsigned i = 0; i < s->options.n; i++) {
		if (s->hosts[i].running && s->cast_seen[k * s->options.n + i] != 1)
			return false;
	}
	return true;
}

unsigned sim_casts(const struct sim *s)
{
	return s->n_casts;
}

/* ---- Beginning and end ---- */

struct sim_options sim_options(unsigned n, uint64_t seed)
{
	return (struct sim_options){.n = n,
		.seed = seed,
		.latency_min = 60 * USEC,
		.latency_spread = 60 * USEC,
		.n_contacts = 3};
}

struct graph {
	uint64_t (*neighbours)[GOSSIP_NEIGHBOURS_MAX];
	unsigned *n_of;
};

static void edge_make(struct graph *graph, unsigned a, unsigned b)
{
	if (a == b || graph->n_of[a] >= SIM_DEGREE || graph->n_of[b] >= SIM_DEGREE)
		return;
	for (unsigned k = 0; k < graph->n_of[a]; k++) {
		if (graph->neighbours[a][k] == sim_id(b))
			return;
	}
	graph->neighbours[a][graph->n_of[a]++] = sim_id(b);
	graph->neighbours[b][graph->n_of[b]++] = sim_id(a);
}

struct place {
	uint64_t at;
	uint32_t node;
};

static int place_cmp(const void *a, const void *b)
{
	const struct place *pa = a, *pb = b;

	return pa->at < pb->at ? -1 : pa->at > pb->at;
}

void sim_graph(unsigned n, uint64_t (*neighbours)[GOSSIP_NEIGHBOURS_MAX], unsigned *n_of)
{
	struct graph graph = {.neighbours = neighbours, .n_of = n_of};
	struct place *places = malloc(n * sizeof(*places));

	assert(places);
	memset(n_of, 0, n * sizeof(*n_of));
	for (unsigned ring = 0; ring < 3 * SIM_DEGREE; ring++) {
		for (unsigned i = 0; i < n; i++)
			places[i] =
				(struct place){.at = gossip_ring_place(sim_id(i), ring), .node = i};
		qsort(places, n, sizeof(*places), place_cmp);
		for (unsigned i = 0; i < n; i++)
			edge_make(&graph, places[i].node, places[(i + 1) % n].node);
	}
	free(places);
}

static void preload_links(struct sim *s, unsigned i, const uint64_t *neighbours, unsigned n)
{
	for (unsigned k = 0; k < n; k++) {
		unsigned j = sim_index(neighbours[k]);
		nsec_t rtt = 2 * (s->options.latency_min + s->options.latency_spread +
					 s->hosts[i].extra + s->hosts[j].extra);
		uint32_t c;

		if (j < i)
			continue;
		c = conn_new(s);
		s->conns[c] = (struct conn){
			.host = {i, j}, .boot = {1, 1}, .open = {true, true}, .used = true};
		gossip_preload_link(s->hosts[i].gossip, local_time(s, &s->hosts[i]), sim_id(j), rtt,
			true, &s->conns[c].handle[0]);
		gossip_preload_link(s->hosts[j].gossip, local_time(s, &s->hosts[j]), sim_id(i), rtt,
			false, &s->conns[c].handle[1]);
		handle_add(&s->hosts[i], s->conns[c].handle[0], c);
		handle_add(&s->hosts[j], s->conns[c].handle[1], c);
	}
}

/* A process that knows nobody yet; returns its incarnation. */
static uint64_t preload_node(struct sim *s, unsigned i)
{
	struct host *h = &s->hosts[i];
	struct gossip_config config;

	h->alive = h->running = true;
	h->boot = 1;
	h->timer = NSEC_NEVER;
	node_config(s, i, &config);
	config.n_metadata = 0;
	assert(gossip_new(&h->gossip, &config, local_time(s, h)) == 0);
	return config.incarnation;
}

static void preload(struct sim *s)
{
	unsigned n = s->options.n;
	uint64_t *incarnations = calloc(n, sizeof(*incarnations));
	uint64_t(*neighbours)[GOSSIP_NEIGHBOURS_MAX] = calloc(n, sizeof(*neighbours));
	unsigned *n_of = calloc(n, sizeof(*n_of));

	assert(incarnations && neighbours && n_of);
	sim_graph(n, neighbours, n_of);
	for (unsigned i = 0; i < n; i++)
		incarnations[i] = preload_node(s, i);
	gossip_reserve(s->hosts[0].gossip, n);
	for (unsigned i = 0; i < n; i++) {
		struct gossip_addr address;

		sim_address(i, &address);
		assert(gossip_preload(s->hosts[0].gossip, sim_id(i), incarnations[i], 10, &address,
			       neighbours[i], n_of[i]) == 0);
	}
	for (unsigned i = 0; i < n; i++) {
		assert(i == 0 || gossip_preload_from(s->hosts[i].gossip, s->hosts[0].gossip) == 0);
		drain(s, i); /* at once: n reports of n nodes each would be more than all tables */
		contacts_set(s, i);
	}
	for (unsigned i = 0; i < n; i++)
		preload_links(s, i, neighbours[i], n_of[i]);
	for (unsigned i = 0; i < n; i++)
		drain(s, i);
	free(neighbours);
	free(n_of);
	free(incarnations);
}

struct sim *sim_new(const struct sim_options *options)
{
	struct sim *s = calloc(1, sizeof(*s));

	assert(s && options->n > 0 && options->n < GOSSIP_MEMBERS_MAX);
	s->options = *options;
	s->random = options->seed * ID_INVERSE + 1;
	s->now = 10 * SEC;
	s->touched = 0;
	s->hosts = calloc(options->n, sizeof(*s->hosts));
	assert(s->hosts);
	for (unsigned i = 0; i < options->n; i++) {
		s->hosts[i].witness = SIM_ALL;
		s->hosts[i].offset = sim_random(s, 3600) * SEC + i * options->clock_shift;
		s->hosts[i].timer = NSEC_NEVER;
	}
	s->invariants = invariants_new(options->n);
	if (options->n <= PAIRS_MAX && options->kind == SIM_GOSSIP) {
		s->told = calloc(options->n, options->n);
		s->cast_seen = calloc(options->n, SIM_CASTS_MAX);
	}
	if (options->kind == SIM_SWIM) {
		for (unsigned i = 0; i < options->n; i++)
			sim_start(s, i);
	} else if (!options->cold) {
		preload(s);
	}
	memset(&s->counts, 0, sizeof(s->counts));
	s->error[0] = 0;
	return s;
}

struct sim *sim_free(struct sim *s)
{
	if (!s)
		return NULL;
	for (unsigned i = 0; i < s->options.n; i++) {
		struct host *h = &s->hosts[i];

		gossip_free(h->gossip);
		swim_free(h->swim);
		for (unsigned k = 0; k < h->n_held; k++)
			free(h->held[k].bytes);
		free(h->held);
		free(h->handles);
	}
	for (size_t i = 0; i < s->n_heap; i++)
		free(s->heap[i].bytes);
	free(s->heap);
	free(s->told);
	invariants_free(s->invariants, s->options.n);
	free(s->cast_seen);
	free(s->hosts);
	free(s->conns);
	free(s);
	return NULL;
}

/* ---- What became of it ---- */

unsigned sim_size(const struct sim *s)
{
	return s->options.n;
}

const char *sim_error(const struct sim *s)
{
	return s->error[0] ? s->error : NULL;
}

struct invariants *sim_invariants(struct sim *s)
{
	return s->invariants;
}

nsec_t sim_now(const struct sim *s)
{
	return s->now;
}

enum gossip_status sim_status(struct sim *s, unsigned i, unsigned of)
{
	if (s->hosts[i].swim)
		return swim_is_down(s->hosts[i].swim, of) ? GOSSIP_STATUS_DOWN : GOSSIP_STATUS_UP;
	if (!s->hosts[i].gossip)
		return GOSSIP_STATUS_UNKNOWN;
	return gossip_member_status(s->hosts[i].gossip, sim_id(of));
}

enum gossip_self sim_self(struct sim *s, unsigned i)
{
	struct gossip_stats stats;

	gossip_stats(s->hosts[i].gossip, &stats);
	return stats.self;
}

struct gossip *sim_gossip(struct sim *s, unsigned i)
{
	return s->hosts[i].gossip;
}

bool sim_running(const struct sim *s, unsigned i)
{
	return s->hosts[i].running;
}

bool sim_alive(const struct sim *s, unsigned i)
{
	return s->hosts[i].alive;
}

uint64_t sim_hash(const struct sim *s)
{
	return s->hash;
}

void sim_watch(struct sim *s, struct sim_watch *w, unsigned subject)
{
	assert(s->n_watches < WATCHES_MAX);
	*w = (struct sim_watch){.subject = subject, .since = s->now};
	s->watches[s->n_watches++] = w;
}

void sim_unwatch(struct sim *s, struct sim_watch *w)
{
	for (unsigned i = 0; i < s->n_watches; i++) {
		if (s->watches[i] == w)
			s->watches[i--] = s->watches[--s->n_watches];
	}
}

struct sim_traffic sim_traffic(struct sim *s, unsigned i)
{
	struct sim_traffic t = {0};

	for (unsigned k = 0; k < s->options.n; k++) {
		if (i != SIM_ALL && i != k)
			continue;
		t.bytes += s->hosts[k].bytes;
		t.packets += s->hosts[k].packets;
	}
	return t;
}

void sim_traffic_reset(struct sim *s)
{
	for (unsigned k = 0; k < s->options.n; k++)
		s->hosts[k].bytes = s->hosts[k].packets = 0;
}

uint64_t sim_rate_max(const struct sim *s, unsigned i)
{
	return s->hosts[i].rate_max;
}

struct sim_counts sim_counts(struct sim *s)
{
	struct gossip_stats stats;

	for (unsigned i = 0; i < s->options.n; i++) {
		if (!s->hosts[i].gossip)
			continue;
		gossip_stats(s->hosts[i].gossip, &stats);
		if (stats.n_memory > s->counts.memory_max)
			s->counts.memory_max = stats.n_memory;
	}
	return s->counts;
}

void sim_verbose(struct sim *s, bool verbose)
{
	s->verbose = verbose;
}
