/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What publishing costs and how quick it is, in virtual time: the real state machine on the real overlay
 * of a simulated network.
 *
 *	sim-publish [--agents N] [--vips N] [--seconds N] [--document BYTES] [--gzipped BYTES]
 *
 * Three masters and their agents, so many VIPs with five backends; every five seconds the leading
 * master's poll finds a twelfth of 1 % of the tasks replaced: 1 % a minute. Bytes are those on the wire,
 * heads, encryption and acknowledgements included, sent by all nodes, less those of the same
 * overlay with nothing published. Beside them what the same nodes would receive by polling a
 * document of the given size. Deterministic, except for the times of this machine's processor.
 */
#include "agent/publish/publish.h"
#include "agent/source/arena.h"
#include "sim.h"

#include <stdio.h>
#include <time.h>

#define MASTERS 3
#define BACKENDS 5
#define POLL (5 * SEC)
/* Polls before it is measured: the multicast tree forms with the first message. A cluster that runs has had
 * many. */
#define WARM_UP 1
#define BASE (1000 * SEC) /* of the nodes' clocks */
#define STEP (10 * MSEC)

static struct {
	unsigned agents, vips, seconds;
	double document, gzipped;
} args = {.agents = 1000, .vips = 10000, .seconds = 60};

struct change {
	nsec_t at;
	size_t n;
	nsec_t *after; /* of each node that has it */
};

struct cluster {
	struct sim *sim;
	unsigned n;
	struct publish **nodes;
	struct vip_table *table;
	size_t n_changes;
	struct change *changes;
	uint64_t n_tasks, random;
	uint64_t multicast_bytes, other_bytes; /* handed to the overlay */
};

/* ---- the table ---- */

static uint32_t rnd(struct cluster *c, uint32_t below)
{
	uint64_t v = c->random += UINT64_C(0x9e3779b97f4a7c15);

	v = (v ^ v >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	return (uint32_t)((v ^ v >> 31) % below);
}

static struct ip_addr address(uint8_t first, uint32_t n)
{
	return (struct ip_addr){.family = AF_INET,
		.bytes = {first, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n}};
}

static int cmp_backend(const void *a, const void *b)
{
	const struct vip_backend *x = a, *y = b;
	int r = ip_addr_cmp(&x->address, &y->address);

	return r ? r : (int)x->port - (int)y->port;
}

/* A task like those of Marathon: its id is the app's name and a UUID. */
static void place_task(struct cluster *c, struct vip_backend *b, unsigned v)
{
	uint32_t agent = MASTERS + rnd(c, args.agents);

	b->address = b->local_address = b->agent = address(10, agent);
	b->port = b->local_port = (uint16_t)(1024 + c->n_tasks % 60000);
	b->weight = 1;
	b->framework = "marathon";
	b->framework_id = "5b3c7f5c-8d3a-4c6e-9d0e-6f3f1f5e7a10-0000";
	b->task = arena_printf(c->table->arena, "group_app-%u.%08x-8d3a-11e9-9d0e-%012llx", v,
		rnd(c, UINT32_MAX), (unsigned long long)c->n_tasks);
	c->n_tasks++;
}

static void sort_backends(struct vip *vip)
{
	qsort(vip->backends, vip->n_backends, sizeof(*vip->backends), cmp_backend);
}

static void make_table(struct cluster *c)
{
	struct vip_table *t = c->table = xcalloc(1, sizeof(*t));

	t->arena = arena_new();
	t->n_agents = args.agents;
	t->agents = arena_alloc(t->arena, args.agents * sizeof(*t->agents));
	for (unsigned i = 0; i < args.agents; i++)
		t->agents[i] = address(10, MASTERS + i);
	t->n_vips = args.vips;
	t->vips = arena_alloc(t->arena, args.vips * sizeof(*t->vips));
	for (unsigned v = 0; v < args.vips; v++) {
		struct vip *vip = &t->vips[v];

		vip->key = (struct service_key){address(11, v), 80, IPPROTO_TCP};
		vip->name =
			arena_printf(t->arena, "group-app-%u.marathon.l4lb.thisdcos.directory", v);
		vip->n_backends = BACKENDS;
		vip->backends = arena_alloc(t->arena, BACKENDS * sizeof(*vip->backends));
		for (unsigned k = 0; k < BACKENDS; k++)
			place_task(c, &vip->backends[k], v);
		sort_backends(vip);
	}
}

/* What happens to a cluster's tasks between two polls. */
static void replace_tasks(struct cluster *c)
{
	unsigned n = args.vips * BACKENDS / 100 / 12;

	for (unsigned i = 0; i < n; i++) {
		unsigned v = rnd(c, args.vips);

		place_task(c, &c->table->vips[v].backends[rnd(c, BACKENDS)], v);
		sort_backends(&c->table->vips[v]);
	}
}

/* ---- nodes ---- */

static bool believes(void *userdata, uint64_t node, bool speaks)
{
	return sim_index(node) < MASTERS;
}

static nsec_t now_of(const struct cluster *c)
{
	return BASE + sim_now(c->sim);
}

static void take_output(struct cluster *c, unsigned i, const struct publish_output *o)
{
	struct change *change = c->n_changes ? &c->changes[c->n_changes - 1] : NULL;

	switch (o->kind) {
	case OUTPUT_MULTICAST:
		c->multicast_bytes += o->n;
		sim_app_multicast(c->sim, i, o->bytes, o->n);
		break;
	case OUTPUT_REQUEST:
		c->other_bytes += o->n;
		sim_app_request(c->sim, i, o->peer, o->bytes, o->n);
		break;
	case OUTPUT_RESPONSE:
		c->other_bytes += o->n;
		sim_app_respond(c->sim, i, o->peer, o->tag, o->bytes, o->n);
		break;
	case OUTPUT_TABLE:
		if (change && change->n < c->n)
			change->after[change->n++] = sim_now(c->sim) - change->at;
		break;
	case OUTPUT_TERM:
	case OUTPUT_MODE:
	case OUTPUT_CONFIRMED:
	case OUTPUT_LEAD:
		break;
	}
}

static void take_outputs(struct cluster *c, unsigned i)
{
	struct publish_output o;

	while (publish_pop(c->nodes[i], &o))
		take_output(c, i, &o);
}

static void on_event(struct sim *s, void *arg, unsigned i, const struct gossip_event *e)
{
	struct cluster *c = arg;
	struct publish *p = c->nodes[i];

	if (e->kind == GOSSIP_EVENT_MULTICAST)
		publish_take_multicast(p, now_of(c), e->id, e->bytes, e->n_bytes);
	else if (e->kind == GOSSIP_EVENT_REQUEST)
		publish_take_request(p, now_of(c), e->id, e->tag, e->bytes, e->n_bytes);
	else
		publish_take_response(p, now_of(c), e->id, e->bytes, e->n_bytes);
	take_outputs(c, i);
}

static void set_neighbours(struct cluster *c, unsigned i)
{
	uint64_t ids[PUBLISH_NEIGHBOURS_MAX];
	struct gossip_neighbour neighbour;
	size_t n = 0, cursor = 0;

	while (n < PUBLISH_NEIGHBOURS_MAX &&
		gossip_neighbour_next(sim_gossip(c->sim, i), &cursor, &neighbour))
		ids[n++] = neighbour.id;
	publish_set_neighbours(c->nodes[i], now_of(c), ids, n);
}

/* Everyone holds what the first master has published, and follows it. */
static void start_nodes(struct cluster *c)
{
	struct publish_options o = {.believes = believes, .userdata = c};

	for (unsigned i = 0; i < c->n; i++) {
		o.node = sim_id(i);
		o.seed = i;
		o.may_lead = i < MASTERS;
		c->nodes[i] = publish_new(&o, now_of(c) - 10 * SEC);
	}
	publish_lead(c->nodes[0], now_of(c), c->table);
	for (unsigned i = 0; i < c->n; i++) {
		struct publish_output unsent;

		if (i > 0)
			publish_preload(c->nodes[i], now_of(c), c->nodes[0]);
		set_neighbours(c, i);
		while (publish_pop(c->nodes[i], &unsent))
			;
	}
}

static void run(struct cluster *c, nsec_t duration)
{
	for (nsec_t t = 0; t < duration; t += STEP) {
		sim_run(c->sim, STEP);
		for (unsigned i = 0; i < c->n; i++) {
			if (publish_deadline(c->nodes[i]) > now_of(c))
				continue;
			publish_tick(c->nodes[i], now_of(c));
			take_outputs(c, i);
			sim_app_drain(c->sim, i);
		}
	}
}

/* The leader's poll. */
static void poll_leader(struct cluster *c)
{
	struct change *change = &c->changes[c->n_changes++];

	*change = (struct change){.at = sim_now(c->sim), .after = xcalloc(c->n, sizeof(nsec_t))};
	replace_tasks(c);
	publish_lead(c->nodes[0], now_of(c), c->table);
	take_outputs(c, 0);
	sim_app_drain(c->sim, 0);
}

/* ---- figures ---- */

static struct sim *new_sim(unsigned n)
{
	struct sim_options o = sim_options(n, 1);
	struct sim *s = sim_new(&o);

	sim_run(s, 10 * SEC);
	sim_traffic_reset(s);
	return s;
}

static double bytes_per_node(struct sim *s, unsigned n)
{
	return (double)sim_traffic(s, SIM_ALL).bytes / n / args.seconds;
}

static double idle_bytes(unsigned n)
{
	struct sim *s = new_sim(n);
	double bytes;

	sim_run(s, WARM_UP * POLL);
	sim_traffic_reset(s);
	sim_run(s, args.seconds * SEC);
	bytes = bytes_per_node(s, n);
	sim_free(s);
	return bytes;
}

static int cmp_time(const void *a, const void *b)
{
	nsec_t x = *(const nsec_t *)a, y = *(const nsec_t *)b;

	return (x > y) - (x < y);
}

static double at_share(const nsec_t *sorted, size_t n, double share)
{
	size_t k = (size_t)((double)n * share);

	return n ? (double)sorted[k < n ? k : n - 1] / MSEC : -1;
}

static void print_times(const struct cluster *c)
{
	nsec_t *last = xcalloc(c->n_changes, sizeof(*last)), *all;
	size_t n_all = 0, missed = 0;

	all = xcalloc(c->n_changes * c->n, sizeof(*all));
	for (size_t i = 0; i < c->n_changes; i++) {
		const struct change *change = &c->changes[i];

		qsort(change->after, change->n, sizeof(nsec_t), cmp_time);
		last[i] = change->n ? change->after[change->n - 1] : NSEC_NEVER;
		memcpy(all + n_all, change->after, change->n * sizeof(nsec_t));
		n_all += change->n;
		missed += c->n - 1 - change->n;
	}
	qsort(last, c->n_changes, sizeof(nsec_t), cmp_time);
	qsort(all, n_all, sizeof(nsec_t), cmp_time);
	printf("a change's time to a node       p50 %.1f ms, p99 %.1f ms\n",
		at_share(all, n_all, 0.5), at_share(all, n_all, 0.99));
	printf("a change's time to the last     p50 %.1f ms, p99 %.1f ms, of %zu changes\n",
		at_share(last, c->n_changes, 0.5), at_share(last, c->n_changes, 0.99),
		c->n_changes);
	printf("nodes that missed a change      %zu\n", missed);
	free(last);
	free(all);
}

static void print_polling(double published)
{
	if (args.document > 0)
		printf("by polling, plain               %.0f B/s per node: %.0f times as much\n",
			args.document / 5, args.document / 5 / published);
	if (args.gzipped > 0)
		printf("by polling, gzipped             %.0f B/s per node: %.0f times as much\n",
			args.gzipped / 5, args.gzipped / 5 / published);
}

static void forget_changes(struct cluster *c)
{
	while (c->n_changes > 0)
		free(c->changes[--c->n_changes].after);
}

static void cluster_done(struct cluster *c)
{
	for (unsigned i = 0; i < c->n; i++)
		publish_free(c->nodes[i]);
	sim_free(c->sim);
	vip_table_free(c->table);
	free(c->nodes);
	free(c->changes);
}

static int measure(void)
{
	struct cluster c = {.n = args.agents + MASTERS, .random = 1};
	double idle = idle_bytes(c.n), with, cpu;
	struct publish_status status;
	size_t all_have = 0;
	clock_t begun;

	make_table(&c);
	c.nodes = xcalloc(c.n, sizeof(struct publish *));
	c.changes = xcalloc(args.seconds / 5 + WARM_UP + 1, sizeof(*c.changes));
	c.sim = new_sim(c.n);
	sim_set_app(c.sim, on_event, &c);
	start_nodes(&c);
	for (unsigned i = 0; i < WARM_UP; i++) {
		poll_leader(&c);
		run(&c, POLL);
	}
	publish_status(c.nodes[0], &status);
	sim_traffic_reset(c.sim);
	forget_changes(&c);
	c.multicast_bytes = c.other_bytes = 0;
	begun = clock();
	for (unsigned t = 0; t < args.seconds; t += 5) {
		poll_leader(&c);
		run(&c, POLL);
	}
	cpu = (double)(clock() - begun) / CLOCKS_PER_SEC;
	with = bytes_per_node(c.sim, c.n);
	for (size_t i = 0; i < c.n_changes; i++)
		all_have += c.changes[i].n == c.n - 1;
	printf("%u agents and %u masters, %u VIPs x %u backends, %zu records, 1 %% of tasks "
	       "replaced a "
	       "minute, %u s\n",
		args.agents, MASTERS, args.vips, BACKENDS, status.n_records, args.seconds);
	printf("published                       %.0f B/s per node (overlay %.0f, idle %.0f)\n",
		with - idle, with, idle);
	printf("                                %.0f B/s are deltas, multicast once per node; %.0f "
	       "B/s "
	       "in all are repairs\n",
		(double)c.multicast_bytes / args.seconds, (double)c.other_bytes / args.seconds);
	print_polling(with - idle);
	print_times(&c);
	printf("simulated in                    %.0f s of processor time\n", cpu);
	all_have = all_have == c.n_changes;
	forget_changes(&c);
	cluster_done(&c);
	return all_have ? 0 : 1; /* a change that does not reach everyone is a failure */
}

int main(int argc, char **argv)
{
	for (int i = 1; i + 1 < argc; i += 2) {
		double v = strtod(argv[i + 1], NULL);

		if (strcmp(argv[i], "--agents") == 0)
			args.agents = (unsigned)v;
		else if (strcmp(argv[i], "--vips") == 0)
			args.vips = (unsigned)v;
		else if (strcmp(argv[i], "--seconds") == 0)
			args.seconds = (unsigned)v;
		else if (strcmp(argv[i], "--document") == 0)
			args.document = v;
		else if (strcmp(argv[i], "--gzipped") == 0)
			args.gzipped = v;
	}
	return measure();
}
