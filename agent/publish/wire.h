/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * What publishers, and those who repair, say to each other. All numbers in network order.
 *
 *	every message	format (1 byte, 1) kind (1)
 *	VERSION		term (8) node (8) sequence (8)
 *	ROOT		16 bytes, see store.h
 *
 *	by multicast, from the publisher
 *	ANNOUNCE	VERSION ROOT beat (4) flags (1)
 *	DELTA		VERSION ROOT ROOT-before beat (4) part (1) parts (1) changes
 *
 *	to a neighbour, as a request
 *	HAVE		VERSION ROOT					not answered
 *	ASK		nonce (4) ROOT					answered by SUMMARY
 *	FETCH		nonce (4) VERSION skip (4) buckets (128, a bit each)
 *							answered by BODY, or SUMMARY if it is not that version
 *
 *	to a neighbour, as a response
 *	SUMMARY		nonce (4) VERSION ROOT silence (4) same (1) [digests (1024 * 16)]
 *	BODY		nonce (4) VERSION [bucket (2) whole (1) n (2) [length (2) record] * n] * any
 *
 * `beat` counts a publisher's messages within a term. `silence` is for how many milliseconds the
 * sender has not heard the publisher of that version, UINT32_MAX if it does not count on it. The
 * digests are left out where `same` says that the asker has that root already. Bytes behind what
 * is drawn here are passed over in ANNOUNCE and HAVE, for versions to come.
 */
#include "agent/publish/bytes.h"
#include "agent/publish/store.h"

enum {
	WIRE_FORMAT = 1,
	WIRE_MAX = 32768, /* of a message: what the overlay takes */
	WIRE_BITMAP = STORE_BUCKETS / 8,
	WIRE_DIGESTS = STORE_BUCKETS * STORE_DIGEST,
	/* A delta of more parts is not sent: everyone fetches the buckets that differ. */
	WIRE_PARTS_MAX = 4,
	WIRE_PART_MAX = 32000, /* bytes of changes in one part */
};

enum publish_kind {
	PUBLISH_ANNOUNCE = 1,
	PUBLISH_DELTA,
	PUBLISH_HAVE,
	PUBLISH_ASK,
	PUBLISH_FETCH,
	PUBLISH_SUMMARY,
	PUBLISH_BODY,
};

enum {
	ANNOUNCE_FETCH = 1, /* no delta comes to this version: fetch it */
	ANNOUNCE_LAST = 2,  /* the publisher leaves: its master does not lead any more */
};

/* Ordered by term, node, sequence; all zero: none. */
struct version {
	uint64_t term, node, seq;
};

int version_cmp(const struct version *a, const struct version *b);
/* By term and node alone: who publishes. */
int version_cmp_epoch(const struct version *a, const struct version *b);

/* A message taken apart. Which members hold is drawn above; pointers are into its bytes. */
struct message {
	enum publish_kind kind;
	struct version version;
	uint8_t root[STORE_DIGEST], before[STORE_DIGEST];
	uint32_t beat, nonce, skip, silence_ms;
	uint8_t flags, part, n_parts;
	bool same;
	const uint8_t *buckets, *digests;
	const uint8_t *rest; /* DELTA: changes. BODY: runs */
	size_t n_rest;
};

/* 0 or -EBADMSG. */
int message_read(const uint8_t *bytes, size_t n, struct message *ret);
/* The length written to `out`; what does not fit WIRE_MAX is a fault of the caller's. */
size_t message_write(const struct message *m, uint8_t out[static WIRE_MAX]);
