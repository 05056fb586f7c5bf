/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Runs a fuzz target on every file of the directories given: the corpus as an ordinary test. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
	static uint8_t buf[1 << 20];
	FILE *f = fopen(path, "rb");
	uint8_t *exact;
	size_t n;

	if (!f) {
		perror(path);
		return -1;
	}
	n = fread(buf, 1, sizeof buf, f);
	fclose(f);
	exact = malloc(n ? n : 1); /* so that a sanitizer sees reads beyond it */
	if (!exact)
		abort();
	for (size_t i = 0; i < n; i++)
		exact[i] = buf[i];
	LLVMFuzzerTestOneInput(exact, n);
	free(exact);
	return 0;
}

static int replay_directory(const char *path, size_t *n)
{
	DIR *d = opendir(path);
	int r = 0;

	if (!d) {
		perror(path);
		return -1;
	}
	for (struct dirent *e; (e = readdir(d)) && r == 0;) {
		char file[4096];

		if (e->d_name[0] == '.')
			continue;
		snprintf(file, sizeof file, "%s/%s", path, e->d_name);
		r = replay_file(file);
		++*n;
	}
	closedir(d);
	return r;
}

int main(int argc, char **argv)
{
	size_t n = 0;

	for (int i = 1; i < argc; i++)
		if (replay_directory(argv[i], &n) < 0)
			return 1;
	printf("%zu files\n", n);
	return n ? 0 : 1;
}
