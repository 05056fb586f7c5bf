/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the kernel does by itself with commands and dumps, and ipvs/ leans on. Should a kernel
 * change its mind, this says so first. (Of packets: test_facts.py.) Times are compared within one
 * run, each the best of a few, and far apart, so that a busy machine does not matter.
 *
 * Each test has a network namespace of its own: what one has deleted would slow the next one down.
 */
#include "ipvs/batch.h"
#include "ipvs/kernel.h"
#include "ipvs/wire.h"

#include <errno.h>
#include <linux/ip_vs.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static struct ip_addr v4(uint32_t a)
{
	return (struct ip_addr){
		AF_INET, {(uint8_t)(a >> 24), (uint8_t)(a >> 16), (uint8_t)(a >> 8), (uint8_t)a}};
}

static struct service_key key(uint32_t i)
{
	return (struct service_key){v4(0x0b000001 + i), 80, IPPROTO_TCP};
}

/* A command about service `i`, and destination `k` of it. */
static struct step command(enum step_kind kind, uint32_t i, uint32_t k)
{
	struct step s = {.kind = kind, .key = key(i)};

	if (kind == STEP_SERVICE_ADD || kind == STEP_SERVICE_EDIT) {
		s.service.netmask = UINT32_MAX;
		strcpy(s.service.scheduler, "wlc");
	} else {
		s.destination.address = v4(0x0a000001);
		s.destination.port = (uint16_t)(k + 1);
		s.destination.weight = 1;
	}
	return s;
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static struct kernel *open_kernel(size_t batch)
{
	struct kernel_options options = {.batch = batch};
	struct kernel *k = NULL;

	assert_int_equal(kernel_open(&options, &k, NULL), 0);
	return k;
}

/* Seconds that the steps take, all of which must succeed. */
static double apply(struct kernel *k, const struct step *steps, size_t n)
{
	struct step_error error;
	double began = now_s();
	size_t n_errors;

	assert_int_equal(kernel_apply(k, steps, n, &error, 1, &n_errors), 0);
	if (n_errors)
		fail_msg("%zu errors, the first: step %zu: %s", n_errors, error.index,
			strerror(-error.error));
	return now_s() - began;
}

/* The same command about `n_destinations` destinations each of services `first` to `first + n`. */
static double apply_to_all(
	struct kernel *k, enum step_kind kind, uint32_t first, uint32_t n, uint32_t n_destinations)
{
	struct step *steps = calloc((size_t)n * n_destinations, sizeof(*steps));
	double took;

	for (uint32_t i = 0; i < n * n_destinations; i++)
		steps[i] = command(kind, first + i / n_destinations, i % n_destinations);
	took = apply(k, steps, (size_t)n * n_destinations);
	free(steps);
	return took;
}

static double least(double a, double b)
{
	return a < b ? a : b;
}

static int new_namespace(void **state)
{
	return unshare(CLONE_NEWNET) ? -1 : system("ip link set lo up");
}

/* Many commands in one send, acknowledged once, against one by one. */
static void test_batches_are_faster(void **state)
{
	struct kernel *one = open_kernel(1), *many = open_kernel(128);
	double slow = 1e9, fast = 1e9;

	apply_to_all(one, STEP_SERVICE_ADD, 0, 100, 1);
	apply_to_all(one, STEP_DESTINATION_ADD, 0, 100, 10);
	for (int i = 0; i < 3; i++) {
		slow = least(slow, apply_to_all(one, STEP_DESTINATION_EDIT, 0, 100, 10));
		fast = least(fast, apply_to_all(many, STEP_DESTINATION_EDIT, 0, 100, 10));
	}
	print_message("# 1,000 edits: %.1f ms one by one, %.1f ms in batches of 128\n", slow * 1e3,
		fast * 1e3);
	assert_true(slow > 1.5 * fast);
	kernel_free(one);
	kernel_free(many);
}

/* The socket's send buffer bounds a batch: why batch.c enlarges it. */
static void test_the_send_buffer_bounds_a_batch(void **state)
{
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC), size = 0;
	struct step step = command(STEP_DESTINATION_ADD, 0, 0);
	socklen_t length = sizeof(size);
	struct wire w;
	char *nothing; /* messages of length 0, which are passed over */

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, &length), 0);
	assert_int_equal(wire_init(&w, GENL_MIN_ID), 0);
	print_message("# %d bytes, %d commands\n", size,
		size / (int)NLMSG_ALIGN(wire_step(&w, &step)->nlmsg_len));
	nothing = calloc(1, (size_t)size);
	assert_int_equal(send(fd, nothing, (size_t)size, 0), -1);
	assert_int_equal(errno, EMSGSIZE);
	assert_true(128 * wire_step(&w, &step)->nlmsg_len < (size_t)size / 2);
	assert_true(send(fd, nothing, (size_t)size / 2, 0) > 0);
	size *= 4;
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)), 0);
	assert_true(send(fd, nothing, (size_t)size / 4, 0) > 0);
	wire_done(&w);
	free(nothing);
	close(fd);
}

/* The trash cliff: what was deleted is looked through for every new destination, for two minutes.
 */
static void test_deleted_destinations_slow_new_ones_down(void **state)
{
	struct kernel *k = open_kernel(128);
	double fresh = 1e9, slow = 1e9;

	apply_to_all(k, STEP_SERVICE_ADD, 0, 1000, 1);
	for (uint32_t i = 0; i < 5; i++)
		fresh = least(fresh, apply_to_all(k, STEP_DESTINATION_ADD, i * 10, 10, 10));
	apply_to_all(k, STEP_DESTINATION_ADD, 100, 800, 10);
	apply_to_all(k, STEP_DESTINATION_DEL, 100, 800, 10);
	for (uint32_t i = 0; i < 5; i++)
		slow = least(slow, apply_to_all(k, STEP_DESTINATION_ADD, 900 + i * 10, 10, 10));
	print_message("# an addition: %.1f us, with 8,000 deleted before %.1f us\n", fresh * 1e4,
		slow * 1e4);
	assert_true(slow > 1.5 * fresh);
	/* What has not been deleted costs nothing: edits. */
	fresh = slow;
	for (int i = 0; i < 5; i++)
		fresh = least(fresh, apply_to_all(k, STEP_DESTINATION_EDIT, 900, 10, 10));
	assert_true(slow > 1.5 * fresh);
	kernel_free(k);
}

#define N_SERVICES 800

/* Linux 7 resizes its table of services beside, and a dump meanwhile lacks many. */
static struct kernel_state *read_all_services(struct kernel *k)
{
	struct kernel_state *shown = NULL;

	for (int i = 0; i < 100; i++) {
		assert_int_equal(kernel_read_parts(k, KERNEL_SERVICES, &shown), 0);
		if (shown->n_services == N_SERVICES)
			return shown;
		print_message("# a dump shows %zu of %d services\n", shown->n_services, N_SERVICES);
		kernel_state_free(shown);
		usleep(50000);
	}
	fail_msg("no dump shows all");
	return NULL;
}

/* Everything is deleted as by hand, and put back: the services that the kernel showed first before, or last. */
static double delete_and_put_back(struct kernel *k, bool last_first)
{
	struct service_key order[N_SERVICES];
	struct kernel_state *shown;
	double took = 0;

	shown = read_all_services(k);
	assert_int_equal(system("ipvsadm -C"), 0);
	apply_to_all(k, STEP_SERVICE_ADD, 0, N_SERVICES, 1);
	for (size_t i = 0; i < N_SERVICES; i++) {
		uint32_t place = shown->services[i]->place;

		assert_in_range(place, 1, N_SERVICES);
		order[last_first ? N_SERVICES - place : place - 1] = shown->services[i]->key;
	}
	kernel_state_free(shown);
	for (size_t i = 0; i < N_SERVICES; i++) {
		struct step steps[10];

		for (uint32_t d = 0; d < 10; d++) {
			steps[d] = command(STEP_DESTINATION_ADD, 0, d);
			steps[d].key = order[i];
		}
		took += apply(k, steps, 10);
	}
	return took;
}

/* The list is looked through from the latest on, and services are deleted in the order in which they are
 * shown: see agent/apply/additions.h. */
static void test_what_was_deleted_last_is_found_first(void **state)
{
	struct kernel *k = open_kernel(128);
	double last_first, first_first;

	apply_to_all(k, STEP_SERVICE_ADD, 0, N_SERVICES, 1);
	apply_to_all(k, STEP_DESTINATION_ADD, 0, N_SERVICES, 10);
	last_first = delete_and_put_back(k, true);
	first_first = delete_and_put_back(k, false);
	print_message("# 8,000 destinations put back: %.0f ms, in the wrong order %.0f ms\n",
		last_first * 1e3, first_first * 1e3);
	/* Twice as long and more; what else runs here blurs it. */
	assert_true(first_first > 1.3 * last_first);
	kernel_free(k);
}

/* A socket to IPVS of the test's own. */
struct raw {
	struct nl_sock *socket;
	struct wire wire;
	int fd;
};

static void raw_open(struct raw *r)
{
	r->socket = nl_socket_alloc();
	assert_int_equal(genl_connect(r->socket), 0);
	assert_int_equal(wire_init(&r->wire, genl_ctrl_resolve(r->socket, IPVS_GENL_NAME)), 0);
	r->fd = nl_socket_get_fd(r->socket);
}

static void raw_close(struct raw *r)
{
	wire_done(&r->wire);
	nl_socket_free(r->socket);
}

#define N_DUMPED 2000

/* One part of a dump of destinations: counts each by its port. False at the end. */
static bool receive_part(int fd, unsigned int counts[static N_DUMPED])
{
	static char buffer[BATCH_RECEIVE_SIZE];
	int n = (int)recv(fd, buffer, sizeof(buffer), MSG_TRUNC);

	assert_in_range(n, NLMSG_HDRLEN, sizeof(buffer));

	for (struct nlmsghdr *h = (struct nlmsghdr *)buffer; nlmsg_ok(h, n);
		h = nlmsg_next(h, &n)) {
		struct destination d;

		assert_false(h->nlmsg_flags & NLM_F_DUMP_INTR);
		if (h->nlmsg_type == NLMSG_DONE)
			return false;
		assert_int_equal(wire_parse_destination(h, AF_INET, &d), 0);
		counts[d.port - 1]++;
	}
	return true;
}

/* A dump takes several reads, and knows its place by counting: who deletes meanwhile what it has
 * shown makes it skip others, who adds makes it repeat. And it says nothing about it. */
static void test_a_dump_skips_and_repeats_silently(void **state)
{
	static unsigned int counts[N_DUMPED];
	struct step steps[N_DUMPED];
	size_t n_deleted = 0, n_skipped = 0, n_repeated = 0;
	struct kernel *k = open_kernel(128);
	struct service_key service = key(0);
	struct nlmsghdr *request;
	struct raw raw;

	apply_to_all(k, STEP_SERVICE_ADD, 0, 1, 1);
	apply_to_all(k, STEP_DESTINATION_ADD, 0, 1, N_DUMPED);
	raw_open(&raw);
	for (int adding = 0; adding < 2; adding++) {
		memset(counts, 0, sizeof(counts));
		request = (struct nlmsghdr *)wire_get_destinations(&raw.wire, &service);
		request->nlmsg_seq = 1;
		assert_int_equal(send(raw.fd, request, request->nlmsg_len, 0), request->nlmsg_len);
		assert_true(receive_part(raw.fd, counts));
		if (!adding)
			for (uint32_t i = 0; i < N_DUMPED; i++)
				if (counts[i])
					steps[n_deleted++] = command(STEP_DESTINATION_DEL, 0, i);
		for (size_t i = 0; adding && i < n_deleted; i++)
			steps[i].kind = STEP_DESTINATION_ADD;
		apply(k, steps, n_deleted);
		while (receive_part(raw.fd, counts))
			;
		for (uint32_t i = 0; i < N_DUMPED; i++) {
			n_skipped += !adding && !counts[i];
			n_repeated += counts[i] > 1;
		}
	}
	print_message("# %zu deleted and added again: %zu skipped, %zu repeated\n", n_deleted,
		n_skipped, n_repeated);
	assert_true(n_skipped > 0);
	assert_true(n_repeated > 0);
	raw_close(&raw);
	kernel_free(k);
}

/* The destination that was added last stands first in the list, and so gets the first
 * connection of a service that is idle. */
static void test_the_last_added_stands_first(void **state)
{
	struct kernel *k = open_kernel(128);

	apply_to_all(k, STEP_SERVICE_ADD, 0, 1, 1);
	apply_to_all(k, STEP_DESTINATION_ADD, 0, 1, 2);
	assert_int_equal(
		system("grep -A1 0B000001:0050 /proc/net/ip_vs | grep -q 0A000001:0002"), 0);
	kernel_free(k);
}

/* Editing a service with the same scheduler is cheap, with another one it waits for RCU;
 * so an edit is only ever made when something differs. */
static void test_an_edit_waits_only_for_another_scheduler(void **state)
{
	struct kernel *k = open_kernel(128);
	struct step steps[20];
	double same = 1e9, other = 1e9;

	if (sysconf(_SC_NPROCESSORS_ONLN) == 1)
		skip(); /* RCU of one processor has nobody to wait for */
	apply_to_all(k, STEP_SERVICE_ADD, 0, 1, 1);
	for (size_t i = 0; i < 20; i++)
		steps[i] = command(STEP_SERVICE_EDIT, 0, 0);
	for (int i = 0; i < 3; i++)
		same = least(same, apply(k, steps, 20));
	for (size_t i = 0; i < 20; i += 2)
		strcpy(steps[i].service.scheduler, "rr");
	for (int i = 0; i < 3; i++)
		other = least(other, apply(k, steps, 20));
	print_message("# an edit: same scheduler %.0f us, another %.0f us\n", same * 1e6 / 20,
		other * 1e6 / 20);
	assert_true(other > 3 * same);
	kernel_free(k);
}

/* IPVS wants CAP_NET_ADMIN of the initial user namespace, not just of the network namespace's own.
 */
static void test_root_of_a_user_namespace_is_not_enough(void **state)
{
	if (system("unshare -Urn true 2>/dev/null"))
		skip(); /* the kernel has none */
	assert_int_equal(system("unshare -n ipvsadm -A -t 1.2.3.4:80"), 0);
	assert_int_not_equal(system("unshare -Urn ipvsadm -A -t 1.2.3.4:80 2>/dev/null"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_batches_are_faster, new_namespace),
		cmocka_unit_test_setup(test_the_send_buffer_bounds_a_batch, new_namespace),
		cmocka_unit_test_setup(test_deleted_destinations_slow_new_ones_down, new_namespace),
		cmocka_unit_test_setup(test_what_was_deleted_last_is_found_first, new_namespace),
		cmocka_unit_test_setup(test_a_dump_skips_and_repeats_silently, new_namespace),
		cmocka_unit_test_setup(test_the_last_added_stands_first, new_namespace),
		cmocka_unit_test_setup(
			test_an_edit_waits_only_for_another_scheduler, new_namespace),
		cmocka_unit_test_setup(test_root_of_a_user_namespace_is_not_enough, new_namespace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
