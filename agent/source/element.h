/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The elements that documents and events are made of: what is wanted of a task, a framework and an
 * agent, in every spelling. Texts that are given back live as long as the tokens they are of.
 */
#include "agent/source/json_scan.h"
#include "agent/source/task.h"

/* Keys of members, by number; element_fields[] has their texts. */
enum element_field {
	FIELD_NONE,
	FIELD_AGENT_ID,
	FIELD_AGENT_INFO,
	FIELD_BEGIN,
	FIELD_CONTAINER,
	FIELD_CONTAINER_PORT,
	FIELD_CONTAINER_STATUS,
	FIELD_DISCOVERY,
	FIELD_DOCKER,
	FIELD_END,
	FIELD_FRAMEWORK_ID,
	FIELD_FRAMEWORK_INFO,
	FIELD_HEALTH_CHECK,
	FIELD_HEALTHY,
	FIELD_HOST_PORT,
	FIELD_HOSTNAME,
	FIELD_ID,
	FIELD_IP_ADDRESS,
	FIELD_IP_ADDRESSES,
	FIELD_KEY,
	FIELD_LABELS,
	FIELD_NAME,
	FIELD_NETWORK_INFOS,
	FIELD_NUMBER,
	FIELD_PID,
	FIELD_PORT_MAPPINGS,
	FIELD_PORTS,
	FIELD_PROTOCOL,
	FIELD_RANGE,
	FIELD_RANGES,
	FIELD_RESOURCES,
	FIELD_SCALAR,
	FIELD_SLAVE_ID,
	FIELD_STATE,
	FIELD_STATUSES,
	FIELD_TASK_ID,
	FIELD_TIMESTAMP,
	FIELD_TYPE,
	FIELD_VALUE,
	_FIELD_N,
};
extern const char *const element_fields[_FIELD_N + 1];

/* For json_path.inner. `id` is for what is an id or name and nothing else. */
extern const struct json_path element_id_paths[], element_task_paths[], element_status_paths[],
	element_framework_paths[], element_agent_paths[];

/* The text of a string, or of a {"value": string}; NULL if it is neither, or holds a NUL. */
const char *element_id(const struct json_value *v);

/* By its scan, without reading it: TASK_READ_KEEP if it may have VIP labels. */
int element_task_look(const struct json_element *e);
/* The tokens of a task whose state is now another, and, unless one that it has is newer, whose
 * only status is `status` (tokens of element_status_paths; may be none). */
void element_task_update(const struct json_tokens *task, const char *state,
	const struct json_tokens *status, struct json_tokens *ret);

struct element_framework {
	const char *id, *name; /* NULL: none */
};
struct element_framework element_read_framework(const struct json_value *v);

struct element_agent {
	const char *id, *hostname, *pid;
};
struct element_agent element_read_agent(const struct json_value *v);

/* The hostname if it is a literal address, else the one in the pid, else AF_UNSPEC. Both may be
 * NULL. */
struct ip_addr element_agent_address(const char *hostname, const char *pid);
