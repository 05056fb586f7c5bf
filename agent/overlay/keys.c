/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/overlay/keys.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/stat.h>

#include "agent/util.h"

uint8_t key_id(const uint8_t bytes[static KEY_BYTES])
{
	static const char context[] = "vipd key id";
	uint8_t hash[crypto_generichash_BYTES_MIN];

	crypto_generichash(
		hash, sizeof(hash), (const uint8_t *)context, sizeof(context), bytes, KEY_BYTES);
	return hash[0];
}

void keys_wipe(struct keys *k)
{
	sodium_memzero(k, sizeof(*k));
}

void keys_insecure(struct keys *ret)
{
	keys_wipe(ret);
	ret->n = 1;
	ret->list[0].id = key_id(ret->list[0].bytes);
}

/* One line into the next key. NULL, or what is wrong with it. */
static const char *take_line(struct keys *k, char *line)
{
	uint8_t bytes[KEY_BYTES];
	const char *end;
	size_t n, len = strcspn(line, "#\r\n");

	while (len && isspace((unsigned char)line[len - 1]))
		len--;
	if (len == 0)
		return NULL;
	if (k->n == KEYS_MAX)
		return "more than three keys";
	if (sodium_hex2bin(bytes, sizeof(bytes), line, len, " \t", &n, &end) != 0 ||
		n != KEY_BYTES || end != line + len)
		return "not a key: 64 hexadecimal digits (vipctl keygen makes one)";
	for (size_t i = 0; i < k->n; i++)
		if (k->list[i].id == key_id(bytes))
			return "has the same id as a key above: make another one";
	k->list[k->n].id = key_id(bytes);
	memcpy(k->list[k->n++].bytes, bytes, KEY_BYTES);
	sodium_memzero(bytes, sizeof(bytes));
	return NULL;
}

static int read_lines(FILE *f, const char *path, struct keys *k, char **ret_error)
{
	char line[512];

	for (int i = 1; fgets(line, sizeof(line), f); i++) {
		const char *error = take_line(k, line);

		sodium_memzero(line, sizeof(line));
		if (error) {
			*ret_error = xasprintf("%s:%d: %s", path, i, error);
			return -EINVAL;
		}
	}
	if (k->n > 0)
		return 0;
	*ret_error = xasprintf("%s: holds no key", path);
	return -EINVAL;
}

int keys_read(const char *path, struct keys *ret, char **ret_error)
{
	struct keys k = {0};
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY), r;
	struct stat st;
	FILE *f;

	if (fd < 0 || fstat(fd, &st) < 0) {
		r = -errno;
		*ret_error = xasprintf("%s: %s", path, strerror(-r));
		if (fd >= 0)
			close(fd);
		return r;
	}
	if (st.st_mode & (S_IRWXO | S_IWGRP)) {
		close(fd);
		*ret_error = xasprintf("%s: others may read or write it (chmod 600)", path);
		return -EACCES;
	}
	f = fdopen(fd, "r");
	if (!f)
		abort(); /* out of memory */
	r = read_lines(f, path, &k, ret_error);
	fclose(f);
	if (r == 0)
		*ret = k;
	keys_wipe(&k);
	return r;
}
