/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random scenarios, until one breaks an invariant; that one made small.
 *
 *	sim-search [--seed N] [--runs N] [--seconds N] [--shrink] [--show]
 *
 * A scenario is a number of nodes, properties of the network, and up to 24 things that happen in
 * a minute. Then all is healed, and started but for some that stay dead or without a process; within
 * QUIET_WITHIN everything must be in order again, who is dead be known for dead, a multicast reach
 * everyone, and the overlay be back to its idle traffic. A run is its seed: `--seed N --runs 1 --show` prints the scenario and what the nodes
 * reported. Exit status 1 if an invariant broke.
 */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define OPS_MAX 24
#define STORM (60 * SEC)
/* All is in order again so long after the last fault. Partitions of a minute heal in five seconds;
 * a table that lost messages at 20 % loss needs a few rounds of digests. */
#define QUIET_WITHIN (45 * SEC)
/* A stream that has lost half of its segments waits so long to send one again, loss or none. */
#define STREAMS_WITHIN (30 * SEC)
/* Then links are exchanged until they follow the rings. After that a node may send so many bytes a second:
 * the overlay's target. */
#define IDLE_AFTER (15 * SEC)
#define IDLE_TIME (10 * SEC)
#define IDLE_BUDGET 1000
/* And all together for each that is gone: six ask its kernel each second, a ping and a probe each. */
#define GONE_BUDGET 2000

enum op_kind {
	OP_CRASH,
	OP_KILL,
	OP_START,
	OP_STOP,
	OP_PAUSE,
	OP_ISOLATE,
	OP_CUT,
	OP_CUT_ONE_WAY,
	OP_HEAL,
	OP_LOSS,
	OP_HOST_LOSS,
	OP_SLOW,
	OP_UDP,
	OP_CAST,
	OP_CRASH_MANY,
	OP_RESTART_ALL,
	OP_KINDS,
};

static const char *const op_names[] = {"crash", "kill", "start", "stop", "pause", "isolate", "cut",
	"cut one way", "heal", "loss", "host loss", "slow", "udp", "cast", "crash many",
	"restart all"};

struct op {
	nsec_t at, duration;
	enum op_kind kind;
	unsigned a, n_a, b, n_b;
	double x, y;
};

struct scenario {
	uint64_t seed;
	unsigned n, n_ops;
	double loss, duplicate, reorder;
	nsec_t latency_spread;
	struct op ops[OPS_MAX];
	uint64_t stays; /* bit per host: if it is gone in the end, it stays so */
};

static uint64_t state;

static uint64_t below(uint64_t n)
{
	uint64_t v = state += UINT64_C(0x9e3779b97f4a7c15);

	v = (v ^ v >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	v = (v ^ v >> 27) * UINT64_C(0x94d049bb133111eb);
	return (v ^ v >> 31) % n;
}

static double share(double most)
{
	return most * below(1000) / 1000;
}

static void op_make(struct op *op, unsigned n)
{
	*op = (struct op){.at = below(STORM / MSEC) * MSEC,
		.kind = below(OP_KINDS),
		.a = below(n),
		.b = below(n),
		.duration = (1 + below(10000)) * MSEC};
	op->n_a = 1 + below(n - op->a);
	op->n_b = 1 + below(n - op->b);
	op->x = share(0.9);
	op->y = share(0.9);
	if (op->kind == OP_PAUSE && below(4) > 0)
		op->duration = (1 + below(80)) * MSEC;
	if ((op->kind == OP_CUT || op->kind == OP_CUT_ONE_WAY) && n > 1) { /* a beside b */
		op->a = below(n - 1);
		op->n_a = 1 + below(n - op->a - 1);
		op->b = op->a + op->n_a;
		op->n_b = 1 + below(n - op->b);
	}
	if (op->kind == OP_LOSS)
		op->x = share(0.2);
	if (op->kind == OP_SLOW)
		op->duration = below(40) * MSEC;
}

static void scenario_make(struct scenario *c, uint64_t seed)
{
	memset(c, 0, sizeof(*c));
	state = seed * UINT64_C(0x2545f4914f6cdd1d) + 1;
	c->seed = seed;
	c->n = 2 + below(below(4) == 0 ? 60 : 20);
	if (below(2) == 0)
		c->loss = share(0.1);
	if (below(2) == 0) {
		c->duplicate = share(0.1);
		c->reorder = share(0.3);
	}
	c->latency_spread = (20 + below(below(4) == 0 ? 5000 : 200)) * USEC;
	c->n_ops = 1 + below(OPS_MAX);
	for (unsigned i = 0; i < c->n_ops; i++)
		op_make(&c->ops[i], c->n);
	for (unsigned i = 1; i < c->n_ops; i++) {
		for (unsigned k = i; k > 0 && c->ops[k].at < c->ops[k - 1].at; k--) {
			struct op t = c->ops[k];

			c->ops[k] = c->ops[k - 1];
			c->ops[k - 1] = t;
		}
	}
	c->stays = below(UINT64_MAX) & below(UINT64_MAX);
}

static void scenario_print(const struct scenario *c)
{
	printf("seed %llu: %u nodes, loss %.3f, duplicate %.3f, reorder %.3f, spread %llu us\n",
		(unsigned long long)c->seed, c->n, c->loss, c->duplicate, c->reorder,
		(unsigned long long)(c->latency_spread / USEC));
	for (unsigned i = 0; i < c->n_ops; i++) {
		const struct op *o = &c->ops[i];

		printf("  %7.3f %-12s a %u+%u b %u+%u x %.2f y %.2f for %.3f s\n",
			25 + (double)o->at / SEC, op_names[o->kind], o->a, o->n_a, o->b, o->n_b,
			o->x, o->y, (double)o->duration / SEC);
	}
}

/* One run's passing state. */
struct run {
	struct sim *sim;
	unsigned cuts[OPS_MAX], n_cuts;
};

static void heal_all(struct run *r)
{
	while (r->n_cuts > 0)
		sim_heal(r->sim, r->cuts[--r->n_cuts]);
}

static void restart_all(struct run *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		sim_kill(r->sim, i);
		if (sim_alive(r->sim, i))
			sim_start(r->sim, i);
	}
}

static void op_do(struct run *r, const struct scenario *c, const struct op *o)
{
	struct sim *s = r->sim;

	switch (o->kind) {
	case OP_CRASH:
		sim_crash(s, o->a);
		break;
	case OP_KILL:
		sim_kill(s, o->a);
		break;
	case OP_START:
		sim_start(s, o->a);
		break;
	case OP_STOP:
		sim_stop_for(s, o->a, o->duration);
		break;
	case OP_PAUSE:
		sim_pause_for(s, o->a, o->duration);
		break;
	case OP_ISOLATE:
		sim_isolate(s, o->a);
		break;
	case OP_CUT:
	case OP_CUT_ONE_WAY:
		r->cuts[r->n_cuts++] =
			sim_cut(s, o->a, o->n_a, o->b, o->n_b, o->kind == OP_CUT_ONE_WAY);
		break;
	case OP_HEAL:
		heal_all(r);
		for (unsigned i = 0; i < c->n; i++)
			sim_join(s, i);
		break;
	case OP_LOSS:
		sim_loss(s, o->x);
		break;
	case OP_HOST_LOSS:
		sim_host_loss(s, o->a, o->x, o->y);
		break;
	case OP_SLOW:
		sim_slow(s, o->a, o->duration);
		break;
	case OP_UDP:
		sim_block_udp(s, o->x > 0.45);
		break;
	case OP_CAST:
		if (sim_running(s, o->a))
			sim_multicast(s, o->a, o->n_b * 100);
		break;
	case OP_CRASH_MANY:
		for (unsigned i = 0; i < o->n_a && i < (c->n + 2) / 3; i++)
			sim_crash(s, o->a + i);
		break;
	case OP_RESTART_ALL:
		restart_all(r, c->n);
		break;
	case OP_KINDS:
		break;
	}
}

/* Heals and starts all, but for a third at most of those that are gone, and not the first. */
static void mend(struct run *r, const struct scenario *c)
{
	unsigned n_staying = 0;

	heal_all(r);
	sim_loss(r->sim, c->loss / 4);
	sim_block_udp(r->sim, false);
	for (unsigned i = 0; i < c->n; i++) {
		sim_join(r->sim, i);
		sim_host_loss(r->sim, i, 0, 0);
		sim_cont(r->sim, i);
		if (i > 0 && c->stays >> i % 64 & 1 && !sim_running(r->sim, i) &&
			3 * (n_staying + 1) <= c->n)
			n_staying++;
		else
			sim_start(r->sim, i);
	}
}

/* A last multicast reaches everyone, and then nothing is sent but what always is. */
static const char *rest(struct run *r, const struct scenario *c)
{
	struct sim *s = r->sim;
	unsigned cast = sim_casts(s), n_running = 0;

	if (cast < SIM_CASTS_MAX) {
		sim_multicast(s, 0, 500);
		for (nsec_t t = 0; t < STREAMS_WITHIN && !sim_cast_everywhere(s, cast); t += SEC)
			sim_run(s, SEC);
		if (!sim_cast_everywhere(s, cast))
			return "a multicast is missing";
	}
	sim_run(s, IDLE_AFTER);
	sim_traffic_reset(s);
	sim_run(s, IDLE_TIME);
	for (unsigned i = 0; i < c->n; i++)
		n_running += sim_running(s, i);
	if (sim_traffic(s, SIM_ALL).bytes >
		(IDLE_BUDGET * n_running + GONE_BUDGET * (c->n - n_running)) * (IDLE_TIME / SEC))
		return "more than the idle budget";
	return sim_check(s);
}

static const char *settle(struct run *r, const struct scenario *c)
{
	const char *error = NULL;

	mend(r, c);
	for (nsec_t t = 0; t < QUIET_WITHIN; t += SEC) {
		sim_run(r->sim, SEC);
		error = sim_check_quiet(r->sim);
		if (!error)
			return rest(r, c);
	}
	return error;
}

/* NULL, or what broke, in `error`. */
static const char *scenario_run(
	const struct scenario *c, bool verbose, char error[256], double *ret_seconds)
{
	struct sim_options o = sim_options(c->n, c->seed);
	struct run r = {0};
	const char *e;
	nsec_t began;

	o.cold = true;
	o.loss = c->loss;
	o.duplicate = c->duplicate;
	o.reorder = c->reorder;
	o.latency_spread = c->latency_spread;
	r.sim = sim_new(&o);
	sim_verbose(r.sim, verbose);
	sim_start_all(r.sim, 200 * MSEC);
	sim_run(r.sim, 15 * SEC);
	began = sim_now(r.sim);
	for (unsigned i = 0; i < c->n_ops; i++) {
		while (sim_now(r.sim) + SEC < began + c->ops[i].at && !sim_check(r.sim))
			sim_run(r.sim, SEC);
		if (sim_now(r.sim) < began + c->ops[i].at)
			sim_run(r.sim, began + c->ops[i].at - sim_now(r.sim));
		op_do(&r, c, &c->ops[i]);
	}
	sim_run(r.sim, 5 * SEC);
	e = sim_check(r.sim);
	if (!e)
		e = settle(&r, c);
	if (e)
		snprintf(error, 256, "%s", e);
	*ret_seconds += (double)sim_now(r.sim) / SEC - 10;
	sim_free(r.sim);
	return e ? error : NULL;
}

/* Takes away what is not needed for it to break, one thing at a time, as long as anything goes. */
static void scenario_shrink(struct scenario *c)
{
	char error[256];
	double seconds = 0;
	bool smaller = true;

	while (smaller) {
		smaller = false;
		for (unsigned i = 0; i < c->n_ops + 4; i++) {
			struct scenario t = *c;

			if (i < c->n_ops) {
				memmove(t.ops + i, t.ops + i + 1,
					(t.n_ops - i - 1) * sizeof(*t.ops));
				t.n_ops--;
			} else if (i == c->n_ops) {
				t.loss = 0;
			} else if (i == c->n_ops + 1) {
				t.duplicate = t.reorder = 0;
			} else if (i == c->n_ops + 2) {
				t.latency_spread = 60 * USEC;
			} else {
				t.n--;
				for (unsigned k = 0; k < t.n_ops; k++) {
					if (t.n < 2 || t.ops[k].a + t.ops[k].n_a > t.n ||
						t.ops[k].b + t.ops[k].n_b > t.n)
						t.n = c->n;
				}
			}
			if (memcmp(&t, c, sizeof(t)) == 0 ||
				!scenario_run(&t, false, error, &seconds))
				continue;
			*c = t;
			smaller = true;
			i--;
		}
	}
}

int main(int argc, char **argv)
{
	uint64_t seed = 1, runs = 1000, n_broken = 0, k;
	double seconds = 0, budget = 1e9;
	bool shrink = false, show = false;
	clock_t began = clock();

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--shrink") == 0)
			shrink = true;
		else if (strcmp(argv[i], "--show") == 0)
			show = true;
		else if (i + 1 < argc && strcmp(argv[i], "--seed") == 0)
			seed = strtoull(argv[++i], NULL, 0);
		else if (i + 1 < argc && strcmp(argv[i], "--runs") == 0)
			runs = strtoull(argv[++i], NULL, 0);
		else if (i + 1 < argc && strcmp(argv[i], "--seconds") == 0)
			budget = strtod(argv[++i], NULL);
		else {
			fprintf(stderr, "sim-search: unknown option '%s'\n", argv[i]);
			return 2;
		}
	}
	for (k = 0; k < runs && (double)(clock() - began) / CLOCKS_PER_SEC < budget; k++) {
		struct scenario c;
		char error[256];

		scenario_make(&c, seed + k);
		if (show)
			scenario_print(&c);
		if (!scenario_run(&c, show, error, &seconds))
			continue;
		n_broken++;
		printf("BROKEN seed %llu: %s\n", (unsigned long long)c.seed, error);
		fflush(stdout);
		if (!shrink)
			continue;
		scenario_shrink(&c);
		scenario_print(&c);
		scenario_run(&c, show, error, &seconds);
		printf("  %s\n", error);
	}
	printf("%llu scenarios from seed %llu, %.0f cluster-seconds, %llu broken\n",
		(unsigned long long)k, (unsigned long long)seed, seconds,
		(unsigned long long)n_broken);
	return n_broken > 0;
}
