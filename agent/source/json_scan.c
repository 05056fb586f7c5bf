/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One state machine over bytes. Between two calls everything is in `struct json_scan`; within a
 * call each state's function runs over the bytes it can take and hands on a pointer.
 *
 * Each open bracket has a level, and each level a node of the tree of paths, or NONE where nothing
 * below is wanted: there only the grammar is checked, and neither keys nor values are looked at.
 *
 * Most bytes are in elements (tasks) and in what is not wanted at all (completed tasks), and there
 * in objects that are all alike. Both are regions: values in which the runs between scalars are
 * remembered (json_runs.h). In a region, behind each scalar, the scanner first tries to jump over
 * the next run and the scalar behind it (follow_runs()); where it cannot, it goes on byte by byte,
 * and learns the run. The levels are not kept up while it jumps, but made again from the last run's
 * place when it stops.
 */
#include "agent/source/json_scan.h"

#include "agent/source/json_lex.h"
#include "agent/source/json_runs.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#define NONE JSON_NODE_NONE

struct level {
	uint64_t begin; /* outside of regions */
	uint32_t seen;  /* likewise: children (by bit) that have occurred */
	int16_t node;
	int16_t place; /* in regions */
	bool object;
};

enum state {
	STATE_VALUE,
	STATE_FIRST_ELEMENT, /* a value or "]" */
	STATE_FIRST_KEY,     /* a key or "}" */
	STATE_KEY,
	STATE_COLON,
	STATE_RUN,   /* as AFTER, behind a scalar of a region */
	STATE_AFTER, /* a comma or the closing bracket */
	STATE_STRING,
	STATE_ESCAPE,
	STATE_HEX,
	STATE_NUMBER,
	STATE_LITERAL,
	STATE_END,
	STATE_FAILED,
};

/* What becomes of a string's characters. */
enum text {
	TEXT_SKIP,
	TEXT_KEY,
	TEXT_VALUE,
};

#define NOWHERE SIZE_MAX

struct json_scan {
	enum state state;
	enum json_number_state number;
	enum text text;
	const char *literal; /* the rest of it that must come */
	int16_t node;        /* of the value that comes next, or of the scalar under way */
	bool is_key;         /* the string is a key */
	uint8_t n_hex;       /* digits still to come */
	uint16_t code;       /* of \uXXXX */
	uint16_t high; /* first half of a surrogate pair whose second is still to come; 0: none */
	size_t n_key;  /* may exceed JSON_KEY_MAX: such a key matches nothing */
	char key[JSON_KEY_MAX];

	size_t depth, max_depth;
	struct level *levels;

	/* The element or region under way; one may be both. */
	bool in_element, in_region;
	size_t base; /* brackets open around it; NOWHERE: there is none */

	struct json_element element;
	size_t max_element;
	struct json_tokens tokens;
	const char *raw; /* of the number that is collected, what of it is in this chunk; or NULL */
	size_t text_begin; /* of the scalar's text among the tokens */
	size_t mark;       /* 1 + where among the tokens the marked value is; 0: there is none */

	struct json_runs runs;
	struct json_run *last; /* the last run; NULL: not known */
	const char *run;   /* where the one under way began; NULL: in another chunk, or none is */
	size_t run_tokens; /* tokens before it */
	int16_t run_place;

	uint64_t offset; /* of the chunk in the document */
	const char *chunk;
	const struct json_events *events;
	void *userdata;
	char error[160];

	struct json_paths paths;
};

/* ---- life and errors ---- */

struct json_scan *json_scan_new(const struct json_path *paths, const char *const *fields,
	const struct json_events *events, void *userdata, size_t depth, size_t element)
{
	struct json_scan *s = calloc(1, sizeof(*s));

	if (!s)
		abort();
	s->max_depth = depth < UINT16_MAX ? depth : UINT16_MAX; /* what places count */
	s->levels = calloc(s->max_depth + 1, sizeof(*s->levels));
	if (!s->levels)
		abort();
	s->max_element = element;
	s->events = events;
	s->userdata = userdata;
	s->base = NOWHERE;
	json_paths_compile(&s->paths, paths, fields);
	json_runs_init(&s->runs);
	return s;
}

struct json_scan *json_scan_free(struct json_scan *s)
{
	if (!s)
		return NULL;
	json_runs_done(&s->runs);
	free(s->levels);
	free(s->tokens.bytes);
	free(s);
	return NULL;
}

void json_scan_restart(struct json_scan *s)
{
	s->state = STATE_VALUE;
	s->node = 0;
	s->depth = 0;
	s->in_element = s->in_region = false;
	s->base = NOWHERE;
	s->raw = s->run = NULL;
	s->last = NULL;
	s->offset = 0;
	s->error[0] = '\0';
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
	n = snprintf(s->error, sizeof(s->error), "byte %llu: ", (unsigned long long)s->offset);
	vsnprintf(s->error + n, sizeof(s->error) - (size_t)n, format, args);
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

bool json_scan_within(const struct json_scan *s, size_t path, size_t ancestor)
{
	return json_paths_within(&s->paths, path, ancestor);
}

/* ---- collecting an element ---- */

/* True if the element has room for so many bytes more. Once it has not, none of it is wanted. */
static inline bool has_room(struct json_scan *s, size_t n)
{
	if (!s->element.too_large && n <= s->max_element - s->tokens.n)
		return true;
	s->element.too_large = true;
	return false;
}

static inline void put_token(struct json_scan *s, int16_t node, enum json_kind kind)
{
	if (!s->in_element || node == NONE || !has_room(s, kind == JSON_CLOSE ? 1 : 2))
		return;
	if (s->paths.nodes[node].flags & JSON_PATH_MARK && kind != JSON_CLOSE)
		s->mark = 1 + s->tokens.n;
	json_tokens_put(&s->tokens, kind, s->paths.nodes[node].field);
}

/* A string or number begins. True if its text is wanted. */
static inline bool put_begin(struct json_scan *s, int16_t node, enum json_kind kind)
{
	if (!s->in_element || node == NONE || !has_room(s, JSON_TOKEN_HEAD + 1))
		return false;
	if (s->paths.nodes[node].flags & JSON_PATH_MARK)
		s->mark = 1 + s->tokens.n;
	s->text_begin = json_tokens_begin(&s->tokens, kind, s->paths.nodes[node].field);
	return true;
}

/* More of its text; one byte of room is kept for the NUL. */
static inline void put_text(struct json_scan *s, const char *bytes, size_t n)
{
	if (has_room(s, n + 1))
		json_tokens_append(&s->tokens, bytes, n);
}

static bool is_vip(const char *text, size_t n)
{
	return n >= 3 && (text[0] | 0x20) == 'v' && (text[1] | 0x20) == 'i' &&
	       (text[2] | 0x20) == 'p';
}

static inline void watch(struct json_scan *s, int16_t node, const char *text, size_t n)
{
	if (s->paths.nodes[node].flags & JSON_PATH_WATCH)
		s->element.watched |= is_vip(text, n);
}

static void put_end(struct json_scan *s, int16_t node)
{
	if (s->element.too_large)
		return;
	watch(s, node, s->tokens.bytes + s->text_begin, s->tokens.n - s->text_begin);
	json_tokens_end(&s->tokens, s->text_begin);
}

/* A whole string or number without escapes. */
static inline void put_scalar(
	struct json_scan *s, int16_t node, enum json_kind kind, const char *text, size_t n)
{
	if (!s->in_element || node == NONE || !has_room(s, JSON_TOKEN_HEAD + n + 1))
		return;
	if (s->paths.nodes[node].flags & JSON_PATH_MARK)
		s->mark = 1 + s->tokens.n;
	watch(s, node, text, n);
	json_tokens_put_text(&s->tokens, kind, s->paths.nodes[node].field, text, n);
}

static int tell_begin(
	struct json_scan *s, const struct json_node *n, enum json_kind kind, const char *p)
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

/* A value begins outside of elements and regions: it may be one, or both. */
static int outer_begin(struct json_scan *s, enum json_kind kind, const char *p)
{
	const struct json_node *n = s->node == NONE ? NULL : &s->paths.nodes[s->node];

	if (n && n->flags & JSON_PATH_BEGIN && tell_begin(s, n, kind, p) < 0)
		return -EBADMSG;
	s->in_element = n && n->flags & JSON_PATH_ELEMENT;
	s->in_region = (s->in_element || !n) && (kind == JSON_OBJECT || kind == JSON_ARRAY);
	if (!s->in_element && !s->in_region)
		return 0;
	s->base = s->depth;
	s->tokens.n = s->mark = 0;
	s->element = (struct json_element){
		.path = n ? (size_t)n->path : 0, .begin = s->offset + (uint64_t)(p - s->chunk)};
	if (s->in_region)
		s->last = json_runs_start(&s->runs, s->node, s->depth);
	return 0;
}

static int outer_end(struct json_scan *s)
{
	struct json_element *e = &s->element;

	s->in_region = false;
	s->base = NOWHERE;
	if (!s->in_element)
		return 0;
	s->in_element = false;
	e->tokens = e->too_large ? "" : s->tokens.bytes;
	e->n_tokens = e->too_large ? 0 : s->tokens.n;
	e->mark = s->mark && !e->too_large ? s->tokens.bytes + s->mark - 1 : NULL;
	return s->events->element(s->userdata, e);
}

/* ---- runs ---- */

/* From here to the next scalar is a run. */
static inline void run_begin(struct json_scan *s, const char *p)
{
	s->run = p;
	s->run_tokens = s->tokens.n;
	if (s->depth > s->base)
		s->run_place = s->levels[s->depth - 1].place;
	else
		s->run_place = s->last ? s->last->to : JSON_PLACE_NONE;
}

/* It ends at p, before the scalar at this node. */
static void run_end(struct json_scan *s, const char *p, enum json_kind then, int16_t node)
{
	size_t n = s->run ? (size_t)(p - s->run) : 0, n_tokens = s->tokens.n - s->run_tokens;
	int16_t to = s->depth > s->base ? s->levels[s->depth - 1].place : JSON_PLACE_NONE;
	struct json_run run;

	if (!s->run || s->run_place == JSON_PLACE_NONE ||
		(to == JSON_PLACE_NONE && then != JSON_CLOSE) || n > JSON_RUN_TEXT ||
		n_tokens > JSON_RUN_TOKENS || s->element.too_large) {
		s->run = NULL;
		s->last = NULL;
		return;
	}
	run = (struct json_run){.from = s->run_place,
		.to = to,
		.node = node,
		.then = (uint8_t)then,
		.n_text = (uint8_t)n,
		.n_tokens = (uint8_t)n_tokens};
	if (s->mark > s->run_tokens)
		run.mark = (uint8_t)(s->mark - s->run_tokens);
	memcpy(run.text, s->run, n);
	if (n_tokens)
		memcpy(run.tokens, s->tokens.bytes + s->run_tokens, n_tokens);
	s->last = json_runs_learn(&s->runs, s->last, &run);
	s->run = NULL;
}

/* ---- values ---- */

/* A value is complete that is no scalar of a region; p is behind it. Returns p, or NULL. */
static inline const char *value_end(struct json_scan *s, const char *p)
{
	s->state = s->depth ? STATE_AFTER : STATE_END;
	if (s->depth != s->base)
		return p;
	if (s->in_region)
		run_end(s, p, JSON_CLOSE, NONE);
	return outer_end(s) < 0 ? NULL : p;
}

/* A string or number is complete. */
static inline const char *scalar_end(struct json_scan *s, const char *p)
{
	if (!s->in_region)
		return value_end(s, p);
	s->state = STATE_RUN;
	return p;
}

static inline const char *skip_space(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
		p++;
	return p;
}

static inline void string_begin(struct json_scan *s, bool is_key, enum text text)
{
	s->state = STATE_STRING;
	s->is_key = is_key;
	s->text = text;
	s->n_key = 0;
	s->high = 0;
}

static inline const char *key_begin(struct json_scan *s, const char *p)
{
	string_begin(s, true, s->levels[s->depth - 1].node == NONE ? TEXT_SKIP : TEXT_KEY);
	return p + 1;
}

static const char *scan_open(struct json_scan *s, const char *p, enum json_kind kind, int16_t up)
{
	int16_t node = s->node;
	bool object = kind == JSON_OBJECT;

	if (s->depth == s->max_depth)
		return fail_at(s, p, "nested deeper than %zu", s->max_depth);
	put_token(s, node, kind);
	s->levels[s->depth++] = (struct level){.begin = s->offset + (uint64_t)(p - s->chunk),
		.node = node,
		.place =
			s->in_region ? json_runs_open(&s->runs, up, node, object) : JSON_PLACE_NONE,
		.object = object};
	s->state = object ? STATE_FIRST_KEY : STATE_FIRST_ELEMENT;
	return p + 1;
}

static const char *scan_close(struct json_scan *s, const char *p)
{
	struct level *level = &s->levels[s->depth - 1];

	if (*p != (level->object ? '}' : ']'))
		return unexpected(s, p, level->object ? "',' or '}'" : "',' or ']'");
	put_token(s, level->node, JSON_CLOSE);
	s->depth--;
	return value_end(s, p + 1);
}

static inline enum json_kind kind_of(char c)
{
	switch (c) {
	case '{':
		return JSON_OBJECT;
	case '[':
		return JSON_ARRAY;
	case '"':
		return JSON_STRING;
	case '-':
	case '0' ... '9':
		return JSON_NUMBER;
	case 't':
		return JSON_TRUE;
	case 'f':
		return JSON_FALSE;
	case 'n':
		return JSON_NULL;
	default:
		return JSON_NONE;
	}
}

static const char *follow_runs(struct json_scan *s, const char *p, const char *end);

static const char *scan_region(
	struct json_scan *s, const char *p, const char *end, enum json_kind kind)
{
	const char *q = follow_runs(s, p, end);

	if (q != p)
		return q;
	run_begin(s, p);
	return scan_open(s, p, kind, s->run_place);
}

static const char *scan_value(struct json_scan *s, const char *p, const char *end)
{
	enum json_kind kind;

	p = skip_space(p, end);
	if (p == end)
		return p;
	kind = kind_of(*p);
	if (s->base == NOWHERE && kind != JSON_NONE) {
		if (outer_begin(s, kind, p) < 0)
			return NULL;
		if (s->in_region)
			return scan_region(s, p, end, kind);
	}
	switch (kind) {
	case JSON_OBJECT:
	case JSON_ARRAY:
		return scan_open(
			s, p, kind, s->depth ? s->levels[s->depth - 1].place : JSON_PLACE_NONE);
	case JSON_STRING:
		if (s->in_region)
			run_end(s, p + 1, kind, s->node);
		string_begin(s, false, put_begin(s, s->node, kind) ? TEXT_VALUE : TEXT_SKIP);
		return p + 1;
	case JSON_NUMBER:
		if (s->in_region)
			run_end(s, p, kind, s->node);
		s->raw = put_begin(s, s->node, kind) ? p : NULL;
		s->state = STATE_NUMBER;
		s->number = json_number_begin(*p);
		return p + 1;
	case JSON_TRUE:
	case JSON_FALSE:
	case JSON_NULL:
		put_token(s, s->node, kind);
		s->state = STATE_LITERAL;
		s->literal = kind == JSON_TRUE ? "rue" : kind == JSON_FALSE ? "alse" : "ull";
		return p + 1;
	case JSON_NONE:
	case JSON_BINARY:
	case JSON_CLOSE:
		break;
	}
	return unexpected(s, p, "a value");
}

static inline int16_t array_child(const struct json_scan *s)
{
	int16_t node = s->levels[s->depth - 1].node;

	return node == NONE ? NONE : s->paths.nodes[node].array_child;
}

static const char *scan_first_element(struct json_scan *s, const char *p, const char *end)
{
	p = skip_space(p, end);
	if (p == end)
		return p;
	if (*p == ']')
		return scan_close(s, p);
	s->node = array_child(s);
	s->state = STATE_VALUE;
	return p;
}

static const char *scan_key(struct json_scan *s, const char *p, const char *end)
{
	p = skip_space(p, end);
	if (p == end)
		return p;
	if (*p == '}' && s->state == STATE_FIRST_KEY)
		return scan_close(s, p);
	if (*p != '"')
		return unexpected(s, p, s->state == STATE_KEY ? "a key" : "a key or '}'");
	return key_begin(s, p);
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

static const char *scan_after(struct json_scan *s, const char *p, const char *end)
{
	p = skip_space(p, end);
	if (p == end)
		return p;
	if (*p != ',')
		return scan_close(s, p);
	if (s->levels[s->depth - 1].object) {
		s->state = STATE_KEY;
	} else {
		s->state = STATE_VALUE;
		s->node = array_child(s);
	}
	return p + 1;
}

static const char *scan_run(struct json_scan *s, const char *p, const char *end)
{
	const char *q = follow_runs(s, p, end);

	if (q != p)
		return q;
	run_begin(s, p);
	s->state = STATE_AFTER;
	return scan_after(s, p, end);
}

static const char *scan_end(struct json_scan *s, const char *p, const char *end)
{
	p = skip_space(p, end);
	return p == end ? p : unexpected(s, p, "the end");
}

/* ---- strings ---- */

static void text_append(struct json_scan *s, const char *bytes, size_t n)
{
	if (s->text == TEXT_VALUE) {
		put_text(s, bytes, n);
	} else if (s->text == TEXT_KEY && n <= JSON_KEY_MAX - s->n_key) {
		memcpy(s->key + s->n_key, bytes, n);
		s->n_key += n;
	} else {
		s->text = TEXT_SKIP;
	}
}

/* A character that an escape stands for. */
static void text_append_code(struct json_scan *s, uint32_t c)
{
	char text[4];

	text_append(s, text, json_utf8(c, text));
}

/* No second half came for the first of a pair. */
static inline void text_flush(struct json_scan *s)
{
	if (s->high)
		text_append_code(s, s->high);
	s->high = 0;
}

/* \uXXXX: a character, or half of one. */
static void text_append_unit(struct json_scan *s, uint16_t unit)
{
	if (s->high && unit >= 0xdc00 && unit <= 0xdfff) {
		text_append_code(
			s, 0x10000 + ((uint32_t)(s->high - 0xd800) << 10) + (unit - 0xdc00u));
		s->high = 0;
		return;
	}
	text_flush(s);
	if (unit >= 0xd800 && unit <= 0xdbff)
		s->high = unit;
	else
		text_append_code(s, unit);
}

/* The string ends before q; from p on it has not been appended. */
static const char *string_end(struct json_scan *s, const char *p, const char *q, const char *end)
{
	int16_t up;

	if (!s->is_key) {
		if (s->text == TEXT_VALUE) {
			put_text(s, p, (size_t)(q - p));
			put_end(s, s->node);
		}
		return scalar_end(s, q + 1);
	}
	up = s->levels[s->depth - 1].node;
	s->node = NONE;
	if (s->text == TEXT_KEY && s->n_key == 0) {
		s->node = json_paths_child(&s->paths, up, p, (size_t)(q - p));
	} else if (s->text == TEXT_KEY) {
		text_append(s, p, (size_t)(q - p));
		if (s->text == TEXT_KEY)
			s->node = json_paths_child(&s->paths, up, s->key, s->n_key);
	}
	s->state = STATE_COLON;
	return scan_colon(s, q + 1, end);
}

static const char *scan_string(struct json_scan *s, const char *p, const char *end)
{
	const char *q = json_find_special(p, end);

	if (q > p || (q < end && *q != '\\'))
		text_flush(s);
	if (q < end && *q == '"')
		return string_end(s, p, q, end);
	if (s->text != TEXT_SKIP)
		text_append(s, p, (size_t)(q - p));
	if (q == end)
		return q;
	if (*q != '\\')
		return unexpected(s, q, "no control character in a string");
	s->state = STATE_ESCAPE;
	return q + 1;
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
	text_append_unit(s, (uint16_t)meant[found - names]);
	return p + 1;
}

static const char *scan_hex(struct json_scan *s, const char *p)
{
	int digit = json_hex_digit(*p);

	if (digit < 0)
		return unexpected(s, p, "a hexadecimal digit");
	s->code = (uint16_t)(s->code << 4 | digit);
	if (--s->n_hex == 0) {
		s->state = STATE_STRING;
		text_append_unit(s, s->code);
	}
	return p + 1;
}

/* ---- numbers and literals ---- */

static const char *number_end(struct json_scan *s, const char *p)
{
	if (s->raw) {
		put_text(s, s->raw, (size_t)(p - s->raw));
		put_end(s, s->node);
		s->raw = NULL;
	}
	return scalar_end(s, p);
}

static const char *scan_number(struct json_scan *s, const char *p, const char *end)
{
	p = json_number_span(&s->number, p, end);
	if (p == end)
		return p;
	return json_number_may_end(s->number) ? number_end(s, p) : unexpected(s, p, "a digit");
}

static const char *scan_literal(struct json_scan *s, const char *p, const char *end)
{
	for (; p < end && *s->literal; p++, s->literal++)
		if (*p != *s->literal)
			return unexpected(s, p, "true, false or null");
	return *s->literal ? p : value_end(s, p);
}

/* ---- jumping ---- */

/* A string that begins here, as its run has it. Returns what is behind it; NULL: it is not
 * simply there. */
static inline const char *jump_string(struct json_scan *s, const char *p, const char *end)
{
	const char *q = json_find_special(p, end);

	if (q == end || *q != '"') {
		string_begin(s, false, put_begin(s, s->node, JSON_STRING) ? TEXT_VALUE : TEXT_SKIP);
		return NULL;
	}
	put_scalar(s, s->node, JSON_STRING, p, (size_t)(q - p));
	return q + 1;
}

static inline const char *jump_number(struct json_scan *s, const char *p, const char *end)
{
	enum json_number_state number = json_number_begin(*p);
	const char *q = json_number_span(&number, p + 1, end);

	if (q == end || !json_number_may_end(number)) {
		s->raw = put_begin(s, s->node, JSON_NUMBER) ? p : NULL;
		s->state = STATE_NUMBER;
		s->number = json_number_begin(*p);
		return NULL;
	}
	put_scalar(s, s->node, JSON_NUMBER, p, (size_t)(q - p));
	return q;
}

/* After jumps: the levels as the last run leaves them. */
static void make_levels(struct json_scan *s)
{
	int16_t at = s->last->to;

	s->depth = s->runs.places[at].depth;
	for (size_t depth = s->depth; depth > s->base; depth--) {
		const struct json_place *place = &s->runs.places[at];

		s->levels[depth - 1] =
			(struct level){.node = place->node, .place = at, .object = place->object};
		at = place->up;
	}
}

/* What of the run is wanted. */
static inline void put_run(struct json_scan *s, const struct json_run *run)
{
	if (!run->n_tokens || !has_room(s, run->n_tokens))
		return;
	if (run->mark)
		s->mark = s->tokens.n + run->mark;
	json_tokens_reserve(&s->tokens, sizeof(run->tokens));
	memcpy(s->tokens.bytes + s->tokens.n, run->tokens, sizeof(run->tokens));
	s->tokens.n += run->n_tokens;
}

/* Goes on run by run, each with the scalar behind it. Returns p if there is none that is known;
 * else everything is as if it had been read byte by byte, maybe in the middle of the last
 * scalar. */
static const char *follow_runs(struct json_scan *s, const char *p, const char *end)
{
	const char *begin = p, *q;
	struct json_run *run;

	while ((run = json_runs_follow(s->last, p, (size_t)(end - p)))) {
		put_run(s, run);
		p += run->n_text;
		s->last = run;
		if (run->then == JSON_CLOSE) {
			s->depth = s->base;
			s->state = s->depth ? STATE_AFTER : STATE_END;
			return outer_end(s) < 0 ? NULL : p;
		}
		s->node = run->node;
		s->state = STATE_RUN;
		q = run->then == JSON_STRING ? jump_string(s, p, end) : jump_number(s, p, end);
		if (!q) {
			p += run->then == JSON_NUMBER; /* its first character */
			break;
		}
		p = q;
	}
	if (p != begin)
		make_levels(s);
	return p;
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
	case STATE_RUN:
		return scan_run(s, p, end);
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

	s->chunk = bytes;
	s->run = NULL;
	if (s->raw)
		s->raw = bytes;
	while (p && p < end)
		p = scan_step(s, p, end);
	if (!p || s->state == STATE_FAILED)
		return -EBADMSG;
	if (s->raw)
		put_text(s, s->raw, (size_t)(end - s->raw));
	s->offset += n_bytes;
	s->chunk = NULL;
	return 0;
}

int json_scan_finish(struct json_scan *s)
{
	if (s->state == STATE_FAILED)
		return -EBADMSG;
	s->chunk = "";
	if (s->state == STATE_NUMBER && !s->depth && json_number_may_end(s->number))
		value_end(s, s->chunk);
	s->chunk = NULL;
	if (s->state == STATE_FAILED)
		return -EBADMSG;
	if (s->state != STATE_END)
		return json_scan_fail(s, "the document is not complete");
	return 0;
}
