/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vipload: loads an address, and tells who answered, how fast, and what broke.
 *
 * It holds three kinds of connections at once. *Kept* ones send request after request, as a client
 * with a pool does. *Fresh* ones are opened at a given rate, for one request each: they show where
 * a load balancer sends new connections. *Streams* ask for an answer without an end and just wait
 * for more: they show whether anything cuts a long-lived connection. With UDP there are no streams,
 * and a fresh connection is a fresh source port.
 *
 * With --ask it does something else: it makes so many new connections one after the other and
 * prints who answered each, which is what curl in a loop would do, only faster.
 *
 * Who answers is told by the first line of the answer's body, so any server that names itself there
 * will do. A failure is counted by what happened (refused, reset, ...) and by what it happened to:
 * a connection being made, a request under way, one idle between requests, a stream. Those of an
 * established connection are *cuts*, counted for the instance it was connected to as well: a cut of
 * an instance that is alive is what a load balancer must never do.
 *
 * One thread around epoll. Whatever has a time-out has the same one, so the queue of pending things
 * is in order of their deadlines by itself; the same holds for those that rest after a failure.
 */
#include "hostport.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

typedef uint64_t nsec_t;
#define NSEC_PER_SEC 1000000000ull
#define NSEC_PER_MSEC 1000000ull
#define NSEC_PER_USEC 1000ull

/* How long a kept connection or stream waits after it failed, before it is made again: enough that
 * a refused port does not become a busy loop, little against what a test measures. */
#define REST_NS (100 * NSEC_PER_MSEC)
/* At most so many instances are told apart; the rest is counted as one. */
#define INSTANCES_MAX 1024
#define INSTANCE_ID_MAX 128
/* An answer's head must fit, with its chunk sizes; bodies of any length are only counted. */
#define HEAD_MAX 4096
#define EVENTS_MAX 256

#define _cleanup_close_ __attribute__((cleanup(close_fd)))
static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

/* ---- what is counted ------------------------------------------------------------------------ */

enum failure {
	FAIL_REFUSED,
	FAIL_RESET,
	FAIL_TIMEOUT,
	FAIL_CLOSED,
	FAIL_UNREACHABLE,
	FAIL_BAD,
	FAIL_OTHER,
	N_FAILURES
};
static const char *const failure_names[N_FAILURES] = {
	"refused", "reset", "timeout", "closed", "unreachable", "bad", "other"};

enum phase { PHASE_CONNECT, PHASE_REQUEST, PHASE_IDLE, PHASE_STREAM, N_PHASES };
static const char *const phase_names[N_PHASES] = {"connect", "request", "idle", "stream"};

struct instance {
	char id[INSTANCE_ID_MAX];
	uint64_t requests;
	uint64_t connections; /* that it was the first to answer on */
	uint64_t cut;
	nsec_t first, last;     /* answer */
	nsec_t last_connection; /* made, that it answered on */
};

/* Latencies in buckets whose width is at most 1/32 of their value: 5 bits below the highest. */
#define HISTOGRAM_SUB_BITS 5
#define HISTOGRAM_BUCKETS ((64 - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS)
struct histogram {
	uint64_t n, sum, max;
	uint64_t buckets[HISTOGRAM_BUCKETS];
};

/* ---- one connection ------------------------------------------------------------------------- */

enum conn_kind { CONN_KEPT, CONN_FRESH, CONN_STREAM };
enum conn_state { CONN_CONNECTING, CONN_WAITING, CONN_IDLE, CONN_STREAMING, CONN_RESTING };
enum body_state {
	BODY_HEAD,
	BODY_LENGTH,
	BODY_CHUNK_SIZE,
	BODY_CHUNK,
	BODY_CHUNK_END,
	BODY_TO_CLOSE,
	BODY_DONE
};

struct conn {
	enum conn_kind kind;
	enum conn_state state;
	int fd;
	nsec_t began;              /* the connecting or the request that is under way */
	nsec_t made;               /* when it was established */
	nsec_t deadline;           /* of the queue it is in */
	struct instance *instance; /* who answered last on it */
	TAILQ_ENTRY(conn) queue;
	LIST_ENTRY(conn) all;

	enum body_state body;
	uint64_t body_left; /* of the body or of this chunk */
	bool last_answer;   /* the server closes after it */
	size_t n_head;
	char head[HEAD_MAX + 1]; /* the head, then each line of chunk size */
	size_t n_id;
	bool id_done;
	char id[INSTANCE_ID_MAX];
};
TAILQ_HEAD(conn_queue, conn);

static struct options {
	struct hostport target;
	struct hostport source;
	bool has_source;
	bool udp;
	unsigned n_kept;
	unsigned n_streams;
	double fresh_rate;
	double rate;
	double seconds;
	nsec_t timeout;
	bool reconnect;
	const char *path;
	const char *stream_path;
	bool json;
	bool progress;
	uint64_t allow;
	uint64_t ask; /* connections to make one after the other; 0: load instead */
} opt = {
	.n_kept = 1,
	.seconds = 10,
	.timeout = 5 * NSEC_PER_SEC,
	.reconnect = true,
	.path = "/",
	.stream_path = "/stream",
};

static int epfd = -1;
static nsec_t now, started;
static bool stopping;
static char request_text[1024], stream_text[1024];
static size_t request_len, stream_len;

static struct conn_queue idle = TAILQ_HEAD_INITIALIZER(idle); /* ready to send, oldest first */
static struct conn_queue pending = TAILQ_HEAD_INITIALIZER(pending); /* by deadline */
static struct conn_queue resting = TAILQ_HEAD_INITIALIZER(resting); /* by deadline */

static LIST_HEAD(, conn) conns = LIST_HEAD_INITIALIZER(conns);

static uint64_t failures[N_PHASES][N_FAILURES];
static struct instance instances[INSTANCES_MAX + 1];
static unsigned n_instances;
static struct histogram connect_times, request_times;
static uint64_t n_opened, n_established, n_sent, n_answered, n_cut, n_stream_bytes,
	n_pending_requests;
static unsigned n_streaming;
static nsec_t last_answer, longest_gap;

static nsec_t read_clock(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (nsec_t)ts.tv_sec * NSEC_PER_SEC + (nsec_t)ts.tv_nsec;
}

static unsigned histogram_bucket(uint64_t value)
{
	unsigned top;

	if (value < (1u << HISTOGRAM_SUB_BITS))
		return (unsigned)value;
	top = 63 - (unsigned)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
	return ((top + 1) << HISTOGRAM_SUB_BITS) +
	       (unsigned)((value >> top) & ((1u << HISTOGRAM_SUB_BITS) - 1));
}

/* The greatest value that falls into @bucket. */
static uint64_t histogram_value(unsigned bucket)
{
	unsigned top = bucket >> HISTOGRAM_SUB_BITS,
		 sub = bucket & ((1u << HISTOGRAM_SUB_BITS) - 1);

	if (top == 0)
		return sub;
	return ((((uint64_t)1 << HISTOGRAM_SUB_BITS) + sub + 1) << (top - 1)) - 1;
}

static void histogram_add(struct histogram *h, uint64_t value)
{
	h->n++;
	h->sum += value;
	if (value > h->max)
		h->max = value;
	h->buckets[histogram_bucket(value)]++;
}

static uint64_t histogram_quantile(const struct histogram *h, double q)
{
	uint64_t rank = (uint64_t)(q * (double)h->n), seen = 0;
	unsigned i;

	for (i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += h->buckets[i];
		if (seen > rank)
			return histogram_value(i) < h->max ? histogram_value(i) : h->max;
	}
	return h->max;
}

static struct instance *find_instance(const char *id)
{
	unsigned i;

	for (i = 0; i < n_instances; i++)
		if (!strcmp(instances[i].id, id))
			return &instances[i];
	if (n_instances <= INSTANCES_MAX)
		n_instances++;
	if (i == INSTANCES_MAX)
		id = "(others)";
	snprintf(instances[i].id, sizeof(instances[i].id), "%s", id);
	instances[i].first = now;
	return &instances[i];
}

/* ---- the life of a connection --------------------------------------------------------------- */

static void conn_open(struct conn *c);

static void conn_enqueue(struct conn *c, struct conn_queue *q, nsec_t wait)
{
	c->deadline = now + wait;
	TAILQ_INSERT_TAIL(q, c, queue);
}

/* Takes it out of the queue that its state says it is in. */
static void conn_dequeue(struct conn *c)
{
	switch (c->state) {
	case CONN_WAITING:
		n_pending_requests--;
		TAILQ_REMOVE(&pending, c, queue);
		break;
	case CONN_CONNECTING:
		TAILQ_REMOVE(&pending, c, queue);
		break;
	case CONN_IDLE:
		TAILQ_REMOVE(&idle, c, queue);
		break;
	case CONN_RESTING:
		TAILQ_REMOVE(&resting, c, queue);
		break;
	case CONN_STREAMING:
		n_streaming--;
		break;
	}
}

static void conn_close(struct conn *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

static void conn_free(struct conn *c)
{
	conn_close(c);
	LIST_REMOVE(c, all);
	free(c);
}

static enum failure failure_of_errno(int err)
{
	switch (err) {
	case ECONNREFUSED:
		return FAIL_REFUSED;
	case ECONNRESET:
	case EPIPE:
		return FAIL_RESET;
	case ETIMEDOUT:
		return FAIL_TIMEOUT;
	case EHOSTUNREACH:
	case ENETUNREACH:
		return FAIL_UNREACHABLE;
	default:
		return FAIL_OTHER;
	}
}

static enum phase phase_of(const struct conn *c)
{
	switch (c->state) {
	case CONN_WAITING:
		return c->kind == CONN_STREAM ? PHASE_STREAM : PHASE_REQUEST;
	case CONN_IDLE:
		return PHASE_IDLE;
	case CONN_STREAMING:
		return PHASE_STREAM;
	case CONN_CONNECTING:
	case CONN_RESTING:
		break;
	}
	return PHASE_CONNECT;
}

/* The connection is over, well or not: forget it, or make it again after @rest. */
static void conn_end(struct conn *c, nsec_t rest)
{
	conn_dequeue(c);
	conn_close(c);
	if (c->kind == CONN_FRESH || !opt.reconnect || stopping) {
		conn_free(c);
		return;
	}
	c->instance = NULL;
	c->state = CONN_RESTING;
	if (rest == 0) {
		TAILQ_INSERT_HEAD(&resting, c, queue);
		c->deadline = now;
	} else {
		conn_enqueue(c, &resting, rest);
	}
}

static void conn_fail(struct conn *c, enum failure why)
{
	enum phase phase = phase_of(c);

	failures[phase][why]++;
	if (phase != PHASE_CONNECT && !opt.udp) {
		n_cut++;
		if (c->instance)
			c->instance->cut++;
	}
	conn_end(c, REST_NS);
}

static void conn_watch(struct conn *c, int op, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = c};

	epoll_ctl(epfd, op, c->fd, &ev);
}

/* Sends the connection's request. What is sent is far smaller than any socket's buffer. */
static void conn_send(struct conn *c)
{
	bool stream = c->kind == CONN_STREAM;
	const char *text = stream ? stream_text : request_text;
	size_t len = stream ? stream_len : request_len;
	ssize_t n;

	c->began = now;
	c->body = BODY_HEAD;
	c->n_head = c->n_id = 0;
	c->id_done = c->last_answer = false;
	c->state = CONN_WAITING;
	n_pending_requests++;
	n_sent++;
	conn_enqueue(c, &pending, opt.timeout);
	n = send(c->fd, text, len, MSG_NOSIGNAL);
	if (n < 0)
		conn_fail(c, failure_of_errno(errno));
	else if (n < (ssize_t)len)
		conn_fail(c, FAIL_OTHER);
}

static void conn_established(struct conn *c)
{
	conn_dequeue(c);
	n_established++;
	c->made = now;
	if (!opt.udp)
		histogram_add(&connect_times, now - c->began);
	conn_watch(c, EPOLL_CTL_MOD, EPOLLIN);
	c->state = CONN_IDLE;
	TAILQ_INSERT_TAIL(&idle, c, queue);
	/* Kept connections wait for the pace; the others send at once. */
	if (c->kind != CONN_KEPT && !stopping) {
		conn_dequeue(c);
		conn_send(c);
	}
}

static void conn_open(struct conn *c)
{
	int type = (opt.udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, on = 1;

	c->instance = NULL;
	c->state = CONN_CONNECTING;
	c->began = now;
	conn_enqueue(c, &pending, opt.timeout);
	n_opened++;
	c->fd = socket(opt.target.addr.ss_family, type, 0);
	if (c->fd < 0) {
		conn_fail(c, FAIL_OTHER);
		return;
	}
	if (!opt.udp)
		setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (opt.has_source) {
		setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
		if (bind(c->fd, (struct sockaddr *)&opt.source.addr, opt.source.len) < 0) {
			conn_fail(c, FAIL_OTHER);
			return;
		}
	}
	conn_watch(c, EPOLL_CTL_ADD, EPOLLOUT);
	if (connect(c->fd, (struct sockaddr *)&opt.target.addr, opt.target.len) < 0 &&
		errno != EINPROGRESS)
		conn_fail(c, failure_of_errno(errno));
}

static void conn_new(enum conn_kind kind)
{
	struct conn *c = calloc(1, sizeof(*c));

	if (!c) {
		fputs("vipload: out of memory\n", stderr);
		exit(1);
	}
	c->kind = kind;
	c->fd = -1;
	LIST_INSERT_HEAD(&conns, c, all);
	conn_open(c);
}

/* ---- answers -------------------------------------------------------------------------------- */

/* Takes from the body what is still missing of its first line. */
static void conn_take_id(struct conn *c, const char *bytes, size_t len)
{
	size_t i;

	for (i = 0; i < len && !c->id_done; i++) {
		if (bytes[i] == '\n' || c->n_id == sizeof(c->id) - 1)
			c->id_done = true;
		else if (bytes[i] >= ' ')
			c->id[c->n_id++] = bytes[i];
	}
}

/* The answer has named its sender: once per request, and at once for a stream. */
static void conn_attribute(struct conn *c)
{
	struct instance *before = c->instance;

	c->id[c->n_id] = '\0';
	c->instance = find_instance(c->id);
	c->instance->requests++;
	c->instance->last = now;
	if (!before) {
		c->instance->connections++;
		c->instance->last_connection = c->made;
	}
	n_answered++;
	if (opt.ask)
		puts(c->id);
	histogram_add(&request_times, now - c->began);
	if (last_answer && now - last_answer > longest_gap)
		longest_gap = now - last_answer;
	last_answer = now;
}

static void conn_answered(struct conn *c)
{
	conn_attribute(c);
	if (c->kind == CONN_FRESH || c->last_answer) {
		conn_end(c, 0);
		return;
	}
	conn_dequeue(c);
	c->state = CONN_IDLE;
	TAILQ_INSERT_TAIL(&idle, c, queue);
}

/* Reads the head that is now whole in @c->head. Returns false if it is not an answer of HTTP. */
static bool conn_read_head(struct conn *c)
{
	char *field;
	int status, minor;

	if (sscanf(c->head, "HTTP/1.%d %d", &minor, &status) != 2 || status < 200 || status > 299)
		return false;
	c->last_answer = minor == 0 || strcasestr(c->head, "\r\nconnection: close");
	if (strcasestr(c->head, "\r\ntransfer-encoding: chunked")) {
		c->body = BODY_CHUNK_SIZE;
		return true;
	}
	field = strcasestr(c->head, "\r\ncontent-length:");
	c->body = field ? BODY_LENGTH : BODY_TO_CLOSE;
	c->body_left = field ? strtoull(field + 17, NULL, 10) : 0;
	if (field && c->body_left == 0)
		c->body = BODY_DONE;
	return true;
}

/* Adds a byte to a line or head that ends with @end. Returns 1 when it is whole, 0 if not yet, -1
 * if it grows too long. */
static int conn_take_until(struct conn *c, char byte, const char *end)
{
	size_t len = strlen(end);

	if (c->n_head == HEAD_MAX)
		return -1;
	c->head[c->n_head++] = byte;
	c->head[c->n_head] = '\0';
	return c->n_head >= len && !memcmp(c->head + c->n_head - len, end, len);
}

/* A line between chunks: the end of the one before, or the size of the next. */
static void conn_read_chunk_line(struct conn *c)
{
	c->n_head = 0;
	if (c->body == BODY_CHUNK_END) {
		c->body = c->body_left ? BODY_CHUNK_SIZE : BODY_DONE;
		return;
	}
	c->body_left = strtoull(c->head, NULL, 16);
	c->body = c->body_left ? BODY_CHUNK : BODY_CHUNK_END;
}

/* Feeds bytes to the parser, until they or the answer end. Returns how many, or -1 for nonsense. */
static ssize_t conn_parse(struct conn *c, const char *bytes, size_t len)
{
	size_t i = 0, n;
	int r;

	while (i < len && c->body != BODY_DONE) {
		switch (c->body) {
		case BODY_HEAD:
			r = conn_take_until(c, bytes[i++], "\r\n\r\n");
			if (r < 0 || (r > 0 && !conn_read_head(c)))
				return -1;
			if (r > 0)
				c->n_head = 0;
			break;
		case BODY_CHUNK_SIZE:
		case BODY_CHUNK_END:
			r = conn_take_until(c, bytes[i++], "\r\n");
			if (r < 0)
				return -1;
			if (r > 0)
				conn_read_chunk_line(c);
			break;
		case BODY_LENGTH:
		case BODY_CHUNK:
			n = len - i < c->body_left ? len - i : (size_t)c->body_left;
			conn_take_id(c, bytes + i, n);
			i += n;
			c->body_left -= n;
			if (c->body_left == 0 && c->body == BODY_LENGTH)
				c->body = BODY_DONE;
			else if (c->body_left == 0) {
				c->body = BODY_CHUNK_END;
				c->body_left = 1; /* not the last chunk */
			}
			break;
		case BODY_TO_CLOSE:
			conn_take_id(c, bytes + i, len - i);
			i = len;
			break;
		case BODY_DONE:
			break;
		}
	}
	return (ssize_t)i;
}

static void conn_take_datagram(struct conn *c, const char *bytes, size_t len)
{
	if (c->state != CONN_WAITING)
		return; /* late: its request has been given up */
	conn_take_id(c, bytes, len);
	conn_answered(c);
}

static void conn_take_bytes(struct conn *c, const char *bytes, size_t len)
{
	if (c->state != CONN_WAITING && c->state != CONN_STREAMING) {
		conn_fail(c, FAIL_BAD); /* nobody asked */
		return;
	}
	if (conn_parse(c, bytes, len) < (ssize_t)len) {
		conn_fail(c, FAIL_BAD);
		return;
	}
	if (c->kind == CONN_STREAM) {
		n_stream_bytes += len;
		if (c->body == BODY_DONE) {
			conn_fail(c, FAIL_CLOSED);
		} else if (c->state == CONN_WAITING && c->id_done) {
			conn_attribute(c);
			conn_dequeue(c);
			c->state = CONN_STREAMING;
			n_streaming++;
		}
		return;
	}
	if (c->body == BODY_DONE)
		conn_answered(c);
}

static void conn_at_end(struct conn *c)
{
	if (c->state == CONN_WAITING && c->body == BODY_TO_CLOSE && c->kind != CONN_STREAM) {
		c->last_answer = true;
		conn_answered(c);
	} else {
		conn_fail(c, FAIL_CLOSED);
	}
}

static void conn_event(struct conn *c)
{
	static char bytes[65536];
	int err = 0;
	ssize_t n;

	if (c->state == CONN_CONNECTING) {
		getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &(socklen_t){sizeof(err)});
		if (err)
			conn_fail(c, failure_of_errno(err));
		else
			conn_established(c);
		return;
	}
	n = recv(c->fd, bytes, sizeof(bytes), 0);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n < 0)
		conn_fail(c, failure_of_errno(errno));
	else if (opt.udp)
		conn_take_datagram(c, bytes, (size_t)n);
	else if (n == 0)
		conn_at_end(c);
	else
		conn_take_bytes(c, bytes, (size_t)n);
}

/* ---- the loop ------------------------------------------------------------------------------- */

/* How many of a rate's events are due by now beyond @done; without bound if the rate is 0. */
static uint64_t due(double rate, uint64_t done)
{
	uint64_t want = (uint64_t)(rate * (double)(now - started) / (double)NSEC_PER_SEC);

	return want > done ? want - done : 0;
}

static void send_due_requests(void)
{
	static uint64_t done;
	uint64_t n = opt.rate > 0 ? due(opt.rate, done) : UINT64_MAX;
	struct conn *c;

	while (n-- > 0 && (c = TAILQ_FIRST(&idle))) {
		done++;
		conn_dequeue(c);
		conn_send(c);
	}
	/* What no connection was free for is not made up for later by a burst. */
	if (opt.rate > 0)
		done += due(opt.rate, done);
}

static void open_due_connections(void)
{
	static uint64_t done;
	uint64_t n;

	if (opt.ask && LIST_EMPTY(&conns)) {
		if (done++ == opt.ask)
			stopping = true;
		else
			conn_new(CONN_FRESH);
	}
	for (n = due(opt.fresh_rate, done); n > 0; n--) {
		done++;
		conn_new(CONN_FRESH);
	}
}

static void expire(void)
{
	struct conn *c;

	while ((c = TAILQ_FIRST(&pending)) && c->deadline <= now)
		conn_fail(c, FAIL_TIMEOUT);
	while ((c = TAILQ_FIRST(&resting)) && c->deadline <= now) {
		TAILQ_REMOVE(&resting, c, queue);
		conn_open(c);
	}
}

static int loop_wait_ms(nsec_t end)
{
	nsec_t next = end;
	struct conn *c;

	/* A pace is kept to the millisecond, which is what epoll can wait for. */
	if (!stopping && (opt.fresh_rate > 0 || (opt.rate > 0 && !TAILQ_EMPTY(&idle))))
		return 1;
	if ((c = TAILQ_FIRST(&pending)) && c->deadline < next)
		next = c->deadline;
	if ((c = TAILQ_FIRST(&resting)) && c->deadline < next)
		next = c->deadline;
	if (opt.progress && next > now + NSEC_PER_SEC)
		next = now + NSEC_PER_SEC;
	return next <= now ? 0 : (int)((next - now) / NSEC_PER_MSEC) + 1;
}

static uint64_t n_failed(void)
{
	uint64_t n = 0;
	unsigned p, f;

	for (p = 0; p < N_PHASES; p++)
		for (f = 0; f < N_FAILURES; f++)
			n += failures[p][f];
	return n;
}

static void show_progress(void)
{
	static nsec_t next;
	static uint64_t before;

	if (!opt.progress || now < next)
		return;
	if (next)
		fprintf(stderr,
			"%4.0f s  %8" PRIu64 " answers/s  %u instances  %" PRIu64 " failures\n",
			(double)(now - started) / (double)NSEC_PER_SEC, n_answered - before,
			n_instances, n_failed());
	before = n_answered;
	next = now + NSEC_PER_SEC;
}

static void loop_once(nsec_t end)
{
	struct epoll_event events[EVENTS_MAX];
	int n = epoll_wait(epfd, events, EVENTS_MAX, loop_wait_ms(end)), i;

	now = read_clock();
	/* A connection is only freed by its own event or by expire(), so none of these is stale. */
	for (i = 0; i < n; i++) {
		if (events[i].data.ptr)
			conn_event(events[i].data.ptr);
		else
			stopping = true;
	}
	expire();
	if (stopping)
		return;
	open_due_connections();
	send_due_requests();
	show_progress();
}

static void run(void)
{
	nsec_t end;
	unsigned i;

	now = started = read_clock();
	end = opt.seconds > 0 ? started + (nsec_t)(opt.seconds * (double)NSEC_PER_SEC)
			      : UINT64_MAX / 2;
	for (i = 0; i < opt.n_kept; i++)
		conn_new(CONN_KEPT);
	for (i = 0; i < opt.n_streams; i++)
		conn_new(CONN_STREAM);
	open_due_connections();
	while (!stopping && now < end)
		loop_once(end);
	/* What is under way may still be answered, for as long as a second. */
	stopping = true;
	end = now + (opt.timeout < NSEC_PER_SEC ? opt.timeout : NSEC_PER_SEC);
	while (n_pending_requests > 0 && now < end)
		loop_once(end);
}

/* ---- the report ----------------------------------------------------------------------------- */

static int compare_instances(const void *a, const void *b)
{
	const struct instance *x = a, *y = b;

	if (x->requests != y->requests)
		return x->requests < y->requests ? 1 : -1;
	return strcmp(x->id, y->id);
}

static double seconds_since_start(nsec_t t)
{
	return t > started ? (double)(t - started) / (double)NSEC_PER_SEC : 0;
}

static double share_of(const struct instance *in)
{
	return n_answered ? (double)in->requests / (double)n_answered : 0;
}

static void json_string(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			putchar('\\');
		putchar(*text);
	}
	putchar('"');
}

static void json_times(const char *name, const struct histogram *h)
{
	printf("\"%s\":{\"count\":%" PRIu64
	       ",\"mean\":%.1f,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"max\":%.1f}",
		name, h->n, h->n ? (double)h->sum / (double)h->n / 1000 : 0,
		(double)histogram_quantile(h, 0.5) / 1000,
		(double)histogram_quantile(h, 0.9) / 1000,
		(double)histogram_quantile(h, 0.99) / 1000, (double)h->max / 1000);
}

static void json_failures(void)
{
	unsigned p, f;

	printf("\"failures\":{\"total\":%" PRIu64, n_failed());
	for (p = 0; p < N_PHASES; p++) {
		printf(",\"%s\":{", phase_names[p]);
		for (f = 0; f < N_FAILURES; f++)
			printf("%s\"%s\":%" PRIu64, f ? "," : "", failure_names[f], failures[p][f]);
		putchar('}');
	}
	putchar('}');
}

static void json_instances(void)
{
	unsigned i;

	fputs("\"instances\":[", stdout);
	for (i = 0; i < n_instances; i++) {
		const struct instance *in = &instances[i];

		fputs(i ? ",{\"id\":" : "{\"id\":", stdout);
		json_string(in->id);
		printf(",\"requests\":%" PRIu64 ",\"share\":%.4f,\"connections\":%" PRIu64
		       ",\"cut\":%" PRIu64
		       ",\"first_s\":%.3f,\"last_s\":%.3f,\"last_connection_s\":%.3f}",
			in->requests, share_of(in), in->connections, in->cut,
			seconds_since_start(in->first), seconds_since_start(in->last),
			seconds_since_start(in->last_connection));
	}
	putchar(']');
}

static void report_json(double seconds)
{
	char target[HOSTPORT_TEXT_MAX];

	printf("{\"target\":\"%s\",\"protocol\":\"%s\",\"seconds\":%.3f,",
		hostport_format(&opt.target, target), opt.udp ? "udp" : "tcp", seconds);
	printf("\"connections\":{\"opened\":%" PRIu64 ",\"established\":%" PRIu64
	       ",\"cut\":%" PRIu64 "},",
		n_opened, n_established, n_cut);
	printf("\"requests\":{\"sent\":%" PRIu64 ",\"answered\":%" PRIu64
	       ",\"per_second\":%.1f,\"longest_gap_ms\":%.1f},",
		n_sent, n_answered, (double)n_answered / seconds,
		(double)longest_gap / (double)NSEC_PER_MSEC);
	printf("\"streams\":{\"wanted\":%u,\"open\":%u,\"bytes\":%" PRIu64 "},", opt.n_streams,
		n_streaming, n_stream_bytes);
	json_failures();
	putchar(',');
	json_times("connect_us", &connect_times);
	putchar(',');
	json_times("request_us", &request_times);
	putchar(',');
	json_instances();
	puts("}");
}

static void print_times(const char *name, const struct histogram *h)
{
	if (h->n)
		printf("%s %9.0f us median, %.0f us at 90 %%, %.0f us at 99 %%, %.0f us at most\n",
			name, (double)histogram_quantile(h, 0.5) / 1000,
			(double)histogram_quantile(h, 0.9) / 1000,
			(double)histogram_quantile(h, 0.99) / 1000, (double)h->max / 1000);
}

static void report_failures(FILE *out)
{
	unsigned p, f;

	for (p = 0; p < N_PHASES; p++)
		for (f = 0; f < N_FAILURES; f++)
			if (failures[p][f])
				fprintf(out, "failed      %" PRIu64 " x %s: %s\n", failures[p][f],
					phase_names[p], failure_names[f]);
}

static void report_human(double seconds)
{
	char target[HOSTPORT_TEXT_MAX];
	unsigned i;

	printf("%s (%s) for %.1f s\n", hostport_format(&opt.target, target),
		opt.udp ? "udp" : "tcp", seconds);
	printf("answers     %" PRIu64 " of %" PRIu64
	       " requests, %.0f per second, longest gap %.0f ms\n",
		n_answered, n_sent, (double)n_answered / seconds,
		(double)longest_gap / (double)NSEC_PER_MSEC);
	printf("connections %" PRIu64 " made of %" PRIu64 " tried, %" PRIu64 " cut", n_established,
		n_opened, n_cut);
	if (opt.n_streams)
		printf(", %u of %u streams open, %" PRIu64 " bytes", n_streaming, opt.n_streams,
			n_stream_bytes);
	putchar('\n');
	print_times("connecting ", &connect_times);
	print_times("answering  ", &request_times);
	report_failures(stdout);
	for (i = 0; i < n_instances; i++)
		printf("%5.1f %% %9" PRIu64 " answers %6" PRIu64 " connections %4" PRIu64
		       " cut  %s\n",
			100 * share_of(&instances[i]), instances[i].requests,
			instances[i].connections, instances[i].cut, instances[i].id);
}

/* ---- the command line ----------------------------------------------------------------------- */

static const char help[] =
	"usage: vipload [options] ADDRESS:PORT\n"
	"\n"
	"Loads an address, and tells who answered, how fast, and what broke.\n"
	"\n"
	"  -c, --connections N    kept connections that send request after request (1)\n"
	"  -n, --new N            new connections per second besides, a request each (0)\n"
	"  -s, --streams N        connections that hold an endless answer open (0)\n"
	"  -r, --rate N           requests per second over all kept connections (0: no bound)\n"
	"  -d, --duration S       seconds; 0: until a signal (10)\n"
	"  -t, --timeout S        seconds for a connection or an answer (5)\n"
	"  -u, --udp              datagrams instead of HTTP\n"
	"  -b, --bind ADDRESS     source address\n"
	"      --path PATH        of requests (/)\n"
	"      --stream-path PATH of streams (/stream)\n"
	"      --no-reconnect     a connection that was lost stays lost\n"
	"      --allow N          failures that are no failure of the run (0)\n"
	"      --progress         a line per second on stderr\n"
	"      --json             the report as one JSON object\n"
	"      --ask N            make N connections, one after the other, and print who answers "
	"each\n"
	"\n"
	"A SIGINT or SIGTERM ends the run early, with its report. Exit status: 0; 1 if there were\n"
	"failures or nothing answered; 2 for a wrong command line.\n";

static void usage_error(const char *what)
{
	fprintf(stderr, "vipload: %s (see --help)\n", what);
	exit(2);
}

static double parse_number(const char *text, double most)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || !(value >= 0 && value <= most))
		usage_error("bad number");
	return value;
}

enum {
	OPT_PATH = 256,
	OPT_STREAM_PATH,
	OPT_NO_RECONNECT,
	OPT_ALLOW,
	OPT_PROGRESS,
	OPT_JSON,
	OPT_ASK
};

static void parse_option(int o, const char *arg)
{
	switch (o) {
	case 'c':
		opt.n_kept = (unsigned)parse_number(arg, 1e6);
		break;
	case 'n':
		opt.fresh_rate = parse_number(arg, 1e6);
		break;
	case 's':
		opt.n_streams = (unsigned)parse_number(arg, 1e6);
		break;
	case 'r':
		opt.rate = parse_number(arg, 1e9);
		break;
	case 'd':
		opt.seconds = parse_number(arg, 1e9);
		break;
	case 't':
		opt.timeout = (nsec_t)(parse_number(arg, 1e6) * (double)NSEC_PER_SEC);
		break;
	case 'u':
		opt.udp = true;
		break;
	case 'b':
		opt.has_source = true;
		if (hostport_parse_address(arg, &opt.source) < 0)
			usage_error("--bind wants a literal address");
		break;
	case OPT_PATH:
		opt.path = arg;
		break;
	case OPT_STREAM_PATH:
		opt.stream_path = arg;
		break;
	case OPT_NO_RECONNECT:
		opt.reconnect = false;
		break;
	case OPT_ALLOW:
		opt.allow = (uint64_t)parse_number(arg, 1e18);
		break;
	case OPT_PROGRESS:
		opt.progress = true;
		break;
	case OPT_JSON:
		opt.json = true;
		break;
	case OPT_ASK:
		opt.ask = (uint64_t)parse_number(arg, 1e9);
		opt.n_kept = 0;
		opt.seconds = 0;
		break;
	case 'h':
		fputs(help, stdout);
		exit(0);
	default:
		exit(2);
	}
}

static void parse_options(int argc, char **argv)
{
	static const struct option options[] = {
		{"connections", required_argument, NULL, 'c'},
		{"new", required_argument, NULL, 'n'},
		{"streams", required_argument, NULL, 's'},
		{"rate", required_argument, NULL, 'r'},
		{"duration", required_argument, NULL, 'd'},
		{"timeout", required_argument, NULL, 't'},
		{"udp", no_argument, NULL, 'u'},
		{"bind", required_argument, NULL, 'b'},
		{"path", required_argument, NULL, OPT_PATH},
		{"stream-path", required_argument, NULL, OPT_STREAM_PATH},
		{"no-reconnect", no_argument, NULL, OPT_NO_RECONNECT},
		{"allow", required_argument, NULL, OPT_ALLOW},
		{"progress", no_argument, NULL, OPT_PROGRESS},
		{"json", no_argument, NULL, OPT_JSON},
		{"ask", required_argument, NULL, OPT_ASK},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int o;

	while ((o = getopt_long(argc, argv, "c:n:s:r:d:t:ub:h", options, NULL)) != -1)
		parse_option(o, optarg);
	if (optind != argc - 1 || hostport_parse(argv[optind], &opt.target) < 0)
		usage_error("one ADDRESS:PORT is wanted, the address literal");
	if (opt.udp && opt.n_streams)
		usage_error("UDP has no streams");
	if (opt.has_source && opt.source.addr.ss_family != opt.target.addr.ss_family)
		usage_error("--bind is of another family than the target");
}

static size_t format_request(char *buf, size_t size, const char *path)
{
	char target[HOSTPORT_TEXT_MAX];
	int n;

	if (opt.udp)
		n = snprintf(buf, size, "hello\n");
	else
		n = snprintf(buf, size,
			"GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: vipload\r\n\r\n", path,
			hostport_format(&opt.target, target));
	if (n < 0 || (size_t)n >= size)
		usage_error("the path is too long");
	return (size_t)n;
}

/* Opens the file descriptor that becomes readable when the run shall end. */
static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

int main(int argc, char **argv)
{
	struct epoll_event ev = {.events = EPOLLIN};
	_cleanup_close_ int signals = -1;
	struct rlimit lim;
	double seconds;

	parse_options(argc, argv);
	request_len = format_request(request_text, sizeof(request_text), opt.path);
	stream_len = format_request(stream_text, sizeof(stream_text), opt.stream_path);
	if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
	signals = open_signals();
	epfd = epoll_create1(EPOLL_CLOEXEC);
	if (signals < 0 || epfd < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, signals, &ev) < 0) {
		perror("vipload");
		return 1;
	}
	run();
	seconds = seconds_since_start(read_clock());
	qsort(instances, n_instances, sizeof(instances[0]), compare_instances);
	if (opt.ask)
		report_failures(stderr);
	else if (opt.json)
		report_json(seconds);
	else
		report_human(seconds);
	while (!LIST_EMPTY(&conns))
		conn_free(LIST_FIRST(&conns));
	close(epfd);
	return n_failed() > opt.allow || n_answered == 0;
}
