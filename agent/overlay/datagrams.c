/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * UDP: heartbeats, pings and news, sealed one by one.
 *
 * Bounds. In: the socket's buffer, oldest kept. Out: what cannot be sent at once is dropped and counted.
 * Who floods the port takes the thread's priority from it: from FLOOD_RATE on it is a thread like any other.
 */
#include "agent/overlay/engine.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

/* Datagrams taken in one system call, and calls before the others have their turn. */
#define BATCH 32
#define BATCHES_MAX 32
/* Asked of the kernel: a thousand nodes that all speak at once fit. */
#define SOCKET_BUFFER (4 * 1024 * 1024)
/* Datagrams in a second that no cluster sends to one node: 10,000 nodes that all speak at once. */
#define FLOOD_RATE 20000
/* Seconds without a flood until the thread is ahead of others again. */
#define FLOOD_CALM 2

static void send_sealed(
	struct engine *e, const struct gossip_addr *to, const uint8_t *bytes, size_t n)
{
	struct sockaddr_storage ss;
	socklen_t len = sockets_to_sockaddr(to, &ss);
	int fd = e->udp[to->family == 6];

	if (fd < 0 || to->family == 0)
		return;
	if (sendto(fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&ss, len) < 0) {
		path_used(e, errno);
		e->stats.send_errors++;
		return;
	}
	path_used(e, 0);
	e->stats.packets_out++;
	e->stats.bytes_out += n;
}

void datagrams_send(struct engine *e, const struct gossip_effect *effect)
{
	uint8_t out[SEAL_PACKET_MAX];
	size_t n = seal_packet(e->seal, &effect->address, effect->bytes, effect->n_bytes, out);

	send_sealed(e, &effect->address, out, n);
}

static void take_datagram(struct engine *e, const struct gossip_addr *from,
	const struct gossip_addr *to, const uint8_t *bytes, size_t n)
{
	nsec_t now = now_ns();
	struct seal_opened o = seal_open(e->seal, now, from, to, bytes, n);

	e->stats.packets_in++;
	e->stats.bytes_in += n;
	switch (o.verdict) {
	case SEAL_DROP:
		break;
	case SEAL_REPLY:
		send_sealed(e, from, o.bytes, o.n);
		break;
	case SEAL_DATA:
	case SEAL_HELD_DATA:
		engine_must(gossip_receive(e->gossip, now, &o.from, o.bytes, o.n));
		break;
	}
}

/* The address that a datagram was sent to, from its control message; port is ours. */
static struct gossip_addr destination(const struct engine *e, struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		struct gossip_addr a = {0};

		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			a = (struct gossip_addr){.family = 4, .port = e->self4.port};
			memcpy(a.bytes, &((struct in_pktinfo *)CMSG_DATA(c))->ipi_addr, 4);
			return a;
		}
		if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			a = (struct gossip_addr){.family = 6, .port = e->self6.port};
			memcpy(a.bytes, &((struct in6_pktinfo *)CMSG_DATA(c))->ipi6_addr, 16);
			return a;
		}
	}
	return (struct gossip_addr){0};
}

/* Counts datagrams by the second. */
static void watch_flood(struct engine *e, size_t n)
{
	nsec_t second = now_ns() / NSEC_PER_SEC;

	if (second != e->second) {
		e->n_calm = e->n_second > FLOOD_RATE ? 0 : e->n_calm + 1;
		e->second = second;
		e->n_second = 0;
	}
	e->n_second += n;
	if (e->ahead && e->n_second > FLOOD_RATE) {
		e->stats.floods++;
		engine_set_ahead(e, false);
	} else if (!e->ahead && e->n_calm > FLOOD_CALM && e->n_second <= FLOOD_RATE) {
		engine_set_ahead(e, true);
	}
}

static int on_datagrams(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
	static __thread uint8_t bytes[BATCH][SEAL_PACKET_MAX + 1];
	struct engine *e = userdata;
	struct sockaddr_storage from[BATCH];
	struct mmsghdr m[BATCH];
	struct iovec iov[BATCH];
	char control[BATCH][128];
	int n = BATCH;
	size_t n_all = 0;

	for (int round = 0; round < BATCHES_MAX && n == BATCH; round++) {
		for (int i = 0; i < BATCH; i++) {
			iov[i] = (struct iovec){bytes[i], sizeof(bytes[i])};
			m[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
				.msg_namelen = sizeof(from[i]),
				.msg_iov = &iov[i],
				.msg_iovlen = 1,
				.msg_control = control[i],
				.msg_controllen = sizeof(control[i])};
		}
		n = recvmmsg(fd, m, BATCH, MSG_DONTWAIT, NULL);
		n_all += n > 0 ? (size_t)n : 0;
		for (int i = 0; i < n; i++) {
			struct gossip_addr f = sockets_from_sockaddr(&from[i]),
					   to = destination(e, &m[i].msg_hdr);

			take_datagram(e, &f, &to, bytes[i], m[i].msg_len);
		}
	}
	watch_flood(e, n_all);
	sd_event_source_set_priority(s, n == BATCH ? PRIORITY_DATAGRAM_REST : PRIORITY_DATAGRAM);
	return 0;
}

static int grow_buffer(int fd, int force, int option)
{
	int n = SOCKET_BUFFER;
	socklen_t len = sizeof(n);

	if (setsockopt(fd, SOL_SOCKET, force, &n, len) < 0) /* needs CAP_NET_ADMIN */
		setsockopt(fd, SOL_SOCKET, option, &n, len);
	getsockopt(fd, SOL_SOCKET, option, &n, &len);
	return n;
}

int datagrams_open(struct engine *e, int i, const struct gossip_addr *self)
{
	int r = sockets_listen(self, SOCK_DGRAM);

	if (r < 0)
		return r;
	e->udp[i] = r;
	e->stats.receive_buffer = grow_buffer(r, SO_RCVBUFFORCE, SO_RCVBUF);
	e->stats.send_buffer = grow_buffer(r, SO_SNDBUFFORCE, SO_SNDBUF);
	r = sd_event_add_io(e->loop, &e->udp_io[i], e->udp[i], EPOLLIN, on_datagrams, e);
	if (r >= 0)
		r = sd_event_source_set_priority(e->udp_io[i], PRIORITY_DATAGRAM);
	return r;
}
