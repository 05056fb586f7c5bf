/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vipctl why: the daemon traces (agent/why.c), this shows. */
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "client.h"
#include "vipctl.h"

static const char *mark_text(const char *mark)
{
	if (strcmp(mark, "ok") == 0)
		return "OK";
	return strcmp(mark, "bad") == 0 ? "!!" : "--";
}

static void show_object(json_object *o)
{
	json_object *steps = get(o, "steps");
	const char *mend = get_text(o, "mend", NULL);

	printf("%s (%s)\n", get_text(o, "object", "?"), get_text(o, "kind", "?"));
	for (size_t i = 0; i < get_length(steps); i++) {
		json_object *s = json_object_array_get_idx(steps, i);
		const char *advice = get_text(s, "mend", NULL);

		printf("  %s  %-8s  %s\n", mark_text(get_text(s, "mark", "")),
			get_text(s, "stage", "?"), get_text(s, "text", "?"));
		if (advice && strcmp(get_text(s, "mark", ""), "note") == 0)
			printf("                to mend it: %s\n", advice);
	}
	if (get_bool(o, "ok"))
		printf("Well: %s.\n", get_text(o, "verdict", "?"));
	else
		printf("In the way: %s.%s%s\n", get_text(o, "verdict", "?"),
			mend ? "\nTo mend it: " : "", mend ? mend : "");
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
		show_object(object);
	}
	if (o->json)
		print_json(list);
	json_object_put(list);
	return status;
}
