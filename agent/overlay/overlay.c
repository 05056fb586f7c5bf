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
/* A snapshot of 10,000 members takes a few milliseconds. */
#define SNAPSHOT_TIMEOUT (250 * NSEC_PER_MSEC)

struct overlay {
	struct queue *to_thread, *from_thread;
	struct engine *engine;
	pthread_t thread;
	bool running;
	struct overlay_handler handler;
	sd_event_source *io;
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
	if (queue_push(o->to_thread, m))
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

void overlay_set_addresses(struct overlay *o, const struct ip_addr *own, size_t n)
{
	struct overlay_message *m = message_new(MESSAGE_ADDRESSES);

	m->own.n = n < OVERLAY_ADDRESSES_MAX ? n : OVERLAY_ADDRESSES_MAX;
	memcpy(m->own.list, own, m->own.n * sizeof(*own));
	send_message(o, m);
}

struct overlay_snapshot *overlay_snapshot(struct overlay *o)
{
	struct overlay_message *m = message_new(MESSAGE_SNAPSHOT);
	struct overlay_rendezvous *r = rendezvous_new();

	m->rendezvous = r;
	if (!queue_push(o->to_thread, m))
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

	while ((m = queue_pop(o->from_thread))) {
		take_message(o, m);
		message_free(m);
	}
	return 0;
}

/* --- life ------------------------------------------------------------------ */

int overlay_new(sd_event *loop, const struct overlay_options *options,
	const struct overlay_handler *handler, struct overlay **ret, const char **ret_what)
{
	struct overlay *o = xcalloc(1, sizeof(*o));
	int r;

	o->handler = *handler;
	o->to_thread = queue_new(QUEUE_MAX);
	o->from_thread = queue_new(QUEUE_MAX);
	*ret_what = "queues";
	r = o->to_thread && o->from_thread ? 0 : -EMFILE;
	if (r >= 0)
		r = sd_event_add_io(
			loop, &o->io, queue_fd(o->from_thread), EPOLLIN, on_messages, o);
	if (r >= 0)
		r = engine_new(options, o->to_thread, o->from_thread, &o->engine, ret_what);
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
	queue_free(o->to_thread, message_free);
	queue_free(o->from_thread, message_free);
	free(o);
	return NULL;
}
