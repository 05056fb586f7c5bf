/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * One TCP client's bytes: frames of a length (two bytes) and a message, one after the other without
 * waiting for answers (RFC 7766). Pure: whoever has the socket puts bytes in and takes bytes out.
 * Memory is bounded, so a client that does not read its answers is not read either.
 */
#include "agent/serve/dns_message.h"

/* Answers that wait to be sent: some dozens, for one write. */
#define DNS_STREAM_OUT 8192

struct dns_stream {
	size_t n_in, n_out;
	bool malformed; /* a frame is longer or shorter than any query: the rest means nothing */
	uint8_t in[2 + DNS_QUERY_MAX];
	uint8_t out[DNS_STREAM_OUT];
};

/* Where bytes that come are to be put, and how many. 0: answers have to be sent first, or the
 * stream is malformed. */
size_t dns_stream_room(struct dns_stream *s, uint8_t **ret_at);
void dns_stream_took(struct dns_stream *s, size_t n);
/* Answers whole frames as long as there is room for answers; returns how many it took. */
size_t dns_stream_answer(
	struct dns_stream *s, const struct dns_source *source, struct dns_counts *counts);
/* The first n bytes of `out` were sent. */
void dns_stream_sent(struct dns_stream *s, size_t n);
