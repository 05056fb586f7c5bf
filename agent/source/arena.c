/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A list of blocks, the newest first; an allocation is a step forward in the newest one. Blocks
 * double from 4 KiB to 256 KiB, so that a small table stays small and a large one needs few
 * of them; what is larger than a block gets a block of its own.
 */
#include "agent/source/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_MIN ((size_t)4096)
#define BLOCK_MAX ((size_t)256 * 1024)

struct block {
	struct block *next;
	size_t size, used;
	max_align_t data[];
};

struct arena {
	struct block *blocks;
	size_t block_size; /* of the next ordinary block */
	size_t held;
};

struct arena *arena_new(void)
{
	struct arena *a = calloc(1, sizeof *a);

	if (!a)
		abort();
	a->block_size = BLOCK_MIN;
	return a;
}

static void free_blocks(struct arena *a, struct block *b)
{
	for (struct block *next; b; b = next) {
		next = b->next;
		a->held -= sizeof *b + b->size;
		free(b);
	}
}

struct arena *arena_free(struct arena *a)
{
	if (!a)
		return NULL;
	free_blocks(a, a->blocks);
	free(a);
	return NULL;
}

void arena_reset(struct arena *a)
{
	if (!a->blocks)
		return;
	free_blocks(a, a->blocks->next);
	a->blocks->next = NULL;
	a->blocks->used = 0;
}

static struct block *block_new(struct arena *a, size_t n)
{
	struct block *b;
	size_t size = n > a->block_size / 4 ? n : a->block_size;

	if (size > SIZE_MAX - sizeof *b)
		abort();
	b = malloc(sizeof *b + size);
	if (!b)
		abort();
	b->size = size;
	b->used = 0;
	a->held += sizeof *b + size;
	if (size == n && a->blocks) { /* its own block: the newest one goes on being filled */
		b->next = a->blocks->next;
		a->blocks->next = b;
		return b;
	}
	b->next = a->blocks;
	a->blocks = b;
	if (a->block_size < BLOCK_MAX)
		a->block_size *= 2;
	return b;
}

static void *take(struct arena *a, size_t n)
{
	struct block *b = a->blocks;
	void *p;

	if (!b || b->size - b->used < n)
		b = block_new(a, n);
	p = (char *)b->data + b->used;
	b->used += n;
	return p;
}

void *arena_alloc(struct arena *a, size_t n)
{
	const size_t align = _Alignof(max_align_t);
	struct block *b = a->blocks;

	if (b) {
		size_t pad = -b->used & (align - 1);
		b->used = b->size - b->used < pad ? b->size : b->used + pad;
	}
	return memset(take(a, n), 0, n);
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
	char *p = take(a, n + 1);

	memcpy(p, s, n);
	p[n] = '\0';
	return p;
}

char *arena_strdup(struct arena *a, const char *s)
{
	return arena_strndup(a, s, strlen(s));
}

char *arena_printf(struct arena *a, const char *format, ...)
{
	va_list args;
	char *text, *p;
	int n;

	va_start(args, format);
	n = vasprintf(&text, format, args);
	va_end(args);
	if (n < 0)
		abort();
	p = arena_strndup(a, text, (size_t)n);
	free(text);
	return p;
}

size_t arena_size(const struct arena *a)
{
	return a->held;
}
