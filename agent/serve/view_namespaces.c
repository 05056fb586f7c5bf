/* SPDX-License-Identifier: GPL-2.0-or-later */
/* GET /v1/namespaces: the registered containers' network namespaces. */
#include "agent/serve/put.h"
#include "agent/serve/view.h"

static json_object *namespace_object(const struct namespace_view *v)
{
	json_object *o = json_object_new_object();

	put_string(o, "name", v->name);
	put_string(o, "path", v->path);
	put_string(o, "state", namespace_state_text(v->state));
	put_string(o, "problem", *v->problem ? v->problem : NULL);
	put_int(o, "inode", v->inode);
	put_bool(o, "ipv6", v->ipv6);
	put_address(o, "address", &v->sources.v4);
	put_address(o, "address6", &v->sources.v6);
	put_int(o, "visits", v->n_visits);
	put_int(o, "steps", v->n_steps);
	put_int(o, "repairs", v->n_repairs);
	put_int(o, "failing_steps", v->n_failing);
	put_int(o, "conflicts", v->n_conflicts);
	put_age(o, "last_visit", v->last_visit);
	put_duration(o, "last_duration", v->last_duration);
	return o;
}

/* Files with problems stand beside the namespaces, in the state "bad file". */
static void add_bad_files(const struct daemon *d, json_object *list)
{
	size_t n;
	const struct registry_file *files = registry_files(namespaces_registry(d->namespaces), &n);

	for (size_t i = 0; i < n; i++) {
		json_object *o;

		if (!files[i].problem)
			continue;
		o = json_object_new_object();
		put_string(o, "name", files[i].name);
		put_string(o, "state", "bad file");
		put_string(o, "problem", files[i].problem);
		json_object_array_add(list, o);
	}
}

void view_namespaces(
	struct daemon *d, const struct control_request *request, struct control_reply *reply)
{
	json_object *list = json_object_new_array();
	struct namespace_view *views = NULL;
	size_t n = d->namespaces ? namespaces_list(d->namespaces, &views) : 0;

	for (size_t i = 0; i < n; i++)
		json_object_array_add(list, namespace_object(&views[i]));
	namespace_views_free(views, n);
	if (d->namespaces)
		add_bad_files(d, list);
	reply->body = put_to_text(list);
}
