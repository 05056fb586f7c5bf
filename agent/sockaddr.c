/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/sockaddr.h"

#include <arpa/inet.h>

socklen_t sockaddr_make(const struct ip_addr *a, uint16_t port, struct sockaddr_storage *ret)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;

	memset(ret, 0, sizeof(*ret));
	ret->ss_family = a->family;
	if (a->family == AF_INET) {
		in->sin_port = htons(port);
		memcpy(&in->sin_addr, a->bytes, 4);
		return sizeof(*in);
	}
	in6->sin6_port = htons(port);
	memcpy(&in6->sin6_addr, a->bytes, 16);
	return sizeof(*in6);
}

struct ip_addr sockaddr_address(const struct sockaddr *sa)
{
	struct ip_addr a = {.family = (uint8_t)sa->sa_family};

	if (sa->sa_family == AF_INET)
		memcpy(a.bytes, &((const struct sockaddr_in *)sa)->sin_addr, 4);
	else if (sa->sa_family == AF_INET6)
		memcpy(a.bytes, &((const struct sockaddr_in6 *)sa)->sin6_addr, 16);
	else
		a.family = AF_UNSPEC;
	return a;
}
