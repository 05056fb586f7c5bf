/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The two spellings differ little: ids are strings in /state and {"value": ...} in the v1 API;
 * labels are a list in the one and {"labels": [...]} in the other, each in some places;
 * resources are an object or a list. Each is taken wherever either may stand.
 *
 * Mistakes cost no more than they touch: a label, a port, or, where the task itself is not
 * what it should be, the task.
 */
#include "agent/source/task.h"

#include "agent/source/arena.h"
#include "agent/source/element.h"

#include <math.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- JSON ---- */

static const char *text_member(const struct json_value *v, uint8_t field)
{
	return json_text(json_member(v, field));
}

/* A list of labels, as a list or as {"labels": list}. */
static const struct json_value *label_list(const struct json_value *v)
{
	return v && v->kind == JSON_OBJECT ? json_member(v, FIELD_LABELS) : v;
}

/* 0 to 65535, or -1. */
static int as_port(const struct json_value *v)
{
	return (int)json_count(v, 65535);
}

/* IPPROTO_TCP, IPPROTO_UDP, or -1. */
static int as_protocol(const struct json_value *v)
{
	const char *s = json_text(v);

	if (!v || (s && strcasecmp(s, "tcp") == 0))
		return IPPROTO_TCP;
	return s && strcasecmp(s, "udp") == 0 ? IPPROTO_UDP : -1;
}

/* ---- rejections and labels ---- */

#define reject(r, why, k, v, ...)                          \
	reject_add((r)->rejects,                           \
		&(struct mesos_rejection){.reason = (why), \
			.task = (r)->id,                   \
			.framework = (r)->framework_id,    \
			.key = (k),                        \
			.value = (v)},                     \
		__VA_ARGS__)

/* A VIP label in the arena; NULL if the task has too many. */
static struct port_label *label_new(struct task_reader *r, const char *key, const char *value)
{
	struct port_label *l;

	if (++r->n_labels > r->max_labels) {
		r->too_large = true;
		return NULL;
	}
	l = arena_alloc(r->arena, sizeof *l);
	l->key = key;
	l->value = value;
	return l;
}

/* ---- discovery ports ---- */

static bool is_vip_key(const char *key)
{
	return strncmp(key, "VIP", 3) == 0 || strncmp(key, "vip", 3) == 0;
}

static struct port_label *vip_labels(struct task_reader *r, const struct json_value *labels)
{
	struct port_label *first = NULL, **end = &first;

	JSON_EACH(l, labels)
	{
		const char *key = text_member(l, FIELD_KEY), *value = text_member(l, FIELD_VALUE);

		if (!key || !is_vip_key(key))
			continue;
		if (!value) {
			reject(r, MESOS_REJECT_LABEL, key, "", "the label has no text as value");
			continue;
		}
		*end = label_new(r, key, value);
		if (*end)
			end = &(*end)->next;
	}
	return first;
}

static bool has_host_scope(const struct json_value *labels)
{
	JSON_EACH(l, labels)
	{
		const char *key = text_member(l, FIELD_KEY), *value = text_member(l, FIELD_VALUE);

		if (key && value && strcmp(key, "network-scope") == 0)
			return strcmp(value, "host") == 0;
	}
	return false;
}

/* For people: a value as it may have stood in the document. */
static const char *shown(const struct json_value *v, char *buf, size_t size)
{
	static const char *const others[] = {[JSON_OBJECT] = "{...}",
		[JSON_ARRAY] = "[...]",
		[JSON_TRUE] = "true",
		[JSON_FALSE] = "false"};

	if (v->kind == JSON_NUMBER)
		return v->text;
	if (v->kind != JSON_STRING)
		return others[v->kind];
	snprintf(buf, size, "\"%s\"", v->text);
	return buf;
}

static void reject_port(struct task_reader *r, const struct port_label *l,
	const struct json_value *port, int protocol)
{
	const struct json_value *number = json_member(port, FIELD_NUMBER);
	char text[REJECT_TEXT_MAX];

	for (; l; l = l->next) {
		if (protocol < 0)
			reject(r, MESOS_REJECT_PORT, l->key, l->value,
				"protocol %s of the port is neither tcp nor udp",
				shown(json_member(port, FIELD_PROTOCOL), text, sizeof(text)));
		else if (!number)
			reject(r, MESOS_REJECT_PORT, l->key, l->value, "the port has no number");
		else
			reject(r, MESOS_REJECT_PORT, l->key, l->value,
				"port number %s is not one of 1 to 65535",
				shown(number, text, sizeof(text)));
	}
}

/* A port without VIP labels has only one number, so it can add nothing to another. */
static void add_discovery_port(struct task_reader *r, const struct json_value *port)
{
	const struct json_value *labels = label_list(json_member(port, FIELD_LABELS));
	int number = as_port(json_member(port, FIELD_NUMBER));
	int protocol = as_protocol(json_member(port, FIELD_PROTOCOL));
	struct port_entry entry = {.labels = vip_labels(r, labels)};

	if (!entry.labels)
		return;
	if (number <= 0 || protocol < 0) {
		reject_port(r, entry.labels, port, protocol);
		return;
	}
	entry.protocol = (uint8_t)protocol;
	if (has_host_scope(labels))
		entry.host = (uint16_t)number;
	else
		entry.container = (uint16_t)number;
	port_set_add(&r->ports, &entry);
}

static void add_discovery_ports(struct task_reader *r, const struct json_value *discovery)
{
	const struct json_value *ports =
		json_member(json_member(discovery, FIELD_PORTS), FIELD_PORTS);

	JSON_EACH(port, ports)
	add_discovery_port(r, port);
}

/* ---- port mappings ---- */

/* How many there are, with those that are not usable. */
static size_t add_mappings(struct task_reader *r, const struct json_value *mappings)
{
	JSON_EACH(m, mappings)
	{
		int container = as_port(json_member(m, FIELD_CONTAINER_PORT));
		int host = as_port(json_member(m, FIELD_HOST_PORT));
		int protocol = as_protocol(json_member(m, FIELD_PROTOCOL));

		if (container <= 0 || host <= 0 || protocol < 0)
			continue;
		if (r->ports.n >= PORTS_MAX) {
			r->too_large = true;
			break;
		}
		port_set_add(&r->ports, &(struct port_entry){.protocol = (uint8_t)protocol,
						.container = (uint16_t)container,
						.host = (uint16_t)host});
	}
	return json_length(mappings);
}

static size_t add_network_mappings(struct task_reader *r, const struct json_value *of)
{
	size_t n = 0;

	JSON_EACH(info, json_member(of, FIELD_NETWORK_INFOS))
	n += add_mappings(r, json_member(info, FIELD_PORT_MAPPINGS));
	return n;
}

/* The container's own mappings; those of a pod's task, which has none itself, are in its status. */
static void add_port_mappings(
	struct task_reader *r, const struct json_value *container, const struct json_value *status)
{
	if (!add_mappings(
		    r, json_member(json_member(container, FIELD_DOCKER), FIELD_PORT_MAPPINGS)) &&
		!add_network_mappings(r, container))
		add_network_mappings(r, json_member(status, FIELD_CONTAINER_STATUS));
}

/* ---- legacy labels: vip_portN on the task ---- */

/* Steps through ranges: the port with number *n among those in begin..end, or 0 and *n less. */
static int nth_in_range(uint64_t begin, uint64_t end, uint64_t *n)
{
	if (begin > end || end > 65535)
		return 0;
	if (*n <= end - begin)
		return (int)(begin + *n);
	*n -= end - begin + 1;
	return 0;
}

/* Digits at *s, which moves behind them; -1 if there are none. What is too large stays so. */
static int64_t take_number(const char **s)
{
	int64_t n = -1;

	for (; **s >= '0' && **s <= '9'; (*s)++) {
		n = (n < 0 ? 0 : n) * 10 + (**s - '0');
		if (n > 65536)
			n = 65536;
	}
	return n;
}

/* "[31000-31001, 31005-31005]" */
static int nth_of_text(const char *s, uint64_t *n)
{
	int64_t begin, end;

	s += strspn(s, "[ ");
	while ((begin = take_number(&s)) >= 0) {
		int port;

		end = begin;
		if (*s == '-') {
			s++;
			end = take_number(&s);
		}
		port = end < 0 ? 0 : nth_in_range((uint64_t)begin, (uint64_t)end, n);
		if (port)
			return port;
		s += strspn(s, ", ");
	}
	return 0;
}

/* One entry of the v1 API's list. */
static int nth_of_resource(const struct json_value *resource, uint64_t *n)
{
	const char *name = text_member(resource, FIELD_NAME);
	int port;

	if (!name || strcmp(name, "ports") != 0)
		return 0;
	JSON_EACH(range, json_member(json_member(resource, FIELD_RANGES), FIELD_RANGE))
	{
		int begin = as_port(json_member(range, FIELD_BEGIN));
		int end = as_port(json_member(range, FIELD_END));

		port = begin < 0 || end < 0 ? 0 : nth_in_range((uint64_t)begin, (uint64_t)end, n);
		if (port)
			return port;
	}
	port = as_port(json_member(json_member(resource, FIELD_SCALAR), FIELD_VALUE));
	return port > 0 ? nth_in_range((uint64_t)port, (uint64_t)port, n) : 0;
}

/* The task's n-th port of its `ports` resource, or 0. */
static int nth_port(const struct json_value *resources, uint64_t n)
{
	const char *text = text_member(resources, FIELD_PORTS);

	if (text)
		return nth_of_text(text, &n);
	JSON_EACH(resource, resources)
	{
		int port = nth_of_resource(resource, &n);

		if (port)
			return port;
	}
	return 0;
}

/* Digits only, and no more of them than can be meant. */
static int parse_index(const char *s, uint64_t *ret)
{
	uint64_t n = 0;

	if (!*s || strlen(s) > 9)
		return -1;
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return -1;
		n = n * 10 + (uint64_t)(*s - '0');
	}
	*ret = n;
	return 0;
}

static void add_legacy_label(struct task_reader *r, const struct json_value *resources,
	const char *key, const char *value)
{
	struct port_entry entry = {0};
	uint64_t index;
	int port;

	if (parse_index(key + strlen("vip_port"), &index) < 0) {
		reject(r, MESOS_REJECT_LABEL, key, value, "no number follows vip_port");
		return;
	}
	if (value && strncasecmp(value, "tcp://", 6) == 0) {
		entry.protocol = IPPROTO_TCP;
	} else if (value && strncasecmp(value, "udp://", 6) == 0) {
		entry.protocol = IPPROTO_UDP;
	} else {
		reject(r, MESOS_REJECT_LABEL, key, value,
			"the value is not tcp://HOST:PORT or udp://HOST:PORT");
		return;
	}
	entry.labels = label_new(r, key, value + 6); /* counted first: to look for a port is work */
	if (!entry.labels)
		return;
	port = nth_port(resources, index);
	if (port <= 0) {
		reject(r, MESOS_REJECT_PORT, key, value, "the task has no port with number %llu",
			(unsigned long long)index);
		return;
	}
	entry.host = (uint16_t)port;
	port_set_add(&r->ports, &entry);
}

static void add_legacy_labels(
	struct task_reader *r, const struct json_value *labels, const struct json_value *resources)
{
	JSON_EACH(l, label_list(labels))
	{
		const char *key = text_member(l, FIELD_KEY);

		if (key && strncasecmp(key, "vip_port", 8) == 0)
			add_legacy_label(r, resources, key, text_member(l, FIELD_VALUE));
	}
}

/* ---- status ---- */

static double timestamp(const struct json_value *status)
{
	return json_number(json_member(status, FIELD_TIMESTAMP), -INFINITY);
}

/* The one with the greatest timestamp; of equals the later in the list. */
static const struct json_value *latest_status(const struct json_value *statuses)
{
	const struct json_value *latest = NULL;
	double latest_time = -INFINITY;

	JSON_EACH(s, statuses)
	{
		double time = timestamp(s);

		if (s->kind != JSON_OBJECT || time < latest_time)
			continue;
		latest = s;
		latest_time = time;
	}
	return latest;
}

static enum weight_reason weight_reason(
	const struct json_value *health_check, const struct json_value *status, bool killing)
{
	const struct json_value *healthy = json_member(status, FIELD_HEALTHY);

	if (killing)
		return WEIGHT_KILLING;
	if (healthy && healthy->kind == JSON_TRUE)
		return WEIGHT_HEALTHY;
	if (healthy && healthy->kind == JSON_FALSE)
		return WEIGHT_UNHEALTHY;
	return health_check ? WEIGHT_NO_RESULT : WEIGHT_HEALTHY;
}

static void add_address(struct mesos_task *task, const char *text)
{
	struct ip_addr a;

	if (!text || ip_addr_parse(text, &a) < 0)
		return;
	for (size_t i = 0; i < task->n_addresses; i++)
		if (ip_addr_cmp(&task->addresses[i], &a) == 0)
			return;
	task->addresses[task->n_addresses++] = a;
}

/* Addresses of one task: a container has a few; what is more is left out. Fits n_addresses. */
#define ADDRESSES_MAX 64

static void read_addresses(
	struct task_reader *r, const struct json_value *status, struct mesos_task *task)
{
	struct ip_addr found[ADDRESSES_MAX];

	task->addresses = found;
	JSON_EACH(
		info, json_member(json_member(status, FIELD_CONTAINER_STATUS), FIELD_NETWORK_INFOS))
	{
		const struct json_value *list = json_member(info, FIELD_IP_ADDRESSES);

		JSON_EACH(address, list)
		if (task->n_addresses < ADDRESSES_MAX)
			add_address(task, text_member(address, FIELD_IP_ADDRESS));
		if (!json_length(list) && task->n_addresses < ADDRESSES_MAX)
			add_address(task, text_member(info, FIELD_IP_ADDRESS));
	}
	task->addresses = arena_alloc(r->arena, task->n_addresses * sizeof *task->addresses);
	memcpy(task->addresses, found, task->n_addresses * sizeof *found);
}

/* ---- the task ---- */

bool task_state_counts(const char *state)
{
	return strcmp(state, "TASK_RUNNING") == 0 || strcmp(state, "TASK_KILLING") == 0;
}

bool task_state_is_final(const char *state)
{
	static const char *const final[] = {"TASK_FINISHED", "TASK_FAILED", "TASK_KILLED",
		"TASK_ERROR", "TASK_LOST", "TASK_DROPPED", "TASK_GONE", "TASK_GONE_BY_OPERATOR"};

	for (size_t i = 0; i < sizeof final / sizeof *final; i++)
		if (strcmp(state, final[i]) == 0)
			return true;
	return false;
}

static uint32_t id_number(struct strset *set, const char *id)
{
	return id ? strset_add(set, id, strlen(id)) : MESOS_NO_ID;
}

static int read_ports(struct task_reader *r, const struct json_value *const members[],
	const struct json_value *status, struct mesos_task *ret)
{
	size_t n;

	r->ports.n = 0;
	add_discovery_ports(r, members[FIELD_DISCOVERY]);
	add_legacy_labels(r, members[FIELD_LABELS], members[FIELD_RESOURCES]);
	if (!r->n_labels)
		return 0;
	add_port_mappings(r, members[FIELD_CONTAINER], status);
	if (r->too_large) {
		reject(r, MESOS_REJECT_TOO_LARGE, "", "",
			"the task has too many VIP labels or port mappings");
		return 0;
	}
	ret->ports = port_set_keep(&r->ports, r->arena, &n);
	ret->n_ports = (uint16_t)n;
	return n > 0;
}

static const char *first_id(const struct json_value *a, const struct json_value *b)
{
	const char *id = element_id(a);

	return id ? id : element_id(b);
}

static void read_ids(
	struct task_reader *r, const struct json_value *const members[], struct mesos_task *ret)
{
	r->id = first_id(members[FIELD_ID], members[FIELD_TASK_ID]);
	r->framework_id = element_id(members[FIELD_FRAMEWORK_ID]);
	ret->framework = id_number(r->frameworks, r->framework_id);
	ret->agent =
		id_number(r->agents, first_id(members[FIELD_AGENT_ID], members[FIELD_SLAVE_ID]));
}

static int read_object(struct task_reader *r, const struct json_value *v, struct mesos_task *ret)
{
	const struct json_value *members[_FIELD_N], *status;
	const char *state, *type;

	json_members(v, members, _FIELD_N);
	state = json_text(members[FIELD_STATE]);
	if (!state)
		return TASK_READ_SKIP;
	ret->waiting = !task_state_counts(state);
	if (ret->waiting && (!r->keep_waiting || task_state_is_final(state)))
		return TASK_READ_SKIP;
	read_ids(r, members, ret);
	if (!r->id) {
		reject(r, MESOS_REJECT_MALFORMED, "", "", "the task has no id");
		return TASK_READ_COUNT;
	}
	ret->id = r->id;
	status = latest_status(members[FIELD_STATUSES]);
	if (!read_ports(r, members, status, ret))
		return TASK_READ_COUNT;
	type = text_member(members[FIELD_CONTAINER], FIELD_TYPE);
	ret->docker = type && strcmp(type, "DOCKER") == 0;
	ret->killing = strcmp(state, "TASK_KILLING") == 0;
	ret->weight_reason = weight_reason(members[FIELD_HEALTH_CHECK], status, ret->killing);
	ret->weight = ret->weight_reason == WEIGHT_HEALTHY;
	read_addresses(r, status, ret);
	return TASK_READ_KEEP;
}

int task_read(struct task_reader *r, const char *tokens, size_t n_tokens, struct mesos_task *ret)
{
	const struct json_value *v = json_values_read(&r->values, tokens, n_tokens);

	*ret = (struct mesos_task){.framework = MESOS_NO_ID, .agent = MESOS_NO_ID};
	r->id = r->framework_id = NULL;
	r->n_labels = 0;
	r->too_large = false;
	if (v->kind == JSON_OBJECT)
		return read_object(r, v, ret);
	reject(r, MESOS_REJECT_MALFORMED, "", "", "the task is not an object");
	return TASK_READ_SKIP;
}

void task_reader_done(struct task_reader *r)
{
	port_set_done(&r->ports);
	json_values_done(&r->values);
}
