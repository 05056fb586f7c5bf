/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 200 nodes of a cluster learn the same 20 new backends: where does each one's first connection go?
 * Each node is a network namespace of its own, programmed from its own seed as vipd would, in
 * which one connection is begun; the kernel says which destination it was given.
 */
#include "ipvs/kernel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define N_NODES 200
#define N_BACKENDS 20
#define N_VIPS 3
/* Of 200; a herd would be 200. 10 would be even, and chance alone gives 21 once in 60 times. */
#define MOST 20

static struct ip_addr addr(const char *text)
{
	struct ip_addr a = {};

	assert_int_equal(ip_addr_parse(text, &a), 0);
	return a;
}

static struct service_key vip(unsigned int i)
{
	char text[IP_ADDR_STRLEN];

	snprintf(text, sizeof(text), "11.0.0.%u", i + 1);
	return (struct service_key){addr(text), 80, IPPROTO_TCP};
}

static struct kernel_state *wanted(void)
{
	struct kernel_state *s = kernel_state_new();
	struct ip_addr source = addr("10.0.0.1");

	for (unsigned int v = 0; v < N_VIPS; v++)
		for (unsigned int i = 0; i < N_BACKENDS; i++) {
			struct destination d = {.port = 31000, .weight = 1};
			struct service_key key = vip(v);
			char text[IP_ADDR_STRLEN];

			snprintf(text, sizeof(text), "10.0.1.%u", i + 1);
			d.address = addr(text);
			assert_int_equal(
				service_set_destination(kernel_state_service(s, &key), &d), 0);
		}
	assert_int_equal(kernel_state_complete(s, &source, NULL), 0);
	return s;
}

/* As vipd makes it: FNV-1a of the machine's id (here a number) and the node's address. */
static uint64_t node_seed(unsigned int node)
{
	uint8_t bytes[32] = {};
	uint64_t h = 0xcbf29ce484222325;

	memcpy(bytes, &node, sizeof(node));
	bytes[16] = 10;
	bytes[18] = (uint8_t)(node >> 8);
	bytes[19] = (uint8_t)node;
	for (size_t i = 0; i < sizeof(bytes); i++)
		h = (h ^ bytes[i]) * 0x100000001b3;
	return h;
}

/* A namespace with a way to the backends, on which nobody answers. */
static void enter_node(void)
{
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	assert_int_equal(system("printf 'link set lo up\\nlink add out0 type dummy\\n"
				"link set out0 arp off up\\naddr add 10.0.0.1/16 dev out0\\n'"
				" | ip -batch -"),
		0);
}

static void program(struct kernel *k, const struct kernel_state *want, uint64_t seed)
{
	struct plan_options options = {.seed = seed};
	struct kernel_state *have;
	struct step_error error;
	struct plan p = {};
	size_t n_errors;

	assert_int_equal(kernel_read(k, &have), 0);
	assert_int_equal(plan_make(&p, have, want, &options), 0);
	assert_int_equal(kernel_apply(k, p.steps, p.n_steps, &error, 1, &n_errors), 0);
	assert_int_equal(n_errors, 0);
	plan_done(&p);
	kernel_state_free(have);
}

/* Begins a connection; the SYN has been scheduled when this returns. */
static int begin_connection(const struct service_key *key)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(key->port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	memcpy(&to.sin_addr, key->address.bytes, 4);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), -1);
	assert_int_equal(errno, EINPROGRESS);
	return fd;
}

/* Which destination got the one connection. */
static size_t chosen(struct kernel *k, const struct service_key *key)
{
	struct kernel_state *s;
	size_t found = N_BACKENDS;

	assert_int_equal(kernel_read_services(k, key, 1, &s), 0);
	assert_int_equal(s->services[0]->n_destinations, N_BACKENDS);
	for (size_t i = 0; i < N_BACKENDS; i++) {
		const struct destination *d = &s->services[0]->destinations[i];

		if (d->n_active + d->n_inactive == 0)
			continue;
		assert_int_equal(found, N_BACKENDS);
		found = i;
	}
	assert_int_not_equal(found, N_BACKENDS);
	kernel_state_free(s);
	return found;
}

static unsigned int most(const unsigned int counts[static N_BACKENDS])
{
	unsigned int max = 0;

	for (size_t i = 0; i < N_BACKENDS; i++)
		max = counts[i] > max ? counts[i] : max;
	return max;
}

static void run_nodes(unsigned int counts[static N_VIPS][N_BACKENDS])
{
	struct kernel_options options = {};
	struct kernel_state *want = wanted();

	for (unsigned int node = 0; node < N_NODES; node++) {
		struct kernel *k;

		enter_node();
		assert_int_equal(kernel_open(&options, &k, NULL), 0);
		program(k, want, node_seed(node));
		for (unsigned int v = 0; v < N_VIPS; v++) {
			struct service_key key = vip(v);
			int fd = begin_connection(&key);

			counts[v][chosen(k, &key)]++;
			close(fd);
		}
		kernel_free(k);
	}
	kernel_state_free(want);
}

static void test_first_connections(void **state)
{
	unsigned int counts[N_VIPS][N_BACKENDS] = {};

	run_nodes(counts);
	for (unsigned int v = 0; v < N_VIPS; v++) {
		print_message("# VIP %u, first connections of %d nodes by backend:", v, N_NODES);
		for (size_t i = 0; i < N_BACKENDS; i++)
			print_message(" %u", counts[v][i]);
		print_message("; most: %u\n", most(counts[v]));
		assert_in_range(most(counts[v]), 1, MOST);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_connections),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
