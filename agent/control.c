/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libmicrohttpd runs without threads: it owns an epoll descriptor, which is one source of
 * our loop, and a time-out, which is another.
 */
#include "agent/control.h"

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

struct control {
	struct MHD_Daemon *daemon;
	sd_event_source *io, *timer;
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

/* Called once when the headers are there (marked by *state), again for a body, if any, which
 * is read and dropped: no request of ours has one. */
static enum MHD_Result on_request(void *userdata, struct MHD_Connection *conn, const char *url,
	const char *method, const char *version, const char *upload, size_t *n_upload, void **state)
{
	static int seen;
	struct control *c = userdata;
	struct control_request request = {method, url};
	struct control_reply reply = {.status = 200};

	if (!*state) {
		*state = &seen;
		return MHD_YES;
	}
	if (*n_upload) {
		*n_upload = 0;
		return MHD_YES;
	}
	c->handler(c->userdata, &request, &reply);
	if (!reply.body) {
		reply.status = 404;
		reply.body = xstrdup("{\"error\":\"no such resource\"}\n");
	}
	return reply_json(conn, reply.status, reply.body);
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

	c->daemon = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, c,
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

struct control *control_free(struct control *c)
{
	if (!c)
		return NULL;
	sd_event_source_disable_unref(c->io);
	sd_event_source_disable_unref(c->timer);
	if (c->daemon)
		MHD_stop_daemon(c->daemon);
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
