/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/* What a node says of itself to all others, as bytes of its record: a list of (type, length, value). */
#include "agent/overlay/overlay.h"

/* Returns the length; at most GOSSIP_METADATA_MAX. */
size_t metadata_encode(const struct ip_addr *addresses, size_t n, bool master, const char *version,
	uint8_t out[static GOSSIP_METADATA_MAX]);
/* Fills addresses, role and version; what does not parse is left out. */
void metadata_decode(const uint8_t *bytes, size_t n, struct overlay_node *ret);
/* A member and its metadata. The address that it speaks from counts as one of its own. */
void metadata_describe(const struct gossip_member *m, struct overlay_node *ret);
