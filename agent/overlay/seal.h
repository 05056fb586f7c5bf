/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * Trust: every packet and stream of the overlay is encrypted and authenticated with the
 * cluster's key. Pure: no sockets, time is an argument; randomness is libsodium's.
 *
 * A datagram
 *
 *	0         1        2            10                 22           28
 *	+---------+--------+------------+------------------+------------+---------------+-----+
 *	| version | key id | sender (8) | boot nonce (12)  | counter(6) | ciphertext    | tag |
 *	| | type  |        |            |                  |            |               | (16)|
 *	+---------+--------+------------+------------------+------------+---------------+-----+
 *
 * is sealed with ChaCha20-Poly1305 (RFC 8439) under a key of its sender's and boot's own:
 * BLAKE2b, keyed with the cluster's key, over the cluster's name, the sender and 96 random bits
 * drawn at its start. The counter therefore can be the nonce: nothing is persisted, and no two
 * packets share one. Head, cluster and destination address are authenticated with it.
 *
 * Replays: a window of 1,024 counters per sender, moved only when the tag is right. A boot that
 * was not met before is believed only after it has answered a challenge, so that no
 * capture of an earlier boot, or of before a restart of ours, revives. The packet that made us ask
 * waits for the answer; of what the boot sent before, nothing else is taken.
 *
 * A link (TCP): both sides send a greeting with a random nonce, authenticated with the cluster's
 * key, the dialler's first; to anything else not a byte is answered. The streams' keys come
 * from both greetings, so neither side accepts a replayed one. Then libsodium's secretstream.
 *
 * What it protects: whoever lacks the key learns no content, changes nothing, revives nothing.
 * What it does not: who talks to whom, when and how much is visible; whoever has the key is
 * a member, and can lie as one; no forward secrecy within a boot for who later gets the key.
 */
#include "agent/overlay/keys.h"
#include "agent/util.h"
#include "gossip/gossip.h"

#define SEAL_OVERHEAD 44     /* bytes that a datagram grows by */
#define SEAL_PACKET_MAX 1200 /* bytes of a sealed datagram: fits any path's MTU */
#define SEAL_PEERS_MAX 16384 /* senders remembered; the one silent for longest goes */
#define SEAL_HELD_MAX 256    /* packets that wait for their sender's answer; the oldest goes */

struct seal;

struct seal_stats {
	uint64_t sealed, opened;
	uint64_t malformed, unknown_key, forged, replayed, stale; /* dropped */
	uint64_t challenges, echoes;
	size_t n_peers, n_held;
};

/* `cluster`: the cluster's name, authenticated with everything; `id`: this node's. */
struct seal *seal_new(const struct keys *keys, const char *cluster, uint64_t id);
struct seal *seal_free(struct seal *s);
/* New keys; what was sealed with one that is not among them any more is refused. */
void seal_set_keys(struct seal *s, const struct keys *keys);
const struct seal_stats *seal_stats(const struct seal *s);

/* Seals n bytes (at most GOSSIP_DATAGRAM_MAX) for this destination into out. Returns the
 * length. */
size_t seal_packet(struct seal *s, const struct gossip_addr *to, const void *bytes, size_t n,
	uint8_t out[static SEAL_PACKET_MAX]);

enum seal_verdict {
	SEAL_DROP,      /* not for us, not of us, or seen before */
	SEAL_DATA,      /* `bytes` are a member's */
	SEAL_REPLY,     /* send `bytes` (sealed) back to where it came from; nothing else */
	SEAL_HELD_DATA, /* an earlier packet, which had to wait: `bytes`, from `from` */
};

struct seal_opened {
	enum seal_verdict verdict;
	const uint8_t *bytes; /* until the next call */
	size_t n;
	struct gossip_addr from;
};

/* Opens a datagram that came from `from` to our address `to`. */
struct seal_opened seal_open(struct seal *s, nsec_t now, const struct gossip_addr *from,
	const struct gossip_addr *to, const void *bytes, size_t n);

/* --- links ----------------------------------------------------------------- */

struct seal_link;

#define SEAL_GREETING 73       /* bytes of a greeting */
#define SEAL_FRAME_MAX 16384   /* plaintext bytes of one frame */
#define SEAL_FRAME_OVERHEAD 19 /* length (2) and secretstream (17) */

struct seal_link *seal_link_new(struct seal *s, bool dialler);
struct seal_link *seal_link_free(struct seal_link *l);
/* True once both sides have proved that they have the key. */
bool seal_link_is_open(const struct seal_link *l);
/* Who the other side is; once open. */
uint64_t seal_link_peer(const struct seal_link *l);
/* False if the key that it was opened with is no key of the cluster any more. */
bool seal_link_is_current(const struct seal_link *l);
/* Takes bytes of the stream; plaintext and what has to be sent come out of the two functions
 * below. 0 or -EBADMSG: close. */
int seal_link_receive(struct seal_link *l, const void *bytes, size_t n);
/* Encrypts n bytes of our own; only when open. */
void seal_link_send(struct seal_link *l, const void *bytes, size_t n);
/* What is to be written to the stream, and read from it: take what you can, then say how much. */
const uint8_t *seal_link_output(struct seal_link *l, size_t *ret_n);
void seal_link_output_done(struct seal_link *l, size_t n);
const uint8_t *seal_link_input(struct seal_link *l, size_t *ret_n);
void seal_link_input_done(struct seal_link *l, size_t n);
