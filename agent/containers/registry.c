/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * inotify tells which file to look at; what it cannot tell (a queue that ran over, a directory
 * moved away, one that is not there yet) ends in a scan of everything, and so does each audit of
 * the daemon. While the directory is missing, its nearest existing ancestor is watched.
 *
 * A file that was good and is bad now keeps its namespace: it may be half written. Only a file
 * that is gone takes its namespace along.
 */
#include "agent/containers/registry.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "agent/log.h"
#include "agent/util.h"

#define FILE_EVENTS (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE)
#define SELF_EVENTS (IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)
#define ANCESTOR_EVENTS (IN_CREATE | IN_MOVED_TO)
/* Names looked at in one scan, hidden ones too. */
#define SCAN_MAX 8192
/* How often the directory may come and go while a watch is being placed. */
#define WATCH_TRIES 16

struct registry {
	char *directory;
	struct registry_handler handler;
	int fd;              /* inotify */
	int watch, ancestor; /* -1: none */
	sd_event_source *io;
	size_t n_files, allocated;
	struct registry_file *files;
	size_t n_ignored;
	bool told_ignored;
};

/* --- pure ------------------------------------------------------------------ */

const char *registry_parse(const void *bytes, size_t n, char ret_path[static REGISTRY_PATH_SIZE])
{
	const unsigned char *b = bytes;

	if (n > 0 && b[n - 1] == '\n')
		n--;
	if (n == 0)
		return "the file is empty";
	if (n >= REGISTRY_PATH_SIZE)
		return "the path is too long";
	if (b[0] != '/')
		return "not an absolute path";
	for (size_t i = 0; i < n; i++)
		if (b[i] < 0x20 || b[i] == 0x7f)
			return "not a path: has control characters";
	memcpy(ret_path, b, n);
	ret_path[n] = '\0';
	return NULL;
}

bool registry_name_ok(const char *name)
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				   "0123456789._-:@+=";
	size_t n = strspn(name, good);

	return name[0] != '.' && n > 0 && n <= NAME_MAX && !name[n];
}

/* --- files ----------------------------------------------------------------- */

/* Where the name is, or would be. */
static size_t find_place(const struct registry *r, const char *name, bool *ret_found)
{
	size_t low = 0, high = r->n_files;

	*ret_found = false;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int c = strcmp(name, r->files[middle].name);

		if (c == 0) {
			*ret_found = true;
			return middle;
		}
		if (c < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static struct registry_file *find(struct registry *r, const char *name)
{
	bool found;
	size_t i = find_place(r, name, &found);

	return found ? &r->files[i] : NULL;
}

/* NULL if there are too many. */
static struct registry_file *add(struct registry *r, const char *name)
{
	bool found;
	size_t i = find_place(r, name, &found);

	if (found)
		return &r->files[i];
	if (r->n_files == REGISTRY_MAX)
		return NULL;
	if (r->n_files == r->allocated) {
		r->allocated = r->allocated ? 2 * r->allocated : 16;
		r->files = xrealloc(r->files, r->allocated, sizeof(*r->files));
	}
	memmove(&r->files[i + 1], &r->files[i], (r->n_files - i) * sizeof(*r->files));
	r->n_files++;
	r->files[i] = (struct registry_file){.name = xstrdup(name)};
	return &r->files[i];
}

static void drop(struct registry *r, struct registry_file *f)
{
	struct registry_file old = *f;

	r->n_files--;
	memmove(f, f + 1, (size_t)(&r->files[r->n_files] - f) * sizeof(*f));
	if (old.path)
		r->handler.removed(r->handler.userdata, old.name);
	free(old.name);
	free(old.path);
}

/* NULL and the path; what is wrong; or NULL and -ENOENT in *ret_error. */
static const char *read_file(const struct registry *r, const char *name,
	char ret_path[static REGISTRY_PATH_SIZE], int *ret_error)
{
	AUTO_FREE char *path = xasprintf("%s/%s", r->directory, name);
	char buf[REGISTRY_PATH_SIZE + 1];
	struct stat st;
	ssize_t n;
	int fd;

	*ret_error = 0;
	if (lstat(path, &st) < 0) {
		*ret_error = errno == ENOENT || errno == ENOTDIR ? -ENOENT : 0;
		return *ret_error ? NULL : "cannot be read";
	}
	if (!S_ISREG(st.st_mode))
		return "not a regular file";
	fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return "cannot be opened";
	n = read(fd, buf, sizeof(buf));
	close(fd);
	return n < 0 ? "cannot be read" : registry_parse(buf, (size_t)n, ret_path);
}

static void set_problem(const struct registry *r, struct registry_file *f, const char *problem)
{
	if (problem && (!f->problem || strcmp(problem, f->problem) != 0))
		log_warning("namespaces: %s/%s: %s%s", r->directory, f->name, problem,
			f->path ? "; what it named before stays" : "");
	f->problem = problem;
}

/* Looks at one file. */
static void check(struct registry *r, const char *name)
{
	char path[REGISTRY_PATH_SIZE];
	struct registry_file *f = find(r, name);
	const char *problem;
	int error;

	if (name[0] == '.')
		return;
	if (!registry_name_ok(name)) {
		r->n_ignored++;
		return;
	}
	problem = read_file(r, name, path, &error);
	if (error == -ENOENT) {
		if (f)
			drop(r, f);
		return;
	}
	f = f ? f : add(r, name);
	if (!f) {
		r->n_ignored++;
		return;
	}
	f->seen = true;
	set_problem(r, f, problem);
	if (problem || (f->path && strcmp(f->path, path) == 0))
		return;
	free(f->path);
	f->path = xstrdup(path);
	r->handler.set(r->handler.userdata, f->name, f->path);
}

/* --- watching -------------------------------------------------------------- */

static void unwatch(struct registry *r, int *watch)
{
	if (*watch >= 0)
		inotify_rm_watch(r->fd, *watch); /* fails if the directory is gone: no matter */
	*watch = -1;
}

/* The watch of the nearest ancestor that exists, or -1. */
static int watch_ancestor(struct registry *r)
{
	AUTO_FREE char *path = xstrdup(r->directory);
	int watch = -1;

	for (char *slash; watch < 0 && (slash = strrchr(path, '/'));) {
		slash[slash == path] = '\0';
		watch = inotify_add_watch(r->fd, path, ANCESTOR_EVENTS | SELF_EVENTS);
		if (slash == path)
			break;
	}
	return watch;
}

/* Watches the directory; while it is missing, where it would appear. */
static void watch(struct registry *r)
{
	for (int i = 0; i < WATCH_TRIES; i++) {
		int w = inotify_add_watch(r->fd, r->directory, FILE_EVENTS | SELF_EVENTS);

		if (w != r->watch)
			unwatch(r, &r->watch);
		r->watch = w;
		if (w >= 0) {
			unwatch(r, &r->ancestor);
			return;
		}
		w = watch_ancestor(r);
		if (w == r->ancestor)
			return; /* watched already when the directory was still missing */
		unwatch(r, &r->ancestor);
		r->ancestor = w;
	}
}

static void scan(struct registry *r)
{
	DIR *d = opendir(r->directory);
	struct dirent *e;

	if (!d && errno != ENOENT && errno != ENOTDIR)
		return; /* that says nothing about the files */
	for (size_t i = 0; i < r->n_files; i++)
		r->files[i].seen = false;
	r->n_ignored = 0;
	for (size_t n = 0; d && n < SCAN_MAX && (e = readdir(d)); n++)
		check(r, e->d_name);
	if (d)
		closedir(d);
	for (size_t i = r->n_files; i > 0; i--)
		if (!r->files[i - 1].seen)
			drop(r, &r->files[i - 1]);
}

void registry_rescan(struct registry *r)
{
	watch(r); /* first, so that nothing falls between */
	scan(r);
	if (r->n_ignored && !r->told_ignored)
		log_warning("namespaces: %s: %zu files are left out: names that no container has, "
			    "or more than %d",
			r->directory, r->n_ignored, REGISTRY_MAX);
	r->told_ignored = r->n_ignored > 0;
}

/* True if everything has to be looked at anew. */
static bool take_event(struct registry *r, const struct inotify_event *e)
{
	if (e->mask & IN_Q_OVERFLOW)
		return true;
	if (e->wd != r->watch)
		return e->wd == r->ancestor;
	if (e->mask & (SELF_EVENTS | IN_IGNORED | IN_UNMOUNT))
		return true;
	if (e->len > 0 && memchr(e->name, '\0', e->len))
		check(r, e->name);
	return false;
}

static int on_events(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
	struct registry *r = userdata;
	char buf[8192] __attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t n = read(fd, buf, sizeof(buf));
	bool all = false;

	for (char *at = buf; n > 0 && at < buf + n;) {
		const struct inotify_event *e = (const struct inotify_event *)at;

		all |= take_event(r, e);
		at += sizeof(*e) + e->len;
	}
	if (all)
		registry_rescan(r);
	return 0;
}

const struct registry_file *registry_files(const struct registry *r, size_t *ret_n)
{
	*ret_n = r->n_files;
	return r->files;
}

size_t registry_n_ignored(const struct registry *r)
{
	return r->n_ignored;
}

int registry_new(sd_event *loop, const char *directory, const struct registry_handler *handler,
	struct registry **ret)
{
	struct registry *r = xcalloc(1, sizeof(*r));
	size_t n = strlen(directory);
	int x;

	while (n > 1 && directory[n - 1] == '/')
		n--;
	r->directory = xstrndup(directory, n);
	r->handler = *handler;
	r->watch = r->ancestor = -1;
	r->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	x = r->fd < 0 ? -errno : sd_event_add_io(loop, &r->io, r->fd, EPOLLIN, on_events, r);
	if (x < 0) {
		registry_free(r);
		return x;
	}
	*ret = r;
	registry_rescan(r);
	return 0;
}

struct registry *registry_free(struct registry *r)
{
	if (!r)
		return NULL;
	sd_event_source_disable_unref(r->io);
	if (r->fd >= 0)
		close(r->fd);
	for (size_t i = 0; i < r->n_files; i++) {
		free(r->files[i].name);
		free(r->files[i].path);
	}
	free(r->files);
	free(r->directory);
	free(r);
	return NULL;
}
