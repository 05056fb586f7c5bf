/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/overlay/metadata.h"

enum { META_IPV4 = 1, META_IPV6 = 2, META_VERSION = 3, META_ROLE = 4 };
enum { ROLE_MASTER = 1 }; /* a bit each */

static void meta_put(uint8_t *out, size_t *n, uint8_t type, const void *bytes, size_t n_bytes)
{
	if (*n + 2 + n_bytes > GOSSIP_METADATA_MAX || n_bytes > 255)
		return;
	out[(*n)++] = type;
	out[(*n)++] = (uint8_t)n_bytes;
	memcpy(out + *n, bytes, n_bytes);
	*n += n_bytes;
}

size_t metadata_encode(const struct ip_addr *addresses, size_t n_addresses, bool master,
	const char *version, uint8_t out[static GOSSIP_METADATA_MAX])
{
	static const uint8_t role = ROLE_MASTER;
	size_t n = 0;

	meta_put(out, &n, META_VERSION, version, strlen(version));
	if (master)
		meta_put(out, &n, META_ROLE, &role, sizeof(role));
	for (size_t i = 0; i < n_addresses && i < OVERLAY_ADDRESSES_MAX; i++)
		meta_put(out, &n, addresses[i].family == AF_INET6 ? META_IPV6 : META_IPV4,
			addresses[i].bytes, ip_addr_len(addresses[i].family));
	return n;
}

static bool is_printable(const uint8_t *text, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (text[i] <= ' ' || text[i] > '~')
			return false;
	return true;
}

void metadata_decode(const uint8_t *bytes, size_t n, struct overlay_node *ret)
{
	for (size_t at = 0; at + 2 <= n && at + 2 + bytes[at + 1] <= n; at += 2U + bytes[at + 1]) {
		const uint8_t *value = bytes + at + 2;
		size_t len = bytes[at + 1];
		uint8_t family = bytes[at] == META_IPV4 ? AF_INET : AF_INET6;

		if (bytes[at] == META_VERSION && len < sizeof(ret->version) &&
			is_printable(value, len)) {
			memcpy(ret->version, value, len);
			ret->version[len] = '\0';
		} else if (bytes[at] == META_ROLE && len >= 1) {
			ret->master = value[0] & ROLE_MASTER;
		} else if ((bytes[at] == META_IPV4 || bytes[at] == META_IPV6) &&
			   len == ip_addr_len(family) && ret->n_addresses < OVERLAY_ADDRESSES_MAX) {
			struct ip_addr *a = &ret->addresses[ret->n_addresses++];

			*a = (struct ip_addr){.family = family};
			memcpy(a->bytes, value, len);
		}
	}
}

void metadata_describe(const struct gossip_member *m, struct overlay_node *ret)
{
	struct ip_addr a = overlay_ip(&m->address);

	*ret = (struct overlay_node){
		.id = m->id, .incarnation = m->incarnation, .status = m->status};
	metadata_decode(m->metadata, m->n_metadata, ret);
	for (size_t i = 0; i < ret->n_addresses; i++)
		if (ip_addr_cmp(&ret->addresses[i], &a) == 0)
			return;
	if (m->address.family && ret->n_addresses < OVERLAY_ADDRESSES_MAX)
		ret->addresses[ret->n_addresses++] = a;
}
