/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/* Asking the daemon: HTTP over its control socket. */
#include <json-c/json.h>
#include <stdbool.h>

/* Sends METHOD PATH to the daemon at `socket`. On success *ret is the parsed answer (caller
 * puts it) and 0 is returned. Otherwise a sentence is written to stderr and a negative errno
 * returned: -ECONNREFUSED if no daemon answers there, -EREMOTEIO if it answered with an error. */
int client_ask(const char *socket, const char *method, const char *path, json_object **ret);

enum client_quiet {
	CLIENT_LOUD,         /* whatever fails is told */
	CLIENT_QUIET_ABSENT, /* not that no daemon answers */
	CLIENT_QUIET,        /* nothing is */
};
/* The same, with less on stderr. */
int client_try(const char *socket, const char *method, const char *path, enum client_quiet quiet,
	json_object **ret);

/* The sentence for a daemon that does not answer. */
void client_tell_absent(const char *socket);

/* For paths: `text` as the value of an argument. Caller frees. */
char *client_escape(const char *text);

/* Asks for lines that come as things happen, and hands each (without its end) to `line`, which
 * returns false to stop. Returns when the daemon or `line` has ended it: 0, or a negative errno as
 * above, without a word on stderr. */
int client_stream(const char *socket, const char *path, bool (*line)(void *userdata, char *line),
	void *userdata);
