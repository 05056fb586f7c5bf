/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/apply/wanted.h"

#include "agent/util.h"

struct wanted *wanted_new(struct kernel_state *state)
{
	struct wanted *w = xcalloc(1, sizeof(*w));

	atomic_init(&w->refs, 1);
	w->state = state;
	return w;
}

struct wanted *wanted_ref(struct wanted *w)
{
	if (w)
		atomic_fetch_add(&w->refs, 1);
	return w;
}

struct wanted *wanted_unref(struct wanted *w)
{
	if (w && atomic_fetch_sub(&w->refs, 1) == 1) {
		kernel_state_free(w->state);
		free(w);
	}
	return NULL;
}
