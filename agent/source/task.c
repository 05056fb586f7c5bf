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

#include <json-c/json.h>
#include <math.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

/* ---- JSON ---- */

struct json_object *task_json(struct json_tokener *tokener, const char *text, size_t n_text)
{
	struct json_object *o;

	json_tokener_reset(tokener);
	o = json_tokener_parse_ex(tokener, text, (int)n_text);
	if (!o && json_tokener_get_error(tokener) == json_tokener_continue)
		/* A number or literal alone: a NUL says that it ends here. */
		o = json_tokener_parse_ex(tokener, "", 1);
	return o;
}

struct json_object *json_member(struct json_object *o, const char *key)
{
	struct json_object *m = NULL;

	if (!json_object_is_type(o, json_type_object))
		return NULL;
	json_object_object_get_ex(o, key, &m);
	return m;
}

/* The text of a string without NULs, else NULL. */
static const char *as_text(struct json_object *o)
{
	const char *s;

	if (!json_object_is_type(o, json_type_string))
		return NULL;
	s = json_object_get_string(o);
	return strlen(s) == (size_t)json_object_get_string_len(o) ? s : NULL;
}

static const char *text_member(struct json_object *o, const char *key)
{
	return as_text(json_member(o, key));
}

const char *json_id(struct json_object *o)
{
	const char *s = as_text(o);

	return s ? s : text_member(o, "value");
}

static size_t list_length(struct json_object *o)
{
	return json_object_is_type(o, json_type_array) ? json_object_array_length(o) : 0;
}

static struct json_object *list_at(struct json_object *o, size_t i)
{
	return json_object_array_get_idx(o, i);
}

/* A list of labels, as a list or as {"labels": list}. */
static struct json_object *label_list(struct json_object *o)
{
	return json_object_is_type(o, json_type_object) ? json_member(o, "labels") : o;
}

/* A whole number in 0 to 65535, or -1. Protobuf's JSON writes some as 80.0. */
static int as_port(struct json_object *o)
{
	double d;

	if (!json_object_is_type(o, json_type_int) && !json_object_is_type(o, json_type_double))
		return -1;
	d = json_object_get_double(o);
	return d >= 0 && d <= 65535 && d == floor(d) ? (int)d : -1;
}

/* IPPROTO_TCP, IPPROTO_UDP, or -1. */
static int as_protocol(struct json_object *o)
{
	const char *s = as_text(o);

	if (!o || (s && strcasecmp(s, "tcp") == 0))
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
	l->key = arena_strdup(r->arena, key);
	l->value = arena_strdup(r->arena, value);
	return l;
}

/* ---- discovery ports ---- */

static bool is_vip_key(const char *key)
{
	return strncmp(key, "VIP", 3) == 0 || strncmp(key, "vip", 3) == 0;
}

static struct port_label *vip_labels(struct task_reader *r, struct json_object *labels)
{
	struct port_label *first = NULL, **end = &first;

	for (size_t i = 0; i < list_length(labels); i++) {
		struct json_object *l = list_at(labels, i);
		const char *key = text_member(l, "key"), *value = text_member(l, "value");

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

static bool has_host_scope(struct json_object *labels)
{
	for (size_t i = 0; i < list_length(labels); i++) {
		const char *key = text_member(list_at(labels, i), "key");
		const char *value = text_member(list_at(labels, i), "value");

		if (key && value && strcmp(key, "network-scope") == 0)
			return strcmp(value, "host") == 0;
	}
	return false;
}

static void reject_port(
	struct task_reader *r, const struct port_label *l, struct json_object *port, int protocol)
{
	struct json_object *number = json_member(port, "number");

	for (; l; l = l->next) {
		if (protocol < 0)
			reject(r, MESOS_REJECT_PORT, l->key, l->value,
				"protocol %s of the port is neither tcp nor udp",
				json_object_to_json_string(json_member(port, "protocol")));
		else if (!number)
			reject(r, MESOS_REJECT_PORT, l->key, l->value, "the port has no number");
		else
			reject(r, MESOS_REJECT_PORT, l->key, l->value,
				"port number %s is not one of 1 to 65535",
				json_object_to_json_string(number));
	}
}

/* A port without VIP labels has only one number, so it can add nothing to another. */
static void add_discovery_port(struct task_reader *r, struct json_object *port)
{
	struct json_object *labels = label_list(json_member(port, "labels"));
	int number = as_port(json_member(port, "number"));
	int protocol = as_protocol(json_member(port, "protocol"));
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

static void add_discovery_ports(struct task_reader *r, struct json_object *task)
{
	struct json_object *ports =
		json_member(json_member(json_member(task, "discovery"), "ports"), "ports");

	for (size_t i = 0; i < list_length(ports); i++)
		add_discovery_port(r, list_at(ports, i));
}

/* ---- port mappings ---- */

/* How many there are, with those that are not usable. */
static size_t add_mappings(struct task_reader *r, struct json_object *mappings)
{
	for (size_t i = 0; i < list_length(mappings); i++) {
		struct json_object *m = list_at(mappings, i);
		int container = as_port(json_member(m, "container_port"));
		int host = as_port(json_member(m, "host_port"));
		int protocol = as_protocol(json_member(m, "protocol"));

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
	return list_length(mappings);
}

static size_t add_network_mappings(struct task_reader *r, struct json_object *of)
{
	struct json_object *infos = json_member(of, "network_infos");
	size_t n = 0;

	for (size_t i = 0; i < list_length(infos); i++)
		n += add_mappings(r, json_member(list_at(infos, i), "port_mappings"));
	return n;
}

/* The container's own mappings; those of a pod's task, which has none itself, are in its status. */
static void add_port_mappings(
	struct task_reader *r, struct json_object *task, struct json_object *status)
{
	struct json_object *container = json_member(task, "container");

	if (!add_mappings(r, json_member(json_member(container, "docker"), "port_mappings")) &&
		!add_network_mappings(r, container))
		add_network_mappings(r, json_member(status, "container_status"));
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

static uint64_t as_count(struct json_object *o)
{
	int64_t v = json_object_is_type(o, json_type_double) ? (int64_t)as_port(o)
							     : json_object_get_int64(o);

	return v < 0 ? UINT64_MAX : (uint64_t)v;
}

/* One entry of the v1 API's list. */
static int nth_of_resource(struct json_object *resource, uint64_t *n)
{
	struct json_object *ranges = json_member(json_member(resource, "ranges"), "range");
	struct json_object *scalar = json_member(json_member(resource, "scalar"), "value");
	const char *name = text_member(resource, "name");
	int port;

	if (!name || strcmp(name, "ports") != 0)
		return 0;
	for (size_t i = 0; i < list_length(ranges); i++) {
		struct json_object *range = list_at(ranges, i);

		port = nth_in_range(as_count(json_member(range, "begin")),
			as_count(json_member(range, "end")), n);
		if (port)
			return port;
	}
	port = as_port(scalar);
	return port > 0 ? nth_in_range((uint64_t)port, (uint64_t)port, n) : 0;
}

/* The task's n-th port of its `ports` resource, or 0. */
static int nth_port(struct json_object *task, uint64_t n)
{
	struct json_object *resources = json_member(task, "resources");
	const char *text = text_member(resources, "ports");
	int port = 0;

	if (text)
		return nth_of_text(text, &n);
	for (size_t i = 0; !port && i < list_length(resources); i++)
		port = nth_of_resource(list_at(resources, i), &n);
	return port;
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

static void add_legacy_label(
	struct task_reader *r, struct json_object *task, const char *key, const char *value)
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
	port = nth_port(task, index);
	if (port <= 0) {
		reject(r, MESOS_REJECT_PORT, key, value, "the task has no port with number %llu",
			(unsigned long long)index);
		return;
	}
	entry.host = (uint16_t)port;
	entry.labels = label_new(r, key, value + 6);
	if (entry.labels)
		port_set_add(&r->ports, &entry);
}

static void add_legacy_labels(struct task_reader *r, struct json_object *task)
{
	struct json_object *labels = label_list(json_member(task, "labels"));

	for (size_t i = 0; i < list_length(labels); i++) {
		const char *key = text_member(list_at(labels, i), "key");

		if (key && strncasecmp(key, "vip_port", 8) == 0)
			add_legacy_label(r, task, key, text_member(list_at(labels, i), "value"));
	}
}

/* ---- status ---- */

/* The one with the greatest timestamp; of equals the later in the list. */
static struct json_object *latest_status(struct json_object *task)
{
	struct json_object *statuses = json_member(task, "statuses"), *latest = NULL;
	double latest_time = -INFINITY;

	for (size_t i = 0; i < list_length(statuses); i++) {
		struct json_object *s = list_at(statuses, i), *t = json_member(s, "timestamp");
		double time = t ? json_object_get_double(t) : -INFINITY;

		if (json_object_is_type(s, json_type_object) && time >= latest_time) {
			latest = s;
			latest_time = time;
		}
	}
	return latest;
}

static enum weight_reason weight_reason(
	struct json_object *task, struct json_object *status, bool killing)
{
	struct json_object *healthy = json_member(status, "healthy");

	if (killing)
		return WEIGHT_KILLING;
	if (json_object_is_type(healthy, json_type_boolean))
		return json_object_get_boolean(healthy) ? WEIGHT_HEALTHY : WEIGHT_UNHEALTHY;
	return json_member(task, "health_check") ? WEIGHT_NO_RESULT : WEIGHT_HEALTHY;
}

static void add_address(struct mesos_task *task, struct json_object *text)
{
	struct ip_addr a;

	if (!as_text(text) || ip_addr_parse(as_text(text), &a) < 0)
		return;
	for (size_t i = 0; i < task->n_addresses; i++)
		if (ip_addr_cmp(&task->addresses[i], &a) == 0)
			return;
	task->addresses[task->n_addresses++] = a;
}

/* Addresses of one task: a container has a few; what is more is left out. Fits n_addresses. */
#define ADDRESSES_MAX 64

static void read_addresses(
	struct task_reader *r, struct json_object *status, struct mesos_task *task)
{
	struct json_object *infos =
		json_member(json_member(status, "container_status"), "network_infos");
	struct ip_addr found[ADDRESSES_MAX];

	task->addresses = found;
	for (size_t i = 0; i < list_length(infos); i++) {
		struct json_object *info = list_at(infos, i);
		struct json_object *list = json_member(info, "ip_addresses");

		for (size_t j = 0; j < list_length(list) && task->n_addresses < ADDRESSES_MAX; j++)
			add_address(task, json_member(list_at(list, j), "ip_address"));
		if (!list_length(list) && task->n_addresses < ADDRESSES_MAX)
			add_address(task, json_member(info, "ip_address"));
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

static int read_ports(struct task_reader *r, struct json_object *task, struct json_object *status,
	struct mesos_task *ret)
{
	size_t n;

	r->ports.n = 0;
	add_discovery_ports(r, task);
	add_legacy_labels(r, task);
	if (!r->n_labels)
		return 0;
	add_port_mappings(r, task, status);
	if (r->too_large) {
		reject(r, MESOS_REJECT_TOO_LARGE, "", "",
			"the task has too many VIP labels or port mappings");
		return 0;
	}
	ret->ports = port_set_keep(&r->ports, r->arena, &n);
	ret->n_ports = (uint16_t)n;
	return n > 0;
}

static void read_ids(struct task_reader *r, struct json_object *o, struct mesos_task *ret)
{
	const char *agent = json_id(json_member(o, "agent_id"));

	r->framework_id = json_id(json_member(o, "framework_id"));
	ret->framework = id_number(r->frameworks, r->framework_id);
	ret->agent = id_number(r->agents, agent ? agent : json_id(json_member(o, "slave_id")));
}

static int read_object(struct task_reader *r, struct json_object *o, struct mesos_task *ret)
{
	const char *state = text_member(o, "state");
	struct json_object *status, *container = json_member(o, "container");
	const char *type = text_member(container, "type");

	if (!state)
		return TASK_READ_SKIP;
	ret->waiting = !task_state_counts(state);
	if (ret->waiting && (!r->keep_waiting || task_state_is_final(state)))
		return TASK_READ_SKIP;
	r->id = json_id(json_member(o, "id"));
	if (!r->id)
		r->id = json_id(json_member(o, "task_id"));
	read_ids(r, o, ret);
	if (!r->id) {
		reject(r, MESOS_REJECT_MALFORMED, "", "", "the task has no id");
		return TASK_READ_COUNT;
	}
	ret->id = arena_strdup(r->arena, r->id);
	status = latest_status(o);
	if (!read_ports(r, o, status, ret))
		return TASK_READ_COUNT;
	ret->docker = type && strcmp(type, "DOCKER") == 0;
	ret->killing = strcmp(state, "TASK_KILLING") == 0;
	ret->weight_reason = weight_reason(o, status, ret->killing);
	ret->weight = ret->weight_reason == WEIGHT_HEALTHY;
	read_addresses(r, status, ret);
	return TASK_READ_KEEP;
}

int task_read(struct task_reader *r, const char *text, size_t n_text, struct mesos_task *ret)
{
	struct json_object *o = task_json(r->tokener, text, n_text);
	int result = TASK_READ_SKIP;

	*ret = (struct mesos_task){.framework = MESOS_NO_ID, .agent = MESOS_NO_ID};
	r->id = r->framework_id = NULL;
	r->n_labels = 0;
	r->too_large = false;
	if (json_object_is_type(o, json_type_object))
		result = read_object(r, o, ret);
	else
		reject(r, MESOS_REJECT_MALFORMED, "", "", "the task is not an object");
	json_object_put(o);
	return result;
}
