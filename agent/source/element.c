/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/source/element.h"

#include <errno.h>
#include <json-c/json.h>
#include <string.h>

const struct json_path element_task_paths[] = {
	{"id"},
	{"task_id"},
	{"framework_id"},
	{"slave_id"},
	{"agent_id"},
	{"state", JSON_PATH_MARK},
	{"statuses[].timestamp"},
	{"statuses[].healthy"},
	{"statuses[].container_status.network_infos[].ip_addresses"},
	{"statuses[].container_status.network_infos[].ip_address"},
	{"statuses[].container_status.network_infos[].port_mappings"},
	{"discovery.ports", JSON_PATH_WATCH},
	{"labels", JSON_PATH_WATCH},
	{"container.type"},
	{"container.docker.port_mappings"},
	{"container.network_infos[].port_mappings"},
	{"health_check"},
	{"resources.ports"},
	{"resources[].name"},
	{"resources[].ranges"},
	{"resources[].scalar"},
	{NULL},
};

/* One of "statuses[]", as it comes alone. */
const struct json_path element_status_paths[] = {
	{"task_id"},
	{"timestamp"},
	{"healthy"},
	{"container_status.network_infos[].ip_addresses"},
	{"container_status.network_infos[].ip_address"},
	{"container_status.network_infos[].port_mappings"},
	{NULL},
};

const struct json_path element_framework_paths[] = {
	{"framework_info.id"},
	{"framework_info.name"},
	{"id"},
	{"name"},
	{NULL},
};

const struct json_path element_agent_paths[] = {
	{"agent_info.id"},
	{"agent_info.hostname"},
	{"id"},
	{"hostname"},
	{"pid"},
	{NULL},
};

/* A task without VIP labels, to go by its strings: only whether it runs is of interest. That
 * is not certain (TASK_READ_KEEP) only if the state is spelled with escapes. */
static int unwatched_task(const struct json_element *e)
{
	char state[32];

	if (!e->mark || e->n_mark < 2 || e->n_mark >= sizeof state)
		return TASK_READ_SKIP;
	memcpy(state, e->mark + 1, e->n_mark - 2);
	state[e->n_mark - 2] = '\0';
	if (strchr(state, '\\'))
		return TASK_READ_KEEP;
	return task_state_counts(state) ? TASK_READ_COUNT : TASK_READ_SKIP;
}

int element_task_look(const struct json_element *e)
{
	return e->watched || *e->text != '{' ? TASK_READ_KEEP : unwatched_task(e);
}

struct element_framework element_read_framework(struct json_object *o)
{
	struct json_object *info = json_member(o, "framework_info");

	if (!info)
		info = o;
	return (struct element_framework){
		.id = json_id(json_member(info, "id")), .name = json_id(json_member(info, "name"))};
}

struct element_agent element_read_agent(struct json_object *o)
{
	struct json_object *info = json_member(o, "agent_info");

	if (!info)
		info = o;
	return (struct element_agent){.id = json_id(json_member(info, "id")),
		.hostname = json_id(json_member(info, "hostname")),
		.pid = json_id(json_member(o, "pid"))};
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
