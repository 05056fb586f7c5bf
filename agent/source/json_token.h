/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * JSON values as tokens: a few bytes each, one behind the other in the order of the document, so
 * that a value can be copied, kept and digested as it stands, and read without a search for quotes
 * and brackets.
 *
 *   object, array       kind field, what is in it, CLOSE
 *   string, number      kind field length text NUL    a string's escapes are decoded, a number is spelled as
 *   true, false, null   kind field                    it was; the length has 4 bytes in this machine's order
 *
 * The field is the number of the member's key in a list of keys that writer and reader share; 0 in
 * an array and at the top. Of a key that an object has twice the last counts, as in every JSON
 * reader that makes maps.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum json_kind {
	JSON_NONE, /* no value */
	JSON_OBJECT,
	JSON_ARRAY,
	JSON_STRING,
	JSON_BINARY, /* a string with a NUL in it, which is no text to C; only as token */
	JSON_NUMBER,
	JSON_TRUE,
	JSON_FALSE,
	JSON_NULL,
	JSON_CLOSE, /* of an object or array; only as token */
};

/* ---- writing ---- */

struct json_tokens {
	char *bytes;
	size_t n, allocated;
};

void json_tokens_grow(struct json_tokens *t, size_t n);

static inline void json_tokens_reserve(struct json_tokens *t, size_t n)
{
	if (n > t->allocated - t->n)
		json_tokens_grow(t, n);
}

static inline void json_tokens_append(struct json_tokens *t, const char *bytes, size_t n)
{
	json_tokens_reserve(t, n);
	memcpy(t->bytes + t->n, bytes, n);
	t->n += n;
}

/* A token without text. A CLOSE has no field either. */
static inline void json_tokens_put(struct json_tokens *t, enum json_kind kind, uint8_t field)
{
	char bytes[] = {(char)kind, (char)field};

	json_tokens_append(t, bytes, kind == JSON_CLOSE ? 1 : 2);
}

/* What goes before a text: kind, field, length. */
#define JSON_TOKEN_HEAD (2 + sizeof(uint32_t))

/* A string or number. */
static inline void json_tokens_put_text(
	struct json_tokens *t, enum json_kind kind, uint8_t field, const char *text, size_t n)
{
	uint32_t length = (uint32_t)n;
	char *p;

	json_tokens_reserve(t, JSON_TOKEN_HEAD + n + 1);
	p = t->bytes + t->n;
	p[0] = (char)kind;
	p[1] = (char)field;
	memcpy(p + 2, &length, sizeof(length));
	p += JSON_TOKEN_HEAD;
	for (; n >= 8; p += 8, text += 8, n -= 8)
		memcpy(p, text, 8);
	for (; n; n--)
		*p++ = *text++;
	*p = '\0';
	t->n += JSON_TOKEN_HEAD + length + 1;
}

/* The same with its text still to come: what is appended next, until json_tokens_end(). Returns
 * where it begins. */
static inline size_t json_tokens_begin(struct json_tokens *t, enum json_kind kind, uint8_t field)
{
	json_tokens_put_text(t, kind, field, "", 0);
	return --t->n;
}

static inline void json_tokens_end(struct json_tokens *t, size_t begun)
{
	uint32_t n = (uint32_t)(t->n - begun);

	memcpy(t->bytes + begun - sizeof(n), &n, sizeof(n));
	if (memchr(t->bytes + begun, '\0', n))
		t->bytes[begun - JSON_TOKEN_HEAD] = JSON_BINARY;
	json_tokens_append(t, "", 1);
}

/* ---- reading ---- */

struct json_value {
	uint8_t kind, field;
	uint32_t n; /* bytes of the text; or values in it, and in those: they follow in the list */
	const char *text; /* of a string or number; ends with a NUL that is not counted */
};

/* The token at p; returns where the next one begins. */
static inline const char *json_token_read(const char *p, struct json_value *ret)
{
	*ret = (struct json_value){.kind = (uint8_t)p[0]};
	if (ret->kind == JSON_CLOSE)
		return p + 1;
	ret->field = (uint8_t)p[1];
	if (ret->kind < JSON_STRING || ret->kind > JSON_NUMBER)
		return p + 2;
	memcpy(&ret->n, p + 2, sizeof(ret->n));
	ret->text = p + JSON_TOKEN_HEAD;
	return ret->text + ret->n + 1;
}

/* Reused from value to value. */
struct json_values {
	size_t allocated;
	struct json_value *list;
};

/* The value that these tokens are, with all that is in it. The tokens have to stay, and be
 * whole. */
const struct json_value *json_values_read(
	struct json_values *values, const char *tokens, size_t n_tokens);
void json_values_done(struct json_values *values);

/* What follows behind a value and all that is in it. */
static inline const struct json_value *json_next(const struct json_value *v)
{
	return v + 1 + (v->text ? 0 : v->n);
}

/* The member of an object; NULL if `v` is none, has none, or the member is null. */
static inline const struct json_value *json_member(const struct json_value *v, uint8_t field)
{
	const struct json_value *found = NULL;

	if (!v || v->kind != JSON_OBJECT)
		return NULL;
	for (const struct json_value *m = v + 1, *end = json_next(v); m < end; m = json_next(m))
		if (m->field == field)
			found = m;
	return found && found->kind != JSON_NULL ? found : NULL;
}
/* All members of an object at once, by field, as json_member() gives them; `n` is the number of
 * fields. */
void json_members(const struct json_value *v, const struct json_value **ret, size_t n);
/* The text of a string, else NULL. */
static inline const char *json_text(const struct json_value *v)
{
	return v && v->kind == JSON_STRING ? v->text : NULL;
}
/* The number, or `otherwise` if it is none. */
double json_number(const struct json_value *v, double otherwise);
/* The number if it is a whole one of 0 to `max`, however it is spelled (protobuf's JSON writes
 * some as 80.0); -1. */
int64_t json_count(const struct json_value *v, int64_t max);
size_t json_length(const struct json_value *v); /* of an array; 0 if it is none */

/* All that is in an array; nothing if it is NULL or none. */
#define JSON_EACH(v, array)                                                                      \
	for (const struct json_value *                                                           \
			v = (array) ? (array) + 1 : NULL,                                        \
		       *v##_end = (array) && (array)->kind == JSON_ARRAY ? json_next(array) : v; \
		v != v##_end; v = json_next(v))
