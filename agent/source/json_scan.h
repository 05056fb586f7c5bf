/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * A JSON scanner that is handed bytes as they arrive, cut anywhere, and that hands back only what a
 * table of paths asks for, as tokens. Everything else costs one look at its bytes; the memory does
 * not grow with the document, only with its largest wanted element.
 *
 * It accepts RFC 8259 JSON and nothing else, wanted or not: unbalanced brackets, bad literals,
 * numbers or escapes, control characters in strings, and anything after the value are errors.
 * (UTF-8 is not verified: bytes over 0x7f pass as they are. Half a surrogate pair becomes U+FFFD.)
 * Keys are compared after their escapes are decoded.
 */
#include "agent/source/json_paths.h"
#include "agent/source/json_token.h"

#include <sys/types.h>

struct json_begin {
	size_t path;         /* index into the table */
	enum json_kind kind; /* of the value */
	bool repeated;       /* the same object had this key before: that value is void */
	uint64_t begin;      /* where in the document the value begins: bytes before it */
	uint64_t parent;     /* where that object began */
};

struct json_element {
	size_t path;
	uint64_t begin;     /* where in the document it began: bytes before it */
	const char *tokens; /* one value; none if too large */
	size_t n_tokens;
	bool too_large; /* over the limit */
	bool watched;
	const char
		*mark; /* token of the marked value, NULL if there was none; the last if several */
};

/* A callback that returns not 0 stops the scan; it has said why by json_scan_fail(). */
struct json_events {
	int (*begin)(void *userdata, const struct json_begin *begin);
	int (*element)(void *userdata, const struct json_element *element);
};

struct json_scan;

/* `paths` and `fields` (see json_paths.h) must outlive the scanner. Depth is the greatest number
 * of open brackets, element the greatest number of bytes of an element that is collected. Aborts
 * when out of memory or if `paths` is not a valid table. */
struct json_scan *json_scan_new(const struct json_path *paths, const char *const *fields,
	const struct json_events *events, void *userdata, size_t depth, size_t element);
struct json_scan *json_scan_free(struct json_scan *s); /* takes NULL; returns NULL */
/* Another document begins, which is read the faster the more it is like those before. */
void json_scan_restart(struct json_scan *s);

/* 0, or -EBADMSG: json_scan_error() says what and where, and every later call fails alike. */
int json_scan_feed(struct json_scan *s, const char *bytes, size_t n_bytes);
/* The document ends here. 0, or -EBADMSG if it is not complete. */
int json_scan_finish(struct json_scan *s);
/* For callbacks: makes the scan fail with this text, and returns -EBADMSG. */
__attribute__((format(printf, 2, 3))) int json_scan_fail(
	struct json_scan *s, const char *format, ...);
/* "byte 1234: ..."; "" if there is none. */
const char *json_scan_error(const struct json_scan *s);
uint64_t json_scan_position(const struct json_scan *s); /* bytes taken so far */
/* True if `path` is `ancestor` or below it; both are indices into the table. */
bool json_scan_within(const struct json_scan *s, size_t path, size_t ancestor);
