/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vipctl why: the daemon traces (agent/serve/why.c), this shows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "client.h"
#include "show.h"
#include "style.h"
#include "vipctl.h"

/* Where a step's text begins: "  OK  document  ". */
#define INDENT 16

/* Its mend is shown unless it is the verdict's, which follows. */
static void show_step(json_object *s, const char *verdict)
{
	const char *mark = get_text(s, "mark", ""), *mend = get_text(s, "mend", NULL);
	enum style style = style_of(mark);

	printf("  %s%s%s  %-8s  ", style_begin(style), style_sign(mark), style_end(style),
		get_text(s, "stage", "?"));
	text_wrap(stdout, get_text(s, "text", "?"), INDENT);
	if (mend && strcmp(get_text(s, "text", ""), verdict) != 0) {
		printf("%*smend: ", INDENT, "");
		text_wrap(stdout, mend, INDENT + 6);
	}
}

static void show_verdict(json_object *o)
{
	bool ok = get_bool(o, "ok");
	enum style style = ok ? STYLE_GOOD : STYLE_BAD;
	const char *mend = get_text(o, "mend", NULL);

	printf("%s%s%s", style_begin(style), ok ? "Well: " : "In the way: ", style_end(style));
	text_wrap(stdout, get_text(o, "verdict", "?"), ok ? 6 : 12);
	if (mend) {
		printf("To mend it: ");
		text_wrap(stdout, mend, 12);
	}
}

static void show_object(json_object *o)
{
	json_object *steps = get(o, "steps");

	printf("%s%s%s (%s)\n", style_begin(STYLE_HEADING), get_text(o, "object", "?"),
		style_end(STYLE_HEADING), get_text(o, "kind", "?"));
	for (size_t i = 0; i < get_length(steps); i++)
		show_step(json_object_array_get_idx(steps, i), get_text(o, "verdict", ""));
	show_verdict(o);
}

int run_why(const struct options *o, int argc, char **argv)
{
	char *escaped = client_escape(argv[0]), *path = NULL;
	json_object *list;
	int status = 0, r;

	if (asprintf(&path, "/v1/why?q=%s", escaped) < 0)
		abort();
	r = client_ask(o->socket, "GET", path, &list);
	free(path);
	free(escaped);
	if (r < 0)
		return 1;
	for (size_t i = 0; i < get_length(list); i++) {
		json_object *object = json_object_array_get_idx(list, i);

		status |= !get_bool(object, "ok");
		if (o->json)
			continue;
		if (i > 0)
			puts("");
		disarm_answer(object);
		show_object(object);
		if (strcmp(get_text(object, "kind", ""), "unknown") == 0)
			suggest_vip(o, argv[0]);
	}
	if (o->json)
		print_json(list);
	json_object_put(list);
	return status;
}
