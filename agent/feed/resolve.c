/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * glibc's getaddrinfo_a() does the look-ups in threads of its own and tells their end
 * through a callback in such a thread; that one writes an eventfd, which wakes our loop.
 */
#include "agent/feed/resolve.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>

#define HASH_FUNCTION HASH_FNV /* uthash's default falls through cases, which clang warns about */
#include <uthash.h>

#include "agent/util.h"

/* How long an answer, and a failure, holds. */
#define KEEP (60 * NSEC_PER_SEC)
#define KEEP_FAILURE (10 * NSEC_PER_SEC)
/* Names at once; a cluster of 10,000 nodes has as many. */
#define MAX_NAMES 20000

struct name {
	UT_hash_handle hh;
	char *text;
	struct gaicb request;
	struct addrinfo hints;
	bool pending;
	nsec_t expires;
	struct ip_addr address; /* AF_UNSPEC: none */
};

struct resolver {
	pthread_mutex_t lock; /* of the names */
	struct name *names;
	int fd;
	sd_event_source *io;
	void (*ready)(void *userdata);
	void *userdata;
};

static void on_answer(union sigval value) /* in a thread of glibc's */
{
	uint64_t one = 1;

	(void)!write(value.sival_int, &one, sizeof(one));
}

static void start(struct resolver *r, struct name *n)
{
	struct gaicb *list[] = {&n->request};
	struct sigevent sev = {.sigev_notify = SIGEV_THREAD,
		.sigev_notify_function = on_answer,
		.sigev_value.sival_int = r->fd};

	n->hints = (struct addrinfo){.ai_socktype = SOCK_STREAM};
	n->request = (struct gaicb){.ar_name = n->text, .ar_request = &n->hints};
	n->pending = getaddrinfo_a(GAI_NOWAIT, list, 1, &sev) == 0;
	if (!n->pending)
		n->expires = now_ns() + KEEP_FAILURE;
}

static struct ip_addr pick(const struct addrinfo *list)
{
	struct ip_addr a = {0};

	for (const struct addrinfo *i = list; i && a.family != AF_INET; i = i->ai_next) {
		if (i->ai_family == AF_INET) {
			a = (struct ip_addr){.family = AF_INET};
			memcpy(a.bytes, &((struct sockaddr_in *)i->ai_addr)->sin_addr, 4);
		} else if (i->ai_family == AF_INET6 && !a.family) {
			a.family = AF_INET6;
			memcpy(a.bytes, &((struct sockaddr_in6 *)i->ai_addr)->sin6_addr, 16);
		}
	}
	return a;
}

/* Takes the answer if it is there. A failure keeps an earlier address. */
static void take(struct name *n)
{
	int x = gai_error(&n->request);

	if (!n->pending || x == EAI_INPROGRESS)
		return;
	n->pending = false;
	n->expires = now_ns() + (x == 0 ? KEEP : KEEP_FAILURE);
	if (x != 0)
		return;
	n->address = pick(n->request.ar_result);
	freeaddrinfo(n->request.ar_result);
	n->request.ar_result = NULL;
}

static int on_ready(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
	struct resolver *r = userdata;
	uint64_t n;

	(void)!read(fd, &n, sizeof(n));
	r->ready(r->userdata);
	return 0;
}

static int ask(struct resolver *r, const char *text, struct ip_addr *ret)
{
	struct name *n;

	HASH_FIND_STR(r->names, text, n);
	if (!n) {
		if (HASH_COUNT(r->names) >= MAX_NAMES)
			return -ENOSPC;
		n = xcalloc(1, sizeof(*n));
		n->text = xstrdup(text);
		HASH_ADD_KEYPTR(hh, r->names, n->text, strlen(n->text), n);
	}
	take(n);
	if (!n->pending && now_ns() >= n->expires)
		start(r, n);
	if (n->address.family) {
		*ret = n->address;
		return 0;
	}
	return n->pending ? -EAGAIN : -ENOENT;
}

int resolver_ask(void *resolver, const char *text, struct ip_addr *ret)
{
	struct resolver *r = resolver;
	int x;

	pthread_mutex_lock(&r->lock);
	x = ask(r, text, ret);
	pthread_mutex_unlock(&r->lock);
	return x;
}

int resolver_new(
	sd_event *loop, void (*ready)(void *userdata), void *userdata, struct resolver **ret)
{
	struct resolver *r = xcalloc(1, sizeof(*r));
	int x;

	pthread_mutex_init(&r->lock, NULL);
	r->ready = ready;
	r->userdata = userdata;
	r->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	x = r->fd < 0 ? -errno : sd_event_add_io(loop, &r->io, r->fd, EPOLLIN, on_ready, r);
	if (x < 0) {
		resolver_free(r);
		return x;
	}
	*ret = r;
	return 0;
}

struct resolver *resolver_free(struct resolver *r)
{
	struct name *n, *next;

	if (!r)
		return NULL;
	HASH_ITER (hh, r->names, n, next) {
		HASH_DEL(r->names, n);
		if (n->pending && gai_cancel(&n->request) != EAI_CANCELED &&
			gai_error(&n->request) == EAI_INPROGRESS)
			continue; /* glibc still writes to it; the process is about to end */
		free(n->text);
		free(n);
	}
	sd_event_source_disable_unref(r->io);
	if (r->fd >= 0)
		close(r->fd);
	pthread_mutex_destroy(&r->lock);
	free(r);
	return NULL;
}
