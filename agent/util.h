/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/* Small things that every file of the daemon uses: time, memory that never fails, cleanup. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Nanoseconds of the monotonic clock: the daemon's one time type. */
typedef uint64_t nsec_t;
#define NSEC_PER_USEC ((nsec_t)1000)
#define NSEC_PER_MSEC ((nsec_t)1000000)
#define NSEC_PER_SEC ((nsec_t)1000000000)
nsec_t now_ns(void);

/* Out of memory ends the daemon here and nowhere else: the kernel goes on forwarding, and the
 * next start adopts what it finds. */
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t n, size_t size);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);
__attribute__((format(printf, 1, 2))) char *xasprintf(const char *format, ...);

#define ARRAY_SIZE(a) (sizeof(a) / sizeof(*(a)))

/* A string that is an argument everywhere and NULL nowhere. */
static inline const char *str_or(const char *s, const char *fallback)
{
	return s ? s : fallback;
}

/* Hands a pointer over: returns it and forgets it here. */
#define STEAL(p)                        \
	({                              \
		__typeof__(p) _p = (p); \
		(p) = NULL;             \
		_p;                     \
	})

#define CLEANUP(f) __attribute__((cleanup(f)))
static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}
static inline void cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
#define AUTO_FREE CLEANUP(cleanup_free)
#define AUTO_CLOSE CLEANUP(cleanup_close)
