/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The overlay on port 61420: gossip/ with sockets, encryption and a thread of its own, so that
 * neither a large document nor a slow kernel lock delays a ping. The thread and the daemon's
 * loop exchange messages through bounded queues, and nothing else.
 */
#include <systemd/sd-event.h>

#include "agent/desired/node.h"
#include "agent/overlay/identity.h"
#include "agent/overlay/keys.h"
#include "gossip/gossip.h"

#define OVERLAY_PORT 61420
/* Addresses of a node that its metadata can name. */
#define OVERLAY_ADDRESSES_MAX 16

struct overlay;

struct overlay_options {
	struct keys keys;
	const char *cluster; /* its name, authenticated with every packet */
	struct identity identity;
	struct ip_addr address,
		address6; /* where this node is reached; AF_UNSPEC: not by that family */
	uint16_t port;
	unsigned int minority_permille;
	nsec_t forget_after;
	const struct ip_addr *own; /* all addresses of this node, for its metadata */
	size_t n_own;
	bool master; /* likewise: a Mesos master runs here */
};

/* A node as its own metadata and the overlay describe it. */
struct overlay_node {
	uint64_t id, incarnation, accuser;
	enum gossip_status status;
	nsec_t silent; /* since when no path has led there; 0 if up */
	nsec_t told;   /* when the overlay's thread said so */
	/* DOWN: the steps to that verdict, as this node saw them (gossip.h); 0: it did not */
	nsec_t missed, probed, severed;
	size_t n_addresses;
	struct ip_addr addresses[OVERLAY_ADDRESSES_MAX];
	char version[24]; /* of its vipd; "" if not known */
	bool master;      /* it says that a Mesos master runs on it */
};

struct overlay_handler {
	/* A node's status or addresses are other than before. */
	void (*node)(void *userdata, const struct overlay_node *node);
	void (*forgotten)(void *userdata, uint64_t id);
	void (*self)(void *userdata, enum gossip_self self);
	/* Someone else speaks as this node: stop. */
	void (*conflict)(void *userdata);
	/* What other nodes' daemons say; see overlay_multicast() and below. Bytes are valid for the
	 * call. What a node said in an earlier life does not come. */
	void (*multicast)(void *userdata, uint64_t from, const uint8_t *bytes, size_t n);
	void (*request)(
		void *userdata, uint64_t from, uint32_t tag, const uint8_t *bytes, size_t n);
	void (*response)(void *userdata, uint64_t from, const uint8_t *bytes, size_t n);
	/* The nodes that requests can be sent to are others than before. */
	void (*neighbours)(void *userdata, const uint64_t *ids, size_t n);
	void *userdata;
};

/* Opens the port and starts the thread; *ret_what (static text) says what failed. 0 or a negative
 * errno. */
int overlay_new(sd_event *loop, const struct overlay_options *options,
	const struct overlay_handler *handler, struct overlay **ret, const char **ret_what);
/* Stops the thread. Takes NULL; returns NULL. */
struct overlay *overlay_free(struct overlay *o);

void overlay_set_keys(struct overlay *o, const struct keys *keys);
/* Whom to join through, and whose kernels prove that our own path works (gateway, masters). */
void overlay_set_contacts(struct overlay *o, const struct gossip_addr *contacts, size_t n);
void overlay_set_witnesses(struct overlay *o, const struct gossip_addr *witnesses, size_t n);

struct overlay_transport_stats {
	uint64_t packets_in, packets_out, bytes_in, bytes_out; /* datagrams, with all heads */
	uint64_t links_bytes_in, links_bytes_out;              /* payload of TCP */
	uint64_t send_errors, links_refused, handshakes_failed;
	uint64_t forged, replayed, malformed, unknown_key, challenges;
	uint64_t events_dropped;         /* and told again when there was room */
	uint64_t bulk_dropped;           /* multicasts, requests and responses that found none */
	uint64_t floods;                 /* seconds with more datagrams than a cluster sends */
	uint64_t probes_not_asked;       /* of hosts' kernels: no descriptor or port was left */
	uint64_t accepts_paused;         /* times that no descriptor was left for a link */
	int receive_buffer, send_buffer; /* bytes, as the kernel granted them */
	nsec_t longest_turn;             /* of the thread's loop */
};

struct overlay_snapshot {
	struct gossip_stats stats;
	struct overlay_transport_stats transport;
	size_t n_members;
	struct gossip_member *members; /* `metadata` is not valid */
	struct overlay_node *nodes;    /* beside each member */
	size_t n_neighbours;
	struct gossip_neighbour neighbours[GOSSIP_NEIGHBOURS_MAX * 4];
	uint64_t id, incarnation;
};

/* This node's addresses or role are others than before; where the overlay listens does not change. */
void overlay_set_addresses(struct overlay *o, const struct ip_addr *own, size_t n, bool master);

/* To the daemons of all nodes; of one neighbour; in answer to its request. At most GOSSIP_CAST_MAX
 * bytes. A multicast reaches everyone, also through some loss of links; a request or response is lost
 * if the neighbour is none any more or is behind, and all are while the thread does not keep
 * up: whoever waits for an answer needs a time-out. */
void overlay_multicast(struct overlay *o, const uint8_t *bytes, size_t n);
void overlay_request(struct overlay *o, uint64_t neighbour, const uint8_t *bytes, size_t n);
void overlay_respond(
	struct overlay *o, uint64_t neighbour, uint32_t tag, const uint8_t *bytes, size_t n);

/* What the thread knows now: waits for it, a few milliseconds; NULL if it does not answer. */
struct overlay_snapshot *overlay_snapshot(struct overlay *o);
struct overlay_snapshot *overlay_snapshot_free(struct overlay_snapshot *s);

struct gossip_addr overlay_address(const struct ip_addr *a, uint16_t port);
struct ip_addr overlay_ip(const struct gossip_addr *a);
