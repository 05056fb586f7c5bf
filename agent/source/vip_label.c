/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/source/vip_label.h"

#include "agent/source/names.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Digits only. Returns 0 if that is no port. */
static unsigned int parse_port(const char *s)
{
	unsigned int port = 0;

	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return 0;
		port = port * 10 + (unsigned int)(*s - '0');
		if (port > 65535)
			return 0;
	}
	return port;
}

/* An address, bare or, if IPv6, in brackets; else AF_UNSPEC. */
static struct ip_addr parse_literal(const char *s, size_t n)
{
	struct ip_addr a = {0}, in_brackets;
	char text[IP_ADDR_STRLEN + 2];

	/* Most are names, and begin with "/". */
	if (n >= sizeof text || !strchr("0123456789abcdefABCDEF:[", *s))
		return a;
	memcpy(text, s, n);
	text[n] = '\0';
	if (ip_addr_parse(text, &a) == 0 || n < 3 || text[0] != '[' || text[n - 1] != ']')
		return a;
	text[n - 1] = '\0';
	if (ip_addr_parse(text + 1, &in_brackets) == 0 && in_brackets.family == AF_INET6)
		a = in_brackets;
	return a;
}

int vip_label_parse(const char *value, struct vip_label *ret, const char **ret_error)
{
	const char *colon = strrchr(value, ':');
	unsigned int port;

	if (!colon) {
		*ret_error = "the value has no \":\" before a port";
		return -EINVAL;
	}
	port = parse_port(colon + 1);
	if (!port) {
		*ret_error = "what follows the last \":\" is no port, 1 to 65535";
		return -EINVAL;
	}
	ret->port = (uint16_t)port;
	ret->n_name = (size_t)(colon - value);
	ret->address = parse_literal(value, ret->n_name);
	return 0;
}

/* Mangles one of the two parts behind what is in buf already; returns the length or -EINVAL. */
static int append_mangled(const char *text, size_t n_text, char *buf, size_t size,
	const char *nothing, const char **ret_error)
{
	int n = names_mangle(text, n_text, buf, size);

	if (n > 0)
		return n;
	*ret_error = n < 0 ? "the name is longer than 253 characters" : nothing;
	return -EINVAL;
}

int vip_label_name(const char *name, size_t n_name, const char *framework, char *buf, size_t size,
	const char **ret_error)
{
	int n, m;

	n = append_mangled(
		name, n_name, buf, size, "nothing of the name is left for DNS", ret_error);
	if (n < 0)
		return n;
	buf[n++] = '.';
	m = append_mangled(framework, strlen(framework), buf + n, size - (size_t)n,
		"nothing of the framework's name is left for DNS", ret_error);
	if (m < 0)
		return m;
	if ((size_t)(n + m) + 1 + strlen(NAMES_SUFFIX) > NAMES_MAX) {
		*ret_error = "the name is longer than 253 characters";
		return -EINVAL;
	}
	return 0;
}
