/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/* "Did you mean ...?" */
#include <stddef.h>

struct suggestion {
	const char *word;
	const char *best; /* NULL: nothing is near */
	size_t distance;
};

void suggest_begin(struct suggestion *s, const char *word);
/* Offers one more possibility, of which the nearest is kept; borrowed. */
void suggest_offer(struct suggestion *s, const char *candidate);
