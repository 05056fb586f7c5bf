/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Both ends of what bench_traffic.py measures, with as little of their own as can be, so that the
 * way between them is most of it:
 *
 *   bench_traffic serve PORT                     until it is killed
 *   bench_traffic connect ADDRESS:PORT SECONDS   new connections, one request and one answer of a
 * byte each bench_traffic stream ADDRESS:PORT SECONDS    bytes over connections that stay
 *
 * The latter two are closed loops of a few connections at a time, and print the rate per second.
 * The first byte that a client sends says which of the two it wants. One thread around epoll each.
 */
#include "tools/hostport.h"

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* At a time. Enough that nobody waits for a peer that sleeps. */
#define CONNECTS 32
#define STREAMS 4
#define EVENTS_MAX 64
/* One write or read of a stream: what a socket's buffer takes by default. */
#define CHUNK (128 * 1024)

static char chunk[CHUNK];

static int check(int r, const char *what)
{
	if (r >= 0)
		return r;
	perror(what);
	exit(1);
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void watch(int ep, int op, int fd, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.fd = fd};

	check(epoll_ctl(ep, op, fd, &e), "epoll_ctl");
}

/* ---- the server ---- */

static void accept_all(int ep, int listener)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0)
		watch(ep, EPOLL_CTL_ADD, fd, EPOLLIN);
}

/* A request, or the end; a stream is watched for room from then on. */
static void serve_input(int ep, int fd)
{
	char request;

	if (recv(fd, &request, 1, 0) != 1) {
		close(fd);
	} else if (request == 's') {
		watch(ep, EPOLL_CTL_MOD, fd, EPOLLOUT);
	} else if (send(fd, "c", 1, MSG_NOSIGNAL) != 1) {
		close(fd);
	}
}

static void serve_stream(int fd)
{
	if (send(fd, chunk, sizeof(chunk), MSG_NOSIGNAL) < 0 && errno != EAGAIN)
		close(fd);
}

_Noreturn static void run_server(const char *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	int listener = check(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket"), on = 1;
	int ep = check(epoll_create1(0), "epoll_create1");
	struct epoll_event events[EVENTS_MAX];

	check(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), "SO_REUSEADDR");
	check(bind(listener, (struct sockaddr *)&a, sizeof(a)), "bind");
	check(listen(listener, 4096), "listen");
	watch(ep, EPOLL_CTL_ADD, listener, EPOLLIN);
	for (;;) {
		int n = epoll_wait(ep, events, EVENTS_MAX, -1);

		for (int i = 0; i < n; i++) {
			if (events[i].data.fd == listener)
				accept_all(ep, listener);
			else if (events[i].events & EPOLLOUT)
				serve_stream(events[i].data.fd);
			else
				serve_input(ep, events[i].data.fd);
		}
	}
}

/* ---- the client ---- */

struct client {
	int ep;
	char request;
	struct hostport to;
	uint64_t n_done, n_failed, n_bytes;
};

static void begin(struct client *c)
{
	int fd = check(socket(c->to.addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");

	if (connect(fd, (struct sockaddr *)&c->to.addr, c->to.len) < 0 && errno != EINPROGRESS)
		check(-1, "connect");
	watch(c->ep, EPOLL_CTL_ADD, fd, EPOLLOUT);
}

static void end(struct client *c, int fd, bool failed)
{
	c->n_failed += failed;
	c->n_done += !failed;
	close(fd);
	begin(c);
}

static void connected(struct client *c, int fd)
{
	if (send(fd, &c->request, 1, MSG_NOSIGNAL) == 1)
		watch(c->ep, EPOLL_CTL_MOD, fd, EPOLLIN);
	else
		end(c, fd, true);
}

static void answered(struct client *c, int fd)
{
	ssize_t n = recv(fd, chunk, sizeof(chunk), 0);

	if (n <= 0)
		end(c, fd, true);
	else if (c->request == 'c')
		end(c, fd, false);
	else
		c->n_bytes += (uint64_t)n;
}

static void turn(struct client *c)
{
	struct epoll_event events[EVENTS_MAX];
	int n = epoll_wait(c->ep, events, EVENTS_MAX, 100);

	for (int i = 0; i < n; i++) {
		if (events[i].events & EPOLLOUT)
			connected(c, events[i].data.fd);
		else
			answered(c, events[i].data.fd);
	}
}

static int run_client(const char *how, const char *target, double seconds)
{
	struct client c = {.ep = check(epoll_create1(0), "epoll_create1"), .request = *how};
	double began;

	errno = -hostport_parse(target, &c.to);
	check(errno ? -1 : 0, target);
	for (int i = 0; i < (*how == 'c' ? CONNECTS : STREAMS); i++)
		begin(&c);
	began = now_s();
	while (now_s() - began < seconds)
		turn(&c);
	seconds = now_s() - began;
	printf("%.0f\n", (double)(*how == 'c' ? c.n_done : c.n_bytes) / seconds);
	if (c.n_failed)
		fprintf(stderr, "bench_traffic: %s %s: %llu failed\n", how, target,
			(unsigned long long)c.n_failed);
	return c.n_failed ? 1 : 0;
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		run_server(argv[2]);
	if (argc == 4 && (strcmp(argv[1], "connect") == 0 || strcmp(argv[1], "stream") == 0))
		return run_client(argv[1], argv[2], atof(argv[3]));
	fprintf(stderr, "usage: bench_traffic serve PORT | connect|stream ADDRESS:PORT SECONDS\n");
	return 2;
}
