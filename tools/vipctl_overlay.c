/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The commands about the overlay: who is in it, who is alive, how this node is linked. */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "answer.h"
#include "columns.h"
#include "show.h"
#include "vipctl.h"

static enum style style_of_status(const char *status)
{
	return strcmp(status, "up") == 0     ? STYLE_GOOD
	       : strcmp(status, "down") == 0 ? STYLE_BAD
					     : STYLE_WARNING;
}

static int show_members(json_object *nodes)
{
	static const char *const headings[] = {
		"ADDRESS", "STATUS", "SILENT", "LINKS", "VIPD", "ID", ""};
	struct columns *c = columns_new(7, headings);

	for (size_t i = 0; i < json_object_array_length(nodes); i++) {
		json_object *n = json_object_array_get_idx(nodes, i);
		const char *tested_by = get_text(n, "tested_by", NULL);
		bool removed = get_bool(n, "backends_removed");
		char time[32];

		columns_add(c, "%s", get_text(n, "address", "?"));
		columns_add(c, "%s", get_text(n, "status", "?"));
		columns_style(c, style_of_status(get_text(n, "status", "?")));
		columns_add(c, "%s",
			get(n, "silent") ? time_text(get_seconds(n, "silent"), time) : "-");
		/* Of one that is not up they are what it said last. */
		if (strcmp(get_text(n, "status", "?"), "up") == 0)
			columns_add(c, "%zu", json_object_array_length(get(n, "neighbours")));
		else
			columns_add(c, "-");
		columns_add(c, "%s", get_text(n, "software", "-"));
		columns_add(c, "%s", get_text(n, "id", "?"));
		if (get_bool(n, "held"))
			columns_add(c, "went down %" PRIi64 " times: held down for %s more",
				get_int(n, "flaps"), time_text(get_seconds(n, "held_for"), time));
		else if (get_bool(n, "self"))
			columns_add(c, "this node");
		else if (get_bool(n, "replaced"))
			columns_add(c, "an earlier id of this address");
		else
			columns_add(c, "%s%s%s%s", removed ? "its backends are removed" : "",
				removed && tested_by ? "; " : "", tested_by ? "tested by " : "",
				tested_by ? tested_by : "");
	}
	columns_print(c, stdout, 0);
	return 0;
}

int run_members(const struct options *o, int argc, char **argv)
{
	return show_answer(o, "/v1/nodes", show_members, judge_nothing);
}

static int show_links(json_object *answer)
{
	static const char *const headings[] = {"NEIGHBOUR", "HEARD", "RTT MEDIAN", "MAX",
		"TIME-OUT", "LOSS", "OPENED BY", "STATE"};
	struct columns *c = columns_new(8, headings);
	json_object *links = get(answer, "links"), *gossip = get(answer, "gossip");
	char buf[32];

	for (size_t i = 0; i < json_object_array_length(links); i++) {
		json_object *l = json_object_array_get_idx(links, i);

		columns_add(c, "%s", get_text(l, "address", "?"));
		columns_add(c, "%s ago", time_text(get_seconds(l, "heard"), buf));
		columns_add(c, "%.2f ms", 1e3 * get_seconds(l, "rtt_median"));
		columns_add(c, "%.2f ms", 1e3 * get_seconds(l, "rtt_max"));
		columns_add(c, "%.0f ms", 1e3 * get_seconds(l, "timeout"));
		columns_add(c, "%.1f %%", 1e2 * get_seconds(l, "loss"));
		columns_add(c, "%s", get_text(l, "opened_by", "?"));
		columns_add(c, "%s%s%s%s", get_bool(l, "listed") ? "edge" : "greeting",
			get_bool(l, "testing") ? ", being tested" : "",
			get_bool(l, "tcp_only") ? ", TCP ONLY" : "",
			get_bool(l, "udp_unheard") ? ", OUR UDP IS NOT HEARD" : "");
		if (get_bool(l, "testing") || get_bool(l, "tcp_only") || get_bool(l, "udp_unheard"))
			columns_style(c, STYLE_WARNING);
	}
	columns_print(c, stdout, 0);
	printf("\n%" PRId64 " members, %" PRId64 " reachable; %" PRId64
	       " heartbeats missed, %" PRId64 " tests (%" PRId64 " answered), %" PRId64 " probes\n",
		get_int(gossip, "members"), get_int(gossip, "reachable"),
		get_int(gossip, "beats_missed"), get_int(gossip, "tests"),
		get_int(gossip, "tests_heard"), get_int(gossip, "probes"));
	printf("this node's loop: at most %.1f ms late lately",
		1e3 * get_seconds(gossip, "lateness"));
	if (get_int(gossip, "pauses"))
		printf("; stood still %" PRId64 " times, for %s at most", get_int(gossip, "pauses"),
			time_text(get_seconds(gossip, "longest_pause"), buf));
	puts("");
	return 0;
}

int run_links(const struct options *o, int argc, char **argv)
{
	return show_answer(o, "/v1/links", show_links, judge_nothing);
}

/* True if `node` lists `id`. */
static bool lists(json_object *node, const char *id)
{
	json_object *list = get(node, "neighbours");

	for (size_t i = 0; i < json_object_array_length(list); i++)
		if (strcmp(json_object_get_string(json_object_array_get_idx(list, i)), id) == 0)
			return true;
	return false;
}

/* Edges that both ends list are lines; those that one end lists are dashed. */
static int show_graph(json_object *nodes)
{
	size_t n = json_object_array_length(nodes);

	puts("graph overlay {\n  node [shape=box, style=rounded];");
	for (size_t i = 0; i < n; i++) {
		json_object *a = json_object_array_get_idx(nodes, i);
		const char *status = get_text(a, "status", "?");

		printf("  \"%s\" [label=\"%s\"%s];\n", get_text(a, "id", "?"),
			get_text(a, "address", "?"),
			strcmp(status, "up") == 0     ? ""
			: strcmp(status, "down") == 0 ? ", color=red"
						      : ", color=orange");
		for (size_t k = i + 1; k < n; k++) {
			json_object *b = json_object_array_get_idx(nodes, k);
			bool ab = lists(a, get_text(b, "id", "?")),
			     ba = lists(b, get_text(a, "id", "?"));

			if (ab || ba)
				printf("  \"%s\" -- \"%s\"%s;\n", get_text(a, "id", "?"),
					get_text(b, "id", "?"), ab && ba ? "" : " [style=dashed]");
		}
	}
	puts("}");
	return 0;
}

int run_graph(const struct options *o, int argc, char **argv)
{
	return show_answer(o, "/v1/nodes", show_graph, judge_nothing);
}

/* A line for the key file. Nothing else is printed, so that it can be redirected. */
int run_keygen(const struct options *o, int argc, char **argv)
{
	unsigned char key[32];
	char text[2 * sizeof(key) + 1];

	if (getrandom(key, sizeof(key), 0) != (ssize_t)sizeof(key)) {
		perror("vipctl: getrandom");
		return 1;
	}
	for (size_t i = 0; i < sizeof(key); i++)
		snprintf(text + 2 * i, 3, "%02x", key[i]);
	printf(o->json ? "{\"key\":\"%s\"}\n" : "%s\n", text);
	return 0;
}
