/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How fast a whole table goes into the kernel, against the limit: a bare loop that sends
 * the same commands, built beforehand, in the largest batches the socket takes. To be run
 * as root in a kernel with IPVS that nobody else uses. The two are run in turns, and of
 * each the best is taken: the rest is the machine's noise.
 *
 *   bench_apply [SERVICES [DESTINATIONS [ROUNDS]]]      (10000 10 3)
 *
 * The kernel searches a list of recently deleted destinations at each addition, and there
 * is no way to empty it but to wait or to leave the network namespace. So each run gets a
 * namespace of its own.
 */
#include "ipvs/batch.h"
#include "ipvs/kernel_ops.h"
#include "ipvs/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ip_vs.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

/* Commands per send of the bare loop: what the field's measurements call the largest
 * useful, and what the enlarged buffers take. */
#define LIMIT_BATCH 1000

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check(int r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "bench_apply: %s: %s\n", what, strerror(-r));
	exit(1);
}

static void new_namespace(void)
{
	check(unshare(CLONE_NEWNET) < 0 ? -errno : 0, "unshare");
	if (system("ip link set lo up; sysctl -qw net.ipv4.vs.run_estimation=0 2>/dev/null"))
		check(-EIO, "ip link set lo up");
}

static struct kernel_state *make_table(unsigned int n_services, unsigned int n_destinations)
{
	struct kernel_state *s = kernel_state_new();

	for (uint32_t i = 0; i < n_services; i++) {
		struct service_key k = {.port = 80, .protocol = IPPROTO_TCP};
		struct service *svc;

		k.address = (struct ip_addr){
			AF_INET, {11, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i}};
		svc = kernel_state_service(s, &k);
		for (uint32_t j = 0; j < n_destinations; j++) {
			struct destination d = {.port = (uint16_t)(20000 + i % 10000), .weight = 1};

			d.address =
				(struct ip_addr){AF_INET, {10, 1, (uint8_t)(i % 200), (uint8_t)j}};
			check(service_set_destination(svc, &d), "table");
		}
	}
	check(kernel_state_complete(s, NULL, NULL), "table");
	return s;
}

static bool is_ipvs(const struct step *step)
{
	return step->kind >= STEP_SERVICE_ADD;
}

static size_t count_ipvs(const struct plan *p)
{
	size_t n = 0;

	for (size_t i = 0; i < p->n_steps; i++)
		n += is_ipvs(&p->steps[i]);
	return n;
}

/* The limit: everything is in memory, and only send() and one recv() per batch remain. */
static double run_limit(const struct plan *p)
{
	struct nl_sock *sock = nl_socket_alloc();
	struct wire w;
	struct batch buffers;
	static char received[65536];
	char *bytes;
	size_t *ends, n_batches = 0, used = 0, in_batch = 0, size = 64UL << 20;
	struct nlmsghdr *last = NULL;
	double start;
	int fd;

	check(genl_connect(sock), "genl_connect");
	check(wire_init(&w, genl_ctrl_resolve(sock, IPVS_GENL_NAME)), "wire");
	fd = nl_socket_get_fd(sock);
	check(batch_init(&buffers, fd, 1), "buffers"); /* for the socket options */
	bytes = malloc(size);
	ends = calloc(p->n_steps, sizeof(*ends));
	for (size_t i = 0; i < p->n_steps; i++) {
		const struct nlmsghdr *h =
			is_ipvs(&p->steps[i]) ? wire_step(&w, &p->steps[i]) : NULL;

		if (!h)
			continue;
		last = memcpy(bytes + used, h, h->nlmsg_len);
		last->nlmsg_seq = (uint32_t)i + 1;
		used += NLMSG_ALIGN(h->nlmsg_len);
		if (++in_batch == LIMIT_BATCH) {
			last->nlmsg_flags |= NLM_F_ACK;
			ends[n_batches++] = used;
			in_batch = 0;
		}
	}
	if (in_batch) {
		last->nlmsg_flags |= NLM_F_ACK;
		ends[n_batches++] = used;
	}
	start = now_s();
	for (size_t i = 0; i < n_batches; i++) {
		size_t from = i ? ends[i - 1] : 0;

		check(send(fd, bytes + from, ends[i] - from, 0) < 0 ? -errno : 0, "send");
		check(recv(fd, received, sizeof(received), 0) < 0 ? -errno : 0, "recv");
	}
	start = now_s() - start;
	batch_done(&buffers);
	wire_done(&w);
	nl_socket_free(sock);
	free(bytes);
	free(ends);
	return start;
}

static double apply(struct kernel *k, const struct step *steps, size_t n, const char *what)
{
	struct step_error error = {};
	size_t n_errors;
	double start = now_s();

	check(kernel_apply(k, steps, n, &error, 1, &n_errors), what);
	if (n_errors) {
		char text[STEP_STRLEN];

		fprintf(stderr, "%s: %zu errors, first: %s: %s\n", what, n_errors,
			step_format(&steps[error.index], text), strerror(-error.error));
		exit(1);
	}
	return now_s() - start;
}

/* Applies the whole plan, and tells what each kind of object took. */
static void apply_by_class(struct kernel *k, const struct plan *p)
{
	static const char *const names[] = {
		[STEP_CLASS_LINK] = "link",
		[STEP_CLASS_SETS] = "sets",
		[STEP_CLASS_ROUTE] = "routes",
		[STEP_CLASS_ENTRY] = "set entries",
		[STEP_CLASS_SERVICE_ADD] = "new services",
		[STEP_CLASS_IPVS] = "IPVS",
	};
	double seconds[STEP_CLASS_IPVS + 1] = {};
	size_t steps[STEP_CLASS_IPVS + 1] = {};

	for (size_t i = 0, n; i < p->n_steps; i += n) {
		enum step_class class = step_class(p->steps[i].kind);

		for (n = 1; i + n < p->n_steps && step_class(p->steps[i + n].kind) == class;)
			n++;
		seconds[class] += apply(k, p->steps + i, n, names[class]);
		steps[class] += n;
	}
	for (size_t i = 0; i <= STEP_CLASS_IPVS; i++)
		printf("%s: %zu steps, %.3f s\n", names[i], steps[i], seconds[i]);
}

/* Time of a plan that finds nothing to do, best of a few. */
static double no_change(const struct kernel_state *have, const struct kernel_state *want)
{
	double best = 1e9;

	for (int i = 0; i < 10; i++) {
		struct plan p = {};
		double t = now_s();

		check(plan_make(&p, have, want, NULL), "plan");
		t = now_s() - t;
		best = t < best ? t : best;
		for (size_t j = 0; j < p.n_steps && j < 5; j++) {
			char text[STEP_STRLEN];

			fprintf(stderr, "%zu left: %s\n", p.n_steps,
				step_format(&p.steps[j], text));
		}
		if (p.n_steps)
			check(-EIO, "a second plan is not empty");
		plan_done(&p);
	}
	return best;
}

static void one_change(struct kernel *k, const struct kernel_state *have, struct kernel_state *want)
{
	struct destination *d = &want->services[want->n_services / 2]->destinations[0];
	struct plan p = {};
	double t = now_s();

	d->weight = 0;
	check(plan_make(&p, have, want, NULL), "plan");
	apply(k, p.steps, p.n_steps, "one change");
	printf("one destination changed: %zu step, %.2f ms from table to kernel\n", p.n_steps,
		1e3 * (now_s() - t));
	d->weight = 1;
	plan_done(&p);
}

/* The times of everything around: reading, planning, sets and routes. */
static void details(unsigned int n_services, unsigned int n_destinations)
{
	struct kernel_state *none = kernel_state_new(), *have,
			    *want = make_table(n_services, n_destinations);
	struct kernel_options options = {};
	struct service_key keys[100];
	struct rusage usage;
	struct kernel *k;
	struct plan p = {};
	double t;

	new_namespace();
	check(kernel_open(&options, &k, NULL), "kernel_open");
	t = now_s();
	check(plan_make(&p, none, want, NULL), "plan");
	printf("first plan: %zu steps, %.1f ms\n", p.n_steps, 1e3 * (now_s() - t));
	apply_by_class(k, &p);
	for (int i = 0; i < 3; i++) { /* the first finds the kernel's caches cold */
		t = now_s();
		check(kernel_read(k, &have), "read");
		printf("read everything: %.3f s\n", now_s() - t);
		if (i < 2)
			kernel_state_free(have);
	}
	t = now_s();
	kernel_state_free(none);
	check(kernel_read_parts(k, KERNEL_SERVICES, &none), "read");
	printf("read services without destinations: %.3f s\n", now_s() - t);
	kernel_state_free(none);
	t = now_s();
	check(kernel_read_parts(k, KERNEL_LINK | KERNEL_SETS | KERNEL_ROUTES, &none), "read");
	printf("read link, sets and routes: %.3f s\n", now_s() - t);
	kernel_state_free(none);
	for (size_t i = 0; i < 100; i++)
		keys[i] = want->services[i * (n_services / 100)]->key;
	t = now_s();
	check(kernel_read_services(k, keys, 100, &none), "read");
	printf("read 100 named services: %.2f ms\n", 1e3 * (now_s() - t));
	printf("no-change plan of %u objects: %.2f ms\n", n_services * (1 + n_destinations),
		1e3 * no_change(have, want));
	one_change(k, have, want);
	getrusage(RUSAGE_SELF, &usage);
	printf("memory: %.0f MB at most\n", (double)usage.ru_maxrss / 1024);
	plan_done(&p);
	kernel_free(k);
	kernel_state_free(none);
	kernel_state_free(have);
	kernel_state_free(want);
}

int main(int argc, char **argv)
{
	unsigned int n_services = argc > 1 ? (unsigned int)atoi(argv[1]) : 10000;
	unsigned int n_destinations = argc > 2 ? (unsigned int)atoi(argv[2]) : 10;
	int rounds = argc > 3 ? atoi(argv[3]) : 3;
	struct kernel_state *none = kernel_state_new(),
			    *want = make_table(n_services, n_destinations);
	struct kernel_options options = {};
	double best_limit = 1e9, best_apply = 1e9;
	struct step *ipvs_steps;
	struct plan p = {};
	size_t n = 0;

	if (n_services < 100)
		check(-EINVAL, "at least 100 services");
	check(plan_make(&p, none, want, NULL), "plan");
	ipvs_steps = calloc(count_ipvs(&p), sizeof(*ipvs_steps));
	for (size_t i = 0; i < p.n_steps; i++)
		if (is_ipvs(&p.steps[i]))
			ipvs_steps[n++] = p.steps[i];
	printf("%zu IPVS commands\n", n);
	for (int i = 0; i < rounds; i++) {
		struct kernel *k;
		double t;

		new_namespace();
		t = run_limit(&p);
		best_limit = t < best_limit ? t : best_limit;
		printf("bare loop, batches of %d: %.3f s\n", LIMIT_BATCH, t);
		new_namespace();
		check(kernel_open(&options, &k, NULL), "kernel_open");
		t = apply(k, ipvs_steps, n, "apply");
		best_apply = t < best_apply ? t : best_apply;
		printf("kernel_apply(): %.3f s\n", t);
		kernel_free(k);
	}
	printf("rate against the bare loop: %.3f\n", best_limit / best_apply);
	details(n_services, n_destinations);
	plan_done(&p);
	free(ipvs_steps);
	kernel_state_free(none);
	kernel_state_free(want);
	return 0;
}
