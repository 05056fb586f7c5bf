/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A configuration file of any bytes: it is refused with words, or what it gives, printed, reads
 * back as the same. */
#include "agent/config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads bytes as a file. NULL if they are refused; *ret_errors is what was said. */
static struct config *read_bytes(const void *data, size_t size, char **ret_errors)
{
	int fd = memfd_create("config", MFD_CLOEXEC), r;
	struct config *c = config_new();
	char path[64];
	size_t n;
	FILE *errors = open_memstream(ret_errors, &n);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = config_read_file(c, path, errors);
	fclose(errors);
	close(fd);
	if ((r < 0) != (**ret_errors != '\0'))
		abort(); /* an error without words, or words without an error */
	return r < 0 ? config_free(c) : c;
}

static char *print(const struct config *c)
{
	char *text = NULL;
	size_t n;
	FILE *out = open_memstream(&text, &n);

	config_print(c, out);
	fclose(out);
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *errors = NULL, *text, *again_errors = NULL;
	struct config *c = read_bytes(data, size, &errors), *again;

	free(errors);
	if (!c)
		return 0;
	text = print(c);
	again = read_bytes(text, strlen(text), &again_errors);
	if (again) {
		char *again_text = print(again);

		if (strcmp(text, again_text) != 0)
			abort();
		free(again_text);
		config_free(again);
	}
	free(again_errors);
	free(text);
	config_free(c);
	return 0;
}
