/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sockets of the overlay, and what their errors say of this node's own path.
 *
 * A single destination without a route is that one's trouble; LOCAL_ERRORS failures of the kind that tell
 * of ourselves, without a success between, are ours: gossip then judges nobody.
 */
#include "agent/overlay/engine.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <syslog.h>

#include "agent/sockaddr.h"

/* Failures to send, without a success between, that tell of this node's own path and not of one
 * destination that has no route. */
#define LOCAL_ERRORS 3
/* A connection is not given to us before its first bytes came, for so long: whoever only asks
 * whether a kernel is here (a probe) costs us nothing, and cannot fill the queue of a stopped
 * process. */
#define DEFER_ACCEPT 2

socklen_t sockets_to_sockaddr(const struct gossip_addr *a, struct sockaddr_storage *ret)
{
	struct ip_addr ip = overlay_ip(a);

	return sockaddr_make(&ip, a->port, ret);
}

struct gossip_addr sockets_from_sockaddr(const struct sockaddr_storage *ss)
{
	struct ip_addr ip = sockaddr_address((const struct sockaddr *)ss);
	in_port_t port = ip.family == AF_INET6 ? ((const struct sockaddr_in6 *)ss)->sin6_port
					       : ((const struct sockaddr_in *)ss)->sin_port;

	return ip.family ? overlay_address(&ip, ntohs(port)) : (struct gossip_addr){0};
}

static const struct gossip_addr *self_of(const struct engine *e, uint8_t family)
{
	return family == 6 ? &e->self6 : &e->self4;
}

/* A TCP socket from our own address, on its way to `to`. A descriptor or a negative errno. */
int sockets_dial(const struct engine *e, const struct gossip_addr *to)
{
	struct gossip_addr own = *self_of(e, to->family);
	struct sockaddr_storage ss;
	socklen_t len;
	int one = 1, fd, r;

	if (!own.family || !to->family)
		return -EAFNOSUPPORT;
	fd = socket(to->family == 6 ? AF_INET6 : AF_INET,
		SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	own.port = 0;
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	len = sockets_to_sockaddr(&own, &ss);
	r = bind(fd, (struct sockaddr *)&ss, len) < 0 ? -errno : 0;
	len = sockets_to_sockaddr(to, &ss);
	if (r == 0 && connect(fd, (struct sockaddr *)&ss, len) < 0 && errno != EINPROGRESS)
		r = -errno;
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}

/* A socket on our address and port. A descriptor or a negative errno. */
int sockets_listen(const struct gossip_addr *a, int type)
{
	struct sockaddr_storage ss;
	socklen_t len = sockets_to_sockaddr(a, &ss);
	int fd = socket(ss.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), r = 0;
	int one = 1, defer = DEFER_ACCEPT;

	if (fd < 0)
		return -errno;
	if (type == SOCK_STREAM)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (type == SOCK_STREAM)
		setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &defer, sizeof(defer));
	/* An address that is still being checked for a duplicate, say. */
	setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &one, sizeof(one));
	if (a->family == 6) {
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
		setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof(one));
	} else {
		setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof(one));
	}
	if (bind(fd, (struct sockaddr *)&ss, len) < 0 ||
		(type == SOCK_STREAM && listen(fd, SOMAXCONN) < 0))
		r = -errno;
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}

/* --- the own path ---------------------------------------------------------- */

/* True for errors that tell of this node, not of the other. */
bool path_is_broken_by(int error)
{
	return error == ENETUNREACH || error == ENETDOWN || error == EADDRNOTAVAIL ||
	       error == EPERM;
}

static void set_local(struct engine *e, bool ok)
{
	if (e->local_ok == ok)
		return;
	e->local_ok = ok;
	engine_say(e, LOG_NOTICE,
		ok ? "overlay: this node can send again"
		   : "overlay: this node cannot send: its own path is broken");
	gossip_set_local(e->gossip, now_ns(), ok);
}

/* One more packet is on its way, or could not be sent. */
void path_used(struct engine *e, int error)
{
	if (!error) {
		e->n_local_errors = 0;
		set_local(e, true);
	} else if (path_is_broken_by(error) && ++e->n_local_errors >= LOCAL_ERRORS) {
		set_local(e, false);
	}
}
