/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * A set of byte strings that numbers its members 0, 1, 2, ... as they come, so that what
 * belongs to a string can live in an array. The strings live as long as the set's arena.
 */
#include <stddef.h>
#include <stdint.h>

struct arena;

#define STRSET_NONE UINT32_MAX

struct strset {
	uint64_t seed; /* of the hash: who chooses strings must not choose their slots */
	struct arena *arena;
	size_t n, allocated;
	const char **strings; /* each ends with a NUL that is not counted */
	uint32_t *hashes, *lengths;
	uint32_t *slots; /* open addressing: index + 1 into strings; 0: free */
	size_t n_slots;  /* 0 or a power of two */
	uint32_t last;   /* what was added last, and often comes next: a framework's id, say */
};

/* The hash that sets use, for other tables; the seed should be random. */
uint32_t strset_hash(uint64_t seed, const void *bytes, size_t n_bytes);

void strset_init(struct strset *set, struct arena *arena);
void strset_done(struct strset *set);
/* The number of this string, or STRSET_NONE. */
uint32_t strset_find(const struct strset *set, const void *bytes, size_t n_bytes);
/* The number of this string, which is added if it is new (then `set->n` has grown). */
uint32_t strset_add(struct strset *set, const void *bytes, size_t n_bytes);
