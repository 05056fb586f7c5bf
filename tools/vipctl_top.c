/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vipctl top: connections and rates per VIP, as they change; and vipctl dashboard. Rates are made by the
 * daemon of two readings of the kernel's counters, so who asks first waits a second for the other.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "answer.h"
#include "client.h"
#include "columns.h"
#include "vipctl.h"

/* The daemon reads the counters no more often. */
#define READING_US 1100000
#define INTERVAL_DEFAULT 2
/* Lines of the screen that are not VIPs: the summary, a blank, the heading. */
#define LINES_AROUND 4
#define LINES_DEFAULT 40

struct top {
	const struct options *options;
	const char *sort, *filter;
	unsigned long limit, interval; /* limit 0: what the screen has room for */
	bool once, screen;
};

/* --- numbers --------------------------------------------------------------- */

/* "950", "12.3k", "1.2M": at most five characters. Returns buf. */
static const char *count_text(double n, char buf[static 16])
{
	static const char units[] = {' ', 'k', 'M', 'G', 'T', 'P'};
	size_t i = 0;

	for (; n >= 999.95 && i + 1 < sizeof(units); i++)
		n /= 1000;
	if (i == 0)
		snprintf(buf, 16, n < 10 && n != (double)(int)n ? "%.1f" : "%.0f", n);
	else
		snprintf(buf, 16, n < 100 ? "%.1f%c" : "%.0f%c", n, units[i]);
	return buf;
}

/* Right-aligned; "-" if it is not known. */
static void add_number(struct columns *c, json_object *o, const char *key, const char *unit)
{
	char buf[16];

	if (get(o, key))
		columns_add(c, "%6s%s", count_text(json_object_get_double(get(o, key)), buf), unit);
	else
		columns_add(c, "%6s%*s", "-", (int)strlen(unit), "");
}

/* --- the list -------------------------------------------------------------- */

static void add_row(struct columns *c, json_object *v)
{
	const char *vip = get_text(v, "vip", "?"), *state = get_text(v, "state", "?");
	bool well = strcmp(state, "programmed") == 0;

	columns_add(c, "%.*s%s", short_name(vip), vip, after_suffix(vip));
	columns_add(c, "%s", get_text(v, "protocol", "?"));
	add_number(c, v, "active", "");
	add_number(c, v, "inactive", "");
	add_number(c, v, "connection_rate", "/s");
	add_number(c, v, "bytes_in_rate", "B/s");
	add_number(c, v, "bytes_out_rate", "B/s");
	add_number(c, v, "connections", "");
	columns_add(c, "%6" PRId64, get_int(v, "n_backends"));
	columns_add(c, "%s", well ? "" : state);
	columns_style(c, well ? STYLE_PLAIN : STYLE_WARNING);
}

static void show_list(const struct top *t, json_object *answer)
{
	static const char *const headings[] = {"VIP", "", "ACTIVE", "  IDLE", "  CONN/S",
		"       IN", "      OUT", " TOTAL", "  BACK", ""};
	json_object *vips = get(answer, "vips");
	struct columns *c = columns_new(10, headings);
	int64_t meant = get_int(answer, "vips_meant");
	char buf[32];

	columns_may_cut(c, 0);
	if (t->screen)
		printf("\033[H\033[J");
	printf("%zu of %" PRId64 " VIPs%s%s, by %s", get_length(vips), meant,
		t->filter ? " with " : "", t->filter ? t->filter : "", t->sort);
	if (get(answer, "error"))
		printf("; no counters: %s\n\n", get_text(answer, "error", "?"));
	else
		printf("; counted %s ago\n\n", time_text(get_seconds(answer, "age"), buf));
	for (size_t i = 0; i < get_length(vips); i++)
		add_row(c, json_object_array_get_idx(vips, i));
	columns_print(c, stdout, 0);
	if (!t->screen && !t->once)
		puts("");
	fflush(stdout);
}

/* --- asking ---------------------------------------------------------------- */

static unsigned long lines(const struct top *t)
{
	struct winsize size;

	if (t->limit)
		return t->limit;
	if (!t->screen || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 ||
		size.ws_row <= LINES_AROUND)
		return LINES_DEFAULT;
	return (unsigned long)size.ws_row - LINES_AROUND;
}

static int ask(const struct top *t, json_object **ret)
{
	char *filter = client_escape(t->filter ? t->filter : ""), *path;
	int r;

	if (asprintf(&path, "/v1/top?sort=%s&limit=%lu&filter=%s", t->sort, lines(t), filter) < 0)
		abort();
	r = client_ask(t->options->socket, "GET", path, ret);
	free(filter);
	free(path);
	return r;
}

/* With rates: if nobody has asked lately, twice. */
static int ask_first(const struct top *t, json_object **ret)
{
	int r = ask(t, ret);

	if (r < 0 || get(*ret, "error") || get_seconds(*ret, "interval") > 0)
		return r;
	json_object_put(*ret);
	usleep(READING_US);
	return ask(t, ret);
}

static int run(const struct top *t)
{
	json_object *answer;
	int r = ask_first(t, &answer);

	for (; r >= 0; r = ask(t, &answer)) {
		if (t->options->json) {
			print_json(answer);
		} else {
			disarm_answer(answer);
			show_list(t, answer);
		}
		json_object_put(answer);
		if (t->once)
			return 0;
		sleep((unsigned int)t->interval);
	}
	return 1;
}

/* --- arguments ------------------------------------------------------------- */

static bool parse_number(const char *text, unsigned long max, unsigned long *ret)
{
	char *end;

	errno = 0;
	*ret = strtoul(text, &end, 10);
	return *text >= '0' && *text <= '9' && !*end && !errno && *ret >= 1 && *ret <= max;
}

/* False if it is none of top's. */
static bool take_option(struct top *t, const char *word)
{
	static const char *const orders[] = {"rate", "active", "bytes", "name"};

	if (strcmp(word, "--once") == 0)
		return t->once = true;
	if (strncmp(word, "--limit=", 8) == 0)
		return parse_number(word + 8, 500, &t->limit);
	if (strncmp(word, "--interval=", 11) == 0)
		return parse_number(word + 11, 3600, &t->interval);
	if (strncmp(word, "--sort=", 7) != 0)
		return false;
	for (size_t i = 0; i < sizeof(orders) / sizeof(*orders); i++)
		if (strcmp(word + 7, orders[i]) == 0) {
			t->sort = orders[i];
			return true;
		}
	return false;
}

int run_top(const struct options *o, int argc, char **argv)
{
	struct top t = {.options = o, .sort = "rate", .interval = INTERVAL_DEFAULT};

	for (int i = 0; i < argc; i++) {
		if (argv[i][0] != '-') {
			t.filter = argv[i];
		} else if (!take_option(&t, argv[i])) {
			fprintf(stderr,
				"vipctl top: bad argument %s (vipctl top --help says what it "
				"takes)\n",
				argv[i]);
			return 2;
		}
	}
	t.once |= o->json;
	t.screen = !t.once && isatty(STDOUT_FILENO);
	return run(&t);
}

/* --- dashboard ------------------------------------------------------------- */

/* "0.0.0.0:62080" is to be asked for as 127.0.0.1. Caller frees. */
static char *url_of(const char *listen)
{
	char *url;
	int r;

	if (strncmp(listen, "0.0.0.0:", 8) == 0)
		r = asprintf(&url, "http://127.0.0.1:%s/", listen + 8);
	else if (strncmp(listen, "[::]:", 5) == 0)
		r = asprintf(&url, "http://[::1]:%s/", listen + 5);
	else
		r = asprintf(&url, "http://%s/", listen);
	if (r < 0)
		abort();
	return url;
}

static int show_url(const struct options *o, json_object *http)
{
	const char *listen = get_text(http, "listen", NULL), *error = get_text(http, "error", NULL);
	char *url;

	if (!listen || error) {
		fprintf(stderr, "vipctl: there is no page: %s%s%s\n",
			listen ? listen : "http_listen is empty", error ? ": " : "",
			error ? error : "");
		return 1;
	}
	url = url_of(listen);
	printf(o->json ? "{\"url\":\"%s\"}\n" : "%s\n", url);
	free(url);
	return 0;
}

int run_dashboard(const struct options *o, int argc, char **argv)
{
	json_object *status;
	int r;

	if (client_ask(o->socket, "GET", "/v1/status", &status) < 0)
		return 1;
	r = show_url(o, get(status, "http"));
	json_object_put(status);
	return r;
}
