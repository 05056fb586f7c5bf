/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/util.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

nsec_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (nsec_t)ts.tv_sec * NSEC_PER_SEC + (nsec_t)ts.tv_nsec;
}

static void *must(void *p)
{
	if (!p) {
		static const char text[] =
			"<0>out of memory, giving up; the kernel keeps forwarding\n";

		(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
		abort();
	}
	return p;
}

void *xcalloc(size_t n, size_t size)
{
	return must(calloc(n ? n : 1, size ? size : 1));
}

void *xrealloc(void *p, size_t n, size_t size)
{
	return must(reallocarray(p, n ? n : 1, size));
}

char *xstrdup(const char *s)
{
	return must(strdup(s));
}

char *xstrndup(const char *s, size_t n)
{
	return must(strndup(s, n));
}

char *xasprintf(const char *format, ...)
{
	va_list ap;
	char *ret;
	int r;

	va_start(ap, format);
	r = vasprintf(&ret, format, ap);
	va_end(ap);
	return must(r < 0 ? NULL : ret);
}
