/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bytes to values and back, and nothing else: no state, no policy. The format is drawn in
 * wire.h.
 *
 * Writers and readers carry a sticky failure instead of returning one from every call, so
 * that a message is a list of its fields, once for writing and once for reading, and cannot
 * be half-checked. lashup sends Erlang terms, memberlist msgpack with field names; at one
 * heartbeat every quarter of a second the field names would be half of the traffic. Ids that
 * occur again in a message cost a byte instead of eight (`ref`): a lost node's neighbours all
 * speak of the same node, and the two ends of a new edge of each other.
 */
#include "wire.h"

#include <errno.h>
#include <string.h>

void writer_init(struct writer *w, void *bytes, size_t n_max)
{
	w->bytes = bytes;
	w->n = 0;
	w->n_max = n_max;
	w->ok = true;
	w->message = 0;
	w->n_refs = 0;
}

void write_bytes(struct writer *w, const void *bytes, size_t n)
{
	if (!w->ok || n > w->n_max - w->n) {
		w->ok = false;
		return;
	}
	if (n > 0)
		memcpy(w->bytes + w->n, bytes, n);
	w->n += n;
}

static void write_uint(struct writer *w, uint64_t v, unsigned n)
{
	uint8_t b[8];

	for (unsigned i = 0; i < n; i++)
		b[i] = v >> (8 * (n - 1 - i));
	write_bytes(w, b, n);
}

void write_u8(struct writer *w, uint8_t v)
{
	write_uint(w, v, 1);
}

void write_u16(struct writer *w, uint16_t v)
{
	write_uint(w, v, 2);
}

void write_u32(struct writer *w, uint32_t v)
{
	write_uint(w, v, 4);
}

void write_u64(struct writer *w, uint64_t v)
{
	write_uint(w, v, 8);
}

void write_varint(struct writer *w, uint64_t v)
{
	uint8_t b[10];
	unsigned n = 0;

	do {
		b[n] = (v & 0x7f) | (v > 0x7f ? 0x80 : 0);
		v >>= 7;
		n++;
	} while (v > 0);
	write_bytes(w, b, n);
}

void write_ref(struct writer *w, uint64_t id)
{
	for (unsigned i = 0; i < w->n_refs; i++) {
		if (w->refs[i] == id) {
			write_u8(w, i + 1);
			return;
		}
	}
	write_u8(w, 0);
	write_u64(w, id);
	if (w->ok && w->n_refs < WIRE_REFS_MAX)
		w->refs[w->n_refs++] = id;
}

void write_addr(struct writer *w, const struct gossip_addr *a)
{
	write_u8(w, a->family);
	write_bytes(w, a->bytes, a->family == 6 ? 16 : 4);
	write_u16(w, a->port);
}

/* The head is written at its longest and closed up by write_message_end(). */
void write_message_begin(struct writer *w, enum wire_type type)
{
	w->message = w->n;
	w->n_refs = 0;
	write_u8(w, type);
	write_bytes(w, "\0\0", WIRE_MESSAGE_HEAD - 1);
}

void write_message_end(struct writer *w)
{
	struct writer head;
	uint8_t length[WIRE_MESSAGE_HEAD - 1];
	size_t body = w->message + WIRE_MESSAGE_HEAD, n;

	if (!w->ok)
		return;
	n = w->n - body;
	writer_init(&head, length, sizeof(length));
	write_varint(&head, n);
	memcpy(w->bytes + w->message + 1, length, head.n);
	memmove(w->bytes + w->message + 1 + head.n, w->bytes + body, n);
	w->n = w->message + 1 + head.n + n;
}

void write_message_cancel(struct writer *w)
{
	w->n = w->message;
	w->ok = true;
	w->n_refs = 0;
}

void reader_init(struct reader *r, const void *bytes, size_t n)
{
	r->bytes = bytes;
	r->n = n;
	r->at = 0;
	r->ok = true;
	r->n_refs = 0;
}

size_t reader_left(const struct reader *r)
{
	return r->ok ? r->n - r->at : 0;
}

static uint64_t read_uint(struct reader *r, unsigned n)
{
	uint64_t v = 0;

	if (!r->ok || r->n - r->at < n) {
		r->ok = false;
		return 0;
	}
	for (unsigned i = 0; i < n; i++)
		v = v << 8 | r->bytes[r->at + i];
	r->at += n;
	return v;
}

uint8_t read_u8(struct reader *r)
{
	return read_uint(r, 1);
}

uint16_t read_u16(struct reader *r)
{
	return read_uint(r, 2);
}

uint32_t read_u32(struct reader *r)
{
	return read_uint(r, 4);
}

uint64_t read_u64(struct reader *r)
{
	return read_uint(r, 8);
}

uint64_t read_varint(struct reader *r)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 64; shift += 7) {
		uint8_t b = read_u8(r);

		if (!r->ok)
			return 0;
		if (shift == 63 && b > 1)
			break;
		v |= (uint64_t)(b & 0x7f) << shift;
		if (b < 0x80)
			return v;
	}
	r->ok = false;
	return 0;
}

static const uint8_t *read_span(struct reader *r, uint64_t n)
{
	const uint8_t *at = r->bytes + r->at;

	if (!r->ok || n > r->n - r->at) {
		r->ok = false;
		return NULL;
	}
	r->at += n;
	return at;
}

uint64_t read_ref(struct reader *r)
{
	uint8_t k = read_u8(r);
	uint64_t id;

	if (k > 0) {
		if (k <= r->n_refs)
			return r->refs[k - 1];
		r->ok = false;
		return 0;
	}
	id = read_u64(r);
	if (r->ok && r->n_refs < WIRE_REFS_MAX)
		r->refs[r->n_refs++] = id;
	return id;
}

bool read_addr(struct reader *r, struct gossip_addr *ret)
{
	struct gossip_addr a = {.family = read_u8(r)};
	const uint8_t *bytes;

	if (a.family != 4 && a.family != 6)
		r->ok = false;
	bytes = read_span(r, a.family == 6 ? 16 : 4);
	if (bytes)
		memcpy(a.bytes, bytes, a.family == 6 ? 16 : 4);
	a.port = read_u16(r);
	if (!r->ok)
		return false;
	*ret = a;
	return true;
}

void wire_head_write(struct writer *w, const struct wire_head *head)
{
	write_u8(w, WIRE_VERSION);
	write_u64(w, head->sender);
	write_u16(w, head->boot);
}

bool wire_head_read(struct reader *r, struct wire_head *ret)
{
	uint8_t version = read_u8(r);
	struct wire_head head;

	head.sender = read_u64(r);
	head.boot = read_u16(r);
	if (!r->ok || version != WIRE_VERSION || head.sender == 0)
		return false;
	*ret = head;
	return true;
}

uint16_t wire_boot(uint64_t incarnation)
{
	return (incarnation * UINT64_C(0x9e3779b97f4a7c15)) >> 48;
}

int wire_message_next(struct reader *r, uint8_t *ret_type, struct reader *ret_body)
{
	size_t start = r->at;
	uint64_t n;
	uint8_t type;

	if (reader_left(r) == 0)
		return 0;
	type = read_u8(r);
	n = read_varint(r);
	if (r->ok && n > GOSSIP_FRAME_MAX - WIRE_MESSAGE_HEAD)
		return -EBADMSG;
	if (!r->ok || n > r->n - r->at) {
		if (!r->ok && r->n - start >= 11)
			return -EBADMSG;
		r->ok = true;
		r->at = start;
		return -EAGAIN;
	}
	reader_init(ret_body, r->bytes + r->at, n);
	*ret_type = type;
	r->at += n;
	return 1;
}

void wire_beat_write(struct writer *w, const struct wire_beat *beat)
{
	write_u16(w, beat->seq);
	write_u16(w, beat->echo);
	write_u16(w, beat->held);
	write_u16(w, beat->next_ms);
	write_u32(w, beat->digest);
	write_u8(w, beat->flags);
}

bool wire_beat_read(struct reader *r, struct wire_beat *ret)
{
	struct wire_beat beat;

	beat.seq = read_u16(r);
	beat.echo = read_u16(r);
	beat.held = read_u16(r);
	beat.next_ms = read_u16(r);
	beat.digest = read_u32(r);
	beat.flags = read_u8(r);
	if (r->ok)
		*ret = beat;
	return r->ok;
}

static bool op_is_lost(uint8_t op)
{
	return op == OP_SILENT || op == OP_STALLED || op == OP_AGENTLESS;
}

static void delta_write(struct writer *w, const struct wire_item *item)
{
	write_u16(w, item->delta.boot);
	write_varint(w, item->delta.base);
	for (unsigned i = 0; i < item->delta.n_ops; i++) {
		const struct wire_lost *op = &item->delta.ops[i];

		write_u8(w, op->op);
		write_ref(w, op->id);
		if (!op_is_lost(op->op))
			continue;
		write_u16(w, op->boot);
		write_varint(w, op->version);
	}
}

static bool delta_read(struct reader *r, struct wire_item *item)
{
	item->delta.boot = read_u16(r);
	item->delta.base = read_varint(r);
	item->delta.n_ops = 0;
	while (r->ok && r->at < r->n && item->delta.n_ops < WIRE_OPS_MAX) {
		struct wire_lost *op = &item->delta.ops[item->delta.n_ops++];

		op->op = read_u8(r);
		if (op->op < OP_ADD || op->op > OP_CLEAR)
			return false;
		op->id = read_ref(r);
		op->boot = op_is_lost(op->op) ? read_u16(r) : 0;
		op->version = op_is_lost(op->op) ? read_varint(r) : 0;
	}
	return r->ok && item->delta.n_ops > 0 && r->at == r->n;
}

static void record_write(struct writer *w, const struct wire_item *item)
{
	write_u64(w, item->record.incarnation);
	write_varint(w, item->record.version);
	write_addr(w, &item->record.address);
	write_u8(w, item->record.n_neighbours);
	for (unsigned i = 0; i < item->record.n_neighbours; i++)
		write_ref(w, item->record.neighbours[i]);
	write_u8(w, item->record.n_lost);
	for (unsigned i = 0; i < item->record.n_lost; i++) {
		write_u8(w, item->record.lost[i].op);
		write_ref(w, item->record.lost[i].id);
		write_u16(w, item->record.lost[i].boot);
		write_varint(w, item->record.lost[i].version);
	}
	write_varint(w, item->record.n_metadata);
	write_bytes(w, item->record.metadata, item->record.n_metadata);
	write_varint(w, item->record.age);
	write_varint(w, item->record.since_add);
}

static bool record_lists_read(struct reader *r, struct wire_item *item)
{
	item->record.n_neighbours = read_u8(r);
	if (item->record.n_neighbours > GOSSIP_NEIGHBOURS_MAX)
		return false;
	for (unsigned i = 0; i < item->record.n_neighbours; i++)
		item->record.neighbours[i] = read_ref(r);
	item->record.n_lost = read_u8(r);
	if (item->record.n_lost > GOSSIP_LOST_MAX)
		return false;
	for (unsigned i = 0; i < item->record.n_lost; i++) {
		struct wire_lost *lost = &item->record.lost[i];

		lost->op = read_u8(r);
		lost->id = read_ref(r);
		lost->boot = read_u16(r);
		lost->version = read_varint(r);
		if (!op_is_lost(lost->op))
			return false;
	}
	return r->ok;
}

static bool record_read(struct reader *r, struct wire_item *item)
{
	item->record.incarnation = read_u64(r);
	item->record.version = read_varint(r);
	if (!read_addr(r, &item->record.address) || !record_lists_read(r, item))
		return false;
	item->record.n_metadata = read_varint(r);
	if (item->record.n_metadata > GOSSIP_METADATA_MAX)
		return false;
	item->record.metadata = read_span(r, item->record.n_metadata);
	item->record.age = read_varint(r);
	item->record.since_add = read_varint(r);
	return r->ok && item->record.incarnation != 0;
}

/* An item's length is below 1,024: two bytes hold it, padded. */
void wire_item_write(struct writer *w, const struct wire_item *item)
{
	size_t at, n;

	write_u8(w, item->kind);
	at = w->n;
	if (item->kind == ITEM_DELTA) {
		write_bytes(w, "", 1);
		write_ref(w, item->owner);
		delta_write(w, item);
	} else {
		write_bytes(w, "\0", 2);
		write_ref(w, item->owner);
		record_write(w, item);
	}
	if (!w->ok)
		return;
	if (item->kind == ITEM_DELTA) {
		n = w->n - at - 1;
		if (n > 127) {
			w->ok = false; /* WIRE_OPS_MAX ops of 22 bytes do not reach it */
			return;
		}
		w->bytes[at] = n;
	} else {
		n = w->n - at - 2;
		w->bytes[at] = (n & 0x7f) | 0x80;
		w->bytes[at + 1] = n >> 7;
	}
}

bool wire_item_next(struct reader *r, struct wire_item *ret)
{
	size_t n, end, whole = r->n;
	bool ok;
	uint8_t kind;

	if (reader_left(r) == 0)
		return false;
	kind = read_u8(r);
	n = read_varint(r);
	if (!r->ok || n > r->n - r->at || (kind != ITEM_DELTA && kind != ITEM_RECORD)) {
		r->ok = false;
		return false;
	}
	end = r->at + n;
	r->n = end;
	ret->kind = kind;
	ret->owner = read_ref(r);
	ok = kind == ITEM_DELTA ? delta_read(r, ret) : record_read(r, ret);
	r->n = whole;
	r->at = end;
	r->ok = r->ok && ok && ret->owner != 0;
	return r->ok;
}

void wire_hello_write(struct writer *w, const struct wire_hello *hello)
{
	write_u64(w, hello->id);
	write_u64(w, hello->incarnation);
	write_u64(w, hello->to);
	write_u32(w, hello->number);
	write_u8(w, hello->purpose);
	write_u64(w, hello->digest);
	wire_item_write(w, &hello->record);
}

bool wire_hello_read(struct reader *r, struct wire_hello *ret)
{
	ret->id = read_u64(r);
	ret->incarnation = read_u64(r);
	ret->to = read_u64(r);
	ret->number = read_u32(r);
	ret->purpose = read_u8(r);
	ret->digest = read_u64(r);
	return wire_item_next(r, &ret->record) && ret->id != 0 && ret->incarnation != 0 &&
	       ret->record.kind == ITEM_RECORD && ret->record.owner == ret->id &&
	       ret->record.record.incarnation == ret->incarnation && ret->purpose >= PURPOSE_JOIN &&
	       ret->purpose <= PURPOSE_HIGH;
}

void wire_entry_write(struct writer *w, const struct wire_entry *entry)
{
	write_u64(w, entry->id);
	write_addr(w, &entry->address);
}

bool wire_entry_next(struct reader *r, struct wire_entry *ret)
{
	if (reader_left(r) == 0)
		return false;
	ret->id = read_u64(r);
	return read_addr(r, &ret->address) && ret->id != 0;
}

void wire_cast_id_write(struct writer *w, const struct wire_cast_id *id)
{
	write_u64(w, id->origin);
	write_u64(w, id->incarnation);
	write_varint(w, id->seq);
}

bool wire_cast_id_read(struct reader *r, struct wire_cast_id *ret)
{
	ret->origin = read_u64(r);
	ret->incarnation = read_u64(r);
	ret->seq = read_varint(r);
	return r->ok && ret->origin != 0;
}
