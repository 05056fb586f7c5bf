/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vipctl watch: shows the daemon's events as they come. The daemon's first line says which process
 * it is; after a restart the numbers begin anew, and so does this.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "answer.h"
#include "client.h"
#include "style.h"
#include "vipctl.h"

/* How often a daemon that is gone is looked for. */
#define RETRY_US 250000

struct watcher {
	bool json;
	bool greeted, failed;
	char instance[64]; /* of the daemon that was connected last; "" before */
	uint64_t seq;      /* the last that was shown */
};

/* --- a line ---------------------------------------------------------------- */

static void show_time(double t)
{
	time_t s = (time_t)t;
	struct tm tm;
	char text[16] = "?";

	if (localtime_r(&s, &tm))
		strftime(text, sizeof(text), "%H:%M:%S", &tm);
	printf("%s.%03d", text, (int)((t - (double)s) * 1000));
}

static void show_latency(json_object *latency)
{
	double ms = get_seconds(latency, "kernel") * 1e3;

	if (!latency)
		printf("  %10s", "-");
	else if (ms < 1000)
		printf("  %7.1f ms", ms);
	else
		printf("  %8.1f s", ms / 1e3);
}

/* Weights that say something: not those of a backend that comes with 1, or goes. */
static void show_weight(json_object *e)
{
	const char *kind = get_text(e, "kind", "");
	int64_t before = get_int(e, "weight_before"), now = get_int(e, "weight");

	if (strcmp(kind, "weight") == 0)
		printf(" weight %" PRId64 " -> %" PRId64, before, now);
	else if (strcmp(kind, "backend-added") == 0 && now != 1)
		printf(" weight %" PRId64, now);
}

static enum style style_of_kind(const char *kind)
{
	static const struct {
		const char *kind;
		enum style style;
	} styles[] = {
		{"node-down", STYLE_BAD},
		{"node-confirmed", STYLE_BAD},
		{"source-failed", STYLE_BAD},
		{"step-failed", STYLE_BAD},
		{"node-out", STYLE_BAD},
		{"refused", STYLE_BAD},
		{"conflict", STYLE_BAD},
		{"flushed", STYLE_BAD},
		{"self-doubt", STYLE_BAD},
		{"node-held", STYLE_WARNING},
		{"vipd-gone", STYLE_WARNING},
		{"vipd-stalled", STYLE_WARNING},
		{"repaired", STYLE_WARNING},
		{"drain-begun", STYLE_WARNING},
		{"weight", STYLE_WARNING},
		{"node-up", STYLE_GOOD},
		{"vipd-back", STYLE_GOOD},
		{"self-well", STYLE_GOOD},
		{"source-ok", STYLE_GOOD},
	};

	for (size_t i = 0; i < sizeof(styles) / sizeof(*styles); i++)
		if (strcmp(kind, styles[i].kind) == 0)
			return styles[i].style;
	return STYLE_PLAIN;
}

/* One name may be four VIPs: by protocol and family. TCP and IPv4 go without saying. */
static void show_vip(json_object *e, const char *vip)
{
	const char *protocol = get_text(e, "protocol", "tcp");

	printf(" %.*s%s", short_name(vip), vip, after_suffix(vip));
	if (strcmp(protocol, "tcp") != 0)
		printf(" %s", protocol);
	if (*vip != '[' && strchr(get_text(e, "address", ""), ':'))
		fputs(" IPv6", stdout);
}

static void show_event(json_object *e)
{
	enum style style = style_of_kind(get_text(e, "kind", ""));
	const char *vip = get_text(e, "vip", NULL), *backend = get_text(e, "backend", NULL);
	const char *task = get_text(e, "task", NULL), *detail = get_text(e, "detail", NULL);
	const char *cause = get_text(e, "cause", "none");

	show_time(get_seconds(e, "time"));
	show_latency(get(e, "latency"));
	printf("  %s%-15s%s", style_begin(style), get_text(e, "kind", "?"), style_end(style));
	if (vip)
		show_vip(e, vip);
	if (backend)
		printf(" -> %s", backend);
	show_weight(e);
	if (task)
		printf(" task %s", task);
	if (detail)
		printf("%s %s", vip ? ":" : "", detail);
	if (strcmp(cause, "none") != 0)
		printf(" (%s)", cause);
	puts("");
}

/* --- the stream ------------------------------------------------------------ */

static void show_lost(json_object *lost, const char *why)
{
	printf("--- %" PRId64 " events are lost: %s\n", get_int(lost, "lost"), why);
}

static void greet(struct watcher *w, json_object *hello)
{
	const char *instance = get_text(hello, "instance", "");

	if (*w->instance && strcmp(w->instance, instance) != 0) {
		w->seq = 0;
		if (!w->json)
			puts("--- vipd was restarted");
	}
	snprintf(w->instance, sizeof(w->instance), "%s", instance);
	w->greeted = true;
}

static bool show(struct watcher *w, json_object *o)
{
	if (get(o, "error")) {
		fprintf(stderr, "vipctl: %s\n", get_text(o, "error", "?"));
		w->failed = true;
		return false;
	}
	if (get(o, "hello"))
		greet(w, get(o, "hello"));
	if (get(o, "seq"))
		w->seq = (uint64_t)get_int(o, "seq");
	if (w->json)
		puts(json_object_to_json_string_ext(
			o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	else if (get(o, "gap"))
		show_lost(get(o, "gap"), "they are older than what vipd keeps");
	else if (get(o, "lagged"))
		show_lost(get(o, "lagged"), "this was read too slowly");
	else if (get(o, "seq")) {
		disarm_answer(o);
		show_event(o);
	}
	return true;
}

static bool on_line(void *userdata, char *line)
{
	json_object *o = json_tokener_parse(line);
	bool go_on = show(userdata, o);

	json_object_put(o);
	return go_on;
}

/* What is to be asked for next. Caller frees. */
static char *next_path(const struct watcher *w, const char *first)
{
	char *path = NULL;

	if (!*w->instance)
		path = strdup(first);
	else if (asprintf(&path, "/v1/events?follow=1&since=%" PRIu64 "&instance=%s", w->seq,
			 w->instance) < 0)
		path = NULL;
	if (!path)
		abort();
	return path;
}

static int follow(const struct options *o, const char *first)
{
	struct watcher w = {.json = o->json};
	bool told = false;

	for (;;) {
		char *path = next_path(&w, first);
		int r;

		w.greeted = false;
		r = client_stream(o->socket, path, on_line, &w);
		free(path);
		if (w.failed)
			return 1;
		if (!*w.instance) {
			client_tell_absent(o->socket);
			return 1;
		}
		told = told && !w.greeted;
		if (!told && r == -ECONNREFUSED && !o->json)
			puts("--- vipd is gone; waiting for it");
		told = told || r == -ECONNREFUSED;
		usleep(RETRY_US);
	}
}

static bool parse_number(const char *text, unsigned long long *ret)
{
	char *end;

	errno = 0;
	*ret = strtoull(text, &end, 10);
	return *text >= '0' && *text <= '9' && !*end && !errno;
}

int run_watch(const struct options *o, int argc, char **argv)
{
	struct watcher w = {.json = o->json};
	const char *key = "last";
	unsigned long long number = 10;
	bool once = false;
	char path[128];

	for (int i = 0; i < argc; i++) {
		bool since = strncmp(argv[i], "--since=", 8) == 0;

		if (strcmp(argv[i], "--once") == 0) {
			once = true;
		} else if ((since && parse_number(argv[i] + 8, &number)) ||
			   (strncmp(argv[i], "--last=", 7) == 0 &&
				   parse_number(argv[i] + 7, &number))) {
			key = since ? "since" : "last";
		} else {
			fprintf(stderr,
				"vipctl watch: bad argument %s (vipctl watch --help says what it "
				"takes)\n",
				argv[i]);
			return 2;
		}
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	snprintf(path, sizeof(path), "/v1/events?%s=%llu&follow=%d", key, number, !once);
	if (!once)
		return follow(o, path);
	if (client_stream(o->socket, path, on_line, &w) < 0 || !w.greeted) {
		if (!w.failed)
			client_tell_absent(o->socket);
		return 1;
	}
	return 0;
}
