/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The names of a VIP table, found by what a DNS query asks for. A value of its own: it borrows
 * nothing from the table, and nobody changes it once it is made.
 */
#include "agent/source/vip_table.h"

struct dns_zone;

/* A name of the table, or one that only has such names below it ("marathon", where there is
 * "redis.marathon"). */
struct dns_name {
	struct ip_addr v4, v6; /* AF_UNSPEC: none */
	bool has_below;        /* other names end in it */
};

/* `serial` is the zone's version, in its SOA record. O(names). */
struct dns_zone *dns_zone_new(const struct vip_table *table, uint32_t serial);
struct dns_zone *dns_zone_free(struct dns_zone *z); /* takes NULL; returns NULL */

/* What there is under this name, given without the zone's own part, in DNS' form (each label
 * after its length, "\5redis\10marathon") and lower case. NULL: nothing. O(1). */
const struct dns_name *dns_zone_find(const struct dns_zone *z, const uint8_t *name, size_t n_name);
uint32_t dns_zone_serial(const struct dns_zone *z);
size_t dns_zone_n_names(const struct dns_zone *z); /* with an address */
