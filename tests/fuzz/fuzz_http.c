/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Headers of any text: "HOST\nIF-NONE-MATCH\nETAG". A host that is taken for local has no letter that a DNS
 * name elsewhere would need; a tag is found in a list that it was put into. */
#include "agent/serve/header.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_host(const char *host)
{
	if (!header_host_is_local(host) || strncasecmp(host, "localhost", 9) == 0 || *host == '[')
		return;
	if (strspn(host, "0123456789.:") != strlen(host))
		abort();
}

/* A well-formed tag behind whatever well-formed list. */
static void check_tag(const char *list, const char *tag)
{
	char *quoted, *text;

	(void)header_etag_matches(list, tag);
	if (strchr(tag, '"') || strchr(list, '"'))
		return;
	if (asprintf(&quoted, "\"%s\"", tag) < 0 ||
		asprintf(&text, "\"%s\", W/%s", list, quoted) < 0)
		abort();
	if (!header_etag_matches(text, quoted))
		abort();
	free(quoted);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = strndup((const char *)data, size), *rest = text;
	const char *host = strsep(&rest, "\n"), *list = rest ? strsep(&rest, "\n") : "";

	check_host(host);
	check_tag(list, rest ? rest : "");
	free(text);
	return 0;
}
