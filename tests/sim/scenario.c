/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What can happen to hosts, processes and the network, and what applications may do. */
#include "engine.h"
#include "swim.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

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
		node_release(s, i);
}

void sim_stop_for(struct sim *s, unsigned i, nsec_t duration)
{
	sim_stop(s, i);
	sim_push(s,
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
	sim_push(s, (struct event){.kind = EV_RESUME, .at = h->paused_until, .to = i});
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
	r = gossip_multicast(s->hosts[i].gossip, node_time(s, &s->hosts[i]), bytes,
		n < sizeof(k) ? sizeof(k) : n);
	s->n_casts += r == 0;
	if (r == 0 && s->cast_seen && k < SIM_CASTS_MAX)
		s->cast_seen[k * s->options.n + i] = 1;
	node_drain(s, i);
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

	return h->gossip ? gossip_multicast(h->gossip, node_time(s, h), bytes, n) : -ENOTCONN;
}

int sim_app_request(struct sim *s, unsigned i, uint64_t to, const void *bytes, size_t n)
{
	struct host *h = &s->hosts[i];
	uint32_t tag;

	return h->gossip ? gossip_request(h->gossip, node_time(s, h), to, bytes, n, &tag)
			 : -ENOTCONN;
}

int sim_app_respond(
	struct sim *s, unsigned i, uint64_t to, uint32_t tag, const void *bytes, size_t n)
{
	struct host *h = &s->hosts[i];

	return h->gossip ? gossip_respond(h->gossip, node_time(s, h), to, tag, bytes, n)
			 : -ENOTCONN;
}

void sim_app_drain(struct sim *s, unsigned i)
{
	node_drain(s, i);
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
