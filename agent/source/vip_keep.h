/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * What a master that has just taken over does not know yet. It has its agents from the registry, but
 * their tasks only from themselves, one after the other, as they register again. Until then a document
 * lists an agent as recovered and none of its tasks, which run on as if nothing had happened.
 */
#include "agent/source/vip_table.h"

/*
 * The backends of `old` (NULL: none) whose agents are recovered ones of `fresh` join `fresh` as they
 * are; where `fresh` has the same endpoint behind the same VIP, that counts. They stay for as many
 * tables as this is done with in turn, until their agent is no recovered one any more.
 *
 * Where a recovered agent's address is not known, it may be that of any agent of `old` that has not
 * registered, so the backends of all these stay.
 *
 * Names have the addresses that they have when they are all there, which may take some of `fresh`
 * elsewhere, and away where a range is full; `options` (may be NULL) has the ranges. The agents of
 * what stays are agents of `fresh`. Sets and returns fresh->n_kept. A pure function of both tables, to
 * be used once, before `fresh` is handed on.
 */
size_t vip_table_keep_recovered(struct vip_table *fresh, const struct vip_table *old,
	const struct vip_table_options *options);
