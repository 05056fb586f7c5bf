/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "show.h"

#include <stdio.h>
#include <stdlib.h>

#include "answer.h"
#include "client.h"
#include "suggest.h"

int judge_nothing(json_object *answer)
{
	return 0;
}

int show_answer(const struct options *o, const char *path, int (*show)(json_object *answer),
	int (*judge)(json_object *answer))
{
	json_object *answer;
	int status;

	if (client_ask(o->socket, "GET", path, &answer) < 0)
		return 1;
	if (o->json) {
		print_json(answer);
		status = judge(answer);
	} else {
		disarm_answer(answer);
		status = show(answer);
	}
	json_object_put(answer);
	return status;
}

/* The forms by which people know a VIP: "redis.marathon", "redis.marathon:6379", "1.2.3.4:80". */
static void offer_vip(struct suggestion *s, json_object *vip, char *spare, size_t size)
{
	const char *full = get_text(vip, "vip", "");

	suggest_offer(s, full);
	if (!get_text(vip, "name", NULL))
		return;
	snprintf(spare, size, "%.*s", short_name(full), full);
	suggest_offer(s, spare);
}

void suggest_vip(const struct options *o, const char *text)
{
	json_object *table;
	struct suggestion s;
	char(*names)[256];
	size_t n;

	if (client_try(o->socket, "GET", "/v1/table", CLIENT_QUIET, &table) < 0)
		return;
	n = get_length(table);
	names = calloc(n + 1, sizeof(*names));
	if (!names)
		abort();
	suggest_begin(&s, text);
	for (size_t i = 0; i < n; i++)
		offer_vip(&s, json_object_array_get_idx(table, i), names[i], sizeof(*names));
	if (s.best)
		fprintf(stderr, "vipctl: did you mean %s?\n", s.best);
	free(names);
	json_object_put(table);
}
