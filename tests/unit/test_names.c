/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mangling, hashes, and what a coming or going name does to the others. */
#include "agent/source/names.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static void test_mangle(void **state)
{
	static const char *const rows[][2] = {
		{"redis", "redis"},
		{"/dcos-101/app2", "dcos-101app2"},
		{"Re_Dis", "re-dis"},
		{"a.b", "a.b"},
		{"..a...b.", "a.b"},
		{"a._-.b", "a.b"},
		{"-_9x-_-", "9x"},
		{"a--b", "a--b"},
		{"sp ace", "space"},
		{"\xc3\xbc"
		 "ber",
			"ber"},
		{"", ""},
		{"/", ""},
		{"...", ""},
		{"0123456789012345678901234567890123456789012345678901234567890123456789",
			"012345678901234567890123456789012345678901234567890123456789012"},
		{"01234567890123456789012345678901234567890123456789012345678901-x",
			"01234567890123456789012345678901234567890123456789012345678901"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char buf[100];

		assert_int_equal(names_mangle(rows[i][0], strlen(rows[i][0]), buf, sizeof buf),
			strlen(rows[i][1]));
		assert_string_equal(buf, rows[i][1]);
	}
}

static void test_mangle_too_long(void **state)
{
	char buf[8];

	assert_int_equal(names_mangle("abc.de", 6, buf, sizeof buf), 6);
	assert_int_equal(names_mangle("abc.defg", 8, buf, sizeof buf), -ENAMETOOLONG);
	assert_int_equal(names_mangle("", 0, buf, 0), -ENAMETOOLONG);
}

static void test_phash2(void **state)
{
	assert_int_equal(names_phash2("", 0), 147926629);
	assert_int_equal(names_phash2("abc", 3), 1306188027);
}

static void assert_home(const char *name, const char *range, uint8_t family, const char *expected)
{
	struct address_range r = names_default_range(family);
	const char *error;
	struct ip_addr a;
	char text[IP_ADDR_STRLEN];

	if (range)
		assert_int_equal(address_range_parse(range, family, &r, &error), 0);
	a = names_home(name, &r);
	assert_string_equal(ip_addr_format(&a, text), expected);
}

static void test_home(void **state)
{
	assert_home("redis.marathon", NULL, AF_INET, "11.202.66.36");
	assert_home("redis.marathon", NULL, AF_INET6, "fd01:c::da94:49ac:1e87:4a07");
	/* a range of two addresses has one home; the widest needs all 128 bits of the remainder */
	assert_home("redis.marathon", "10.0.0.1-10.0.0.2", AF_INET, "10.0.0.1");
	assert_home("redis.marathon", "fd00::1-fd00::2", AF_INET6, "fd00::1");
	assert_home("abc", "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", AF_INET6,
		"4706:816a:ba3e:2571:7850:c26d:466a:16d3");
}

static void test_range(void **state)
{
	static const char *const bad[] = {"", "-", "10.0.0.1", "10.0.0.1-", "10.0.0.2-10.0.0.1",
		"10.0.0.1-10.0.0.1", "fd00::-fd00::1", "10.0.0.1-fd00::1", "10.0.0.1-10.0.0.2 ",
		"10.0.0.1-10.0.0.2-10.0.0.3",
		"1000000000000000000000000000000000000000000000000-1"};
	struct address_range r;
	const char *error;

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		error = NULL;
		assert_int_equal(address_range_parse(bad[i], AF_INET, &r, &error), -EINVAL);
		assert_non_null(error);
	}
	assert_int_equal(address_range_parse("fd00::-fd00::1", AF_INET6, &r, &error), 0);
}

/* ---- allocation ---- */

static struct address_range range_of(uint32_t size)
{
	struct address_range r = {.min.family = AF_INET, .max.family = AF_INET};
	uint32_t max = 0x0a000000 + size;

	r.min.bytes[0] = 10;
	for (int i = 0; i < 4; i++)
		r.max.bytes[i] = (uint8_t)(max >> (24 - 8 * i));
	return r;
}

static int name_cmp(const void *a, const void *b)
{
	return strcmp(((const struct names_entry *)a)->name, ((const struct names_entry *)b)->name);
}

static struct names_entry *random_names(size_t n, unsigned int *seed)
{
	struct names_entry *e = calloc(n, sizeof *e);

	for (size_t i = 0; i < n; i++) {
		char *name;

		assert_true(asprintf(&name, "app-%08x-%zu.marathon", rand_r(seed), i) > 0);
		e[i].name = name;
	}
	qsort(e, n, sizeof *e, name_cmp);
	return e;
}

static void free_names(struct names_entry *e, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free((char *)e[i].name);
	free(e);
}

static int addr_cmp(const void *a, const void *b)
{
	return ip_addr_cmp(a, b);
}

static void assert_distinct_in_range(
	const struct names_entry *e, size_t n, const struct address_range *range)
{
	struct ip_addr *all = calloc(n + 1, sizeof *all);

	for (size_t i = 0; i < n; i++) {
		all[i] = e[i].address;
		assert_true(ip_addr_cmp(&all[i], &range->min) >= 0);
		assert_true(ip_addr_cmp(&all[i], &range->max) < 0);
	}
	qsort(all, n, sizeof *all, addr_cmp);
	for (size_t i = 1; i < n; i++)
		assert_true(ip_addr_cmp(&all[i - 1], &all[i]) != 0);
	free(all);
}

static void test_rules(void **state)
{
	/* Two addresses, so every name's home is one of them; the first name in byte order
	 * keeps it, the next goes to what is free. */
	struct address_range one = range_of(1), two = range_of(2);
	struct names_entry e[] = {{.name = "a.x"}, {.name = "b.x"}, {.name = "c.x"}};
	struct ip_addr home = names_home("a.x", &two);

	assert_int_equal(names_allocate(e, 1, NULL, 0, &two), 0);
	assert_int_equal(ip_addr_cmp(&e[0].address, &home), 0);
	assert_int_equal(names_allocate(e, 1, &home, 1, &two), 1);
	assert_true(ip_addr_cmp(&e[0].address, &home) != 0);
	assert_int_equal(names_allocate(e, 3, NULL, 0, &two), -ENOSPC);
	assert_int_equal(names_allocate(e, 2, NULL, 0, &one), -ENOSPC);
	assert_int_equal(e[0].address.family, AF_INET);
	assert_int_equal(e[1].address.family, AF_UNSPEC);
	assert_int_equal(names_allocate(e, 0, NULL, 0, &one), 0);
}

/* Full to the last address: all are placed, none twice, and fast. */
static void test_full_range(void **state)
{
	const size_t n = 100000;
	unsigned int seed = (unsigned int)time(NULL);
	struct address_range range = range_of((uint32_t)n);
	struct names_entry *e;
	clock_t start;
	int moved;

	print_message("# seed %u\n", seed);
	e = random_names(n, &seed);
	start = clock();
	moved = names_allocate(e, n, NULL, 0, &range);
	print_message("# %zu names in as many addresses: %d not at home, %.0f ms\n", n, moved,
		1e3 * (double)(clock() - start) / CLOCKS_PER_SEC);
	assert_true(moved > 0);
	assert_true(clock() - start < 2 * CLOCKS_PER_SEC); /* 60 ms; the rest is for sanitizers */
	assert_distinct_in_range(e, n, &range);
	free_names(e, n);
}

/* How many of the others change their address when names[left_out] goes (or comes). */
static size_t disturbance(const struct names_entry *names, size_t n, size_t left_out,
	const struct address_range *range)
{
	struct names_entry *with = malloc(n * sizeof *with), *without = malloc(n * sizeof *without);
	size_t m = 0, changed = 0;

	memcpy(with, names, n * sizeof *with);
	names_allocate(with, n, NULL, 0, range);
	for (size_t i = 0; i < n; i++)
		if (i != left_out)
			without[m++] = names[i];
	names_allocate(without, m, NULL, 0, range);
	for (size_t i = 0; i < m; i++)
		changed +=
			ip_addr_cmp(&without[i].address, &with[i + (i >= left_out)].address) != 0;
	free(with);
	free(without);
	return changed;
}

static void measure(size_t n, uint32_t size, size_t n_trials, unsigned int *seed, double bound)
{
	struct address_range range = range_of(size);
	size_t sum = 0, max = 0;

	for (size_t i = 0; i < n_trials; i++) {
		struct names_entry *e = random_names(n, seed);
		size_t d = disturbance(e, n, (size_t)rand_r(seed) % n, &range);

		sum += d;
		max = d > max ? d : max;
		free_names(e, n);
	}
	print_message("# %zu names in %u addresses: one more or less moves %.4f others on average, "
		      "%zu at most\n",
		n, size, (double)sum / (double)n_trials, max);
	assert_true((double)sum / (double)n_trials <= bound);
}

/* The bounds are a few times what is measured: they catch a rule that shuffles everything. */
static void test_disturbance(void **state)
{
	unsigned int seed = (unsigned int)time(NULL);

	print_message("# seed %u\n", seed);
	measure(1000, 16777215, 100, &seed, 0.1);
	measure(100, 1000, 1000, &seed, 0.3);
	measure(500, 1000, 300, &seed, 3);
	measure(900, 1000, 300, &seed, 60);
	measure(990, 1000, 300, &seed, 300);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mangle),
		cmocka_unit_test(test_mangle_too_long),
		cmocka_unit_test(test_phash2),
		cmocka_unit_test(test_home),
		cmocka_unit_test(test_range),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_full_range),
		cmocka_unit_test(test_disturbance),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
