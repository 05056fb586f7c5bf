/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "agent/desired/desired.h"
#include "ipvs/plan.h"

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
		.framework_id = "f1",
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

/* What one VIP becomes; `more` adds to the input (NULL: nothing). */
static struct desired *one_with(struct vip v, const char *own, const struct desired_input *more)
{
	struct ip_addr a = addr(own), agent = addr("10.0.0.5");
	struct prefix subnet = {addr("172.16.0.0"), 12};
	struct node node = {
		.address = a, .n_own = 1, .own = &a, .n_subnets = 1, .subnets = &subnet};
	struct vip_table table = {.n_vips = 1, .vips = &v, .n_agents = 1, .agents = &agent};
	struct desired_input in = more ? *more : (struct desired_input){0};
	struct kernel_state *have = kernel_state_new();
	struct desired *d;

	in.table = &table;
	in.node = &node;
	in.have = in.have ? in.have : have;
	in.drains = drains_new();
	in.ramps = ramps_new();
	in.drain_timeout = 30 * NSEC_PER_SEC;
	d = desired_new(&in);
	drains_free(in.drains);
	ramps_free(in.ramps);
	kernel_state_free(have);
	return d;
}

static struct desired *one(struct vip v, const char *own)
{
	return one_with(v, own, NULL);
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
	assert_refused("172.17.0.9", "10.0.0.1", REFUSAL_SUBNET);
	assert_refused("172.32.0.9", "10.0.0.1", -1); /* just outside */
	assert_refused("1.2.3.4", "10.0.0.1", -1);
	assert_refused("223.255.255.254", "10.0.0.1", -1);
	assert_refused("fd01:c::1", "10.0.0.1", -1);
}

static void test_masters_and_allowed(void **state)
{
	struct vip_backend b = backend("10.0.0.5", 31000, "10.0.0.5");
	struct ip_addr master = addr("10.0.0.9");
	struct prefix allowed = {addr("172.17.0.0"), 16};
	struct desired_input more = {
		.masters = &master, .n_masters = 1, .allowed = &allowed, .n_allowed = 1};
	struct desired *d = one_with(vip("10.0.0.9", 80, &b, 1), "10.0.0.1", &more);

	assert_int_equal(d->n_refused, 1);
	assert_int_equal(d->refused[0].reason, REFUSAL_OWN_ADDRESS);
	desired_free(d);
	d = one_with(vip("172.17.0.9", 80, &b, 1), "10.0.0.1", &more);
	assert_int_equal(d->n_refused, 0);
	desired_free(d);
	d = one_with(vip("172.18.0.9", 80, &b, 1), "10.0.0.1", &more);
	assert_int_equal(d->n_refused, 1);
	desired_free(d);
}

/* An IP VIP belongs to the framework with the smallest id; a named one to all of its name. */
static void test_two_frameworks(void **state)
{
	struct vip_backend b[] = {
		backend("10.0.0.6", 31000, "10.0.0.6"), backend("10.0.0.7", 31001, "10.0.0.7")};
	struct vip v = vip("1.2.3.4", 80, b, 2);
	struct desired *d;

	b[0].framework_id = "f2";
	d = one(v, "10.0.0.1");
	assert_int_equal(d->want->services[0]->n_destinations, 1);
	assert_int_equal(d->want->services[0]->destinations[0].port, 31001);
	assert_int_equal(d->n_refused, 1);
	assert_int_equal(d->refused[0].reason, REFUSAL_OTHER_FRAMEWORK);
	assert_string_equal(d->refused[0].framework_id, "f2");
	desired_free(d);
	v.name = "redis.marathon.l4lb.thisdcos.directory";
	d = one(v, "10.0.0.1");
	assert_int_equal(d->want->services[0]->n_destinations, 2);
	assert_int_equal(d->n_refused, 0);
	desired_free(d);
}

static struct desired *with_health(
	uint8_t protocol, enum health first, enum health second, const struct kernel_state *have)
{
	struct vip_backend b[] = {
		backend("10.0.0.6", 31000, "10.0.0.6"), backend("10.0.0.7", 31001, "10.0.0.7")};
	struct node_health healths[] = {
		{.agent = b[0].agent, .health = first}, {.agent = b[1].agent, .health = second}};
	struct desired_input more = {.healths = healths, .n_healths = 2, .have = have};
	struct vip v = vip("1.2.3.4", 80, b, 2);

	v.key.protocol = protocol;
	return one_with(v, "10.0.0.1", &more);
}

static void test_dead_nodes(void **state)
{
	struct desired *before = with_health(IPPROTO_TCP, HEALTH_UP, HEALTH_UP, NULL);
	struct desired *d = with_health(IPPROTO_TCP, HEALTH_DOWN, HEALTH_UP, before->want);

	/* down: no new connections, what it has goes on */
	assert_int_equal(d->want->services[0]->n_destinations, 2);
	assert_int_equal(d->want->services[0]->destinations[0].weight, 0);
	assert_int_equal(d->want->services[0]->destinations[1].weight, 1);
	desired_free(d);

	/* confirmed: gone, and not draining */
	d = with_health(IPPROTO_TCP, HEALTH_CONFIRMED, HEALTH_UP, before->want);
	assert_int_equal(d->want->services[0]->n_destinations, 1);
	desired_free(d);

	/* all of them down: they stay */
	d = with_health(IPPROTO_TCP, HEALTH_CONFIRMED, HEALTH_DOWN, before->want);
	assert_int_equal(d->want->services[0]->n_destinations, 2);
	assert_int_equal(d->want->services[0]->destinations[0].weight, 1);
	assert_int_equal(d->want->services[0]->destinations[1].weight, 1);
	assert_int_equal(d->n_all_down, 1);
	desired_free(d);

	/* UDP: removed at once, since weight 0 moves no flow */
	d = with_health(IPPROTO_UDP, HEALTH_DOWN, HEALTH_UP, NULL);
	assert_int_equal(d->want->services[0]->n_destinations, 1);
	desired_free(d);
	desired_free(before);
}

/* --- sharing with the state before ------------------------------------------ */

#define N_VIPS 30
#define N_BACKENDS 6

/* A table that changes: VIPs come and go, backends too, two frameworks claim the same, some
 * addresses are refused. */
struct moving {
	struct vip_backend backends[N_VIPS][N_BACKENDS];
	size_t n_backends[N_VIPS];
	bool absent[N_VIPS];
	struct vip vips[N_VIPS];
	struct ip_addr agents[2];
	struct vip_table table;
};

static unsigned int pick(unsigned int n)
{
	return (unsigned int)random() % n;
}

static void change_vip(struct moving *m, unsigned int i)
{
	m->absent[i] = pick(8) == 0;
	m->n_backends[i] = 1 + pick(N_BACKENDS);
	for (unsigned int k = 0; k < m->n_backends[i]; k++) {
		m->backends[i][k] = backend("10.0.0.5", (uint16_t)(31000 + k), "10.0.0.5");
		m->backends[i][k].agent.bytes[3] = (uint8_t)(5 + pick(4));
		m->backends[i][k].weight = pick(4) > 0;
		m->backends[i][k].framework_id = pick(20) ? "f1" : "f2";
	}
}

static void make_table(struct moving *m)
{
	struct vip_table *t = &m->table;

	m->agents[0] = addr("10.0.0.5");
	m->agents[1] = addr("10.0.0.6");
	*t = (struct vip_table){.vips = m->vips, .n_agents = 2, .agents = m->agents};
	for (unsigned int i = 0; i < N_VIPS; i++)
		if (!m->absent[i])
			t->vips[t->n_vips++] = vip(i < 3 ? "10.0.0.6" : "99.2.0.0",
				(uint16_t)(80 + i), m->backends[i], m->n_backends[i]);
}

static void assert_same_state(const struct kernel_state *a, const struct kernel_state *b)
{
	struct plan p = {0};

	assert_int_equal(plan_make(&p, a, b, NULL), 0);
	if (p.n_steps > 0) {
		char text[STEP_STRLEN];

		fail_msg("%zu differences: %s", p.n_steps, step_format(&p.steps[0], text));
	}
	plan_done(&p);
}

/* Two ways to the same desired state, side by side: built on the one before, and from nothing. */
struct two_ways {
	struct moving tables[2];
	struct node_health health;
	struct node node;
	struct drains *drains[2];
	struct ramps *ramps[2];
	struct desired *before;
	struct kernel_state *have;
	size_t n_shared;
};

static void change(struct two_ways *w, struct moving *m)
{
	for (unsigned int n = pick(4); n > 0; n--)
		change_vip(m, pick(N_VIPS));
	make_table(m);
	if (pick(6) == 0)
		w->health.health = (enum health)pick(3);
	if (pick(10) == 0)
		w->node.own[0].bytes[3] = (uint8_t)(5 + pick(3));
}

static void one_round(struct two_ways *w, int round)
{
	struct moving *old = &w->tables[round % 2], *new = &w->tables[(round + 1) % 2];
	struct vip_table_diff diff;
	struct desired_input in = {.node = &w->node,
		.healths = &w->health,
		.n_healths = 1,
		.have = w->have,
		.now = (nsec_t)round * NSEC_PER_SEC,
		.drain_timeout = 4 * NSEC_PER_SEC,
		.slow_start = 5 * NSEC_PER_SEC};
	struct desired *d[2];

	*new = *old;
	change(w, new);
	make_table(old);
	vip_table_diff(round ? &old->table : NULL, &new->table, &diff);
	in.table = &new->table;
	for (int i = 0; i < 2; i++) {
		in.drains = w->drains[i];
		in.ramps = w->ramps[i];
		in.previous = i == 0 && round > 0 ? w->before : NULL;
		in.changed = diff.keys;
		in.n_changed = diff.n_added + diff.n_changed;
		d[i] = desired_new(&in);
	}
	for (size_t i = 0; i < d[0]->want->n_services; i++)
		w->n_shared += d[0]->want->services[i]->n_shares > 0;
	assert_same_state(d[0]->want, d[1]->want);
	assert_same_state(d[1]->want, d[0]->want);
	assert_int_equal(d[0]->n_refused, d[1]->n_refused);
	assert_int_equal(d[0]->n_all_down, d[1]->n_all_down);
	assert_int_equal(d[0]->drains_changed, d[1]->drains_changed);
	assert_int_equal(drains_count(w->drains[0]), drains_count(w->drains[1]));
	assert_int_equal(ramps_count(w->ramps[0]), ramps_count(w->ramps[1]));
	vip_table_diff_done(&diff);
	kernel_state_free(w->have);
	w->have = d[0]->want;
	d[0]->want = NULL;
	desired_free(w->before);
	w->before = d[0];
	desired_free(d[1]);
}

static void test_sharing(void **state)
{
	size_t n_shared = 0;

	for (unsigned int seed = 1; seed <= 20; seed++) {
		struct ip_addr own = addr("10.0.0.5");
		struct two_ways w = {.node = {.address = own, .n_own = 1, .own = &own},
			.health = {.agent = addr("10.0.0.7"), .health = HEALTH_UP},
			.drains = {drains_new(), drains_new()},
			.ramps = {ramps_new(), ramps_new()},
			.have = kernel_state_new()};

		print_message("seed %u\n", seed);
		srandom(seed);
		for (unsigned int i = 0; i < N_VIPS; i++)
			change_vip(&w.tables[0], i);
		for (int round = 0; round < 40; round++)
			one_round(&w, round);
		n_shared += w.n_shared;
		kernel_state_free(w.have);
		desired_free(w.before);
		for (int i = 0; i < 2; i++) {
			drains_free(w.drains[i]);
			ramps_free(w.ramps[i]);
		}
	}
	assert_true(n_shared > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_programs_vip),
		cmocka_unit_test(test_local_form_only_on_own_node),
		cmocka_unit_test(test_twins_take_greater_weight),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_masters_and_allowed),
		cmocka_unit_test(test_two_frameworks),
		cmocka_unit_test(test_dead_nodes),
		cmocka_unit_test(test_sharing),
	};

	return cmocka_run_group_tests_name("desired", tests, NULL, NULL);
}
