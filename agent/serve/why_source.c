/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From the source of the tasks to the table: the document, labels that are left out, names. */
#include "agent/serve/why_steps.h"
#include "agent/source/names.h"

/* Tasks that are left out and may have to do with what is asked. */
#define LEFT_OUT_SHOWN 3

/* Whom to ask about labels and tasks: a table that is published says nothing of what was left out. */
static const char *publisher_text(const struct trace *t, char buf[static IP_ADDR_STRLEN])
{
	return t->in->publisher.family ? ip_addr_format(&t->in->publisher, buf) : "a master's vipd";
}

void why_check_source(struct trace *t)
{
	const struct feed_stats *s = t->in->source;
	const char *url = str_or(s->url, "the source");
	char buf[IP_ADDR_STRLEN];

	if (t->in->followed)
		why_step(t, MARK_OK, NULL, "published by %s, confirmed %.1f s ago",
			publisher_text(t, buf), why_seconds_since(t, t->in->confirmed));
	else if (s->error && s->n_documents)
		why_step(t, MARK_BAD,
			"see to the masters or the way to them; until then the table stays as it "
			"is",
			"the source fails since %.1f s: %s", why_seconds_since(t, s->last_success),
			s->error);
	else if (s->error)
		why_step(t, MARK_BAD, "see to `masters` or `source` in the configuration",
			"no document could be had since vipd started: %s", s->error);
	else if (!s->n_documents)
		why_step(t, MARK_BAD, "ask again in a moment", "no document has come yet");
	else
		why_step(t, MARK_OK, NULL, "%s %s %.1f s ago", url,
			t->in->from_file ? "was read" : "answered",
			why_seconds_since(t, s->last_success));
	if (t->in->emptying_held)
		why_step(t, MARK_NOTE, NULL,
			"the last document had no VIPs; it counts when the next says the same");
	t->stopped = !t->in->table;
}

static const char *rejection_mend(const struct mesos_rejection *r)
{
	switch (r->reason) {
	case MESOS_REJECT_LABEL:
		return "give the label a value like /name:port or address:port, and deploy again";
	case MESOS_REJECT_PORT:
		return "see to the port that the label stands on: its number, protocol and mapping";
	case MESOS_REJECT_NO_ADDRESS:
		return "have the agent register with an address, or a name that resolves on this "
		       "node";
	case MESOS_REJECT_NO_FRAMEWORK:
	case MESOS_REJECT_NO_AGENT:
		return "its framework or agent has gone from the master; it should end, or be "
		       "known "
		       "again, soon";
	case MESOS_REJECT_TOO_LARGE:
		return "use fewer labels and ports for one task";
	case MESOS_REJECT_MALFORMED:
	case _MESOS_REJECT_N:
		break;
	}
	return "see what the framework makes of this task";
}

static void add_rejection(struct trace *t, enum mark mark, const struct mesos_rejection *r)
{
	why_step(t, mark, rejection_mend(r), "task %s%s%s%s%s of %s is left out (%s): %s",
		*r->task ? r->task : "without id", *r->key ? ", label " : "", r->key,
		*r->key ? " = " : "", *r->key ? r->value : "",
		*r->framework ? r->framework : "no framework", mesos_reject_text(r->reason),
		r->detail);
}

/* True if a task that was behind this VIP, or this very one, has this id. */
static bool was_behind(const struct trace *t, const struct gone_item *g, const char *task)
{
	if (g->task)
		return strcmp(g->task, task) == 0;
	for (size_t i = 0; i < gone_count(t->in->gone); i++) {
		const struct gone_item *other = gone_get(t->in->gone, i);

		if (other->task && strcmp(other->task, task) == 0 &&
			service_key_cmp(&other->service, &g->service) == 0)
			return true;
	}
	return false;
}

/* Tasks that are left out whole, such as for their agent: of these only the id is known, not what
 * labels they have. `of`: only those that were behind this; NULL: any. Returns their number. */
static size_t add_left_out(struct trace *t, enum mark mark, const struct gone_item *of)
{
	size_t n = 0;

	for (size_t i = 0; i < t->in->table->n_rejections && n < LEFT_OUT_SHOWN; i++) {
		const struct mesos_rejection *r = &t->in->table->rejections[i];

		if (*r->key || !*r->task || (of && !was_behind(t, of, r->task)))
			continue;
		add_rejection(t, mark, r);
		n++;
	}
	return n;
}

static void add_gone(struct trace *t, const struct gone_item *g)
{
	if (add_left_out(t, MARK_BAD, g))
		return;
	why_step(t, MARK_BAD,
		"if it should be there: see in the framework why its task ended or lost its label",
		"%s%s left the document %.1f s ago: its task%s ended, or lost %s label",
		g->task ? "task " : "the VIP ", g->task ? g->task : str_or(g->name, ""),
		why_seconds_since(t, g->when), g->task ? "" : "s", g->task ? "its" : "their");
}

/* Labels that would belong to this VIP, too. */
static void note_rejections(struct trace *t)
{
	const struct vip *vip = t->object->vip;

	if (!vip->name)
		return;
	for (size_t i = 0; i < t->in->table->n_rejections; i++)
		if (why_is_rejection_of(&t->in->table->rejections[i], vip->name))
			add_rejection(t, MARK_NOTE, &t->in->table->rejections[i]);
}

static void add_unknown(struct trace *t, size_t n_tasks)
{
	char buf[IP_ADDR_STRLEN];
	AUTO_FREE char *mend = xasprintf("ask there, where labels and tasks that were left out are "
					 "known: vipctl why on %s",
		publisher_text(t, buf));

	if (t->in->followed)
		why_step(t, MARK_BAD, mend,
			"no VIP, no backend and no task with a VIP label is called so in the table "
			"that %s publishes",
			publisher_text(t, buf));
	else
		why_step(t, MARK_BAD,
			"the task must run, and bear a label like VIP_0 = /name:port on one of its "
			"discovery ports; vipctl vips lists what there is",
			"no VIP, no backend and no task with a VIP label is called so; %zu tasks "
			"run",
			n_tasks);
}

static void check_task(struct trace *t, const struct vip_backend *b)
{
	why_step(t, MARK_OK, NULL, "task %s of %s on agent %s", b->task, b->framework,
		ip_addr_format(&b->agent, (char[IP_ADDR_STRLEN]){0}));
	if (b->kept)
		why_step(t, MARK_NOTE,
			"the agent registers again within the master's agent_reregister_timeout, "
			"or is given up",
			"the master has not heard from this agent since its failover, so the task "
			"is not in the document; it stays as it was");
}

void why_check_document(struct trace *t)
{
	const struct object *o = t->object;
	size_t n = t->in->table->n_tasks_seen;

	switch (o->kind) {
	case OBJECT_VIP:
		if (t->in->followed)
			why_step(t, MARK_OK, NULL, "backends behind this VIP: %zu",
				o->vip->n_backends);
		else
			why_step(t, MARK_OK, NULL,
				"backends behind this VIP: %zu; running tasks: %zu",
				o->vip->n_backends, n);
		note_rejections(t);
		return;
	case OBJECT_BACKEND:
		check_task(t, o->backend);
		return;
	case OBJECT_DRAIN:
		if (o->gone)
			add_gone(t, o->gone);
		else
			why_step(t, MARK_BAD, NULL,
				"no task that runs is behind this backend any more");
		return;
	case OBJECT_REJECTED:
		add_rejection(t, MARK_BAD, o->rejection);
		break;
	case OBJECT_GONE:
		add_gone(t, o->gone);
		break;
	case OBJECT_UNKNOWN:
		add_unknown(t, n);
		add_left_out(t, MARK_NOTE, NULL);
		break;
	}
	t->stopped = true;
}

/* "redis.marathon" of "redis.marathon.l4lb.thisdcos.directory". */
static void check_home(struct trace *t, const struct vip *vip)
{
	const struct address_range *given =
		vip->key.address.family == AF_INET6 ? &t->in->range6 : &t->in->range4;
	struct address_range range =
		given->min.family ? *given : names_default_range(vip->key.address.family);
	AUTO_FREE char *name = xstrndup(vip->name, strlen(vip->name) - strlen("." NAMES_SUFFIX));
	struct ip_addr home = names_home(name, &range);
	char a[IP_ADDR_STRLEN], b[IP_ADDR_STRLEN];

	if (ip_addr_cmp(&home, &vip->key.address) == 0)
		why_step(t, MARK_OK, NULL, "%s has the address %s, its home", vip->name,
			ip_addr_format(&home, a));
	else
		why_step(t, MARK_OK, NULL,
			"%s has the address %s; its home %s is another VIP's, which collides with "
			"it",
			vip->name, ip_addr_format(&vip->key.address, a), ip_addr_format(&home, b));
}

void why_check_table(struct trace *t)
{
	const struct object *o = t->object;
	char buf[ENDPOINT_STRLEN];

	if (o->kind == OBJECT_BACKEND)
		why_step(t, MARK_OK, NULL, "behind %s%s%s",
			endpoint_format(&o->vip->key.address, o->vip->key.port, buf),
			o->vip->name ? ", " : "", str_or(o->vip->name, ""));
	else if (o->vip->name)
		check_home(t, o->vip);
	else
		why_step(t, MARK_OK, NULL, "an IP VIP: the label says %s",
			endpoint_format(&o->vip->key.address, o->vip->key.port, buf));
}
