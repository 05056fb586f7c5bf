/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/* Asking other machines, each for a second or so: their ports, the masters' clocks, names. */
#include <stdbool.h>
#include <sys/socket.h>

#include "tools/doctor/facts.h"

/* False for other families than IPv4 and IPv6. */
bool probe_from_sockaddr(const struct sockaddr *sa, struct ip_addr *ret);
/* Tries all at once, and fills in how each answered. */
void probe_dial(struct peer *peers, size_t n);
/* Asks each for its /health, for the Date of the answer above all. */
void probe_masters(struct master *masters, size_t n);
/* Asks for the name's IPv4 address, vipd's own server and this machine's resolver. */
void probe_name(struct name_facts *name);
