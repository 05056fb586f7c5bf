/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/source/element.h"

#include <errno.h>
#include <math.h>
#include <string.h>

const char *const element_fields[_FIELD_N + 1] = {
	[FIELD_NONE] = "",
	[FIELD_AGENT_ID] = "agent_id",
	[FIELD_AGENT_INFO] = "agent_info",
	[FIELD_BEGIN] = "begin",
	[FIELD_CONTAINER] = "container",
	[FIELD_CONTAINER_PORT] = "container_port",
	[FIELD_CONTAINER_STATUS] = "container_status",
	[FIELD_DISCOVERY] = "discovery",
	[FIELD_DOCKER] = "docker",
	[FIELD_END] = "end",
	[FIELD_FRAMEWORK_ID] = "framework_id",
	[FIELD_FRAMEWORK_INFO] = "framework_info",
	[FIELD_HEALTH_CHECK] = "health_check",
	[FIELD_HEALTHY] = "healthy",
	[FIELD_HOST_PORT] = "host_port",
	[FIELD_HOSTNAME] = "hostname",
	[FIELD_ID] = "id",
	[FIELD_IP_ADDRESS] = "ip_address",
	[FIELD_IP_ADDRESSES] = "ip_addresses",
	[FIELD_KEY] = "key",
	[FIELD_LABELS] = "labels",
	[FIELD_NAME] = "name",
	[FIELD_NETWORK_INFOS] = "network_infos",
	[FIELD_NUMBER] = "number",
	[FIELD_PID] = "pid",
	[FIELD_PORT_MAPPINGS] = "port_mappings",
	[FIELD_PORTS] = "ports",
	[FIELD_PROTOCOL] = "protocol",
	[FIELD_RANGE] = "range",
	[FIELD_RANGES] = "ranges",
	[FIELD_RESOURCES] = "resources",
	[FIELD_SCALAR] = "scalar",
	[FIELD_SLAVE_ID] = "slave_id",
	[FIELD_STATE] = "state",
	[FIELD_STATUSES] = "statuses",
	[FIELD_TASK_ID] = "task_id",
	[FIELD_TIMESTAMP] = "timestamp",
	[FIELD_TYPE] = "type",
	[FIELD_VALUE] = "value",
};

/* What may be an id: "text" or {"value": "text"}. */
#define ID(path)              \
	{path},               \
	{                     \
		path ".value" \
	}
/* Labels are a list, or {"labels": list}. */
#define LABELS(path)                                         \
	{path "[].key", JSON_PATH_WATCH}, {path "[].value"}, \
		{path ".labels[].key", JSON_PATH_WATCH},     \
	{                                                    \
		path ".labels[].value"                       \
	}
#define MAPPINGS(path)                                     \
	{path "[].container_port"}, {path "[].host_port"}, \
	{                                                  \
		path "[].protocol"                         \
	}
#define NETWORK_INFOS(path)                                                                        \
	{path ".network_infos[].ip_addresses[].ip_address"}, {path ".network_infos[].ip_address"}, \
		MAPPINGS(path ".network_infos[].port_mappings")

const struct json_path element_id_paths[] = {
	{"value"},
	{NULL},
};

const struct json_path element_task_paths[] = {
	ID("id"),
	ID("task_id"),
	ID("framework_id"),
	ID("slave_id"),
	ID("agent_id"),
	{"state", JSON_PATH_MARK},
	{"statuses[].timestamp"},
	{"statuses[].healthy"},
	NETWORK_INFOS("statuses[].container_status"),
	{"discovery.ports.ports[].number"},
	{"discovery.ports.ports[].protocol"},
	LABELS("discovery.ports.ports[].labels"),
	LABELS("labels"),
	{"container.type"},
	MAPPINGS("container.docker.port_mappings"),
	MAPPINGS("container.network_infos[].port_mappings"),
	{"health_check"},
	{"resources.ports"},
	{"resources[].name"},
	{"resources[].ranges.range[].begin"},
	{"resources[].ranges.range[].end"},
	{"resources[].scalar.value"},
	{NULL},
};

/* One of "statuses[]", as it comes alone. */
const struct json_path element_status_paths[] = {
	ID("task_id"),
	{"timestamp"},
	{"healthy"},
	NETWORK_INFOS("container_status"),
	{NULL},
};

const struct json_path element_framework_paths[] = {
	ID("framework_info.id"),
	ID("framework_info.name"),
	ID("id"),
	ID("name"),
	{NULL},
};

const struct json_path element_agent_paths[] = {
	ID("agent_info.id"),
	ID("agent_info.hostname"),
	ID("id"),
	ID("hostname"),
	ID("pid"),
	{NULL},
};

const char *element_id(const struct json_value *v)
{
	const char *text = json_text(v);

	return text ? text : json_text(json_member(v, FIELD_VALUE));
}

/* A task without VIP labels: only whether it runs is of interest. */
static int unwatched_task(const struct json_element *e)
{
	struct json_value state;

	if (!e->mark)
		return TASK_READ_SKIP;
	json_token_read(e->mark, &state);
	return json_text(&state) && task_state_counts(state.text) ? TASK_READ_COUNT
								  : TASK_READ_SKIP;
}

int element_task_look(const struct json_element *e)
{
	return e->watched || (!e->too_large && *e->tokens != JSON_OBJECT) ? TASK_READ_KEEP
									  : unwatched_task(e);
}

/* ---- a task's next status ---- */

static double timestamp(const struct json_value *status)
{
	return json_number(json_member(status, FIELD_TIMESTAMP), -INFINITY);
}

/* True if the task has a status that is newer than this one. */
static bool has_newer(const struct json_tokens *task, const struct json_tokens *status)
{
	struct json_values values = {0}, others = {0};
	double time = timestamp(json_values_read(&values, status->bytes, status->n));
	const struct json_value *statuses =
		json_member(json_values_read(&others, task->bytes, task->n), FIELD_STATUSES);
	bool found = false;

	JSON_EACH(s, statuses)
	found |= timestamp(s) > time;
	json_values_done(&values);
	json_values_done(&others);
	return found;
}

/* Appends the task without its CLOSE and without its state and, maybe, statuses. */
static void copy_members(const struct json_tokens *task, bool statuses, struct json_tokens *to)
{
	const char *p = task->bytes, *end = p + task->n - 1, *next;
	size_t depth = 0;
	bool left_out = false;

	for (; p < end; p = next) {
		struct json_value v;

		next = json_token_read(p, &v);
		if (depth == 1 && v.kind != JSON_CLOSE)
			left_out =
				v.field == FIELD_STATE || (v.field == FIELD_STATUSES && !statuses);
		if (!left_out)
			json_tokens_append(to, p, (size_t)(next - p));
		depth += v.kind == JSON_OBJECT || v.kind == JSON_ARRAY;
		depth -= v.kind == JSON_CLOSE;
	}
}

void element_task_update(const struct json_tokens *task, const char *state,
	const struct json_tokens *status, struct json_tokens *ret)
{
	bool replaced = status->n && !has_newer(task, status);
	size_t begun;

	ret->n = 0;
	copy_members(task, !replaced, ret);
	begun = json_tokens_begin(ret, JSON_STRING, FIELD_STATE);
	json_tokens_append(ret, state, strlen(state));
	json_tokens_end(ret, begun);
	if (replaced) {
		json_tokens_put(ret, JSON_ARRAY, FIELD_STATUSES);
		json_tokens_append(ret, status->bytes, status->n);
		json_tokens_put(ret, JSON_CLOSE, FIELD_NONE);
	}
	json_tokens_put(ret, JSON_CLOSE, FIELD_NONE);
}

/* ---- frameworks and agents ---- */

struct element_framework element_read_framework(const struct json_value *v)
{
	const struct json_value *info = json_member(v, FIELD_FRAMEWORK_INFO);

	if (!info)
		info = v;
	return (struct element_framework){.id = element_id(json_member(info, FIELD_ID)),
		.name = element_id(json_member(info, FIELD_NAME))};
}

struct element_agent element_read_agent(const struct json_value *v)
{
	const struct json_value *info = json_member(v, FIELD_AGENT_INFO);

	if (!info)
		info = v;
	return (struct element_agent){.id = element_id(json_member(info, FIELD_ID)),
		.hostname = element_id(json_member(info, FIELD_HOSTNAME)),
		.pid = element_id(json_member(v, FIELD_PID))};
}

/* The address in "slave(1)@10.0.1.248:5051" or "slave(1)@[fd00::1]:5051". */
static int address_of_pid(const char *pid, struct ip_addr *ret)
{
	const char *at = strrchr(pid, '@'), *colon = strrchr(pid, ':');
	char text[IP_ADDR_STRLEN];
	size_t n;

	if (!at || !colon || colon < at)
		return -EINVAL;
	at++;
	n = (size_t)(colon - at);
	if (n > 2 && *at == '[' && colon[-1] == ']') {
		at++;
		n -= 2;
	}
	if (n >= sizeof text)
		return -EINVAL;
	memcpy(text, at, n);
	text[n] = '\0';
	return ip_addr_parse(text, ret);
}

struct ip_addr element_agent_address(const char *hostname, const char *pid)
{
	struct ip_addr a = {0};

	if ((!hostname || ip_addr_parse(hostname, &a) < 0) && (!pid || address_of_pid(pid, &a) < 0))
		return (struct ip_addr){0};
	return a;
}
