/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What Mesos documents cost:
 *
 *   bench-mesos vipd FILE...   reads them one after the other, as vipd does poll after poll
 *   bench-mesos json-c FILE    parses one whole
 *
 * Prints a line for each document: CPU time (ms), greatest resident memory so far (KiB), and whether it was
 * found "unchanged" or "changed" (the table was built).
 */
#include "agent/source/task_pool.h"
#include "agent/source/vip_table.h"
#include "tests/bench/peak.h"

#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The most that libcurl hands to a write callback at once (CURL_MAX_WRITE_SIZE). */
#define PIECE 16384

static double cpu_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static void report(double begun, const char *what)
{
	printf("%.1f %ld %s\n", cpu_ms() - begun, peak_kib(), what);
	fflush(stdout);
}

/* What one poll leaves to the next. */
struct memory {
	struct task_pool *pool;
	struct mesos_state *state;
	struct vip_table *table;
};

static int take(struct memory *m, struct mesos_parser *p, int r, struct mesos_state *fresh)
{
	mesos_parser_free(p);
	if (r != 0)
		return r;
	mesos_state_free(m->state);
	m->state = fresh;
	vip_table_free(m->table);
	m->table = vip_table_build(fresh, NULL);
	return 0;
}

static int read_document(struct memory *m, int fd)
{
	static char piece[PIECE];
	struct mesos_parser *p = mesos_parser_new(NULL, m->pool);
	struct mesos_state *fresh = NULL;
	ssize_t n;
	int r = 0;

	while (r == 0 && (n = read(fd, piece, sizeof(piece))) > 0)
		r = mesos_parser_feed(p, piece, (size_t)n);
	if (r == 0)
		r = mesos_parser_finish(p, m->table ? m->table->digest : NULL, &fresh);
	return take(m, p, r, fresh);
}

static int run_vipd(char **paths)
{
	struct memory m = {.pool = task_pool_new()};
	int r = 0;

	for (; *paths && r >= 0; paths++) {
		double begun = cpu_ms();
		int fd = open(*paths, O_RDONLY);

		r = fd < 0 ? -1 : read_document(&m, fd);
		close(fd);
		if (r >= 0)
			report(begun, r == MESOS_UNCHANGED ? "unchanged" : "changed");
	}
	fprintf(stderr, "%zu VIPs of %zu tasks\n", m.table ? m.table->n_vips : 0,
		m.state ? m.state->n_tasks_seen : 0);
	vip_table_free(m.table);
	mesos_state_free(m.state);
	task_pool_unref(m.pool);
	return r;
}

static int run_json_c(const char *path)
{
	static char piece[PIECE];
	struct json_tokener *tokener = json_tokener_new();
	struct json_object *o = NULL;
	double begun = cpu_ms();
	int fd = open(path, O_RDONLY);
	ssize_t n;

	while (!o && (n = read(fd, piece, sizeof(piece))) > 0)
		o = json_tokener_parse_ex(tokener, piece, (int)n);
	report(begun, o ? "parsed" : "failed");
	return o ? 0 : -1; /* not freed: only the parse is measured */
}

int main(int argc, char **argv)
{
	if (argc >= 3 && strcmp(argv[1], "vipd") == 0)
		return run_vipd(argv + 2) < 0;
	if (argc == 3 && strcmp(argv[1], "json-c") == 0)
		return run_json_c(argv[2]) < 0;
	fprintf(stderr, "usage: bench-mesos vipd FILE...\n       bench-mesos json-c FILE\n");
	return 2;
}
