/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A backend that says which instance it is, as mesosphere/helloworld does: over HTTP/1.1
 * with keep-alive it answers every path with its pid, host name and the -say-string; /stream
 * goes on, a line per interval, until the client closes. With -udp it answers every datagram
 * with the same line. One thread and epoll, for thousands of connections.
 *
 *   helloworld -listen ADDR:PORT [-listen ...] [-say-string TEXT] [-host NAME] [-udp]
 *              [-interval MILLISECONDS] [-linger MILLISECONDS]
 *
 * With -linger it leaves gracefully on SIGTERM, as a server behind a load balancer should: it goes
 * on accepting for that long, since word of its end takes time to get round, answers each request
 * as the connection's last one, and ends once no connection is left.
 *
 * It is a stand-in, so it takes short cuts that a server must not: an answer that the socket does
 * not take at once (a client that sends and never reads) ends the connection.
 */
#include "tools/hostport.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* Room for one request's head; longer ones are not for us. */
#define REQUEST_MAX 4096
#define ANSWER_MAX 512

enum peer_kind {
	PEER_TCP_LISTENER,
	PEER_UDP,
	PEER_TIMER,
	PEER_CLIENT,
	PEER_SIGNAL, /* SIGTERM */
	PEER_LINGER, /* the time to go on accepting is over */
};

struct peer {
	enum peer_kind kind;
	int fd;
	bool streaming;
	size_t n_read;
	char request[REQUEST_MAX + 1];
	LIST_ENTRY(peer) streams;
};

static LIST_HEAD(, peer) streams = LIST_HEAD_INITIALIZER(streams);
static int epfd;
static size_t n_clients;
static long linger_ms;
static bool leaving, left; /* leaving: SIGTERM came; left: accepts no more */
static struct peer *listeners[16];
static size_t n_listeners;
static char answer[ANSWER_MAX];
static size_t answer_len;

static void die(const char *what, const char *arg)
{
	fprintf(stderr, "helloworld: %s%s%s%s%s\n", what, arg ? " " : "", arg ?: "",
		errno ? ": " : "", errno ? strerror(errno) : "");
	exit(1);
}

static struct peer *peer_new(enum peer_kind kind, int fd)
{
	struct peer *p = calloc(1, sizeof(*p));
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = p};

	if (!p)
		die("out of memory", NULL);
	p->kind = kind;
	p->fd = fd;
	n_clients += kind == PEER_CLIENT;
	if (epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev) < 0)
		die("epoll_ctl", NULL);
	return p;
}

static void peer_free(struct peer *p)
{
	if (p->streaming)
		LIST_REMOVE(p, streams);
	n_clients -= p->kind == PEER_CLIENT;
	close(p->fd);
	free(p);
	if (left && n_clients == 0)
		exit(0);
}

static int open_socket(const struct hostport *hp, int type)
{
	int fd = socket(hp->addr.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
	char text[HOSTPORT_TEXT_MAX];

	if (fd < 0)
		die("socket", NULL);
	if (type == SOCK_STREAM)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (const struct sockaddr *)&hp->addr, hp->len) < 0)
		die("cannot bind to", hostport_format(hp, text));
	if (type == SOCK_STREAM && listen(fd, 4096) < 0)
		die("cannot listen on", hostport_format(hp, text));
	return fd;
}

/* Whether all of it went out; see the head of this file for what happens if not. */
static bool send_all(struct peer *p, const char *text, size_t len)
{
	return send(p->fd, text, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static bool send_chunk(struct peer *p)
{
	char chunk[ANSWER_MAX + 32];
	int n = snprintf(chunk, sizeof(chunk), "%zx\r\n%s\r\n", answer_len, answer);

	return send_all(p, chunk, (size_t)n);
}

static bool answer_request(struct peer *p)
{
	static const char stream_head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
					  "Transfer-Encoding: chunked\r\n\r\n";
	char text[2 * ANSWER_MAX];
	bool last = leaving || strcasestr(p->request, "\r\nconnection: close\r\n");
	int n;

	if (!strncmp(p->request, "GET /stream ", 12)) {
		p->streaming = true;
		LIST_INSERT_HEAD(&streams, p, streams);
		return send_all(p, stream_head, sizeof(stream_head) - 1) && send_chunk(p);
	}
	n = snprintf(text, sizeof(text),
		"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n%s\r\n%s",
		answer_len, last ? "Connection: close\r\n" : "", answer);
	return send_all(p, text, (size_t)n) && !last;
}

/* Answers every whole request in the buffer. Returns false when the connection is to end. */
static bool answer_requests(struct peer *p)
{
	char *end;

	while (!p->streaming && (end = strstr(p->request, "\r\n\r\n"))) {
		size_t len = (size_t)(end + 4 - p->request);
		char next = end[4];

		end[4] = '\0';
		if (!answer_request(p))
			return false;
		end[4] = next;
		memmove(p->request, p->request + len, p->n_read - len + 1);
		p->n_read -= len;
	}
	return p->n_read < REQUEST_MAX;
}

static void on_client(struct peer *p)
{
	ssize_t n = read(p->fd, p->request + p->n_read, REQUEST_MAX - p->n_read);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		peer_free(p);
		return;
	}
	p->n_read += (size_t)n;
	p->request[p->n_read] = '\0';
	if (!answer_requests(p))
		peer_free(p);
}

static void on_listener(struct peer *p)
{
	int fd, on = 1;

	while ((fd = accept4(p->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		peer_new(PEER_CLIENT, fd);
	}
}

static void on_datagram(struct peer *p)
{
	struct hostport from = {.len = sizeof(from.addr)};
	char scrap[1];

	while (recvfrom(p->fd, scrap, sizeof(scrap), MSG_TRUNC, (struct sockaddr *)&from.addr,
		       &from.len) >= 0) {
		sendto(p->fd, answer, answer_len, 0, (struct sockaddr *)&from.addr, from.len);
		from.len = sizeof(from.addr);
	}
}

static void on_timer(struct peer *p)
{
	struct peer *s, *next;
	uint64_t n;

	if (read(p->fd, &n, sizeof(n)) < 0)
		return;
	for (s = LIST_FIRST(&streams); s; s = next) {
		next = LIST_NEXT(s, streams);
		if (!send_chunk(s) && errno != EAGAIN)
			peer_free(s);
	}
}

static void start_timer(enum peer_kind kind, long interval_ms)
{
	struct timespec ts = {
		.tv_sec = interval_ms / 1000, .tv_nsec = interval_ms % 1000 * 1000000};
	struct itimerspec every = {.it_interval = ts, .it_value = ts};
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);

	if (fd < 0 || timerfd_settime(fd, 0, &every, NULL) < 0)
		die("timerfd", NULL);
	peer_new(kind, fd);
}

static void watch_sigterm(void)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		die("signalfd", NULL);
	peer_new(PEER_SIGNAL, fd);
}

static void on_sigterm(struct peer *p)
{
	struct signalfd_siginfo si;

	if (read(p->fd, &si, sizeof(si)) == sizeof(si) && !leaving)
		start_timer(PEER_LINGER, linger_ms);
	leaving = true;
}

static void on_linger(struct peer *p)
{
	for (size_t i = 0; i < n_listeners; i++) {
		on_listener(listeners[i]);
		close(listeners[i]->fd);
	}
	n_listeners = 0;
	left = true;
	peer_free(p);
}

static void serve(void)
{
	struct epoll_event ev;

	/* One event at a time, since handling one may free the peer of another. */
	for (;;) {
		struct peer *p;

		if (epoll_wait(epfd, &ev, 1, -1) != 1)
			continue;
		p = ev.data.ptr;
		switch (p->kind) {
		case PEER_TCP_LISTENER:
			on_listener(p);
			break;
		case PEER_UDP:
			on_datagram(p);
			break;
		case PEER_TIMER:
			on_timer(p);
			break;
		case PEER_CLIENT:
			on_client(p);
			break;
		case PEER_SIGNAL:
			on_sigterm(p);
			break;
		case PEER_LINGER:
			on_linger(p);
			break;
		}
	}
}

static void raise_file_limit(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
}

static void usage(int status)
{
	fputs("usage: helloworld -listen ADDR:PORT [-listen ...] [-say-string TEXT] [-host NAME]\n"
	      "                  [-udp] [-interval MILLISECONDS] [-linger MILLISECONDS]\n",
		status ? stderr : stdout);
	exit(status);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"listen", required_argument, NULL, 'l'},
		{"say-string", required_argument, NULL, 's'},
		{"host", required_argument, NULL, 'n'},
		{"udp", no_argument, NULL, 'u'},
		{"interval", required_argument, NULL, 'i'},
		{"linger", required_argument, NULL, 'w'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	struct hostport listen_on[16];
	size_t n_listen = 0, i;
	const char *say = "hello";
	char host[128] = "?";
	long interval_ms = 1000;
	bool udp = false;
	int o;

	gethostname(host, sizeof(host) - 1);
	while ((o = getopt_long_only(argc, argv, "", options, NULL)) != -1) {
		switch (o) {
		case 'l':
			if (n_listen == 16 || hostport_parse(optarg, &listen_on[n_listen++]) < 0)
				usage(2);
			break;
		case 's':
			say = optarg;
			break;
		case 'n':
			snprintf(host, sizeof(host), "%s", optarg);
			break;
		case 'u':
			udp = true;
			break;
		case 'i':
			interval_ms = strtol(optarg, NULL, 10);
			break;
		case 'w':
			linger_ms = strtol(optarg, NULL, 10);
			break;
		default:
			usage(o == 'h' ? 0 : 2);
		}
	}
	if (n_listen == 0 || interval_ms <= 0 || linger_ms < 0 || optind != argc)
		usage(2);
	signal(SIGPIPE, SIG_IGN);
	raise_file_limit();
	answer_len = (size_t)snprintf(answer, sizeof(answer), "pid %d host %.100s says %.300s\n",
		(int)getpid(), host, say);
	epfd = epoll_create1(EPOLL_CLOEXEC);
	for (i = 0; i < n_listen; i++) {
		listeners[n_listeners++] =
			peer_new(PEER_TCP_LISTENER, open_socket(&listen_on[i], SOCK_STREAM));
		if (udp)
			peer_new(PEER_UDP, open_socket(&listen_on[i], SOCK_DGRAM));
	}
	start_timer(PEER_TIMER, interval_ms);
	if (linger_ms)
		watch_sigterm();
	serve();
}
