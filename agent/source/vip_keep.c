/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Both tables are sorted, so they are merged like lists: VIPs by key, backends by endpoint. But a
 * named VIP's key depends on what other names there are (names.h): without the names that stay, a
 * name of the fresh table may have got the address of one of them. So all names get their
 * addresses anew before the merge.
 */
#include "agent/source/vip_keep.h"

#include "agent/source/arena.h"
#include "agent/source/names.h"

#include <stdlib.h>
#include <string.h>

struct merge {
	struct vip_table *fresh;
	const struct vip_table *old;
	struct arena *scratch;
	size_t n_stay;
	struct vip *stay; /* VIPs of `old`, with only those of their backends that stay */
	/* The last of them, as many in a row are the same. */
	const char *last_framework, *last_framework_id; /* in `old` */
	const char *framework, *framework_id;           /* the same in fresh's arena */
};

static int address_cmp(const void *a, const void *b)
{
	return ip_addr_cmp(a, b);
}

static bool is_among(const struct ip_addr *list, size_t n, const struct ip_addr *a)
{
	return n && bsearch(a, list, n, sizeof *list, address_cmp);
}

/* Whether the master may yet hear from the agent that is, or was, at this address. */
static bool is_awaited(const struct vip_table *fresh, const struct ip_addr *agent)
{
	return is_among(fresh->recovered, fresh->n_recovered, agent) ||
	       (fresh->n_recovered_nowhere && !is_among(fresh->agents, fresh->n_agents, agent));
}

/* ---- what stays ---- */

static void find_staying(struct merge *m)
{
	const struct vip_table *old = m->old;

	m->stay = arena_alloc(m->scratch, old->n_vips * sizeof *m->stay);
	for (size_t i = 0; i < old->n_vips; i++) {
		const struct vip *from = &old->vips[i];
		struct vip *to = &m->stay[m->n_stay];

		*to = (struct vip){.key = from->key, .name = from->name};
		for (size_t k = 0; k < from->n_backends; k++) {
			if (!is_awaited(m->fresh, &from->backends[k].agent))
				continue;
			if (!to->n_backends)
				to->backends = arena_alloc(
					m->scratch, (from->n_backends - k) * sizeof *to->backends);
			to->backends[to->n_backends++] = from->backends[k];
		}
		m->n_stay += to->n_backends > 0;
	}
}

/* ---- names ---- */

struct naming {
	struct arena *scratch;
	const struct address_range *range;
	size_t n_entries, n_taken;
	struct names_entry *entries; /* sorted, distinct */
	struct ip_addr *taken;       /* sorted */
};

static int entry_cmp(const void *a, const void *b)
{
	return strcmp(((const struct names_entry *)a)->name, ((const struct names_entry *)b)->name);
}

/* "redis.marathon" of "redis.marathon.l4lb.thisdcos.directory". */
static const char *bare_name(struct arena *scratch, const char *name)
{
	static const char suffix[] = "." NAMES_SUFFIX;
	size_t n = strlen(name), n_suffix = sizeof suffix - 1;

	if (n > n_suffix && strcmp(name + n - n_suffix, suffix) == 0)
		n -= n_suffix;
	return arena_strndup(scratch, name, n);
}

static void note_vips(struct naming *n, const struct vip *vips, size_t n_vips)
{
	for (size_t i = 0; i < n_vips; i++)
		if (!vips[i].name)
			n->taken[n->n_taken++] = vips[i].key.address;
		else if (vips[i].key.address.family == n->range->min.family)
			n->entries[n->n_entries++].name = bare_name(n->scratch, vips[i].name);
}

static void sort_noted(struct naming *n)
{
	size_t distinct = 0;

	if (n->n_taken)
		qsort(n->taken, n->n_taken, sizeof *n->taken, address_cmp);
	if (n->n_entries)
		qsort(n->entries, n->n_entries, sizeof *n->entries, entry_cmp);
	for (size_t i = 0; i < n->n_entries; i++)
		if (!i || entry_cmp(&n->entries[i], &n->entries[distinct - 1]) != 0)
			n->entries[distinct++] = n->entries[i];
	n->n_entries = distinct;
}

/* A name for which the range has no room gets AF_UNSPEC. */
static void rename_vips(const struct naming *n, struct vip *vips, size_t n_vips)
{
	for (size_t i = 0; i < n_vips; i++) {
		struct names_entry key, *found;

		if (!vips[i].name || vips[i].key.address.family != n->range->min.family)
			continue;
		key.name = bare_name(n->scratch, vips[i].name);
		found = bsearch(&key, n->entries, n->n_entries, sizeof key, entry_cmp);
		vips[i].key.address = found->address;
	}
}

static void name_family(struct merge *m, const struct address_range *range)
{
	struct vip_table *t = m->fresh;
	size_t n = t->n_vips + m->n_stay;
	struct naming naming = {
		.scratch = m->scratch,
		.range = range,
		.entries = arena_alloc(m->scratch, n * sizeof *naming.entries),
		.taken = arena_alloc(m->scratch, n * sizeof *naming.taken),
	};

	note_vips(&naming, t->vips, t->n_vips);
	note_vips(&naming, m->stay, m->n_stay);
	sort_noted(&naming);
	names_allocate(
		naming.entries, naming.n_entries, naming.taken, naming.n_taken, naming.range);
	rename_vips(&naming, t->vips, t->n_vips);
	rename_vips(&naming, m->stay, m->n_stay);
}

static int vip_cmp(const void *a, const void *b)
{
	return service_key_cmp(&((const struct vip *)a)->key, &((const struct vip *)b)->key);
}

/* Drops VIPs that lost their address, and sorts the others anew. */
static size_t sort_vips(struct vip *vips, size_t n)
{
	size_t n_placed = 0;

	for (size_t i = 0; i < n; i++)
		if (vips[i].key.address.family != AF_UNSPEC)
			vips[n_placed++] = vips[i];
	if (n_placed)
		qsort(vips, n_placed, sizeof *vips, vip_cmp);
	return n_placed;
}

static void name_all(struct merge *m, const struct vip_table_options *options)
{
	struct address_range range4 = names_default_range(AF_INET);
	struct address_range range6 = names_default_range(AF_INET6);

	if (options && options->range4.min.family != AF_UNSPEC)
		range4 = options->range4;
	if (options && options->range6.min.family != AF_UNSPEC)
		range6 = options->range6;
	name_family(m, &range4);
	name_family(m, &range6);
	m->fresh->n_vips = sort_vips(m->fresh->vips, m->fresh->n_vips);
	m->n_stay = sort_vips(m->stay, m->n_stay);
}

/* ---- merging ---- */

static struct vip_backend copy_backend(struct merge *m, const struct vip_backend *from)
{
	struct arena *arena = m->fresh->arena;
	struct vip_backend b = *from;

	if (from->framework != m->last_framework)
		m->framework = arena_strdup(arena, from->framework);
	if (from->framework_id != m->last_framework_id)
		m->framework_id = arena_strdup(arena, from->framework_id);
	m->last_framework = from->framework;
	m->last_framework_id = from->framework_id;
	b.framework = m->framework;
	b.framework_id = m->framework_id;
	b.task = arena_strdup(arena, from->task);
	b.kept = true;
	return b;
}

static int endpoint_cmp(const struct vip_backend *a, const struct vip_backend *b)
{
	int r = ip_addr_cmp(&a->address, &b->address);

	return r ? r : (int)a->port - (int)b->port;
}

/* Whose comes next: < 0: fresh's, > 0: that of what stays, 0: both. */
static int next_backend(const struct vip *fresh, size_t i, const struct vip *stay, size_t k)
{
	if (i == fresh->n_backends)
		return 1;
	if (k == stay->n_backends)
		return -1;
	return endpoint_cmp(&fresh->backends[i], &stay->backends[k]);
}

static void merge_backends(
	struct merge *m, const struct vip *fresh, const struct vip *stay, struct vip *ret)
{
	size_t n = fresh->n_backends + stay->n_backends;

	ret->n_backends = 0;
	ret->backends = arena_alloc(m->fresh->arena, n * sizeof *ret->backends);
	for (size_t i = 0, k = 0; i < fresh->n_backends || k < stay->n_backends;) {
		int c = next_backend(fresh, i, stay, k);

		ret->backends[ret->n_backends++] =
			c <= 0 ? fresh->backends[i] : copy_backend(m, &stay->backends[k]);
		m->fresh->n_kept += c > 0;
		i += c <= 0;
		k += c >= 0;
	}
}

static int next_vip(const struct merge *m, size_t i, size_t k)
{
	if (i == m->fresh->n_vips)
		return 1;
	if (k == m->n_stay)
		return -1;
	return vip_cmp(&m->fresh->vips[i], &m->stay[k]);
}

static void merge_vips(struct merge *m)
{
	static const struct vip none = {0};
	struct vip_table *t = m->fresh;
	struct vip *vips = arena_alloc(t->arena, (t->n_vips + m->n_stay) * sizeof *vips);
	size_t n = 0;

	for (size_t i = 0, k = 0; i < t->n_vips || k < m->n_stay; n++) {
		int c = next_vip(m, i, k);

		vips[n] = c <= 0 ? t->vips[i] : m->stay[k];
		if (c > 0 && vips[n].name)
			vips[n].name = arena_strdup(t->arena, vips[n].name);
		if (c >= 0)
			merge_backends(m, c == 0 ? &t->vips[i] : &none, &m->stay[k], &vips[n]);
		i += c <= 0;
		k += c >= 0;
	}
	t->vips = vips;
	t->n_vips = n;
}

/* The agents of `old` that are awaited are nodes still. */
static void merge_agents(struct merge *m)
{
	struct vip_table *t = m->fresh;
	const struct vip_table *old = m->old;
	struct ip_addr *agents =
		arena_alloc(t->arena, (t->n_agents + old->n_agents) * sizeof *agents);
	size_t n = 0;

	for (size_t i = 0; i < t->n_agents; i++)
		agents[n++] = t->agents[i];
	for (size_t i = 0; i < old->n_agents; i++)
		if (is_awaited(t, &old->agents[i]) &&
			!is_among(t->agents, t->n_agents, &old->agents[i]))
			agents[n++] = old->agents[i];
	if (n)
		qsort(agents, n, sizeof *agents, address_cmp);
	t->agents = agents;
	t->n_agents = n;
}

size_t vip_table_keep_recovered(struct vip_table *fresh, const struct vip_table *old,
	const struct vip_table_options *options)
{
	struct merge m = {.fresh = fresh, .old = old};

	fresh->n_kept = 0;
	if (!old || fresh->n_recovered + fresh->n_recovered_nowhere == 0)
		return 0;
	m.scratch = arena_new();
	find_staying(&m);
	if (m.n_stay > 0) {
		name_all(&m, options);
		merge_vips(&m);
	}
	merge_agents(&m);
	arena_free(m.scratch);
	return fresh->n_kept;
}
