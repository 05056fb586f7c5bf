/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SWIM with Lifeguard, as memberlist's DefaultLANConfig runs it: a ping a second to the next member
 * of a shuffled list, half a second for its answer, three indirect pings and one by TCP, then
 * suspicion for 4 log10(N) seconds up to six times that, shortened by others' confirmations
 * and lengthened by one's own poor health; gossip of changes to three members every 200 ms and
 * on every ping and answer, 4 log10(N) times each; a full exchange by TCP every 30 s.
 *
 * Messages have the sizes of memberlist's msgpack ones with ten-letter node names; their content
 * here is a fixed struct, padded.
 */
#include "swim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MSEC NSEC_PER_MSEC
#define SEC NSEC_PER_SEC
#define PROBE_INTERVAL SEC
#define PROBE_TIMEOUT (500 * MSEC)
#define INDIRECT 3
#define SUSPICION_MULT 4
#define SUSPICION_MAX_MULT 6
#define AWARENESS_MAX 8
#define GOSSIP_INTERVAL (200 * MSEC)
#define GOSSIP_NODES 3
#define RETRANSMIT_MULT 4
#define PUSH_PULL (30 * SEC)
#define PUSH_PULL_RECORD 80 /* bytes of a member in the exchange */
#define PACKET_MAX 1400
#define RELAYS 64
#define NOBODY UINT32_MAX

enum type {
	PING,
	INDIRECT_PING,
	ACK,
	NACK,
	SUSPECT,
	ALIVE,
	DEAD,
};

static const uint8_t sizes[] = {[PING] = 90,
	[INDIRECT_PING] = 110,
	[ACK] = 26,
	[NACK] = 20,
	[SUSPECT] = 58,
	[ALIVE] = 110,
	[DEAD] = 58};

struct message {
	uint8_t type;
	uint32_t node, from, seq, incarnation;
};

enum state {
	STATE_ALIVE,
	STATE_SUSPECT,
	STATE_DEAD,
};

struct peer {
	uint32_t incarnation;
	uint8_t state;
};

struct suspicion {
	uint32_t node;
	unsigned n, k;
	uint32_t from[SUSPICION_MULT];
	nsec_t since, min, max, due;
};

struct broadcast {
	struct message m;
	unsigned n_sent;
};

struct relay {
	uint32_t asker, asked_seq, seq, node;
	nsec_t nack_at;
};

struct swim {
	unsigned self, n, n_alive;
	uint64_t random;
	struct swim_out out;
	struct peer *peers;
	uint32_t *order;
	unsigned at;
	uint32_t incarnation, seq;
	unsigned awareness;
	nsec_t now, probe_next, gossip_next, push_pull_next;
	/* The probe under way. */
	uint32_t target, target_seq;
	nsec_t indirect_at, verdict_at;
	bool acked;
	unsigned n_expected, n_nacks;
	struct suspicion *suspicions;
	unsigned n_suspicions;
	struct broadcast *broadcasts;
	unsigned n_broadcasts;
	struct relay relays[RELAYS];
	unsigned at_relay;
};

static uint64_t rnd(struct swim *s, uint64_t below)
{
	uint64_t v = s->random += UINT64_C(0x9e3779b97f4a7c15);

	v = (v ^ v >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	v = (v ^ v >> 27) * UINT64_C(0x94d049bb133111eb);
	return (v ^ v >> 31) % below;
}

static void broadcast(struct swim *s, const struct message *m)
{
	for (unsigned i = 0; i < s->n_broadcasts; i++) { /* a newer one about the same node */
		if (s->broadcasts[i].m.node == m->node)
			s->broadcasts[i--] = s->broadcasts[--s->n_broadcasts];
	}
	s->broadcasts = realloc(s->broadcasts, (s->n_broadcasts + 1) * sizeof(*s->broadcasts));
	s->broadcasts[s->n_broadcasts++] = (struct broadcast){.m = *m};
}

struct swim *swim_new(unsigned self, unsigned n, uint32_t incarnation, uint64_t seed, nsec_t now,
	const struct swim_out *out)
{
	struct swim *s = calloc(1, sizeof(*s));

	s->self = self;
	s->n = s->n_alive = n;
	s->random = seed;
	s->out = *out;
	s->peers = calloc(n, sizeof(*s->peers));
	s->order = calloc(n, sizeof(*s->order));
	for (unsigned i = 0; i < n; i++) {
		s->order[i] = i;
		s->peers[i].incarnation = 1;
	}
	s->at = n;
	s->incarnation = incarnation;
	s->target = NOBODY;
	s->probe_next = now + rnd(s, PROBE_INTERVAL);
	s->gossip_next = now + rnd(s, GOSSIP_INTERVAL);
	s->push_pull_next = now + rnd(s, PUSH_PULL);
	if (incarnation > 1)
		broadcast(s,
			&(struct message){.type = ALIVE, .node = self, .incarnation = incarnation});
	return s;
}

struct swim *swim_free(struct swim *s)
{
	if (!s)
		return NULL;
	free(s->out.arg);
	free(s->peers);
	free(s->order);
	free(s->suspicions);
	free(s->broadcasts);
	free(s);
	return NULL;
}

bool swim_is_down(const struct swim *s, unsigned of)
{
	return s->peers[of].state == STATE_DEAD;
}

static unsigned transmit_limit(const struct swim *s)
{
	return RETRANSMIT_MULT * (unsigned)ceil(log10(s->n_alive + 1));
}

/* Adds what still has to be told, least told first. */
static size_t piggyback(struct swim *s, uint8_t *packet, size_t n)
{
	unsigned limit = transmit_limit(s);

	for (unsigned round = 0; round < limit; round++) {
		for (unsigned i = 0; i < s->n_broadcasts; i++) {
			struct broadcast *b = &s->broadcasts[i];

			if (b->n_sent != round || n + sizes[b->m.type] > PACKET_MAX)
				continue;
			memcpy(packet + n, &b->m, sizeof(b->m));
			n += sizes[b->m.type];
			b->n_sent = round + 1 + limit; /* marked: not twice in one packet */
		}
	}
	for (unsigned i = 0; i < s->n_broadcasts; i++) {
		struct broadcast *b = &s->broadcasts[i];

		if (b->n_sent > limit)
			b->n_sent -= limit;
		if (b->n_sent >= limit)
			s->broadcasts[i--] = s->broadcasts[--s->n_broadcasts];
	}
	return n;
}

static void send_message(struct swim *s, unsigned to, const struct message *m)
{
	uint8_t packet[PACKET_MAX] = {0};
	size_t n = sizes[m->type];

	memcpy(packet, m, sizeof(*m));
	s->out.send(s->out.arg, to, packet, piggyback(s, packet, n));
}

static struct suspicion *suspicion_of(struct swim *s, uint32_t node)
{
	for (unsigned i = 0; i < s->n_suspicions; i++) {
		if (s->suspicions[i].node == node)
			return &s->suspicions[i];
	}
	return NULL;
}

static void suspicion_end(struct swim *s, uint32_t node)
{
	struct suspicion *x = suspicion_of(s, node);

	if (x)
		*x = s->suspicions[--s->n_suspicions];
}

static void suspicion_time(struct suspicion *x)
{
	double frac = x->k == 0 ? 1 : log(x->n + 1) / log(x->k + 1);
	nsec_t timeout = x->max - (nsec_t)(frac * (x->max - x->min));

	x->due = x->since + (timeout < x->min ? x->min : timeout);
}

static void aware(struct swim *s, int delta)
{
	int v = (int)s->awareness + delta;

	s->awareness = v < 0 ? 0 : v > AWARENESS_MAX - 1 ? AWARENESS_MAX - 1 : v;
}

static void refute(struct swim *s, uint32_t incarnation)
{
	if (incarnation >= s->incarnation)
		s->incarnation = incarnation + 1;
	aware(s, 1);
	broadcast(s,
		&(struct message){.type = ALIVE, .node = s->self, .incarnation = s->incarnation});
}

static void on_suspect(struct swim *s, const struct message *m)
{
	struct peer *p = &s->peers[m->node];
	struct suspicion *x = suspicion_of(s, m->node);

	if (m->incarnation < p->incarnation && m->node != s->self)
		return;
	if (m->node == s->self) {
		if (m->incarnation >= s->incarnation)
			refute(s, m->incarnation);
		return;
	}
	if (x) {
		for (unsigned i = 0; i < x->n + 1; i++) {
			if (x->from[i] == m->from)
				return;
		}
		if (x->n >= x->k)
			return;
		x->from[++x->n] = m->from;
		suspicion_time(x);
		broadcast(s, m);
		return;
	}
	if (p->state != STATE_ALIVE)
		return;
	p->state = STATE_SUSPECT;
	p->incarnation = m->incarnation;
	broadcast(s, m);
	s->suspicions = realloc(s->suspicions, (s->n_suspicions + 1) * sizeof(*s->suspicions));
	x = &s->suspicions[s->n_suspicions++];
	*x = (struct suspicion){.node = m->node, .since = s->now, .from = {m->from}};
	x->k = s->n_alive < SUSPICION_MULT ? 0 : SUSPICION_MULT - 2;
	x->min = SUSPICION_MULT * fmax(1, log10(fmax(1, s->n_alive))) * PROBE_INTERVAL;
	x->max = SUSPICION_MAX_MULT * x->min;
	suspicion_time(x);
}

static void on_dead(struct swim *s, const struct message *m)
{
	struct peer *p = &s->peers[m->node];

	if (m->node == s->self) {
		if (m->incarnation >= s->incarnation)
			refute(s, m->incarnation);
		return;
	}
	if (m->incarnation < p->incarnation || p->state == STATE_DEAD)
		return;
	suspicion_end(s, m->node);
	p->state = STATE_DEAD;
	p->incarnation = m->incarnation;
	s->n_alive--;
	broadcast(s, m);
	s->out.report(s->out.arg, m->node, false);
}

static void on_alive(struct swim *s, const struct message *m)
{
	struct peer *p = &s->peers[m->node];

	if (m->node == s->self || m->incarnation <= p->incarnation)
		return;
	suspicion_end(s, m->node);
	p->incarnation = m->incarnation;
	if (p->state == STATE_DEAD) {
		s->n_alive++;
		s->out.report(s->out.arg, m->node, true);
	}
	p->state = STATE_ALIVE;
	broadcast(s, m);
}

static void on_ack(struct swim *s, const struct message *m)
{
	if (s->target != NOBODY && m->seq == s->target_seq)
		s->acked = true;
	for (unsigned i = 0; i < RELAYS; i++) {
		struct relay *r = &s->relays[i];

		if (r->seq != m->seq || r->seq == 0)
			continue;
		send_message(s, r->asker,
			&(struct message){.type = ACK, .from = s->self, .seq = r->asked_seq});
		r->seq = 0;
		r->nack_at = NSEC_NEVER;
	}
}

static void on_indirect(struct swim *s, const struct message *m)
{
	struct relay *r = &s->relays[s->at_relay++ % RELAYS];

	*r = (struct relay){.asker = m->from,
		.asked_seq = m->seq,
		.seq = ++s->seq,
		.node = m->node,
		.nack_at = s->now + PROBE_TIMEOUT * 8 / 10};
	send_message(s, m->node,
		&(struct message){.type = PING, .node = m->node, .from = s->self, .seq = r->seq});
}

static void on_message(struct swim *s, const struct message *m)
{
	switch ((enum type)m->type) {
	case PING:
		if (m->node == s->self)
			send_message(s, m->from,
				&(struct message){.type = ACK, .from = s->self, .seq = m->seq});
		break;
	case INDIRECT_PING:
		on_indirect(s, m);
		break;
	case ACK:
		on_ack(s, m);
		break;
	case NACK:
		s->n_nacks += s->target != NOBODY && m->seq == s->target_seq;
		break;
	case SUSPECT:
		on_suspect(s, m);
		break;
	case ALIVE:
		on_alive(s, m);
		break;
	case DEAD:
		on_dead(s, m);
		break;
	}
}

void swim_receive(struct swim *s, nsec_t now, const void *bytes, size_t n)
{
	s->now = now;
	for (size_t at = 0; at + sizeof(struct message) <= n;) {
		struct message m;

		memcpy(&m, (const uint8_t *)bytes + at, sizeof(m));
		if (m.type > DEAD || m.node >= s->n || m.from >= s->n)
			return;
		on_message(s, &m);
		at += sizes[m.type];
	}
}

/* The next member of the list, shuffled anew each time round. */
static uint32_t next_target(struct swim *s)
{
	for (unsigned tries = 0; tries < s->n; tries++) {
		uint32_t node;

		if (s->at >= s->n) {
			for (unsigned i = s->n - 1; i > 0; i--) {
				unsigned k = rnd(s, i + 1);
				uint32_t t = s->order[i];

				s->order[i] = s->order[k];
				s->order[k] = t;
			}
			s->at = 0;
		}
		node = s->order[s->at++];
		if (node != s->self && s->peers[node].state != STATE_DEAD)
			return node;
	}
	return NOBODY;
}

/* Helpers are alive; gossip also goes to the suspected, who must be able to object. */
static uint32_t random_alive(struct swim *s, uint32_t except, bool or_suspect)
{
	for (unsigned i = 0; i < 3 * s->n; i++) {
		uint32_t node = rnd(s, s->n);

		if (node != s->self && node != except &&
			(s->peers[node].state == STATE_ALIVE ||
				(or_suspect && s->peers[node].state == STATE_SUSPECT)))
			return node;
	}
	return NOBODY;
}

static void probe_start(struct swim *s)
{
	nsec_t interval = PROBE_INTERVAL * (s->awareness + 1);

	s->probe_next = s->now + interval;
	s->target = next_target(s);
	if (s->target == NOBODY)
		return;
	s->target_seq = ++s->seq;
	s->acked = false;
	s->n_expected = s->n_nacks = 0;
	s->indirect_at = s->now + PROBE_TIMEOUT;
	s->verdict_at = s->now + interval;
	if (s->peers[s->target].state == STATE_SUSPECT) {
		/* Told at once that it is suspected, so that it can object. */
		broadcast(s, &(struct message){.type = SUSPECT,
				     .node = s->target,
				     .from = s->self,
				     .incarnation = s->peers[s->target].incarnation});
	}
	send_message(s, s->target,
		&(struct message){
			.type = PING, .node = s->target, .from = s->self, .seq = s->target_seq});
}

static void probe_indirect(struct swim *s)
{
	s->indirect_at = NSEC_NEVER;
	if (s->acked)
		return;
	for (unsigned i = 0; i < INDIRECT; i++) {
		uint32_t helper = random_alive(s, s->target, false);

		if (helper == NOBODY)
			break;
		s->n_expected++;
		send_message(s, helper,
			&(struct message){.type = INDIRECT_PING,
				.node = s->target,
				.from = s->self,
				.seq = s->target_seq});
	}
	s->out.stream(s->out.arg, s->target, 120);
}

static void probe_end(struct swim *s)
{
	uint32_t target = s->target;

	s->target = NOBODY;
	if (s->acked) {
		aware(s, -1);
		return;
	}
	if (s->n_expected > 0)
		aware(s, s->n_nacks < s->n_expected ? (int)(s->n_expected - s->n_nacks) : 0);
	else
		aware(s, 1);
	on_suspect(s, &(struct message){.type = SUSPECT,
			      .node = target,
			      .from = s->self,
			      .incarnation = s->peers[target].incarnation});
}

static void gossip(struct swim *s)
{
	s->gossip_next = s->now + GOSSIP_INTERVAL;
	for (unsigned i = 0; i < GOSSIP_NODES && s->n_broadcasts > 0; i++) {
		uint8_t packet[PACKET_MAX] = {0};
		uint32_t to = random_alive(s, NOBODY, true);

		if (to == NOBODY)
			return;
		s->out.send(s->out.arg, to, packet, piggyback(s, packet, 0));
	}
}

static void suspicions_tick(struct swim *s)
{
	for (unsigned i = 0; i < s->n_suspicions; i++) {
		struct suspicion x = s->suspicions[i];

		if (x.due > s->now)
			continue;
		on_dead(s, &(struct message){.type = DEAD,
				   .node = x.node,
				   .from = s->self,
				   .incarnation = s->peers[x.node].incarnation});
		i--;
	}
}

void swim_tick(struct swim *s, nsec_t now)
{
	s->now = now;
	if (s->target != NOBODY && s->indirect_at <= now)
		probe_indirect(s);
	if (s->target != NOBODY && s->verdict_at <= now)
		probe_end(s);
	if (s->probe_next <= now)
		probe_start(s);
	if (s->gossip_next <= now)
		gossip(s);
	if (s->push_pull_next <= now) {
		/* Scaled up beyond 32 members, as memberlist does. */
		double scale = s->n > 32 ? ceil(log2(s->n) - log2(32)) + 1 : 1;
		uint32_t to = random_alive(s, NOBODY, false);

		s->push_pull_next = now + scale * PUSH_PULL;
		if (to != NOBODY)
			s->out.stream(s->out.arg, to, (size_t)PUSH_PULL_RECORD * s->n);
	}
	for (unsigned i = 0; i < RELAYS; i++) {
		struct relay *r = &s->relays[i];

		if (r->seq == 0 || r->nack_at > now)
			continue;
		r->nack_at = NSEC_NEVER;
		send_message(s, r->asker,
			&(struct message){.type = NACK, .from = s->self, .seq = r->asked_seq});
	}
	suspicions_tick(s);
}

nsec_t swim_deadline(const struct swim *s)
{
	nsec_t d = s->probe_next < s->gossip_next ? s->probe_next : s->gossip_next;

	if (s->push_pull_next < d)
		d = s->push_pull_next;
	if (s->target != NOBODY && s->indirect_at < d)
		d = s->indirect_at;
	if (s->target != NOBODY && s->verdict_at < d)
		d = s->verdict_at;
	for (unsigned i = 0; i < s->n_suspicions; i++) {
		if (s->suspicions[i].due < d)
			d = s->suspicions[i].due;
	}
	for (unsigned i = 0; i < RELAYS; i++) {
		if (s->relays[i].seq != 0 && s->relays[i].nack_at < d)
			d = s->relays[i].nack_at;
	}
	return d;
}
