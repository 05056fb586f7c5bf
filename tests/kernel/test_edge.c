/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel edge against a real kernel with IPVS, ipset and dummy links. To be run as
 * root in a guest (or a fresh network namespace) that nobody else uses. Damage is done
 * with ip, ipvsadm and ipset, as an operator's hand would.
 */
#include "ipvs/kernel.h"
#include "ipvs/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define N_ERRORS 64

static struct ip_addr addr(const char *text)
{
	struct ip_addr a = {};

	assert_int_equal(ip_addr_parse(text, &a), 0);
	return a;
}

static struct service_key key(uint8_t protocol, const char *address, uint16_t port)
{
	return (struct service_key){.address = addr(address), .port = port, .protocol = protocol};
}

/* Runs a shell command; its status. */
static int shell(const char *command)
{
	char quiet[1024];

	snprintf(quiet, sizeof(quiet), "{ %s; } 2>/dev/null", command);
	return system(quiet);
}

static void must(const char *command)
{
	if (shell(command))
		fail_msg("failed: %s", command);
}

static void add(struct kernel_state *s, const struct service_key *k, const char *address,
	uint16_t port, uint32_t weight)
{
	struct destination d = {.address = addr(address), .port = port, .weight = weight};

	assert_int_equal(service_set_destination(kernel_state_service(s, k), &d), 0);
}

static void complete(struct kernel_state *s)
{
	struct ip_addr source4 = addr("10.9.0.1"), source6 = addr("fd09::1");

	assert_int_equal(kernel_state_complete(s, &source4, &source6), 0);
}

/* TCP and UDP, both families, two ports on one address, weights 0 and 1. */
static struct kernel_state *some_state(void)
{
	struct kernel_state *s = kernel_state_new();
	struct service_key a = key(IPPROTO_TCP, "11.0.0.1", 80),
			   b = key(IPPROTO_UDP, "11.0.0.1", 53),
			   c = key(IPPROTO_TCP, "fd01:c::1", 443),
			   d = key(IPPROTO_TCP, "11.0.0.2", 80);

	add(s, &a, "10.0.0.1", 31000, 1);
	add(s, &a, "10.0.0.2", 80, 0);    /* the service's own port: ipvsadm -g wants it */
	add(s, &a, "10.9.0.1", 31001, 1); /* the node's own */
	add(s, &b, "10.0.0.1", 31002, 1);
	add(s, &c, "fd02::1", 31003, 1);
	add(s, &c, "fd02::2", 31003, 1);
	kernel_state_service(s, &d); /* no destination */
	complete(s);
	return s;
}

static struct kernel *open_kernel(const char *netns)
{
	struct kernel_options options = {.netns_path = netns};
	struct kernel *k = NULL;
	const char *what = NULL;
	int r = kernel_open(&options, &k, &what);

	if (r < 0)
		fail_msg("kernel_open: %s: %s", what, strerror(-r));
	return k;
}

static struct kernel_state *read_kernel(struct kernel *k)
{
	struct kernel_state *s = NULL;

	assert_int_equal(kernel_read(k, &s), 0);
	return s;
}

/* Plans and applies once; the number of steps, all of which must succeed. */
static size_t reconcile(struct kernel *k, const struct kernel_state *want)
{
	struct kernel_state *have = read_kernel(k);
	struct step_error errors[N_ERRORS] = {};
	char text[STEP_STRLEN];
	struct plan p = {};
	size_t n_errors, n;

	assert_int_equal(plan_make(&p, have, want, NULL), 0);
	assert_int_equal(kernel_apply(k, p.steps, p.n_steps, errors, N_ERRORS, &n_errors), 0);
	for (size_t i = 0; i < n_errors; i++)
		print_message("# %s: %s\n", step_format(&p.steps[errors[i].index], text),
			strerror(-errors[i].error));
	assert_int_equal(n_errors, 0);
	n = p.n_steps;
	plan_done(&p);
	kernel_state_free(have);
	return n;
}

static void assert_in_step(struct kernel *k, const struct kernel_state *want)
{
	struct kernel_state *have = read_kernel(k);
	char text[STEP_STRLEN];
	struct plan p = {};

	assert_int_equal(plan_make(&p, have, want, NULL), 0);
	for (size_t i = 0; i < p.n_steps; i++)
		print_message("# left: %s\n", step_format(&p.steps[i], text));
	assert_int_equal(p.n_steps, 0);
	plan_done(&p);
	kernel_state_free(have);
}

static void flush(struct kernel *k)
{
	struct kernel_state *nothing = kernel_state_new();

	reconcile(k, nothing);
	assert_int_equal(kernel_remove_frame(k), 0);
	kernel_state_free(nothing);
}

/* The node: an address for the preferred sources, and modules beyond what vipd needs.
 * (/run/md: where a guest has its modules.) */
static int setup(void **state)
{
	shell("for m in ip_vs_rr ip_set_hash_net; do"
	      " modprobe -q $m || modprobe -qd /run/md $m; done");
	return shell("ip link add node0 type dummy && ip addr add 10.9.0.1/16 dev node0 &&"
		     " ip addr add 10.9.0.2/16 dev node0 &&"
		     " ip -6 addr add fd09::1/64 dev node0 nodad && ip link set node0 up");
}

/* Before each test: nothing of the last one, also if that failed. */
static int fresh(void **state)
{
	shell("ipvsadm -C; ip link del vipd0; ip link del other0; ip netns del edge; ipset destroy;"
	      " rm -f /tmp/before");
	return 0;
}

static void test_apply_and_adopt(void **state)
{
	struct kernel *k = open_kernel(NULL);
	struct kernel_state *want = some_state(), *have;
	struct service *svc;

	assert_int_not_equal(reconcile(k, want), 0);
	assert_in_step(k, want);
	have = read_kernel(k);
	assert_true(have->has_link && have->has_sets);
	assert_int_equal(have->n_services, 4);
	assert_int_equal(have->n_routes, 3);
	assert_int_equal(have->n_ports, 4);
	assert_int_equal(have->n_addresses, 3);
	svc = kernel_state_find(have, &want->services[0]->key);
	assert_int_equal(svc->timeout, SERVICE_SIGNATURE); /* the kernel keeps it */
	assert_string_equal(svc->scheduler, "wlc");
	for (size_t i = 0; i < svc->n_destinations; i++)
		assert_int_equal(svc->destinations[i].forward, 0); /* the node's own too */
	kernel_state_free(have);
	kernel_free(k);
	must("ip route get 11.0.0.1 | grep -q 'local 11.0.0.1 dev lo.*src 10.9.0.1'");
	must("ip -6 route get fd01:c::1 | grep -q 'src fd09::1'");
	must("! ip -6 addr show dev vipd0 | grep -q fe80");
	must("ipset test vipd-ip 11.0.0.1 && ipset test vipd 11.0.0.1,udp:53 "
	     "2>/dev/null");
	must("ipset test vipd6 fd01:c::1,tcp:443 && ipset test vipd-ip6 fd01:c::1 "
	     "2>/dev/null");

	/* a restart adopts it all */
	k = open_kernel(NULL);
	assert_int_equal(reconcile(k, want), 0);
	flush(k);
	have = read_kernel(k);
	assert_false(have->has_link || have->has_sets);
	assert_int_equal(have->n_services + have->n_routes + have->n_ports + have->n_addresses, 0);
	kernel_state_free(have);
	kernel_state_free(want);
	kernel_free(k);
}

static void test_changes(void **state)
{
	struct kernel *k = open_kernel(NULL);
	struct kernel_state *want = some_state();
	struct ip_addr source = addr("10.9.0.2");

	reconcile(k, want);
	want->services[0]->destinations[0].weight = 0;
	assert_int_equal(reconcile(k, want), 1);
	assert_in_step(k, want);
	/* the preferred source: in place, and away again; both families */
	assert_int_equal(kernel_state_complete(want, &source, NULL), 0);
	assert_int_equal(reconcile(k, want), 3);
	assert_in_step(k, want);
	must("test $(ip route show table local dev vipd0 proto 61 src 10.9.0.2 | wc -l) = 2");
	assert_int_equal(kernel_state_complete(want, NULL, NULL), 0);
	assert_int_equal(reconcile(k, want), 2);
	assert_in_step(k, want);
	must("test $(ip -6 route show table local dev vipd0 proto 61 | wc -l) = 1");
	kernel_state_remove_service(want, &want->services[0]->key);
	complete(want);
	reconcile(k, want);
	assert_in_step(k, want);
	flush(k);
	kernel_state_free(want);
	kernel_free(k);
}

static void test_repairs(void **state)
{
	static const char *const damages[] = {
		"ipvsadm -C",
		"ipvsadm -d -t 11.0.0.1:80 -r 10.0.0.1:31000",
		"ipvsadm -D -u 11.0.0.1:53",
		"ipvsadm -e -t 11.0.0.1:80 -r 10.0.0.1:31000 -m -w 7",
		"ipvsadm -e -t 11.0.0.1:80 -r 10.0.0.2:80 -g -w 0",
		"ipvsadm -e -t 11.0.0.1:80 -r 10.0.0.1:31000 -m -w 1 -x 9 -y 3",
		"ipvsadm -a -t 11.0.0.1:80 -r 10.0.0.77:31000 -m",
		"ipvsadm -E -t 11.0.0.1:80 -s rr",
		"ipvsadm -E -t 11.0.0.1:80 -s wlc -p 50",
		"ipvsadm -E -t [fd01:c::1]:443 -s wlc -p 50 -M 64",
		"ip link del vipd0",
		"ip link set vipd0 down",
		"ip route del local 11.0.0.1 dev vipd0 table local",
		"ip -6 route del local fd01:c::1 dev vipd0 table local",
		"ip route add local 11.9.9.9 dev vipd0 table local",
		"ip route replace local 11.0.0.1 dev vipd0 table local src 10.9.0.2",
		"ip route flush table local dev vipd0",
		"ipset flush",
		"ipset destroy",
		"ipset destroy vipd-ip6",
		"ipset add vipd 11.0.0.1,tcp:22",
		"ipset del vipd-ip 11.0.0.1",
	};
	struct kernel *k = open_kernel(NULL);
	struct kernel_state *want = some_state();

	reconcile(k, want);
	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		print_message("# %s\n", damages[i]);
		must(damages[i]);
		assert_int_not_equal(reconcile(k, want), 0);
		assert_in_step(k, want);
	}
	flush(k);
	kernel_state_free(want);
	kernel_free(k);
}

static void test_foreign_untouched(void **state)
{
	struct kernel *k = open_kernel(NULL);
	struct kernel_state *want = some_state(), *have;
	struct plan p = {};

	must("ipvsadm -A -t 11.0.0.1:81 -s rr && ipvsadm -a -t 11.0.0.1:81 -r 10.0.0.5:80 -m");
	must("ipvsadm -A -t 11.0.0.2:80 -s rr && ipvsadm -A -f 7 -s rr"); /* one that we want */
	must("ipset create other hash:ip && ipset add other 1.2.3.4");
	must("ip link add other0 type dummy && ip link set other0 up");
	must("ip route add local 11.7.7.7 dev other0 table local");
	must("ipvsadm -Sn | sort >/tmp/before");
	reconcile(k, want);
	have = read_kernel(k);
	assert_int_equal(plan_make(&p, have, want, NULL), 0);
	assert_int_equal(p.n_steps, 0);
	assert_int_equal(p.n_conflicts, 1);
	assert_int_equal(service_key_cmp(&p.conflicts[0],
				 &(struct service_key){addr("11.0.0.2"), 80, IPPROTO_TCP}),
		0);
	must("! ipset test vipd 11.0.0.2,tcp:80");
	must("! ip route show table local dev vipd0 | grep -q 11.0.0.2");
	flush(k);
	must("ipvsadm -Sn | sort | cmp - /tmp/before");
	must("ipset test other 1.2.3.4 && ipset destroy other");
	must("ip route show table local dev other0 | grep -q 11.7.7.7 && ip link del other0");
	must("ipvsadm -C");
	plan_done(&p);
	kernel_state_free(have);
	kernel_state_free(want);
	kernel_free(k);
}

/* Errors in the middle of batches come back with the index of their step, and the others
 * are done. Several batches, so that sequence numbers matter. */
static void test_errors_by_index(void **state)
{
	struct kernel_options options = {.batch = 16};
	struct step steps[100] = {};
	struct step_error errors[N_ERRORS];
	struct kernel_state *have;
	struct kernel *k;
	size_t n, bad = 0;

	assert_int_equal(kernel_open(&options, &k, NULL), 0);
	for (size_t i = 0; i < 100; i++) {
		struct step *s = &steps[i];

		s->kind = i ? STEP_DESTINATION_ADD : STEP_SERVICE_ADD;
		s->key = key(IPPROTO_TCP, "11.0.0.1", 80);
		if (!i) {
			strcpy(s->service.scheduler, "wlc");
			s->service.netmask = UINT32_MAX;
			continue;
		}
		s->destination.address = addr("10.0.0.1");
		/* every seventh is a multicast address, which IPVS refuses */
		if (i % 7 == 0)
			s->destination.address = addr("224.0.0.1");
		s->destination.port = (uint16_t)i;
	}
	assert_int_equal(kernel_apply(k, steps, 100, errors, N_ERRORS, &n), 0);
	assert_int_equal(n, 14);
	for (size_t i = 1; i < 100; i++)
		if (i % 7 == 0) {
			assert_int_equal(errors[bad].index, i);
			assert_int_equal(errors[bad++].error, -EINVAL);
		}
	have = read_kernel(k);
	assert_int_equal(have->services[0]->n_destinations, 99 - 14);
	kernel_state_free(have);

	/* what the kernel answers to the other mistakes */
	assert_int_equal(kernel_apply(k, steps, 2, errors, N_ERRORS, &n), 0);
	assert_int_equal(n, 2);
	assert_int_equal(errors[0].error, -EEXIST);
	assert_int_equal(errors[1].error, -ECANCELED); /* it may be somebody else's service */
	assert_int_equal(kernel_apply(k, steps + 1, 1, errors, N_ERRORS, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(errors[0].error, -EEXIST);
	steps[1].kind = STEP_DESTINATION_DEL;
	steps[1].destination.port = 999;
	steps[2].kind = STEP_DESTINATION_EDIT;
	steps[2].key.port = 81;
	assert_int_equal(kernel_apply(k, steps + 1, 2, errors, N_ERRORS, &n), 0);
	assert_int_equal(n, 2);
	assert_int_equal(errors[0].error, -ENOENT);
	assert_int_equal(errors[1].error, -ESRCH);
	must("ipvsadm -C");
	kernel_free(k);
}

/* 2,000 commands that all fail in one send: the receive buffer holds the answers. */
static void test_many_errors(void **state)
{
	struct kernel_options options = {.batch = 2000};
	static struct step steps[2000];
	struct step_error errors[1];
	struct kernel *k;
	size_t n;

	assert_int_equal(kernel_open(&options, &k, NULL), 0);
	for (size_t i = 0; i < 2000; i++) {
		steps[i].kind = STEP_SERVICE_DEL;
		steps[i].key = key(IPPROTO_TCP, "11.0.0.1", (uint16_t)(i + 1));
	}
	steps[0].kind = STEP_DESTINATION_DEL; /* destinations withhold nothing */
	for (size_t i = 0; i < 2000; i++)
		steps[i].kind = STEP_DESTINATION_DEL;
	assert_int_equal(kernel_apply(k, steps, 2000, errors, 1, &n), 0);
	assert_int_equal(n, 2000);
	assert_int_equal(errors[0].error, -ESRCH);
	kernel_free(k);
}

static void test_set_errors(void **state)
{
	struct kernel *k = open_kernel(NULL);
	struct kernel_state *have;
	struct step steps[300] = {};
	static struct step_error errors[300];
	size_t n;

	for (size_t i = 0; i < 300; i++) {
		steps[i].kind = STEP_PORT_ADD;
		steps[i].key = key(IPPROTO_TCP, i % 2 ? "11.0.0.1" : "fd01::1", (uint16_t)(i + 1));
	}
	assert_int_equal(kernel_apply(k, steps, 300, errors, 300, &n), 0);
	assert_int_equal(n, 300);
	assert_int_equal(errors[0].error, -ENOENT); /* no such set */
	/* a set of the same name and another type is not ours: seen, refused, left alone */
	must("ipset create vipd6 hash:net family inet6");
	steps[0].kind = STEP_SETS_ADD;
	assert_int_equal(kernel_apply(k, steps, 1, errors, 300, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(errors[0].error, -EEXIST);
	have = read_kernel(k);
	assert_false(have->has_sets);
	kernel_state_free(have);
	assert_int_equal(kernel_remove_frame(k), 0);
	must("ipset list -n | grep -qx vipd6 && ipset destroy vipd6");
	/* a full set: the entries beyond its room are reported, each by its index */
	must("ipset create vipd hash:ip,port maxelem 100");
	assert_int_equal(kernel_apply(k, steps, 1, errors, 300, &n), 0);
	assert_int_equal(n, 0);
	steps[0].kind = STEP_PORT_ADD;
	assert_int_equal(kernel_apply(k, steps, 300, errors, 300, &n), 0);
	assert_int_equal(n, 50);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(errors[i].index % 2, 1);
		assert_int_equal(errors[i].error, -ENOSPC);
	}
	must("ipset list -n | xargs -n1 ipset destroy");
	kernel_free(k);
}

static void test_link_of_another_kind(void **state)
{
	struct kernel *k = open_kernel(NULL);
	struct kernel_state *want = some_state(), *have = kernel_state_new();
	struct step_error errors[N_ERRORS];
	struct plan p = {};
	size_t n;

	must("ip link add vipd0 type bridge && ip link set vipd0 up");
	assert_int_equal(kernel_read(k, &have), -ENOTUNIQ);
	assert_int_equal(plan_make(&p, have, want, NULL), 0);
	assert_int_equal(kernel_apply(k, p.steps, p.n_steps, errors, N_ERRORS, &n), 0);
	assert_int_equal(n, 4); /* the link, and three routes */
	for (size_t i = 0; i < n; i++)
		assert_int_equal(errors[i].error, -ENOTUNIQ);
	assert_int_equal(kernel_remove_frame(k), -ENOTUNIQ);
	must("ip -d link show vipd0 | grep -q bridge && ip link del vipd0 && ipvsadm -C");
	plan_done(&p);
	kernel_state_free(have);
	kernel_state_free(want);
	kernel_free(k);
}

/* A VIP that is the host's own address: the kernel's route is not replaced. */
static void test_host_address(void **state)
{
	struct kernel *k = open_kernel(NULL);
	struct kernel_state *want = kernel_state_new(), *have = kernel_state_new();
	struct service_key own = key(IPPROTO_TCP, "10.9.0.2", 80);
	struct step_error errors[N_ERRORS];
	struct plan p = {};
	size_t n;

	add(want, &own, "10.0.0.1", 80, 1);
	complete(want);
	must("ip route show table local | sort >/tmp/before");
	assert_int_equal(plan_make(&p, have, want, NULL), 0);
	assert_int_equal(kernel_apply(k, p.steps, p.n_steps, errors, N_ERRORS, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(p.steps[errors[0].index].kind, STEP_ROUTE_ADD);
	assert_int_equal(errors[0].error, -EEXIST);
	must("ip route show table local | sort | cmp - /tmp/before");
	flush(k);
	must("ip route show table local | sort | cmp - /tmp/before");
	plan_done(&p);
	kernel_state_free(have);
	kernel_state_free(want);
	kernel_free(k);
}

static void test_netns(void **state)
{
	struct kernel *outside = open_kernel(NULL), *inside;
	struct kernel_state *want = some_state(), *have;
	struct stat before, after;
	struct kernel_options options = {.netns_path = "/run/netns/none"};

	must("ip netns add edge && ip -n edge link set lo up && ip -n edge link add n0 type dummy "
	     "&&"
	     " ip -n edge addr add 10.9.0.1/16 dev n0 && ip -n edge addr add fd09::1/64 dev n0 "
	     "nodad"
	     " && ip -n edge link set n0 up");
	assert_int_equal(stat("/proc/thread-self/ns/net", &before), 0);
	inside = open_kernel("/run/netns/edge");
	assert_int_equal(stat("/proc/thread-self/ns/net", &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	reconcile(inside, want);
	assert_in_step(inside, want);
	have = read_kernel(outside);
	assert_int_equal(have->n_services, 0);
	assert_false(have->has_link || have->has_sets);
	must("ip netns exec edge ipvsadm -Ln | grep -q 11.0.0.1:80");
	must("ip netns exec edge ipset test vipd-ip 11.0.0.1");
	must("ip -n edge link show vipd0 >/dev/null");
	/* outside works on, while libipset's cache knows the sets of inside */
	reconcile(outside, want);
	assert_in_step(outside, want);
	flush(inside);
	assert_in_step(outside, want);
	flush(outside);

	options.netns_path = "/run/netns/none";
	assert_int_equal(kernel_open(&options, &inside, NULL), -ENOENT);
	options.netns_path = "/etc/passwd";
	assert_int_equal(kernel_open(&options, &outside, NULL), -EINVAL);
	must("ip netns del edge");
	kernel_free(inside);
	kernel_free(outside);
	kernel_state_free(have);
	kernel_state_free(want);
}

/* The parts by themselves, and named services with their counts. */
static void test_slices(void **state)
{
	struct kernel *k = open_kernel(NULL);
	struct kernel_state *want = some_state(), *s = NULL;
	struct service_key keys[] = {key(IPPROTO_TCP, "11.0.0.1", 80),
		key(IPPROTO_TCP, "11.0.0.99", 80), key(IPPROTO_TCP, "fd01:c::1", 443)};

	reconcile(k, want);
	assert_int_equal(kernel_read_services(k, keys, 3, &s), 0);
	assert_int_equal(s->n_services, 2);
	assert_int_equal(s->n_ports + s->n_routes + s->has_link, 0);
	assert_int_equal(s->services[0]->n_destinations, 3);
	assert_int_equal(s->services[1]->n_destinations, 2);
	s = kernel_state_free(s);
	assert_int_equal(kernel_read_services(k, NULL, 0, &s), 0);
	assert_int_equal(s->n_services, 0);
	s = kernel_state_free(s);
	assert_int_equal(kernel_read_parts(k, KERNEL_SERVICES, &s), 0);
	assert_int_equal(s->n_services, 4);
	assert_int_equal(s->services[0]->n_destinations, 0);
	s = kernel_state_free(s);
	assert_int_equal(kernel_read_parts(k, KERNEL_LINK | KERNEL_ROUTES, &s), 0);
	assert_true(s->has_link);
	assert_int_equal(s->n_routes, 3);
	assert_int_equal(s->n_services + s->n_ports, 0);
	s = kernel_state_free(s);
	flush(k);
	kernel_state_free(want);
	kernel_free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_apply_and_adopt, fresh),
		cmocka_unit_test_setup(test_changes, fresh),
		cmocka_unit_test_setup(test_repairs, fresh),
		cmocka_unit_test_setup(test_foreign_untouched, fresh),
		cmocka_unit_test_setup(test_errors_by_index, fresh),
		cmocka_unit_test_setup(test_many_errors, fresh),
		cmocka_unit_test_setup(test_set_errors, fresh),
		cmocka_unit_test_setup(test_link_of_another_kind, fresh),
		cmocka_unit_test_setup(test_host_address, fresh),
		cmocka_unit_test_setup(test_netns, fresh),
		cmocka_unit_test_setup(test_slices, fresh),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
