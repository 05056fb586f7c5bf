/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A container's registration of any bytes: refused, or a path that is just those bytes. */
#include "agent/containers/registry.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[REGISTRY_PATH_SIZE];
	size_t n;

	if (registry_parse(data, size, path))
		return 0;
	n = strlen(path);
	if (path[0] != '/' || n > size || n + 1 < size || memcmp(path, data, n) != 0 ||
		(n < size && data[n] != '\n'))
		abort();
	return 0;
}
