/* SPDX-License-Identifier: GPL-2.0-or-later */
/* TCP's frames: in pieces, many at once, more answers than there is room for, and nonsense. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/serve/dns_stream.h"
#include "agent/util.h"

/* Root, A: is refused, in 17 bytes as it came. */
static const uint8_t frame[] = {0, 17, 0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1};

static const struct dns_source nothing;

static size_t put(struct dns_stream *s, const uint8_t *bytes, size_t n)
{
	uint8_t *at;
	size_t room = dns_stream_room(s, &at);

	n = n < room ? n : room;
	memcpy(at, bytes, n);
	dns_stream_took(s, n);
	return n;
}

static void test_in_pieces(void **state)
{
	struct dns_counts counts = {0};
	struct dns_stream *s = xcalloc(1, sizeof(*s));

	for (size_t i = 0; i + 1 < sizeof(frame); i++) {
		assert_int_equal(put(s, frame + i, 1), 1);
		assert_int_equal(dns_stream_answer(s, &nothing, &counts), 0);
	}
	put(s, frame + sizeof(frame) - 1, 1);
	assert_int_equal(dns_stream_answer(s, &nothing, &counts), 1);
	assert_int_equal(s->n_in, 0);
	assert_int_equal(s->n_out, sizeof(frame));
	assert_memory_equal(s->out, frame, 4); /* length and number */
	assert_int_equal(s->out[5], 5);        /* REFUSED */
	dns_stream_sent(s, 10);
	assert_int_equal(s->n_out, sizeof(frame) - 10);
	assert_memory_equal(s->out, frame + 10, sizeof(frame) - 10);
	free(s);
}

/* A client that reads nothing is not read either; when it does, it goes on where it stopped. */
static void test_more_than_there_is_room_for(void **state)
{
	struct dns_counts counts = {0};
	struct dns_stream *s = xcalloc(1, sizeof(*s));
	size_t n = 0, n_before;

	do {
		n_before = n;
		n += put(s, frame + n % sizeof(frame), sizeof(frame) - n % sizeof(frame));
		dns_stream_answer(s, &nothing, &counts);
		assert_true(s->n_out <= sizeof(s->out));
	} while (n > n_before);
	assert_true(s->n_out > sizeof(s->out) - 2 - DNS_ANSWER_MAX);
	while (s->n_out > 0) {
		dns_stream_sent(s, s->n_out);
		dns_stream_answer(s, &nothing, &counts);
	}
	assert_int_equal(counts.n_queries, n / sizeof(frame));
	assert_int_equal(s->n_in, n % sizeof(frame));
	free(s);
}

static void test_nonsense(void **state)
{
	static const uint8_t lengths[][2] = {{0, 0}, {0, 11},
		{(DNS_QUERY_MAX + 1) >> 8, (DNS_QUERY_MAX + 1) & 0xff}, {255, 255}};

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		struct dns_counts counts = {0};
		struct dns_stream *s = xcalloc(1, sizeof(*s));
		uint8_t *at;

		put(s, frame, sizeof(frame));
		put(s, lengths[i], 2);
		put(s, frame, sizeof(frame));
		assert_int_equal(dns_stream_answer(s, &nothing, &counts), 1);
		assert_true(s->malformed);
		assert_int_equal(s->n_out, sizeof(frame)); /* what came before is answered */
		assert_int_equal(dns_stream_answer(s, &nothing, &counts), 0);
		assert_int_equal(dns_stream_room(s, &at), 0);
		free(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_pieces),
		cmocka_unit_test(test_more_than_there_is_room_for),
		cmocka_unit_test(test_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
