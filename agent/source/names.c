/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Addresses are reckoned with as 128 bit offsets from the range's beginning, for both
 * families. Occupied addresses stand in a hash table, each with a later address up to which
 * nothing is known to be free; following and shortening these hints (as in union-find) makes
 * the search for the next free address quick in long occupied runs.
 */
#include "agent/source/names.h"

#include <errno.h>
#include <nettle/sha1.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned __int128 u128;

/* ---- mangling ---- */

/* What becomes of a character: 0 is dropped, "-" too where a part begins. */
static char mangle_char(char c)
{
	if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-')
		return c;
	if (c >= 'A' && c <= 'Z')
		return (char)(c - 'A' + 'a');
	return c == '_' ? '-' : '\0';
}

/* One part, n bytes of s, into out; returns its length. */
static size_t mangle_part(const char *s, size_t n, char out[static NAMES_LABEL_MAX])
{
	size_t n_out = 0;

	for (size_t i = 0; i < n && n_out < NAMES_LABEL_MAX; i++) {
		char c = mangle_char(s[i]);

		if (c && (n_out || c != '-'))
			out[n_out++] = c;
	}
	while (n_out && out[n_out - 1] == '-')
		n_out--;
	return n_out;
}

int names_mangle(const char *text, size_t n_text, char *buf, size_t size)
{
	const char *end = text + n_text, *next;
	char part[NAMES_LABEL_MAX];
	size_t used = 0;

	if (!size)
		return -ENAMETOOLONG;
	for (; text <= end; text = next + 1) {
		const char *dot = memchr(text, '.', (size_t)(end - text));
		size_t n;

		next = dot ? dot : end;
		n = mangle_part(text, (size_t)(next - text), part);
		if (!n)
			continue;
		if (used + 1 + n >= size) /* the dot and the NUL; a first part has one to spare */
			return -ENAMETOOLONG;
		if (used)
			buf[used++] = '.';
		memcpy(buf + used, part, n);
		used += n;
	}
	buf[used] = '\0';
	return (int)used;
}

/* ---- hashes ---- */

static uint32_t little_endian(const unsigned char *p, size_t n)
{
	uint32_t v = 0;

	for (size_t i = 0; i < n; i++)
		v |= (uint32_t)p[i] << 8 * i;
	return v;
}

/* The mix of Bob Jenkins, "Algorithm Alley", Dr. Dobb's Journal, September 1997. */
static void mix(uint32_t *a, uint32_t *b, uint32_t *c)
{
	static const uint8_t shifts[3][3] = {{13, 8, 13}, {12, 16, 5}, {3, 10, 15}};

	for (int i = 0; i < 3; i++) {
		*a = (*a - *b - *c) ^ *c >> shifts[i][0];
		*b = (*b - *c - *a) ^ *a << shifts[i][1];
		*c = (*c - *a - *b) ^ *b >> shifts[i][2];
	}
}

uint32_t names_phash2(const void *bytes, size_t n_bytes)
{
	const unsigned char *p = bytes;
	const uint32_t golden = 0x9e3779b9;
	uint32_t a = golden, b = golden, c = golden * 13;
	size_t n = n_bytes;

	if (!n) /* Erlang does not mix what is empty */
		return c;
	for (; n >= 12; p += 12, n -= 12) {
		a += little_endian(p, 4);
		b += little_endian(p + 4, 4);
		c += little_endian(p + 8, 4);
		mix(&a, &b, &c);
	}
	c += (uint32_t)n_bytes;
	a += little_endian(p, n < 4 ? n : 4);
	if (n > 4)
		b += little_endian(p + 4, n < 8 ? n - 4 : 4);
	if (n > 8)
		c += little_endian(p + 8, n - 8) << 8;
	mix(&a, &b, &c);
	return c;
}

/* The 160 bits of SHA-1, modulo m, a bit at a time: they do not fit 128. */
static u128 sha1_mod(const char *name, u128 m)
{
	uint8_t digest[SHA1_DIGEST_SIZE];
	struct sha1_ctx ctx;
	u128 rest = 0;

	sha1_init(&ctx);
	sha1_update(&ctx, strlen(name), (const uint8_t *)name);
	sha1_digest(&ctx, sizeof digest, digest);
	for (size_t i = 0; i < 8 * sizeof digest; i++) {
		bool carry = rest >> 127;

		rest = rest << 1 | (digest[i / 8] >> (7 - i % 8) & 1);
		if (carry || rest >= m)
			rest -= m;
	}
	return rest;
}

/* ---- addresses as numbers ---- */

static u128 to_number(const struct ip_addr *a)
{
	u128 v = 0;

	for (size_t i = 0; i < ip_addr_len(a->family); i++)
		v = v << 8 | a->bytes[i];
	return v;
}

static struct ip_addr to_address(u128 v, uint8_t family)
{
	struct ip_addr a = {.family = family};

	for (size_t i = ip_addr_len(family); i-- > 0; v >>= 8)
		a.bytes[i] = (uint8_t)v;
	return a;
}

static u128 range_size(const struct address_range *r)
{
	return to_number(&r->max) - to_number(&r->min);
}

static u128 home_offset(const char *name, const struct address_range *range)
{
	u128 size = range_size(range);

	return range->min.family == AF_INET ? names_phash2(name, strlen(name)) % size
					    : sha1_mod(name, size);
}

static struct ip_addr at_offset(const struct address_range *range, u128 offset)
{
	return to_address(to_number(&range->min) + offset, range->min.family);
}

struct ip_addr names_home(const char *name, const struct address_range *range)
{
	return at_offset(range, home_offset(name, range));
}

struct address_range names_default_range(uint8_t family)
{
	struct address_range r;
	const char *error;
	const char *text = family == AF_INET ? "11.0.0.0-11.255.255.255"
					     : "fd01:c::-fd01:c::ffff:ffff:ffff:ffff";

	if (address_range_parse(text, family, &r, &error) < 0)
		abort();
	return r;
}

static int refuse(const char **ret_error, const char *error)
{
	*ret_error = error;
	return -EINVAL;
}

int address_range_parse(
	const char *text, uint8_t family, struct address_range *ret, const char **ret_error)
{
	const char *dash = strchr(text, '-');
	char min[IP_ADDR_STRLEN];
	struct address_range r;

	if (!dash || (size_t)(dash - text) >= sizeof min)
		return refuse(ret_error, "a range is MIN-MAX, two addresses");
	memcpy(min, text, (size_t)(dash - text));
	min[dash - text] = '\0';
	if (ip_addr_parse(min, &r.min) < 0 || ip_addr_parse(dash + 1, &r.max) < 0)
		return refuse(ret_error, "a range is MIN-MAX, two addresses");
	if (r.min.family != family || r.max.family != family)
		return refuse(ret_error, family == AF_INET ? "the addresses must be IPv4"
							   : "the addresses must be IPv6");
	if (ip_addr_cmp(&r.min, &r.max) >= 0)
		return refuse(ret_error, "MIN must be less than MAX");
	*ret = r;
	return 0;
}

/* ---- allocation ---- */

struct slot {
	bool used;
	u128 offset, next; /* from offset up to next nothing is free */
};

struct occupied {
	u128 size; /* of the range */
	size_t n, n_slots;
	struct slot *slots;
};

static void occupied_init(struct occupied *o, u128 size, size_t max)
{
	*o = (struct occupied){.size = size, .n_slots = 64};
	while (o->n_slots < max * 2)
		o->n_slots *= 2;
	o->slots = calloc(o->n_slots, sizeof *o->slots);
	if (!o->slots)
		abort();
}

/* The slot of this offset, or the free one where it belongs. */
static struct slot *slot_of(const struct occupied *o, u128 offset)
{
	size_t mask = o->n_slots - 1;
	uint64_t h = ((uint64_t)offset ^ (uint64_t)(offset >> 64)) * 0x9e3779b97f4a7c15;
	size_t i = (size_t)(h >> 32) & mask;

	while (o->slots[i].used && o->slots[i].offset != offset)
		i = (i + 1) & mask;
	return &o->slots[i];
}

/* True if the offset was free. */
static bool occupy(struct occupied *o, u128 offset)
{
	struct slot *s = slot_of(o, offset);

	if (s->used)
		return false;
	*s = (struct slot){true, offset, offset + 1 == o->size ? 0 : offset + 1};
	o->n++;
	return true;
}

/* The first free offset at or after this one, wrapping. There must be one. */
static u128 next_free(struct occupied *o, u128 offset)
{
	u128 free_offset = offset;
	struct slot *s;

	for (s = slot_of(o, free_offset); s->used; s = slot_of(o, free_offset))
		free_offset = s->next;
	for (s = slot_of(o, offset); s->used; s = slot_of(o, offset)) {
		offset = s->next;
		s->next = free_offset;
	}
	return free_offset;
}

static void occupy_taken(struct occupied *o, const struct ip_addr *taken, size_t n_taken,
	const struct address_range *range)
{
	u128 min = to_number(&range->min);

	for (size_t i = 0; i < n_taken; i++) {
		u128 v = to_number(&taken[i]);

		if (taken[i].family == range->min.family && v >= min && v - min < o->size)
			occupy(o, v - min);
	}
}

int names_allocate(struct names_entry *entries, size_t n_entries, const struct ip_addr *taken,
	size_t n_taken, const struct address_range *range)
{
	struct occupied o;
	int n_moved = 0, result = 0;

	occupied_init(&o, range_size(range), n_entries + n_taken + 1);
	occupy_taken(&o, taken, n_taken, range);
	for (size_t i = 0; i < n_entries; i++) {
		u128 home = home_offset(entries[i].name, range);

		entries[i].address =
			occupy(&o, home) ? at_offset(range, home) : (struct ip_addr){0};
	}
	for (size_t i = 0; i < n_entries; i++) {
		u128 offset;

		if (entries[i].address.family != AF_UNSPEC)
			continue;
		if (o.n >= o.size) {
			result = -ENOSPC;
			break;
		}
		offset = next_free(&o, home_offset(entries[i].name, range));
		occupy(&o, offset);
		entries[i].address = at_offset(range, offset);
		n_moved++;
	}
	free(o.slots);
	return result < 0 ? result : n_moved;
}
