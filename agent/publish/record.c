/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/publish/record.h"

#include "agent/publish/bytes.h"
#include "agent/source/arena.h"
#include "agent/util.h"

enum { CLASS_AGENT = 1, CLASS_VIP = 2 };
enum { PART_NAME = 0, PART_BACKEND = 1 };
enum { FLAG_REASON = 3, FLAG_LOCAL = 4, FLAG_AGENT = 8, FLAGS_ALL = 15 };

/* ---- writing ---- */

static void put_address(struct writer *w, const struct ip_addr *a)
{
	put_bytes(w, a->bytes, ip_addr_len(a->family));
}

static void put_family(struct writer *w, const struct ip_addr *a)
{
	put_u8(w, a->family == AF_INET6 ? 6 : 4);
}

static void put_text(struct writer *w, const char *text)
{
	size_t n = strnlen(text, RECORD_TEXT_MAX);

	put_u16(w, (uint16_t)n);
	put_bytes(w, text, n);
}

static void put_vip(struct writer *w, const struct vip *vip, uint8_t part)
{
	put_u8(w, CLASS_VIP);
	put_u8(w, vip->key.protocol);
	put_family(w, &vip->key.address);
	put_address(w, &vip->key.address);
	put_u16(w, vip->key.port);
	put_u8(w, part);
}

static bool is_local(const struct vip_backend *b)
{
	return !ip_addr_equal(&b->address, &b->local_address) || b->port != b->local_port;
}

static void put_backend_value(struct writer *w, const struct vip_backend *b)
{
	bool agent = !ip_addr_equal(&b->agent, &b->address);

	put_u8(w, (uint8_t)(b->weight_reason | (is_local(b) ? FLAG_LOCAL : 0) |
			    (agent ? FLAG_AGENT : 0)));
	if (is_local(b)) {
		put_address(w, &b->local_address);
		put_u16(w, b->local_port);
	}
	if (agent) {
		put_family(w, &b->agent);
		put_address(w, &b->agent);
	}
	put_text(w, b->task);
	put_text(w, b->framework);
	put_text(w, b->framework_id);
}

/* ---- walking a table ---- */

void record_walk_init(struct record_walk *w, const struct vip_table *table)
{
	w->table = table;
	w->agent = w->vip = w->backend = 0;
	w->named = false;
}

static bool walk_agent(struct record_walk *walk)
{
	struct writer w = writer_init(walk->bytes, sizeof(walk->bytes));
	const struct ip_addr *a = &walk->table->agents[walk->agent++];

	put_u8(&w, CLASS_AGENT);
	put_family(&w, a);
	put_address(&w, a);
	walk->n_key = walk->n = w.n;
	return true;
}

static bool walk_name(struct record_walk *walk, const struct vip *vip)
{
	struct writer w = writer_init(walk->bytes, sizeof(walk->bytes));

	put_vip(&w, vip, PART_NAME);
	walk->n_key = w.n;
	put_text(&w, vip->name);
	walk->n = w.n;
	return true;
}

static bool walk_backend(struct record_walk *walk, const struct vip *vip)
{
	struct writer w = writer_init(walk->bytes, sizeof(walk->bytes));
	const struct vip_backend *b = &vip->backends[walk->backend++];

	put_vip(&w, vip, PART_BACKEND);
	put_address(&w, &b->address);
	put_u16(&w, b->port);
	walk->n_key = w.n;
	put_backend_value(&w, b);
	walk->n = w.n;
	return true;
}

bool record_walk_next(struct record_walk *w)
{
	const struct vip_table *t = w->table;

	if (w->agent < t->n_agents)
		return walk_agent(w);
	while (w->vip < t->n_vips) {
		const struct vip *vip = &t->vips[w->vip];

		if (vip->name && !w->named && vip->n_backends) {
			w->named = true;
			return walk_name(w, vip);
		}
		if (w->backend < vip->n_backends)
			return walk_backend(w, vip);
		w->vip++;
		w->backend = 0;
		w->named = false;
	}
	return false;
}

/* ---- reading ---- */

struct text {
	const uint8_t *bytes;
	size_t n;
};

/* A record taken apart. */
struct parsed {
	uint8_t class, part;
	struct ip_addr agent; /* CLASS_AGENT */
	struct service_key key;
	struct text name;
	struct vip_backend backend; /* without its texts */
	struct text task, framework, framework_id;
};

static struct ip_addr get_address(struct reader *r, uint8_t family)
{
	struct ip_addr a = {.family = family};
	const uint8_t *p = get_bytes(r, ip_addr_len(family));

	if (p)
		memcpy(a.bytes, p, ip_addr_len(family));
	return a;
}

static uint8_t get_family(struct reader *r)
{
	uint8_t family = get_u8(r);

	if (family != 4 && family != 6)
		r->bad = true;
	return family == 6 ? AF_INET6 : AF_INET;
}

static struct text get_text(struct reader *r)
{
	struct text t = {.n = get_u16(r)};

	t.bytes = get_bytes(r, t.n);
	if (t.n > RECORD_TEXT_MAX || (t.n && t.bytes && memchr(t.bytes, 0, t.n)))
		r->bad = true;
	return t;
}

static void get_backend_value(struct reader *r, struct parsed *p)
{
	struct vip_backend *b = &p->backend;
	uint8_t flags = get_u8(r);

	if (flags & ~FLAGS_ALL)
		r->bad = true;
	b->weight_reason = (enum weight_reason)(flags & FLAG_REASON);
	b->weight = b->weight_reason == WEIGHT_HEALTHY;
	b->local_address = b->agent = b->address;
	b->local_port = b->port;
	if (flags & FLAG_LOCAL) {
		b->local_address = get_address(r, b->address.family);
		b->local_port = get_u16(r);
		r->bad |= !is_local(b);
	}
	if (flags & FLAG_AGENT) {
		b->agent = get_address(r, get_family(r));
		r->bad |= ip_addr_equal(&b->agent, &b->address);
	}
	p->task = get_text(r);
	p->framework = get_text(r);
	p->framework_id = get_text(r);
}

static void get_key(struct reader *r, struct parsed *p)
{
	p->class = get_u8(r);
	if (p->class == CLASS_AGENT) {
		p->agent = get_address(r, get_family(r));
		return;
	}
	p->key.protocol = get_u8(r);
	p->key.address = get_address(r, get_family(r));
	p->key.port = get_u16(r);
	p->part = get_u8(r);
	if (p->class != CLASS_VIP || p->part > PART_BACKEND || p->key.port == 0 ||
		(p->key.protocol != IPPROTO_TCP && p->key.protocol != IPPROTO_UDP))
		r->bad = true;
	if (p->part != PART_BACKEND)
		return;
	p->backend.address = get_address(r, p->key.address.family);
	p->backend.port = get_u16(r);
}

/* The length of its key; 0 if it is none. */
static size_t parse(const uint8_t *bytes, size_t n, struct parsed *p)
{
	struct reader r = reader_init(bytes, n);
	size_t n_key;

	get_key(&r, p);
	n_key = r.at;
	if (p->class == CLASS_VIP && p->part == PART_NAME) {
		p->name = get_text(&r);
		r.bad |= p->name.n == 0;
	} else if (p->class == CLASS_VIP) {
		get_backend_value(&r, p);
	}
	return reader_is_done(&r) ? n_key : 0;
}

size_t record_check(const uint8_t *bytes, size_t n)
{
	struct parsed p = {0};

	return parse(bytes, n, &p);
}

bool record_is_key(const uint8_t *bytes, size_t n)
{
	struct reader r = reader_init(bytes, n);
	struct parsed p = {0};

	get_key(&r, &p);
	return reader_is_done(&r);
}

int record_cmp(const uint8_t *a, size_t n_key_a, const uint8_t *b, size_t n_key_b)
{
	int r = memcmp(a, b, n_key_a < n_key_b ? n_key_a : n_key_b);

	return r ? r : (n_key_a > n_key_b) - (n_key_a < n_key_b);
}

/* ---- making a table ---- */

struct maker {
	struct vip_table *table;
	struct arena *arena;
	struct vip_backend *backends; /* room for all */
	size_t n_backends;
	bool no_ipv6;
	/* The last of them, as many in a row are the same. */
	const char *framework, *framework_id;
	const char *name; /* of `named`, whose backends are to come */
	struct service_key named;
};

/* The text, or `last` if that says the same. */
static const char *keep_text(struct maker *m, const struct text *t, const char *last)
{
	if (last && strlen(last) == t->n && memcmp(last, t->bytes, t->n) == 0)
		return last;
	return arena_strndup(m->arena, (const char *)t->bytes, t->n);
}

static void add_backend(struct maker *m, const struct parsed *p)
{
	struct vip_table *t = m->table;
	struct vip *vip = t->n_vips ? &t->vips[t->n_vips - 1] : NULL;
	struct vip_backend *b = &m->backends[m->n_backends++];

	if (!vip || !service_key_equal(&vip->key, &p->key)) {
		vip = &t->vips[t->n_vips++];
		*vip = (struct vip){.key = p->key, .backends = b};
		if (m->name && service_key_equal(&m->named, &p->key))
			vip->name = m->name;
	}
	vip->n_backends++;
	*b = p->backend;
	b->task = arena_strndup(m->arena, (const char *)p->task.bytes, p->task.n);
	b->framework = m->framework = keep_text(m, &p->framework, m->framework);
	b->framework_id = m->framework_id = keep_text(m, &p->framework_id, m->framework_id);
}

static void add_record(struct maker *m, const struct record *record)
{
	struct parsed p = {0};

	if (!parse(record->bytes, record->n, &p))
		return; /* was checked when it came in */
	if (p.class == CLASS_AGENT) {
		m->table->agents[m->table->n_agents++] = p.agent;
		return;
	}
	if (m->no_ipv6 && p.key.address.family == AF_INET6)
		return;
	if (p.part == PART_BACKEND) {
		add_backend(m, &p);
		return;
	}
	m->name = arena_strndup(m->arena, (const char *)p.name.bytes, p.name.n);
	m->named = p.key;
}

/* How many of the records are agents, which come first. */
static size_t count_agents(const struct record *const *records, size_t n)
{
	size_t k = 0;

	while (k < n && records[k]->bytes[0] == CLASS_AGENT)
		k++;
	return k;
}

struct vip_table *records_to_table(const struct record *const *records, size_t n, bool no_ipv6)
{
	struct maker m = {
		.table = xcalloc(1, sizeof(*m.table)), .arena = arena_new(), .no_ipv6 = no_ipv6};
	size_t n_agents = count_agents(records, n);

	m.table->arena = m.arena;
	m.table->agents = arena_alloc(m.arena, n_agents * sizeof(*m.table->agents));
	m.table->vips = arena_alloc(m.arena, (n - n_agents) * sizeof(*m.table->vips));
	m.backends = arena_alloc(m.arena, (n - n_agents) * sizeof(*m.backends));
	for (size_t i = 0; i < n; i++)
		add_record(&m, records[i]);
	return m.table;
}
