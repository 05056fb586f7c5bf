/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "columns.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define GAP 2
/* A column that is cut keeps this much at least, its "..." included. */
#define CUT_MIN 10

struct cell {
	char *text;
	enum style style;
};

struct columns {
	size_t n_columns, n_cells, allocated;
	struct cell *cells;
	bool *may_cut;
};

/* A task's id is another's text: no control character of it reaches the terminal. */
static void disarm(char *text)
{
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
}

static void push(struct columns *c, char *text, enum style style)
{
	if (!text)
		abort();
	if (c->n_cells == c->allocated) {
		c->allocated = c->allocated ? 2 * c->allocated : 64;
		c->cells = reallocarray(c->cells, c->allocated, sizeof(*c->cells));
		if (!c->cells)
			abort();
	}
	disarm(text);
	c->cells[c->n_cells++] = (struct cell){text, style};
}

struct columns *columns_new(size_t n, const char *const *headings)
{
	struct columns *c = calloc(1, sizeof(*c));

	if (!c || !(c->may_cut = calloc(n, sizeof(*c->may_cut))))
		abort();
	c->n_columns = n;
	for (size_t i = 0; headings && i < n; i++)
		push(c, strdup(headings[i]), STYLE_HEADING);
	return c;
}

void columns_may_cut(struct columns *c, size_t k)
{
	c->may_cut[k] = true;
}

void columns_add(struct columns *c, const char *format, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, format);
	if (vasprintf(&text, format, ap) < 0)
		text = NULL;
	va_end(ap);
	push(c, text, STYLE_PLAIN);
}

void columns_style(struct columns *c, enum style s)
{
	c->cells[c->n_cells - 1].style = s;
}

static int column_width(const struct columns *c, size_t column)
{
	int max = 0;

	for (size_t i = column; i < c->n_cells; i += c->n_columns) {
		int width = text_width(c->cells[i].text);

		max = width > max ? width : max;
	}
	return max;
}

/* True if nothing is behind cell i in its row. */
static bool is_last(const struct columns *c, size_t i)
{
	for (i++; i < c->n_cells && i % c->n_columns; i++)
		if (*c->cells[i].text)
			return false;
	return true;
}

/* Takes from the widest column that may be cut until all fit, or none can give more. */
static void cut(const struct columns *c, int *widths, int room)
{
	int total = GAP * (int)(c->n_columns - 1);

	for (size_t k = 0; k < c->n_columns; k++)
		total += widths[k];
	while (total > room) {
		size_t widest = c->n_columns;

		for (size_t k = 0; k < c->n_columns; k++)
			if (c->may_cut[k] && widths[k] > CUT_MIN &&
				(widest == c->n_columns || widths[k] > widths[widest]))
				widest = k;
		if (widest == c->n_columns)
			return;
		widths[widest]--;
		total--;
	}
}

static void print_cell(const struct cell *cell, int width, bool last, FILE *out)
{
	int w = text_width(cell->text), n = (int)strlen(cell->text);
	bool is_cut = w > width;

	if (is_cut) {
		n = text_fit(cell->text, width - 3);
		w = width;
	}
	fprintf(out, "%s%.*s%s%s", style_begin(cell->style), n, cell->text, is_cut ? "..." : "",
		style_end(cell->style));
	if (!last)
		fprintf(out, "%*s", width - w + GAP, "");
}

void columns_print(struct columns *c, FILE *out, int indent)
{
	int *widths = calloc(c->n_columns, sizeof(*widths));
	int room = style_width();

	if (!widths)
		abort();
	for (size_t k = 0; k < c->n_columns; k++)
		widths[k] = column_width(c, k);
	if (room)
		cut(c, widths, room - indent);
	for (size_t i = 0; i < c->n_cells; i++) {
		size_t k = i % c->n_columns;

		if (k == 0)
			fprintf(out, "%*s", indent, "");
		if (*c->cells[i].text || !is_last(c, i))
			print_cell(&c->cells[i], widths[k], is_last(c, i), out);
		if (k + 1 == c->n_columns || i + 1 == c->n_cells)
			fputc('\n', out);
	}
	for (size_t i = 0; i < c->n_cells; i++)
		free(c->cells[i].text);
	free(widths);
	free(c->cells);
	free(c->may_cut);
	free(c);
}
