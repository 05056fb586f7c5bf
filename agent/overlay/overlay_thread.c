/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One loop over UDP, TCP and timers around one `struct gossip`. A turn: everything that
 * has arrived is handed over first (datagrams have the highest priority, the timer the lowest),
 * then the deadline, then effects and events are taken out (pump()). So when this thread
 * was starved of CPU, what the others said meanwhile is heard before anyone is judged.
 *
 * Bounds. Datagrams: the socket's buffer, oldest kept; what cannot be sent at once is dropped.
 * Links: GOSSIP_LINKS_MAX with a handle, GREETINGS_MAX that have not proved the key yet (the oldest
 * goes), LINK_BACKLOG bytes each to send (then the link is closed). Probes: PROBES_MAX.
 *
 * It logs through the queue: a blocked stderr must not delay a ping.
 *
 * The thread runs with the lowest real-time priority where that is allowed: a node whose processors
 * are all busy still answers in time, and a few packets a second are all that it does. Who floods
 * the port takes that from it: from FLOOD_RATE on it is a thread like any other (ahead()).
 */
#include "agent/overlay/overlay_thread.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "agent/log.h"
#include "agent/overlay/seal.h"

#define HASH_FUNCTION HASH_FNV
#include <uthash.h>

/* Datagrams taken in one system call, and calls before the others have their turn. */
#define BATCH 32
#define BATCHES_MAX 32
#define GREETINGS_MAX 64
/* Time for both greetings: one round trip, and a busy machine. */
#define GREETING_TIME (2 * NSEC_PER_SEC)
#define CONNECT_TIME (2 * NSEC_PER_SEC)
#define LINK_BACKLOG (1024 * 1024)
#define PROBES_MAX 256
#define PROBE_TIME NSEC_PER_SEC
#define READ_CHUNK 65536
/* Asked of the kernel: a thousand nodes that all speak at once fit. */
#define SOCKET_BUFFER (4 * 1024 * 1024)
#define TIMER_ACCURACY 500 /* us */

/* Datagrams in a second that no cluster sends to one node: 10,000 nodes that all speak at once. */
#define FLOOD_RATE 20000
/* Seconds without a flood until the thread is ahead of others again. */
#define FLOOD_CALM 2
/* Failures to send, without a success between, that tell of this node's own path and not of one
 * destination that has no route. */
#define LOCAL_ERRORS 3
/* No accept for so long when no descriptor is left. */
#define ACCEPT_PAUSE (100 * NSEC_PER_MSEC)
/* After a rotation, links of a key that is gone end within this time, not all at once. */
#define STALE_LINK_TIME (10 * NSEC_PER_SEC)
/* A connection is not given to us before its first bytes came, for so long: whoever only asks
 * whether a kernel is here (a probe) costs us nothing, and cannot fill the queue of a stopped
 * process. */
#define DEFER_ACCEPT 2

/* Datagrams first, the clock last; except that after BATCHES_MAX of them everyone else has a turn.
 */
enum {
	PRIORITY_DATAGRAM = -20,
	PRIORITY_LINK = -10,
	PRIORITY_TIMER = 10,
	PRIORITY_DATAGRAM_REST = 20,
};

struct link {
	UT_hash_handle hh;
	struct engine *engine;
	uint32_t handle; /* of gossip; 0: accepted and not proved yet */
	int fd;
	bool connecting, told_open, closing;
	struct gossip_addr from;
	struct seal_link *seal;
	sd_event_source *io, *timer;
	uint32_t events; /* that io waits for */
	struct link *next_greeting;
	struct link *next, **at; /* in engine.all */
};

struct probe {
	struct engine *engine;
	uint32_t handle;
	int fd;
	sd_event_source *io, *timer;
	struct probe *next, **at; /* in engine.probes */
};

struct engine {
	struct queue *in, *out, *bulk_in, *bulk_out;
	sd_event *loop;
	sd_event_source *post, *timer, *commands, *bulk;
	struct gossip *gossip;
	struct seal *seal;
	struct gossip_addr self4, self6; /* family 0: not by that family */
	int udp[2], tcp[2];              /* IPv4, IPv6; -1: none */
	sd_event_source *udp_io[2], *tcp_io[2];
	struct link *all;       /* every link */
	struct link *links;     /* those that gossip knows, by handle */
	struct link *greetings; /* oldest first */
	struct probe *probes;
	size_t n_greetings, n_probes;
	bool local_ok, stop, retell;
	unsigned int n_local_errors;
	bool ahead;    /* of other threads */
	nsec_t second; /* in which n_second datagrams came */
	uint64_t n_second, n_calm;
	sd_event_source *accept_again;
	struct overlay_transport_stats stats;
	uint64_t id, incarnation;
	size_t n_neighbours; /* as the daemon was told */
	uint64_t neighbours[GOSSIP_NEIGHBOURS_MAX];
};

/* A list whose items know where they stand, so that any can leave. */
#define LIST_ADD(head, item)                        \
	do {                                        \
		(item)->next = (head);              \
		(item)->at = &(head);               \
		if (head)                           \
			(head)->at = &(item)->next; \
		(head) = (item);                    \
	} while (0)
#define LIST_REMOVE(item)                              \
	do {                                           \
		*(item)->at = (item)->next;            \
		if ((item)->next)                      \
			(item)->next->at = (item)->at; \
	} while (0)

__attribute__((format(printf, 3, 4))) static void say(
	struct engine *e, int level, const char *format, ...)
{
	struct overlay_message *m = xcalloc(1, sizeof(*m));
	va_list ap;

	m->kind = MESSAGE_LOG;
	m->log.level = level;
	va_start(ap, format);
	vsnprintf(m->log.text, sizeof(m->log.text), format, ap);
	va_end(ap);
	if (!queue_push(e->out, m))
		free(m);
}

/* gossip's only faults are those of memory, and agent/ ends at those. */
static void must(int r)
{
	if (r == -ENOMEM)
		abort();
}

/* --- addresses ------------------------------------------------------------- */

static socklen_t to_sockaddr(const struct gossip_addr *a, struct sockaddr_storage *ret)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;

	memset(ret, 0, sizeof(*ret));
	if (a->family == 4) {
		in->sin_family = AF_INET;
		in->sin_port = htons(a->port);
		memcpy(&in->sin_addr, a->bytes, 4);
		return sizeof(*in);
	}
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(a->port);
	memcpy(&in6->sin6_addr, a->bytes, 16);
	return sizeof(*in6);
}

static struct gossip_addr from_sockaddr(const struct sockaddr_storage *ss)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)ss;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)ss;
	struct gossip_addr a = {0};

	if (ss->ss_family == AF_INET) {
		a.family = 4;
		a.port = ntohs(in->sin_port);
		memcpy(a.bytes, &in->sin_addr, 4);
	} else if (ss->ss_family == AF_INET6) {
		a.family = 6;
		a.port = ntohs(in6->sin6_port);
		memcpy(a.bytes, &in6->sin6_addr, 16);
	}
	return a;
}

static const struct gossip_addr *self_of(const struct engine *e, uint8_t family)
{
	return family == 6 ? &e->self6 : &e->self4;
}

/* --- the own path ---------------------------------------------------------- */

/* True for errors that tell of this node, not of the other. */
static bool is_local_error(int error)
{
	return error == ENETUNREACH || error == ENETDOWN || error == EADDRNOTAVAIL ||
	       error == EPERM;
}

static void set_local(struct engine *e, bool ok)
{
	if (e->local_ok == ok)
		return;
	e->local_ok = ok;
	say(e, LOG_NOTICE,
		ok ? "overlay: this node can send again"
		   : "overlay: this node cannot send: its own path is broken");
	gossip_set_local(e->gossip, now_ns(), ok);
}

/* --- datagrams ------------------------------------------------------------- */

/* One more packet is on its way, or could not be sent. */
static void sent(struct engine *e, int error)
{
	if (!error) {
		e->n_local_errors = 0;
		set_local(e, true);
	} else if (is_local_error(error) && ++e->n_local_errors >= LOCAL_ERRORS) {
		set_local(e, false);
	}
}

static void send_sealed(
	struct engine *e, const struct gossip_addr *to, const uint8_t *bytes, size_t n)
{
	struct sockaddr_storage ss;
	socklen_t len = to_sockaddr(to, &ss);
	int fd = e->udp[to->family == 6];

	if (fd < 0 || to->family == 0)
		return;
	if (sendto(fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&ss, len) < 0) {
		sent(e, errno);
		e->stats.send_errors++;
		return;
	}
	sent(e, 0);
	e->stats.packets_out++;
	e->stats.bytes_out += n;
}

static void send_packet(struct engine *e, const struct gossip_effect *effect)
{
	uint8_t out[SEAL_PACKET_MAX];
	size_t n = seal_packet(e->seal, &effect->address, effect->bytes, effect->n_bytes, out);

	send_sealed(e, &effect->address, out, n);
}

static void take_datagram(struct engine *e, const struct gossip_addr *from,
	const struct gossip_addr *to, const uint8_t *bytes, size_t n)
{
	nsec_t now = now_ns();
	struct seal_opened o = seal_open(e->seal, now, from, to, bytes, n);

	e->stats.packets_in++;
	e->stats.bytes_in += n;
	switch (o.verdict) {
	case SEAL_DROP:
		break;
	case SEAL_REPLY:
		send_sealed(e, from, o.bytes, o.n);
		break;
	case SEAL_DATA:
	case SEAL_HELD_DATA:
		must(gossip_receive(e->gossip, now, &o.from, o.bytes, o.n));
		break;
	}
}

/* The address that a datagram was sent to, from its control message; port is ours. */
static struct gossip_addr destination(const struct engine *e, struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		struct gossip_addr a = {0};

		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			a = (struct gossip_addr){.family = 4, .port = e->self4.port};
			memcpy(a.bytes, &((struct in_pktinfo *)CMSG_DATA(c))->ipi_addr, 4);
			return a;
		}
		if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			a = (struct gossip_addr){.family = 6, .port = e->self6.port};
			memcpy(a.bytes, &((struct in6_pktinfo *)CMSG_DATA(c))->ipi6_addr, 16);
			return a;
		}
	}
	return (struct gossip_addr){0};
}

/* Ahead of everyone else, where that is allowed. The lowest of the real-time priorities; where
 * there is none, a priority that counts among the processes of one control group. */
static void set_ahead(struct engine *e, bool ahead)
{
	struct sched_param p = {.sched_priority = ahead ? 1 : 0};

	e->ahead = ahead;
	(void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), -10);
	(void)sched_setscheduler(0, ahead ? SCHED_RR : SCHED_OTHER, &p);
}

/* Counts datagrams by the second. */
static void watch_flood(struct engine *e, size_t n)
{
	nsec_t second = now_ns() / NSEC_PER_SEC;

	if (second != e->second) {
		e->n_calm = e->n_second > FLOOD_RATE ? 0 : e->n_calm + 1;
		e->second = second;
		e->n_second = 0;
	}
	e->n_second += n;
	if (e->ahead && e->n_second > FLOOD_RATE) {
		e->stats.floods++;
		set_ahead(e, false);
	} else if (!e->ahead && e->n_calm > FLOOD_CALM && e->n_second <= FLOOD_RATE) {
		set_ahead(e, true);
	}
}

static int on_datagrams(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
	static __thread uint8_t bytes[BATCH][SEAL_PACKET_MAX + 1];
	struct engine *e = userdata;
	struct sockaddr_storage from[BATCH];
	struct mmsghdr m[BATCH];
	struct iovec iov[BATCH];
	char control[BATCH][128];
	int n = BATCH;
	size_t n_all = 0;

	for (int round = 0; round < BATCHES_MAX && n == BATCH; round++) {
		for (int i = 0; i < BATCH; i++) {
			iov[i] = (struct iovec){bytes[i], sizeof(bytes[i])};
			m[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
				.msg_namelen = sizeof(from[i]),
				.msg_iov = &iov[i],
				.msg_iovlen = 1,
				.msg_control = control[i],
				.msg_controllen = sizeof(control[i])};
		}
		n = recvmmsg(fd, m, BATCH, MSG_DONTWAIT, NULL);
		n_all += n > 0 ? (size_t)n : 0;
		for (int i = 0; i < n; i++) {
			struct gossip_addr f = from_sockaddr(&from[i]),
					   to = destination(e, &m[i].msg_hdr);

			take_datagram(e, &f, &to, bytes[i], m[i].msg_len);
		}
	}
	watch_flood(e, n_all);
	sd_event_source_set_priority(s, n == BATCH ? PRIORITY_DATAGRAM_REST : PRIORITY_DATAGRAM);
	return 0;
}

/* --- links ----------------------------------------------------------------- */

static void forget_greeting(struct engine *e, struct link *l)
{
	for (struct link **p = &e->greetings; *p; p = &(*p)->next_greeting)
		if (*p == l) {
			*p = l->next_greeting;
			e->n_greetings--;
			return;
		}
}

static void link_free(struct link *l)
{
	if (l->handle && !l->closing)
		HASH_DEL(l->engine->links, l);
	forget_greeting(l->engine, l);
	LIST_REMOVE(l);
	sd_event_source_disable_unref(l->io);
	sd_event_source_disable_unref(l->timer);
	if (l->fd >= 0)
		close(l->fd);
	seal_link_free(l->seal);
	free(l);
}

/* The link broke: gossip is told, if it knows of it. */
static void link_broke(struct link *l, enum gossip_close reason)
{
	struct engine *e = l->engine;
	uint32_t handle = l->closing ? 0 : l->handle;

	if (!l->told_open && !l->connecting)
		e->stats.handshakes_failed++;
	link_free(l);
	if (handle)
		must(gossip_link_closed(e->gossip, now_ns(), handle, reason));
}

static enum gossip_close close_reason(int error)
{
	if (error == ECONNRESET || error == EPIPE)
		return GOSSIP_CLOSE_RESET;
	return error == ECONNREFUSED ? GOSSIP_CLOSE_REFUSED : GOSSIP_CLOSE_ERROR;
}

static void want_events(struct link *l, uint32_t events)
{
	if (l->events == events)
		return;
	l->events = events;
	sd_event_source_set_io_events(l->io, events);
}

/* Writes what it can. False if the link is gone by it. */
static bool link_flush(struct link *l)
{
	const uint8_t *bytes;
	size_t n, left;

	for (;;) {
		ssize_t w;

		bytes = seal_link_output(l->seal, &n);
		if (n == 0)
			break;
		w = send(l->fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (w < 0 && errno == EAGAIN)
			break;
		if (w < 0) {
			link_broke(l, close_reason(errno));
			return false;
		}
		seal_link_output_done(l->seal, (size_t)w);
		l->engine->stats.links_bytes_out += (size_t)w;
	}
	seal_link_output(l->seal, &left);
	if (left > LINK_BACKLOG) {
		link_broke(l, GOSSIP_CLOSE_ERROR);
		return false;
	}
	if (l->closing && left == 0) {
		link_free(l);
		return false;
	}
	if (l->handle && !l->closing)
		gossip_link_backlog(l->engine->gossip, l->handle, left);
	want_events(l, left ? EPOLLIN | EPOLLOUT : EPOLLIN);
	return true;
}

/* Both sides have proved the key: gossip hears of it. False if the link is gone by it. */
static bool link_proved(struct link *l)
{
	struct engine *e = l->engine;
	nsec_t now = now_ns();

	l->told_open = true;
	sd_event_source_set_enabled(l->timer, SD_EVENT_OFF);
	if (l->handle) {
		must(gossip_link_opened(e->gossip, now, l->handle));
		return true;
	}
	forget_greeting(e, l);
	if (gossip_link_accepted(e->gossip, now, &l->from, &l->handle) < 0) {
		e->stats.links_refused++;
		l->handle = 0;
		link_free(l);
		return false;
	}
	HASH_ADD(hh, e->links, handle, sizeof(l->handle), l);
	return true;
}

/* Plaintext to gossip. gossip may answer only through effects, so the link stays. */
static void link_deliver(struct link *l)
{
	size_t n;
	const uint8_t *bytes = seal_link_input(l->seal, &n);

	if (l->closing) { /* gossip has let go of it */
		seal_link_input_done(l->seal, n);
		return;
	}
	if (n == 0)
		return;
	must(gossip_link_bytes(l->engine->gossip, now_ns(), l->handle, bytes, n));
	seal_link_input_done(l->seal, n);
}

static void link_read(struct link *l)
{
	static __thread uint8_t chunk[READ_CHUNK];
	ssize_t n = recv(l->fd, chunk, sizeof(chunk), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		link_broke(l, n == 0 ? GOSSIP_CLOSE_EOF : close_reason(errno));
		return;
	}
	l->engine->stats.links_bytes_in += (size_t)n;
	if (seal_link_receive(l->seal, chunk, (size_t)n) < 0) {
		link_broke(l, GOSSIP_CLOSE_ERROR);
		return;
	}
	if (seal_link_is_open(l->seal) && !l->told_open && !link_proved(l))
		return;
	if (l->told_open)
		link_deliver(l);
	link_flush(l);
}

static void link_connected(struct link *l)
{
	int error = 0;
	socklen_t len = sizeof(error);

	getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error) {
		link_broke(l, close_reason(error));
		return;
	}
	l->connecting = false;
	sd_event_source_set_time_relative(l->timer, GREETING_TIME / NSEC_PER_USEC);
	link_flush(l);
}

static int on_link(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
	struct link *l = userdata;

	if (l->connecting)
		link_connected(l);
	else if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		link_read(l);
	else
		link_flush(l);
	return 0;
}

static int on_link_time(sd_event_source *s, uint64_t usec, void *userdata)
{
	link_broke(userdata, GOSSIP_CLOSE_ERROR);
	return 0;
}

static int set_up_link(struct link *l, uint32_t events, nsec_t time)
{
	int one = 1, r;

	LIST_ADD(l->engine->all, l);
	setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	l->events = events;
	r = sd_event_add_io(l->engine->loop, &l->io, l->fd, events, on_link, l);
	if (r >= 0)
		r = sd_event_source_set_priority(l->io, PRIORITY_LINK);
	if (r >= 0)
		r = sd_event_add_time_relative(l->engine->loop, &l->timer, CLOCK_MONOTONIC,
			time / NSEC_PER_USEC, TIMER_ACCURACY, on_link_time, l);
	return r;
}

/* A TCP socket from our own address, on its way to `to`. A descriptor or a negative errno. */
static int dial(const struct engine *e, const struct gossip_addr *to)
{
	struct gossip_addr own = *self_of(e, to->family);
	struct sockaddr_storage ss;
	socklen_t len;
	int one = 1, fd, r;

	if (!own.family || !to->family)
		return -EAFNOSUPPORT;
	fd = socket(to->family == 6 ? AF_INET6 : AF_INET,
		SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	own.port = 0;
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	len = to_sockaddr(&own, &ss);
	r = bind(fd, (struct sockaddr *)&ss, len) < 0 ? -errno : 0;
	len = to_sockaddr(to, &ss);
	if (r == 0 && connect(fd, (struct sockaddr *)&ss, len) < 0 && errno != EINPROGRESS)
		r = -errno;
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}

static void open_link(struct engine *e, const struct gossip_effect *effect)
{
	struct link *l;
	int fd = dial(e, &effect->address);

	if (fd < 0) {
		sent(e, -fd);
		must(gossip_link_closed(e->gossip, now_ns(), effect->link, close_reason(-fd)));
		return;
	}
	l = xcalloc(1, sizeof(*l));
	l->engine = e;
	l->fd = fd;
	l->handle = effect->link;
	l->connecting = true;
	l->from = effect->address;
	l->seal = seal_link_new(e->seal, true);
	HASH_ADD(hh, e->links, handle, sizeof(l->handle), l);
	if (set_up_link(l, EPOLLOUT, CONNECT_TIME) < 0)
		link_broke(l, GOSSIP_CLOSE_ERROR);
}

static struct link *find_link(struct engine *e, uint32_t handle)
{
	struct link *l;

	HASH_FIND(hh, e->links, &handle, sizeof(handle), l);
	return l;
}

static void send_on_link(struct engine *e, const struct gossip_effect *effect)
{
	struct link *l = find_link(e, effect->link);

	if (!l || !l->told_open)
		return;
	seal_link_send(l->seal, effect->bytes, effect->n_bytes);
	link_flush(l);
}

static void close_link(struct engine *e, const struct gossip_effect *effect)
{
	struct link *l = find_link(e, effect->link);

	if (!l)
		return;
	HASH_DEL(e->links, l);
	l->closing = true;
	if (!l->told_open) {
		link_free(l);
		return;
	}
	sd_event_source_set_time_relative(l->timer, GREETING_TIME / NSEC_PER_USEC);
	sd_event_source_set_enabled(l->timer, SD_EVENT_ONESHOT);
	link_flush(l);
}

/* The kernel would send what is unacknowledged again and again to a host that is not there. */
static void abort_link(struct engine *e, const struct gossip_effect *effect)
{
	struct linger reset = {.l_onoff = 1};
	struct link *l = find_link(e, effect->link);

	if (!l)
		return;
	setsockopt(l->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	link_free(l);
}

static int on_accept_again(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct engine *e = userdata;

	for (int i = 0; i < 2; i++)
		if (e->tcp_io[i])
			sd_event_source_set_enabled(e->tcp_io[i], SD_EVENT_ON);
	return 0;
}

/* No descriptor is left: the connection stays where it is, and we do not spin on it. */
static void pause_accept(struct engine *e)
{
	e->stats.accepts_paused++;
	for (int i = 0; i < 2; i++)
		if (e->tcp_io[i])
			sd_event_source_set_enabled(e->tcp_io[i], SD_EVENT_OFF);
	sd_event_source_set_time_relative(e->accept_again, ACCEPT_PAUSE / NSEC_PER_USEC);
	sd_event_source_set_enabled(e->accept_again, SD_EVENT_ONESHOT);
}

static int on_accept(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
	struct engine *e = userdata;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	int conn = accept4(fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct link *l, **end;

	if (conn < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			pause_accept(e);
		return 0;
	}
	if (e->n_greetings >= GREETINGS_MAX)
		link_broke(e->greetings, GOSSIP_CLOSE_ERROR);
	l = xcalloc(1, sizeof(*l));
	l->engine = e;
	l->fd = conn;
	l->from = from_sockaddr(&ss);
	l->seal = seal_link_new(e->seal, false);
	for (end = &e->greetings; *end; end = &(*end)->next_greeting)
		;
	*end = l;
	e->n_greetings++;
	if (set_up_link(l, EPOLLIN, GREETING_TIME) < 0)
		link_broke(l, GOSSIP_CLOSE_ERROR);
	return 0;
}

/* --- probes ---------------------------------------------------------------- */

static void probe_done(struct probe *p, enum gossip_probe result)
{
	struct engine *e = p->engine;
	uint32_t handle = p->handle;

	sd_event_source_disable_unref(p->io);
	sd_event_source_disable_unref(p->timer);
	LIST_REMOVE(p);
	close(p->fd);
	free(p);
	e->n_probes--;
	must(gossip_probe_result(e->gossip, now_ns(), handle, result));
}

static int on_probe(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
	int error = 0;
	socklen_t len = sizeof(error);

	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error == 0)
		probe_done(userdata, GOSSIP_PROBE_ANSWERED);
	else if (error == ECONNREFUSED || error == ECONNRESET)
		probe_done(userdata, GOSSIP_PROBE_REFUSED);
	else
		probe_done(userdata, GOSSIP_PROBE_SILENT);
	return 0;
}

static int on_probe_time(sd_event_source *s, uint64_t usec, void *userdata)
{
	probe_done(userdata, GOSSIP_PROBE_SILENT);
	return 0;
}

static void start_probe(struct engine *e, const struct gossip_effect *effect)
{
	/* Closed by reset: no socket in TIME_WAIT stays behind on either side. */
	struct linger reset = {.l_onoff = 1};
	struct probe *p;
	int fd, r;

	if (e->n_probes >= PROBES_MAX)
		return; /* silence is no evidence of death by itself: others probe too */
	fd = dial(e, &effect->address);
	if (fd < 0) {
		must(gossip_probe_result(e->gossip, now_ns(), effect->link,
			is_local_error(-fd) ? GOSSIP_PROBE_LOCAL : GOSSIP_PROBE_SILENT));
		return;
	}
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	p = xcalloc(1, sizeof(*p));
	*p = (struct probe){.engine = e, .handle = effect->link, .fd = fd};
	e->n_probes++;
	LIST_ADD(e->probes, p);
	r = sd_event_add_io(e->loop, &p->io, fd, EPOLLOUT, on_probe, p);
	if (r >= 0)
		r = sd_event_add_time_relative(e->loop, &p->timer, CLOCK_MONOTONIC,
			PROBE_TIME / NSEC_PER_USEC, TIMER_ACCURACY, on_probe_time, p);
	if (r < 0)
		probe_done(p, GOSSIP_PROBE_LOCAL);
}

/* --- metadata -------------------------------------------------------------- */

enum { META_IPV4 = 1, META_IPV6 = 2, META_VERSION = 3, META_ROLE = 4 };
enum { ROLE_MASTER = 1 }; /* a bit each */

static void meta_put(uint8_t *out, size_t *n, uint8_t type, const void *bytes, size_t n_bytes)
{
	if (*n + 2 + n_bytes > GOSSIP_METADATA_MAX || n_bytes > 255)
		return;
	out[(*n)++] = type;
	out[(*n)++] = (uint8_t)n_bytes;
	memcpy(out + *n, bytes, n_bytes);
	*n += n_bytes;
}

size_t metadata_encode(const struct ip_addr *addresses, size_t n_addresses, bool master,
	const char *version, uint8_t out[static GOSSIP_METADATA_MAX])
{
	static const uint8_t role = ROLE_MASTER;
	size_t n = 0;

	meta_put(out, &n, META_VERSION, version, strlen(version));
	if (master)
		meta_put(out, &n, META_ROLE, &role, sizeof(role));
	for (size_t i = 0; i < n_addresses && i < OVERLAY_ADDRESSES_MAX; i++)
		meta_put(out, &n, addresses[i].family == AF_INET6 ? META_IPV6 : META_IPV4,
			addresses[i].bytes, ip_addr_len(addresses[i].family));
	return n;
}

static bool is_printable(const uint8_t *text, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (text[i] <= ' ' || text[i] > '~')
			return false;
	return true;
}

void metadata_decode(const uint8_t *bytes, size_t n, struct overlay_node *ret)
{
	for (size_t at = 0; at + 2 <= n && at + 2 + bytes[at + 1] <= n; at += 2U + bytes[at + 1]) {
		const uint8_t *value = bytes + at + 2;
		size_t len = bytes[at + 1];
		uint8_t family = bytes[at] == META_IPV4 ? AF_INET : AF_INET6;

		if (bytes[at] == META_VERSION && len < sizeof(ret->version) &&
			is_printable(value, len)) {
			memcpy(ret->version, value, len);
			ret->version[len] = '\0';
		} else if (bytes[at] == META_ROLE && len >= 1) {
			ret->master = value[0] & ROLE_MASTER;
		} else if ((bytes[at] == META_IPV4 || bytes[at] == META_IPV6) &&
			   len == ip_addr_len(family) && ret->n_addresses < OVERLAY_ADDRESSES_MAX) {
			struct ip_addr *a = &ret->addresses[ret->n_addresses++];

			*a = (struct ip_addr){.family = family};
			memcpy(a->bytes, value, len);
		}
	}
}

/* The address that a member speaks from counts as one of its own. */
static void describe(const struct gossip_member *m, struct overlay_node *ret)
{
	struct ip_addr a = overlay_ip(&m->address);

	*ret = (struct overlay_node){
		.id = m->id, .incarnation = m->incarnation, .status = m->status};
	metadata_decode(m->metadata, m->n_metadata, ret);
	for (size_t i = 0; i < ret->n_addresses; i++)
		if (ip_addr_cmp(&ret->addresses[i], &a) == 0)
			return;
	if (m->address.family && ret->n_addresses < OVERLAY_ADDRESSES_MAX)
		ret->addresses[ret->n_addresses++] = a;
}

/* --- to the daemon --------------------------------------------------------- */

static void tell(struct engine *e, struct overlay_message *m)
{
	if (queue_push(e->out, m))
		return;
	e->stats.events_dropped++;
	e->retell = true;
	free(m);
}

static void tell_node(struct engine *e, const struct gossip_event *event)
{
	struct overlay_message *m;
	struct gossip_member member;

	if (!gossip_member_get(e->gossip, event->id, &member))
		return;
	m = xcalloc(1, sizeof(*m));
	m->kind = MESSAGE_NODE;
	describe(&member, &m->node);
	if (event->kind == GOSSIP_EVENT_NODE) {
		m->node.status = event->status;
		m->node.accuser = event->accuser;
		m->node.silent = event->silent;
		m->node.missed = event->missed;
		m->node.probed = event->probed;
		m->node.severed = event->severed;
	}
	m->node.told = now_ns();
	tell(e, m);
}

static void tell_self(struct engine *e, enum gossip_self self)
{
	struct overlay_message *m = xcalloc(1, sizeof(*m));

	m->kind = MESSAGE_SELF;
	m->self = self;
	tell(e, m);
}

/* Events were lost: what is true now is told of all nodes. */
static void tell_all(struct engine *e)
{
	struct gossip_stats stats;
	struct gossip_member member;
	size_t cursor = 0;

	e->retell = false;
	gossip_stats(e->gossip, &stats);
	tell_self(e, stats.self);
	e->n_neighbours = SIZE_MAX; /* are told again, whoever they are */
	while (!e->retell && gossip_member_next(e->gossip, &cursor, &member)) {
		struct overlay_message *m;

		if (member.id == e->id)
			continue;
		m = xcalloc(1, sizeof(*m));
		m->kind = MESSAGE_NODE;
		describe(&member, &m->node);
		m->node.told = now_ns();
		tell(e, m);
	}
}

static int cmp_id(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Tells of the neighbours if they are others than before. */
static void tell_neighbours(struct engine *e)
{
	struct overlay_message *m;
	struct gossip_neighbour neighbour;
	uint64_t ids[GOSSIP_NEIGHBOURS_MAX];
	size_t n = 0, cursor = 0;

	while (n < GOSSIP_NEIGHBOURS_MAX && gossip_neighbour_next(e->gossip, &cursor, &neighbour))
		ids[n++] = neighbour.id;
	qsort(ids, n, sizeof(*ids), cmp_id);
	if (n == e->n_neighbours && memcmp(ids, e->neighbours, n * sizeof(*ids)) == 0)
		return;
	e->n_neighbours = n;
	memcpy(e->neighbours, ids, n * sizeof(*ids));
	m = xcalloc(1, sizeof(*m));
	m->kind = MESSAGE_NEIGHBOURS;
	m->neighbours.n = n;
	memcpy(m->neighbours.ids, ids, n * sizeof(*ids));
	tell(e, m);
}

/* What another node's daemon says. A multicast may be a minute old; one that its node said before it
 * was restarted is of no use to anyone. */
static void tell_bulk(
	struct engine *e, enum overlay_bulk_kind kind, const struct gossip_event *event)
{
	struct gossip_member member;
	struct overlay_bulk *b;

	if (kind == BULK_MULTICAST && gossip_member_get(e->gossip, event->id, &member) &&
		member.incarnation != event->incarnation)
		return;
	b = xcalloc(1, sizeof(*b) + event->n_bytes);
	*b = (struct overlay_bulk){
		.kind = kind, .peer = event->id, .tag = event->tag, .n = event->n_bytes};
	if (event->n_bytes)
		memcpy(b->bytes, event->bytes, event->n_bytes);
	if (!queue_push(e->bulk_out, b)) {
		e->stats.bulk_dropped++;
		free(b);
	}
}

static void take_event(struct engine *e, const struct gossip_event *event)
{
	struct overlay_message *m;

	switch (event->kind) {
	case GOSSIP_EVENT_NODE:
	case GOSSIP_EVENT_METADATA:
		tell_node(e, event);
		break;
	case GOSSIP_EVENT_FORGOTTEN:
		m = xcalloc(1, sizeof(*m));
		m->kind = MESSAGE_FORGOTTEN;
		m->id = event->id;
		tell(e, m);
		break;
	case GOSSIP_EVENT_SELF:
		tell_self(e, event->self);
		break;
	case GOSSIP_EVENT_CONFLICT:
		m = xcalloc(1, sizeof(*m));
		m->kind = MESSAGE_CONFLICT;
		tell(e, m);
		break;
	case GOSSIP_EVENT_DEGRADED:
		say(e, LOG_WARNING,
			"overlay: the link to node %016llx carries pings by TCP only: "
			"is UDP port 61420 blocked between us?",
			(unsigned long long)event->id);
		break;
	case GOSSIP_EVENT_MULTICAST:
		tell_bulk(e, BULK_MULTICAST, event);
		break;
	case GOSSIP_EVENT_REQUEST:
		tell_bulk(e, BULK_REQUEST, event);
		break;
	case GOSSIP_EVENT_RESPONSE:
		tell_bulk(e, BULK_RESPONSE, event);
		break;
	}
}

/* --- a turn ---------------------------------------------------------------- */

static void take_effect(struct engine *e, const struct gossip_effect *effect)
{
	switch (effect->kind) {
	case GOSSIP_EFFECT_PACKET:
		send_packet(e, effect);
		break;
	case GOSSIP_EFFECT_LINK_OPEN:
		open_link(e, effect);
		break;
	case GOSSIP_EFFECT_LINK_SEND:
		send_on_link(e, effect);
		break;
	case GOSSIP_EFFECT_LINK_CLOSE:
		close_link(e, effect);
		break;
	case GOSSIP_EFFECT_LINK_ABORT:
		abort_link(e, effect);
		break;
	case GOSSIP_EFFECT_PROBE:
		start_probe(e, effect);
		break;
	}
}

/* Takes out what gossip wants and knows, and sets the timer to its deadline. Effects may fail at
 * once, which gossip hears while they are taken out: its bytes hold until then no longer, so
 * each is done before the next is popped. */
static void turn(struct engine *e)
{
	struct gossip_effect effect;
	struct gossip_event event;

	while (gossip_pop_effect(e->gossip, &effect))
		take_effect(e, &effect);
	while (gossip_pop_event(e->gossip, &event))
		take_event(e, &event);
	if (e->retell && queue_count(e->out) == 0)
		tell_all(e);
	tell_neighbours(e);
	sd_event_source_set_time(e->timer, gossip_deadline(e->gossip) / NSEC_PER_USEC);
	sd_event_source_set_enabled(e->timer, SD_EVENT_ONESHOT);
}

static int on_deadline(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct engine *e = userdata;

	must(gossip_tick(e->gossip, now_ns()));
	return 0;
}

static int on_post(sd_event_source *s, void *userdata)
{
	turn(userdata);
	return 0;
}

/* --- from the daemon ------------------------------------------------------- */

static void fill_snapshot(struct engine *e, struct overlay_snapshot *s)
{
	const struct seal_stats *seal = seal_stats(e->seal);
	struct gossip_member m;
	size_t cursor = 0;

	gossip_stats(e->gossip, &s->stats);
	s->id = e->id;
	s->incarnation = e->incarnation;
	s->transport = e->stats;
	s->transport.forged = seal->forged;
	s->transport.replayed = seal->replayed + seal->stale;
	s->transport.malformed = seal->malformed;
	s->transport.unknown_key = seal->unknown_key;
	s->transport.challenges = seal->challenges;
	s->members = xcalloc(s->stats.n_members + 1, sizeof(*s->members));
	s->nodes = xcalloc(s->stats.n_members + 1, sizeof(*s->nodes));
	while (s->n_members <= s->stats.n_members && gossip_member_next(e->gossip, &cursor, &m)) {
		describe(&m, &s->nodes[s->n_members]);
		m.metadata = NULL;
		s->members[s->n_members++] = m;
	}
	cursor = 0;
	while (s->n_neighbours < ARRAY_SIZE(s->neighbours) &&
		gossip_neighbour_next(e->gossip, &cursor, &s->neighbours[s->n_neighbours]))
		s->n_neighbours++;
}

/* Links of a key that was taken out of the key file end: whoever had only that key is out. */
static void end_stale_links(struct engine *e)
{
	for (struct link *l = e->all; l; l = l->next) {
		if (seal_link_is_current(l->seal) || !l->told_open || l->closing)
			continue;
		sd_event_source_set_time_relative(
			l->timer, randombytes_uniform(STALE_LINK_TIME / NSEC_PER_USEC));
		sd_event_source_set_enabled(l->timer, SD_EVENT_ONESHOT);
	}
}

static void take_command(struct engine *e, struct overlay_message *m)
{
	uint8_t metadata[GOSSIP_METADATA_MAX];
	struct overlay_snapshot *s;

	switch (m->kind) {
	case MESSAGE_KEYS:
		seal_set_keys(e->seal, &m->keys);
		keys_wipe(&m->keys);
		end_stale_links(e);
		break;
	case MESSAGE_ADDRESSES:
		must(gossip_set_metadata(e->gossip, now_ns(), metadata,
			metadata_encode(
				m->own.list, m->own.n, m->own.master, VIPD_VERSION, metadata)));
		break;
	case MESSAGE_CONTACTS:
		must(gossip_set_contacts(e->gossip, now_ns(), m->addresses.list, m->addresses.n));
		break;
	case MESSAGE_WITNESSES:
		must(gossip_set_witnesses(e->gossip, m->addresses.list, m->addresses.n));
		break;
	case MESSAGE_SNAPSHOT:
		s = xcalloc(1, sizeof(*s));
		fill_snapshot(e, s);
		rendezvous_give(m->rendezvous, s);
		break;
	case MESSAGE_STOP:
		e->stop = true;
		sd_event_exit(e->loop, 0);
		break;
	case MESSAGE_NODE:
	case MESSAGE_FORGOTTEN:
	case MESSAGE_SELF:
	case MESSAGE_CONFLICT:
	case MESSAGE_NEIGHBOURS:
	case MESSAGE_LOG:
		break;
	}
}

static int on_commands(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
	struct engine *e = userdata;
	struct overlay_message *m;

	while ((m = queue_pop(e->in))) {
		take_command(e, m);
		free(m);
	}
	return 0;
}

/* What gossip does not take (a neighbour that is gone, a backlog) is lost, as its sender expects. */
static void take_bulk(struct engine *e, const struct overlay_bulk *b)
{
	uint32_t tag;

	switch (b->kind) {
	case BULK_MULTICAST:
		must(gossip_multicast(e->gossip, now_ns(), b->bytes, b->n));
		break;
	case BULK_REQUEST:
		must(gossip_request(e->gossip, now_ns(), b->peer, b->bytes, b->n, &tag));
		break;
	case BULK_RESPONSE:
		must(gossip_respond(e->gossip, now_ns(), b->peer, b->tag, b->bytes, b->n));
		break;
	}
}

/* One at a time, so that pings are not delayed by more than one. */
static int on_bulk(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
	struct engine *e = userdata;
	struct overlay_bulk *b = queue_pop(e->bulk_in);

	if (b)
		take_bulk(e, b);
	free(b);
	return 0;
}

/* --- life ------------------------------------------------------------------ */

static int grow_buffer(int fd, int force, int option)
{
	int n = SOCKET_BUFFER;
	socklen_t len = sizeof(n);

	if (setsockopt(fd, SOL_SOCKET, force, &n, len) < 0) /* needs CAP_NET_ADMIN */
		setsockopt(fd, SOL_SOCKET, option, &n, len);
	getsockopt(fd, SOL_SOCKET, option, &n, &len);
	return n;
}

/* A socket on our address and port. A descriptor or a negative errno. */
static int listen_on(const struct gossip_addr *a, int type)
{
	struct sockaddr_storage ss;
	socklen_t len = to_sockaddr(a, &ss);
	int fd = socket(ss.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), r = 0;
	int one = 1, defer = DEFER_ACCEPT;

	if (fd < 0)
		return -errno;
	if (type == SOCK_STREAM)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (type == SOCK_STREAM)
		setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &defer, sizeof(defer));
	/* An address that is still being checked for a duplicate, say. */
	setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &one, sizeof(one));
	if (a->family == 6) {
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
		setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof(one));
	} else {
		setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof(one));
	}
	if (bind(fd, (struct sockaddr *)&ss, len) < 0 ||
		(type == SOCK_STREAM && listen(fd, SOMAXCONN) < 0))
		r = -errno;
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}

static int open_family(struct engine *e, int i, const struct gossip_addr *self)
{
	int r;

	e->udp[i] = e->tcp[i] = -1;
	if (!self->family)
		return 0;
	e->udp[i] = r = listen_on(self, SOCK_DGRAM);
	if (r < 0)
		return r;
	e->stats.receive_buffer = grow_buffer(r, SO_RCVBUFFORCE, SO_RCVBUF);
	e->stats.send_buffer = grow_buffer(r, SO_SNDBUFFORCE, SO_SNDBUF);
	e->tcp[i] = r = listen_on(self, SOCK_STREAM);
	if (r >= 0)
		r = sd_event_add_io(e->loop, &e->udp_io[i], e->udp[i], EPOLLIN, on_datagrams, e);
	if (r >= 0)
		r = sd_event_source_set_priority(e->udp_io[i], PRIORITY_DATAGRAM);
	if (r >= 0)
		r = sd_event_add_io(e->loop, &e->tcp_io[i], e->tcp[i], EPOLLIN, on_accept, e);
	return r;
}

static int start_gossip(struct engine *e, const struct overlay_options *o)
{
	uint8_t metadata[GOSSIP_METADATA_MAX];
	struct gossip_config config;

	gossip_config_init(&config);
	config.id = o->identity.id;
	config.incarnation = o->identity.incarnation;
	config.seed = o->identity.id ^ o->identity.incarnation;
	config.address = e->self4.family ? e->self4 : e->self6;
	config.metadata = metadata;
	config.n_metadata = metadata_encode(o->own, o->n_own, o->master, VIPD_VERSION, metadata);
	if (o->minority_permille)
		config.minority_permille = o->minority_permille;
	if (o->forget_after)
		config.forget_after = o->forget_after;
	return gossip_new(&e->gossip, &config, now_ns());
}

static int start_sources(struct engine *e)
{
	int r = sd_event_add_time(
		e->loop, &e->timer, CLOCK_MONOTONIC, 0, TIMER_ACCURACY, on_deadline, e);

	if (r >= 0)
		r = sd_event_source_set_priority(e->timer, PRIORITY_TIMER);
	if (r >= 0)
		r = sd_event_add_time(e->loop, &e->accept_again, CLOCK_MONOTONIC, 0, TIMER_ACCURACY,
			on_accept_again, e);
	if (r >= 0)
		r = sd_event_source_set_enabled(e->accept_again, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_io(
			e->loop, &e->commands, queue_fd(e->in), EPOLLIN, on_commands, e);
	if (r >= 0)
		r = sd_event_add_io(e->loop, &e->bulk, queue_fd(e->bulk_in), EPOLLIN, on_bulk, e);
	if (r >= 0)
		r = sd_event_add_post(e->loop, &e->post, on_post, e);
	return r;
}

int engine_new(const struct overlay_options *o, const struct overlay_queues *queues,
	struct engine **ret, const char **ret_what)
{
	struct engine *e = xcalloc(1, sizeof(*e));
	int r;

	e->in = queues->to_thread;
	e->out = queues->from_thread;
	e->bulk_in = queues->bulk_to_thread;
	e->bulk_out = queues->bulk_from_thread;
	e->local_ok = true;
	e->id = o->identity.id;
	e->incarnation = o->identity.incarnation;
	e->udp[0] = e->udp[1] = e->tcp[0] = e->tcp[1] = -1;
	if (o->address.family)
		e->self4 = overlay_address(&o->address, o->port);
	if (o->address6.family)
		e->self6 = overlay_address(&o->address6, o->port);
	*ret_what = "event loop";
	r = sd_event_new(&e->loop);
	e->seal = seal_new(&o->keys, o->cluster, o->identity.id);
	if (r >= 0) {
		*ret_what = "IPv4 port";
		r = open_family(e, 0, &e->self4);
	}
	if (r >= 0) {
		*ret_what = "IPv6 port";
		r = open_family(e, 1, &e->self6);
	}
	if (r >= 0) {
		*ret_what = "gossip";
		r = start_gossip(e, o);
	}
	if (r >= 0)
		r = start_sources(e);
	if (r < 0) {
		engine_free(e);
		return r;
	}
	*ret = e;
	return 0;
}

struct engine *engine_free(struct engine *e)
{
	if (!e)
		return NULL;
	while (e->all)
		link_free(e->all);
	while (e->probes)
		probe_done(e->probes, GOSSIP_PROBE_SILENT);
	for (int i = 0; i < 2; i++) {
		sd_event_source_disable_unref(e->udp_io[i]);
		sd_event_source_disable_unref(e->tcp_io[i]);
		if (e->udp[i] >= 0)
			close(e->udp[i]);
		if (e->tcp[i] >= 0)
			close(e->tcp[i]);
	}
	sd_event_source_disable_unref(e->timer);
	sd_event_source_disable_unref(e->accept_again);
	sd_event_source_disable_unref(e->commands);
	sd_event_source_disable_unref(e->bulk);
	sd_event_source_disable_unref(e->post);
	gossip_free(e->gossip);
	seal_free(e->seal);
	sd_event_unref(e->loop);
	free(e);
	return NULL;
}

void *engine_run(void *engine)
{
	struct engine *e = engine;

	set_ahead(e, true);
	turn(e);
	while (!e->stop) {
		int r = sd_event_prepare(e->loop);
		nsec_t woke;

		if (r == 0)
			r = sd_event_wait(e->loop, UINT64_MAX);
		woke = now_ns();
		if (r < 0 || (r > 0 && sd_event_dispatch(e->loop) < 0)) {
			say(e, LOG_ERR, "overlay: the event loop failed");
			break;
		}
		if (now_ns() - woke > e->stats.longest_turn)
			e->stats.longest_turn = now_ns() - woke;
	}
	return NULL;
}
