/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any bytes at the overlay's port. The first byte chooses what they are: datagrams as a stranger
 * sends them, a stream as a stranger dials or answers it, a member's metadata; datagrams and
 * streams also as someone with the key would send them, so that what stands behind the tag is
 * reached.
 */
#include <sodium.h>

#include "agent/overlay/metadata.h"
#include "agent/overlay/seal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct gossip_addr at_a = {4, 61420, {10, 0, 0, 1}}, at_b = {4, 61420, {10, 0, 0, 2}};

static void require(bool condition)
{
	if (!condition)
		abort();
}

static struct seal *new_seal(uint64_t id)
{
	struct keys k = {0};

	keys_insecure(&k);
	return seal_new(&k, "fuzz", id);
}

/* Two bytes of length in front of each datagram. Strangers are never believed, never answered. */
static void datagrams(struct seal *s, const uint8_t *data, size_t size)
{
	while (size >= 2) {
		size_t n = (size_t)(data[0] << 8 | data[1]);
		struct seal_opened o;

		data += 2;
		size -= 2;
		n = n < size ? n : size;
		o = seal_open(s, NSEC_PER_SEC, &at_a, &at_b, data, n);
		require(o.verdict == SEAL_DROP);
		data += n;
		size -= n;
	}
	require(seal_stats(s)->n_peers == 0 && seal_stats(s)->n_held == 0);
}

/* A packet sealed rightly, then with one byte of it changed: dropped. */
static void damaged(struct seal *s, const uint8_t *data, size_t size)
{
	struct seal *a = new_seal(0xa);
	uint8_t packet[SEAL_PACKET_MAX];
	size_t n = size > 3 ? size - 3 : 0, at;
	struct seal_opened o;

	if (n == 0 || n > GOSSIP_DATAGRAM_MAX) {
		seal_free(a);
		return;
	}
	n = seal_packet(a, &at_b, data + 3, n, packet);
	at = (size_t)(data[0] << 8 | data[1]) % n;
	packet[at] ^= data[2];
	o = seal_open(s, NSEC_PER_SEC, &at_a, &at_b, packet, n);
	require(o.verdict == (data[2] ? SEAL_DROP : SEAL_REPLY));
	seal_free(a);
}

static void stream(struct seal *s, bool dialler, const uint8_t *data, size_t size)
{
	struct seal_link *l = seal_link_new(s, dialler);
	size_t n, piece = size ? 1 + data[0] : 1;
	int r = 0;

	while (size > 0 && r >= 0) {
		n = piece < size ? piece : size;
		r = seal_link_receive(l, data, n);
		data += n;
		size -= n;
	}
	require(!seal_link_is_open(l));
	seal_link_input(l, &n);
	require(n == 0);
	seal_link_free(l);
}

static void metadata(const uint8_t *data, size_t size)
{
	struct overlay_node n = {0};

	metadata_decode(data, size, &n);
	require(n.n_addresses <= OVERLAY_ADDRESSES_MAX);
	require(memchr(n.version, '\0', sizeof(n.version)));
	for (size_t i = 0; i < n.n_addresses; i++)
		require(ip_addr_len(n.addresses[i].family));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seal *s;

	if (size == 0 || sodium_init() < 0)
		return 0;
	s = new_seal(0xb);
	switch (data[0] % 5) {
	case 0:
		datagrams(s, data + 1, size - 1);
		break;
	case 1:
		damaged(s, data + 1, size - 1);
		break;
	case 2:
	case 3:
		stream(s, data[0] % 5 == 2, data + 1, size - 1);
		break;
	case 4:
		metadata(data + 1, size - 1);
		break;
	}
	seal_free(s);
	return 0;
}
