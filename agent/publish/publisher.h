/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * This node's part in publishing: ties the state machine (publish.h) to the overlay, the clock, the
 * disk and the configuration. Without an overlay, or with a file as source, it has no part: the mode is
 * PUBLISH_POLLING for good, and nothing else happens.
 */
#include <systemd/sd-event.h>

#include "agent/overlay/cluster.h"
#include "agent/publish/publish.h"

struct publisher;

struct publisher_handler {
	/* Another mode than before: whom to poll is another question now. */
	void (*mode)(void *userdata, enum publish_mode mode, enum publish_mode before);
	/* The published table is this one now; the handler owns it. */
	void (*table)(void *userdata, struct vip_table *table);
	/* The publisher has said that it is still so. */
	void (*confirmed)(void *userdata);
	/* Its own master is to be asked again, or publisher_lead() to be called at once. */
	void (*lead)(void *userdata);
	void *userdata;
};

/* `config`, `node` and `cluster` must outlive it. 0 or a negative errno. */
int publisher_new(sd_event *loop, const struct config *config, const struct node *node,
	struct cluster *cluster, const struct publisher_handler *handler, struct publisher **ret);
struct publisher *publisher_free(struct publisher *p); /* takes NULL; returns NULL */

/* Everything here takes NULL, for a daemon that has not come that far. */

/* The overlay may be on, the node's addresses or the configuration may be others. */
void publisher_update(struct publisher *p);
void publisher_multicast(struct publisher *p, uint64_t from, const uint8_t *bytes, size_t n);
void publisher_request(
	struct publisher *p, uint64_t from, uint32_t tag, const uint8_t *bytes, size_t n);
void publisher_response(struct publisher *p, uint64_t from, const uint8_t *bytes, size_t n);
void publisher_neighbours(struct publisher *p, const uint64_t *ids, size_t n);

/* As publish_lead() and its like. */
bool publisher_lead(struct publisher *p, const struct vip_table *table);
void publisher_stop_leading(struct publisher *p);
void publisher_polled(struct publisher *p);

enum publish_mode publisher_mode(const struct publisher *p);
/* Base URL of the master beside this vipd; NULL: there is none. */
const char *publisher_own_master(const struct publisher *p);
/* False if there is no state machine: no overlay. */
bool publisher_status(struct publisher *p, struct publish_status *ret);
