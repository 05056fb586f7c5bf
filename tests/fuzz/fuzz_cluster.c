/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A cluster of four whose network is the fuzzer's: each byte says what happens to the oldest thing
 * under way (it arrives, is lost, comes twice, comes late, comes with a byte changed), how much time
 * passes, who dies and who starts again, which connection breaks, and what a kernel answers.
 *
 * Whatever that is: every node stays up at itself, its bounds hold, it says nothing twice in a row,
 * a second tick at the same time does nothing, and equal digests mean equal tables. Streams are
 * encrypted and ordered in life: their bytes come whole, or the connection ends.
 */
#include "gossip/gossip.h"

#include <stdlib.h>
#include <string.h>

enum {
	NODES = 4,
	THINGS_MAX = 128, /* under way; more are lost */
	CONNS_MAX = 64,
	STEPS_MAX = 4096, /* bytes of input that are looked at */
};

enum kind {
	PACKET,
	OPEN,
	STREAM,
	CLOSE,
	PROBE,
};

struct thing {
	enum kind kind;
	unsigned from, to;
	uint32_t handle; /* probe; or index of the connection */
	uint64_t life;   /* which of its sender's: what is answered to an earlier one is not its */
	size_t n;
	uint8_t *bytes;
};

struct conn {
	unsigned node[2];
	uint32_t handle[2];
	bool open[2];
};

struct world {
	const uint8_t *data;
	size_t n, at;
	nsec_t now;
	uint64_t starts; /* of all nodes so far: incarnations */
	bool corrupt;    /* a byte was changed: records may be forged */
	struct gossip *nodes[NODES];
	uint64_t life[NODES]; /* which start it was */
	int told[NODES][NODES];
	struct thing things[THINGS_MAX];
	unsigned n_things;
	struct conn conns[CONNS_MAX];
	unsigned n_conns;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct gossip_addr address(unsigned i)
{
	return (struct gossip_addr){.family = 4, .port = 61420, .bytes = {10, 0, 0, i + 1}};
}

static uint8_t next(struct world *w)
{
	return w->at < w->n ? w->data[w->at++] : 0;
}

static void put(struct world *w, enum kind kind, unsigned from, unsigned to, uint32_t handle,
	const void *bytes, size_t n)
{
	struct thing *t = &w->things[w->n_things];

	if (to >= NODES || w->n_things == THINGS_MAX)
		return;
	*t = (struct thing){.kind = kind,
		.from = from,
		.to = to,
		.handle = handle,
		.life = w->life[from],
		.n = n};
	t->bytes = malloc(n + 1);
	if (!t->bytes)
		abort();
	if (n > 0)
		memcpy(t->bytes, bytes, n);
	w->n_things++;
}

static void take(struct world *w, struct thing *ret)
{
	*ret = w->things[0];
	memmove(w->things, w->things + 1, --w->n_things * sizeof(*ret));
}

static struct conn *conn_find(struct world *w, unsigned node, uint32_t handle, unsigned *ret_end)
{
	for (unsigned i = 0; i < w->n_conns; i++) {
		for (unsigned end = 0; end < 2; end++) {
			if (w->conns[i].open[end] && w->conns[i].node[end] == node &&
				w->conns[i].handle[end] == handle) {
				*ret_end = end;
				return &w->conns[i];
			}
		}
	}
	return NULL;
}

static void effect_do(struct world *w, unsigned i, const struct gossip_effect *e)
{
	unsigned to = e->address.bytes[3] - 1u, end;
	struct conn *c;

	switch (e->kind) {
	case GOSSIP_EFFECT_PACKET:
		if (e->n_bytes > GOSSIP_DATAGRAM_MAX)
			abort();
		put(w, PACKET, i, to, 0, e->bytes, e->n_bytes);
		break;
	case GOSSIP_EFFECT_LINK_OPEN:
		put(w, OPEN, i, to, e->link, NULL, 0);
		break;
	case GOSSIP_EFFECT_LINK_SEND:
		c = conn_find(w, i, e->link, &end);
		if (c)
			put(w, STREAM, i, c->node[!end], c - w->conns, e->bytes, e->n_bytes);
		gossip_link_backlog(w->nodes[i], e->link, 0);
		break;
	case GOSSIP_EFFECT_LINK_CLOSE:
	case GOSSIP_EFFECT_LINK_ABORT:
		c = conn_find(w, i, e->link, &end);
		if (c) {
			c->open[end] = false;
			put(w, CLOSE, i, c->node[!end], c - w->conns, NULL, 0);
		}
		break;
	case GOSSIP_EFFECT_PROBE:
		put(w, PROBE, i, to, e->link, NULL, 0);
		break;
	}
}

static void event_check(struct world *w, unsigned i, const struct gossip_event *e)
{
	uint64_t of = e->id - 1; /* not the low half of a forged one */

	if (e->kind != GOSSIP_EVENT_NODE || of >= NODES)
		return;
	if (of == i && e->status != GOSSIP_STATUS_UP)
		abort();
	if (w->told[i][of] == (int)e->status + 1)
		abort();
	if (e->status == GOSSIP_STATUS_DOWN && e->accuser == 0)
		abort();
	w->told[i][of] = e->status + 1;
}

static void drain(struct world *w, unsigned i)
{
	struct gossip_effect effect;
	struct gossip_event event;

	if (!w->nodes[i])
		return;
	while (gossip_pop_event(w->nodes[i], &event))
		event_check(w, i, &event);
	while (gossip_pop_effect(w->nodes[i], &effect))
		effect_do(w, i, &effect);
}

static void start(struct world *w, unsigned i)
{
	struct gossip_addr contacts[NODES];
	struct gossip_config config;

	gossip_config_init(&config);
	config.id = i + 1;
	config.incarnation = w->life[i] = ++w->starts;
	config.seed = w->starts;
	config.address = address(i);
	config.metadata = "node";
	config.n_metadata = i % 2 ? 4 : 0;
	if (gossip_new(&w->nodes[i], &config, w->now) < 0)
		abort();
	for (unsigned k = 0; k < NODES; k++)
		contacts[k] = address(k);
	gossip_set_contacts(w->nodes[i], w->now, contacts, NODES);
	memset(w->told[i], 0, sizeof(w->told[i]));
	drain(w, i);
}

static void conn_break(struct world *w, struct conn *c, enum gossip_close reason)
{
	for (unsigned end = 0; end < 2; end++) {
		unsigned i = c->node[end];

		if (!c->open[end])
			continue;
		c->open[end] = false;
		if (w->nodes[i])
			gossip_link_closed(w->nodes[i], w->now, c->handle[end], reason);
		drain(w, i);
	}
}

static void end(struct world *w, unsigned i)
{
	for (unsigned k = 0; k < w->n_conns; k++) {
		struct conn *c = &w->conns[k];

		for (unsigned e = 0; e < 2; e++) {
			if (c->open[e] && c->node[e] == i) {
				c->open[e] = false;
				conn_break(w, c, GOSSIP_CLOSE_RESET);
			}
		}
	}
	w->nodes[i] = gossip_free(w->nodes[i]);
}

static void open_arrives(struct world *w, const struct thing *t)
{
	struct gossip_addr from = address(t->from);
	struct conn *c = &w->conns[w->n_conns];
	uint32_t handle;

	if (!w->nodes[t->from] || t->life != w->life[t->from])
		return;
	if (!w->nodes[t->to] || w->n_conns == CONNS_MAX ||
		gossip_link_accepted(w->nodes[t->to], w->now, &from, &handle) < 0) {
		gossip_link_closed(w->nodes[t->from], w->now, t->handle, GOSSIP_CLOSE_REFUSED);
		return;
	}
	w->n_conns++;
	*c = (struct conn){
		.node = {t->from, t->to}, .handle = {t->handle, handle}, .open = {true, true}};
	gossip_link_opened(w->nodes[t->from], w->now, t->handle);
}

static void arrives(struct world *w, const struct thing *t)
{
	struct gossip_addr from = address(t->from);
	struct conn *c = &w->conns[t->handle % CONNS_MAX];
	struct gossip *g = w->nodes[t->to];
	unsigned e = c->node[1] == t->to;

	switch (t->kind) {
	case PACKET:
		if (g)
			gossip_receive(g, w->now, &from, t->bytes, t->n);
		break;
	case OPEN:
		open_arrives(w, t);
		break;
	case STREAM:
		if (g && c->open[e])
			gossip_link_bytes(g, w->now, c->handle[e], t->bytes, t->n);
		break;
	case CLOSE:
		conn_break(w, c, GOSSIP_CLOSE_EOF);
		break;
	case PROBE:
		if (w->nodes[t->from] && t->life == w->life[t->from])
			gossip_probe_result(w->nodes[t->from], w->now, t->handle,
				g ? GOSSIP_PROBE_ANSWERED : GOSSIP_PROBE_REFUSED);
		break;
	}
	drain(w, t->to);
	drain(w, t->from);
}

static void tick(struct world *w)
{
	struct gossip_effect effect;
	struct gossip_event event;

	for (unsigned i = 0; i < NODES; i++) {
		if (!w->nodes[i] || gossip_deadline(w->nodes[i]) > w->now)
			continue;
		gossip_tick(w->nodes[i], w->now);
		drain(w, i);
		gossip_tick(w->nodes[i], w->now);
		if (gossip_pop_effect(w->nodes[i], &effect) ||
			gossip_pop_event(w->nodes[i], &event))
			abort();
	}
}

/* Equal digests mean equal tables: every record, as far as it is seen. */
static void tables_check(struct world *w, unsigned a, unsigned b)
{
	struct gossip_stats sa, sb;
	struct gossip_member m, other;
	size_t cursor = 0;

	gossip_stats(w->nodes[a], &sa);
	gossip_stats(w->nodes[b], &sb);
	if (sa.digest != sb.digest)
		return;
	if (sa.n_members != sb.n_members)
		abort();
	while (gossip_member_next(w->nodes[a], &cursor, &m)) {
		if (!gossip_member_get(w->nodes[b], m.id, &other) ||
			m.incarnation != other.incarnation || m.version != other.version)
			abort();
		if (!w->corrupt &&
			(m.n_neighbours != other.n_neighbours || m.n_lost != other.n_lost ||
				m.n_metadata != other.n_metadata))
			abort();
	}
}

static void check(struct world *w)
{
	for (unsigned i = 0; i < NODES; i++) {
		struct gossip_stats stats;

		if (!w->nodes[i])
			continue;
		gossip_stats(w->nodes[i], &stats);
		if (gossip_member_status(w->nodes[i], i + 1) != GOSSIP_STATUS_UP ||
			stats.n_neighbours > GOSSIP_NEIGHBOURS_MAX || stats.n_memory > 8u << 20 ||
			(!w->corrupt && stats.malformed > 0))
			abort();
		for (unsigned k = 0; k < i; k++) {
			if (w->nodes[k])
				tables_check(w, i, k);
		}
	}
}

/* What happens to the oldest thing under way: most of the time it just arrives. */
static void fate(struct world *w, unsigned what)
{
	struct thing t;

	if (w->n_things == 0)
		return;
	take(w, &t);
	if (what == 1 && t.kind != STREAM) {
		free(t.bytes); /* lost */
		return;
	}
	if (what == 2 && t.kind == PACKET)
		put(w, t.kind, t.from, t.to, t.handle, t.bytes, t.n); /* again, later */
	if (what == 3 && t.kind == PACKET && w->n_things < THINGS_MAX) {
		w->things[w->n_things++] = t; /* overtaken by all others */
		return;
	}
	if (what == 4 && t.kind == PACKET && t.n > 0) {
		t.bytes[next(w) % t.n] ^= 1u << next(w) % 8;
		w->corrupt = true;
	}
	arrives(w, &t);
	free(t.bytes);
}

static void step(struct world *w)
{
	uint8_t b = next(w);
	unsigned arg = b >> 4, i = arg % NODES;

	switch (b & 15) {
	case 0: /* time passes, nothing arrives */
		w->now += (1 + arg * arg) * 5 * NSEC_PER_MSEC;
		break;
	case 1:
	case 2:
	case 3:
	case 4:
		fate(w, b & 15);
		break;
	case 5:
		end(w, i);
		break;
	case 6:
		if (!w->nodes[i])
			start(w, i);
		break;
	case 7:
		if (w->n_conns > 0)
			conn_break(w, &w->conns[next(w) % w->n_conns], GOSSIP_CLOSE_ERROR);
		break;
	case 8:
		if (w->nodes[i])
			gossip_multicast(w->nodes[i], w->now, w->data, w->n < 100 ? w->n : 100);
		drain(w, i);
		break;
	case 9:
		if (w->nodes[i])
			gossip_set_local(w->nodes[i], w->now, arg & 8);
		drain(w, i);
		break;
	default: /* all arrives, and time passes until somebody wants something */
		for (unsigned k = w->n_things; k > 0; k--)
			fate(w, 0);
		w->now += (1 + arg) * NSEC_PER_MSEC;
		break;
	}
	tick(w);
	check(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct world w = {.data = data, .n = n < STEPS_MAX ? n : STEPS_MAX, .now = NSEC_PER_SEC};

	for (unsigned i = 0; i < NODES; i++)
		start(&w, i);
	while (w.at < w.n)
		step(&w);
	for (unsigned i = 0; i < NODES; i++)
		gossip_free(w.nodes[i]);
	for (unsigned i = 0; i < w.n_things; i++)
		free(w.things[i].bytes);
	return 0;
}
