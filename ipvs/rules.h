/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The iptables rules around the VIPs, as text: what `iptables-save` tells in, what
 * `iptables-restore --noflush` takes out. Pure. All rules live in chains of vipd's own, reached by
 * one jump each from the head of a built-in chain, and speak of VIPs only through the sets.
 *
 *   nat PREROUTING   a packet from a container behind this node to a VIP: marked for masquerade,
 *                    and kept from the DNAT rules of port mappings
 *   nat OUTPUT       the node's own connections: kept from those rules
 *   nat POSTROUTING  what was marked leaves with the node's address
 *   filter INPUT     a packet to a VIP's address on a port that no VIP has: rejected at once
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rules_options {
	uint8_t family;  /* AF_INET: iptables; AF_INET6: ip6tables */
	bool masquerade; /* false: no rules for containers behind the node */
	uint32_t mark;   /* the bit(s) of the packet mark that mean "masquerade this" */
};

/* The input of iptables-restore --noflush that brings the tables from `saved` (the output of
 * iptables-save; "" if unknown) to the rules. *ret is NULL if they are there already. Jumps that
 * stand elsewhere than at the head are moved there. 0 or -ENOMEM. Caller frees. */
int rules_script(const struct rules_options *options, const char *saved, char **ret);

/* The same to remove every trace. */
int rules_removal(const char *saved, char **ret);
