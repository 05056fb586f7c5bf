/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writing goes through libipset, in the way of `ipset restore`: commands with a line number
 * for the same set are gathered into one message, until the set or the command changes or
 * we commit. What libipset cannot do is kept in here:
 *
 * - It tells of a batch only that one entry failed and why, as a sentence for people. All
 *   commands are made idempotent (an entry that is there already is no error), so a batch
 *   that failed is done again one by one, which finds the entries at fault. The sentence is
 *   turned back into an errno; what is not recognised is -EIO.
 * - It waits for the kernel without a time-out. The kernel answers set commands before
 *   send() returns.
 * - Its list of set types and its cache of sets are the process', without a lock: hence ours.
 *   The cache goes by name, so it may be wrong about a set in another namespace or one that
 *   was replaced by hand; the kernel then refuses the command.
 *
 * Reading does not: libipset prints listings as text, looking up the name of each entry's
 * protocol in /etc/protocols. A dump by libmnl gives the same as numbers.
 */
#include "ipset.h"

#include "batch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libipset/data.h>
#include <libipset/linux_ip_set.h>
#include <libipset/session.h>
#include <libipset/types.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Entries between two commits: what has to be done again one by one if one fails. */
#define IPSET_BATCH 128

/* Held around every use of libipset. */
static pthread_mutex_t libipset_lock = PTHREAD_MUTEX_INITIALIZER;

struct set_spec {
	const char *name;
	const char *type;
	uint8_t family; /* AF_; equal to NFPROTO_ for these two */
	bool has_ports;
};

static const struct set_spec set_specs[] = {
	{"vipd", "hash:ip,port", AF_INET, true},
	{"vipd6", "hash:ip,port", AF_INET6, true},
	{"vipd-ip", "hash:ip", AF_INET, false},
	{"vipd-ip6", "hash:ip", AF_INET6, false},
};
#define N_SETS (sizeof(set_specs) / sizeof(set_specs[0]))

struct ipset_socket {
	struct ipset_session *session;
	struct mnl_socket *reader;
	struct batch batch; /* of the reader */
};

static const struct set_spec *find_spec(uint8_t family, bool has_ports)
{
	for (size_t i = 0; i < N_SETS; i++)
		if (set_specs[i].family == family && set_specs[i].has_ports == has_ports)
			return &set_specs[i];
	return NULL;
}

__attribute__((format(printf, 3, 4))) static int print_nothing(
	struct ipset_session *session, void *p, const char *fmt, ...)
{
	return 0;
}

/* libipset's sentences, as far as they can come to us, and the kernel's errno. */
static const struct {
	const char *text;
	int error;
} sentences[] = {
	{"set with the given name does not exist", -ENOENT},
	{"set with the same name already exists", -EEXIST},
	{"in use by a kernel component", -EBUSY},
	{"Hash is full", -ENOSPC},
	{"Cannot open session to kernel", -EPROTONOSUPPORT},
	{"Kernel-library incompatibility", -EPROTONOSUPPORT},
	{"Kernel support", -EPROTONOSUPPORT},
	{"does not support", -EPROTONOSUPPORT},
};

/* What the session reports as an errno; clears the report. */
static int take_error(struct ipset_session *session)
{
	const char *message = ipset_session_report_msg(session);
	int error = -EIO;

	for (size_t i = 0; message && i < sizeof(sentences) / sizeof(sentences[0]); i++)
		if (strstr(message, sentences[i].text)) {
			error = sentences[i].error;
			break;
		}
	/* "Kernel error received: Operation not permitted" */
	for (int i = 1; message && error == -EIO && i <= EHWPOISON; i++)
		if (strstr(message, strerror(i)))
			error = -i;
	ipset_session_report_reset(session);
	ipset_data_reset(ipset_session_data(session));
	return error;
}

static int set_data(struct ipset_session *session, enum ipset_opt option, const void *value)
{
	return ipset_data_set(ipset_session_data(session), option, value) < 0 ? -EINVAL : 0;
}

/* Begins a command about a set: name, and its type as the kernel knows it. */
static int begin_create(struct ipset_session *session, const struct set_spec *spec)
{
	if (set_data(session, IPSET_SETNAME, spec->name) < 0 ||
		set_data(session, IPSET_OPT_TYPENAME, spec->type) < 0 ||
		set_data(session, IPSET_OPT_FAMILY, &spec->family) < 0)
		return -EINVAL;
	return ipset_type_get(session, IPSET_CMD_CREATE) ? 0 : take_error(session);
}

/* libipset opens its socket with the first command it sends, and we need it now, in this
 * namespace. Asking for a type is one that changes nothing; it is asked even if another
 * session has been told already, which ipset_type_get() would not. */
static int open_session(struct ipset_socket *s)
{
	int r;

	ipset_load_types();
	s->session = ipset_session_init(print_nothing, NULL);
	if (!s->session)
		return -ENOMEM;
	ipset_envopt_set(s->session, IPSET_ENV_EXIST);
	for (size_t i = 0; i < N_SETS; i++) {
		r = begin_create(s->session, &set_specs[i]);
		if (!r && ipset_cmd(s->session, IPSET_CMD_TYPE, 0) < 0)
			r = take_error(s->session);
		ipset_data_reset(ipset_session_data(s->session));
		if (r < 0)
			return r;
	}
	return 0;
}

static int open_reader(struct ipset_socket *s)
{
	s->reader = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (!s->reader || mnl_socket_bind(s->reader, 0, MNL_SOCKET_AUTOPID) < 0)
		return -errno;
	return batch_init(&s->batch, mnl_socket_get_fd(s->reader), 1);
}

int ipset_socket_open(struct ipset_socket **ret)
{
	struct ipset_socket *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	pthread_mutex_lock(&libipset_lock);
	r = open_session(s);
	pthread_mutex_unlock(&libipset_lock);
	if (!r)
		r = open_reader(s);
	if (r < 0) {
		ipset_socket_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

struct ipset_socket *ipset_socket_free(struct ipset_socket *s)
{
	if (!s)
		return NULL;
	batch_done(&s->batch);
	if (s->reader)
		mnl_socket_close(s->reader);
	pthread_mutex_lock(&libipset_lock);
	if (s->session)
		ipset_session_fini(s->session);
	pthread_mutex_unlock(&libipset_lock);
	free(s);
	return NULL;
}

static const struct nlattr *nested(const struct nlattr *in, uint16_t type)
{
	const struct nlattr *attribute;

	if (in)
		mnl_attr_for_each_nested(
			attribute, in) if (mnl_attr_get_type(attribute) == type) return attribute;
	return NULL;
}

static size_t payload(const struct nlattr *attribute)
{
	return attribute ? mnl_attr_get_payload_len(attribute) : 0;
}

static int parse_entry(const struct nlattr *data, struct ipset_listing *l)
{
	const struct nlattr *ip = nested(nested(data, IPSET_ATTR_IP),
		l->family == AF_INET ? IPSET_ATTR_IPADDR_IPV4 : IPSET_ATTR_IPADDR_IPV6);
	const struct nlattr *port = nested(data, IPSET_ATTR_PORT);
	const struct nlattr *protocol = nested(data, IPSET_ATTR_PROTO);
	struct service_key key = {};

	if (payload(ip) != ip_addr_len(l->family))
		return -EBADMSG;
	key.address.family = l->family;
	memcpy(key.address.bytes, mnl_attr_get_payload(ip), payload(ip));
	if (!l->has_ports)
		return kernel_state_append_address(l->state, &key.address);
	if (payload(port) != sizeof(uint16_t) || payload(protocol) != sizeof(uint8_t))
		return -EBADMSG;
	key.port = ntohs(mnl_attr_get_u16(port)); /* set entries are in network order */
	key.protocol = mnl_attr_get_u8(protocol);
	return kernel_state_append_port(l->state, &key);
}

static int parse_entries(const struct nlattr *entries, struct ipset_listing *l)
{
	const struct nlattr *attribute;

	mnl_attr_for_each_nested(attribute, entries)
	{
		int r = mnl_attr_get_type(attribute) == IPSET_ATTR_DATA ? parse_entry(attribute, l)
									: 0;

		if (r < 0)
			return r;
	}
	return 0;
}

static bool is_string(const struct nlattr *attribute, const char *text)
{
	return payload(attribute) == strlen(text) + 1 &&
	       !memcmp(mnl_attr_get_payload(attribute), text, strlen(text) + 1);
}

int ipset_parse_listing(const struct nlmsghdr *message, struct ipset_listing *l)
{
	const struct nlattr *attribute, *type = NULL, *family = NULL, *entries = NULL;

	if (message->nlmsg_len < NLMSG_LENGTH(sizeof(struct nfgenmsg)))
		return -EBADMSG;
	mnl_attr_for_each(attribute, message, sizeof(struct nfgenmsg))
	{
		uint16_t number = mnl_attr_get_type(attribute);

		if (number == IPSET_ATTR_TYPENAME)
			type = attribute;
		else if (number == IPSET_ATTR_FAMILY)
			family = attribute;
		else if (number == IPSET_ATTR_ADT)
			entries = attribute;
	}
	if (type)
		l->right_type = is_string(type, l->has_ports ? "hash:ip,port" : "hash:ip") &&
				payload(family) == 1 && mnl_attr_get_u8(family) == l->family;
	return entries && l->right_type ? parse_entries(entries, l) : 0;
}

static int on_listing(void *userdata, const struct nlmsghdr *message)
{
	return ipset_parse_listing(message, userdata);
}

/* Lists one set; with `headers_only`, without its entries. -ENOENT if there is none. */
static int list_set(struct ipset_socket *s, const struct set_spec *spec, bool headers_only,
	struct ipset_listing *l)
{
	char buf[256] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *nfg = mnl_nlmsg_put_extra_header(h, sizeof(*nfg));

	h->nlmsg_type = NFNL_SUBSYS_IPSET << 8 | IPSET_CMD_LIST;
	/* ACK: or else the kernel would not say that there is no such set */
	h->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP | NLM_F_ACK;
	nfg->nfgen_family = spec->family;
	nfg->version = NFNETLINK_V0;
	mnl_attr_put_u8(h, IPSET_ATTR_PROTOCOL, IPSET_PROTOCOL);
	mnl_attr_put_strz(h, IPSET_ATTR_SETNAME, spec->name);
	if (headers_only)
		mnl_attr_put_u32(
			h, IPSET_ATTR_FLAGS | NLA_F_NET_BYTEORDER, htonl(IPSET_FLAG_LIST_HEADER));
	l->family = spec->family;
	l->has_ports = spec->has_ports;
	return batch_request(&s->batch, h, on_listing, l);
}

int ipset_read(struct ipset_socket *s, struct kernel_state *state)
{
	size_t n_right = 0;

	for (size_t i = 0; i < N_SETS; i++) {
		struct ipset_listing l = {.state = state};
		int r = list_set(s, &set_specs[i], false, &l);

		if (r < 0 && r != -ENOENT)
			return r;
		n_right += l.right_type;
	}
	state->has_sets = n_right == N_SETS;
	return 0;
}

/* Whether the set is there: 1, 0, or -EEXIST if it is of another type. */
static int set_exists(struct ipset_socket *s, const struct set_spec *spec)
{
	struct ipset_listing l = {};
	int r = list_set(s, spec, true, &l);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	return l.right_type ? 1 : -EEXIST;
}

static int create_set(struct ipset_socket *s, const struct set_spec *spec)
{
	const uint32_t hash_size = IPSET_HASH_SIZE, max_entries = IPSET_MAX_ENTRIES;
	int r;

	pthread_mutex_lock(&libipset_lock);
	r = begin_create(s->session, spec);
	if (!r && (set_data(s->session, IPSET_OPT_HASHSIZE, &hash_size) < 0 ||
			  set_data(s->session, IPSET_OPT_MAXELEM, &max_entries) < 0 ||
			  ipset_cmd(s->session, IPSET_CMD_CREATE, 0) < 0))
		r = take_error(s->session);
	pthread_mutex_unlock(&libipset_lock);
	return r;
}

static int destroy_set(struct ipset_socket *s, const struct set_spec *spec)
{
	int r = 0;

	pthread_mutex_lock(&libipset_lock);
	if (set_data(s->session, IPSET_SETNAME, spec->name) < 0 ||
		ipset_cmd(s->session, IPSET_CMD_DESTROY, 0) < 0)
		r = take_error(s->session);
	pthread_mutex_unlock(&libipset_lock);
	return r;
}

int ipset_create(struct ipset_socket *s)
{
	for (size_t i = 0; i < N_SETS; i++) {
		int r = set_exists(s, &set_specs[i]);

		if (!r)
			r = create_set(s, &set_specs[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

int ipset_destroy(struct ipset_socket *s)
{
	int result = 0;

	for (size_t i = 0; i < N_SETS; i++) {
		int r = set_exists(s, &set_specs[i]);

		if (r > 0)
			r = destroy_set(s, &set_specs[i]);
		if (r < 0 && r != -EEXIST) /* another type: not ours */
			result = r;
	}
	return result;
}

/* The set, and the entry, that a step is about. */
static const struct set_spec *step_entry(const struct step *step, struct service_key *ret)
{
	bool has_ports = step->kind == STEP_PORT_ADD || step->kind == STEP_PORT_DEL;

	if (has_ports)
		*ret = step->key;
	else
		*ret = (struct service_key){.address = step->route.address};
	return find_spec(ret->address.family, has_ports);
}

static enum ipset_cmd step_command(const struct step *step)
{
	return step->kind == STEP_PORT_ADD || step->kind == STEP_ADDRESS_ADD ? IPSET_CMD_ADD
									     : IPSET_CMD_DEL;
}

/* Queues (line > 0) or does (line 0) one entry's command. */
static int do_entry(struct ipset_session *session, const struct step *step, uint32_t line)
{
	enum ipset_cmd command = step_command(step);
	struct service_key key;
	const struct set_spec *spec = step_entry(step, &key);

	if (!spec)
		return -EAFNOSUPPORT;
	if (set_data(session, IPSET_SETNAME, spec->name) < 0)
		return -EINVAL;
	if (!ipset_type_get(session, command))
		return take_error(session);
	if (set_data(session, IPSET_OPT_IP, key.address.bytes) < 0)
		return -EINVAL;
	if (spec->has_ports && (set_data(session, IPSET_OPT_PROTO, &key.protocol) < 0 ||
				       set_data(session, IPSET_OPT_PORT, &key.port) < 0))
		return -EINVAL;
	return ipset_cmd(session, command, line) < 0 ? take_error(session) : 0;
}

static int do_batch(struct ipset_session *session, const struct step *steps, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && !r; i++)
		r = do_entry(session, &steps[i], (uint32_t)i + 1);
	if (ipset_commit(session) < 0)
		r = take_error(session);
	return r;
}

/* A batch; if that fails, one by one, to find out which. */
static void apply_some(struct ipset_socket *s, struct step_report *r, size_t first, size_t n)
{
	if (do_batch(s->session, r->steps + first, n) == 0)
		return;
	for (size_t i = first; i < first + n; i++) {
		int error = do_entry(s->session, &r->steps[i], 0);

		if (error)
			step_report_add(r, i, error);
	}
}

int ipset_apply(struct ipset_socket *s, struct step_report *r, size_t first, size_t n)
{
	for (size_t i = first; i < first + n;) {
		size_t some = first + n - i < IPSET_BATCH ? first + n - i : IPSET_BATCH;

		pthread_mutex_lock(&libipset_lock);
		apply_some(s, r, i, some);
		pthread_mutex_unlock(&libipset_lock);
		i += some;
	}
	return 0;
}
