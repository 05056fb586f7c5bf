/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The control socket: HTTP over a unix socket, for vipctl. This file speaks HTTP; what the
 * answers say is the handler's part.
 */
#include <systemd/sd-event.h>

#include "agent/util.h"

struct control;

struct control_request {
	const char *method; /* "GET", "POST" */
	const char *path;   /* "/v1/status" */
};

struct control_reply {
	unsigned int status; /* HTTP; 200 unless set */
	char *body;          /* JSON text; owned by the control afterwards */
};

typedef void (*control_handler_t)(
	void *userdata, const struct control_request *request, struct control_reply *reply);

/* Listens on `path` (its directory is made if missing, mode 0755; the socket is 0660).
 * -EADDRINUSE if another vipd lives there: its lock, PATH.lock, is held. A socket that a dead
 * one left is replaced. Other negative errno as they come. */
int control_new(sd_event *loop, const char *path, control_handler_t handler, void *userdata,
	struct control **ret);
struct control *control_free(struct control *c); /* takes NULL; returns NULL */
