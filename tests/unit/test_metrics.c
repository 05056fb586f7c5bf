/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Prometheus' text format, byte for byte, and what goes into it: histograms, counters' rates. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "agent/serve/meter.h"
#include "agent/serve/metrics.h"

static void assert_written(void (*write)(FILE *f), const char *expected)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	write(f);
	fclose(f);
	assert_string_equal(text, expected);
	free(text);
}

static void write_samples(FILE *f)
{
	metrics_gauge(f, "a_seconds", 0.25, "How long.");
	metrics_head(f, "b_total", "counter", "How many.");
	metrics_sample(f, "b_total", 9007199254740.0, "vip", "a\"b\\c\nd", "protocol", "tcp", NULL);
	metrics_sample(f, "b_total", -1, NULL);
	metrics_sample(f, "b_total", 1e300 * 1e10, NULL);
}

static void test_samples(void **state)
{
	assert_written(write_samples,
		"# HELP a_seconds How long.\n"
		"# TYPE a_seconds gauge\n"
		"a_seconds 0.25\n"
		"# HELP b_total How many.\n"
		"# TYPE b_total counter\n"
		"b_total{vip=\"a\\\"b\\\\c\\nd\",protocol=\"tcp\"} 9007199254740\n"
		"b_total -1\n"
		"b_total inf\n");
}

static struct histogram histogram;

static void write_histogram(FILE *f)
{
	metrics_histogram(f, "h", &histogram, "cause", "x");
}

static void test_histogram(void **state)
{
	histogram_add(&histogram, 0);
	histogram_add(&histogram, NSEC_PER_MSEC); /* inclusive */
	histogram_add(&histogram, NSEC_PER_MSEC + 1);
	histogram_add(&histogram, 10 * NSEC_PER_SEC);
	histogram_add(&histogram, 3600 * NSEC_PER_SEC);
	assert_int_equal(histogram.counts[0], 2);
	assert_int_equal(histogram.counts[1], 1);
	assert_written(write_histogram, "h_bucket{le=\"0.001\",cause=\"x\"} 2\n"
					"h_bucket{le=\"0.0025\",cause=\"x\"} 3\n"
					"h_bucket{le=\"0.005\",cause=\"x\"} 3\n"
					"h_bucket{le=\"0.01\",cause=\"x\"} 3\n"
					"h_bucket{le=\"0.025\",cause=\"x\"} 3\n"
					"h_bucket{le=\"0.05\",cause=\"x\"} 3\n"
					"h_bucket{le=\"0.1\",cause=\"x\"} 3\n"
					"h_bucket{le=\"0.25\",cause=\"x\"} 3\n"
					"h_bucket{le=\"0.5\",cause=\"x\"} 3\n"
					"h_bucket{le=\"1\",cause=\"x\"} 3\n"
					"h_bucket{le=\"2.5\",cause=\"x\"} 3\n"
					"h_bucket{le=\"5\",cause=\"x\"} 3\n"
					"h_bucket{le=\"10\",cause=\"x\"} 4\n"
					"h_bucket{le=\"+Inf\",cause=\"x\"} 5\n"
					"h_sum{cause=\"x\"} 3610.002\n"
					"h_count{cause=\"x\"} 5\n");
}

static void test_rates(void **state)
{
	assert_true(meter_rate(100, 150, 2 * NSEC_PER_SEC) == 25);
	assert_true(meter_rate(100, 100, NSEC_PER_SEC) == 0);
	assert_true(meter_rate(0, 7, 0) == 0);
	/* A service that was made anew counts from zero. */
	assert_true(meter_rate(100, 3, NSEC_PER_SEC) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_samples),
		cmocka_unit_test(test_histogram),
		cmocka_unit_test(test_rates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
