/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The constructions have names. Datagrams: OSCORE's (RFC 8613) with a group key: a key of each
 * sender's own, derived from the shared one, the sender and a context that is new with every
 * start; its counter as nonce; a replay window; and after a restart the Echo of its Appendix
 * B.1.2. Links: mutual authentication and key distribution from a shared key as in AKEP2 (Bellare
 * and Rogaway, CRYPTO 1993), then libsodium's secretstream (STREAM: Hoang, Reyhanitabar, Rogaway
 * and Vizar, CRYPTO 2015). docs/trust.md says what that protects against, and what not.
 */
#include "agent/overlay/seal.h"

#include <errno.h>
#include <sodium.h>

#define HASH_FUNCTION HASH_FNV
#include <uthash.h>
#include <utlist.h>

#define VERSION 1
#define BOOT_NONCE 12
#define COUNTER 6
#define HEAD 28
#define TAG crypto_aead_chacha20poly1305_ietf_ABYTES
#define TOKEN 16
#define WINDOW 1024 /* bits of the replay window */
/* A sender that is being asked is asked again no sooner. */
#define CHALLENGE_INTERVAL (100 * NSEC_PER_MSEC)
/* A challenge that was not answered by then is void. */
#define CHALLENGE_LIFE (5 * NSEC_PER_SEC)
/* Packets that a sender may have sent between the one that waits and its answer: more than it sends
 * in a round trip, far fewer than in a minute. An older one is a replay of this very boot. */
#define HELD_LAG 256
/* Challenges of boots that are not believed, and so have no window, that are known to be answered: those
 * of as many nodes that start at once. */
#define ANSWERED 256

_Static_assert(HEAD + TAG == SEAL_OVERHEAD, "what the header promises");
_Static_assert(GOSSIP_DATAGRAM_MAX + SEAL_OVERHEAD <= SEAL_PACKET_MAX, "the MTU");

enum packet_type { TYPE_DATA, TYPE_CHALLENGE, TYPE_ECHO };

/* One boot of a sender, under one key. */
struct boot {
	uint8_t nonce[BOOT_NONCE];
	uint8_t key_id;
	uint8_t subkey[32];
};

struct peer {
	UT_hash_handle hh;
	uint64_t id;
	bool accepted; /* `boot` is believed */
	struct boot boot;
	uint64_t top; /* the greatest counter seen of it */
	uint64_t window[WINDOW /
			64]; /* bit c % WINDOW: counter c was seen; for top - WINDOW < c <= top */
	uint64_t generation; /* another one whenever a boot was accepted: older tokens are void */
	/* the boot that was asked last */
	bool asked;
	struct boot candidate;
	nsec_t asked_at;
	uint8_t *held; /* plaintext of the packet of it that made us ask */
	size_t n_held;
	uint64_t held_counter;
	struct gossip_addr held_from;
	struct peer *next_held, *prev_held;
};

struct seal {
	struct keys keys;
	char *cluster;
	uint64_t id;
	struct boot own;
	uint64_t counter;
	uint8_t secret[32]; /* of challenges; of this process */
	uint64_t generations;
	struct peer *peers;   /* in order of use: the first is silent for longest */
	struct peer *holders; /* those with a packet that waits, in the order of asking */
	struct seal_stats stats;
	uint8_t plain[SEAL_PACKET_MAX], reply[SEAL_PACKET_MAX];
	uint64_t answered[ANSWERED]; /* by halves of their tags */
	size_t at_answered;
	uint8_t *released; /* the held packet that was handed out last */
};

const struct seal_stats *seal_stats(const struct seal *s)
{
	return &s->stats;
}

static void put64(uint8_t *p, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (uint8_t)(v >> (56 - 8 * i));
}

static uint64_t get(const uint8_t *p, size_t n)
{
	uint64_t v = 0;

	while (n--)
		v = v << 8 | *p++;
	return v;
}

static const uint8_t *find_key(const struct seal *s, uint8_t id)
{
	for (size_t i = 0; i < s->keys.n; i++)
		if (s->keys.list[i].id == id)
			return s->keys.list[i].bytes;
	return NULL;
}

/* BLAKE2b keyed with a cluster key over a label, the cluster's name and n bytes. The label and the
 * name are hashed with their final NUL, so that no two inputs run together alike. */
static void derive(const struct seal *s, const uint8_t *key, const char *label, const void *bytes,
	size_t n, uint8_t out[static 32])
{
	crypto_generichash_state state;

	crypto_generichash_init(&state, key, KEY_BYTES, 32);
	crypto_generichash_update(&state, (const uint8_t *)label, strlen(label) + 1);
	crypto_generichash_update(&state, (const uint8_t *)s->cluster, strlen(s->cluster) + 1);
	crypto_generichash_update(&state, bytes, n);
	crypto_generichash_final(&state, out, 32);
}

static void derive_boot(const struct seal *s, const uint8_t *key, uint64_t id, struct boot *b)
{
	uint8_t input[8 + BOOT_NONCE];

	put64(input, id);
	memcpy(input + 8, b->nonce, BOOT_NONCE);
	derive(s, key, "vipd datagram", input, sizeof(input), b->subkey);
}

static void own_boot(struct seal *s)
{
	s->own.key_id = s->keys.list[0].id;
	derive_boot(s, s->keys.list[0].bytes, s->id, &s->own);
}

struct seal *seal_new(const struct keys *keys, const char *cluster, uint64_t id)
{
	struct seal *s = xcalloc(1, sizeof(*s));

	s->keys = *keys;
	s->cluster = xstrdup(cluster);
	s->id = id;
	randombytes_buf(s->own.nonce, sizeof(s->own.nonce));
	randombytes_buf(s->secret, sizeof(s->secret));
	own_boot(s);
	return s;
}

/* The packet of this peer that waits, which is the caller's from now on; NULL: none does. */
static uint8_t *take_held(struct seal *s, struct peer *p)
{
	if (!p->held)
		return NULL;
	DL_DELETE2(s->holders, p, prev_held, next_held);
	s->stats.n_held--;
	return STEAL(p->held);
}

static void drop_held(struct seal *s, struct peer *p)
{
	free(take_held(s, p));
}

static void peer_free(struct seal *s, struct peer *p)
{
	HASH_DEL(s->peers, p);
	s->stats.n_peers--;
	drop_held(s, p);
	sodium_memzero(p, sizeof(*p));
	free(p);
}

struct seal *seal_free(struct seal *s)
{
	if (!s)
		return NULL;
	while (s->peers)
		peer_free(s, s->peers);
	free(s->released);
	free(s->cluster);
	sodium_memzero(s, sizeof(*s));
	free(s);
	return NULL;
}

void seal_set_keys(struct seal *s, const struct keys *keys)
{
	s->keys = *keys;
	own_boot(s); /* the counter goes on: another key makes another subkey, the same one does not
			repeat */
}

/* --- datagrams out --------------------------------------------------------- */

/* What is authenticated beside the ciphertext: the head and the destination. */
static size_t associated(const uint8_t *head, const struct gossip_addr *to, uint8_t out[static 64])
{
	size_t n = HEAD;

	memcpy(out, head, HEAD);
	out[n++] = to->family;
	memcpy(out + n, to->bytes, 16);
	n += 16;
	out[n++] = (uint8_t)(to->port >> 8);
	out[n++] = (uint8_t)to->port;
	return n;
}

static void packet_nonce(const uint8_t *head, uint8_t nonce[static 12])
{
	memset(nonce, 0, 12);
	memcpy(nonce + 12 - COUNTER, head + HEAD - COUNTER, COUNTER);
}

static size_t seal_typed(struct seal *s, enum packet_type type, const struct gossip_addr *to,
	const void *bytes, size_t n, uint8_t out[static SEAL_PACKET_MAX])
{
	uint8_t ad[64], nonce[12], counter[8];
	unsigned long long n_out;
	size_t n_ad;

	put64(counter, ++s->counter);
	out[0] = (uint8_t)(VERSION << 4 | type);
	out[1] = s->own.key_id;
	put64(out + 2, s->id);
	memcpy(out + 10, s->own.nonce, BOOT_NONCE);
	memcpy(out + 22, counter + 2, COUNTER);
	n_ad = associated(out, to, ad);
	packet_nonce(out, nonce);
	crypto_aead_chacha20poly1305_ietf_encrypt(
		out + HEAD, &n_out, bytes, n, ad, n_ad, NULL, nonce, s->own.subkey);
	s->stats.sealed++;
	return HEAD + (size_t)n_out;
}

size_t seal_packet(struct seal *s, const struct gossip_addr *to, const void *bytes, size_t n,
	uint8_t out[static SEAL_PACKET_MAX])
{
	return seal_typed(s, TYPE_DATA, to, bytes, n, out);
}

/* --- datagrams in ---------------------------------------------------------- */

static struct peer *find_peer(struct seal *s, uint64_t id)
{
	struct peer *p;

	HASH_FIND(hh, s->peers, &id, sizeof(id), p);
	if (p) { /* to the end of the order of use */
		HASH_DEL(s->peers, p);
		HASH_ADD(hh, s->peers, id, sizeof(p->id), p);
	}
	return p;
}

static struct peer *add_peer(struct seal *s, uint64_t id)
{
	struct peer *p;

	if (s->stats.n_peers >= SEAL_PEERS_MAX)
		peer_free(s, s->peers);
	p = xcalloc(1, sizeof(*p));
	p->id = id;
	p->generation = ++s->generations;
	HASH_ADD(hh, s->peers, id, sizeof(p->id), p);
	s->stats.n_peers++;
	return p;
}

static bool same_boot(const struct boot *b, const uint8_t *head)
{
	return b->key_id == head[1] && memcmp(b->nonce, head + 10, BOOT_NONCE) == 0;
}

/* True if the counter was not seen; notes it. Counters older than the window were. */
static bool window_take(struct peer *p, uint64_t counter)
{
	uint64_t bit = UINT64_C(1) << (counter % 64);
	uint64_t *word = &p->window[counter % WINDOW / 64];

	if (counter > p->top) {
		if (counter - p->top >= WINDOW)
			memset(p->window, 0, sizeof(p->window));
		else
			for (uint64_t c = p->top + 1; c <= counter; c++)
				p->window[c % WINDOW / 64] &= ~(UINT64_C(1) << (c % 64));
		p->top = counter;
	} else if (p->top - counter >= WINDOW || (*word & bit)) {
		return false;
	}
	*word |= bit;
	return true;
}

/* The sender of this boot is believed from now on, and from this counter on: what it sent before we
 * asked cannot be told from a replay. */
static void accept_boot(struct seal *s, struct peer *p, const struct boot *b, uint64_t counter)
{
	p->boot = *b;
	p->accepted = true;
	p->asked = false;
	p->generation = ++s->generations;
	p->top = counter;
	memset(p->window, 0xff, sizeof(p->window));
}

/* What a boot has to echo. It is computed anew when the answer comes, so who replays packets of
 * other boots cannot push a challenge out of its place. */
static void make_token(const struct seal *s, const struct peer *p, const struct boot *b,
	uint64_t epoch, uint8_t token[static TOKEN])
{
	uint8_t input[8 + 8 + 8 + 1 + BOOT_NONCE];

	put64(input, p->id);
	put64(input + 8, p->generation);
	put64(input + 16, epoch);
	input[24] = b->key_id;
	memcpy(input + 25, b->nonce, BOOT_NONCE);
	crypto_generichash(token, TOKEN, input, sizeof(input), s->secret, sizeof(s->secret));
}

static bool token_is_right(
	const struct seal *s, const struct peer *p, const struct boot *b, nsec_t now)
{
	uint64_t epoch = now / CHALLENGE_LIFE;
	uint8_t token[TOKEN], last[TOKEN];

	make_token(s, p, b, epoch, token);
	make_token(s, p, b, epoch ? epoch - 1 : 0, last);
	return sodium_memcmp(s->plain, token, TOKEN) == 0 ||
	       sodium_memcmp(s->plain, last, TOKEN) == 0;
}

static struct seal_opened dropped(uint64_t *counter)
{
	(*counter)++;
	return (struct seal_opened){.verdict = SEAL_DROP};
}

/* Asks a boot that is not believed yet; its packet waits. */
static struct seal_opened challenge(struct seal *s, struct peer *p, const struct boot *b,
	nsec_t now, const struct gossip_addr *from, const uint8_t *head, size_t n_plain)
{
	struct seal_opened ret = {.verdict = SEAL_REPLY, .bytes = s->reply};
	uint8_t token[TOKEN];
	bool again = p->asked && memcmp(&p->candidate, b, sizeof(*b)) == 0;

	if (again && now - p->asked_at < CHALLENGE_INTERVAL)
		return dropped(&s->stats.stale);
	p->candidate = *b;
	p->asked = true;
	p->asked_at = now;
	drop_held(s, p);
	if ((head[0] & 15) == TYPE_DATA) {
		/* The oldest goes: whoever lives has answered by now, and the dead keep no place. */
		if (s->stats.n_held >= SEAL_HELD_MAX)
			drop_held(s, s->holders);
		p->held = xcalloc(1, n_plain);
		memcpy(p->held, s->plain, n_plain);
		p->n_held = n_plain;
		p->held_from = *from;
		p->held_counter = get(head + 22, COUNTER);
		DL_APPEND2(s->holders, p, prev_held, next_held);
		s->stats.n_held++;
	}
	s->stats.challenges++;
	make_token(s, p, b, now / CHALLENGE_LIFE, token);
	ret.n = seal_typed(s, TYPE_CHALLENGE, from, token, TOKEN, s->reply);
	return ret;
}

/* The answer to a challenge of ours. */
static struct seal_opened take_echo(struct seal *s, struct peer *p, const struct boot *b,
	const uint8_t *head, nsec_t now, size_t n_plain)
{
	struct seal_opened ret = {.verdict = SEAL_HELD_DATA};
	uint64_t counter = get(head + 22, COUNTER);

	if (!p || n_plain != TOKEN || !token_is_right(s, p, b, now))
		return dropped(&s->stats.stale);
	accept_boot(s, p, b, counter);
	s->stats.echoes++;
	if (!p->held || !same_boot(&p->candidate, head) || counter < p->held_counter ||
		counter - p->held_counter > HELD_LAG) {
		drop_held(s, p);
		return (struct seal_opened){.verdict = SEAL_DROP};
	}
	free(s->released);
	ret.bytes = s->released = take_held(s, p);
	ret.n = p->n_held;
	ret.from = p->held_from;
	s->stats.opened++;
	return ret;
}

/* A packet whose tag is right, of a boot that is believed. */
static struct seal_opened take_believed(
	struct seal *s, const struct gossip_addr *from, enum packet_type type, size_t n_plain)
{
	struct seal_opened ret = {
		.verdict = SEAL_DATA, .bytes = s->plain, .n = n_plain, .from = *from};

	if (type == TYPE_DATA) {
		s->stats.opened++;
		return ret;
	}
	return dropped(&s->stats.stale); /* an echo that came twice */
}

/* One that is repeated by who has no key gets no answer, and none keeps another from getting its own. */
static bool answered_before(struct seal *s, const uint8_t *packet, size_t n)
{
	uint64_t tag = get(packet + n - 8, 8);

	for (size_t i = 0; i < ANSWERED; i++)
		if (s->answered[i] == tag)
			return true;
	s->answered[s->at_answered] = tag;
	s->at_answered = (s->at_answered + 1) % ANSWERED;
	return false;
}

/* Someone asks us: the answer proves that we live now. Anyone with the key may ask. */
static struct seal_opened answer(struct seal *s, const struct gossip_addr *from, size_t n_plain)
{
	struct seal_opened ret = {.verdict = SEAL_REPLY, .bytes = s->reply};
	uint8_t token[TOKEN];

	if (n_plain != TOKEN)
		return dropped(&s->stats.malformed);
	memcpy(token, s->plain, TOKEN);
	ret.n = seal_typed(s, TYPE_ECHO, from, token, TOKEN, s->reply);
	return ret;
}

static bool decrypt(struct seal *s, const struct boot *b, const struct gossip_addr *to,
	const uint8_t *bytes, size_t n)
{
	uint8_t ad[64], nonce[12];
	unsigned long long n_plain;
	size_t n_ad = associated(bytes, to, ad);

	packet_nonce(bytes, nonce);
	return crypto_aead_chacha20poly1305_ietf_decrypt(s->plain, &n_plain, NULL, bytes + HEAD,
		       n - HEAD, ad, n_ad, nonce, b->subkey) == 0;
}

struct seal_opened seal_open(struct seal *s, nsec_t now, const struct gossip_addr *from,
	const struct gossip_addr *to, const void *packet, size_t n)
{
	const uint8_t *bytes = packet, *key;
	size_t n_plain = n - SEAL_OVERHEAD;
	enum packet_type type;
	struct boot boot = {0};
	struct peer *p;
	bool believed;
	uint64_t id;

	if (n < SEAL_OVERHEAD || n > SEAL_PACKET_MAX || bytes[0] >> 4 != VERSION ||
		(bytes[0] & 15) > TYPE_ECHO)
		return dropped(&s->stats.malformed);
	type = (enum packet_type)(bytes[0] & 15);
	key = find_key(s, bytes[1]);
	if (!key)
		return dropped(&s->stats.unknown_key);
	id = get(bytes + 2, 8);
	HASH_FIND(hh, s->peers, &id, sizeof(id), p);
	if (p && same_boot(&p->boot, bytes)) {
		boot = p->boot;
	} else {
		boot.key_id = bytes[1];
		memcpy(boot.nonce, bytes + 10, BOOT_NONCE);
		derive_boot(s, key, id, &boot);
	}
	if (!decrypt(s, &boot, to, bytes, n))
		return dropped(&s->stats.forged);
	/* From here on the sender has the key, now or once. */
	p = find_peer(s, id);
	believed = p && p->accepted && same_boot(&p->boot, bytes);
	if (believed && !window_take(p, get(bytes + 22, COUNTER)))
		return dropped(&s->stats.replayed);
	if (type == TYPE_CHALLENGE && !believed && answered_before(s, bytes, n))
		return dropped(&s->stats.replayed);
	if (type == TYPE_CHALLENGE)
		return answer(s, from, n_plain);
	if (believed)
		return take_believed(s, from, type, n_plain);
	if (type == TYPE_ECHO)
		return take_echo(s, p, &boot, bytes, now, n_plain);
	return challenge(s, p ? p : add_peer(s, id), &boot, now, from, bytes, n_plain);
}

/* --- links ----------------------------------------------------------------- */

#define GREETING_MAC 32
#define FRAME_LENGTH 2

_Static_assert(
	FRAME_LENGTH + crypto_secretstream_xchacha20poly1305_ABYTES == SEAL_FRAME_OVERHEAD, "");
_Static_assert(SEAL_FRAME_MAX + crypto_secretstream_xchacha20poly1305_ABYTES <= UINT16_MAX, "");

struct buffer {
	uint8_t *bytes;
	size_t at, n, allocated;
};

enum link_state { LINK_GREETING, LINK_CONFIRMING, LINK_OPEN, LINK_BROKEN };

/*
 *	greeting   | version (1) | key id (1) | sender (8) | role (1) | random (30) | mac (32) |
 *
 * The mac is BLAKE2b keyed with the cluster's key over what stands before it; the acceptor's
 * covers the dialler's greeting as well. Then secretstream headers and frames:
 *
 *	| length (2) | secretstream message |   the first is empty: it confirms the key
 */
struct seal_link {
	struct seal *seal;
	bool dialler;
	enum link_state state;
	uint8_t key_id; /* of the dialler's choice */
	uint64_t peer;
	uint8_t greetings[2][SEAL_GREETING]; /* the dialler's, the acceptor's */
	crypto_secretstream_xchacha20poly1305_state push, pull;
	uint8_t pull_key[32];
	bool pulling; /* the other's stream header was read */
	struct buffer raw, in, out;
};

static uint8_t *buffer_room(struct buffer *b, size_t n)
{
	if (b->at && b->at == b->n)
		b->at = b->n = 0;
	if (b->allocated - b->n < n && b->at) {
		memmove(b->bytes, b->bytes + b->at, b->n - b->at);
		b->n -= b->at;
		b->at = 0;
	}
	if (b->allocated - b->n < n) {
		while (b->allocated - b->n < n)
			b->allocated = b->allocated ? 2 * b->allocated : 4096;
		b->bytes = xrealloc(b->bytes, b->allocated, 1);
	}
	return b->bytes + b->n;
}

static void buffer_add(struct buffer *b, const void *bytes, size_t n)
{
	memcpy(buffer_room(b, n), bytes, n);
	b->n += n;
}

static void greeting_mac(
	const struct seal_link *l, const uint8_t *key, bool dialler, uint8_t mac[static 32])
{
	uint8_t input[2 * SEAL_GREETING];
	size_t n = SEAL_GREETING - GREETING_MAC;

	if (dialler) {
		derive(l->seal, key, "vipd dial", l->greetings[0], n, mac);
		return;
	}
	memcpy(input, l->greetings[0], SEAL_GREETING);
	memcpy(input + SEAL_GREETING, l->greetings[1], n);
	derive(l->seal, key, "vipd accept", input, SEAL_GREETING + n, mac);
}

static void write_greeting(struct seal_link *l)
{
	uint8_t *g = l->greetings[l->dialler ? 0 : 1];

	g[0] = VERSION;
	g[1] = l->key_id;
	put64(g + 2, l->seal->id);
	g[10] = l->dialler;
	randombytes_buf(g + 11, SEAL_GREETING - GREETING_MAC - 11);
	greeting_mac(l, find_key(l->seal, l->key_id), l->dialler, g + SEAL_GREETING - GREETING_MAC);
	buffer_add(&l->out, g, SEAL_GREETING);
}

struct seal_link *seal_link_new(struct seal *s, bool dialler)
{
	struct seal_link *l = xcalloc(1, sizeof(*l));

	l->seal = s;
	l->dialler = dialler;
	l->key_id = s->keys.list[0].id;
	if (dialler)
		write_greeting(l);
	return l;
}

struct seal_link *seal_link_free(struct seal_link *l)
{
	if (!l)
		return NULL;
	free(l->raw.bytes);
	free(l->in.bytes);
	free(l->out.bytes);
	sodium_memzero(l, sizeof(*l));
	free(l);
	return NULL;
}

bool seal_link_is_open(const struct seal_link *l)
{
	return l->state == LINK_OPEN;
}

uint64_t seal_link_peer(const struct seal_link *l)
{
	return l->peer;
}

bool seal_link_is_current(const struct seal_link *l)
{
	return find_key(l->seal, l->key_id) != NULL;
}

static void push_frame(struct seal_link *l, const void *bytes, size_t n)
{
	size_t n_cipher = n + crypto_secretstream_xchacha20poly1305_ABYTES;
	uint8_t *p = buffer_room(&l->out, FRAME_LENGTH + n_cipher);

	p[0] = (uint8_t)(n_cipher >> 8);
	p[1] = (uint8_t)n_cipher;
	crypto_secretstream_xchacha20poly1305_push(
		&l->push, p + FRAME_LENGTH, NULL, bytes, n, NULL, 0, 0);
	l->out.n += FRAME_LENGTH + n_cipher;
}

/* A key for one direction, of both greetings. Only where the greetings were checked by the
 * cluster's key just now: later it may be gone. */
static void stream_key(const struct seal_link *l, bool of_dialler, uint8_t key[static 32])
{
	derive(l->seal, find_key(l->seal, l->key_id),
		of_dialler ? "vipd to acceptor" : "vipd to dialler", l->greetings,
		sizeof(l->greetings), key);
}

/* Both greetings are there: our stream begins, with the empty frame that proves our key. */
static void begin_stream(struct seal_link *l)
{
	uint8_t key[32], header[crypto_secretstream_xchacha20poly1305_HEADERBYTES];

	stream_key(l, l->dialler, key);
	crypto_secretstream_xchacha20poly1305_init_push(&l->push, header, key);
	buffer_add(&l->out, header, sizeof(header));
	push_frame(l, NULL, 0);
	sodium_memzero(key, sizeof(key));
	stream_key(l, !l->dialler, l->pull_key);
	l->state = LINK_CONFIRMING;
}

static int read_greeting(struct seal_link *l)
{
	uint8_t *g = l->greetings[l->dialler ? 1 : 0], mac[32];
	const uint8_t *raw = l->raw.bytes + l->raw.at, *key = find_key(l->seal, raw[1]);

	if (raw[0] != VERSION || !key || raw[10] == l->dialler ||
		(l->dialler && raw[1] != l->key_id))
		return -EBADMSG;
	memcpy(g, raw, SEAL_GREETING);
	greeting_mac(l, key, !l->dialler, mac);
	if (sodium_memcmp(mac, g + SEAL_GREETING - GREETING_MAC, sizeof(mac)) != 0)
		return -EBADMSG;
	l->raw.at += SEAL_GREETING;
	l->peer = get(g + 2, 8);
	l->key_id = g[1];
	if (!l->dialler)
		write_greeting(l);
	begin_stream(l);
	return 1;
}

static int read_header(struct seal_link *l)
{
	int r = crypto_secretstream_xchacha20poly1305_init_pull(
		&l->pull, l->raw.bytes + l->raw.at, l->pull_key);

	sodium_memzero(l->pull_key, sizeof(l->pull_key));
	l->raw.at += crypto_secretstream_xchacha20poly1305_HEADERBYTES;
	l->pulling = true;
	return r == 0 ? 1 : -EBADMSG;
}

/* A whole frame, if it is there: 1; 0: more bytes are needed; -EBADMSG. */
static int read_frame(struct seal_link *l)
{
	const uint8_t *raw = l->raw.bytes + l->raw.at;
	size_t have = l->raw.n - l->raw.at, n;
	unsigned long long n_plain;
	uint8_t tag, *room;

	if (have < FRAME_LENGTH)
		return 0;
	n = (size_t)get(raw, FRAME_LENGTH);
	if (n < crypto_secretstream_xchacha20poly1305_ABYTES ||
		n > SEAL_FRAME_MAX + crypto_secretstream_xchacha20poly1305_ABYTES)
		return -EBADMSG;
	if (have < FRAME_LENGTH + n)
		return 0;
	room = buffer_room(&l->in, n);
	if (crypto_secretstream_xchacha20poly1305_pull(
		    &l->pull, room, &n_plain, &tag, raw + FRAME_LENGTH, n, NULL, 0) != 0)
		return -EBADMSG;
	/* Taken out while we waited for the confirmation: links that are open are ended from outside. */
	if (l->state == LINK_CONFIRMING && !seal_link_is_current(l))
		return -EBADMSG;
	l->in.n += (size_t)n_plain;
	l->raw.at += FRAME_LENGTH + n;
	l->state = LINK_OPEN;
	return 1;
}

static int step(struct seal_link *l)
{
	size_t have = l->raw.n - l->raw.at;

	switch (l->state) {
	case LINK_GREETING:
		return have < SEAL_GREETING ? 0 : read_greeting(l);
	case LINK_CONFIRMING:
	case LINK_OPEN:
		if (l->pulling)
			return read_frame(l);
		return have < crypto_secretstream_xchacha20poly1305_HEADERBYTES ? 0
										: read_header(l);
	case LINK_BROKEN:
		break;
	}
	return -EBADMSG;
}

int seal_link_receive(struct seal_link *l, const void *bytes, size_t n)
{
	int r;

	buffer_add(&l->raw, bytes, n);
	do
		r = step(l);
	while (r > 0);
	if (r < 0)
		l->state = LINK_BROKEN;
	return r;
}

void seal_link_send(struct seal_link *l, const void *bytes, size_t n)
{
	const uint8_t *p = bytes;

	while (n > 0) {
		size_t part = n < SEAL_FRAME_MAX ? n : SEAL_FRAME_MAX;

		push_frame(l, p, part);
		p += part;
		n -= part;
	}
}

const uint8_t *seal_link_output(struct seal_link *l, size_t *ret_n)
{
	*ret_n = l->out.n - l->out.at;
	return l->out.bytes ? l->out.bytes + l->out.at : NULL;
}

void seal_link_output_done(struct seal_link *l, size_t n)
{
	l->out.at += n;
}

const uint8_t *seal_link_input(struct seal_link *l, size_t *ret_n)
{
	*ret_n = l->in.n - l->in.at;
	return l->in.bytes ? l->in.bytes + l->in.at : NULL;
}

void seal_link_input_done(struct seal_link *l, size_t n)
{
	l->in.at += n;
}
