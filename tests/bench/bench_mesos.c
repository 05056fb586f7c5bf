/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a Mesos document costs: bench-mesos vipd|json-c FILE. Prints CPU time (ms), greatest
 * resident memory (KiB), and the longest single step (ms): a piece, or the end with the table.
 */
#include "agent/source/vip_table.h"

#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* The most that libcurl hands to a write callback at once (CURL_MAX_WRITE_SIZE). */
#define PIECE 16384

static double seconds(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct meter {
	double begin, step, longest;
};

static void step_begin(struct meter *m)
{
	m->step = seconds(CLOCK_MONOTONIC);
}

static void step_end(struct meter *m)
{
	double took = seconds(CLOCK_MONOTONIC) - m->step;

	m->longest = took > m->longest ? took : m->longest;
}

static int run_vipd(int fd, struct meter *m, double *ret_end)
{
	static char piece[PIECE];
	struct mesos_parser *p = mesos_parser_new(NULL);
	struct mesos_state *s;
	struct vip_table *t;
	ssize_t n;

	while ((n = read(fd, piece, sizeof piece)) > 0) {
		step_begin(m);
		if (mesos_parser_feed(p, piece, (size_t)n) < 0)
			return -1;
		step_end(m);
	}
	step_begin(m);
	if (mesos_parser_finish(p, &s) < 0)
		return -1;
	mesos_parser_free(p);
	t = vip_table_build(s, NULL);
	mesos_state_free(s);
	*ret_end = seconds(CLOCK_MONOTONIC) - m->step;
	fprintf(stderr, "%zu VIPs of %zu tasks\n", t->n_vips, t->n_tasks_seen);
	vip_table_free(t);
	return 0;
}

static int run_json_c(int fd, struct meter *m, double *ret_end)
{
	static char piece[PIECE];
	struct json_tokener *tokener = json_tokener_new();
	struct json_object *o = NULL;
	ssize_t n;

	while (!o && (n = read(fd, piece, sizeof piece)) > 0) {
		step_begin(m);
		o = json_tokener_parse_ex(tokener, piece, (int)n);
		step_end(m);
	}
	*ret_end = 0;
	return o ? 0 : -1; /* not freed: only the parse is measured */
}

int main(int argc, char **argv)
{
	struct meter m = {0};
	struct rusage usage;
	double end = 0, cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
	int fd, r;

	if (argc != 3 || (fd = open(argv[2], O_RDONLY)) < 0) {
		fprintf(stderr, "usage: bench-mesos vipd|json-c FILE\n");
		return 2;
	}
	r = strcmp(argv[1], "vipd") == 0 ? run_vipd(fd, &m, &end) : run_json_c(fd, &m, &end);
	cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	getrusage(RUSAGE_SELF, &usage);
	printf("%.1f %ld %.2f %.1f\n", 1e3 * cpu, usage.ru_maxrss, 1e3 * m.longest, 1e3 * end);
	return r < 0;
}
