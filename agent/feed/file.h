/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/* A file that is watched for change, and read a piece at a time. */
#include <stdbool.h>
#include <systemd/sd-event.h>

#include "agent/util.h"

struct source_file;

/* `changed` is called some milliseconds after the last change of a series. 0 or a negative errno. */
int source_file_new(sd_event *loop, const char *path, void (*changed)(void *userdata),
	void *userdata, struct source_file **ret);
struct source_file *source_file_free(struct source_file *s); /* takes NULL; returns NULL */
/* From its beginning. NULL, or what is wrong (static text). */
const char *source_file_open(struct source_file *s);
/* The next piece, which stays until source_file_next(); *ret_n is 0 at the end. NULL, or what is
 * wrong (static text). */
const char *source_file_piece(struct source_file *s, const char **ret, size_t *ret_n);
void source_file_next(struct source_file *s);
void source_file_close(struct source_file *s);
/* True if it is the very file, unchanged, that was opened last. */
bool source_file_unchanged(const struct source_file *s);
