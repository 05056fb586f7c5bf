/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A stream of events of any bytes: it breaks or not, in the same place and with the same table
 * whether it comes at once or in pieces, and however often somebody looks. The limits are small, so
 * that the fuzzer meets them.
 */
#include "agent/source/stream.h"
#include "agent/source/vip_table.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct mesos_limits limits = {.document = 16 << 10,
	.element = 4 << 10,
	.tasks = 20,
	.agents = 20,
	.frameworks = 20,
	.labels = 20,
	.depth = 24};

static char *table_of(struct mesos_stream *s)
{
	struct mesos_state *state = mesos_stream_state(s);
	struct vip_table *t = vip_table_build(state, NULL);
	char *json = vip_table_to_json(t);

	mesos_state_free(state);
	vip_table_free(t);
	return json;
}

/* The table at the end; NULL if the stream breaks or its first record is not complete. */
static char *read_stream(const uint8_t *data, size_t size, size_t piece, bool look)
{
	struct mesos_stream *s = mesos_stream_new(&limits);
	char *json = NULL;
	int r = 0;

	for (size_t at = 0; r == 0 && at < size; at += piece) {
		r = mesos_stream_feed(s, data + at, piece < size - at ? piece : size - at);
		if (look && mesos_stream_changed(s)) {
			free(json);
			json = table_of(s);
		}
	}
	if ((r < 0) != (*mesos_stream_error(s) != '\0') || (r < 0 && mesos_stream_changed(s)))
		abort();
	if (!look && r == 0 && mesos_stream_changed(s))
		json = table_of(s);
	mesos_stream_free(s);
	return json;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *whole = read_stream(data, size, size + 1, false);
	char *pieces = read_stream(data, size, 1 + size % 7, true);

	/* In the middle of a record the table is that of the records before, which who looks only at
	 * the end does not see. */
	if (whole && (!pieces || strcmp(whole, pieces) != 0))
		abort();
	free(whole);
	free(pieces);
	return 0;
}
