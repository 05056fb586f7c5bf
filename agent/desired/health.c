/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/desired/health.h"

/* The first return is free: a node that is restarted is not to wait. */
#define FREE_FLAPS 1

struct healths {
	struct health_options options;
	size_t n, allocated;
	struct node_health *list; /* sorted by agent */
};

struct healths *healths_new(const struct health_options *options)
{
	struct healths *h = xcalloc(1, sizeof(*h));

	h->options = *options;
	return h;
}

struct healths *healths_free(struct healths *h)
{
	if (h)
		free(h->list);
	free(h);
	return NULL;
}

static size_t lower_bound(const struct healths *h, const struct ip_addr *agent)
{
	size_t low = 0, high = h->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (ip_addr_cmp(&h->list[mid].agent, agent) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct node_health *find(const struct healths *h, const struct ip_addr *agent)
{
	size_t i = lower_bound(h, agent);

	return i < h->n && ip_addr_cmp(&h->list[i].agent, agent) == 0 ? &h->list[i] : NULL;
}

static struct node_health *add(struct healths *h, const struct ip_addr *agent, nsec_t now)
{
	size_t i = lower_bound(h, agent);

	if (h->n == h->allocated) {
		h->allocated = h->allocated ? 2 * h->allocated : 8;
		h->list = xrealloc(h->list, h->allocated, sizeof(*h->list));
	}
	memmove(&h->list[i + 1], &h->list[i], (h->n - i) * sizeof(*h->list));
	h->list[i] = (struct node_health){
		.agent = *agent, .reported_up = true, .since = now, .forgiven = now};
	h->n++;
	return &h->list[i];
}

/* The time a node is held that returns for the n-th time; 0 for the first ones. */
static nsec_t hold_time(const struct healths *h, unsigned int n_flaps)
{
	nsec_t hold = h->options.hold;

	if (n_flaps <= FREE_FLAPS)
		return 0;
	for (unsigned int i = FREE_FLAPS + 1; i < n_flaps && hold < h->options.hold_max; i++)
		hold *= 2;
	return hold < h->options.hold_max ? hold : h->options.hold_max;
}

/* The one place where a health changes. */
static bool enter(struct node_health *n, enum health health)
{
	bool changed = n->health != health;

	n->health = health;
	return changed;
}

static bool report_down(struct node_health *n, nsec_t now)
{
	n->since = now;
	n->until = 0;
	return n->health == HEALTH_UP && enter(n, HEALTH_DOWN);
}

static bool report_up(const struct healths *h, struct node_health *n, nsec_t now)
{
	nsec_t hold = hold_time(h, ++n->n_flaps);

	n->since = n->forgiven = now;
	n->until = hold ? now + hold : 0;
	return hold == 0 && enter(n, HEALTH_UP);
}

bool healths_report(struct healths *h, const struct ip_addr *agent, bool up, nsec_t now)
{
	struct node_health *n = find(h, agent);

	if (!n && up)
		return false;
	if (!n)
		n = add(h, agent, now);
	if (n->reported_up == up)
		return false;
	n->reported_up = up;
	return up ? report_up(h, n, now) : report_down(n, now);
}

static bool tick_node(const struct healths *h, struct node_health *n, nsec_t now)
{
	bool changed = false;

	if (n->until && now >= n->until) {
		n->until = 0;
		changed |= enter(n, HEALTH_UP);
	}
	if (!n->reported_up && n->health == HEALTH_DOWN && now - n->since >= h->options.confirm)
		changed |= enter(n, HEALTH_CONFIRMED);
	while (n->n_flaps && n->health == HEALTH_UP && now - n->forgiven >= h->options.hold_max) {
		n->n_flaps--;
		n->forgiven += h->options.hold_max;
	}
	return changed;
}

bool healths_tick(struct healths *h, nsec_t now)
{
	bool changed = false;
	size_t kept = 0;

	for (size_t i = 0; i < h->n; i++) {
		struct node_health *n = &h->list[i];

		changed |= tick_node(h, n, now);
		if (n->health != HEALTH_UP || n->n_flaps > 0)
			h->list[kept++] = *n;
	}
	h->n = kept;
	return changed;
}

static nsec_t node_deadline(const struct healths *h, const struct node_health *n)
{
	if (n->until)
		return n->until;
	if (n->health == HEALTH_DOWN)
		return n->since + h->options.confirm;
	return n->health == HEALTH_UP ? n->forgiven + h->options.hold_max : UINT64_MAX;
}

nsec_t healths_deadline(const struct healths *h)
{
	nsec_t first = UINT64_MAX;

	for (size_t i = 0; i < h->n; i++) {
		nsec_t t = node_deadline(h, &h->list[i]);

		if (t < first)
			first = t;
	}
	return first;
}

enum health healths_get(const struct healths *h, const struct ip_addr *agent)
{
	const struct node_health *n = find(h, agent);

	return n ? n->health : HEALTH_UP;
}

const struct node_health *healths_list(const struct healths *h, size_t *ret_n)
{
	*ret_n = h->n;
	return h->list;
}
