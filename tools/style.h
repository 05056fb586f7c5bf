/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * How the output for people looks: colours, and the width of the terminal. What a colour says is
 * always said by a word or sign as well.
 */

#include <stdio.h>

enum style { STYLE_PLAIN, STYLE_GOOD, STYLE_NOTE, STYLE_WARNING, STYLE_BAD, STYLE_HEADING };

/* --color=auto|always|never; NULL: auto, which is a terminal that can, unless NO_COLOR is set, or
 * FORCE_COLOR. -1 for any other word. */
int style_init(const char *when);
/* What is to be written before and after; "" without colours. */
const char *style_begin(enum style s);
const char *style_end(enum style s);
/* Characters in a line of the terminal; 0: standard output is none, and lines are never cut. */
int style_width(void);

/* "OK", "!!" and so on for a mark or severity: "ok", "note", "warning", "bad" or "error". */
const char *style_sign(const char *mark);
enum style style_of(const char *mark);

/* Characters that `text` takes on a terminal, by the locale. */
int text_width(const char *text);
/* The bytes at the beginning of `text` that take at most `width`. */
int text_fit(const char *text, int width);
/* Writes `text` and a line's end, broken at blanks, where the terminal ends; the first line begins at column
 * `indent`, where the cursor is, and so do the others. */
void text_wrap(FILE *out, const char *text, int indent);
