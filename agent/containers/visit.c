/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A namespace that has reached a wanted state holds just that, so a change is planned from the
 * wanted state before to the one after, without reading anything: its cost is its own
 * commands. A command that fails shows that this was wrong; then the namespace is read.
 *
 * A plan is applied as a whole, not in portions: nobody waits for this thread, and steps are
 * withheld after a failure only within one kernel_apply().
 */
#include "agent/containers/visit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "agent/apply/audit.h"
#include "agent/apply/sysctl.h"
#include "agent/desired/node.h"
#include "ipvs/netns.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

/* Readings from which one change is planned. */
#define ATTEMPTS 2

bool netns_id_same(const struct netns_id *a, const struct netns_id *b)
{
	return a->inode && a->inode == b->inode && a->device == b->device;
}

void visit_forget(struct visit_memory *m)
{
	wanted_unref(m->reached);
	*m = (struct visit_memory){0};
}

static int fail(struct visit *v, const char *what, int error)
{
	snprintf(v->problem, sizeof(v->problem), "%s: %s", what, strerror(-error));
	return error;
}

static int refuse(struct visit *v, const char *why)
{
	snprintf(v->problem, sizeof(v->problem), "%s", why);
	return -EINVAL;
}

/* --- going in -------------------------------------------------------------- */

/* As the path of an open file: what was checked is what is opened, whatever the path means by now.
 */
static void own_path(int fd, char buf[static 64])
{
	snprintf(buf, 64, "/proc/self/fd/%d", fd);
}

/* A descriptor with which nothing has been opened yet: a device or a pipe does not notice. */
static int open_quietly(struct visit *v, const char *path)
{
	struct statfs fs;
	struct stat st;
	char self[64];
	AUTO_CLOSE int fd = open(path, O_PATH | O_CLOEXEC);

	if (fd < 0)
		return fail(v, "cannot be opened", -errno);
	if (fstatfs(fd, &fs) < 0 || fstat(fd, &st) < 0)
		return fail(v, "cannot be opened", -errno);
	if (fs.f_type != NSFS_MAGIC)
		return refuse(v, "is not a network namespace");
	v->id = (struct netns_id){.device = st.st_dev, .inode = st.st_ino};
	own_path(fd, self);
	v->fd = open(self, O_RDONLY | O_CLOEXEC);
	return v->fd < 0 ? fail(v, "cannot be opened", -errno) : 0;
}

int visit_open(struct visit *v, const char *path)
{
	int r;

	v->fd = -1;
	r = open_quietly(v, path);
	if (r < 0)
		return r;
	if (ioctl(v->fd, NS_GET_NSTYPE) != CLONE_NEWNET)
		return refuse(v, "is a namespace, but none of the network");
	return 0;
}

static uint64_t read_cookie(void)
{
	AUTO_CLOSE int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint64_t cookie = 0;
	socklen_t n = sizeof(cookie);

	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &n) < 0)
		return 0;
	return cookie;
}

/* 1, 0, or -1 if there is no such setting. */
static int read_disable_ipv6(const char *link)
{
	AUTO_FREE char *path = xasprintf("/proc/sys/net/ipv6/conf/%s/disable_ipv6", link);
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	char c;

	return fd >= 0 && read(fd, &c, 1) == 1 ? c == '1' : -1;
}

/* Containers often have IPv6 switched off: then the kernel refuses routes of it on our link, which
 * is as all new links are. */
static bool can_ipv6(const char *device)
{
	int off = read_disable_ipv6(device);

	if (off < 0)
		off = read_disable_ipv6("default");
	return off == 0;
}

/* Rates per service and destination, which nobody reads in a container: the kernel passes over all
 * objects of all namespaces for them every 2 s. Counters go on without. */
static const struct sysctl no_rates = {.name = "net.ipv4.vs.run_estimation", .value = 0};

static void set_sysctl(const struct sysctl *s)
{
	int now = sysctl_read(s);

	if (now >= 0 && now != s->value)
		(void)sysctl_write(s);
}

/* Those that masquerading needs are not for namespaces, which have none. */
static void set_sysctls(void)
{
	for (size_t i = 0; i < n_sysctls; i++)
		if (!sysctls[i].if_masquerade)
			set_sysctl(&sysctls[i]);
	set_sysctl(&no_rates);
}

struct entry {
	struct visit *visit;
	const char *what;
};

/* In a thread that belongs to the namespace. */
static int inside(void *userdata)
{
	struct entry *e = userdata;
	struct visit *v = e->visit;
	const struct kernel_options options = {.device = v->device};
	const struct ip_addr any = {0};
	struct node node = {0};
	int r;

	e->what = "its kernel part cannot be opened";
	r = kernel_open(&options, &v->kernel, &e->what);
	if (r < 0)
		return r;
	e->what = "its addresses cannot be read";
	r = node_update(&node, &any, &any, &any);
	v->sources = (struct plan_sources){.v4 = node.address, .v6 = node.address6};
	node_done(&node);
	v->ipv6 = can_ipv6(v->device);
	v->id.cookie = read_cookie();
	if (v->sysctls && !v->memory->sysctls_done)
		set_sysctls();
	return r < 0 ? r : 0;
}

int visit_enter(struct visit *v)
{
	struct entry e = {.visit = v, .what = "cannot be entered"};
	char path[64];
	int r;

	own_path(v->fd, path);
	r = netns_call(path, inside, &e);
	if (r < 0)
		return fail(v, e.what, r);
	if (!netns_id_same(&v->id, &v->memory->id) || v->id.cookie != v->memory->id.cookie)
		visit_forget(v->memory); /* it is another one by now */
	v->memory->id = v->id;
	v->memory->sysctls_done = true;
	return 0;
}

void visit_close(struct visit *v)
{
	v->kernel = kernel_free(v->kernel);
	if (v->fd >= 0)
		close(v->fd);
	v->fd = -1;
}

/* --- in there -------------------------------------------------------------- */

static void make_plan(struct visit *v, struct plan *p, const struct kernel_state *have,
	const struct kernel_state *want, const struct plan_sources *have_sources,
	bool services_only)
{
	const struct plan_options options = {
		.seed = v->seed,
		.have_sources = have_sources,
		.want_sources = &v->sources,
		.skip_destinations = services_only,
	};

	if (plan_make(p, have, want, &options) < 0)
		abort(); /* out of memory, as everywhere in agent/ */
}

static int apply(struct visit *v, const struct plan *p)
{
	char text[STEP_STRLEN];
	struct step_error error;
	int r;

	v->n_failing = 0;
	v->problem[0] = '\0';
	v->n_steps += p->n_steps;
	r = kernel_apply(v->kernel, p->steps, p->n_steps, &error, 1, &v->n_failing);
	if (r < 0)
		return fail(v, "a batch of commands was not answered", r);
	if (v->n_failing > 0)
		fail(v, step_format(&p->steps[error.index], text), error.error);
	return 0;
}

static int read_kernel(struct visit *v, unsigned int parts, struct kernel_state **ret)
{
	int r = kernel_read_parts(v->kernel, parts, ret);

	return r < 0 ? fail(v, "it cannot be read", r) : 0;
}

static void reached(struct visit *v, struct wanted *want)
{
	struct wanted *old = v->memory->reached;

	v->memory->reached = want && !v->n_failing && !v->n_conflicts ? wanted_ref(want) : NULL;
	v->memory->sources = v->sources;
	wanted_unref(old);
}

/* Whether a service that the plan would add is there already. It is then somebody else's, and the
 * plan must not be applied: it begins with port entries, by which the service would pass for ours
 * from then on. True also if that cannot be known. */
static bool meets_others(struct visit *v, const struct plan *p)
{
	AUTO_FREE struct service_key *keys = xcalloc(p->n_steps, sizeof(*keys));
	struct kernel_state *found;
	size_t n = 0;
	bool any;

	for (size_t i = 0; i < p->n_steps; i++)
		if (p->steps[i].kind == STEP_SERVICE_ADD)
			keys[n++] = p->steps[i].key;
	if (n == 0)
		return false;
	if (kernel_read_services(v->kernel, keys, n, &found) < 0)
		return true;
	any = found->n_services > 0;
	kernel_state_free(found);
	return any;
}

/* From the wanted state it has reached. 0, or 1 if it must be read. */
static int change_from_reached(struct visit *v, struct wanted *want)
{
	struct visit_memory *m = v->memory;
	struct plan p = {0};
	int r;

	if (!m->reached)
		return 1;
	make_plan(v, &p, m->reached->state, want->state, &m->sources, false);
	r = meets_others(v, &p) ? 1 : apply(v, &p);
	plan_done(&p);
	if (r != 0 || v->n_failing)
		return 1;
	reached(v, want);
	return 0;
}

/* Reads, plans and applies. */
static int change_from_reading(struct visit *v, struct wanted *want)
{
	struct kernel_state *have;
	struct plan p = {0};
	int r = read_kernel(v, KERNEL_ALL, &have);

	if (r < 0)
		return r;
	make_plan(v, &p, have, want->state, NULL, false);
	kernel_state_free(have);
	v->n_conflicts = p.n_conflicts;
	r = apply(v, &p);
	plan_done(&p);
	return r;
}

int visit_change(struct visit *v, struct wanted *want)
{
	int r = change_from_reached(v, want);

	if (r == 0)
		return 0;
	reached(v, NULL);
	for (int i = 0; i < ATTEMPTS; i++) {
		r = change_from_reading(v, want);
		if (r == 0 && v->n_failing == 0)
			break;
	}
	if (r == 0)
		reached(v, want);
	return r;
}

/* 1 if one look shows nothing amiss, 0 if it does. */
static int looks_right(struct visit *v, const struct kernel_state *want, bool full)
{
	unsigned int parts = full ? KERNEL_ALL : KERNEL_ALL & ~(unsigned int)KERNEL_DESTINATIONS;
	struct kernel_state *have;
	struct plan p = {0};
	int r = read_kernel(v, parts, &have);

	if (r < 0)
		return r;
	make_plan(v, &p, have, want, NULL, !full);
	r = p.n_steps == 0 && p.n_conflicts == 0;
	plan_done(&p);
	kernel_state_free(have);
	return r;
}

static int look(struct visit *v, const struct kernel_state *want, struct plan *p)
{
	struct kernel_state *have;
	int r = read_kernel(v, KERNEL_ALL, &have);

	if (r < 0)
		return r;
	make_plan(v, p, have, want, NULL, false);
	kernel_state_free(have);
	return 0;
}

int visit_audit(struct visit *v, struct wanted *want, bool full)
{
	struct plan first = {0}, second = {0};
	size_t n_seen;
	int r = looks_right(v, want->state, full);

	if (r != 0)
		return r < 0 ? r : 0;
	reached(v, NULL);
	/* One dump may lie; two do not lie alike. */
	r = look(v, want->state, &first);
	if (r == 0)
		r = look(v, want->state, &second);
	if (r == 0) {
		n_seen = second.n_steps;
		audit_keep_confirmed(&second, &first);
		v->n_conflicts = second.n_conflicts;
		r = apply(v, &second);
	}
	if (r == 0) {
		v->n_repairs = second.n_steps - v->n_failing;
		if (second.n_steps == n_seen)
			reached(v, want); /* else who knows: the next change reads it */
	}
	plan_done(&first);
	plan_done(&second);
	return r;
}

int visit_remove(struct visit *v)
{
	struct kernel_state *have, *nothing = kernel_state_new();
	struct plan p = {0};
	int r = nothing ? read_kernel(v, KERNEL_ALL, &have) : -ENOMEM;

	reached(v, NULL);
	if (r == 0) {
		make_plan(v, &p, have, nothing, NULL, false);
		kernel_state_free(have);
		r = apply(v, &p);
		plan_done(&p);
	}
	kernel_state_free(nothing);
	if (r < 0 || v->n_failing)
		return r < 0 ? r : -EIO;
	r = kernel_remove_frame(v->kernel);
	return r < 0 ? fail(v, "link and sets cannot be removed", r) : 0;
}
