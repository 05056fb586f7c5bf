/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The overlay's own thread: what it is started with, and what the queues carry. There are two in
 * each direction, so that what the application says to its likes in the cluster (bulk: up to 32 kB
 * each) neither delays nor displaces what is said about nodes.
 */
#include "agent/overlay/overlay.h"
#include "agent/overlay/queue.h"

enum overlay_message_kind {
	/* to the thread */
	MESSAGE_KEYS,
	MESSAGE_CONTACTS,
	MESSAGE_WITNESSES,
	MESSAGE_ADDRESSES,
	MESSAGE_SNAPSHOT,
	MESSAGE_STOP,
	/* from it */
	MESSAGE_NODE,
	MESSAGE_FORGOTTEN,
	MESSAGE_SELF,
	MESSAGE_CONFLICT,
	MESSAGE_NEIGHBOURS,
	MESSAGE_LOG,
};

struct overlay_message {
	enum overlay_message_kind kind;
	union {
		struct keys keys;
		struct {
			size_t n;
			struct gossip_addr list[GOSSIP_CONTACTS_MAX];
		} addresses;
		struct {
			size_t n;
			struct ip_addr list[OVERLAY_ADDRESSES_MAX];
			bool master;
		} own; /* ADDRESSES */
		struct {
			size_t n;
			uint64_t ids[GOSSIP_NEIGHBOURS_MAX];
		} neighbours;
		struct overlay_rendezvous *rendezvous; /* SNAPSHOT */
		struct overlay_node node;
		uint64_t id;
		enum gossip_self self;
		struct {
			int level;
			char text[256];
		} log;
	};
};

/* In either direction: to be sent, or as it came. */
struct overlay_bulk {
	enum overlay_bulk_kind {
		BULK_MULTICAST, /* `peer`: from whom */
		BULK_REQUEST, /* `peer`: the neighbour; `tag`: to be answered under, where it came */
		BULK_RESPONSE,
	} kind;
	uint64_t peer;
	uint32_t tag;
	size_t n;
	uint8_t bytes[];
};

struct overlay_queues {
	struct queue *to_thread, *from_thread;           /* struct overlay_message */
	struct queue *bulk_to_thread, *bulk_from_thread; /* struct overlay_bulk */
};

/* Where a snapshot is handed over; whoever is last frees it. */
struct overlay_rendezvous;
struct overlay_rendezvous *rendezvous_new(void);
/* The thread's side: gives the snapshot (may be NULL) and lets go. */
void rendezvous_give(struct overlay_rendezvous *r, struct overlay_snapshot *snapshot);
/* The asking side: waits at most `timeout`, and lets go. NULL: nothing came. */
struct overlay_snapshot *rendezvous_take(struct overlay_rendezvous *r, nsec_t timeout);

struct engine;

/* Opens the sockets; the engine then belongs to the thread. */
int engine_new(const struct overlay_options *options, const struct overlay_queues *queues,
	struct engine **ret, const char **ret_what);
struct engine *engine_free(struct engine *e);
/* The thread's body: returns when it is told to stop. */
void *engine_run(void *engine);
