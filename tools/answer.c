/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUFFIX ".l4lb.thisdcos.directory"

json_object *get(json_object *o, const char *key)
{
	json_object *v = NULL;

	if (json_object_is_type(o, json_type_object))
		json_object_object_get_ex(o, key, &v);
	return v;
}

const char *get_text(json_object *o, const char *key, const char *fallback)
{
	json_object *v = get(o, key);

	return v ? json_object_get_string(v) : fallback;
}

int64_t get_int(json_object *o, const char *key)
{
	return json_object_get_int64(get(o, key));
}

double get_seconds(json_object *o, const char *key)
{
	return json_object_get_double(get(o, key));
}

bool get_bool(json_object *o, const char *key)
{
	return json_object_get_boolean(get(o, key));
}

static void disarm_text(json_object *o)
{
	char *copy = strdup(json_object_get_string(o));
	bool bad = false;

	if (!copy)
		abort();
	for (char *p = copy; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f) {
			*p = '?';
			bad = true;
		}
	if (bad)
		json_object_set_string(o, copy);
	free(copy);
}

void disarm_answer(json_object *o)
{
	struct json_object_iter i;

	if (json_object_is_type(o, json_type_string))
		disarm_text(o);
	for (size_t k = 0; k < get_length(o); k++)
		disarm_answer(json_object_array_get_idx(o, k));
	if (json_object_is_type(o, json_type_object)) {
		json_object_object_foreachC (o, i)
			disarm_answer(i.val);
	}
}

void print_json(json_object *o)
{
	puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
						       JSON_C_TO_STRING_NOSLASHESCAPE));
}

const char *time_text(double s, char buf[static 32])
{
	if (s < 0)
		return "never";
	if (s < 0.01)
		snprintf(buf, 32, "%.2g ms", s * 1e3);
	else if (s < 10)
		snprintf(buf, 32, "%.1f s", s);
	else if (s < 120)
		snprintf(buf, 32, "%.0f s", s);
	else if (s < 7200)
		snprintf(buf, 32, "%.0f min", s / 60);
	else if (s < 172800)
		snprintf(buf, 32, "%.1f h", s / 3600);
	else
		snprintf(buf, 32, "%.0f d", s / 86400);
	return buf;
}

void add_endpoint(struct columns *c, const char *address, int64_t port)
{
	if (strchr(address, ':'))
		columns_add(c, "[%s]:%" PRId64, address, port);
	else
		columns_add(c, "%s:%" PRId64, address, port);
}

size_t get_length(json_object *list)
{
	return json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
}

int short_name(const char *vip)
{
	const char *suffix = strstr(vip, SUFFIX);

	return (int)(suffix ? (size_t)(suffix - vip) : strlen(vip));
}

const char *after_suffix(const char *vip)
{
	const char *suffix = strstr(vip, SUFFIX);

	return suffix ? suffix + strlen(SUFFIX) : "";
}
