/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/* The overlay's own thread: what it is started with, and what the two queues carry. */
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
		} own;                                 /* ADDRESSES */
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

/* Where a snapshot is handed over; whoever is last frees it. */
struct overlay_rendezvous;
struct overlay_rendezvous *rendezvous_new(void);
/* The thread's side: gives the snapshot (may be NULL) and lets go. */
void rendezvous_give(struct overlay_rendezvous *r, struct overlay_snapshot *snapshot);
/* The asking side: waits at most `timeout`, and lets go. NULL: nothing came. */
struct overlay_snapshot *rendezvous_take(struct overlay_rendezvous *r, nsec_t timeout);

struct engine;

/* Opens the sockets; the engine then belongs to the thread. */
int engine_new(const struct overlay_options *options, struct queue *in, struct queue *out,
	struct engine **ret, const char **ret_what);
struct engine *engine_free(struct engine *e);
/* The thread's body: returns when it is told to stop. */
void *engine_run(void *engine);

/* Metadata: a list of (type, length, value). Returns the length; at most GOSSIP_METADATA_MAX. */
size_t metadata_encode(const struct ip_addr *addresses, size_t n, const char *version,
	uint8_t out[static GOSSIP_METADATA_MAX]);
/* Fills addresses and version; what does not parse is left out. */
void metadata_decode(const uint8_t *bytes, size_t n, struct overlay_node *ret);
