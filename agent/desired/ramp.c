/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/desired/ramp.h"

struct ramp {
	struct drain_key key;
	nsec_t since;
	bool seen; /* by the ramps_apply() under way */
};

struct ramps {
	size_t n, allocated;
	struct ramp *list; /* in order of arrival; few at a time */
};

struct ramps *ramps_new(void)
{
	return xcalloc(1, sizeof(struct ramps));
}

struct ramps *ramps_free(struct ramps *r)
{
	if (r)
		free(r->list);
	free(r);
	return NULL;
}

size_t ramps_count(const struct ramps *r)
{
	return r->n;
}

const struct service_key *ramps_get(const struct ramps *r, size_t i)
{
	return &r->list[i].key.service;
}

static struct ramp *find(struct ramps *r, const struct drain_key *key)
{
	for (size_t i = 0; i < r->n; i++)
		if (drain_key_cmp(&r->list[i].key, key) == 0)
			return &r->list[i];
	return NULL;
}

/* Ramps at once; more than these begin with full weight, since then most of the service is new. */
#define MAX_RAMPS 10000

static struct ramp *add(struct ramps *r, const struct drain_key *key, nsec_t now)
{
	if (r->n >= MAX_RAMPS)
		return NULL;
	if (r->n == r->allocated) {
		r->allocated = r->allocated ? 2 * r->allocated : 8;
		r->list = xrealloc(r->list, r->allocated, sizeof(*r->list));
	}
	r->list[r->n] = (struct ramp){.key = *key, .since = now};
	return &r->list[r->n++];
}

/* 1 to RAMP_FULL; RAMP_FULL when the ramp is over. */
static uint32_t ramp_weight(const struct ramp *ramp, nsec_t now, nsec_t time)
{
	nsec_t elapsed = now - ramp->since;

	return elapsed >= time ? RAMP_FULL : 1 + (uint32_t)(elapsed * (RAMP_FULL - 1) / time);
}

static bool has_weight(const struct service *svc)
{
	for (size_t i = 0; i < svc->n_destinations; i++)
		if (svc->destinations[i].weight > 0)
			return true;
	return false;
}

/* The ramp of a wanted destination: the one it has, a new one if it is new, or NULL. */
static struct ramp *ramp_of(
	struct ramps *r, const struct service *old, const struct drain_key *key, nsec_t now)
{
	struct ramp *ramp = find(r, key);
	const struct destination *there;

	if (ramp || !has_weight(old))
		return ramp;
	there = service_find_destination(old, &key->address, key->port);
	return there && there->weight > 0 ? NULL : add(r, key, now);
}

static void apply_service(
	struct ramps *r, struct service *svc, const struct service *old, nsec_t now, nsec_t time)
{
	bool ramping = false;

	for (size_t i = 0; i < svc->n_destinations; i++) {
		struct destination *d = &svc->destinations[i];
		struct drain_key key = {svc->key, d->address, d->port};
		struct ramp *ramp = d->weight > 0 ? ramp_of(r, old, &key, now) : NULL;
		uint32_t weight = ramp ? ramp_weight(ramp, now, time) : RAMP_FULL;

		if (d->weight == 0)
			continue;
		if (ramp)
			ramp->seen = weight < RAMP_FULL;
		ramping |= weight < RAMP_FULL;
		d->weight = weight;
	}
	for (size_t i = 0; i < svc->n_destinations && !ramping; i++)
		if (svc->destinations[i].weight > 0)
			svc->destinations[i].weight = 1;
}

void ramps_apply(struct ramps *r, struct kernel_state *want, const struct kernel_state *have,
	nsec_t now, nsec_t time)
{
	size_t kept = 0, h = 0;

	for (size_t i = 0; time > 0 && i < want->n_services; i++) {
		struct service *svc = want->services[i], *old;

		while (h < have->n_services && have->services[h] != svc &&
			service_key_cmp(&have->services[h]->key, &svc->key) < 0)
			h++;
		old = h < have->n_services ? have->services[h] : NULL;
		if (old && old != svc && service_key_cmp(&old->key, &svc->key) == 0)
			apply_service(r, svc, old, now, time);
	}
	for (size_t i = 0; i < r->n; i++)
		if (r->list[i].seen) {
			r->list[kept] = r->list[i];
			r->list[kept++].seen = false;
		}
	r->n = kept;
}

nsec_t ramps_deadline(const struct ramps *r, nsec_t now, nsec_t time)
{
	return r->n ? now + time / RAMP_FULL : UINT64_MAX;
}
