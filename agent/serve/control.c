/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libmicrohttpd runs without threads: it owns an epoll descriptor, which is one source of
 * our loop, and a time-out, which is another.
 *
 * A connection whose answer has to wait is suspended: libmicrohttpd forgets it until it is
 * resumed, its time-outs and its client's departure included. So a stream says something (an
 * empty line) every BEAT_INTERVAL at least. A client that does not read is cut off by the idle
 * time-out, which counts while an answer cannot be written.
 */
#include "agent/serve/control.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <microhttpd.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "agent/log.h"

/* Clients at once, and what an idle one may take (s): vipctl asks and goes. */
#define MAX_CLIENTS 64U
#define IDLE_TIMEOUT 10U
/* Of them, those that watch: others must still get an answer. */
#define MAX_STREAMS 16
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
	struct control_promise *next, *prev; /* promised and not fulfilled */
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

struct control {
	struct MHD_Daemon *daemon;
	sd_event_source *io, *timer, *beat;
	struct stream *streams;
	size_t n_streams;
	struct control_promise *promises;
	bool closing;
	control_handler_t handler;
	void *userdata;
	char *path, *lock_path;
	int lock;
};

static enum MHD_Result reply_json(struct MHD_Connection *conn, unsigned int status, char *body)
{
	struct MHD_Response *response =
		MHD_create_response_from_buffer(strlen(body), body, MHD_RESPMEM_MUST_FREE);
	enum MHD_Result ret;

	if (!response) {
		free(body);
		return MHD_NO;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
	ret = MHD_queue_response(conn, status, response);
	MHD_destroy_response(response);
	return ret;
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
	s->control->n_streams--;
	s->source.done(s->source.userdata);
	free(s->text);
	free(s);
}

static enum MHD_Result reply_stream(
	struct control *c, struct MHD_Connection *conn, const struct control_stream *source)
{
	struct stream *s;
	struct MHD_Response *response;
	enum MHD_Result ret;

	if (c->n_streams == MAX_STREAMS) {
		source->done(source->userdata);
		return reply_json(conn, MHD_HTTP_SERVICE_UNAVAILABLE,
			xstrdup("{\"error\":\"too many are watching already\"}\n"));
	}
	s = xcalloc(1, sizeof(*s));
	s->control = c;
	s->connection = conn;
	s->source = *source;
	s->next = c->streams;
	if (s->next)
		s->next->prev = s;
	c->streams = s;
	if (c->n_streams++ == 0) {
		sd_event_source_set_time_relative(c->beat, BEAT_INTERVAL / NSEC_PER_USEC);
		sd_event_source_set_enabled(c->beat, SD_EVENT_ONESHOT);
	}
	response = MHD_create_response_from_callback(
		MHD_SIZE_UNKNOWN, STREAM_BLOCK, on_stream, s, on_stream_done);
	if (!response) {
		on_stream_done(s);
		return MHD_NO;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/x-ndjson");
	ret = MHD_queue_response(conn, MHD_HTTP_OK, response);
	MHD_destroy_response(response);
	return ret;
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
		s->beat = true;
	control_wake(c);
	if (!c->streams)
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

/* The connection has done with its request, or has gone. */
static void on_completed(void *userdata, struct MHD_Connection *conn, void **state,
	enum MHD_RequestTerminationCode code)
{
	struct control_promise *p = *state;

	*state = NULL;
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

static enum MHD_Result answer(struct control *c, struct MHD_Connection *conn, const char *url,
	const char *method, struct control_promise *p)
{
	struct control_request request = {method, url, conn, p};
	struct control_reply reply = {.status = 200};

	c->handler(c->userdata, &request, &reply);
	if (reply.promised && p->fulfilled)
		return reply_json(conn, p->status, STEAL(p->body));
	if (reply.promised) {
		p->suspended = true;
		MHD_suspend_connection(conn);
		return MHD_YES;
	}
	if (reply.stream.next)
		return reply_stream(c, conn, &reply.stream);
	if (!reply.body) {
		reply.status = 404;
		reply.body = xstrdup("{\"error\":\"no such resource\"}\n");
	}
	return reply_json(conn, reply.status, reply.body);
}

/* Called once when the headers are there (no *state yet), again for a body, if any, which
 * is read and dropped: no request of ours has one; and once more when a promise was fulfilled. */
static enum MHD_Result on_request(void *userdata, struct MHD_Connection *conn, const char *url,
	const char *method, const char *version, const char *upload, size_t *n_upload, void **state)
{
	struct control *c = userdata;
	struct control_promise *p = *state;

	if (!p) {
		p = xcalloc(1, sizeof(*p));
		p->control = c;
		p->connection = conn;
		*state = p;
		return MHD_YES;
	}
	if (*n_upload) {
		*n_upload = 0;
		return MHD_YES;
	}
	if (p->fulfilled)
		return reply_json(conn, p->status, STEAL(p->body));
	return answer(c, conn, url, method, p);
}

static void run(struct control *c)
{
	MHD_UNSIGNED_LONG_LONG ms;

	MHD_run(c->daemon);
	if (MHD_get_timeout(c->daemon, &ms) == MHD_YES) {
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
	run(userdata);
	return 0;
}

static int take_lock(struct control *c)
{
	c->lock = open(c->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (c->lock < 0)
		return -errno;
	if (flock(c->lock, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EADDRINUSE : -errno;
	return 0;
}

/* A listening socket at the path. The lock is held, so what stands there is dead. */
static int listen_at(const char *path)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	AUTO_CLOSE int fd = -1;
	mode_t mask;
	int r, ret;

	if (strlen(path) >= sizeof(sun.sun_path))
		return -ENAMETOOLONG;
	strcpy(sun.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (unlink(path) < 0 && errno != ENOENT)
		return -errno;
	mask = umask(0117);
	r = bind(fd, (struct sockaddr *)&sun, sizeof(sun));
	umask(mask);
	if (r < 0 || listen(fd, 16) < 0)
		return -errno;
	ret = fd;
	fd = -1;
	return ret;
}

static int make_directory(const char *path)
{
	AUTO_FREE char *copy = xstrdup(path);

	return mkdir(dirname(copy), 0755) < 0 && errno != EEXIST ? -errno : 0;
}

static int start_daemon(struct control *c, sd_event *loop, int fd)
{
	const union MHD_DaemonInfo *info;
	int r;

	c->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
		on_request, c, MHD_OPTION_NOTIFY_COMPLETED, on_completed, c,
		MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, MAX_CLIENTS,
		MHD_OPTION_CONNECTION_TIMEOUT, IDLE_TIMEOUT, MHD_OPTION_END);
	if (!c->daemon) {
		close(fd);
		return -ENOMEM;
	}
	info = MHD_get_daemon_info(c->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info)
		return -ENOTSUP;
	r = sd_event_add_io(loop, &c->io, info->epoll_fd, EPOLLIN, on_io, c);
	if (r >= 0)
		r = sd_event_add_time_relative(
			loop, &c->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, c);
	if (r >= 0)
		r = sd_event_add_time_relative(
			loop, &c->beat, CLOCK_MONOTONIC, 0, 1000, on_beat, c);
	if (r >= 0)
		r = sd_event_source_set_enabled(c->beat, SD_EVENT_OFF);
	return r;
}

int control_new(sd_event *loop, const char *path, control_handler_t handler, void *userdata,
	struct control **ret)
{
	struct control *c = xcalloc(1, sizeof(*c));
	int r;

	c->handler = handler;
	c->userdata = userdata;
	c->lock_path = xasprintf("%s.lock", path);
	r = make_directory(path);
	if (r >= 0)
		r = take_lock(c);
	if (r >= 0)
		r = listen_at(path);
	if (r >= 0) {
		c->path = xstrdup(path);
		r = start_daemon(c, loop, r);
	}
	if (r < 0) {
		control_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

/* libmicrohttpd does not stop while connections are suspended. */
static void stop_daemon(struct control *c)
{
	c->closing = true;
	for (struct stream *s = c->streams; s; s = s->next)
		stream_resume(s);
	for (struct control_promise *p = c->promises; p; p = p->next)
		MHD_resume_connection(p->connection);
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
	stop_daemon(c);
	if (c->path)
		unlink(c->path);
	/* The lock file stays: removing it would let two daemons each lock a file of that name. */
	if (c->lock > 0)
		close(c->lock);
	free(c->path);
	free(c->lock_path);
	free(c);
	return NULL;
}
