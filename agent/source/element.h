/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The elements that documents and events are made of: what is wanted of a task, a framework and an
 * agent, in every spelling. Texts that are given back live as long as the JSON they are of.
 */
#include "agent/source/json_scan.h"
#include "agent/source/task.h"

/* For json_path.inner. */
extern const struct json_path element_task_paths[], element_status_paths[],
	element_framework_paths[], element_agent_paths[];

/* By a task's strings, without reading it: TASK_READ_KEEP if it may have VIP labels, or there is no
 * telling (a state spelled with escapes). */
int element_task_look(const struct json_element *e);

struct element_framework {
	const char *id, *name; /* NULL: none */
};
struct element_framework element_read_framework(struct json_object *o);

struct element_agent {
	const char *id, *hostname, *pid;
};
struct element_agent element_read_agent(struct json_object *o);

/* The hostname if it is a literal address, else the one in the pid, else AF_UNSPEC. Both may be
 * NULL. */
struct ip_addr element_agent_address(const char *hostname, const char *pid);
