/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/source/strset.h"

#include "agent/source/arena.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

void strset_init(struct strset *set, struct arena *arena)
{
	*set = (struct strset){.arena = arena};
	randombytes_buf(&set->seed, sizeof(set->seed));
}

void strset_done(struct strset *set)
{
	free(set->strings);
	free(set->hashes);
	free(set->lengths);
	free(set->slots);
	*set = (struct strset){0};
}

/* SipHash. Eight bytes at a time by a multiplication, which is faster, would not do whatever the seed:
 * the upper bit of a word goes through unchanged, and the next word can take it back. */
uint32_t strset_hash(uint64_t seed, const void *bytes, size_t n)
{
	uint8_t key[crypto_shorthash_KEYBYTES] = {0}, h[crypto_shorthash_BYTES];
	uint32_t ret;

	memcpy(key, &seed, sizeof(seed));
	crypto_shorthash(h, bytes, n, key);
	memcpy(&ret, h, sizeof(ret));
	return ret;
}

static void place(struct strset *set, uint32_t index)
{
	size_t mask = set->n_slots - 1, i = set->hashes[index] & mask;

	while (set->slots[i])
		i = (i + 1) & mask;
	set->slots[i] = index + 1;
}

/* Keeps the table at most half full. */
static void grow(struct strset *set)
{
	if (set->n == set->allocated) {
		set->allocated = set->allocated ? set->allocated * 2 : 32;
		set->strings = reallocarray(set->strings, set->allocated, sizeof *set->strings);
		set->hashes = reallocarray(set->hashes, set->allocated, sizeof *set->hashes);
		set->lengths = reallocarray(set->lengths, set->allocated, sizeof *set->lengths);
		if (!set->strings || !set->hashes || !set->lengths)
			abort();
	}
	if ((set->n + 1) * 2 <= set->n_slots)
		return;
	free(set->slots);
	set->n_slots = set->n_slots ? set->n_slots * 2 : 64;
	set->slots = calloc(set->n_slots, sizeof *set->slots);
	if (!set->slots)
		abort();
	for (uint32_t i = 0; i < set->n; i++)
		place(set, i);
}

static uint32_t find(const struct strset *set, const void *bytes, size_t n_bytes, uint32_t h)
{
	if (!set->n_slots)
		return STRSET_NONE;
	for (size_t mask = set->n_slots - 1, i = h & mask; set->slots[i]; i = (i + 1) & mask) {
		uint32_t found = set->slots[i] - 1;

		if (set->hashes[found] == h && set->lengths[found] == n_bytes &&
			memcmp(set->strings[found], bytes, n_bytes) == 0)
			return found;
	}
	return STRSET_NONE;
}

uint32_t strset_find(const struct strset *set, const void *bytes, size_t n_bytes)
{
	return find(set, bytes, n_bytes, strset_hash(set->seed, bytes, n_bytes));
}

static uint32_t find_or_add(struct strset *set, const void *bytes, size_t n_bytes)
{
	uint32_t h = strset_hash(set->seed, bytes, n_bytes), found = find(set, bytes, n_bytes, h);

	if (found != STRSET_NONE)
		return found;
	grow(set);
	set->strings[set->n] = arena_strndup(set->arena, bytes, n_bytes);
	set->hashes[set->n] = h;
	set->lengths[set->n] = (uint32_t)n_bytes;
	place(set, (uint32_t)set->n);
	return (uint32_t)set->n++;
}

uint32_t strset_add(struct strset *set, const void *bytes, size_t n_bytes)
{
	uint32_t last = set->last;

	if (last == set->n || set->lengths[last] != n_bytes ||
		memcmp(set->strings[last], bytes, n_bytes) != 0)
		set->last = last = find_or_add(set, bytes, n_bytes);
	return last;
}
