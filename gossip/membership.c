/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whom to be a neighbour of: HyParView's views and messages.
 *
 * HyParView (Leitao, Pereira, Rodrigues, DSN 2007) keeps a small symmetric *active view*, each
 * edge a TCP connection whose breaking is noticed, and a larger *passive view* to repair it
 * from, shuffled among members now and then. Its messages are all here:
 *
 *	JOIN, NEIGHBOUR    a HELLO with its purpose (join, low, high), answered by HELLO, REPLY
 *	FORWARD_JOIN       WALK: passed on until its life ends, then who holds it links to
 *	                   the joiner
 *	SHUFFLE, its reply SHUFFLE along the links, SHUFFLED by datagram
 *	DISCONNECT         PART, numbered: of which edge, so that a late one cannot end a newer
 *
 * What differs, and why:
 *
 *  - The view holds 6, not log10(n) + 1, whatever the size: six independent observers of each
 *    node. The bytes that a failure costs grow with the square of this (so many severances,
 *    over so many links): 2.6 kB a node with 8, 1.6 kB with 6. When 30 % die at once, one node
 *    in 1,400 loses all its neighbours and asks others at once. Random regular graphs of degree
 *    6 are connected, and 10,000 nodes are reached in 6 hops.
 *  - Whom: the successors on three rings (the members in three orders, by hashes of their ids),
 *    and so one's predecessors too. Rings are not needed to join or to repair, any neighbour is
 *    good at first; but views that were filled in the order of joining are cliques with a
 *    bridge, however many links each has: the random search found 30 nodes hanging together by
 *    one. Once nobody has come or gone for a second the rings are linked, and for each such link
 *    one beyond the target is given up. Three random cycles are an expander, whatever the history,
 *    and two healed halves are mixed by the same rule.
 *  - Who has just started looks for three neighbours until then, not six: each link that the rings
 *    then replace would cost four records' changes, flooded over twice as many links. 60 nodes
 *    that start at once: 75 kB a node until all is at rest after 4 s, and not 250 kB in 20 s. (Two are
 *    cheaper still, 55 kB, but too few to make one of all: parts of a cluster that starts amid cuts
 *    did not know of each other for a second.)
 *  - Degrees are kept even. A view is filled from those with the smallest views (the table
 *    tells), one who lacks more than one link is admitted up to two above the target, one in
 *    need always. When a node dies its former neighbours are the ones who lack a link, and so
 *    find each other. An observer per node more or less is a tail in detection time.
 *  - A full contact does not evict for a joiner, which costs three nodes a change each; it
 *    refuses with a sample of members to ask, which after a cold start of 1,000 is the faster
 *    way.
 *  - Up to 9 nodes the view holds everyone: a full mesh.
 *  - The passive view is a second source, the member table the first. It still matters when the
 *    table is empty, or when all in it are gone.
 *
 * Lost members are dialled for ever (lashup: 1 dead of 1,000 is dialled by all 999 all day, an
 * isolated node dials once in ten minutes; here the other way round). One lost member costs
 * the whole cluster one hail a second at first and one a minute after a while; each member's
 * share is that over the number of reachable ones, so that whoever is alone hails five a second.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* HyParView's figures for walks: life of a join's walk, and when the passive view takes it. */
#define ARWL 6
#define PRWL 3
/* Walks that a contact sends for a joiner. HyParView: one to each neighbour; four and the
 * sample in the REPLY fill a view. */
#define JOIN_WALKS 4
/* Up to so many members are a full mesh. */
#define MESH_MAX 9
/* Entries of a shuffle: own, from the active view, from the passive one. */
#define SHUFFLE_ACTIVE 3
#define SHUFFLE_PASSIVE 4
#define SHUFFLE_INTERVAL (120 * SEC) /* six hops of 250 bytes: 13 B/s for each node */
#define SAMPLE 8
/* Admitted beyond the target: without it the last ones to join find everyone full. */
#define DEGREE_SPARE 2
/* A connection that takes longer than this will not make a good neighbour. */
#define OPEN_TIMEOUT (1500 * MSEC)
/* Nor does one that takes longer than this keep others from being asked. */
#define OPEN_PATIENCE (300 * MSEC)
#define GREET_TIMEOUT (2 * SEC)
/* The peer's record has this long to list us, before the edge is taken for one-sided. */
#define UNLISTED_MAX (2500 * MSEC)
/* Replacing a lost neighbour is no hurry while half are left, and may turn out needless. */
#define REPAIR_DELAY (1050 * MSEC)
#define REPAIR_SPREAD (500 * MSEC)
/* Of two that a death made next to each other on a ring, the first links to the second. The second
 * waits so long for it; a link to just anybody would have to be given up again. Longer where word of new
 * links takes longer: until then, those who have filled their view are asked in vain. */
#define FILL_DELAY (2500 * MSEC)
#define FILL_DELAY_LEFT (700 * MSEC)
/* The rings are followed when nobody has come or gone for so long: while a cluster starts, each
 * newcomer would move them. */
#define RING_REST (1 * SEC)
/* And then within this time, so that they do not all ask at once. */
#define RING_SPREAD (300 * MSEC)
/* So long after its own start a node looks for half of its neighbours only while others come: enough
 * to be one overlay; each more is given up for the rings again. */
#define START_TIME (5 * SEC)
#define START_SHARE 2
#define REPAIR_URGENT (20 * MSEC)
#define REPAIR_AGAIN (100 * MSEC)
#define REPAIR_IDLE (2 * SEC)
/* A link is not given up for being one too many before its time: the other end may still be
 * filling its view. */
#define TRIM_AGE (3 * SEC)
/* Who refused is not asked again for so long. */
#define REFUSED_FOR (2 * SEC)
/* A stalled neighbour's place is kept, for it usually wakes. */
#define STALLED_KEPT (20 * SEC)
#define STALLED_COUNTS (3 * SEC)
/* Hails: at most one per DIAL_INTERVAL; a lost member's interval is a hundredth of how long it
 * has been lost, within these. */
#define DIAL_INTERVAL (200 * MSEC)
#define DIAL_MIN (1 * SEC)
#define DIAL_MAX (60 * SEC)
#define DIAL_SHARE 100
/* Contacts: first retry, slowest retry while alone, and the look while linked. One that has not
 * answered for CONTACT_AGAIN is asked anew: it may just have started, and the kernel would send a
 * lost SYN again after a second only. */
#define CONTACT_AGAIN (250 * MSEC)
#define CONTACT_MIN (50 * MSEC)
#define CONTACT_MAX (5 * SEC)
#define CONTACT_LINKED (30 * SEC)
/* And while this node has just started and one is not reachable yet: two that have linked to each other
 * first may be all there is of their overlay. */
#define CONTACT_STARTING (500 * MSEC)

/* Neighbours to have: everyone, as long as that is few. */
static unsigned wanted(const struct gossip *g)
{
	return g->n_known <= MESH_MAX && g->config.degree < MESH_MAX ? MESH_MAX - 1
								     : g->config.degree;
}

/* Nobody has come or gone for a while. */
static bool resting(const struct gossip *g)
{
	return g->now - g->reach_changed >= RING_REST;
}

/* Neighbours to look for just now. */
static unsigned aim(const struct gossip *g)
{
	bool starting = g->now - g->started < START_TIME && !resting(g);

	return starting ? wanted(g) / START_SHARE : wanted(g);
}

unsigned link_slot(const struct gossip *g, const struct link *l)
{
	return l - g->links;
}

struct link *link_of(struct gossip *g, uint16_t peer)
{
	for (unsigned i = 0; i < g->n_links; i++) {
		if (g->links[i].state == LINK_ACTIVE && g->links[i].peer == peer)
			return &g->links[i];
	}
	return NULL;
}

struct link *link_by_handle(struct gossip *g, uint32_t handle)
{
	for (unsigned i = 0; i < g->n_links; i++) {
		if (g->links[i].state != LINK_FREE && g->links[i].handle == handle)
			return handle == 0 ? NULL : &g->links[i];
	}
	return NULL;
}

/* A link to this peer in any state, other than `except`. */
static struct link *link_any(struct gossip *g, uint16_t peer, const struct link *except)
{
	for (unsigned i = 0; i < g->n_links; i++) {
		if (g->links[i].state != LINK_FREE && g->links[i].peer == peer &&
			&g->links[i] != except)
			return &g->links[i];
	}
	return NULL;
}

unsigned links_listed(const struct gossip *g)
{
	unsigned n = 0;

	for (unsigned i = 0; i < g->n_links; i++)
		n += g->links[i].state == LINK_ACTIVE && g->links[i].listed;
	return n;
}

/* Neighbours, those kept a place for, and those being asked that may still answer. */
static unsigned links_wanted_taken(const struct gossip *g)
{
	unsigned n = 0;

	for (unsigned i = 0; i < g->n_links; i++) {
		const struct link *l = &g->links[i];

		if (l->state == LINK_ACTIVE)
			n += !l->stalled || g->now - l->since < STALLED_COUNTS;
		else if (l->state != LINK_FREE)
			n += l->outgoing && g->now - l->since < OPEN_PATIENCE;
	}
	return n;
}

static void upkeep_at(struct gossip *g, nsec_t at)
{
	if (at < g->upkeep_next)
		g->upkeep_next = at;
}

static struct link *link_new(struct gossip *g)
{
	for (unsigned i = 0; i < GOSSIP_LINKS_MAX; i++) {
		struct link *l = &g->links[i];

		if (l->state != LINK_FREE)
			continue;
		memset(l, 0, sizeof(*l));
		l->peer = NONE;
		l->since = g->now;
		l->unlisted = l->mismatch = NSEC_NEVER;
		l->handle = g->next_handle++;
		if (g->next_handle == 0)
			g->next_handle = 1;
		if (i >= g->n_links)
			g->n_links = i + 1;
		return l;
	}
	return NULL;
}

static void link_free(struct gossip *g, struct link *l)
{
	unsigned slot = link_slot(g, l);

	free(l->partial);
	l->partial = NULL;
	l->n_partial = 0;
	l->state = LINK_FREE;
	if (g->news_link == slot)
		g->news_link = NONE;
	spread_link_down(g, slot);
	multicast_link_down(g, slot);
	while (g->n_links > 0 && g->links[g->n_links - 1].state == LINK_FREE)
		g->n_links--;
}

static void evict(struct gossip *g, const struct link *except);

void link_list(struct gossip *g, struct link *l)
{
	bool urgent = !member_reachable(g, l->peer) || links_listed(g) <= 1;

	if (g->members[g->self].n_neighbours >= GOSSIP_NEIGHBOURS_MAX)
		evict(g, l); /* or the record would not speak of the peer, which speaks of us */
	l->listed = true;
	l->stalled = false;
	if (!member_lists(g, l->peer, g->self)) {
		l->unlisted = g->now;
		upkeep_at(g, g->now + UNLISTED_MAX);
	}
	own_change(g, OP_ADD, l->peer, urgent);
}

void link_unlist(struct gossip *g, struct link *l, enum wire_op op, bool urgent)
{
	if (!l->listed)
		return;
	l->listed = false;
	own_change(g, op, l->peer, urgent);
}

void link_stall(struct gossip *g, struct link *l)
{
	l->stalled = true;
	l->since = g->now;
	upkeep_at(g, g->now + STALLED_KEPT);
}

void link_drop(struct gossip *g, struct link *l, bool tell)
{
	uint16_t peer = l->peer;
	bool active = l->state == LINK_ACTIVE;

	if (active)
		link_unlist(g, l, OP_DROP, false);
	if (tell && active && l->handle != 0) {
		struct frame f;

		frame_init(g, &f, WIRE_PART, 8);
		write_u32(&f.w, l->number);
		write_u8(&f.w, 0);
		frame_send(g, &f, l);
	}
	if (l->handle != 0)
		effect_push(g, &(struct gossip_effect){.kind = l->silent ? GOSSIP_EFFECT_LINK_ABORT
									 : GOSSIP_EFFECT_LINK_CLOSE,
				       .link = l->handle});
	link_free(g, l);
	if (active)
		detector_link_gone(g, peer);
}

void link_request(
	struct gossip *g, uint16_t peer, const struct gossip_addr *to, enum wire_purpose purpose)
{
	struct link *l;

	if (peer == g->self || (peer != NONE && link_any(g, peer, NULL)))
		return;
	for (unsigned i = 0; i < g->n_links; i++) {
		l = &g->links[i];
		if (l->state == LINK_OPENING && gossip_addr_equal(&l->address, to))
			return;
	}
	l = link_new(g);
	if (!l)
		return;
	l->state = LINK_OPENING;
	l->outgoing = true;
	l->peer = peer;
	l->purpose = purpose;
	l->address = *to;
	l->number = g->next_number++;
	g->stats.opens++;
	upkeep_at(g, g->now + OPEN_TIMEOUT);
	effect_push(g, &(struct gossip_effect){
			       .kind = GOSSIP_EFFECT_LINK_OPEN, .link = l->handle, .address = *to});
}

static void hello_send(struct gossip *g, struct link *l)
{
	struct wire_hello hello = {.id = g->config.id,
		.incarnation = g->config.incarnation,
		.to = l->peer == NONE ? 0 : g->members[l->peer].id,
		.number = l->number,
		.purpose = l->purpose};
	struct frame f;

	hello.digest = spread_digest(g);
	record_item(g, g->self, &hello.record);
	frame_init(g, &f, WIRE_HELLO, 1500);
	wire_hello_write(&f.w, &hello);
	frame_send(g, &f, l);
}

int gossip_link_opened(struct gossip *g, nsec_t now, uint32_t link)
{
	struct link *l;

	if (now > g->now)
		g->now = now;
	l = link_by_handle(g, link);
	if (!l || l->state != LINK_OPENING)
		return 0;
	l->state = LINK_GREETING;
	l->since = g->now;
	upkeep_at(g, g->now + GREET_TIMEOUT);
	hello_send(g, l);
	return gossip_link_bytes(g, now, link, "", 0);
}

int gossip_link_accepted(
	struct gossip *g, nsec_t now, const struct gossip_addr *from, uint32_t *ret_link)
{
	struct link *l;

	if (now > g->now)
		g->now = now;
	l = link_new(g);
	if (!l) {
		g->stats.refused++;
		return -EMFILE;
	}
	l->state = LINK_GREETING;
	l->address = *from;
	upkeep_at(g, g->now + GREET_TIMEOUT);
	*ret_link = l->handle;
	return gossip_link_bytes(g, now, l->handle, "", 0);
}

/* ---- The passive view ---- */

static void passive_add(struct gossip *g, const struct wire_entry *entry)
{
	uint16_t m = member_find(g, entry->id);
	size_t at = g->n_passive;

	if (entry->id == g->config.id || (m != NONE && link_any(g, m, NULL)))
		return;
	for (size_t i = 0; i < g->n_passive; i++) {
		if (g->passive[i].id == entry->id) {
			g->passive[i] = *entry;
			return;
		}
	}
	if (at == GOSSIP_PASSIVE_MAX) {
		at = random_below(g, at);
		for (size_t i = 0; i < g->n_passive; i++) {
			for (unsigned k = 0; k < 4; k++) {
				if (g->shuffled[k] != 0 && g->passive[i].id == g->shuffled[k])
					at = i; /* given away: the first to go */
			}
		}
	} else {
		g->n_passive++;
	}
	g->passive[at] = *entry;
}

static void passive_remove(struct gossip *g, uint64_t id)
{
	for (size_t i = 0; i < g->n_passive; i++) {
		if (g->passive[i].id == id)
			g->passive[i--] = g->passive[--g->n_passive];
	}
}

static void entry_of(const struct gossip *g, uint16_t m, struct wire_entry *ret)
{
	ret->id = g->members[m].id;
	member_address(g, m, &ret->address);
}

/* Members to ask instead: reachable ones, with the smallest views of a few drawn each time. */
static void sample_write(struct gossip *g, struct writer *w, uint64_t except)
{
	for (unsigned i = 0; i < SAMPLE; i++) {
		uint16_t best = NONE;
		struct wire_entry entry;

		for (unsigned k = 0; k < 4; k++) {
			uint16_t m = member_random(g);

			if (m == NONE || !member_reachable(g, m) || m == g->self ||
				g->members[m].id == except)
				continue;
			if (best == NONE ||
				g->members[m].n_neighbours < g->members[best].n_neighbours)
				best = m;
		}
		if (best == NONE)
			continue;
		entry_of(g, best, &entry);
		wire_entry_write(w, &entry);
	}
}

/* ---- The rings ---- */

static unsigned n_rings(const struct gossip *g)
{
	return g->config.degree / 2;
}

uint64_t gossip_ring_place(uint64_t id, unsigned ring)
{
	return mix64(id + (ring + 1) * UINT64_C(0x9e3779b97f4a7c15));
}

/* Puts m next to us on each ring where it is nearer than who stands there. */
static void rings_offer(struct gossip *g, uint16_t m)
{
	for (unsigned r = 0; r < n_rings(g); r++) {
		uint64_t ahead =
			gossip_ring_place(g->members[m].id, r) - gossip_ring_place(g->config.id, r);

		for (unsigned k = 0; k < 2; k++) {
			uint64_t distance = k == 0 ? ahead : -ahead;

			if (distance >= g->ring_distances[r][k])
				continue;
			g->ring_distances[r][k] = distance;
			g->rings[r][k] = m;
		}
	}
}

/* Who stands next to us on each ring, of those that are there. */
static void rings_update(struct gossip *g)
{
	if (g->rings_known)
		return;
	g->rings_known = true;
	memset(g->rings, 0xff, sizeof(g->rings));
	memset(g->ring_distances, 0xff, sizeof(g->ring_distances));
	for (size_t m = 0; m < g->n_members; m++) {
		if (m != g->self && !(g->members[m].flags & MEMBER_FREE) && member_reachable(g, m))
			rings_offer(g, m);
	}
}

void membership_reached(struct gossip *g, uint16_t m)
{
	if (g->rings_known && m != g->self)
		rings_offer(g, m);
}

void membership_unreached(struct gossip *g, uint16_t m)
{
	for (unsigned r = 0; r < n_rings(g); r++)
		g->rings_known &= g->rings[r][0] != m && g->rings[r][1] != m;
}

static bool on_ring(struct gossip *g, uint16_t m)
{
	rings_update(g);
	for (unsigned r = 0; r < n_rings(g); r++) {
		if (g->rings[r][0] == m || g->rings[r][1] == m)
			return true;
	}
	return false;
}

/* ---- Greeting ---- */

struct link *link_random(struct gossip *g, uint16_t except1, uint64_t except2)
{
	struct link *chosen = NULL;
	unsigned n = 0;

	for (unsigned i = 0; i < g->n_links; i++) {
		struct link *l = &g->links[i];

		if (l->state != LINK_ACTIVE || !l->listed || l->peer == except1 ||
			g->members[l->peer].id == except2)
			continue;
		if (random_below(g, ++n) == 0)
			chosen = l;
	}
	return chosen;
}

static void walk_send(struct gossip *g, struct link *l, uint8_t ttl, const struct wire_entry *entry)
{
	struct frame f;

	frame_init(g, &f, WIRE_WALK, 64);
	write_u8(&f.w, ttl);
	wire_entry_write(&f.w, entry);
	frame_send(g, &f, l);
}

static void reply_send(struct gossip *g, struct link *l, bool accepted)
{
	struct frame f;

	frame_init(g, &f, WIRE_REPLY, 16 + SAMPLE * 32);
	write_u32(&f.w, l->number);
	write_u8(&f.w, accepted);
	if (!accepted)
		sample_write(g, &f.w, g->members[l->peer].id);
	frame_send(g, &f, l);
}

/* Gives up the neighbour that can best do without us. */
static void evict(struct gossip *g, const struct link *except)
{
	struct link *worst = NULL;
	struct wire_entry entry;

	for (unsigned i = 0; i < g->n_links; i++) {
		struct link *l = &g->links[i];

		if (l->state != LINK_ACTIVE || !l->listed || l == except || on_ring(g, l->peer))
			continue;
		if (!worst ||
			g->members[l->peer].n_neighbours > g->members[worst->peer].n_neighbours)
			worst = l;
	}
	if (!worst)
		return;
	entry_of(g, worst->peer, &entry);
	link_drop(g, worst, true);
	passive_add(g, &entry);
}

static void active(struct gossip *g, struct link *l)
{
	l->state = LINK_ACTIVE;
	l->since = g->now;
	passive_remove(g, g->members[l->peer].id);
	spread_link_up(g, l, l->digest);
	link_list(g, l);
	detector_link_up(g, l);
	multicast_link_up(g, l);
	verdict_proven(g);
	g->contact_failures = 0;
	if (resting(g) && links_listed(g) > wanted(g) && on_ring(g, l->peer))
		evict(g, l); /* in the same change of our record */
}

/* Whether to be the neighbour of who asks. */
static bool admit(struct gossip *g, const struct link *l)
{
	unsigned n = links_listed(g), spare = wanted(g) + DEGREE_SPARE;

	/* Full ourselves: one who lacks a single link can do without, or find another such. */
	if (n < wanted(g) || (n < spare && g->members[l->peer].n_neighbours + 1u < wanted(g)))
		return true;
	if (l->purpose != PURPOSE_HIGH)
		return false;
	if (g->members[g->self].n_neighbours >= GOSSIP_NEIGHBOURS_MAX)
		evict(g, l);
	return g->members[g->self].n_neighbours < GOSSIP_NEIGHBOURS_MAX;
}

static void join_walks(struct gossip *g, struct link *joiner)
{
	struct wire_entry entry;

	entry_of(g, joiner->peer, &entry);
	for (unsigned i = 0; i < JOIN_WALKS; i++) {
		struct link *l = link_random(g, joiner->peer, 0);

		if (l)
			walk_send(g, l, ARWL, &entry);
	}
}

/* Another link to the same peer: which one stays? True if the new one may. */
static bool supersede(struct gossip *g, struct link *l, struct link *old)
{
	if (old->state == LINK_ACTIVE) {
		/* It has started again, or lost this link without our noticing. */
		link_drop(g, old, false);
		return true;
	}
	if (l->outgoing == old->outgoing || old->state == LINK_FREE) {
		link_drop(g, old, false);
		return true;
	}
	/* Both opened at once: the one opened by the smaller id stays. */
	if ((g->config.id < g->members[l->peer].id) == l->outgoing) {
		link_drop(g, old, false);
		return true;
	}
	return false;
}

static void greeted_by_opener(struct gossip *g, struct link *l, const struct wire_hello *hello)
{
	struct link *old;
	bool accepted;

	l->number = hello->number;
	l->purpose = hello->purpose;
	while ((old = link_any(g, l->peer, l))) {
		if (!supersede(g, l, old)) {
			link_drop(g, l, false);
			return;
		}
	}
	accepted = admit(g, l);
	hello_send(g, l);
	reply_send(g, l, accepted);
	if (l->purpose == PURPOSE_JOIN)
		join_walks(g, l);
	if (accepted)
		active(g, l);
}

/* Whether to take the record that came along. Of a member that is there, every change is on its way
 * as a delta, a quarter of its size: taken from here, the record would go on to all instead. */
static bool hello_is_news(const struct gossip *g, const struct wire_hello *hello)
{
	uint16_t m = member_find(g, hello->id);

	return m == NONE || !member_reachable(g, m) ||
	       g->members[m].incarnation != hello->incarnation;
}

/* Who speaks as a member of which there is a later life is that one before its restart, or somebody whose
 * identity was copied. It would never hear of it: nobody links to it any more. */
static void former_life_tell(struct gossip *g, uint16_t m, const struct wire_hello *hello)
{
	struct wire_item item;
	struct packet p;

	packet_init(g, &p);
	write_message_begin(&p.w, WIRE_RECORDS);
	record_item(g, m, &item);
	wire_item_write(&p.w, &item);
	write_message_end(&p.w);
	packet_send(g, &p, &hello->record.record.address);
}

void membership_hello(struct gossip *g, struct link *l, struct reader *r)
{
	struct wire_hello hello;
	uint16_t peer;

	if (l->state != LINK_GREETING || !wire_hello_read(r, &hello)) {
		g->stats.malformed++;
		link_drop(g, l, false);
		return;
	}
	if (hello.id == g->config.id && hello.incarnation != g->config.incarnation)
		spread_record(g, &hello.record); /* a double: says so */
	if (hello.id == g->config.id || (hello.to != 0 && hello.to != g->config.id)) {
		link_drop(g, l, false); /* an address that has another owner now */
		return;
	}
	if (hello_is_news(g, &hello))
		spread_record(g, &hello.record);
	peer = member_find(g, hello.id);
	if (peer != NONE && g->members[peer].incarnation > hello.incarnation)
		former_life_tell(g, peer, &hello);
	if (peer == NONE || g->members[peer].incarnation > hello.incarnation ||
		(l->outgoing && l->peer != NONE && l->peer != peer)) {
		link_drop(g, l, false);
		return;
	}
	l->peer = peer;
	l->incarnation = hello.incarnation;
	l->digest = hello.digest;
	if (!l->outgoing)
		greeted_by_opener(g, l, &hello);
}

static void refused(struct gossip *g, uint16_t m)
{
	if (m == NONE)
		return;
	g->refused[g->at_refused].member = m;
	g->refused[g->at_refused].until = g->now + REFUSED_FOR;
	g->at_refused = (g->at_refused + 1) % (sizeof(g->refused) / sizeof(g->refused[0]));
}

static bool refused_lately(const struct gossip *g, uint16_t m)
{
	for (unsigned i = 0; i < sizeof(g->refused) / sizeof(g->refused[0]); i++) {
		if (g->refused[i].member == m && g->refused[i].until > g->now)
			return true;
	}
	return false;
}

void membership_reply(struct gossip *g, struct link *l, struct reader *r)
{
	uint32_t number = read_u32(r);
	uint8_t accepted = read_u8(r);
	struct wire_entry entry;
	struct link *old;

	if (!r->ok || !l->outgoing || l->state != LINK_GREETING || number != l->number) {
		g->stats.malformed++;
		return;
	}
	while (wire_entry_next(r, &entry))
		passive_add(g, &entry);
	if (!accepted) {
		refused(g, l->peer);
		link_drop(g, l, false);
		if (links_listed(g) == 0)
			g->repair_next = g->now;
		return;
	}
	while ((old = link_any(g, l->peer, l))) {
		if (!supersede(g, l, old)) {
			link_drop(g, l, false);
			return;
		}
	}
	active(g, l);
}

void membership_part(struct gossip *g, struct link *l, struct reader *r)
{
	uint32_t number = read_u32(r);
	struct wire_entry entry;

	if (!r->ok || number != l->number)
		return;
	entry_of(g, l->peer, &entry);
	link_drop(g, l, false);
	passive_add(g, &entry);
	membership_lost_neighbour(g);
}

void membership_open_failed(struct gossip *g, struct link *l)
{
	refused(g, l->peer);
	if (l->peer != NONE)
		passive_remove(g, g->members[l->peer].id);
	link_free(g, l);
}

/* ---- Walks and shuffles ---- */

void membership_walk(struct gossip *g, struct link *l, struct reader *r)
{
	uint8_t ttl = read_u8(r);
	struct wire_entry entry;
	struct link *next;
	uint16_t m;

	if (!r->ok || !wire_entry_next(r, &entry)) {
		g->stats.malformed++;
		return;
	}
	if (entry.id == g->config.id)
		return;
	m = member_find(g, entry.id);
	if ((m == NONE || !link_any(g, m, NULL)) && links_wanted_taken(g) < aim(g) + (ttl == 0)) {
		link_request(g, m, &entry.address, PURPOSE_LOW);
		return;
	}
	if (ttl == PRWL)
		passive_add(g, &entry);
	if (ttl == 0 || ttl > ARWL)
		return;
	next = link_random(g, l->peer, entry.id);
	if (next)
		walk_send(g, next, ttl - 1, &entry);
}

static void shuffle_start(struct gossip *g)
{
	struct link *l = link_random(g, NONE, 0);
	struct wire_entry entry;
	struct frame f;

	if (!l)
		return;
	frame_init(g, &f, WIRE_SHUFFLE, 512);
	write_u8(&f.w, ARWL);
	entry_of(g, g->self, &entry);
	wire_entry_write(&f.w, &entry);
	for (unsigned i = 0; i < SHUFFLE_ACTIVE; i++) {
		struct link *other = link_random(g, l->peer, 0);

		if (!other)
			break;
		entry_of(g, other->peer, &entry);
		wire_entry_write(&f.w, &entry);
	}
	for (unsigned i = 0; i < SHUFFLE_PASSIVE; i++) {
		g->shuffled[i] = 0;
		if (g->n_passive == 0)
			continue;
		entry = g->passive[random_below(g, g->n_passive)];
		g->shuffled[i] = entry.id;
		wire_entry_write(&f.w, &entry);
	}
	frame_send(g, &f, l);
}

static void shuffle_end(struct gossip *g, const struct wire_entry *entries, unsigned n)
{
	struct packet p;

	packet_init(g, &p);
	write_message_begin(&p.w, WIRE_SHUFFLED);
	for (unsigned i = 1; i < n && g->n_passive > 0; i++)
		wire_entry_write(&p.w, &g->passive[random_below(g, g->n_passive)]);
	write_message_end(&p.w);
	packet_send(g, &p, &entries[0].address);
	for (unsigned i = 0; i < n; i++)
		passive_add(g, &entries[i]);
}

void membership_shuffle(struct gossip *g, struct link *l, struct reader *r)
{
	struct wire_entry entries[WIRE_ENTRIES_MAX];
	struct link *next;
	uint8_t ttl = read_u8(r);
	struct frame f;
	unsigned n = 0;

	while (n < WIRE_ENTRIES_MAX && wire_entry_next(r, &entries[n]))
		n++;
	if (!r->ok || n == 0) {
		g->stats.malformed++;
		return;
	}
	if (entries[0].id == g->config.id)
		return;
	next = link_random(g, l->peer, entries[0].id);
	if (ttl == 0 || ttl > ARWL || !next) {
		shuffle_end(g, entries, n);
		return;
	}
	frame_init(g, &f, WIRE_SHUFFLE, 512);
	write_u8(&f.w, ttl - 1);
	for (unsigned i = 0; i < n; i++)
		wire_entry_write(&f.w, &entries[i]);
	frame_send(g, &f, next);
}

void membership_shuffled(struct gossip *g, struct reader *r)
{
	struct wire_entry entry;

	for (unsigned i = 0; i < WIRE_ENTRIES_MAX && wire_entry_next(r, &entry); i++)
		passive_add(g, &entry);
}

/* ---- Repair ---- */

void membership_record_changed(struct gossip *g, uint16_t m)
{
	struct link *l = link_of(g, m);

	if (!l || !l->listed)
		return;
	if (member_lists(g, m, g->self)) {
		l->unlisted = NSEC_NEVER;
	} else if (l->unlisted == NSEC_NEVER) {
		l->unlisted = g->now;
		upkeep_at(g, g->now + UNLISTED_MAX);
		detector_want_link(g, l);
	}
}

void membership_lost_neighbour(struct gossip *g)
{
	nsec_t at;

	if (links_listed(g) > wanted(g) / 2) {
		at = g->now + REPAIR_DELAY + random_below(g, REPAIR_SPREAD);
		if (g->fill_not_before <= g->now)
			g->fill_not_before =
				g->now + FILL_DELAY + (spread_leaves(g) ? FILL_DELAY_LEFT : 0);
	} else {
		at = g->now + random_below(g, REPAIR_URGENT);
	}
	if (at < g->repair_next || g->repair_next < g->now)
		g->repair_next = at;
	if (links_listed(g) == 0)
		g->contact_next = g->now + random_below(g, CONTACT_MIN);
}

void membership_moved(struct gossip *g)
{
	g->reach_changed = g->now;
	g->rings_next = g->now + RING_REST + random_below(g, RING_SPREAD);
}

void membership_found(struct gossip *g)
{
	if (g->members[g->self].n_neighbours < aim(g)) {
		nsec_t at = g->now + random_below(g, REPAIR_URGENT);

		if (at < g->repair_next)
			g->repair_next = at;
	}
}

static bool candidate_ok(struct gossip *g, uint16_t m)
{
	return m != NONE && m != g->self && !(g->members[m].flags & MEMBER_FREE) &&
	       member_reachable(g, m) && !link_any(g, m, NULL) && !refused_lately(g, m);
}

/* One with the smallest view of all: after a loss, another that lost the same neighbour. */
static uint16_t candidate(struct gossip *g)
{
	unsigned best = g->config.degree + DEGREE_SPARE, n = 0;
	uint16_t chosen = NONE;

	for (size_t m = 0; m < g->n_members; m++) {
		unsigned degree = g->members[m].n_neighbours;

		if (degree > best || !candidate_ok(g, m))
			continue;
		if (degree < best)
			n = 0;
		best = degree;
		if (random_below(g, ++n) == 0)
			chosen = m;
	}
	return chosen;
}

/* True if m is full, by its record, and we lack a single link: it would refuse, see admit(). */
static bool would_refuse(const struct gossip *g, uint16_t m)
{
	unsigned n = links_listed(g);

	return n > 0 && n + 1 >= wanted(g) && g->members[m].n_neighbours >= wanted(g);
}

/* Asks one member to be a neighbour. False if there is nobody to ask. */
static bool repair_one(struct gossip *g)
{
	unsigned n = links_listed(g);
	enum wire_purpose purpose = n == 0 ? PURPOSE_HIGH : PURPOSE_LOW;
	uint16_t m = candidate(g);
	struct gossip_addr to;

	if (m != NONE) {
		/* The one with the smallest view, so all others would too. */
		if (would_refuse(g, m))
			return false;
		member_address(g, m, &to);
		link_request(g, m, &to, purpose);
		return true;
	}
	/* Alone, with everyone out of reach: some of them may be as alone, and near. */
	m = n == 0 ? member_random(g) : NONE;
	if (m != NONE && m != g->self && g->members[m].status == GOSSIP_STATUS_UP &&
		!link_any(g, m, NULL) && !refused_lately(g, m)) {
		member_address(g, m, &to);
		link_request(g, m, &to, purpose);
		return true;
	}
	while (g->n_passive > 0 && n < wanted(g)) {
		size_t i = random_below(g, g->n_passive);
		struct wire_entry entry = g->passive[i];

		g->passive[i] = g->passive[--g->n_passive];
		m = member_find(g, entry.id);
		if (m != NONE && (link_any(g, m, NULL) || refused_lately(g, m)))
			continue;
		link_request(g, m, &entry.address, purpose);
		return true;
	}
	return false;
}

/* Gives up a neighbour beyond the target that has more than it needs too. False if there is none. */
static bool trim_one(struct gossip *g)
{
	struct link *chosen = NULL;
	struct wire_entry entry;
	unsigned n = 0;

	for (unsigned i = 0; i < g->n_links; i++) {
		struct link *l = &g->links[i];

		if (l->state == LINK_ACTIVE && l->listed && g->now - l->since > TRIM_AGE &&
			!on_ring(g, l->peer) && g->members[l->peer].n_neighbours > wanted(g) &&
			random_below(g, ++n) == 0)
			chosen = l;
	}
	if (!chosen)
		return false;
	entry_of(g, chosen->peer, &entry);
	link_drop(g, chosen, true);
	passive_add(g, &entry);
	return true;
}

/* Asks the successors on the rings that are no neighbours yet; not while members come and go. True if
 * there was one. */
static bool repair_rings(struct gossip *g)
{
	struct gossip_addr to;
	bool any = false;

	if (!resting(g))
		return false;
	rings_update(g);
	for (unsigned r = 0; r < n_rings(g); r++) {
		uint16_t m = g->rings[r][0];

		if (m == NONE || !candidate_ok(g, m))
			continue;
		member_address(g, m, &to);
		link_request(g, m, &to, PURPOSE_HIGH);
		any = true;
	}
	return any;
}

static void repair(struct gossip *g)
{
	unsigned n = links_wanted_taken(g);
	bool found = true, ring, waits;
	nsec_t again;

	g->repair_next = g->now + REPAIR_IDLE + random_below(g, REPAIR_IDLE);
	if (g->rings_next <= g->now)
		g->rings_next = NSEC_NEVER;
	ring = repair_rings(g);
	waits = n > wanted(g) / 2 && g->now < g->fill_not_before;
	for (unsigned k = n; !ring && resting(g) && k > wanted(g) && trim_one(g); k--)
		;
	while (!ring && !waits && n < aim(g) && found) {
		found = repair_one(g);
		n++;
	}
	n = links_listed(g);
	if (ring) {
		g->repair_next = g->now + REPAIR_AGAIN + random_below(g, REPAIR_AGAIN);
	} else if (n >= aim(g)) {
		g->n_repairs = 0;
	} else if (waits) {
		g->repair_next = g->fill_not_before + random_below(g, REPAIR_SPREAD);
	} else if (found) {
		again = REPAIR_AGAIN << (g->n_repairs < 5 ? g->n_repairs : 5);
		g->n_repairs += g->n_repairs < 5 && n > wanted(g) / 2;
		g->repair_next = g->now + again + random_below(g, again);
	}
}

/* ---- Lost members and contacts ---- */

static nsec_t dial_interval(const struct gossip *g, const struct absent *a)
{
	nsec_t interval = (g->now - a->since) / DIAL_SHARE;

	return interval < DIAL_MIN ? DIAL_MIN : interval > DIAL_MAX ? DIAL_MAX : interval;
}

static void dial(struct gossip *g)
{
	uint64_t rate = 0; /* hails a second of the whole cluster, in 65536ths */

	g->dial_next = g->now + DIAL_INTERVAL - random_below(g, DIAL_INTERVAL / 8);
	for (size_t i = 0; i < g->n_absent; i++)
		rate += (SEC << 16) / dial_interval(g, &g->absent[i]);
	rate = rate * DIAL_INTERVAL / SEC / g->n_reachable;
	if (random_below(g, 1 << 16) >= rate)
		return;
	for (unsigned i = 0; i < 8; i++) {
		const struct absent *a = &g->absent[random_below(g, g->n_absent)];

		if (random_below(g, dial_interval(g, a)) >= DIAL_MIN)
			continue;
		if (!member_reachable(g, a->member))
			detector_hail(g, a->member);
		return;
	}
}

void membership_pong(struct gossip *g, uint16_t m)
{
	struct gossip_addr to;

	if (member_reachable(g, m) || link_any(g, m, NULL))
		return;
	member_address(g, m, &to);
	link_request(g, m, &to, PURPOSE_HIGH);
}

static bool address_reachable(const struct gossip *g, const struct gossip_addr *a)
{
	for (size_t m = 0; m < g->n_members; m++) {
		struct gossip_addr other;

		if (!member_reachable(g, m) || (g->members[m].flags & MEMBER_FREE))
			continue;
		member_address(g, m, &other);
		if (gossip_addr_equal(a, &other))
			return true;
	}
	return false;
}

/* Whether this contact is being asked already; not if that has gone on for too long. */
static bool contact_asked(struct gossip *g, const struct gossip_addr *a)
{
	for (unsigned i = 0; i < g->n_links; i++) {
		struct link *l = &g->links[i];

		if (l->state != LINK_OPENING || !gossip_addr_equal(&l->address, a))
			continue;
		if (g->now - l->since < CONTACT_AGAIN)
			return true;
		link_drop(g, l, false);
	}
	return false;
}

static bool contact_missing(const struct gossip *g)
{
	for (size_t i = 0; i < g->n_contacts; i++) {
		if (!address_reachable(g, &g->contacts[i]))
			return true;
	}
	return false;
}

static void contact(struct gossip *g)
{
	size_t first = random_below(g, g->n_contacts);
	bool alone = links_listed(g) == 0;
	nsec_t wait = CONTACT_LINKED;

	if (g->now - g->started < START_TIME && contact_missing(g))
		wait = CONTACT_STARTING;
	if (alone) {
		wait = CONTACT_MIN << (g->contact_failures < 8 ? g->contact_failures : 8);
		wait = wait > CONTACT_MAX ? CONTACT_MAX : wait;
		g->contact_failures++;
	}
	g->contact_next = g->now + wait / 2 + random_below(g, wait);
	for (size_t i = 0; i < g->n_contacts; i++) {
		const struct gossip_addr *a = &g->contacts[(first + i) % g->n_contacts];

		if (gossip_addr_equal(a, &g->config.address) || contact_asked(g, a))
			continue;
		if (alone || !address_reachable(g, a))
			link_request(g, NONE, a, PURPOSE_JOIN);
		return;
	}
}

/* ---- Time ---- */

static nsec_t upkeep_link(struct gossip *g, struct link *l)
{
	nsec_t until = NSEC_NEVER;

	switch (l->state) {
	case LINK_FREE:
		return NSEC_NEVER;
	case LINK_OPENING:
		until = l->since + OPEN_TIMEOUT;
		break;
	case LINK_GREETING:
		until = l->since + GREET_TIMEOUT;
		break;
	case LINK_ACTIVE:
		if (l->stalled)
			until = l->since + STALLED_KEPT;
		else if (l->unlisted != NSEC_NEVER)
			until = l->unlisted + UNLISTED_MAX;
		break;
	}
	if (until > g->now)
		return until;
	if (l->state != LINK_ACTIVE)
		refused(g, l->peer);
	link_drop(g, l, true);
	membership_lost_neighbour(g);
	return NSEC_NEVER;
}

static void upkeep(struct gossip *g)
{
	nsec_t next = NSEC_NEVER;

	g->upkeep_next = NSEC_NEVER;
	for (unsigned i = 0; i < g->n_links; i++) {
		nsec_t until = upkeep_link(g, &g->links[i]);

		if (until < next)
			next = until;
	}
	upkeep_at(g, next);
}

void membership_tick(struct gossip *g)
{
	if (g->upkeep_next <= g->now)
		upkeep(g);
	if (g->repair_next <= g->now || g->rings_next <= g->now)
		repair(g);
	if (g->n_absent > 0 && g->dial_next <= g->now)
		dial(g);
	if (g->contact_next <= g->now)
		contact(g);
	if (g->shuffle_next <= g->now) {
		g->shuffle_next = g->now + SHUFFLE_INTERVAL / 2 + random_below(g, SHUFFLE_INTERVAL);
		shuffle_start(g);
	}
}

nsec_t membership_deadline(const struct gossip *g)
{
	nsec_t d = g->repair_next;

	if (g->rings_next < d)
		d = g->rings_next;
	if (g->upkeep_next < d)
		d = g->upkeep_next;
	if (g->n_absent > 0 && g->dial_next < d)
		d = g->dial_next;
	if (g->contact_next < d)
		d = g->contact_next;
	return g->shuffle_next < d ? g->shuffle_next : d;
}

void membership_forget(struct gossip *g, uint16_t m)
{
	struct link *l;

	passive_remove(g, g->members[m].id);
	while ((l = link_any(g, m, NULL)))
		link_drop(g, l, false);
	for (unsigned i = 0; i < sizeof(g->refused) / sizeof(g->refused[0]); i++) {
		if (g->refused[i].member == m)
			g->refused[i].until = 0;
	}
}

int gossip_preload_link(
	struct gossip *g, nsec_t now, uint64_t id, nsec_t rtt, bool outgoing, uint32_t *ret_link)
{
	uint16_t peer = member_find(g, id);
	struct link *l = peer == NONE ? NULL : link_new(g);

	if (!l)
		return -ENOSPC;
	if (now > g->now)
		g->now = now;
	l->state = LINK_ACTIVE;
	l->listed = l->eager = l->proven = true;
	l->outgoing = outgoing;
	l->peer = peer;
	l->incarnation = g->members[peer].incarnation;
	l->since = l->heard = g->now;
	l->rtt_us[0] = rtt / 1000;
	l->n_rtt = l->at_rtt = 1;
	l->order = g->next_order++;
	l->expected = g->now + GOSSIP_NEIGHBOURS_MAX * g->config.beat_interval +
		      random_below(g, g->config.beat_interval);
	if (l->expected < g->detector_next)
		g->detector_next = l->expected;
	*ret_link = l->handle;
	return 0;
}
