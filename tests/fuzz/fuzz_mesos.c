/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A Mesos document of any bytes: it is refused, or gives a table, and the same whether it
 * comes at once or in pieces. The limits are small, so that the fuzzer meets them.
 */
#include "agent/source/vip_table.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct mesos_limits limits = {.document = 64 << 10,
	.element = 4 << 10,
	.tasks = 20,
	.agents = 20,
	.frameworks = 20,
	.labels = 20,
	.depth = 24};

/* The table as JSON; NULL if the document is refused. */
static char *table_of(const uint8_t *data, size_t size, size_t piece)
{
	struct mesos_parser *p = mesos_parser_new(&limits, NULL);
	struct mesos_state *s = NULL;
	struct vip_table_options options = {.no_ipv6 = size % 3 == 0};
	const char *error;
	char *json = NULL;
	int r = 0;

	for (size_t at = 0; r == 0 && at < size; at += piece)
		r = mesos_parser_feed(p, data + at, piece < size - at ? piece : size - at);
	if (r == 0)
		r = mesos_parser_finish(p, NULL, &s);
	if ((r < 0) != (*mesos_parser_error(p) != '\0'))
		abort();
	mesos_parser_free(p);
	if (r < 0)
		return NULL;
	/* A range so small that names collide and it overflows. */
	if (address_range_parse("11.0.0.0-11.0.0.5", AF_INET, &options.range4, &error) < 0)
		abort();
	struct vip_table *t = vip_table_build(s, &options);
	mesos_state_free(s);
	json = vip_table_to_json(t);
	if (!vip_table_equal(t, t))
		abort();
	vip_table_free(t);
	return json;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *whole = table_of(data, size, size + 1);
	char *pieces = table_of(data, size, 1 + size % 7);

	if (!whole != !pieces || (whole && strcmp(whole, pieces) != 0))
		abort();
	free(whole);
	free(pieces);
	return 0;
}
