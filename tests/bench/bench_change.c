/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One destination of a large table changed, from the table to the kernel: what the daemon
 * does between a document and the kernel's last acknowledgement, part by part. Then the
 * same with nothing changed, and the memory of it all. As root in a kernel with IPVS.
 *
 *   bench_change [SERVICES [DESTINATIONS [CHANGES]]]      (10000 10 50)
 */
#include <errno.h>
#include <malloc.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/apply/reconcile.h"
#include "agent/apply/wanted.h"
#include "agent/desired/desired.h"

#define AGENTS 200

struct bench {
	sd_event *loop;
	struct reconcile *reconcile;
	struct vip_table tables[2]; /* equal but for one backend */
	struct node node;
	struct ip_addr own;
	struct drains *drains;
	struct ramps *ramps;
	struct desired *desired;
	bool settled;
};

enum part { PART_COMPARE, PART_DESIRED, PART_PLAN, PART_KERNEL, _PART_N };
static const char *const part_names[_PART_N] = {
	"compare tables", "desired state", "plan", "kernel"};

static void check(int r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "bench_change: %s: %s\n", what, strerror(-r));
	exit(1);
}

static struct ip_addr v4(uint8_t a, uint32_t rest)
{
	return (struct ip_addr){
		AF_INET, {a, (uint8_t)(rest >> 16), (uint8_t)(rest >> 8), (uint8_t)rest}};
}

static void make_table(struct vip_table *t, uint32_t n_vips, uint32_t n_backends)
{
	*t = (struct vip_table){.n_vips = n_vips, .n_agents = AGENTS};
	t->agents = xcalloc(AGENTS, sizeof(*t->agents));
	t->vips = xcalloc(n_vips, sizeof(*t->vips));
	for (uint32_t i = 0; i < AGENTS; i++)
		t->agents[i] = v4(10, 256 + i);
	for (uint32_t i = 0; i < n_vips; i++) {
		struct vip *vip = &t->vips[i];

		vip->key = (struct service_key){v4(11, i), 80, IPPROTO_TCP};
		vip->name = "a name";
		vip->n_backends = n_backends;
		vip->backends = xcalloc(n_backends, sizeof(*vip->backends));
		for (uint32_t k = 0; k < n_backends; k++) {
			struct vip_backend *b = &vip->backends[k];

			b->agent = t->agents[(i + k) % AGENTS];
			b->address = b->local_address = v4(10, ((i * 7) % 60000 << 8) + k);
			b->port = b->local_port = (uint16_t)(20000 + i % 10000);
			b->weight = 1;
			b->task = b->framework = b->framework_id = "one";
		}
	}
}

static void on_settled(void *userdata)
{
	struct bench *b = userdata;

	b->settled = true;
}

static void run_until_settled(struct bench *b)
{
	while (!b->settled)
		check(sd_event_run(b->loop, UINT64_MAX), "event loop");
}

/* What the daemon does with a table, timed. */
static void program(struct bench *b, const struct vip_table *old, const struct vip_table *table,
	nsec_t took[_PART_N])
{
	struct desired_input in = {
		.table = table,
		.node = &b->node,
		.have = reconcile_have(b->reconcile),
		.drains = b->drains,
		.ramps = b->ramps,
		.drain_timeout = 30 * NSEC_PER_SEC,
	};
	struct desired *before = b->desired;
	struct vip_table_diff diff;
	nsec_t t[_PART_N + 1];

	t[0] = in.now = now_ns();
	vip_table_diff(old, table, &diff);
	t[1] = now_ns();
	if (reconcile_in_step(b->reconcile)) {
		in.previous = before;
		in.changed = diff.keys;
		in.n_changed = diff.n_added + diff.n_changed;
		in.have = reconcile_wanted(b->reconcile)->state;
	}
	b->desired = desired_new(&in);
	desired_free(before);
	t[2] = now_ns();
	b->settled = false;
	reconcile_want(b->reconcile, STEAL(b->desired->want), t[0]);
	t[3] = now_ns();
	run_until_settled(b);
	t[4] = now_ns();
	vip_table_diff_done(&diff);
	for (int i = 0; i < _PART_N; i++)
		took[i] = t[i + 1] - t[i];
}

static int cmp_nsec(const void *a, const void *b)
{
	const nsec_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static double median_ms(nsec_t *list, size_t n)
{
	qsort(list, n, sizeof(*list), cmp_nsec);
	return (double)list[n / 2] / 1e6;
}

static void bench_changes(struct bench *b, size_t n)
{
	nsec_t *parts[_PART_N], *total = xcalloc(n, sizeof(*total));
	const struct reconcile_stats *s = reconcile_stats(b->reconcile);
	uint64_t steps = s->n_steps;

	for (int p = 0; p < _PART_N; p++)
		parts[p] = xcalloc(n, sizeof(nsec_t));
	for (size_t i = 0; i < n; i++) {
		nsec_t took[_PART_N];

		program(b, &b->tables[i % 2], &b->tables[1 - i % 2], took);
		for (int p = 0; p < _PART_N; p++) {
			parts[p][i] = took[p];
			total[i] += took[p];
		}
	}
	steps = s->n_steps - steps;
	qsort(total, n, sizeof(*total), cmp_nsec);
	printf("one destination changed, %zu times: %.2f ms from table to kernel (median; best "
	       "%.2f), "
	       "%.2f commands each (target 1 command, 5 ms: %s)\n",
		n, median_ms(total, n), (double)total[0] / 1e6, (double)steps / (double)n,
		steps == n && median_ms(total, n) < 5 ? "met" : "MISSED");
	for (int p = 0; p < _PART_N; p++) {
		printf("  %-16s %7.3f ms\n", part_names[p], median_ms(parts[p], n));
		free(parts[p]);
	}
	free(total);
}

/* A reconcile that finds nothing to do, from whole states: what an audit or a start does. */
static void bench_no_change(struct bench *b, size_t n_objects)
{
	nsec_t list[11];

	for (size_t i = 0; i < ARRAY_SIZE(list); i++) {
		struct plan p = {0};
		nsec_t begun = now_ns();

		check(plan_make(&p, reconcile_have(b->reconcile),
			      reconcile_wanted(b->reconcile)->state, NULL),
			"plan");
		list[i] = now_ns() - begun;
		check(p.n_steps ? -EIO : 0, "a plan of equal states has steps");
		plan_done(&p);
	}
	printf("no-change reconcile of %zu objects: %.2f ms (target 20 ms: %s)\n", n_objects,
		median_ms(list, ARRAY_SIZE(list)),
		median_ms(list, ARRAY_SIZE(list)) < 20 ? "met" : "MISSED");
}

static void new_namespace(void)
{
	check(unshare(CLONE_NEWNET) < 0 ? -errno : 0, "unshare");
	check(system("ip link set lo up") ? -EIO : 0, "ip link set lo up");
}

int main(int argc, char **argv)
{
	uint32_t n_vips = argc > 1 ? (uint32_t)atoi(argv[1]) : 10000;
	uint32_t n_backends = argc > 2 ? (uint32_t)atoi(argv[2]) : 10;
	size_t n_changes = argc > 3 ? (size_t)atoi(argv[3]) : 50;
	struct bench b = {.drains = drains_new(), .ramps = ramps_new()};
	struct reconcile_handler handler = {on_settled, &b};
	struct kernel_options options = {0};
	const char *what = "";
	nsec_t took[_PART_N];

	new_namespace();
	b.own = v4(10, 999);
	/* Without a preferred source: the namespace has no address that could be one. */
	b.node = (struct node){.n_own = 1, .own = &b.own};
	make_table(&b.tables[0], n_vips, n_backends);
	make_table(&b.tables[1], n_vips, n_backends);
	b.tables[1].vips[n_vips / 2].backends[n_backends / 2].weight = 0;
	check(sd_event_default(&b.loop), "event loop");
	check(reconcile_new(b.loop, &options, 1, NULL, &handler, &b.reconcile, &what), what);
	program(&b, NULL, &b.tables[0], took);
	printf("%u services with %u destinations each: %.3f s from table to kernel; the loop was "
	       "held %.1f ms for the desired state, %.1f ms for the plan, %.1f ms for a portion at "
	       "most\n",
		n_vips, n_backends,
		(double)(took[PART_DESIRED] + took[PART_PLAN] + took[PART_KERNEL]) / 1e9,
		(double)took[PART_DESIRED] / 1e6, (double)took[PART_PLAN] / 1e6,
		(double)reconcile_stats(b.reconcile)->longest_hold / 1e6);
	bench_changes(&b, n_changes);
	bench_no_change(&b, (size_t)n_vips * (n_backends + 1));
	return 0;
}
