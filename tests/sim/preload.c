/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A cluster that begins as it comes to rest: linked, with everyone in every table. */
#include "engine.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct graph {
	uint64_t (*neighbours)[GOSSIP_NEIGHBOURS_MAX];
	unsigned *n_of;
};

static void edge_make(struct graph *graph, unsigned a, unsigned b)
{
	if (a == b || graph->n_of[a] >= SIM_DEGREE || graph->n_of[b] >= SIM_DEGREE)
		return;
	for (unsigned k = 0; k < graph->n_of[a]; k++) {
		if (graph->neighbours[a][k] == sim_id(b))
			return;
	}
	graph->neighbours[a][graph->n_of[a]++] = sim_id(b);
	graph->neighbours[b][graph->n_of[b]++] = sim_id(a);
}

struct place {
	uint64_t at;
	uint32_t node;
};

static int place_cmp(const void *a, const void *b)
{
	const struct place *pa = a, *pb = b;

	return pa->at < pb->at ? -1 : pa->at > pb->at;
}

void sim_graph(unsigned n, uint64_t (*neighbours)[GOSSIP_NEIGHBOURS_MAX], unsigned *n_of)
{
	struct graph graph = {.neighbours = neighbours, .n_of = n_of};
	struct place *places = malloc(n * sizeof(*places));

	assert(places);
	memset(n_of, 0, n * sizeof(*n_of));
	for (unsigned ring = 0; ring < SIM_DEGREE / 2; ring++) {
		for (unsigned i = 0; i < n; i++)
			places[i] =
				(struct place){.at = gossip_ring_place(sim_id(i), ring), .node = i};
		qsort(places, n, sizeof(*places), place_cmp);
		for (unsigned i = 0; i < n; i++)
			edge_make(&graph, places[i].node, places[(i + 1) % n].node);
	}
	for (unsigned i = 0; i < n; i++) {
		for (unsigned k = i + 1; n_of[i] < SIM_DEGREE && k < n; k++)
			edge_make(&graph, i, k);
	}
	free(places);
}

static void preload_links(struct sim *s, unsigned i, const uint64_t *neighbours, unsigned n)
{
	for (unsigned k = 0; k < n; k++) {
		unsigned j = sim_index(neighbours[k]);
		nsec_t rtt = 2 * (s->options.latency_min + s->options.latency_spread +
					 s->hosts[i].extra + s->hosts[j].extra);
		uint32_t c;

		if (j < i)
			continue;
		c = conn_new(s);
		s->conns[c] = (struct conn){
			.host = {i, j}, .boot = {1, 1}, .open = {true, true}, .used = true};
		gossip_preload_link(s->hosts[i].gossip, node_time(s, &s->hosts[i]), sim_id(j), rtt,
			true, &s->conns[c].handle[0]);
		gossip_preload_link(s->hosts[j].gossip, node_time(s, &s->hosts[j]), sim_id(i), rtt,
			false, &s->conns[c].handle[1]);
		handle_add(&s->hosts[i], s->conns[c].handle[0], c);
		handle_add(&s->hosts[j], s->conns[c].handle[1], c);
	}
}

/* A process that knows nobody yet; returns its incarnation. */
static uint64_t preload_node(struct sim *s, unsigned i)
{
	struct host *h = &s->hosts[i];
	struct gossip_config config;

	h->alive = h->running = true;
	h->boot = 1;
	h->timer = NSEC_NEVER;
	node_config(s, i, &config);
	config.n_metadata = 0;
	assert(gossip_new(&h->gossip, &config, node_time(s, h)) == 0);
	return config.incarnation;
}

void preload(struct sim *s)
{
	unsigned n = s->options.n;
	uint64_t *incarnations = calloc(n, sizeof(*incarnations));
	uint64_t(*neighbours)[GOSSIP_NEIGHBOURS_MAX] = calloc(n, sizeof(*neighbours));
	unsigned *n_of = calloc(n, sizeof(*n_of));

	assert(incarnations && neighbours && n_of);
	sim_graph(n, neighbours, n_of);
	for (unsigned i = 0; i < n; i++)
		incarnations[i] = preload_node(s, i);
	gossip_reserve(s->hosts[0].gossip, n);
	for (unsigned i = 0; i < n; i++) {
		struct gossip_addr address;

		sim_address(i, &address);
		assert(gossip_preload(s->hosts[0].gossip, sim_id(i), incarnations[i], 10, &address,
			       neighbours[i], n_of[i]) == 0);
	}
	for (unsigned i = 0; i < n; i++) {
		assert(i == 0 || gossip_preload_from(s->hosts[i].gossip, s->hosts[0].gossip) == 0);
		node_drain(s,
			i); /* at once: n reports of n nodes each would be more than all tables */
		node_contacts(s, i);
	}
	for (unsigned i = 0; i < n; i++)
		preload_links(s, i, neighbours[i], n_of[i]);
	for (unsigned i = 0; i < n; i++)
		node_drain(s, i);
	free(neighbours);
	free(n_of);
	free(incarnations);
}
