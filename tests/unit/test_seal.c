/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sodium.h>
#include <stdio.h>

#include "agent/overlay/seal.h"

#define S NSEC_PER_SEC

static const struct gossip_addr at_a = {4, 61420, {10, 0, 0, 1}}, at_b = {4, 61420, {10, 0, 0, 2}};

static struct keys one_key(uint8_t fill)
{
	struct keys k = {.n = 1};

	memset(k.list[0].bytes, fill, KEY_BYTES);
	k.list[0].id = key_id(k.list[0].bytes);
	return k;
}

struct pair {
	struct seal *a, *b;
};

static struct pair pair_new(void)
{
	struct keys k = one_key(1);

	return (struct pair){seal_new(&k, "cluster", 0xa), seal_new(&k, "cluster", 0xb)};
}

static void pair_free(struct pair *p)
{
	seal_free(p->a);
	seal_free(p->b);
}

/* A packet of a's for b. */
static size_t from_a(struct pair *p, const char *text, uint8_t out[static SEAL_PACKET_MAX])
{
	return seal_packet(p->a, &at_b, text, strlen(text), out);
}

static struct seal_opened at_b_opens(struct pair *p, nsec_t now, const void *bytes, size_t n)
{
	return seal_open(p->b, now, &at_a, &at_b, bytes, n);
}

/* b has never met a: it asks, a answers, and the packet that waited comes out. */
static void meet(struct pair *p, nsec_t now)
{
	uint8_t packet[SEAL_PACKET_MAX], asked[SEAL_PACKET_MAX], echo[SEAL_PACKET_MAX];
	size_t n = from_a(p, "hello", packet), n_asked;
	struct seal_opened o = at_b_opens(p, now, packet, n);

	assert_int_equal(o.verdict, SEAL_REPLY);
	n_asked = o.n;
	memcpy(asked, o.bytes, o.n);
	o = seal_open(p->a, now, &at_b, &at_a, asked, n_asked);
	assert_int_equal(o.verdict, SEAL_REPLY);
	memcpy(echo, o.bytes, o.n);
	o = at_b_opens(p, now, echo, o.n);
	assert_int_equal(o.verdict, SEAL_HELD_DATA);
	assert_int_equal(o.n, 5);
	assert_memory_equal(o.bytes, "hello", 5);
	assert_true(gossip_addr_equal(&o.from, &at_a));
}

static void test_new_boot_is_asked(void **state)
{
	struct pair p = pair_new();
	uint8_t packet[SEAL_PACKET_MAX];
	struct seal_opened o;
	size_t n;

	meet(&p, S);
	n = from_a(&p, "again", packet);
	assert_int_equal(n, 5 + SEAL_OVERHEAD);
	o = at_b_opens(&p, S, packet, n);
	assert_int_equal(o.verdict, SEAL_DATA);
	assert_memory_equal(o.bytes, "again", 5);
	pair_free(&p);
}

static void test_replay_is_refused(void **state)
{
	struct pair p = pair_new();
	uint8_t packets[5][SEAL_PACKET_MAX];
	size_t n[5];

	meet(&p, S);
	for (int i = 0; i < 5; i++)
		n[i] = from_a(&p, "text", packets[i]);
	/* out of order is fine, twice is not */
	for (int i = 4; i >= 0; i--)
		assert_int_equal(at_b_opens(&p, S, packets[i], n[i]).verdict, SEAL_DATA);
	for (int i = 0; i < 5; i++)
		assert_int_equal(at_b_opens(&p, S, packets[i], n[i]).verdict, SEAL_DROP);
	assert_int_equal(seal_stats(p.b)->replayed, 5);
	pair_free(&p);
}

/* b is not believed by a when it asks, and later is. */
static void test_challenge_is_answered_once(void **state)
{
	struct pair p = pair_new();
	uint8_t packet[SEAL_PACKET_MAX], asked[SEAL_PACKET_MAX];
	size_t n = from_a(&p, "hello", packet), n_asked;
	struct seal_opened o = at_b_opens(&p, S, packet, n);

	assert_int_equal(o.verdict, SEAL_REPLY);
	n_asked = o.n;
	memcpy(asked, o.bytes, o.n);
	assert_int_equal(seal_open(p.a, S, &at_b, &at_a, asked, n_asked).verdict, SEAL_REPLY);
	assert_int_equal(seal_open(p.a, S, &at_b, &at_a, asked, n_asked).verdict, SEAL_DROP);
	assert_int_equal(seal_stats(p.a)->replayed, 1);

	n = seal_packet(p.b, &at_a, "hello", 5, packet);
	o = seal_open(p.a, S, &at_b, &at_a, packet, n);
	assert_int_equal(o.verdict, SEAL_REPLY);
	memcpy(packet, o.bytes, o.n);
	o = seal_open(p.b, S, &at_a, &at_b, packet, o.n);
	assert_int_equal(o.verdict, SEAL_REPLY);
	memcpy(packet, o.bytes, o.n);
	assert_int_equal(seal_open(p.a, S, &at_b, &at_a, packet, o.n).verdict, SEAL_HELD_DATA);
	assert_int_equal(seal_open(p.a, S, &at_b, &at_a, asked, n_asked).verdict, SEAL_DROP);
	pair_free(&p);
}

static void test_window_slides(void **state)
{
	struct pair p = pair_new();
	uint8_t old[SEAL_PACKET_MAX], fresh[SEAL_PACKET_MAX];
	size_t n_old, n;

	meet(&p, S);
	n_old = from_a(&p, "old", old);
	for (int i = 0; i < 1500; i++)
		n = from_a(&p, "new", fresh);
	assert_int_equal(at_b_opens(&p, S, fresh, n).verdict, SEAL_DATA);
	assert_int_equal(at_b_opens(&p, S, old, n_old).verdict, SEAL_DROP); /* behind the window */
	assert_int_equal(at_b_opens(&p, S, fresh, n).verdict, SEAL_DROP);
	pair_free(&p);
}

/* Every bit of a packet matters, and a broken one changes nothing. */
static void test_forgery(void **state)
{
	struct pair p = pair_new();
	uint8_t packet[SEAL_PACKET_MAX];
	size_t n;

	meet(&p, S);
	n = from_a(&p, "text", packet);
	for (size_t bit = 0; bit < 8 * n; bit++) {
		packet[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(at_b_opens(&p, S, packet, n).verdict, SEAL_DROP);
		packet[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (size_t shorter = 0; shorter < n; shorter++)
		assert_int_equal(at_b_opens(&p, S, packet, shorter).verdict, SEAL_DROP);
	assert_int_equal(at_b_opens(&p, S, packet, n).verdict, SEAL_DATA);
	pair_free(&p);
}

static void test_destination_counts(void **state)
{
	struct pair p = pair_new();
	uint8_t packet[SEAL_PACKET_MAX];
	size_t n;

	meet(&p, S);
	n = from_a(&p, "text", packet);
	assert_int_equal(seal_open(p.b, S, &at_a, &at_a, packet, n).verdict, SEAL_DROP);
	assert_int_equal(seal_stats(p.b)->forged, 1);
	pair_free(&p);
}

/* A capture of a whole meeting, played to a receiver that has restarted: it asks, and nobody can
 * answer. */
static void test_capture_does_not_revive(void **state)
{
	struct pair p = pair_new();
	struct keys k = one_key(1);
	uint8_t hello[SEAL_PACKET_MAX], asked[SEAL_PACKET_MAX], echo[SEAL_PACKET_MAX];
	size_t n_hello, n_asked, n_echo;
	struct seal_opened o;

	n_hello = from_a(&p, "hello", hello);
	o = at_b_opens(&p, S, hello, n_hello);
	n_asked = o.n;
	memcpy(asked, o.bytes, o.n);
	o = seal_open(p.a, S, &at_b, &at_a, asked, n_asked);
	n_echo = o.n;
	memcpy(echo, o.bytes, o.n);
	at_b_opens(&p, S, echo, n_echo);

	seal_free(p.b);
	p.b = seal_new(&k, "cluster", 0xb);
	assert_int_equal(at_b_opens(&p, S, hello, n_hello).verdict, SEAL_REPLY);
	assert_int_equal(at_b_opens(&p, S, echo, n_echo).verdict, SEAL_DROP);
	assert_int_equal(at_b_opens(&p, 2 * S, hello, n_hello).verdict, SEAL_REPLY);
	assert_int_equal(seal_stats(p.b)->opened, 0);
	pair_free(&p);
}

/* A sender that restarts is asked anew; its former boot holds until it has answered. */
static void test_new_boot_replaces_old(void **state)
{
	struct pair p = pair_new();
	struct keys k = one_key(1);
	struct seal *old = p.a;
	uint8_t packet[SEAL_PACKET_MAX];
	size_t n;

	meet(&p, S);
	p.a = seal_new(&k, "cluster", 0xa);
	n = from_a(&p, "x", packet);
	assert_int_equal(at_b_opens(&p, S, packet, n).verdict, SEAL_REPLY);
	n = seal_packet(old, &at_b, "y", 1, packet);
	assert_int_equal(at_b_opens(&p, S, packet, n).verdict, SEAL_DATA);
	meet(&p, 2 * S);
	n = seal_packet(old, &at_b, "y", 1, packet);
	assert_int_not_equal(at_b_opens(&p, 2 * S, packet, n).verdict, SEAL_DATA);
	seal_free(old);
	pair_free(&p);
}

/* The very boot that is asked sent this packet long ago: what is said anew counts, not what waited.
 */
static void test_old_packet_of_a_living_boot(void **state)
{
	struct pair p = pair_new();
	struct keys k = one_key(1);
	uint8_t old[SEAL_PACKET_MAX], late[SEAL_PACKET_MAX], packet[SEAL_PACKET_MAX];
	size_t n_old, n_late = 0, n;
	struct seal_opened o;

	meet(&p, S);
	n_old = from_a(&p, "old", old);
	for (int i = 0; i < 1000; i++)
		n_late = from_a(&p, "late", late);
	seal_free(p.b);
	p.b = seal_new(&k, "cluster", 0xb);
	o = at_b_opens(&p, 9 * S, old, n_old);
	assert_int_equal(o.verdict, SEAL_REPLY);
	memcpy(packet, o.bytes, o.n);
	o = seal_open(p.a, 9 * S, &at_b, &at_a, packet, o.n);
	assert_int_equal(o.verdict, SEAL_REPLY);
	memcpy(packet, o.bytes, o.n);
	assert_int_equal(at_b_opens(&p, 9 * S, packet, o.n).verdict, SEAL_DROP);
	assert_int_equal(seal_stats(p.b)->echoes, 1); /* a is believed, */
	assert_int_equal(at_b_opens(&p, 9 * S, late, n_late).verdict, SEAL_DROP); /* not its past */
	n = from_a(&p, "new", packet);
	assert_int_equal(at_b_opens(&p, 9 * S, packet, n).verdict, SEAL_DATA);
	assert_int_equal(seal_stats(p.b)->n_held, 0);
	pair_free(&p);
}

/* Who replays packets of earlier boots between a challenge and its answer does not keep a new boot
 * out. */
static void test_replays_do_not_keep_out(void **state)
{
	struct pair p = pair_new();
	struct keys k = one_key(1);
	uint8_t old[SEAL_PACKET_MAX], packet[SEAL_PACKET_MAX], asked[SEAL_PACKET_MAX];
	size_t n_old = from_a(&p, "old", old), n, n_asked;
	struct seal_opened o;

	seal_free(p.a);
	p.a = seal_new(&k, "cluster", 0xa);
	n = from_a(&p, "new", packet);
	at_b_opens(&p, S, old, n_old);
	o = at_b_opens(&p, S, packet, n);
	assert_int_equal(o.verdict, SEAL_REPLY);
	n_asked = o.n;
	memcpy(asked, o.bytes, o.n);
	at_b_opens(&p, S, old, n_old);
	o = seal_open(p.a, S, &at_b, &at_a, asked, n_asked);
	memcpy(packet, o.bytes, o.n);
	at_b_opens(&p, S, packet, o.n);
	n = from_a(&p, "newer", packet);
	assert_int_equal(at_b_opens(&p, S, packet, n).verdict, SEAL_DATA);
	pair_free(&p);
}

/* Packets of nodes that will never answer, replayed, do not take the waiting places for good. */
static void test_held_places_come_free(void **state)
{
	struct pair p = pair_new();
	struct keys k = one_key(1);
	uint8_t packet[SEAL_PACKET_MAX];

	for (uint64_t i = 0; i < SEAL_HELD_MAX; i++) {
		struct seal *gone = seal_new(&k, "cluster", 0x100 + i);
		size_t n = seal_packet(gone, &at_b, "old", 3, packet);

		seal_free(gone);
		assert_int_equal(at_b_opens(&p, S, packet, n).verdict, SEAL_REPLY);
	}
	assert_int_equal(seal_stats(p.b)->n_held, SEAL_HELD_MAX);
	meet(&p, 3600 * S);
	assert_int_equal(seal_stats(p.b)->n_held, SEAL_HELD_MAX - 1);
	pair_free(&p);
}

static void test_strangers(void **state)
{
	struct keys k1 = one_key(1), k2 = one_key(2);
	struct pair p = {seal_new(&k2, "cluster", 0xa), seal_new(&k1, "cluster", 0xb)};
	uint8_t packet[SEAL_PACKET_MAX];
	size_t n = from_a(&p, "x", packet);

	assert_int_equal(at_b_opens(&p, S, packet, n).verdict, SEAL_DROP); /* another key */
	assert_int_equal(seal_stats(p.b)->unknown_key, 1);
	seal_free(p.a);
	p.a = seal_new(&k1, "other", 0xa); /* another cluster, same key */
	n = from_a(&p, "x", packet);
	assert_int_equal(at_b_opens(&p, S, packet, n).verdict, SEAL_DROP);
	assert_int_equal(seal_stats(p.b)->forged, 1);
	assert_int_equal(seal_stats(p.b)->n_peers, 0);
	for (int i = 0; i < 2000; i++) {
		size_t len = randombytes_uniform(SEAL_PACKET_MAX + 1);

		randombytes_buf(packet, len);
		assert_int_equal(at_b_opens(&p, S, packet, len).verdict, SEAL_DROP);
	}
	assert_int_equal(seal_stats(p.b)->n_peers + seal_stats(p.b)->n_held, 0);
	pair_free(&p);
}

static void test_rotation(void **state)
{
	struct keys old = one_key(1), both = one_key(1), turned = one_key(2), new = one_key(2);
	struct pair p = pair_new();
	uint8_t packet[SEAL_PACKET_MAX];
	size_t n;

	both.list[both.n++] = new.list[0];
	turned.list[turned.n++] = old.list[0];
	meet(&p, S);
	seal_set_keys(p.a, &both); /* sends with the old one */
	seal_set_keys(p.b, &both);
	seal_set_keys(p.a, &turned); /* sends with the new one, which b has */
	meet(&p, 2 * S);
	seal_set_keys(p.b, &turned);
	seal_set_keys(p.a, &new);
	seal_set_keys(p.b, &new);
	n = from_a(&p, "x", packet); /* met under this key already */
	assert_int_equal(at_b_opens(&p, 3 * S, packet, n).verdict, SEAL_DATA);
	pair_free(&p);
}

/* --- links ----------------------------------------------------------------- */

/* Moves what one side has written to the other, `piece` bytes at a time. 0 or -EBADMSG. */
static int carry(struct seal_link *from, struct seal_link *to, size_t piece)
{
	size_t n;
	const uint8_t *bytes;
	int r = 0;

	while (r == 0 && (bytes = seal_link_output(from, &n)) && n > 0) {
		n = n < piece ? n : piece;
		r = seal_link_receive(to, bytes, n);
		seal_link_output_done(from, n);
	}
	return r;
}

static void test_link(void **state)
{
	static const size_t pieces[] = {1, 7, 100, 100000};

	for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
		struct pair p = pair_new();
		struct seal_link *d = seal_link_new(p.a, true), *c = seal_link_new(p.b, false);
		static uint8_t big[100000];
		const uint8_t *bytes;
		size_t n;

		assert_int_equal(carry(d, c, pieces[i]), 0);
		assert_false(seal_link_is_open(c));
		assert_int_equal(carry(c, d, pieces[i]), 0);
		assert_true(seal_link_is_open(d));
		assert_int_equal(carry(d, c, pieces[i]), 0);
		assert_true(seal_link_is_open(c));
		assert_int_equal(seal_link_peer(d), 0xb);
		assert_int_equal(seal_link_peer(c), 0xa);
		randombytes_buf(big, sizeof(big));
		seal_link_send(d, big, sizeof(big));
		seal_link_send(c, "back", 4);
		assert_int_equal(carry(d, c, pieces[i]), 0);
		assert_int_equal(carry(c, d, pieces[i]), 0);
		bytes = seal_link_input(c, &n);
		assert_int_equal(n, sizeof(big));
		assert_memory_equal(bytes, big, n);
		bytes = seal_link_input(d, &n);
		assert_int_equal(n, 4);
		assert_memory_equal(bytes, "back", 4);
		seal_link_free(d);
		seal_link_free(c);
		pair_free(&p);
	}
}

/* A stranger gets not one byte; a member's greeting, replayed, gets a greeting and no further. */
static void test_link_strangers(void **state)
{
	struct pair p = pair_new();
	struct keys k = one_key(2);
	struct seal *stranger = seal_new(&k, "cluster", 0xa);
	struct seal_link *d = seal_link_new(stranger, true), *c = seal_link_new(p.b, false);
	uint8_t recorded[4096];
	size_t n, n_recorded = 0;
	const uint8_t *bytes;

	assert_true(carry(d, c, 1000) < 0);
	seal_link_output(c, &n);
	assert_int_equal(n, 0);
	seal_link_free(d);
	seal_link_free(c);

	/* record all that a dialler says, then play it to a new acceptor */
	d = seal_link_new(p.a, true);
	c = seal_link_new(p.b, false);
	for (int i = 0; i < 2; i++) {
		bytes = seal_link_output(d, &n);
		memcpy(recorded + n_recorded, bytes, n);
		n_recorded += n;
		carry(d, c, 1000);
		carry(c, d, 1000);
	}
	assert_true(seal_link_is_open(c));
	seal_link_free(c);
	c = seal_link_new(p.b, false);
	assert_true(seal_link_receive(c, recorded, n_recorded) < 0);
	assert_false(seal_link_is_open(c));
	seal_link_free(d);
	seal_link_free(c);
	seal_free(stranger);
	pair_free(&p);
}

/* A key that is taken away in the midst of a greeting opens no link: whoever kept a connection half
 * open until then would be in for good. Nor is a stream left that anyone could compute. */
static void test_link_rotation(void **state)
{
	struct keys old = one_key(1), new = one_key(2), both = one_key(2);
	struct pair p = pair_new();
	struct seal_link *d = seal_link_new(p.a, true), *c = seal_link_new(p.b, false);

	both.list[both.n++] = old.list[0];
	assert_int_equal(carry(d, c, 1000), 0); /* c has the greeting, waits for the stream */
	seal_set_keys(p.b, &new);
	assert_int_equal(carry(c, d, 1000), 0);
	assert_true(seal_link_is_open(d));
	assert_true(carry(d, c, 1000) < 0);
	assert_false(seal_link_is_open(c));
	assert_false(seal_link_is_current(c));
	assert_true(seal_link_is_current(d));
	seal_set_keys(p.a, &both);
	assert_true(seal_link_is_current(d));
	seal_link_free(d);
	seal_link_free(c);
	d = seal_link_new(p.a, true);
	c = seal_link_new(p.b, false);
	seal_set_keys(p.a, &old);
	assert_int_equal(carry(d, c, 1000), 0);
	assert_true(carry(c, d, 1000) < 0); /* its key is gone before the answer */
	seal_link_free(d);
	seal_link_free(c);
	pair_free(&p);
}

/* Any flipped bit of either direction ends the link before anything is believed. */
static void test_link_tampering(void **state)
{
	for (int round = 0; round < 300; round++) {
		struct pair p = pair_new();
		struct seal_link *d = seal_link_new(p.a, true), *c = seal_link_new(p.b, false);
		uint8_t copy[4096];
		const uint8_t *bytes;
		size_t n, flip;

		if (round % 2) { /* the dialler's greeting */
			bytes = seal_link_output(d, &n);
			memcpy(copy, bytes, n);
			flip = randombytes_uniform((uint32_t)(8 * n));
			copy[flip / 8] ^= (uint8_t)(1 << flip % 8);
			assert_true(seal_link_receive(c, copy, n) < 0);
		} else { /* the acceptor's greeting, header and confirmation */
			carry(d, c, 1000);
			bytes = seal_link_output(c, &n);
			memcpy(copy, bytes, n);
			flip = randombytes_uniform((uint32_t)(8 * n));
			copy[flip / 8] ^= (uint8_t)(1 << flip % 8);
			seal_link_receive(d, copy, n);
			assert_false(seal_link_is_open(d));
		}
		seal_link_free(d);
		seal_link_free(c);
		pair_free(&p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new_boot_is_asked),
		cmocka_unit_test(test_replay_is_refused),
		cmocka_unit_test(test_challenge_is_answered_once),
		cmocka_unit_test(test_window_slides),
		cmocka_unit_test(test_forgery),
		cmocka_unit_test(test_destination_counts),
		cmocka_unit_test(test_capture_does_not_revive),
		cmocka_unit_test(test_new_boot_replaces_old),
		cmocka_unit_test(test_old_packet_of_a_living_boot),
		cmocka_unit_test(test_replays_do_not_keep_out),
		cmocka_unit_test(test_held_places_come_free),
		cmocka_unit_test(test_strangers),
		cmocka_unit_test(test_rotation),
		cmocka_unit_test(test_link),
		cmocka_unit_test(test_link_strangers),
		cmocka_unit_test(test_link_rotation),
		cmocka_unit_test(test_link_tampering),
	};

	if (sodium_init() < 0)
		return 99;
	return cmocka_run_group_tests_name("seal", tests, NULL, NULL);
}
