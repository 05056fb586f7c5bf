/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What Mesos documents cost the event loop: bench-feed URL N polls a master N times as vipd does, and
 * takes the tables as vipd does (compared with the one before, which goes). Prints a line for each
 * document: CPU time of the loop's thread and of all (ms), the longest that the loop was held at
 * once, in CPU time and by the clock (ms), greatest resident memory so far (KiB), and whether it
 * was found "unchanged" or "changed".
 */
#include "agent/feed/feed.h"

#include <stdio.h>
#include <time.h>

#include "agent/log.h"
#include "tests/bench/peak.h"

struct bench {
	struct vip_table *table;
	const char *outcome; /* of the document that has just come; NULL: none */
	const char *failure;
};

static double ms(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static void on_table(void *userdata, struct vip_table *table)
{
	struct bench *b = userdata;
	struct vip_table_diff diff;

	b->outcome = table ? "changed" : "unchanged";
	if (!table)
		return;
	vip_table_diff(b->table, table, &diff);
	vip_table_diff_done(&diff);
	vip_table_free(b->table);
	b->table = table;
}

static const struct vip_table *known(void *userdata)
{
	return ((struct bench *)userdata)->table;
}

static void on_failure(void *userdata, const char *reason)
{
	((struct bench *)userdata)->failure = reason;
}

struct meter {
	double loop, all;                 /* CPU time when the document began */
	double longest_cpu, longest_wall; /* of one turn */
};

/* One turn of the loop, without its waiting. */
static int turn(sd_event *loop, struct meter *m)
{
	double cpu, wall;
	int r = sd_event_prepare(loop);

	if (r == 0)
		r = sd_event_wait(loop, UINT64_MAX);
	if (r <= 0)
		return r;
	cpu = ms(CLOCK_THREAD_CPUTIME_ID);
	wall = ms(CLOCK_MONOTONIC);
	r = sd_event_dispatch(loop);
	cpu = ms(CLOCK_THREAD_CPUTIME_ID) - cpu;
	wall = ms(CLOCK_MONOTONIC) - wall;
	m->longest_cpu = cpu > m->longest_cpu ? cpu : m->longest_cpu;
	m->longest_wall = wall > m->longest_wall ? wall : m->longest_wall;
	return r;
}

static void report(struct meter *m, const char *outcome)
{
	printf("%.1f %.1f %.2f %.2f %ld %s\n", ms(CLOCK_THREAD_CPUTIME_ID) - m->loop,
		ms(CLOCK_PROCESS_CPUTIME_ID) - m->all, m->longest_cpu, m->longest_wall, peak_kib(),
		outcome);
	fflush(stdout);
	*m = (struct meter){
		.loop = ms(CLOCK_THREAD_CPUTIME_ID), .all = ms(CLOCK_PROCESS_CPUTIME_ID)};
}

static int run(const struct config *config, int n)
{
	struct bench b = {0};
	struct feed_handler handler = {
		.table = on_table, .known = known, .failure = on_failure, .userdata = &b};
	struct vip_table_options options = {0};
	struct meter m = {0};
	sd_event *loop = NULL;
	struct feed *feed = NULL;
	int r = sd_event_default(&loop);

	if (r >= 0)
		r = feed_new(loop, config, &options, &handler, &feed);
	m.loop = ms(CLOCK_THREAD_CPUTIME_ID);
	m.all = ms(CLOCK_PROCESS_CPUTIME_ID);
	while (n > 0 && r >= 0 && !b.failure) {
		r = turn(loop, &m);
		if (!b.outcome)
			continue;
		report(&m, b.outcome);
		b.outcome = NULL;
		n--;
	}
	if (b.failure)
		fprintf(stderr, "bench-feed: %s\n", b.failure);
	feed_free(feed);
	vip_table_free(b.table);
	sd_event_unref(loop);
	return n;
}

int main(int argc, char **argv)
{
	struct config *c = config_new();
	int left = -1;

	log_set_level(LOG_WARNING);
	if (argc == 3 && config_set(c, "masters", argv[1], stderr) == 0 &&
		config_set(c, "poll_interval", "100ms", stderr) == 0 &&
		config_set(c, "request_timeout", "120s", stderr) == 0 &&
		config_check(c, stderr) == 0)
		left = run(c, atoi(argv[2]));
	else
		fprintf(stderr, "usage: bench-feed URL N\n");
	config_free(c);
	return left != 0;
}
