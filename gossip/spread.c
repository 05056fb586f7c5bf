/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Records to everyone: rumours for what has just changed, digests for what got lost on the way.
 *
 * A change of a record is a *rumour*: a delta of some 20 bytes, or the record. It goes to every
 * neighbour that is not known to have it, by datagram, and who hears it for the first time
 * passes it on. lashup does this too, but sends each change to every neighbour as soon as it
 * hears it, 7 N messages for N nodes; SWIM instead rides on its pings, three rounds of them. Here
 *
 *  - an *urgent* rumour (a severed link, a new member, a path to someone who had none) waits one
 *    to eight milliseconds before it is passed on. Whatever else comes meanwhile goes along in
 *    one datagram, and the neighbours that send it first need not be told: each link carries it
 *    little more than once, in one direction. Simulated on 1,000 nodes, all know within 30 ms.
 *  - any other rumour (a link replaced) rides on the heartbeats that are sent anyway, unless so
 *    many wait that they fill a datagram of their own. A few seconds to all, no packet more. Where
 *    nothing gets lost and nothing urgent goes round it does not take every link either: the owner
 *    tells its neighbours, and whoever is two links away is told by one of them, which all can name
 *    from the table. The others keep the rumour until the peer's digest is theirs, or for LEFT_FOR.
 *
 * Plumtree's eager tree would carry each rumour about once instead of four times. It was not
 * taken for records: a rumour of a death comes exactly when the tree has a hole where the dead
 * node was, eight nodes speak at once, and flooding has as many paths as there are links, which
 * is what makes 30 % loss a matter of milliseconds. Application messages take the tree
 * (multicast.c).
 *
 * A delta is a fifth of a record. What comes in answer to a datagram's question, because a delta came
 * without the one that it builds upon, is therefore not passed on: the others get the deltas. Nor does a
 * delta overtake its base: while one is gathered, later ones of its owner wait with it.
 *
 * Rumours may be lost and may be dropped when too many. A heartbeat carries a digest of the
 * sender's table; when it stays different from ours for a while, the two compare digests of buckets
 * by their link, then versions in the buckets that differ, then exchange the records: 1 kB for one
 * record among 10,000. lashup compares on connect only, so that what it lost stays lost.
 *
 * The neighbours of a lost node do not shout one by one. Who noticed first has told the others
 * (detector.c), they *report* to it, and it lets out all severances in one datagram once no
 * link to the lost node is left, or two tries after its own. Who reported and sees its severance
 * come back with the flood is done; if it does not, the first observer died too, and it floods
 * itself.
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

/* RUMOURS_MAX: half a minute's of a rolling restart of 1,000. Beyond, the oldest is left to the
 * digests. */
/* An urgent rumour waits this long for company and for others to pass it first. Above the usual
 * latency within a site, and small against detection. */
#define HOLD_MIN (1 * MSEC)
#define HOLD_SPAN (7 * MSEC)
/* How long who reported waits for the first observer to speak. */
#define REPORT_HOLD (90 * MSEC)
/* So many rumours waiting for one neighbour's heartbeat fill a datagram: it is sent. */
#define RIDERS_MAX 24
/* What rides may be left to another for so long, until the digests that heartbeats carry are equal. Longer
 * than the links take to be replaced, for until then they seldom are. */
#define LEFT_FOR (4 * SEC)
/* Not by who has started so lately: then links come and go everywhere, and the sooner that is known the
 * fewer are made in vain. */
#define LEAVES_AFTER (15 * SEC)
/* Datagrams to one neighbour at a time, and the time between: a portion of a storm. 1.1 MB/s. */
#define PORTION 2
#define PORTION_GAP (2 * MSEC)
/* News by itself to one neighbour at most so often, unless it fills datagrams: when many are lost at
 * once, word of one after the other comes in. Twice this, a split of 200 is seen 0.1 s later. */
#define NEWS_GAP (10 * MSEC)
/* Owners that are remembered for having something gathered: of each node of which word is gathered, all
 * former neighbours, and more than that at once. */
#define HELD_MAX 128
/* One owner's pending deltas are replaced by its record beyond so many: newest state first. */
#define DELTAS_MAX 5
/* Digests that differ while the table rests for SYNC_REST, for SYNC_PATIENCE, mean loss: longer
 * than rumours ride. */
#define SYNC_REST (1 * SEC)
#define SYNC_PATIENCE (2500 * MSEC)
#define SYNC_PATIENCE_BUSY (6 * SEC)
/* Both are so many times longer where rumours are left to others, which takes longer: a ride from the owner, one
 * from its neighbour, and beyond these some more. */
#define SYNC_PATIENCE_LEFT 2
#define SYNC_INTERVAL (2 * SEC)
/* Between two syncs begun after links came up: the first usually makes the next one small. */
#define SYNC_STAGGER (20 * MSEC)
/* The same record is not asked for again before. Some round trips. */
#define PULL_INTERVAL (150 * MSEC)
#define PULL_IDS_MAX 64
/* Bytes of a NEWS or SUMMARY frame of a sync, and its longest item. */
#define SYNC_FRAME 32768
#define ITEM_BYTES_MAX 1024
/* Members per bucket that a sync aims at. */
#define BUCKET_MEMBERS 32

static uint32_t fold(uint64_t digest)
{
	return digest ^ digest >> 32;
}

/* Links whose peer is to be told: bit per slot. */
static uint32_t audience(const struct gossip *g)
{
	uint32_t mask = 0;

	for (unsigned i = 0; i < g->n_links; i++) {
		if (g->links[i].state == LINK_ACTIVE && !g->links[i].stalled)
			mask |= UINT32_C(1) << i;
	}
	return mask;
}

static void rumour_remove(struct gossip *g, size_t i)
{
	memmove(g->rumours + i, g->rumours + i + 1, (g->n_rumours - i - 1) * sizeof(*g->rumours));
	g->n_rumours--;
}

static void rumours_finish(struct gossip *g)
{
	uint32_t mask = audience(g);
	size_t n = 0;

	for (size_t i = 0; i < g->n_rumours; i++) {
		if ((g->rumours[i].known & mask) != mask)
			g->rumours[n++] = g->rumours[i];
	}
	g->n_rumours = n;
	if (n == 0 && g->n_rumours_allocated > 64) {
		free(g->rumours);
		g->rumours = NULL;
		g->n_rumours_allocated = 0;
	}
}

static void schedule(struct gossip *g, nsec_t at)
{
	if (at < g->rumours_next)
		g->rumours_next = at;
}

static nsec_t hold(struct gossip *g)
{
	return g->now + HOLD_MIN + random_below(g, HOLD_SPAN);
}

static bool rumour_speaks_of(const struct rumour *r, uint16_t subject)
{
	for (unsigned i = 0; i < r->n_ops; i++) {
		if (r->ops[i].subject == subject)
			return true;
	}
	return false;
}

/* Room at the end of the list; NULL without memory. */
static struct rumour *rumour_new(struct gossip *g, uint16_t owner, bool urgent, uint64_t base)
{
	struct rumour *r;

	if (g->n_rumours == RUMOURS_MAX) {
		rumour_remove(g, 0);
		g->stats.rumours_dropped++;
	}
	if (!grow(g, &g->rumours, &g->n_rumours_allocated, g->n_rumours + 1, sizeof(*r),
		    RUMOURS_MAX))
		return NULL;
	r = &g->rumours[g->n_rumours++];
	memset(r, 0, sizeof(*r));
	r->owner = owner;
	r->urgent = urgent;
	r->base = base;
	r->born = g->now;
	r->due = urgent ? hold(g) : NSEC_NEVER;
	r->known = g->news_link != NONE ? UINT32_C(1) << g->news_link : 0;
	for (size_t i = 0; urgent && i < g->n_rumours; i++) {
		if (g->rumours[i].owner == owner && g->rumours[i].urgent &&
			g->rumours[i].due > r->due)
			g->rumours[i].due = r->due; /* what it builds upon goes along */
	}
	if (urgent)
		schedule(g, r->due);
	else if (g->n_rumours >= RIDERS_MAX)
		schedule(g, hold(g));
	g->stats.rumours_new++;
	return r;
}

/* Beyond DELTAS_MAX, the owner's record says it shorter; `urgent`: what is said now. True if a whole
 * record waits now. */
static bool rumours_collapse(struct gossip *g, uint16_t owner, bool urgent)
{
	unsigned n = 0;

	for (size_t i = 0; i < g->n_rumours; i++)
		n += g->rumours[i].owner == owner;
	if (n < DELTAS_MAX)
		return false;
	for (size_t i = g->n_rumours; i-- > 0;) {
		if (g->rumours[i].owner != owner)
			continue;
		urgent |= g->rumours[i].urgent;
		rumour_remove(g, i);
	}
	rumour_new(g, owner, urgent, g->members[owner].version - 1);
	return true;
}

void rumour_add_record(struct gossip *g, uint16_t owner, bool urgent)
{
	for (size_t i = g->n_rumours; i-- > 0;) {
		if (g->rumours[i].owner == owner) {
			urgent |= g->rumours[i].urgent;
			rumour_remove(g, i);
		}
	}
	rumour_new(g, owner, urgent, g->members[owner].version - 1);
}

void rumour_add_delta(struct gossip *g, const struct wire_item *item, uint16_t owner, bool urgent)
{
	struct rumour *r;

	if (rumours_collapse(g, owner, urgent))
		return;
	r = rumour_new(g, owner, urgent, item->delta.base);
	if (!r)
		return;
	r->boot = item->delta.boot;
	for (unsigned i = 0; i < item->delta.n_ops; i++) {
		uint16_t subject = member_find(g, item->delta.ops[i].id);

		if (subject == NONE) {
			r->n_ops = 0; /* no room for who it speaks of: pass the record on */
			break;
		}
		r->ops[r->n_ops].version = item->delta.ops[i].version;
		r->ops[r->n_ops].boot = item->delta.ops[i].boot;
		r->ops[r->n_ops].subject = subject;
		r->ops[r->n_ops++].op = item->delta.ops[i].op;
	}
	for (unsigned i = 0; i < g->n_gathers; i++) {
		if (!urgent || g->gathers[i].until <= g->now ||
			!rumour_speaks_of(r, g->gathers[i].subject))
			continue;
		r->due = g->gathers[i].until;
		r->known = 0; /* its owner waits to see it come back, and then joins in */
	}
}

static struct rumour *rumour_own_last(const struct gossip *g)
{
	for (size_t i = g->n_rumours; i-- > 0;) {
		if (g->rumours[i].owner == g->self)
			return &g->rumours[i];
	}
	return NULL;
}

bool rumour_own_pending(const struct gossip *g)
{
	const struct rumour *r = rumour_own_last(g);

	return r && !g->exposed && !r->flushed && r->n_ops > 0 && r->n_ops < WIRE_OPS_MAX &&
	       r->base + 1 == g->members[g->self].version;
}

void rumour_own(struct gossip *g, const struct wire_lost *said, uint16_t subject, bool urgent,
	uint64_t base)
{
	uint16_t news_link = g->news_link;
	struct rumour *r = NULL;

	if (rumour_own_pending(g))
		r = rumour_own_last(g);
	if (r && r->base == base) {
		if (urgent && !r->urgent) {
			r->urgent = true;
			r->due = hold(g);
			schedule(g, r->due);
		}
	} else {
		g->news_link = NONE; /* whatever made us change: nobody knows of this yet */
		r = rumours_collapse(g, g->self, urgent) ? NULL
							 : rumour_new(g, g->self, urgent, base);
		g->news_link = news_link;
		g->exposed = false;
		if (!r)
			return;
		r->boot = wire_boot(g->config.incarnation);
	}
	r->ops[r->n_ops].version = said->version;
	r->ops[r->n_ops].boot = said->boot;
	r->ops[r->n_ops].subject = subject;
	r->ops[r->n_ops++].op = said->op;
}

/* It came again: by this link it need not go. */
static void rumour_known(struct gossip *g, const struct wire_item *item, uint16_t owner)
{
	g->stats.rumours_known++;
	for (size_t i = 0; i < g->n_rumours; i++) {
		struct rumour *r = &g->rumours[i];

		if (r->owner != owner)
			continue;
		if (item->kind == ITEM_DELTA ? item->delta.base != r->base
					     : item->record.version <= r->base)
			continue;
		if (g->news_link != NONE)
			r->known |= UINT32_C(1) << g->news_link;
		if (owner == g->self && r->urgent && r->due > g->now + HOLD_MIN + HOLD_SPAN) {
			r->due = hold(g); /* the first observer speaks: join in */
			schedule(g, r->due);
		}
	}
}

/* ---- Out ---- */

static void rumour_item(struct gossip *g, const struct rumour *r, struct wire_item *ret)
{
	if (r->n_ops == 0) {
		/* As it is now, with what later deltas of ours say too. */
		g->exposed |= r->owner == g->self;
		record_item(g, r->owner, ret);
		return;
	}
	ret->kind = ITEM_DELTA;
	ret->owner = g->members[r->owner].id;
	ret->delta.boot = r->boot;
	ret->delta.base = r->base;
	ret->delta.n_ops = r->n_ops;
	for (unsigned i = 0; i < r->n_ops; i++)
		ret->delta.ops[i] = (struct wire_lost){.id = g->members[r->ops[i].subject].id,
			.version = r->ops[i].version,
			.boot = r->ops[i].boot,
			.op = r->ops[i].op};
}

/* Adds an item if it fits. */
static bool item_add(struct writer *w, const struct wire_item *item)
{
	size_t n = w->n;
	unsigned n_refs = w->n_refs;

	wire_item_write(w, item);
	if (w->ok)
		return true;
	w->ok = true;
	w->n = n;
	w->n_refs = n_refs;
	return false;
}

static bool gathering(const struct gossip *g, const struct rumour *r)
{
	return r->urgent && r->due > g->now + HOLD_SPAN;
}

/* Owners of whom something is being gathered, as far as a walk over the rumours has come. */
struct held {
	uint16_t owners[HELD_MAX];
	unsigned n;
};

/* Whether it is being gathered, or builds upon one that is: who gets a delta without its base has to
 * ask for the record. To be asked of each rumour in turn. */
static bool held_back(const struct gossip *g, const struct rumour *r, struct held *held)
{
	bool gathered = gathering(g, r);

	for (unsigned i = 0; i < held->n; i++) {
		if (held->owners[i] == r->owner)
			return true;
	}
	if (gathered && held->n < HELD_MAX)
		held->owners[held->n++] = r->owner;
	return gathered;
}

static bool neighbours(const struct gossip *g, uint16_t a, uint16_t b)
{
	return member_lists(g, a, b) && member_lists(g, b, a);
}

/* Of the owner's neighbours, the one that passes on to m what the owner says; NONE: m is none of theirs. */
static uint16_t teller(const struct gossip *g, uint16_t owner, uint16_t m)
{
	const struct member *member = &g->members[m];
	uint16_t first = NONE;
	uint64_t least = 0;

	for (unsigned i = 0; i < member->n_neighbours; i++) {
		uint16_t other = member->neighbours[i];
		uint64_t place = mix64(g->members[other].id ^ g->members[owner].id);

		if ((first != NONE && place > least) || !neighbours(g, other, m) ||
			!neighbours(g, other, owner))
			continue;
		first = other;
		least = place;
	}
	return first;
}

/* Not where packets get lost. */
bool spread_leaves(const struct gossip *g)
{
	return g->loss < PERCENT && g->now - g->started >= LEAVES_AFTER;
}

/* Nor while anything urgent goes round, or when they are so many that they go by themselves. */
static bool leaving(const struct gossip *g, const struct link *l)
{
	if (!spread_leaves(g) || l->loss >= PERCENT || g->n_rumours >= RIDERS_MAX)
		return false;
	for (size_t i = 0; i < g->n_rumours; i++) {
		if (g->rumours[i].urgent)
			return false;
	}
	return true;
}

/* Whether another tells the peer: the owner, or the one of the owner's neighbours who is to. */
static bool left_to_another(const struct gossip *g, const struct rumour *r, uint16_t peer)
{
	uint16_t who;

	if (r->owner == g->self || g->now - r->born >= LEFT_FOR || !member_reachable(g, r->owner))
		return false;
	if (neighbours(g, r->owner, peer))
		return true;
	who = teller(g, r->owner, peer);
	return who != NONE && who != g->self;
}

/* Writes what the link lacks into one NEWS message. Returns how many items went, and whether
 * more wait. */
static unsigned news_write(
	struct gossip *g, unsigned slot, struct writer *w, bool urgent_only, bool *ret_more)
{
	uint32_t bit = UINT32_C(1) << slot;
	bool leaves = leaving(g, &g->links[slot]);
	struct held held = {.n = 0};
	unsigned n = 0;

	*ret_more = false;
	write_message_begin(w, WIRE_NEWS);
	for (size_t i = 0; i < g->n_rumours && w->ok; i++) {
		struct rumour *r = &g->rumours[i];
		struct wire_item item;

		if (held_back(g, r, &held) || (r->known & bit) || (urgent_only && !r->urgent) ||
			(leaves && left_to_another(g, r, g->links[slot].peer)))
			continue;
		rumour_item(g, r, &item);
		if (!item_add(w, &item)) {
			*ret_more = true;
			break;
		}
		r->known |= bit;
		r->flushed = true;
		n++;
	}
	if (n == 0)
		write_message_cancel(w);
	else
		write_message_end(w);
	return n;
}

static bool news_send(struct gossip *g, unsigned slot)
{
	struct link *l = &g->links[slot];
	bool more;

	if (l->degraded || !l->proven) {
		struct frame f;

		frame_init(g, &f, WIRE_NEWS, 1400);
		write_message_cancel(&f.w);
		if (news_write(g, slot, &f.w, false, &more) > 0)
			link_send(g, l, f.w.bytes, f.w.n);
	} else {
		struct gossip_addr to;
		struct packet p;

		packet_init(g, &p);
		member_address(g, l->peer, &to);
		if (news_write(g, slot, &p.w, false, &more) > 0)
			packet_send(g, &p, &to);
	}
	return more;
}

/* Whether the link lacks something that cannot wait for a heartbeat. */
static bool news_due(const struct gossip *g, unsigned slot)
{
	uint32_t bit = UINT32_C(1) << slot;
	unsigned n = 0;

	for (size_t i = 0; i < g->n_rumours; i++) {
		const struct rumour *r = &g->rumours[i];

		if (r->known & bit)
			continue;
		if (r->urgent && r->due <= g->now)
			return true;
		n += r->due == NSEC_NEVER || r->due <= g->now;
	}
	return n >= RIDERS_MAX;
}

static void rumours_flush(struct gossip *g)
{
	/* In step with others: of a thousand, each would have its own time to be looked for. */
	nsec_t later = (g->now / MSEC + 1) * MSEC + HOLD_SPAN;
	uint32_t mask = audience(g);
	bool more = false;

	g->rumours_next = NSEC_NEVER;
	for (unsigned slot = 0; slot < GOSSIP_LINKS_MAX; slot++) {
		struct link *l = &g->links[slot];

		if (!(mask >> slot & 1) || !news_due(g, slot) || detector_silent(g, l->peer))
			continue;
		if (g->now - l->news_at < NEWS_GAP) {
			schedule(g, l->news_at + NEWS_GAP);
			continue;
		}
		for (unsigned k = 0; k < PORTION; k++) {
			l->news_at = g->now;
			if (!news_send(g, slot))
				break;
			more |= k == PORTION - 1;
		}
	}
	rumours_finish(g);
	for (size_t i = 0; i < g->n_rumours; i++) {
		struct rumour *r = &g->rumours[i];

		if (!r->urgent)
			continue;
		if (r->due <= g->now && !more)
			r->due = later; /* for links that came meanwhile, or may not have it yet */
		schedule(g, r->due > g->now ? r->due : g->now + PORTION_GAP);
	}
	if (more)
		schedule(g, g->now + PORTION_GAP);
}

void spread_ride(struct gossip *g, struct link *l, struct writer *w)
{
	bool more;

	if (g->n_rumours == 0 || l->state != LINK_ACTIVE)
		return;
	news_write(g, link_slot(g, l), w, false, &more);
	rumours_finish(g);
}

void spread_report(struct gossip *g, uint16_t to, uint16_t subject)
{
	struct rumour *r = rumour_own_last(g);

	if (!r || !rumour_speaks_of(r, subject) || to == g->self)
		return;
	r->due = g->now + REPORT_HOLD;
	schedule(g, r->due);
	for (unsigned i = 0; i < g->n_reports; i++) {
		if (g->reports[i] == to)
			return;
	}
	if (g->n_reports == sizeof(g->reports) / sizeof(g->reports[0]))
		spread_reports_send(g);
	g->reports[g->n_reports++] = to;
}

void spread_reports_send(struct gossip *g)
{
	for (unsigned k = 0; k < g->n_reports; k++) {
		struct gossip_addr to;
		struct wire_item item;
		struct packet p;

		packet_init(g, &p);
		write_message_begin(&p.w, WIRE_NEWS);
		for (size_t i = 0; i < g->n_rumours; i++) { /* with what the last builds upon */
			if (g->rumours[i].owner != g->self)
				continue;
			rumour_item(g, &g->rumours[i], &item);
			g->rumours[i].flushed |= item_add(&p.w, &item);
		}
		write_message_end(&p.w);
		member_address(g, g->reports[k], &to);
		packet_send(g, &p, &to);
	}
	g->n_reports = 0;
}

void spread_gather(struct gossip *g, uint16_t subject, nsec_t until)
{
	unsigned n = 0;

	for (unsigned i = 0; i < g->n_gathers; i++) {
		if (g->gathers[i].until > g->now && g->gathers[i].subject != subject)
			g->gathers[n++] = g->gathers[i];
	}
	g->n_gathers = n;
	if (n == sizeof(g->gathers) / sizeof(g->gathers[0]))
		return; /* many at once: they fill datagrams anyway */
	g->gathers[g->n_gathers++] = (struct gather){.subject = subject, .until = until};
	for (size_t i = 0; i < g->n_rumours; i++) {
		struct rumour *r = &g->rumours[i];

		if (r->urgent && !r->flushed && rumour_speaks_of(r, subject)) {
			r->due = until;
			schedule(g, until);
		}
	}
}

void spread_gathered(struct gossip *g, uint16_t subject)
{
	bool found = false;

	for (unsigned i = 0; i < g->n_gathers; i++) {
		found |= g->gathers[i].subject == subject && g->gathers[i].until > g->now;
		if (g->gathers[i].subject == subject)
			g->gathers[i].until = g->now;
	}
	if (!found)
		return;
	for (size_t i = 0; i < g->n_rumours; i++) {
		if (g->rumours[i].urgent && rumour_speaks_of(&g->rumours[i], subject))
			g->rumours[i].due = g->now;
	}
	schedule(g, g->now);
}

/* ---- In ---- */

static void pull_send(struct gossip *g, struct link *l, const struct gossip_addr *to,
	const uint64_t *ids, size_t n)
{
	g->stats.pulls += n;
	if (to) {
		struct packet p;

		packet_init(g, &p);
		write_message_begin(&p.w, WIRE_PULL);
		for (size_t i = 0; i < n; i++)
			write_u64(&p.w, ids[i]);
		write_message_end(&p.w);
		packet_send(g, &p, to);
	} else {
		struct frame f;

		frame_init(g, &f, WIRE_PULL, n * 8);
		for (size_t i = 0; i < n; i++)
			write_u64(&f.w, ids[i]);
		frame_send(g, &f, l);
	}
}

void spread_ask(struct gossip *g, struct link *l, const uint64_t *ids, size_t n)
{
	struct gossip_addr to;

	member_address(g, l->peer, &to);
	pull_send(g, l, l->proven && !l->degraded ? &to : NULL, ids, n);
}

/* True if it was not asked for just now; notes that it is. */
static bool pull_wanted(struct gossip *g, uint64_t id)
{
	unsigned n = sizeof(g->pulled) / sizeof(g->pulled[0]);

	for (unsigned i = 0; i < n; i++) {
		if (g->pulled[i] == id && g->now - g->pulled_at[i] < PULL_INTERVAL)
			return false;
	}
	g->pulled[g->at_pulled] = id;
	g->pulled_at[g->at_pulled] = g->now;
	g->at_pulled = (g->at_pulled + 1) % n;
	return true;
}

static bool item_is_urgent(const struct wire_item *item, bool news_member)
{
	if (item->kind == ITEM_RECORD)
		return news_member;
	for (unsigned i = 0; i < item->delta.n_ops; i++) {
		if (item->delta.ops[i].op >= OP_SILENT && item->delta.ops[i].op <= OP_AGENTLESS)
			return true;
	}
	return false;
}

/* `asked`: what we missed of one who is there goes round as deltas, and is not begun anew. */
static void news_item(
	struct gossip *g, const struct wire_item *item, bool asked, uint64_t *gaps, size_t *n_gaps)
{
	uint16_t m = member_find(g, item->owner);
	uint64_t incarnation = m == NONE ? 0 : g->members[m].incarnation;
	size_t n_reachable = g->n_reachable;
	bool urgent, there = m != NONE && member_reachable(g, m);

	switch (record_apply(g, item, &m)) {
	case APPLY_NEW:
		urgent = item_is_urgent(item, g->members[m].incarnation != incarnation) ||
			 g->n_reachable != n_reachable;
		if (item->kind == ITEM_DELTA)
			rumour_add_delta(g, item, m, urgent);
		else if (urgent || !asked || !there)
			rumour_add_record(g, m, urgent);
		if (!member_reachable(g, m) || g->n_reachable < n_reachable) {
			for (unsigned i = 0; i < g->n_gathers; i++) {
				if (!member_reachable(g, g->gathers[i].subject))
					spread_gathered(g, g->gathers[i].subject);
			}
		}
		break;
	case APPLY_OLD:
		rumour_known(g, item, m);
		break;
	case APPLY_GAP:
		if (*n_gaps < PULL_IDS_MAX && pull_wanted(g, item->owner))
			gaps[(*n_gaps)++] = item->owner;
		break;
	case APPLY_DROP:
		break;
	}
}

void spread_news(struct gossip *g, struct link *l, const struct gossip_addr *from, struct reader *r,
	bool asked)
{
	uint64_t gaps[PULL_IDS_MAX];
	struct wire_item item;
	size_t n_gaps = 0;

	while (wire_item_next(r, &item))
		news_item(g, &item, asked, gaps, &n_gaps);
	if (!r->ok)
		g->stats.malformed++;
	if (n_gaps > 0)
		pull_send(g, l, from, gaps, n_gaps);
}

void spread_record(struct gossip *g, const struct wire_item *item)
{
	uint64_t gaps[PULL_IDS_MAX];
	size_t n_gaps = 0;

	news_item(g, item, false, gaps, &n_gaps);
}

/* A batch of records by link. */
struct batch {
	struct link *link;
	struct frame f;
	bool open;
};

static void batch_end(struct gossip *g, struct batch *b)
{
	if (b->open)
		frame_send(g, &b->f, b->link);
	b->open = false;
}

static void batch_add(struct gossip *g, struct batch *b, uint16_t m)
{
	struct wire_item item;

	if (b->open && b->f.w.n_max - b->f.w.n < ITEM_BYTES_MAX)
		batch_end(g, b);
	if (!b->open) {
		frame_init(g, &b->f, WIRE_NEWS, SYNC_FRAME);
		b->open = true;
	}
	if (m == g->self)
		g->exposed = true;
	record_item(g, m, &item);
	item_add(&b->f.w, &item);
}

void spread_pull(struct gossip *g, struct link *l, const struct gossip_addr *from, struct reader *r)
{
	struct batch batch = {.link = l};
	struct packet p;
	unsigned n = 0;

	packet_init(g, &p);
	write_message_begin(&p.w, WIRE_RECORDS);
	while (reader_left(r) > 0) {
		uint16_t m = member_find(g, read_u64(r));
		struct wire_item item;

		if (!r->ok || m == NONE || g->members[m].incarnation == 0)
			continue;
		if (!from) {
			batch_add(g, &batch, m);
			continue;
		}
		if (m == g->self)
			g->exposed = true;
		record_item(g, m, &item);
		if (!item_add(&p.w, &item))
			break; /* what does not fit is asked for again */
		n++;
	}
	write_message_end(&p.w);
	if (n > 0)
		packet_send(g, &p, from);
	batch_end(g, &batch);
}

/* ---- Digests ---- */

uint64_t spread_digest(struct gossip *g)
{
	g->exposed = true;
	return g->digest;
}

static unsigned buckets_log2(const struct gossip *g)
{
	unsigned log2 = 0;

	while (log2 < WIRE_BUCKETS_LOG2 && (size_t)BUCKET_MEMBERS << log2 < g->n_known)
		log2++;
	return log2;
}

static uint32_t bucket_digest(const struct gossip *g, unsigned log2, unsigned bucket)
{
	unsigned span = 1u << (WIRE_BUCKETS_LOG2 - log2);
	uint64_t digest = 0;

	for (unsigned i = 0; i < span; i++)
		digest ^= g->buckets[bucket * span + i];
	return fold(digest);
}

static unsigned bucket_of(uint64_t id, unsigned log2)
{
	return log2 == 0 ? 0 : mix64(id) >> (64 - log2);
}

static void sync_start(struct gossip *g, struct link *l)
{
	unsigned log2 = buckets_log2(g);
	struct frame f;

	l->synced = g->now;
	l->sync_wanted = false;
	l->mismatch = NSEC_NEVER;
	g->exposed = true;
	g->stats.syncs++;
	frame_init(g, &f, WIRE_SYNC, 1 + (4u << log2));
	write_u8(&f.w, log2);
	for (unsigned i = 0; i < 1u << log2; i++)
		write_u32(&f.w, bucket_digest(g, log2, i));
	frame_send(g, &f, l);
}

void spread_beat(struct gossip *g, struct link *l, uint32_t digest)
{
	nsec_t since;

	if (digest == fold(g->digest)) {
		l->mismatch = NSEC_NEVER;
		l->sync_wanted = false;
		verdict_caught_up(g);
		for (size_t i = 0; i < g->n_rumours; i++)
			g->rumours[i].known |= UINT32_C(1) << link_slot(g, l); /* it has them all */
		rumours_finish(g);
		return;
	}
	if (l->mismatch == NSEC_NEVER)
		l->mismatch = g->now;
	since = (g->now - l->mismatch) / (spread_leaves(g) ? SYNC_PATIENCE_LEFT : 1);
	if (g->now - l->synced < SYNC_INTERVAL || l->backlog > GOSSIP_BACKLOG_MAX)
		return;
	if ((since > SYNC_PATIENCE && g->now - g->changed > SYNC_REST) ||
		since > SYNC_PATIENCE_BUSY)
		sync_start(g, l);
}

/* The members of the buckets marked in `which`, id, incarnation and version of each. */
static void summary_send(
	struct gossip *g, struct link *l, unsigned log2, const uint8_t *which, size_t n_buckets)
{
	struct frame f;

	frame_init(g, &f, WIRE_SUMMARY, 3 + 2 * n_buckets + 26 * g->n_known);
	write_u8(&f.w, log2);
	write_varint(&f.w, n_buckets);
	for (unsigned i = 0; i < 1u << log2; i++) {
		if (which[i])
			write_varint(&f.w, i);
	}
	for (size_t m = 0; m < g->n_members; m++) {
		const struct member *member = &g->members[m];

		if (member->incarnation == 0 || !which[bucket_of(member->id, log2)])
			continue;
		write_u64(&f.w, member->id);
		write_u64(&f.w, member->incarnation);
		write_varint(&f.w, member->version);
	}
	g->exposed = true;
	frame_send(g, &f, l);
}

/* Summaries of so many buckets at a time that each fits a frame. */
static void summaries_send(struct gossip *g, struct link *l, unsigned log2, const uint8_t *differs)
{
	size_t counts[1 << WIRE_BUCKETS_LOG2] = {0};
	uint8_t which[1 << WIRE_BUCKETS_LOG2] = {0};
	size_t n = 0, n_bytes = 0;

	for (size_t m = 0; m < g->n_members; m++) {
		if (g->members[m].incarnation != 0)
			counts[bucket_of(g->members[m].id, log2)]++;
	}
	for (unsigned i = 0; i < 1u << log2; i++) {
		if (!differs[i])
			continue;
		if (n > 0 && n_bytes + 26 * counts[i] > SYNC_FRAME) {
			summary_send(g, l, log2, which, n);
			memset(which, 0, sizeof(which));
			n = n_bytes = 0;
		}
		which[i] = 1;
		n++;
		n_bytes += 26 * counts[i];
	}
	if (n > 0)
		summary_send(g, l, log2, which, n);
}

/* Answers in buckets of our own, smaller ones: who knows few members asks about all in one digest. */
static void buckets_split(uint8_t *differs, unsigned log2, unsigned own_log2)
{
	for (unsigned i = 1u << own_log2; i-- > 0;)
		differs[i] = differs[i >> (own_log2 - log2)];
}

void spread_sync(struct gossip *g, struct link *l, struct reader *r)
{
	uint8_t differs[1 << WIRE_BUCKETS_LOG2] = {0};
	unsigned log2 = read_u8(r), own_log2 = buckets_log2(g);

	if (!r->ok || log2 > WIRE_BUCKETS_LOG2 || reader_left(r) < 4u << log2) {
		g->stats.malformed++;
		return;
	}
	for (unsigned i = 0; i < 1u << log2; i++)
		differs[i] = read_u32(r) != bucket_digest(g, log2, i);
	l->synced = g->now;
	l->sync_wanted = false;
	if (own_log2 > log2)
		buckets_split(differs, log2, own_log2);
	summaries_send(g, l, own_log2 > log2 ? own_log2 : log2, differs);
}

/* Reads which buckets a summary is about. */
static bool summary_buckets(struct reader *r, unsigned *ret_log2, uint8_t *which)
{
	unsigned log2 = read_u8(r);
	uint64_t n = read_varint(r);

	if (!r->ok || log2 > WIRE_BUCKETS_LOG2 || n > 1u << log2)
		return false;
	for (; n > 0; n--) {
		uint64_t bucket = read_varint(r);

		if (!r->ok || bucket >= 1u << log2)
			return false;
		which[bucket] = 1;
	}
	*ret_log2 = log2;
	return true;
}

/* One line of a summary: newer here, there, or equal. */
static void summary_entry(struct gossip *g, struct batch *b, struct frame *pull, uint8_t *seen,
	const struct wire_cast_id *entry)
{
	uint16_t m = member_find(g, entry->origin);
	const struct member *member = m == NONE ? NULL : &g->members[m];

	if (member && member->incarnation != 0) {
		seen[m / 8] |= 1u << m % 8;
		if (member->incarnation == entry->incarnation && member->version == entry->seq)
			return;
		if (member->incarnation > entry->incarnation ||
			(member->incarnation == entry->incarnation &&
				member->version > entry->seq)) {
			batch_add(g, b, m);
			return;
		}
	} else if (tombstone_covers(g, entry->origin, entry->incarnation, entry->seq)) {
		return;
	}
	write_u64(&pull->w, entry->origin);
}

void spread_summary(struct gossip *g, struct link *l, struct reader *r)
{
	uint8_t which[1 << WIRE_BUCKETS_LOG2] = {0};
	struct batch batch = {.link = l};
	struct wire_cast_id entry;
	struct frame pull;
	uint8_t *seen;
	unsigned log2;

	if (!summary_buckets(r, &log2, which)) {
		g->stats.malformed++;
		return;
	}
	seen = calloc(1, g->n_members / 8 + 1);
	if (!seen) {
		g->fault = -12;
		return;
	}
	frame_init(g, &pull, WIRE_PULL, reader_left(r));
	while (reader_left(r) > 0 && wire_cast_id_read(r, &entry))
		summary_entry(g, &batch, &pull, seen, &entry);
	for (size_t m = 0; r->ok && m < g->n_members; m++) {
		const struct member *member = &g->members[m];

		if (member->incarnation != 0 && which[bucket_of(member->id, log2)] &&
			!(seen[m / 8] >> m % 8 & 1))
			batch_add(g, &batch, m);
	}
	batch_end(g, &batch);
	if (pull.w.n > pull.w.message + WIRE_MESSAGE_HEAD) {
		g->stats.pulls++;
		frame_send(g, &pull, l);
	} else if (pull.bytes != pull.small) {
		free(pull.bytes);
	}
	free(seen);
}

void spread_link_up(struct gossip *g, struct link *l, uint64_t their_digest)
{
	uint32_t bit = UINT32_C(1) << link_slot(g, l);

	/* What came after the greeting is in no digest that the sync compares. */
	for (size_t i = 0; i < g->n_rumours; i++)
		g->rumours[i].known &= ~bit;
	l->mismatch = NSEC_NEVER;
	/* Who is part of the same overlay has what we lack on its way to us. */
	l->sync_wanted = l->outgoing && their_digest != g->digest && !member_reachable(g, l->peer);
	if (l->sync_wanted && g->sync_next == NSEC_NEVER)
		g->sync_next = g->now;
}

void spread_resync(struct gossip *g)
{
	for (unsigned i = 0; i < g->n_links; i++)
		g->links[i].sync_wanted |= g->links[i].state == LINK_ACTIVE;
	g->sync_next = g->now;
}

void spread_link_down(struct gossip *g, unsigned slot)
{
	for (size_t i = 0; i < g->n_rumours; i++)
		g->rumours[i].known &= ~(UINT32_C(1) << slot);
}

void spread_forget(struct gossip *g, uint16_t m)
{
	for (size_t i = g->n_rumours; i-- > 0;) {
		if (g->rumours[i].owner == m || rumour_speaks_of(&g->rumours[i], m))
			rumour_remove(g, i);
	}
	for (unsigned i = 0; i < g->n_gathers; i++) {
		if (g->gathers[i].subject == m)
			g->gathers[i].until = 0;
	}
}

static void syncs_start(struct gossip *g)
{
	g->sync_next = NSEC_NEVER;
	for (unsigned i = 0; i < GOSSIP_LINKS_MAX; i++) {
		struct link *l = &g->links[i];

		if (l->state == LINK_FREE || l->peer == NONE || !l->sync_wanted)
			continue;
		if (g->sync_next == NSEC_NEVER)
			sync_start(g, l);
		g->sync_next = g->now + SYNC_STAGGER;
	}
}

void spread_tick(struct gossip *g)
{
	if (g->rumours_next <= g->now)
		rumours_flush(g);
	if (g->sync_next <= g->now)
		syncs_start(g);
}

nsec_t spread_deadline(const struct gossip *g)
{
	return g->rumours_next < g->sync_next ? g->rumours_next : g->sync_next;
}

void spread_done(struct gossip *g)
{
	free(g->rumours);
}
