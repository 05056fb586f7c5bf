/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The TCP connections that carry gossip's links, sealed (seal.c).
 *
 * A connection is dialled for gossip, which has given it a handle, or accepted, and then gets one once the other
 * side has proved the key: until then gossip does not know of it.
 *
 * Bounds. GOSSIP_LINKS_MAX with a handle, GREETINGS_MAX that have not proved the key yet (the oldest
 * goes), LINK_BACKLOG bytes each to send (then the link is closed).
 */
#include "agent/overlay/engine.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sodium.h>
#include <sys/socket.h>

#define HASH_FUNCTION HASH_FNV
#include <uthash.h>

#define GREETINGS_MAX 64
/* Time for both greetings: one round trip, and a busy machine. */
#define GREETING_TIME (2 * NSEC_PER_SEC)
#define CONNECT_TIME (2 * NSEC_PER_SEC)
#define LINK_BACKLOG (1024 * 1024)
#define READ_CHUNK 65536
/* No accept for so long when no descriptor is left. */
#define ACCEPT_PAUSE (100 * NSEC_PER_MSEC)
/* After a rotation, links of a key that is gone end within this time, not all at once. */
#define STALE_LINK_TIME (10 * NSEC_PER_SEC)

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
		engine_must(gossip_link_closed(e->gossip, now_ns(), handle, reason));
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
		engine_must(gossip_link_opened(e->gossip, now, l->handle));
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
	engine_must(gossip_link_bytes(l->engine->gossip, now_ns(), l->handle, bytes, n));
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

/* --- what gossip wants ------------------------------------------------------ */

void links_open(struct engine *e, const struct gossip_effect *effect)
{
	struct link *l;
	int fd = sockets_dial(e, &effect->address);

	if (fd < 0) {
		path_used(e, -fd);
		engine_must(
			gossip_link_closed(e->gossip, now_ns(), effect->link, close_reason(-fd)));
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

void links_send(struct engine *e, const struct gossip_effect *effect)
{
	struct link *l = find_link(e, effect->link);

	if (!l || !l->told_open)
		return;
	seal_link_send(l->seal, effect->bytes, effect->n_bytes);
	link_flush(l);
}

void links_close(struct engine *e, const struct gossip_effect *effect)
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
void links_abort(struct engine *e, const struct gossip_effect *effect)
{
	struct linger reset = {.l_onoff = 1};
	struct link *l = find_link(e, effect->link);

	if (!l)
		return;
	setsockopt(l->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	link_free(l);
}

/* --- those that come --------------------------------------------------------- */

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
	l->from = sockets_from_sockaddr(&ss);
	l->seal = seal_link_new(e->seal, false);
	for (end = &e->greetings; *end; end = &(*end)->next_greeting)
		;
	*end = l;
	e->n_greetings++;
	if (set_up_link(l, EPOLLIN, GREETING_TIME) < 0)
		link_broke(l, GOSSIP_CLOSE_ERROR);
	return 0;
}

int links_listen(struct engine *e, int i, const struct gossip_addr *self)
{
	int r = sockets_listen(self, SOCK_STREAM);

	if (r < 0)
		return r;
	e->tcp[i] = r;
	return sd_event_add_io(e->loop, &e->tcp_io[i], e->tcp[i], EPOLLIN, on_accept, e);
}

/* --- all of them ------------------------------------------------------------- */

void links_end_stale(struct engine *e)
{
	for (struct link *l = e->all; l; l = l->next) {
		if (seal_link_is_current(l->seal) || !l->told_open || l->closing)
			continue;
		sd_event_source_set_time_relative(
			l->timer, randombytes_uniform(STALE_LINK_TIME / NSEC_PER_USEC));
		sd_event_source_set_enabled(l->timer, SD_EVENT_ONESHOT);
	}
}

int links_init(struct engine *e)
{
	int r = sd_event_add_time(
		e->loop, &e->accept_again, CLOCK_MONOTONIC, 0, TIMER_ACCURACY, on_accept_again, e);

	return r < 0 ? r : sd_event_source_set_enabled(e->accept_again, SD_EVENT_OFF);
}

void links_done(struct engine *e)
{
	while (e->all)
		link_free(e->all);
}
