/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The directory is watched, not the file: a file is best replaced by rename. inotify can miss a
 * change all the same (a remounted directory, a network file system), so the feed looks at its
 * interval as well.
 */
#include "agent/feed/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <sys/inotify.h>
#include <sys/stat.h>

/* How long after the last event in the directory the file is read: editors and `mv` make
 * several events of one change. */
#define SETTLE (20 * NSEC_PER_MSEC)
/* us; the loop's default of 250 ms would double it many times. */
#define TIMER_ACCURACY 1000
#define PIECE 65536

struct source_file {
	char *path, *name; /* name: last component, as inotify tells it */
	void (*changed)(void *userdata);
	void *userdata;
	int inotify, fd;
	sd_event_source *io, *settle;
	struct stat seen; /* when it was opened last */
	size_t n;         /* bytes in the piece; 0: none is read */
	char piece[PIECE];
};

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

bool source_file_unchanged(const struct source_file *s)
{
	struct stat st;

	return stat(s->path, &st) == 0 && is_same(&st, &s->seen);
}

void source_file_close(struct source_file *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

const char *source_file_open(struct source_file *s)
{
	source_file_close(s);
	s->n = 0;
	s->seen = (struct stat){0};
	s->fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (s->fd < 0 || fstat(s->fd, &s->seen) < 0)
		return strerror(errno);
	return S_ISREG(s->seen.st_mode) ? NULL : "not a regular file";
}

const char *source_file_piece(struct source_file *s, const char **ret, size_t *ret_n)
{
	if (s->n == 0) {
		ssize_t n = read(s->fd, s->piece, sizeof(s->piece));

		if (n < 0)
			return strerror(errno);
		s->n = (size_t)n;
	}
	*ret = s->piece;
	*ret_n = s->n;
	return NULL;
}

void source_file_next(struct source_file *s)
{
	s->n = 0;
}

static int on_settled(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct source_file *s = userdata;

	s->changed(s->userdata);
	return 0;
}

static int on_inotify(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct source_file *s = userdata;
	char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	bool ours = false;
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		for (char *p = buf; p < buf + n;) {
			const struct inotify_event *e = (const struct inotify_event *)p;

			ours |= (e->mask & IN_Q_OVERFLOW) ||
				(e->len && strcmp(e->name, s->name) == 0);
			p += sizeof(*e) + e->len;
		}
	if (ours) {
		sd_event_source_set_time_relative(s->settle, SETTLE / NSEC_PER_USEC);
		sd_event_source_set_enabled(s->settle, SD_EVENT_ONESHOT);
	}
	return 0;
}

static int watch(sd_event *loop, struct source_file *s)
{
	AUTO_FREE char *directory = xstrdup(s->path);
	int r;

	s->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (s->inotify < 0)
		return -errno;
	if (inotify_add_watch(s->inotify, dirname(directory),
		    IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE) < 0)
		return -errno;
	r = sd_event_add_io(loop, &s->io, s->inotify, EPOLLIN, on_inotify, s);
	if (r >= 0)
		r = sd_event_add_time_relative(loop, &s->settle, CLOCK_MONOTONIC, UINT64_MAX / 2,
			TIMER_ACCURACY, on_settled, s);
	return r < 0 ? r : sd_event_source_set_enabled(s->settle, SD_EVENT_OFF);
}

int source_file_new(sd_event *loop, const char *path, void (*changed)(void *userdata),
	void *userdata, struct source_file **ret)
{
	struct source_file *s = xcalloc(1, sizeof(*s));
	AUTO_FREE char *copy = xstrdup(path);
	int r;

	s->path = xstrdup(path);
	s->name = xstrdup(basename(copy));
	s->changed = changed;
	s->userdata = userdata;
	s->inotify = s->fd = -1;
	r = watch(loop, s);
	if (r < 0) {
		source_file_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

struct source_file *source_file_free(struct source_file *s)
{
	if (!s)
		return NULL;
	source_file_close(s);
	sd_event_source_disable_unref(s->io);
	sd_event_source_disable_unref(s->settle);
	if (s->inotify >= 0)
		close(s->inotify);
	free(s->path);
	free(s->name);
	free(s);
	return NULL;
}
