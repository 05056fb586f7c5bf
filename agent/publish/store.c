/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A bucket is an array of pointers to records, sorted by key; both count their users. A set's
 * buckets are changed in place while they have no other user, else copied first. `sorted` is a
 * second view of the same pointers, made when it is asked for and then kept up to date through
 * small changes, since on a node each small change is followed by making the whole table.
 */
#include "agent/publish/store.h"

#include <errno.h>
#include <sodium.h>

#include "agent/publish/bytes.h"
#include "agent/util.h"

/* Changes between two uses of the sorted view that are followed in it, 20 us each in a large
 * set; after more it is cheaper to sort anew. */
#define FOLLOWED_MAX 256

struct bucket {
	unsigned int n_users;
	size_t n, allocated;
	bool digested;
	uint8_t digest[STORE_DIGEST];
	struct record *records[];
};

struct store {
	struct bucket *buckets[STORE_BUCKETS]; /* NULL: empty */
	size_t n_records, n_bytes;
	bool rooted;
	uint8_t root[STORE_DIGEST];
	struct record **sorted; /* NULL: to be made; holds no users */
	size_t sorted_allocated, n_followed;
};

/* ---- records and buckets ---- */

static struct record *record_new(const uint8_t *bytes, size_t n_key, size_t n)
{
	struct record *r = xcalloc(1, sizeof(*r) + n);

	r->n_users = 1;
	r->n_key = (uint16_t)n_key;
	r->n = (uint16_t)n;
	memcpy(r->bytes, bytes, n);
	return r;
}

static void record_put(struct record *r)
{
	if (--r->n_users == 0)
		free(r);
}

static void bucket_put(struct bucket *b)
{
	if (!b || --b->n_users > 0)
		return;
	for (size_t i = 0; i < b->n; i++)
		record_put(b->records[i]);
	free(b);
}

static struct bucket *bucket_resize(struct bucket *b, size_t allocated)
{
	b = xrealloc(b, 1, sizeof(*b) + allocated * sizeof(*b->records));
	b->allocated = allocated;
	return b;
}

/* This bucket, as one that only `s` uses and that has room for one more record. */
static struct bucket *bucket_own(struct store *s, unsigned int i)
{
	struct bucket *old = s->buckets[i], *b;

	if (old && old->n_users == 1) {
		b = old->n < old->allocated ? old : bucket_resize(old, 2 * old->n + 4);
	} else {
		b = bucket_resize(NULL, (old ? old->n : 0) + 4);
		b->n_users = 1;
		b->n = old ? old->n : 0;
		for (size_t k = 0; k < b->n; k++) {
			b->records[k] = old->records[k];
			b->records[k]->n_users++;
		}
		bucket_put(old);
	}
	b->digested = false;
	s->buckets[i] = b;
	s->rooted = false;
	return b;
}

/* Where in a sorted array this key is, or would be. */
static size_t find(
	struct record *const *records, size_t n, const uint8_t *key, size_t n_key, bool *ret_found)
{
	size_t low = 0, high = n;

	*ret_found = false;
	while (low < high) {
		size_t middle = (low + high) / 2;
		const struct record *r = records[middle];
		int c = record_cmp(r->bytes, r->n_key, key, n_key);

		if (c == 0) {
			*ret_found = true;
			return middle;
		}
		if (c < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

unsigned int store_bucket_of(const uint8_t *key, size_t n_key)
{
	uint64_t h = 0xcbf29ce484222325; /* FNV-1a */

	for (size_t i = 0; i < n_key; i++)
		h = (h ^ key[i]) * 0x100000001b3;
	return (h ^ h >> 20 ^ h >> 40) % STORE_BUCKETS;
}

/* ---- the sorted view ---- */

static void unsort(struct store *s)
{
	free(STEAL(s->sorted));
}

/* The view follows one change, if that is worth it. */
static bool may_follow(struct store *s)
{
	if (s->sorted && ++s->n_followed > FOLLOWED_MAX)
		unsort(s);
	return s->sorted;
}

static void sorted_insert(struct store *s, struct record *r)
{
	size_t n = s->n_records, at; /* without it */
	bool found;

	if (!may_follow(s))
		return;
	if (n == s->sorted_allocated) {
		s->sorted_allocated = n + n / 8 + 64;
		s->sorted = xrealloc(s->sorted, s->sorted_allocated, sizeof(struct record *));
	}
	at = find(s->sorted, n, r->bytes, r->n_key, &found);
	memmove(s->sorted + at + 1, s->sorted + at, (n - at) * sizeof(struct record *));
	s->sorted[at] = r;
}

static void sorted_remove(struct store *s, const struct record *r)
{
	size_t n = s->n_records, at; /* with it */
	bool found;

	if (!may_follow(s))
		return;
	at = find(s->sorted, n, r->bytes, r->n_key, &found);
	memmove(s->sorted + at, s->sorted + at + 1, (n - at - 1) * sizeof(struct record *));
}

static int sort_cmp(const void *pa, const void *pb)
{
	const struct record *a = *(struct record *const *)pa, *b = *(struct record *const *)pb;

	return record_cmp(a->bytes, a->n_key, b->bytes, b->n_key);
}

const struct record *const *store_sorted(struct store *s, size_t *ret_n)
{
	size_t n = 0;

	*ret_n = s->n_records;
	s->n_followed = 0;
	if (s->sorted)
		return (const struct record *const *)s->sorted;
	s->sorted_allocated = s->n_records + 64;
	s->sorted = xcalloc(s->sorted_allocated, sizeof(struct record *));
	for (unsigned int i = 0; i < STORE_BUCKETS; i++)
		for (size_t k = 0; s->buckets[i] && k < s->buckets[i]->n; k++)
			s->sorted[n++] = s->buckets[i]->records[k];
	qsort(s->sorted, n, sizeof(struct record *), sort_cmp);
	return (const struct record *const *)s->sorted;
}

/* ---- the set ---- */

struct store *store_new(void)
{
	return xcalloc(1, sizeof(struct store));
}

struct store *store_copy(const struct store *s)
{
	struct store *copy = xcalloc(1, sizeof(*copy));

	*copy = *s;
	for (unsigned int i = 0; i < STORE_BUCKETS; i++)
		if (copy->buckets[i])
			copy->buckets[i]->n_users++;
	if (s->sorted) {
		copy->sorted = xcalloc(s->sorted_allocated, sizeof(struct record *));
		memcpy(copy->sorted, s->sorted, s->n_records * sizeof(struct record *));
	}
	return copy;
}

struct store *store_free(struct store *s)
{
	if (!s)
		return NULL;
	for (unsigned int i = 0; i < STORE_BUCKETS; i++)
		bucket_put(s->buckets[i]);
	free(s->sorted);
	free(s);
	return NULL;
}

size_t store_count(const struct store *s)
{
	return s->n_records;
}

static void bucket_insert(struct store *s, struct bucket *b, size_t at, struct record *r)
{
	memmove(b->records + at + 1, b->records + at, (b->n - at) * sizeof(struct record *));
	b->records[at] = r;
	b->n++;
	sorted_insert(s, r);
	s->n_records++;
	s->n_bytes += r->n;
}

static void bucket_remove(struct store *s, struct bucket *b, size_t at)
{
	struct record *r = b->records[at];

	sorted_remove(s, r);
	b->n--;
	memmove(b->records + at, b->records + at + 1, (b->n - at) * sizeof(struct record *));
	s->n_records--;
	s->n_bytes -= r->n;
	record_put(r);
}

int store_set(struct store *s, const uint8_t *bytes, size_t n)
{
	size_t n_key = record_check(bytes, n), at;
	struct bucket *b;
	bool found;

	if (n_key == 0)
		return -EBADMSG;
	if (s->n_records == STORE_RECORDS_MAX || s->n_bytes + n > STORE_BYTES_MAX)
		return -ENOSPC;
	b = bucket_own(s, store_bucket_of(bytes, n_key));
	at = find(b->records, b->n, bytes, n_key, &found);
	if (found)
		bucket_remove(s, b, at);
	bucket_insert(s, b, at, record_new(bytes, n_key, n));
	return 0;
}

int store_remove(struct store *s, const uint8_t *key, size_t n_key)
{
	struct bucket *b;
	size_t at;
	bool found;

	if (!record_is_key(key, n_key))
		return -EBADMSG;
	b = bucket_own(s, store_bucket_of(key, n_key));
	at = find(b->records, b->n, key, n_key, &found);
	if (!found)
		return -ENOENT;
	bucket_remove(s, b, at);
	return 0;
}

const struct record *const *store_bucket(const struct store *s, unsigned int bucket, size_t *ret_n)
{
	const struct bucket *b = s->buckets[bucket];

	*ret_n = b ? b->n : 0;
	return b ? (const struct record *const *)b->records : NULL;
}

void store_clear_bucket(struct store *s, unsigned int bucket)
{
	struct bucket *b = s->buckets[bucket];

	if (!b)
		return;
	unsort(s);
	s->n_records -= b->n;
	for (size_t i = 0; i < b->n; i++)
		s->n_bytes -= b->records[i]->n;
	s->buckets[bucket] = NULL;
	s->rooted = false;
	bucket_put(b);
}

/* ---- digests ---- */

static void digest_bucket(struct bucket *b)
{
	crypto_generichash_state state;

	crypto_generichash_init(&state, NULL, 0, STORE_DIGEST);
	for (size_t i = 0; i < b->n; i++) {
		const struct record *r = b->records[i];
		const uint8_t head[2] = {(uint8_t)(r->n >> 8), (uint8_t)r->n};

		crypto_generichash_update(&state, head, sizeof(head));
		crypto_generichash_update(&state, r->bytes, r->n);
	}
	crypto_generichash_final(&state, b->digest, STORE_DIGEST);
	b->digested = true;
}

const uint8_t *store_digest(struct store *s, unsigned int bucket)
{
	static const uint8_t empty[STORE_DIGEST];
	struct bucket *b = s->buckets[bucket];

	if (!b || b->n == 0)
		return empty;
	if (!b->digested)
		digest_bucket(b);
	return b->digest;
}

void store_root_of(const uint8_t *digests, uint8_t ret[static STORE_DIGEST])
{
	crypto_generichash(
		ret, STORE_DIGEST, digests, (size_t)STORE_BUCKETS * STORE_DIGEST, NULL, 0);
}

const uint8_t *store_root(struct store *s)
{
	uint8_t digests[STORE_BUCKETS * STORE_DIGEST];

	if (s->rooted)
		return s->root;
	for (unsigned int i = 0; i < STORE_BUCKETS; i++)
		memcpy(digests + (size_t)i * STORE_DIGEST, store_digest(s, i), STORE_DIGEST);
	store_root_of(digests, s->root);
	s->rooted = true;
	return s->root;
}

/* ---- changes ---- */

struct changes {
	uint8_t *bytes;
	size_t n, allocated;
};

static void add_change(struct changes *c, uint8_t what, const uint8_t *bytes, size_t n)
{
	struct writer w;

	if (c->n + n + 3 > c->allocated) {
		c->allocated = 2 * c->allocated + n + 1024;
		c->bytes = xrealloc(c->bytes, c->allocated, 1);
	}
	w = writer_init(c->bytes + c->n, c->allocated - c->n);
	put_u8(&w, what);
	put_u16(&w, (uint16_t)n);
	put_bytes(&w, bytes, n);
	c->n += w.n;
}

/* One step of the merge of what is there with what the table has. `have` or `walk` may be NULL. */
static int diff_step(struct changes *c, const struct record *have, const struct record_walk *walk)
{
	int order = !walk   ? -1
		    : !have ? 1
			    : record_cmp(have->bytes, have->n_key, walk->bytes, walk->n_key);

	if (order < 0)
		add_change(c, CHANGE_REMOVE, have->bytes, have->n_key);
	else if (order > 0 || have->n != walk->n || memcmp(have->bytes, walk->bytes, walk->n) != 0)
		add_change(c, CHANGE_SET, walk->bytes, walk->n);
	return order;
}

uint8_t *store_diff(struct store *s, const struct vip_table *table, size_t *ret_n)
{
	struct changes c = {0};
	struct record_walk walk;
	size_t n, i = 0;
	const struct record *const *have = store_sorted(s, &n);
	bool more;

	record_walk_init(&walk, table);
	more = record_walk_next(&walk);
	while (i < n || more) {
		int order = diff_step(&c, i < n ? have[i] : NULL, more ? &walk : NULL);

		if (order <= 0)
			i++;
		if (order >= 0)
			more = record_walk_next(&walk);
	}
	*ret_n = c.n;
	return c.bytes;
}

size_t store_changes_cut(const uint8_t *changes, size_t n, size_t max)
{
	size_t at = 0;

	while (at + 3 <= n) {
		size_t next = at + 3 + ((size_t)changes[at + 1] << 8 | changes[at + 2]);

		if (next > n || next > max)
			break;
		at = next;
	}
	return at;
}

int store_apply(struct store *s, const uint8_t *changes, size_t n)
{
	struct reader r = reader_init(changes, n);

	while (reader_left(&r) > 0) {
		uint8_t what = get_u8(&r);
		size_t len = get_u16(&r);
		const uint8_t *bytes = get_bytes(&r, len);
		int e = -EBADMSG;

		if (bytes && what == CHANGE_SET)
			e = store_set(s, bytes, len);
		else if (bytes && what == CHANGE_REMOVE)
			e = store_remove(s, bytes, len);
		if (e < 0)
			return e;
	}
	return reader_is_done(&r) ? 0 : -EBADMSG;
}
