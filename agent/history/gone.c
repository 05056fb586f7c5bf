/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/history/gone.h"

struct gone {
	size_t n; /* ever */
	struct gone_item ring[GONE_KEPT];
};

struct gone *gone_new(void)
{
	return xcalloc(1, sizeof(struct gone));
}

static void item_done(struct gone_item *item)
{
	free(item->name);
	free(item->task);
}

struct gone *gone_free(struct gone *g)
{
	for (size_t i = 0; g && i < GONE_KEPT; i++)
		item_done(&g->ring[i]);
	free(g);
	return NULL;
}

static void add(struct gone *g, const struct vip *vip, const struct vip_backend *b, nsec_t now)
{
	struct gone_item *slot = &g->ring[g->n++ % GONE_KEPT];

	item_done(slot);
	*slot = (struct gone_item){
		.service = vip->key,
		.when = now,
		.name = vip->name ? xstrdup(vip->name) : NULL,
	};
	if (!b)
		return;
	slot->address = b->address;
	slot->port = b->port;
	slot->local_address = b->local_address;
	slot->local_port = b->local_port;
	slot->task = xstrdup(b->task);
}

static int cmp_backend(const struct vip_backend *a, const struct vip_backend *b)
{
	int c = ip_addr_cmp(&a->address, &b->address);

	return c ? c : (a->port > b->port) - (a->port < b->port);
}

/* Both are sorted. `fresh` NULL: the VIP is gone. */
static void note_vip(struct gone *g, const struct vip *old, const struct vip *fresh, nsec_t now)
{
	size_t k = 0;

	for (size_t i = 0; i < old->n_backends; i++) {
		int c = -1;

		while (fresh && k < fresh->n_backends &&
			(c = cmp_backend(&old->backends[i], &fresh->backends[k])) > 0)
			k++;
		if (!fresh || k == fresh->n_backends || c != 0)
			add(g, old, &old->backends[i], now);
	}
	if (!fresh)
		add(g, old, NULL, now);
}

void gone_note(struct gone *g, const struct vip_table *old, const struct vip_table *fresh,
	const struct vip_table_diff *diff, nsec_t now)
{
	for (size_t i = 0; old && i < diff->n_added + diff->n_changed; i++) {
		const struct vip *before = vip_table_find(old, &diff->keys[i]);

		if (before)
			note_vip(g, before, vip_table_find(fresh, &diff->keys[i]), now);
	}
	for (size_t i = 0; diff->n_removed > 0 && i < old->n_vips; i++)
		if (!vip_table_find(fresh, &old->vips[i].key))
			note_vip(g, &old->vips[i], NULL, now);
}

size_t gone_count(const struct gone *g)
{
	return g->n < GONE_KEPT ? g->n : GONE_KEPT;
}

const struct gone_item *gone_get(const struct gone *g, size_t i)
{
	return &g->ring[(g->n - 1 - i) % GONE_KEPT];
}

static bool is_it(const struct gone_item *item, const struct service_key *service,
	const struct ip_addr *address, uint16_t port)
{
	if (service_key_cmp(&item->service, service) != 0)
		return false;
	if (address->family == AF_UNSPEC)
		return item->address.family == AF_UNSPEC;
	return (ip_addr_cmp(&item->address, address) == 0 && item->port == port) ||
	       (ip_addr_cmp(&item->local_address, address) == 0 && item->local_port == port);
}

const struct gone_item *gone_find(const struct gone *g, const struct service_key *service,
	const struct ip_addr *address, uint16_t port)
{
	for (size_t i = 0; i < gone_count(g); i++)
		if (is_it(gone_get(g, i), service, address, port))
			return gone_get(g, i);
	return NULL;
}
