/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table as JSON: an array with a VIP's head and each of its backends on a line of their
 * own, so that two tables compare well by diff.
 */
#include "agent/source/vip_table.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of the UTF-8 character at s (1 to 4), or 0 if there is no valid one. */
static size_t utf8_length(const unsigned char *s)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = s[0] < 0x80       ? 1
		   : s[0] >> 5 == 6  ? 2
		   : s[0] >> 4 == 14 ? 3
		   : s[0] >> 3 == 30 ? 4
				     : 0;
	uint32_t c = n == 1 ? s[0] : s[0] & (0x7fu >> n);

	for (size_t i = 1; i < n; i++) {
		if (s[i] >> 6 != 2)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	return n && (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) ? 0 : n;
}

/* What is not UTF-8 becomes U+FFFD, so that the output is JSON whatever came in. */
static void write_string(FILE *f, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;

	fputc('"', f);
	while (*s) {
		size_t n = utf8_length(s);

		if (*s == '"' || *s == '\\')
			fprintf(f, "\\%c", *s);
		else if (*s < 0x20 || *s == 0x7f)
			fprintf(f, "\\u%04x", *s);
		else if (n)
			fwrite(s, 1, n, f);
		else
			fputs("\\ufffd", f);
		s += n ? n : 1;
	}
	fputc('"', f);
}

static void write_address(FILE *f, const char *key, const struct ip_addr *a)
{
	char text[IP_ADDR_STRLEN];

	fprintf(f, "\"%s\": \"%s\"", key, ip_addr_format(a, text));
}

static void write_backend(FILE *f, const struct vip_backend *b)
{
	fputs("{", f);
	write_address(f, "address", &b->address);
	fprintf(f, ", \"port\": %u, \"weight\": %u, ", b->port, b->weight);
	write_address(f, "agent", &b->agent);
	fputs(", \"task\": ", f);
	write_string(f, b->task);
	fputs("}", f);
}

static void write_vip(FILE *f, const struct vip *vip)
{
	char endpoint[ENDPOINT_STRLEN];

	if (vip->name)
		fprintf(f, "{\"vip\": \"%s:%u\"", vip->name, vip->key.port);
	else
		fprintf(f, "{\"vip\": \"%s\"",
			endpoint_format(&vip->key.address, vip->key.port, endpoint));
	fprintf(f, ", \"protocol\": \"%s\", ", vip->key.protocol == IPPROTO_UDP ? "udp" : "tcp");
	write_address(f, "address", &vip->key.address);
	fprintf(f, ", \"port\": %u,\n  \"backends\": [", vip->key.port);
	for (size_t i = 0; i < vip->n_backends; i++) {
		fputs(i ? ",\n    " : "\n    ", f);
		write_backend(f, &vip->backends[i]);
	}
	fputs("]}", f);
}

char *vip_table_to_json(const struct vip_table *t)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		abort();
	fputc('[', f);
	for (size_t i = 0; i < t->n_vips; i++) {
		fputs(i ? ",\n " : "", f);
		write_vip(f, &t->vips[i]);
	}
	fputs("]\n", f);
	if (fclose(f) != 0)
		abort();
	return text;
}
