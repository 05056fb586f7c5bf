/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The VIP table as a set of small records: what masters publish, what digests are made of. One table
 * has one encoding, and what is no encoding of anything is refused, so equal sets of bytes mean
 * equal tables on every node. The bytes of a record begin with its key, by which a set is sorted,
 * and that order is the table's own:
 *
 *	agent	 1 family address
 *	name	 2 protocol family address port 0 | length text
 *	backend	 2 protocol family address port 1 address port | flags [address port] [family address]
 *							 task framework framework-id
 *
 * (left of | is the key). `family` is 4 or 6, an address has its family's bytes, a port is
 * two bytes, all in network order. `address port` after the 1 is the backend's, of the VIP's family.
 * `flags`: bits 0 and 1 are the weight's reason, bit 2 says that the local form follows, since it
 * is another one, bit 3 that the agent follows, since its address is not the backend's. Texts are
 * a length of two bytes and so many bytes, none of them 0.
 *
 * What people ask a master for is not in it: what was rejected and why, how many tasks there were.
 */
#include "agent/source/vip_table.h"

enum {
	/* Ids and names in Mesos are names of directories, at most 255 bytes; longer ones are cut. */
	RECORD_TEXT_MAX = 1024,
	RECORD_KEY_MAX = 39,
	RECORD_MAX = RECORD_KEY_MAX + 1 + 18 + 17 + 3 * (2 + RECORD_TEXT_MAX),
};

struct record {
	unsigned int n_users; /* sets that hold it; see store.c */
	uint16_t n_key, n;    /* bytes of the key, and of all */
	uint8_t bytes[];
};

/* The length of the key of these bytes; 0 if they are no record. */
size_t record_check(const uint8_t *bytes, size_t n);
/* Whether these bytes are a key, whole and with nothing behind it. */
bool record_is_key(const uint8_t *bytes, size_t n);
/* Orders by key. */
int record_cmp(const uint8_t *a, size_t n_key_a, const uint8_t *b, size_t n_key_b);

/* Walks the records of a table in their order. */
struct record_walk {
	const struct vip_table *table;
	size_t agent, vip, backend;
	bool named; /* the name of `vip` is done */
	size_t n_key, n;
	uint8_t bytes[RECORD_MAX];
};
void record_walk_init(struct record_walk *w, const struct vip_table *table);
/* The next one, in w->bytes; false at the end. */
bool record_walk_next(struct record_walk *w);

/* The table of these records, which are sorted and checked. What is not published (rejections,
 * counts) is empty in it. A VIP without backends is none. */
struct vip_table *records_to_table(const struct record *const *records, size_t n, bool no_ipv6);
