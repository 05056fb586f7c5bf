/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * What left the VIP table lately: the kernel knows a VIP or a backend that drains by its
 * address only, and people ask about tasks that have just ended. The last GONE_KEPT. Pure.
 */
#include "agent/source/vip_table.h"
#include "agent/util.h"

#define GONE_KEPT 1024

struct gone_item {
	struct service_key service;
	struct ip_addr address; /* of a backend; AF_UNSPEC: the VIP itself */
	uint16_t port;
	struct ip_addr local_address; /* its form on its own node */
	uint16_t local_port;
	nsec_t when; /* monotonic */
	char *name;  /* the VIP's DNS name; NULL for an IP VIP */
	char *task;  /* of a backend: id */
};

struct gone;

struct gone *gone_new(void);
struct gone *gone_free(struct gone *g); /* takes NULL; returns NULL */

/* `old` (may be NULL) was replaced by `fresh`, which differs by `diff`: notes what is in the one
 * and not in the other. */
void gone_note(struct gone *g, const struct vip_table *old, const struct vip_table *fresh,
	const struct vip_table_diff *diff, nsec_t now);

size_t gone_count(const struct gone *g);
/* The i-th newest. */
const struct gone_item *gone_get(const struct gone *g, size_t i);
/* The newest of this VIP (address AF_UNSPEC) or of this backend in either form; NULL: none. */
const struct gone_item *gone_find(const struct gone *g, const struct service_key *service,
	const struct ip_addr *address, uint16_t port);
