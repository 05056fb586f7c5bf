/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * Names of VIPs, and the addresses that names have. Compatible with dcos-l4lb: a name that
 * moves here keeps its address.
 */
#include "agent/source/vip_table.h"

/* DNS: a name is at most 253 characters, "name.framework" plus this. */
#define NAMES_SUFFIX "l4lb.thisdcos.directory"
#define NAMES_MAX 253
/* DNS: a label is at most 63 characters. */
#define NAMES_LABEL_MAX 63

/*
 * Mangles a VIP label's or framework's name for DNS: split at dots, empty parts dropped; in each
 * part letters are lower-cased, everything before the first letter or digit dropped, "_"
 * becomes "-", other characters than letters, digits and "-" are deleted, the rest cut at 63
 * characters and "-" stripped from its end. Letters are ASCII's.
 *
 * Returns the length written (without NUL); 0 if nothing is left; -ENAMETOOLONG if it does not
 * fit `size`.
 */
int names_mangle(const char *text, size_t n_text, char *buf, size_t size);

/* Erlang's phash2 of a binary: Jenkins' lookup2 (Dr. Dobb's, 1997) with initial value
 * 13 * 0x9e3779b9. phash2("") = 147926629. */
uint32_t names_phash2(const void *bytes, size_t n_bytes);

/* The ranges of dcos-l4lb: 11.0.0.0-11.255.255.255, fd01:c::-fd01:c::ffff:ffff:ffff:ffff. */
struct address_range names_default_range(uint8_t family);

/* The address that `name` ("redis.marathon") has when nothing collides:
 * min + h(name) mod (max - min); h is phash2 for IPv4, SHA-1 (as a big-endian number) for
 * IPv6. So max itself is nobody's home. */
struct ip_addr names_home(const char *name, const struct address_range *range);

struct names_entry {
	const char *name;       /* in: "redis.marathon" */
	uint32_t number;        /* the caller's */
	struct ip_addr address; /* out */
};

/*
 * Gives each name an address; a pure function of the *sets* of names and taken addresses.
 *
 *   1. A name's home is names_home(). A name alone at a free home gets it.
 *   2. Of several names with one home the first in byte order gets it, unless it is taken.
 *   3. The others, in byte order, take the next free address after their home; after the
 *      last before max comes min.
 *
 * So only names that really collide are moved, and a name that comes or goes disturbs at
 * most those that share its home or were moved to or past it. `entries` are sorted by name
 * and distinct. Returns the number of names not at home, or -ENOSPC if the range is
 * full (some names then keep AF_UNSPEC). O(n log n), also in a nearly full range.
 */
int names_allocate(struct names_entry *entries, size_t n_entries, const struct ip_addr *taken,
	size_t n_taken, const struct address_range *range);
