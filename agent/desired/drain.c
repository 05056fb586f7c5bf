/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A drain is over when its connections are gone. "Gone" is judged by the kernel's count of
 * active (established) connections; the inactive ones are mostly closed ones that IPVS
 * remembers for two minutes more. A connection in its handshake is inactive too, so one
 * reading is not enough: IDLE_READINGS in a row, about a second apart, must show none.
 *
 * What is over is removed at once, unless too much was removed of late: IPVS keeps a removed
 * destination in a list for two minutes and more, and looks through that list whenever a
 * destination is added. With 30,000 in it, adding is a hundred times slower. So at most TRASH_MAX
 * are let go within the time they stay there; the others wait with weight 0, where they cost
 * nothing.
 *
 * The file holds monotonic times, which go on over a restart of vipd and mean nothing after
 * a reboot; it therefore names the boot.
 */
#include "agent/desired/drain.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <systemd/sd-id128.h>

#include "ipvs/plan.h"

#define IDLE_READINGS 2
/* Lines of the file that are read at most: destinations of 10,000 services that all end. */
#define MAX_DRAINS 1000000
/* A removed destination stays in the kernel's list for 120 to 240 s (IP_VS_DEST_TRASH_PERIOD, net/
 * netfilter/ipvs/ip_vs_ctl.c). Counted in two halves, so that the bound holds in any window. */
#define TRASH_HALF (120 * NSEC_PER_SEC)
/* With 700 in the list adding a destination takes three times as long as with none (measured). */
#define TRASH_MAX 700

struct drains {
	size_t n, allocated;
	struct drain *list;  /* sorted by key */
	size_t cursor;       /* where drains_next() goes on */
	nsec_t half_began;   /* the current half of the window */
	size_t n_removed[2]; /* let go in the half before, and in this one */
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

int drain_key_cmp(const struct drain_key *a, const struct drain_key *b)
{
	int c = service_key_cmp(&a->service, &b->service);

	if (c == 0)
		c = ip_addr_cmp(&a->address, &b->address);
	return c ? c : (a->port > b->port) - (a->port < b->port);
}

/* The place where this drain stands, or would. */
static size_t lower_bound(const struct drains *d, const struct drain_key *key)
{
	size_t low = 0, high = d->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (drain_key_cmp(&d->list[mid].key, key) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct drain *find(const struct drains *d, const struct drain_key *key)
{
	size_t i = lower_bound(d, key);

	if (i < d->n && drain_key_cmp(&d->list[i].key, key) == 0)
		return &d->list[i];
	return NULL;
}

const struct drain *drains_find(const struct drains *d, const struct drain_key *key)
{
	return find(d, key);
}

static struct drain *insert(struct drains *d, const struct drain *drain)
{
	size_t i = lower_bound(d, &drain->key);

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

/* Moves the window on. */
static void turn_half(struct drains *d, nsec_t now)
{
	if (now - d->half_began < TRASH_HALF)
		return;
	d->n_removed[0] = now - d->half_began < 2 * TRASH_HALF ? d->n_removed[1] : 0;
	d->n_removed[1] = 0;
	d->half_began = now;
}

static bool may_remove(struct drains *d, nsec_t now)
{
	turn_half(d, now);
	return d->n_removed[0] + d->n_removed[1] < TRASH_MAX;
}

static void must(bool ok)
{
	if (!ok)
		abort(); /* out of memory */
}

static void keep_at_zero(
	struct kernel_state *want, const struct service_key *key, const struct destination *dest)
{
	struct destination zero = {.address = dest->address, .port = dest->port};
	struct service *svc = kernel_state_service(want, key);

	must(svc && service_set_destination(svc, &zero) == 0);
}

static bool is_gone(const struct drains_input *in, const struct drain_key *key)
{
	size_t low = 0, high = in->n_gone;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = drain_key_cmp(&in->gone[mid], key);

		if (c == 0)
			return true;
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return false;
}

/* One destination of the kernel's that is not wanted: drains on, begins to, or is let go. True
 * if it begins. */
static bool extend_destination(struct drains *d, struct kernel_state *want,
	const struct drains_input *in, const struct service *svc, const struct destination *dest)
{
	struct drain fresh = {
		.key = {svc->key, dest->address, dest->port},
		.since = in->now,
		.deadline = in->now + in->timeout,
	};
	struct drain *drain;
	bool begins;

	if (is_gone(in, &fresh.key))
		return false;
	drain = find(d, &fresh.key);
	begins = !drain;
	if (begins)
		drain = insert(d, &fresh);
	drain->seen = true;
	if (over(drain, in->now)) {
		/* Asked again before the kernel has done it, this counts twice: on the safe side.
		 */
		drain->waiting = !may_remove(d, in->now);
		if (!drain->waiting) {
			d->n_removed[1]++;
			return begins;
		}
	}
	keep_at_zero(want, &svc->key, dest);
	return begins;
}

/* Forgets the drains that drains_extend() did not meet. True if there were any. */
static bool forget_unseen(struct drains *d)
{
	size_t kept = 0, n = d->n;

	for (size_t i = 0; i < n; i++)
		if (d->list[i].seen) {
			d->list[kept] = d->list[i];
			d->list[kept++].seen = false;
		}
	d->n = kept;
	return kept < n;
}

static bool extend_service(struct drains *d, struct kernel_state *want,
	const struct drains_input *in, const struct service *svc)
{
	const struct service *wanted;
	bool changed = false;

	if (svc->key.protocol != IPPROTO_TCP || !kernel_state_owns(in->have, svc))
		return false;
	wanted = kernel_state_find(want, &svc->key);

	for (size_t k = 0; k < svc->n_destinations; k++) {
		const struct destination *dest = &svc->destinations[k];

		if (wanted && service_find_destination(wanted, &dest->address, dest->port))
			continue;
		changed |= extend_destination(d, want, in, svc, dest);
		wanted = kernel_state_find(want, &svc->key); /* may have come just now */
	}
	return changed;
}

bool drains_extend(struct drains *d, struct kernel_state *want, const struct drains_input *in)
{
	bool changed = false;
	size_t w = 0;

	for (size_t i = 0; in->timeout > 0 && i < in->have->n_services; i++) {
		const struct service *svc = in->have->services[i];

		while (w < want->n_services && want->services[w] != svc &&
			service_key_cmp(&want->services[w]->key, &svc->key) < 0)
			w++;
		/* What both states share is wanted with all its destinations. */
		if (w == want->n_services || want->services[w] != svc)
			changed |= extend_service(d, want, in, svc);
	}
	return forget_unseen(d) || changed;
}

size_t drains_next(struct drains *d, nsec_t now, struct service_key *keys, size_t max)
{
	size_t n = 0;

	for (size_t visited = 0; visited < d->n && n < max; visited++) {
		const struct drain *drain = &d->list[d->cursor++ % d->n];

		if (over(drain, now))
			continue;
		if (n == 0 || service_key_cmp(&drain->key.service, &keys[n - 1]) != 0)
			keys[n++] = drain->key.service;
	}
	if (d->n)
		d->cursor %= d->n;
	return n;
}

static void observe_service(
	struct drains *d, const struct kernel_state *have, const struct service_key *key)
{
	const struct service *svc = kernel_state_find(have, key);
	struct drain_key first = {.service = *key};

	for (size_t i = lower_bound(d, &first); i < d->n; i++) {
		struct drain *drain = &d->list[i];
		const struct destination *dest;

		if (service_key_cmp(&drain->key.service, key) != 0)
			return;
		dest = svc ? service_find_destination(svc, &drain->key.address, drain->key.port)
			   : NULL;
		drain->n_idle = dest && dest->n_active > 0 ? 0 : drain->n_idle + 1;
	}
}

bool drains_observe(struct drains *d, const struct kernel_state *have,
	const struct service_key *keys, size_t n_keys, nsec_t now)
{
	for (size_t i = 0; i < n_keys; i++)
		observe_service(d, have, &keys[i]);
	if (!may_remove(d, now))
		return false;
	for (size_t i = 0; i < d->n; i++)
		if (over(&d->list[i], now))
			return true;
	return false;
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
			ip_addr_format(&drain->key.service.address, vip), drain->key.service.port,
			ip_addr_format(&drain->key.address, dest), drain->key.port, drain->since,
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
	struct drain d = {.key.service.protocol = IPPROTO_TCP};
	unsigned int vip_port, port;

	_Static_assert(IP_ADDR_STRLEN == 46, "the field widths below");
	if (sscanf(line, "%45s %u %45s %u %" SCNu64 " %" SCNu64, vip, &vip_port, dest, &port,
		    &d.since, &d.deadline) != 6)
		return -EINVAL;
	if (ip_addr_parse(vip, &d.key.service.address) < 0 ||
		ip_addr_parse(dest, &d.key.address) < 0 || vip_port < 1 || vip_port > 65535 ||
		port < 1 || port > 65535 || d.deadline < d.since)
		return -EINVAL;
	d.key.service.port = (uint16_t)vip_port;
	d.key.port = (uint16_t)port;
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
		if (r == 0 && !find(d, &drain.key))
			insert(d, &drain);
	}
	fclose(f);
	if (r < 0)
		d->n = 0;
	return r;
}
