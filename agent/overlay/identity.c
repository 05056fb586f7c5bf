/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/overlay/identity.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>

#include "agent/util.h"

static int write_file(const char *path, uint64_t id, uint32_t start)
{
	AUTO_FREE char *tmp = xasprintf("%s.new", path);
	FILE *f = fopen(tmp, "we");
	int r = 0;

	if (!f)
		return -errno;
	fprintf(f, "vipd node 1\nid %016" PRIx64 "\nstart %" PRIu32 "\n", id, start);
	if (fflush(f) != 0 || fsync(fileno(f)) < 0)
		r = -errno;
	if (fclose(f) != 0 && r == 0)
		r = -errno;
	if (r == 0 && rename(tmp, path) < 0)
		r = -errno;
	return r;
}

int identity_load(const char *path, struct identity *ret)
{
	FILE *f = fopen(path, "re");
	uint64_t id = 0;
	uint32_t start = 0;
	int r;

	if (f) {
		if (fscanf(f, "vipd node 1 id %" SCNx64 " start %" SCNu32, &id, &start) != 2)
			id = start = 0;
		fclose(f);
	}
	while (id == 0)
		randombytes_buf(&id, sizeof(id));
	start++;
	r = write_file(path, id, start);
	ret->id = id;
	ret->incarnation = (uint64_t)start << 32 | randombytes_random();
	return r;
}
