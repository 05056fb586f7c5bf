/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * Bytes in network order, written and read with their bounds. A writer that would overflow, or a
 * reader at its end, becomes `full` or `bad` for good and gives zeros, so that one look at the end
 * is enough.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct writer {
	uint8_t *bytes;
	size_t n, max;
	bool full;
};

static inline struct writer writer_init(uint8_t *bytes, size_t max)
{
	return (struct writer){.bytes = bytes, .max = max};
}

static inline void put_bytes(struct writer *w, const void *bytes, size_t n)
{
	if (w->full || n > w->max - w->n) {
		w->full = true;
		return;
	}
	if (n > 0)
		memcpy(w->bytes + w->n, bytes, n);
	w->n += n;
}

static inline void put_number(struct writer *w, uint64_t value, unsigned int n)
{
	uint8_t bytes[8];

	for (unsigned int i = 0; i < n; i++)
		bytes[i] = (uint8_t)(value >> 8 * (n - 1 - i));
	put_bytes(w, bytes, n);
}

static inline void put_u8(struct writer *w, uint8_t v)
{
	put_number(w, v, 1);
}

static inline void put_u16(struct writer *w, uint16_t v)
{
	put_number(w, v, 2);
}

static inline void put_u32(struct writer *w, uint32_t v)
{
	put_number(w, v, 4);
}

static inline void put_u64(struct writer *w, uint64_t v)
{
	put_number(w, v, 8);
}

struct reader {
	const uint8_t *bytes;
	size_t n, at;
	bool bad;
};

static inline struct reader reader_init(const uint8_t *bytes, size_t n)
{
	return (struct reader){.bytes = bytes, .n = n};
}

static inline size_t reader_left(const struct reader *r)
{
	return r->bad ? 0 : r->n - r->at;
}

/* All was read, and was there. */
static inline bool reader_is_done(const struct reader *r)
{
	return !r->bad && r->at == r->n;
}

/* NULL if there are not so many. */
static inline const uint8_t *get_bytes(struct reader *r, size_t n)
{
	const uint8_t *p = r->bytes + r->at;

	if (n > reader_left(r)) {
		r->bad = true;
		return NULL;
	}
	r->at += n;
	return p;
}

static inline uint64_t get_number(struct reader *r, unsigned int n)
{
	const uint8_t *p = get_bytes(r, n);
	uint64_t v = 0;

	for (unsigned int i = 0; p && i < n; i++)
		v = v << 8 | p[i];
	return v;
}

static inline uint8_t get_u8(struct reader *r)
{
	return (uint8_t)get_number(r, 1);
}

static inline uint16_t get_u16(struct reader *r)
{
	return (uint16_t)get_number(r, 2);
}

static inline uint32_t get_u32(struct reader *r)
{
	return (uint32_t)get_number(r, 4);
}

static inline uint64_t get_u64(struct reader *r)
{
	return get_number(r, 8);
}
