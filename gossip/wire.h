/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The wire format, drawn once.
 *
 * Integers are big-endian. `varint` is LEB128, at most 10 bytes. A datagram is a head and
 * messages; a link carries messages alone, the first in each direction a HELLO.
 *
 *	datagram   0         1                 9           11
 *	           +---------+-----------------+-----------+----------------
 *	           | version | sender id  (64) | boot (16) | messages ...
 *	           +---------+-----------------+-----------+----------------
 *	           boot: the sender's incarnation, hashed to 16 bits
 *
 *	message    +------+--------+----------------+
 *	           | type | length | body           |      length: varint, of the body
 *	           +------+--------+----------------+
 *
 *	BEAT       seq (16) | echo (16) | held (16) | next (16) | digest (32) | flags (8)
 *	PING       nonce (32) | flags (8)
 *	PONG       nonce (32) | flags (8)
 *	WORD       subject id (64)             it is silent to me: test it
 *	HEARD      subject id (64)             you said it was silent: it answered me
 *	NEWS       items, each: kind (8) | length varint | body
 *	  delta      owner ref | boot (16) | base varint
 *	             | ops: op (8) | subject ref [| boot (16) | version varint, of ops 3 to 5]
 *	  record     owner ref | incarnation (64) | version varint | address
 *	             | n (8), n neighbours' refs
 *	             | m (8), m times: op (8), ref, boot (16), version varint
 *	             | length varint, metadata | age varint | since_add varint
 *	PULL       ids (64 each)               send me these records
 *	HELLO      id (64) | incarnation (64) | to (64) | number (32) | purpose (8) | digest (64)
 *	           | one NEWS item: the sender's record
 *	REPLY      number (32) | accepted (8) | entries
 *	WALK       ttl (8) | entry             HyParView's FORWARD_JOIN
 *	SHUFFLE    ttl (8) | entries           the first is the origin
 *	SHUFFLED   entries                     the answer, by datagram
 *	PART       number (32) | reason (8)    HyParView's DISCONNECT
 *	SYNC       log2 of buckets (8) | digest (32) of each
 *	SUMMARY    log2 of buckets (8) | n varint, n bucket numbers (varint)
 *	           | id (64), incarnation (64), version varint of each record in them
 *	CAST       origin (64) | incarnation (64) | seq varint | payload
 *	IHAVE      origin (64) | incarnation (64) | seq varint, repeated
 *	GRAFT      as IHAVE; empty: the link becomes eager, nothing is asked for
 *	PRUNE      empty
 *	REQUEST    tag (32) | payload
 *	RESPONSE   tag (32) | payload
 *	RECORDS    as NEWS             the answer to a PULL that came by datagram
 *
 *	entry      id (64) | address
 *	address    family (8): 4, 6 | bytes | port (16)
 *	ref        varint: 0: a literal id (64) follows; k: the k-th literal of this message
 *
 * Growing it. A message of unknown type is skipped. Bytes after the known fields of a body, or
 * of a record, are skipped; they must hold no refs, or the numbering would differ between
 * readers. An unknown item or op ends its message: what it carried is repaired by digests.
 * A change that these rules do not allow gets a new version byte.
 *
 * Decoders take any bytes. They return false for what does not parse and write nothing then
 * that the caller may use.
 */
#include "gossip.h"

enum {
	WIRE_VERSION = 1,
	WIRE_HEAD = 11,        /* bytes of a datagram's head */
	WIRE_MESSAGE_HEAD = 4, /* most bytes of a message's: type and a length below 2^21 */
	WIRE_REFS_MAX = 120,   /* literals numbered in a message: a ref stays one byte */
	WIRE_OPS_MAX = 4,      /* of a delta: its length stays one byte */
	WIRE_ENTRIES_MAX = 16, /* of HyParView's samples */
	WIRE_BUCKETS_LOG2 = 8, /* digests of at most 2^8 buckets */
};

enum wire_type {
	WIRE_BEAT = 1,
	WIRE_PING,
	WIRE_PONG,
	WIRE_WORD,
	WIRE_HEARD,
	WIRE_NEWS,
	WIRE_PULL,
	WIRE_HELLO,
	WIRE_REPLY,
	WIRE_WALK,
	WIRE_SHUFFLE,
	WIRE_SHUFFLED,
	WIRE_PART,
	WIRE_SYNC,
	WIRE_SUMMARY,
	WIRE_CAST,
	WIRE_IHAVE,
	WIRE_GRAFT,
	WIRE_PRUNE,
	WIRE_REQUEST,
	WIRE_RESPONSE,
	WIRE_RECORDS,
};

/* Bytes being written. Overflow is sticky: nothing more is written and ok is false. */
struct writer {
	uint8_t *bytes;
	size_t n, n_max;
	bool ok;
	size_t message; /* where the open message begins */
	unsigned n_refs;
	uint64_t refs[WIRE_REFS_MAX];
};

/* Bytes being read. ok turns false at the first that is missing; reads then give 0. */
struct reader {
	const uint8_t *bytes;
	size_t n, at;
	bool ok;
	unsigned n_refs;
	uint64_t refs[WIRE_REFS_MAX];
};

void writer_init(struct writer *w, void *bytes, size_t n_max);
void write_u8(struct writer *w, uint8_t v);
void write_u16(struct writer *w, uint16_t v);
void write_u32(struct writer *w, uint32_t v);
void write_u64(struct writer *w, uint64_t v);
void write_varint(struct writer *w, uint64_t v);
void write_bytes(struct writer *w, const void *bytes, size_t n);
void write_ref(struct writer *w, uint64_t id);
void write_addr(struct writer *w, const struct gossip_addr *a);
void write_message_begin(struct writer *w, enum wire_type type);
void write_message_end(struct writer *w);
/* Forgets the message begun last. */
void write_message_cancel(struct writer *w);

void reader_init(struct reader *r, const void *bytes, size_t n);
size_t reader_left(const struct reader *r);
uint8_t read_u8(struct reader *r);
uint16_t read_u16(struct reader *r);
uint32_t read_u32(struct reader *r);
uint64_t read_u64(struct reader *r);
uint64_t read_varint(struct reader *r);
uint64_t read_ref(struct reader *r);
bool read_addr(struct reader *r, struct gossip_addr *ret);

struct wire_head {
	uint64_t sender;
	uint16_t boot;
};

void wire_head_write(struct writer *w, const struct wire_head *head);
bool wire_head_read(struct reader *r, struct wire_head *ret);
/* The 16 bits that stand for an incarnation in datagrams. */
uint16_t wire_boot(uint64_t incarnation);

/* The next message; `ret_body` reads its body alone. 1; 0 at the end of the bytes; -EAGAIN if
 * the message is not there in full (a stream has more to come; a datagram is malformed);
 * -EBADMSG if its length is above GOSSIP_FRAME_MAX. */
int wire_message_next(struct reader *r, uint8_t *ret_type, struct reader *ret_body);

enum {
	BEAT_YOU_ARE_LISTED = 1, /* my record lists you */
	BEAT_ECHO = 2,           /* echo and held are valid */
	BEAT_DEGRADED = 8,  /* I do not get your datagrams, or do not know yet: use the link too */
	BEAT_WANT_LINK = 4, /* your record does not list me, and I think it should */
};

struct wire_beat {
	uint16_t seq;     /* of this sender, on this link */
	uint16_t echo;    /* the last seq that came from the receiver */
	uint16_t held;    /* how long ago it came, in BEAT_HELD_UNIT */
	uint16_t next_ms; /* the next beat comes no later, if all is well */
	uint32_t digest;  /* of the sender's table, folded */
	uint8_t flags;
};
#define BEAT_HELD_UNIT (64 * UINT64_C(1000)) /* ns: 16 bits reach 4.2 s, 0.06 ms off at most */

void wire_beat_write(struct writer *w, const struct wire_beat *beat);
bool wire_beat_read(struct reader *r, struct wire_beat *ret);

enum {
	PING_HAIL = 1, /* looking for a lost member: if it is you, let us link */
};

enum wire_item_kind {
	ITEM_DELTA = 1,
	ITEM_RECORD = 2,
};

enum wire_op {
	OP_ADD = 1,       /* subject is a neighbour now */
	OP_DROP = 2,      /* is none any more, in good order */
	OP_SILENT = 3,    /* neither process nor kernel answered; no neighbour any more */
	OP_STALLED = 4,   /* the kernel answers, the process does not; likewise */
	OP_AGENTLESS = 5, /* the kernel refuses: no process; likewise */
	OP_CLEAR = 6,     /* no longer spoken of as lost */
};

struct wire_lost {
	uint64_t id, version; /* version of its record that was tested */
	uint16_t boot;        /* and of which incarnation */
	uint8_t op;           /* OP_SILENT, OP_STALLED, OP_AGENTLESS */
};

/* A record in full, or a step from version `base` to base + 1. */
struct wire_item {
	enum wire_item_kind kind;
	uint64_t owner;
	union {
		struct {
			uint16_t boot;
			uint64_t base;
			unsigned n_ops;
			struct wire_lost
				ops[WIRE_OPS_MAX]; /* any op; version and boot only if lost */
		} delta;
		struct {
			uint64_t incarnation, version;
			struct gossip_addr address;
			unsigned n_neighbours, n_lost;
			uint64_t neighbours[GOSSIP_NEIGHBOURS_MAX];
			struct wire_lost lost[GOSSIP_LOST_MAX];
			const uint8_t *metadata; /* in the bytes that were read */
			size_t n_metadata;
			uint64_t age; /* seconds without a path to it, plus one; 0: there is one */
			uint64_t since_add; /* versions since its owner last gained a neighbour */
		} record;
	};
};

void wire_item_write(struct writer *w, const struct wire_item *item);
/* False at the end, and at what does not parse (r->ok is false then). */
bool wire_item_next(struct reader *r, struct wire_item *ret);

enum wire_purpose {
	PURPOSE_JOIN = 1, /* I know nobody */
	PURPOSE_LOW = 2,  /* be my neighbour if you have room */
	PURPOSE_HIGH = 3, /* I have few or none: make room */
};

struct wire_hello {
	uint64_t id, incarnation;
	uint64_t to;     /* whom it is meant for; 0: whoever is there */
	uint32_t number; /* of this edge, chosen by who opened the link */
	uint8_t purpose; /* an answering HELLO repeats it */
	uint64_t digest;
	struct wire_item record;
};

void wire_hello_write(struct writer *w, const struct wire_hello *hello);
bool wire_hello_read(struct reader *r, struct wire_hello *ret);

struct wire_entry {
	uint64_t id;
	struct gossip_addr address;
};

void wire_entry_write(struct writer *w, const struct wire_entry *entry);
/* False at the end, and at what does not parse. */
bool wire_entry_next(struct reader *r, struct wire_entry *ret);

struct wire_cast_id {
	uint64_t origin, incarnation, seq;
};

void wire_cast_id_write(struct writer *w, const struct wire_cast_id *id);
bool wire_cast_id_read(struct reader *r, struct wire_cast_id *ret);
