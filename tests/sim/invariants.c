/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The invariants of a simulation, other than those that an event itself breaks (sim.c): of every node at
 * any time, and of all of them together when it has been quiet.
 */
#include "invariants.h"
#include "sim.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a node may hold, and say in a second, much less than the library's bounds for any input: here
 * nobody speaks out of turn. What takes most is a contact when all start again, twice in a second. */
#define MEMORY_BOUND (400 * 1024)
#define MEMORY_BOUND_MEMBER 400
#define RATE_BOUND (128 * 1024)
#define RATE_BOUND_MEMBER (4 * 1024)
#define RUMOURS_BOUND 1024
/* Larger clusters' tables are not compared: it takes the square of their size. */
#define TABLES_MAX 128

/* ---- Of one table ---- */

static int id_cmp(const void *a, const void *b)
{
	uint64_t x, y; /* the id stands first in a member, and in a lost one */

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return x < y ? -1 : x > y;
}

void table_read(const struct gossip *g, uint64_t self, struct table *table)
{
	struct gossip_stats stats;
	struct gossip_member m;
	size_t cursor = 0;

	gossip_stats(g, &stats);
	table->self = self;
	table->n = 0;
	table->n_reachable = stats.n_reachable;
	table->digest = stats.digest;
	table->members = realloc(table->members, (stats.n_members + 1) * sizeof(*table->members));
	assert(table->members);
	while (gossip_member_next(g, &cursor, &m) && table->n <= stats.n_members) {
		qsort(m.neighbours, m.n_neighbours, sizeof(m.neighbours[0]), id_cmp);
		qsort(m.lost, m.n_lost, sizeof(m.lost[0]), id_cmp);
		table->members[table->n++] = m;
	}
	qsort(table->members, table->n, sizeof(*table->members), id_cmp);
}

void table_done(struct table *table)
{
	free(table->members);
	table->members = NULL;
}

static const struct gossip_member *member_of(const struct table *table, uint64_t id)
{
	return bsearch(&id, table->members, table->n, sizeof(*table->members), id_cmp);
}

static bool lists(const struct gossip_member *m, uint64_t id)
{
	for (size_t i = 0; i < m->n_neighbours; i++) {
		if (m->neighbours[i] == id)
			return true;
	}
	return false;
}

/* Marks who has a path and was not marked. True if anyone was. */
static bool paths_step(const struct table *table, bool *there)
{
	bool any = false;

	for (size_t i = 0; i < table->n; i++) {
		const struct gossip_member *m = &table->members[i];

		for (size_t k = 0; there[i] && k < m->n_neighbours; k++) {
			const struct gossip_member *other = member_of(table, m->neighbours[k]);

			if (!other || there[other - table->members] || !lists(other, m->id))
				continue;
			there[other - table->members] = any = true;
		}
	}
	return any;
}

const char *table_check_paths(const struct table *table)
{
	const struct gossip_member *self = member_of(table, table->self);
	bool *there = calloc(table->n + 1, sizeof(*there));
	const char *error = NULL;
	size_t n = 0;

	assert(there);
	if (!self) {
		free(there);
		return "a node is not in its own table";
	}
	there[self - table->members] = true;
	while (paths_step(table, there))
		;
	for (size_t i = 0; i < table->n; i++) {
		n += there[i];
		if (there[i] != table->members[i].reachable)
			error = there[i] ? "a path is not known" : "reachable without a path";
	}
	if (!error && n != table->n_reachable)
		error = "the reachable are miscounted";
	free(there);
	return error;
}

static bool says_silent(const struct gossip_member *m, uint64_t subject)
{
	for (size_t i = 0; i < m->n_lost; i++) {
		if (m->lost[i].id == subject)
			return m->lost[i].status == GOSSIP_STATUS_DOWN;
	}
	return false;
}

const char *table_check_verdict(const struct table *table, uint64_t subject)
{
	const struct gossip_member *m = member_of(table, subject);
	size_t n_votes = 0;

	for (size_t i = 0; i < table->n; i++)
		n_votes += table->members[i].reachable && says_silent(&table->members[i], subject);
	if (!m || m->reachable)
		return "a verdict on one that a path leads to";
	return n_votes >= 2 || n_votes >= table->n_reachable ? NULL : "a verdict without votes";
}

static bool members_equal(const struct gossip_member *a, const struct gossip_member *b)
{
	if (a->id != b->id || a->incarnation != b->incarnation || a->version != b->version ||
		!gossip_addr_equal(&a->address, &b->address) ||
		a->n_neighbours != b->n_neighbours || a->n_lost != b->n_lost ||
		a->n_metadata != b->n_metadata)
		return false;
	for (size_t i = 0; i < a->n_lost; i++) {
		if (a->lost[i].id != b->lost[i].id || a->lost[i].status != b->lost[i].status)
			return false;
	}
	return memcmp(a->neighbours, b->neighbours, a->n_neighbours * sizeof(a->neighbours[0])) ==
		       0 &&
	       (a->n_metadata == 0 || memcmp(a->metadata, b->metadata, a->n_metadata) == 0);
}

const char *table_check_equal(const struct table *a, const struct table *b)
{
	if (a->digest != b->digest)
		return NULL;
	if (a->n != b->n)
		return "equal digests of tables of different size";
	for (size_t i = 0; i < a->n; i++) {
		if (!members_equal(&a->members[i], &b->members[i]))
			return "equal digests of different tables";
	}
	return NULL;
}

/* ---- Of a simulation ---- */

struct invariants {
	char error[256];
	uint64_t *lives;     /* each node's incarnation when it was looked at last */
	uint64_t (*seen)[2]; /* by node and subject: incarnation and version, then */
	struct table *tables;
};

struct invariants *invariants_new(unsigned n)
{
	struct invariants *v = calloc(1, sizeof(*v));

	assert(v);
	if (n > TABLES_MAX)
		return v;
	v->lives = calloc(n, sizeof(*v->lives));
	v->seen = calloc((size_t)n * n, sizeof(*v->seen));
	v->tables = calloc(n, sizeof(*v->tables));
	assert(v->lives && v->seen && v->tables);
	return v;
}

struct invariants *invariants_free(struct invariants *v, unsigned n)
{
	if (!v)
		return NULL;
	for (unsigned i = 0; v->tables && i < n; i++)
		table_done(&v->tables[i]);
	free(v->tables);
	free(v->seen);
	free(v->lives);
	free(v);
	return NULL;
}

static const char *fail(struct sim *s, const char *what, unsigned a, unsigned b)
{
	struct invariants *v = sim_invariants(s);

	snprintf(v->error, sizeof(v->error), "%.3f s: %s (%u, %u)", (double)sim_now(s) / SEC, what,
		a, b);
	return v->error;
}

/* What a node knows of another never goes back, and is never more than that one has said. */
static const char *check_versions(struct sim *s, unsigned i)
{
	struct invariants *v = sim_invariants(s);
	unsigned n = sim_size(s);
	struct gossip_member m, own;

	gossip_member_get(sim_gossip(s, i), sim_id(i), &own);
	if (v->lives[i] != own.incarnation) /* a new process knows nothing yet */
		memset(v->seen + (size_t)i * n, 0, n * sizeof(*v->seen));
	v->lives[i] = own.incarnation;
	for (unsigned k = 0; k < n; k++) {
		uint64_t *seen = v->seen[(size_t)i * n + k];

		if (!gossip_member_get(sim_gossip(s, i), sim_id(k), &m))
			continue;
		if (m.incarnation < seen[0] || (m.incarnation == seen[0] && m.version < seen[1]))
			return fail(s, "a record went back", i, k);
		seen[0] = m.incarnation;
		seen[1] = m.version;
		if (!sim_gossip(s, k))
			continue;
		gossip_member_get(sim_gossip(s, k), sim_id(k), &own);
		if (m.incarnation > own.incarnation ||
			(m.incarnation == own.incarnation && m.version > own.version))
			return fail(s, "a record that its owner has not written", i, k);
	}
	return NULL;
}

/* Paths against a plain search; tables with one digest against each other. */
static const char *check_tables(struct sim *s)
{
	struct table *tables = sim_invariants(s)->tables;

	for (unsigned i = 0; i < sim_size(s); i++) {
		const char *e;

		if (!sim_gossip(s, i))
			continue;
		table_read(sim_gossip(s, i), sim_id(i), &tables[i]);
		e = table_check_paths(&tables[i]);
		for (unsigned k = 0; k < i && !e; k++) {
			if (!sim_gossip(s, k) || tables[k].digest != tables[i].digest)
				continue;
			e = table_check_equal(&tables[k], &tables[i]);
			break; /* that one was compared with the others */
		}
		if (e)
			return fail(s, e, i, i);
	}
	return NULL;
}

const char *sim_check_bounds(struct sim *s, unsigned i)
{
	struct gossip_stats stats;

	gossip_stats(sim_gossip(s, i), &stats);
	if (stats.n_memory > MEMORY_BOUND + MEMORY_BOUND_MEMBER * (size_t)sim_size(s) ||
		stats.n_memory > gossip_memory_max(sim_size(s)))
		return "memory beyond its bound";
	if (stats.malformed > 0)
		return "malformed messages";
	if (stats.n_neighbours > GOSSIP_NEIGHBOURS_MAX || stats.n_rumours > RUMOURS_BOUND ||
		stats.n_links > GOSSIP_LINKS_MAX)
		return "a bound exceeded";
	if (sim_rate_max(s, i) > RATE_BOUND + RATE_BOUND_MEMBER * (uint64_t)sim_size(s) ||
		sim_rate_max(s, i) > GOSSIP_RATE_MAX)
		return "bytes in a second beyond their bound";
	return NULL;
}

static const char *check_node(struct sim *s, unsigned i)
{
	const char *error = sim_check_bounds(s, i);

	if (error)
		return fail(s, error, i, i);
	if (gossip_member_status(sim_gossip(s, i), sim_id(i)) != GOSSIP_STATUS_UP)
		return fail(s, "not up at itself", i, i);
	return sim_size(s) <= TABLES_MAX ? check_versions(s, i) : NULL;
}

const char *sim_check(struct sim *s)
{
	const char *error = sim_error(s);

	for (unsigned i = 0; i < sim_size(s) && !error; i++) {
		if (sim_gossip(s, i))
			error = check_node(s, i);
	}
	if (!error && sim_size(s) <= TABLES_MAX)
		error = check_tables(s);
	return error;
}

const char *sim_check_verdict(struct sim *s, unsigned i, unsigned of)
{
	struct table *tables = sim_invariants(s)->tables;

	if (!tables)
		return NULL;
	table_read(sim_gossip(s, i), sim_id(i), &tables[i]);
	return table_check_verdict(&tables[i], sim_id(of));
}

/* ---- When all has been quiet ---- */

static const char *check_pair(struct sim *s, unsigned i, unsigned of)
{
	struct gossip_member m, own;
	enum gossip_status status;

	if (!gossip_member_get(sim_gossip(s, i), sim_id(of), &m))
		return sim_running(s, of) ? fail(s, "unknown", i, of) : NULL;
	status = m.status;
	if (!sim_running(s, of)) {
		if (status == GOSSIP_STATUS_UP)
			return fail(s, "up without a process", i, of);
		if (!sim_alive(s, of) && status != GOSSIP_STATUS_DOWN &&
			status != GOSSIP_STATUS_UNKNOWN)
			return fail(s, "not down without a host", i, of);
		if (sim_alive(s, of) && status == GOSSIP_STATUS_DOWN)
			return fail(s, "down with a host", i, of);
		return NULL;
	}
	if (status != GOSSIP_STATUS_UP)
		return fail(s, "not up", i, of);
	gossip_member_get(sim_gossip(s, of), sim_id(of), &own);
	if (m.incarnation != own.incarnation || m.version != own.version)
		return fail(s, "record not current", i, of);
	if (m.n_neighbours > GOSSIP_NEIGHBOURS_MAX)
		return fail(s, "too many neighbours", i, of);
	return NULL;
}

static const char *check_view(struct sim *s, unsigned i, unsigned n_running)
{
	struct gossip_member m, other;
	struct gossip_stats stats;
	unsigned want = n_running <= 9 ? n_running - 1 : 6;

	if (n_running < sim_size(s) && want > 6)
		want = 6; /* the dead are members, too: no full mesh */
	gossip_member_get(sim_gossip(s, i), sim_id(i), &m);
	gossip_stats(sim_gossip(s, i), &stats);
	if (stats.self != GOSSIP_SELF_WELL)
		return fail(s, "in doubt", i, stats.self);
	if (m.n_neighbours + 1 < want || (want <= 2 && m.n_neighbours < want))
		return fail(s, "too few neighbours", i, m.n_neighbours);
	for (unsigned k = 0; k < m.n_neighbours; k++) {
		unsigned j = sim_index(m.neighbours[k]);
		bool back = false;

		if (!sim_running(s, j))
			return fail(s, "neighbour without a process", i, j);
		gossip_member_get(sim_gossip(s, j), sim_id(j), &other);
		for (unsigned x = 0; x < other.n_neighbours; x++)
			back |= other.neighbours[x] == sim_id(i);
		if (!back)
			return fail(s, "one-sided edge", i, j);
	}
	return NULL;
}

const char *sim_check_quiet(struct sim *s)
{
	const char *error = sim_check(s);
	unsigned n_running = 0;
	uint64_t digest = 0;

	for (unsigned i = 0; i < sim_size(s); i++)
		n_running += sim_running(s, i);
	for (unsigned i = 0; i < sim_size(s) && !error; i++) {
		struct gossip_stats stats;

		if (!sim_running(s, i))
			continue;
		gossip_stats(sim_gossip(s, i), &stats);
		if (digest != 0 && stats.digest != digest)
			error = fail(s, "tables differ", i, 0);
		for (unsigned k = 0; k < sim_size(s); k++) {
			const char *e = check_pair(s, i, k);

			if (e) {
				error = e;
				break;
			}
		}
		digest = stats.digest;
		if (!error)
			error = check_view(s, i, n_running);
	}
	return error;
}
