/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * find_objects() makes the list of what the query can mean; trace() runs the table of checks over
 * each. A check is a function that adds steps; one more (whether a node is alive, whether a
 * name resolves) is one more line of the table. Checks stand in the order of the way from label to
 * kernel, and one after which nothing more can be said stops the trace.
 */
#include "agent/serve/why.h"

#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#include "agent/apply/sysctl.h"
#include "agent/serve/put.h"
#include "agent/source/names.h"
#include "agent/source/vip_label.h"

/* Objects that are traced for one query, and backends that are shown one by one for a VIP. */
#define OBJECTS_MAX 50
#define BACKENDS_SHOWN 20
/* The beginning of a task's id must be this long to stand for it. */
#define PREFIX_MIN 3

enum object_kind {
	OBJECT_VIP = 1 << 0,
	OBJECT_BACKEND = 1 << 1,
	OBJECT_DRAIN = 1 << 2,    /* has left the table, is in the kernel */
	OBJECT_REJECTED = 1 << 3, /* a task or label that is in the document and not in the table */
	OBJECT_GONE = 1 << 4,     /* has left the table and the kernel */
	OBJECT_UNKNOWN = 1 << 5,
};
#define OBJECT_IN_TABLE (OBJECT_VIP | OBJECT_BACKEND)
#define OBJECT_ANY (~0U)

struct object {
	enum object_kind kind;
	const struct vip *vip;                   /* VIP, BACKEND */
	const struct vip_backend *backend;       /* BACKEND */
	const struct drain *drain;               /* DRAIN */
	const struct mesos_rejection *rejection; /* REJECTED */
	const struct gone_item *gone;            /* GONE; DRAIN, if known */
};

struct objects {
	size_t n;
	struct object list[OBJECTS_MAX];
};

static void add_object(struct objects *o, struct object object)
{
	if (o->n < OBJECTS_MAX)
		o->list[o->n++] = object;
}

static const struct destination *find_destination(
	const struct kernel_state *have, const struct drain_key *key)
{
	const struct service *svc = kernel_state_find(have, &key->service);

	return svc ? service_find_destination(svc, &key->address, key->port) : NULL;
}

/* --- what the query means -------------------------------------------------- */

struct query {
	const char *text;
	char host[NAMES_MAX + 3]; /* the text without port and brackets; "" if too long */
	struct ip_addr address;   /* AF_UNSPEC: a name */
	uint16_t port;            /* 0: any */
};

/* Takes ":PORT" off: returns the length of what is left. */
static size_t split_port(const char *text, uint16_t *ret_port)
{
	const char *colon = strrchr(text, ':');
	char *end;
	unsigned long port;

	*ret_port = 0;
	if (!colon || colon[1] < '0' || colon[1] > '9')
		return strlen(text);
	port = strtoul(colon + 1, &end, 10);
	if (*end || port < 1 || port > 65535)
		return strlen(text);
	*ret_port = (uint16_t)port;
	return (size_t)(colon - text);
}

static void parse_query(const char *text, struct query *q)
{
	size_t n;
	const char *begin = text;

	*q = (struct query){.text = text};
	if (ip_addr_parse(text, &q->address) == 0)
		return;
	n = split_port(text, &q->port);
	if (n > 2 && text[0] == '[' && text[n - 1] == ']') {
		begin++;
		n -= 2;
	}
	if (n >= sizeof(q->host))
		return;
	memcpy(q->host, begin, n);
	q->host[n] = '\0';
	if (ip_addr_parse(q->host, &q->address) < 0)
		q->address = (struct ip_addr){0};
}

/* Bytes of a name without the suffix, if it has it. */
static size_t short_length(const char *name)
{
	static const char suffix[] = "." NAMES_SUFFIX;
	size_t n = strlen(name), n_suffix = sizeof(suffix) - 1;

	return n > n_suffix && strcasecmp(name + n - n_suffix, suffix) == 0 ? n - n_suffix : n;
}

/* "redis.marathon" or the whole name; a leading "/" as in the label is welcome. */
static bool names_it(const struct query *q, const char *name)
{
	const char *host = q->host[0] == '/' ? q->host + 1 : q->host;
	size_t n = short_length(host);

	return name && n > 0 && n == short_length(name) && strncasecmp(host, name, n) == 0;
}

static bool means_service(const struct query *q, const struct service_key *key, const char *name)
{
	if (q->port && q->port != key->port)
		return false;
	if (q->address.family != AF_UNSPEC)
		return ip_addr_cmp(&q->address, &key->address) == 0;
	return names_it(q, name);
}

static bool means_endpoint(const struct query *q, const struct ip_addr *address, uint16_t port)
{
	return q->address.family != AF_UNSPEC && ip_addr_cmp(&q->address, address) == 0 &&
	       (!q->port || q->port == port);
}

static bool means_backend(const struct query *q, const struct vip_backend *b)
{
	return strcmp(q->text, b->task) == 0 || means_endpoint(q, &b->address, b->port) ||
	       means_endpoint(q, &b->local_address, b->local_port);
}

/* The name that a rejected label would have had is the one that is asked for. */
static bool would_be_named(const struct query *q, const struct mesos_rejection *r)
{
	const char *colon = strrchr(r->value, ':');
	size_t n = colon ? (size_t)(colon - r->value) : strlen(r->value);
	char name[NAMES_MAX + 1];
	const char *error;

	return *r->value && *r->framework &&
	       vip_label_name(r->value, n, r->framework, name, sizeof(name), &error) == 0 &&
	       names_it(q, name);
}

static bool is_prefix(const struct query *q, const char *id)
{
	size_t n = strlen(q->text);

	return n >= PREFIX_MIN && id && strncmp(q->text, id, n) == 0;
}

static void find_in_table(
	const struct why_input *in, const struct query *q, struct objects *o, bool prefix)
{
	for (size_t i = 0; in->table && i < in->table->n_vips; i++) {
		const struct vip *vip = &in->table->vips[i];

		if (!prefix && means_service(q, &vip->key, vip->name))
			add_object(o, (struct object){.kind = OBJECT_VIP, .vip = vip});
		for (size_t k = 0; k < vip->n_backends; k++) {
			const struct vip_backend *b = &vip->backends[k];

			if (prefix ? is_prefix(q, b->task) : means_backend(q, b))
				add_object(o,
					(struct object){
						.kind = OBJECT_BACKEND, .vip = vip, .backend = b});
		}
	}
}

static void find_drains(const struct why_input *in, const struct query *q, struct objects *o)
{
	for (size_t i = 0; i < drains_count(in->drains); i++) {
		const struct drain *drain = drains_get(in->drains, i);
		const struct drain_key *k = &drain->key;
		const struct gone_item *gone =
			gone_find(in->gone, &k->service, &k->address, k->port);
		bool in_table = in->table && vip_table_find(in->table, &k->service);

		if (in->have && !find_destination(in->have, k))
			continue; /* over, and not forgotten yet */
		if (means_endpoint(q, &k->address, k->port) ||
			(gone && strcmp(q->text, gone->task) == 0) ||
			(!in_table && means_service(q, &k->service, gone ? gone->name : NULL)))
			add_object(o, (struct object){
					      .kind = OBJECT_DRAIN, .drain = drain, .gone = gone});
	}
}

static void find_rejected(const struct why_input *in, const struct query *q, struct objects *o)
{
	for (size_t i = 0; in->table && i < in->table->n_rejections; i++) {
		const struct mesos_rejection *r = &in->table->rejections[i];

		if (is_prefix(q, r->task) || strcmp(q->text, r->value) == 0 || would_be_named(q, r))
			add_object(o, (struct object){.kind = OBJECT_REJECTED, .rejection = r});
	}
}

/* The newest only: a task or VIP may have come and gone often. */
static void find_gone(const struct why_input *in, const struct query *q, struct objects *o)
{
	for (size_t i = 0; i < gone_count(in->gone) && o->n == 0; i++) {
		const struct gone_item *g = gone_get(in->gone, i);

		if (g->task ? is_prefix(q, g->task) || means_endpoint(q, &g->address, g->port)
			    : means_service(q, &g->service, g->name))
			add_object(o, (struct object){.kind = OBJECT_GONE, .gone = g});
	}
}

static void find_objects(const struct why_input *in, struct objects *o)
{
	struct query q;

	parse_query(in->query, &q);
	find_in_table(in, &q, o, false);
	find_drains(in, &q, o);
	find_rejected(in, &q, o);
	if (o->n == 0)
		find_in_table(in, &q, o, true);
	if (o->n == 0)
		find_gone(in, &q, o);
	if (o->n == 0)
		add_object(o, (struct object){.kind = OBJECT_UNKNOWN});
}

/* --- a trace --------------------------------------------------------------- */

enum mark { MARK_OK, MARK_NOTE, MARK_BAD };

struct trace {
	const struct why_input *in;
	const struct object *object;
	const char *stage;
	json_object *steps;
	char *verdict, *mend; /* of the first bad step; owned */
	bool stopped;
};

/* Adds a step. `mend` may be NULL; `format` makes a sentence without its full stop. */
__attribute__((format(printf, 4, 5))) static void add_step(
	struct trace *t, enum mark mark, const char *mend, const char *format, ...)
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

static double seconds_since(const struct trace *t, nsec_t when)
{
	return when && when < t->in->now ? (double)(t->in->now - when) / 1e9 : 0;
}

static const struct service_key *key_of(const struct object *o)
{
	return o->vip ? &o->vip->key : o->drain ? &o->drain->key.service : &o->gone->service;
}

/* The backend's form on this node. */
static struct drain_key kernel_form(const struct trace *t, const struct vip_backend *b)
{
	bool local = node_owns(t->in->node, &b->agent);

	return (struct drain_key){t->object->vip->key, local ? b->local_address : b->address,
		local ? b->local_port : b->port};
}

/* Adds a bad step about what is wanted and is not there, with what becomes of it. */
static void add_absent(struct trace *t, const char *text)
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
	add_step(t, MARK_BAD, mend, "%s", text);
}

/* --- from source to table -------------------------------------------------- */

static void check_source(struct trace *t)
{
	const struct feed_stats *s = t->in->source;
	const char *url = str_or(s->url, "the source");

	if (s->error && s->n_documents)
		add_step(t, MARK_BAD,
			"see to the masters or the way to them; until then the table stays as it "
			"is",
			"the source fails since %.1f s: %s", seconds_since(t, s->last_success),
			s->error);
	else if (s->error)
		add_step(t, MARK_BAD, "see to `masters` or `source` in the configuration",
			"no document could be had since vipd started: %s", s->error);
	else if (!s->n_documents)
		add_step(t, MARK_BAD, "ask again in a moment", "no document has come yet");
	else
		add_step(t, MARK_OK, NULL, "%s %s %.1f s ago", url,
			t->in->from_file ? "was read" : "answered",
			seconds_since(t, s->last_success));
	if (t->in->emptying_held)
		add_step(t, MARK_NOTE, NULL,
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
	add_step(t, mark, rejection_mend(r), "task %s%s%s%s%s of %s is left out (%s): %s",
		*r->task ? r->task : "without id", *r->key ? ", label " : "", r->key,
		*r->key ? " = " : "", *r->key ? r->value : "",
		*r->framework ? r->framework : "no framework", mesos_reject_text(r->reason),
		r->detail);
}

static void add_gone(struct trace *t, const struct gone_item *g)
{
	add_step(t, MARK_BAD,
		"if it should be there: see in the framework why its task ended or lost its label",
		"%s%s left the document %.1f s ago: its task%s ended, or lost %s label",
		g->task ? "task " : "the VIP ", g->task ? g->task : str_or(g->name, ""),
		seconds_since(t, g->when), g->task ? "" : "s", g->task ? "its" : "their");
}

/* Labels that would belong to this VIP, too. */
static void note_rejections(struct trace *t)
{
	struct query q;
	const struct vip *vip = t->object->vip;

	if (!vip->name)
		return;
	parse_query(vip->name, &q);
	for (size_t i = 0; i < t->in->table->n_rejections; i++)
		if (would_be_named(&q, &t->in->table->rejections[i]))
			add_rejection(t, MARK_NOTE, &t->in->table->rejections[i]);
}

static void check_document(struct trace *t)
{
	const struct object *o = t->object;
	size_t n = t->in->table->n_tasks_seen;

	switch (o->kind) {
	case OBJECT_VIP:
		add_step(t, MARK_OK, NULL, "%zu tasks run, %zu backends are behind this VIP", n,
			o->vip->n_backends);
		note_rejections(t);
		return;
	case OBJECT_BACKEND:
		add_step(t, MARK_OK, NULL, "task %s of %s on agent %s", o->backend->task,
			o->backend->framework,
			ip_addr_format(&o->backend->agent, (char[IP_ADDR_STRLEN]){0}));
		return;
	case OBJECT_DRAIN:
		if (o->gone)
			add_gone(t, o->gone);
		else
			add_step(t, MARK_BAD, NULL,
				"no task that runs is behind this backend any more");
		return;
	case OBJECT_REJECTED:
		add_rejection(t, MARK_BAD, o->rejection);
		break;
	case OBJECT_GONE:
		add_gone(t, o->gone);
		break;
	case OBJECT_UNKNOWN:
		add_step(t, MARK_BAD,
			"the task must run, and bear a label like VIP_0 = /name:port on one of its "
			"discovery ports; vipctl vips lists what there is",
			"no VIP, backend or task of this name is among the %zu tasks that run", n);
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
		add_step(t, MARK_OK, NULL, "%s has the address %s, its home", vip->name,
			ip_addr_format(&home, a));
	else
		add_step(t, MARK_OK, NULL,
			"%s has the address %s; its home %s is another VIP's, which collides with "
			"it",
			vip->name, ip_addr_format(&vip->key.address, a), ip_addr_format(&home, b));
}

static void check_table(struct trace *t)
{
	const struct object *o = t->object;
	char buf[ENDPOINT_STRLEN];

	if (o->kind == OBJECT_BACKEND)
		add_step(t, MARK_OK, NULL, "behind %s%s%s",
			endpoint_format(&o->vip->key.address, o->vip->key.port, buf),
			o->vip->name ? ", " : "", str_or(o->vip->name, ""));
	else if (o->vip->name)
		check_home(t, o->vip);
	else
		add_step(t, MARK_OK, NULL, "an IP VIP: the label says %s",
			endpoint_format(&o->vip->key.address, o->vip->key.port, buf));
}

/* --- what this node makes of it -------------------------------------------- */

static const char *refusal_mend(enum refusal reason)
{
	switch (reason) {
	case REFUSAL_UNUSABLE:
	case REFUSAL_OWN_ADDRESS:
		return "give the label an address that no host uses, or a name";
	case REFUSAL_SUBNET:
		return "give the label another address, or allow this one with allow_vips in "
		       "vipd.conf";
	case REFUSAL_OTHER_FRAMEWORK:
		return "give one of the frameworks another address";
	case _REFUSAL_N:
		break;
	}
	return NULL;
}

static void check_admission(struct trace *t)
{
	const struct object *o = t->object;
	const struct refused *r = desired_refusal(
		t->in->desired, o->vip, o->backend ? o->backend->framework_id : NULL);

	if (!r) {
		add_step(t, MARK_OK, NULL, "not refused");
		return;
	}
	add_step(t, MARK_BAD, refusal_mend(r->reason), "refused: %s", refusal_text(r->reason));
	t->stopped = true;
}

/* Routes to VIPs name the node's own address as their source; the kernel refuses any other. */
static void check_own_address(struct trace *t)
{
	bool is6 = t->object->vip->key.address.family == AF_INET6;
	const struct ip_addr *a = is6 ? &t->in->node->address6 : &t->in->node->address;
	char text[IP_ADDR_STRLEN];
	AUTO_FREE char *mend = NULL;

	ip_addr_format(a, text);
	mend = xasprintf("ip address show to %s; then give the link that address, or say another "
			 "one in vipd.conf (node_address%s)",
		text, is6 ? "6" : "");
	if (!a->family) {
		add_step(t, MARK_NOTE, "give this node such an address",
			"this node has no %s address, so connections from it have the VIP's own as "
			"their source, and backends elsewhere cannot answer",
			is6 ? "IPv6" : "IPv4");
		return;
	}
	switch (is6 ? t->in->source_state6 : t->in->source_state) {
	case SOURCE_USABLE:
		break;
	case SOURCE_DEPRECATED:
		add_step(t, MARK_NOTE, mend, "%s, this node's address, is deprecated", text);
		break;
	case SOURCE_ABSENT:
		add_step(t, MARK_BAD, mend,
			"%s, which is to be the source of connections to VIPs, is not an address "
			"of "
			"this node: the kernel refuses the routes to VIPs",
			text);
		break;
	case SOURCE_TENTATIVE:
		add_step(t, MARK_BAD, "wait a few seconds: vipd tries again",
			"%s, this node's address, is tentative: the kernel asks whether another "
			"machine has it, and refuses the routes to VIPs until then",
			text);
		break;
	case SOURCE_DUPLICATE:
		add_step(t, MARK_BAD, mend,
			"%s, this node's address, was found on another machine (dadfailed): the "
			"kernel refuses the routes to VIPs",
			text);
		break;
	}
}

/* Why it has weight 0, and the mend; NULL: it has not. */
static const char *weight_words(const struct vip_backend *b, const char **ret_mend)
{
	switch (b->weight_reason) {
	case WEIGHT_HEALTHY:
		break;
	case WEIGHT_UNHEALTHY:
		*ret_mend = "see why the task's health check fails";
		return "its health check fails";
	case WEIGHT_NO_RESULT:
		*ret_mend = "wait for the first result of the task's health check";
		return "its health check has no result yet";
	case WEIGHT_KILLING:
		*ret_mend = "none needed: it ends, and drains, unless someone did not mean it to";
		return "it is being killed";
	}
	*ret_mend = NULL;
	return NULL;
}

static enum health health_of(const struct trace *t, const struct vip_backend *b)
{
	for (size_t i = 0; i < t->in->n_healths; i++)
		if (ip_addr_cmp(&t->in->healths[i].agent, &b->agent) == 0)
			return t->in->healths[i].health;
	return HEALTH_UP;
}

/* If no node of the VIP's is up, all its backends stay. */
static bool any_up(const struct trace *t)
{
	const struct vip *vip = t->object->vip;

	for (size_t i = 0; i < vip->n_backends; i++)
		if (health_of(t, &vip->backends[i]) == HEALTH_UP)
			return true;
	return false;
}

/* Why a backend gets no connections for its node's sake; NULL: it does. */
static const char *health_words(const struct trace *t, const struct vip_backend *b)
{
	switch (any_up(t) ? health_of(t, b) : HEALTH_UP) {
	case HEALTH_UP:
		break;
	case HEALTH_DOWN:
		return "its node is down, so it gets no new connections";
	case HEALTH_CONFIRMED:
		return "its node is down for good, so it was removed";
	}
	return NULL;
}

static const char health_mend[] = "see to the node: vipctl members shows what is known of it";

static void check_health(struct trace *t)
{
	const struct vip_backend *b = t->object->backend;
	const char *why = health_words(t, b);

	if (why)
		add_step(t, MARK_BAD, health_mend, "%s", why);
	else if (health_of(t, b) != HEALTH_UP)
		add_step(t, MARK_NOTE, health_mend,
			"its node is down, and so are all of this VIP's: all backends stay");
	else
		add_step(t, MARK_OK, NULL, "its node is not known to be down");
	t->stopped = why && health_of(t, b) == HEALTH_CONFIRMED;
}

static void check_weight(struct trace *t)
{
	const struct vip_backend *b = t->object->backend;
	struct drain_key k = kernel_form(t, b);
	const char *mend, *why = weight_words(b, &mend);
	char buf[ENDPOINT_STRLEN];

	if (why)
		add_step(t, MARK_BAD, mend, "weight 0, so it gets no new connections: %s", why);
	else
		add_step(t, MARK_OK, NULL, "weight %u: it runs, and is not known to be unhealthy",
			b->weight);
	if (ip_addr_cmp(&k.address, &b->address) || k.port != b->port)
		add_step(t, MARK_OK, NULL,
			"it runs on this node, and is reached past its port mapping: as %s",
			endpoint_format(&k.address, k.port, buf));
}

/* --- the kernel ------------------------------------------------------------ */

static void check_programming(struct trace *t)
{
	const struct why_input *in = t->in;

	if (in->paused)
		add_step(t, MARK_BAD, "restart or reload vipd",
			"flushed by an operator: nothing is programmed");
	else if (!in->surrounded)
		add_step(t, MARK_BAD, "ask again in a moment",
			"vipd is starting: rules come before VIPs");
	else if (!in->have)
		add_step(t, MARK_BAD, "see whether the module ip_vs is there and vipd may use it",
			"the kernel cannot be read: %s", strerror(-in->error));
	t->stopped = in->paused || !in->surrounded || !in->have;
	if (in->kernel->busy && in->kernel->n_pending)
		add_step(t, MARK_NOTE, NULL, "being changed: %zu commands are left",
			in->kernel->n_pending);
	if (in->kernel->n_failing)
		add_step(t, MARK_NOTE, "vipd's log says why each was refused",
			"%zu commands fail, and are tried again: %s", in->kernel->n_failing,
			in->kernel->failing);
}

static bool in_conflict(const struct trace *t, const struct service *svc)
{
	for (size_t i = 0; i < t->in->n_conflicts; i++)
		if (service_key_cmp(&t->in->conflicts[i], &t->object->vip->key) == 0)
			return true;
	/* Its signature is left when the sets and routes that say so, too, were removed. */
	return svc && svc->timeout != SERVICE_SIGNATURE && !kernel_state_owns(t->in->have, svc);
}

static void check_service(struct trace *t)
{
	const struct service *svc = kernel_state_find(t->in->have, key_of(t->object));
	char key[SERVICE_KEY_STRLEN];
	AUTO_FREE char *text = NULL;

	service_key_format(key_of(t->object), key);
	if (!svc) {
		text = xasprintf("IPVS has no service %s", key);
		add_absent(t, text);
		t->stopped = true;
	} else if (in_conflict(t, svc)) {
		add_step(t, MARK_BAD,
			"remove that service (ipvsadm -D), or give the label another address",
			"conflict: IPVS has a service %s that vipd did not make, and leaves alone",
			key);
		t->stopped = true;
	} else {
		add_step(t, MARK_OK, NULL, "service %s, %s, %zu destinations", key, svc->scheduler,
			svc->n_destinations);
	}
}

static void add_destination(struct trace *t, const struct drain_key *k,
	const struct destination *dest, const struct vip_backend *b)
{
	char buf[ENDPOINT_STRLEN];
	AUTO_FREE char *text = NULL;

	endpoint_format(&k->address, k->port, buf);
	if (!dest) {
		text = xasprintf("destination %s is missing", buf);
		add_absent(t, text);
	} else if (dest->weight == 0 && b->weight > 0) {
		text = xasprintf("destination %s has weight 0 in the kernel, and %u in the table",
			buf, b->weight);
		add_absent(t, text);
	} else {
		add_step(t, MARK_OK, NULL,
			"destination %s, weight %u; %u active connections, %u inactive", buf,
			dest->weight, dest->n_active, dest->n_inactive);
	}
}

static void check_destination(struct trace *t)
{
	struct drain_key k = kernel_form(t, t->object->backend);

	add_destination(t, &k, find_destination(t->in->have, &k), t->object->backend);
}

/* A VIP answers if one backend takes connections; what ails the others is told all the same. */
static void check_destinations(struct trace *t)
{
	const struct vip *vip = t->object->vip;
	size_t n_usable = 0, n_shown = 0;
	const char *mend = NULL, *last_mend = NULL;
	uint64_t n_active = 0, n_inactive = 0;

	for (size_t i = 0; i < vip->n_backends; i++) {
		const struct vip_backend *b = &vip->backends[i];
		struct drain_key k = kernel_form(t, b);
		const struct destination *dest = find_destination(t->in->have, &k);
		const char *why = weight_words(b, &mend);
		char buf[ENDPOINT_STRLEN];

		if (!why && health_words(t, b)) {
			why = health_words(t, b);
			mend = health_mend;
		}
		n_active += dest ? dest->n_active : 0;
		n_inactive += dest ? dest->n_inactive : 0;
		n_usable += dest && dest->weight > 0;
		last_mend = why ? mend : last_mend;
		if (desired_refusal(t->in->desired, vip, b->framework_id) ||
			(dest && dest->weight > 0) || n_shown++ >= BACKENDS_SHOWN)
			continue;
		if (why && (dest || health_words(t, b)))
			add_step(t, MARK_NOTE, mend, "backend %s (task %s) is not used: %s",
				endpoint_format(&k.address, k.port, buf), b->task, why);
		else
			add_destination(t, &k, dest, b);
	}
	add_step(t, n_usable ? MARK_OK : MARK_BAD, n_usable ? NULL : last_mend,
		"%zu of %zu backends take new connections; %llu active connections, %llu inactive",
		n_usable, vip->n_backends, (unsigned long long)n_active,
		(unsigned long long)n_inactive);
}

static void add_drain(struct trace *t, enum mark mark, const struct drain *drain)
{
	const struct destination *dest = find_destination(t->in->have, &drain->key);
	nsec_t now = t->in->now;
	char buf[ENDPOINT_STRLEN];

	add_step(t, mark, NULL,
		"%s drains: %u active connections go on, it gets no new ones, and goes in %.1f s "
		"at "
		"the latest",
		endpoint_format(&drain->key.address, drain->key.port, buf),
		dest ? dest->n_active : 0,
		drain->deadline > now ? (double)(drain->deadline - now) / 1e9 : 0);
}

static void check_drains(struct trace *t)
{
	const struct service *svc = kernel_state_find(t->in->have, key_of(t->object));

	for (size_t i = 0; svc && i < svc->n_destinations; i++) {
		struct drain_key key = {
			svc->key, svc->destinations[i].address, svc->destinations[i].port};
		const struct drain *drain = drains_find(t->in->drains, &key);

		if (drain)
			add_drain(t, MARK_NOTE, drain);
	}
}

static void check_drain(struct trace *t)
{
	add_drain(t, MARK_NOTE, t->object->drain);
}

static void check_route(struct trace *t)
{
	const struct ip_addr *a = &key_of(t->object)->address;
	const struct vip_route *route = kernel_state_find_route(t->in->have, a);
	char address[IP_ADDR_STRLEN], source[IP_ADDR_STRLEN];
	AUTO_FREE char *text = NULL;

	ip_addr_format(a, address);
	if (!t->in->have->has_link) {
		add_absent(t, "vipd's link is missing, and all routes with it");
	} else if (!route) {
		text = xasprintf(
			"there is no route to %s on vipd's link, so nothing reaches IPVS", address);
		add_absent(t, text);
	} else {
		add_step(t, MARK_OK, NULL, "local route to %s%s%s", address,
			route->source.family ? ", connections come from " : "",
			route->source.family ? ip_addr_format(&route->source, source) : "");
	}
}

static void check_sets(struct trace *t)
{
	const struct service_key *key = key_of(t->object);
	const struct kernel_state *have = t->in->have;

	if (!have->has_sets)
		add_absent(t, "vipd's sets are missing");
	else if (!kernel_state_has_port(have, key) ||
		 !kernel_state_has_address(have, &key->address))
		add_absent(t, "it is not in vipd's sets, so vipd's rules do not know it");
	else
		add_step(t, MARK_OK, NULL, "in vipd's sets");
}

static void check_rules(struct trace *t)
{
	const struct firewall_stats *f = t->in->firewall;

	if (!f)
		add_step(t, MARK_OK, NULL, "not vipd's part (rules = no)");
	else if (f->error)
		add_step(t, MARK_NOTE, "see that iptables works on this node",
			"not in place, so containers and host ports may be served wrongly: %s",
			f->error);
	else
		add_step(t, MARK_OK, NULL, "in place");
}

static void check_sysctls(struct trace *t)
{
	size_t n_wrong = 0;

	if (!t->in->sysctl_values) {
		add_step(t, MARK_OK, NULL, "not vipd's part (sysctls = no)");
		return;
	}
	for (size_t i = 0; i < n_sysctls; i++) {
		const struct sysctl *s = &sysctls[i];
		int value = t->in->sysctl_values[i];
		AUTO_FREE char *mend = xasprintf("sysctl -w %s=%d", s->name, s->value);

		if (value == s->value || (s->if_masquerade && !t->in->masquerade))
			continue;
		n_wrong++;
		if (value < 0)
			add_step(t, MARK_NOTE, NULL, "%s cannot be read (%s); it is for: %s",
				s->name, strerror(-value), s->reason);
		else
			add_step(t, MARK_NOTE, mend, "%s is %d, should be %d: %s", s->name, value,
				s->value, s->reason);
	}
	if (!n_wrong)
		add_step(t, MARK_OK, NULL, "as they should be");
}

/* --- the table of checks --------------------------------------------------- */

static const struct check {
	const char *stage;
	unsigned int kinds;
	void (*run)(struct trace *t);
} checks[] = {
	{"source", OBJECT_ANY, check_source},
	{"document", OBJECT_ANY, check_document},
	{"table", OBJECT_IN_TABLE, check_table},
	{"node", OBJECT_IN_TABLE, check_admission},
	{"node", OBJECT_VIP, check_own_address},
	{"node", OBJECT_BACKEND, check_weight},
	{"node", OBJECT_BACKEND, check_health},
	{"kernel", OBJECT_ANY, check_programming},
	{"kernel", OBJECT_IN_TABLE, check_service},
	{"kernel", OBJECT_VIP, check_destinations},
	{"kernel", OBJECT_BACKEND, check_destination},
	{"kernel", OBJECT_VIP, check_drains},
	{"kernel", OBJECT_DRAIN, check_drain},
	{"kernel", OBJECT_IN_TABLE, check_route},
	{"kernel", OBJECT_IN_TABLE, check_sets},
	{"rules", OBJECT_IN_TABLE, check_rules},
	{"sysctls", OBJECT_IN_TABLE, check_sysctls},
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
		put_protocol(o, "protocol", key_of(object)->protocol);
		put_address(o, "address", &key_of(object)->address);
		put_int(o, "port", key_of(object)->port);
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

	find_objects(in, &objects);
	for (size_t i = 0; i < objects.n; i++)
		json_object_array_add(list, trace(in, &objects.list[i]));
	return list;
}
