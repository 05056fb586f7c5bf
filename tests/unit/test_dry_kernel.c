/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "ipvs/kernel.h"

static const struct service_key key = {
	.address = {AF_INET, {9, 9, 9, 9}}, .port = 80, .protocol = IPPROTO_TCP};

static struct step destination(enum step_kind kind, uint8_t last, uint32_t weight)
{
	return (struct step){.kind = kind,
		.key = key,
		.destination = {
			.address = {AF_INET, {10, 0, 0, last}}, .port = 8080, .weight = weight}};
}

/* Steps are taken as a kernel takes them, wrong ones refused, and read back whole or in parts. */
static void test_remembers(void **state)
{
	struct kernel_options options = {.dry = true};
	struct step steps[] = {{.kind = STEP_LINK_ADD}, {.kind = STEP_SETS_ADD},
		{.kind = STEP_SERVICE_ADD, .key = key}, destination(STEP_DESTINATION_ADD, 1, 1),
		destination(STEP_DESTINATION_ADD, 2, 1), destination(STEP_DESTINATION_EDIT, 2, 0),
		destination(STEP_DESTINATION_DEL, 3, 0)};
	struct step_error error;
	struct kernel *k;
	struct kernel_state *s;
	size_t n_errors;

	assert_int_equal(kernel_open(&options, &k, NULL), 0);
	assert_int_equal(kernel_apply(k, steps, 7, &error, 1, &n_errors), 0);
	assert_int_equal(n_errors, 1);
	assert_int_equal(error.index, 6);
	assert_int_equal(kernel_read(k, &s), 0);
	assert_true(s->has_link && s->has_sets);
	assert_int_equal(s->n_services, 1);
	assert_int_equal(s->services[0]->n_destinations, 2);
	assert_int_equal(s->services[0]->destinations[1].weight, 0);
	kernel_state_free(s);
	assert_int_equal(kernel_read_parts(k, KERNEL_SERVICES, &s), 0);
	assert_false(s->has_link);
	assert_int_equal(s->services[0]->n_destinations, 0);
	kernel_state_free(s);
	assert_int_equal(kernel_read_services(k, &key, 1, &s), 0);
	assert_int_equal(s->services[0]->n_destinations, 2);
	kernel_state_free(s);
	assert_int_equal(kernel_remove_frame(k), 0);
	kernel_free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_remembers)};

	return cmocka_run_group_tests_name("dry kernel", tests, NULL, NULL);
}
