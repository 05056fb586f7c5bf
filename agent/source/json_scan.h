/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * A JSON scanner that is handed bytes as they arrive, cut anywhere, and that hands back
 * only what a table of paths asks for. Everything else costs one look at its bytes; the
 * memory does not grow with the document, only with its largest wanted element.
 *
 * It accepts RFC 8259 JSON and nothing else, wanted or not: unbalanced brackets, bad
 * literals, numbers or escapes, control characters in strings, and anything after the value
 * are errors. (UTF-8 is not verified: bytes over 0x7f pass as they are.)
 *
 * A path names members by keys joined with dots, "[]" being every element of an array:
 * "frameworks[].tasks[]". Keys are compared after their escapes are decoded.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum json_kind {
	JSON_KIND_NONE, /* no value begins with this byte */
	JSON_KIND_OBJECT,
	JSON_KIND_ARRAY,
	JSON_KIND_STRING,
	JSON_KIND_NUMBER,
	JSON_KIND_LITERAL, /* true, false, null */
};

/* The value is told to `events.begin` when it begins. */
#define JSON_PATH_BEGIN 1u
/* The value is collected and given to `events.element` when it is complete. */
#define JSON_PATH_ELEMENT 2u
/* For paths inside an element: if a string in this value begins with "vip" in any case, be it a
 * key or not, the element is `watched`. */
#define JSON_PATH_WATCH 4u
/* For paths inside an element: where the value stands in the element is noted. */
#define JSON_PATH_MARK 8u

struct json_path {
	const char *path; /* NULL ends a table */
	unsigned flags;
	/* For an element: the paths inside it that are wanted; the element's text then has
	 * these members only. Those that have no longer path below them are taken
	 * whole. NULL: all of the element. */
	const struct json_path *inner;
};

struct json_begin {
	size_t path;         /* index into the table */
	enum json_kind kind; /* of the value */
	bool repeated;       /* the same object had this key before: that value is void */
	uint64_t begin;      /* where in the document the value begins: bytes before it */
	uint64_t parent;     /* where that object began */
};

struct json_element {
	size_t path;
	uint64_t begin;   /* where in the document it began: bytes before it */
	const char *text; /* JSON; empty if too large */
	size_t n_text;
	bool too_large; /* over the limit */
	bool watched;
	const char *mark; /* the marked value, NULL if there was none; the last if several */
	size_t n_mark;
};

/* A callback that returns not 0 stops the scan; it has said why by json_scan_fail(). */
struct json_events {
	int (*begin)(void *userdata, const struct json_begin *begin);
	int (*element)(void *userdata, const struct json_element *element);
};

struct json_scan;

/* `paths` must outlive the scanner. Depth is the greatest number of open brackets, element
 * the greatest number of bytes of an element that is collected. Aborts when out of memory
 * or if `paths` is not a valid table. */
struct json_scan *json_scan_new(const struct json_path *paths, const struct json_events *events,
	void *userdata, size_t depth, size_t element);
struct json_scan *json_scan_free(struct json_scan *s); /* takes NULL; returns NULL */

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
