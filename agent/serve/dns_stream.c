/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/serve/dns_stream.h"

#include <string.h>

/* Of a DNS message. */
#define HEAD 12

size_t dns_stream_room(struct dns_stream *s, uint8_t **ret_at)
{
	*ret_at = s->in + s->n_in;
	return s->malformed ? 0 : sizeof(s->in) - s->n_in;
}

void dns_stream_took(struct dns_stream *s, size_t n)
{
	s->n_in += n;
}

static size_t length_at(const uint8_t *p)
{
	return (size_t)p[0] << 8 | p[1];
}

static void answer(struct dns_stream *s, const struct dns_source *source, const uint8_t *query,
	size_t n_query, struct dns_counts *counts)
{
	uint8_t *at = s->out + s->n_out;
	size_t n = dns_answer(source, query, n_query, true, at + 2, DNS_ANSWER_MAX, counts);

	if (!n)
		return;
	at[0] = (uint8_t)(n >> 8);
	at[1] = (uint8_t)n;
	s->n_out += 2 + n;
}

size_t dns_stream_answer(
	struct dns_stream *s, const struct dns_source *source, struct dns_counts *counts)
{
	size_t at = 0, n_taken = 0;

	while (!s->malformed && s->n_in - at >= 2 &&
		sizeof(s->out) - s->n_out >= 2 + DNS_ANSWER_MAX) {
		size_t n = length_at(s->in + at);

		s->malformed = n < HEAD || n > DNS_QUERY_MAX;
		if (s->malformed || s->n_in - at < 2 + n)
			break;
		answer(s, source, s->in + at + 2, n, counts);
		at += 2 + n;
		n_taken++;
	}
	memmove(s->in, s->in + at, s->n_in - at);
	s->n_in -= at;
	return n_taken;
}

void dns_stream_sent(struct dns_stream *s, size_t n)
{
	memmove(s->out, s->out + n, s->n_out - n);
	s->n_out -= n;
}
