/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages are built by libnl, in one preallocated message that is used again: an
 * allocation per command (libnl zeroes a page for each) would cost more than all else.
 *
 * Nearly all commands of a large table are about destinations, and those of one kind differ
 * only in values of fixed size. So libnl builds each kind once, and a step writes its
 * values over the last one's: a tenth of the time, which matters when the kernel takes
 * less than two microseconds for a command.
 *
 * Source of the attributes' types: ip_vs_svc_policy and ip_vs_dest_policy in Linux'
 * net/netfilter/ipvs/ip_vs_ctl.c.
 */
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/ip_vs.h>
#include <netlink/attr.h>
#include <netlink/genl/genl.h>
#include <netlink/msg.h>
#include <string.h>

/* Above the largest command (about 170 bytes). */
#define WIRE_MESSAGE_SIZE 512

static void begin_in(struct nl_msg *m, int family, uint8_t command, int flags)
{
	nlmsg_hdr(m)->nlmsg_len = NLMSG_HDRLEN;
	genlmsg_put(m, 0, 0, family, 0, NLM_F_REQUEST | flags, command, IPVS_GENL_VERSION);
}

static struct nl_msg *begin(struct wire *w, uint8_t command, int flags)
{
	begin_in(w->message, w->family, command, flags);
	return w->message;
}

/* The kernel wants 16 bytes for either family. */
static void put_address(struct nl_msg *m, int attribute, const struct ip_addr *address)
{
	nla_put(m, attribute, sizeof(address->bytes), address->bytes);
}

static void put_key(struct nl_msg *m, const struct service_key *key)
{
	nla_put_u16(m, IPVS_SVC_ATTR_AF, key->address.family);
	nla_put_u16(m, IPVS_SVC_ATTR_PROTOCOL, key->protocol);
	put_address(m, IPVS_SVC_ATTR_ADDR, &key->address);
	nla_put_u16(m, IPVS_SVC_ATTR_PORT, htons(key->port));
}

static void put_service(struct nl_msg *m, const struct step *step)
{
	const struct ip_vs_flags flags = {.flags = step->service.flags, .mask = UINT32_MAX};

	nla_put_string(m, IPVS_SVC_ATTR_SCHED_NAME, step->service.scheduler);
	nla_put(m, IPVS_SVC_ATTR_FLAGS, sizeof(flags), &flags);
	nla_put_u32(m, IPVS_SVC_ATTR_TIMEOUT, step->service.timeout);
	nla_put_u32(m, IPVS_SVC_ATTR_NETMASK, step->service.netmask);
}

static void put_destination_key(struct nl_msg *m, const struct destination *dest)
{
	put_address(m, IPVS_DEST_ATTR_ADDR, &dest->address);
	nla_put_u16(m, IPVS_DEST_ATTR_PORT, htons(dest->port));
	nla_put_u16(m, IPVS_DEST_ATTR_ADDR_FAMILY, dest->address.family);
}

static void put_destination(struct nl_msg *m, const struct destination *dest)
{
	nla_put_u32(m, IPVS_DEST_ATTR_FWD_METHOD, dest->forward & IP_VS_CONN_F_FWD_MASK);
	nla_put_u32(m, IPVS_DEST_ATTR_WEIGHT, dest->weight);
	nla_put_u32(m, IPVS_DEST_ATTR_U_THRESH, dest->upper_threshold);
	nla_put_u32(m, IPVS_DEST_ATTR_L_THRESH, dest->lower_threshold);
}

static const struct nlmsghdr *service_message(
	struct wire *w, uint8_t command, const struct step *step)
{
	struct nl_msg *m = begin(w, command, 0);
	struct nlattr *nest = nla_nest_start(m, IPVS_CMD_ATTR_SERVICE);

	put_key(m, &step->key);
	if (command != IPVS_CMD_DEL_SERVICE)
		put_service(m, step);
	nla_nest_end(m, nest);
	return nlmsg_hdr(m);
}

/* Where the payload of an attribute stands; 0 if there is none. */
static size_t offset_of(struct nl_msg *m, struct nlattr *nest, int attribute)
{
	struct nlattr *a = nla_find(nla_data(nest), nla_len(nest), attribute);

	return a ? (size_t)((char *)nla_data(a) - (char *)nlmsg_hdr(m)) : 0;
}

static int template_init(struct wire_template *t, int family, uint8_t command)
{
	const struct service_key no_key = {};
	const struct destination none = {};
	struct nlattr *service, *dest;
	struct nl_msg *m = nlmsg_alloc_size(WIRE_MESSAGE_SIZE);

	if (!m)
		return -ENOMEM;
	begin_in(m, family, command, 0);
	service = nla_nest_start(m, IPVS_CMD_ATTR_SERVICE);
	put_key(m, &no_key);
	nla_nest_end(m, service);
	dest = nla_nest_start(m, IPVS_CMD_ATTR_DEST);
	put_destination_key(m, &none);
	if (command != IPVS_CMD_DEL_DEST)
		put_destination(m, &none);
	nla_nest_end(m, dest);
	*t = (struct wire_template){
		.message = m,
		.family = offset_of(m, service, IPVS_SVC_ATTR_AF),
		.protocol = offset_of(m, service, IPVS_SVC_ATTR_PROTOCOL),
		.address = offset_of(m, service, IPVS_SVC_ATTR_ADDR),
		.port = offset_of(m, service, IPVS_SVC_ATTR_PORT),
		.to_address = offset_of(m, dest, IPVS_DEST_ATTR_ADDR),
		.to_port = offset_of(m, dest, IPVS_DEST_ATTR_PORT),
		.to_family = offset_of(m, dest, IPVS_DEST_ATTR_ADDR_FAMILY),
		.forward = offset_of(m, dest, IPVS_DEST_ATTR_FWD_METHOD),
		.weight = offset_of(m, dest, IPVS_DEST_ATTR_WEIGHT),
		.upper = offset_of(m, dest, IPVS_DEST_ATTR_U_THRESH),
		.lower = offset_of(m, dest, IPVS_DEST_ATTR_L_THRESH),
	};
	return 0;
}

static void write_u16(char *base, size_t offset, uint16_t value)
{
	memcpy(base + offset, &value, sizeof(value));
}

static void write_u32(char *base, size_t offset, uint32_t value)
{
	memcpy(base + offset, &value, sizeof(value));
}

static const struct nlmsghdr *destination_message(
	const struct wire_template *t, const struct step *step)
{
	const struct service_key *key = &step->key;
	const struct destination *dest = &step->destination;
	char *base = (char *)nlmsg_hdr(t->message);

	write_u16(base, t->family, key->address.family);
	write_u16(base, t->protocol, key->protocol);
	memcpy(base + t->address, key->address.bytes, sizeof(key->address.bytes));
	write_u16(base, t->port, htons(key->port));
	memcpy(base + t->to_address, dest->address.bytes, sizeof(dest->address.bytes));
	write_u16(base, t->to_port, htons(dest->port));
	write_u16(base, t->to_family, dest->address.family);
	if (t->weight) {
		write_u32(base, t->forward, dest->forward & IP_VS_CONN_F_FWD_MASK);
		write_u32(base, t->weight, dest->weight);
		write_u32(base, t->upper, dest->upper_threshold);
		write_u32(base, t->lower, dest->lower_threshold);
	}
	return nlmsg_hdr(t->message);
}

int wire_init(struct wire *w, int family)
{
	*w = (struct wire){.family = family, .message = nlmsg_alloc_size(WIRE_MESSAGE_SIZE)};
	if (w->message && !template_init(&w->add, family, IPVS_CMD_NEW_DEST) &&
		!template_init(&w->edit, family, IPVS_CMD_SET_DEST) &&
		!template_init(&w->del, family, IPVS_CMD_DEL_DEST))
		return 0;
	wire_done(w);
	return -ENOMEM;
}

void wire_done(struct wire *w)
{
	nlmsg_free(w->message);
	nlmsg_free(w->add.message);
	nlmsg_free(w->edit.message);
	nlmsg_free(w->del.message);
	*w = (struct wire){};
}

const struct nlmsghdr *wire_step(struct wire *w, const struct step *step)
{
	switch (step->kind) {
	case STEP_SERVICE_ADD:
		return service_message(w, IPVS_CMD_NEW_SERVICE, step);
	case STEP_SERVICE_EDIT:
		return service_message(w, IPVS_CMD_SET_SERVICE, step);
	case STEP_SERVICE_DEL:
		return service_message(w, IPVS_CMD_DEL_SERVICE, step);
	case STEP_DESTINATION_ADD:
		return destination_message(&w->add, step);
	case STEP_DESTINATION_EDIT:
		return destination_message(&w->edit, step);
	case STEP_DESTINATION_DEL:
		return destination_message(&w->del, step);
	case STEP_LINK_ADD:
	case STEP_SETS_ADD:
	case STEP_ROUTE_ADD:
	case STEP_ROUTE_DEL:
	case STEP_PORT_ADD:
	case STEP_PORT_DEL:
	case STEP_ADDRESS_ADD:
	case STEP_ADDRESS_DEL:
		break;
	}
	return NULL;
}

const struct nlmsghdr *wire_get_services(struct wire *w)
{
	return nlmsg_hdr(begin(w, IPVS_CMD_GET_SERVICE, NLM_F_DUMP));
}

static const struct nlmsghdr *get_by_key(
	struct wire *w, uint8_t command, int flags, const struct service_key *key)
{
	struct nl_msg *m = begin(w, command, flags);
	struct nlattr *nest = nla_nest_start(m, IPVS_CMD_ATTR_SERVICE);

	put_key(m, key);
	nla_nest_end(m, nest);
	return nlmsg_hdr(m);
}

const struct nlmsghdr *wire_get_service(struct wire *w, const struct service_key *key)
{
	return get_by_key(w, IPVS_CMD_GET_SERVICE, NLM_F_ACK, key);
}

const struct nlmsghdr *wire_get_destinations(struct wire *w, const struct service_key *key)
{
	return get_by_key(w, IPVS_CMD_GET_DEST, NLM_F_DUMP, key);
}

static int parse_address(const struct nlattr *attribute, uint16_t family, struct ip_addr *ret)
{
	size_t length = ip_addr_len((uint8_t)family);

	if (!attribute || !length || family > UINT8_MAX || (size_t)nla_len(attribute) < length)
		return -EBADMSG;
	*ret = (struct ip_addr){.family = (uint8_t)family};
	memcpy(ret->bytes, nla_data(attribute), length);
	return 0;
}

/* Opens the message and the nest that all else is in. */
static int parse_nest(const struct nlmsghdr *message, int nest, struct nlattr **attributes, int max,
	const struct nla_policy *policy)
{
	struct nlattr *outer[IPVS_CMD_ATTR_MAX + 1];
	struct nlmsghdr *h = (struct nlmsghdr *)message; /* libnl knows no const here */

	if (h->nlmsg_len < NLMSG_LENGTH(GENL_HDRLEN) ||
		genlmsg_parse(h, 0, outer, IPVS_CMD_ATTR_MAX, NULL) < 0 || !outer[nest] ||
		nla_parse_nested(attributes, max, outer[nest], policy) < 0)
		return -EBADMSG;
	return 0;
}

static const struct nla_policy service_policy[IPVS_SVC_ATTR_MAX + 1] = {
	[IPVS_SVC_ATTR_AF] = {.type = NLA_U16},
	[IPVS_SVC_ATTR_PROTOCOL] = {.type = NLA_U16},
	[IPVS_SVC_ATTR_PORT] = {.type = NLA_U16},
	[IPVS_SVC_ATTR_SCHED_NAME] = {.type = NLA_STRING},
	[IPVS_SVC_ATTR_FLAGS] = {.minlen = sizeof(struct ip_vs_flags)},
	[IPVS_SVC_ATTR_TIMEOUT] = {.type = NLA_U32},
	[IPVS_SVC_ATTR_NETMASK] = {.type = NLA_U32},
	[IPVS_SVC_ATTR_STATS64] = {.type = NLA_NESTED},
};

static int parse_service_key(struct nlattr *const *a, struct service_key *ret)
{
	uint16_t protocol;

	if (!a[IPVS_SVC_ATTR_AF])
		return -EBADMSG;
	if (!a[IPVS_SVC_ATTR_PROTOCOL] || a[IPVS_SVC_ATTR_FWMARK])
		return WIRE_E_OTHER;
	protocol = nla_get_u16(a[IPVS_SVC_ATTR_PROTOCOL]);
	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)
		return WIRE_E_OTHER;
	if (!a[IPVS_SVC_ATTR_PORT])
		return -EBADMSG;
	ret->protocol = (uint8_t)protocol;
	ret->port = ntohs(nla_get_u16(a[IPVS_SVC_ATTR_PORT]));
	return parse_address(
		a[IPVS_SVC_ATTR_ADDR], nla_get_u16(a[IPVS_SVC_ATTR_AF]), &ret->address);
}

int wire_parse_service(const struct nlmsghdr *message, struct service *ret)
{
	struct nlattr *a[IPVS_SVC_ATTR_MAX + 1];
	struct service_key key = {};
	struct ip_vs_flags flags;
	int r;

	r = parse_nest(message, IPVS_CMD_ATTR_SERVICE, a, IPVS_SVC_ATTR_MAX, service_policy);
	if (!r)
		r = parse_service_key(a, &key);
	if (r)
		return r;
	if (!a[IPVS_SVC_ATTR_SCHED_NAME] || !a[IPVS_SVC_ATTR_FLAGS] || !a[IPVS_SVC_ATTR_TIMEOUT] ||
		!a[IPVS_SVC_ATTR_NETMASK])
		return -EBADMSG;
	ret->key = key;
	memset(ret->scheduler, 0, sizeof(ret->scheduler));
	nla_strlcpy(ret->scheduler, a[IPVS_SVC_ATTR_SCHED_NAME], sizeof(ret->scheduler));
	memcpy(&flags, nla_data(a[IPVS_SVC_ATTR_FLAGS]), sizeof(flags));
	ret->flags = flags.flags & ~(uint32_t)IP_VS_SVC_F_HASHED;
	ret->timeout = nla_get_u32(a[IPVS_SVC_ATTR_TIMEOUT]);
	ret->netmask = nla_get_u32(a[IPVS_SVC_ATTR_NETMASK]);
	return 0;
}

static const struct nla_policy destination_policy[IPVS_DEST_ATTR_MAX + 1] = {
	[IPVS_DEST_ATTR_PORT] = {.type = NLA_U16},
	[IPVS_DEST_ATTR_FWD_METHOD] = {.type = NLA_U32},
	[IPVS_DEST_ATTR_WEIGHT] = {.type = NLA_U32},
	[IPVS_DEST_ATTR_U_THRESH] = {.type = NLA_U32},
	[IPVS_DEST_ATTR_L_THRESH] = {.type = NLA_U32},
	[IPVS_DEST_ATTR_ACTIVE_CONNS] = {.type = NLA_U32},
	[IPVS_DEST_ATTR_INACT_CONNS] = {.type = NLA_U32},
	[IPVS_DEST_ATTR_ADDR_FAMILY] = {.type = NLA_U16},
	[IPVS_DEST_ATTR_STATS64] = {.type = NLA_NESTED},
};

static const struct nla_policy stats_policy[IPVS_STATS_ATTR_MAX + 1] = {
	[IPVS_STATS_ATTR_CONNS] = {.type = NLA_U64},
	[IPVS_STATS_ATTR_INPKTS] = {.type = NLA_U64},
	[IPVS_STATS_ATTR_OUTPKTS] = {.type = NLA_U64},
	[IPVS_STATS_ATTR_INBYTES] = {.type = NLA_U64},
	[IPVS_STATS_ATTR_OUTBYTES] = {.type = NLA_U64},
};

static uint64_t optional_u64(const struct nlattr *attribute)
{
	return attribute ? nla_get_u64(attribute) : 0;
}

/* `nest` is STATS64, since Linux 4.1; the older STATS counts in 32 bits and is not read. */
static int parse_stats(struct nlattr *nest, struct traffic *ret)
{
	struct nlattr *a[IPVS_STATS_ATTR_MAX + 1];

	*ret = (struct traffic){0};
	if (!nest)
		return 0;
	if (nla_parse_nested(a, IPVS_STATS_ATTR_MAX, nest, stats_policy) < 0)
		return -EBADMSG;
	*ret = (struct traffic){
		.connections = optional_u64(a[IPVS_STATS_ATTR_CONNS]),
		.packets_in = optional_u64(a[IPVS_STATS_ATTR_INPKTS]),
		.packets_out = optional_u64(a[IPVS_STATS_ATTR_OUTPKTS]),
		.bytes_in = optional_u64(a[IPVS_STATS_ATTR_INBYTES]),
		.bytes_out = optional_u64(a[IPVS_STATS_ATTR_OUTBYTES]),
	};
	return 0;
}

static uint32_t optional_u32(const struct nlattr *attribute)
{
	return attribute ? nla_get_u32(attribute) : 0;
}

int wire_parse_destination(const struct nlmsghdr *message, uint8_t family, struct destination *ret)
{
	struct nlattr *a[IPVS_DEST_ATTR_MAX + 1];
	struct destination dest = {};
	uint16_t own = family;

	if (parse_nest(message, IPVS_CMD_ATTR_DEST, a, IPVS_DEST_ATTR_MAX, destination_policy) <
			0 ||
		!a[IPVS_DEST_ATTR_PORT] || !a[IPVS_DEST_ATTR_FWD_METHOD] ||
		!a[IPVS_DEST_ATTR_WEIGHT])
		return -EBADMSG;
	if (a[IPVS_DEST_ATTR_ADDR_FAMILY])
		own = nla_get_u16(a[IPVS_DEST_ATTR_ADDR_FAMILY]);
	if (parse_address(a[IPVS_DEST_ATTR_ADDR], own, &dest.address) < 0)
		return -EBADMSG;
	dest.port = ntohs(nla_get_u16(a[IPVS_DEST_ATTR_PORT]));
	dest.forward = nla_get_u32(a[IPVS_DEST_ATTR_FWD_METHOD]) & IP_VS_CONN_F_FWD_MASK;
	dest.weight = nla_get_u32(a[IPVS_DEST_ATTR_WEIGHT]);
	dest.upper_threshold = optional_u32(a[IPVS_DEST_ATTR_U_THRESH]);
	dest.lower_threshold = optional_u32(a[IPVS_DEST_ATTR_L_THRESH]);
	dest.n_active = optional_u32(a[IPVS_DEST_ATTR_ACTIVE_CONNS]);
	dest.n_inactive = optional_u32(a[IPVS_DEST_ATTR_INACT_CONNS]);
	*ret = dest;
	return 0;
}

int wire_parse_service_traffic(const struct nlmsghdr *message, struct service_traffic *ret)
{
	struct nlattr *a[IPVS_SVC_ATTR_MAX + 1];
	struct service_key key = {};
	struct traffic total;
	int r = parse_nest(message, IPVS_CMD_ATTR_SERVICE, a, IPVS_SVC_ATTR_MAX, service_policy);

	if (!r)
		r = parse_service_key(a, &key);
	if (!r)
		r = parse_stats(a[IPVS_SVC_ATTR_STATS64], &total);
	if (r)
		return r;
	ret->key = key;
	ret->total = total;
	return 0;
}

int wire_parse_destination_traffic(
	const struct nlmsghdr *message, uint8_t family, struct destination_traffic *ret)
{
	struct nlattr *a[IPVS_DEST_ATTR_MAX + 1];
	struct destination dest;
	struct traffic total;
	int r = wire_parse_destination(message, family, &dest);

	if (!r)
		r = parse_nest(
			message, IPVS_CMD_ATTR_DEST, a, IPVS_DEST_ATTR_MAX, destination_policy);
	if (!r)
		r = parse_stats(a[IPVS_DEST_ATTR_STATS64], &total);
	if (r)
		return r;
	*ret = (struct destination_traffic){
		.address = dest.address,
		.port = dest.port,
		.n_active = dest.n_active,
		.n_inactive = dest.n_inactive,
		.total = total,
	};
	return 0;
}
