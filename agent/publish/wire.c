/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/publish/wire.h"

#include <errno.h>
#include <stdlib.h>

static int cmp_u64(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

int version_cmp_epoch(const struct version *a, const struct version *b)
{
	int r = cmp_u64(a->term, b->term);

	return r ? r : cmp_u64(a->node, b->node);
}

int version_cmp(const struct version *a, const struct version *b)
{
	int r = version_cmp_epoch(a, b);

	return r ? r : cmp_u64(a->seq, b->seq);
}

/* ---- reading ---- */

static void get_copy(struct reader *r, void *out, size_t n)
{
	const uint8_t *p = get_bytes(r, n);

	if (p)
		memcpy(out, p, n);
}

static void get_version(struct reader *r, struct version *v)
{
	v->term = get_u64(r);
	v->node = get_u64(r);
	v->seq = get_u64(r);
}

static void get_rest(struct reader *r, struct message *m)
{
	m->n_rest = reader_left(r);
	m->rest = get_bytes(r, m->n_rest);
}

static void read_delta(struct reader *r, struct message *m)
{
	get_version(r, &m->version);
	get_copy(r, m->root, STORE_DIGEST);
	get_copy(r, m->before, STORE_DIGEST);
	m->beat = get_u32(r);
	m->part = get_u8(r);
	m->n_parts = get_u8(r);
	get_rest(r, m);
	r->bad |= m->n_parts < 1 || m->n_parts > WIRE_PARTS_MAX || m->part >= m->n_parts ||
		  m->n_rest > WIRE_PART_MAX;
}

static void read_summary(struct reader *r, struct message *m)
{
	m->nonce = get_u32(r);
	get_version(r, &m->version);
	get_copy(r, m->root, STORE_DIGEST);
	m->silence_ms = get_u32(r);
	m->same = get_u8(r);
	if (!m->same)
		m->digests = get_bytes(r, WIRE_DIGESTS);
}

static void read_fetch(struct reader *r, struct message *m)
{
	m->nonce = get_u32(r);
	get_version(r, &m->version);
	m->skip = get_u32(r);
	m->buckets = get_bytes(r, WIRE_BITMAP);
}

static void read_kind(struct reader *r, struct message *m)
{
	switch (m->kind) {
	case PUBLISH_ANNOUNCE:
		get_version(r, &m->version);
		get_copy(r, m->root, STORE_DIGEST);
		m->beat = get_u32(r);
		m->flags = get_u8(r);
		break;
	case PUBLISH_DELTA:
		read_delta(r, m);
		break;
	case PUBLISH_HAVE:
		get_version(r, &m->version);
		get_copy(r, m->root, STORE_DIGEST);
		break;
	case PUBLISH_ASK:
		m->nonce = get_u32(r);
		get_copy(r, m->root, STORE_DIGEST);
		break;
	case PUBLISH_FETCH:
		read_fetch(r, m);
		break;
	case PUBLISH_SUMMARY:
		read_summary(r, m);
		break;
	case PUBLISH_BODY:
		m->nonce = get_u32(r);
		get_version(r, &m->version);
		get_rest(r, m);
		break;
	default:
		r->bad = true;
	}
}

int message_read(const uint8_t *bytes, size_t n, struct message *ret)
{
	struct reader r = reader_init(bytes, n);
	uint8_t format = get_u8(&r);

	*ret = (struct message){.kind = (enum publish_kind)get_u8(&r)};
	if (n > WIRE_MAX || format != WIRE_FORMAT)
		return -EBADMSG;
	read_kind(&r, ret);
	return r.bad ? -EBADMSG : 0;
}

/* ---- writing ---- */

static void put_version(struct writer *w, const struct version *v)
{
	put_u64(w, v->term);
	put_u64(w, v->node);
	put_u64(w, v->seq);
}

static void write_delta(struct writer *w, const struct message *m)
{
	put_version(w, &m->version);
	put_bytes(w, m->root, STORE_DIGEST);
	put_bytes(w, m->before, STORE_DIGEST);
	put_u32(w, m->beat);
	put_u8(w, m->part);
	put_u8(w, m->n_parts);
	put_bytes(w, m->rest, m->n_rest);
}

static void write_summary(struct writer *w, const struct message *m)
{
	put_u32(w, m->nonce);
	put_version(w, &m->version);
	put_bytes(w, m->root, STORE_DIGEST);
	put_u32(w, m->silence_ms);
	put_u8(w, m->same);
	if (!m->same)
		put_bytes(w, m->digests, WIRE_DIGESTS);
}

static void write_kind(struct writer *w, const struct message *m)
{
	switch (m->kind) {
	case PUBLISH_ANNOUNCE:
		put_version(w, &m->version);
		put_bytes(w, m->root, STORE_DIGEST);
		put_u32(w, m->beat);
		put_u8(w, m->flags);
		break;
	case PUBLISH_DELTA:
		write_delta(w, m);
		break;
	case PUBLISH_HAVE:
		put_version(w, &m->version);
		put_bytes(w, m->root, STORE_DIGEST);
		break;
	case PUBLISH_ASK:
		put_u32(w, m->nonce);
		put_bytes(w, m->root, STORE_DIGEST);
		break;
	case PUBLISH_FETCH:
		put_u32(w, m->nonce);
		put_version(w, &m->version);
		put_u32(w, m->skip);
		put_bytes(w, m->buckets, WIRE_BITMAP);
		break;
	case PUBLISH_SUMMARY:
		write_summary(w, m);
		break;
	case PUBLISH_BODY:
		put_u32(w, m->nonce);
		put_version(w, &m->version);
		put_bytes(w, m->rest, m->n_rest);
		break;
	}
}

size_t message_write(const struct message *m, uint8_t out[static WIRE_MAX])
{
	struct writer w = writer_init(out, WIRE_MAX);

	put_u8(&w, WIRE_FORMAT);
	put_u8(&w, (uint8_t)m->kind);
	write_kind(&w, m);
	if (w.full)
		abort();
	return w.n;
}
