/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the overlay must reach, measured in virtual time, with the SWIM peer on the same network.
 *
 *	sim-table [--loss SHARE] [--slow] [--rack] [--all] [--quick] [--row TEXT] [--nodes N]
 *	          [--seed N] [--no-peer]
 *
 * --slow puts a fifth of the nodes behind 80 ms links (40 ms each way), --rack cuts what the first
 * 40 nodes send to all others; both for the whole run. --all prints the table four times: as it is,
 * with 5 % loss, with --slow and with --rack. --quick leaves out 10,000 nodes and shortens the hour
 * to three minutes. --row and --nodes choose rows. Deterministic: same options, same figures, but for what
 * stands in brackets: the processor's time, and the most memory so far.
 */
#include "sim.h"
#include "tests/bench/peak.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RACK 40
#define SAMPLES_MAX 256
/* What the simulation of 10,000 nodes may take. */
#define SLOW_SECONDS 300
#define SLOW_GIB 8

static struct {
	double loss;
	bool slow, rack, all, quick, no_peer;
	const char *row;
	unsigned nodes;
	uint64_t seed;
} args = {.seed = 1};

/* Fastest way to a percentile: few samples, sorted. */
struct samples {
	double v[SAMPLES_MAX];
	unsigned n;
};

static void sample(struct samples *s, double v)
{
	unsigned k = s->n++;

	for (; k > 0 && s->v[k - 1] > v; k--)
		s->v[k] = s->v[k - 1];
	s->v[k] = v;
}

static double percentile(const struct samples *s, double p)
{
	unsigned k = s->n * p;

	return s->n == 0 ? -1 : s->v[k < s->n ? k : s->n - 1];
}

/* A cluster that has run for a while, under the options of the command line. */
static struct sim *cluster(enum sim_kind kind, unsigned n, uint64_t seed)
{
	struct sim_options o = sim_options(n, seed + args.seed * 1000);
	struct sim *s;

	o.kind = kind;
	o.loss = args.loss;
	o.cold = kind == SIM_GOSSIP && n <= 200;
	s = sim_new(&o);
	for (unsigned i = 0; args.slow && i < n; i += 5)
		sim_slow(s, i, 40 * MSEC);
	if (o.cold)
		sim_start_all(s, 50 * MSEC);
	sim_run(s, n >= 10000 ? 4 * SEC : 12 * SEC);
	if (args.rack && n > 2 * RACK) {
		sim_cut(s, 0, RACK, RACK, n - RACK, true);
		sim_run(s, 20 * SEC);
	}
	return s;
}

/* One of those that are measured: not in the rack. */
static unsigned victim(struct sim *s, unsigned n)
{
	unsigned first = args.rack && n > 2 * RACK ? RACK : 0;

	for (;;) {
		unsigned i = first + sim_random(s, n - first);

		if (sim_running(s, i))
			return i;
	}
}

static unsigned n_judges(struct sim *s, unsigned n)
{
	unsigned count = 0;

	for (unsigned i = args.rack && n > 2 * RACK ? RACK : 0; i < n; i++)
		count += sim_running(s, i);
	return count;
}

struct until {
	struct sim_watch *w;
	unsigned n;
	bool gone;
};

static bool all_know(struct sim *s, void *arg)
{
	struct until *u = arg;

	return (u->gone ? u->w->n_gone : u->w->n_down) >= u->n;
}

static double idle_rate(struct sim *s, unsigned n, nsec_t duration)
{
	sim_traffic_reset(s);
	sim_run(s, duration);
	return (double)sim_traffic(s, SIM_ALL).bytes / n / ((double)duration / SEC);
}

struct result {
	char text[256];
	bool ok;
};

static void row_crash(enum sim_kind kind, unsigned n, struct result *r)
{
	struct sim *s = cluster(kind, n, n);
	unsigned n_crashes = n >= 10000 ? 10 : n >= 1000 ? 40 : 60, found = 0;
	double idle, bytes = 0;
	struct samples times = {.n = 0};
	nsec_t window = kind == SIM_SWIM ? 30 * SEC : 5 * SEC;

	if (n < 10000)
		sim_run(s, 20 * SEC); /* what joining stirred up settles */
	idle = idle_rate(s, n, n >= 10000 ? 2 * SEC : 20 * SEC);
	if (kind == SIM_SWIM)
		n_crashes = n >= 1000 ? 3 : 10;
	for (unsigned k = 0; k < n_crashes; k++) {
		unsigned v = victim(s, n), judges;
		struct sim_watch w;
		struct until u = {.w = &w};
		nsec_t began = sim_now(s);

		sim_run(s, sim_random(s, 300) * MSEC);
		began = sim_now(s);
		sim_watch(s, &w, v);
		sim_traffic_reset(s);
		sim_crash(s, v);
		judges = n_judges(s, n);
		u.n = judges;
		if (sim_run_until(s, 120 * SEC, all_know, &u)) {
			sample(&times, (double)(w.last_down - began) / MSEC);
			found++;
		}
		if (sim_now(s) < began + window)
			sim_run(s, began + window - sim_now(s));
		bytes += ((double)sim_traffic(s, SIM_ALL).bytes / judges -
				 idle * (double)(sim_now(s) - began) / SEC) /
			 n_crashes;
		sim_unwatch(s, &w);
		if (n < 10000) {
			sim_start(s, v);
			sim_run(s, 20 * SEC);
		}
	}
	snprintf(r->text, sizeof(r->text),
		"p50 %4.0f p99 %5.0f ms (%u of %u); idle %3.0f B/s; per failure %4.0f B; false "
		"%llu",
		percentile(&times, 0.5), percentile(&times, 0.99), found, n_crashes, idle, bytes,
		(unsigned long long)sim_counts(s).false_down);
	r->ok = found == n_crashes && sim_counts(s).false_down == 0 &&
		percentile(&times, 0.5) <= (n <= 60 ? 350 : 1e9) &&
		percentile(&times, 0.99) <= (n >= 10000         ? 1000
						    : n >= 1000 ? 600
								: 800) &&
		idle < 1000 && bytes < 2000;
	sim_free(s);
}

static void row_killed(enum sim_kind kind, unsigned n, struct result *r)
{
	struct sim *s = cluster(kind, n, 2);
	struct samples times = {.n = 0};
	unsigned down = 0, n_kills = kind == SIM_SWIM ? 5 : 20;

	for (unsigned k = 0; k < n_kills; k++) {
		struct sim_watch w;
		unsigned v = victim(s, n);
		nsec_t began = sim_now(s);
		struct until u = {.w = &w, .gone = true};

		sim_watch(s, &w, v);
		sim_kill(s, v);
		u.n = n_judges(s, n);
		if (sim_run_until(s, 60 * SEC, all_know, &u))
			sample(&times, (double)(w.last_gone - began) / MSEC);
		sim_run(s, 5 * SEC);
		down += w.n_down > 0;
		sim_start(s, v);
		sim_run(s, 10 * SEC);
		sim_unwatch(s, &w);
	}
	snprintf(r->text, sizeof(r->text), "known after p50 %.1f max %.1f ms; called down %u of %u",
		percentile(&times, 0.5), percentile(&times, 1), down, n_kills);
	r->ok = down == 0 && times.n == n_kills && percentile(&times, 1) <= 100;
	sim_free(s);
}

static void row_stopped(enum sim_kind kind, unsigned n, struct result *r)
{
	struct sim *s = cluster(kind, n, 3);
	unsigned down = 0, back = 0, n_stops = 20;

	for (unsigned k = 0; k < n_stops; k++) {
		struct sim_watch w;
		unsigned v = victim(s, n);

		sim_watch(s, &w, v);
		sim_stop_for(s, v, 10 * SEC);
		sim_run(s, 13 * SEC);
		down += w.n_down > 0;
		back += w.n_gone == w.n_up;
		sim_run(s, 7 * SEC);
		sim_unwatch(s, &w);
	}
	snprintf(r->text, sizeof(r->text), "called down %u of %u; up again everywhere %u", down,
		n_stops, back);
	r->ok = down == 0 && back == n_stops;
	sim_free(s);
}

static void row_hour(enum sim_kind kind, unsigned n, struct result *r)
{
	struct sim *s = cluster(kind, n, 4);
	nsec_t duration = (args.quick ? 180 : 3600) * SEC, began = sim_now(s);

	sim_loss(s, args.loss > 0.01 ? args.loss : 0.01);
	while (sim_now(s) - began < duration) {
		/* Each second: one of those 5 % that stop up to 5 s, and of those that pause. */
		sim_stop_for(s, sim_random(s, n / 20) * 20 + 7, (1 + sim_random(s, 5000)) * MSEC);
		sim_pause_for(s, sim_random(s, n / 20) * 20 + 13, (1 + sim_random(s, 80)) * MSEC);
		sim_run(s, SEC);
	}
	snprintf(r->text, sizeof(r->text), "%.0f min: wrongly down %llu",
		(double)duration / SEC / 60, (unsigned long long)sim_counts(s).down);
	r->ok = sim_counts(s).down == 0;
	sim_free(s);
}

static void row_loss20(enum sim_kind kind, unsigned n, struct result *r)
{
	struct sim *s = cluster(kind, n, 5);
	struct samples times = {.n = 0};
	uint64_t wrong;

	sim_loss(s, 0.2);
	sim_run(s, 600 * SEC);
	wrong = sim_counts(s).down;
	for (unsigned k = 0; k < 20; k++) {
		struct sim_watch w;
		unsigned v = victim(s, n);
		nsec_t began = sim_now(s);
		struct until u = {.w = &w};

		sim_watch(s, &w, v);
		sim_crash(s, v);
		u.n = n_judges(s, n);
		if (sim_run_until(s, 120 * SEC, all_know, &u))
			sample(&times, (double)(w.last_down - began) / MSEC);
		sim_start(s, v);
		sim_run(s, 15 * SEC);
		sim_unwatch(s, &w);
	}
	snprintf(r->text, sizeof(r->text),
		"10 min: wrongly down %llu; crash known p50 %.0f max %.0f ms (%u of 20)",
		(unsigned long long)wrong, percentile(&times, 0.5), percentile(&times, 1), times.n);
	r->ok = wrong == 0 && times.n == 20 && percentile(&times, 1) <= 1200;
	sim_free(s);
}

static void row_lossy_node(enum sim_kind kind, unsigned n, struct result *r)
{
	unsigned most_removals = 0, most_others = 0;

	for (unsigned k = 0; k < 7; k++) {
		struct sim *s = cluster(kind, n, 60 + k);
		unsigned v = victim(s, n);
		double share = 0.5 + 0.05 * k;
		struct sim_watch w;
		unsigned down, others;

		sim_watch(s, &w, v);
		sim_host_loss(s, v, share, 0);
		sim_run(s, 90 * SEC);
		down = (w.n_down + n - 2) / (n - 1);
		others = sim_counts(s).down - w.n_down;
		most_removals = down > most_removals ? down : most_removals;
		most_others = others > most_others ? others : most_others;
		sim_unwatch(s, &w);
		sim_free(s);
	}
	snprintf(r->text, sizeof(r->text),
		"50 to 80 %% in: removals at most %u; others called down %u", most_removals,
		most_others);
	r->ok = most_removals <= 1 && most_others == 0;
}

static void row_many(enum sim_kind kind, unsigned n, struct result *r)
{
	struct sim *s = cluster(kind, n, 7);
	unsigned n_lost = n * 3 / 10, lost = 0, judges, known;
	struct sim_watch *w = calloc(n_lost, sizeof(*w));
	nsec_t began = sim_now(s), first = NSEC_NEVER, last = 0, bound = n > 100 ? 3 * SEC : SEC;
	double bytes;
	const char *e = NULL;

	sim_traffic_reset(s);
	while (lost < n_lost) {
		unsigned v = victim(s, n);

		sim_watch(s, &w[lost++], v);
		sim_crash(s, v);
	}
	judges = n_judges(s, n);
	for (unsigned k = 0; k < 1200; k++) {
		sim_run(s, 100 * MSEC);
		known = 0;
		for (unsigned i = 0; i < n_lost; i++)
			known += w[i].n_down >= judges;
		if (known == n_lost)
			break;
	}
	bytes = (double)sim_traffic(s, SIM_ALL).bytes / judges;
	for (unsigned i = 0; i < n_lost; i++) {
		first = w[i].first_down > 0 && w[i].first_down < first ? w[i].first_down : first;
		last = w[i].last_down > last ? w[i].last_down : last;
		sim_unwatch(s, &w[i]);
	}
	if (kind == SIM_GOSSIP && !args.rack) {
		for (unsigned k = 0; k < 30; k++) {
			sim_run(s, SEC);
			e = n > 500 ? sim_check(s) : sim_check_quiet(s);
			if (!e)
				break;
		}
	}
	snprintf(r->text, sizeof(r->text),
		"known from %.0f to %.0f ms (%u of %u); %.1f kB a node; false %llu; %s",
		(double)(first - began) / MSEC, (double)(last - began) / MSEC, known, n_lost,
		bytes / 1000, (unsigned long long)sim_counts(s).false_down,
		e                    ? e
		: kind == SIM_GOSSIP ? "in order after"
				     : "-");
	r->ok = known == n_lost && last - began <= bound && !e && sim_counts(s).false_down == 0 &&
		(n > 100 || bytes <= 4000);
	free(w);
	sim_free(s);
}

/* Every node's own record now; NULL for the peer. */
static struct gossip_member *records(struct sim *s, enum sim_kind kind, unsigned n)
{
	struct gossip_member *m = calloc(n, sizeof(*m));

	for (unsigned i = 0; m && kind == SIM_GOSSIP && i < n; i++)
		gossip_member_get(sim_gossip(s, i), sim_id(i), &m[i]);
	return m;
}

/* Whether everyone has everyone for up, and nothing older of them than `then`. */
static bool all_current(struct sim *s, const struct gossip_member *then, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		for (unsigned k = 0; k < n; k++) {
			struct gossip_member m;

			if (!gossip_member_get(sim_gossip(s, i), sim_id(k), &m) ||
				m.status != GOSSIP_STATUS_UP || m.version < then[k].version)
				return false;
		}
	}
	return true;
}

static double seconds(nsec_t t)
{
	return t > 0 ? (double)t / SEC : -1;
}

static void row_half(enum sim_kind kind, unsigned n, struct result *r)
{
	struct sim *s = cluster(kind, n, 8);
	uint64_t before = sim_counts(s).down, want = 2 * (uint64_t)(n / 2) * (n - n / 2);
	nsec_t began = sim_now(s), seen = 0, healed = 0, rests = 0;
	struct gossip_member *then;
	unsigned cut = sim_cut(s, 0, n / 2, n / 2, n - n / 2, false);

	for (unsigned k = 0; k < 900; k++) {
		sim_run(s, 100 * MSEC);
		if (seen == 0 && sim_counts(s).down - before >= want)
			seen = sim_now(s) - began;
	}
	sim_heal(s, cut);
	began = sim_now(s);
	then = records(s, kind, n);
	for (unsigned k = 0; k < 300 && kind == SIM_GOSSIP && rests == 0; k++) {
		sim_run(s, 100 * MSEC);
		if (healed == 0 && all_current(s, then, n))
			healed = sim_now(s) - began;
		if (!sim_check_quiet(s))
			rests = sim_now(s) - began;
	}
	if (kind == SIM_SWIM)
		snprintf(r->text, sizeof(r->text), "seen in %.1f s", seconds(seen));
	else
		snprintf(r->text, sizeof(r->text),
			"seen in %.1f s; all up and current %.1f s after it heals, links at rest "
			"%.1f s",
			seconds(seen), seconds(healed), seconds(rests));
	r->ok = seen > 0 && seen <= SEC && healed > 0 && healed <= 5 * SEC;
	free(then);
	sim_free(s);
}

static void row_isolated(enum sim_kind kind, unsigned n, struct result *r)
{
	unsigned verdicts = 0, suffered = 0, runs = 20;

	for (unsigned k = 0; k < runs; k++) {
		struct sim *s = cluster(kind, n, 90 + k);
		unsigned v = victim(s, n);
		struct sim_watch w;
		uint64_t others;

		sim_watch(s, &w, v);
		sim_isolate(s, v);
		sim_run(s, 60 * SEC);
		others = sim_counts(s).down - w.n_down;
		sim_join(s, v);
		sim_run(s, 60 * SEC);
		verdicts += others > 0;
		suffered += sim_counts(s).down - w.n_down > others;
		sim_unwatch(s, &w);
		sim_free(s);
	}
	snprintf(r->text, sizeof(r->text),
		"of %u runs: its verdicts on others in %u; others suffer later in %u", runs,
		verdicts, suffered);
	r->ok = verdicts == 0 && suffered == 0;
}

static bool all_see_all(struct sim *s, void *arg)
{
	unsigned n = *(unsigned *)arg;

	for (unsigned i = 0; i < n; i++) {
		struct gossip_stats stats;

		if (!sim_gossip(s, i))
			return false;
		gossip_stats(sim_gossip(s, i), &stats);
		if (stats.n_reachable < n)
			return false;
	}
	return true;
}

static void row_join(enum sim_kind kind, unsigned n, struct result *r)
{
	struct sim_options o = sim_options(n, args.seed);
	struct sim *s;
	nsec_t began;
	bool done;

	if (kind == SIM_SWIM) {
		snprintf(r->text, sizeof(r->text), "-");
		return;
	}
	o.cold = true;
	o.loss = args.loss;
	s = sim_new(&o);
	for (unsigned i = 0; args.slow && i < n; i += 5)
		sim_slow(s, i, 40 * MSEC);
	began = sim_now(s);
	sim_start_all(s, 50 * MSEC);
	done = sim_run_until(s, 60 * SEC, all_see_all, &n);
	snprintf(r->text, sizeof(r->text), "%s %.2f s; %.0f kB a node",
		done ? "after" : "not after", (double)(sim_now(s) - began) / SEC,
		(double)sim_traffic(s, SIM_ALL).bytes / n / 1000);
	r->ok = done && sim_now(s) - began <= (n <= 100 ? SEC : 5 * SEC);
	sim_free(s);
}

static const struct row {
	const char *name, *target;
	void (*run)(enum sim_kind kind, unsigned n, struct result *r);
	unsigned n;
	bool slow; /* to run: a limit of its own for the processor's time, and memory */
} rows[] = {
	{"host crash", "p50 350, p99 800 ms; < 1 kB/s; < 2 kB", row_crash, 10, false},
	{"host crash", "p50 350, p99 800 ms; < 1 kB/s; < 2 kB", row_crash, 16, false},
	{"host crash", "p50 350, p99 800 ms; < 1 kB/s; < 2 kB", row_crash, 60, false},
	{"host crash", "p99 800 ms; < 1 kB/s; < 2 kB", row_crash, 100, false},
	{"host crash", "p99 600 ms; < 1 kB/s; < 2 kB", row_crash, 1000, false},
	{"host crash", "p99 1 s; < 1 kB/s; < 2 kB; in 5 min, 8 GiB", row_crash, 10000, true},
	{"process killed", "known in 100 ms, not down", row_killed, 60, false},
	{"process stopped 10 s", "not down", row_stopped, 60, false},
	{"1 % loss, pauses", "an hour: none wrongly down", row_hour, 1000, false},
	{"20 % loss everywhere", "none wrongly down; 1.2 s", row_loss20, 30, false},
	{"one lossy node, 90 s", "at most one removal, no flapping", row_lossy_node, 30, false},
	{"30 % lost at once", "1 s, one batch, 4 kB", row_many, 30, false},
	{"30 % lost at once", "3 s, one batch", row_many, 1000, false},
	{"half and half, 90 s", "seen 1 s, healed 5 s", row_half, 30, false},
	{"half and half, 90 s", "seen 1 s, healed 5 s", row_half, 200, false},
	{"one isolated, 60 s", "no verdict, no collateral, 20 of 20", row_isolated, 30, false},
	{"all from nothing", "1 s", row_join, 100, false},
	{"all from nothing", "5 s", row_join, 1000, false},
};

static int parse(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		bool more = i + 1 < argc;

		if (strcmp(argv[i], "--slow") == 0)
			args.slow = true;
		else if (strcmp(argv[i], "--rack") == 0)
			args.rack = true;
		else if (strcmp(argv[i], "--all") == 0)
			args.all = true;
		else if (strcmp(argv[i], "--quick") == 0)
			args.quick = true;
		else if (strcmp(argv[i], "--no-peer") == 0)
			args.no_peer = true;
		else if (more && strcmp(argv[i], "--loss") == 0)
			args.loss = strtod(argv[++i], NULL);
		else if (more && strcmp(argv[i], "--row") == 0)
			args.row = argv[++i];
		else if (more && strcmp(argv[i], "--nodes") == 0)
			args.nodes = strtoul(argv[++i], NULL, 0);
		else if (more && strcmp(argv[i], "--seed") == 0)
			args.seed = strtoull(argv[++i], NULL, 0);
		else
			return fprintf(stderr, "sim-table: unknown option '%s'\n", argv[i]);
	}
	return 0;
}

static bool row_chosen(const struct row *row)
{
	return !(row->slow && args.quick) && !(args.row && !strstr(row->name, args.row)) &&
	       (args.nodes == 0 || args.nodes == row->n);
}

static void table(void)
{
	unsigned missed = 0;

	printf("loss %.0f %%%s%s, seed %llu; times in virtual time, bytes as on the wire\n",
		args.loss * 100, args.slow ? ", a fifth behind 80 ms links" : "",
		args.rack ? ", a rack of 40 cut one way" : "", (unsigned long long)args.seed);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		struct result ours = {.ok = true}, peers = {.ok = true};
		clock_t began = clock();
		double spent, gib;

		if (!row_chosen(row))
			continue;
		row->run(SIM_GOSSIP, row->n, &ours);
		spent = (double)(clock() - began) / CLOCKS_PER_SEC;
		gib = (double)peak_kib() / (1 << 20);
		ours.ok &= !row->slow || (spent <= SLOW_SECONDS && gib <= SLOW_GIB);
		printf("\n%-22s N %-6u to reach: %s\n  ours %-9s %s  [%.0f s, %.1f GiB]\n",
			row->name, row->n, row->target, ours.ok ? "reached" : "NOT", ours.text,
			spent, gib);
		fflush(stdout);
		missed += !ours.ok;
		if (args.no_peer || row->slow)
			continue;
		row->run(SIM_SWIM, row->n, &peers);
		printf("  SWIM           %s\n", peers.text);
		fflush(stdout);
	}
	printf("\n%u rows not reached\n", missed);
}

int main(int argc, char **argv)
{
	if (parse(argc, argv) != 0)
		return 2;
	table();
	if (!args.all)
		return 0;
	args.loss = 0.05;
	table();
	args.loss = 0;
	args.slow = true;
	table();
	args.slow = false;
	args.rack = true;
	table();
	return 0;
}
