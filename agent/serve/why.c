/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * why_find() makes the list of what the query can mean; trace() runs the table of checks over
 * each. A check is a function that adds steps; one more is one more line of the table. Checks stand
 * in the order of the way from label to kernel, and one after which nothing more can be said stops
 * the trace.
 */
#include <stdarg.h>
#include <stdio.h>

#include "agent/serve/put.h"
#include "agent/serve/why_steps.h"

/* --- a trace --------------------------------------------------------------- */

void why_step(struct trace *t, enum mark mark, const char *mend, const char *format, ...)
{
	static const char *const marks[] = {"ok", "note", "bad"};
	json_object *o = json_object_new_object();
	AUTO_FREE char *text = NULL;
	va_list ap;

	va_start(ap, format);
	if (vasprintf(&text, format, ap) < 0)
		abort(); /* out of memory */
	va_end(ap);
	put_string(o, "stage", t->stage);
	put_string(o, "mark", marks[mark]);
	put_string(o, "text", text);
	put_string(o, "mend", mend);
	json_object_array_add(t->steps, o);
	if (mark != MARK_BAD || t->verdict)
		return;
	t->verdict = STEAL(text);
	t->mend = mend ? xstrdup(mend) : NULL;
}

double why_seconds_since(const struct trace *t, nsec_t when)
{
	return when && when < t->in->now ? (double)(t->in->now - when) / 1e9 : 0;
}

const struct service_key *why_key_of(const struct object *o)
{
	return o->vip ? &o->vip->key : o->drain ? &o->drain->key.service : &o->gone->service;
}

struct drain_key why_kernel_form(const struct trace *t, const struct vip_backend *b)
{
	bool local = node_owns(t->in->node, &b->agent);

	return (struct drain_key){t->object->vip->key, local ? b->local_address : b->address,
		local ? b->local_port : b->port};
}

void why_absent(struct trace *t, const char *text)
{
	AUTO_FREE char *audit =
		xasprintf("someone removed it; vipd's next audit, within %.0f s, puts it back",
			(double)t->in->audit_interval / 1e9);
	AUTO_FREE char *refused = xasprintf("the kernel refused %s", t->in->kernel->failing);
	const char *mend = audit;

	if (t->in->kernel->busy)
		mend = "it is being programmed: ask again in a moment";
	else if (t->in->kernel->n_failing)
		mend = *t->in->kernel->failing ? refused
					       : "the kernel refused a command: see vipd's log";
	why_step(t, MARK_BAD, mend, "%s", text);
}

/* --- the table of checks --------------------------------------------------- */

static const struct check {
	const char *stage;
	unsigned int kinds;
	void (*run)(struct trace *t);
} checks[] = {
	{"source", OBJECT_ANY, why_check_source},
	{"document", OBJECT_ANY, why_check_document},
	{"table", OBJECT_IN_TABLE, why_check_table},
	{"node", OBJECT_IN_TABLE, why_check_admission},
	{"node", OBJECT_VIP, why_check_own_address},
	{"node", OBJECT_BACKEND, why_check_weight},
	{"node", OBJECT_BACKEND, why_check_health},
	{"kernel", OBJECT_ANY, why_check_programming},
	{"kernel", OBJECT_IN_TABLE, why_check_service},
	{"kernel", OBJECT_VIP, why_check_destinations},
	{"kernel", OBJECT_BACKEND, why_check_destination},
	{"kernel", OBJECT_VIP, why_check_drains},
	{"kernel", OBJECT_DRAIN, why_check_drain},
	{"kernel", OBJECT_IN_TABLE, why_check_route},
	{"kernel", OBJECT_IN_TABLE, why_check_sets},
	{"rules", OBJECT_IN_TABLE, why_check_rules},
	{"sysctls", OBJECT_IN_TABLE, why_check_sysctls},
	{"name", OBJECT_VIP, why_check_name},
};

/* "redis.marathon.l4lb.thisdcos.directory:6379", "10.0.0.5:31000 behind ...", a task's id. Caller
 * frees. */
static char *object_text(const struct why_input *in, const struct object *o)
{
	char buf[ENDPOINT_STRLEN];

	switch (o->kind) {
	case OBJECT_VIP:
		if (o->vip->name)
			return xasprintf("%s:%u", o->vip->name, o->vip->key.port);
		return xstrdup(endpoint_format(&o->vip->key.address, o->vip->key.port, buf));
	case OBJECT_BACKEND:
		return xstrdup(endpoint_format(&o->backend->address, o->backend->port, buf));
	case OBJECT_DRAIN:
		return xstrdup(endpoint_format(&o->drain->key.address, o->drain->key.port, buf));
	case OBJECT_REJECTED:
		return xstrdup(o->rejection->task);
	case OBJECT_GONE:
		if (o->gone->task || o->gone->name)
			return xstrdup(o->gone->task ? o->gone->task : o->gone->name);
		return xstrdup(
			endpoint_format(&o->gone->service.address, o->gone->service.port, buf));
	case OBJECT_UNKNOWN:
		break;
	}
	return xstrdup(in->query);
}

static const char *kind_text(enum object_kind kind)
{
	switch (kind) {
	case OBJECT_VIP:
		return "vip";
	case OBJECT_BACKEND:
		return "backend";
	case OBJECT_DRAIN:
		return "drain";
	case OBJECT_REJECTED:
		return "rejected";
	case OBJECT_GONE:
		return "gone";
	case OBJECT_UNKNOWN:
		break;
	}
	return "unknown";
}

static json_object *trace(const struct why_input *in, const struct object *object)
{
	struct trace t = {.in = in, .object = object, .steps = json_object_new_array()};
	json_object *o = json_object_new_object();
	AUTO_FREE char *text = object_text(in, object);

	for (size_t i = 0; i < ARRAY_SIZE(checks) && !t.stopped; i++) {
		t.stage = checks[i].stage;
		if (checks[i].kinds & object->kind)
			checks[i].run(&t);
	}
	put_string(o, "object", text);
	put_string(o, "kind", kind_text(object->kind));
	if (object->kind != OBJECT_UNKNOWN && object->kind != OBJECT_REJECTED) {
		put_protocol(o, "protocol", why_key_of(object)->protocol);
		put_address(o, "address", &why_key_of(object)->address);
		put_int(o, "port", why_key_of(object)->port);
	}
	put_bool(o, "ok", !t.verdict);
	put_string(o, "verdict", t.verdict ? t.verdict : "nothing stands in its way");
	put_string(o, "mend", t.mend);
	json_object_object_add(o, "steps", t.steps);
	free(t.verdict);
	free(t.mend);
	return o;
}

json_object *why_trace(const struct why_input *in)
{
	struct objects objects = {0};
	json_object *list = json_object_new_array();

	why_find(in, &objects);
	for (size_t i = 0; i < objects.n; i++)
		json_object_array_add(list, trace(in, &objects.list[i]));
	return list;
}
