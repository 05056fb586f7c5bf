/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The doors at which vipd is asked: the control socket, HTTP over a unix socket, for vipctl; and
 * the port, HTTP over TCP, for browsers and scrapers, where things are only to be looked at. This file
 * speaks HTTP; what the answers say is the handler's part.
 *
 * Each door has bounds of its own, so that nobody who crowds the port keeps vipctl out: clients at
 * once, the size of a request, and the time for one and for its answer, however slowly but steadily
 * they trickle. When it is full, the client that has been waiting longest without a request goes. However
 * many ask at the port, they hold the loop for one answer, or a piece of one, and a few milliseconds, and
 * get no more than about half of its time.
 */
#include <stdbool.h>
#include <systemd/sd-event.h>

#include "agent/util.h"
#include "ipvs/model.h"

struct control;
struct MHD_Connection;

struct control_request {
	const char *method; /* "GET", also for HEAD; "POST" */
	const char *path;   /* "/v1/status" */
	bool looking;       /* it came to the port: nothing may be changed by it */
	struct MHD_Connection *connection;
	struct control_promise *promise; /* the control's own */
};

/* The value of ?NAME=VALUE, decoded; NULL if it is not there. Lives as long as the request. */
const char *control_argument(const struct control_request *request, const char *name);
/* The same as a number; `fallback` if it is not there. False if it is none. */
bool control_number(
	const struct control_request *request, const char *name, uint64_t fallback, uint64_t *ret);
/* True if the client has what this entity tag (with its quotes) stands for. */
bool control_has(const struct control_request *request, const char *etag);

/* An answer piece by piece: lines that come as things happen, or what is too long to be made in
 * one turn of the loop. */
struct control_stream {
	/* The next text, malloced. NULL: there is nothing more now, and control_wake() will tell
	 * when there is; or *ret_end was set, and there never will be. NULL here: the reply is no
	 * stream. */
	char *(*next)(void *userdata, bool *ret_end);
	void (*done)(void *userdata); /* called once, at the end of the answer or of the client */
	void *userdata;
	/* It may wait for something to happen: few of these at once, and an empty line now and
	 * then as a sign of life. */
	bool waits;
};

struct control_reply {
	unsigned int status;          /* HTTP; 200 unless set */
	char *body;                   /* text; owned by the control afterwards */
	struct control_stream stream; /* instead of a body */
	bool promised;                /* instead of both: control_promise() was called */
	const char *type;             /* of the content; NULL: JSON */
	const char *allow;            /* with status 405: the methods that would do */
	const char *policy;           /* Content-Security-Policy; NULL: none is needed */
	/* Entity tag with its quotes; NULL: none. Owned by the control afterwards. A client that
	 * has it gets 304 instead of a body. */
	char *etag;
};

typedef void (*control_handler_t)(
	void *userdata, const struct control_request *request, struct control_reply *reply);

/* For an answer that takes its time: the handler sets reply->promised and returns, and
 * control_fulfil() gives the answer later, exactly once, also when the client or the control have
 * gone meanwhile. */
struct control_promise *control_promise(const struct control_request *request);
void control_fulfil(struct control_promise *p, unsigned int status, char *body);
/* Instead: what the handler waited for is there, and it is to be called again. */
void control_ask_again(struct control_promise *p);

/* Streams that had nothing more are to be asked again. */
void control_wake(struct control *c); /* takes NULL */

/* Listens on `path` (its directory is made if missing, mode 0755; the socket is 0660).
 * -EADDRINUSE if another vipd lives there: its lock, PATH.lock, is held. A socket that a dead
 * one left is replaced. Other negative errno as they come. */
int control_new(sd_event *loop, const char *path, control_handler_t handler, void *userdata,
	struct control **ret);
/* Listens on a TCP port, for looking only: see control_request. A request whose Host is a name other
 * than localhost is refused (header.h says why). Negative errno as they come. */
int control_new_port(sd_event *loop, const struct ip_addr *address, uint16_t port,
	control_handler_t handler, void *userdata, struct control **ret);
struct control *control_free(struct control *c); /* takes NULL; returns NULL */

struct control_stats {
	size_t n_clients, n_streams;                /* now */
	uint64_t n_requests, n_refused, n_overtime; /* answered 4xx before a handler; too slow */
	uint64_t n_deferred;                        /* put off to a later turn of the loop */
};
struct control_stats control_stats(const struct control *c); /* takes NULL: all zero */
