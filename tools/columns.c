/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "columns.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct columns {
	size_t n_columns, n_cells, allocated;
	char **cells;
};

static void push(struct columns *c, char *text)
{
	if (!text)
		abort();
	if (c->n_cells == c->allocated) {
		c->allocated = c->allocated ? 2 * c->allocated : 64;
		c->cells = reallocarray(c->cells, c->allocated, sizeof(*c->cells));
		if (!c->cells)
			abort();
	}
	c->cells[c->n_cells++] = text;
}

struct columns *columns_new(size_t n, const char *const *headings)
{
	struct columns *c = calloc(1, sizeof(*c));

	if (!c)
		abort();
	c->n_columns = n;
	for (size_t i = 0; headings && i < n; i++)
		push(c, strdup(headings[i]));
	return c;
}

void columns_add(struct columns *c, const char *format, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, format);
	if (vasprintf(&text, format, ap) < 0)
		text = NULL;
	va_end(ap);
	push(c, text);
}

/* Characters, not bytes: task ids may be UTF-8. */
static int width(const char *text)
{
	int n = 0;

	for (; *text; text++)
		n += (*text & 0xc0) != 0x80;
	return n;
}

static int column_width(const struct columns *c, size_t column)
{
	int max = 0;

	for (size_t i = column; i < c->n_cells; i += c->n_columns)
		if (width(c->cells[i]) > max)
			max = width(c->cells[i]);
	return max;
}

void columns_print(struct columns *c, FILE *out, int indent)
{
	int *widths = calloc(c->n_columns, sizeof(*widths));

	if (!widths)
		abort();
	for (size_t k = 0; k < c->n_columns; k++)
		widths[k] = column_width(c, k);
	for (size_t i = 0; i < c->n_cells; i++) {
		size_t k = i % c->n_columns;

		if (k == 0)
			fprintf(out, "%*s", indent, "");
		if (k + 1 < c->n_columns && i + 1 < c->n_cells)
			fprintf(out, "%s%*s  ", c->cells[i], widths[k] - width(c->cells[i]), "");
		else
			fprintf(out, "%s\n", c->cells[i]);
		free(c->cells[i]);
	}
	free(widths);
	free(c->cells);
	free(c);
}
