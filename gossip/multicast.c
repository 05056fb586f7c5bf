/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The application's messages to everyone: Plumtree.
 *
 * Plumtree (Leitao, Pereira, Rodrigues, SRDS 2007) makes the links that first deliver a message
 * the tree (*eager*), asks those that deliver it again to stop (PRUNE), and on those only announces
 * (IHAVE, *lazy*). A message that was announced but does not come is asked for where it was
 * announced, and that link becomes part of the tree (GRAFT). So each message crosses each link
 * about once, and a hole in the tree heals with the next message. lashup puts the whole tree
 * into every message, 82 kB at 1,000 nodes.
 *
 * What differs: the tree is one for all senders, as in the paper's shared variant, and IHAVEs wait
 * to go together. Messages are kept for a minute, and announced to every new link, so that whoever
 * was cut off for less gets them all; each is delivered once, whatever the network does: a window
 * of 256 numbers is kept per origin and start of it.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Kept for announcement and repair: so long, and no more than CASTS_MAX, of CAST_BYTES_MAX. */
#define CASTS_LIFE (60 * SEC)
/* IHAVEs wait so long for company, and for the tree to make them needless. */
#define IHAVE_DELAY (50 * MSEC)
/* An announced message that does not come by the tree is asked for after so long; each source in
 * turn so much later. */
#define GRAFT_DELAY (100 * MSEC)
#define GRAFT_AGAIN (150 * MSEC)
/* What follows more quickly may overtake on its way what was before. Then one would show one link
 * to be needless and the other another one, until a node has none; so such messages prune nothing, and
 * the first of them, which came alone, forms the tree for all. */
#define ALONE_AFTER (100 * MSEC)
#define WINDOW 256

static bool id_equal(const struct wire_cast_id *a, const struct wire_cast_id *b)
{
	return a->origin == b->origin && a->incarnation == b->incarnation && a->seq == b->seq;
}

static struct origin *origin_get(struct gossip *g, uint64_t id)
{
	for (size_t i = 0; i < g->n_origins; i++) {
		if (g->origins[i].id == id)
			return &g->origins[i];
	}
	if (!grow(g, &g->origins, &g->n_origins_allocated, g->n_origins + 1, sizeof(*g->origins),
		    ORIGINS_MAX))
		return NULL;
	g->origins[g->n_origins] = (struct origin){.id = id};
	return &g->origins[g->n_origins++];
}

static void window_shift(struct origin *o, uint64_t n)
{
	for (; n >= 64; n -= 64) {
		memmove(o->bits, o->bits + 1, 3 * sizeof(o->bits[0]));
		o->bits[3] = 0;
		o->low += 64;
		if (o->bits[0] == 0 && o->bits[1] == 0 && o->bits[2] == 0) {
			o->low += n - 64;
			return;
		}
	}
	for (; n > 0; n--) {
		for (unsigned i = 0; i < 4; i++)
			o->bits[i] = o->bits[i] >> 1 | (i < 3 ? o->bits[i + 1] << 63 : 0);
		o->low++;
	}
}

/* Whether it is new; if so and `take`, it is so no longer. */
static bool window_new(struct origin *o, const struct wire_cast_id *id, bool take)
{
	uint64_t at;

	if (id->incarnation < o->incarnation || id->seq == 0)
		return false;
	if (id->incarnation > o->incarnation) {
		if (!take)
			return true;
		memset(o->bits, 0, sizeof(o->bits));
		o->incarnation = id->incarnation;
		/* What it said before we heard of it may still come: the window reaches back. */
		o->low = id->seq > WINDOW / 2 ? id->seq - WINDOW / 2 : 0;
	}
	if (id->seq <= o->low)
		return false;
	at = id->seq - o->low - 1;
	if (at >= WINDOW && take)
		window_shift(o, at - WINDOW + 1);
	at = id->seq - o->low - 1;
	if (at < WINDOW && (o->bits[at / 64] >> at % 64 & 1))
		return false;
	if (take)
		o->bits[at / 64] |= UINT64_C(1) << at % 64;
	while (take && (o->bits[0] & 1))
		window_shift(o, 1);
	return true;
}

static struct cast *cast_find(struct gossip *g, const struct wire_cast_id *id)
{
	for (size_t i = 0; i < g->n_casts; i++) {
		if (id_equal(&g->casts[i].id, id))
			return &g->casts[i];
	}
	return NULL;
}

static void cast_drop(struct gossip *g, size_t i)
{
	g->n_cast_bytes -= g->casts[i].n;
	free(g->casts[i].bytes);
	memmove(g->casts + i, g->casts + i + 1, (g->n_casts - i - 1) * sizeof(*g->casts));
	if (--g->n_casts == 0) {
		free(g->casts);
		g->casts = NULL;
	}
}

static void cast_at(struct gossip *g, nsec_t at)
{
	if (at < g->cast_next)
		g->cast_next = at;
}

static struct cast *cast_keep(
	struct gossip *g, const struct wire_cast_id *id, const void *bytes, size_t n)
{
	struct cast *c;

	while (g->n_casts > 0 && (g->n_casts == CASTS_MAX || g->n_cast_bytes + n > CAST_BYTES_MAX))
		cast_drop(g, 0);
	if (!g->casts)
		g->casts = calloc(CASTS_MAX, sizeof(*g->casts));
	if (!g->casts) {
		g->fault = -ENOMEM;
		return NULL;
	}
	c = &g->casts[g->n_casts];
	*c = (struct cast){.id = *id,
		.n = n,
		.alone = g->n_casts == 0 || g->now - g->casts[g->n_casts - 1].born > ALONE_AFTER,
		.born = g->now,
		.bytes = malloc(n + 1)};
	if (!c->bytes) {
		g->fault = -ENOMEM;
		return NULL;
	}
	if (n > 0)
		memcpy(c->bytes, bytes, n);
	g->n_casts++;
	g->n_cast_bytes += n;
	cast_at(g, g->now + IHAVE_DELAY);
	return c;
}

static void cast_send(struct gossip *g, struct link *l, struct cast *c)
{
	struct frame f;

	frame_init(g, &f, WIRE_CAST, c->n + 32);
	wire_cast_id_write(&f.w, &c->id);
	write_bytes(&f.w, c->bytes, c->n);
	frame_send(g, &f, l);
	c->known |= UINT32_C(1) << link_slot(g, l);
	g->stats.casts++;
}

static void cast_push(struct gossip *g, struct cast *c)
{
	for (unsigned i = 0; i < g->n_links; i++) {
		struct link *l = &g->links[i];

		if (l->state == LINK_ACTIVE && l->eager && !l->stalled && !(c->known >> i & 1) &&
			l->backlog <= GOSSIP_BACKLOG_MAX)
			cast_send(g, l, c);
	}
}

int gossip_multicast(struct gossip *g, nsec_t now, const void *bytes, size_t n)
{
	struct wire_cast_id id = {.origin = g->config.id, .incarnation = g->config.incarnation};
	struct cast *c;

	if (n > GOSSIP_CAST_MAX)
		return -E2BIG;
	if (now > g->now)
		g->now = now;
	if (g->n_casts == CASTS_MAX && g->now - g->casts[0].born < SEC)
		return -ENOBUFS;
	id.seq = ++g->cast_seq;
	c = cast_keep(g, &id, bytes, n);
	if (!c)
		return -ENOMEM;
	cast_push(g, c);
	return gossip_link_bytes(g, now, 0, NULL, 0); /* ends the call like any other */
}

/* A message with nothing but cast ids in it. */
static void ids_send(struct gossip *g, struct link *l, enum wire_type type,
	const struct wire_cast_id *ids, size_t n)
{
	struct frame f;

	frame_init(g, &f, type, n * 26);
	for (size_t i = 0; i < n; i++)
		wire_cast_id_write(&f.w, &ids[i]);
	frame_send(g, &f, l);
}

static void missing_remove(struct gossip *g, const struct wire_cast_id *id)
{
	for (size_t i = 0; i < g->n_missing; i++) {
		if (id_equal(&g->missing[i].id, id))
			g->missing[i--] = g->missing[--g->n_missing];
	}
}

void multicast_cast(struct gossip *g, struct link *l, struct reader *r)
{
	uint32_t bit = UINT32_C(1) << link_slot(g, l);
	struct wire_cast_id id;
	struct origin *o;
	struct cast *c;

	if (!wire_cast_id_read(r, &id) || reader_left(r) > GOSSIP_CAST_MAX) {
		g->stats.malformed++;
		return;
	}
	o = id.origin == g->config.id ? NULL : origin_get(g, id.origin);
	if (!o || !window_new(o, &id, true)) {
		g->stats.casts_known++;
		c = cast_find(g, &id);
		if (c)
			c->known |= bit;
		if (l->eager && c && c->alone) {
			g->stats.prunes++;
			l->eager = false;
			ids_send(g, l, WIRE_PRUNE, NULL, 0);
		}
		return;
	}
	missing_remove(g, &id);
	event_push(g, &(struct gossip_event){.kind = GOSSIP_EVENT_MULTICAST,
			      .id = id.origin,
			      .incarnation = id.incarnation,
			      .bytes = r->bytes + r->at,
			      .n_bytes = reader_left(r)});
	c = cast_keep(g, &id, r->bytes + r->at, reader_left(r));
	if (!c)
		return;
	c->known |= bit;
	l->eager |= c->alone;
	cast_push(g, c);
}

void multicast_ihave(struct gossip *g, struct link *l, struct reader *r)
{
	uint32_t bit = UINT32_C(1) << link_slot(g, l);
	struct wire_cast_id id;

	while (reader_left(r) > 0 && wire_cast_id_read(r, &id)) {
		struct cast *c = cast_find(g, &id);
		struct origin *o = id.origin == g->config.id ? NULL : origin_get(g, id.origin);
		size_t i;

		if (c)
			c->known |= bit;
		if (c || !o || !window_new(o, &id, false))
			continue;
		for (i = 0; i < g->n_missing && !id_equal(&g->missing[i].id, &id); i++)
			;
		if (!g->missing)
			g->missing = calloc(MISSING_MAX, sizeof(*g->missing));
		if (!g->missing || i == MISSING_MAX) {
			g->stats.refused++;
			return;
		}
		if (i == g->n_missing) {
			g->missing[g->n_missing++] =
				(struct missing){.id = id, .due = g->now + GRAFT_DELAY};
			cast_at(g, g->now + GRAFT_DELAY);
		}
		g->missing[i].sources |= bit;
	}
}

void multicast_graft(struct gossip *g, struct link *l, struct reader *r)
{
	struct wire_cast_id id;

	l->eager = true;
	while (reader_left(r) > 0 && wire_cast_id_read(r, &id)) {
		struct cast *c = cast_find(g, &id);

		if (c)
			cast_send(g, l, c);
	}
}

void multicast_prune(struct gossip *g, struct link *l)
{
	l->eager = false;
}

void multicast_link_up(struct gossip *g, struct link *l)
{
	uint32_t bit = UINT32_C(1) << link_slot(g, l);

	l->eager = true;
	for (size_t i = 0; i < g->n_casts; i++) {
		g->casts[i].known &= ~bit;
		g->casts[i].announced &= ~bit;
	}
	if (g->n_casts > 0)
		cast_at(g, g->now + IHAVE_DELAY);
}

void multicast_link_down(struct gossip *g, unsigned slot)
{
	for (size_t i = 0; i < g->n_missing; i++)
		g->missing[i].sources &= ~(UINT32_C(1) << slot);
}

/* Announces to this link all that it is not known to have. */
static void announce(struct gossip *g, struct link *l)
{
	struct wire_cast_id ids[CASTS_MAX];
	uint32_t bit = UINT32_C(1) << link_slot(g, l);
	size_t n = 0;

	for (size_t i = 0; i < g->n_casts; i++) {
		struct cast *c = &g->casts[i];

		if ((c->known | c->announced) & bit)
			continue;
		c->announced |= bit;
		ids[n++] = c->id;
	}
	if (n > 0)
		ids_send(g, l, WIRE_IHAVE, ids, n);
}

/* Asks for one missing message where it was announced. False if nobody is left to ask. */
static bool graft(struct gossip *g, struct missing *m)
{
	for (unsigned i = 0; i < g->n_links; i++) {
		struct link *l = &g->links[i];

		if (!(m->sources >> i & 1))
			continue;
		m->sources &= ~(UINT32_C(1) << i);
		if (l->state != LINK_ACTIVE)
			continue;
		l->eager = true;
		g->stats.grafts++;
		ids_send(g, l, WIRE_GRAFT, &m->id, 1);
		m->due = g->now + GRAFT_AGAIN;
		return true;
	}
	return false;
}

void multicast_tick(struct gossip *g)
{
	if (g->cast_next > g->now)
		return;
	g->cast_next = NSEC_NEVER;
	while (g->n_casts > 0 && g->now - g->casts[0].born > CASTS_LIFE)
		cast_drop(g, 0);
	for (unsigned i = 0; i < g->n_links; i++) {
		if (g->links[i].state == LINK_ACTIVE && !g->links[i].stalled)
			announce(g, &g->links[i]);
	}
	for (size_t i = g->n_missing; i-- > 0;) {
		struct missing *m = &g->missing[i];

		if (m->due <= g->now && !graft(g, m)) {
			*m = g->missing[--g->n_missing];
			continue;
		}
		cast_at(g, m->due);
	}
	if (g->n_missing == 0) {
		free(g->missing);
		g->missing = NULL;
	}
	if (g->n_casts > 0)
		cast_at(g, g->casts[0].born + CASTS_LIFE + MSEC);
}

nsec_t multicast_deadline(const struct gossip *g)
{
	return g->cast_next;
}

void multicast_done(struct gossip *g)
{
	for (size_t i = 0; i < g->n_casts; i++)
		free(g->casts[i].bytes);
	free(g->casts);
	free(g->missing);
	free(g->origins);
}
