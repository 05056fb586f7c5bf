/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The commands that ask the running daemon. Each gets one JSON document and shows it: with --json
 * as it came, else for people.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "answer.h"
#include "client.h"
#include "columns.h"
#include "program.h"
#include "show.h"
#include "vipctl.h"

/* A terminal this wide has room for the whole names of VIPs. */
#define WIDTH_OF_NAMES 120

/* --- status ---------------------------------------------------------------- */

/* The table comes from the overlay: from whom, and since when it is known to be current. */
static void show_followed(json_object *publisher)
{
	char confirmed[32];

	printf("Source    published by %s, confirmed %s ago\n          version %s, %" PRId64
	       " records%s\n",
		get_text(publisher, "address", "?"),
		time_text(get_seconds(publisher, "confirmed"), confirmed),
		get_text(publisher, "version", "?"), get_int(publisher, "records"),
		get_bool(publisher, "fetching") ? "; fetching a newer one" : "");
}

/* What else there is to say about publishing beside the polls. */
static void show_publishing(const char *mode, json_object *publisher)
{
	if (strcmp(mode, "leading") == 0)
		printf("          publishes to the cluster: version %s, %" PRId64 " records\n",
			get_text(publisher, "version", "?"), get_int(publisher, "records"));
	else if (strcmp(mode, "listening") == 0)
		printf("          listens for a publisher\n");
	else if (strcmp(mode, "polling") == 0)
		printf("          no publisher is heard\n");
}

static void show_source(json_object *source, json_object *publisher, json_object *table)
{
	const char *mode = get_text(publisher, "mode", "");
	bool followed = strcmp(mode, "following") == 0;
	char age[32], unchanged[32];

	if (followed)
		show_followed(publisher);
	else
		printf("Source    %s %s\n", get_text(source, "kind", "?"),
			get_text(source, "url", "(no answer yet)"));
	if (followed)
		;
	else if (get_bool(source, "ok"))
		printf("          %s %s ago\n",
			strcmp(get_text(source, "kind", ""), "file") == 0 ? "was read" : "answered",
			time_text(get_seconds(source, "age"), age));
	else
		printf("          %sFAILING%s: %s\n          last answer: %s%s\n",
			style_begin(STYLE_BAD), style_end(STYLE_BAD),
			get_text(source, "error", "no document yet"),
			time_text(get_seconds(source, "age"), age),
			get_seconds(source, "age") < 0 ? "" : " ago; the table stays as it is");
	show_publishing(mode, publisher);
	if (!get_bool(table, "known"))
		return;
	printf("Table     %" PRId64 " VIP%s, %" PRId64 " backend%s of %" PRId64
	       " task%s; unchanged for %s\n",
		get_int(table, "vips"), plural(get_int(table, "vips")), get_int(table, "backends"),
		plural(get_int(table, "backends")), get_int(table, "tasks"),
		plural(get_int(table, "tasks")),
		time_text(get_seconds(table, "unchanged_for"), unchanged));
	if (get_int(table, "refused"))
		printf("          %" PRId64 " VIPs refused (vipctl vips shows why)\n",
			get_int(table, "refused"));
	if (get_int(table, "agents_awaited"))
		printf("          the master has not heard from %" PRId64
		       " agent%s yet since its failover; %" PRId64 " backend%s of theirs stay%s\n",
			get_int(table, "agents_awaited"), plural(get_int(table, "agents_awaited")),
			get_int(table, "backends_kept"), plural(get_int(table, "backends_kept")),
			get_int(table, "backends_kept") == 1 ? "s" : "");
	if (get_bool(table, "emptying_held"))
		printf("          the last document was empty: waiting for the next to say the "
		       "same\n");
}

static void show_rejections(json_object *table)
{
	static const size_t shown = 5;
	json_object *list = get(table, "rejections");
	size_t n = list ? json_object_array_length(list) : 0;

	if (get_int(table, "rejected"))
		printf("Left out  %" PRId64 " task%s or label%s:\n", get_int(table, "rejected"),
			plural(get_int(table, "rejected")), plural(get_int(table, "rejected")));
	for (size_t i = 0; i < n && i < shown; i++) {
		json_object *r = json_object_array_get_idx(list, i);
		const char *key = get_text(r, "key", "");

		printf("          task %s%s%s%s%s: %s\n", get_text(r, "task", "?"),
			*key ? ", " : "", key, *key ? " = " : "", get_text(r, "value", ""),
			get_text(r, "detail", "?"));
	}
	if (n > shown)
		printf("          ... and more: vipctl status --json\n");
}

/* A line of its own for what is not none: "3 destinations draining". */
static void show_count(json_object *o, const char *key, const char *one, const char *many)
{
	int64_t n = get_int(o, key);

	if (n)
		printf("          %" PRId64 " %s\n", n, n == 1 ? one : many);
}

static void show_kernel(json_object *kernel)
{
	const char *verdict = get_bool(kernel, "paused")         ? "PAUSED by flush"
			      : get_bool(kernel, "in_sync")      ? "in step with the table"
			      : get_int(kernel, "pending_steps") ? "being changed"
								 : "NOT in step with the table";
	enum style style = get_bool(kernel, "paused")         ? STYLE_BAD
			   : get_bool(kernel, "in_sync")      ? STYLE_GOOD
			   : get_int(kernel, "pending_steps") ? STYLE_NOTE
							      : STYLE_BAD;

	printf("Kernel    %s%s%s: %" PRId64 " service%s, %" PRId64 " destination%s, %" PRId64
	       " route%s\n",
		style_begin(style), verdict, style_end(style), get_int(kernel, "services"),
		plural(get_int(kernel, "services")), get_int(kernel, "destinations"),
		plural(get_int(kernel, "destinations")), get_int(kernel, "routes"),
		plural(get_int(kernel, "routes")));
	if (get_bool(kernel, "observe_only"))
		puts("          kernel = none: this is only what would be programmed");
	if (get_int(kernel, "failing_steps"))
		printf("          %" PRId64 " step%s FAIL, the first: %s\n",
			get_int(kernel, "failing_steps"), plural(get_int(kernel, "failing_steps")),
			get_text(kernel, "failing_step", "?"));
	show_count(kernel, "conflicts", "VIP in conflict with a service of others",
		"VIPs in conflict with services of others");
	show_count(kernel, "foreign_services", "service of others, left alone",
		"services of others, left alone");
	show_count(kernel, "draining", "destination draining", "destinations draining");
	printf("          %" PRId64 " commands, %" PRId64 " failed, %" PRId64 " repairs\n",
		get_int(kernel, "steps"), get_int(kernel, "failed_steps"),
		get_int(kernel, "repairs"));
}

static void show_firewall(json_object *firewall, bool observing)
{
	if (!get_bool(firewall, "wanted"))
		printf("Rules     off (%s)\n", observing ? "kernel = none" : "rules = no");
	else if (get_bool(firewall, "ok"))
		printf("Rules     in place\n");
	else
		printf("Rules     NOT in place: %s\n",
			get_text(firewall, "error", "not seen to yet"));
}

/* "; key 3f", or "; key 3f, understands also a1" */
static void show_keys(json_object *keys)
{
	size_t n = json_object_array_length(keys);

	for (size_t i = 0; i < n; i++)
		printf("%s%s",
			i == 0   ? "; key "
			: i == 1 ? ", understands also "
				 : ", ",
			json_object_get_string(json_object_array_get_idx(keys, i)));
}

static void show_overlay(json_object *overlay)
{
	const char *self = get_text(overlay, "self", "well");
	char buf[32];

	if (!get_bool(overlay, "on")) {
		printf("Overlay   off: %s\n", get_text(overlay, "off_because", "?"));
		return;
	}
	printf("Overlay   this node and %" PRId64 " other%s up", get_int(overlay, "up"),
		plural(get_int(overlay, "up")));
	if (get_int(overlay, "stalled"))
		printf(", %" PRId64 " stalled", get_int(overlay, "stalled"));
	if (get_int(overlay, "agentless"))
		printf(", %" PRId64 " without vipd", get_int(overlay, "agentless"));
	if (get_int(overlay, "down"))
		printf(", %" PRId64 " DOWN", get_int(overlay, "down"));
	if (get(overlay, "keys"))
		show_keys(get(overlay, "keys"));
	puts(get_bool(overlay, "insecure") ? "; INSECURE" : "");
	if (strcmp(self, "well") != 0)
		printf("          this node is %s: it judges nobody, the others are as they were "
		       "last heard of\n",
			strcmp(self, "minority") == 0 ? "in a small part of the cluster" : self);
	if (get(overlay, "id_conflict"))
		printf("          ANOTHER VIPD speaks as this node, %s ago last: was its state_dir "
		       "copied? (vipctl doctor)\n",
			time_text(get_seconds(overlay, "id_conflict"), buf));
	if (get_int(overlay, "vips_all_down"))
		printf("          %" PRId64
		       " VIPs have backends on down nodes only, and keep them\n",
			get_int(overlay, "vips_all_down"));
}

static void show_listener(json_object *l, const char *before)
{
	const char *address = get_text(l, "address", "?");

	fputs(before, stdout);
	printf(strchr(address, ':') ? "[%s]:%" PRId64 : "%s:%" PRId64, address, get_int(l, "port"));
}

/* Those that answer in the line that was begun, each other one in a line of its own. */
static void show_listeners(json_object *listen)
{
	size_t n = get_length(listen), n_well = 0;

	for (size_t i = 0; i < n; i++) {
		json_object *l = json_object_array_get_idx(listen, i);

		if (!get_text(l, "error", NULL))
			show_listener(l, n_well++ ? ", " : " on ");
	}
	puts(n_well ? "" : " nowhere");
	for (size_t i = 0; i < n; i++) {
		json_object *l = json_object_array_get_idx(listen, i);
		const char *error = get_text(l, "error", NULL);

		if (error) {
			show_listener(l, "          NOT on ");
			printf(" (%s)\n", error);
		}
	}
}

static void show_names(json_object *dns)
{
	json_object *listen = get(dns, "listen");

	if (get_length(listen) == 0) {
		puts("Names     off (dns_listen is empty)");
		return;
	}
	if (get_bool(dns, "known"))
		printf("Names     %" PRId64 " name%s of VIPs, answered", get_int(dns, "names"),
			plural(get_int(dns, "names")));
	else
		printf("Names     not known yet, answered with SERVFAIL");
	show_listeners(listen);
}

static void show_namespaces(json_object *n)
{
	json_object *troubles = get(n, "troubles");
	size_t shown = troubles ? json_object_array_length(troubles) : 0;
	int64_t bad = get_int(n, "failing") + get_int(n, "bad_files");

	if (get_int(n, "registered") + bad == 0)
		return;
	printf("Containers with a network namespace: %" PRId64 ", programmed %" PRId64 "\n",
		get_int(n, "registered"), get_int(n, "programmed"));
	for (size_t i = 0; i < shown; i++) {
		json_object *t = json_object_array_get_idx(troubles, i);

		printf("          %s: FAILING: %s\n", get_text(t, "name", "?"),
			get_text(t, "problem", "?"));
	}
	if (bad > (int64_t)shown)
		printf("          ... and more: vipctl namespaces\n");
}

static void show_latency(json_object *latency)
{
	if (get_int(latency, "changes"))
		printf("Latency   from a document's last byte to the kernel: median %.1f ms, p99 "
		       "%.1f ms\n          of the last %" PRId64 " changes\n",
			get_seconds(latency, "p50") * 1e3, get_seconds(latency, "p99") * 1e3,
			get_int(latency, "changes"));
}

/* 0: source answers and kernel in step; 1: not. */
static int show_status(json_object *status)
{
	json_object *node = get(status, "node"), *kernel = get(status, "kernel");
	json_object *source = get(status, "source"), *table = get(status, "table");
	const char *a6 = get_text(node, "address6", NULL);
	char uptime[32];

	printf("vipd      %s, pid %" PRId64 ", up %s\n", get_text(status, "version", "?"),
		get_int(status, "pid"), time_text(get_seconds(status, "uptime"), uptime));
	printf("Node      %s%s%s on %s\n", get_text(node, "address", "no IPv4 address"),
		a6 ? ", " : "", a6 ? a6 : "", get_text(node, "device", "?"));
	show_source(source, get(status, "publisher"), table);
	show_rejections(table);
	show_kernel(kernel);
	show_firewall(get(status, "firewall"), get_bool(kernel, "observe_only"));
	show_overlay(get(status, "overlay"));
	show_names(get(status, "dns"));
	show_namespaces(get(status, "namespaces"));
	show_latency(get(status, "document_to_kernel"));
	return get_bool(source, "ok") && get_bool(kernel, "in_sync") ? 0 : 1;
}

/* --- VIPs ------------------------------------------------------------------ */

static size_t count_up(json_object *backends)
{
	size_t n = 0;

	for (size_t i = 0; i < json_object_array_length(backends); i++)
		n += get_int(json_object_array_get_idx(backends, i), "weight") > 0;
	return n;
}

/* The whole DNS name where there is room, "redis.marathon:6379" on a narrow terminal. */
static void add_vip(struct columns *c, const char *vip)
{
	if (style_width() && style_width() < WIDTH_OF_NAMES)
		columns_add(c, "%.*s%s", short_name(vip), vip, after_suffix(vip));
	else
		columns_add(c, "%s", vip);
}

static int show_vips(json_object *vips)
{
	static const char *const headings[] = {"VIP", "PROTO", "ADDRESS", "BACKENDS", "STATE"};
	struct columns *c;
	int status = 0;

	if (json_object_array_length(vips) == 0) {
		puts("There are no VIPs.");
		return 0;
	}
	c = columns_new(5, headings);
	columns_may_cut(c, 0);
	columns_may_cut(c, 4);
	for (size_t i = 0; i < json_object_array_length(vips); i++) {
		json_object *v = json_object_array_get_idx(vips, i), *backends = get(v, "backends");
		const char *reason = get_text(v, "reason", NULL);
		size_t n = json_object_array_length(backends), up = count_up(backends);

		add_vip(c, get_text(v, "vip", "?"));
		columns_add(c, "%s", get_text(v, "protocol", "?"));
		add_endpoint(c, get_text(v, "address", "?"), get_int(v, "port"));
		if (up == n)
			columns_add(c, "%zu", n);
		else
			columns_add(c, "%zu of %zu", up, n);
		columns_style(c, up == 0 ? STYLE_BAD : up < n ? STYLE_WARNING : STYLE_PLAIN);
		columns_add(c, "%s%s%s", get_text(v, "state", "?"), reason ? ": " : "",
			reason ? reason : "");
		if (strcmp(get_text(v, "state", ""), "programmed") != 0) {
			columns_style(c, STYLE_BAD);
			status = 1;
		}
	}
	columns_print(c, stdout, 0);
	return status;
}

static void add_counts(struct columns *c, json_object *b)
{
	if (get(b, "active")) {
		columns_add(c, "%" PRId64, get_int(b, "active"));
		columns_add(c, "%" PRId64, get_int(b, "inactive"));
	} else {
		columns_add(c, "-");
		columns_add(c, "-");
	}
}

/* What the kernel makes of a backend. */
static void add_state(struct columns *c, json_object *b)
{
	const char *refused = get_text(b, "refused", NULL);

	if (refused)
		columns_add(c, "refused: %s", refused);
	else if (!get_bool(b, "in_kernel"))
		columns_add(c, "absent");
	else if (get_int(b, "weight") == 0)
		columns_add(c, "%s", get_text(b, "health", "?"));
	else if (strcmp(get_text(b, "kernel_address", ""), get_text(b, "address", "")) != 0 ||
		 get_int(b, "kernel_port") != get_int(b, "port"))
		columns_add(c, "weight %" PRId64 " as %s:%" PRId64, get_int(b, "kernel_weight"),
			get_text(b, "kernel_address", "?"), get_int(b, "kernel_port"));
	else
		columns_add(c, "weight %" PRId64, get_int(b, "kernel_weight"));
	if (refused || !get_bool(b, "in_kernel"))
		columns_style(c, STYLE_BAD);
	else if (get_int(b, "weight") == 0)
		columns_style(c, STYLE_WARNING);
}

static void add_drain_state(struct columns *c, json_object *d)
{
	char left[32];

	columns_add(c, "draining, %s left", time_text(get_seconds(d, "left"), left));
}

static void show_backends(json_object *backends, json_object *draining)
{
	static const char *const headings[] = {
		"BACKEND", "WEIGHT", "ACTIVE", "INACTIVE", "AGENT", "FRAMEWORK", "TASK", "KERNEL"};
	struct columns *c = columns_new(8, headings);

	columns_may_cut(c, 6);
	columns_may_cut(c, 7);
	for (size_t i = 0; i < get_length(backends); i++) {
		json_object *b = json_object_array_get_idx(backends, i);

		add_endpoint(c, get_text(b, "address", "?"), get_int(b, "port"));
		columns_add(c, "%" PRId64, get_int(b, "weight"));
		add_counts(c, b);
		columns_add(c, "%s", get_text(b, "agent", "?"));
		columns_add(c, "%s", get_text(b, "framework", "?"));
		columns_add(c, "%s", get_text(b, "task", "?"));
		add_state(c, b);
	}
	for (size_t i = 0; i < get_length(draining); i++) {
		json_object *d = json_object_array_get_idx(draining, i);

		add_endpoint(c, get_text(d, "address", "?"), get_int(d, "port"));
		columns_add(c, "0");
		add_counts(c, d);
		columns_add(c, "-");
		columns_add(c, "-");
		columns_add(c, "%s", get_text(d, "task", "-"));
		add_drain_state(c, d);
	}
	columns_print(c, stdout, 2);
}

static int show_vip(json_object *vip)
{
	const char *reason = get_text(vip, "reason", NULL);

	printf("%s\n", get_text(vip, "vip", "?"));
	printf("  address  %s %s, port %" PRId64 "\n", get_text(vip, "protocol", "?"),
		get_text(vip, "address", "?"), get_int(vip, "port"));
	printf("  state    %s%s%s\n", get_text(vip, "state", "?"), reason ? ": " : "",
		reason ? reason : "");
	show_backends(get(vip, "backends"), get(vip, "draining"));
	return strcmp(get_text(vip, "state", ""), "programmed") != 0;
}

/* True if `text` names this VIP: its whole "name:port" or "address:port", or its name or
 * address without the port, also in the short form "redis.marathon", and IPv6 in brackets
 * or not. */
static bool names_vip(json_object *vip, const char *text)
{
	const char *name = get_text(vip, "name", NULL), *address = get_text(vip, "address", "");
	const char *full = get_text(vip, "vip", "");
	size_t n = strlen(text);
	char endpoint[128];

	snprintf(endpoint, sizeof(endpoint), strchr(address, ':') ? "[%s]:%" PRId64 : "%s:%" PRId64,
		address, get_int(vip, "port"));
	if (strcmp(text, full) == 0 || strcmp(text, endpoint) == 0 || strcmp(text, address) == 0)
		return true;
	if (*text == '[' && n > 2 && text[n - 1] == ']' && strlen(address) == n - 2 &&
		strncmp(text + 1, address, n - 2) == 0)
		return true;
	if (!name)
		return false;
	if (strcmp(text, name) == 0)
		return true;
	/* "redis.marathon" or "redis.marathon:6379" */
	n = strcspn(text, ":");
	return strncmp(text, name, n) == 0 && strncmp(name + n, ".l4lb.", 6) == 0 &&
	       (!text[n] || strtol(text + n + 1, NULL, 10) == get_int(vip, "port"));
}

/* --- the commands ---------------------------------------------------------- */

static int judge_status(json_object *s)
{
	return get_bool(get(s, "source"), "ok") && get_bool(get(s, "kernel"), "in_sync") ? 0 : 1;
}

int run_status(const struct options *o, int argc, char **argv)
{
	return show_answer(o, "/v1/status", show_status, judge_status);
}

static int judge_vips(json_object *vips)
{
	for (size_t i = 0; i < json_object_array_length(vips); i++)
		if (strcmp(get_text(json_object_array_get_idx(vips, i), "state", ""),
			    "programmed") != 0)
			return 1;
	return 0;
}

int run_vips(const struct options *o, int argc, char **argv)
{
	return show_answer(o, "/v1/table", show_vips, judge_vips);
}

int run_vip(const struct options *o, int argc, char **argv)
{
	json_object *all, *found = json_object_new_array();
	int status = 0;

	if (client_ask(o->socket, "GET", "/v1/table?fresh=1", &all) < 0)
		return 1;
	for (size_t i = 0; i < json_object_array_length(all); i++) {
		json_object *v = json_object_array_get_idx(all, i);

		if (names_vip(v, argv[0]))
			json_object_array_add(found, json_object_get(v));
	}
	if (json_object_array_length(found) == 0) {
		fprintf(stderr, "vipctl: no VIP is called %s (vipctl vips lists them)\n", argv[0]);
		suggest_vip(o, argv[0]);
		status = 1;
	} else if (o->json) {
		print_json(found);
		status = judge_vips(found);
	} else {
		disarm_answer(found);
		for (size_t i = 0; i < json_object_array_length(found); i++)
			status |= show_vip(json_object_array_get_idx(found, i));
	}
	json_object_put(found);
	json_object_put(all);
	return status;
}

static int judge_namespaces(json_object *list)
{
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		const char *state = get_text(json_object_array_get_idx(list, i), "state", "");

		if (strcmp(state, "failing") == 0 || strcmp(state, "bad file") == 0)
			return 1;
	}
	return 0;
}

static int show_namespace_list(json_object *list)
{
	static const char *const headings[] = {"CONTAINER", "ADDRESS", "CHECKED", "STATE", "PATH"};
	struct columns *c;

	if (json_object_array_length(list) == 0) {
		puts("No container has registered a network namespace.");
		return 0;
	}
	c = columns_new(5, headings);
	columns_may_cut(c, 0);
	columns_may_cut(c, 3);
	columns_may_cut(c, 4);
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		json_object *n = json_object_array_get_idx(list, i);
		const char *problem = get_text(n, "problem", NULL);
		const char *address = get_text(n, "address", get_text(n, "address6", "-"));
		char age[32];

		columns_add(c, "%s", get_text(n, "name", "?"));
		columns_add(c, "%s", address);
		columns_add(c, "%s", time_text(get_seconds(n, "last_visit"), age));
		columns_add(c, "%s%s%s", get_text(n, "state", "?"), problem ? ": " : "",
			problem ? problem : "");
		columns_add(c, "%s", get_text(n, "path", "-"));
	}
	columns_print(c, stdout, 0);
	return judge_namespaces(list);
}

int run_namespaces(const struct options *o, int argc, char **argv)
{
	return show_answer(o, "/v1/namespaces", show_namespace_list, judge_namespaces);
}

/* --- backends -------------------------------------------------------------- */

/* Keeps the backends of one agent, and those that drain there: of these only the address is known.
 */
static json_object *only_of_agent(json_object *list, const char *key, const char *agent)
{
	json_object *kept = json_object_new_array();

	for (size_t i = 0; i < get_length(list); i++) {
		json_object *b = json_object_array_get_idx(list, i);

		if (strcmp(get_text(b, key, ""), agent) == 0)
			json_object_array_add(kept, json_object_get(b));
	}
	return kept;
}

static void keep_agent(json_object *vips, const char *agent)
{
	for (size_t i = 0; i < get_length(vips); i++) {
		json_object *v = json_object_array_get_idx(vips, i);
		json_object *backends = only_of_agent(get(v, "backends"), "agent", agent);
		json_object *draining = only_of_agent(get(v, "draining"), "address", agent);

		json_object_object_add(v, "backends", backends);
		json_object_object_add(v, "draining", draining);
	}
}

/* One object per backend, with its VIP: the shape of `backends --json`. */
static json_object *flatten(json_object *vips)
{
	static const char *const lists[] = {"backends", "draining"};
	json_object *flat = json_object_new_array();

	for (size_t i = 0; i < get_length(vips); i++) {
		json_object *v = json_object_array_get_idx(vips, i);

		for (size_t k = 0; k < 2; k++)
			for (size_t m = 0; m < get_length(get(v, lists[k])); m++) {
				json_object *b = json_object_array_get_idx(get(v, lists[k]), m);

				json_object_object_add(b, "vip", json_object_get(get(v, "vip")));
				json_object_object_add(
					b, "protocol", json_object_get(get(v, "protocol")));
				json_object_object_add(
					b, "draining", json_object_new_boolean(k == 1));
				json_object_array_add(flat, json_object_get(b));
			}
	}
	return flat;
}

static int judge_backends(json_object *flat)
{
	for (size_t i = 0; i < get_length(flat); i++) {
		json_object *b = json_object_array_get_idx(flat, i);

		if (!get_bool(b, "draining") && !get_bool(b, "in_kernel"))
			return 1;
	}
	return 0;
}

static void show_flat(json_object *flat, const char *agent)
{
	static const char *const headings[] = {
		"BACKEND", "VIP", "PROTO", "WEIGHT", "ACTIVE", "INACTIVE", "TASK", "KERNEL"};
	struct columns *c;

	if (get_length(flat) == 0) {
		printf("There are no backends%s%s.\n", agent ? " on " : "", agent ? agent : "");
		return;
	}
	c = columns_new(8, headings);
	columns_may_cut(c, 1);
	columns_may_cut(c, 6);
	columns_may_cut(c, 7);
	for (size_t i = 0; i < get_length(flat); i++) {
		json_object *b = json_object_array_get_idx(flat, i);
		const char *vip = get_text(b, "vip", "?");

		add_endpoint(c, get_text(b, "address", "?"), get_int(b, "port"));
		columns_add(c, "%.*s%s", short_name(vip), vip, after_suffix(vip));
		columns_add(c, "%s", get_text(b, "protocol", "?"));
		columns_add(c, "%" PRId64, get_int(b, "weight"));
		add_counts(c, b);
		columns_add(c, "%s", get_text(b, "task", "-"));
		if (get_bool(b, "draining"))
			add_drain_state(c, b);
		else
			add_state(c, b);
	}
	columns_print(c, stdout, 0);
}

int run_backends(const struct options *o, int argc, char **argv)
{
	json_object *vips, *flat;
	int status;

	if (client_ask(o->socket, "GET", "/v1/table?fresh=1", &vips) < 0)
		return 1;
	if (argc > 0)
		keep_agent(vips, argv[0]);
	flat = flatten(vips);
	status = judge_backends(flat);
	if (!o->json)
		disarm_answer(flat);
	if (o->json)
		print_json(flat);
	else
		show_flat(flat, argc > 0 ? argv[0] : NULL);
	json_object_put(flat);
	json_object_put(vips);
	return status;
}

/* --- diff and flush -------------------------------------------------------- */

static int judge_diff(json_object *steps)
{
	return json_object_array_length(steps) > 0;
}

static int show_diff(json_object *steps)
{
	for (size_t i = 0; i < json_object_array_length(steps); i++)
		puts(json_object_get_string(json_object_array_get_idx(steps, i)));
	return judge_diff(steps);
}

int run_diff(const struct options *o, int argc, char **argv)
{
	return show_answer(o, "/v1/diff", show_diff, judge_diff);
}

/* Without a daemon, vipd itself does it: the one that stands beside vipctl, or the one in PATH. */
static int flush_by_vipd(void)
{
	char path[PROGRAM_PATH_MAX];

	execlp(program_find_vipd(path), "vipd", "--flush", NULL);
	fprintf(stderr, "vipctl: %s: %s\n", path, strerror(errno));
	return 1;
}

int run_flush(const struct options *o, int argc, char **argv)
{
	json_object *answer;
	int r = client_try(o->socket, "POST", "/v1/flush", CLIENT_QUIET_ABSENT, &answer);

	if (r == -ECONNREFUSED)
		return flush_by_vipd();
	if (r < 0)
		return 1;
	if (o->json)
		print_json(answer);
	else
		puts("Everything of vipd's is gone from the kernel. vipd programs nothing "
		     "until it "
		     "is\n"
		     "restarted or reloaded.");
	json_object_put(answer);
	return 0;
}
