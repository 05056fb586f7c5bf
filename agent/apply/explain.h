/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/* Why the kernel refused a command, in words for people. Pure. */
#include "ipvs/plan.h"

#define EXPLAIN_STRLEN (STEP_STRLEN + 256)

/* "route add fd01:d::1 src fd00:aa::12: Invalid argument: fd00:aa::12 is not ...", for a negative
 * errno; returns buf. Where nothing is known about that error it is the step and the error. */
const char *explain_failure(const struct step *step, int error, char buf[static EXPLAIN_STRLEN]);
