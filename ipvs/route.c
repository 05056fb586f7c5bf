/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The link is created with IPv6 address generation off, so that no link-local address (and
 * its duplicate detection) appears on it. The kernel takes that setting only for a link
 * that exists, hence three messages: create, set, bring up.
 *
 * A route is added exclusively, never by replacing: for IPv4, replacing takes the first
 * route of that prefix whoever made it, and that may be the kernel's own for an address of
 * the host. Where the kernel answers that there is one, the link's routes are read, and
 * only a route of ours is replaced (its preferred source changes, without a gap).
 *
 * Dumps ask the kernel to filter (strict checking, since Linux 4.20), so that a router's
 * full table is not copied; what comes is checked again, for older kernels ignore it.
 */
#include "route.h"

#include "batch.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define LINK_KIND "dummy"

struct route_socket {
	struct mnl_socket *socket;
	struct batch batch;
	char device[IF_NAMESIZE];
};

static int on_attribute(const struct nlattr *attribute, void *data)
{
	const struct nlattr **table = data;
	uint16_t type = mnl_attr_get_type(attribute);

	/* table[0] is never an attribute's; it holds the table's end */
	if (type > 0 && type < (uintptr_t)table[0])
		table[type] = attribute;
	return MNL_CB_OK;
}

/* Fills table[1 .. n), whose other elements must be NULL. */
static int parse_attributes(
	const struct nlmsghdr *h, size_t offset, const struct nlattr **table, size_t n)
{
	if (h->nlmsg_len < NLMSG_LENGTH(offset))
		return -EBADMSG;
	table[0] = (const struct nlattr *)(uintptr_t)n;
	return mnl_attr_parse(h, (unsigned int)offset, on_attribute, table) == MNL_CB_ERROR
		       ? -EBADMSG
		       : 0;
}

static size_t payload(const struct nlattr *attribute)
{
	return attribute ? mnl_attr_get_payload_len(attribute) : 0;
}

static bool is_dummy(const struct nlattr *linkinfo)
{
	const struct nlattr *attribute;

	if (!linkinfo)
		return false;
	mnl_attr_for_each_nested(attribute,
		linkinfo) if (mnl_attr_get_type(attribute) ==
			      IFLA_INFO_KIND) return payload(attribute) >= sizeof(LINK_KIND) - 1 &&
		!strncmp(mnl_attr_get_str(attribute), LINK_KIND, payload(attribute)) &&
		strnlen(mnl_attr_get_str(attribute), payload(attribute)) == sizeof(LINK_KIND) - 1;
	return false;
}

int route_parse_link(const struct nlmsghdr *message, struct route_link *ret)
{
	const struct nlattr *table[IFLA_LINKINFO + 1] = {};
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(message);

	if (message->nlmsg_type != RTM_NEWLINK ||
		parse_attributes(message, sizeof(*info), table, IFLA_LINKINFO + 1) < 0)
		return -EBADMSG;
	*ret = (struct route_link){
		.index = info->ifi_index,
		.up = info->ifi_flags & IFF_UP,
		.dummy = is_dummy(table[IFLA_LINKINFO]),
	};
	return 0;
}

/* Also of an absent attribute: no address. */
static struct ip_addr get_address(const struct nlattr *attribute, uint8_t family)
{
	struct ip_addr address = {};

	if (payload(attribute) != ip_addr_len(family))
		return address;
	address.family = family;
	memcpy(address.bytes, mnl_attr_get_payload(attribute), ip_addr_len(family));
	return address;
}

int route_parse(const struct nlmsghdr *message, int index, struct vip_route *ret)
{
	const struct nlattr *table[RTA_PREFSRC + 1] = {};
	const struct rtmsg *rt = mnl_nlmsg_get_payload(message);
	struct ip_addr address;

	if (message->nlmsg_type != RTM_NEWROUTE ||
		parse_attributes(message, sizeof(*rt), table, RTA_PREFSRC + 1) < 0)
		return -EBADMSG;
	if (rt->rtm_type != RTN_LOCAL || rt->rtm_table != RT_TABLE_LOCAL ||
		rt->rtm_protocol == RTPROT_KERNEL || !ip_addr_len(rt->rtm_family) ||
		rt->rtm_dst_len != 8 * ip_addr_len(rt->rtm_family))
		return ROUTE_E_OTHER;
	if (payload(table[RTA_OIF]) != sizeof(uint32_t) ||
		mnl_attr_get_u32(table[RTA_OIF]) != (uint32_t)index)
		return ROUTE_E_OTHER;
	address = get_address(table[RTA_DST], rt->rtm_family);
	if (!address.family)
		return -EBADMSG;
	ret->address = address;
	ret->source = get_address(table[RTA_PREFSRC], rt->rtm_family);
	return 0;
}

static struct nlmsghdr *header(void *buf, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *h;

	memset(buf, 0, ROUTE_MESSAGE_SIZE); /* libmnl leaves the padding as it was */
	h = mnl_nlmsg_put_header(buf);
	h->nlmsg_type = type;
	h->nlmsg_flags = NLM_F_REQUEST | flags;
	return h;
}

struct nlmsghdr *route_build(
	void *buf, const struct vip_route *route, int index, enum step_kind kind, uint16_t flags)
{
	bool add = kind == STEP_ROUTE_ADD;
	struct nlmsghdr *h = header(buf, add ? RTM_NEWROUTE : RTM_DELROUTE, flags);
	struct rtmsg *rt = mnl_nlmsg_put_extra_header(h, sizeof(*rt));
	size_t length = ip_addr_len(route->address.family);

	rt->rtm_family = route->address.family;
	rt->rtm_dst_len = (uint8_t)(8 * length);
	rt->rtm_table = RT_TABLE_LOCAL;
	rt->rtm_type = RTN_LOCAL;
	/* deleting: whatever its protocol, of whatever scope */
	rt->rtm_protocol = add ? RTPROT_VIPD : RTPROT_UNSPEC;
	rt->rtm_scope = add ? RT_SCOPE_HOST : RT_SCOPE_NOWHERE;
	mnl_attr_put(h, RTA_DST, length, route->address.bytes);
	mnl_attr_put_u32(h, RTA_OIF, (uint32_t)index);
	if (add && route->source.family)
		mnl_attr_put(
			h, RTA_PREFSRC, ip_addr_len(route->source.family), route->source.bytes);
	return h;
}

static struct nlmsghdr *link_message(void *buf, uint16_t type, uint16_t flags, const char *device)
{
	struct nlmsghdr *h = header(buf, type, flags);

	mnl_nlmsg_put_extra_header(h, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(h, IFLA_IFNAME, device);
	return h;
}

struct nlmsghdr *route_build_link_add(void *buf, const char *device)
{
	struct nlmsghdr *h =
		link_message(buf, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, device);
	struct nlattr *nest = mnl_attr_nest_start(h, IFLA_LINKINFO);

	mnl_attr_put_strz(h, IFLA_INFO_KIND, LINK_KIND);
	mnl_attr_nest_end(h, nest);
	return h;
}

/* No IPv6 address of the kernel's making. */
static struct nlmsghdr *build_link_quiet(void *buf, const char *device)
{
	struct nlmsghdr *h = link_message(buf, RTM_SETLINK, NLM_F_ACK, device);
	struct nlattr *families = mnl_attr_nest_start(h, IFLA_AF_SPEC);
	struct nlattr *inet6 = mnl_attr_nest_start(h, AF_INET6);

	mnl_attr_put_u8(h, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
	mnl_attr_nest_end(h, inet6);
	mnl_attr_nest_end(h, families);
	return h;
}

static struct nlmsghdr *build_link_up(void *buf, const char *device)
{
	struct nlmsghdr *h = link_message(buf, RTM_SETLINK, NLM_F_ACK, device);
	struct ifinfomsg *info = mnl_nlmsg_get_payload(h);

	info->ifi_flags = info->ifi_change = IFF_UP;
	return h;
}

int route_socket_open(const char *device, size_t batch, struct route_socket **ret)
{
	struct route_socket *s;
	int one = 1, r;

	if (!*device || strlen(device) >= sizeof(s->device) || strpbrk(device, "/ \t\n"))
		return -EINVAL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	strcpy(s->device, device);
	s->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (!s->socket || mnl_socket_bind(s->socket, 0, MNL_SOCKET_AUTOPID) < 0) {
		r = -errno;
		route_socket_free(s);
		return r;
	}
	mnl_socket_setsockopt(s->socket, NETLINK_GET_STRICT_CHK, &one, sizeof(one));
	r = batch_init(&s->batch, mnl_socket_get_fd(s->socket), batch);
	if (r < 0) {
		route_socket_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

struct route_socket *route_socket_free(struct route_socket *s)
{
	if (!s)
		return NULL;
	batch_done(&s->batch);
	if (s->socket)
		mnl_socket_close(s->socket);
	free(s);
	return NULL;
}

static int on_link(void *userdata, const struct nlmsghdr *message)
{
	return route_parse_link(message, userdata);
}

/* The link, with index 0 if there is none. 0, -ENOTUNIQ, ... */
static int find_link(struct route_socket *s, struct route_link *ret)
{
	char buf[ROUTE_MESSAGE_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct route_link link = {};
	int r = batch_request(
		&s->batch, link_message(buf, RTM_GETLINK, NLM_F_ACK, s->device), on_link, &link);

	if (r == -ENODEV)
		link = (struct route_link){};
	else if (r < 0)
		return r;
	else if (!link.dummy)
		return -ENOTUNIQ;
	*ret = link;
	return 0;
}

int route_link_read(struct route_socket *s, bool *ret)
{
	struct route_link link;
	int r = find_link(s, &link);

	if (r < 0)
		return r;
	*ret = link.index && link.up;
	return 0;
}

int route_link_add(struct route_socket *s)
{
	char buf[ROUTE_MESSAGE_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct route_link link;
	int r = find_link(s, &link);

	if (r < 0)
		return r;
	if (!link.index) {
		r = batch_request(&s->batch, route_build_link_add(buf, s->device), NULL, NULL);
		if (r < 0)
			return r;
	}
	r = batch_request(&s->batch, build_link_quiet(buf, s->device), NULL, NULL);
	if (r < 0 && r != -EAFNOSUPPORT && r != -EOPNOTSUPP) /* a kernel without IPv6 */
		return r;
	return batch_request(&s->batch, build_link_up(buf, s->device), NULL, NULL);
}

int route_link_del(struct route_socket *s)
{
	char buf[ROUTE_MESSAGE_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct route_link link;
	int r = find_link(s, &link);

	if (r < 0 || !link.index)
		return r;
	r = batch_request(
		&s->batch, link_message(buf, RTM_DELLINK, NLM_F_ACK, s->device), NULL, NULL);
	return r == -ENODEV ? 0 : r;
}

struct read_context {
	struct kernel_state *state;
	int index;
};

static int on_route(void *userdata, const struct nlmsghdr *message)
{
	struct read_context *c = userdata;
	struct vip_route route;
	int r = route_parse(message, c->index, &route);

	if (r == ROUTE_E_OTHER)
		return 0;
	return r < 0 ? r : kernel_state_append_route(c->state, &route);
}

static int dump_family(struct route_socket *s, struct read_context *c, uint8_t family)
{
	char buf[ROUTE_MESSAGE_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nlmsghdr *h = header(buf, RTM_GETROUTE, NLM_F_DUMP);
	struct rtmsg *rt = mnl_nlmsg_put_extra_header(h, sizeof(*rt));
	int r;

	rt->rtm_family = family;
	rt->rtm_table = RT_TABLE_LOCAL;
	rt->rtm_type = RTN_LOCAL;
	mnl_attr_put_u32(h, RTA_OIF, (uint32_t)c->index);
	r = batch_request(&s->batch, h, on_route, c);
	/* a kernel without IPv6, or without any route of it */
	return r == -EAFNOSUPPORT || r == -EOPNOTSUPP || r == -ENOENT ? 0 : r;
}

static int read_routes(struct route_socket *s, int index, struct kernel_state *state)
{
	struct read_context c = {state, index};
	int r = dump_family(s, &c, AF_INET);

	return r < 0 ? r : dump_family(s, &c, AF_INET6);
}

int route_read(struct route_socket *s, struct kernel_state *state)
{
	struct route_link link;
	int r = find_link(s, &link);

	if (r < 0 || !link.index)
		return r;
	return read_routes(s, link.index, state);
}

struct apply_context {
	struct route_socket *socket;
	struct step_report *report;
	int index;
	size_t *existing; /* steps whose address has a local route */
	size_t n_existing, existing_allocated;
	int error;
};

static void on_apply_error(void *userdata, size_t tag, int error)
{
	struct apply_context *c = userdata;

	if (error == -ESRCH && c->report->steps[tag].kind == STEP_ROUTE_DEL)
		return; /* as wanted */
	if (error != -EEXIST) {
		step_report_add(c->report, tag, error);
		return;
	}
	if (c->n_existing == c->existing_allocated) {
		size_t more = c->existing_allocated ? c->existing_allocated * 2 : 8;
		size_t *grown = reallocarray(c->existing, more, sizeof(*grown));

		if (!grown) {
			c->error = -ENOMEM;
			return;
		}
		c->existing = grown;
		c->existing_allocated = more;
	}
	c->existing[c->n_existing++] = tag;
}

static int send_step(struct apply_context *c, size_t i, uint16_t flags)
{
	char buf[ROUTE_MESSAGE_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	const struct step *step = &c->report->steps[i];
	int r = batch_add(
		&c->socket->batch, route_build(buf, &step->route, c->index, step->kind, flags), i);

	if (!r && batch_full(&c->socket->batch))
		r = batch_flush(&c->socket->batch, on_apply_error, c);
	return r;
}

/* The routes that could not be added because there is one: ours are replaced. */
static int apply_existing(struct apply_context *c)
{
	struct kernel_state ours = {};
	size_t n = c->n_existing;
	int r = read_routes(c->socket, c->index, &ours);

	kernel_state_sort(&ours);
	for (size_t i = 0; i < n && !r; i++) {
		const struct step *step = &c->report->steps[c->existing[i]];
		const struct vip_route *have = kernel_state_find_route(&ours, &step->route.address);

		if (!have)
			step_report_add(c->report, c->existing[i], -EEXIST);
		else if (ip_addr_cmp(&have->source, &step->route.source))
			r = send_step(c, c->existing[i], NLM_F_CREATE | NLM_F_REPLACE);
	}
	if (!r)
		r = batch_flush(&c->socket->batch, on_apply_error, c);
	/* a replacement that failed so, somebody's route came between */
	for (size_t i = n; i < c->n_existing; i++)
		step_report_add(c->report, c->existing[i], -EEXIST);
	free(ours.routes);
	return r;
}

static int apply_on_link(struct apply_context *c, size_t first, size_t n)
{
	int r = 0;

	for (size_t i = first; i < first + n && !r; i++)
		r = send_step(c, i,
			c->report->steps[i].kind == STEP_ROUTE_ADD ? NLM_F_CREATE | NLM_F_EXCL : 0);
	if (!r)
		r = batch_flush(&c->socket->batch, on_apply_error, c);
	if (!r && c->n_existing)
		r = apply_existing(c);
	return r ? r : c->error;
}

/* No link: no routes either. */
static void apply_without_link(struct step_report *report, size_t first, size_t n, int error)
{
	for (size_t i = first; i < first + n; i++)
		if (report->steps[i].kind == STEP_ROUTE_ADD || error != -ENODEV)
			step_report_add(report, i, error);
}

int route_apply(struct route_socket *s, struct step_report *r, size_t first, size_t n)
{
	struct apply_context c = {.socket = s, .report = r};
	struct route_link link;
	int error = find_link(s, &link);

	if (error == -ENOTUNIQ || (!error && !link.index)) {
		apply_without_link(r, first, n, error ? error : -ENODEV);
		return 0;
	}
	if (error)
		return error;
	c.index = link.index;
	error = apply_on_link(&c, first, n);
	free(c.existing);
	return error;
}
