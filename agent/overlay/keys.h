/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The cluster's keys. A key file holds one to three keys of 32 bytes, one a line in hexadecimal;
 * the first one sends, all receive, so that keys rotate without a stop: add the new one as second
 * everywhere, then make it first everywhere, then drop the old one.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEYS_MAX 3
#define KEY_BYTES 32

struct keys {
	size_t n;
	struct {
		uint8_t id; /* in clear in every packet: which one to try */
		uint8_t bytes[KEY_BYTES];
	} list[KEYS_MAX];
};

/* Reads a key file. 0 or -EINVAL, -EACCES (others may read the file), or what open() says; then
 * *ret_error is a sentence that names file and line (caller frees), and *ret is untouched. */
int keys_read(const char *path, struct keys *ret, char **ret_error);
/* The key of a cluster that wants no protection: known to everyone. */
void keys_insecure(struct keys *ret);
/* Two keys with one id cannot be told apart. The id of a key. */
uint8_t key_id(const uint8_t bytes[static KEY_BYTES]);
void keys_wipe(struct keys *k);
