/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/* Aligned columns for people: as wide as their widest cell, two spaces apart, nothing behind
 * the last. */
#include <stdio.h>

struct columns;

/* `headings`: n of them, NULL for a listing without a heading line. */
struct columns *columns_new(size_t n, const char *const *headings);
/* Adds the next cell, left to right, then the next row; copies the text. */
__attribute__((format(printf, 2, 3))) void columns_add(struct columns *c, const char *format, ...);
/* Prints all rows, each after `indent` spaces, and frees. */
void columns_print(struct columns *c, FILE *out, int indent);
