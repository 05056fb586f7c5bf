/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The directory in which container namespaces are registered, as dcos-l4lb's CNI plugin does: a
 * file named after the container holds the path of its network namespace, with or without a
 * newline. Hidden files are nobody's.
 *
 * The directory need not exist yet, and may come and go.
 */
#include <stdbool.h>
#include <systemd/sd-event.h>

/* Files that are taken; more are counted and told. A node has a few hundred containers. */
#define REGISTRY_MAX 1024
/* Longest path, with its final NUL: PATH_MAX. */
#define REGISTRY_PATH_SIZE 4096

struct registry;

struct registry_handler {
	/* A file appeared, or names another path now. */
	void (*set)(void *userdata, const char *name, const char *path);
	void (*removed)(void *userdata, const char *name);
	void *userdata;
};

struct registry_file {
	char *name;
	char *path;          /* NULL: none was ever read */
	const char *problem; /* static text; NULL: none. `path` is then an earlier one. */
	bool seen;           /* the registry's own */
};

/* Reads what is there and watches. The handler is called from here on, also before it returns.
 * 0 or a negative errno. */
int registry_new(sd_event *loop, const char *directory, const struct registry_handler *handler,
	struct registry **ret);
struct registry *registry_free(struct registry *r); /* takes NULL; returns NULL; calls nobody */
/* Looks at everything anew: what inotify does not tell is found so. */
void registry_rescan(struct registry *r);

/* All files, those with problems too; sorted by name. */
const struct registry_file *registry_files(const struct registry *r, size_t *ret_n);
/* Files of the last scan that are left out: more than REGISTRY_MAX, or with an impossible name. */
size_t registry_n_ignored(const struct registry *r);

/* The path that a file's bytes hold. NULL and ret_path written, or what is wrong (static text). */
const char *registry_parse(const void *bytes, size_t n, char ret_path[static REGISTRY_PATH_SIZE]);
/* A container's name: 1 to 255 letters, digits and ". _ - : @ + =", not beginning with a dot. */
bool registry_name_ok(const char *name);
