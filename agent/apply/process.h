/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * Another program run beside the event loop: text to its standard input, what it prints back,
 * bounded in size and time. The loop is held only for the fork.
 */
#include <systemd/sd-event.h>

#include "agent/util.h"

struct process;

struct process_result {
	int status;         /* exit status; -1: killed, timed out or never started */
	const char *output; /* stdout */
	const char *errors; /* stderr, or why it did not run */
};

/* Calls `done` exactly once, later, from the loop, unless freed before. `input` may be NULL; it is
 * copied. 0 or a negative errno. */
int process_new(sd_event *loop, const char *const *argv, const char *input,
	void (*done)(void *userdata, const struct process_result *result), void *userdata,
	struct process **ret);
/* Ends it if it still runs. Takes NULL; returns NULL. */
struct process *process_free(struct process *p);
