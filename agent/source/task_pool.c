/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A chained hash table of records. A record is one block of memory, the task and what it points
 * to; 50,000 of them with a small malloc() for each string would need twice as much.
 */
#include "agent/source/task_pool.h"

#include "agent/source/arena.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS_MIN ((size_t)64)
/* Ids that a pool may know beyond four times those in use. */
#define IDS_SPARE ((size_t)4096)

struct record {
	struct record *next; /* in its bucket */
	struct digest digest;
	uint32_t refs;
	bool listed; /* in its bucket */
	struct mesos_task task;
	void *data[]; /* aligned for pointers */
};

struct task_pool {
	size_t refs;
	uint8_t key[crypto_shorthash_siphashx24_KEYBYTES];
	struct arena *ids;
	struct strset frameworks, agents;
	size_t n, n_buckets; /* n_buckets is a power of two */
	struct record **buckets;
};

static struct record *record_of(const struct mesos_task *task)
{
	return (struct record *)((uintptr_t)task - offsetof(struct record, task));
}

static struct record **buckets_new(size_t n)
{
	struct record **buckets = calloc(n, sizeof(*buckets));

	if (!buckets)
		abort();
	return buckets;
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
	p->n_buckets = BUCKETS_MIN;
	p->buckets = buckets_new(p->n_buckets);
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
	free(p->buckets);
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

static struct record **bucket_of(const struct task_pool *p, const struct digest *digest)
{
	uint64_t h;

	memcpy(&h, digest->bytes, sizeof(h));
	return &p->buckets[h & (p->n_buckets - 1)];
}

static void grow(struct task_pool *p)
{
	struct record **old = p->buckets;
	size_t n_old = p->n_buckets;

	p->n_buckets *= 2;
	p->buckets = buckets_new(p->n_buckets);
	for (size_t i = 0; i < n_old; i++)
		for (struct record *r = old[i], *next; r; r = next) {
			struct record **bucket = bucket_of(p, &r->digest);

			next = r->next;
			r->next = *bucket;
			*bucket = r;
		}
	free(old);
}

static void list(struct task_pool *p, struct record *r, const struct digest *digest)
{
	struct record **bucket;

	if (p->n++ == p->n_buckets)
		grow(p);
	bucket = bucket_of(p, digest);
	r->digest = *digest;
	r->listed = true;
	r->next = *bucket;
	*bucket = r;
}

const struct mesos_task *task_pool_find(struct task_pool *p, const struct digest *digest)
{
	struct record *r = *bucket_of(p, digest);

	while (r && memcmp(&r->digest, digest, sizeof(*digest)) != 0)
		r = r->next;
	return r ? task_pool_hold(&r->task) : NULL;
}

const struct mesos_task *task_pool_hold(const struct mesos_task *task)
{
	record_of(task)->refs++;
	return task;
}

void task_pool_release(struct task_pool *p, const struct mesos_task *task)
{
	struct record *r = record_of(task), **at;

	if (--r->refs)
		return;
	if (r->listed) {
		for (at = bucket_of(p, &r->digest); *at != r;)
			at = &(*at)->next;
		*at = r->next;
		p->n--;
	}
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
	*r = (struct record){.refs = 1, .task = *task};
	packer = (struct packer){.block = (char *)r->data};
	pack_task(&packer, task, &r->task);
	if (digest)
		list(p, r, digest);
	return &r->task;
}
