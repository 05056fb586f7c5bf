/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The list of what was left out of a document or a table, while it grows. All are counted,
 * the first MESOS_REJECTIONS_KEPT keep their texts, cut at REJECT_TEXT_MAX bytes.
 */
#include "agent/source/mesos.h"

#define REJECT_TEXT_MAX ((size_t)200)

struct reject_list {
	struct arena *arena;
	size_t n_rejected[_MESOS_REJECT_N], n_all;
	size_t n, allocated;
	struct mesos_rejection *list;
};

void reject_list_init(struct reject_list *l, struct arena *arena);
void reject_list_done(struct reject_list *l);
/* The texts of `what` are copied; NULL counts as "". The rest becomes its detail. */
__attribute__((format(printf, 3, 4))) void reject_add(
	struct reject_list *l, const struct mesos_rejection *what, const char *format, ...);
/* The same from a list of another arena; only as many as are kept. */
void reject_copy(struct reject_list *l, const struct mesos_rejection *list, size_t n);
/* Copies the kept ones into the arena. */
struct mesos_rejection *reject_list_keep(const struct reject_list *l);
