/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * One task, from its tokens to what matters of it to a VIP. Reads both spellings: that of
 * /state and that of the v1 API.
 */
#include "agent/source/json_token.h"
#include "agent/source/mesos.h"
#include "agent/source/ports.h"
#include "agent/source/reject.h"
#include "agent/source/strset.h"

/* What the reading of all tasks of a document has in common. */
struct task_reader {
	struct arena *arena; /* where what is read goes, but for texts, until the next task is */
	struct reject_list *rejects;
	struct strset *frameworks, *agents; /* ids */
	size_t max_labels;
	bool keep_waiting;         /* tasks that may come to run are read too */
	struct port_set ports;     /* reused */
	struct json_values values; /* reused */
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
 * skipped, ret->id and the numbers of its framework and agent are set if it has any. Its texts are
 * the tokens'. */
int task_read(struct task_reader *r, const char *tokens, size_t n_tokens, struct mesos_task *ret);
/* Gives back what was reused. The arena is the caller's. */
void task_reader_done(struct task_reader *r);
/* True for the states of tasks that belong into the table. */
bool task_state_counts(const char *state);
/* True for states from which a task never returns. */
bool task_state_is_final(const char *state);
