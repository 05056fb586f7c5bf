/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The network between hosts: what arrives, when, and what it costs.
 *
 * What the wire would add is counted: 28 bytes of IP and UDP and 44 of encryption to a datagram; 52 of
 * IP and TCP and 20 of encryption to a segment of up to 1,400, 52 for its acknowledgement, 60
 * for a SYN or its answer.
 */
#include "engine.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool in(unsigned x, unsigned first, unsigned n)
{
	return x - first < n;
}

bool net_blocked(const struct sim *s, unsigned from, unsigned to)
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

bool net_lost(struct sim *s, unsigned from, unsigned to)
{
	return net_blocked(s, from, to) || sim_chance(s, s->options.loss) ||
	       sim_chance(s, s->hosts[from].loss_out) || sim_chance(s, s->hosts[to].loss_in);
}

nsec_t net_latency(struct sim *s, unsigned from, unsigned to)
{
	nsec_t t = s->options.latency_min;

	t += -log(1 - sim_uniform(s)) * s->options.latency_spread;
	if (sim_chance(s, s->options.reorder))
		t += sim_uniform(s) * 5 * MSEC;
	return t + s->hosts[from].extra + s->hosts[to].extra;
}

void net_count(struct sim *s, unsigned host, size_t bytes, unsigned packets)
{
	s->hosts[host].bytes += bytes;
	s->hosts[host].packets += packets;
}

void net_count_said(struct sim *s, unsigned host, size_t bytes)
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

void net_datagram(struct sim *s, unsigned from, unsigned to, const void *bytes, size_t n)
{
	unsigned copies = 1 + sim_chance(s, s->options.duplicate);

	net_count(s, from, n + UDP_OVERHEAD, 1);
	s->counts.datagrams++;
	if (to >= s->options.n || s->udp_blocked)
		return;
	for (; copies > 0; copies--) {
		struct event e = {.kind = EV_DATAGRAM, .from = from, .to = to, .n = n};

		if (net_lost(s, from, to))
			continue;
		e.at = s->now + net_latency(s, from, to);
		e.bytes = malloc(n);
		assert(e.bytes);
		memcpy(e.bytes, bytes, n);
		sim_push(s, e);
	}
}

nsec_t net_segment(struct sim *s, unsigned from, unsigned to, nsec_t rto, nsec_t most)
{
	nsec_t wait = 0;

	if (net_blocked(s, from, to) || net_blocked(s, to, from))
		return NSEC_NEVER;
	while (net_lost(s, from, to)) {
		wait += rto;
		rto *= 2;
		if (wait > most)
			return NSEC_NEVER;
	}
	return s->now + wait + net_latency(s, from, to);
}

/* ---- Connections ---- */

uint32_t conn_of(const struct host *h, uint32_t handle)
{
	for (unsigned i = 0; i < h->n_handles; i++) {
		if (h->handles[2 * i] == handle)
			return h->handles[2 * i + 1];
	}
	return UINT32_MAX;
}

void handle_add(struct host *h, uint32_t handle, uint32_t conn)
{
	if (h->n_handles == h->n_handles_allocated) {
		h->n_handles_allocated = h->n_handles_allocated * 2 + 12;
		h->handles = realloc(h->handles, h->n_handles_allocated * 8);
		assert(h->handles);
	}
	h->handles[2 * h->n_handles] = handle;
	h->handles[2 * h->n_handles++ + 1] = conn;
}

void handle_remove(struct host *h, uint32_t handle)
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

uint32_t conn_new(struct sim *s)
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

void conn_put(struct sim *s, uint32_t k)
{
	struct conn *c = &s->conns[k];

	if (c->open[0] || c->open[1] || c->n_queued > 0)
		return;
	c->used = false;
	if (k < s->at_free)
		s->at_free = k;
}

void conn_event(struct sim *s, uint32_t k, enum event_kind kind, unsigned end, nsec_t at,
	void *bytes, size_t n, uint32_t b)
{
	struct conn *c = &s->conns[k];
	uint32_t number = kind == EV_STREAM ? c->sent[end]++ : 0;

	c->n_queued++;
	sim_push(s, (struct event){.kind = kind,
			    .at = at,
			    .to = c->host[end],
			    .from = end | number << 1,
			    .a = k,
			    .b = b,
			    .bytes = bytes,
			    .n = n});
}

void conn_open(struct sim *s, unsigned from, uint32_t handle, unsigned to)
{
	uint32_t k;
	nsec_t at;

	net_count(s, from, TCP_SYN, 1);
	if (to >= s->options.n)
		return;
	k = conn_new(s);
	s->conns[k].host[0] = from;
	s->conns[k].host[1] = to;
	s->conns[k].boot[0] = s->hosts[from].boot;
	s->conns[k].handle[0] = handle;
	s->conns[k].open[0] = true;
	handle_add(&s->hosts[from], handle, k);
	at = net_segment(s, from, to, SEC, 3 * SEC);
	if (at != NSEC_NEVER)
		conn_event(s, k, EV_SYN, 1, at, NULL, 0, 0);
}

void conn_send(struct sim *s, uint32_t k, unsigned end, const uint8_t *bytes, size_t n)
{
	struct conn *c = &s->conns[k];
	unsigned from = c->host[end], to = c->host[!end];

	while (n > 0) {
		size_t part = n < 60000 ? n : 60000;
		unsigned segments = (part + TCP_MSS - 1) / TCP_MSS;
		nsec_t at = net_segment(s, from, to, TCP_RTO_MIN, 30 * SEC);
		void *copy = malloc(part);

		assert(copy);
		memcpy(copy, bytes, part);
		net_count(s, from, part + segments * TCP_OVERHEAD, segments);
		if (at != NSEC_NEVER) {
			net_count(s, to, TCP_ACK * ((segments + 1) / 2), (segments + 1) / 2);
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

void conn_close(struct sim *s, uint32_t k, unsigned end, enum gossip_close reason, bool quiet)
{
	struct conn *c = &s->conns[k];
	nsec_t at;

	if (!c->open[end])
		return;
	c->open[end] = false;
	handle_remove(&s->hosts[c->host[end]], c->handle[end]);
	net_count(s, c->host[end], TCP_ACK, 1);
	at = net_segment(s, c->host[end], c->host[!end], TCP_RTO_MIN, SEC);
	if (!quiet && at != NSEC_NEVER) {
		if (at < c->clear[!end])
			at = c->clear[!end];
		conn_event(s, k, EV_CLOSED, !end, at, NULL, 0, reason);
	}
	conn_put(s, k);
}
