/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * Who this node is in the overlay, for as long as its disk lives, and which of its starts this
 * is. No wall clock: starts are numbered on disk, with a random tail against a lost disk.
 */
#include <stdint.h>

struct identity {
	uint64_t id;          /* not 0 */
	uint64_t incarnation; /* start number << 32 | random */
};

/* Reads `path`, counts this start, and writes it back before it returns. A missing or damaged file
 * makes a new identity. 0, or a negative errno if it could not be written: the identity then
 * holds for this start only. */
int identity_load(const char *path, struct identity *ret);
