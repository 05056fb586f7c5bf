/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * Netlink messages in bulk over one socket: commands in batches with one acknowledgement
 * each, and requests with an answer of many parts. Of any netlink family: knows headers,
 * sequence numbers and errors, nothing of what the messages say.
 */
#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How long the kernel may owe an answer before -ETIMEDOUT. It answers before send()
 * returns unless something holds its locks. */
#define BATCH_TIMEOUT_MS 5000

/* Socket buffers, bytes. The receive buffer holds an error for each of 2,000 commands (the
 * kernel charges about 0.8 kB for one); the send buffer the largest batch. */
#define BATCH_SOCKET_BUFFER (4U << 20)

/* Receive buffer, bytes. The kernel makes parts of dumps up to 32 kB if the reader's
 * buffer is that large. */
#define BATCH_RECEIVE_SIZE 65536

struct batch {
	int fd;            /* not owned */
	uint32_t sequence; /* the last one used */
	size_t n, n_max;   /* messages in the buffer */
	size_t *tags;      /* of each message */
	char *buffer;
	size_t used, size;
	struct nlmsghdr *last;
	char *received;
	uint64_t n_sent, n_sends; /* commands and system calls so far, for measurements */
};

/* Called for a command that failed: the tag it was added with and a negative errno. */
typedef void (*batch_error_fn)(void *userdata, size_t tag, int error);
/* Called for each message of an answer. 0, or a negative errno that the call then returns
 * (after it has read the rest). */
typedef int (*batch_answer_fn)(void *userdata, const struct nlmsghdr *message);

/* Enlarges the socket's buffers and asks for small acknowledgements. Up to n_max commands
 * go out in one send. 0 or -ENOMEM. */
int batch_init(struct batch *b, int fd, size_t n_max);
void batch_done(struct batch *b);

/* Copies a command into the batch, which must not be full; its sequence number and flags
 * are set here. 0 or -ENOMEM. */
int batch_add(struct batch *b, const struct nlmsghdr *message, size_t tag);
bool batch_full(const struct batch *b);
/* Sends what was added, if anything, and collects the errors. 0, or a negative errno if it
 * is not known what became of each command (-ENOBUFS, -ETIMEDOUT, ...). */
int batch_flush(struct batch *b, batch_error_fn on_error, void *userdata);

/* Sends one request (its flags as given: NLM_F_DUMP, or NLM_F_ACK for a single answer)
 * and passes on the messages of the answer. 0 or negative errno: the kernel's, on_answer's,
 * -ETIMEDOUT, -ENOBUFS, -EMSGSIZE, -EBADMSG. */
int batch_request(
	struct batch *b, const struct nlmsghdr *request, batch_answer_fn on_answer, void *userdata);

/* Pure part of the above: walks over received bytes. Messages of other sequence numbers
 * than those of first..last are skipped. on_error hears of failed ones (tag: the sequence
 * number's distance from first). *ret_end is set when `last` was acknowledged or
 * answered to the end. 0, -EBADMSG, or on_answer's error. */
int batch_walk(const void *bytes, size_t n, uint32_t first, uint32_t last, batch_error_fn on_error,
	batch_answer_fn on_answer, void *userdata, bool *ret_end);
