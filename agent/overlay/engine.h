/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * What the files of the overlay's thread share: the engine, and what each does for the others.
 * Everything here runs in that thread.
 *
 *	overlay_thread.c   the loop, a turn of it, and the queues to and from the daemon
 *	datagrams.c        UDP
 *	links.c            TCP connections that carry links
 *	probes.c           is a host's kernel there?
 *	sockets.c          addresses, dialling, listening, and what errors say of the own path
 *	metadata.c         what a node says of itself, as bytes
 */
#include "agent/overlay/overlay_thread.h"
#include "agent/overlay/seal.h"

#define TIMER_ACCURACY 500 /* us */

/* Datagrams first, the clock last; except that after many of them everyone else has a turn. */
enum {
	PRIORITY_DATAGRAM = -20,
	PRIORITY_LINK = -10,
	PRIORITY_TIMER = 10,
	PRIORITY_DATAGRAM_REST = 20,
};

struct link;
struct probe;

struct engine {
	struct queue *in, *out, *bulk_in, *bulk_out;
	sd_event *loop;
	sd_event_source *post, *timer, *commands, *bulk;
	struct gossip *gossip;
	struct seal *seal;
	struct gossip_addr self4, self6; /* family 0: not by that family */
	int udp[2], tcp[2];              /* IPv4, IPv6; -1: none */
	sd_event_source *udp_io[2], *tcp_io[2];
	struct link *all;       /* every link */
	struct link *links;     /* those that gossip knows, by handle */
	struct link *greetings; /* oldest first */
	struct probe *probes;
	size_t n_greetings, n_probes;
	bool local_ok, stop, retell;
	unsigned int n_local_errors;
	bool ahead;    /* of other threads */
	nsec_t second; /* in which n_second datagrams came */
	uint64_t n_second, n_calm;
	sd_event_source *accept_again;
	struct overlay_transport_stats stats;
	uint64_t id, incarnation;
	size_t n_neighbours; /* as the daemon was told */
	uint64_t neighbours[GOSSIP_NEIGHBOURS_MAX];
};

/* A list whose items know where they stand, so that any can leave. */
#define LIST_ADD(head, item)                        \
	do {                                        \
		(item)->next = (head);              \
		(item)->at = &(head);               \
		if (head)                           \
			(head)->at = &(item)->next; \
		(head) = (item);                    \
	} while (0)
#define LIST_REMOVE(item)                              \
	do {                                           \
		*(item)->at = (item)->next;            \
		if ((item)->next)                      \
			(item)->next->at = (item)->at; \
	} while (0)

/* --- overlay_thread.c -------------------------------------------------------- */

/* A line for the log, through the queue. `level`: as syslog(3). */
__attribute__((format(printf, 3, 4))) void engine_say(
	struct engine *e, int level, const char *format, ...);
/* gossip's only faults are those of memory, and agent/ ends at those. */
void engine_must(int r);
/* Ahead of everyone else, where that is allowed. */
void engine_set_ahead(struct engine *e, bool ahead);

/* --- datagrams.c; i: 0 IPv4, 1 IPv6 ------------------------------------------ */

/* 0 or a negative errno. */
int datagrams_open(struct engine *e, int i, const struct gossip_addr *self);
void datagrams_send(struct engine *e, const struct gossip_effect *effect);

/* --- links.c ----------------------------------------------------------------- */

int links_init(struct engine *e);
/* Connections are taken on this address from now on. 0 or a negative errno. */
int links_listen(struct engine *e, int i, const struct gossip_addr *self);
void links_done(struct engine *e); /* ends all, without telling gossip */
/* What gossip wants done; it hears what became of it. */
void links_open(struct engine *e, const struct gossip_effect *effect);
void links_send(struct engine *e, const struct gossip_effect *effect);
void links_close(struct engine *e, const struct gossip_effect *effect);
void links_abort(struct engine *e, const struct gossip_effect *effect);
/* Those of a key that was taken out of the key file end: whoever had only that key is out. */
void links_end_stale(struct engine *e);

/* --- probes.c ---------------------------------------------------------------- */

void probes_start(struct engine *e, const struct gossip_effect *effect);
void probes_done(struct engine *e);

/* --- sockets.c --------------------------------------------------------------- */

socklen_t sockets_to_sockaddr(const struct gossip_addr *a, struct sockaddr_storage *ret);
struct gossip_addr sockets_from_sockaddr(const struct sockaddr_storage *ss); /* family 0: another */
/* A TCP socket from our own address, on its way to `to`. A descriptor or a negative errno. */
int sockets_dial(const struct engine *e, const struct gossip_addr *to);
/* A socket of this type on our address and port. A descriptor or a negative errno. */
int sockets_listen(const struct gossip_addr *a, int type);

/* One more packet is on its way (0), or could not be sent (errno). */
void path_used(struct engine *e, int error);
/* True for errors that tell of this node, not of the other. */
bool path_is_broken_by(int error);
