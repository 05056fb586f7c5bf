/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * Aligned columns for people: as wide as their widest cell, two spaces apart, nothing behind
 * the last. Where a terminal is too narrow, columns that may be cut are, and end in "...".
 * Nothing that a cell holds can drive the terminal.
 */
#include <stdio.h>

#include "style.h"

struct columns;

/* `headings`: n of them, NULL for a listing without a heading line. */
struct columns *columns_new(size_t n, const char *const *headings);
/* Column k (from 0) may be cut: long names, not addresses. */
void columns_may_cut(struct columns *c, size_t k);
/* Adds the next cell, left to right, then the next row; copies the text. */
__attribute__((format(printf, 2, 3))) void columns_add(struct columns *c, const char *format, ...);
/* The cell that was added last looks so. */
void columns_style(struct columns *c, enum style s);
/* Prints all rows, each after `indent` spaces, and frees. */
void columns_print(struct columns *c, FILE *out, int indent);
