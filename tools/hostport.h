/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stddef.h>
#include <sys/socket.h>

/* A socket address with its length, ready for bind() and connect(). */
struct hostport {
	struct sockaddr_storage addr;
	socklen_t len;
};

/* Longest text of hostport_format(): "[" IPv6 "]:65535" and the final zero. */
#define HOSTPORT_TEXT_MAX 64

/*
 * Reads "1.2.3.4:80", "[fd01::1]:80", or ":80", which is every address of both families.
 * Only literal addresses: names are not looked up. Returns 0 or -EINVAL.
 */
int hostport_parse(const char *text, struct hostport *ret);

/* Reads a literal address without a port (the port becomes 0). Returns 0 or -EINVAL. */
int hostport_parse_address(const char *text, struct hostport *ret);

/* Writes the form that hostport_parse() reads into @buf of HOSTPORT_TEXT_MAX bytes; returns @buf.
 */
const char *hostport_format(const struct hostport *hp, char *buf);
