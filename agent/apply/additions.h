/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The order in which a plan adds destinations, when the kernel has just lost them.
 *
 * IPVS keeps a deleted destination for two minutes in a list, latest first, and looks each new one up
 * in it, from the head; one that is found leaves the list. After `ipvsadm -C` of 100,000 destinations
 * putting them back takes minutes if it is done in any order, and a second in the reverse order of
 * their deletion: then each is found at the head. The kernel deletes services in the order of its table
 * of services, which is the order in which it showed them before. (Not the one in which it shows them once
 * they are back: Linux 7 orders the table anew when it grows.) Within a service the order does not matter
 * much. tests/kernel/test_programming.c holds the kernel to this.
 */
#include "ipvs/plan.h"

/* Sorts each run of steps that add destinations: those of the services that `lost`, as read from the
 * kernel before, showed last come first. Steps of one service stay together and in order. */
void additions_sort(struct plan *p, const struct kernel_state *lost);
