/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine: a heap of events in virtual time, hosts, and the doors of the overlay.
 *
 * Nothing here knows the protocol; it does what agent/ does with sockets: hands in what arrived, ticks
 * at the deadline, and carries out the effects.
 */
#include "engine.h"
#include "gossip/wire.h"
#include "swim.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t sim_draw(struct sim *s)
{
	uint64_t v = s->random += ID_FACTOR;

	v = (v ^ v >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	v = (v ^ v >> 27) * UINT64_C(0x94d049bb133111eb);
	return v ^ v >> 31;
}

uint64_t sim_random(struct sim *s, uint64_t below)
{
	return below == 0 ? 0 : sim_draw(s) % below;
}

double sim_uniform(struct sim *s)
{
	return (sim_draw(s) >> 11) * (1.0 / 9007199254740992.0);
}

bool sim_chance(struct sim *s, double p)
{
	return p > 0 && sim_uniform(s) < p;
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

void sim_push(struct sim *s, struct event e)
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

/* ---- Nodes ---- */

nsec_t node_time(const struct sim *s, const struct host *h)
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
	sim_push(s, (struct event){.kind = EV_TIMER, .at = d, .to = i, .a = h->boot});
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
		n_heard += !net_blocked(s, i, k) && !net_blocked(s, k, i);
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
	       s->now - s->touched > HOST_ABSENT_BOUND && !net_blocked(s, of, i) &&
	       !net_blocked(s, i, of) && h->paused_until < s->now && loss < LOSS_BOUND &&
	       central(s, of) && central(s, i);
}

void sim_broken(struct sim *s, const char *what, unsigned a, unsigned b)
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
		sim_broken(s, "a verdict from an isolated node", i, of);
	if (!s->told)
		return;
	told = &s->told[i * s->options.n + of];
	if (*told == status + 1)
		sim_broken(s, "the same report twice", i, of);
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
		sim_broken(s, "a multicast twice", i, k);
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
			sim_broken(s, "one that can be heard is down (at, who)", i, of);
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
			sim_broken(s, wrong, i, of);
		reported(s, i, of, e->status);
		return;
	}
	if (s->app && (e->kind == GOSSIP_EVENT_MULTICAST || e->kind == GOSSIP_EVENT_REQUEST ||
			      e->kind == GOSSIP_EVENT_RESPONSE))
		s->app(s, s->app_arg, i, e);
	else if (e->kind == GOSSIP_EVENT_MULTICAST)
		cast_check(s, i, e);
	if (e->kind == GOSSIP_EVENT_CONFLICT)
		sim_broken(s, "a double", i, i);
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
		net_count_said(s, i, e->n_bytes + UDP_OVERHEAD);
		net_datagram(s, i, to, e->bytes, e->n_bytes);
		break;
	case GOSSIP_EFFECT_LINK_OPEN:
		conn_open(s, i, e->link, to);
		break;
	case GOSSIP_EFFECT_LINK_SEND:
		if (e->bytes[0] < WIRE_CAST || e->bytes[0] == WIRE_RECORDS)
			net_count_said(s, i, e->n_bytes + TCP_OVERHEAD);
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
		net_count(s, i, TCP_SYN, 1);
		if (to >= s->options.n || net_lost(s, i, to))
			break;
		at = s->now + net_latency(s, i, to);
		sim_push(s, (struct event){.kind = EV_PROBE,
				    .at = at,
				    .to = to,
				    .from = i,
				    .a = e->link,
				    .b = h->boot});
		break;
	}
}

/* After each call into a node. */
void node_drain(struct sim *s, unsigned i)
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

	net_datagram(s, e->to, to, bytes, n);
}

static void swim_stream(void *arg, unsigned to, size_t n)
{
	struct event *e = arg;
	struct sim *s = e->bytes;

	net_count(s, e->to, 2 * TCP_SYN + n + (n / TCP_MSS + 1) * TCP_OVERHEAD, 3 + n / TCP_MSS);
	if (s->hosts[to].running)
		net_count(
			s, to, 2 * TCP_SYN + n + (n / TCP_MSS + 1) * TCP_OVERHEAD, 3 + n / TCP_MSS);
}

static void swim_report(void *arg, unsigned of, bool up)
{
	struct event *e = arg;

	reported(e->bytes, e->to, of, up ? GOSSIP_STATUS_UP : GOSSIP_STATUS_DOWN);
}

void node_config(struct sim *s, unsigned i, struct gossip_config *c)
{
	static uint8_t metadata[GOSSIP_METADATA_MAX];

	gossip_config_init(c);
	if (s->options.config.beat_interval != 0)
		*c = s->options.config;
	c->id = sim_id(i);
	c->incarnation = (uint64_t)s->hosts[i].boot << 32 | (sim_draw(s) >> 33) | 1;
	c->seed = sim_draw(s);
	sim_address(i, &c->address);
	memset(metadata, i, sizeof(metadata));
	c->metadata = metadata;
	c->n_metadata = s->options.n_metadata;
}

static void swim_start(struct sim *s, unsigned i)
{
	struct event *arg = malloc(sizeof(*arg));

	*arg = (struct event){.to = i, .bytes = s};
	s->hosts[i].swim = swim_new(i, s->options.n, (s->hosts[i].boot - 1) * 1000 + 1, sim_draw(s),
		node_time(s, &s->hosts[i]),
		&(struct swim_out){.arg = arg,
			.send = swim_send,
			.stream = swim_stream,
			.report = swim_report});
}

void node_contacts(struct sim *s, unsigned i)
{
	struct gossip_addr contacts[GOSSIP_CONTACTS_MAX];
	unsigned n = 0;

	for (; n < s->options.n_contacts && n < s->options.n; n++)
		sim_address(n, &contacts[n]);
	gossip_set_contacts(s->hosts[i].gossip, node_time(s, &s->hosts[i]), contacts, n);
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
	assert(gossip_new(&h->gossip, &config, node_time(s, h)) == 0);
	node_contacts(s, i);
	if (h->witness != SIM_ALL) {
		sim_address(h->witness, &witness);
		gossip_set_witnesses(h->gossip, &witness, 1);
	}
	node_drain(s, i);
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
		sim_push(s, (struct event){.kind = EV_START,
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
	nsec_t at = net_segment(s, e->to, from, SEC, SEC);
	struct gossip_addr address;
	uint32_t handle;

	if (at == NSEC_NEVER)
		return;
	net_count(s, e->to, TCP_SYN, 1);
	if (!h->gossip) {
		conn_event(s, e->a, EV_REFUSED, 0, at, NULL, 0, 0);
		return;
	}
	/* The kernel completes the handshake whatever the process does. */
	sim_address(from, &address);
	if (gossip_link_accepted(h->gossip, node_time(s, h), &address, &handle) < 0) {
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
	node_drain(s, e->to);
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
				s->now + net_latency(s, e->to, c->host[!end]), NULL, 0,
				GOSSIP_CLOSE_RESET);
		return;
	}
	gossip_link_bytes(h->gossip, node_time(s, h), c->handle[end], e->bytes, e->n);
	node_drain(s, e->to);
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
		gossip_link_opened(h->gossip, node_time(s, h), c->handle[end]);
		node_drain(s, e->to);
	} else if ((e->kind == EV_REFUSED || e->kind == EV_CLOSED) && mine) {
		uint32_t handle = c->handle[end];

		c->open[end] = false;
		handle_remove(h, handle);
		gossip_link_closed(h->gossip, node_time(s, h), handle,
			e->kind == EV_REFUSED ? GOSSIP_CLOSE_REFUSED : e->b);
		node_drain(s, e->to);
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
		sim_push(s, *e);
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
	at = net_segment(s, c->host[!end], e->to, TCP_RTO_MIN, 30 * SEC);
	net_count(s, c->host[!end], e->n + TCP_OVERHEAD, 1);
	if (at == NSEC_NEVER) {
		e->b = e->b < 64 ? e->b * 2 : 64;
		at = s->now + e->b * TCP_RTO_MIN;
	} else {
		e->b = 0;
	}
	e->at = at < c->clear[end] ? c->clear[end] : at;
	c->clear[end] = e->at;
	sim_push(s, *e);
	return true;
}

static void on_probe(struct sim *s, const struct event *e)
{
	struct host *h = &s->hosts[e->to];

	if (!h->alive)
		return;
	net_count(s, e->to, h->running ? TCP_SYN : 40, 1);
	if (h->running)
		net_count(s, e->from, 40, 1);
	if (net_lost(s, e->to, e->from))
		return;
	sim_push(s, (struct event){.kind = EV_PROBED,
			    .at = s->now + net_latency(s, e->to, e->from),
			    .to = e->from,
			    .from = e->to,
			    .a = e->a,
			    .b = e->b,
			    .n = h->running ? GOSSIP_PROBE_ANSWERED : GOSSIP_PROBE_REFUSED});
}

void node_release(struct sim *s, unsigned i)
{
	struct host *h = &s->hosts[i];
	struct event *held = h->held;
	unsigned n = h->n_held;

	h->held = NULL;
	h->n_held = h->n_held_allocated = 0;
	for (unsigned k = 0; k < n; k++) {
		/* All at once, and before any timer: read first, then tick. */
		held[k].at = s->now;
		sim_push(s, held[k]);
	}
	free(held);
	if (h->running) {
		h->timer = s->now;
		sim_push(s, (struct event){.kind = EV_TIMER, .at = s->now, .to = i, .a = h->boot});
	}
}

/* A second tick at the same time does nothing. */
static void tick_again(struct sim *s, unsigned i)
{
	struct gossip_effect effect;
	struct gossip_event event;

	gossip_tick(s->hosts[i].gossip, node_time(s, &s->hosts[i]));
	if (gossip_pop_effect(s->hosts[i].gossip, &effect))
		sim_broken(s, "a second tick has an effect", i, effect.kind);
	if (gossip_pop_event(s->hosts[i].gossip, &event))
		sim_broken(s, "a second tick has an event", i, event.kind);
}

static void on_timer(struct sim *s, const struct event *e)
{
	struct host *h = &s->hosts[e->to];

	if (!h->running || h->boot != e->a || h->timer != e->at)
		return;
	h->timer = NSEC_NEVER;
	if (h->gossip)
		gossip_tick(h->gossip, node_time(s, h));
	else
		swim_tick(h->swim, node_time(s, h));
	node_drain(s, e->to);
	if (h->gossip && s->counts.steps % 64 == 0) {
		const char *error = sim_check_bounds(s, e->to);

		if (error)
			sim_broken(s, error, e->to, e->to);
		tick_again(s, e->to);
	}
}

static void on_datagram(struct sim *s, const struct event *e)
{
	struct host *h = &s->hosts[e->to];
	struct gossip_addr from;

	if (h->running && h->gossip) {
		sim_address(e->from, &from);
		gossip_receive(h->gossip, node_time(s, h), &from, e->bytes, e->n);
		node_drain(s, e->to);
	} else if (h->running) {
		swim_receive(h->swim, node_time(s, h), e->bytes, e->n);
		node_drain(s, e->to);
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
			gossip_probe_result(h->gossip, node_time(s, h), e.a, e.n);
			node_drain(s, e.to);
		}
		break;
	case EV_CONT:
		if (h->boot == e.a)
			sim_cont(s, e.to);
		break;
	case EV_RESUME:
		if (h->paused_until <= s->now)
			node_release(s, e.to);
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

/* ---- Beginning and end ---- */

struct sim_options sim_options(unsigned n, uint64_t seed)
{
	return (struct sim_options){.n = n,
		.seed = seed,
		.latency_min = 60 * USEC,
		.latency_spread = 60 * USEC,
		.n_contacts = 3};
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
