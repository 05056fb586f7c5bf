/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The program's input is a memory file, so that nothing has to be pumped into a pipe; its
 * output and errors come through two pipes. It is over when both are closed and it has
 * been reaped, or when its time is up.
 */
#include "agent/apply/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* iptables waits for its lock at most 5 s (its -w option). */
#define TIME_LIMIT (15 * NSEC_PER_SEC)
/* iptables-save of a node with thousands of Docker rules is about a megabyte. */
#define OUTPUT_MAX (16U << 20)

extern char **environ;

struct stream {
	int fd;
	sd_event_source *io;
	char *text;
	size_t n, allocated;
	struct process *process;
};

struct process {
	pid_t pid;
	struct stream out, err;
	sd_event_source *child, *timer;
	bool reaped, too_late;
	int status;
	void (*done)(void *userdata, const struct process_result *result);
	void *userdata;
};

static void maybe_done(struct process *p)
{
	struct process_result result = {.status = p->status};

	if (!p->reaped || p->out.fd >= 0 || p->err.fd >= 0)
		return;
	sd_event_source_set_enabled(p->timer, SD_EVENT_OFF);
	result.output = str_or(p->out.text, "");
	result.errors = p->too_late ? "timed out" : str_or(p->err.text, "");
	p->done(p->userdata, &result); /* may free p */
}

static void stream_close(struct stream *s)
{
	s->io = sd_event_source_disable_unref(s->io);
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

static int on_readable(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct stream *s = userdata;
	ssize_t n;

	if (s->allocated - s->n < 4096) {
		s->allocated = s->allocated ? 2 * s->allocated : 16384;
		s->text = xrealloc(s->text, s->allocated, 1);
	}
	n = read(fd, s->text + s->n, s->allocated - s->n - 1);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n > 0 && s->n < OUTPUT_MAX) {
		s->n += (size_t)n;
		s->text[s->n] = '\0';
		return 0;
	}
	stream_close(s);
	maybe_done(s->process);
	return 0;
}

static int on_child(sd_event_source *source, const siginfo_t *si, void *userdata)
{
	struct process *p = userdata;

	p->reaped = true;
	p->status = si->si_code == CLD_EXITED ? si->si_status : -1;
	maybe_done(p);
	return 0;
}

static int on_time_limit(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct process *p = userdata;

	p->too_late = true;
	kill(p->pid, SIGKILL);
	stream_close(&p->out);
	stream_close(&p->err);
	maybe_done(p);
	return 0;
}

/* A memory file that holds the text, at its start. A descriptor or a negative errno. */
static int text_file(const char *text)
{
	int fd = memfd_create("input", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	while (text && *text) {
		ssize_t n = write(fd, text, strlen(text));

		if (n < 0) {
			n = -errno;
			close(fd);
			return (int)n;
		}
		text += n;
	}
	lseek(fd, 0, SEEK_SET);
	return fd;
}

/* Starts the program with these three descriptors. 0 or a negative errno. */
static int spawn(pid_t *pid, const char *const *argv, int in, int out, int err)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, pipe;
	int r;

	sigemptyset(&none);
	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in, 0);
	posix_spawn_file_actions_adddup2(&actions, out, 1);
	posix_spawn_file_actions_adddup2(&actions, err, 2);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none); /* ours blocks what the loop takes */
	posix_spawnattr_setsigdefault(&attr, &pipe);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	r = posix_spawnp(pid, argv[0], &actions, &attr, (char *const *)argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return -r;
}

static int stream_open(struct stream *s, struct process *p, sd_event *loop, int fd)
{
	s->fd = fd;
	s->process = p;
	return sd_event_add_io(loop, &s->io, fd, EPOLLIN, on_readable, s);
}

static int start(struct process *p, sd_event *loop, const char *const *argv, const char *input)
{
	int out[2] = {-1, -1}, err[2] = {-1, -1}, r;
	AUTO_CLOSE int in = text_file(input);

	if (in < 0)
		return in;
	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		r = -errno;
	else
		r = spawn(&p->pid, argv, in, out[1], err[1]);
	if (out[1] >= 0)
		close(out[1]);
	if (err[1] >= 0)
		close(err[1]);
	if (r < 0) {
		if (out[0] >= 0)
			close(out[0]);
		if (err[0] >= 0)
			close(err[0]);
		return r;
	}
	r = stream_open(&p->out, p, loop, out[0]);
	if (r >= 0)
		r = stream_open(&p->err, p, loop, err[0]);
	else
		close(err[0]);
	if (r >= 0)
		r = sd_event_add_child(loop, &p->child, p->pid, WEXITED, on_child, p);
	if (r >= 0)
		r = sd_event_add_time_relative(loop, &p->timer, CLOCK_MONOTONIC,
			TIME_LIMIT / NSEC_PER_USEC, 0, on_time_limit, p);
	return r;
}

int process_new(sd_event *loop, const char *const *argv, const char *input,
	void (*done)(void *userdata, const struct process_result *result), void *userdata,
	struct process **ret)
{
	struct process *p = xcalloc(1, sizeof(*p));
	int r;

	p->out.fd = p->err.fd = -1;
	p->done = done;
	p->userdata = userdata;
	r = start(p, loop, argv, input);
	if (r < 0) {
		process_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

struct process *process_free(struct process *p)
{
	if (!p)
		return NULL;
	if (p->pid > 0 && !p->reaped) {
		kill(p->pid, SIGKILL);
		waitpid(p->pid, NULL, 0);
	}
	sd_event_source_disable_unref(p->child);
	sd_event_source_disable_unref(p->timer);
	stream_close(&p->out);
	stream_close(&p->err);
	free(p->out.text);
	free(p->err.text);
	free(p);
	return NULL;
}
