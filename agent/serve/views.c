/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 *   GET  /           the page for browsers (page.html), which shows the others
 *   GET  /v1/status  one object: source, table, node, kernel
 *   GET  /v1/table   the VIPs, each with what became of it here; ?fresh=1: the kernel is read for
 *                    it, with connection counts and drains
 *   GET  /v1/why     ?q=VIP|BACKEND|TASK: what stands in its way (why.h)
 *   GET  /v1/doctor  what vipctl doctor cannot see for itself: the configuration in force, sysctls
 *   GET  /v1/events  what happened here (watch.h)
 *   GET  /v1/vips    the VIPs in the shape of dcos-net
 *   GET  /v1/nodes   the overlay's members
 *   GET  /v1/links   this node's own links, and the overlay's counters
 *   GET  /v1/top     the VIPs with the most traffic: ?limit=N&backends=N&filter=TEXT&sort=ORDER
 *   GET  /metrics    for Prometheus
 *   GET  /v1/diff    the steps from kernel to table: [] if there are none
 *   GET  /v1/namespaces  the registered containers' namespaces
 *   POST /v1/flush   removes everything from the kernel
 */
#include "agent/serve/views.h"

#include "agent/serve/page.h"
#include "agent/serve/put.h"
#include "agent/serve/view.h"

/* FNV-1a: nobody gains by making two answers alike. */
char *view_etag(const char *body)
{
	uint64_t h = 0xcbf29ce484222325;

	for (; *body; body++)
		h = (h ^ (uint8_t)*body) * 0x100000001b3;
	return xasprintf("\"%016llx\"", (unsigned long long)h);
}

static void on_reading(void *userdata)
{
	control_ask_again(userdata);
}

void view_wait_for_meter(
	struct daemon *d, const struct control_request *request, struct control_reply *reply)
{
	reply->promised = true;
	meter_wait(d->meter, on_reading, control_promise(request));
}

static void view_events(
	struct daemon *d, const struct control_request *request, struct control_reply *reply)
{
	watch_view(d->watch, request, reply);
}

static void view_page(
	struct daemon *d, const struct control_request *request, struct control_reply *reply)
{
	reply->type = "text/html; charset=utf-8";
	reply->policy = page_policy;
	reply->etag = xstrdup(page_etag);
	reply->body = xstrdup(page_html);
}

static const struct view {
	const char *method, *path;
	view_t run;
	bool socket_only; /* changes something, or makes work */
} views[] = {
	{"GET", "/", view_page},
	{"GET", "/v1/status", view_status},
	{"GET", "/v1/table", view_table},
	{"GET", "/v1/tasks", view_tasks},
	{"GET", "/v1/why", view_why, true},
	{"GET", "/v1/doctor", view_doctor, true},
	{"GET", "/v1/events", view_events},
	{"GET", "/v1/vips", view_vips},
	{"GET", "/v1/nodes", view_nodes},
	{"GET", "/v1/links", view_links},
	{"GET", "/v1/top", view_top},
	{"GET", "/metrics", view_metrics},
	{"GET", "/v1/diff", view_diff, true},
	{"GET", "/v1/namespaces", view_namespaces},
	{"POST", "/v1/flush", view_flush, true},
};

void views_handle(
	void *userdata, const struct control_request *request, struct control_reply *reply)
{
	const char *allow = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(views); i++) {
		if (strcmp(request->path, views[i].path) != 0)
			continue;
		allow = views[i].method;
		if (strcmp(request->method, allow) != 0)
			continue;
		if (request->looking && views[i].socket_only) {
			reply->status = 403;
			reply->body = put_error("only at the control socket: vipctl does it");
			return;
		}
		views[i].run(userdata, request, reply);
		return;
	}
	if (!allow)
		return; /* the control says 404 */
	reply->status = 405;
	reply->allow = strcmp(allow, "GET") == 0 ? "GET, HEAD" : allow;
	reply->body = put_error("method not allowed");
}
