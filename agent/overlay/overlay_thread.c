/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One loop over UDP, TCP and timers around one `struct gossip`. A turn: everything that
 * has arrived is handed over first (datagrams have the highest priority, the timer the lowest),
 * then the deadline, then effects and events are taken out (turn()). So when this thread
 * was starved of CPU, what the others said meanwhile is heard before anyone is judged.
 *
 * What is said to the daemon waits in bounded queues: of nodes, the newest state is told again when
 * there is room (tell_all()); what daemons say to each other is dropped. It logs through the queue: a blocked
 * stderr must not delay a ping.
 *
 * The thread runs with the lowest real-time priority where that is allowed: a node whose processors
 * are all busy still answers in time, and a few packets a second are all that it does. Who floods
 * the port takes that from it (datagrams.c).
 */
#include "agent/overlay/overlay_thread.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "agent/log.h"
#include "agent/overlay/engine.h"
#include "agent/overlay/metadata.h"

void engine_say(struct engine *e, int level, const char *format, ...)
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

void engine_must(int r)
{
	if (r == -ENOMEM)
		abort();
}

/* The lowest of the real-time priorities; where there is none, a priority that counts among the
 * processes of one control group. */
void engine_set_ahead(struct engine *e, bool ahead)
{
	struct sched_param p = {.sched_priority = ahead ? 1 : 0};

	e->ahead = ahead;
	(void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), -10);
	(void)sched_setscheduler(0, ahead ? SCHED_RR : SCHED_OTHER, &p);
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
	metadata_describe(&member, &m->node);
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
		metadata_describe(&member, &m->node);
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

static void say_degraded(struct engine *e, uint64_t id)
{
	char address[IP_ADDR_STRLEN] = "?";
	struct gossip_member member;
	struct ip_addr a;

	if (gossip_member_get(e->gossip, id, &member)) {
		a = overlay_ip(&member.address);
		ip_addr_format(&a, address);
	}
	engine_say(e, LOG_WARNING,
		"overlay: no UDP from %s arrives here, its heartbeats come by TCP: is the port "
		"blocked "
		"for UDP, out there or in here, or has it another key?",
		address);
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
		say_degraded(e, event->id);
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
		datagrams_send(e, effect);
		break;
	case GOSSIP_EFFECT_LINK_OPEN:
		links_open(e, effect);
		break;
	case GOSSIP_EFFECT_LINK_SEND:
		links_send(e, effect);
		break;
	case GOSSIP_EFFECT_LINK_CLOSE:
		links_close(e, effect);
		break;
	case GOSSIP_EFFECT_LINK_ABORT:
		links_abort(e, effect);
		break;
	case GOSSIP_EFFECT_PROBE:
		probes_start(e, effect);
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

	engine_must(gossip_tick(e->gossip, now_ns()));
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
		metadata_describe(&m, &s->nodes[s->n_members]);
		m.metadata = NULL;
		s->members[s->n_members++] = m;
	}
	cursor = 0;
	while (s->n_neighbours < ARRAY_SIZE(s->neighbours) &&
		gossip_neighbour_next(e->gossip, &cursor, &s->neighbours[s->n_neighbours]))
		s->n_neighbours++;
}

static void take_command(struct engine *e, struct overlay_message *m)
{
	uint8_t metadata[GOSSIP_METADATA_MAX];
	struct overlay_snapshot *s;

	switch (m->kind) {
	case MESSAGE_KEYS:
		seal_set_keys(e->seal, &m->keys);
		keys_wipe(&m->keys);
		links_end_stale(e);
		break;
	case MESSAGE_ADDRESSES:
		engine_must(gossip_set_metadata(e->gossip, now_ns(), metadata,
			metadata_encode(
				m->own.list, m->own.n, m->own.master, VIPD_VERSION, metadata)));
		break;
	case MESSAGE_CONTACTS:
		engine_must(gossip_set_contacts(
			e->gossip, now_ns(), m->addresses.list, m->addresses.n));
		break;
	case MESSAGE_WITNESSES:
		engine_must(gossip_set_witnesses(e->gossip, m->addresses.list, m->addresses.n));
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
		engine_must(gossip_multicast(e->gossip, now_ns(), b->bytes, b->n));
		break;
	case BULK_REQUEST:
		engine_must(gossip_request(e->gossip, now_ns(), b->peer, b->bytes, b->n, &tag));
		break;
	case BULK_RESPONSE:
		engine_must(gossip_respond(e->gossip, now_ns(), b->peer, b->tag, b->bytes, b->n));
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

static int open_family(struct engine *e, int i, const struct gossip_addr *self)
{
	int r;

	if (!self->family)
		return 0;
	r = datagrams_open(e, i, self);
	return r < 0 ? r : links_listen(e, i, self);
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
		r = links_init(e);
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
	links_done(e);
	probes_done(e);
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

	engine_set_ahead(e, true);
	turn(e);
	while (!e->stop) {
		int r = sd_event_prepare(e->loop);
		nsec_t woke;

		if (r == 0)
			r = sd_event_wait(e->loop, UINT64_MAX);
		woke = now_ns();
		if (r < 0 || (r > 0 && sd_event_dispatch(e->loop) < 0)) {
			engine_say(e, LOG_ERR, "overlay: the event loop failed");
			break;
		}
		if (now_ns() - woke > e->stats.longest_turn)
			e->stats.longest_turn = now_ns() - woke;
	}
	return NULL;
}
