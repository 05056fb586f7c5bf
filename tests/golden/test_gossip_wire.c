/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The overlay's messages, byte by byte: what is written is what the golden file says, and what is
 * read back is what was written. GOSSIP_GOLDEN_WRITE=1 writes the files anew.
 */
#include "gossip/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define A UINT64_C(0x0a0a0a0a0a0a0a0a)
#define B UINT64_C(0x0b0b0b0b0b0b0b0b)
#define C UINT64_C(0x0c0c0c0c0c0c0c0c)

static const struct gossip_addr v4 = {.family = 4, .port = 61420, .bytes = {10, 0, 1, 248}};
static const struct gossip_addr v6 = {.family = 6, .port = 61420, .bytes = {0xfd, 1, [15] = 7}};

static void golden(const char *name, const struct writer *w)
{
	char path[512], text[8192], want[8192];
	size_t n = 0, n_want;
	FILE *f;

	assert_true(w->ok);
	for (size_t i = 0; i < w->n; i++)
		n += snprintf(text + n, sizeof(text) - n, "%02x%s", w->bytes[i],
			i % 16 == 15 || i == w->n - 1 ? "\n" : " ");
	snprintf(path, sizeof(path), "%s/%s.hex", getenv("GOSSIP_GOLDEN"), name);
	if (getenv("GOSSIP_GOLDEN_WRITE")) {
		f = fopen(path, "w");
		assert_non_null(f);
		assert_int_equal(fwrite(text, 1, n, f), n);
		fclose(f);
	}
	f = fopen(path, "r");
	if (!f)
		fail_msg("no golden file %s", path);
	n_want = fread(want, 1, sizeof(want) - 1, f);
	fclose(f);
	want[n_want] = 0;
	text[n] = 0;
	assert_string_equal(text, want);
}

/* The body of the one message written. */
static struct reader body_of(const struct writer *w, uint8_t type)
{
	struct reader r, body;
	uint8_t got;

	reader_init(&r, w->bytes, w->n);
	assert_int_equal(wire_message_next(&r, &got, &body), 1);
	assert_int_equal(got, type);
	assert_int_equal(wire_message_next(&r, &got, &(struct reader){0}), 0);
	return body;
}

static void test_datagram(void **state)
{
	uint8_t bytes[256];
	struct wire_head head = {.sender = A, .boot = wire_boot(7)}, head2;
	struct wire_beat beat = {.seq = 1,
				 .echo = 2,
				 .held = 3,
				 .next_ms = 2000,
				 .digest = 0xdeadbeef,
				 .flags = BEAT_ECHO | BEAT_YOU_ARE_LISTED},
			 beat2;
	struct reader r, body;
	struct writer w;
	uint8_t type;

	writer_init(&w, bytes, sizeof(bytes));
	wire_head_write(&w, &head);
	write_message_begin(&w, WIRE_BEAT);
	wire_beat_write(&w, &beat);
	write_message_end(&w);
	write_message_begin(&w, WIRE_PING);
	write_u32(&w, 99);
	write_u8(&w, PING_HAIL);
	write_message_end(&w);
	golden("beat-ping", &w);
	reader_init(&r, w.bytes, w.n);
	assert_true(wire_head_read(&r, &head2));
	assert_true(head2.sender == A && head2.boot == head.boot);
	assert_int_equal(wire_message_next(&r, &type, &body), 1);
	assert_true(wire_beat_read(&body, &beat2));
	assert_true(beat2.seq == 1 && beat2.echo == 2 && beat2.held == 3 && beat2.next_ms == 2000 &&
		    beat2.digest == 0xdeadbeef && beat2.flags == beat.flags);
	assert_int_equal(wire_message_next(&r, &type, &body), 1);
	assert_int_equal(type, WIRE_PING);
	assert_int_equal(wire_message_next(&r, &type, &body), 0);
}

static struct wire_item record(void)
{
	struct wire_item item = {.kind = ITEM_RECORD, .owner = A};

	item.record.incarnation = UINT64_C(0x0000000500000001);
	item.record.version = 300;
	item.record.address = v4;
	item.record.n_neighbours = 2;
	item.record.neighbours[0] = B;
	item.record.neighbours[1] = C;
	item.record.n_lost = 1;
	item.record.lost[0] =
		(struct wire_lost){.id = B, .version = 4, .boot = 0xb007, .op = OP_STALLED};
	item.record.metadata = (const uint8_t *)"master";
	item.record.n_metadata = 6;
	item.record.age = 61;
	item.record.since_add = 5;
	return item;
}

static void test_news(void **state)
{
	struct wire_item delta = {.kind = ITEM_DELTA, .owner = B}, whole = record(), got;
	uint8_t bytes[1024];
	struct reader r;
	struct writer w;

	delta.delta.boot = 0x1234;
	delta.delta.base = 128;
	delta.delta.n_ops = 3;
	delta.delta.ops[0] =
		(struct wire_lost){.op = OP_SILENT, .id = A, .boot = 0xb007, .version = 17};
	delta.delta.ops[1] = (struct wire_lost){.op = OP_ADD, .id = C};
	delta.delta.ops[2] = (struct wire_lost){.op = OP_CLEAR, .id = C};
	writer_init(&w, bytes, sizeof(bytes));
	write_message_begin(&w, WIRE_NEWS);
	wire_item_write(&w, &delta);
	wire_item_write(&w, &whole);
	write_message_end(&w);
	golden("news", &w);
	r = body_of(&w, WIRE_NEWS);
	assert_true(wire_item_next(&r, &got));
	assert_true(got.kind == ITEM_DELTA && got.owner == B && got.delta.base == 128 &&
		    got.delta.n_ops == 3 && got.delta.ops[0].version == 17 &&
		    got.delta.ops[0].boot == 0xb007 && got.delta.ops[1].id == C);
	assert_true(wire_item_next(&r, &got));
	assert_true(got.owner == A && got.record.incarnation == whole.record.incarnation &&
		    got.record.version == 300 && got.record.neighbours[1] == C &&
		    got.record.n_lost == 1 && got.record.lost[0].op == OP_STALLED &&
		    got.record.n_metadata == 6 && got.record.age == 61 && got.record.since_add == 5);
	assert_memory_equal(got.record.metadata, "master", 6);
	assert_false(wire_item_next(&r, &got));
	assert_true(r.ok);
}

static void test_hello(void **state)
{
	struct wire_hello hello = {.id = A,
				  .incarnation = UINT64_C(0x0000000500000001),
				  .to = B,
				  .number = 77,
				  .purpose = PURPOSE_HIGH,
				  .digest = 1},
			  got;
	uint8_t bytes[1024];
	struct reader r;
	struct writer w;

	hello.record = record();
	writer_init(&w, bytes, sizeof(bytes));
	write_message_begin(&w, WIRE_HELLO);
	wire_hello_write(&w, &hello);
	write_message_end(&w);
	golden("hello", &w);
	r = body_of(&w, WIRE_HELLO);
	assert_true(wire_hello_read(&r, &got));
	assert_true(got.id == A && got.to == B && got.number == 77 && got.record.owner == A);
	for (size_t n = 0; n < w.n - 3; n++) { /* cut anywhere: dropped */
		reader_init(&r, w.bytes + 3, n);
		assert_false(wire_hello_read(&r, &got));
	}
}

/* The messages that are a list of plain fields. */
static void test_plain(void **state)
{
	static const struct {
		const char *name;
		enum wire_type type;
	} plain[] = {{"pong", WIRE_PONG}, {"word", WIRE_WORD}, {"heard", WIRE_HEARD},
		{"pull", WIRE_PULL}, {"reply", WIRE_REPLY}, {"walk", WIRE_WALK},
		{"shuffle", WIRE_SHUFFLE}, {"shuffled", WIRE_SHUFFLED}, {"part", WIRE_PART},
		{"sync", WIRE_SYNC}, {"summary", WIRE_SUMMARY}, {"cast", WIRE_CAST},
		{"ihave", WIRE_IHAVE}, {"graft", WIRE_GRAFT}, {"prune", WIRE_PRUNE},
		{"request", WIRE_REQUEST}, {"response", WIRE_RESPONSE}};
	struct wire_entry entry = {.id = B, .address = v4}, entry6 = {.id = C, .address = v6}, got;
	struct wire_cast_id id = {.origin = A, .incarnation = 9, .seq = 1000}, id2;

	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
		enum wire_type t = plain[i].type;
		uint8_t bytes[256];
		struct writer w;
		struct reader r;

		writer_init(&w, bytes, sizeof(bytes));
		write_message_begin(&w, t);
		if (t == WIRE_WORD || t == WIRE_HEARD || t == WIRE_PULL)
			write_u64(&w, A);
		if (t == WIRE_PONG || t == WIRE_REPLY || t == WIRE_PART || t == WIRE_REQUEST ||
			t == WIRE_RESPONSE)
			write_u32(&w, 0x01020304);
		if (t == WIRE_PONG || t == WIRE_REPLY || t == WIRE_PART || t == WIRE_WALK ||
			t == WIRE_SHUFFLE || t == WIRE_SYNC || t == WIRE_SUMMARY)
			write_u8(&w, 1);
		if (t == WIRE_REPLY || t == WIRE_WALK || t == WIRE_SHUFFLE || t == WIRE_SHUFFLED)
			wire_entry_write(&w, &entry);
		if (t == WIRE_REPLY || t == WIRE_SHUFFLE || t == WIRE_SHUFFLED)
			wire_entry_write(&w, &entry6);
		if (t == WIRE_SYNC) {
			write_u32(&w, 1);
			write_u32(&w, 2);
		}
		if (t == WIRE_SUMMARY) {
			write_varint(&w, 1);
			write_varint(&w, 0);
		}
		if (t == WIRE_SUMMARY || t == WIRE_CAST || t == WIRE_IHAVE || t == WIRE_GRAFT)
			wire_cast_id_write(&w, &id);
		if (t == WIRE_CAST || t == WIRE_REQUEST || t == WIRE_RESPONSE)
			write_bytes(&w, "payload", 7);
		write_message_end(&w);
		golden(plain[i].name, &w);
		r = body_of(&w, t);
		if (t == WIRE_SHUFFLED) {
			assert_true(wire_entry_next(&r, &got) && got.id == B);
			assert_true(wire_entry_next(&r, &got) && got.id == C);
			assert_true(gossip_addr_equal(&got.address, &v6));
			assert_false(wire_entry_next(&r, &got));
		}
		if (t == WIRE_CAST) {
			assert_true(wire_cast_id_read(&r, &id2) && id2.seq == 1000);
			assert_int_equal(reader_left(&r), 7);
		}
	}
}

static void test_newer_versions_are_read(void **state)
{
	struct wire_item item = record(), got;
	uint8_t bytes[1024], longer[1024];
	struct reader r, body;
	struct writer w;
	uint8_t type;

	writer_init(&w, bytes, sizeof(bytes));
	write_u8(&w, 200); /* a message from the future */
	write_varint(&w, 3);
	write_bytes(&w, "xyz", 3);
	reader_init(&r, bytes, w.n);
	assert_int_equal(wire_message_next(&r, &type, &body), 1);
	assert_int_equal(wire_message_next(&r, &type, &body), 0);

	writer_init(&w, bytes, sizeof(bytes));
	wire_item_write(&w, &item);
	assert_true(w.ok && bytes[0] == ITEM_RECORD);
	memcpy(longer, bytes, w.n);
	memcpy(longer + w.n, "new field", 9); /* appended to the record */
	longer[1] = ((w.n - 3 + 9) & 0x7f) | 0x80;
	longer[2] = (w.n - 3 + 9) >> 7;
	reader_init(&r, longer, w.n + 9);
	assert_true(wire_item_next(&r, &got));
	assert_true(got.owner == A && got.record.since_add == 5);
	assert_int_equal(reader_left(&r), 0);
}

static void test_varint_bounds(void **state)
{
	static const uint64_t values[] = {0, 1, 127, 128, 16383, 16384, UINT32_MAX, UINT64_MAX};
	uint8_t bytes[16];
	struct reader r;
	struct writer w;

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		writer_init(&w, bytes, sizeof(bytes));
		write_varint(&w, values[i]);
		reader_init(&r, bytes, w.n);
		assert_true(read_varint(&r) == values[i] && r.ok && reader_left(&r) == 0);
	}
	memset(bytes, 0xff, sizeof(bytes)); /* longer than 64 bits */
	reader_init(&r, bytes, sizeof(bytes));
	read_varint(&r);
	assert_false(r.ok);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_datagram),
		cmocka_unit_test(test_news),
		cmocka_unit_test(test_hello),
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_newer_versions_are_read),
		cmocka_unit_test(test_varint_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
