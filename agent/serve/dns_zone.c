/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/serve/dns_zone.h"

#include "agent/source/arena.h"
#include "agent/source/names.h"
#include "agent/source/strset.h"
#include "agent/util.h"

struct dns_zone {
	struct arena *arena;
	struct strset names;    /* without the zone, in DNS' form */
	struct dns_name *found; /* by number of the name */
	size_t allocated, n_names;
	uint32_t serial;
};

/* "redis.marathon.l4lb.thisdcos.directory" without the zone and in DNS' form; returns its length, 0
 * if this is no such name. */
static size_t relative_name(const char *text, uint8_t ret[static NAMES_MAX + 1])
{
	size_t n = strlen(text), n_suffix = strlen("." NAMES_SUFFIX), length_at = 0;

	if (n <= n_suffix || n > NAMES_MAX || strcmp(text + n - n_suffix, "." NAMES_SUFFIX) != 0)
		return 0;
	n -= n_suffix;
	for (size_t i = 0; i <= n; i++) {
		size_t n_label = i - length_at;

		if (i < n && text[i] != '.') {
			ret[i + 1] = (uint8_t)text[i];
			continue;
		}
		if (n_label < 1 || n_label > NAMES_LABEL_MAX)
			return 0;
		ret[length_at] = (uint8_t)n_label;
		length_at = i + 1;
	}
	return n + 1;
}

static struct dns_name *add_name(struct dns_zone *z, const uint8_t *name, size_t n_name)
{
	size_t n_before = z->names.n;
	uint32_t i = strset_add(&z->names, name, n_name);

	if (z->names.n > z->allocated) {
		z->allocated = z->allocated ? 2 * z->allocated : 64;
		z->found = xrealloc(z->found, z->allocated, sizeof(*z->found));
	}
	if (z->names.n > n_before)
		z->found[i] = (struct dns_name){0};
	return &z->found[i];
}

/* The names that this one ends in. */
static void add_above(struct dns_zone *z, const uint8_t *name, size_t n_name)
{
	for (size_t at = 1U + name[0]; at < n_name; at += 1U + name[at]) {
		struct dns_name *above = add_name(z, name + at, n_name - at);

		if (above->has_below)
			return; /* then those above it are known too */
		above->has_below = true;
	}
}

static void add_vip(struct dns_zone *z, const struct vip *vip)
{
	uint8_t name[NAMES_MAX + 1];
	size_t n = vip->name ? relative_name(vip->name, name) : 0;
	struct dns_name *found;

	if (!n)
		return;
	found = add_name(z, name, n);
	z->n_names += !found->v4.family && !found->v6.family;
	if (vip->key.address.family == AF_INET)
		found->v4 = vip->key.address;
	else
		found->v6 = vip->key.address;
	add_above(z, name, n);
}

struct dns_zone *dns_zone_new(const struct vip_table *table, uint32_t serial)
{
	struct dns_zone *z = xcalloc(1, sizeof(*z));

	z->arena = arena_new();
	strset_init(&z->names, z->arena);
	z->serial = serial;
	for (size_t i = 0; i < table->n_vips; i++)
		add_vip(z, &table->vips[i]);
	return z;
}

struct dns_zone *dns_zone_free(struct dns_zone *z)
{
	if (!z)
		return NULL;
	strset_done(&z->names);
	arena_free(z->arena);
	free(z->found);
	free(z);
	return NULL;
}

const struct dns_name *dns_zone_find(const struct dns_zone *z, const uint8_t *name, size_t n_name)
{
	uint32_t i = strset_find(&z->names, name, n_name);

	return i == STRSET_NONE ? NULL : &z->found[i];
}

uint32_t dns_zone_serial(const struct dns_zone *z)
{
	return z->serial;
}

size_t dns_zone_n_names(const struct dns_zone *z)
{
	return z->n_names;
}
