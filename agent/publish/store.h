/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * A set of records with digests: what a node has of the published table.
 *
 * The records lie in STORE_BUCKETS buckets, by a hash of their key. A bucket's digest is BLAKE2b over
 * its records in order, the root's that over all buckets' digests: two nodes with equal roots have
 * equal sets, and two that differ find out where by exchanging 16 kB. Whoever chooses names of tasks
 * cannot make different sets look alike, as he could with sums of hashes.
 *
 * Copies are cheap: buckets and records are shared until one side changes them. So a change is
 * tried on a copy and taken only as a whole.
 */
#include "agent/publish/record.h"

enum {
	STORE_BUCKETS = 1024,
	STORE_DIGEST = 16,
	STORE_RECORDS_MAX = 1 << 20, /* as many tasks as the parser of documents keeps */
	STORE_BYTES_MAX = 256 << 20,
};

struct store;

struct store *store_new(void);
struct store *store_copy(const struct store *s);
struct store *store_free(struct store *s); /* takes NULL; returns NULL */

size_t store_count(const struct store *s);
/* STORE_DIGEST bytes; until the next change. */
const uint8_t *store_root(struct store *s);
const uint8_t *store_digest(struct store *s, unsigned int bucket);
/* The root that these STORE_BUCKETS digests make. */
void store_root_of(const uint8_t *digests, uint8_t ret[static STORE_DIGEST]);

/* Adds a record, or replaces the one with its key. 0; -EBADMSG: no record; -ENOSPC: a bound. */
int store_set(struct store *s, const uint8_t *bytes, size_t n);
/* 0; -EBADMSG: no key; -ENOENT. */
int store_remove(struct store *s, const uint8_t *key, size_t n_key);

/* The records of a bucket in order; until the next change. */
const struct record *const *store_bucket(const struct store *s, unsigned int bucket, size_t *ret_n);
/* Empties a bucket. */
void store_clear_bucket(struct store *s, unsigned int bucket);
unsigned int store_bucket_of(const uint8_t *key, size_t n_key);

/* All records in order; until the next change. */
const struct record *const *store_sorted(struct store *s, size_t *ret_n);

/* ---- changes as bytes ----
 *
 * A list of operations: one byte SET or REMOVE, two bytes of length, a record or a key. In the
 * order of keys, each key once. */

enum { CHANGE_SET = 1, CHANGE_REMOVE = 2 };

/* What makes the table's set of this one. Caller frees; NULL and *ret_n 0 if nothing does. */
uint8_t *store_diff(struct store *s, const struct vip_table *table, size_t *ret_n);
/* How many of these `n` bytes, at most `max`, are whole operations. */
size_t store_changes_cut(const uint8_t *changes, size_t n, size_t max);
/* Applies them all, or returns a negative errno with the set in no useful state: try on a copy. */
int store_apply(struct store *s, const uint8_t *changes, size_t n);
