/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tools/doctor/findings.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[_SEVERITY_N] = {"ok", "note", "warning", "error"};

const char *severity_name(enum severity s)
{
	return names[s];
}

void findings_init(struct findings *f)
{
	*f = (struct findings){.list = json_object_new_array()};
}

void findings_done(struct findings *f)
{
	json_object_put(f->list);
}

__attribute__((format(printf, 1, 0))) static char *format_text(const char *format, va_list ap)
{
	char *s;

	if (vasprintf(&s, format, ap) < 0)
		abort(); /* out of memory */
	return s;
}

char *textf(const char *format, ...)
{
	va_list ap;
	char *s;

	va_start(ap, format);
	s = format_text(format, ap);
	va_end(ap);
	return s;
}

static void put(json_object *o, const char *key, const char *value)
{
	json_object_object_add(o, key, value ? json_object_new_string(value) : NULL);
}

void findings_add(struct findings *f, enum severity s, const char *evidence, const char *mend,
	const char *format, ...)
{
	json_object *o = json_object_new_object();
	va_list ap;
	char *sentence;

	va_start(ap, format);
	sentence = format_text(format, ap);
	va_end(ap);
	put(o, "check", f->check);
	put(o, "severity", names[s]);
	put(o, "text", sentence);
	put(o, "evidence", evidence);
	put(o, "mend", mend);
	json_object_array_add(f->list, o);
	if (s > f->worst)
		f->worst = s;
	free(sentence);
}

size_t findings_count(const struct findings *f, enum severity s)
{
	size_t n = 0;

	for (size_t i = 0; i < json_object_array_length(f->list); i++) {
		json_object *o = json_object_array_get_idx(f->list, i);

		n += strcmp(json_object_get_string(json_object_object_get(o, "severity")),
			     names[s]) == 0;
	}
	return n;
}
