/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What bounds the overlay whatever it is told: bytes in a second, and memory. */
#include "gossip/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define USEC UINT64_C(1000)
#define SEC NSEC_PER_SEC

static struct gossip_addr address(unsigned i)
{
	return (struct gossip_addr){.family = 4, .port = 61420, .bytes = {10, 0, i >> 8, i}};
}

/* Node 1 among n others. */
static struct gossip *node(unsigned n)
{
	struct gossip_config config;
	struct gossip *g;

	gossip_config_init(&config);
	config.id = config.incarnation = config.seed = 1;
	config.address = address(1);
	assert_int_equal(gossip_new(&g, &config, SEC), 0);
	for (unsigned i = 2; i < n + 2; i++) {
		struct gossip_addr a = address(i);
		uint64_t neighbour = i + 1;

		assert_int_equal(gossip_preload(g, i, 1, 1, &a, &neighbour, 1), 0);
	}
	return g;
}

/* Bytes of all datagrams, with what the network adds. */
static size_t drain(struct gossip *g)
{
	struct gossip_effect effect;
	struct gossip_event event;
	size_t n = 0;

	while (gossip_pop_effect(g, &effect))
		n += effect.kind == GOSSIP_EFFECT_PACKET ? effect.n_bytes + 72 : 0;
	while (gossip_pop_event(g, &event))
		;
	return n;
}

static size_t ask(struct gossip *g, nsec_t now, unsigned n_ids)
{
	struct gossip_addr from = address(2);
	uint8_t bytes[GOSSIP_DATAGRAM_MAX];
	struct writer w;

	writer_init(&w, bytes, sizeof(bytes));
	wire_head_write(&w, &(struct wire_head){.sender = 2, .boot = wire_boot(1)});
	write_message_begin(&w, WIRE_PULL);
	for (unsigned i = 0; i < n_ids; i++)
		write_u64(&w, 2 + i);
	write_message_end(&w);
	gossip_receive(g, now, &from, bytes, w.n);
	return drain(g);
}

/* A member that asks for records 20,000 times a second gets as many as the bound allows, and
 * somebody is answered again as soon as it stops. */
static void test_asked_without_end(void **state)
{
	struct gossip *g = node(200);
	struct gossip_stats stats;
	nsec_t now = SEC;

	assert_in_range(ask(g, now, 30), 1000, GOSSIP_DATAGRAM_MAX + 72);
	for (unsigned second = 0; second < 3; second++) {
		size_t n = 0;

		for (unsigned i = 0; i < 20000; i++)
			n += ask(g, now += 50 * USEC, 30);
		assert_in_range(n, GOSSIP_RATE_MAX / 4, GOSSIP_RATE_MAX);
	}
	gossip_stats(g, &stats);
	assert_true(stats.refused > 0);
	assert_in_range(ask(g, now + SEC / 10, 30), 1000, GOSSIP_DATAGRAM_MAX + 72);
	gossip_free(g);
}

/* A member that has another IPv6 address and other metadata each time: none is kept. */
static void test_addresses_without_end(void **state)
{
	struct gossip *g = node(20);
	struct gossip_stats before, after;
	struct gossip_member m;
	struct gossip_addr a = {.family = 6, .port = 61420, .bytes = {0xfd, 1}};
	uint64_t neighbour = 3, version = 1;

	for (unsigned i = 0; i < 5000; i++) {
		if (i == 100)
			gossip_stats(g, &before);
		a.bytes[14] = i >> 8;
		a.bytes[15] = i;
		assert_int_equal(gossip_preload(g, 2, 1, ++version, &a, &neighbour, 1), 0);
		assert_int_equal(gossip_preload(g, 4, 1, version, &a, &neighbour, 1), 0);
	}
	drain(g);
	gossip_stats(g, &after);
	assert_true(gossip_member_get(g, 2, &m));
	assert_true(gossip_addr_equal(&m.address, &a));
	assert_true(gossip_member_get(g, 4, &m));
	assert_true(gossip_addr_equal(&m.address, &a));
	/* Each change was an event, and the queue for them is not looked at here. */
	assert_true(after.n_memory <= gossip_memory_max(21));
	gossip_set_contacts(g, SEC, NULL, 0); /* gives it back */
	gossip_stats(g, &after);
	assert_true(after.n_memory <= before.n_memory);
	gossip_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_asked_without_end),
		cmocka_unit_test(test_addresses_without_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
