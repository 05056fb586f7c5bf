/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Views that look at the kernel. The auditor's thread reads it, and the answer waits for it: with a
 * large table that takes a good part of a second.
 */
#include <errno.h>

#include "agent/apply/sysctl.h"
#include "agent/serve/put.h"
#include "agent/serve/view.h"
#include "agent/serve/why.h"

struct reading {
	struct audit audit;
	struct daemon *daemon;
	struct control_promise *promise;
	bool remembered; /* what was read is the reconcile's own copy */
	view_of_kernel_t answer;
	char *query;
};

static void on_read(struct audit *audit)
{
	struct reading *r = audit->userdata;
	unsigned int status = 200;
	char *text = NULL;

	if (r->daemon->control) /* else nobody waits for it */
		text = r->answer(r->daemon, audit->have, audit->error, r->query, &status);
	control_fulfil(r->promise, status, text);
	if (!r->remembered)
		kernel_state_free(audit->have);
	free(r->query);
	free(r);
}

void view_read_kernel(struct daemon *d, const struct control_request *request,
	struct control_reply *reply, const char *query, view_of_kernel_t answer)
{
	struct reading *r = xcalloc(1, sizeof(*r));

	r->daemon = d;
	r->answer = answer;
	r->query = xstrdup(query);
	r->promise = control_promise(request);
	r->audit.open = (struct kernel_options){.device = d->config->device};
	r->audit.done = on_read;
	r->audit.userdata = r;
	reply->promised = true;
	if (d->auditor) {
		auditor_submit(d->auditor, &r->audit);
		return;
	}
	/* Only observing: what is remembered is all there is. */
	r->remembered = true;
	r->audit.have = (struct kernel_state *)reconcile_have(d->reconcile);
	on_read(&r->audit);
}

/* --- why, diff and flush --------------------------------------------------- */

static char *answer_why(struct daemon *d, const struct kernel_state *have, int error,
	const char *query, unsigned int *status)
{
	struct why_input in = {
		.query = query,
		.source = feed_stats(d->feed),
		.from_file = d->config->source_kind == SOURCE_FILE,
		.emptying_held = d->held != NULL,
		.table = d->table,
		.range4 = d->config->named_range,
		.range6 = d->config->named_range6,
		.gone = watch_gone(d->watch),
		.node = &d->node,
		.source_state = node_source_state(&d->node, &d->node.address),
		.source_state6 = node_source_state(&d->node, &d->node.address6),
		.desired = d->desired_stale ? NULL : d->desired,
		.drains = d->drains,
		.paused = d->paused,
		.surrounded = d->surrounded,
		.kernel = reconcile_stats(d->reconcile),
		.have = have,
		.error = error,
		.audit_interval = d->config->audit_interval,
		.firewall = d->firewall ? firewall_stats(d->firewall) : NULL,
		.now = now_ns(),
	};
	AUTO_FREE int *values = xcalloc(n_sysctls, sizeof(*values));
	AUTO_FREE struct dns_listener_view *listeners = NULL;
	struct publish_status published;

	in.followed = publisher_mode(d->publisher) == PUBLISH_FOLLOWING &&
		      publisher_status(d->publisher, &published);
	if (in.followed) {
		in.publisher = cluster_master_address(d->cluster, published.announced.node);
		in.confirmed = published.confirmed;
	}
	in.listeners = listeners = dns_listeners(d->dns, &in.n_listeners);
	in.healths = liveness_healths(cluster_liveness(d->cluster), &in.n_healths);
	in.liveness = cluster_off(d->cluster) ? NULL : cluster_liveness(d->cluster);
	in.conflicts = reconcile_conflicts(d->reconcile, &in.n_conflicts);
	for (size_t i = 0; i < n_sysctls; i++)
		values[i] = sysctl_read(&sysctls[i]);
	in.sysctl_values = d->config->sysctls && !d->config->observe ? values : NULL;
	in.masquerade = d->config->masquerade;
	return put_to_text(why_trace(&in));
}

void view_why(struct daemon *d, const struct control_request *request, struct control_reply *reply)
{
	const char *query = control_argument(request, "q");

	if (!query || !*query) {
		reply->status = 400;
		reply->body = put_error("q is missing");
		return;
	}
	view_read_kernel(d, request, reply, query, answer_why);
}

static json_object *plan_lines(const struct plan *plan)
{
	json_object *list = json_object_new_array();
	char buf[STEP_STRLEN], key[SERVICE_KEY_STRLEN];

	for (size_t i = 0; i < plan->n_steps; i++)
		json_object_array_add(
			list, json_object_new_string(step_format(&plan->steps[i], buf)));
	for (size_t i = 0; i < plan->n_conflicts; i++) {
		AUTO_FREE char *text = xasprintf("conflict %s: made by someone else, left alone",
			service_key_format(&plan->conflicts[i], key));

		json_object_array_add(list, json_object_new_string(text));
	}
	return list;
}

static char *answer_diff(struct daemon *d, const struct kernel_state *have, int error,
	const char *query, unsigned int *status)
{
	struct plan plan = {0};
	char *text;
	int r = error < 0 ? error : reconcile_diff(d->reconcile, have, &plan);

	if (r < 0) {
		*status = 503;
		return put_error(r == -EAGAIN ? "there is no table yet" : strerror(-r));
	}
	text = put_to_text(plan_lines(&plan));
	plan_done(&plan);
	return text;
}

void view_diff(struct daemon *d, const struct control_request *request, struct control_reply *reply)
{
	view_read_kernel(d, request, reply, "", answer_diff);
}

void view_flush(
	struct daemon *d, const struct control_request *request, struct control_reply *reply)
{
	int r = daemon_flush(d);

	if (r < 0) {
		reply->status = 500;
		reply->body = put_error(strerror(-r));
		return;
	}
	reply->body = xstrdup("{\"flushed\":true}\n");
}
