/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * One task, from its JSON to what matters of it to a VIP. Reads both spellings: that of
 * /state and that of the v1 API.
 */
#include "agent/source/mesos.h"
#include "agent/source/ports.h"
#include "agent/source/reject.h"
#include "agent/source/strset.h"

struct json_object;
struct json_tokener;

/* What the reading of all tasks of a document has in common. */
struct task_reader {
	struct arena *arena; /* where what is read goes, until the next task is read */
	struct reject_list *rejects;
	struct strset *frameworks, *agents; /* ids */
	size_t max_labels;
	struct json_tokener *tokener;
	bool keep_waiting;     /* tasks that may come to run are read too */
	struct port_set ports; /* reused */
	/* The task at hand. */
	const char *id, *framework_id;
	size_t n_labels;
	bool too_large;
};

enum {
	TASK_READ_KEEP = 1,  /* has VIP labels, and runs, is being killed, or waits: *ret is set */
	TASK_READ_COUNT = 2, /* runs or is being killed */
	TASK_READ_SKIP = 3,
};

/* One of the above. What is wrong with the task is added to the rejections. Unless it is to be
 * skipped, ret->id and the numbers of its framework and agent are set if it has any. */
int task_read(struct task_reader *r, const char *text, size_t n_text, struct mesos_task *ret);
/* True for the states of tasks that belong into the table. */
bool task_state_counts(const char *state);
/* True for states from which a task never returns. */
bool task_state_is_final(const char *state);

/* JSON text of an element as an object tree, or NULL; json_object_put() it. */
struct json_object *task_json(struct json_tokener *tokener, const char *text, size_t n_text);
/* The member of an object; NULL if it is none, has none, or the member is null. */
struct json_object *json_member(struct json_object *o, const char *key);
/* The text of a string, or of a {"value": string}; NULL if it is neither, or holds a NUL. */
const char *json_id(struct json_object *o);
