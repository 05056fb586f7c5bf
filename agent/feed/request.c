/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libcurl's multi interface: curl says which descriptors it waits for (on_curl_socket) and until
 * when (on_curl_timer), the loop calls back. A transfer that ends is reaped where curl was called
 * last (reap); there the request either goes on at the place of a redirect, or is done.
 */
#include "agent/feed/request.h"

#include <curl/curl.h>
#include <stdio.h>
#include <strings.h>

#include "agent/feed/credentials.h"
#include "agent/log.h"

/* A redirect leads from any master to the leader; a chain means that they disagree. */
#define MAX_REDIRECTS 3
/* us; the loop's default of 250 ms would blur time-outs. */
#define TIMER_ACCURACY 1000
/* s: a stream's connection to a host that is gone is noticed after about 25 s. */
#define KEEPALIVE_IDLE 10L
#define KEEPALIVE_INTERVAL 5L

/* Bytes of an answer, unpacked, after which the loop turns to others: about a millisecond. Curl
 * itself goes on for as long as its socket has something, which is for ever where the network is
 * fast. */
#define TURN_BYTES ((size_t)512 << 10)

struct requester {
	sd_event *loop;
	const struct config *config;
	struct request_handler handler;
	CURLM *multi;
	sd_event_source *timer, *next_turn;
	size_t n_turn; /* bytes of this turn of the loop */
	/* the request under way */
	CURL *easy; /* NULL: none */
	enum request_kind kind;
	bool follow, waits;
	bool bare; /* credentials were kept back from a stranger */
	int n_redirects;
	char *base, *url;
	struct curl_slist *headers;
	char curl_error[CURL_ERROR_SIZE];
};

/* --- where credentials may go ---------------------------------------------- */

/* Scheme, host and port: what a browser would call an origin. */
struct origin {
	char *scheme, *host, *port;
};

static void origin_done(struct origin *o)
{
	curl_free(o->scheme);
	curl_free(o->host);
	curl_free(o->port);
}

static int origin_parse(const char *url, struct origin *ret)
{
	CURLU *u = curl_url();
	bool ok;

	*ret = (struct origin){0};
	if (!u)
		abort(); /* out of memory */
	ok = curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
	     curl_url_get(u, CURLUPART_SCHEME, &ret->scheme, 0) == CURLUE_OK &&
	     curl_url_get(u, CURLUPART_HOST, &ret->host, 0) == CURLUE_OK &&
	     curl_url_get(u, CURLUPART_PORT, &ret->port, CURLU_DEFAULT_PORT) == CURLUE_OK;
	curl_url_cleanup(u);
	return ok ? 0 : -1;
}

static bool is_same_origin(const char *a, const char *b)
{
	struct origin x = {0}, y = {0};
	bool same = origin_parse(a, &x) == 0 && origin_parse(b, &y) == 0 &&
		    strcasecmp(x.scheme, y.scheme) == 0 && strcasecmp(x.host, y.host) == 0 &&
		    strcmp(x.port, y.port) == 0;

	origin_done(&x);
	origin_done(&y);
	return same;
}

static bool is_trusted(const struct requester *r, const char *url)
{
	if (is_same_origin(url, r->base))
		return true;
	for (char **m = r->config->masters; m && *m; m++)
		if (is_same_origin(url, *m))
			return true;
	return false;
}

/* --- one transfer ---------------------------------------------------------- */

static void add_header(struct requester *r, const char *line)
{
	struct curl_slist *longer = curl_slist_append(r->headers, line);

	if (!longer)
		abort(); /* out of memory */
	r->headers = longer;
}

static void forget_headers(struct requester *r)
{
	for (struct curl_slist *h = r->headers; h; h = h->next)
		credentials_wipe(h->data);
	curl_slist_free_all(r->headers);
	r->headers = NULL;
}

static void end_transfer(struct requester *r)
{
	if (!r->easy)
		return;
	curl_multi_remove_handle(r->multi, r->easy);
	curl_easy_cleanup(r->easy);
	forget_headers(r);
	r->easy = NULL;
	r->waits = false;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *userdata)
{
	struct requester *r = userdata;
	long status = 0;

	curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status != 200)
		return size * n; /* the body of an error page is of no interest */
	if (r->n_turn >= TURN_BYTES) {
		sd_event_source_set_enabled(r->next_turn, SD_EVENT_ONESHOT);
	} else if (r->handler.body(r->handler.userdata, bytes, size * n) != REQUEST_WAIT) {
		r->n_turn += size * n;
		return size * n;
	}
	r->waits = true;
	return CURL_WRITEFUNC_PAUSE;
}

static void set_method(struct requester *r)
{
	curl_easy_setopt(r->easy, CURLOPT_URL, r->url);
	if (r->kind != REQUEST_STATE) {
		curl_easy_setopt(r->easy, CURLOPT_POST, 1L);
		curl_easy_setopt(r->easy, CURLOPT_POSTFIELDS,
			r->kind == REQUEST_SUBSCRIBE ? "{\"type\":\"SUBSCRIBE\"}"
						     : "{\"type\":\"GET_STATE\"}");
		add_header(r, "Content-Type: application/json");
	}
	add_header(r, "Accept: application/json");
	curl_easy_setopt(r->easy, CURLOPT_HTTPHEADER, r->headers);
	/* A compressed stream would hold events back until a block is full. */
	if (r->kind != REQUEST_SUBSCRIBE)
		curl_easy_setopt(r->easy, CURLOPT_ACCEPT_ENCODING, "gzip");
}

static void set_tls(struct requester *r)
{
	const struct config *c = r->config;

	if (*c->tls_ca)
		curl_easy_setopt(r->easy, CURLOPT_CAINFO, c->tls_ca);
	if (*c->tls_cert) {
		curl_easy_setopt(r->easy, CURLOPT_SSLCERT, c->tls_cert);
		curl_easy_setopt(r->easy, CURLOPT_SSLKEY, c->tls_key);
	}
	curl_easy_setopt(r->easy, CURLOPT_SSL_VERIFYPEER, c->tls_verify ? 1L : 0L);
	curl_easy_setopt(r->easy, CURLOPT_SSL_VERIFYHOST, c->tls_verify ? 2L : 0L);
}

static void set_times(struct requester *r)
{
	const struct config *c = r->config;

	curl_easy_setopt(
		r->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(c->connect_timeout / NSEC_PER_MSEC));
	if (r->kind != REQUEST_SUBSCRIBE) {
		curl_easy_setopt(
			r->easy, CURLOPT_TIMEOUT_MS, (long)(c->request_timeout / NSEC_PER_MSEC));
		return;
	}
	curl_easy_setopt(r->easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(r->easy, CURLOPT_TCP_KEEPIDLE, KEEPALIVE_IDLE);
	curl_easy_setopt(r->easy, CURLOPT_TCP_KEEPINTVL, KEEPALIVE_INTERVAL);
}

/* NULL, or why there are no credentials although there should be (caller frees). */
static char *set_credentials(struct requester *r)
{
	char *line = NULL, *error = NULL;

	r->bare = false;
	if (credentials_read(r->config, &line, &error) < 0)
		return error;
	if (!line)
		return NULL;
	if (is_trusted(r, r->url))
		add_header(r, line);
	else
		r->bare = true;
	credentials_wipe(line);
	free(line);
	return NULL;
}

static void done(struct requester *r, enum request_outcome outcome, const char *reason);

/* Sends the request to r->url. */
static void begin_transfer(struct requester *r)
{
	AUTO_FREE char *error = NULL;

	r->easy = curl_easy_init();
	if (!r->easy)
		abort(); /* out of memory */
	*r->curl_error = '\0';
	error = set_credentials(r);
	set_method(r);
	set_tls(r);
	set_times(r);
	curl_easy_setopt(r->easy, CURLOPT_ERRORBUFFER, r->curl_error);
	curl_easy_setopt(r->easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(r->easy, CURLOPT_WRITEDATA, r);
	curl_easy_setopt(r->easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(r->easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(r->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(r->easy, CURLOPT_USERAGENT, "vipd/" VIPD_VERSION);
	curl_easy_setopt(r->easy, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(r->easy, CURLOPT_NOSIGNAL, 1L);
	if (error)
		done(r, REQUEST_FAILED, error);
	else
		curl_multi_add_handle(r->multi, r->easy);
}

/* --- the end of a transfer ------------------------------------------------- */

static void done(struct requester *r, enum request_outcome outcome, const char *reason)
{
	AUTO_FREE char *url = xstrdup(r->url);
	AUTO_FREE char *text = reason ? xstrdup(reason) : NULL;
	struct request_end end = {.outcome = outcome, .reason = text, .url = url};

	end_transfer(r);
	r->handler.done(r->handler.userdata, &end);
}

/* Follows if that may be, else NULL is returned or why not (static text). */
static const char *follow(struct requester *r, const char *location)
{
	if (r->n_redirects++ == MAX_REDIRECTS)
		return "redirected too often: the masters disagree about who leads";
	free(r->url);
	r->url = xstrdup(location);
	end_transfer(r);
	begin_transfer(r);
	return NULL;
}

static void fail_with_status(struct requester *r, long status)
{
	AUTO_FREE char *reason = xasprintf("HTTP status %ld%s", status,
		r->bare && (status == 401 || status == 403)
			? ": redirected to what is none of the masters, so without credentials"
			: "");

	done(r, status == 503 ? REQUEST_ELSEWHERE : REQUEST_FAILED, reason);
}

static void take_answer(struct requester *r, CURLcode code)
{
	AUTO_FREE char *location = NULL;
	const char *error;
	char *found = NULL;
	long status = 0;

	curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(r->easy, CURLINFO_REDIRECT_URL, &found);
	if (code != CURLE_OK) {
		done(r, REQUEST_FAILED, *r->curl_error ? r->curl_error : curl_easy_strerror(code));
		return;
	}
	if (status == 200) {
		done(r, REQUEST_WHOLE, NULL);
		return;
	}
	if (!found) {
		fail_with_status(r, status);
		return;
	}
	location = xstrdup(found);
	error = r->follow ? follow(r, location) : "it does not lead";
	if (error)
		done(r, r->follow ? REQUEST_FAILED : REQUEST_ELSEWHERE, error);
}

/* Takes what curl has finished. There is one transfer at a time. */
static void reap(struct requester *r)
{
	CURLMsg *msg;
	int n;

	while ((msg = curl_multi_info_read(r->multi, &n)))
		if (msg->msg == CURLMSG_DONE && msg->easy_handle == r->easy)
			take_answer(r, msg->data.result);
}

/* --- on the loop ----------------------------------------------------------- */

static int on_socket_ready(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
	struct requester *r = userdata;
	int flags = 0, running;

	if (events & (EPOLLIN | EPOLLHUP))
		flags |= CURL_CSELECT_IN;
	if (events & EPOLLOUT)
		flags |= CURL_CSELECT_OUT;
	if (events & EPOLLERR)
		flags |= CURL_CSELECT_ERR;
	r->n_turn = 0;
	curl_multi_socket_action(r->multi, fd, flags, &running);
	reap(r);
	return 0;
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *userdata, void *per_socket)
{
	struct requester *r = userdata;
	sd_event_source *s = per_socket;
	uint32_t events =
		(what & CURL_POLL_IN ? EPOLLIN : 0U) | (what & CURL_POLL_OUT ? EPOLLOUT : 0U);

	if (what == CURL_POLL_REMOVE) {
		sd_event_source_disable_unref(s);
		curl_multi_assign(r->multi, fd, NULL);
		return 0;
	}
	if (s)
		return sd_event_source_set_io_events(s, events) < 0 ? -1 : 0;
	if (sd_event_add_io(r->loop, &s, fd, events, on_socket_ready, r) < 0)
		return -1;
	curl_multi_assign(r->multi, fd, s);
	return 0;
}

static int on_curl_timeout(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct requester *r = userdata;
	int running;

	r->n_turn = 0;
	curl_multi_socket_action(r->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	reap(r);
	return 0;
}

static int on_curl_timer(CURLM *multi, long ms, void *userdata)
{
	struct requester *r = userdata;

	if (ms < 0)
		return sd_event_source_set_enabled(r->timer, SD_EVENT_OFF) < 0 ? -1 : 0;
	sd_event_source_set_time_relative(r->timer, (uint64_t)ms * 1000);
	return sd_event_source_set_enabled(r->timer, SD_EVENT_ONESHOT) < 0 ? -1 : 0;
}

/* --- for the feed ---------------------------------------------------------- */

void request_begin(
	struct requester *r, const char *base, enum request_kind kind, bool follow_redirects)
{
	r->kind = kind;
	r->follow = follow_redirects;
	r->n_redirects = 0;
	free(r->base);
	free(r->url);
	r->base = xstrdup(base);
	r->url = xasprintf("%s%s", base, kind == REQUEST_STATE ? "/state" : "/api/v1");
	begin_transfer(r);
}

void request_drop(struct requester *r)
{
	end_transfer(r);
}

const char *request_url(const struct requester *r)
{
	return r->url;
}

void request_resume(struct requester *r)
{
	if (!r->easy || !r->waits)
		return;
	r->waits = false;
	r->n_turn = 0;
	curl_easy_pause(r->easy, CURLPAUSE_CONT);
	reap(r);
}

static int on_next_turn(sd_event_source *s, void *userdata)
{
	request_resume(userdata);
	return 0;
}

int requester_new(sd_event *loop, const struct config *config,
	const struct request_handler *handler, struct requester **ret)
{
	struct requester *r = xcalloc(1, sizeof(*r));
	int x;

	r->loop = sd_event_ref(loop);
	r->config = config;
	r->handler = *handler;
	r->multi = curl_multi_init();
	if (!r->multi)
		abort(); /* out of memory */
	curl_multi_setopt(r->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
	curl_multi_setopt(r->multi, CURLMOPT_SOCKETDATA, r);
	curl_multi_setopt(r->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
	curl_multi_setopt(r->multi, CURLMOPT_TIMERDATA, r);
	x = sd_event_add_time_relative(loop, &r->timer, CLOCK_MONOTONIC, UINT64_MAX / 2,
		TIMER_ACCURACY, on_curl_timeout, r);
	if (x >= 0)
		x = sd_event_add_defer(loop, &r->next_turn, on_next_turn, r);
	if (x >= 0)
		x = sd_event_source_set_enabled(r->next_turn, SD_EVENT_OFF);
	if (x < 0) {
		requester_free(r);
		return x;
	}
	*ret = r;
	return 0;
}

struct requester *requester_free(struct requester *r)
{
	if (!r)
		return NULL;
	end_transfer(r);
	curl_multi_cleanup(r->multi);
	sd_event_source_disable_unref(r->timer);
	sd_event_source_disable_unref(r->next_turn);
	sd_event_unref(r->loop);
	free(r->base);
	free(r->url);
	free(r);
	return NULL;
}
