/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hash table of records. A record is one block of memory, the task and what it points
 * to; 50,000 of them with a small malloc() for each string would need twice as much.
 */
#include "agent/source/task_pool.h"

#include "agent/source/arena.h"

#include <stdlib.h>
#include <string.h>

#define SLOTS_MIN ((size_t)64)
/* Ids that a pool may know beyond four times those in use. */
#define IDS_SPARE ((size_t)4096)

enum record_state {
	RECORD_HIDDEN, /* has no digest to be found by */
	RECORD_FRESH,  /* is to be put into the table before that is looked at */
	RECORD_LISTED, /* is in the table */
};

struct record {
	struct record *next; /* FRESH: a list */
	struct digest digest;
	uint32_t refs;
	uint8_t state; /* enum record_state */
	struct mesos_task task;
	void *data[]; /* aligned for pointers */
};

/* Open addressing: what is looked for stands at or behind the slot that the digest's beginning
 * names, with no free one between. That beginning is here too, so that a record is seldom looked
 * at in vain. */
struct slot {
	uint64_t tag;
	struct record *record; /* NULL: free */
};

struct task_pool {
	size_t refs;
	uint8_t key[crypto_shorthash_siphashx24_KEYBYTES];
	struct arena *ids;
	struct strset frameworks, agents;
	size_t n;       /* in the table */
	size_t n_slots; /* a power of two; more than half of them are free */
	struct slot *slots;
	size_t n_fresh;
	struct record *fresh;
};

static struct record *record_of(const struct mesos_task *task)
{
	return (struct record *)((uintptr_t)task - offsetof(struct record, task));
}

static struct slot *slots_new(size_t n)
{
	struct slot *slots = calloc(n, sizeof(*slots));

	if (!slots)
		abort();
	return slots;
}

struct task_pool *task_pool_new(void)
{
	struct task_pool *p = calloc(1, sizeof(*p));

	if (!p || sodium_init() < 0)
		abort();
	p->refs = 1;
	randombytes_buf(p->key, sizeof(p->key));
	p->ids = arena_new();
	strset_init(&p->frameworks, p->ids);
	strset_init(&p->agents, p->ids);
	p->n_slots = SLOTS_MIN;
	p->slots = slots_new(p->n_slots);
	return p;
}

struct task_pool *task_pool_ref(struct task_pool *p)
{
	p->refs++;
	return p;
}

struct task_pool *task_pool_unref(struct task_pool *p)
{
	if (!p || --p->refs)
		return NULL;
	strset_done(&p->frameworks);
	strset_done(&p->agents);
	arena_free(p->ids);
	free(p->slots);
	free(p);
	return NULL;
}

struct strset *task_pool_frameworks(struct task_pool *p)
{
	return &p->frameworks;
}

struct strset *task_pool_agents(struct task_pool *p)
{
	return &p->agents;
}

bool task_pool_is_worn(const struct task_pool *p, size_t n_used)
{
	return p->frameworks.n + p->agents.n > 4 * n_used + IDS_SPARE;
}

struct digest task_pool_digest(const struct task_pool *p, const void *bytes, size_t n_bytes)
{
	struct digest d;

	crypto_shorthash_siphashx24(d.bytes, bytes, n_bytes, p->key);
	return d;
}

/* ---- the table ---- */

static uint64_t tag_of(const struct digest *digest)
{
	uint64_t tag;

	memcpy(&tag, digest->bytes, sizeof(tag));
	return tag;
}

static size_t next_slot(const struct task_pool *p, size_t i)
{
	return (i + 1) & (p->n_slots - 1);
}

static void place(struct task_pool *p, const struct slot *slot)
{
	size_t i = slot->tag & (p->n_slots - 1);

	while (p->slots[i].record)
		i = next_slot(p, i);
	p->slots[i] = *slot;
}

static void grow(struct task_pool *p, size_t n)
{
	struct slot *old = p->slots;
	size_t n_old = p->n_slots;

	while (p->n_slots <= 2 * n)
		p->n_slots *= 2;
	p->slots = slots_new(p->n_slots);
	for (size_t i = 0; i < n_old; i++)
		if (old[i].record)
			place(p, &old[i]);
	free(old);
}

/* Puts the new records into the table, all at once: a first document has nothing but such, and then the
 * table need not grow with them again and again. */
static void list_fresh(struct task_pool *p)
{
	if (!p->fresh)
		return;
	p->n += p->n_fresh;
	if (2 * p->n >= p->n_slots)
		grow(p, p->n);
	for (struct record *r = p->fresh; r; r = r->next) {
		r->state = RECORD_LISTED;
		place(p, &(struct slot){tag_of(&r->digest), r});
	}
	p->fresh = NULL;
	p->n_fresh = 0;
}

/* Takes a record out, and lets those behind it move up. */
static void unlist(struct task_pool *p, struct record *r)
{
	size_t i = tag_of(&r->digest) & (p->n_slots - 1);

	while (p->slots[i].record != r)
		i = next_slot(p, i);
	p->slots[i].record = NULL;
	p->n--;
	for (i = next_slot(p, i); p->slots[i].record; i = next_slot(p, i)) {
		struct slot moved = p->slots[i];

		p->slots[i].record = NULL;
		place(p, &moved);
	}
}

bool task_pool_is_empty(const struct task_pool *p)
{
	return p->n + p->n_fresh == 0;
}

const struct mesos_task *task_pool_find(struct task_pool *p, const struct digest *digest)
{
	uint64_t tag = tag_of(digest);

	list_fresh(p);
	for (size_t i = tag & (p->n_slots - 1); p->slots[i].record; i = next_slot(p, i)) {
		struct record *r = p->slots[i].record;

		if (p->slots[i].tag == tag && memcmp(&r->digest, digest, sizeof(*digest)) == 0)
			return task_pool_hold(&r->task);
	}
	return NULL;
}

const struct mesos_task *task_pool_hold(const struct mesos_task *task)
{
	record_of(task)->refs++;
	return task;
}

void task_pool_release(struct task_pool *p, const struct mesos_task *task)
{
	struct record *r = record_of(task);

	if (--r->refs)
		return;
	if (r->state == RECORD_FRESH)
		list_fresh(p);
	if (r->state == RECORD_LISTED)
		unlist(p, r);
	free(r);
}

/* ---- one record ---- */

/* Lays things out in a block, or, without one, only measures it. Things with pointers come
 * first: each is a multiple of their size. */
struct packer {
	char *block;
	size_t used;
};

static void *pack(struct packer *k, const void *from, size_t n)
{
	char *to = k->block ? k->block + k->used : NULL;

	if (to && n)
		memcpy(to, from, n);
	k->used += n;
	return to;
}

static const char *pack_text(struct packer *k, const char *text)
{
	return pack(k, text, strlen(text) + 1);
}

static void pack_port_texts(struct packer *k, const struct mesos_port *from, struct mesos_port *to)
{
	for (size_t i = 0; i < from->n_vips; i++) {
		const char *vip = pack_text(k, from->vips[i]);
		const char *key = pack_text(k, from->vip_keys[i]);

		if (to) {
			to->vips[i] = vip;
			to->vip_keys[i] = key;
		}
	}
}

static void pack_ports(struct packer *k, const struct mesos_task *from, struct mesos_port *to)
{
	for (size_t i = 0; i < from->n_ports; i++) {
		const struct mesos_port *port = &from->ports[i];
		const char **vips = pack(k, port->vips, port->n_vips * sizeof(*vips));
		const char **keys = pack(k, port->vip_keys, port->n_vips * sizeof(*keys));

		if (to) {
			to[i].vips = vips;
			to[i].vip_keys = keys;
		}
	}
	for (size_t i = 0; i < from->n_ports; i++)
		pack_port_texts(k, &from->ports[i], to ? &to[i] : NULL);
}

/* Copies what the task points to; `to` may be NULL with a packer that only measures. */
static void pack_task(struct packer *k, const struct mesos_task *from, struct mesos_task *to)
{
	struct mesos_port *ports = pack(k, from->ports, from->n_ports * sizeof(*ports));
	struct ip_addr *addresses;
	const char *id;

	pack_ports(k, from, ports);
	addresses = pack(k, from->addresses, from->n_addresses * sizeof(*addresses));
	id = pack_text(k, from->id);
	if (!to)
		return;
	to->ports = ports;
	to->addresses = addresses;
	to->id = id;
}

const struct mesos_task *task_pool_add(
	struct task_pool *p, const struct digest *digest, const struct mesos_task *task)
{
	struct packer packer = {0};
	struct record *r;

	pack_task(&packer, task, NULL);
	r = malloc(sizeof(*r) + packer.used);
	if (!r)
		abort();
	*r = (struct record){.refs = 1, .state = RECORD_HIDDEN, .task = *task};
	packer = (struct packer){.block = (char *)r->data};
	pack_task(&packer, task, &r->task);
	if (digest) {
		r->digest = *digest;
		r->state = RECORD_FRESH;
		r->next = p->fresh;
		p->fresh = r;
		p->n_fresh++;
	}
	return &r->task;
}
