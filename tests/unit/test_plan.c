/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The plan, carried out against a model of a kernel: random pairs of states, stops at every
 * step, failures, lost answers, inconsistent dumps; and each field by itself.
 *
 * Before every single command the invariants of plan.h are checked (watch_invariants()).
 */
#include "ipvs/model_kernel.h"

#include <errno.h>
#include <limits.h>
#include <linux/ip_vs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define N_ERRORS 512

static unsigned int seed_base = 1;

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

static struct destination dest(const char *address, uint16_t port, uint32_t weight)
{
	return (struct destination){.address = addr(address), .port = port, .weight = weight};
}

static unsigned int pick(unsigned int n)
{
	return (unsigned int)random() % n;
}

static struct service_key random_key(void)
{
	struct service_key k = {
		.port = (uint16_t)(80 + pick(3)), .protocol = pick(3) ? IPPROTO_TCP : IPPROTO_UDP};

	k.address = pick(3) ? addr("11.0.0.0") : addr("fd01::");
	k.address.bytes[k.address.family == AF_INET ? 3 : 15] = (uint8_t)pick(4);
	return k;
}

static void random_destinations(struct service *svc)
{
	for (unsigned int n = pick(6); n > 0; n--) {
		struct destination d = dest("10.0.0.0", 31000, pick(2));

		if (svc->key.address.family == AF_INET6)
			d.address = addr("fd02::");
		d.address.bytes[svc->key.address.family == AF_INET ? 3 : 15] = (uint8_t)pick(8);
		assert_int_equal(service_set_destination(svc, &d), 0);
	}
}

static struct kernel_state *random_want(void)
{
	struct kernel_state *s = kernel_state_new();
	struct ip_addr source = addr("10.9.0.1");

	source.bytes[3] = (uint8_t)(1 + pick(2));
	for (unsigned int n = pick(12); n > 0; n--) {
		struct service_key k = random_key();

		random_destinations(kernel_state_service(s, &k));
	}
	assert_int_equal(kernel_state_complete(s, pick(2) ? &source : NULL, NULL), 0);
	return s;
}

/* Services of other users of IPVS: some at keys that are wanted as well. */
static void add_foreign(struct kernel_state *s)
{
	for (unsigned int n = pick(4); n > 0; n--) {
		struct service_key k = random_key();
		struct service *svc;

		if (kernel_state_find(s, &k) || kernel_state_has_port(s, &k))
			continue;
		svc = kernel_state_service(s, &k);
		strcpy(svc->scheduler, "rr");
		svc->timeout = 0;
		random_destinations(svc);
	}
}

static bool is_foreign(const struct service *svc)
{
	return !strcmp(svc->scheduler, "rr");
}

static void copy_service(struct kernel_state *s, const struct service *svc)
{
	struct service *to = kernel_state_service(s, &svc->key);

	memcpy(to->scheduler, svc->scheduler, sizeof(to->scheduler));
	to->flags = svc->flags;
	to->timeout = svc->timeout;
	to->netmask = svc->netmask;
	for (size_t i = 0; i < svc->n_destinations; i++)
		assert_int_equal(service_set_destination(to, &svc->destinations[i]), 0);
}

static void copy_into(struct kernel_state *s, const struct kernel_state *from)
{
	s->has_link = from->has_link;
	s->has_sets = from->has_sets;
	for (size_t i = 0; i < from->n_services; i++)
		copy_service(s, from->services[i]);
	for (size_t i = 0; i < from->n_routes; i++)
		kernel_state_set_route(s, &from->routes[i]);
	for (size_t i = 0; i < from->n_ports; i++)
		kernel_state_set_port(s, &from->ports[i]);
	for (size_t i = 0; i < from->n_addresses; i++)
		kernel_state_set_address(s, &from->addresses[i]);
}

static struct kernel_state *copy_state(const struct kernel_state *from)
{
	struct kernel_state *s = kernel_state_new();

	copy_into(s, from);
	return s;
}

/* Field by field: the padding between them is anything. */
static void assert_same_destination(const struct destination *a, const struct destination *b)
{
	assert_int_equal(destination_cmp(a, b), 0);
	assert_int_equal(a->weight, b->weight);
	assert_int_equal(a->upper_threshold, b->upper_threshold);
	assert_int_equal(a->lower_threshold, b->lower_threshold);
	assert_int_equal(a->forward, b->forward);
	assert_int_equal(a->n_active, b->n_active);
	assert_int_equal(a->n_inactive, b->n_inactive);
}

static void assert_same_service(const struct service *a, const struct service *b)
{
	assert_string_equal(a->scheduler, b->scheduler);
	assert_int_equal(a->flags, b->flags);
	assert_int_equal(a->timeout, b->timeout);
	assert_int_equal(a->netmask, b->netmask);
	assert_int_equal(a->n_destinations, b->n_destinations);
	for (size_t i = 0; i < a->n_destinations; i++)
		assert_same_destination(&a->destinations[i], &b->destinations[i]);
}

/* What the kernel must hold in the end: the foreign services, and of the wanted state
 * whatever does not collide with them. Written without regard to how plan.c does it. */
static struct kernel_state *expected_state(
	const struct kernel_state *foreign, const struct kernel_state *want)
{
	struct kernel_state *s = kernel_state_new();

	s->has_link = s->has_sets = true;
	for (size_t i = 0; i < want->n_services; i++) {
		const struct service *svc = want->services[i];

		if (kernel_state_find(foreign, &svc->key))
			continue;
		copy_service(s, svc);
		kernel_state_set_port(s, &svc->key);
		kernel_state_set_address(s, &svc->key.address);
		kernel_state_set_route(s, kernel_state_find_route(want, &svc->key.address));
	}
	for (size_t i = 0; i < foreign->n_services; i++)
		copy_service(s, foreign->services[i]);
	return s;
}

static void assert_same_state(const struct kernel_state *a, const struct kernel_state *b)
{
	assert_int_equal(a->has_link, b->has_link);
	assert_int_equal(a->has_sets, b->has_sets);
	assert_int_equal(a->n_services, b->n_services);
	for (size_t i = 0; i < a->n_services; i++) {
		assert_int_equal(service_key_cmp(&a->services[i]->key, &b->services[i]->key), 0);
		assert_same_service(a->services[i], b->services[i]);
	}
	assert_int_equal(a->n_routes, b->n_routes);
	for (size_t i = 0; i < a->n_routes; i++)
		assert_memory_equal(&a->routes[i], &b->routes[i], sizeof(a->routes[i]));
	assert_int_equal(a->n_ports, b->n_ports);
	for (size_t i = 0; i < a->n_ports; i++)
		assert_int_equal(service_key_cmp(&a->ports[i], &b->ports[i]), 0);
	assert_int_equal(a->n_addresses, b->n_addresses);
	for (size_t i = 0; i < a->n_addresses; i++)
		assert_int_equal(ip_addr_cmp(&a->addresses[i], &b->addresses[i]), 0);
}

/* What holds before and after every command of a change from `before` to `want`. */
struct invariants {
	const struct kernel_state *before, *want;
};

static void assert_stays(
	const struct kernel_state *s, const struct service *before, const struct service *want)
{
	const struct service *now = kernel_state_find(s, &want->key);

	assert_non_null(now);
	for (size_t i = 0; i < want->n_destinations; i++) {
		const struct destination *d = &want->destinations[i];

		if (service_find_destination(before, &d->address, d->port))
			assert_non_null(service_find_destination(now, &d->address, d->port));
	}
}

static void watch_invariants(void *userdata, const struct kernel_state *s, const struct step *next)
{
	const struct invariants *v = userdata;

	/* Nothing that vipd would not know as its own. */
	for (size_t i = 0; i < s->n_services; i++)
		assert_true(is_foreign(s->services[i]) || kernel_state_owns(s, s->services[i]));
	/* A port in the sets, of an address that is local, has its service. */
	for (size_t i = 0; i < s->n_ports; i++)
		if (kernel_state_find_route(s, &s->ports[i].address))
			assert_non_null(kernel_state_find(s, &s->ports[i]));
	/* An address that is local is in the reject rule's set. */
	for (size_t i = 0; i < s->n_routes; i++)
		assert_true(kernel_state_has_address(s, &s->routes[i].address));
	/* What stays is never absent. */
	for (size_t i = 0; i < v->want->n_services; i++) {
		const struct service *before =
			kernel_state_find(v->before, &v->want->services[i]->key);

		if (before && !is_foreign(before))
			assert_stays(s, before, v->want->services[i]);
	}
}

/* One round: read, plan, apply. True if the plan was empty. */
static bool reconcile(struct kernel *k, const struct kernel_state *want, uint64_t seed)
{
	struct plan_options options = {.seed = seed};
	struct step_error errors[N_ERRORS];
	struct kernel_state *have;
	struct plan p = {};
	size_t n_errors;
	bool empty;

	assert_int_equal(kernel_read(k, &have), 0);
	assert_int_equal(plan_make(&p, have, want, &options), 0);
	empty = !p.n_steps;
	kernel_apply(k, p.steps, p.n_steps, errors, N_ERRORS, &n_errors);
	plan_done(&p);
	kernel_state_free(have);
	return empty;
}

/* Reconciles until there is nothing to do; fails after so many rounds. */
static void converge(struct kernel *k, const struct kernel_state *want, int rounds)
{
	while (!reconcile(k, want, (uint64_t)random()))
		assert_true(rounds-- > 0);
}

static struct kernel *new_model(unsigned int seed, unsigned int fail, unsigned int lose)
{
	const struct model_kernel_options options = {
		.seed = seed, .fail_one_in = fail, .lose_one_in = lose};

	return model_kernel_new(&options);
}

static struct kernel_state *foreign_of(const struct kernel_state *s)
{
	struct kernel_state *f = kernel_state_new();

	for (size_t i = 0; i < s->n_services; i++)
		if (is_foreign(s->services[i]))
			copy_service(f, s->services[i]);
	return f;
}

/* A sequence of random wanted states, one after the other in the same kernel. */
static void run_sequence(unsigned int seed, unsigned int fail, unsigned int lose, int rounds)
{
	struct kernel *k = new_model(seed, fail, lose);
	struct kernel_state *foreign;

	srandom(seed);
	add_foreign(model_kernel_state(k));
	foreign = copy_state(model_kernel_state(k));
	for (int i = 0; i < 6; i++) {
		struct kernel_state *before = copy_state(model_kernel_state(k));
		struct kernel_state *want = random_want();
		struct kernel_state *expected = expected_state(foreign, want);
		struct invariants v = {before, want};
		size_t n;

		model_kernel_watch(k, watch_invariants, &v);
		converge(k, want, rounds);
		assert_same_state(model_kernel_state(k), expected);
		n = model_kernel_counters(k)->n_commands;
		assert_true(reconcile(k, want, 1));
		assert_int_equal(model_kernel_counters(k)->n_commands, n); /* zero writes */
		kernel_state_free(expected);
		kernel_state_free(want);
		kernel_state_free(before);
	}
	kernel_state_free(foreign);
	if (!lose)
		assert_int_equal(model_kernel_counters(k)->n_redundant, 0);
	kernel_free(k);
}

static void test_random_pairs(void **state)
{
	print_message("# TEST_SEED=%u\n", seed_base);
	for (unsigned int seed = seed_base; seed < seed_base + 400; seed++)
		run_sequence(seed, UINT_MAX, 0, 1); /* no failure: one round suffices */
}

static void test_failures(void **state)
{
	print_message("# TEST_SEED=%u\n", seed_base);
	for (unsigned int seed = seed_base; seed < seed_base + 400; seed++)
		run_sequence(seed, 0, 5, 40);
}

/* Dumps that skip and repeat entries never make anything be deleted that stays. */
static void test_inconsistent_dumps(void **state)
{
	print_message("# TEST_SEED=%u\n", seed_base);
	for (unsigned int seed = seed_base; seed < seed_base + 200; seed++) {
		struct model_kernel_options options = {
			.seed = seed, .fail_one_in = UINT_MAX, .skip_one_in = 10};
		struct kernel *k = model_kernel_new(&options);
		struct kernel_state *want, *expected, *none = kernel_state_new();
		struct invariants v;

		srandom(seed);
		want = random_want();
		expected = expected_state(none, want);
		v = (struct invariants){model_kernel_state(k), want};
		for (int i = 0; i < 10; i++) {
			reconcile(k, want, seed);
			if (i == 1) {
				v.before = expected;
				assert_same_state(model_kernel_state(k), expected);
				model_kernel_watch(k, watch_invariants, &v);
			}
		}
		assert_same_state(model_kernel_state(k), expected);
		kernel_state_free(none);
		kernel_state_free(want);
		kernel_state_free(expected);
		kernel_free(k);
	}
}

static size_t plan_size(const struct kernel_state *have, const struct kernel_state *want)
{
	struct plan p = {};
	size_t n;

	assert_int_equal(plan_make(&p, have, want, NULL), 0);
	n = p.n_steps;
	plan_done(&p);
	return n;
}

/* Carries out the first n steps from a copy of `have`, then a whole new plan. */
static void stop_and_replan(const struct kernel_state *have, const struct kernel_state *want,
	const struct kernel_state *then, size_t n)
{
	struct kernel *k = new_model(1, UINT_MAX, 0);
	struct kernel_state *foreign = foreign_of(have), *expected = expected_state(foreign, then);
	struct step_error error;
	struct plan p = {};
	size_t n_errors;

	copy_into(model_kernel_state(k), have);
	assert_int_equal(plan_make(&p, have, want, NULL), 0);
	assert_int_equal(kernel_apply(k, p.steps, n, &error, 1, &n_errors), 0);
	assert_int_equal(n_errors, 0);
	converge(k, then, 1);
	assert_same_state(model_kernel_state(k), expected);
	plan_done(&p);
	kernel_state_free(expected);
	kernel_state_free(foreign);
	kernel_free(k);
}

/* A crash at any step leaves nothing behind, whatever is wanted after the restart. */
static void test_stop_anywhere(void **state)
{
	print_message("# TEST_SEED=%u\n", seed_base);
	for (unsigned int seed = seed_base; seed < seed_base + 60; seed++) {
		struct kernel *k = new_model(seed, UINT_MAX, 0);
		struct kernel_state *a, *b, *c, *nothing = kernel_state_new();

		srandom(seed);
		a = random_want();
		b = random_want();
		c = random_want();
		converge(k, a, 1);
		add_foreign(model_kernel_state(k));
		for (size_t n = plan_size(model_kernel_state(k), b); n > 0; n--) {
			stop_and_replan(model_kernel_state(k), b, b, n);
			stop_and_replan(model_kernel_state(k), b, c, n);
			nothing->has_link = nothing->has_sets = true;
			stop_and_replan(model_kernel_state(k), b, nothing, n);
		}
		kernel_state_free(a);
		kernel_state_free(b);
		kernel_state_free(c);
		kernel_state_free(nothing);
		kernel_free(k);
	}
}

/* Whatever is broken by hand is mended, and nothing else is touched. */
static void damage(struct kernel_state *s)
{
	struct service *svc = s->n_services ? s->services[pick((unsigned int)s->n_services)] : NULL;

	switch (pick(9)) {
	case 0:
		s->has_link = false;
		s->n_routes = 0;
		break;
	case 1:
		s->has_sets = false;
		s->n_ports = s->n_addresses = 0;
		break;
	case 2:
		s->n_ports = 0;
		break;
	case 3:
		s->n_routes /= 2;
		break;
	case 4:
		s->n_addresses = 0;
		break;
	case 5:
		if (svc && !is_foreign(svc))
			kernel_state_remove_service(s, &svc->key);
		break;
	case 6:
		if (svc && !is_foreign(svc))
			svc->n_destinations /= 2;
		break;
	case 7:
		if (svc && !is_foreign(svc))
			strcpy(svc->scheduler, "sh");
		break;
	case 8:
		for (size_t i = 0; svc && !is_foreign(svc) && i < svc->n_destinations; i++)
			svc->destinations[i].weight += 7;
		break;
	}
}

static void test_damage(void **state)
{
	print_message("# TEST_SEED=%u\n", seed_base);
	for (unsigned int seed = seed_base; seed < seed_base + 300; seed++) {
		struct kernel *k = new_model(seed, UINT_MAX, 0);
		struct kernel_state *foreign, *want, *expected;

		srandom(seed);
		add_foreign(model_kernel_state(k));
		foreign = copy_state(model_kernel_state(k));
		want = random_want();
		expected = expected_state(foreign, want);
		converge(k, want, 1);
		for (int i = 0; i < 5; i++) {
			damage(model_kernel_state(k));
			converge(k, want, 1);
			assert_same_state(model_kernel_state(k), expected);
		}
		kernel_state_free(foreign);
		kernel_state_free(want);
		kernel_state_free(expected);
		kernel_free(k);
	}
}

/* One service with two destinations: the state that the tests of single fields change. */
static struct kernel_state *small_state(void)
{
	struct kernel_state *s = kernel_state_new();
	struct ip_addr source = addr("10.9.0.1");
	struct service_key k = key(IPPROTO_TCP, "11.0.0.1", 80);
	struct destination a = dest("10.0.0.1", 31000, 1), b = dest("10.0.0.2", 31000, 1);
	struct service *svc = kernel_state_service(s, &k);

	service_set_destination(svc, &a);
	service_set_destination(svc, &b);
	assert_int_equal(kernel_state_complete(s, &source, NULL), 0);
	return s;
}

static void set_scheduler(struct kernel_state *s)
{
	strcpy(s->services[0]->scheduler, "wrr");
}
static void set_persistent(struct kernel_state *s)
{
	s->services[0]->flags = IP_VS_SVC_F_PERSISTENT;
}
static void set_timeout(struct kernel_state *s)
{
	s->services[0]->timeout = 300;
}
static void set_netmask(struct kernel_state *s)
{
	s->services[0]->netmask = 0xffffff;
}
static void set_weight(struct kernel_state *s)
{
	s->services[0]->destinations[1].weight = 0;
}
static void set_forward(struct kernel_state *s)
{
	s->services[0]->destinations[1].forward = IP_VS_CONN_F_DROUTE;
}
static void set_upper(struct kernel_state *s)
{
	s->services[0]->destinations[1].upper_threshold = 5;
}
static void set_lower(struct kernel_state *s)
{
	s->services[0]->destinations[1].lower_threshold = 5;
}
static void set_source(struct kernel_state *s)
{
	s->routes[0].source = addr("10.9.0.2");
}
static void no_source(struct kernel_state *s)
{
	s->routes[0].source = (struct ip_addr){};
}
static void no_route(struct kernel_state *s)
{
	s->n_routes = 0;
}
static void no_port(struct kernel_state *s)
{
	s->n_ports = 0;
}
static void no_address(struct kernel_state *s)
{
	s->n_addresses = 0;
}
static void no_destination(struct kernel_state *s)
{
	s->services[0]->n_destinations = 1;
}
static void more_destinations(struct kernel_state *s)
{
	struct destination d = dest("10.0.0.9", 31000, 1);

	service_set_destination(s->services[0], &d);
}
static void more_routes(struct kernel_state *s)
{
	struct vip_route r = {.address = addr("11.0.0.9")};

	kernel_state_set_route(s, &r);
}
static void more_ports(struct kernel_state *s)
{
	struct service_key k = key(IPPROTO_TCP, "11.0.0.1", 81);

	kernel_state_set_port(s, &k);
}
static void more_addresses(struct kernel_state *s)
{
	struct ip_addr a = addr("11.0.0.9");

	kernel_state_set_address(s, &a);
}
static void no_link(struct kernel_state *s)
{
	s->has_link = false;
}
static void no_sets(struct kernel_state *s)
{
	s->has_sets = false;
}

/* Each field that can differ costs exactly one step of the right kind. */
static void test_each_field(void **state)
{
	static const struct {
		void (*change)(struct kernel_state *s);
		enum step_kind kind;
		const char *text;
	} cases[] = {
		{set_scheduler, STEP_SERVICE_EDIT, "service edit tcp 11.0.0.1:80 wlc"},
		{set_persistent, STEP_SERVICE_EDIT, NULL},
		{set_timeout, STEP_SERVICE_EDIT, NULL},
		{set_netmask, STEP_SERVICE_EDIT, NULL},
		{set_weight, STEP_DESTINATION_EDIT,
			"destination edit tcp 11.0.0.1:80 -> 10.0.0.2:31000 weight 1"},
		{set_forward, STEP_DESTINATION_EDIT, NULL},
		{set_upper, STEP_DESTINATION_EDIT, NULL},
		{set_lower, STEP_DESTINATION_EDIT, NULL},
		{set_source, STEP_ROUTE_ADD, "route add 11.0.0.1 src 10.9.0.1"},
		{no_source, STEP_ROUTE_ADD, NULL},
		{no_route, STEP_ROUTE_ADD, NULL},
		{no_port, STEP_PORT_ADD, "port add tcp 11.0.0.1:80"},
		{no_address, STEP_ADDRESS_ADD, "address add 11.0.0.1"},
		{no_destination, STEP_DESTINATION_ADD,
			"destination add tcp 11.0.0.1:80 -> 10.0.0.2:31000 weight 1"},
		{more_destinations, STEP_DESTINATION_DEL,
			"destination del tcp 11.0.0.1:80 -> 10.0.0.9:31000"},
		{more_routes, STEP_ROUTE_DEL, "route del 11.0.0.9"},
		{more_ports, STEP_PORT_DEL, "port del tcp 11.0.0.1:81"},
		{more_addresses, STEP_ADDRESS_DEL, "address del 11.0.0.9"},
		{no_link, STEP_LINK_ADD, "link add"},
		{no_sets, STEP_SETS_ADD, "sets add"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct kernel_state *have = small_state(), *want = small_state();
		char text[STEP_STRLEN];
		struct plan p = {};

		cases[i].change(have);
		assert_int_equal(plan_make(&p, have, want, NULL), 0);
		assert_int_equal(p.n_steps, 1);
		assert_int_equal(p.steps[0].kind, cases[i].kind);
		if (cases[i].text)
			assert_string_equal(step_format(&p.steps[0], text), cases[i].text);
		assert_int_equal(kernel_state_apply(have, &p.steps[0]), 0);
		plan_done(&p);
		assert_int_equal(plan_size(have, want), 0);
		kernel_state_free(have);
		kernel_state_free(want);
	}
}

/* Connection counts are no difference. */
/* One wanted state serves namespaces with different addresses. */
static void test_sources(void **state)
{
	struct kernel_state *have = small_state(), *want = small_state();
	const struct plan_sources a = {.v4 = addr("10.7.0.1"), .v6 = addr("fd07::1")};
	const struct plan_sources b = {.v4 = addr("10.7.0.2"), .v6 = addr("fd07::1")};
	struct plan_options o = {.want_sources = &a};
	char text[STEP_STRLEN];
	struct plan p = {};

	/* the kernel's route bears another source than this namespace's */
	assert_int_equal(plan_make(&p, have, want, &o), 0);
	assert_int_equal(p.n_steps, 1);
	assert_string_equal(step_format(&p.steps[0], text), "route add 11.0.0.1 src 10.7.0.1");
	assert_int_equal(kernel_state_apply(have, &p.steps[0]), 0);
	plan_done(&p);
	assert_int_equal(plan_make(&p, have, want, &o), 0);
	assert_int_equal(p.n_steps, 0);
	plan_done(&p);

	/* a wanted state stands for what was made of it with the same sources ... */
	o.have_sources = &a;
	assert_int_equal(plan_make(&p, want, want, &o), 0);
	assert_int_equal(p.n_steps, 0);
	plan_done(&p);
	/* ... and with others; the family without a route does not matter */
	o.want_sources = &b;
	assert_int_equal(plan_make(&p, want, want, &o), 0);
	assert_int_equal(p.n_steps, 1);
	assert_string_equal(step_format(&p.steps[0], text), "route add 11.0.0.1 src 10.7.0.2");
	plan_done(&p);
	kernel_state_free(have);
	kernel_state_free(want);
}

/* What was read without destinations says nothing about them, but a service that is missing
 * comes with its own. */
static void test_skip_destinations(void **state)
{
	struct kernel_state *have = small_state(), *want = small_state();
	const struct plan_options o = {.skip_destinations = true};
	struct plan p = {};

	have->services[0]->n_destinations = 0;
	assert_int_equal(plan_make(&p, have, want, &o), 0);
	assert_int_equal(p.n_steps, 0);
	plan_done(&p);
	kernel_state_remove_service(have, &want->services[0]->key);
	assert_int_equal(plan_make(&p, have, want, &o), 0);
	assert_int_equal(p.n_steps, 1 + want->services[0]->n_destinations);
	plan_done(&p);
	kernel_state_free(have);
	kernel_state_free(want);
}

static void test_counts_ignored(void **state)
{
	struct kernel_state *have = small_state(), *want = small_state();

	have->services[0]->destinations[0].n_active = 7;
	have->services[0]->destinations[1].n_inactive = 7;
	assert_int_equal(plan_size(have, want), 0);
	kernel_state_free(have);
	kernel_state_free(want);
}

static void test_conflict(void **state)
{
	struct kernel_state *have = kernel_state_new(), *want = small_state();
	struct service_key other = key(IPPROTO_TCP, "11.0.0.1", 81);
	struct service *foreign = kernel_state_service(have, &want->services[0]->key);
	struct plan_options options = {.trust_marks = true};
	struct plan p = {};

	foreign->timeout = 0;
	have->has_link = have->has_sets = true;
	assert_int_equal(plan_make(&p, have, want, NULL), 0);
	assert_int_equal(p.n_steps, 0); /* no route, no set entry, nothing */
	assert_int_equal(p.n_conflicts, 1);
	assert_int_equal(service_key_cmp(&p.conflicts[0], &foreign->key), 0);
	plan_done(&p);

	/* the address' other port is programmed in full */
	assert_non_null(kernel_state_service(want, &other));
	assert_int_equal(kernel_state_complete(want, NULL, NULL), 0);
	assert_int_equal(plan_make(&p, have, want, NULL), 0);
	assert_int_equal(p.n_conflicts, 1);
	assert_int_equal(p.n_steps, 4);
	assert_int_equal(p.steps[0].kind, STEP_PORT_ADD);
	assert_int_equal(p.steps[0].key.port, 81);
	assert_int_equal(p.steps[1].kind, STEP_SERVICE_ADD);
	assert_int_equal(p.steps[2].kind, STEP_ADDRESS_ADD);
	assert_int_equal(p.steps[3].kind, STEP_ROUTE_ADD);
	plan_done(&p);

	/* the signature alone, without the route, is no proof, but for who made it */
	foreign->timeout = SERVICE_SIGNATURE;
	assert_int_equal(plan_make(&p, have, want, NULL), 0);
	assert_int_equal(p.n_conflicts, 1);
	plan_done(&p);
	assert_int_equal(plan_make(&p, have, want, &options), 0);
	assert_int_equal(p.n_conflicts, 0);
	plan_done(&p);
	foreign->timeout = 0;
	assert_int_equal(plan_make(&p, have, want, &options), 0);
	assert_int_equal(p.n_conflicts, 1);
	plan_done(&p);
	kernel_state_free(have);
	kernel_state_free(want);
}

/* A service that lost its signature gets it back before its port entry goes, or it would
 * be nobody's if vipd died just then. */
static void test_signature_restored(void **state)
{
	struct kernel_state *have = small_state(), *want = small_state();
	struct service_key k = key(IPPROTO_TCP, "11.0.0.1", 81);
	struct plan p = {};

	kernel_state_service(have, &k)->timeout = 0;
	kernel_state_set_port(have, &k);
	assert_int_equal(plan_make(&p, have, want, NULL), 0);
	assert_int_equal(p.n_steps, 3);
	assert_int_equal(p.steps[0].kind, STEP_SERVICE_EDIT);
	assert_int_equal(p.steps[0].service.timeout, SERVICE_SIGNATURE);
	assert_int_equal(p.steps[1].kind, STEP_PORT_DEL);
	assert_int_equal(p.steps[2].kind, STEP_SERVICE_DEL);
	plan_done(&p);
	kernel_state_free(have);
	kernel_state_free(want);
}

/* The last destination that is added becomes the head of IPVS' list and gets the first
 * connection; over 200 nodes that is spread over 20 backends. */
static void test_fair_order(void **state)
{
	struct kernel_state *have = kernel_state_new(), *want = kernel_state_new();
	struct service_key k = key(IPPROTO_TCP, "11.0.0.1", 80);
	struct service *svc = kernel_state_service(want, &k);
	unsigned int first[20] = {}, most = 0;

	for (uint16_t i = 0; i < 20; i++) {
		struct destination d = dest("10.0.0.1", i, 1);

		service_set_destination(svc, &d);
	}
	for (uint64_t node = 0; node < 200; node++) {
		struct plan_options options = {.seed = node};
		struct plan p = {}, again = {};

		assert_int_equal(plan_make(&p, have, want, &options), 0);
		assert_int_equal(plan_make(&again, have, want, &options), 0);
		assert_int_equal(p.n_steps, 21);
		assert_memory_equal(p.steps, again.steps, p.n_steps * sizeof(p.steps[0]));
		first[p.steps[20].destination.port]++;
		plan_done(&p);
		plan_done(&again);
	}
	for (size_t i = 0; i < 20; i++)
		most = first[i] > most ? first[i] : most;
	print_message("# most first connections on one of 20 backends: %u of 200\n", most);
	assert_true(most <= 20);
	kernel_state_free(have);
	kernel_state_free(want);
}

/* A failed step withholds the later ones about its address, and only those. */
static void test_withheld(void **state)
{
	struct kernel *k = new_model(1, 1, 0); /* everything fails */
	struct kernel_state *have = small_state(), *nothing = kernel_state_new();
	struct step_error errors[N_ERRORS];
	struct plan p = {};
	size_t n;

	copy_into(model_kernel_state(k), have);
	assert_int_equal(plan_make(&p, have, nothing, NULL), 0);
	assert_int_equal(p.n_steps, 4);
	assert_int_equal(kernel_apply(k, p.steps, p.n_steps, errors, N_ERRORS, &n), 0);
	assert_int_equal(n, 4);
	assert_int_equal(p.steps[errors[0].index].kind, STEP_ROUTE_DEL);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(errors[i].index, i);
	for (size_t i = 1; i < 4; i++)
		assert_int_equal(errors[i].error, -ECANCELED);
	assert_int_equal(model_kernel_counters(k)->n_commands, 1);
	/* no room for the errors: still counted */
	assert_int_equal(kernel_apply(k, p.steps, p.n_steps, NULL, 0, &n), 0);
	assert_int_equal(n, 4);
	plan_done(&p);
	kernel_state_free(have);
	kernel_state_free(nothing);
	kernel_free(k);
}

/* A stranger makes a wanted service between our reading and our adding: it gets none of our
 * destinations, and once seen it is a conflict, although our port entry stands already. */
static void test_stranger_in_between(void **state)
{
	struct kernel *k = new_model(1, UINT_MAX, 0);
	struct kernel_state *there = model_kernel_state(k), *want = small_state();
	struct kernel_state *have = kernel_state_new();
	struct step_error errors[N_ERRORS];
	struct service *stranger;
	struct plan p = {};
	size_t n;

	assert_int_equal(plan_make(&p, have, want, NULL), 0);
	stranger = kernel_state_service(there, &want->services[0]->key);
	stranger->timeout = 0;
	assert_int_equal(kernel_apply(k, p.steps, p.n_steps, errors, N_ERRORS, &n), 0);
	assert_int_equal(errors[0].error, -EEXIST);
	for (size_t i = 1; i < n; i++)
		assert_int_equal(errors[i].error, -ECANCELED);
	assert_int_equal(stranger->n_destinations, 0);
	assert_int_equal(there->n_ports, 1);
	assert_int_equal(there->n_routes, 0);
	plan_done(&p);

	assert_int_equal(plan_make(&p, there, want, NULL), 0);
	assert_int_equal(p.n_conflicts, 1);
	assert_int_equal(p.n_steps, 1);
	assert_int_equal(p.steps[0].kind, STEP_PORT_DEL);
	plan_done(&p);
	kernel_state_free(have);
	kernel_state_free(want);
	kernel_free(k);
}

/* The model's own answers, which the tests above lean on. */
static void test_model_answers(void **state)
{
	struct kernel *k = new_model(1, UINT_MAX, 0);
	struct step steps[] = {
		{.kind = STEP_PORT_ADD},
		{.kind = STEP_ROUTE_ADD},
		{.kind = STEP_DESTINATION_ADD},
		{.kind = STEP_SERVICE_ADD},
		{.kind = STEP_SERVICE_ADD},
		{.kind = STEP_DESTINATION_EDIT},
		{.kind = STEP_DESTINATION_ADD},
		{.kind = STEP_DESTINATION_ADD},
		{.kind = STEP_DESTINATION_DEL},
		{.kind = STEP_DESTINATION_ADD},
	};
	static const int answers[] = {
		-ENOENT, -ENODEV, -ESRCH, 0, -EEXIST, -ENOENT, 0, -EEXIST, 0, 0};

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		struct step_error error = {};
		size_t n;

		if (steps[i].kind != STEP_ROUTE_ADD)
			steps[i].key = key(IPPROTO_TCP, "11.0.0.1", 80);
		assert_int_equal(kernel_apply(k, &steps[i], 1, &error, 1, &n), 0);
		assert_int_equal(error.error, answers[i]);
	}
	assert_int_equal(model_kernel_counters(k)->n_trash, 0); /* came back out of it */
	assert_int_equal(model_kernel_counters(k)->cost, 1);
	kernel_free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_field),
		cmocka_unit_test(test_sources),
		cmocka_unit_test(test_skip_destinations),
		cmocka_unit_test(test_counts_ignored),
		cmocka_unit_test(test_conflict),
		cmocka_unit_test(test_signature_restored),
		cmocka_unit_test(test_fair_order),
		cmocka_unit_test(test_withheld),
		cmocka_unit_test(test_stranger_in_between),
		cmocka_unit_test(test_model_answers),
		cmocka_unit_test(test_random_pairs),
		cmocka_unit_test(test_stop_anywhere),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_inconsistent_dumps),
		cmocka_unit_test(test_failures),
	};

	if (getenv("TEST_SEED"))
		seed_base = (unsigned int)strtoul(getenv("TEST_SEED"), NULL, 10);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
