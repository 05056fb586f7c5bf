/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * Memory that is given back all at once: a document's or a table's. Allocation aborts the
 * process when there is none left (the kernel goes on forwarding while it restarts).
 */
#include <stddef.h>

struct arena;

struct arena *arena_new(void);
struct arena *arena_free(struct arena *a); /* takes NULL; returns NULL */
/* n zeroed bytes, aligned for any type. */
void *arena_alloc(struct arena *a, size_t n);
char *arena_strndup(struct arena *a, const char *s, size_t n);
char *arena_strdup(struct arena *a, const char *s);
__attribute__((format(printf, 2, 3))) char *arena_printf(struct arena *a, const char *format, ...);
/* Forgets all that was allocated, but keeps some memory for what comes next. */
void arena_reset(struct arena *a);
size_t arena_size(const struct arena *a); /* bytes held */
