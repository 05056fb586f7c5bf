/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The characters of JSON: where a string's plain ones end, what an escape stands for, how a number
 * goes on.
 */
#ifdef __SSE2__
#include <emmintrin.h>
#endif
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* ---- strings ---- */

static inline bool json_is_special(char c)
{
	return c == '"' || c == '\\' || (unsigned char)c < 0x20;
}

#ifndef __SSE2__
/* True if one of 8 bytes is 0: a borrow reaches the upper bit of no other byte first. */
static inline bool json_has_zero(uint64_t x)
{
	return (x - 0x0101010101010101u) & ~x & 0x8080808080808080u;
}

static inline bool json_has_special(const char *p)
{
	uint64_t x;

	memcpy(&x, p, sizeof(x));
	return json_has_zero(x ^ 0x2222222222222222u) || json_has_zero(x ^ 0x5c5c5c5c5c5c5c5cu) ||
	       json_has_zero(x & 0xe0e0e0e0e0e0e0e0u);
}
#endif

/* The next quote, backslash or control character, or `end`. */
static inline const char *json_find_special(const char *p, const char *end)
{
#ifdef __SSE2__
	const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\'),
		      control = _mm_set1_epi8(0x1f);

	for (; end - p >= 16; p += 16) {
		__m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
		__m128i hit = _mm_or_si128(_mm_cmpeq_epi8(x, quote), _mm_cmpeq_epi8(x, backslash));
		int mask = _mm_movemask_epi8(
			_mm_or_si128(hit, _mm_cmpeq_epi8(_mm_min_epu8(x, control), x)));

		if (mask)
			return p + __builtin_ctz((unsigned int)mask);
	}
#else
	for (; end - p >= 8 && !json_has_special(p); p += 8)
		;
#endif
	while (p < end && !json_is_special(*p))
		p++;
	return p;
}

/* UTF-8 of a character; returns how many bytes. Half a surrogate pair becomes U+FFFD. */
static inline size_t json_utf8(uint32_t c, char text[static 4])
{
	size_t n = 0;

	if (c >= 0xd800 && c <= 0xdfff)
		c = 0xfffd;
	if (c < 0x80) {
		text[n++] = (char)c;
		return n;
	}
	if (c < 0x800) {
		text[n++] = (char)(0xc0 | c >> 6);
	} else if (c < 0x10000) {
		text[n++] = (char)(0xe0 | c >> 12);
		text[n++] = (char)(0x80 | (c >> 6 & 0x3f));
	} else {
		text[n++] = (char)(0xf0 | c >> 18);
		text[n++] = (char)(0x80 | (c >> 12 & 0x3f));
		text[n++] = (char)(0x80 | (c >> 6 & 0x3f));
	}
	text[n++] = (char)(0x80 | (c & 0x3f));
	return n;
}

/* -1: it is none. */
static inline int json_hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
		return (c | 0x20) - 'a' + 10;
	return -1;
}

/* ---- numbers ---- */

/* True if a number begins with this character. */
static inline bool json_number_begins(char c)
{
	return c == '-' || (c >= '0' && c <= '9');
}

/* Where in a number: what has been read last. */
enum json_number_state {
	NUMBER_MINUS,
	NUMBER_ZERO,
	NUMBER_INTEGER,
	NUMBER_POINT,
	NUMBER_FRACTION,
	NUMBER_E,
	NUMBER_E_SIGN,
	NUMBER_EXPONENT,
};

static inline enum json_number_state json_number_begin(char c)
{
	return c == '-' ? NUMBER_MINUS : c == '0' ? NUMBER_ZERO : NUMBER_INTEGER;
}

static inline bool json_number_may_end(enum json_number_state number)
{
	return number == NUMBER_ZERO || number == NUMBER_INTEGER || number == NUMBER_FRACTION ||
	       number == NUMBER_EXPONENT;
}

/* What c makes of the number; -1: it is no part of it. */
static inline int json_number_next(enum json_number_state number, char c)
{
	bool digit = c >= '0' && c <= '9';

	switch (number) {
	case NUMBER_MINUS:
		return c == '0' ? NUMBER_ZERO : digit ? NUMBER_INTEGER : -1;
	case NUMBER_INTEGER:
		if (digit)
			return NUMBER_INTEGER;
		__attribute__((fallthrough));
	case NUMBER_ZERO:
		return c == '.' ? NUMBER_POINT : (c | 0x20) == 'e' ? NUMBER_E : -1;
	case NUMBER_POINT:
		return digit ? NUMBER_FRACTION : -1;
	case NUMBER_FRACTION:
		return digit ? NUMBER_FRACTION : (c | 0x20) == 'e' ? NUMBER_E : -1;
	case NUMBER_E:
		if (c == '+' || c == '-')
			return NUMBER_E_SIGN;
		__attribute__((fallthrough));
	case NUMBER_E_SIGN:
	case NUMBER_EXPONENT:
		return digit ? NUMBER_EXPONENT : -1;
	}
	return -1;
}

/* Where the number ends that has got as far as *number, or `end`. */
static inline const char *json_number_span(
	enum json_number_state *number, const char *p, const char *end)
{
	for (; p < end; p++) {
		int next = json_number_next(*number, *p);

		if (next < 0)
			break;
		*number = (enum json_number_state)next;
	}
	return p;
}
