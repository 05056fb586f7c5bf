/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/lib/paper_cluster.h"

#include <assert.h>
#include <stdio.h>

#include "agent/source/arena.h"

#define POLL (5 * NSEC_PER_SEC)
#define MINUTE (60 * NSEC_PER_SEC)
#define SAID_MAX 1024
#define LATENCY_MIN (500 * NSEC_PER_USEC)
#define LATENCY_SPREAD (3 * NSEC_PER_MSEC)

struct paper_event {
	nsec_t at;
	enum publish_output_kind kind;
	unsigned int from, to;
	uint32_t tag;
	uint8_t *bytes;
	size_t n;
	uint64_t had;  /* multicasts that are kept: who had it, a bit each */
	uint32_t life; /* of who said it */
};

/* The overlay takes a node for up for so long after its end. */
#define NOTICED (NSEC_PER_SEC)

uint64_t paper_random(struct paper *c, uint64_t below)
{
	uint64_t v = c->random += UINT64_C(0x9e3779b97f4a7c15);

	v = (v ^ v >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	v = (v ^ v >> 27) * UINT64_C(0x94d049bb133111eb);
	return (v ^ v >> 31) % below;
}

uint64_t paper_id(unsigned int i)
{
	return (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

/* ---- tables ---- */

struct ip_addr paper_ip(const char *text)
{
	struct ip_addr a;

	if (ip_addr_parse(text, &a) < 0)
		abort();
	return a;
}

static struct ip_addr address(uint8_t family, uint32_t n)
{
	struct ip_addr a = {.family = family};
	size_t at = family == AF_INET ? 0 : 12;

	a.bytes[0] = family == AF_INET ? 10 : 0xfd;
	for (unsigned int i = 1; i < 4; i++)
		a.bytes[at + i] = (uint8_t)(n >> 8 * (3 - i));
	return a;
}

static uint32_t mix(uint32_t a, uint32_t b)
{
	uint64_t v = (uint64_t)a << 32 | b;

	v = (v ^ v >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	return (uint32_t)(v ^ v >> 33) & 0xffff;
}

static void fill_vip(struct vip *vip, struct arena *arena, unsigned int number, unsigned int v,
	size_t n_backends)
{
	uint8_t family = v % 5 == 4 ? AF_INET6 : AF_INET;

	*vip = (struct vip){
		.key = {address(family, 0x100 + v / 2), (uint16_t)(1000 + v), IPPROTO_TCP},
		.backends = arena_alloc(arena, n_backends * sizeof(*vip->backends))};
	if (v % 3)
		vip->name = arena_printf(arena, "name%u.marathon.l4lb.thisdcos.directory", v);
	for (size_t i = 0; i < n_backends; i++) {
		struct vip_backend *b = &vip->backends[vip->n_backends++];
		uint32_t chance = mix(number * 7919 + v, (uint32_t)i);

		b->address = b->local_address = b->agent = address(family, 0x20000 + (uint32_t)i);
		b->port = b->local_port = (uint16_t)(31000 + chance % 2);
		b->weight_reason = (enum weight_reason)(chance % 7 == 0);
		b->weight = b->weight_reason == WEIGHT_HEALTHY;
		if (chance % 3 == 0)
			b->local_port = 80;
		if (chance % 11 == 0)
			b->agent = address(AF_INET, 0x30000 + (uint32_t)i);
		b->task = arena_printf(arena, "task-%u-%zu.%08x", v, i, chance);
		b->framework = "marathon";
		b->framework_id = "5b3c7f5c-8d3a-4c6e-9d0e-6f3f1f5e7a10-0000";
	}
}

struct vip_table *paper_table(unsigned int number)
{
	size_t n_backends = number == PAPER_LARGE ? 200 : number == PAPER_MIDDLE ? 30 : 4;
	struct vip_table *t = xcalloc(1, sizeof(*t));
	unsigned int n_vips = 24;

	t->arena = arena_new();
	t->agents = arena_alloc(t->arena, 8 * sizeof(*t->agents));
	for (uint32_t i = 0; i < 8; i++)
		if (mix(number, i) % 4)
			t->agents[t->n_agents++] = address(AF_INET, 0x20000 + i);
	t->vips = arena_alloc(t->arena, n_vips * sizeof(*t->vips));
	for (int family = 0; family < 2; family++) /* in the order of keys */
		for (unsigned int v = 0; v < n_vips; v++)
			if ((v % 5 == 4) == family && (number > 90 || mix(number, 100 + v) % 5))
				fill_vip(&t->vips[t->n_vips++], t->arena, number, v, n_backends);
	return t;
}

static bool same_backend(const struct vip_backend *a, const struct vip_backend *b)
{
	return a->weight_reason == b->weight_reason && strcmp(a->task, b->task) == 0;
}

bool paper_same(const struct vip_table *a, const struct vip_table *b)
{
	if (!vip_table_equal(a, b))
		return false;
	for (size_t i = 0; i < a->n_vips; i++)
		for (size_t k = 0; k < a->vips[i].n_backends; k++)
			if (!same_backend(&a->vips[i].backends[k], &b->vips[i].backends[k]))
				return false;
	return true;
}

/* The number of this table; -1: none of them. */
static int number_of(const struct vip_table *t)
{
	static struct vip_table *all[PAPER_LARGE + 1];

	for (int k = 0; k <= PAPER_LARGE; k++) {
		if (!all[k])
			all[k] = paper_table((unsigned int)k);
		if (paper_same(all[k], t))
			return k;
	}
	return -1;
}

/* ---- the network ---- */

static void add_event(struct paper *c, struct paper_event e)
{
	uint8_t *bytes = xcalloc(1, e.n);

	memcpy(bytes, e.bytes, e.n);
	e.bytes = bytes;
	e.at = c->now + LATENCY_MIN + paper_random(c, LATENCY_SPREAD);
	if (c->n_events == c->events_allocated) {
		c->events_allocated = 2 * c->events_allocated + 64;
		c->events = xrealloc(c->events, c->events_allocated, sizeof(*c->events));
	}
	c->events[c->n_events++] = e;
}

static bool hears(const struct paper *c, unsigned int a, unsigned int b)
{
	return a != b && c->nodes[b].publish && !(c->split && a % 2 != b % 2);
}

/* As the daemon does: what a node said that is not up, or in an earlier life, is not believed. */
static bool is_heeded(const struct paper *c, const struct paper_event *said)
{
	const struct paper_node *from = &c->nodes[said->from];

	return said->life == from->life && (from->publish || c->now - from->stopped_at < NOTICED);
}

static void cast_to(struct paper *c, struct paper_event *said, unsigned int to)
{
	struct paper_event e = *said;

	if (!hears(c, said->from, to) || said->had >> to & 1 || !is_heeded(c, said))
		return;
	said->had |= UINT64_C(1) << to;
	if (paper_random(c, 1000) < c->cast_loss)
		return;
	e.to = to;
	add_event(c, e);
}

/* What was said within a minute reaches whoever could not hear it then, in any order. */
static void repeat_casts(struct paper *c)
{
	for (size_t i = 0; i < c->n_said; i++)
		for (unsigned int k = 0; k < c->n; k++)
			if (c->now - c->said[i].at < MINUTE)
				cast_to(c, &c->said[i], k);
}

static void multicast(struct paper *c, unsigned int from, const struct publish_output *o)
{
	struct paper_event *said;

	if (c->casts_left == 0)
		return;
	if (c->casts_left != UINT32_MAX)
		c->casts_left--;
	if (c->n_said == SAID_MAX) {
		free(c->said[0].bytes);
		memmove(c->said, c->said + 1, --c->n_said * sizeof(*c->said));
	}
	said = &c->said[c->n_said++];
	*said = (struct paper_event){.kind = o->kind,
		.from = from,
		.at = c->now,
		.bytes = xcalloc(1, o->n),
		.n = o->n,
		.life = c->nodes[from].life};
	memcpy(said->bytes, o->bytes, o->n);
	for (unsigned int i = 0; i < c->n; i++)
		cast_to(c, said, i);
}

static unsigned int index_of(const struct paper *c, uint64_t id)
{
	for (unsigned int i = 0; i < c->n; i++)
		if (paper_id(i) == id)
			return i;
	abort();
}

static void unicast(struct paper *c, unsigned int from, const struct publish_output *o)
{
	struct paper_event e = {.kind = o->kind,
		.from = from,
		.to = index_of(c, o->peer),
		.tag = o->tag,
		.bytes = (uint8_t *)o->bytes,
		.n = o->n};

	if (hears(c, from, e.to) && paper_random(c, 1000) >= c->message_loss)
		add_event(c, e);
}

static void neighbours_changed(struct paper *c)
{
	static const unsigned int steps[] = {1, 2, 3, 6};
	uint64_t ids[2 * ARRAY_SIZE(steps)];

	for (unsigned int i = 0; i < c->n; i++) {
		size_t n = 0;

		for (size_t k = 0; k < ARRAY_SIZE(steps) && steps[k] < c->n; k++) {
			unsigned int next = (i + steps[k]) % c->n,
				     before = (i + c->n - steps[k]) % c->n;

			if (hears(c, i, next))
				ids[n++] = paper_id(next);
			if (before != next && hears(c, i, before))
				ids[n++] = paper_id(before);
		}
		if (c->nodes[i].publish)
			publish_set_neighbours(c->nodes[i].publish, c->now, ids, n);
	}
}

/* ---- what a daemon does ---- */

static bool is_stale(const struct paper *c, unsigned int i)
{
	return c->nodes[i].leads && c->nodes[i].doc != PAPER_TRUTH;
}

static bool any_stale(const struct paper *c)
{
	for (unsigned int i = 0; i < c->n_masters; i++)
		if (is_stale(c, i))
			return true;
	return false;
}

static void put_in_force(struct paper *c, unsigned int i, int number)
{
	struct paper_node *n = &c->nodes[i];
	static __thread char error[128];

	/* While a master wrongly believes that it leads, what it says is as good as any (publish.h). */
	if (!c->error && (number < 0 || (number < n->in_force && !any_stale(c)))) {
		snprintf(error, sizeof(error), "node %u at %.3f s: table %d after %d, %s", i,
			(double)c->now / 1e9, number, n->in_force,
			publish_mode_text(publish_mode(n->publish)));
		c->error = error;
	}
	n->in_force = number;
}

static void lead(struct paper *c, unsigned int i)
{
	struct paper_node *n = &c->nodes[i];
	unsigned int number = n->doc == PAPER_TRUTH ? c->truth : n->doc;
	struct vip_table *t = paper_table(number);

	if (publish_lead(n->publish, c->now, t))
		put_in_force(c, i, (int)number);
	vip_table_free(t);
}

static void take_output(struct paper *c, unsigned int i, const struct publish_output *o)
{
	struct paper_node *n = &c->nodes[i];
	struct publish_status s;
	struct vip_table *t;

	switch (o->kind) {
	case OUTPUT_TERM:
		publish_status(n->publish, &s);
		n->term = s.term;
		break;
	case OUTPUT_MULTICAST:
		multicast(c, i, o);
		break;
	case OUTPUT_REQUEST:
	case OUTPUT_RESPONSE:
		unicast(c, i, o);
		break;
	case OUTPUT_TABLE:
		t = publish_table(n->publish, false);
		put_in_force(c, i, number_of(t));
		vip_table_free(t);
		break;
	case OUTPUT_LEAD:
		n->poll_at = c->now;
		break;
	case OUTPUT_MODE:
		if (publish_mode(n->publish) == PUBLISH_POLLING && !n->leads)
			n->poll_at = c->now + paper_random(c, POLL / 2);
		break;
	case OUTPUT_CONFIRMED:
		break;
	}
}

static void drain(struct paper *c, unsigned int i)
{
	struct publish_output o;

	while (c->nodes[i].publish && publish_pop(c->nodes[i].publish, &o))
		take_output(c, i, &o);
}

static void poll_master(struct paper *c, unsigned int i)
{
	struct paper_node *n = &c->nodes[i];

	n->poll_at = c->now + POLL - paper_random(c, POLL / 10);
	if (n->leads) {
		lead(c, i);
		return;
	}
	if (n->may_lead)
		publish_stop_leading(n->publish, c->now);
	if (publish_mode(n->publish) != PUBLISH_POLLING)
		return;
	c->n_polls++;
	publish_polled(n->publish, c->now);
	put_in_force(c, i, (int)c->truth);
}

void paper_poll_now(struct paper *c, unsigned int i)
{
	poll_master(c, i);
	drain(c, i);
}

/* ---- time ---- */

static nsec_t next_time(const struct paper *c)
{
	nsec_t t = UINT64_MAX;

	for (size_t i = 0; i < c->n_events; i++)
		if (c->events[i].at < t)
			t = c->events[i].at;
	for (unsigned int i = 0; i < c->n; i++) {
		const struct paper_node *n = &c->nodes[i];

		if (n->publish && n->poll_at < t)
			t = n->poll_at;
		if (n->publish && publish_deadline(n->publish) < t)
			t = publish_deadline(n->publish);
	}
	return t < c->now ? c->now : t;
}

static void deliver(struct paper *c, struct paper_event e)
{
	struct paper_node *to = &c->nodes[e.to];

	if (hears(c, e.from, e.to) && e.kind == OUTPUT_MULTICAST)
		publish_take_multicast(to->publish, c->now, paper_id(e.from), e.bytes, e.n);
	else if (hears(c, e.from, e.to) && e.kind == OUTPUT_REQUEST)
		publish_take_request(to->publish, c->now, paper_id(e.from), e.tag, e.bytes, e.n);
	else if (hears(c, e.from, e.to))
		publish_take_response(to->publish, c->now, paper_id(e.from), e.bytes, e.n);
	free(e.bytes);
	drain(c, e.to);
}

static void step(struct paper *c)
{
	for (size_t i = 0; i < c->n_events;) {
		struct paper_event e = c->events[i];

		if (e.at > c->now) {
			i++;
			continue;
		}
		c->events[i] = c->events[--c->n_events];
		deliver(c, e);
	}
	for (unsigned int i = 0; i < c->n; i++) {
		struct paper_node *n = &c->nodes[i];

		if (n->publish && n->poll_at <= c->now)
			poll_master(c, i);
		if (n->publish && publish_deadline(n->publish) <= c->now)
			publish_tick(n->publish, c->now);
		drain(c, i);
	}
}

void paper_run(struct paper *c, nsec_t duration)
{
	nsec_t end = c->now + duration;

	for (nsec_t t = next_time(c); t <= end; t = next_time(c)) {
		unsigned int same = t == c->now;

		c->now = t + same; /* a deadline that does not move must not stop the clock */
		step(c);
	}
	c->now = end;
}

/* ---- what happens ---- */

void paper_not_leading(struct paper *c, unsigned int i)
{
	c->nodes[i].leads = false;
	c->nodes[i].poll_at = c->now;
}

void paper_lead_other(struct paper *c, unsigned int i, unsigned int table)
{
	c->nodes[i].leads = true;
	c->nodes[i].doc = table;
	c->nodes[i].poll_at = c->now;
}

void paper_lead(struct paper *c, unsigned int i, unsigned int table)
{
	for (unsigned int k = 0; k < c->n; k++)
		if (k != i && c->nodes[k].leads)
			paper_not_leading(c, k);
	c->truth = table;
	if (!c->nodes[i].leads)
		c->nodes[i].poll_at = c->now;
	c->nodes[i].leads = true;
	c->nodes[i].doc = PAPER_TRUTH;
}

void paper_stop(struct paper *c, unsigned int i)
{
	c->nodes[i].publish = publish_free(c->nodes[i].publish);
	c->nodes[i].stopped_at = c->now;
	neighbours_changed(c);
}

static bool believes(void *userdata, uint64_t node, bool speaks)
{
	const struct paper *c = userdata;
	unsigned int i = index_of(c, node);

	return i < c->n_masters &&
	       (!speaks || c->nodes[i].publish || c->now - c->nodes[i].stopped_at < NOTICED);
}

void paper_start(struct paper *c, unsigned int i)
{
	struct paper_node *n = &c->nodes[i];
	struct publish_options options = {.node = paper_id(i),
		.term = n->term,
		.may_lead = n->may_lead,
		.seed = paper_random(c, UINT64_MAX),
		.believes = believes,
		.userdata = c};

	n->publish = publish_new(&options, c->now);
	n->life++;
	n->poll_at = c->now + paper_random(c, 200 * NSEC_PER_MSEC);
	for (size_t k = 0; k < c->n_said; k++) /* a new process gets them again */
		c->said[k].had &= ~(UINT64_C(1) << i);
	neighbours_changed(c);
	repeat_casts(c);
}

void paper_split(struct paper *c, bool split)
{
	c->split = split;
	neighbours_changed(c);
	repeat_casts(c);
}

static unsigned int leader_of(const struct paper *c)
{
	for (unsigned int i = 0; i < c->n_masters; i++)
		if (c->nodes[i].leads && c->nodes[i].doc == PAPER_TRUTH)
			return i;
	return 0;
}

/* Another master leads. The old one may go on believing that it does, with what it knew; but not where
 * it would be the only one that is heard, for then what it says is believed. */
static void change_leader(struct paper *c)
{
	unsigned int old = leader_of(c), new = (unsigned int)paper_random(c, c->n_masters);
	bool overlap = paper_random(c, 2) && !c->split && c->nodes[new].publish;

	if (new == old)
		return;
	for (unsigned int i = 0; i < c->n_masters; i++)
		if (c->nodes[i].leads && i != old)
			paper_not_leading(c, i);
	c->nodes[old].doc = c->truth;
	if (!overlap)
		paper_not_leading(c, old);
	c->truth++;
	paper_lead_other(c, new, PAPER_TRUTH);
}

static void end_overlap(struct paper *c)
{
	for (unsigned int i = 0; i < c->n_masters; i++)
		if (is_stale(c, i))
			paper_not_leading(c, i);
}

static void random_fault(struct paper *c)
{
	unsigned int i = (unsigned int)paper_random(c, c->n);

	switch (paper_random(c, 8)) {
	case 0:
		change_leader(c);
		break;
	case 1:
		if (c->nodes[i].publish)
			paper_stop(c, i);
		break;
	case 2:
	case 3:
		/* One that restarts claims last: a stale master is not given that. */
		if (!c->nodes[i].publish && !is_stale(c, i))
			paper_start(c, i);
		break;
	case 4:
		paper_split(c, !c->split && paper_random(c, 2));
		break;
	case 5:
		c->cast_loss = (unsigned int)paper_random(c, 3) * 150;
		c->message_loss = (unsigned int)paper_random(c, 3) * 150;
		break;
	default:
		c->truth += c->truth < PAPER_MIDDLE - 2;
	}
}

void paper_random_faults(struct paper *c, nsec_t duration)
{
	nsec_t end = c->now + duration;

	paper_lead(c, 0, 0);
	paper_run(c, 10 * NSEC_PER_SEC);
	while (c->now < end && c->truth < PAPER_MIDDLE - 3) {
		random_fault(c);
		paper_run(c, paper_random(c, 12 * NSEC_PER_SEC));
		end_overlap(c);
	}
	c->cast_loss = c->message_loss = 0;
	paper_split(c, false);
	for (unsigned int i = 0; i < c->n; i++)
		if (!c->nodes[i].publish)
			paper_start(c, i);
}

/* ---- to look at ---- */

uint64_t paper_polls(const struct paper *c)
{
	return c->n_polls;
}

void paper_reset_polls(struct paper *c)
{
	c->n_polls = 0;
}

bool paper_holds(const struct paper *c, unsigned int i, const struct vip_table *t)
{
	return c->nodes[i].in_force >= 0 && c->nodes[i].in_force == number_of(t);
}

bool paper_all_equal(const struct paper *c)
{
	for (unsigned int i = 0; i < c->n; i++)
		if (c->nodes[i].in_force != (int)c->truth)
			return false;
	return true;
}

struct paper *paper_new(unsigned int n, unsigned int n_masters, uint64_t seed)
{
	struct paper *c = xcalloc(1, sizeof(*c));

	assert(n <= 64);
	c->n = n;
	c->n_masters = n_masters;
	c->random = seed;
	c->casts_left = UINT32_MAX;
	c->now = 100 * NSEC_PER_SEC;
	c->nodes = xcalloc(n, sizeof(*c->nodes));
	c->said = xcalloc(SAID_MAX, sizeof(*c->said));
	for (unsigned int i = 0; i < n; i++) {
		c->nodes[i].in_force = -1;
		c->nodes[i].may_lead = i < n_masters;
		c->nodes[i].doc = PAPER_TRUTH;
		paper_start(c, i);
	}
	return c;
}

struct paper *paper_free(struct paper *c)
{
	for (unsigned int i = 0; i < c->n; i++)
		publish_free(c->nodes[i].publish);
	for (size_t i = 0; i < c->n_events; i++)
		free(c->events[i].bytes);
	for (size_t i = 0; i < c->n_said; i++)
		free(c->said[i].bytes);
	free(c->events);
	free(c->said);
	free(c->nodes);
	free(c);
	return NULL;
}
