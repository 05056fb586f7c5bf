/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The control socket: HTTP over a unix socket, for vipctl. This file speaks HTTP; what the
 * answers say is the handler's part.
 */
#include <stdbool.h>
#include <systemd/sd-event.h>

#include "agent/util.h"

struct control;
struct MHD_Connection;

struct control_request {
	const char *method; /* "GET", "POST" */
	const char *path;   /* "/v1/status" */
	struct MHD_Connection *connection;
	struct control_promise *promise; /* the control's own */
};

/* The value of ?NAME=VALUE, decoded; NULL if it is not there. Lives as long as the request. */
const char *control_argument(const struct control_request *request, const char *name);

/* An answer without an end: lines that come as things happen. */
struct control_stream {
	/* The next text, whole lines, malloced. NULL: there is nothing more now, and control_wake()
	 * will tell when there is; or *ret_end was set, and there never will be. NULL here: the
	 * reply is no stream. */
	char *(*next)(void *userdata, bool *ret_end);
	void (*done)(void *userdata); /* called once, at the end of the answer or of the client */
	void *userdata;
};

struct control_reply {
	unsigned int status;          /* HTTP; 200 unless set */
	char *body;                   /* JSON text; owned by the control afterwards */
	struct control_stream stream; /* instead of a body */
	bool promised;                /* instead of both: control_promise() was called */
};

typedef void (*control_handler_t)(
	void *userdata, const struct control_request *request, struct control_reply *reply);

/* For an answer that takes its time: the handler sets reply->promised and returns, and
 * control_fulfil() gives the answer later, exactly once, also when the client or the control have
 * gone meanwhile. */
struct control_promise *control_promise(const struct control_request *request);
void control_fulfil(struct control_promise *p, unsigned int status, char *body);

/* Streams that had nothing more are to be asked again. */
void control_wake(struct control *c);

/* Listens on `path` (its directory is made if missing, mode 0755; the socket is 0660).
 * -EADDRINUSE if another vipd lives there: its lock, PATH.lock, is held. A socket that a dead
 * one left is replaced. Other negative errno as they come. */
int control_new(sd_event *loop, const char *path, control_handler_t handler, void *userdata,
	struct control **ret);
struct control *control_free(struct control *c); /* takes NULL; returns NULL */
