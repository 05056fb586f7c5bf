/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a version is had that no delta leads to: from a neighbour.
 *
 *	idle -- due --> asked -- summary --> fetching -- last bucket --> idle, held
 *	                  |                    |  ^
 *	                  |                    +--+ page; or summary: the neighbour has moved on
 *	                  +-- behind, silent, wrong --> asked (another neighbour), or idle until RETRY
 *
 * One request is under way at a time. What came of a version stays in `staging` when that is given
 * up for a newer one, since most buckets are the same; only what has the right digest stays.
 */
#include "agent/publish/internal.h"

#define ANSWER_TIME NSEC_PER_SEC
/* After all neighbours were asked in vain. A neighbour that gets the version sooner says so. */
#define RETRY (500 * NSEC_PER_MSEC)
#define BODY_MAX 32000

struct neighbour *fetch_neighbour(struct publish *p, uint64_t id)
{
	for (size_t i = 0; i < p->n_neighbours; i++)
		if (p->neighbours[i].id == id)
			return &p->neighbours[i];
	return NULL;
}

static bool is_wanted(const uint8_t *bitmap, unsigned int bucket)
{
	return bitmap[bucket / 8] & 1 << bucket % 8;
}

/* ---- answering ---- */

static void send_summary(
	struct publish *p, uint64_t to, uint32_t tag, uint32_t nonce, const uint8_t *root)
{
	static __thread uint8_t digests[WIRE_DIGESTS];
	struct message m = {.kind = PUBLISH_SUMMARY,
		.nonce = nonce,
		.version = p->have,
		.silence_ms = publish_silence(p),
		.digests = digests};

	memcpy(m.root, store_root(p->store), STORE_DIGEST);
	m.same = root && memcmp(root, m.root, STORE_DIGEST) == 0;
	for (unsigned int i = 0; !m.same && i < STORE_BUCKETS; i++)
		memcpy(digests + (size_t)i * STORE_DIGEST, store_digest(p->store, i), STORE_DIGEST);
	publish_send(p, OUTPUT_RESPONSE, to, tag, &m);
}

void fetch_answer_ask(struct publish *p, uint64_t from, uint32_t tag, const struct message *m)
{
	send_summary(p, from, tag, m->nonce, m->root);
}

/* Appends records of a bucket, as many as there is room for. False if that is not all. */
static bool put_run(struct writer *w, const struct store *s, unsigned int bucket, size_t skip)
{
	size_t n, i, head = w->n;
	const struct record *const *records = store_bucket(s, bucket, &n);
	struct writer again;

	put_u16(w, (uint16_t)bucket);
	put_u8(w, 0);
	put_u16(w, 0);
	for (i = skip < n ? skip : n; i < n && i - skip < UINT16_MAX; i++) {
		if (w->n + 2 + records[i]->n > w->max)
			break;
		put_u16(w, records[i]->n);
		put_bytes(w, records[i]->bytes, records[i]->n);
	}
	again = writer_init(w->bytes + head, w->max - head);
	put_u16(&again, (uint16_t)bucket);
	put_u8(&again, i == n);
	put_u16(&again, (uint16_t)(i - (skip < n ? skip : n)));
	return i == n;
}

void fetch_answer_fetch(struct publish *p, uint64_t from, uint32_t tag, const struct message *m)
{
	static __thread uint8_t body[BODY_MAX];
	struct writer w = writer_init(body, sizeof(body));
	struct message answer = {.kind = PUBLISH_BODY, .nonce = m->nonce, .version = m->version};
	size_t skip = m->skip;

	if (version_cmp(&m->version, &p->have) != 0) {
		send_summary(p, from, tag, m->nonce, NULL);
		return;
	}
	for (unsigned int i = 0; i < STORE_BUCKETS && w.max - w.n >= 5 + 2 + RECORD_MAX; i++) {
		if (!is_wanted(m->buckets, i))
			continue;
		if (!put_run(&w, p->store, i, skip))
			break;
		skip = 0;
	}
	answer.rest = body;
	answer.n_rest = w.n;
	p->counts.served++;
	publish_send(p, OUTPUT_RESPONSE, from, tag, &answer);
}

/* ---- asking ---- */

/* Someone who was not asked yet in this round, of those who spoke of `top` if there are any. */
static struct neighbour *choose(struct publish *p)
{
	struct neighbour *best = NULL;
	size_t first = p->n_neighbours ? publish_random(p) % p->n_neighbours : 0;

	for (size_t i = 0; i < p->n_neighbours; i++) {
		struct neighbour *n = &p->neighbours[(first + i) % p->n_neighbours];

		if (n->tried)
			continue;
		if (n->id == p->top.node || version_cmp(&n->version, &p->top) >= 0)
			return n;
		if (!best)
			best = n;
	}
	return best;
}

static void send_request(struct publish *p, struct message *m)
{
	struct fetch *f = &p->fetch;

	m->nonce = f->nonce = (uint32_t)publish_random(p);
	f->due = p->now + ANSWER_TIME;
	publish_send(p, OUTPUT_REQUEST, f->peer, 0, m);
}

/* Nobody has it yet: all may be asked again later. */
static void rest(struct publish *p)
{
	struct fetch *f = &p->fetch;

	f->state = FETCH_IDLE;
	f->due = p->now + RETRY + publish_random(p) % (RETRY / 2);
	for (size_t i = 0; i < p->n_neighbours; i++)
		p->neighbours[i].tried = false;
}

static void ask_next(struct publish *p)
{
	struct message m = {.kind = PUBLISH_ASK};
	struct neighbour *n = choose(p);

	if (!n) {
		rest(p);
		return;
	}
	n->tried = true;
	p->fetch.peer = n->id;
	p->fetch.state = FETCH_ASKED;
	memcpy(m.root, store_root(p->store), STORE_DIGEST);
	send_request(p, &m);
}

static void ask_page(struct publish *p)
{
	struct fetch *f = &p->fetch;
	struct message m = {.kind = PUBLISH_FETCH,
		.version = f->version,
		.skip = f->skip,
		.buckets = f->wanted};

	f->state = FETCH_FETCHING;
	p->counts.pages++;
	send_request(p, &m);
}

/* ---- what comes ---- */

/* What this neighbour says does not hold. */
static void refuse(struct publish *p)
{
	p->counts.refused++;
	p->fetch.staging = store_free(p->fetch.staging);
	ask_next(p);
}

static void finish(struct publish *p)
{
	struct fetch *f = &p->fetch;
	struct store *store = STEAL(f->staging);
	struct version v = f->version;
	uint64_t peer = f->peer;

	if (memcmp(store_root(store), f->root, STORE_DIGEST) != 0) {
		store_free(store);
		refuse(p);
		return;
	}
	fetch_stop(p);
	publish_hold(p, store, &v);
	if (version_cmp(&v, &p->top) == 0)
		publish_tell_top(p, peer);
}

/* Fetches all buckets whose digests are others than ours. */
static void begin(struct publish *p, const struct message *m)
{
	struct fetch *f = &p->fetch;
	bool any = false;

	if (!f->digests)
		f->digests = xcalloc(1, WIRE_DIGESTS);
	if (!f->staging)
		f->staging = store_copy(p->store);
	memcpy(f->digests, m->digests, WIRE_DIGESTS);
	memcpy(f->root, m->root, STORE_DIGEST);
	memset(f->wanted, 0, sizeof(f->wanted));
	f->version = m->version;
	f->skip = 0;
	p->counts.fetches++;
	for (unsigned int i = 0; i < STORE_BUCKETS; i++)
		if (memcmp(store_digest(f->staging, i), f->digests + (size_t)i * STORE_DIGEST,
			    STORE_DIGEST) != 0) {
			f->wanted[i / 8] |= (uint8_t)(1 << i % 8);
			any = true;
		}
	if (any)
		ask_page(p);
	else
		finish(p);
}

static bool digests_hold(const struct publish *p, const struct message *m)
{
	uint8_t root[STORE_DIGEST];

	if (!m->same) {
		store_root_of(m->digests, root);
		if (memcmp(root, m->root, STORE_DIGEST) != 0)
			return false;
	}
	return !(p->top_certain && version_cmp(&m->version, &p->top) == 0 &&
		 memcmp(m->root, p->top_root, STORE_DIGEST) != 0);
}

static bool is_expected(const struct publish *p, uint64_t from, const struct message *m)
{
	return p->fetch.state != FETCH_IDLE && p->fetch.peer == from && p->fetch.nonce == m->nonce;
}

void fetch_take_summary(struct publish *p, uint64_t from, const struct message *m)
{
	struct neighbour *n = fetch_neighbour(p, from);
	struct version *have = &p->have;

	if (!n || !is_expected(p, from, m))
		return;
	p->listened = true;
	if (m->version.term && !publish_believes(p, m->version.node, false)) {
		p->counts.disbelieved++;
		ask_next(p);
		return;
	}
	if (!digests_hold(p, m) ||
		(m->same && memcmp(m->root, store_root(p->store), STORE_DIGEST))) {
		refuse(p);
		return;
	}
	n->version = m->version;
	if (m->version.term && publish_note(p, &m->version, m->root, false))
		publish_tell_top(p, from);
	if (m->silence_ms != UINT32_MAX && version_cmp_epoch(&m->version, &p->top) == 0)
		publish_vouched(p, m->silence_ms * NSEC_PER_MSEC);
	if (p->leading) {
		fetch_stop(p);
	} else if (version_cmp(&m->version, have) <= 0) {
		if (publish_in_step(p) && have->term)
			fetch_stop(p);
		else
			ask_next(p);
	} else if (m->same) {
		*have = m->version;
		fetch_stop(p);
	} else {
		begin(p, m);
	}
}

/* One record of a run into the staging set. */
static bool take_record(struct store *s, unsigned int bucket, struct reader *r)
{
	size_t n = get_u16(r), n_key;
	const uint8_t *bytes = get_bytes(r, n);

	n_key = bytes ? record_check(bytes, n) : 0;
	return n_key && store_bucket_of(bytes, n_key) == bucket && store_set(s, bytes, n) == 0;
}

/* One run: of the first bucket that is still wanted. */
static bool take_run(struct fetch *f, struct reader *r)
{
	unsigned int bucket = get_u16(r);
	bool whole = get_u8(r);
	size_t n = get_u16(r);

	if (r->bad || bucket >= STORE_BUCKETS || !is_wanted(f->wanted, bucket) || (!whole && !n))
		return false;
	for (unsigned int i = 0; i < bucket; i++)
		if (is_wanted(f->wanted, i))
			return false;
	if (f->skip == 0)
		store_clear_bucket(f->staging, bucket);
	for (size_t i = 0; i < n; i++)
		if (!take_record(f->staging, bucket, r))
			return false;
	f->skip = whole ? 0 : f->skip + (uint32_t)n;
	if (!whole)
		return true;
	f->wanted[bucket / 8] &= (uint8_t) ~(1 << bucket % 8);
	return memcmp(store_digest(f->staging, bucket), f->digests + (size_t)bucket * STORE_DIGEST,
		       STORE_DIGEST) == 0;
}

void fetch_take_body(struct publish *p, uint64_t from, const struct message *m)
{
	static const uint8_t none[WIRE_BITMAP];
	struct fetch *f = &p->fetch;
	struct reader r = reader_init(m->rest, m->n_rest);
	bool good = m->n_rest > 0;

	if (f->state != FETCH_FETCHING || !is_expected(p, from, m) ||
		version_cmp(&m->version, &f->version) != 0)
		return;
	while (good && reader_left(&r) > 0)
		good = take_run(f, &r);
	if (!good || !reader_is_done(&r))
		refuse(p);
	else if (memcmp(f->wanted, none, sizeof(none)) == 0)
		finish(p);
	else
		ask_page(p);
}

/* ---- life ---- */

void fetch_soon(struct publish *p, nsec_t when)
{
	if (p->fetch.state == FETCH_IDLE && when < p->fetch.due)
		p->fetch.due = when;
}

void fetch_stop(struct publish *p)
{
	struct fetch *f = &p->fetch;

	f->state = FETCH_IDLE;
	f->due = NEVER;
	f->staging = store_free(f->staging);
	free(STEAL(f->digests));
	for (size_t i = 0; i < p->n_neighbours; i++)
		p->neighbours[i].tried = false;
}

void fetch_lost(struct publish *p, uint64_t id)
{
	if (p->fetch.state != FETCH_IDLE && p->fetch.peer == id)
		ask_next(p);
}

void fetch_tick(struct publish *p)
{
	if (p->now < p->fetch.due)
		return;
	if (p->leading || (p->mode != PUBLISH_LISTENING && publish_in_step(p)))
		fetch_stop(p);
	else
		ask_next(p);
}
