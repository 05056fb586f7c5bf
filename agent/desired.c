/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/desired.h"

#include "agent/util.h"

const char *refusal_text(enum refusal r)
{
	static const char *const texts[_REFUSAL_N] = {
		[REFUSAL_UNUSABLE] = "not a usable unicast address",
		[REFUSAL_OWN_ADDRESS] = "is the address of a node of the cluster",
	};

	return texts[r];
}

/* Addresses that no route may make a VIP: unspecified, "this network", loopback, link-local,
 * multicast, reserved, broadcast, and IPv4 inside IPv6. */
static bool unusable(const struct ip_addr *a)
{
	static const uint8_t zero[16], mapped[12] = {[10] = 0xff, [11] = 0xff};
	const uint8_t *b = a->bytes;

	if (a->family == AF_INET)
		return b[0] == 0 || b[0] == 127 || b[0] >= 224 || (b[0] == 169 && b[1] == 254);
	return memcmp(b, zero, 15) == 0 || memcmp(b, mapped, 12) == 0 || b[0] == 0xff ||
	       (b[0] == 0xfe && (b[1] & 0xc0) == 0x80);
}

static int cmp_addr(const void *a, const void *b)
{
	return ip_addr_cmp(a, b);
}

/* The addresses of all agents that the table names; sorted. */
static struct ip_addr *agent_addresses(const struct vip_table *t, size_t *ret_n)
{
	struct ip_addr *all;
	size_t n = 0;

	for (size_t i = 0; i < t->n_vips; i++)
		n += t->vips[i].n_backends;
	all = xcalloc(n, sizeof(*all));
	n = 0;
	for (size_t i = 0; i < t->n_vips; i++)
		for (size_t k = 0; k < t->vips[i].n_backends; k++) {
			const struct ip_addr *agent = &t->vips[i].backends[k].agent;

			if (n == 0 || ip_addr_cmp(agent, &all[n - 1]) != 0)
				all[n++] = *agent;
		}
	qsort(all, n, sizeof(*all), cmp_addr);
	*ret_n = n;
	return all;
}

/* What forbids this VIP, or _REFUSAL_N. */
static enum refusal admit(const struct vip *vip, const struct node *node,
	const struct ip_addr *agents, size_t n_agents)
{
	const struct ip_addr *a = &vip->key.address;

	if (unusable(a))
		return REFUSAL_UNUSABLE;
	if (node_owns(node, a) ||
		(n_agents && bsearch(a, agents, n_agents, sizeof(*agents), cmp_addr)))
		return REFUSAL_OWN_ADDRESS;
	return _REFUSAL_N;
}

static void must(int r)
{
	if (r < 0)
		abort(); /* out of memory, as everywhere in agent/ */
}

static void add_vip(struct kernel_state *want, const struct vip *vip, const struct node *node)
{
	struct service *svc = kernel_state_service(want, &vip->key);

	must(svc ? 0 : -1);
	for (size_t i = 0; i < vip->n_backends; i++) {
		const struct vip_backend *b = &vip->backends[i];
		bool local = node_owns(node, &b->agent);
		struct destination d = {
			.address = local ? b->local_address : b->address,
			.port = local ? b->local_port : b->port,
			.weight = b->weight,
		};
		const struct destination *twin = service_find_destination(svc, &d.address, d.port);

		if (twin && twin->weight > d.weight)
			continue; /* two tasks, one place: the healthier speaks for it */
		must(service_set_destination(svc, &d));
	}
}

struct desired *desired_new(const struct desired_input *in)
{
	struct desired *d = xcalloc(1, sizeof(*d));
	size_t n_agents;
	AUTO_FREE struct ip_addr *agents = agent_addresses(in->table, &n_agents);

	d->want = kernel_state_new();
	must(d->want ? 0 : -1);
	for (size_t i = 0; i < in->table->n_vips; i++) {
		const struct vip *vip = &in->table->vips[i];
		enum refusal why = admit(vip, in->node, agents, n_agents);

		if (why == _REFUSAL_N) {
			add_vip(d->want, vip, in->node);
			continue;
		}
		d->refused = xrealloc(d->refused, d->n_refused + 1, sizeof(*d->refused));
		d->refused[d->n_refused++] = (struct refused){vip, why};
	}
	d->drains_changed =
		drains_extend(in->drains, d->want, in->have, in->now, in->drain_timeout);
	must(kernel_state_complete(d->want, &in->node->address, &in->node->address6));
	return d;
}

struct desired *desired_free(struct desired *d)
{
	if (!d)
		return NULL;
	kernel_state_free(d->want);
	free(d->refused);
	free(d);
	return NULL;
}
