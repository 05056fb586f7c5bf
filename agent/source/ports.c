/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/source/ports.h"

#include "agent/source/arena.h"

#include <stdlib.h>
#include <string.h>

void port_set_done(struct port_set *set)
{
	free(set->entries);
	*set = (struct port_set){0};
}

static bool is_same(const struct port_entry *a, const struct port_entry *b)
{
	return a->protocol == b->protocol &&
	       ((a->container && a->container == b->container) || (a->host && a->host == b->host));
}

static struct port_label *join(struct port_label *first, struct port_label *second)
{
	struct port_label **end = &first;

	while (*end)
		end = &(*end)->next;
	*end = second;
	return first;
}

void port_set_add(struct port_set *set, const struct port_entry *entry)
{
	struct port_entry merged = *entry;

	for (size_t i = 0; i < set->n;) {
		struct port_entry *e = &set->entries[i];

		if (!is_same(&merged, e)) {
			i++;
			continue;
		}
		merged.labels = join(e->labels, merged.labels);
		merged.container = merged.container ? merged.container : e->container;
		merged.host = merged.host ? merged.host : e->host;
		*e = set->entries[--set->n];
		i = 0; /* the merged entry may be one with those passed already */
	}
	if (set->n == set->allocated) {
		set->allocated = set->allocated ? set->allocated * 2 : 16;
		set->entries = reallocarray(set->entries, set->allocated, sizeof *set->entries);
		if (!set->entries)
			abort();
	}
	set->entries[set->n++] = merged;
}

static bool has_value(const struct mesos_port *port, const char *value)
{
	for (size_t i = 0; i < port->n_vips; i++)
		if (strcmp(port->vips[i], value) == 0)
			return true;
	return false;
}

static void keep_labels(
	struct mesos_port *port, const struct port_label *labels, struct arena *arena)
{
	size_t n = 0;

	for (const struct port_label *l = labels; l; l = l->next)
		n++;
	port->vips = arena_alloc(arena, n * sizeof *port->vips);
	port->vip_keys = arena_alloc(arena, n * sizeof *port->vip_keys);
	for (; labels; labels = labels->next) {
		if (has_value(port, labels->value))
			continue;
		port->vips[port->n_vips] = labels->value;
		port->vip_keys[port->n_vips++] = labels->key;
	}
}

struct mesos_port *port_set_keep(const struct port_set *set, struct arena *arena, size_t *ret_n)
{
	struct mesos_port *ports;
	size_t n = 0;

	for (size_t i = 0; i < set->n; i++)
		n += set->entries[i].labels != NULL;
	*ret_n = n;
	ports = n ? arena_alloc(arena, n * sizeof *ports) : NULL;
	n = 0;
	for (size_t i = 0; i < set->n; i++) {
		const struct port_entry *e = &set->entries[i];

		if (!e->labels)
			continue;
		ports[n] = (struct mesos_port){.protocol = e->protocol,
			.container_port = e->container,
			.host_port = e->host};
		keep_labels(&ports[n++], e->labels, arena);
	}
	return ports;
}
