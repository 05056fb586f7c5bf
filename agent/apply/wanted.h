/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * A wanted state that many look at: the host's reconcile, its audits, and every namespace that
 * has been brought to it. Nobody changes it any more; any thread may hold a reference.
 */
#include <stdatomic.h>

#include "ipvs/model.h"

struct wanted {
	atomic_uint refs;
	struct kernel_state *state; /* complete */
};

struct wanted *wanted_new(struct kernel_state *state); /* takes the state over */
struct wanted *wanted_ref(struct wanted *w);           /* returns w; takes NULL */
struct wanted *wanted_unref(struct wanted *w);         /* takes NULL; returns NULL */
