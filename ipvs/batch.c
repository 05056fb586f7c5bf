/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel handles all messages of one send() before it returns, in order, and goes on
 * after one that fails. It answers a message if that failed or asked for it (NLM_F_ACK).
 * So only the last of a batch asks: one answer for a batch that went well, and the errors
 * of the others arrive before it, each with the sequence number of its command. An
 * acknowledgement per command costs more than half of the gain.
 *
 * NETLINK_CAP_ACK keeps the kernel from quoting the command in each error.
 *
 * If the receive buffer overflows, the kernel drops answers and says so once (ENOBUFS).
 * Then nothing is known of the batch; what is left in the socket is thrown away, and the
 * caller looks at the kernel's state instead.
 */
#include "batch.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#ifndef SOL_NETLINK
#define SOL_NETLINK 270
#endif

/* Room for a message of the usual size, bytes; the buffer grows if they are larger. */
#define BATCH_MESSAGE_SIZE 256

/* Answers thrown away at most after an error, in receives: a dump of 32 kB parts has far
 * fewer; a socket that never runs dry must not hold us. */
#define BATCH_DRAIN_MAX 100000

static void enlarge(int fd, int force, int option)
{
	int size = BATCH_SOCKET_BUFFER;

	/* FORCE needs CAP_NET_ADMIN in the namespace, the other is bounded by a sysctl; the
	 * default size serves as well, until very many commands fail at once. */
	if (setsockopt(fd, SOL_SOCKET, force, &size, sizeof(size)) < 0)
		setsockopt(fd, SOL_SOCKET, option, &size, sizeof(size));
}

int batch_init(struct batch *b, int fd, size_t n_max)
{
	int one = 1;

	*b = (struct batch){.fd = fd, .n_max = n_max, .size = n_max * BATCH_MESSAGE_SIZE};
	enlarge(fd, SO_RCVBUFFORCE, SO_RCVBUF);
	enlarge(fd, SO_SNDBUFFORCE, SO_SNDBUF);
	setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof(one));
	b->tags = calloc(n_max, sizeof(b->tags[0]));
	b->buffer = malloc(b->size);
	b->received = malloc(BATCH_RECEIVE_SIZE);
	if (!b->tags || !b->buffer || !b->received) {
		batch_done(b);
		return -ENOMEM;
	}
	return 0;
}

void batch_done(struct batch *b)
{
	free(b->tags);
	free(b->buffer);
	free(b->received);
	*b = (struct batch){.fd = -1};
}

bool batch_full(const struct batch *b)
{
	return b->n == b->n_max;
}

int batch_add(struct batch *b, const struct nlmsghdr *message, size_t tag)
{
	size_t length = NLMSG_ALIGN(message->nlmsg_len);
	struct nlmsghdr *copy;

	if (b->used + length > b->size) {
		char *grown = realloc(b->buffer, (b->size + length) * 2);

		if (!grown)
			return -ENOMEM;
		b->buffer = grown;
		b->size = (b->size + length) * 2;
	}
	copy = (struct nlmsghdr *)(b->buffer + b->used);
	memcpy(copy, message, length);
	copy->nlmsg_seq = ++b->sequence;
	copy->nlmsg_flags &= (uint16_t)~NLM_F_ACK;
	b->used += length;
	b->tags[b->n++] = tag;
	b->last = copy;
	return 0;
}

static int send_all(int fd, const void *bytes, size_t n)
{
	ssize_t r;

	do
		r = send(fd, bytes, n, 0);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	return (size_t)r == n ? 0 : -EMSGSIZE;
}

static int wait_readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int r;

	do
		r = poll(&p, 1, BATCH_TIMEOUT_MS);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	return r ? 0 : -ETIMEDOUT;
}

/* One datagram: its length or a negative errno. */
static ssize_t receive(struct batch *b)
{
	for (;;) {
		ssize_t n = recv(b->fd, b->received, BATCH_RECEIVE_SIZE, MSG_DONTWAIT | MSG_TRUNC);
		int r;

		if (n > BATCH_RECEIVE_SIZE)
			return -EMSGSIZE;
		if (n >= 0)
			return n;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		r = wait_readable(b->fd);
		if (r < 0)
			return r;
	}
}

/* After an error: what is still on its way belongs to nobody. Reading on also ends a dump
 * that is half done, without which the socket would refuse the next. */
static void drain(struct batch *b)
{
	for (int i = 0; i < BATCH_DRAIN_MAX; i++)
		if (recv(b->fd, b->received, BATCH_RECEIVE_SIZE, MSG_DONTWAIT) < 0 &&
			errno != ENOBUFS && errno != EINTR)
			return;
}

/* The errno of an NLMSG_ERROR (0: an acknowledgement) or NLMSG_DONE. */
static int message_error(const struct nlmsghdr *h, int *ret)
{
	int error = 0;

	if (h->nlmsg_len >= NLMSG_LENGTH(sizeof(error)))
		memcpy(&error, NLMSG_DATA(h), sizeof(error));
	else if (h->nlmsg_type == NLMSG_ERROR)
		return -EBADMSG;
	/* A dump's end may carry a positive remainder that means nothing. */
	*ret = error < 0 && error >= -65535 ? error : 0;
	return 0;
}

int batch_walk(const void *bytes, size_t n, uint32_t first, uint32_t last, batch_error_fn on_error,
	batch_answer_fn on_answer, void *userdata, bool *ret_end)
{
	const char *at = bytes;
	int result = 0;

	while (n >= NLMSG_HDRLEN) {
		const struct nlmsghdr *h = (const struct nlmsghdr *)at;
		size_t step = NLMSG_ALIGN((size_t)h->nlmsg_len);
		int error, r;

		if (h->nlmsg_len < NLMSG_HDRLEN || h->nlmsg_len > n)
			return -EBADMSG;
		if (h->nlmsg_seq - first > last - first) {
			/* of an earlier exchange */
		} else if (h->nlmsg_type == NLMSG_ERROR || h->nlmsg_type == NLMSG_DONE) {
			r = message_error(h, &error);
			if (r < 0)
				return r;
			if (error)
				on_error(userdata, h->nlmsg_seq - first, error);
			if (h->nlmsg_seq == last)
				*ret_end = true;
		} else if (h->nlmsg_type >= NLMSG_MIN_TYPE && on_answer) {
			r = on_answer(userdata, h);
			result = result ? result : r;
		}
		at += step < n ? step : n;
		n -= step < n ? step : n;
	}
	return result;
}

/* Receives until the answer to `last` is complete. */
static int collect(struct batch *b, uint32_t first, uint32_t last, batch_error_fn on_error,
	batch_answer_fn on_answer, void *userdata)
{
	bool end = false;
	int result = 0;

	while (!end) {
		ssize_t n = receive(b);
		int r = n < 0 ? (int)n
			      : batch_walk(b->received, (size_t)n, first, last, on_error, on_answer,
					userdata, &end);

		if (n < 0 || r == -EBADMSG) {
			drain(b);
			return r;
		}
		result = result ? result : r;
	}
	return result;
}

struct flush_context {
	const struct batch *batch;
	batch_error_fn on_error;
	void *userdata;
};

static void flush_error(void *userdata, size_t index, int error)
{
	struct flush_context *c = userdata;

	c->on_error(c->userdata, c->batch->tags[index], error);
}

int batch_flush(struct batch *b, batch_error_fn on_error, void *userdata)
{
	struct flush_context context = {b, on_error, userdata};
	uint32_t first = b->sequence - (uint32_t)b->n + 1;
	int r;

	if (!b->n)
		return 0;
	b->last->nlmsg_flags |= NLM_F_ACK;
	r = send_all(b->fd, b->buffer, b->used);
	if (r < 0)
		drain(b);
	else
		r = collect(b, first, b->sequence, flush_error, NULL, &context);
	b->n_sent += b->n;
	b->n_sends++;
	b->n = b->used = 0;
	return r;
}

struct request_context {
	int error;
	batch_answer_fn on_answer;
	void *userdata;
};

static void request_error(void *userdata, size_t index, int error)
{
	struct request_context *c = userdata;

	c->error = error;
}

static int request_answer(void *userdata, const struct nlmsghdr *message)
{
	struct request_context *c = userdata;

	return c->on_answer ? c->on_answer(c->userdata, message) : 0;
}

int batch_request(
	struct batch *b, const struct nlmsghdr *request, batch_answer_fn on_answer, void *userdata)
{
	struct request_context context = {0, on_answer, userdata};
	size_t length = NLMSG_ALIGN((size_t)request->nlmsg_len);
	struct nlmsghdr *copy = (struct nlmsghdr *)b->buffer;
	int r;

	if (b->n || length > b->size)
		return -EINVAL;
	memcpy(copy, request, length);
	copy->nlmsg_seq = ++b->sequence;
	r = send_all(b->fd, copy, length);
	if (r < 0) {
		drain(b);
		return r;
	}
	r = collect(b, b->sequence, b->sequence, request_error, request_answer, &context);
	return context.error ? context.error : r;
}
