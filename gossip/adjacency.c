/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The adjacency table: every member's own record, and which members a path leads to.
 *
 * A record says what only its owner knows: address, incarnation, version, neighbours, and whom
 * of its former neighbours it lost and how. It is written by its owner alone. Nobody accuses
 * anybody: in SWIM one member's "suspect" makes every member count down to a third one's death,
 * and a sick accuser takes healthy members with it (15 to 55 of them per healed isolation,
 * measured on serf). lashup's adjacency table avoids that, in all its runs, and this is lashup's
 * idea: an edge counts when both ends list it, and a member is there when a path of edges leads
 * to it. What differs:
 *
 *  - lashup recomputes a whole spanning tree at a change. Here a tree of parents is kept, and
 *    a lost edge that is not on the tree costs nothing; one that is costs a walk over what hung
 *    from it. Which edges are mutual is a bit per neighbour, kept as records change.
 *  - lashup orders records by wall-clock epochs. Here by (incarnation, version): a boot counter
 *    and a counter, so that no clock step can revive or bury anyone.
 *  - A record also holds `lost`: what its owner heard when it tested a lost neighbour. Without it
 *    "no path" would be all that others know, and an agent's restart would look like a host's
 *    death. It names the incarnation and version that were tested; once its subject has started
 *    again, or gained a neighbour in a later version, it counts for nothing. (Not at any later
 *    version: in a split everyone's record changes while the last news still comes through.) The
 *    owner says in the record how long ago that was: who gets a whole record in place of the steps
 *    cannot see it, and all are to count the same votes.
 *
 * Members are named by dense 16-bit indices; a record is 64 bytes, since everyone holds everyone's:
 * 10,000 members cost 0.7 MB. All digests are XORs of one hash per record, kept up to date.
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(struct member) == 64, "everyone holds everyone's");

static size_t index_of(const struct gossip *g, uint64_t id)
{
	size_t i = mix64(id) & (g->n_index - 1);

	while (g->index[i] != NONE && g->members[g->index[i]].id != id)
		i = (i + 1) & (g->n_index - 1);
	return i;
}

uint16_t member_find(const struct gossip *g, uint64_t id)
{
	return g->index[index_of(g, id)];
}

/* A table of at least 3/2 n slots, filled from the members. */
static int index_rebuild(struct gossip *g, size_t n)
{
	size_t n_index = 16;
	uint16_t *index;

	while (n_index < n + n / 2)
		n_index *= 2;
	if (n_index != g->n_index) {
		index = malloc(n_index * sizeof(*index));
		if (!index)
			return -ENOMEM;
		free(g->index);
		g->index = index;
		g->n_index = n_index;
	}
	memset(g->index, 0xff, g->n_index * sizeof(*g->index));
	for (size_t m = 0; m < g->n_members; m++) {
		if (!(g->members[m].flags & MEMBER_FREE))
			g->index[index_of(g, g->members[m].id)] = m;
	}
	return 0;
}

static bool resize(void *array, size_t n, size_t size)
{
	void *old, *bigger;

	memcpy(&old, array, sizeof(old));
	bigger = realloc(old, n * size);
	if (!bigger)
		return false;
	memcpy(array, &bigger, sizeof(bigger));
	return true;
}

int members_reserve(struct gossip *g, size_t n)
{
	if (n > g->config.n_members_max)
		return -ENOSPC;
	if (n <= g->n_members_allocated)
		return 0;
	if (!resize(&g->members, n, sizeof(*g->members)) ||
		!resize(&g->scratch, 2 * n, sizeof(*g->scratch)))
		return -ENOMEM;
	if (g->metadata) {
		if (!resize(&g->metadata, n, sizeof(*g->metadata)))
			return -ENOMEM;
		memset(g->metadata + g->n_members_allocated, 0,
			(n - g->n_members_allocated) * sizeof(*g->metadata));
	}
	if (g->v6 && !resize(&g->v6, n, sizeof(*g->v6)))
		return -ENOMEM;
	if (index_rebuild(g, n) < 0)
		return -ENOMEM;
	g->n_members_allocated = n;
	return 0;
}

static uint16_t slot_take(struct gossip *g)
{
	size_t n = g->n_members_allocated, more;

	for (; g->n_free > 0 && g->free_from < g->n_members; g->free_from++) {
		if (g->members[g->free_from].flags & MEMBER_FREE) {
			g->n_free--;
			return g->free_from++;
		}
	}
	if (g->n_members == n) {
		more = n + n / 4 + 16;
		if (more > g->config.n_members_max)
			more = g->config.n_members_max;
		if (more == n)
			return NONE;
		if (members_reserve(g, more) < 0) {
			g->fault = -ENOMEM;
			return NONE;
		}
	}
	return g->n_members++;
}

uint16_t member_add(struct gossip *g, uint64_t id)
{
	uint16_t m = member_find(g, id);

	if (m != NONE)
		return m;
	m = slot_take(g);
	if (m == NONE) {
		g->stats.refused++;
		return NONE;
	}
	g->members[m] = (struct member){.id = id, .parent = NONE};
	g->index[index_of(g, id)] = m;
	return m;
}

static uint64_t record_hash(const struct member *m)
{
	return mix64(m->id ^ mix64(m->incarnation ^ mix64(m->version)));
}

/* Takes a record out of the digests, or puts it in. */
static void digest_toggle(struct gossip *g, const struct member *m)
{
	uint64_t h;

	if (m->incarnation == 0)
		return;
	h = record_hash(m);
	g->digest ^= h;
	g->buckets[mix64(m->id) >> (64 - WIRE_BUCKETS_LOG2)] ^= h;
}

void member_address(const struct gossip *g, uint16_t m, struct gossip_addr *ret)
{
	const struct member *member = &g->members[m];

	*ret = (struct gossip_addr){.family = member->family, .port = member->port};
	if (member->family == 4)
		memcpy(ret->bytes, member->host, 4);
	else if (member->family == 6)
		memcpy(ret->bytes, g->v6[m], 16);
}

/* True if it changed. IPv6 addresses lie apart: most clusters have none. */
static bool address_set(struct gossip *g, struct member *m, const struct gossip_addr *a)
{
	size_t n = a->family == 4 ? 4 : 16;
	uint8_t *bytes;

	if (a->family == 6 && !g->v6) {
		g->v6 = calloc(g->n_members_allocated, sizeof(*g->v6));
		if (!g->v6) {
			g->fault = -ENOMEM;
			return false;
		}
	}
	bytes = a->family == 4 ? m->host : g->v6[m - g->members];
	if (m->family == a->family && m->port == a->port && memcmp(bytes, a->bytes, n) == 0)
		return false;
	m->family = a->family;
	m->port = a->port;
	memcpy(bytes, a->bytes, n);
	return true;
}

static size_t metadata_get(const struct gossip *g, uint16_t m, const uint8_t **ret)
{
	uint16_t n;

	if (!g->metadata || !g->metadata[m])
		return 0;
	memcpy(&n, g->metadata[m], sizeof(n));
	*ret = g->metadata[m] + sizeof(n);
	return n;
}

/* True if it changed. */
static bool metadata_set(struct gossip *g, uint16_t m, const void *bytes, size_t n)
{
	const uint8_t *old = NULL;
	uint16_t n16 = n;
	uint8_t *blob = NULL;

	if (metadata_get(g, m, &old) == n && (n == 0 || memcmp(old, bytes, n) == 0))
		return false;
	if (!g->metadata) {
		g->metadata = calloc(g->n_members_allocated, sizeof(*g->metadata));
		if (!g->metadata) {
			g->fault = -ENOMEM;
			return false;
		}
	}
	if (n > 0) {
		blob = malloc(sizeof(n16) + n);
		if (!blob) {
			g->fault = -ENOMEM;
			return false;
		}
		memcpy(blob, &n16, sizeof(n16));
		memcpy(blob + sizeof(n16), bytes, n);
	}
	if (g->metadata[m])
		g->n_metadata -= sizeof(n16) + metadata_get(g, m, &old);
	g->n_metadata += n > 0 ? sizeof(n16) + n : 0;
	free(g->metadata[m]);
	g->metadata[m] = blob;
	return true;
}

/* ---- Reachability: a tree of mutual edges, rooted in this node ---- */

static int slot_of(const struct member *m, uint16_t other)
{
	for (int i = 0; i < m->n_neighbours; i++) {
		if (m->neighbours[i] == other)
			return i;
	}
	return -1;
}

bool member_lists(const struct gossip *g, uint16_t m, uint16_t other)
{
	return slot_of(&g->members[m], other) >= 0;
}

static void reached(struct gossip *g, uint16_t m)
{
	g->n_reachable++;
	membership_reached(g, m);
	absent_add(g, m); /* to be looked at: it is announced at the end of the call */
}

static void unreached(struct gossip *g, uint16_t m)
{
	g->n_reachable--;
	membership_unreached(g, m);
	absent_add(g, m);
}

/* Everything without a path that has one through queue[0..n), which have. */
static void reach_spread(struct gossip *g, uint16_t *queue, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct member *v = &g->members[queue[i]];

		g->stats.reach_steps++;
		for (unsigned bits = v->mutual; bits > 0; bits &= bits - 1) {
			uint16_t w = v->neighbours[__builtin_ctz(bits)];

			if (g->members[w].parent != NONE)
				continue;
			g->members[w].parent = queue[i];
			queue[n++] = w;
			reached(g, w);
		}
	}
}

static void reach_attach(struct gossip *g, uint16_t m, uint16_t parent)
{
	g->members[m].parent = parent;
	reached(g, m);
	g->scratch[0] = m;
	reach_spread(g, g->scratch, 1);
}

/* The edge to m's parent is gone: find another way to what hung from it. */
static void reach_detach(struct gossip *g, uint16_t m)
{
	uint16_t *subtree = g->scratch, *queue = g->scratch + g->n_members_allocated;
	size_t n = 1, n_queue;

	subtree[0] = m;
	g->members[m].parent = NONE;
	for (size_t i = 0; i < n; i++) {
		const struct member *v = &g->members[subtree[i]];

		g->stats.reach_steps++;
		for (unsigned bits = v->mutual; bits > 0; bits &= bits - 1) {
			uint16_t w = v->neighbours[__builtin_ctz(bits)];

			if (g->members[w].parent != subtree[i] || w == g->self)
				continue;
			g->members[w].parent = NONE;
			subtree[n++] = w;
		}
	}
	for (size_t i = 0; i < n; i++)
		unreached(g, subtree[i]);
	/* Those with an edge to the rest of the tree are roots of what is found again. */
	n_queue = 0;
	for (size_t i = 0; i < n; i++) {
		struct member *v = &g->members[subtree[i]];

		for (unsigned bits = v->mutual; bits > 0 && v->parent == NONE; bits &= bits - 1) {
			uint16_t w = v->neighbours[__builtin_ctz(bits)];

			if (g->members[w].parent == NONE)
				continue;
			v->parent = w;
			reached(g, subtree[i]);
			queue[0] = subtree[i];
			n_queue++;
			reach_spread(g, queue, 1);
		}
	}
}

static void edge_add(struct gossip *g, uint16_t a, uint16_t b)
{
	struct member *ma = &g->members[a], *mb = &g->members[b];
	int back;

	if (a == b || slot_of(ma, b) >= 0 || ma->n_neighbours == GOSSIP_NEIGHBOURS_MAX)
		return;
	ma->neighbours[ma->n_neighbours++] = b;
	ma->since_add = 0;
	back = slot_of(mb, a);
	if (back < 0) {
		if (ma->parent != NONE && mb->parent == NONE) {
			mb->flags |= MEMBER_LINKED;
			g->verdict_dirty = true;
		}
		return;
	}
	ma->mutual |= 1u << (ma->n_neighbours - 1);
	mb->mutual |= 1u << back;
	if (ma->parent != NONE && mb->parent == NONE)
		reach_attach(g, b, a);
	else if (mb->parent != NONE && ma->parent == NONE)
		reach_attach(g, a, b);
}

static void edge_remove(struct gossip *g, uint16_t a, uint16_t b)
{
	struct member *ma = &g->members[a], *mb = &g->members[b];
	int slot = slot_of(ma, b), back, last;
	bool mutual;

	if (slot < 0)
		return;
	mutual = ma->mutual & 1u << slot;
	last = --ma->n_neighbours;
	ma->neighbours[slot] = ma->neighbours[last];
	ma->mutual = (ma->mutual & ~(1u << slot)) | (ma->mutual >> last & 1) << slot;
	ma->mutual &= (1u << last) - 1;
	if (!mutual)
		return;
	back = slot_of(mb, a);
	mb->mutual &= ~(1u << back);
	if (mb->parent == a && b != g->self)
		reach_detach(g, b);
	else if (ma->parent == b && a != g->self)
		reach_detach(g, a);
}

/* ---- What owners say of those they lost ---- */

/* Where those of this owner begin: they lie in the order of owners, each owner's oldest first. */
static size_t lost_first(const struct gossip *g, uint16_t owner)
{
	size_t low = 0, high = g->n_lost;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (g->lost[middle].owner < owner)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct lost *lost_find(struct gossip *g, uint16_t owner, uint16_t subject)
{
	size_t first = lost_first(g, owner);

	for (size_t i = first; i < first + g->members[owner].n_lost; i++) {
		if (g->lost[i].subject == subject)
			return &g->lost[i];
	}
	return NULL;
}

struct lost *own_lost(struct gossip *g, uint16_t subject)
{
	return lost_find(g, g->self, subject);
}

static void lost_remove(struct gossip *g, struct lost *lost)
{
	g->members[lost->owner].n_lost--;
	g->n_lost--;
	memmove(lost, lost + 1, (g->lost + g->n_lost - lost) * sizeof(*lost));
	g->verdict_dirty = true;
}

/* Room for one more of this owner's; NULL: it has enough, or memory is short. */
static struct lost *lost_new(struct gossip *g, uint16_t owner, uint16_t subject)
{
	struct lost *lost;

	if (g->members[owner].n_lost == GOSSIP_LOST_MAX ||
		!grow(g, &g->lost, &g->n_lost_allocated, g->n_lost + 1, sizeof(*g->lost),
			(size_t)GOSSIP_LOST_MAX * GOSSIP_MEMBERS_MAX))
		return NULL;
	lost = &g->lost[lost_first(g, owner) + g->members[owner].n_lost++];
	memmove(lost + 1, lost, (g->lost + g->n_lost - lost) * sizeof(*lost));
	g->n_lost++;
	*lost = (struct lost){.owner = owner, .subject = subject};
	return lost;
}

static void lost_set(
	struct gossip *g, uint16_t owner, const struct wire_lost *said, uint16_t subject)
{
	struct lost *lost = lost_find(g, owner, subject);

	if (!lost)
		lost = lost_new(g, owner, subject);
	if (!lost)
		return;
	if (lost->op == said->op && lost->boot == said->boot && lost->version == said->version)
		return; /* said before: no news */
	*lost = (struct lost){.version = said->version,
		.boot = said->boot,
		.since = g->now,
		.owner = owner,
		.subject = subject,
		.op = said->op};
	if (said->op == OP_SILENT) {
		trace_note(g, subject, TRACE_SEVERED);
		verdict_half_lost(g, subject);
	}
	g->verdict_dirty = true;
}

/* ---- Records ---- */

static void op_apply(struct gossip *g, uint16_t owner, const struct wire_lost *op)
{
	uint16_t subject = member_add(g, op->id);
	struct lost *lost;

	if (subject == NONE)
		return;
	switch ((enum wire_op)op->op) {
	case OP_ADD:
		edge_add(g, owner, subject);
		__attribute__((fallthrough));
	case OP_CLEAR:
		lost = lost_find(g, owner, subject);
		if (lost)
			lost_remove(g, lost);
		break;
	case OP_SILENT:
	case OP_STALLED:
	case OP_AGENTLESS:
		lost_set(g, owner, op, subject);
		__attribute__((fallthrough));
	case OP_DROP:
		edge_remove(g, owner, subject);
		break;
	}
}

/* After a record of another member changed: what else hears of it. */
static void record_changed(struct gossip *g, uint16_t m)
{
	g->changed = g->now;
	if (g->members[m].parent == NONE)
		absent_add(g, m);
	membership_record_changed(g, m);
}

/* The next version, which may gain it a neighbour: edge_add() begins to count anew. */
static void version_step(struct gossip *g, struct member *m)
{
	digest_toggle(g, m);
	m->version++;
	digest_toggle(g, m);
	m->since_add += m->since_add < UINT16_MAX;
}

static enum apply delta_apply(struct gossip *g, uint16_t m, const struct wire_item *item)
{
	struct member *member = &g->members[m];

	if (m == g->self)
		return APPLY_OLD;
	if (member->incarnation == 0)
		return APPLY_GAP;
	if (wire_boot(member->incarnation) != item->delta.boot)
		return APPLY_GAP;
	if (member->version > item->delta.base)
		return APPLY_OLD;
	if (member->version < item->delta.base)
		return APPLY_GAP;
	version_step(g, member);
	for (unsigned i = 0; i < item->delta.n_ops; i++)
		op_apply(g, m, &item->delta.ops[i]);
	record_changed(g, m);
	for (unsigned i = 0; i < item->delta.n_ops; i++) {
		uint16_t subject = member_find(g, item->delta.ops[i].id);
		enum wire_op op = item->delta.ops[i].op;

		if (subject != NONE && op >= OP_SILENT && op <= OP_AGENTLESS)
			detector_severed_by(g, m, subject, op);
		if (subject != NONE && op == OP_SILENT)
			detector_silenced(g, subject);
	}
	return APPLY_NEW;
}

/* Someone holds another record of ours. */
static enum apply own_record_seen(struct gossip *g, const struct wire_item *item)
{
	struct member *self = &g->members[g->self];

	if (item->record.incarnation > self->incarnation) {
		event_push(g, &(struct gossip_event){.kind = GOSSIP_EVENT_CONFLICT,
				      .id = self->id,
				      .incarnation = item->record.incarnation});
		return APPLY_DROP;
	}
	if (item->record.incarnation == self->incarnation && item->record.version > self->version &&
		item->record.version < UINT64_MAX) {
		digest_toggle(g, self);
		self->version = item->record.version + 1;
		digest_toggle(g, self);
		self->since_add = 0;
		g->changed = g->now;
		rumour_add_record(g, g->self, true);
	}
	return APPLY_OLD;
}

static void lost_replace(struct gossip *g, uint16_t m, const struct wire_item *item)
{
	size_t first = lost_first(g, m);

	for (size_t i = first + g->members[m].n_lost; i-- > first;) {
		uint64_t id = g->members[g->lost[i].subject].id;
		bool stays = false;

		for (unsigned k = 0; k < item->record.n_lost; k++)
			stays |= item->record.lost[k].id == id;
		if (!stays)
			lost_remove(g, &g->lost[i]);
	}
	for (unsigned i = 0; i < item->record.n_lost; i++) {
		uint16_t other = item->record.lost[i].id == 0
					 ? NONE
					 : member_add(g, item->record.lost[i].id);

		if (other != NONE)
			lost_set(g, m, &item->record.lost[i], other);
	}
}

static void lists_replace(struct gossip *g, uint16_t m, const struct wire_item *item)
{
	struct member *member = &g->members[m];

	for (unsigned i = member->n_neighbours; i-- > 0;) {
		uint64_t id = g->members[member->neighbours[i]].id;
		bool stays = false;

		for (unsigned k = 0; k < item->record.n_neighbours; k++)
			stays |= item->record.neighbours[k] == id;
		if (!stays)
			edge_remove(g, m, member->neighbours[i]);
	}
	for (unsigned i = 0; i < item->record.n_neighbours; i++) {
		uint16_t other = item->record.neighbours[i] == 0
					 ? NONE
					 : member_add(g, item->record.neighbours[i]);

		if (other != NONE)
			edge_add(g, m, other);
	}
	lost_replace(g, m, item);
}

static enum apply whole_apply(struct gossip *g, uint16_t m, const struct wire_item *item)
{
	struct member *member = &g->members[m];
	bool first = member->incarnation == 0, reborn;
	bool other = false;

	if (m == g->self)
		return own_record_seen(g, item);
	if (item->record.incarnation < member->incarnation ||
		(item->record.incarnation == member->incarnation &&
			item->record.version <= member->version))
		return APPLY_OLD;
	reborn = !first && item->record.incarnation > member->incarnation;
	digest_toggle(g, member);
	g->n_known += first;
	member->incarnation = item->record.incarnation;
	member->version = item->record.version;
	digest_toggle(g, member);
	other = address_set(g, member, &item->record.address);
	other |= metadata_set(g, m, item->record.metadata, item->record.n_metadata);
	lists_replace(g, m, item); /* may move g->members */
	g->members[m].since_add =
		item->record.since_add < UINT16_MAX ? item->record.since_add : UINT16_MAX;
	record_changed(g, m);
	if (reborn)
		absent_reborn(g, m);
	if (g->members[m].parent == NONE && item->record.age > 0)
		absent_age(g, m, item->record.age);
	if (other && !first)
		event_push(g, &(struct gossip_event){.kind = GOSSIP_EVENT_METADATA,
				      .id = item->owner,
				      .incarnation = item->record.incarnation,
				      .status = g->members[m].status});
	for (unsigned i = 0; i < item->record.n_lost; i++) {
		uint16_t subject = member_find(g, item->record.lost[i].id);

		if (subject != NONE)
			detector_severed_by(g, m, subject, item->record.lost[i].op);
	}
	return APPLY_NEW;
}

enum apply record_apply(struct gossip *g, const struct wire_item *item, uint16_t *ret_owner)
{
	uint16_t m = member_find(g, item->owner);

	if (m == NONE) {
		if (item->kind == ITEM_RECORD &&
			tombstone_covers(
				g, item->owner, item->record.incarnation, item->record.version))
			return APPLY_DROP;
		m = member_add(g, item->owner);
		if (m == NONE)
			return APPLY_DROP;
	}
	*ret_owner = m;
	return item->kind == ITEM_DELTA ? delta_apply(g, m, item) : whole_apply(g, m, item);
}

void record_item(const struct gossip *g, uint16_t m, struct wire_item *ret)
{
	const struct member *member = &g->members[m];
	const struct absent *absent = absent_find(g, m);
	size_t first = lost_first(g, m);

	memset(ret, 0, offsetof(struct wire_item, record.neighbours));
	ret->kind = ITEM_RECORD;
	ret->owner = member->id;
	ret->record.incarnation = member->incarnation;
	ret->record.version = member->version;
	member_address(g, m, &ret->record.address);
	ret->record.n_neighbours = member->n_neighbours;
	for (unsigned i = 0; i < member->n_neighbours; i++)
		ret->record.neighbours[i] = g->members[member->neighbours[i]].id;
	ret->record.n_lost = member->n_lost;
	for (unsigned i = 0; i < member->n_lost; i++) {
		const struct lost *lost = &g->lost[first + i];

		ret->record.lost[i] = (struct wire_lost){.id = g->members[lost->subject].id,
			.version = lost->version,
			.boot = lost->boot,
			.op = lost->op};
	}
	ret->record.metadata = NULL;
	ret->record.n_metadata = metadata_get(g, m, &ret->record.metadata);
	ret->record.age = absent ? (g->now - absent->since) / SEC + 1 : 0;
	ret->record.since_add = member->since_add;
}

static void own_step(struct gossip *g, enum wire_op op, uint16_t subject, bool urgent)
{
	struct member *self = &g->members[g->self];
	uint64_t base = self->version;
	struct wire_lost said = {.op = op,
		.id = g->members[subject].id,
		.version = g->members[subject].version,
		.boot = wire_boot(g->members[subject].incarnation)};

	if (!rumour_own_pending(g))
		version_step(g, self);
	else
		base--;
	op_apply(g, g->self, &said);
	g->changed = g->now;
	rumour_own(g, &said, subject, urgent, base);
}

/* What our record says of those that are back, or too many. Said along with another change,
 * since it is no news by itself. */
static void own_tidy(struct gossip *g, uint16_t subject, bool room)
{
	size_t first = lost_first(g, g->self);
	uint16_t oldest = NONE;

	for (size_t i = first; i < first + g->members[g->self].n_lost; i++) {
		const struct lost *lost = &g->lost[i];

		if (lost->subject == subject)
			continue;
		if (member_reachable(g, lost->subject) &&
			(lost->op != OP_SILENT || !lost_valid(g, lost))) {
			own_step(g, OP_CLEAR, lost->subject, false);
			return;
		}
		if (oldest == NONE)
			oldest = lost->subject;
	}
	if (room && oldest != NONE && g->members[g->self].n_lost == GOSSIP_LOST_MAX) {
		detector_unwatch(g, oldest);
		own_step(g, OP_CLEAR, oldest, false);
	}
}

void own_change(struct gossip *g, enum wire_op op, uint16_t subject, bool urgent)
{
	bool loses = op == OP_SILENT || op == OP_STALLED || op == OP_AGENTLESS;

	if (loses && own_lost(g, subject) == NULL)
		own_tidy(g, subject, true);
	own_step(g, op, subject, urgent);
	if (!loses)
		own_tidy(g, subject, false);
}

void own_silence_clear(struct gossip *g)
{
	size_t first = lost_first(g, g->self);

	/* Each change may remove another one, too: those behind it have been looked at. */
	for (size_t i = g->members[g->self].n_lost; i-- > 0;) {
		if (i < g->members[g->self].n_lost && g->lost[first + i].op == OP_SILENT)
			own_change(g, OP_CLEAR, g->lost[first + i].subject, false);
	}
}

int own_metadata(struct gossip *g, const void *bytes, size_t n)
{
	struct member *self = &g->members[g->self];

	if (!metadata_set(g, g->self, bytes, n))
		return g->fault;
	version_step(g, self);
	g->changed = g->now;
	rumour_add_record(g, g->self, false);
	return g->fault;
}

uint16_t member_random(struct gossip *g)
{
	for (unsigned i = 0; i < 8; i++) {
		uint16_t m = random_below(g, g->n_members);

		if (!(g->members[m].flags & MEMBER_FREE) && g->members[m].incarnation != 0)
			return m;
	}
	return NONE;
}

void member_forget(struct gossip *g, uint16_t m)
{
	digest_toggle(g, &g->members[m]);
	g->members[m].flags |= MEMBER_FORGOTTEN;
}

static bool forgotten(const struct gossip *g, uint16_t m)
{
	return g->members[m].flags & MEMBER_FORGOTTEN;
}

static void slot_free(struct gossip *g, uint16_t m)
{
	metadata_set(g, m, NULL, 0);
	g->n_known -= g->members[m].incarnation != 0;
	g->members[m] = (struct member){.parent = NONE, .flags = MEMBER_FREE};
	g->n_free++;
	if (m < g->free_from)
		g->free_from = m;
}

void members_sweep(struct gossip *g)
{
	size_t n_lost = g->n_lost;

	for (size_t m = 0; m < g->n_members; m++) {
		for (unsigned i = g->members[m].n_neighbours; i-- > 0;) {
			uint16_t other = g->members[m].neighbours[i];

			if (forgotten(g, m) || forgotten(g, other))
				edge_remove(g, m, other);
		}
	}
	g->n_lost = 0;
	for (size_t i = 0; i < n_lost; i++) {
		if (forgotten(g, g->lost[i].owner) || forgotten(g, g->lost[i].subject))
			g->members[g->lost[i].owner].n_lost--;
		else
			g->lost[g->n_lost++] = g->lost[i];
	}
	for (size_t m = 0; m < g->n_members; m++) {
		if (forgotten(g, m))
			slot_free(g, m);
	}
	index_rebuild(g, g->n_members_allocated);
	g->changed = g->now;
}

int adjacency_init(struct gossip *g)
{
	struct member *self;
	int r = members_reserve(g, 8);

	if (r < 0)
		return r;
	g->self = member_add(g, g->config.id);
	self = &g->members[g->self];
	self->incarnation = g->config.incarnation;
	self->version = 1;
	self->status = GOSSIP_STATUS_UP;
	self->parent = g->self;
	address_set(g, self, &g->config.address);
	g->n_reachable = g->n_known = 1;
	digest_toggle(g, self);
	return g->fault;
}

void adjacency_done(struct gossip *g)
{
	if (g->metadata) {
		for (size_t m = 0; m < g->n_members; m++)
			free(g->metadata[m]);
	}
	free(g->metadata);
	free(g->members);
	free(g->scratch);
	free(g->index);
	free(g->v6);
	free(g->lost);
}

/* ---- To look at ---- */

static void member_view(const struct gossip *g, uint16_t m, struct gossip_member *ret)
{
	const struct member *member = &g->members[m];
	size_t first = lost_first(g, m);

	*ret = (struct gossip_member){.id = member->id,
		.incarnation = member->incarnation,
		.version = member->version,
		.status = member->status,
		.reachable = member->parent != NONE,
		.n_neighbours = member->n_neighbours};
	member_address(g, m, &ret->address);
	for (unsigned i = 0; i < member->n_neighbours; i++)
		ret->neighbours[i] = g->members[member->neighbours[i]].id;
	for (; ret->n_lost < member->n_lost; ret->n_lost++) {
		const struct lost *lost = &g->lost[first + ret->n_lost];

		ret->lost[ret->n_lost].id = g->members[lost->subject].id;
		ret->lost[ret->n_lost].status = lost->op == OP_SILENT    ? GOSSIP_STATUS_DOWN
						: lost->op == OP_STALLED ? GOSSIP_STATUS_STALLED
									 : GOSSIP_STATUS_AGENTLESS;
	}
	ret->n_metadata = metadata_get(g, m, &ret->metadata);
}

bool gossip_member_next(const struct gossip *g, size_t *cursor, struct gossip_member *ret)
{
	for (; *cursor < g->n_members; ++*cursor) {
		const struct member *m = &g->members[*cursor];

		if (m->incarnation == 0 || (m->flags & MEMBER_FREE))
			continue;
		member_view(g, (*cursor)++, ret);
		return true;
	}
	return false;
}

bool gossip_member_get(const struct gossip *g, uint64_t id, struct gossip_member *ret)
{
	uint16_t m = member_find(g, id);

	if (m == NONE)
		return false;
	member_view(g, m, ret);
	return true;
}

enum gossip_status gossip_member_status(const struct gossip *g, uint64_t id)
{
	uint16_t m = member_find(g, id);

	return m == NONE ? GOSSIP_STATUS_UNKNOWN : (enum gossip_status)g->members[m].status;
}

/* ---- The shortcut ---- */

int gossip_preload(struct gossip *g, uint64_t id, uint64_t incarnation, uint64_t version,
	const struct gossip_addr *address, const uint64_t *neighbours, size_t n)
{
	struct wire_item item = {.kind = ITEM_RECORD, .owner = id};
	struct member *self = &g->members[g->self];
	uint16_t m;

	item.record.incarnation = incarnation;
	item.record.version = version;
	item.record.address = *address;
	item.record.n_neighbours = n;
	if (n > 0)
		memcpy(item.record.neighbours, neighbours, n * sizeof(*neighbours));
	if (id == self->id) {
		digest_toggle(g, self);
		self->version = version;
		digest_toggle(g, self);
		lists_replace(g, g->self, &item);
	} else if (record_apply(g, &item, &m) != APPLY_NEW) {
		return -ENOSPC;
	}
	return g->fault;
}

int gossip_preload_from(struct gossip *g, const struct gossip *other)
{
	uint16_t self = member_find(other, g->config.id);
	size_t n = other->n_members;

	if (self == NONE || other->metadata || other->v6 || other->n_lost > 0 || g->metadata)
		return -EINVAL;
	if (members_reserve(g, n) < 0)
		return -ENOMEM;
	memcpy(g->members, other->members, n * sizeof(*g->members));
	g->n_members = n;
	g->n_free = other->n_free;
	g->n_known = other->n_known;
	g->digest = other->digest;
	memcpy(g->buckets, other->buckets, sizeof(g->buckets));
	digest_toggle(g, &g->members[self]);
	g->members[self].incarnation = g->config.incarnation;
	digest_toggle(g, &g->members[self]);
	for (size_t m = 0; m < n; m++) {
		g->members[m].parent = NONE;
		g->members[m].flags &= MEMBER_FREE;
		g->members[m].status = GOSSIP_STATUS_UNKNOWN;
	}
	g->self = self;
	g->rings_known = false;
	g->members[self].parent = self;
	g->members[self].status = GOSSIP_STATUS_UP;
	g->n_reachable = 1;
	g->scratch[0] = self;
	reach_spread(g, g->scratch, 1);
	verdict_tick(g);
	return index_rebuild(g, n);
}
