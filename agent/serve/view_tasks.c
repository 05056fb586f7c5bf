/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * GET /v1/tasks: what became of the tasks on their way into the table: which document they are from,
 * how many there are, and what was left out and why.
 */
#include "agent/serve/put.h"
#include "agent/serve/view.h"

json_object *view_rejections(const struct vip_table *t)
{
	json_object *list = json_object_new_array();

	for (size_t i = 0; i < t->n_rejections; i++) {
		const struct mesos_rejection *r = &t->rejections[i];
		json_object *o = json_object_new_object();

		put_string(o, "reason", mesos_reject_text(r->reason));
		put_string(o, "task", r->task);
		put_string(o, "framework", r->framework);
		put_string(o, "key", r->key);
		put_string(o, "value", r->value);
		put_string(o, "detail", r->detail);
		json_object_array_add(list, o);
	}
	return list;
}

/* Of a label only, not of its task. */
static bool is_about_label(enum mesos_reject reason)
{
	return reason == MESOS_REJECT_LABEL || reason == MESOS_REJECT_PORT;
}

/* {"count": n, "by_reason": {"no such agent": n, ...}} */
static json_object *left_out(const struct vip_table *t, bool labels)
{
	json_object *o = json_object_new_object(), *reasons = json_object_new_object();
	size_t n = 0;

	for (size_t i = 0; t && i < _MESOS_REJECT_N; i++) {
		if (is_about_label((enum mesos_reject)i) != labels || !t->n_rejected[i])
			continue;
		put_int(reasons, mesos_reject_text((enum mesos_reject)i), t->n_rejected[i]);
		n += t->n_rejected[i];
	}
	put_int(o, "count", n);
	json_object_object_add(o, "by_reason", reasons);
	return o;
}

void view_tasks(
	struct daemon *d, const struct control_request *request, struct control_reply *reply)
{
	const struct vip_table *t = d->table;
	json_object *o = json_object_new_object();
	size_t n_backends = 0;

	for (size_t i = 0; t && i < t->n_vips; i++)
		n_backends += t->vips[i].n_backends;
	json_object_object_add(o, "source", view_source(d));
	json_object_object_add(o, "publisher", view_publisher(d));
	put_bool(o, "known", t != NULL);
	put_int(o, "version", d->n_table_changes);
	put_age(o, "unchanged_for", d->table_since);
	put_int(o, "seen", t ? t->n_tasks_seen : 0);
	put_int(o, "with_vips", t ? t->n_tasks : 0);
	put_int(o, "vips", t ? t->n_vips : 0);
	put_int(o, "backends", n_backends);
	json_object_object_add(o, "tasks_skipped", left_out(t, false));
	json_object_object_add(o, "labels_rejected", left_out(t, true));
	json_object_object_add(o, "rejections", t ? view_rejections(t) : json_object_new_array());
	reply->body = put_to_text(o);
}
