/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/serve/header.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "ipvs/model.h"

/* What follows the host: nothing, or ":" and 1 to 5 digits. */
static bool is_port(const char *text)
{
	size_t n;

	if (!*text)
		return true;
	n = strspn(text + 1, "0123456789");
	return *text == ':' && n >= 1 && n <= 5 && !text[1 + n];
}

static bool is_literal(const char *text, size_t n, uint8_t family)
{
	char buf[IP_ADDR_STRLEN];
	struct ip_addr a = {0};

	if (n == 0 || n >= sizeof(buf))
		return false;
	memcpy(buf, text, n);
	buf[n] = '\0';
	return ip_addr_parse(buf, &a) == 0 && a.family == family;
}

bool header_host_is_local(const char *host)
{
	const char *end;

	if (*host == '[') {
		end = strchr(host, ']');
		return end && is_port(end + 1) &&
		       is_literal(host + 1, (size_t)(end - host - 1), AF_INET6);
	}
	end = host + strcspn(host, ":");
	if (!is_port(end))
		return false;
	return (end - host == 9 && strncasecmp(host, "localhost", 9) == 0) ||
	       is_literal(host, (size_t)(end - host), AF_INET);
}

bool header_etag_matches(const char *text, const char *etag)
{
	size_t n = strlen(etag);

	text += strspn(text, " \t");
	if (*text == '*')
		return true;
	while (*text) {
		const char *end;

		if (strncmp(text, "W/", 2) == 0)
			text += 2;
		if (strncmp(text, etag, n) == 0 && (!text[n] || strchr(", \t", text[n])))
			return true;
		/* A comma may stand inside the quotes of a tag. */
		end = *text == '"' ? strchr(text + 1, '"') : NULL;
		text = end ? end + 1 : text;
		text += strcspn(text, ",");
		text += strspn(text, ", \t");
	}
	return false;
}
