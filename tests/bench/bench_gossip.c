/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the overlay costs one node's processor, in clusters of 100, 1,000 and 10,000:
 *
 *	beat received, sent    a heartbeat
 *	change                 a record's change that comes as news: applied, passed on
 *	edge                   the reachability of all members after an edge went or came
 *	storm                  30 % of the members lost at once: each severed link's share
 *	forget                 the same, all due to be forgotten: the longest call
 *	idle                   a minute in which nothing happens
 *
 * The node is one instance of the library; this program speaks for its neighbours. Beside them, in the
 * same run: what the kernel takes to carry the same datagrams from one socket to another (without
 * that nothing is said to anyone), and a walk over the whole table, which is what an update
 * costs who keeps no tree. Times are the best of some rounds; what counts is the ratios.
 */
#include "gossip/wire.h"
#include "tests/sim/sim.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	ROUNDS = 5,
	BEATS = 20000,
	CHANGES = 4000,
	EDGES = 20000,
	IDLE_SECONDS = 60,
	FORGET_SECONDS = 600,
	VERSION = 10,
};

static const unsigned sizes[] = {100, 1000, 10000};
enum { N_SIZES = sizeof(sizes) / sizeof(sizes[0]) };

/* What is measured, for each size; nanoseconds. */
struct costs {
	double beat_in, beat_out, change, edge, walk, storm, forget, idle;
	double steps;    /* members visited per edge */
	double kernel;   /* of one datagram of a heartbeat's size, sent and received */
	double n_idle;   /* datagrams in and out in a second of idling */
	unsigned n_down; /* of the storm's victims, reported */
	unsigned n_lost;
};

struct world {
	unsigned n;
	uint64_t (*neighbours)[GOSSIP_NEIGHBOURS_MAX];
	unsigned *n_of;
	uint64_t *versions;
	struct gossip *g;
	nsec_t now;
	uint16_t seq[GOSSIP_NEIGHBOURS_MAX],
		echo[GOSSIP_NEIGHBOURS_MAX]; /* ours to it, its to us */
	unsigned next_beat, next_news;       /* neighbours whose turn it is */
	size_t n_out, n_beat;
	bool clocked;   /* each tick is, for */
	double longest; /* the longest */
	unsigned n_down;
	uint64_t random;
};

static uint64_t below(struct world *w, uint64_t n)
{
	w->random = w->random * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (w->random >> 33) % n;
}

static double cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* ---- The node, and its neighbours' voices ---- */

static unsigned neighbour_of(const struct world *w, const struct gossip_addr *a)
{
	for (unsigned k = 0; k < w->n_of[0]; k++) {
		struct gossip_addr other;

		sim_address(sim_index(w->neighbours[0][k]), &other);
		if (gossip_addr_equal(a, &other))
			return k;
	}
	return GOSSIP_NEIGHBOURS_MAX;
}

/* What the node says: its heartbeats' numbers are to be echoed. */
static void drain(struct world *w)
{
	struct gossip_effect e;
	struct gossip_event event;

	while (gossip_pop_event(w->g, &event))
		w->n_down += event.kind == GOSSIP_EVENT_NODE && event.status == GOSSIP_STATUS_DOWN;
	while (gossip_pop_effect(w->g, &e)) {
		struct reader r, body;
		struct wire_head head;
		struct wire_beat beat;
		uint8_t type;
		unsigned k = neighbour_of(w, &e.address);

		w->n_out += e.kind == GOSSIP_EFFECT_PACKET;
		reader_init(&r, e.bytes, e.n_bytes);
		if (e.kind != GOSSIP_EFFECT_PACKET || k == GOSSIP_NEIGHBOURS_MAX ||
			!wire_head_read(&r, &head) || wire_message_next(&r, &type, &body) <= 0 ||
			type != WIRE_BEAT || !wire_beat_read(&body, &beat))
			continue;
		w->echo[k] = beat.seq;
		w->n_beat = e.n_bytes;
	}
}

struct datagram {
	unsigned from; /* neighbour */
	struct writer w;
	uint8_t bytes[GOSSIP_DATAGRAM_MAX];
};

static void datagram_begin(struct world *w, struct datagram *d, unsigned *turn)
{
	d->from = *turn;
	*turn = (*turn + 1) % w->n_of[0];
	writer_init(&d->w, d->bytes, sizeof(d->bytes));
	wire_head_write(&d->w,
		&(struct wire_head){.sender = w->neighbours[0][d->from], .boot = wire_boot(1)});
}

static void datagram_end(struct world *w, struct datagram *d)
{
	struct gossip_addr from;

	sim_address(sim_index(w->neighbours[0][d->from]), &from);
	gossip_receive(w->g, w->now, &from, d->bytes, d->w.n);
}

static void beat(struct world *w)
{
	struct gossip_stats stats;
	struct datagram d;

	gossip_stats(w->g, &stats);
	datagram_begin(w, &d, &w->next_beat);
	write_message_begin(&d.w, WIRE_BEAT);
	wire_beat_write(&d.w, &(struct wire_beat){.seq = ++w->seq[d.from],
				      .echo = w->echo[d.from],
				      .next_ms = 250 * w->n_of[0],
				      .digest = stats.digest ^ stats.digest >> 32,
				      .flags = BEAT_YOU_ARE_LISTED | BEAT_ECHO});
	write_message_end(&d.w);
	datagram_end(w, &d);
}

/* Says of `owner` that it gained, dropped or lost `subject`. */
static void delta_write(
	struct world *w, struct datagram *d, unsigned owner, enum wire_op op, unsigned subject)
{
	struct wire_item item = {.kind = ITEM_DELTA, .owner = sim_id(owner)};

	item.delta.boot = wire_boot(1);
	item.delta.base = w->versions[owner]++;
	item.delta.n_ops = 1;
	item.delta.ops[0] = (struct wire_lost){.op = op,
		.id = sim_id(subject),
		.version = w->versions[subject],
		.boot = wire_boot(1)};
	wire_item_write(&d->w, &item);
}

static void tick(struct world *w)
{
	double began = w->clocked ? cpu_ns() : 0, spent;

	gossip_tick(w->g, w->now);
	spent = w->clocked ? cpu_ns() - began : 0;
	w->longest = spent > w->longest ? spent : w->longest;
	drain(w);
}

/* Time passes, with everything that the node and its neighbours do then. */
static void pass(struct world *w, nsec_t duration, nsec_t *next_beat)
{
	nsec_t until = w->now + duration;

	for (;;) {
		nsec_t d = gossip_deadline(w->g), next = d < *next_beat ? d : *next_beat;

		if (next > until)
			break;
		w->now = next > w->now ? next : w->now;
		if (*next_beat <= w->now) {
			beat(w);
			*next_beat += 250 * MSEC;
		}
		tick(w);
	}
	w->now = until;
}

static void world_init(struct world *w, unsigned n)
{
	struct gossip_config config;
	struct gossip_addr address;
	uint32_t handle;

	*w = (struct world){.n = n,
		.neighbours = calloc(n, sizeof(*w->neighbours)),
		.n_of = calloc(n, sizeof(*w->n_of)),
		.versions = calloc(n, sizeof(*w->versions)),
		.now = SEC,
		.random = 1};
	if (!w->neighbours || !w->n_of || !w->versions)
		die("calloc");
	sim_graph(n, w->neighbours, w->n_of);
	gossip_config_init(&config);
	config.forget_after = FORGET_SECONDS * SEC;
	config.id = sim_id(0);
	config.incarnation = config.seed = 1;
	sim_address(0, &config.address);
	if (gossip_new(&w->g, &config, w->now) < 0 || gossip_reserve(w->g, n) < 0)
		die("gossip_new");
	for (unsigned i = 0; i < n; i++) {
		w->versions[i] = VERSION;
		sim_address(i, &address);
		if (gossip_preload(w->g, sim_id(i), 1, VERSION, &address, w->neighbours[i],
			    w->n_of[i]) < 0)
			die("gossip_preload");
	}
	for (unsigned k = 0; k < w->n_of[0]; k++)
		gossip_preload_link(w->g, w->now, w->neighbours[0][k], 200 * USEC, true, &handle);
	drain(w);
	gossip_set_contacts(w->g, w->now, NULL, 0); /* gives the reports' memory back */
	for (unsigned k = 0; k < 4 * w->n_of[0]; k++) {
		beat(w);
		w->now += 20 * MSEC;
		gossip_tick(w->g, w->now);
		drain(w);
	}
}

static void world_done(struct world *w)
{
	gossip_free(w->g);
	free(w->neighbours);
	free(w->n_of);
	free(w->versions);
}

/* ---- What is measured ---- */

static double beats_in(struct world *w)
{
	double began = cpu_ns();

	for (unsigned i = 0; i < BEATS; i++) {
		beat(w);
		w->now += USEC;
	}
	return (cpu_ns() - began) / BEATS;
}

/* Ticks at deadlines, nearly all of which are heartbeats. */
static double beats_out(struct world *w)
{
	double spent = 0;
	unsigned n = 0;

	while (n < BEATS / 20) {
		size_t before = w->n_out;
		double began;

		beat(w);
		drain(w);
		w->now = gossip_deadline(w->g) > w->now ? gossip_deadline(w->g) : w->now;
		began = cpu_ns();
		gossip_tick(w->g, w->now);
		drain(w);
		spent += cpu_ns() - began;
		n += w->n_out - before;
	}
	return spent / n;
}

static double changes(struct world *w)
{
	nsec_t next_beat = w->now;
	double began = cpu_ns();

	for (unsigned i = 0; i < CHANGES; i += 2) {
		unsigned owner = 1 + below(w, w->n - 1);
		unsigned other = sim_index(w->neighbours[owner][below(w, w->n_of[owner])]);

		for (unsigned k = 0; k < 2 && other != 0; k++) {
			struct datagram d;

			datagram_begin(w, &d, &w->next_news);
			write_message_begin(&d.w, WIRE_NEWS);
			delta_write(w, &d, owner, k == 0 ? OP_DROP : OP_ADD, other);
			write_message_end(&d.w);
			datagram_end(w, &d);
			drain(w);
			pass(w, 5 * MSEC, &next_beat);
		}
	}
	return (cpu_ns() - began) / CHANGES;
}

/* An edge goes, and comes back: twice the reachability of everyone. */
static double edges(struct world *w, double *ret_steps)
{
	struct gossip_stats before, after;
	double spent = 0;

	gossip_stats(w->g, &before);
	for (unsigned i = 0; i < EDGES; i += 2) {
		unsigned owner = 1 + below(w, w->n - 1), n = w->n_of[owner] - 1;
		uint64_t *list = w->neighbours[owner], t;
		unsigned k = below(w, n + 1);
		struct gossip_addr address;
		double began;

		t = list[k];
		list[k] = list[n];
		list[n] = t;
		sim_address(owner, &address);
		began = cpu_ns();
		gossip_preload(w->g, sim_id(owner), 1, ++w->versions[owner], &address, list, n);
		gossip_preload(w->g, sim_id(owner), 1, ++w->versions[owner], &address, list, n + 1);
		spent += cpu_ns() - began;
		gossip_tick(w->g, w->now);
		drain(w);
	}
	gossip_stats(w->g, &after);
	*ret_steps = (double)(after.reach_steps - before.reach_steps) / EDGES;
	return spent / EDGES;
}

/* What an update takes who keeps no tree: everyone is visited. */
static double walk(struct world *w)
{
	uint32_t *lists = calloc(w->n * SIM_DEGREE, sizeof(*lists));
	uint32_t *queue = calloc(w->n, sizeof(*queue)), *parent = calloc(w->n, sizeof(*parent));
	unsigned n = 1;
	double began;

	if (!lists || !queue || !parent)
		die("calloc");
	for (unsigned i = 0; i < w->n; i++) {
		for (unsigned k = 0; k < w->n_of[i]; k++)
			lists[i * SIM_DEGREE + k] = sim_index(w->neighbours[i][k]);
	}
	began = cpu_ns();
	parent[0] = 1;
	for (unsigned at = 0; at < n; at++) {
		unsigned i = queue[at];

		for (unsigned k = 0; k < w->n_of[i]; k++) {
			unsigned j = lists[i * SIM_DEGREE + k];

			if (parent[j] != 0)
				continue;
			parent[j] = i + 1;
			queue[n++] = j;
		}
	}
	began = cpu_ns() - began;
	if (n != w->n)
		die("not connected");
	free(lists);
	free(queue);
	free(parent);
	return began;
}

static double idle(struct world *w, double *ret_n)
{
	size_t before = w->n_out;
	nsec_t next_beat = w->now;
	double began = cpu_ns();

	pass(w, IDLE_SECONDS * SEC, &next_beat);
	*ret_n = (double)(w->n_out - before) / IDLE_SECONDS + 4;
	return (cpu_ns() - began) / IDLE_SECONDS;
}

static bool is_neighbour(const struct world *w, unsigned i)
{
	for (unsigned k = 0; k < w->n_of[0]; k++) {
		if (w->neighbours[0][k] == sim_id(i))
			return true;
	}
	return i == 0;
}

/* 30 % of the others are lost at once, and what their neighbours say comes in full datagrams. */
static double storm(struct world *w, struct costs *ret)
{
	bool *lost = calloc(w->n, sizeof(*lost));
	unsigned n_lost = 0, n = 0;
	nsec_t next_beat = w->now;
	double began = cpu_ns();
	struct datagram d;
	struct gossip_stats stats;
	bool open = false;

	if (!lost)
		die("calloc");
	while (n_lost < w->n * 3 / 10) {
		unsigned i = below(w, w->n);

		n_lost += !lost[i] && !is_neighbour(w, i);
		lost[i] |= !is_neighbour(w, i);
	}
	for (unsigned i = 1; i < w->n; i++) {
		unsigned owner = (i * UINT64_C(7919)) % w->n; /* in no order of theirs */

		for (unsigned k = 0; k < w->n_of[owner] && !lost[owner]; k++) {
			unsigned other = sim_index(w->neighbours[owner][k]);

			if (owner == 0 || !lost[other])
				continue;
			if (!open) {
				datagram_begin(w, &d, &w->next_news);
				write_message_begin(&d.w, WIRE_NEWS);
			}
			open = true;
			delta_write(w, &d, owner, OP_SILENT, other);
			n++;
			if (d.w.n + 64 < GOSSIP_DATAGRAM_MAX)
				continue;
			write_message_end(&d.w);
			datagram_end(w, &d);
			drain(w);
			pass(w, MSEC, &next_beat);
			open = false;
		}
	}
	if (open) {
		write_message_end(&d.w);
		datagram_end(w, &d);
	}
	pass(w, 2 * SEC, &next_beat);
	began = (cpu_ns() - began) / n;
	ret->n_lost = n_lost;
	ret->n_down = w->n_down;
	w->clocked = true;
	pass(w, (FORGET_SECONDS + 2) * SEC, &next_beat);
	gossip_stats(w->g, &stats);
	if (stats.n_members + w->n_down != w->n)
		die("not forgotten");
	ret->forget = w->longest;
	free(lost);
	return began;
}

/* The kernel's share in a datagram: from one socket to another of this machine. */
static double kernel(size_t n)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int in = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int out = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint8_t bytes[GOSSIP_DATAGRAM_MAX] = {0};
	socklen_t n_a = sizeof(a);
	double began;

	if (in < 0 || out < 0 || bind(in, (struct sockaddr *)&a, sizeof(a)) < 0 ||
		getsockname(in, (struct sockaddr *)&a, &n_a) < 0)
		die("socket");
	began = cpu_ns();
	for (unsigned i = 0; i < BEATS; i++) {
		if (sendto(out, bytes, n, 0, (struct sockaddr *)&a, sizeof(a)) < 0 ||
			recv(in, bytes, sizeof(bytes), 0) < 0)
			die("datagram");
	}
	began = cpu_ns() - began;
	close(in);
	close(out);
	return began / BEATS;
}

static void least(double *cost, double measured, unsigned round)
{
	*cost = round == 0 || measured < *cost ? measured : *cost;
}

static struct costs measure(unsigned n)
{
	struct costs c = {0}, last;

	for (unsigned round = 0; round < ROUNDS; round++) {
		struct world w;

		world_init(&w, n);
		least(&c.beat_in, beats_in(&w), round);
		least(&c.beat_out, beats_out(&w), round);
		least(&c.kernel, kernel(w.n_beat + 44), round);
		least(&c.idle, idle(&w, &c.n_idle), round);
		least(&c.change, changes(&w), round);
		least(&c.edge, edges(&w, &c.steps), round);
		least(&c.walk, walk(&w), round);
		world_done(&w);
		world_init(&w, n);
		least(&c.storm, storm(&w, &last), round);
		least(&c.forget, last.forget, round);
		world_done(&w);
	}
	c.n_lost = last.n_lost;
	c.n_down = last.n_down;
	return c;
}

/* ---- Said ---- */

static bool all_met = true;

static void target(const char *what, double is, double most)
{
	bool met = is <= most;

	all_met &= met;
	printf("  %-66s %6.3f  at most %5.2f: %s\n", what, is, most, met ? "met" : "MISSED");
}

#define ROW(name, format, value)                       \
	do {                                           \
		printf("  %-42s", name);               \
		for (unsigned i = 0; i < N_SIZES; i++) \
			printf(format, (value));       \
		printf("\n");                          \
	} while (0)

int main(void)
{
	struct costs c[N_SIZES];

	for (unsigned i = 0; i < N_SIZES; i++)
		c[i] = measure(sizes[i]);
	ROW("members", " %9u", sizes[i]);
	ROW("heartbeat received, ns", " %9.0f", c[i].beat_in);
	ROW("heartbeat sent, ns", " %9.0f", c[i].beat_out);
	ROW("its datagram through the kernel, ns", " %9.0f", c[i].kernel);
	ROW("change of a record, taken and passed on, ns", " %9.0f", c[i].change);
	ROW("edge gone or come, ns", " %9.0f", c[i].edge);
	ROW("  members visited for it", " %9.1f", c[i].steps);
	ROW("  a walk over the whole table, ns", " %9.0f", c[i].walk);
	ROW("30 % lost at once, each severed link, ns", " %9.0f", c[i].storm);
	ROW("  of them known to be down", " %8.0f%%", 100.0 * c[i].n_down / c[i].n_lost);
	ROW("  all forgotten at once, longest call, ns", " %9.0f", c[i].forget);
	ROW("idle, of one processor, millionths", " %9.1f", c[i].idle / 1e3);
	ROW("  its datagrams through the kernel", " %9.1f", c[i].n_idle * c[i].kernel / 1e3);
	printf("\n");
	target("heartbeat, received and sent, of its way through the kernel",
		(c[2].beat_in + c[2].beat_out) / c[2].kernel, 1);
	target("heartbeat, 10,000 members of 100",
		(c[2].beat_in + c[2].beat_out) / (c[0].beat_in + c[0].beat_out), 3);
	target("change of a record, 10,000 of 100", c[2].change / c[0].change, 3);
	target("edge, of a walk over the table, 10,000 members", c[2].edge / c[2].walk, 0.1);
	target("severed link of a mass loss, 10,000 of 1,000", c[2].storm / c[1].storm, 6);
	target("forgotten at once, of walks over the table, 10,000 members",
		c[2].forget / c[2].walk, 30);
	target("idle, of its datagrams through the kernel, 10,000 members",
		c[2].idle / (c[2].n_idle * c[2].kernel), 2);
	target("idle, 10,000 members of 100", c[2].idle / c[0].idle, 3);
	return all_met ? 0 : 1;
}
