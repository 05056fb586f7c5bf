/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages of other nodes, in any order, into a node that publishes and one that follows. The input is
 * a list of: what (one byte: its low bits say by which door, the highest how much later), length (two
 * bytes), bytes. So that they come through, a multicast is from the node that its version names, and
 * a response from whom was asked last, under the number of that question. Both nodes must survive,
 * and what they hold must be a set that their own table makes again.
 */
#include "agent/publish/publish.h"

struct side {
	struct publish *publish;
	uint64_t peer; /* of the last request */
	uint8_t nonce[4];
};

static bool believes(void *userdata, uint64_t node, bool speaks)
{
	return true;
}

static void drain(struct side *s)
{
	struct publish_output o;

	while (publish_pop(s->publish, &o)) {
		if (o.n > WIRE_MAX)
			abort();
		if (o.kind == OUTPUT_REQUEST && o.bytes[1] != PUBLISH_HAVE) {
			s->peer = o.peer;
			memcpy(s->nonce, o.bytes + 2, sizeof(s->nonce));
		}
	}
}

/* One encoding for one table: records -> table -> records changes nothing. */
static void check(struct publish *p)
{
	struct vip_table *t = publish_table(p, false);
	struct publish_status status;
	struct record_walk walk;
	size_t n = 0;

	record_walk_init(&walk, t);
	while (record_walk_next(&walk)) {
		if (record_check(walk.bytes, walk.n) != walk.n_key)
			abort();
		n++;
	}
	vip_table_free(t);
	publish_status(p, &status);
	if (n > status.n_records)
		abort();
}

static void hand_over(struct side *s, nsec_t now, uint8_t what, uint8_t *bytes, size_t n)
{
	struct message m;

	switch (what % 4) {
	case 0:
		if (message_read(bytes, n, &m) == 0)
			publish_take_multicast(s->publish, now, m.version.node, bytes, n);
		break;
	case 1:
		publish_take_request(s->publish, now, 1, 7, bytes, n);
		break;
	case 2:
		if (n >= 6)
			memcpy(bytes + 2, s->nonce, sizeof(s->nonce));
		publish_take_response(s->publish, now, s->peer, bytes, n);
		break;
	case 3:
		publish_tick(s->publish, now);
		break;
	}
	drain(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint64_t neighbours[] = {1, 2, 3, 4, 5};
	struct publish_options options = {.seed = 1, .believes = believes};
	struct vip_table empty = {0};
	struct side sides[2] = {0};
	nsec_t now = 100 * NSEC_PER_SEC;

	for (int i = 0; i < 2; i++) {
		options.may_lead = i;
		options.node = 9 + (uint64_t)i;
		sides[i].publish = publish_new(&options, now);
		publish_set_neighbours(sides[i].publish, now, neighbours, ARRAY_SIZE(neighbours));
		drain(&sides[i]);
	}
	now += 3 * NSEC_PER_SEC;
	publish_lead(sides[1].publish, now, &empty);
	while (size >= 3) {
		size_t n = (size_t)data[1] << 8 | data[2];

		n = n < size - 3 ? n : size - 3;
		now += (data[0] >> 5) * NSEC_PER_SEC / 2;
		for (int i = 0; i < 2; i++) {
			uint8_t *bytes = xcalloc(1, n);

			memcpy(bytes, data + 3, n);
			hand_over(&sides[i], now, data[0], bytes, n);
			free(bytes);
		}
		data += 3 + n;
		size -= 3 + n;
	}
	for (int i = 0; i < 2; i++) {
		check(sides[i].publish);
		publish_free(sides[i].publish);
	}
	return 0;
}
