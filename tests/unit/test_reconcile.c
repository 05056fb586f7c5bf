/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The reconcile against a model of a kernel that fails, loses answers, belongs to others
 * too, and is wanted to be something else in the middle of it.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "agent/apply/reconcile.h"
#include "agent/apply/wanted.h"
#include "agent/desired/desired.h"
#include "agent/log.h"
#include "ipvs/model_kernel.h"

/* Audits until everything must be right although one command in ten fails: far more than any
 * seed took. */
#define MAX_AUDITS 60

/* A handle of the model: the reconcile has one, and each audit. */
struct handle {
	struct kernel base;
	struct world *world;
};

struct world {
	sd_event *loop;
	struct auditor *auditor;
	struct reconcile *reconcile;
	struct kernel *model;
	pthread_mutex_t lock; /* of the model: the auditor reads in its own thread */
	bool loses_answers;
	struct ip_addr bad; /* commands about this address fail, always */
	pthread_t loop_thread;
	size_t n_reads_in_loop; /* of the whole kernel */
	size_t n_settled;
};

static const struct model_kernel_options faultless = {.fail_one_in = UINT_MAX};

static void handle_free(struct kernel *k)
{
	free(k);
}

static int handle_read(struct kernel *k, unsigned int parts, const struct service_key *keys,
	size_t n_keys, struct kernel_state *s)
{
	struct world *w = ((struct handle *)k)->world;
	int r;

	if (!keys && pthread_equal(pthread_self(), w->loop_thread))
		w->n_reads_in_loop++;
	pthread_mutex_lock(&w->lock);
	r = w->model->ops->read(w->model, parts, keys, n_keys, s);
	pthread_mutex_unlock(&w->lock);
	return r;
}

static bool is_bad(const struct world *w, const struct step *step)
{
	const struct ip_addr *a = step_address(step);

	return w->bad.family && a && ip_addr_equal(a, &w->bad);
}

static int handle_apply(struct kernel *k, struct step_report *r, size_t first, size_t n)
{
	struct world *w = ((struct handle *)k)->world;
	int error = 0;

	pthread_mutex_lock(&w->lock);
	for (size_t i = first, run; i < first + n && !error; i += run) {
		for (run = 0; i + run < first + n && !is_bad(w, &r->steps[i + run]);)
			run++;
		if (run) {
			error = w->model->ops->apply(w->model, r, i, run);
		} else {
			step_report_add(r, i, -EINVAL);
			run = 1;
		}
	}
	pthread_mutex_unlock(&w->lock);
	return error;
}

static int handle_remove_frame(struct kernel *k)
{
	struct kernel *model = ((struct handle *)k)->world->model;

	return model->ops->remove_frame(model);
}

static const struct kernel_ops handle_ops = {
	handle_free, handle_read, handle_apply, handle_remove_frame};

static int open_handle(const struct kernel_options *options, struct kernel **ret)
{
	struct handle *h = xcalloc(1, sizeof(*h));

	h->base.ops = &handle_ops;
	h->world = options->userdata;
	*ret = &h->base;
	return 0;
}

static void on_settled(void *userdata)
{
	struct world *w = userdata;

	w->n_settled++;
}

static void world_init(struct world *w, const struct model_kernel_options *model)
{
	struct kernel_options options = {.open = open_handle, .userdata = w};
	struct reconcile_handler handler = {on_settled, w};
	const char *what;

	*w = (struct world){.model = model_kernel_new(model), .loop_thread = pthread_self()};
	pthread_mutex_init(&w->lock, NULL);
	w->loses_answers = model->lose_one_in > 0;
	assert_int_equal(sd_event_new(&w->loop), 0);
	assert_true(auditor_new(w->loop, &w->auditor) >= 0);
	assert_int_equal(
		reconcile_new(w->loop, &options, 1, w->auditor, &handler, &w->reconcile, &what), 0);
}

/* Whatever the test was about: no command was sent that changed nothing, unless answers were lost. */
static void world_done(struct world *w)
{
	if (!w->loses_answers)
		assert_int_equal(model_kernel_counters(w->model)->n_redundant, 0);
	reconcile_free(w->reconcile);
	auditor_free(w->auditor);
	sd_event_unref(w->loop);
	kernel_free(w->model);
	pthread_mutex_destroy(&w->lock);
}

static void run_until_settled(struct world *w)
{
	for (size_t n = w->n_settled; w->n_settled == n;)
		assert_true(sd_event_run(w->loop, 10000000) > 0);
}

static void audit(struct world *w)
{
	uint64_t n = reconcile_stats(w->reconcile)->n_audits;

	reconcile_audit(w->reconcile);
	while (reconcile_stats(w->reconcile)->n_audits == n)
		assert_true(sd_event_run(w->loop, 10000000) > 0);
	if (reconcile_stats(w->reconcile)->busy)
		run_until_settled(w);
}

static size_t n_commands(const struct world *w)
{
	return model_kernel_counters(w->model)->n_commands;
}

static struct service_key key_of(unsigned int i)
{
	return (struct service_key){
		.address = {AF_INET, {11, 0, (uint8_t)(i >> 8), (uint8_t)i}},
		.port = 80,
		.protocol = IPPROTO_TCP,
	};
}

static void set_destination(struct kernel_state *s, unsigned int i, unsigned int k, uint32_t weight)
{
	struct service_key key = key_of(i);
	struct destination d = {
		.address = {AF_INET, {10, 0, 0, (uint8_t)k}}, .port = 31000, .weight = weight};

	assert_int_equal(service_set_destination(kernel_state_service(s, &key), &d), 0);
}

/* Services `first` to `first + n`, three destinations each. */
static struct kernel_state *services(unsigned int first, unsigned int n)
{
	struct kernel_state *s = kernel_state_new();

	for (unsigned int i = first; i < first + n; i++)
		for (unsigned int k = 1; k <= 3; k++)
			set_destination(s, i, k, 1);
	assert_int_equal(kernel_state_complete(s, NULL, NULL), 0);
	return s;
}

static size_t n_differences(const struct world *w, const struct kernel_state *want)
{
	struct plan p = {0};
	size_t n;

	assert_int_equal(plan_make(&p, model_kernel_state(w->model), want, NULL), 0);
	n = p.n_steps;
	plan_done(&p);
	return n;
}

/* The kernel holds just what is wanted, and wanting it once more writes nothing. */
static void assert_in_step(struct world *w, struct kernel_state *again)
{
	size_t n;

	assert_int_equal(n_differences(w, again), 0);
	n = n_commands(w);
	reconcile_want(w->reconcile, again, 0);
	run_until_settled(w);
	assert_int_equal(n_commands(w), n);
	assert_true(reconcile_in_step(w->reconcile));
}

static void test_applies_once(void **state)
{
	struct world w;

	world_init(&w, &faultless);
	reconcile_want(w.reconcile, services(0, 500), 0);
	run_until_settled(&w);
	assert_int_equal(reconcile_stats(w.reconcile)->n_failing, 0);
	assert_int_equal(n_commands(&w), 2 + 500 * (1 + 3 + 3));
	assert_in_step(&w, services(0, 500));
	world_done(&w);
}

/* One command in ten fails, one batch in fifty loses its answers, and things go on changing. */
static void test_failures(void **state)
{
	for (unsigned int seed = 1; seed <= 20; seed++) {
		struct world w;
		unsigned int n_audits = 0;

		print_message("# seed %u\n", seed);
		world_init(&w, &(struct model_kernel_options){
				       .seed = seed, .lose_one_in = 50, .break_one_in = 3});
		for (unsigned int i = 0; i < 4; i++) {
			reconcile_want(w.reconcile, services(i * 20, 40 + seed), 0);
			run_until_settled(&w);
		}
		while (n_differences(&w, reconcile_wanted(w.reconcile)->state) > 0) {
			assert_true(n_audits++ < MAX_AUDITS);
			audit(&w);
		}
		model_kernel_set(w.model, &faultless);
		audit(&w);
		assert_in_step(&w, services(60, 40 + seed));
		world_done(&w);
	}
}

static void test_lost_answers(void **state)
{
	struct world w;

	world_init(&w, &(struct model_kernel_options){.fail_one_in = UINT_MAX, .lose_one_in = 4});
	for (unsigned int i = 0; i < 10; i++) {
		reconcile_want(w.reconcile, services(i, 300), 0);
		run_until_settled(&w);
	}
	for (int i = 0; i < MAX_AUDITS && n_differences(&w, reconcile_wanted(w.reconcile)->state);
		i++)
		audit(&w);
	model_kernel_set(w.model, &faultless);
	audit(&w);
	assert_in_step(&w, services(9, 300));
	world_done(&w);
}

/* A new wanted state replaces the rest of the plan at any portion of it. */
static void test_superseded(void **state)
{
	for (int portions = 0; portions < 4; portions++) {
		struct world w;

		world_init(&w, &faultless);
		reconcile_want(w.reconcile, services(0, 1000), 0);
		for (int i = 0; i < portions; i++)
			assert_true(sd_event_run(w.loop, 10000000) > 0);
		assert_true(reconcile_stats(w.reconcile)->busy);
		assert_false(reconcile_in_step(w.reconcile));
		reconcile_want(w.reconcile, services(500, 1000), 0);
		run_until_settled(&w);
		assert_int_equal(reconcile_stats(w.reconcile)->n_failed, 0);
		assert_in_step(&w, services(500, 1000));
		world_done(&w);
	}
}

/* One address that the kernel never takes holds nobody else up, and is tried again by audits. */
static void test_set_aside(void **state)
{
	struct world w;

	world_init(&w, &faultless);
	w.bad = key_of(7).address;
	reconcile_want(w.reconcile, services(0, 100), 0);
	run_until_settled(&w);
	assert_true(reconcile_stats(w.reconcile)->n_failing > 0);
	assert_false(reconcile_in_step(w.reconcile));
	assert_int_equal(model_kernel_state(w.model)->n_services, 99);
	assert_int_equal(model_kernel_state(w.model)->n_routes, 99);
	reconcile_want(w.reconcile, services(0, 101), 0);
	run_until_settled(&w);
	assert_int_equal(model_kernel_state(w.model)->n_services, 100);
	w.bad = (struct ip_addr){0};
	audit(&w);
	assert_int_equal(reconcile_stats(w.reconcile)->n_failing, 0);
	assert_in_step(&w, services(0, 101));
	world_done(&w);
}

/* What failed is tried again without an audit, and without being wanted anew; what it was about is
 * told while it lasts. */
static void test_tried_again(void **state)
{
	const struct reconcile_stats *stats;
	struct world w;

	world_init(&w, &faultless);
	stats = reconcile_stats(w.reconcile);
	w.bad = key_of(7).address;
	reconcile_want(w.reconcile, services(0, 10), 0);
	run_until_settled(&w);
	assert_non_null(strstr(stats->failing, "11.0.0.7"));
	run_until_settled(&w); /* the first try again, in vain */
	assert_int_equal(stats->n_retries, 1);
	assert_true(stats->n_failing > 0);
	w.bad = (struct ip_addr){0};
	run_until_settled(&w);
	assert_int_equal(stats->n_retries, 2);
	assert_int_equal(stats->n_failing, 0);
	assert_string_equal(stats->failing, "");
	assert_in_step(&w, services(0, 10));
	world_done(&w);
}

/* `ipvsadm -C` of a large table: what was deleted last is put back first, where the kernel finds it
 * at once. */
static void test_all_deleted_by_hand(void **state)
{
	const size_t n_services = 2000, n_destinations = 3 * n_services;
	struct kernel_state *there;
	struct step_error error;
	struct world w;
	size_t n;

	world_init(&w, &faultless);
	reconcile_want(w.reconcile, services(0, (unsigned int)n_services), 0);
	run_until_settled(&w);
	audit(&w); /* learns the kernel's order */
	there = model_kernel_state(w.model);
	while (there->n_services > 0) {
		struct step step = {STEP_SERVICE_DEL, .key = there->services[0]->key};

		assert_int_equal(kernel_apply(w.model, &step, 1, &error, 1, &n), 0);
	}
	assert_int_equal(model_kernel_counters(w.model)->n_trash, n_destinations);
	audit(&w);
	assert_int_equal(model_kernel_counters(w.model)->n_trash, 0);
	print_message("# %zu entries of %zu looked at to find %zu\n",
		model_kernel_counters(w.model)->cost, n_destinations, n_destinations);
	/* in any other order it is thousands for each */
	assert_true(model_kernel_counters(w.model)->cost <= 3 * n_destinations);
	assert_in_step(&w, services(0, (unsigned int)n_services));
	world_done(&w);
}

/* A failure is looked into beside the loop, and what is wanted meanwhile comes of it. */
static void test_a_failure_does_not_hold_the_loop(void **state)
{
	struct world w;

	world_init(&w, &faultless);
	assert_int_equal(w.n_reads_in_loop, 1); /* the start's */
	w.bad = key_of(7).address;
	reconcile_want(w.reconcile, services(0, 20), 0);
	while (reconcile_stats(w.reconcile)->n_failed == 0)
		assert_true(sd_event_run(w.loop, 10000000) > 0);
	assert_int_equal(w.n_settled, 0);
	w.bad = (struct ip_addr){0};
	reconcile_want(w.reconcile, services(0, 30), 0);
	run_until_settled(&w);
	assert_int_equal(w.n_settled, 1);
	assert_int_equal(w.n_reads_in_loop, 1);
	assert_in_step(&w, services(0, 30));
	/* one that is under way at a flush brings nothing back */
	w.bad = key_of(40).address;
	reconcile_want(w.reconcile, services(0, 50), 0);
	for (uint64_t n = reconcile_stats(w.reconcile)->n_failed;
		reconcile_stats(w.reconcile)->n_failed == n;)
		assert_true(sd_event_run(w.loop, 10000000) > 0);
	assert_int_equal(reconcile_flush(w.reconcile), 0);
	w.bad = (struct ip_addr){0};
	reconcile_want(w.reconcile, services(0, 10), 0);
	run_until_settled(&w);
	assert_in_step(&w, services(0, 10));
	world_done(&w);
}

static void test_failures_are_explained(void **state)
{
	struct step step = {.kind = STEP_ROUTE_ADD};
	char buf[EXPLAIN_STRLEN];

	assert_int_equal(ip_addr_parse("fd01:d::1", &step.route.address), 0);
	assert_int_equal(ip_addr_parse("fd00:aa::12", &step.route.source), 0);
	assert_non_null(strstr(explain_failure(&step, -EINVAL, buf),
		"the source fd00:aa::12 is not an address of this node"));
	assert_non_null(strstr(explain_failure(&step, -ENODEV, buf), "link is gone"));
	assert_non_null(strstr(explain_failure(&step, -EPERM, buf), "CAP_NET_ADMIN"));
	step.route.source.family = AF_UNSPEC;
	assert_null(strstr(explain_failure(&step, -EINVAL, buf), "source"));
}

/* In step, a change costs its own commands and no reading. */
static void test_one_change(void **state)
{
	struct kernel_state *want = kernel_state_new();
	size_t commands, reads;
	struct world w;

	world_init(&w, &faultless);
	reconcile_want(w.reconcile, services(0, 50), 0);
	run_until_settled(&w);
	for (size_t i = 0; i < 50; i++) {
		if (i == 20)
			for (unsigned int k = 1; k <= 3; k++)
				set_destination(want, 20, k, k == 2 ? 0 : 1);
		else
			assert_int_equal(kernel_state_share_service(want,
						 reconcile_wanted(w.reconcile)->state->services[i]),
				0);
	}
	assert_int_equal(kernel_state_complete(want, NULL, NULL), 0);
	commands = n_commands(&w);
	reads = model_kernel_counters(w.model)->n_reads;
	reconcile_want(w.reconcile, want, 0);
	run_until_settled(&w);
	assert_int_equal(n_commands(&w), commands + 1);
	assert_int_equal(model_kernel_counters(w.model)->n_reads, reads);
	assert_int_equal(n_differences(&w, want), 0);
	world_done(&w);
}

/* What others made is a conflict, also when it came while we were in step. */
static void test_foreign(void **state)
{
	struct service_key foreign = key_of(60);
	struct destination theirs = {.address = {AF_INET, {9, 9, 9, 9}}, .port = 1, .weight = 1};
	struct service *svc;
	struct world w;
	size_t n;

	world_init(&w, &faultless);
	reconcile_want(w.reconcile, services(0, 50), 0);
	run_until_settled(&w);
	svc = kernel_state_service(model_kernel_state(w.model), &foreign);
	svc->timeout = 0;
	assert_int_equal(service_set_destination(svc, &theirs), 0);
	audit(&w);
	assert_true(reconcile_in_step(w.reconcile));
	reconcile_want(w.reconcile, services(0, 70), 0);
	run_until_settled(&w);
	assert_non_null(reconcile_conflicts(w.reconcile, &n));
	assert_int_equal(n, 1);
	assert_false(reconcile_in_step(w.reconcile));
	svc = kernel_state_find(model_kernel_state(w.model), &foreign);
	assert_int_equal(svc->n_destinations, 1);
	assert_int_equal(model_kernel_state(w.model)->n_services, 70);
	assert_false(kernel_state_has_port(model_kernel_state(w.model), &foreign));

	assert_int_equal(reconcile_flush(w.reconcile), 0);
	assert_int_equal(model_kernel_state(w.model)->n_services, 1);
	assert_int_equal(model_kernel_state(w.model)->n_routes, 0);
	assert_int_equal(model_kernel_state(w.model)->n_ports, 0);
	assert_int_equal(reconcile_remove_frame(w.reconcile), 0);
	assert_false(model_kernel_state(w.model)->has_link);
	world_done(&w);
}

/* Sets that rules refer to stay; what has gone is known to have. */
static void test_sets_in_use(void **state)
{
	struct world w;

	world_init(&w, &faultless);
	reconcile_want(w.reconcile, services(0, 10), 0);
	run_until_settled(&w);
	model_kernel_hold_sets(w.model, 2);
	assert_int_equal(reconcile_flush(w.reconcile), 0);
	assert_int_equal(reconcile_remove_frame(w.reconcile), -EBUSY);
	assert_false(reconcile_have(w.reconcile)->has_link);
	assert_true(reconcile_have(w.reconcile)->has_sets);
	reconcile_want(w.reconcile, services(0, 10), 0);
	run_until_settled(&w);
	assert_int_equal(reconcile_stats(w.reconcile)->n_failed, 0);
	assert_in_step(&w, services(0, 10));
	model_kernel_hold_sets(w.model, 0);
	assert_int_equal(reconcile_flush(w.reconcile), 0);
	assert_int_equal(reconcile_remove_frame(w.reconcile), 0);
	assert_false(model_kernel_state(w.model)->has_sets);
	world_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_applies_once),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_lost_answers),
		cmocka_unit_test(test_superseded),
		cmocka_unit_test(test_set_aside),
		cmocka_unit_test(test_tried_again),
		cmocka_unit_test(test_failures_are_explained),
		cmocka_unit_test(test_all_deleted_by_hand),
		cmocka_unit_test(test_a_failure_does_not_hold_the_loop),
		cmocka_unit_test(test_one_change),
		cmocka_unit_test(test_foreign),
		cmocka_unit_test(test_sets_in_use),
	};

	log_set_level(LOG_CRIT);
	return cmocka_run_group_tests_name("reconcile", tests, NULL, NULL);
}
