/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A drain is over when its connections are gone. "Gone" is judged by the kernel's count of
 * active (established) connections; the inactive ones are mostly closed ones that IPVS
 * remembers for two minutes more. A connection in its handshake is inactive too, so one
 * reading is not enough: IDLE_READINGS in a row, about a second apart, must show none.
 *
 * The file holds monotonic times, which go on over a restart of vipd and mean nothing after
 * a reboot; it therefore names the boot.
 */
#include "agent/drain.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <systemd/sd-id128.h>

#include "ipvs/plan.h"

#define IDLE_READINGS 2
/* Lines of the file that are read at most: destinations of 10,000 services that all end. */
#define MAX_DRAINS 1000000

struct drains {
	size_t n, allocated;
	struct drain *list; /* sorted by service, address, port */
};

struct drains *drains_new(void)
{
	return xcalloc(1, sizeof(struct drains));
}

struct drains *drains_free(struct drains *d)
{
	if (d)
		free(d->list);
	free(d);
	return NULL;
}

static int drain_cmp(const struct drain *a, const struct service_key *service,
	const struct ip_addr *address, uint16_t port)
{
	int c = service_key_cmp(&a->service, service);

	if (c == 0)
		c = ip_addr_cmp(&a->address, address);
	return c ? c : (a->port > port) - (a->port < port);
}

/* The place where this drain stands, or would. */
static size_t lower_bound(const struct drains *d, const struct service_key *service,
	const struct ip_addr *address, uint16_t port)
{
	size_t low = 0, high = d->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (drain_cmp(&d->list[mid], service, address, port) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct drain *find(const struct drains *d, const struct service_key *service,
	const struct ip_addr *address, uint16_t port)
{
	size_t i = lower_bound(d, service, address, port);

	if (i < d->n && drain_cmp(&d->list[i], service, address, port) == 0)
		return &d->list[i];
	return NULL;
}

const struct drain *drains_find(const struct drains *d, const struct service_key *service,
	const struct ip_addr *address, uint16_t port)
{
	return find(d, service, address, port);
}

static struct drain *insert(struct drains *d, const struct drain *drain)
{
	size_t i = lower_bound(d, &drain->service, &drain->address, drain->port);

	if (d->n == d->allocated) {
		d->allocated = d->allocated ? 2 * d->allocated : 16;
		d->list = xrealloc(d->list, d->allocated, sizeof(*d->list));
	}
	memmove(&d->list[i + 1], &d->list[i], (d->n - i) * sizeof(*d->list));
	d->list[i] = *drain;
	d->n++;
	return &d->list[i];
}

static bool over(const struct drain *drain, nsec_t now)
{
	return drain->n_idle >= IDLE_READINGS || now >= drain->deadline;
}

static void must(bool ok)
{
	if (!ok)
		abort(); /* out of memory */
}

/* One destination of the kernel's that is not wanted: drains on, begins to, or is let go. True
 * if it begins. */
static bool extend_destination(struct drains *d, struct kernel_state *want,
	const struct service *svc, const struct destination *dest, nsec_t now, nsec_t timeout)
{
	struct drain *drain = find(d, &svc->key, &dest->address, dest->port);
	struct drain fresh = {
		.service = svc->key,
		.address = dest->address,
		.port = dest->port,
		.since = now,
		.deadline = now + timeout,
	};
	struct destination zero = *dest;
	struct service *target;
	bool begins = !drain;

	if (begins)
		drain = insert(d, &fresh);
	drain->seen = true;
	if (over(drain, now))
		return begins;
	zero.weight = zero.forward = zero.n_active = zero.n_inactive = 0;
	target = kernel_state_service(want, &svc->key);
	must(target && service_set_destination(target, &zero) == 0);
	return begins;
}

/* Forgets the drains that drains_extend() did not meet. True if there were any. */
static bool forget_unseen(struct drains *d)
{
	size_t kept = 0, n = d->n;

	for (size_t i = 0; i < d->n; i++)
		if (d->list[i].seen) {
			d->list[kept] = d->list[i];
			d->list[kept++].seen = false;
		}
	d->n = kept;
	return kept < n;
}

bool drains_extend(struct drains *d, struct kernel_state *want, const struct kernel_state *have,
	nsec_t now, nsec_t timeout)
{
	bool changed = false;

	for (size_t i = 0; timeout > 0 && i < have->n_services; i++) {
		const struct service *svc = have->services[i];
		const struct service *wanted = kernel_state_find(want, &svc->key);

		if (svc->key.protocol != IPPROTO_TCP || !kernel_state_owns(have, svc))
			continue;
		for (size_t k = 0; k < svc->n_destinations; k++) {
			const struct destination *dest = &svc->destinations[k];

			if (!wanted ||
				!service_find_destination(wanted, &dest->address, dest->port))
				changed |= extend_destination(d, want, svc, dest, now, timeout);
			/* `want` may have got the service just now */
			wanted = kernel_state_find(want, &svc->key);
		}
	}
	return forget_unseen(d) || changed;
}

bool drains_observe(struct drains *d, const struct kernel_state *have, nsec_t now)
{
	bool any = false;

	for (size_t i = 0; i < d->n; i++) {
		struct drain *drain = &d->list[i];
		const struct service *svc = kernel_state_find(have, &drain->service);
		const struct destination *dest =
			svc ? service_find_destination(svc, &drain->address, drain->port) : NULL;

		drain->n_idle = dest && dest->n_active > 0 ? 0 : drain->n_idle + 1;
		any |= over(drain, now);
	}
	return any;
}

nsec_t drains_deadline(const struct drains *d)
{
	nsec_t first = UINT64_MAX;

	for (size_t i = 0; i < d->n; i++)
		if (d->list[i].deadline < first)
			first = d->list[i].deadline;
	return first;
}

size_t drains_count(const struct drains *d)
{
	return d->n;
}

const struct drain *drains_get(const struct drains *d, size_t i)
{
	return &d->list[i];
}

/* --- the file -------------------------------------------------------------- */

#define FILE_HEADER "vipd drains 1"

static void boot_id(char text[static SD_ID128_STRING_MAX])
{
	sd_id128_t id = SD_ID128_NULL;

	(void)sd_id128_get_boot(&id);
	sd_id128_to_string(id, text);
}

int drains_save(const struct drains *d, const char *path)
{
	AUTO_FREE char *tmp = xasprintf("%s.new", path);
	char boot[SD_ID128_STRING_MAX], vip[IP_ADDR_STRLEN], dest[IP_ADDR_STRLEN];
	FILE *f;
	int r;

	if (d->n == 0)
		return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
	f = fopen(tmp, "we");
	if (!f)
		return -errno;
	boot_id(boot);
	fprintf(f, FILE_HEADER " %s\n", boot);
	for (size_t i = 0; i < d->n; i++) {
		const struct drain *drain = &d->list[i];

		fprintf(f, "%s %u %s %u %" PRIu64 " %" PRIu64 "\n",
			ip_addr_format(&drain->service.address, vip), drain->service.port,
			ip_addr_format(&drain->address, dest), drain->port, drain->since,
			drain->deadline);
	}
	r = ferror(f) ? -EIO : 0;
	if (fclose(f) != 0 && r == 0)
		r = -errno;
	if (r == 0 && rename(tmp, path) < 0)
		r = -errno;
	if (r < 0)
		unlink(tmp);
	return r;
}

/* One line into a drain. 0 or -EINVAL. */
static int parse_line(const char *line, struct drain *ret)
{
	char vip[IP_ADDR_STRLEN], dest[IP_ADDR_STRLEN];
	struct drain d = {.service.protocol = IPPROTO_TCP};
	unsigned int vip_port, port;

	_Static_assert(IP_ADDR_STRLEN == 46, "the field widths below");
	if (sscanf(line, "%45s %u %45s %u %" SCNu64 " %" SCNu64, vip, &vip_port, dest, &port,
		    &d.since, &d.deadline) != 6)
		return -EINVAL;
	if (ip_addr_parse(vip, &d.service.address) < 0 || ip_addr_parse(dest, &d.address) < 0 ||
		vip_port < 1 || vip_port > 65535 || port < 1 || port > 65535 ||
		d.deadline < d.since)
		return -EINVAL;
	d.service.port = (uint16_t)vip_port;
	d.port = (uint16_t)port;
	*ret = d;
	return 0;
}

int drains_load(struct drains *d, const char *path)
{
	char line[256], boot[SD_ID128_STRING_MAX], expected[128];
	FILE *f = fopen(path, "re");
	int r = 0;

	if (!f)
		return -errno;
	boot_id(boot);
	snprintf(expected, sizeof(expected), FILE_HEADER " %s\n", boot);
	if (!fgets(line, sizeof(line), f) || strcmp(line, expected) != 0)
		r = -ESTALE;
	while (r == 0 && d->n < MAX_DRAINS && fgets(line, sizeof(line), f)) {
		struct drain drain;

		r = parse_line(line, &drain);
		if (r == 0 && !find(d, &drain.service, &drain.address, drain.port))
			insert(d, &drain);
	}
	fclose(f);
	if (r < 0)
		d->n = 0;
	return r;
}
