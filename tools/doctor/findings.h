/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * What vipctl doctor has found: a list of sentences, each with how grave it is, what was seen that
 * says so, and what to type to mend it. The list is JSON, and both forms of the output are made of
 * it:
 *
 *   {"check": "overlap", "severity": "error", "text": "...", "evidence": ... or null,
 *    "mend": "..." or null}
 */
#include <json-c/json.h>

enum severity {
	SEVERITY_OK,      /* looked at, and well */
	SEVERITY_NOTE,    /* worth knowing; nothing is wrong */
	SEVERITY_WARNING, /* works, and will not always, or not as well as it could */
	SEVERITY_ERROR,   /* VIPs fail, or are about to */
	_SEVERITY_N,
};

struct findings {
	json_object *list;
	const char *check; /* the one that runs */
	enum severity worst;
};

void findings_init(struct findings *f);
void findings_done(struct findings *f);

const char *severity_name(enum severity s); /* "ok", "note", "warning", "error" */

/* Adds a sentence without its full stop. `evidence` and `mend` may be NULL, and are copied. */
__attribute__((format(printf, 5, 6))) void findings_add(struct findings *f, enum severity s,
	const char *evidence, const char *mend, const char *format, ...);
/* How many have this severity. */
size_t findings_count(const struct findings *f, enum severity s);

/* A malloced text; memory that is short ends the program. Caller frees. */
__attribute__((format(printf, 1, 2))) char *textf(const char *format, ...);
