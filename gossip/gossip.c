/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The object's life, and the doors in and out.
 *
 * The shape is ngtcp2's and n-acd's: time and bytes are arguments, what is to be done comes out
 * of a queue. lashup is a dozen Erlang processes that call each other, and one blocking connect
 * in its membership process stops its pings; here nothing can block, because nothing is done
 * here. Each call from outside runs to its end, then what became of the member table is judged
 * once (verdict.c), so that a datagram with eight severances is one change and not eight.
 *
 * Effects and events are copied into two byte queues. They are emptied by the outside after each
 * call, so they are small; they are given back when large, since a process that simulates 10,000
 * nodes holds 20,000 of them.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Queues larger than this are given back when empty. */
#define QUEUE_KEEP 2048
/* Rounds of one tick, in case its parts keep each other busy. */
#define TICK_ROUNDS 8
/* What GOSSIP_RATE_MAX says of any second: half of it at once, and the other half over the second. */
#define RATE_BURST (GOSSIP_RATE_MAX / 2)
/* What the network adds to a datagram: 28 bytes of IP and UDP, 44 of encryption. */
#define DATAGRAM_HEAD 72

uint64_t mix64(uint64_t v)
{
	v ^= v >> 30;
	v *= UINT64_C(0xbf58476d1ce4e5b9);
	v ^= v >> 27;
	v *= UINT64_C(0x94d049bb133111eb);
	return v ^ v >> 31;
}

/* splitmix64: one word of state, every seed good. */
uint64_t random_u64(struct gossip *g)
{
	g->random += UINT64_C(0x9e3779b97f4a7c15);
	return mix64(g->random);
}

uint64_t random_below(struct gossip *g, uint64_t n)
{
	return n == 0 ? 0 : (uint64_t)(((unsigned __int128)random_u64(g) * n) >> 64);
}

bool grow(struct gossip *g, void *array, size_t *n_allocated, size_t n_wanted, size_t size,
	size_t n_max)
{
	void *old, *bigger;
	size_t n = *n_allocated + *n_allocated / 4 + 8;

	if (n_wanted <= *n_allocated)
		return true;
	if (n_wanted > n_max)
		return false;
	if (n < n_wanted)
		n = n_wanted;
	if (n > n_max)
		n = n_max;
	memcpy(&old, array, sizeof(old));
	bigger = realloc(old, n * size);
	if (!bigger) {
		g->fault = -ENOMEM;
		return false;
	}
	memcpy(array, &bigger, sizeof(bigger));
	*n_allocated = n;
	return true;
}

static void *queue_add(
	struct gossip *g, struct queue *q, size_t n_item, size_t n_bytes, size_t n_max)
{
	size_t n = (n_item + n_bytes + 7) & ~(size_t)7;
	void *at;

	if (q->at == q->n)
		q->at = q->n = 0;
	if (!grow(g, &q->bytes, &q->n_allocated, q->n + n, 1, n_max))
		return NULL;
	at = q->bytes + q->n;
	q->n += n;
	q->n_items++;
	return at;
}

static void *queue_pop(struct queue *q, size_t n_item, size_t (*n_bytes)(const void *))
{
	void *at;

	if (q->at == q->n)
		return NULL;
	at = q->bytes + q->at;
	q->at += (n_item + n_bytes(at) + 7) & ~(size_t)7;
	q->n_items--;
	return at;
}

static void queue_trim(struct queue *q)
{
	if (q->at == q->n && q->n_allocated > QUEUE_KEEP) {
		free(q->bytes);
		memset(q, 0, sizeof(*q));
	}
}

void effect_push(struct gossip *g, const struct gossip_effect *effect)
{
	uint8_t *at =
		queue_add(g, &g->effects, sizeof(*effect), effect->n_bytes, GOSSIP_QUEUE_BYTES_MAX);

	if (!at) {
		g->stats.refused++;
		return;
	}
	memcpy(at, effect, sizeof(*effect));
	if (effect->n_bytes > 0)
		memcpy(at + sizeof(*effect), effect->bytes, effect->n_bytes);
}

/* Reports of nodes are never dropped for others' bytes. */
#define EVENT_BYTES_MAX (GOSSIP_QUEUE_BYTES_MAX + GOSSIP_EVENTS_MAX * sizeof(struct gossip_event))

void event_push(struct gossip *g, const struct gossip_event *event)
{
	uint8_t *at = NULL;

	if (g->events.n_items < GOSSIP_EVENTS_MAX)
		at = queue_add(g, &g->events, sizeof(*event), event->n_bytes, EVENT_BYTES_MAX);
	if (!at) {
		g->stats.refused++;
		return;
	}
	memcpy(at, event, sizeof(*event));
	if (event->n_bytes > 0)
		memcpy(at + sizeof(*event), event->bytes, event->n_bytes);
}

static size_t effect_n_bytes(const void *at)
{
	return ((const struct gossip_effect *)at)->n_bytes;
}

static size_t event_n_bytes(const void *at)
{
	return ((const struct gossip_event *)at)->n_bytes;
}

bool gossip_pop_effect(struct gossip *g, struct gossip_effect *ret)
{
	uint8_t *at = queue_pop(&g->effects, sizeof(*ret), effect_n_bytes);

	if (!at)
		return false;
	memcpy(ret, at, sizeof(*ret));
	ret->bytes = at + sizeof(*ret);
	return true;
}

bool gossip_pop_event(struct gossip *g, struct gossip_event *ret)
{
	uint8_t *at = queue_pop(&g->events, sizeof(*ret), event_n_bytes);

	if (!at)
		return false;
	memcpy(ret, at, sizeof(*ret));
	ret->bytes = at + sizeof(*ret);
	return true;
}

void packet_init(struct gossip *g, struct packet *p)
{
	writer_init(&p->w, p->bytes, sizeof(p->bytes));
	wire_head_write(&p->w, &(struct wire_head){.sender = g->config.id,
				       .boot = wire_boot(g->config.incarnation)});
}

/* Counts whole messages that go out, by type; returns how many. */
static unsigned count_sent(struct gossip *g, const uint8_t *bytes, size_t n)
{
	struct reader r, body;
	unsigned n_messages = 0;
	uint8_t type;

	reader_init(&r, bytes, n);
	for (size_t at = 0; wire_message_next(&r, &type, &body) > 0; at = r.at) {
		g->stats.sent[type].messages++;
		g->stats.sent[type].bytes += r.at - at;
		n_messages++;
	}
	return n_messages;
}

/* Whether messages that begin with one of this type may go out now: what others can ask for without
 * end is limited. */
static bool rate_take(struct gossip *g, uint8_t type, size_t n)
{
	nsec_t since = g->now - g->rate_at;

	if (type != WIRE_NEWS && type != WIRE_RECORDS && type != WIRE_PULL && type != WIRE_SYNC &&
		type != WIRE_SUMMARY && type != WIRE_SHUFFLED)
		return true;
	since = since < SEC ? since : SEC;
	g->rate_at = g->now;
	g->rate_left += since * RATE_BURST / SEC;
	if (g->rate_left > RATE_BURST)
		g->rate_left = RATE_BURST;
	if (g->rate_left < n) {
		g->stats.refused++;
		return false;
	}
	g->rate_left -= n;
	return true;
}

void packet_send(struct gossip *g, struct packet *p, const struct gossip_addr *to)
{
	if (!p->w.ok || to->family == 0 || p->w.n <= WIRE_HEAD ||
		!rate_take(g, p->bytes[WIRE_HEAD], p->w.n + DATAGRAM_HEAD))
		return;
	g->stats.packets_out++;
	g->stats.bytes_out += p->w.n;
	count_sent(g, p->bytes + WIRE_HEAD, p->w.n - WIRE_HEAD);
	effect_push(g, &(struct gossip_effect){.kind = GOSSIP_EFFECT_PACKET,
			       .address = *to,
			       .bytes = p->bytes,
			       .n_bytes = p->w.n});
}

void frame_init(struct gossip *g, struct frame *f, enum wire_type type, size_t n_max)
{
	size_t n = n_max + WIRE_MESSAGE_HEAD;

	f->bytes = f->small;
	if (n > sizeof(f->small)) {
		f->bytes = malloc(n);
		if (!f->bytes) {
			g->fault = -ENOMEM;
			n = 0;
		}
	}
	writer_init(&f->w, f->bytes, n);
	write_message_begin(&f->w, type);
}

void link_send(struct gossip *g, struct link *l, const uint8_t *bytes, size_t n)
{
	if (l->handle == 0 || n == 0 || !rate_take(g, bytes[0], n))
		return;
	g->stats.frames_out += count_sent(g, bytes, n);
	g->stats.link_bytes_out += n;
	l->backlog += n;
	effect_push(g, &(struct gossip_effect){.kind = GOSSIP_EFFECT_LINK_SEND,
			       .link = l->handle,
			       .bytes = bytes,
			       .n_bytes = n});
}

void frame_send(struct gossip *g, struct frame *f, struct link *l)
{
	write_message_end(&f->w);
	if (f->w.ok)
		link_send(g, l, f->w.bytes, f->w.n);
	if (f->bytes != f->small)
		free(f->bytes);
}

bool gossip_addr_equal(const struct gossip_addr *a, const struct gossip_addr *b)
{
	return a->family == b->family && a->port == b->port &&
	       memcmp(a->bytes, b->bytes, a->family == 6 ? 16 : 4) == 0;
}

const char *gossip_status_name(enum gossip_status status)
{
	switch (status) {
	case GOSSIP_STATUS_UNKNOWN:
		return "unknown";
	case GOSSIP_STATUS_UP:
		return "up";
	case GOSSIP_STATUS_STALLED:
		return "stalled";
	case GOSSIP_STATUS_AGENTLESS:
		return "agentless";
	case GOSSIP_STATUS_DOWN:
		return "down";
	}
	return "?";
}

const char *gossip_message_name(unsigned kind)
{
	static const char *const names[GOSSIP_MESSAGE_KINDS] = {[WIRE_BEAT] = "beat",
		[WIRE_PING] = "ping",
		[WIRE_PONG] = "pong",
		[WIRE_WORD] = "word",
		[WIRE_HEARD] = "heard",
		[WIRE_NEWS] = "news",
		[WIRE_PULL] = "pull",
		[WIRE_HELLO] = "hello",
		[WIRE_REPLY] = "reply",
		[WIRE_WALK] = "walk",
		[WIRE_SHUFFLE] = "shuffle",
		[WIRE_SHUFFLED] = "shuffled",
		[WIRE_PART] = "part",
		[WIRE_SYNC] = "sync",
		[WIRE_SUMMARY] = "summary",
		[WIRE_CAST] = "cast",
		[WIRE_IHAVE] = "ihave",
		[WIRE_GRAFT] = "graft",
		[WIRE_PRUNE] = "prune",
		[WIRE_REQUEST] = "request",
		[WIRE_RESPONSE] = "response",
		[WIRE_RECORDS] = "records"};

	_Static_assert(WIRE_RECORDS + 1 == GOSSIP_MESSAGE_KINDS, "a type without a counter");
	return kind < GOSSIP_MESSAGE_KINDS ? names[kind] : NULL;
}

/* The defaults are the corner that the curves of tests/sim show to be the right one. */
void gossip_config_init(struct gossip_config *config)
{
	memset(config, 0, sizeof(*config));
	config->beat_interval = 250 * MSEC;
	config->slack_min = 30 * MSEC;
	config->try_interval = 30 * MSEC;
	config->n_tries_min = 4;
	config->n_tries_max = 12;
	config->stall_after = SEC;
	config->degree = 6;
	config->minority_permille = 333;
	config->forget_after = 24 * 3600 * SEC;
	config->n_members_max = GOSSIP_MEMBERS_MAX;
}

static bool config_valid(const struct gossip_config *c)
{
	return c->id != 0 && c->incarnation != 0 &&
	       (c->address.family == 4 || c->address.family == 6) &&
	       c->n_metadata <= GOSSIP_METADATA_MAX && c->degree >= 1 &&
	       c->degree <= GOSSIP_NEIGHBOURS_MAX - 2 && c->beat_interval >= MSEC &&
	       c->beat_interval <= 5 * SEC && c->try_interval >= MSEC && c->n_tries_min >= 1 &&
	       c->n_tries_min <= c->n_tries_max && c->n_tries_max <= TRIES_MAX &&
	       c->minority_permille <= 1000 && c->n_members_max >= 2 &&
	       c->n_members_max <= GOSSIP_MEMBERS_MAX;
}

/* Begins a call from outside. Time does not run backwards, whatever the outside says. */
static void enter(struct gossip *g, nsec_t now)
{
	if (now > g->now)
		g->now = now;
	g->fault = 0;
	g->news_link = NONE;
	queue_trim(&g->effects);
	queue_trim(&g->events);
}

static nsec_t min_nsec(nsec_t a, nsec_t b)
{
	return a < b ? a : b;
}

static nsec_t deadline_of(const struct gossip *g)
{
	nsec_t d = detector_deadline(g);

	d = min_nsec(d, spread_deadline(g));
	d = min_nsec(d, verdict_deadline(g));
	d = min_nsec(d, membership_deadline(g));
	return min_nsec(d, multicast_deadline(g));
}

/* Ends a call. A deadline that has passed stays the mark that the next tick's lateness is
 * measured from, though the timers behind it may have been put off since. */
static int leave(struct gossip *g)
{
	bool passed = g->deadline_told <= g->now;
	nsec_t d;

	if (g->n_reports > 0)
		spread_reports_send(g);
	if (g->verdict_dirty)
		verdict_tick(g);
	d = deadline_of(g);
	if (!passed) /* what was set for a time in the past is not late, but due now */
		g->deadline_told = d > g->now ? d : g->now;
	return g->fault;
}

int gossip_new(struct gossip **ret_g, const struct gossip_config *config, nsec_t now)
{
	struct gossip *g;
	int r;

	if (!config_valid(config))
		return -EINVAL;
	g = calloc(1, sizeof(*g));
	if (!g)
		return -ENOMEM;
	g->config = *config;
	g->config.metadata = NULL;
	g->now = now;
	g->random = mix64(config->seed) ^ mix64(config->id + config->incarnation);
	g->local_ok = true;
	g->next_handle = 1;
	g->next_number = random_u64(g);
	g->next_nonce = random_u64(g);
	g->next_tag = 1;
	g->changed = now;
	g->beat_next = now + random_below(g, config->beat_interval);
	g->started = g->rate_at = now;
	g->rate_left = RATE_BURST;
	g->repair_next = now + random_below(g, 20 * MSEC);
	g->rings_next = NSEC_NEVER;
	g->dial_next = now + SEC;
	g->contact_next = now;
	g->shuffle_next = now + 10 * SEC + random_below(g, 60 * SEC);
	g->verdict_next = g->half_lost_next = NSEC_NEVER;
	for (unsigned i = 0; i < HALF_LOST_MAX; i++)
		g->half_lost[i].member = NONE;
	g->detector_next = NSEC_NEVER;
	g->upkeep_next = NSEC_NEVER;
	g->rumours_next = NSEC_NEVER;
	g->cast_next = NSEC_NEVER;
	g->sync_next = NSEC_NEVER;
	r = adjacency_init(g);
	if (r == 0 && config->n_metadata > 0)
		r = own_metadata(g, config->metadata, config->n_metadata);
	if (r < 0) {
		gossip_free(g);
		return r;
	}
	g->deadline_told = deadline_of(g);
	*ret_g = g;
	return 0;
}

struct gossip *gossip_free(struct gossip *g)
{
	if (!g)
		return NULL;
	for (unsigned i = 0; i < GOSSIP_LINKS_MAX; i++)
		free(g->links[i].partial);
	adjacency_done(g);
	spread_done(g);
	verdict_done(g);
	multicast_done(g);
	free(g->effects.bytes);
	free(g->events.bytes);
	free(g);
	return NULL;
}

static void receive_ping(
	struct gossip *g, struct link *l, const struct gossip_addr *from, struct reader *r)
{
	uint32_t nonce = read_u32(r);

	if (!r->ok) {
		g->stats.malformed++;
		return;
	}
	if (from) {
		struct packet p;

		packet_init(g, &p);
		write_message_begin(&p.w, WIRE_PONG);
		write_u32(&p.w, nonce);
		write_u8(&p.w, 0);
		write_message_end(&p.w);
		packet_send(g, &p, from);
	} else {
		struct frame f;

		frame_init(g, &f, WIRE_PONG, 8);
		write_u32(&f.w, nonce);
		write_u8(&f.w, 0);
		frame_send(g, &f, l);
	}
}

static void receive_beat(struct gossip *g, uint16_t sender, struct reader *r, bool by_link)
{
	struct wire_beat beat;
	struct link *l = sender == NONE ? NULL : link_of(g, sender);

	if (!wire_beat_read(r, &beat))
		g->stats.malformed++;
	else if (l)
		detector_beat(g, l, &beat, by_link);
}

/* A message that may come either way. `link` or `from` is NULL. True if it was one. */
static bool receive_common(struct gossip *g, uint16_t sender, bool current, struct link *l,
	const struct gossip_addr *from, uint8_t type, struct reader *r)
{
	uint32_t nonce;

	switch (type) {
	case WIRE_BEAT:
		if (current)
			receive_beat(g, sender, r, l != NULL);
		return true;
	case WIRE_PING:
		receive_ping(g, l, from, r);
		return true;
	case WIRE_PONG:
		nonce = read_u32(r);
		if (r->ok && current)
			detector_pong(g, sender, nonce, l != NULL);
		else if (r->ok && sender != NONE && test_find(g, sender))
			membership_pong(g, sender); /* it has started again: a link tells */
		return true;
	case WIRE_NEWS:
	case WIRE_RECORDS:
		spread_news(g, l, from, r, type == WIRE_RECORDS);
		return true;
	case WIRE_PULL:
		spread_pull(g, l, from, r);
		return true;
	default:
		return false;
	}
}

static void receive_datagram(struct gossip *g, uint16_t sender, bool current,
	const struct gossip_addr *from, uint8_t type, struct reader *r)
{
	uint16_t subject;

	if (receive_common(g, sender, current, NULL, from, type, r))
		return;
	switch (type) {
	case WIRE_WORD:
	case WIRE_HEARD:
		subject = member_find(g, read_u64(r));
		if (!r->ok)
			g->stats.malformed++;
		else if (sender == NONE || subject == NONE)
			break;
		else if (type == WIRE_WORD)
			detector_word(g, sender, subject);
		else
			detector_heard_by(g, sender, subject);
		break;
	case WIRE_SHUFFLED:
		membership_shuffled(g, r);
		break;
	default:
		break; /* from a newer version, or meant for a link */
	}
}

int gossip_receive(struct gossip *g, nsec_t now, const struct gossip_addr *from, const void *bytes,
	size_t n_bytes)
{
	struct reader r, body;
	struct wire_head head;
	uint16_t sender;
	bool current;
	uint8_t type;
	int k;

	enter(g, now);
	g->stats.packets_in++;
	g->stats.bytes_in += n_bytes;
	reader_init(&r, bytes, n_bytes);
	if (!wire_head_read(&r, &head)) {
		g->stats.malformed++;
		return leave(g);
	}
	if (head.sender == g->config.id)
		return leave(g); /* our own, reflected; a double shows itself by its record */
	sender = member_find(g, head.sender);
	current = sender != NONE && g->members[sender].incarnation != 0 &&
		  wire_boot(g->members[sender].incarnation) == head.boot;
	if (current) {
		struct link *l = link_of(g, sender);

		if (l)
			g->news_link = link_slot(g, l);
		detector_heard(g, sender);
	}
	while ((k = wire_message_next(&r, &type, &body)) > 0)
		receive_datagram(g, sender, current, from, type, &body);
	if (k < 0)
		g->stats.malformed++;
	return leave(g);
}

static void receive_tagged(struct gossip *g, struct link *l, uint8_t type, struct reader *r)
{
	uint32_t tag = read_u32(r);

	if (!r->ok || reader_left(r) > GOSSIP_CAST_MAX) {
		g->stats.malformed++;
		return;
	}
	event_push(g, &(struct gossip_event){.kind = type == WIRE_REQUEST ? GOSSIP_EVENT_REQUEST
									  : GOSSIP_EVENT_RESPONSE,
			      .id = g->members[l->peer].id,
			      .tag = tag,
			      .bytes = r->bytes + r->at,
			      .n_bytes = reader_left(r)});
}

/* A message on the link of a neighbour. */
static void receive_frame(struct gossip *g, struct link *l, uint8_t type, struct reader *r)
{
	if (receive_common(g, l->peer, true, l, NULL, type, r))
		return;
	switch (type) {
	case WIRE_HELLO:
		membership_hello(g, l, r);
		break;
	case WIRE_REPLY:
		membership_reply(g, l, r);
		break;
	case WIRE_WALK:
		membership_walk(g, l, r);
		break;
	case WIRE_SHUFFLE:
		membership_shuffle(g, l, r);
		break;
	case WIRE_PART:
		membership_part(g, l, r);
		break;
	case WIRE_SYNC:
		spread_sync(g, l, r);
		break;
	case WIRE_SUMMARY:
		spread_summary(g, l, r);
		break;
	case WIRE_CAST:
		multicast_cast(g, l, r);
		break;
	case WIRE_IHAVE:
		multicast_ihave(g, l, r);
		break;
	case WIRE_GRAFT:
		multicast_graft(g, l, r);
		break;
	case WIRE_PRUNE:
		multicast_prune(g, l);
		break;
	case WIRE_REQUEST:
	case WIRE_RESPONSE:
		receive_tagged(g, l, type, r);
		break;
	default:
		break; /* from a newer version */
	}
}

/* Whether a link that is not a neighbour's yet may carry this. Greeted, but refused or still
 * undecided, peers exchange their tables all the same: that is how a joiner learns whom else
 * to ask. */
static bool allowed(const struct link *l, uint8_t type)
{
	if (l->peer == NONE)
		return type == WIRE_HELLO;
	return l->state == LINK_ACTIVE || type == WIRE_HELLO || type == WIRE_REPLY ||
	       type == WIRE_PART || type == WIRE_SYNC || type == WIRE_SUMMARY ||
	       type == WIRE_NEWS || type == WIRE_PULL || type == WIRE_RECORDS;
}

/* Every whole message of the bytes; returns how many bytes they were, or -EBADMSG. */
static ptrdiff_t receive_stream(struct gossip *g, struct link *l, const uint8_t *bytes, size_t n)
{
	uint32_t handle = l->handle;
	struct reader r, body;
	uint8_t type;
	int k;

	reader_init(&r, bytes, n);
	while ((k = wire_message_next(&r, &type, &body)) > 0) {
		g->stats.frames_in++;
		if (l->peer != NONE) {
			g->news_link = link_slot(g, l);
			if (l->state == LINK_ACTIVE)
				detector_heard(g, l->peer);
		}
		if (!allowed(l, type))
			g->stats.refused++;
		else
			receive_frame(g, l, type, &body);
		if (l->state == LINK_FREE || l->handle != handle)
			return n; /* closed by what it said */
	}
	return k == -EBADMSG ? -EBADMSG : (ptrdiff_t)r.at;
}

int gossip_link_bytes(
	struct gossip *g, nsec_t now, uint32_t link, const void *bytes, size_t n_bytes)
{
	struct link *l;
	uint8_t *whole = NULL;
	ptrdiff_t used;

	enter(g, now);
	l = link_by_handle(g, link);
	if (!l)
		return leave(g);
	g->stats.link_bytes_in += n_bytes;
	if (l->n_partial > 0) {
		whole = realloc(l->partial, l->n_partial + n_bytes);
		if (!whole) {
			g->fault = -ENOMEM;
			link_drop(g, l, true);
			return leave(g);
		}
		memcpy(whole + l->n_partial, bytes, n_bytes);
		bytes = whole;
		n_bytes += l->n_partial;
		l->partial = NULL; /* `whole` now: the link may go meanwhile */
		l->n_partial = 0;
	}
	used = receive_stream(g, l, bytes, n_bytes);
	if (used < 0) {
		g->stats.malformed++;
		link_drop(g, l, true);
	} else if ((size_t)used < n_bytes) {
		l->partial = malloc(n_bytes - used);
		if (l->partial) {
			l->n_partial = n_bytes - used;
			memcpy(l->partial, (const uint8_t *)bytes + used, l->n_partial);
		} else {
			g->fault = -ENOMEM;
			link_drop(g, l, true);
		}
	}
	free(whole);
	return leave(g);
}

void gossip_link_backlog(struct gossip *g, uint32_t link, size_t n_bytes)
{
	struct link *l = link_by_handle(g, link);

	if (l)
		l->backlog = n_bytes;
}

int gossip_link_closed(struct gossip *g, nsec_t now, uint32_t link, enum gossip_close reason)
{
	struct link *l;

	enter(g, now);
	l = link_by_handle(g, link);
	if (l)
		detector_link_closed(g, l, reason);
	return leave(g);
}

int gossip_probe_result(struct gossip *g, nsec_t now, uint32_t probe, enum gossip_probe result)
{
	enter(g, now);
	if (probe == g->witness_probe)
		verdict_witness(g, probe, result);
	else
		detector_probe(g, probe, result);
	return leave(g);
}

int gossip_tick(struct gossip *g, nsec_t now)
{
	enter(g, now);
	if (g->deadline_told > g->now)
		return leave(g);
	detector_late(g, g->now - g->deadline_told);
	/* What one part does may be due at once in another: so that a second tick finds nothing. */
	for (unsigned i = 0; i < TICK_ROUNDS && (i == 0 || deadline_of(g) <= g->now); i++) {
		detector_tick(g);
		membership_tick(g);
		multicast_tick(g);
		spread_tick(g);
		verdict_tick(g);
	}
	g->deadline_told = NSEC_NEVER;
	return leave(g);
}

nsec_t gossip_deadline(const struct gossip *g)
{
	return g->deadline_told;
}

void gossip_set_local(struct gossip *g, nsec_t now, bool ok)
{
	enter(g, now);
	if (g->local_ok != ok) {
		g->local_ok = ok;
		g->verdict_dirty = true;
	}
	leave(g);
}

int gossip_set_contacts(struct gossip *g, nsec_t now, const struct gossip_addr *contacts, size_t n)
{
	enter(g, now);
	if (n > GOSSIP_CONTACTS_MAX)
		return -E2BIG;
	if (n > 0)
		memcpy(g->contacts, contacts, n * sizeof(*contacts));
	g->n_contacts = n;
	g->contact_next = g->now + random_below(g, 20 * MSEC);
	return leave(g);
}

int gossip_set_witnesses(struct gossip *g, const struct gossip_addr *witnesses, size_t n)
{
	if (n > GOSSIP_WITNESSES_MAX)
		return -E2BIG;
	g->n_witnesses = 0;
	for (size_t i = 0; i < n; i++) {
		if (!gossip_addr_equal(&witnesses[i], &g->config.address))
			g->witnesses[g->n_witnesses++] = witnesses[i];
	}
	return 0;
}

int gossip_set_metadata(struct gossip *g, nsec_t now, const void *bytes, size_t n)
{
	int r;

	if (n > GOSSIP_METADATA_MAX)
		return -E2BIG;
	enter(g, now);
	r = own_metadata(g, bytes, n);
	return r < 0 ? r : leave(g);
}

void gossip_set_pinned(struct gossip *g, uint64_t id, bool pinned)
{
	uint16_t m = member_find(g, id);

	if (m != NONE && pinned)
		g->members[m].flags |= MEMBER_PINNED;
	else if (m != NONE)
		g->members[m].flags &= ~MEMBER_PINNED;
}

static int send_tagged(struct gossip *g, nsec_t now, uint64_t neighbour, enum wire_type type,
	uint32_t tag, const void *bytes, size_t n)
{
	uint16_t m = member_find(g, neighbour);
	struct link *l = m == NONE ? NULL : link_of(g, m);
	struct frame f;

	if (n > GOSSIP_CAST_MAX)
		return -E2BIG;
	if (!l)
		return -ENOTCONN;
	if (l->backlog > GOSSIP_BACKLOG_MAX)
		return -ENOBUFS;
	enter(g, now);
	frame_init(g, &f, type, n + 4);
	write_u32(&f.w, tag);
	write_bytes(&f.w, bytes, n);
	frame_send(g, &f, l);
	return leave(g);
}

int gossip_request(struct gossip *g, nsec_t now, uint64_t neighbour, const void *bytes, size_t n,
	uint32_t *ret_tag)
{
	uint32_t tag = g->next_tag;
	int r = send_tagged(g, now, neighbour, WIRE_REQUEST, tag, bytes, n);

	if (r < 0)
		return r;
	g->next_tag++;
	*ret_tag = tag;
	return 0;
}

int gossip_respond(
	struct gossip *g, nsec_t now, uint64_t neighbour, uint32_t tag, const void *bytes, size_t n)
{
	return send_tagged(g, now, neighbour, WIRE_RESPONSE, tag, bytes, n);
}

static size_t memory_of(const struct gossip *g)
{
	size_t n = sizeof(*g);

	n += g->n_members_allocated * (sizeof(*g->members) + 2 * sizeof(*g->scratch));
	n += g->n_index * sizeof(*g->index);
	n += (g->v6 ? g->n_members_allocated : 0) * sizeof(*g->v6);
	if (g->metadata)
		n += g->n_members_allocated * sizeof(*g->metadata) + g->n_metadata;
	n += g->n_lost_allocated * sizeof(*g->lost);
	n += g->n_absent_allocated * sizeof(*g->absent);
	n += g->n_rumours_allocated * sizeof(*g->rumours);
	n += (g->tombstones ? TOMBSTONES_MAX : 0) * sizeof(*g->tombstones);
	n += (g->casts ? CASTS_MAX : 0) * sizeof(*g->casts) + g->n_cast_bytes;
	n += (g->missing ? MISSING_MAX : 0) * sizeof(*g->missing);
	n += g->n_origins_allocated * sizeof(*g->origins);
	n += g->effects.n_allocated + g->events.n_allocated;
	for (unsigned i = 0; i < GOSSIP_LINKS_MAX; i++)
		n += g->links[i].n_partial;
	return n;
}

/* Arrays grow by a quarter at a time; the index of ids has at most three places for each. */
size_t gossip_memory_max(size_t n)
{
	size_t slots = n + n / 4 + 16, more = slots + slots / 4 + 8;
	size_t bytes = sizeof(struct gossip);

	bytes += slots * (sizeof(struct member) + 2 * sizeof(uint16_t) + 3 * sizeof(uint16_t));
	bytes += slots * (sizeof(uint8_t *) + 2 + GOSSIP_METADATA_MAX + 16);
	bytes += GOSSIP_LOST_MAX * more * sizeof(struct lost) + more * sizeof(struct absent);
	bytes += RUMOURS_MAX * sizeof(struct rumour) + TOMBSTONES_MAX * sizeof(struct tombstone);
	bytes += CASTS_MAX * sizeof(struct cast) + CAST_BYTES_MAX;
	bytes += MISSING_MAX * sizeof(struct missing) + ORIGINS_MAX * sizeof(struct origin);
	bytes += (size_t)GOSSIP_LINKS_MAX * GOSSIP_FRAME_MAX;
	return bytes + GOSSIP_QUEUE_BYTES_MAX + EVENT_BYTES_MAX;
}

void gossip_stats(const struct gossip *g, struct gossip_stats *ret)
{
	*ret = g->stats;
	ret->n_members = g->n_known;
	ret->n_reachable = g->n_reachable;
	ret->n_neighbours = g->members[g->self].n_neighbours;
	ret->n_links = 0;
	for (unsigned i = 0; i < GOSSIP_LINKS_MAX; i++)
		ret->n_links += g->links[i].state != LINK_FREE;
	ret->n_absent = g->n_absent;
	ret->n_rumours = g->n_rumours;
	ret->n_lost = g->n_lost;
	ret->n_memory = memory_of(g);
	ret->digest = g->digest;
	ret->self = g->self_state;
	ret->loss_permille = (uint64_t)g->loss * 1000 >> 16;
	ret->lateness = g->lateness;
}

int gossip_reserve(struct gossip *g, size_t n)
{
	return members_reserve(g, n);
}
