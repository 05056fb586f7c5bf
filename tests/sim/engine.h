/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * What the simulator's files share.
 *
 *	sim.c         the heap of events, nodes and their processes, what is reported
 *	network.c     datagrams and connections: what arrives, when, and what it costs
 *	scenario.c    what can happen to hosts and network
 *	preload.c     a cluster that begins at rest
 *	invariants.c  what must be true
 */
#include "sim.h"

#define ID_FACTOR UINT64_C(0x9e3779b97f4a7c15)
#define ID_INVERSE UINT64_C(0xf1de83e19937733d)
#define UDP_OVERHEAD (28 + 44)
#define TCP_OVERHEAD (52 + 20)
#define TCP_MSS 1400
#define TCP_ACK 52
#define TCP_SYN 60
#define TCP_RTO_MIN (200 * MSEC)
#define SOCKET_BUFFER 208 /* datagrams of about a kilobyte's buffer cost: rmem_default */
#define CUTS_MAX 32
#define WATCHES_MAX 512
#define HOST_ABSENT_BOUND (3 * SEC)
/* A round trip that fails more often than at 20 % loss each way proves nothing. */
#define LOSS_BOUND 0.45
#define PAIRS_MAX 128

enum event_kind {
	EV_TIMER,
	EV_DATAGRAM,
	EV_SYN,    /* a connection request reaches a host */
	EV_OPENED, /* its answer reaches the opener */
	EV_REFUSED,
	EV_STREAM, /* bytes reach the other end */
	EV_CLOSED, /* a FIN or RST reaches the other end */
	EV_PROBE,  /* a probe's SYN reaches a host */
	EV_PROBED, /* its answer comes back */
	EV_CONT,
	EV_RESUME,
	EV_START,
};

struct event {
	nsec_t at;
	uint64_t order;
	uint16_t kind;
	uint16_t n;
	uint32_t to, from;
	uint32_t a, b; /* conn, handle, probe, boot: as the kind needs */
	void *bytes;
};

/* One TCP connection. End 0 opened it. */
struct conn {
	uint32_t host[2], boot[2], handle[2];
	bool open[2];               /* this end's process still holds it */
	nsec_t clear[2];            /* bytes to this end arrive in order: not before */
	uint32_t sent[2], taken[2]; /* portions to this end, by number */
	uint32_t n_queued;          /* events under way */
	bool used;
};

struct host {
	bool alive, running, stopped;
	nsec_t paused_until;
	uint32_t boot;
	struct gossip *gossip;
	struct swim *swim;
	nsec_t timer;
	double loss_in, loss_out;
	nsec_t extra;
	nsec_t offset; /* of its clock */
	bool isolated;
	uint64_t bytes, packets;
	uint64_t second, second_bytes, rate_max; /* said in that one; the most */
	nsec_t touched;     /* last time its reachability changed by the scenario */
	struct event *held; /* what waits for a stopped process or a paused host */
	unsigned n_held, n_held_allocated;
	uint32_t *handles; /* pairs handle, conn */
	unsigned n_handles, n_handles_allocated;
	unsigned witness;
};

struct cut {
	bool active, one_way;
	unsigned a, n_a, b, n_b;
};

struct sim {
	struct sim_options options;
	nsec_t now;
	uint64_t random, order, hash;
	struct event *heap;
	size_t n_heap, n_heap_allocated;
	struct host *hosts;
	struct conn *conns;
	size_t n_conns, n_conns_allocated, at_free;
	struct cut cuts[CUTS_MAX];
	unsigned n_cuts, n_isolated;
	bool udp_blocked, verbose;
	nsec_t touched; /* last change of the network as a whole */
	struct sim_watch *watches[WATCHES_MAX];
	unsigned n_watches;
	struct sim_counts counts;
	sim_app *app;
	void *app_arg;
	/* For invariants, in clusters of up to PAIRS_MAX: by reporter and subject. */
	uint8_t *told; /* status reported last, plus one */
	uint32_t n_casts;
	uint8_t *cast_seen; /* by multicast and node, the first SIM_CASTS_MAX */
	char error[256];    /* the first that an event has broken */
	struct invariants *invariants;
};

uint64_t sim_draw(struct sim *s); /* 64 random bits */
bool sim_chance(struct sim *s, double p);
double sim_uniform(struct sim *s); /* in [0, 1) */
void sim_push(struct sim *s, struct event e);
void sim_broken(struct sim *s, const char *what, unsigned a, unsigned b);

/* A node's clock. */
nsec_t node_time(const struct sim *s, const struct host *h);
/* After each call into a node: what it reports, and what it wants done. */
void node_drain(struct sim *s, unsigned i);
void node_config(struct sim *s, unsigned i, struct gossip_config *c);
void node_contacts(struct sim *s, unsigned i);
/* What was held back from a stopped process or a paused host arrives. */
void node_release(struct sim *s, unsigned i);

bool net_blocked(const struct sim *s, unsigned from, unsigned to);
bool net_lost(struct sim *s, unsigned from, unsigned to);
nsec_t net_latency(struct sim *s, unsigned from, unsigned to);
void net_count(struct sim *s, unsigned host, size_t bytes, unsigned packets);
void net_count_said(struct sim *s, unsigned host, size_t bytes);
void net_datagram(struct sim *s, unsigned from, unsigned to, const void *bytes, size_t n);
/* When a segment sent now gets there, with retransmissions; NSEC_NEVER if it has not after
 * `most`. Cuts are looked at as they are now: retransmission is tried again from outside. */
nsec_t net_segment(struct sim *s, unsigned from, unsigned to, nsec_t rto, nsec_t most);

uint32_t conn_of(const struct host *h, uint32_t handle); /* UINT32_MAX: none */
void handle_add(struct host *h, uint32_t handle, uint32_t conn);
void handle_remove(struct host *h, uint32_t handle);
uint32_t conn_new(struct sim *s);
void conn_put(struct sim *s, uint32_t k);
void conn_event(struct sim *s, uint32_t k, enum event_kind kind, unsigned end, nsec_t at,
	void *bytes, size_t n, uint32_t b);
void conn_open(struct sim *s, unsigned from, uint32_t handle, unsigned to);
/* Bytes from this end to the other; in portions: a frame may be longer than a heap entry says. */
void conn_send(struct sim *s, uint32_t k, unsigned end, const uint8_t *bytes, size_t n);
/* This end is closed, by its process or its death; the other hears of it if it can. */
void conn_close(struct sim *s, uint32_t k, unsigned end, enum gossip_close reason, bool quiet);

void preload(struct sim *s);
