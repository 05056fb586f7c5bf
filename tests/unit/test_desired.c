/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/desired.h"

static struct ip_addr addr(const char *text)
{
	struct ip_addr a = {0};

	assert_int_equal(ip_addr_parse(text, &a), 0);
	return a;
}

static struct vip_backend backend(const char *address, uint16_t port, const char *agent)
{
	return (struct vip_backend){
		.address = addr(address),
		.port = port,
		.local_address = addr(address),
		.local_port = port,
		.weight = 1,
		.agent = addr(agent),
		.task = "t",
		.framework = "marathon",
	};
}

static struct vip vip(const char *address, uint16_t port, struct vip_backend *backends, size_t n)
{
	return (struct vip){
		.key = {.address = addr(address), .port = port, .protocol = IPPROTO_TCP},
		.backends = backends,
		.n_backends = n,
	};
}

static struct desired *one(struct vip v, const char *own)
{
	struct ip_addr a = addr(own);
	struct node node = {.address = a, .n_own = 1, .own = &a};
	struct vip_table table = {.n_vips = 1, .vips = &v};
	struct kernel_state *have = kernel_state_new();
	struct drains *drains = drains_new();
	struct desired_input in = {
		.table = &table, .node = &node, .have = have, .drains = drains, .drain_timeout = 1};
	struct desired *d = desired_new(&in);

	drains_free(drains);
	kernel_state_free(have);
	return d;
}

static void test_programs_vip(void **state)
{
	struct vip_backend b[] = {
		backend("10.0.0.5", 31000, "10.0.0.5"), backend("10.0.0.6", 31001, "10.0.0.6")};
	struct desired *d;
	struct service *svc;

	b[1].weight = 0;
	d = one(vip("1.2.3.4", 5000, b, 2), "10.0.0.1");
	assert_int_equal(d->n_refused, 0);
	assert_int_equal(d->want->n_services, 1);
	svc = d->want->services[0];
	assert_string_equal(svc->scheduler, "wlc");
	assert_int_equal(svc->n_destinations, 2);
	assert_int_equal(svc->destinations[0].weight, 1);
	assert_int_equal(svc->destinations[1].weight, 0);
	assert_int_equal(d->want->n_routes, 1);
	assert_int_equal(
		ip_addr_cmp(&d->want->routes[0].source, &(struct ip_addr){AF_INET, {10, 0, 0, 1}}),
		0);
	assert_int_equal(d->want->n_ports, 1);
	assert_int_equal(d->want->n_addresses, 1);
	desired_free(d);
}

/* On its own node a task with a port mapping is reached past it. */
static void test_local_form_only_on_own_node(void **state)
{
	struct vip_backend b = backend("10.0.0.5", 31000, "10.0.0.5");
	struct desired *d;

	b.local_address = addr("172.17.0.2");
	b.local_port = 80;
	d = one(vip("1.2.3.4", 5000, &b, 1), "10.0.0.5");
	assert_int_equal(d->want->services[0]->destinations[0].port, 80);
	assert_int_equal(d->want->services[0]->destinations[0].address.bytes[0], 172);
	desired_free(d);
	d = one(vip("1.2.3.4", 5000, &b, 1), "10.0.0.6");
	assert_int_equal(d->want->services[0]->destinations[0].port, 31000);
	desired_free(d);
}

/* Two tasks at one place after the local form is taken: the healthier speaks for it. */
static void test_twins_take_greater_weight(void **state)
{
	for (int swapped = 0; swapped < 2; swapped++) {
		struct vip_backend b[] = {backend("10.0.0.5", 31000, "10.0.0.5"),
			backend("10.0.0.5", 31001, "10.0.0.5")};
		struct desired *d;

		for (int i = 0; i < 2; i++) {
			b[i].local_address = addr("172.17.0.2");
			b[i].local_port = 80;
		}
		b[swapped].weight = 0;
		d = one(vip("1.2.3.4", 5000, b, 2), "10.0.0.5");
		assert_int_equal(d->want->services[0]->n_destinations, 1);
		assert_int_equal(d->want->services[0]->destinations[0].weight, 1);
		desired_free(d);
	}
}

static void assert_refused(const char *address, const char *own, int reason)
{
	struct vip_backend b = backend("10.0.0.5", 31000, "10.0.0.5");
	struct desired *d = one(vip(address, 80, &b, 1), own);

	if (reason < 0) {
		assert_int_equal(d->n_refused, 0);
	} else {
		assert_int_equal(d->n_refused, 1);
		assert_int_equal(d->refused[0].reason, reason);
		assert_int_equal(d->want->n_services + d->want->n_routes + d->want->n_ports, 0);
	}
	desired_free(d);
}

static void test_refusals(void **state)
{
	assert_refused("0.0.0.0", "10.0.0.1", REFUSAL_UNUSABLE);
	assert_refused("127.0.0.1", "10.0.0.1", REFUSAL_UNUSABLE);
	assert_refused("169.254.1.1", "10.0.0.1", REFUSAL_UNUSABLE);
	assert_refused("224.0.0.1", "10.0.0.1", REFUSAL_UNUSABLE);
	assert_refused("255.255.255.255", "10.0.0.1", REFUSAL_UNUSABLE);
	assert_refused("::", "10.0.0.1", REFUSAL_UNUSABLE);
	assert_refused("::1", "10.0.0.1", REFUSAL_UNUSABLE);
	assert_refused("fe80::1", "10.0.0.1", REFUSAL_UNUSABLE);
	assert_refused("ff02::1", "10.0.0.1", REFUSAL_UNUSABLE);
	assert_refused("::ffff:1.2.3.4", "10.0.0.1", REFUSAL_UNUSABLE);
	assert_refused("10.0.0.1", "10.0.0.1", REFUSAL_OWN_ADDRESS); /* this node */
	assert_refused("10.0.0.5", "10.0.0.1", REFUSAL_OWN_ADDRESS); /* an agent */
	assert_refused("1.2.3.4", "10.0.0.1", -1);
	assert_refused("223.255.255.254", "10.0.0.1", -1);
	assert_refused("fd01:c::1", "10.0.0.1", -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_programs_vip),
		cmocka_unit_test(test_local_form_only_on_own_node),
		cmocka_unit_test(test_twins_take_greater_weight),
		cmocka_unit_test(test_refusals),
	};

	return cmocka_run_group_tests_name("desired", tests, NULL, NULL);
}
