/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a query means: VIPs, backends, drains, rejections, or what has gone. */
#include <stdio.h>
#include <strings.h>

#include "agent/serve/why_steps.h"
#include "agent/source/names.h"
#include "agent/source/vip_label.h"

/* The beginning of a task's id must be this long to stand for it. */
#define PREFIX_MIN 3

static void add_object(struct objects *o, struct object object)
{
	if (o->n < OBJECTS_MAX)
		o->list[o->n++] = object;
}

const struct destination *why_find_destination(
	const struct kernel_state *have, const struct drain_key *key)
{
	const struct service *svc = kernel_state_find(have, &key->service);

	return svc ? service_find_destination(svc, &key->address, key->port) : NULL;
}

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

bool why_is_rejection_of(const struct mesos_rejection *r, const char *name)
{
	struct query q;

	parse_query(name, &q);
	return would_be_named(&q, r);
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

		if (in->have && !why_find_destination(in->have, k))
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

void why_find(const struct why_input *in, struct objects *o)
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
