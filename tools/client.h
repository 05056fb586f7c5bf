/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/* Asking the daemon: HTTP over its control socket. */
#include <json-c/json.h>

/* Sends METHOD PATH to the daemon at `socket`. On success *ret is the parsed answer (caller
 * puts it) and 0 is returned. Otherwise a sentence is written to stderr and a negative errno
 * returned: -ECONNREFUSED if no daemon answers there, -EREMOTEIO if it answered with an error. */
int client_ask(const char *socket, const char *method, const char *path, json_object **ret);

/* As above, without a word on stderr when no daemon answers. */
int client_try(const char *socket, const char *method, const char *path, json_object **ret);
