/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A thread belongs to a namespace, not a process. So a thread of its own goes in, works
 * and ends; the caller never leaves its namespace, and nothing has to be restored (which
 * might fail and leave it in the wrong one).
 */
#include "netns.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

struct visit {
	int fd;
	int (*fn)(void *userdata);
	void *userdata;
	int result;
};

static void *visit_thread(void *arg)
{
	struct visit *v = arg;

	if (setns(v->fd, CLONE_NEWNET) < 0)
		v->result = -errno;
	else
		v->result = v->fn(v->userdata);
	return NULL;
}

/* Signals are the business of the program's own threads. */
static int start_without_signals(pthread_t *ret, struct visit *v)
{
	sigset_t all, before;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(ret, NULL, visit_thread, v);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

int netns_call(const char *path, int (*fn)(void *userdata), void *userdata)
{
	struct visit v = {.fn = fn, .userdata = userdata};
	pthread_t thread;
	int r;

	if (!path)
		return fn(userdata);
	v.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (v.fd < 0)
		return -errno;
	r = start_without_signals(&thread, &v);
	if (!r) {
		pthread_join(thread, NULL);
		r = v.result;
	}
	close(v.fd);
	return r;
}
