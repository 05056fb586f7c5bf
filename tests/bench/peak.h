/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/* The greatest resident memory of this program so far, in KiB. Not getrusage()'s: that one remembers
 * what the process was before exec(), here a Python that holds documents. */
#include <stdio.h>

static inline long peak_kib(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	char line[256];
	long kib = -1;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "VmHWM: %ld", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib;
}
