/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libnl opens the socket and resolves the family; sending and receiving is batch.c's,
 * since libnl's own costs an allocation per message and hides sequence numbers. libnl's
 * error codes overlap errno with other meanings; none leaves this file.
 *
 * Reading everything is a dump of the services and then one dump per service: IPVS has
 * none of all destinations. They cannot overlap: a socket runs one dump at a time.
 */
#include "netlink.h"

#include "batch.h"
#include "wire.h"

#include <errno.h>
#include <linux/ip_vs.h>
#include <netlink/errno.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <stdlib.h>

struct ipvs_socket {
	struct nl_sock *socket;
	struct wire wire;
	struct batch batch;
};

static int from_nl_error(int error)
{
	switch (-error) {
	case NLE_NOMEM:
		return -ENOMEM;
	case NLE_OBJ_NOTFOUND:
		return -EPROTONOSUPPORT; /* no such generic netlink family */
	case NLE_PERM:
	case NLE_NOACCESS:
		return -EPERM;
	case NLE_AF_NOSUPPORT:
	case NLE_PROTO_MISMATCH:
		return -EAFNOSUPPORT;
	default:
		return -EIO;
	}
}

static int connect_family(struct ipvs_socket *s, size_t batch)
{
	int r;

	s->socket = nl_socket_alloc();
	if (!s->socket)
		return -ENOMEM;
	r = genl_connect(s->socket);
	if (r < 0)
		return from_nl_error(r);
	/* Asking for the family loads the module if need be. */
	r = genl_ctrl_resolve(s->socket, IPVS_GENL_NAME);
	if (r < 0)
		return from_nl_error(r);
	r = wire_init(&s->wire, r);
	if (r < 0)
		return r;
	return batch_init(&s->batch, nl_socket_get_fd(s->socket), batch);
}

int ipvs_socket_open(size_t batch, struct ipvs_socket **ret)
{
	struct ipvs_socket *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	r = connect_family(s, batch);
	if (r < 0) {
		ipvs_socket_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

struct ipvs_socket *ipvs_socket_free(struct ipvs_socket *s)
{
	if (!s)
		return NULL;
	batch_done(&s->batch);
	wire_done(&s->wire);
	nl_socket_free(s->socket);
	free(s);
	return NULL;
}

static void report_error(void *userdata, size_t tag, int error)
{
	step_report_add(userdata, tag, error);
}

int ipvs_socket_apply(struct ipvs_socket *s, struct step_report *r, size_t first, size_t n)
{
	int error = 0;

	for (size_t i = first; i < first + n; i++) {
		error = batch_add(&s->batch, wire_step(&s->wire, &r->steps[i]), i);
		if (!error && batch_full(&s->batch))
			error = batch_flush(&s->batch, report_error, r);
		if (error)
			return error;
	}
	return batch_flush(&s->batch, report_error, r);
}

static int on_service(void *userdata, const struct nlmsghdr *message)
{
	struct kernel_state *state = userdata;
	struct service parsed = {}, *svc;
	int r = wire_parse_service(message, &parsed);

	if (r == WIRE_E_OTHER)
		return 0;
	if (r < 0)
		return r;
	svc = kernel_state_append_service(state, &parsed.key);
	if (!svc)
		return -ENOMEM;
	*svc = parsed;
	svc->place = (uint32_t)state->n_services;
	return 0;
}

static int on_destination(void *userdata, const struct nlmsghdr *message)
{
	struct service *svc = userdata;
	struct destination dest;
	int r = wire_parse_destination(message, svc->key.address.family, &dest);

	return r < 0 ? r : service_append_destination(svc, &dest);
}

/* A service that is gone by now keeps no destinations; that is no error. */
static int read_destinations(struct ipvs_socket *s, struct service *svc)
{
	int r = batch_request(
		&s->batch, wire_get_destinations(&s->wire, &svc->key), on_destination, svc);

	return r == -ESRCH || r == -ENOENT ? 0 : r;
}

int ipvs_socket_read(struct ipvs_socket *s, bool destinations, struct kernel_state *state)
{
	int r = batch_request(&s->batch, wire_get_services(&s->wire), on_service, state);

	if (r < 0 || !destinations)
		return r;
	kernel_state_sort(state); /* drops what the dump repeated */
	for (size_t i = 0; i < state->n_services && !r; i++)
		r = read_destinations(s, state->services[i]);
	return r;
}

int ipvs_socket_read_services(struct ipvs_socket *s, const struct service_key *keys, size_t n_keys,
	struct kernel_state *state)
{
	for (size_t i = 0; i < n_keys; i++) {
		int r = batch_request(
			&s->batch, wire_get_service(&s->wire, &keys[i]), on_service, state);

		if (r == -ESRCH || r == -ENOENT)
			continue;
		if (r < 0)
			return r;
	}
	kernel_state_sort(state);
	for (size_t i = 0; i < state->n_services; i++) {
		int r = read_destinations(s, state->services[i]);

		if (r < 0)
			return r;
	}
	return 0;
}

/* --- counters -------------------------------------------------------------- */

static int on_service_traffic(void *userdata, const struct nlmsghdr *message)
{
	struct traffic_table *table = userdata;
	struct service_traffic counted = {};
	int r = wire_parse_service_traffic(message, &counted);

	if (r)
		return r == WIRE_E_OTHER ? 0 : r;
	return traffic_table_append(table, &counted) ? 0 : -ENOMEM;
}

static int on_destination_traffic(void *userdata, const struct nlmsghdr *message)
{
	struct service_traffic *service = userdata;
	struct destination_traffic counted;
	int r = wire_parse_destination_traffic(message, service->key.address.family, &counted);

	return r < 0 ? r : service_traffic_append(service, &counted);
}

static int ask_destinations(struct ipvs_socket *s, struct service_traffic *service)
{
	int r = batch_request(&s->batch, wire_get_destinations(&s->wire, &service->key),
		on_destination_traffic, service);

	service_traffic_sort(service);
	return r == -ESRCH || r == -ENOENT ? 0 : r;
}

int ipvs_socket_read_traffic(
	struct ipvs_socket *s, const struct traffic_table *before, struct traffic_table *table)
{
	int r = batch_request(&s->batch, wire_get_services(&s->wire), on_service_traffic, table);

	traffic_table_sort(table);
	for (size_t i = 0; i < table->n_services && !r; i++) {
		struct service_traffic *now = &table->services[i];
		const struct service_traffic *then = traffic_table_find(before, &now->key);

		if (then && service_traffic_is_idle(then, now)) {
			r = service_traffic_copy_destinations(now, then);
			continue;
		}
		table->n_asked++;
		r = ask_destinations(s, now);
	}
	return r;
}
