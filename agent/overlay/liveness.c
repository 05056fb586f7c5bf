/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/overlay/liveness.h"

#define HASH_FUNCTION HASH_FNV
#include <uthash.h>

struct known {
	UT_hash_handle hh;
	uint64_t id;
	struct overlay_node node;
};

/* Who names an address. Few do, so they are found by looking through the list of an address. */
struct claim {
	UT_hash_handle hh;
	struct ip_addr address;
	size_t n, allocated;
	struct known **by;
};

struct liveness {
	struct healths *healths;
	struct known *nodes;
	struct claim *claims;
	enum gossip_self self;
};

struct liveness *liveness_new(const struct health_options *options)
{
	struct liveness *l = xcalloc(1, sizeof(*l));

	l->healths = healths_new(options);
	l->self = GOSSIP_SELF_WELL;
	return l;
}

struct liveness *liveness_free(struct liveness *l)
{
	struct known *k, *next_k;
	struct claim *c, *next_c;

	if (!l)
		return NULL;
	HASH_ITER (hh, l->nodes, k, next_k) {
		HASH_DEL(l->nodes, k);
		free(k);
	}
	HASH_ITER (hh, l->claims, c, next_c) {
		HASH_DEL(l->claims, c);
		free(c->by);
		free(c);
	}
	healths_free(l->healths);
	free(l);
	return NULL;
}

static struct claim *find_claim(const struct liveness *l, const struct ip_addr *address)
{
	struct claim *c;

	HASH_FIND(hh, l->claims, address, sizeof(*address), c);
	return c;
}

static void claim_add(struct liveness *l, const struct ip_addr *address, struct known *k)
{
	struct claim *c = find_claim(l, address);

	if (!c) {
		c = xcalloc(1, sizeof(*c));
		c->address = *address;
		HASH_ADD(hh, l->claims, address, sizeof(c->address), c);
	}
	if (c->n == c->allocated) {
		c->allocated = c->allocated ? 2 * c->allocated : 1;
		c->by = xrealloc(c->by, c->allocated, sizeof(*c->by));
	}
	c->by[c->n++] = k;
}

static void claim_remove(struct liveness *l, const struct ip_addr *address, const struct known *k)
{
	struct claim *c = find_claim(l, address);

	for (size_t i = 0; c && i < c->n; i++)
		if (c->by[i] == k) {
			c->by[i] = c->by[--c->n];
			break;
		}
	if (c && c->n == 0) {
		HASH_DEL(l->claims, c);
		free(c->by);
		free(c);
	}
}

static bool is_down(const struct claim *c)
{
	bool down = false;

	for (size_t i = 0; i < c->n; i++) {
		enum gossip_status s = c->by[i]->node.status;

		if (s == GOSSIP_STATUS_UP || s == GOSSIP_STATUS_STALLED ||
			s == GOSSIP_STATUS_AGENTLESS)
			return false;
		down |= s == GOSSIP_STATUS_DOWN;
	}
	return down;
}

/* Judges these addresses anew. Nobody left who names one: nothing is said against it. */
static bool judge(struct liveness *l, const struct ip_addr *addresses, size_t n, nsec_t now)
{
	bool changed = false;

	for (size_t i = 0; i < n; i++) {
		const struct claim *c = find_claim(l, &addresses[i]);

		changed |= healths_report(l->healths, &addresses[i], !c || !is_down(c), now);
	}
	return changed;
}

static void set_node(struct liveness *l, struct known *k, const struct overlay_node *node)
{
	for (size_t i = 0; i < k->node.n_addresses; i++)
		claim_remove(l, &k->node.addresses[i], k);
	k->node = *node;
	for (size_t i = 0; i < k->node.n_addresses; i++)
		claim_add(l, &k->node.addresses[i], k);
}

/* True if it changes what is judged by. */
static bool visible(const struct liveness *l, bool changed)
{
	return changed && l->self == GOSSIP_SELF_WELL;
}

bool liveness_node(struct liveness *l, const struct overlay_node *node, nsec_t now)
{
	struct overlay_node old = {0};
	struct known *k;
	bool changed;

	HASH_FIND(hh, l->nodes, &node->id, sizeof(node->id), k);
	if (k) {
		old = k->node;
	} else {
		k = xcalloc(1, sizeof(*k));
		k->id = node->id;
		HASH_ADD(hh, l->nodes, id, sizeof(k->id), k);
	}
	set_node(l, k, node);
	changed = judge(l, old.addresses, old.n_addresses, now);
	changed |= judge(l, node->addresses, node->n_addresses, now);
	return visible(l, changed);
}

bool liveness_forgotten(struct liveness *l, uint64_t id, nsec_t now)
{
	struct overlay_node old, none = {0};
	struct known *k;

	HASH_FIND(hh, l->nodes, &id, sizeof(id), k);
	if (!k)
		return false;
	old = k->node;
	set_node(l, k, &none);
	HASH_DEL(l->nodes, k);
	free(k);
	return visible(l, judge(l, old.addresses, old.n_addresses, now));
}

bool liveness_self(struct liveness *l, enum gossip_self self)
{
	bool judged = l->self == GOSSIP_SELF_WELL, judges = self == GOSSIP_SELF_WELL;
	size_t n;

	l->self = self;
	healths_list(l->healths, &n);
	return judged != judges && n > 0;
}

bool liveness_tick(struct liveness *l, nsec_t now)
{
	return visible(l, healths_tick(l->healths, now));
}

nsec_t liveness_deadline(const struct liveness *l)
{
	return healths_deadline(l->healths);
}

enum gossip_self liveness_get_self(const struct liveness *l)
{
	return l->self;
}

const struct node_health *liveness_healths(const struct liveness *l, size_t *ret_n)
{
	*ret_n = 0;
	return l->self == GOSSIP_SELF_WELL ? healths_list(l->healths, ret_n) : NULL;
}

const struct node_health *liveness_health(const struct liveness *l, const struct ip_addr *address)
{
	size_t n;
	const struct node_health *list = liveness_healths(l, &n);

	for (size_t i = 0; i < n; i++)
		if (ip_addr_cmp(&list[i].agent, address) == 0)
			return &list[i];
	return NULL;
}

const struct overlay_node *liveness_find(const struct liveness *l, const struct ip_addr *address)
{
	const struct claim *c = find_claim(l, address);
	const struct overlay_node *found = NULL;

	for (size_t i = 0; c && i < c->n; i++)
		if (!found || c->by[i]->node.status == GOSSIP_STATUS_UP)
			found = &c->by[i]->node;
	return found;
}

const struct overlay_node *liveness_get(const struct liveness *l, uint64_t id)
{
	struct known *k;

	HASH_FIND(hh, l->nodes, &id, sizeof(id), k);
	return k ? &k->node : NULL;
}

size_t liveness_count(const struct liveness *l, enum gossip_status status)
{
	const struct known *k;
	size_t n = 0;

	for (k = l->nodes; k; k = k->hh.next)
		n += k->node.status == status;
	return n;
}
