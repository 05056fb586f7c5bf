/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "style.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

/* Narrower than this, breaking lines makes them worse. */
#define WIDTH_MIN 40

static bool coloured;

static bool is_set(const char *variable)
{
	const char *value = getenv(variable);

	return value && *value;
}

static bool wants_colours(void)
{
	const char *terminal = getenv("TERM");

	if (is_set("NO_COLOR"))
		return false;
	if (is_set("FORCE_COLOR"))
		return true;
	return isatty(STDOUT_FILENO) && terminal && strcmp(terminal, "dumb") != 0;
}

int style_init(const char *when)
{
	if (!when || strcmp(when, "auto") == 0)
		coloured = wants_colours();
	else if (strcmp(when, "always") == 0)
		coloured = true;
	else if (strcmp(when, "never") == 0)
		coloured = false;
	else
		return -1;
	return 0;
}

/* The sixteen colours, which every terminal's owner has chosen to be readable. */
const char *style_begin(enum style s)
{
	static const char *const codes[] = {
		[STYLE_PLAIN] = "",
		[STYLE_GOOD] = "\033[32m",
		[STYLE_NOTE] = "\033[36m",
		[STYLE_WARNING] = "\033[33m",
		[STYLE_BAD] = "\033[1;31m",
		[STYLE_HEADING] = "\033[1m",
	};

	return coloured ? codes[s] : "";
}

const char *style_end(enum style s)
{
	return coloured && s != STYLE_PLAIN ? "\033[0m" : "";
}

int style_width(void)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col < WIDTH_MIN)
		return 0;
	return size.ws_col;
}

static const struct {
	const char *mark, *sign;
	enum style style;
} marks[] = {
	{"ok", "OK", STYLE_GOOD},
	{"note", "--", STYLE_NOTE},
	{"warning", "! ", STYLE_WARNING},
	{"bad", "!!", STYLE_BAD},
	{"error", "!!", STYLE_BAD},
};

const char *style_sign(const char *mark)
{
	for (size_t i = 0; i < sizeof(marks) / sizeof(*marks); i++)
		if (strcmp(mark, marks[i].mark) == 0)
			return marks[i].sign;
	return "??";
}

enum style style_of(const char *mark)
{
	for (size_t i = 0; i < sizeof(marks) / sizeof(*marks); i++)
		if (strcmp(mark, marks[i].mark) == 0)
			return marks[i].style;
	return STYLE_PLAIN;
}

/* The character at `text`: its bytes, and what it takes on the terminal. Bytes that are none in this
 * locale take one each. */
static int next_character(const char *text, int *ret_width)
{
	mbstate_t state = {0};
	wchar_t c;
	size_t n = mbrtowc(&c, text, MB_LEN_MAX, &state);
	int width;

	if (n == 0 || n == (size_t)-1 || n == (size_t)-2) {
		*ret_width = 1;
		return 1;
	}
	width = wcwidth(c);
	*ret_width = width < 0 ? 1 : width;
	return (int)n;
}

int text_width(const char *text)
{
	int sum = 0, width;

	while (*text) {
		text += next_character(text, &width);
		sum += width;
	}
	return sum;
}

int text_fit(const char *text, int width)
{
	int n = 0, w;

	while (text[n]) {
		int bytes = next_character(text + n, &w);

		if (w > width)
			break;
		width -= w;
		n += bytes;
	}
	return n;
}

/* How much of `text` the next line takes: up to the last blank that fits, or, if there is none, up to
 * the first. */
static int line_bytes(const char *text, int room)
{
	int fit = text_fit(text, room), n = fit;

	if (!text[fit])
		return fit;
	while (n > 0 && text[n] != ' ')
		n--;
	return n > 0 ? n : (int)strcspn(text, " ");
}

void text_wrap(FILE *out, const char *text, int indent)
{
	int width = style_width();
	int room = width - indent > WIDTH_MIN / 2 ? width - indent : 0;

	while (room && text_width(text) > room) {
		int n = line_bytes(text, room);

		fprintf(out, "%.*s\n%*s", n, text, indent, "");
		text += n;
		text += strspn(text, " ");
		if (!*text)
			break;
	}
	fprintf(out, "%s\n", text);
}
