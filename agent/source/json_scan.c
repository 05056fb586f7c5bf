/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One state machine over bytes. Between two calls everything is in `struct json_scan`; within
 * a call each state's function runs over the bytes it can take and hands on a pointer.
 *
 * The paths become a tree of nodes. Each open bracket has a level, and each level a
 * node, or NONE where nothing below is wanted: there the scanner only checks the grammar, and
 * neither keys nor values are looked at. Most bytes of a document are in such places and
 * inside strings, hence the two things done for speed: strings are crossed 16 bytes at
 * a time, and the way through a value without a node has no calls.
 *
 * An element is collected by projection: the members on its table of inner paths are written
 * to the buffer, with their keys as the table spells them, and the others are not. A
 * member with no longer path below it is taken whole: its bytes are copied in runs, as
 * they stand.
 */
#include "agent/source/json_scan.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define NONE (-1)
/* Nodes of all paths of a table; vipd's has about 90. */
#define NODES_MAX 128
/* Longer keys are in no table. */
#define KEY_MAX 32

/* Lists in which a node's children stand, by length and first letter of their keys: of the
 * keys in a task most then need no comparison, and the others one. */
#define BUCKETS 16

struct node {
	const char *key; /* NULL: the elements of an array */
	uint8_t n_key, n_lead;
	char lead[KEY_MAX + 4]; /* what goes before such a value in an element: ,"key": */
	uint8_t flags;
	uint8_t bit;  /* its number among its siblings */
	int16_t path; /* index into the table; NONE for those inside an element */
	int16_t parent, array_child;
	int16_t next; /* of the children of one parent in one bucket */
	uint8_t n_children;
	int16_t children[BUCKETS];
};

struct level {
	uint64_t begin;
	uint32_t seen; /* children (by bit) that have occurred */
	int16_t node;
	bool object;
	bool written; /* projection: a member or element was written, so a comma comes next */
};

enum state {
	STATE_VALUE,
	STATE_FIRST_ELEMENT, /* a value or "]" */
	STATE_FIRST_KEY,     /* a key or "}" */
	STATE_KEY,
	STATE_COLON,
	STATE_AFTER, /* a comma or the closing bracket */
	STATE_STRING,
	STATE_ESCAPE,
	STATE_HEX,
	STATE_NUMBER,
	STATE_LITERAL,
	STATE_END,
	STATE_FAILED,
};

/* Where in a number: what has been read last. */
enum number {
	NUMBER_MINUS,
	NUMBER_ZERO,
	NUMBER_INTEGER,
	NUMBER_POINT,
	NUMBER_FRACTION,
	NUMBER_E,
	NUMBER_E_SIGN,
	NUMBER_EXPONENT,
};

#define PROBE_OFF 3 /* letters of "vip" that a string can have matched without being found */

struct json_scan {
	enum state state;
	enum number number;
	const char *literal; /* the rest of it that must come */
	int16_t node;        /* of the value that comes next */
	bool is_key;         /* the string is a key */
	bool keying;         /* and is collected in `key` */
	uint8_t probe;       /* letters of "vip" that the string began with */
	uint8_t n_hex;       /* digits still to come */
	uint16_t code;       /* of \uXXXX */
	size_t n_key;        /* may exceed KEY_MAX: such a key matches nothing */
	char key[KEY_MAX];

	size_t depth, max_depth;
	struct level *levels;

	/* The element that is being collected. */
	bool in_element, taking, watch;
	size_t element_depth, take_depth;
	const char *run; /* while taking: what is not copied yet begins here */
	int16_t take_node;
	struct json_element element;
	size_t mark_begin, mark_end; /* in buf; equal: none */
	char *buf;
	size_t n_buf, buf_allocated, max_element;

	uint64_t offset; /* of the chunk in the document */
	const char *chunk;
	const struct json_events *events;
	void *userdata;
	char error[160];

	size_t n_nodes;
	struct node nodes[NODES_MAX];
};

/* ---- the tree of paths ---- */

static void node_init(struct node *n)
{
	*n = (struct node){.path = NONE, .parent = NONE, .array_child = NONE, .next = NONE};
	for (size_t i = 0; i < BUCKETS; i++)
		n->children[i] = NONE;
}

static inline size_t bucket(const char *key, size_t n_key)
{
	return n_key ? (n_key * 5 + (unsigned char)*key) % BUCKETS : 0;
}

static int16_t node_new(struct json_scan *s, int16_t parent, const char *key, size_t n_key)
{
	struct node *n = &s->nodes[s->n_nodes], *up = &s->nodes[parent];

	if (s->n_nodes == NODES_MAX || n_key > KEY_MAX || up->n_children == 32)
		abort();
	node_init(n);
	n->key = key;
	n->n_key = (uint8_t)n_key;
	n->parent = parent;
	if (!key) {
		n->n_lead = (uint8_t)snprintf(n->lead, sizeof n->lead, ",");
		return up->array_child = (int16_t)s->n_nodes++;
	}
	n->n_lead = (uint8_t)snprintf(n->lead, sizeof n->lead, ",\"%.*s\":", (int)n_key, key);
	n->bit = up->n_children++;
	n->next = up->children[bucket(key, n_key)];
	return up->children[bucket(key, n_key)] = (int16_t)s->n_nodes++;
}

static int16_t node_child(const struct json_scan *s, int16_t parent, const char *key, size_t n_key)
{
	int16_t i = s->nodes[parent].children[bucket(key, n_key)];

	for (; i != NONE; i = s->nodes[i].next)
		if (s->nodes[i].n_key == n_key && memcmp(s->nodes[i].key, key, n_key) == 0)
			break;
	return i;
}

static int16_t node_of_path(struct json_scan *s, int16_t root, const char *path)
{
	int16_t at = root;

	while (*path) {
		size_t n = strcspn(path, ".[");
		int16_t next;

		if (n) {
			next = node_child(s, at, path, n);
			at = next != NONE ? next : node_new(s, at, path, n);
			path += n;
		}
		if (strncmp(path, "[]", 2) == 0) {
			next = s->nodes[at].array_child;
			at = next != NONE ? next : node_new(s, at, NULL, 0);
			path += 2;
		}
		path += *path == '.';
	}
	return at;
}

static void nodes_compile_inner(struct json_scan *s, int16_t root, const struct json_path *inner)
{
	for (; inner->path; inner++)
		s->nodes[node_of_path(s, root, inner->path)].flags |= (uint8_t)inner->flags;
}

static void nodes_share(struct json_scan *s, int16_t at, int16_t same)
{
	s->nodes[at].n_children = s->nodes[same].n_children;
	memcpy(s->nodes[at].children, s->nodes[same].children, sizeof s->nodes[at].children);
}

/* An element's inner paths hang below its node; elements with the same table share them. */
static void nodes_compile(struct json_scan *s, const struct json_path *paths)
{
	s->n_nodes = 1;
	node_init(&s->nodes[0]);
	for (size_t i = 0; paths[i].path; i++) {
		int16_t at = node_of_path(s, 0, paths[i].path), same = NONE;

		s->nodes[at].flags = (uint8_t)paths[i].flags;
		s->nodes[at].path = (int16_t)i;
		if (!paths[i].inner)
			continue;
		for (size_t j = 0; j < i && same == NONE; j++)
			if (paths[j].inner == paths[i].inner)
				same = node_of_path(s, 0, paths[j].path);
		if (same == NONE)
			nodes_compile_inner(s, at, paths[i].inner);
		else
			nodes_share(s, at, same);
	}
}

bool json_scan_within(const struct json_scan *s, size_t path, size_t ancestor)
{
	for (size_t i = 0; i < s->n_nodes; i++) {
		if (s->nodes[i].path != (int16_t)path)
			continue;
		for (int16_t at = (int16_t)i; at != NONE; at = s->nodes[at].parent)
			if (s->nodes[at].path == (int16_t)ancestor)
				return true;
		return false;
	}
	return false;
}

/* ---- life and errors ---- */

struct json_scan *json_scan_new(const struct json_path *paths, const struct json_events *events,
	void *userdata, size_t depth, size_t element)
{
	struct json_scan *s = calloc(1, sizeof *s);

	if (!s)
		abort();
	s->levels = calloc(depth + 1, sizeof *s->levels);
	if (!s->levels)
		abort();
	s->max_depth = depth;
	s->max_element = element;
	s->events = events;
	s->userdata = userdata;
	nodes_compile(s, paths);
	return s;
}

struct json_scan *json_scan_free(struct json_scan *s)
{
	if (!s)
		return NULL;
	free(s->levels);
	free(s->buf);
	free(s);
	return NULL;
}

__attribute__((format(printf, 3, 0))) static int fail(
	struct json_scan *s, const char *at, const char *format, va_list args)
{
	int n;

	if (s->state == STATE_FAILED)
		return -EBADMSG;
	s->state = STATE_FAILED;
	if (at)
		s->offset += (uint64_t)(at - s->chunk);
	s->chunk = NULL;
	n = snprintf(s->error, sizeof s->error, "byte %llu: ", (unsigned long long)s->offset);
	vsnprintf(s->error + n, sizeof s->error - (size_t)n, format, args);
	return -EBADMSG;
}

int json_scan_fail(struct json_scan *s, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fail(s, s->chunk, format, args);
	va_end(args);
	return -EBADMSG;
}

/* Returns NULL, which ends the scan. */
__attribute__((format(printf, 3, 4))) static const char *fail_at(
	struct json_scan *s, const char *at, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fail(s, at, format, args);
	va_end(args);
	return NULL;
}

static const char *unexpected(struct json_scan *s, const char *at, const char *wanted)
{
	if (*at > ' ' && *at < 0x7f)
		return fail_at(s, at, "%s expected, not '%c'", wanted, *at);
	return fail_at(s, at, "%s expected, not byte 0x%02x", wanted, (unsigned char)*at);
}

const char *json_scan_error(const struct json_scan *s)
{
	return s->error;
}

uint64_t json_scan_position(const struct json_scan *s)
{
	return s->offset;
}

/* ---- collecting an element ---- */

static void buf_grow(struct json_scan *s, size_t n)
{
	size_t want = s->buf_allocated ? s->buf_allocated : 4096;

	while (want - s->n_buf < n)
		want *= 2;
	s->buf = realloc(s->buf, want);
	if (!s->buf)
		abort();
	s->buf_allocated = want;
}

static inline void buf_append(struct json_scan *s, const char *bytes, size_t n)
{
	if (s->element.too_large)
		return;
	if (n > s->max_element - s->n_buf) {
		s->element.too_large = true;
		return;
	}
	if (n > s->buf_allocated - s->n_buf)
		buf_grow(s, n);
	memcpy(s->buf + s->n_buf, bytes, n);
	s->n_buf += n;
}

/* Comma and key before a value inside an element. */
static void write_lead(struct json_scan *s, const struct node *n)
{
	struct level *up = &s->levels[s->depth - 1];
	size_t no_comma = up->written ? 0 : 1;

	up->written = true;
	buf_append(s, n->lead + no_comma, n->n_lead - no_comma);
}

static int tell_begin(struct json_scan *s, const struct node *n, enum json_kind kind, const char *p)
{
	struct level *up = s->depth ? &s->levels[s->depth - 1] : NULL;
	struct json_begin begin = {.path = (size_t)n->path,
		.kind = kind,
		.begin = s->offset + (uint64_t)(p - s->chunk)};

	if (up && up->object) {
		begin.repeated = up->seen & 1u << n->bit;
		begin.parent = up->begin;
		up->seen |= 1u << n->bit;
	}
	return s->events->begin(s->userdata, &begin);
}

static void element_begin(struct json_scan *s, const struct node *n, const char *p)
{
	s->in_element = true;
	s->element_depth = s->depth;
	s->n_buf = s->mark_begin = s->mark_end = 0;
	s->element = (struct json_element){
		.path = (size_t)n->path, .begin = s->offset + (uint64_t)(p - s->chunk)};
}

/* A value begins that has a node. Returns the node of its inside: NONE if nothing in it is
 * wanted by itself. */
static int16_t wanted_begin(struct json_scan *s, int16_t node, enum json_kind kind, const char *p)
{
	const struct node *n = &s->nodes[node];
	bool container = kind == JSON_KIND_OBJECT || kind == JSON_KIND_ARRAY;

	if (n->flags & JSON_PATH_BEGIN && tell_begin(s, n, kind, p) < 0)
		return NONE;
	if (n->flags & JSON_PATH_ELEMENT)
		element_begin(s, n, p);
	else if (s->in_element)
		write_lead(s, n);
	if (!s->in_element)
		return node;
	if (container && (n->n_children || n->array_child != NONE)) {
		buf_append(s, p, 1);
		return node;
	}
	s->taking = true;
	s->take_depth = s->depth;
	s->take_node = node;
	s->run = p;
	s->watch = n->flags & JSON_PATH_WATCH;
	if (n->flags & JSON_PATH_MARK)
		s->mark_begin = s->n_buf;
	return NONE;
}

static void take_end(struct json_scan *s, const char *p)
{
	buf_append(s, s->run, (size_t)(p - s->run));
	s->taking = s->watch = false;
	if (s->nodes[s->take_node].flags & JSON_PATH_MARK)
		s->mark_end = s->n_buf;
}

static int element_end(struct json_scan *s)
{
	struct json_element *e = &s->element;

	s->in_element = false;
	e->text = e->too_large ? "" : s->buf;
	e->n_text = e->too_large ? 0 : s->n_buf;
	if (!e->too_large && s->mark_end > s->mark_begin) {
		e->mark = s->buf + s->mark_begin;
		e->n_mark = s->mark_end - s->mark_begin;
	}
	return s->events->element(s->userdata, e);
}

/* ---- values ---- */

/* A value is complete; p is behind it. Returns p, or NULL. */
static inline const char *value_end(struct json_scan *s, const char *p)
{
	s->state = s->depth ? STATE_AFTER : STATE_END;
	if (!s->in_element)
		return p;
	if (s->taking && s->depth == s->take_depth)
		take_end(s, p);
	if (!s->taking && s->depth == s->element_depth && element_end(s) < 0)
		return NULL;
	return p;
}

static inline const char *skip_space(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
		p++;
	return p;
}

static inline void string_begin(struct json_scan *s, bool is_key)
{
	s->state = STATE_STRING;
	s->is_key = is_key;
	s->keying = is_key && s->levels[s->depth - 1].node != NONE;
	s->n_key = 0;
	s->probe = s->watch ? 0 : PROBE_OFF;
}

/* The usual next byte is taken at once: a turn through the loop costs more than most tokens. */
static inline const char *chain_key(struct json_scan *s, const char *p, const char *end)
{
	if (p == end || *p != '"')
		return p;
	string_begin(s, true);
	return p + 1;
}

static inline const char *scan_open(
	struct json_scan *s, const char *p, const char *end, bool object, int16_t inside)
{
	if (s->depth == s->max_depth)
		return fail_at(s, p, "nested deeper than %zu", s->max_depth);
	s->levels[s->depth++] = (struct level){
		.begin = s->offset + (uint64_t)(p - s->chunk), .node = inside, .object = object};
	if (object) {
		s->state = STATE_FIRST_KEY;
		return chain_key(s, p + 1, end);
	}
	s->state = STATE_FIRST_ELEMENT;
	s->node = inside == NONE ? NONE : s->nodes[inside].array_child;
	return p + 1;
}

static const char *scan_close(struct json_scan *s, const char *p)
{
	struct level *level = &s->levels[s->depth - 1];

	if (*p != (level->object ? '}' : ']'))
		return unexpected(s, p, level->object ? "',' or '}'" : "',' or ']'");
	if (level->node != NONE && s->in_element)
		buf_append(s, p, 1);
	s->depth--;
	return value_end(s, p + 1);
}

static inline enum json_kind kind_of(char c)
{
	switch (c) {
	case '{':
		return JSON_KIND_OBJECT;
	case '[':
		return JSON_KIND_ARRAY;
	case '"':
		return JSON_KIND_STRING;
	case '-':
	case '0' ... '9':
		return JSON_KIND_NUMBER;
	case 't':
	case 'f':
	case 'n':
		return JSON_KIND_LITERAL;
	default:
		return JSON_KIND_NONE;
	}
}

static inline const char *scan_value(struct json_scan *s, const char *p, const char *end)
{
	enum json_kind kind;
	int16_t inside = NONE;

	p = skip_space(p, end);
	if (p == end)
		return p;
	kind = kind_of(*p);
	if (s->node != NONE && kind != JSON_KIND_NONE) {
		inside = wanted_begin(s, s->node, kind, p);
		if (s->state == STATE_FAILED)
			return NULL;
	}
	switch (kind) {
	case JSON_KIND_OBJECT:
	case JSON_KIND_ARRAY:
		return scan_open(s, p, end, kind == JSON_KIND_OBJECT, inside);
	case JSON_KIND_STRING:
		string_begin(s, false);
		return p + 1;
	case JSON_KIND_NUMBER:
		s->state = STATE_NUMBER;
		s->number = *p == '-' ? NUMBER_MINUS : *p == '0' ? NUMBER_ZERO : NUMBER_INTEGER;
		return p + 1;
	case JSON_KIND_LITERAL:
		s->state = STATE_LITERAL;
		s->literal = *p == 't' ? "rue" : *p == 'f' ? "alse" : "ull";
		return p + 1;
	case JSON_KIND_NONE:
		break;
	}
	return unexpected(s, p, "a value");
}

static const char *scan_first_element(struct json_scan *s, const char *p, const char *end)
{
	p = skip_space(p, end);
	if (p < end && *p == ']')
		return scan_close(s, p);
	if (p < end)
		s->state = STATE_VALUE;
	return p;
}

static inline const char *scan_key(struct json_scan *s, const char *p, const char *end)
{
	p = skip_space(p, end);
	if (p == end)
		return p;
	if (*p == '}' && s->state == STATE_FIRST_KEY)
		return scan_close(s, p);
	if (*p != '"')
		return unexpected(s, p, s->state == STATE_KEY ? "a key" : "a key or '}'");
	string_begin(s, true);
	return p + 1;
}

static inline const char *scan_colon(struct json_scan *s, const char *p, const char *end)
{
	p = skip_space(p, end);
	if (p == end)
		return p;
	if (*p != ':')
		return unexpected(s, p, "':'");
	s->state = STATE_VALUE;
	return p + 1;
}

static inline const char *scan_after(struct json_scan *s, const char *p, const char *end)
{
	const struct level *level = &s->levels[s->depth - 1];

	p = skip_space(p, end);
	if (p == end)
		return p;
	if (*p != ',')
		return scan_close(s, p);
	if (level->object) {
		s->state = STATE_KEY;
		return chain_key(s, p + 1, end);
	}
	s->state = STATE_VALUE;
	s->node = level->node == NONE ? NONE : s->nodes[level->node].array_child;
	return p + 1;
}

static const char *scan_end(struct json_scan *s, const char *p, const char *end)
{
	p = skip_space(p, end);
	return p == end ? p : unexpected(s, p, "the end");
}

/* ---- strings ---- */

static inline bool is_special(char c)
{
	return c == '"' || c == '\\' || (unsigned char)c < 0x20;
}

/* The next quote, backslash or control character, or `end`. */
static inline const char *find_special(const char *p, const char *end)
{
#ifdef __SSE2__
	const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\'),
		      control = _mm_set1_epi8(0x1f);

	for (; end - p >= 16; p += 16) {
		__m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
		__m128i hit = _mm_or_si128(_mm_cmpeq_epi8(x, quote), _mm_cmpeq_epi8(x, backslash));
		int mask = _mm_movemask_epi8(
			_mm_or_si128(hit, _mm_cmpeq_epi8(_mm_min_epu8(x, control), x)));

		if (mask)
			return p + __builtin_ctz((unsigned int)mask);
	}
#endif
	while (p < end && !is_special(*p))
		p++;
	return p;
}

static void key_append(struct json_scan *s, const char *bytes, size_t n)
{
	if (n <= KEY_MAX - s->n_key) {
		memcpy(s->key + s->n_key, bytes, n);
		s->n_key += n;
	} else {
		s->n_key = KEY_MAX;
		s->keying = false;
	}
}

static void probe_letter(struct json_scan *s, unsigned int c)
{
	if (c > 0x7f || (c | 0x20) != (unsigned char)"vip"[s->probe])
		s->probe = PROBE_OFF;
	else if (++s->probe == PROBE_OFF)
		s->element.watched = true;
}

/* The rest of a string ends at q, its closing quote; from p on it is not in `key` yet. */
static inline const char *string_end(
	struct json_scan *s, const char *p, const char *q, const char *end)
{
	if (!s->is_key) {
		p = value_end(s, q + 1);
		return p && p < end && s->state == STATE_AFTER ? scan_after(s, p, end) : p;
	}
	s->node = NONE;
	if (s->keying && s->n_key == 0) {
		s->node = node_child(s, s->levels[s->depth - 1].node, p, (size_t)(q - p));
	} else if (s->keying) {
		key_append(s, p, (size_t)(q - p));
		if (s->keying)
			s->node = node_child(s, s->levels[s->depth - 1].node, s->key, s->n_key);
	}
	s->state = STATE_COLON;
	p = scan_colon(s, q + 1, end);
	return p && p < end ? scan_value(s, p, end) : p;
}

static inline const char *scan_string(struct json_scan *s, const char *p, const char *end)
{
	const char *q;

	while (s->probe < PROBE_OFF && p < end && !is_special(*p))
		probe_letter(s, (unsigned char)*p++);
	q = find_special(p, end);
	if (q < end && *q == '"')
		return string_end(s, p, q, end);
	if (s->keying)
		key_append(s, p, (size_t)(q - p));
	if (q == end)
		return q;
	if (*q != '\\')
		return unexpected(s, q, "no control character in a string");
	s->state = STATE_ESCAPE;
	return q + 1;
}

/* An escape stands for this character. */
static void string_escaped(struct json_scan *s, unsigned int c)
{
	char text[3];
	size_t n = 0;

	if (s->probe < PROBE_OFF)
		probe_letter(s, c);
	if (!s->keying)
		return;
	if (c < 0x80) {
		text[n++] = (char)c;
	} else { /* halves of surrogate pairs too: no key of a table has such */
		if (c < 0x800) {
			text[n++] = (char)(0xc0 | c >> 6);
		} else {
			text[n++] = (char)(0xe0 | c >> 12);
			text[n++] = (char)(0x80 | (c >> 6 & 0x3f));
		}
		text[n++] = (char)(0x80 | (c & 0x3f));
	}
	key_append(s, text, n);
}

static const char *scan_escape(struct json_scan *s, const char *p)
{
	static const char names[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
	const char *found;

	s->state = STATE_STRING;
	if (*p == 'u') {
		s->state = STATE_HEX;
		s->n_hex = 4;
		s->code = 0;
		return p + 1;
	}
	found = *p ? strchr(names, *p) : NULL;
	if (!found)
		return unexpected(s, p, "an escape");
	string_escaped(s, (unsigned char)meant[found - names]);
	return p + 1;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
		return (c | 0x20) - 'a' + 10;
	return -1;
}

static const char *scan_hex(struct json_scan *s, const char *p)
{
	int digit = hex_digit(*p);

	if (digit < 0)
		return unexpected(s, p, "a hexadecimal digit");
	s->code = (uint16_t)(s->code << 4 | digit);
	if (--s->n_hex == 0) {
		s->state = STATE_STRING;
		string_escaped(s, s->code);
	}
	return p + 1;
}

/* ---- numbers and literals ---- */

static bool number_may_end(enum number number)
{
	return number == NUMBER_ZERO || number == NUMBER_INTEGER || number == NUMBER_FRACTION ||
	       number == NUMBER_EXPONENT;
}

/* What c makes of the number; -1: it is no part of it. */
static int number_next(enum number number, char c)
{
	bool digit = c >= '0' && c <= '9';

	switch (number) {
	case NUMBER_MINUS:
		return c == '0' ? NUMBER_ZERO : digit ? NUMBER_INTEGER : -1;
	case NUMBER_INTEGER:
		if (digit)
			return NUMBER_INTEGER;
		__attribute__((fallthrough));
	case NUMBER_ZERO:
		return c == '.' ? NUMBER_POINT : (c | 0x20) == 'e' ? NUMBER_E : -1;
	case NUMBER_POINT:
		return digit ? NUMBER_FRACTION : -1;
	case NUMBER_FRACTION:
		return digit ? NUMBER_FRACTION : (c | 0x20) == 'e' ? NUMBER_E : -1;
	case NUMBER_E:
		if (c == '+' || c == '-')
			return NUMBER_E_SIGN;
		__attribute__((fallthrough));
	case NUMBER_E_SIGN:
	case NUMBER_EXPONENT:
		return digit ? NUMBER_EXPONENT : -1;
	}
	return -1;
}

static inline const char *scan_number(struct json_scan *s, const char *p, const char *end)
{
	enum number number = s->number;

	for (; p < end; p++) {
		int next = number_next(number, *p);

		if (next < 0)
			break;
		number = (enum number)next;
	}
	s->number = number;
	if (p == end)
		return p;
	return number_may_end(number) ? value_end(s, p) : unexpected(s, p, "a digit");
}

static inline const char *scan_literal(struct json_scan *s, const char *p, const char *end)
{
	for (; p < end && *s->literal; p++, s->literal++)
		if (*p != *s->literal)
			return unexpected(s, p, "true, false or null");
	return *s->literal ? p : value_end(s, p);
}

/* ---- feeding ---- */

static inline const char *scan_step(struct json_scan *s, const char *p, const char *end)
{
	switch (s->state) {
	case STATE_VALUE:
		return scan_value(s, p, end);
	case STATE_FIRST_ELEMENT:
		return scan_first_element(s, p, end);
	case STATE_FIRST_KEY:
	case STATE_KEY:
		return scan_key(s, p, end);
	case STATE_COLON:
		return scan_colon(s, p, end);
	case STATE_AFTER:
		return scan_after(s, p, end);
	case STATE_STRING:
		return scan_string(s, p, end);
	case STATE_ESCAPE:
		return scan_escape(s, p);
	case STATE_HEX:
		return scan_hex(s, p);
	case STATE_NUMBER:
		return scan_number(s, p, end);
	case STATE_LITERAL:
		return scan_literal(s, p, end);
	case STATE_END:
		return scan_end(s, p, end);
	case STATE_FAILED:
		break;
	}
	return NULL;
}

int json_scan_feed(struct json_scan *s, const char *bytes, size_t n_bytes)
{
	const char *p = bytes, *end = bytes + n_bytes;

	s->chunk = s->run = bytes;
	while (p && p < end)
		p = scan_step(s, p, end);
	if (!p || s->state == STATE_FAILED)
		return -EBADMSG;
	if (s->taking)
		buf_append(s, s->run, (size_t)(end - s->run));
	s->offset += n_bytes;
	s->chunk = NULL;
	return 0;
}

int json_scan_finish(struct json_scan *s)
{
	if (s->state == STATE_FAILED)
		return -EBADMSG;
	s->chunk = "";
	if (s->state == STATE_NUMBER && !s->depth && number_may_end(s->number))
		value_end(s, s->chunk);
	s->chunk = NULL;
	if (s->state == STATE_FAILED)
		return -EBADMSG;
	if (s->state != STATE_END)
		return json_scan_fail(s, "the document is not complete");
	return 0;
}
