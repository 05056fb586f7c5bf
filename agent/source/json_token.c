/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/source/json_token.h"

#include <math.h>

void json_tokens_grow(struct json_tokens *t, size_t n)
{
	size_t want = t->allocated ? t->allocated : 4096;

	while (want - t->n < n)
		want *= 2;
	t->bytes = realloc(t->bytes, want);
	if (!t->bytes)
		abort();
	t->allocated = want;
}

/* A value has two bytes at least. */
static void values_reserve(struct json_values *values, size_t n_tokens)
{
	if (values->allocated > n_tokens / 2)
		return;
	free(values->list);
	values->allocated = n_tokens < 1024 ? 1024 : n_tokens;
	values->list = reallocarray(NULL, values->allocated, sizeof(*values->list));
	if (!values->list)
		abort();
}

/* While a value is open its n is the place of the one around it. */
const struct json_value *json_values_read(
	struct json_values *values, const char *tokens, size_t n_tokens)
{
	const char *p = tokens, *end = tokens + n_tokens;
	struct json_value *list, *next;
	uint32_t open = 0;

	values_reserve(values, n_tokens);
	list = next = values->list;
	while (p < end) {
		p = json_token_read(p, next);
		if (next->kind == JSON_CLOSE) {
			struct json_value *closed = &list[open];

			open = closed->n;
			closed->n = (uint32_t)(next - closed) - 1;
			continue;
		}
		if (next->kind <= JSON_ARRAY) {
			next->n = open;
			open = (uint32_t)(next - list);
		}
		next++;
	}
	return list;
}

void json_values_done(struct json_values *values)
{
	free(values->list);
	*values = (struct json_values){0};
}

void json_members(const struct json_value *v, const struct json_value **ret, size_t n)
{
	memset(ret, 0, n * sizeof(*ret));
	if (!v || v->kind != JSON_OBJECT)
		return;
	for (const struct json_value *m = v + 1, *end = json_next(v); m < end; m = json_next(m))
		ret[m->field] = m->kind == JSON_NULL ? NULL : m;
}

double json_number(const struct json_value *v, double otherwise)
{
	return v && v->kind == JSON_NUMBER ? strtod(v->text, NULL) : otherwise;
}

int64_t json_count(const struct json_value *v, int64_t max)
{
	int64_t n = 0;
	double d;

	if (!v || v->kind != JSON_NUMBER)
		return -1;
	for (size_t i = 0; v->n < 18 && v->text[i] >= '0' && v->text[i] <= '9'; i++) {
		n = n * 10 + (v->text[i] - '0');
		if (i + 1 == v->n)
			return n <= max ? n : -1;
	}
	d = strtod(v->text, NULL);
	return d >= 0 && d <= (double)max && d == floor(d) ? (int64_t)d : -1;
}

size_t json_length(const struct json_value *v)
{
	size_t n = 0;

	JSON_EACH(each, v)
	n++;
	return n;
}
