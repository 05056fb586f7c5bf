/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vipctl tasks: from the source's tasks to the table, and what was left out on the way. */
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "client.h"
#include "vipctl.h"

static void show_source(json_object *source)
{
	char age[32];

	printf("Source    %s %s, %s\n", get_text(source, "kind", "?"),
		get_text(source, "url", "(no answer yet)"),
		get_bool(source, "subscribed") ? "by its events" : "polled");
	if (get_bool(source, "ok"))
		printf("          answered %s ago\n", time_text(get_seconds(source, "age"), age));
	else
		printf("          FAILING: %s\n", get_text(source, "error", "no document yet"));
	if (get(source, "lost"))
		printf("          no subscription: %s\n", get_text(source, "lost", "?"));
}

/* The table came by the overlay. */
static void show_followed(json_object *publisher)
{
	printf("Source    published by %s\n          which tasks and labels were left out is known "
	       "there "
	       "(vipctl tasks)\n",
		get_text(publisher, "address", "?"));
}

static void show_document(json_object *o)
{
	int64_t n = get_int(o, "seen");

	printf("Document  %.1f kB; %" PRId64 " running task%s, %" PRId64
	       " of them with VIP labels\n",
		(double)get_int(get(o, "source"), "document_bytes") / 1000, n, plural(n),
		get_int(o, "with_vips"));
}

static void show_table(json_object *o)
{
	int64_t vips = get_int(o, "vips"), backends = get_int(o, "backends");
	char age[32];

	printf("Table     version %" PRId64 ", unchanged for %s: %" PRId64 " VIP%s, %" PRId64
	       " backend%s\n",
		get_int(o, "version"), time_text(get_seconds(o, "unchanged_for"), age), vips,
		plural(vips), backends, plural(backends));
}

/* "Skipped   3 tasks: 2 no such agent, 1 too large"; nothing if there are none. `what` is one. */
static int64_t show_left_out(const char *heading, const char *what, json_object *o)
{
	int64_t n = get_int(o, "count");
	const char *lead = ": ";

	if (!n)
		return 0;
	printf("%s%" PRId64 " %s%s", heading, n, what, plural(n));
	json_object_object_foreach(get(o, "by_reason"), reason, count)
	{
		printf("%s%" PRId64 " %s", lead, json_object_get_int64(count), reason);
		lead = ", ";
	}
	putchar('\n');
	return n;
}

static void show_rejections(json_object *list, int64_t n_all)
{
	static const char *const headings[] = {"TASK", "FRAMEWORK", "LABEL", "WHY"};
	struct columns *c = columns_new(4, headings);

	columns_may_cut(c, 0);
	columns_may_cut(c, 1);
	columns_may_cut(c, 2);
	for (size_t i = 0; i < get_length(list); i++) {
		json_object *r = json_object_array_get_idx(list, i);
		const char *key = get_text(r, "key", ""), *value = get_text(r, "value", "");

		columns_add(c, "%s", get_text(r, "task", ""));
		columns_add(c, "%s", get_text(r, "framework", ""));
		columns_add(c, "%s%s%s", key, *key && *value ? "=" : "", value);
		columns_add(c, "%s", get_text(r, "detail", get_text(r, "reason", "?")));
	}
	putchar('\n');
	columns_print(c, stdout, 0);
	if ((int64_t)get_length(list) < n_all)
		printf("... and %" PRId64 " more\n", n_all - (int64_t)get_length(list));
}

static int show(json_object *o)
{
	json_object *publisher = get(o, "publisher");
	bool follows = strcmp(get_text(publisher, "mode", ""), "following") == 0;
	int64_t n;

	disarm_answer(o);
	if (follows)
		show_followed(publisher);
	else
		show_source(get(o, "source"));
	if (!get_bool(o, "known"))
		return 1;
	if (!follows)
		show_document(o);
	show_table(o);
	n = show_left_out("Skipped   ", "task", get(o, "tasks_skipped"));
	n += show_left_out("Rejected  ", "label", get(o, "labels_rejected"));
	if (n)
		show_rejections(get(o, "rejections"), n);
	return n > 0;
}

int run_tasks(const struct options *o, int argc, char **argv)
{
	json_object *answer;
	int status;

	if (client_ask(o->socket, "GET", "/v1/tasks", &answer) < 0)
		return 1;
	if (o->json) {
		print_json(answer);
		status = !get_bool(answer, "known") ||
			 get_int(get(answer, "tasks_skipped"), "count") ||
			 get_int(get(answer, "labels_rejected"), "count");
	} else {
		status = show(answer);
	}
	json_object_put(answer);
	return status;
}
