/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * A cluster in one process and virtual time: N instances of the overlay, or of the SWIM peer, on a
 * simulated network of hosts, with everything that can happen to them.
 *
 * All randomness comes from the seed; the same seed and the same calls give the same run, byte
 * for byte (sim_hash() is over every event that any node reports, with its time and node).
 *
 * A host has a kernel and, usually, a process. A crashed host answers nothing. A host whose process
 * was killed refuses connections; one whose process is stopped accepts them, and keeps
 * what comes for the process, as far as its socket buffers go. A paused host is frozen as a whole.
 *
 * The network delays each datagram by its latency, drops, doubles and delays it further by chance;
 * streams lose the same share of segments and pay with retransmission time-outs. Cuts drop
 * everything from one set of hosts to another.
 */
#include "gossip/gossip.h"

#define USEC UINT64_C(1000)
#define MSEC NSEC_PER_MSEC
#define SEC NSEC_PER_SEC
#define SIM_DEGREE 6 /* neighbours that a node of the overlay wants */

enum sim_kind {
	SIM_GOSSIP,
	SIM_SWIM, /* memberlist's LAN defaults, Lifeguard included */
};

struct sim_options {
	unsigned n;
	uint64_t seed;
	enum sim_kind kind;
	nsec_t latency_min;              /* one way; default 60 us */
	nsec_t latency_spread;           /* mean of the exponential part; default 60 us */
	double loss, duplicate, reorder; /* shares of packets, network-wide */
	unsigned n_contacts; /* the first so many nodes are everyone's contacts; default 3 */
	bool cold;           /* nodes start with sim_start(), else linked and known already */
	size_t n_metadata;   /* bytes of each node's */
	nsec_t clock_shift;  /* so much further ahead is each host's clock than the one's before */
	struct gossip_config config; /* detection's tunables; zeroed: the defaults */
};

struct sim;

/* Defaults for n nodes. */
struct sim_options sim_options(unsigned n, uint64_t seed);
struct sim *sim_new(const struct sim_options *options);
struct sim *sim_free(struct sim *s);

unsigned sim_size(const struct sim *s); /* hosts */
nsec_t sim_now(const struct sim *s);
void sim_run(struct sim *s, nsec_t duration);
/* Runs until `done`, looked at each millisecond, or for `most`. True if it was done. */
bool sim_run_until(struct sim *s, nsec_t most, bool (*done)(struct sim *s, void *arg), void *arg);

/* ---- What can happen ---- */

void sim_start(struct sim *s, unsigned i); /* a process on host i; a reboot if it had crashed */
void sim_start_all(struct sim *s, nsec_t spread);
void sim_crash(struct sim *s, unsigned i); /* the host, at once and silently */
void sim_kill(struct sim *s, unsigned i);  /* the process; its kernel resets its connections */
void sim_stop(struct sim *s, unsigned i);  /* SIGSTOP */
void sim_cont(struct sim *s, unsigned i);
void sim_stop_for(struct sim *s, unsigned i, nsec_t duration);
void sim_pause_for(struct sim *s, unsigned i, nsec_t duration); /* the host */
void sim_loss(struct sim *s, double loss);
void sim_host_loss(struct sim *s, unsigned i, double in, double out);
void sim_slow(struct sim *s, unsigned i, nsec_t extra); /* each way */
/* Drops what goes from hosts [a, a + n_a) to [b, b + n_b), and back unless one_way. At most 32 at
 * a time. Returns its number for sim_heal(). */
unsigned sim_cut(struct sim *s, unsigned a, unsigned n_a, unsigned b, unsigned n_b, bool one_way);
void sim_heal(struct sim *s, unsigned cut);
void sim_isolate(struct sim *s, unsigned i); /* from all others, both ways; until sim_join() */
void sim_join(struct sim *s, unsigned i);
void sim_block_udp(struct sim *s, bool blocked);            /* datagrams, network-wide */
void sim_witness(struct sim *s, unsigned i, unsigned host); /* i asks host's kernel */
/* A multicast of n bytes from i. Numbered from 0; that no node gets one twice is checked for the
 * first SIM_CASTS_MAX in clusters of up to 128. */
#define SIM_CASTS_MAX 64
int sim_multicast(struct sim *s, unsigned i, size_t n);
bool sim_cast_everywhere(struct sim *s, unsigned k); /* every process that runs has had it */
unsigned sim_casts(const struct sim *s);

/* An application on every node: it is given the multicasts, requests and responses that reach node i.
 * In there, and between runs, it may send; between runs sim_app_drain() must follow. */
typedef void sim_app(struct sim *s, void *arg, unsigned i, const struct gossip_event *event);
void sim_set_app(struct sim *s, sim_app *app, void *arg);
int sim_app_multicast(struct sim *s, unsigned i, const void *bytes, size_t n);
int sim_app_request(struct sim *s, unsigned i, uint64_t to, const void *bytes, size_t n);
int sim_app_respond(
	struct sim *s, unsigned i, uint64_t to, uint32_t tag, const void *bytes, size_t n);
void sim_app_drain(struct sim *s, unsigned i);

/* ---- What became of it ---- */

enum gossip_status sim_status(struct sim *s, unsigned i, unsigned of); /* how i sees `of` */
enum gossip_self sim_self(struct sim *s, unsigned i);
struct gossip *sim_gossip(struct sim *s, unsigned i); /* NULL: no process */
unsigned sim_index(uint64_t id);
uint64_t sim_id(unsigned i);
bool sim_running(const struct sim *s, unsigned i);
bool sim_alive(const struct sim *s, unsigned i); /* the host */
uint64_t sim_hash(const struct sim *s);

/* Watches how `subject` is seen: every node's report of it since now. */
struct sim_watch {
	unsigned subject;
	nsec_t since, first_down, last_down, last_gone, first_gone, last_up;
	unsigned n_down, n_gone, n_up; /* reports; gone: down, stalled or agentless */
};
void sim_watch(struct sim *s, struct sim_watch *w, unsigned subject);
void sim_unwatch(struct sim *s, struct sim_watch *w);

struct sim_traffic {
	uint64_t bytes;   /* on the wire: headers, encryption and acknowledgements included */
	uint64_t packets; /* datagrams and segments */
};
/* Sent by host i, or by all if i is SIM_ALL, since the start or the last sim_traffic_reset(). */
#define SIM_ALL UINT32_MAX
struct sim_traffic sim_traffic(struct sim *s, unsigned i);
/* The most bytes that the overlay of host i said in one second: as on the wire, without what its
 * streams had to say again, and without the application's multicasts, requests and responses. */
uint64_t sim_rate_max(const struct sim *s, unsigned i);
void sim_traffic_reset(struct sim *s);

/* The neighbours, by id, of each of n nodes whose overlay is at rest: the overlay's own rings, and each
 * other for those who lack links because two rings agree. */
void sim_graph(unsigned n, uint64_t (*neighbours)[GOSSIP_NEIGHBOURS_MAX], unsigned *n_of);
void sim_address(unsigned i, struct gossip_addr *ret);

/* What the checks of invariants.c remember. */
struct invariants;
struct invariants *invariants_new(unsigned n);
struct invariants *invariants_free(struct invariants *v, unsigned n); /* takes NULL */
struct invariants *sim_invariants(struct sim *s);

struct sim_counts {
	uint64_t down, up, other;       /* reports of all nodes */
	uint64_t false_down;            /* of a host that was there and could be heard */
	uint64_t false_down_pairs_open; /* now: live, connected, yet down at another */
	uint64_t steps, datagrams, multicasts;
	size_t memory_max; /* of one node */
};
struct sim_counts sim_counts(struct sim *s);

/* The first invariant that an event has broken, or NULL. */
const char *sim_error(const struct sim *s);
/* Checks that hold at any time (invariants.c); an error text, or NULL. */
const char *sim_check(struct sim *s);
/* Node i's memory and bytes, in little time: throughout every run; likewise. */
const char *sim_check_bounds(struct sim *s, unsigned i);
/* Whether what i knows justifies that it has just called `of` down; likewise. */
const char *sim_check_verdict(struct sim *s, unsigned i, unsigned of);
/* Checks that hold when all has been quiet for a while: everyone running sees everyone running up
 * and current, tables are equal, views symmetric and within bounds, the overlay connected. */
const char *sim_check_quiet(struct sim *s);
/* Prints each node's report as it comes. */
void sim_verbose(struct sim *s, bool verbose);
/* Steps of the random generator that scenarios may use. */
uint64_t sim_random(struct sim *s, uint64_t below);
