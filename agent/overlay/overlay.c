/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The daemon's side of the overlay: starts the thread, and turns its messages into calls. */
#include "agent/overlay/overlay.h"

#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <time.h>

#include "agent/log.h"
#include "agent/overlay/overlay_thread.h"
#include "agent/util.h"

/* Messages in each direction. To the thread they are few; from it, at worst one for each of
 * some thousand nodes that go down at once. What finds no place from the thread is dropped and
 * counted, and once there is room the state of all nodes is told anew. */
#define QUEUE_MAX 16384
/* Of bulk: at most so many times 32 kB wait in each direction. */
#define BULK_MAX 256
/* A snapshot of 10,000 members takes a few milliseconds. */
#define SNAPSHOT_TIMEOUT (250 * NSEC_PER_MSEC)

struct overlay {
	sd_event *loop;
	struct overlay_queues queues;
	struct engine *engine;
	pthread_t thread;
	bool running;
	struct overlay_handler handler;
	sd_event_source *io, *bulk_io;
};

struct gossip_addr overlay_address(const struct ip_addr *a, uint16_t port)
{
	struct gossip_addr g = {.family = a->family == AF_INET6 ? 6 : 4, .port = port};

	memcpy(g.bytes, a->bytes, sizeof(g.bytes));
	return g;
}

struct ip_addr overlay_ip(const struct gossip_addr *a)
{
	struct ip_addr ip = {.family = a->family == 6 ? AF_INET6 : AF_INET};

	memcpy(ip.bytes, a->bytes, sizeof(ip.bytes));
	return ip;
}

/* --- a snapshot handed over ------------------------------------------------ */

struct overlay_rendezvous {
	pthread_mutex_t lock;
	pthread_cond_t given;
	bool done, alone; /* the snapshot is there; the other side has let go */
	struct overlay_snapshot *snapshot;
};

struct overlay_rendezvous *rendezvous_new(void)
{
	struct overlay_rendezvous *r = xcalloc(1, sizeof(*r));
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->given, &attr);
	pthread_condattr_destroy(&attr);
	return r;
}

static void rendezvous_free(struct overlay_rendezvous *r)
{
	overlay_snapshot_free(r->snapshot);
	pthread_cond_destroy(&r->given);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

void rendezvous_give(struct overlay_rendezvous *r, struct overlay_snapshot *snapshot)
{
	bool last;

	pthread_mutex_lock(&r->lock);
	r->snapshot = snapshot;
	r->done = true;
	last = r->alone;
	r->alone = true;
	pthread_cond_signal(&r->given);
	pthread_mutex_unlock(&r->lock);
	if (last)
		rendezvous_free(r);
}

struct overlay_snapshot *rendezvous_take(struct overlay_rendezvous *r, nsec_t timeout)
{
	nsec_t until = now_ns() + timeout;
	struct timespec ts = {(time_t)(until / NSEC_PER_SEC), (long)(until % NSEC_PER_SEC)};
	struct overlay_snapshot *ret;
	bool last;

	pthread_mutex_lock(&r->lock);
	while (!r->done && pthread_cond_timedwait(&r->given, &r->lock, &ts) == 0)
		;
	ret = STEAL(r->snapshot);
	last = r->alone;
	r->alone = true;
	pthread_mutex_unlock(&r->lock);
	if (last)
		rendezvous_free(r);
	return ret;
}

struct overlay_snapshot *overlay_snapshot_free(struct overlay_snapshot *s)
{
	if (!s)
		return NULL;
	free(s->members);
	free(s->nodes);
	free(s);
	return NULL;
}

/* --- messages -------------------------------------------------------------- */

static bool send_message(struct overlay *o, struct overlay_message *m)
{
	if (queue_push(o->queues.to_thread, m))
		return true;
	free(m);
	return false;
}

static struct overlay_message *message_new(enum overlay_message_kind kind)
{
	struct overlay_message *m = xcalloc(1, sizeof(*m));

	m->kind = kind;
	return m;
}

static void message_free(void *item)
{
	struct overlay_message *m = item;

	if (m->kind == MESSAGE_SNAPSHOT)
		rendezvous_give(m->rendezvous, NULL);
	sodium_memzero(m, sizeof(*m));
	free(m);
}

void overlay_set_keys(struct overlay *o, const struct keys *keys)
{
	struct overlay_message *m = message_new(MESSAGE_KEYS);

	m->keys = *keys;
	send_message(o, m);
}

static void send_addresses(
	struct overlay *o, enum overlay_message_kind kind, const struct gossip_addr *list, size_t n)
{
	struct overlay_message *m = message_new(kind);

	m->addresses.n = n < GOSSIP_CONTACTS_MAX ? n : GOSSIP_CONTACTS_MAX;
	memcpy(m->addresses.list, list, m->addresses.n * sizeof(*list));
	send_message(o, m);
}

void overlay_set_contacts(struct overlay *o, const struct gossip_addr *contacts, size_t n)
{
	send_addresses(o, MESSAGE_CONTACTS, contacts, n);
}

void overlay_set_witnesses(struct overlay *o, const struct gossip_addr *witnesses, size_t n)
{
	send_addresses(o, MESSAGE_WITNESSES, witnesses,
		n < GOSSIP_WITNESSES_MAX ? n : GOSSIP_WITNESSES_MAX);
}

void overlay_set_addresses(struct overlay *o, const struct ip_addr *own, size_t n, bool master)
{
	struct overlay_message *m = message_new(MESSAGE_ADDRESSES);

	m->own.n = n < OVERLAY_ADDRESSES_MAX ? n : OVERLAY_ADDRESSES_MAX;
	memcpy(m->own.list, own, m->own.n * sizeof(*own));
	m->own.master = master;
	send_message(o, m);
}

/* What finds no place is dropped, like a packet. */
static void send_bulk(struct overlay *o, enum overlay_bulk_kind kind, uint64_t peer, uint32_t tag,
	const uint8_t *bytes, size_t n)
{
	struct overlay_bulk *b = xcalloc(1, sizeof(*b) + n);

	*b = (struct overlay_bulk){.kind = kind, .peer = peer, .tag = tag, .n = n};
	memcpy(b->bytes, bytes, n);
	if (!queue_push(o->queues.bulk_to_thread, b))
		free(b);
}

void overlay_multicast(struct overlay *o, const uint8_t *bytes, size_t n)
{
	send_bulk(o, BULK_MULTICAST, 0, 0, bytes, n);
}

void overlay_request(struct overlay *o, uint64_t neighbour, const uint8_t *bytes, size_t n)
{
	send_bulk(o, BULK_REQUEST, neighbour, 0, bytes, n);
}

void overlay_respond(
	struct overlay *o, uint64_t neighbour, uint32_t tag, const uint8_t *bytes, size_t n)
{
	send_bulk(o, BULK_RESPONSE, neighbour, tag, bytes, n);
}

struct overlay_snapshot *overlay_snapshot(struct overlay *o)
{
	struct overlay_message *m = message_new(MESSAGE_SNAPSHOT);
	struct overlay_rendezvous *r = rendezvous_new();

	m->rendezvous = r;
	if (!queue_push(o->queues.to_thread, m))
		message_free(m); /* gives nothing, at once */
	return rendezvous_take(r, SNAPSHOT_TIMEOUT);
}

static void take_message(struct overlay *o, const struct overlay_message *m)
{
	const struct overlay_handler *h = &o->handler;

	switch (m->kind) {
	case MESSAGE_NODE:
		h->node(h->userdata, &m->node);
		break;
	case MESSAGE_FORGOTTEN:
		h->forgotten(h->userdata, m->id);
		break;
	case MESSAGE_SELF:
		h->self(h->userdata, m->self);
		break;
	case MESSAGE_CONFLICT:
		h->conflict(h->userdata);
		break;
	case MESSAGE_NEIGHBOURS:
		h->neighbours(h->userdata, m->neighbours.ids, m->neighbours.n);
		break;
	case MESSAGE_LOG:
		log_at(m->log.level, "%s", m->log.text);
		break;
	case MESSAGE_KEYS:
	case MESSAGE_CONTACTS:
	case MESSAGE_WITNESSES:
	case MESSAGE_ADDRESSES:
	case MESSAGE_SNAPSHOT:
	case MESSAGE_STOP:
		break;
	}
}

static int on_messages(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
	struct overlay *o = userdata;
	struct overlay_message *m;

	while ((m = queue_pop(o->queues.from_thread))) {
		take_message(o, m);
		message_free(m);
	}
	return 0;
}

static void take_bulk(struct overlay *o, const struct overlay_bulk *b)
{
	const struct overlay_handler *h = &o->handler;

	switch (b->kind) {
	case BULK_MULTICAST:
		h->multicast(h->userdata, b->peer, b->bytes, b->n);
		break;
	case BULK_REQUEST:
		h->request(h->userdata, b->peer, b->tag, b->bytes, b->n);
		break;
	case BULK_RESPONSE:
		h->response(h->userdata, b->peer, b->bytes, b->n);
		break;
	}
}

/* One at a time: each may take a millisecond or two, and others wait for the loop too. */
static int on_bulk(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
	struct overlay *o = userdata;
	struct overlay_bulk *b = queue_pop(o->queues.bulk_from_thread);

	if (b)
		take_bulk(o, b);
	free(b);
	return 0;
}

/* --- life ------------------------------------------------------------------ */

static int open_queues(struct overlay *o)
{
	struct overlay_queues *q = &o->queues;
	int r;

	q->to_thread = queue_new(QUEUE_MAX);
	q->from_thread = queue_new(QUEUE_MAX);
	q->bulk_to_thread = queue_new(BULK_MAX);
	q->bulk_from_thread = queue_new(BULK_MAX);
	if (!q->to_thread || !q->from_thread || !q->bulk_to_thread || !q->bulk_from_thread)
		return -EMFILE;
	r = sd_event_add_io(o->loop, &o->io, queue_fd(q->from_thread), EPOLLIN, on_messages, o);
	if (r >= 0)
		r = sd_event_add_io(
			o->loop, &o->bulk_io, queue_fd(q->bulk_from_thread), EPOLLIN, on_bulk, o);
	return r;
}

int overlay_new(sd_event *loop, const struct overlay_options *options,
	const struct overlay_handler *handler, struct overlay **ret, const char **ret_what)
{
	struct overlay *o = xcalloc(1, sizeof(*o));
	int r;

	o->handler = *handler;
	o->loop = loop;
	*ret_what = "queues";
	r = open_queues(o);
	if (r >= 0)
		r = engine_new(options, &o->queues, &o->engine, ret_what);
	if (r >= 0) {
		*ret_what = "thread";
		r = -pthread_create(&o->thread, NULL, engine_run, o->engine);
		o->running = r == 0;
	}
	if (r < 0) {
		overlay_free(o);
		return r;
	}
	*ret = o;
	return 0;
}

struct overlay *overlay_free(struct overlay *o)
{
	if (!o)
		return NULL;
	if (o->running) {
		while (!send_message(o, message_new(MESSAGE_STOP)))
			usleep(1000);
		pthread_join(o->thread, NULL);
	}
	engine_free(o->engine);
	sd_event_source_disable_unref(o->io);
	sd_event_source_disable_unref(o->bulk_io);
	queue_free(o->queues.to_thread, message_free);
	queue_free(o->queues.from_thread, message_free);
	queue_free(o->queues.bulk_to_thread, free);
	queue_free(o->queues.bulk_from_thread, free);
	free(o);
	return NULL;
}
