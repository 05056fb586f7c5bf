/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For LD_PRELOAD under vipd: ends the process with SIGKILL once it has sent so many netlink
 * messages that change something, also in the middle of a batch, of which only the messages
 * before are sent. The kernel works on what is sent before send() returns, so the state left
 * behind is exactly that after these messages.
 *
 *   KILLSHIM_AFTER=N    messages that are sent before the end; absent: never
 *   KILLSHIM_COUNT=FILE how many were sent is kept there as text
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/genetlink.h>
#include <linux/ip_vs.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long limit = LONG_MAX, n_sent;
static int count_fd = -1;

__attribute__((constructor)) static void start(void)
{
	const char *after = getenv("KILLSHIM_AFTER"), *count = getenv("KILLSHIM_COUNT");

	if (after)
		limit = strtol(after, NULL, 10);
	if (count)
		count_fd = open(count, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	unsetenv("LD_PRELOAD"); /* not for the programs that it starts */
}

static int protocol_of(int fd)
{
	int domain = 0, protocol = -1;
	socklen_t n = sizeof(domain);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) < 0 || domain != AF_NETLINK)
		return -1;
	n = sizeof(protocol);
	getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &n);
	return protocol;
}

static bool genetlink_changes(const struct nlmsghdr *h)
{
	const struct genlmsghdr *g = NLMSG_DATA(h);

	if (h->nlmsg_type == GENL_ID_CTRL)
		return false;
	return g->cmd == IPVS_CMD_NEW_SERVICE || g->cmd == IPVS_CMD_SET_SERVICE ||
	       g->cmd == IPVS_CMD_DEL_SERVICE || g->cmd == IPVS_CMD_NEW_DEST ||
	       g->cmd == IPVS_CMD_SET_DEST || g->cmd == IPVS_CMD_DEL_DEST;
}

static bool netfilter_changes(const struct nlmsghdr *h)
{
	int command = NFNL_MSG_TYPE(h->nlmsg_type);

	return NFNL_SUBSYS_ID(h->nlmsg_type) == NFNL_SUBSYS_IPSET &&
	       (command == IPSET_CMD_CREATE || command == IPSET_CMD_DESTROY ||
		       command == IPSET_CMD_FLUSH || command == IPSET_CMD_ADD ||
		       command == IPSET_CMD_DEL);
}

static bool changes(int protocol, const struct nlmsghdr *h)
{
	switch (protocol) {
	case NETLINK_GENERIC:
		return genetlink_changes(h);
	case NETLINK_NETFILTER:
		return netfilter_changes(h);
	case NETLINK_ROUTE: /* NEW, DEL, GET, SET */
		return h->nlmsg_type >= RTM_BASE && (h->nlmsg_type - RTM_BASE) % 4 != 2;
	default:
		return false;
	}
}

static ssize_t real_send(int fd, const void *bytes, size_t n, int flags)
{
	ssize_t (*next)(int, const void *, size_t, int) = dlsym(RTLD_NEXT, "send");

	return next(fd, bytes, n, flags);
}

static void tell(void)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "%ld\n", n_sent);

	if (count_fd >= 0 && pwrite(count_fd, text, (size_t)n, 0) < 0)
		abort();
}

/* Counts the messages; if the limit is met among them, sends those before it, and is gone. */
static void count(int fd, const char *bytes, size_t n)
{
	int protocol = protocol_of(fd);
	size_t at = 0;

	if (protocol < 0)
		return;
	pthread_mutex_lock(&lock);
	while (n - at >= NLMSG_HDRLEN) {
		const struct nlmsghdr *h = (const struct nlmsghdr *)(bytes + at);
		size_t length = NLMSG_ALIGN((size_t)h->nlmsg_len);

		if (h->nlmsg_len < NLMSG_HDRLEN || length > n - at)
			break;
		if (changes(protocol, h)) {
			if (n_sent >= limit) {
				if (at)
					real_send(fd, bytes, at, 0);
				tell();
				kill(getpid(), SIGKILL);
			}
			n_sent++;
		}
		at += length;
	}
	tell();
	pthread_mutex_unlock(&lock);
}

ssize_t send(int fd, const void *bytes, size_t n, int flags)
{
	count(fd, bytes, n);
	return real_send(fd, bytes, n, flags);
}

ssize_t sendto(
	int fd, const void *bytes, size_t n, int flags, const struct sockaddr *to, socklen_t to_len)
{
	ssize_t (*next)(int, const void *, size_t, int, const struct sockaddr *, socklen_t) =
		dlsym(RTLD_NEXT, "sendto");

	count(fd, bytes, n);
	return next(fd, bytes, n, flags, to, to_len);
}

/* Netlink libraries send one buffer. */
ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	ssize_t (*next)(int, const struct msghdr *, int) = dlsym(RTLD_NEXT, "sendmsg");

	if (message->msg_iovlen == 1)
		count(fd, message->msg_iov[0].iov_base, message->msg_iov[0].iov_len);
	return next(fd, message, flags);
}
