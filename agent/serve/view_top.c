/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * GET /v1/top: the VIPs with the most traffic. A table may be large and is looked at every other
 * second, so only what is shown is sorted and made into JSON: the rest costs a merge of three sorted lists.
 */
#include <stdio.h>

#include "agent/serve/put.h"
#include "agent/serve/view.h"

#define SHOWN_DEFAULT 100
#define SHOWN_MAX 500
/* Backends of all VIPs in one answer: more would hold the loop. */
#define BACKENDS_MAX 500
/* Backends that are marked: as many as a line has room for. */
#define MARKS_MAX 64

struct row {
	const struct vip *vip;
	const struct service_traffic *now, *before; /* NULL: not known */
	uint64_t n_active;
	double rate, bytes_rate; /* connections and bytes a second; -1: not known */
};

typedef int (*row_order_t)(const void *a, const void *b);

struct top_request {
	struct daemon *daemon;
	uint64_t limit, n_backends;
	const char *filter; /* NULL: all */
	row_order_t order;
	uint64_t backends_left; /* of all VIPs together */
};

/* --- choosing -------------------------------------------------------------- */

static int cmp_vip(const struct row *a, const struct row *b)
{
	/* Named ones first, then by address; the table's order otherwise. */
	if (a->vip->name && b->vip->name) {
		int c = strcmp(a->vip->name, b->vip->name);

		if (c)
			return c;
	} else if (!a->vip->name != !b->vip->name) {
		return a->vip->name ? -1 : 1;
	}
	return service_key_cmp(&a->vip->key, &b->vip->key);
}

static int larger_first(double a, double b)
{
	return (a < b) - (a > b);
}

static int by_name(const void *a, const void *b)
{
	return cmp_vip(a, b);
}

static int by_active(const void *pa, const void *pb)
{
	const struct row *a = pa, *b = pb;
	int c = larger_first((double)a->n_active, (double)b->n_active);

	return c ? c : cmp_vip(a, b);
}

static int by_rate(const void *pa, const void *pb)
{
	const struct row *a = pa, *b = pb;
	int c = larger_first(a->rate, b->rate);

	return c ? c : by_active(a, b);
}

static int by_bytes(const void *pa, const void *pb)
{
	const struct row *a = pa, *b = pb;
	int c = larger_first(a->bytes_rate, b->bytes_rate);

	return c ? c : by_active(a, b);
}

static const struct {
	const char *name;
	row_order_t order;
} orders[] = {{"rate", by_rate}, {"active", by_active}, {"bytes", by_bytes}, {"name", by_name}};

static bool is_meant(const struct vip *vip, const char *filter)
{
	char key[SERVICE_KEY_STRLEN];
	AUTO_FREE char *text = NULL;

	if (!filter)
		return true;
	if (vip->name && strcasestr(vip->name, filter))
		return true;
	if (strstr(service_key_format(&vip->key, key), filter))
		return true;
	if (!vip->name || !strchr(filter, ':'))
		return false;
	text = view_vip_text(vip); /* with its port */
	return strcasestr(text, filter);
}

static struct row make_row(const struct vip *vip, const struct service_traffic *now,
	const struct service_traffic *before, nsec_t interval)
{
	struct row row = {
		.vip = vip,
		.now = now,
		.before = before,
		.rate = -1,
		.bytes_rate = -1,
	};

	for (size_t i = 0; now && i < now->n_destinations; i++)
		row.n_active += now->destinations[i].n_active;
	if (!now || !before)
		return row;
	row.rate = meter_rate(before->total.connections, now->total.connections, interval);
	row.bytes_rate = meter_rate(before->total.bytes_in + before->total.bytes_out,
		now->total.bytes_in + now->total.bytes_out, interval);
	return row;
}

/* The service of this key in a sorted table, looked for from *k on, which moves on; NULL: none. */
static const struct service_traffic *next_service(
	const struct traffic_table *t, size_t *k, const struct service_key *key)
{
	while (t && *k < t->n_services && service_key_cmp(&t->services[*k].key, key) < 0)
		++*k;
	return t && *k < t->n_services && service_key_equal(&t->services[*k].key, key)
		       ? &t->services[*k]
		       : NULL;
}

/* The first rows in some order, of any number: a heap with the last of them at its root. */
struct chosen {
	row_order_t order;
	size_t n, max;
	struct row *rows;
};

static void swap_rows(struct row *a, struct row *b)
{
	struct row t = *a;

	*a = *b;
	*b = t;
}

static void sift_up(struct chosen *c, size_t i)
{
	for (; i > 0 && c->order(&c->rows[i], &c->rows[(i - 1) / 2]) > 0; i = (i - 1) / 2)
		swap_rows(&c->rows[i], &c->rows[(i - 1) / 2]);
}

static void sift_down(struct chosen *c)
{
	for (size_t i = 0;;) {
		size_t last = i, left = 2 * i + 1;

		for (size_t k = left; k < left + 2 && k < c->n; k++)
			if (c->order(&c->rows[k], &c->rows[last]) > 0)
				last = k;
		if (last == i)
			return;
		swap_rows(&c->rows[i], &c->rows[last]);
		i = last;
	}
}

static void choose(struct chosen *c, const struct row *row)
{
	if (c->n < c->max) {
		c->rows[c->n] = *row;
		sift_up(c, c->n++);
	} else if (c->max && c->order(row, &c->rows[0]) < 0) {
		c->rows[0] = *row;
		sift_down(c);
	}
}

/* Of all rows that the filter lets through, shown or not. */
struct sums {
	size_t n;
	uint64_t n_active;
	double rate, in_rate, out_rate;
};

static void add_to_sums(struct sums *s, const struct row *row, nsec_t interval)
{
	s->n++;
	s->n_active += row->n_active;
	if (!row->now || !row->before)
		return;
	s->rate += row->rate;
	s->in_rate += meter_rate(row->before->total.bytes_in, row->now->total.bytes_in, interval);
	s->out_rate +=
		meter_rate(row->before->total.bytes_out, row->now->total.bytes_out, interval);
}

/* Fills in `c`, in order, and the sums. */
static void choose_rows(const struct top_request *r, const struct meter_view *m, struct chosen *c,
	struct sums *sums)
{
	const struct vip_table *t = r->daemon->table;
	size_t at_now = 0, at_before = 0;

	for (size_t i = 0; t && i < t->n_vips; i++) {
		const struct vip *vip = &t->vips[i];
		const struct service_traffic *now = next_service(m->now, &at_now, &vip->key);
		const struct service_traffic *before =
			next_service(m->before, &at_before, &vip->key);
		struct row row;

		if (!is_meant(vip, r->filter))
			continue;
		row = make_row(vip, now, before, m->interval);
		add_to_sums(sums, &row, m->interval);
		choose(c, &row);
	}
	if (c->n)
		qsort(c->rows, c->n, sizeof(*c->rows), c->order);
}

/* --- showing --------------------------------------------------------------- */

static void put_rate(json_object *o, const char *key, double rate)
{
	if (rate < 0)
		put_string(o, key, NULL);
	else
		put_seconds(o, key, rate);
}

/* `before` NULL: rates are not known. */
static void put_traffic(json_object *o, const struct traffic *now, const struct traffic *before,
	const struct meter_view *m)
{
	put_int(o, "connections", now->connections);
	put_int(o, "packets_in", now->packets_in);
	put_int(o, "packets_out", now->packets_out);
	put_int(o, "bytes_in", now->bytes_in);
	put_int(o, "bytes_out", now->bytes_out);
	put_rate(o, "connection_rate",
		before ? meter_rate(before->connections, now->connections, m->interval) : -1);
	put_rate(o, "bytes_in_rate",
		before ? meter_rate(before->bytes_in, now->bytes_in, m->interval) : -1);
	put_rate(o, "bytes_out_rate",
		before ? meter_rate(before->bytes_out, now->bytes_out, m->interval) : -1);
}

static json_object *backend_row(const struct top_request *r, const struct row *row,
	const struct vip_backend *b, const struct service *svc, const struct meter_view *m)
{
	json_object *o = view_backend(r->daemon, row->vip, b, svc, false);
	bool local = node_owns(&r->daemon->node, &b->agent);
	const struct ip_addr *address = local ? &b->local_address : &b->address;
	uint16_t port = local ? b->local_port : b->port;
	const struct destination_traffic *now = service_traffic_find(row->now, address, port);
	const struct destination_traffic *before = service_traffic_find(row->before, address, port);

	if (!now)
		return o;
	put_int(o, "active", now->n_active);
	put_int(o, "inactive", now->n_inactive);
	put_traffic(o, &now->total, before ? &before->total : NULL, m);
	return o;
}

static json_object *backend_rows(
	struct top_request *r, const struct row *row, const struct meter_view *m)
{
	const struct service *svc =
		kernel_state_find(reconcile_have(r->daemon->reconcile), &row->vip->key);
	json_object *list = json_object_new_array();

	for (size_t i = 0; i < row->vip->n_backends && i < r->n_backends && r->backends_left;
		i++, r->backends_left--)
		json_object_array_add(list, backend_row(r, row, &row->vip->backends[i], svc, m));
	return list;
}

/* A character per backend: + takes connections, 0 has weight 0, - is not in the kernel. */
static void put_marks(json_object *o, const struct top_request *r, const struct row *row)
{
	const struct service *svc =
		kernel_state_find(reconcile_have(r->daemon->reconcile), &row->vip->key);
	size_t n = row->vip->n_backends < MARKS_MAX ? row->vip->n_backends : MARKS_MAX;
	char marks[MARKS_MAX + 1] = "";

	for (size_t i = 0; i < n; i++) {
		const struct vip_backend *b = &row->vip->backends[i];
		bool local = node_owns(&r->daemon->node, &b->agent);
		const struct destination *dest =
			svc ? service_find_destination(svc, local ? &b->local_address : &b->address,
				      local ? b->local_port : b->port)
			    : NULL;

		marks[i] = !dest ? '-' : dest->weight ? '+' : '0';
	}
	put_string(o, "marks", marks);
}

static json_object *vip_row(
	struct top_request *r, const struct row *row, const struct meter_view *m)
{
	json_object *o = json_object_new_object();
	AUTO_FREE char *text = view_vip_text(row->vip);
	const char *reason, *state = view_vip_state(r->daemon, row->vip,
				    reconcile_have(r->daemon->reconcile), &reason);
	uint64_t n_inactive = 0;

	put_string(o, "vip", text);
	put_string(o, "name", row->vip->name);
	put_protocol(o, "protocol", row->vip->key.protocol);
	put_address(o, "address", &row->vip->key.address);
	put_int(o, "port", row->vip->key.port);
	put_string(o, "state", state);
	put_string(o, "reason", reason);
	put_int(o, "n_backends", row->vip->n_backends);
	put_marks(o, r, row);
	if (row->now) {
		for (size_t i = 0; i < row->now->n_destinations; i++)
			n_inactive += row->now->destinations[i].n_inactive;
		put_int(o, "active", row->n_active);
		put_int(o, "inactive", n_inactive);
		put_traffic(o, &row->now->total, row->before ? &row->before->total : NULL, m);
	}
	if (r->n_backends)
		json_object_object_add(o, "backends", backend_rows(r, row, m));
	return o;
}

static json_object *totals(const struct sums *s, const struct meter_view *m)
{
	json_object *o = json_object_new_object();

	put_int(o, "active", s->n_active);
	put_rate(o, "connection_rate", m->before ? s->rate : -1);
	put_rate(o, "bytes_in_rate", m->before ? s->in_rate : -1);
	put_rate(o, "bytes_out_rate", m->before ? s->out_rate : -1);
	return o;
}

/* Why there are no counters; NULL: there are. */
static const char *why_not(const struct daemon *d, const struct meter_view *m)
{
	if (m->now)
		return NULL;
	return d->config->observe ? "kernel = none: nothing is forwarded" : strerror(-m->error);
}

static char *top_text(struct top_request *r, const struct meter_view *m)
{
	json_object *o = json_object_new_object(), *list = json_object_new_array();
	AUTO_FREE struct row *rows = xcalloc(r->limit, sizeof(*rows));
	struct chosen c = {.order = r->order, .max = r->limit, .rows = rows};
	struct sums sums = {0};

	choose_rows(r, m, &c, &sums);
	put_string(o, "error", why_not(r->daemon, m));
	put_age(o, "age", m->now ? m->at : 0);
	if (m->before)
		put_duration(o, "interval", m->interval);
	else
		put_seconds(o, "interval", -1);
	put_int(o, "vips_all", r->daemon->table ? r->daemon->table->n_vips : 0);
	put_int(o, "vips_meant", sums.n);
	if (m->now)
		json_object_object_add(o, "totals", totals(&sums, m));
	for (size_t i = 0; i < c.n; i++)
		json_object_array_add(list, vip_row(r, &c.rows[i], m));
	json_object_object_add(o, "vips", list);
	return put_to_text(o);
}

/* NULL: there is none of this name. */
static row_order_t find_order(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(orders); i++)
		if (strcmp(name, orders[i].name) == 0)
			return orders[i].order;
	return NULL;
}

void view_top(struct daemon *d, const struct control_request *request, struct control_reply *reply)
{
	const char *filter = control_argument(request, "filter");
	struct top_request r = {
		.daemon = d,
		.filter = filter && *filter ? filter : NULL,
		.order = find_order(str_or(control_argument(request, "sort"), "rate")),
		.backends_left = BACKENDS_MAX,
	};
	struct meter_view m;

	if (!r.order || !control_number(request, "limit", SHOWN_DEFAULT, &r.limit) ||
		!control_number(request, "backends", 0, &r.n_backends)) {
		reply->status = 400;
		reply->body = put_error("sort is rate, active, bytes or name; limit and backends "
					"are numbers");
		return;
	}
	if (r.limit > SHOWN_MAX)
		r.limit = SHOWN_MAX;
	if (meter_look(d->meter, &m))
		reply->body = top_text(&r, &m);
	else
		view_wait_for_meter(d, request, reply);
}
