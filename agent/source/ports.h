/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The ports of one task, merged from their several sources: entries of one protocol with the
 * same container port, or the same host port, are one port.
 */
#include "agent/source/mesos.h"

/* Port mappings of one task: more than any container engine sets up, and few enough that
 * merging them, which compares all with all, stays under a millisecond or so. */
#define PORTS_MAX 4096

struct port_label {
	const char *key, *value;
	struct port_label *next;
};

struct port_entry {
	uint8_t protocol;
	uint16_t container, host;  /* 0: not known */
	struct port_label *labels; /* VIP labels */
};

struct port_set {
	size_t n, allocated;
	struct port_entry *entries;
};

void port_set_done(struct port_set *set);
/* Adds an entry, merging it with those that it makes one with. Where they contradict each
 * other (one container port mapped to two host ports) the entry added last wins. */
void port_set_add(struct port_set *set, const struct port_entry *entry);
/* The ports with VIP labels, each value once, in the arena; *ret_n of them. */
struct mesos_port *port_set_keep(const struct port_set *set, struct arena *arena, size_t *ret_n);
