/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libmicrohttpd runs without threads: it owns an epoll descriptor, which is one source of
 * our loop, and a time-out, which is another.
 *
 * A connection whose answer has to wait is suspended: libmicrohttpd forgets it until it is
 * resumed, its time-outs and its client's departure included. So a stream says something (an
 * empty line) every BEAT_INTERVAL at least. A client that does not read is cut off by the idle
 * time-out, which counts while an answer cannot be written.
 *
 * libmicrohttpd knows only that time-out, which a client that sends or takes a byte now and then
 * never meets. So every connection has a deadline of ours as well, for what it is about: sending
 * a request, or taking its answer. Past it, its socket is shut down; libmicrohttpd finds that out
 * by itself.
 */
#include "agent/serve/control.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <sys/socket.h>

#include "agent/log.h"
#include "agent/serve/header.h"
#include "agent/serve/listen.h"

/* Clients at once, and how long an idle one may stay (s): vipctl asks and goes. */
#define MAX_CLIENTS 64U
#define IDLE_TIMEOUT 10U
/* Places that are kept free: see make_room(). */
#define FREE_CLIENTS 4
/* Of the clients, those that watch: others must still get an answer. */
#define MAX_STREAMS 16
/* Bytes of a request's line and headers, and of an answer's; a browser sends about 1 kB. */
#define REQUEST_MEMORY ((size_t)32 * 1024)
/* From a connection's begin, or its last answer's end, to the next request's last header. */
#define REQUEST_TIME (10 * NSEC_PER_SEC)
/* From there to the answer's last byte: vipctl waits so long for a large kernel to be read. */
#define ANSWER_TIME (60 * NSEC_PER_SEC)
#define NEVER UINT64_MAX
/* The port's share of a turn of the loop, and of the time after a turn that took it all. */
#define TURN_TIME (3 * NSEC_PER_MSEC)
/* How often deadlines are looked at. */
#define WATCH_INTERVAL NSEC_PER_SEC
/* A stream's sign of life; less than the idle time-out. */
#define BEAT_INTERVAL (5 * NSEC_PER_SEC)
/* The piece of a stream that libmicrohttpd asks for. */
#define STREAM_BLOCK 16384

/* A request under way. It is freed when it is answered and its connection has no more use for it.
 */
struct control_promise {
	struct control *control;
	struct MHD_Connection *connection;
	unsigned int status;
	char *body;
	bool promised, fulfilled, suspended;
	bool orphan;                         /* the connection is gone */
	struct control_promise *next, *prev; /* promised and not fulfilled; or deferred (next) */
};

struct stream {
	struct control *control;
	struct MHD_Connection *connection;
	struct control_stream source;
	char *text; /* what is being sent */
	size_t sent;
	bool suspended, beat, end;
	struct stream *next, *prev;
};

struct client {
	struct control *control;
	int fd;      /* libmicrohttpd's */
	bool asking; /* no request under way, or not whole yet */
	bool served; /* has had an answer */
	nsec_t deadline;
	struct client *next, *prev;
};

struct control {
	struct MHD_Daemon *daemon;
	sd_event_source *io, *timer, *beat, *watch;
	struct client *clients;
	struct stream *streams;
	size_t n_watching; /* streams that wait */
	struct control_promise *promises;
	struct control_promise *deferred, **deferred_end; /* requests for the next turn */
	nsec_t turn_begun;
	struct control_stats stats;
	bool closing;
	bool again; /* run() is to come round once more at once */
	bool port;  /* TCP: only to be looked at */
	control_handler_t handler;
	void *userdata;
	char *path;
	int lock; /* 0: none */
};

/* --- clients --------------------------------------------------------------- */

static struct client *client_of(struct MHD_Connection *conn)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(conn, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

static void client_set(struct MHD_Connection *conn, bool asking, nsec_t deadline)
{
	struct client *client = client_of(conn);

	if (!client)
		return;
	client->asking = asking;
	client->deadline = deadline;
}

static void client_shut(struct client *client)
{
	shutdown(client->fd, SHUT_RDWR);
	client->deadline = NEVER;
	client->asking = false;
}

/* Among those who have come and said nothing yet, the one who has been silent longest goes: honest
 * clients ask at once, so whoever fills all places by waiting in them loses them. */
static void make_room(struct control *c)
{
	struct client *oldest = NULL;

	if (c->stats.n_clients + FREE_CLIENTS <= MAX_CLIENTS)
		return;
	for (struct client *k = c->clients; k; k = k->next)
		if (k->asking && (!oldest || k->deadline < oldest->deadline))
			oldest = k;
	if (!oldest)
		return;
	c->stats.n_overtime++;
	client_shut(oldest);
}

static void client_add(struct control *c, struct MHD_Connection *conn, void **context)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct client *client = xcalloc(1, sizeof(*client));

	make_room(c);
	client->control = c;
	client->fd = info ? info->connect_fd : -1;
	client->asking = true;
	client->deadline = now_ns() + REQUEST_TIME;
	client->next = c->clients;
	if (client->next)
		client->next->prev = client;
	c->clients = client;
	*context = client;
	if (c->stats.n_clients++ == 0) {
		sd_event_source_set_time_relative(c->watch, WATCH_INTERVAL / NSEC_PER_USEC);
		sd_event_source_set_enabled(c->watch, SD_EVENT_ONESHOT);
	}
}

static void client_remove(struct control *c, struct client *client)
{
	if (client->prev)
		client->prev->next = client->next;
	else
		c->clients = client->next;
	if (client->next)
		client->next->prev = client->prev;
	c->stats.n_clients--;
	/* If all places were taken, libmicrohttpd listens again only when it is run next. */
	c->again = true;
	free(client);
}

static void on_connection(void *userdata, struct MHD_Connection *conn, void **context,
	enum MHD_ConnectionNotificationCode code)
{
	if (code == MHD_CONNECTION_NOTIFY_STARTED)
		client_add(userdata, conn, context);
	else if (*context)
		client_remove(userdata, STEAL(*context));
}

static int on_watch(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct control *c = userdata;
	nsec_t now = now_ns();

	for (struct client *k = c->clients; k; k = k->next)
		if (k->deadline <= now) {
			/* Who kept a connection open for a next request has done no wrong. */
			c->stats.n_overtime += !(k->asking && k->served);
			client_shut(k);
		}
	if (!c->clients)
		return 0;
	sd_event_source_set_time_relative(source, WATCH_INTERVAL / NSEC_PER_USEC);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

struct control_stats control_stats(const struct control *c)
{
	return c ? c->stats : (struct control_stats){0};
}

/* --- answers --------------------------------------------------------------- */

static void add_headers(struct MHD_Response *response, const struct control_reply *reply)
{
	MHD_add_response_header(
		response, MHD_HTTP_HEADER_CONTENT_TYPE, str_or(reply->type, "application/json"));
	/* A page of another origin may make a browser ask; it is to learn nothing of the answer. */
	MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
	MHD_add_response_header(response, "Cross-Origin-Resource-Policy", "same-origin");
	MHD_add_response_header(
		response, MHD_HTTP_HEADER_CACHE_CONTROL, reply->etag ? "no-cache" : "no-store");
	if (reply->etag)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ETAG, reply->etag);
	if (reply->allow)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, reply->allow);
	if (reply->policy)
		MHD_add_response_header(response, "Content-Security-Policy", reply->policy);
}

/* Takes the response. */
static enum MHD_Result queue(struct MHD_Connection *conn, unsigned int status,
	struct MHD_Response *response, const struct control_reply *reply)
{
	enum MHD_Result ret;

	if (!response)
		return MHD_NO;
	add_headers(response, reply);
	ret = MHD_queue_response(conn, status, response);
	MHD_destroy_response(response);
	return ret;
}

static enum MHD_Result reply_text(struct MHD_Connection *conn, struct control_reply *reply)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(
		strlen(reply->body), reply->body, MHD_RESPMEM_MUST_FREE);

	if (!response)
		free(reply->body);
	return queue(conn, reply->status, response, reply);
}

static enum MHD_Result reply_json(struct MHD_Connection *conn, unsigned int status, char *body)
{
	struct control_reply reply = {.status = status, .body = body};

	return reply_text(conn, &reply);
}

/* The port has had its share: see run(). */
static bool turn_is_over(const struct control *c)
{
	return c->port && !c->closing && now_ns() - c->turn_begun > TURN_TIME;
}

/* --- streams --------------------------------------------------------------- */

static void stream_resume(struct stream *s)
{
	if (!s->suspended)
		return;
	s->suspended = false;
	MHD_resume_connection(s->connection);
}

/* What is to be sent next, or NULL. */
static char *stream_text(struct stream *s)
{
	char *text;

	if (s->control->closing)
		s->end = true;
	if (s->end)
		return NULL;
	text = s->source.next(s->source.userdata, &s->end);
	if (!text && s->beat)
		text = xstrdup("\n");
	s->beat = false;
	return text;
}

static ssize_t on_stream(void *userdata, uint64_t position, char *buf, size_t size)
{
	struct stream *s = userdata;
	size_t n;

	if (!s->text && !s->source.waits && turn_is_over(s->control))
		return 0; /* libmicrohttpd asks again when it is run next */
	if (!s->text) {
		s->text = stream_text(s);
		s->sent = 0;
	}
	if (!s->text) {
		if (s->end)
			return MHD_CONTENT_READER_END_OF_STREAM;
		s->suspended = true;
		MHD_suspend_connection(s->connection);
		return 0;
	}
	n = strlen(s->text + s->sent);
	if (n > size)
		n = size;
	memcpy(buf, s->text + s->sent, n);
	s->sent += n;
	if (!s->text[s->sent])
		free(STEAL(s->text));
	return (ssize_t)n;
}

static void on_stream_done(void *userdata)
{
	struct stream *s = userdata;

	if (s->prev)
		s->prev->next = s->next;
	else
		s->control->streams = s->next;
	if (s->next)
		s->next->prev = s->prev;
	s->control->stats.n_streams--;
	s->control->n_watching -= s->source.waits;
	s->source.done(s->source.userdata);
	free(s->text);
	free(s);
}

static struct stream *stream_new(
	struct control *c, struct MHD_Connection *conn, const struct control_stream *source)
{
	struct stream *s = xcalloc(1, sizeof(*s));

	s->control = c;
	s->connection = conn;
	s->source = *source;
	s->next = c->streams;
	if (s->next)
		s->next->prev = s;
	c->streams = s;
	c->stats.n_streams++;
	if (source->waits && c->n_watching++ == 0) {
		sd_event_source_set_time_relative(c->beat, BEAT_INTERVAL / NSEC_PER_USEC);
		sd_event_source_set_enabled(c->beat, SD_EVENT_ONESHOT);
	}
	return s;
}

static enum MHD_Result reply_stream(
	struct control *c, struct MHD_Connection *conn, const struct control_reply *reply)
{
	const struct control_stream *source = &reply->stream;
	struct MHD_Response *response;
	struct stream *s;

	if (source->waits && c->n_watching == MAX_STREAMS) {
		source->done(source->userdata);
		return reply_json(conn, MHD_HTTP_SERVICE_UNAVAILABLE,
			xstrdup("{\"error\":\"too many are watching already\"}\n"));
	}
	s = stream_new(c, conn, source);
	response = MHD_create_response_from_callback(
		MHD_SIZE_UNKNOWN, STREAM_BLOCK, on_stream, s, on_stream_done);
	if (!response) {
		on_stream_done(s);
		return MHD_NO;
	}
	if (source->waits)
		client_set(conn, false, NEVER);
	return queue(conn, MHD_HTTP_OK, response, reply);
}

/* Has run() come round soon: resuming takes effect there. */
static void nudge(struct control *c)
{
	sd_event_source_set_time_relative(c->timer, 0);
	sd_event_source_set_enabled(c->timer, SD_EVENT_ONESHOT);
}

void control_wake(struct control *c)
{
	bool any = false;

	for (struct stream *s = c ? c->streams : NULL; s; s = s->next) {
		any |= s->suspended;
		stream_resume(s);
	}
	if (any)
		nudge(c);
}

static int on_beat(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct control *c = userdata;

	for (struct stream *s = c->streams; s; s = s->next)
		s->beat = s->source.waits;
	control_wake(c);
	if (!c->n_watching)
		return 0;
	sd_event_source_set_time_relative(source, BEAT_INTERVAL / NSEC_PER_USEC);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* --- answers that take their time ------------------------------------------ */

struct control_promise *control_promise(const struct control_request *request)
{
	struct control_promise *p = request->promise;

	p->promised = true;
	p->next = p->control->promises;
	if (p->next)
		p->next->prev = p;
	p->control->promises = p;
	return p;
}

static void promise_free(struct control_promise *p)
{
	free(p->body);
	free(p);
}

static void promise_unlink(struct control_promise *p)
{
	if (p->prev)
		p->prev->next = p->next;
	else
		p->control->promises = p->next;
	if (p->next)
		p->next->prev = p->prev;
}

void control_fulfil(struct control_promise *p, unsigned int status, char *body)
{
	p->status = status;
	p->body = body;
	if (p->orphan) {
		promise_free(p);
		return;
	}
	p->fulfilled = true;
	promise_unlink(p);
	if (!p->suspended)
		return;
	MHD_resume_connection(p->connection);
	nudge(p->control);
}

void control_ask_again(struct control_promise *p)
{
	if (p->orphan) {
		promise_free(p);
		return;
	}
	promise_unlink(p);
	p->promised = false;
	p->next = p->prev = NULL;
	if (!p->suspended)
		return;
	p->suspended = false;
	MHD_resume_connection(p->connection);
	nudge(p->control);
}

/* --- fairness -------------------------------------------------------------- */

/* True if this request has to wait for a later turn; in the order in which they came. */
static bool defer(struct control *c, struct control_promise *p)
{
	if (!turn_is_over(c))
		return false;
	c->stats.n_deferred++;
	p->next = NULL;
	*c->deferred_end = p;
	c->deferred_end = &p->next;
	MHD_suspend_connection(p->connection);
	return true;
}

static void resume_deferred(struct control *c)
{
	struct control_promise *p = STEAL(c->deferred), *next;

	c->deferred_end = &c->deferred;
	for (; p; p = next) {
		next = STEAL(p->next);
		MHD_resume_connection(p->connection);
	}
}

/* The connection has done with its request, or has gone. */
static void on_completed(void *userdata, struct MHD_Connection *conn, void **state,
	enum MHD_RequestTerminationCode code)
{
	struct control_promise *p = *state;

	*state = NULL;
	client_set(conn, true, now_ns() + REQUEST_TIME);
	if (client_of(conn))
		client_of(conn)->served = true;
	if (!p)
		return;
	if (p->promised && !p->fulfilled) {
		promise_unlink(p);
		p->orphan = true;
	} else {
		promise_free(p);
	}
}

/* --- requests -------------------------------------------------------------- */

const char *control_argument(const struct control_request *request, const char *name)
{
	return MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, name);
}

bool control_number(
	const struct control_request *request, const char *name, uint64_t fallback, uint64_t *ret)
{
	const char *text = control_argument(request, name);
	char *end;

	*ret = fallback;
	if (!text)
		return true;
	errno = 0;
	*ret = strtoull(text, &end, 10);
	return *text >= '0' && *text <= '9' && !*end && errno == 0;
}

static const char *header(struct MHD_Connection *conn, const char *name)
{
	return MHD_lookup_connection_value(conn, MHD_HEADER_KIND, name);
}

bool control_has(const struct control_request *request, const char *etag)
{
	const char *text = header(request->connection, MHD_HTTP_HEADER_IF_NONE_MATCH);

	return text && header_etag_matches(text, etag);
}

static enum MHD_Result send_reply(
	struct control *c, const struct control_request *request, struct control_reply *reply)
{
	if (reply->etag && reply->status == MHD_HTTP_OK && control_has(request, reply->etag)) {
		if (reply->stream.next)
			reply->stream.done(reply->stream.userdata);
		free(reply->body);
		reply->body = xstrdup("");
		reply->status = MHD_HTTP_NOT_MODIFIED;
	} else if (reply->stream.next) {
		return reply_stream(c, request->connection, reply);
	}
	if (!reply->body) {
		reply->status = MHD_HTTP_NOT_FOUND;
		reply->body = xstrdup("{\"error\":\"no such resource\"}\n");
	}
	return reply_text(request->connection, reply);
}

static enum MHD_Result answer(struct control *c, struct MHD_Connection *conn, const char *url,
	const char *method, struct control_promise *p)
{
	/* libmicrohttpd leaves the body of the answer to HEAD out. */
	bool head = strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;
	struct control_request request = {head ? "GET" : method, url, c->port, conn, p};
	struct control_reply reply = {.status = MHD_HTTP_OK};
	enum MHD_Result ret;

	c->handler(c->userdata, &request, &reply);
	if (reply.promised && p->fulfilled)
		return reply_json(conn, p->status, STEAL(p->body));
	if (reply.promised) {
		p->suspended = true;
		MHD_suspend_connection(conn);
		return MHD_YES;
	}
	ret = send_reply(c, &request, &reply);
	free(reply.etag);
	return ret;
}

/* Refuses what no handler need see; NULL: it may go on. */
static const char *refusal(
	const struct control *c, struct MHD_Connection *conn, unsigned int *ret_status)
{
	const char *host = header(conn, MHD_HTTP_HEADER_HOST);
	const char *length = header(conn, MHD_HTTP_HEADER_CONTENT_LENGTH);

	if (header(conn, MHD_HTTP_HEADER_TRANSFER_ENCODING) ||
		(length && strcmp(length, "0") != 0)) {
		*ret_status = MHD_HTTP_CONTENT_TOO_LARGE;
		return "{\"error\":\"no request here has a body\"}\n";
	}
	if (c->port && host && !header_host_is_local(host)) {
		*ret_status = MHD_HTTP_MISDIRECTED_REQUEST;
		return "{\"error\":\"ask by a literal address or localhost, not by a name\"}\n";
	}
	return NULL;
}

/* Called once when the headers are there (no *state yet), again for the answer, and once more when
 * a promise was fulfilled. A refusal at the first call ends the connection. */
static enum MHD_Result on_request(void *userdata, struct MHD_Connection *conn, const char *url,
	const char *method, const char *version, const char *upload, size_t *n_upload, void **state)
{
	struct control *c = userdata;
	struct control_promise *p = *state;
	unsigned int status;
	const char *refused;

	if (!p) {
		c->stats.n_requests++;
		client_set(conn, false, now_ns() + ANSWER_TIME);
		refused = refusal(c, conn, &status);
		if (refused) {
			c->stats.n_refused++;
			return reply_json(conn, status, xstrdup(refused));
		}
		p = xcalloc(1, sizeof(*p));
		p->control = c;
		p->connection = conn;
		*state = p;
		return MHD_YES;
	}
	if (p->fulfilled)
		return reply_json(conn, p->status, STEAL(p->body));
	if (defer(c, p))
		return MHD_YES;
	return answer(c, conn, url, method, p);
}

/* After a turn that was used up, the others of the loop get as much. */
static void pause_port(struct control *c)
{
	sd_event_source_set_enabled(c->io, SD_EVENT_OFF);
	sd_event_source_set_time_relative(c->timer, TURN_TIME / NSEC_PER_USEC);
	sd_event_source_set_enabled(c->timer, SD_EVENT_ONESHOT);
}

static void run(struct control *c)
{
	MHD_UNSIGNED_LONG_LONG ms;

	c->again = false;
	c->turn_begun = now_ns();
	resume_deferred(c);
	MHD_run(c->daemon);
	if (turn_is_over(c)) {
		pause_port(c);
	} else if (c->again || c->deferred) {
		nudge(c);
	} else if (MHD_get_timeout(c->daemon, &ms) == MHD_YES) {
		sd_event_source_set_time_relative(c->timer, ms * 1000);
		sd_event_source_set_enabled(c->timer, SD_EVENT_ONESHOT);
	} else {
		sd_event_source_set_enabled(c->timer, SD_EVENT_OFF);
	}
}

static int on_io(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
	run(userdata);
	return 0;
}

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct control *c = userdata;

	sd_event_source_set_enabled(c->io, SD_EVENT_ON);
	run(c);
	return 0;
}

static int add_timer(
	struct control *c, sd_event *loop, sd_event_source **ret, sd_event_time_handler_t handler)
{
	int r = sd_event_add_time_relative(loop, ret, CLOCK_MONOTONIC, 0, 1000, handler, c);

	return r < 0 ? r : sd_event_source_set_enabled(*ret, SD_EVENT_OFF);
}

/* Takes the listening socket. */
static int start_daemon(struct control *c, sd_event *loop, int fd)
{
	const union MHD_DaemonInfo *info;
	int r;

	c->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
		on_request, c, MHD_OPTION_NOTIFY_COMPLETED, on_completed, c,
		MHD_OPTION_NOTIFY_CONNECTION, on_connection, c, MHD_OPTION_LISTEN_SOCKET, fd,
		MHD_OPTION_CONNECTION_LIMIT, MAX_CLIENTS, MHD_OPTION_CONNECTION_TIMEOUT,
		IDLE_TIMEOUT, MHD_OPTION_CONNECTION_MEMORY_LIMIT, REQUEST_MEMORY,
		MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
	if (!c->daemon) {
		close(fd);
		return -ENOMEM;
	}
	info = MHD_get_daemon_info(c->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info)
		return -ENOTSUP;
	r = sd_event_add_io(loop, &c->io, info->epoll_fd, EPOLLIN, on_io, c);
	if (r >= 0)
		r = add_timer(c, loop, &c->timer, on_timer);
	if (r >= 0)
		r = add_timer(c, loop, &c->beat, on_beat);
	if (r >= 0)
		r = add_timer(c, loop, &c->watch, on_watch);
	if (r >= 0)
		nudge(c);
	return r;
}

static int listen_socket(struct control *c, const char *path)
{
	int r;

	r = listen_lock(path, &c->lock);
	if (r >= 0)
		r = listen_at(path);
	if (r >= 0)
		c->path = xstrdup(path);
	return r;
}

/* `fd` is a listening socket, or a negative errno. */
static int begin(struct control *c, sd_event *loop, int fd, struct control **ret)
{
	int r = fd < 0 ? fd : start_daemon(c, loop, fd);

	if (r < 0) {
		control_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

static struct control *control_alloc(control_handler_t handler, void *userdata, bool port)
{
	struct control *c = xcalloc(1, sizeof(*c));

	c->handler = handler;
	c->userdata = userdata;
	c->port = port;
	c->deferred_end = &c->deferred;
	return c;
}

int control_new(sd_event *loop, const char *path, control_handler_t handler, void *userdata,
	struct control **ret)
{
	struct control *c = control_alloc(handler, userdata, false);

	return begin(c, loop, listen_socket(c, path), ret);
}

int control_new_port(sd_event *loop, const struct ip_addr *address, uint16_t port,
	control_handler_t handler, void *userdata, struct control **ret)
{
	return begin(control_alloc(handler, userdata, true), loop, listen_port(address, port), ret);
}

/* libmicrohttpd does not stop while connections are suspended. */
static void stop_daemon(struct control *c)
{
	c->closing = true;
	for (struct stream *s = c->streams; s; s = s->next)
		stream_resume(s);
	for (struct control_promise *p = c->promises; p; p = p->next)
		MHD_resume_connection(p->connection);
	resume_deferred(c);
	if (c->daemon)
		MHD_stop_daemon(c->daemon);
}

struct control *control_free(struct control *c)
{
	if (!c)
		return NULL;
	sd_event_source_disable_unref(c->io);
	sd_event_source_disable_unref(c->timer);
	sd_event_source_disable_unref(c->beat);
	sd_event_source_disable_unref(c->watch);
	stop_daemon(c);
	if (c->path)
		unlink(c->path);
	/* The lock file stays: removing it would let two daemons each lock a file of that name. */
	if (c->lock > 0)
		close(c->lock);
	free(c->path);
	free(c);
	return NULL;
}
