/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A listener is a UDP and a TCP socket at one address. They may be bound before the address is there
 * (IP_FREEBIND): a container bridge often comes later than vipd. A port that someone else has is tried
 * again every RETRY_INTERVAL.
 *
 * UDP goes in batches: one recvmmsg(), one sendmmsg(), and then the loop has its turn, so that a
 * flood holds up nothing else by more than a batch. While the loop is busy elsewhere queries wait in
 * the socket's buffer, which is made large enough for that.
 *
 * TCP clients are in the order of their last whole query. A new one displaces the one that has been
 * quiet for longest when there are MAX_CLIENTS, so connections that are held open keep nobody out;
 * and since only whole queries count, neither does sending them byte by byte.
 */
#include "agent/serve/dns.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/log.h"
#include "agent/serve/dns_stream.h"
#include "agent/sockaddr.h"

#define DNS_PORT 53
/* Datagrams of one turn of the loop: some 100 microseconds. */
#define BATCH 64
/* A query that is longer is cut off, and then refused as such: enough for EDNS with padding. */
#define DATAGRAM_SIZE 1500
/* Half a second at 20,000 queries a second: the kernel doubles it, and takes 768 bytes for each. */
#define RECEIVE_BUFFER (4 << 20)
#define BACKLOG 64
/* New clients of one turn, and turns in an interval (us): clients that come faster wait, and so does
 * one that cannot be accepted because descriptors are short. */
#define ACCEPTS 16
#define ACCEPT_TURNS 20
#define ACCEPT_INTERVAL 100000
#define MAX_CLIENTS 64
/* RFC 7766: on the order of a few seconds. */
#define IDLE_TIMEOUT (5 * NSEC_PER_SEC)
#define RETRY_INTERVAL (10 * NSEC_PER_SEC)

struct listener {
	struct dns *dns;
	struct endpoint endpoint;
	sd_event_source *udp, *tcp; /* each with its socket; NULL: not listened on */
	int error;                  /* errno why not, logged already; 0: none */
	struct listener *next;
};

struct client {
	struct dns *dns;
	struct ip_addr self; /* where it came to */
	sd_event_source *io;
	nsec_t deadline;
	bool ended; /* it will send no more */
	struct client *next, *prev;
	struct dns_stream stream;
};

/* The buffers of a batch. */
struct batch {
	struct mmsghdr in[BATCH], out[BATCH];
	struct iovec in_iov[BATCH], out_iov[BATCH];
	struct sockaddr_storage from[BATCH];
	uint8_t queries[BATCH][DATAGRAM_SIZE], answers[BATCH][DNS_ANSWER_MAX];
};

struct dns {
	sd_event *loop;
	struct dns_options options;
	struct dns_zone *zone;
	struct dns_stats stats;
	struct listener *listeners;
	sd_event_source *retry, *idle;
	struct client *oldest, *newest; /* by their last query, so by deadline too */
	struct batch batch;
};

static struct dns_source source_at(const struct dns *d, const struct ip_addr *self)
{
	return (struct dns_source){
		.zone = d->zone,
		.self = *self,
		.is_reachable = d->options.is_reachable,
		.userdata = d->options.userdata,
	};
}

/* --- UDP ------------------------------------------------------------------- */

static void batch_init(struct batch *b)
{
	for (size_t i = 0; i < BATCH; i++) {
		b->in_iov[i] = (struct iovec){b->queries[i], sizeof(b->queries[i])};
		b->in[i].msg_hdr = (struct msghdr){
			.msg_name = &b->from[i], .msg_iov = &b->in_iov[i], .msg_iovlen = 1};
	}
}

/* Sends the first n answers. One that cannot be sent is lost, as a datagram may be. */
static void send_batch(struct dns *d, int fd, size_t n)
{
	for (size_t sent = 0; sent < n;) {
		int r = sendmmsg(fd, d->batch.out + sent, (unsigned int)(n - sent), MSG_DONTWAIT);

		if (r > 0) {
			sent += (size_t)r;
		} else {
			d->stats.n_unsent++;
			sent++;
		}
	}
}

static int on_datagrams(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
	struct listener *l = userdata;
	struct dns *d = l->dns;
	struct batch *b = &d->batch;
	const struct dns_source source = source_at(d, &l->endpoint.address);
	size_t n_out = 0;
	int n;

	for (size_t i = 0; i < BATCH; i++)
		b->in[i].msg_hdr.msg_namelen = sizeof(b->from[i]);
	n = recvmmsg(fd, b->in, BATCH, MSG_DONTWAIT, NULL);
	for (int i = 0; i < n; i++) {
		size_t size = dns_answer(&source, b->queries[i], b->in[i].msg_len, false,
			b->answers[n_out], DNS_ANSWER_MAX, &d->stats.udp);

		if (!size)
			continue;
		b->out_iov[n_out] = (struct iovec){b->answers[n_out], size};
		b->out[n_out].msg_hdr = (struct msghdr){.msg_name = &b->from[i],
			.msg_namelen = b->in[i].msg_hdr.msg_namelen,
			.msg_iov = &b->out_iov[n_out],
			.msg_iovlen = 1};
		n_out++;
	}
	send_batch(d, fd, n_out);
	return 0; /* an error of the socket is an earlier answer's: nothing is to be done */
}

/* --- TCP ------------------------------------------------------------------- */

static void client_unlink(struct client *c)
{
	*(c->prev ? &c->prev->next : &c->dns->oldest) = c->next;
	*(c->next ? &c->next->prev : &c->dns->newest) = c->prev;
}

static void client_append(struct client *c)
{
	c->prev = c->dns->newest;
	c->next = NULL;
	*(c->prev ? &c->prev->next : &c->dns->oldest) = c;
	c->dns->newest = c;
	c->deadline = now_ns() + IDLE_TIMEOUT;
}

static void client_free(struct client *c)
{
	client_unlink(c);
	c->dns->stats.n_clients--;
	sd_event_source_disable_unref(c->io); /* closes the socket */
	free(c);
}

static void arm_idle(struct dns *d)
{
	if (!d->oldest) {
		sd_event_source_set_enabled(d->idle, SD_EVENT_OFF);
		return;
	}
	sd_event_source_set_time(d->idle, d->oldest->deadline / NSEC_PER_USEC);
	sd_event_source_set_enabled(d->idle, SD_EVENT_ONESHOT);
}

static int on_idle(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct dns *d = userdata;
	nsec_t now = now_ns();

	while (d->oldest && d->oldest->deadline <= now + NSEC_PER_MSEC) {
		d->stats.n_timed_out++;
		client_free(d->oldest);
	}
	arm_idle(d);
	return 0;
}

/* Reads once, unless answers wait to be sent. False: the client is gone. */
static bool client_read(struct client *c, int fd)
{
	uint8_t *at;
	size_t room = dns_stream_room(&c->stream, &at);
	ssize_t n;

	if (c->stream.n_out > 0 || room == 0 || c->ended)
		return true;
	n = recv(fd, at, room, MSG_DONTWAIT);
	if (n > 0)
		dns_stream_took(&c->stream, (size_t)n);
	c->ended = n == 0;
	return n >= 0 || errno == EAGAIN || errno == EINTR;
}

static bool client_write(struct client *c, int fd)
{
	ssize_t n = 0;

	if (c->stream.n_out > 0)
		n = send(fd, c->stream.out, c->stream.n_out, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n > 0)
		dns_stream_sent(&c->stream, (size_t)n);
	return n >= 0 || errno == EAGAIN || errno == EINTR;
}

/* Answers what has come and sends what it takes. False: the client is done, or gone. */
static bool client_serve(struct client *c, int fd)
{
	const struct dns_source source = source_at(c->dns, &c->self);
	size_t n;

	do {
		n = dns_stream_answer(&c->stream, &source, &c->dns->stats.tcp);
		if (n > 0) {
			client_unlink(c);
			client_append(c);
		}
		if (!client_write(c, fd))
			return false;
	} while (n > 0 && c->stream.n_out == 0);
	return c->stream.n_out > 0 || (!c->ended && !c->stream.malformed);
}

static int on_client(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
	struct client *c = userdata;
	struct dns *d = c->dns;
	bool stays = client_read(c, fd) && client_serve(c, fd);

	d->stats.n_malformed += c->stream.malformed && !stays;
	if (stays)
		sd_event_source_set_io_events(c->io, c->stream.n_out > 0 ? EPOLLOUT : EPOLLIN);
	else
		client_free(c);
	arm_idle(d);
	return 0;
}

/* Takes the socket over. */
static void client_new(struct dns *d, const struct ip_addr *self, int fd)
{
	struct client *c;

	if (d->stats.n_clients >= MAX_CLIENTS) {
		d->stats.n_displaced++;
		client_free(d->oldest);
	}
	c = xcalloc(1, sizeof(*c));
	c->dns = d;
	c->self = *self;
	if (sd_event_add_io(d->loop, &c->io, fd, EPOLLIN, on_client, c) < 0) {
		close(fd);
		free(c);
		return;
	}
	sd_event_source_set_io_fd_own(c->io, true);
	client_append(c);
	d->stats.n_clients++;
	d->stats.n_accepted++;
}

static int on_connections(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
	struct listener *l = userdata;

	for (size_t i = 0; i < ACCEPTS; i++) {
		int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (client < 0)
			break;
		client_new(l->dns, &l->endpoint.address, client);
	}
	arm_idle(l->dns);
	return 0;
}

/* --- listeners ------------------------------------------------------------- */

static int set_option(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value));
}

static void set_receive_buffer(int fd)
{
	if (set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER) < 0)
		(void)set_option(fd, SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER);
}

/* A bound socket, or a negative errno. */
static int open_socket(const struct endpoint *e, int type)
{
	bool is_v6 = e->address.family == AF_INET6;
	struct sockaddr_storage address;
	socklen_t n = sockaddr_make(&e->address, e->port, &address);
	AUTO_CLOSE int fd = socket(e->address.family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int ret;

	if (fd < 0 || set_option(fd, is_v6 ? IPPROTO_IPV6 : IPPROTO_IP,
			      is_v6 ? IPV6_FREEBIND : IP_FREEBIND, 1) < 0)
		return -errno;
	if (type == SOCK_DGRAM)
		set_receive_buffer(fd);
	else if (set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1) < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&address, n) < 0 ||
		(type == SOCK_STREAM && listen(fd, BACKLOG) < 0))
		return -errno;
	ret = fd;
	fd = -1;
	return ret;
}

/* 0 or a negative errno. */
static int open_source(
	struct listener *l, int type, sd_event_io_handler_t handler, sd_event_source **ret)
{
	int fd = open_socket(&l->endpoint, type), r;

	if (fd < 0)
		return fd;
	r = sd_event_add_io(l->dns->loop, ret, fd, EPOLLIN, handler, l);
	if (r < 0) {
		close(fd);
		return r;
	}
	return sd_event_source_set_io_fd_own(*ret, true);
}

/* Datagrams that the kernel has dropped because the socket's buffer was full. */
static uint64_t listener_lost(const struct listener *l)
{
	uint32_t info[SK_MEMINFO_VARS] = {0};
	socklen_t n = sizeof(info);

	if (l->udp)
		(void)getsockopt(
			sd_event_source_get_io_fd(l->udp), SOL_SOCKET, SO_MEMINFO, info, &n);
	return info[SK_MEMINFO_DROPS];
}

static void listener_close(struct listener *l)
{
	l->dns->stats.n_lost += listener_lost(l);
	l->udp = sd_event_source_disable_unref(l->udp);
	l->tcp = sd_event_source_disable_unref(l->tcp);
}

static void listener_open(struct listener *l)
{
	char buf[ENDPOINT_STRLEN];
	int r = open_source(l, SOCK_DGRAM, on_datagrams, &l->udp);

	if (r >= 0)
		r = open_source(l, SOCK_STREAM, on_connections, &l->tcp);
	if (r >= 0)
		r = sd_event_source_set_ratelimit(l->tcp, ACCEPT_INTERVAL, ACCEPT_TURNS);
	endpoint_format(&l->endpoint.address, l->endpoint.port, buf);
	if (r < 0) {
		listener_close(l);
		if (l->error != -r)
			log_warning("dns: %s: %s; tried again every %d s", buf, strerror(-r),
				(int)(RETRY_INTERVAL / NSEC_PER_SEC));
		l->error = -r;
		return;
	}
	log_notice("dns: listening on %s%s", buf, l->error ? " at last" : "");
	l->error = 0;
}

static void listener_free(struct listener *l)
{
	listener_close(l);
	free(l);
}

static void open_listeners(struct dns *d)
{
	bool all = true;

	for (struct listener *l = d->listeners; l; l = l->next) {
		if (!l->udp)
			listener_open(l);
		all = all && l->udp;
	}
	sd_event_source_set_time_relative(d->retry, RETRY_INTERVAL / NSEC_PER_USEC);
	sd_event_source_set_enabled(d->retry, all ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
}

static int on_retry(sd_event_source *s, uint64_t usec, void *userdata)
{
	open_listeners(userdata);
	return 0;
}

/* Where the pointer to the listener at this endpoint is; to the end's NULL if there is none. */
static struct listener **find_listener(struct listener **list, const struct endpoint *e)
{
	while (*list && ((*list)->endpoint.port != e->port ||
				!ip_addr_equal(&(*list)->endpoint.address, &e->address)))
		list = &(*list)->next;
	return list;
}

static void free_listeners(struct listener *list)
{
	while (list) {
		struct listener *l = list;

		list = l->next;
		listener_free(l);
	}
}

void dns_listen(struct dns *d, const struct endpoints *listen)
{
	struct listener *before = STEAL(d->listeners), *l, **at;

	for (size_t i = 0; i < listen->n; i++) {
		struct endpoint e = listen->list[i];

		e.port = e.port ? e.port : DNS_PORT;
		if (*find_listener(&d->listeners, &e))
			continue; /* named twice */
		at = find_listener(&before, &e);
		if ((l = *at) != NULL) {
			*at = l->next;
		} else {
			l = xcalloc(1, sizeof(*l));
			l->dns = d;
			l->endpoint = e;
		}
		l->next = d->listeners;
		d->listeners = l;
	}
	free_listeners(before); /* first: one of them may be in the way of a new one */
	open_listeners(d);
}

/* --- life ------------------------------------------------------------------ */

void dns_set_zone(struct dns *d, struct dns_zone *zone)
{
	dns_zone_free(d->zone);
	d->zone = zone;
}

const struct dns_zone *dns_get_zone(const struct dns *d)
{
	return d->zone;
}

struct dns_stats dns_stats(const struct dns *d)
{
	struct dns_stats stats = d->stats;

	for (const struct listener *l = d->listeners; l; l = l->next)
		stats.n_lost += listener_lost(l);
	return stats;
}

struct dns_listener_view *dns_listeners(const struct dns *d, size_t *ret_n)
{
	struct dns_listener_view *views;
	size_t n = 0;

	for (const struct listener *l = d->listeners; l; l = l->next)
		n++;
	views = xcalloc(n, sizeof(*views));
	*ret_n = n;
	n = 0;
	for (const struct listener *l = d->listeners; l; l = l->next)
		views[n++] = (struct dns_listener_view){
			l->endpoint, l->error ? strerrordesc_np(l->error) : NULL};
	return views;
}

int dns_new(sd_event *loop, const struct dns_options *options, struct dns **ret)
{
	struct dns *d = xcalloc(1, sizeof(*d));
	int r;

	d->loop = sd_event_ref(loop);
	d->options = *options;
	batch_init(&d->batch);
	r = sd_event_add_time(loop, &d->retry, CLOCK_MONOTONIC, 0, 0, on_retry, d);
	if (r >= 0)
		r = sd_event_add_time(loop, &d->idle, CLOCK_MONOTONIC, 0, 0, on_idle, d);
	if (r >= 0)
		r = sd_event_source_set_enabled(d->idle, SD_EVENT_OFF);
	if (r < 0) {
		dns_free(d);
		return r;
	}
	*ret = d;
	return 0;
}

struct dns *dns_free(struct dns *d)
{
	if (!d)
		return NULL;
	while (d->oldest)
		client_free(d->oldest);
	free_listeners(d->listeners);
	sd_event_source_disable_unref(d->retry);
	sd_event_source_disable_unref(d->idle);
	dns_zone_free(d->zone);
	sd_event_unref(d->loop);
	free(d);
	return NULL;
}
