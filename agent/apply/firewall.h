/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * Keeps vipd's iptables rules (ipvs/rules.h) in place: per family, reads with iptables-save
 * and, if they are not as they should be, writes them with one iptables-restore --noflush. The
 * sets that the rules name must exist.
 */
#include <stdbool.h>
#include <systemd/sd-event.h>

#include "agent/util.h"

struct firewall;

struct firewall_options {
	bool ipv6, masquerade; /* ipv6: the rules of that family too */
	uint32_t mark;
};

struct firewall_stats {
	uint64_t n_checks, n_writes; /* per family */
	uint64_t n_repairs;          /* writes because others had changed the rules */
	const char *error;           /* why the rules are not in place; NULL if they are */
};

struct firewall *firewall_new(sd_event *loop, const struct firewall_options *options,
	void (*checked)(void *userdata), void *userdata);
struct firewall *firewall_free(struct firewall *f); /* takes NULL; returns NULL */
/* Checks and mends; `checked` is called when it is through, well or not. Does nothing while one
 * is under way. */
void firewall_check(struct firewall *f);
/* Removes the rules of both families before it returns (some 50 ms): for a flush. 0, or a negative
 * errno (told in the log). */
int firewall_remove(void);
const struct firewall_stats *firewall_stats(const struct firewall *f);
