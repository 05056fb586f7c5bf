/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Why the detector's defaults are what they are: false verdicts and detection time over the loss of
 * the network, the length of a test and the period of heartbeats, as CSV for plot_curves.py.
 *
 *	sim-curves [--minutes N] [--nodes N]
 *
 * Each point is a cluster that first runs for N minutes in which nobody dies, while each second the
 * host of one node stands still for up to 200 ms; every node then called down is a false verdict.
 * Then hosts crash one by one, and the time until the last survivor knows is taken. Deterministic.
 */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CRASHES 20
#define PAUSE_MOST 200 /* ms: what a virtual machine's host may take at times */

static unsigned minutes = 10, n_nodes = 24;

struct setting {
	const char *panel, *variant;
	enum sim_kind kind;
	double x, loss;
	struct gossip_config config;
};

struct outcome {
	double false_per_hour, p50, p99, idle;
};

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static bool all_know(struct sim *s, void *arg)
{
	const struct sim_watch *w = arg;

	return w->n_down >= n_nodes - 1;
}

/* Nobody dies: reports of death, one for each node that was called dead everywhere. */
static void quiet_phase(struct sim *s, struct outcome *o)
{
	uint64_t before = sim_counts(s).down;

	for (unsigned k = 0; k < minutes * 60; k++) {
		sim_pause_for(s, sim_random(s, n_nodes), (1 + sim_random(s, PAUSE_MOST)) * MSEC);
		sim_run(s, SEC);
	}
	o->false_per_hour = (double)(sim_counts(s).down - before) / (n_nodes - 1) * 60 / minutes;
}

static void crash_phase(struct sim *s, struct outcome *o)
{
	double times[CRASHES];
	unsigned n = 0;

	for (unsigned k = 0; k < CRASHES; k++) {
		unsigned victim = sim_random(s, n_nodes);
		struct sim_watch w;

		sim_run(s, sim_random(s, 1000) * MSEC);
		sim_watch(s, &w, victim);
		sim_crash(s, victim);
		if (sim_run_until(s, 60 * SEC, all_know, &w))
			times[n++] = (double)(w.last_down - w.since) / MSEC;
		sim_unwatch(s, &w);
		sim_start(s, victim);
		sim_run(s, 10 * SEC);
	}
	qsort(times, n, sizeof(*times), ascending);
	o->p50 = n > 0 ? times[n / 2] : -1;
	o->p99 = n > 0 ? times[n - 1] : -1;
}

static void measure(const struct setting *t)
{
	struct sim_options options = sim_options(n_nodes, 1);
	struct outcome o = {0};
	struct sim *s;

	options.kind = t->kind;
	options.loss = t->loss;
	options.config = t->config;
	s = sim_new(&options);
	sim_run(s, 30 * SEC);
	sim_traffic_reset(s);
	sim_run(s, 30 * SEC);
	o.idle = (double)sim_traffic(s, SIM_ALL).bytes / n_nodes / 30;
	quiet_phase(s, &o);
	sim_run(s, 30 * SEC);
	crash_phase(s, &o);
	printf("%s,%s,%g,%.3f,%.0f,%.0f,%.0f\n", t->panel, t->variant, t->x, o.false_per_hour,
		o.p50, o.p99, o.idle);
	fflush(stdout);
	sim_free(s);
}

static struct gossip_config defaults(void)
{
	struct gossip_config config;

	gossip_config_init(&config);
	return config;
}

static void over_loss(void)
{
	for (unsigned percent = 0; percent <= 30; percent += 5) {
		struct setting t = {.panel = "loss",
			.variant = "defaults",
			.x = percent,
			.loss = percent / 100.0,
			.config = defaults()};

		measure(&t);
		t.variant = "always 4 pings";
		t.config.n_tries_max = 4;
		measure(&t);
		t.variant = "SWIM";
		t.kind = SIM_SWIM;
		measure(&t);
	}
}

static void over_test(void)
{
	static const unsigned ms[] = {5, 10, 15, 20, 25, 30, 35, 40, 50, 60};

	for (unsigned i = 0; i < sizeof(ms) / sizeof(ms[0]); i++) {
		struct setting t = {
			.panel = "test", .variant = "defaults", .loss = 0.01, .config = defaults()};

		t.config.try_interval = ms[i] * MSEC;
		t.x = ms[i] * t.config.n_tries_min;
		measure(&t);
	}
}

static void over_beat(void)
{
	static const unsigned ms[] = {100, 150, 200, 250, 300, 400, 600, 1000};

	for (unsigned i = 0; i < sizeof(ms) / sizeof(ms[0]); i++) {
		struct setting t = {.panel = "beat",
			.variant = "defaults",
			.x = ms[i],
			.loss = 0.01,
			.config = defaults()};

		t.config.beat_interval = ms[i] * MSEC;
		measure(&t);
	}
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		unsigned *value = strcmp(argv[i], "--minutes") == 0 ? &minutes
				  : strcmp(argv[i], "--nodes") == 0 ? &n_nodes
								    : NULL;

		if (!value || i + 1 == argc) {
			fprintf(stderr, "usage: sim-curves [--minutes N] [--nodes N]\n");
			return 2;
		}
		*value = strtoul(argv[++i], NULL, 0);
	}
	if (minutes == 0 || n_nodes < 3) {
		fprintf(stderr, "sim-curves: at least one minute and three nodes\n");
		return 2;
	}
	printf("panel,variant,x,false_per_hour,p50_ms,p99_ms,idle_bytes_per_s\n");
	over_loss();
	over_test();
	over_beat();
	return 0;
}
