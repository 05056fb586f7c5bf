/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who publishes and who follows. See publish.h for the reasons.
 *
 *	                a publisher is counted on, and its table held
 *	    +-> listening ---------------------------------------------> following
 *	    |       | LISTEN_TIME                                         |    ^
 *	    |       v                   not confirmed for `timeout`       |    | yields, or its
 *	    +--- polling <------------------------------------------------+    | master leads no more
 *	 heard                                                                 v
 *	 again             from any: its own master leads ---------------> leading
 *
 * Every stimulus ends in settle(): pending deltas are applied, what was reached is noted, what is
 * missing is fetched, and the mode follows. set_mode() is the one place where it changes.
 */
#include "agent/publish/internal.h"

#include <sodium.h>

#define TIMEOUT (15 * NSEC_PER_SEC)
/* How long after its start a node waits for a publisher before it polls; and for the table of
 * one that it hears, which may have to be heard once more (a node that comes back from polling). */
#define LISTEN_TIME (2 * NSEC_PER_SEC)
#define LISTEN_TIME_HEARD (8 * NSEC_PER_SEC)
/* Between two questions to neighbours meanwhile. */
#define LISTEN_ASK (100 * NSEC_PER_MSEC)
/* Two announcements so far apart were not both waiting somewhere for us: the second was said after the
 * first was heard. */
#define RETURN_AFTER (2 * NSEC_PER_SEC)
/* A silence after which what comes may have waited for us, and does not count with what was before. */
#define SERIES_GAP (8 * NSEC_PER_SEC)
/* Polls are at most 5 s apart; one that comes a little early needs no announcement of its own. */
#define ANNOUNCE_MIN (3500 * NSEC_PER_MSEC)
/* A poll that is late, or a subscription that has nothing new: others must hear of it in time. */
#define REMIND_AFTER (5 * NSEC_PER_SEC)
#define REMIND_AGAIN NSEC_PER_SEC
/* A delta may come before the one that leads to it, and is repaired by the overlay in 250 ms. */
#define GAP_TIME (300 * NSEC_PER_MSEC)
/* A change that comes by no delta: its neighbours ask the publisher, not all at once. */
#define FETCH_SPREAD (50 * NSEC_PER_MSEC)
/* A publisher speaks every 5 s: one that did not for so long may be gone, and one of whose term only
 * was heard, never itself, is: a leader that yielded to it goes above it. */
#define QUIET (6 * NSEC_PER_SEC)
#define CLAIM_QUIET (11 * NSEC_PER_SEC)
/* What was announced so long after a poll was learned after it. */
#define POLL_MARGIN NSEC_PER_SEC
#define TELL_AGAIN (5 * NSEC_PER_SEC)
#define OUTPUTS_MAX 4096

/* splitmix64 */
uint64_t publish_random(struct publish *p)
{
	uint64_t v = p->random += UINT64_C(0x9e3779b97f4a7c15);

	v = (v ^ v >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	v = (v ^ v >> 27) * UINT64_C(0x94d049bb133111eb);
	return v ^ v >> 31;
}

static void set_now(struct publish *p, nsec_t now)
{
	if (now > p->now)
		p->now = now;
}

static void set_mode(struct publish *p, enum publish_mode mode)
{
	if (mode == p->mode)
		return;
	p->counts.returns += mode == PUBLISH_FOLLOWING && p->mode == PUBLISH_POLLING;
	p->counts.fallbacks += mode == PUBLISH_POLLING;
	p->given = (struct version){0};
	p->mode = mode;
}

/* ---- sending ---- */

void publish_send(struct publish *p, enum publish_output_kind kind, uint64_t peer, uint32_t tag,
	const struct message *m)
{
	static __thread uint8_t bytes[WIRE_MAX];
	struct output *o;

	if (p->n_outputs == OUTPUTS_MAX) {
		p->counts.refused++;
		return;
	}
	if (p->n_outputs == p->outputs_allocated) {
		p->outputs_allocated = 2 * p->outputs_allocated + 16;
		p->outputs = xrealloc(p->outputs, p->outputs_allocated, sizeof(*p->outputs));
	}
	o = &p->outputs[p->n_outputs++];
	*o = (struct output){.kind = kind, .peer = peer, .tag = tag};
	o->n = message_write(m, bytes);
	o->bytes = xcalloc(1, o->n);
	memcpy(o->bytes, bytes, o->n);
	p->counts.bytes_out += o->n;
}

static void announce(struct publish *p, uint8_t flags)
{
	struct message m = {.kind = PUBLISH_ANNOUNCE,
		.version = p->have,
		.beat = ++p->own_beat,
		.flags = flags};

	memcpy(m.root, store_root(p->store), STORE_DIGEST);
	p->sent_at = p->now;
	publish_send(p, OUTPUT_MULTICAST, 0, 0, &m);
}

/* The changes that led from `before` to what is held now. */
static void send_delta(struct publish *p, const uint8_t *before, const uint8_t *changes, size_t n)
{
	struct message parts[WIRE_PARTS_MAX];
	uint8_t n_parts = 0;

	while (n > 0 && n_parts < WIRE_PARTS_MAX) {
		struct message *m = &parts[n_parts];

		*m = (struct message){.kind = PUBLISH_DELTA,
			.version = p->have,
			.part = n_parts++,
			.rest = changes,
			.n_rest = store_changes_cut(changes, n, WIRE_PART_MAX)};
		memcpy(m->root, store_root(p->store), STORE_DIGEST);
		memcpy(m->before, before, STORE_DIGEST);
		changes += m->n_rest;
		n -= m->n_rest;
	}
	if (n > 0) {
		announce(p, ANNOUNCE_FETCH);
		return;
	}
	p->sent_at = p->now;
	for (uint8_t i = 0; i < n_parts; i++) {
		parts[i].n_parts = n_parts;
		parts[i].beat = ++p->own_beat;
		publish_send(p, OUTPUT_MULTICAST, 0, 0, &parts[i]);
	}
}

static void tell(struct publish *p, uint64_t neighbour)
{
	struct message m = {.kind = PUBLISH_HAVE, .version = p->top};

	memcpy(m.root, p->top_root, STORE_DIGEST);
	publish_send(p, OUTPUT_REQUEST, neighbour, 0, &m);
}

void publish_tell_top(struct publish *p, uint64_t except)
{
	for (size_t i = 0; i < p->n_neighbours; i++)
		if (p->neighbours[i].id != except)
			tell(p, p->neighbours[i].id);
}

/* ---- versions ---- */

static nsec_t timeout_of(const struct publish *p)
{
	return p->options.timeout ? p->options.timeout : TIMEOUT;
}

bool publish_believes(const struct publish *p, uint64_t node, bool speaks)
{
	return node == p->options.node || p->options.believes(p->options.userdata, node, speaks);
}

/* The publisher of `top` is counted on. */
static bool beats(const struct publish *p)
{
	return p->live && p->beat_at && p->now - p->beat_at <= timeout_of(p);
}

/* Another publisher than before. If one of a lesser term was counted on until now, and its node is
 * up, the new one has to prove itself, and so has one that is heard of meanwhile. One that has said
 * that it goes makes way for those that knew of it, as a greater term shows; who claimed the same
 * term did not. And just after a link came up what is heard may come from the other side of a split. */
static void contest(struct publish *p, const struct version *v)
{
	bool counted = !p->left && beats(p) && publish_believes(p, p->top.node, true);
	bool healed = p->mode == PUBLISH_FOLLOWING && p->now - p->linked_at < RETURN_AFTER;

	if (counted || (!p->contested && (healed || (p->left && v->term == p->top.term)))) {
		p->contested = true;
		p->lesser = p->top;
		p->lesser_at = counted ? p->beat_at : p->now;
	} else if (p->contested && !healed && p->now - p->lesser_at > timeout_of(p)) {
		p->contested = false;
	}
	if (v->node == p->lesser.node)
		p->contested = false; /* the same one, which has gone above the other */
	p->left = p->live = false;
	p->beat_at = p->said_after = 0;
	p->beat_of = (struct version){0};
}

static void set_top(struct publish *p, const struct version *v, const uint8_t *root, bool certain)
{
	if (version_cmp_epoch(v, &p->top) != 0)
		contest(p, v);
	p->top = *v;
	p->top_certain = certain;
	memcpy(p->top_root, root, STORE_DIGEST);
}

static void yield(struct publish *p)
{
	p->leading = false;
	p->yield_at = p->confirmed_at = p->now;
	/* Its own word was heard just now: the winner is to prove itself like against any other. */
	p->live = true;
	p->beat_at = p->now;
	p->counts.yields++;
	set_mode(p, PUBLISH_FOLLOWING);
}

bool publish_note(struct publish *p, const struct version *v, const uint8_t *root, bool certain)
{
	int c = version_cmp(v, &p->top);

	if (v->term > p->term) {
		p->term = v->term;
		p->term_due = p->options.may_lead;
	}
	if (p->leading && version_cmp_epoch(v, &p->have) > 0)
		yield(p);
	if (c == 0 && certain && !p->top_certain)
		set_top(p, v, root, true);
	if (c <= 0)
		return false;
	set_top(p, v, root, certain);
	fetch_soon(p, p->now + GAP_TIME);
	return true;
}

bool publish_in_step(struct publish *p)
{
	return version_cmp(&p->have, &p->top) == 0 &&
	       (p->top.term == 0 || memcmp(store_root(p->store), p->top_root, STORE_DIGEST) == 0);
}

void publish_hold(struct publish *p, struct store *store, const struct version *v)
{
	if (store != p->store)
		store_free(p->store);
	p->store = store;
	p->have = *v;
	if (publish_in_step(p))
		fetch_stop(p);
}

/* ---- pending deltas ---- */

static void pending_drop(struct publish *p, size_t i)
{
	struct pending *d = &p->pending[i];

	for (unsigned int k = 0; k < d->n_parts; k++) {
		p->n_pending_bytes -= d->n[k];
		free(d->parts[k]);
	}
	*d = p->pending[--p->n_pending];
}

static struct pending *pending_find(struct publish *p, const struct message *m)
{
	struct pending *d;

	for (size_t i = 0; i < p->n_pending; i++)
		if (version_cmp(&p->pending[i].version, &m->version) == 0)
			return &p->pending[i];
	if (p->n_pending == PENDING_MAX)
		return NULL;
	d = &p->pending[p->n_pending++];
	*d = (struct pending){.version = m->version, .n_parts = m->n_parts};
	memcpy(d->root, m->root, STORE_DIGEST);
	memcpy(d->before, m->before, STORE_DIGEST);
	return d;
}

/* Keeps a part. What finds no place is fetched later. */
static void pending_add(struct publish *p, const struct message *m)
{
	struct pending *d;

	if (version_cmp(&m->version, &p->have) <= 0)
		return;
	d = p->n_pending_bytes + m->n_rest > PENDING_BYTES_MAX ? NULL : pending_find(p, m);
	if (!d || d->n_parts != m->n_parts || d->parts[m->part]) {
		p->counts.refused++;
		return;
	}
	d->parts[m->part] = xcalloc(1, m->n_rest);
	memcpy(d->parts[m->part], m->rest, m->n_rest);
	d->n[m->part] = m->n_rest;
	p->n_pending_bytes += m->n_rest;
}

static bool pending_whole(const struct pending *d)
{
	for (unsigned int k = 0; k < d->n_parts; k++)
		if (!d->parts[k])
			return false;
	return true;
}

/* What is held, changed by it; NULL if it does not lead where it says. */
static struct store *pending_try(struct publish *p, const struct pending *d)
{
	struct store *s = store_copy(p->store);
	int r = 0;

	for (unsigned int k = 0; k < d->n_parts && r == 0; k++)
		r = store_apply(s, d->parts[k], d->n[k]);
	if (r == 0 && memcmp(store_root(s), d->root, STORE_DIGEST) == 0)
		return s;
	p->counts.refused++;
	return store_free(s);
}

/* Applies one delta that fits what is held, or drops one that never will. False: there is none. */
static bool pending_step(struct publish *p)
{
	for (size_t i = 0; i < p->n_pending; i++) {
		struct pending *d = &p->pending[i];
		struct version v = d->version;
		struct store *s;

		if (version_cmp(&v, &p->have) <= 0) {
			pending_drop(p, i);
			return true;
		}
		if (!pending_whole(d) || memcmp(d->before, store_root(p->store), STORE_DIGEST) != 0)
			continue;
		s = pending_try(p, d);
		pending_drop(p, i);
		if (s) {
			p->counts.deltas_applied++;
			publish_hold(p, s, &v);
		}
		return true;
	}
	return false;
}

/* ---- following ---- */

/* Holds the announced version of a publisher that is counted on. */
static void confirm(struct publish *p)
{
	/* While its own master leads, a node is about to publish what that says: nothing is newer. */
	if (p->mode == PUBLISH_LISTENING && !p->own_at &&
		(!p->polled_at || p->said_after >= p->polled_at + POLL_MARGIN))
		set_mode(p, PUBLISH_FOLLOWING);
	if (p->mode != PUBLISH_FOLLOWING)
		return;
	p->confirmed_due |= p->beat_at > p->confirmed_at;
	p->confirmed_at = p->beat_at > p->confirmed_at ? p->beat_at : p->confirmed_at;
	if (version_cmp(&p->given, &p->have) != 0) {
		p->given = p->have;
		p->table_due = true;
	}
}

/* The daemon should say what its own master says, again. */
static void remind(struct publish *p)
{
	if (p->now < p->remind_at)
		return;
	p->lead_due = true;
	p->remind_at = p->now + REMIND_AGAIN;
}

static void settle(struct publish *p)
{
	if (p->leading)
		return;
	while (pending_step(p))
		;
	if (version_cmp(&p->have, &p->top) < 0 && p->top_certain &&
		memcmp(store_root(p->store), p->top_root, STORE_DIGEST) == 0)
		publish_hold(p, p->store, &p->top);
	if (publish_in_step(p)) {
		if (beats(p))
			confirm(p);
	} else {
		fetch_soon(p, p->now + GAP_TIME);
	}
	/* It may claim now, and need not wait for the next poll. */
	if (p->own_at && p->listened && (p->left || !p->claimed))
		remind(p);
}

/* The publisher of `top` speaks. */
static void take_beat(struct publish *p, const struct version *v, uint32_t beat)
{
	if (version_cmp_epoch(v, &p->top) != 0)
		return;
	if (version_cmp_epoch(v, &p->beat_of) == 0 && beat <= p->beat)
		return; /* said before what was heard already */
	if (p->beat_at == 0 || p->now - p->beat_at > SERIES_GAP ||
		version_cmp_epoch(v, &p->beat_of) != 0) {
		p->beat_mark = p->now;
		p->said_after = 0;
		p->live = false;
	}
	if (p->now - p->beat_mark >= RETURN_AFTER) {
		p->said_after = p->beat_mark;
		p->beat_mark = p->now;
	}
	p->beat_of = *v;
	p->beat = beat;
	p->beat_at = p->now;
	if ((p->mode == PUBLISH_FOLLOWING && !p->contested) || p->said_after) {
		p->live = true;
		p->contested = false;
	}
	if (p->mode == PUBLISH_POLLING && p->live) {
		p->listen_until = p->now + LISTEN_TIME_HEARD;
		set_mode(p, PUBLISH_LISTENING);
	}
}

void publish_vouched(struct publish *p, nsec_t silence)
{
	nsec_t at = p->now > silence ? p->now - silence : 1;

	/* One that polls has a table of its own, which may be newer than what was heard then. */
	if (p->mode != PUBLISH_LISTENING || p->polled_at || p->contested || p->left ||
		silence > timeout_of(p))
		return;
	p->live = true;
	if (at > p->beat_at)
		p->beat_at = at;
}

uint32_t publish_silence(const struct publish *p)
{
	if (p->leading)
		return 0;
	if (p->mode != PUBLISH_FOLLOWING || !beats(p))
		return UINT32_MAX;
	return (uint32_t)((p->now - p->beat_at) / NSEC_PER_MSEC);
}

/* A publisher speaks whose term is less than one that was heard of, from nobody for long: it should
 * know, and its neighbours can tell it. */
static void rebuke(struct publish *p)
{
	bool silent = p->beat_at == 0 || p->now - p->beat_at > QUIET;

	if (!silent || (p->told_at && p->now - p->told_at < TELL_AGAIN))
		return;
	p->told_at = p->now;
	publish_tell_top(p, 0);
}

static void take_lesser(struct publish *p, const struct message *m)
{
	if (m->kind != PUBLISH_ANNOUNCE || !(m->flags & ANNOUNCE_LAST)) {
		rebuke(p);
	} else if (p->contested && version_cmp_epoch(&m->version, &p->lesser) == 0) {
		p->contested =
			false; /* the lesser one makes way, a little after the greater came */
		p->live |= p->beat_at != 0 && p->mode == PUBLISH_FOLLOWING;
	}
}

static void take_announcement(struct publish *p, const struct message *m)
{
	bool raised = publish_note(p, &m->version, m->root, true);

	p->counts.announcements++;
	if (m->flags & ANNOUNCE_LAST) {
		if (version_cmp_epoch(&m->version, &p->top) == 0) {
			p->left = true;
			p->live = false;
		}
		return;
	}
	take_beat(p, &m->version, m->beat);
	if (raised && m->flags & ANNOUNCE_FETCH)
		fetch_soon(p, p->now + publish_random(p) % FETCH_SPREAD);
}

void publish_take_multicast(
	struct publish *p, nsec_t now, uint64_t origin, const uint8_t *bytes, size_t n)
{
	struct message m;

	set_now(p, now);
	if (message_read(bytes, n, &m) < 0 ||
		(m.kind != PUBLISH_ANNOUNCE && m.kind != PUBLISH_DELTA)) {
		p->counts.malformed++;
		return;
	}
	if (m.version.node != origin || origin == p->options.node || m.version.term == 0 ||
		!publish_believes(p, origin, true)) {
		p->counts.disbelieved++;
		return;
	}
	if (version_cmp_epoch(&m.version, &p->top) < 0) {
		take_lesser(p, &m);
	} else if (m.kind == PUBLISH_ANNOUNCE) {
		take_announcement(p, &m);
	} else {
		p->counts.deltas++;
		publish_note(p, &m.version, m.root, true);
		pending_add(p, &m);
		take_beat(p, &m.version, m.beat);
	}
	settle(p);
}

/* ---- neighbours ---- */

static void take_have(struct publish *p, uint64_t from, const struct message *m)
{
	struct neighbour *n = fetch_neighbour(p, from);

	if (m->version.term == 0 || !publish_believes(p, m->version.node, false)) {
		p->counts.disbelieved++;
		return;
	}
	if (n)
		n->version = m->version;
	if (publish_note(p, &m->version, m->root, false))
		publish_tell_top(p, from);
	if (!p->leading && !publish_in_step(p) && version_cmp(&m->version, &p->top) == 0)
		fetch_soon(p, p->now);
}

void publish_take_request(
	struct publish *p, nsec_t now, uint64_t from, uint32_t tag, const uint8_t *bytes, size_t n)
{
	struct message m;

	set_now(p, now);
	if (message_read(bytes, n, &m) < 0)
		p->counts.malformed++;
	else if (m.kind == PUBLISH_HAVE)
		take_have(p, from, &m);
	else if (m.kind == PUBLISH_ASK)
		fetch_answer_ask(p, from, tag, &m);
	else if (m.kind == PUBLISH_FETCH)
		fetch_answer_fetch(p, from, tag, &m);
	else
		p->counts.malformed++;
	settle(p);
}

void publish_take_response(
	struct publish *p, nsec_t now, uint64_t from, const uint8_t *bytes, size_t n)
{
	struct message m;

	set_now(p, now);
	if (message_read(bytes, n, &m) < 0)
		p->counts.malformed++;
	else if (m.kind == PUBLISH_SUMMARY)
		fetch_take_summary(p, from, &m);
	else if (m.kind == PUBLISH_BODY)
		fetch_take_body(p, from, &m);
	else
		p->counts.malformed++;
	settle(p);
}

void publish_set_neighbours(struct publish *p, nsec_t now, const uint64_t *ids, size_t n)
{
	struct neighbour old[PUBLISH_NEIGHBOURS_MAX];
	size_t n_old = p->n_neighbours;

	set_now(p, now);
	memcpy(old, p->neighbours, sizeof(old));
	p->n_neighbours = 0;
	for (size_t i = 0; i < n && i < PUBLISH_NEIGHBOURS_MAX; i++) {
		struct neighbour *fresh = &p->neighbours[p->n_neighbours++];
		bool known = false;

		*fresh = (struct neighbour){.id = ids[i]};
		for (size_t k = 0; k < n_old && !known; k++)
			if (old[k].id == ids[i]) {
				*fresh = old[k];
				known = true;
			}
		if (!known)
			p->linked_at = p->now;
		if (!known && p->top.term)
			tell(p, ids[i]);
	}
	for (size_t k = 0; k < n_old; k++)
		if (!fetch_neighbour(p, old[k].id))
			fetch_lost(p, old[k].id);
	if (p->mode == PUBLISH_LISTENING && p->n_neighbours > n_old)
		fetch_soon(p, p->now + publish_random(p) % LISTEN_ASK);
}

/* ---- leading ---- */

/* Whether the winner of an earlier claim is gone, so that this node may claim again. */
static bool winner_is_gone(const struct publish *p)
{
	bool heard = version_cmp_epoch(&p->beat_of, &p->top) == 0;
	nsec_t since = heard && p->beat_at > p->yield_at ? p->beat_at : p->yield_at;

	return p->left || p->now - since > (heard ? timeout_of(p) : CLAIM_QUIET);
}

static void claim(struct publish *p)
{
	p->have = (struct version){.term = ++p->term, .node = p->options.node};
	p->term_due = true;
	p->leading = p->claimed = true;
	p->own_beat = 0;
	p->counts.claims++;
	while (p->n_pending)
		pending_drop(p, 0);
	fetch_stop(p);
	set_mode(p, PUBLISH_LEADING);
}

/* What is held becomes this table, and everyone is told. */
static void publish_changes(struct publish *p, const struct vip_table *table)
{
	uint8_t before[STORE_DIGEST];
	size_t n;
	AUTO_FREE uint8_t *changes = store_diff(p->store, table, &n);
	struct store *s;

	if (n == 0 && p->have.seq > 0) {
		if (p->now - p->sent_at >= ANNOUNCE_MIN)
			announce(p, 0);
		return;
	}
	s = store_copy(p->store);
	if (store_apply(s, changes, n) < 0) { /* more than a set takes */
		p->counts.refused++;
		store_free(s);
		return;
	}
	memcpy(before, store_root(p->store), STORE_DIGEST);
	store_free(p->store);
	p->store = s;
	p->have.seq++;
	set_top(p, &p->have, store_root(s), true);
	if (n == 0)
		announce(p, 0);
	else
		send_delta(p, before, changes, n);
}

bool publish_lead(struct publish *p, nsec_t now, const struct vip_table *table)
{
	set_now(p, now);
	p->own_at = p->remind_at = p->now;
	p->lead_due = false;
	if (!p->options.may_lead)
		return false;
	if (!p->leading) {
		if (p->claimed && !winner_is_gone(p))
			return p->mode != PUBLISH_FOLLOWING;
		if (!p->listened && p->now < p->listen_until)
			return true;
		claim(p);
	}
	p->remind_at = p->now + REMIND_AFTER;
	publish_changes(p, table);
	return true;
}

void publish_stop_leading(struct publish *p, nsec_t now)
{
	set_now(p, now);
	p->own_at = 0;
	p->claimed = false;
	p->lead_due = false;
	if (!p->leading)
		return;
	announce(p, ANNOUNCE_LAST);
	p->leading = p->live = false;
	p->left = true;
	p->confirmed_at = p->now;
	set_mode(p, PUBLISH_FOLLOWING);
}

void publish_set_may_lead(struct publish *p, nsec_t now, bool may)
{
	if (!may)
		publish_stop_leading(p, now);
	p->options.may_lead = may;
}

void publish_polled(struct publish *p, nsec_t now)
{
	set_now(p, now);
	p->polled_at = p->now;
}

/* ---- time ---- */

/* Longer while a publisher is heard whose table is not there yet. */
static nsec_t listen_end(const struct publish *p)
{
	return p->listen_until + (beats(p) ? LISTEN_TIME_HEARD : 0);
}

static void tick_listening(struct publish *p)
{
	if (p->now < listen_end(p))
		return;
	p->listened = true;
	if (!p->own_at) /* else it claims */
		set_mode(p, PUBLISH_POLLING);
}

/* Its own master was not heard for long: it may as well be gone. */
static void lose_master(struct publish *p)
{
	announce(p, ANNOUNCE_LAST);
	p->leading = p->live = false;
	p->left = true;
	set_mode(p, PUBLISH_POLLING);
}

void publish_tick(struct publish *p, nsec_t now)
{
	set_now(p, now);
	if (p->own_at && p->now - p->own_at > timeout_of(p)) {
		p->own_at = 0;
		p->claimed = p->lead_due = false;
		if (p->leading)
			lose_master(p);
	}
	if (p->mode == PUBLISH_LISTENING)
		tick_listening(p);
	if (p->mode == PUBLISH_FOLLOWING && p->now - p->confirmed_at > timeout_of(p)) {
		p->live = false;
		set_mode(p, PUBLISH_POLLING);
	}
	if (p->leading)
		remind(p);
	fetch_tick(p);
	settle(p);
}

static nsec_t least(nsec_t a, nsec_t b)
{
	return a < b ? a : b;
}

nsec_t publish_deadline(const struct publish *p)
{
	nsec_t t = p->fetch.due;

	if (p->own_at)
		t = least(t, p->own_at + timeout_of(p) + 1);
	if (p->leading)
		t = least(t, p->remind_at);
	if (p->mode == PUBLISH_FOLLOWING)
		t = least(t, p->confirmed_at + timeout_of(p) + 1);
	if (p->mode == PUBLISH_LISTENING && !(p->own_at && p->listened))
		t = least(t, listen_end(p));
	return t;
}

/* ---- out ---- */

static bool pop_flag(bool *flag, enum publish_output_kind kind, struct publish_output *ret)
{
	if (!*flag)
		return false;
	*flag = false;
	*ret = (struct publish_output){.kind = kind};
	return true;
}

static bool pop_message(struct publish *p, struct publish_output *ret)
{
	struct output *o;

	free(STEAL(p->popped));
	if (p->output_first == p->n_outputs) {
		p->output_first = p->n_outputs = 0;
		return false;
	}
	o = &p->outputs[p->output_first++];
	p->popped = o->bytes;
	*ret = (struct publish_output){
		.kind = o->kind, .peer = o->peer, .tag = o->tag, .bytes = o->bytes, .n = o->n};
	return true;
}

bool publish_pop(struct publish *p, struct publish_output *ret)
{
	bool mode = p->mode != p->mode_told;

	p->mode_told = p->mode;
	if (pop_flag(&p->term_due, OUTPUT_TERM, ret) || pop_flag(&mode, OUTPUT_MODE, ret) ||
		pop_message(p, ret))
		return true;
	if (p->mode != PUBLISH_FOLLOWING)
		p->table_due = p->confirmed_due = false;
	return pop_flag(&p->table_due, OUTPUT_TABLE, ret) ||
	       pop_flag(&p->confirmed_due, OUTPUT_CONFIRMED, ret) ||
	       pop_flag(&p->lead_due, OUTPUT_LEAD, ret);
}

/* ---- life, and to look at ---- */

struct publish *publish_new(const struct publish_options *options, nsec_t now)
{
	struct publish *p = xcalloc(1, sizeof(*p));

	if (sodium_init() < 0)
		abort();
	p->options = *options;
	p->now = now;
	p->listen_until = now + LISTEN_TIME;
	p->random = options->seed;
	p->term = options->term;
	p->store = store_new();
	p->fetch.due = NEVER;
	return p;
}

struct publish *publish_free(struct publish *p)
{
	if (!p)
		return NULL;
	while (p->n_pending)
		pending_drop(p, 0);
	fetch_stop(p);
	for (size_t i = p->output_first; i < p->n_outputs; i++)
		free(p->outputs[i].bytes);
	free(p->outputs);
	free(p->popped);
	store_free(p->store);
	free(p);
	return NULL;
}

enum publish_mode publish_mode(const struct publish *p)
{
	return p->mode;
}

const char *publish_mode_text(enum publish_mode mode)
{
	static const char *const texts[] = {
		[PUBLISH_LISTENING] = "listening",
		[PUBLISH_FOLLOWING] = "following",
		[PUBLISH_POLLING] = "polling",
		[PUBLISH_LEADING] = "leading",
	};

	return texts[mode];
}

struct vip_table *publish_table(struct publish *p, bool no_ipv6)
{
	size_t n;
	const struct record *const *records = store_sorted(p->store, &n);

	return records_to_table(records, n, no_ipv6);
}

void publish_status(struct publish *p, struct publish_status *ret)
{
	*ret = p->counts;
	ret->mode = p->mode;
	ret->have = p->have;
	ret->announced = p->top;
	ret->term = p->term;
	ret->n_records = store_count(p->store);
	ret->heard = p->leading ? p->now : p->beat_at;
	ret->confirmed = p->leading ? p->own_at : p->confirmed_at;
	ret->fetching = p->fetch.state != FETCH_IDLE;
	memcpy(ret->root, store_root(p->store), STORE_DIGEST);
}

void publish_preload(struct publish *p, nsec_t now, const struct publish *leader)
{
	set_now(p, now);
	publish_note(p, &leader->top, leader->top_root, true);
	publish_hold(p, store_copy(leader->store), &leader->have);
	p->listened = p->live = true;
	p->beat_of = leader->have;
	p->beat = leader->own_beat;
	p->beat_at = p->beat_mark = now;
	settle(p);
}
