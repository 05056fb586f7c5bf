/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ties the parts together: three sockets opened inside one network namespace, and what is
 * common to the running kernel and a model of one: cutting steps into runs of one class,
 * and withholding steps about an address whose earlier step failed.
 */
#include "kernel_ops.h"

#include "ipset.h"
#include "netlink.h"
#include "netns.h"
#include "route.h"

#include <errno.h>
#include <stdlib.h>

/* Commands per send. 64 are much faster than one; beyond that only the cost of system calls
 * shrinks, which is large in some virtual machines. A send of so many takes about 1 ms;
 * more than 2,000 are too much for a send buffer of the default size. */
#define DEFAULT_BATCH 512
#define DEFAULT_DEVICE "vipd0"

enum step_class step_class(enum step_kind kind)
{
	switch (kind) {
	case STEP_LINK_ADD:
		return STEP_CLASS_LINK;
	case STEP_SETS_ADD:
		return STEP_CLASS_SETS;
	case STEP_ROUTE_ADD:
	case STEP_ROUTE_DEL:
		return STEP_CLASS_ROUTE;
	case STEP_PORT_ADD:
	case STEP_PORT_DEL:
	case STEP_ADDRESS_ADD:
	case STEP_ADDRESS_DEL:
		return STEP_CLASS_ENTRY;
	case STEP_SERVICE_ADD:
		return STEP_CLASS_SERVICE_ADD;
	case STEP_SERVICE_EDIT:
	case STEP_SERVICE_DEL:
	case STEP_DESTINATION_ADD:
	case STEP_DESTINATION_EDIT:
	case STEP_DESTINATION_DEL:
		return STEP_CLASS_IPVS;
	}
	return STEP_CLASS_IPVS;
}

static bool is_destination(enum step_kind kind)
{
	return kind == STEP_DESTINATION_ADD || kind == STEP_DESTINATION_EDIT ||
	       kind == STEP_DESTINATION_DEL;
}

void step_report_add(struct step_report *r, size_t index, int error)
{
	const struct step *step = &r->steps[index];
	const struct ip_addr *address = step_address(step);

	if (r->n < r->n_errors)
		r->errors[r->n] = (struct step_error){.index = index, .error = error};
	r->n++;
	if (address && !is_destination(step->kind) && step->kind != STEP_ROUTE_ADD &&
		kernel_state_set_address(&r->blocked, address) < 0)
		r->out_of_memory = true;
	if (step->kind == STEP_SERVICE_ADD && kernel_state_set_port(&r->blocked, &step->key) < 0)
		r->out_of_memory = true;
}

static bool is_blocked(const struct step_report *r, size_t index)
{
	const struct step *step = &r->steps[index];
	const struct ip_addr *address;

	if (!r->blocked.n_addresses)
		return false;
	if (is_destination(step->kind))
		return kernel_state_has_port(&r->blocked, &step->key);
	address = step_address(step);
	return address && kernel_state_has_address(&r->blocked, address);
}

/* The length of the run that begins at `first`: one class, nothing blocked. */
static size_t run_length(const struct step_report *r, size_t first, size_t n_steps)
{
	enum step_class class = step_class(r->steps[first].kind);
	size_t n = 0;

	while (first + n < n_steps && step_class(r->steps[first + n].kind) == class &&
		!is_blocked(r, first + n))
		n++;
	return n;
}

static int error_cmp(const void *a, const void *b)
{
	const struct step_error *x = a, *y = b;

	return x->index < y->index ? -1 : x->index > y->index;
}

static int apply_runs(struct kernel *k, struct step_report *r, size_t n_steps)
{
	for (size_t i = 0; i < n_steps;) {
		size_t n = run_length(r, i, n_steps);
		int error;

		if (!n) {
			step_report_add(r, i, -ECANCELED);
			n = 1;
		} else {
			error = k->ops->apply(k, r, i, n);
			if (error)
				return error;
			if (r->out_of_memory)
				return -ENOMEM;
		}
		i += n;
	}
	return 0;
}

int kernel_apply(struct kernel *k, const struct step *steps, size_t n_steps,
	struct step_error *errors, size_t n_errors, size_t *ret_n_errors)
{
	struct step_report r = {.errors = errors, .n_errors = n_errors, .steps = steps};
	int error = apply_runs(k, &r, n_steps);

	if (r.n && n_errors)
		qsort(errors, r.n < n_errors ? r.n : n_errors, sizeof(errors[0]), error_cmp);
	free(r.blocked.addresses);
	free(r.blocked.ports);
	*ret_n_errors = r.n;
	return error;
}

static int read_state(struct kernel *k, unsigned int parts, const struct service_key *keys,
	size_t n_keys, struct kernel_state **ret)
{
	struct kernel_state *s = kernel_state_new();
	int r;

	if (!s)
		return -ENOMEM;
	r = k->ops->read(k, parts, keys, n_keys, s);
	if (r < 0) {
		kernel_state_free(s);
		return r;
	}
	kernel_state_sort(s);
	*ret = s;
	return 0;
}

int kernel_read(struct kernel *k, struct kernel_state **ret)
{
	return read_state(k, KERNEL_ALL, NULL, 0, ret);
}

int kernel_read_parts(struct kernel *k, unsigned int parts, struct kernel_state **ret)
{
	return read_state(k, parts, NULL, 0, ret);
}

int kernel_read_services(
	struct kernel *k, const struct service_key *keys, size_t n_keys, struct kernel_state **ret)
{
	static const struct service_key none;

	return read_state(
		k, KERNEL_SERVICES | KERNEL_DESTINATIONS, keys ? keys : &none, n_keys, ret);
}

int kernel_read_traffic(
	struct kernel *k, const struct traffic_table *before, struct traffic_table **ret)
{
	struct traffic_table *table = traffic_table_new();
	int r = table ? 0 : -ENOMEM;

	if (!r && k->ops->read_traffic)
		r = k->ops->read_traffic(k, before, table);
	if (r < 0) {
		traffic_table_free(table);
		return r;
	}
	*ret = table;
	return 0;
}

int kernel_remove_frame(struct kernel *k)
{
	return k->ops->remove_frame(k);
}

struct kernel *kernel_free(struct kernel *k)
{
	if (k)
		k->ops->free(k);
	return NULL;
}

/* The running kernel. */
struct real_kernel {
	struct kernel base;
	struct ipvs_socket *ipvs;
	struct ipset_socket *ipset;
	struct route_socket *route;
};

static void real_free(struct kernel *k)
{
	struct real_kernel *real = (struct real_kernel *)k;

	ipvs_socket_free(real->ipvs);
	ipset_socket_free(real->ipset);
	route_socket_free(real->route);
	free(real);
}

static int read_services(struct real_kernel *real, unsigned int parts,
	const struct service_key *keys, size_t n_keys, struct kernel_state *s)
{
	if (!(parts & (KERNEL_SERVICES | KERNEL_DESTINATIONS)))
		return 0;
	if (keys)
		return ipvs_socket_read_services(real->ipvs, keys, n_keys, s);
	return ipvs_socket_read(real->ipvs, parts & KERNEL_DESTINATIONS, s);
}

static int real_read(struct kernel *k, unsigned int parts, const struct service_key *keys,
	size_t n_keys, struct kernel_state *s)
{
	struct real_kernel *real = (struct real_kernel *)k;
	int r = read_services(real, parts, keys, n_keys, s);

	if (!r && parts & KERNEL_LINK)
		r = route_link_read(real->route, &s->has_link);
	if (!r && parts & KERNEL_ROUTES)
		r = route_read(real->route, s);
	if (!r && parts & KERNEL_SETS)
		r = ipset_read(real->ipset, s);
	return r;
}

static int real_apply(struct kernel *k, struct step_report *r, size_t first, size_t n)
{
	struct real_kernel *real = (struct real_kernel *)k;
	int error = 0;

	switch (step_class(r->steps[first].kind)) {
	case STEP_CLASS_LINK:
		error = route_link_add(real->route);
		break;
	case STEP_CLASS_SETS:
		error = ipset_create(real->ipset);
		break;
	case STEP_CLASS_ROUTE:
		return route_apply(real->route, r, first, n);
	case STEP_CLASS_ENTRY:
		return ipset_apply(real->ipset, r, first, n);
	case STEP_CLASS_SERVICE_ADD:
	case STEP_CLASS_IPVS:
		return ipvs_socket_apply(real->ipvs, r, first, n);
	}
	for (size_t i = first; error && i < first + n; i++)
		step_report_add(r, i, error);
	return 0;
}

static int real_remove_frame(struct kernel *k)
{
	struct real_kernel *real = (struct real_kernel *)k;
	int r = route_link_del(real->route);
	int s = ipset_destroy(real->ipset);

	return r ? r : s;
}

static int real_read_traffic(
	struct kernel *k, const struct traffic_table *before, struct traffic_table *table)
{
	return ipvs_socket_read_traffic(((struct real_kernel *)k)->ipvs, before, table);
}

static const struct kernel_ops real_ops = {
	.free = real_free,
	.read = real_read,
	.apply = real_apply,
	.remove_frame = real_remove_frame,
	.read_traffic = real_read_traffic,
};

struct open_request {
	const struct kernel_options *options;
	struct real_kernel *kernel;
	const char *what;
};

static int open_inside(void *userdata)
{
	struct open_request *q = userdata;
	const struct kernel_options *o = q->options;
	size_t batch = o->batch ? o->batch : DEFAULT_BATCH;
	int r;

	q->what = "IPVS (module ip_vs)";
	r = ipvs_socket_open(batch, &q->kernel->ipvs);
	if (r < 0)
		return r;
	q->what = "ipset (modules ip_set_hash_ip, ip_set_hash_ipport)";
	r = ipset_socket_open(&q->kernel->ipset);
	if (r < 0)
		return r;
	q->what = "routing netlink";
	return route_socket_open(o->device ? o->device : DEFAULT_DEVICE, batch, &q->kernel->route);
}

int kernel_open(const struct kernel_options *options, struct kernel **ret, const char **ret_what)
{
	struct open_request q = {.options = options, .what = "network namespace"};
	int r;

	if (options->dry)
		return dry_kernel_open(ret);
	if (options->open)
		return options->open(options, ret);
	q.kernel = calloc(1, sizeof(*q.kernel));
	if (!q.kernel)
		return -ENOMEM;
	q.kernel->base.ops = &real_ops;
	r = netns_call(options->netns_path, open_inside, &q);
	if (r < 0) {
		if (ret_what)
			*ret_what = q.what;
		kernel_free(&q.kernel->base);
		return r;
	}
	*ret = &q.kernel->base;
	return 0;
}
