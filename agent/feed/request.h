/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * One request to a Mesos master at a time, by libcurl on the event loop: its URL, its TLS, its
 * credentials and its redirects.
 *
 * Credentials go to the masters of the configuration and to nobody else: a redirect is followed
 * by a request of its own, which carries them only if scheme, host and port are those of one
 * of the masters (or of the one asked). The file that holds them is read anew for each request.
 */
#include <systemd/sd-event.h>

#include "agent/config.h"

struct requester;

enum request_kind {
	REQUEST_STATE,     /* GET /state */
	REQUEST_GET_STATE, /* POST /api/v1, GET_STATE */
	REQUEST_SUBSCRIBE, /* POST /api/v1, SUBSCRIBE: has no end of its own, so no time limit */
};

enum request_outcome {
	REQUEST_WHOLE,     /* 200, and the body is complete */
	REQUEST_ELSEWHERE, /* not to be followed, a redirect; or 503, nobody leads */
	REQUEST_FAILED,
};

struct request_end {
	enum request_outcome outcome;
	const char *reason; /* unless whole: a sentence */
	const char *url;    /* the last that was asked, without credentials */
};

/* What request_handler.body() returns. */
enum {
	REQUEST_GO_ON,
	REQUEST_WAIT, /* nothing was taken: once more after request_resume() */
};

struct request_handler {
	/* The next bytes of a 200's body, decompressed. */
	int (*body)(void *userdata, const char *bytes, size_t n);
	/* The request is over, and gone. Another may be begun. */
	void (*done)(void *userdata, const struct request_end *end);
	void *userdata;
};

/* `config` must outlive it; what is reloadable is read anew at each request. */
int requester_new(sd_event *loop, const struct config *config,
	const struct request_handler *handler, struct requester **ret);
struct requester *requester_free(struct requester *r); /* takes NULL; returns NULL */
/* Asks the master at this base URL; there must be no request under way. */
void request_begin(
	struct requester *r, const char *base, enum request_kind kind, bool follow_redirects);
/* Drops the request under way, if there is one; done() is not called. */
void request_drop(struct requester *r);
/* What is asked now, after redirects; without credentials. */
const char *request_url(const struct requester *r);
/* Ends a REQUEST_WAIT, if there is one. */
void request_resume(struct requester *r);
