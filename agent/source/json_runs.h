/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * What JSON looks like between its scalars, remembered. Ten thousand tasks are ten thousand times
 * the same keys, brackets and commas around other strings and numbers; a run is such a piece,
 * `,"labels":[{"key":"` say, that a scanner has gone through once, byte by byte. Where it comes
 * again in the same place, comparing it is as good as reading it, and many times as fast.
 *
 * The same place: what a run means depends on the brackets that are open where it begins, counted
 * from the value in which runs are remembered at all, and on nothing else. So each such stack of
 * brackets is kept once, as a chain of places. (A lazily built automaton: places and runs are its
 * states and transitions.)
 *
 * It is bounded, and forgets everything when it is full.
 */
#include "agent/source/json_lex.h"
#include "agent/source/json_token.h"

#include <stddef.h>
#include <stdint.h>

#define JSON_RUN_TEXT 104  /* longer ones, mostly of white space, are not remembered */
#define JSON_RUN_TOKENS 24 /* likewise */

#define JSON_PLACE_NONE (-1)

struct json_place {
	int16_t up;
	int16_t node; /* of the open object or array, see json_paths.h; NONE: not wanted */
	bool object;
	uint16_t depth;         /* brackets open in the document */
	int16_t inside, beside; /* lists */
	struct json_run *start; /* of the outermost: a run that leads there */
};

struct json_run {
	struct json_run *next[2]; /* what came behind it; the last first */
	int16_t from, to;         /* places */
	int16_t node;             /* of the scalar that follows */
	uint64_t last;            /* mask of those bytes of the text that are no whole 8 */
	uint8_t then; /* STRING, whose quote ends the run; NUMBER; CLOSE: all is complete */
	uint8_t n_text, n_tokens;
	uint8_t mark; /* 1 + where among the tokens the mark is; 0: it is not among them */
	char tokens[JSON_RUN_TOKENS];                /* what of the run is wanted */
	char text[JSON_RUN_TEXT + sizeof(uint64_t)]; /* zeros behind it */
};

struct json_runs {
	bool full;
	int16_t roots; /* list of outermost places */
	size_t n_places, n_runs;
	struct json_place *places;
	struct json_run *runs;
	uint16_t *slots; /* open addressing: 1 + index of a run */
};

void json_runs_init(struct json_runs *r);
void json_runs_done(struct json_runs *r);
/* Where a value begins in which runs are to be remembered, as the run that leads there. Forgets
 * what it knew if it is full. */
struct json_run *json_runs_start(struct json_runs *r, int16_t node, size_t depth);
/* The place where an object or array has been opened; NONE if `up` is, or there are too many. */
int16_t json_runs_open(struct json_runs *r, int16_t up, int16_t node, bool object);
/* A run as it has been read. Remembers it, also as what comes behind `before` (NULL: not known);
 * `run->next` does not count. NULL: it is not remembered. */
struct json_run *json_runs_learn(
	struct json_runs *r, struct json_run *before, const struct json_run *run);

static inline bool json_run_fits(const struct json_run *run, const char *p, size_t n)
{
	uint64_t differ = 0, a, b;
	size_t i;

	if (!run || run->n_text + sizeof(a) > n)
		return false;
	for (i = 0; i + sizeof(a) <= run->n_text && !differ; i += sizeof(a)) {
		memcpy(&a, run->text + i, sizeof(a));
		memcpy(&b, p + i, sizeof(b));
		differ = a ^ b;
	}
	memcpy(&a, run->text + i, sizeof(a));
	memcpy(&b, p + i, sizeof(b));
	if (differ || ((a ^ b) & run->last))
		return false;
	return run->then != JSON_NUMBER || json_number_begins(p[run->n_text]);
}

/* The run behind `before` that these bytes begin with; NULL: none that is known. */
static inline struct json_run *json_runs_follow(struct json_run *before, const char *p, size_t n)
{
	struct json_run *run;

	if (!before)
		return NULL;
	if (json_run_fits(before->next[0], p, n))
		return before->next[0];
	if (!json_run_fits(before->next[1], p, n))
		return NULL;
	run = before->next[1];
	before->next[1] = before->next[0];
	return before->next[0] = run;
}
