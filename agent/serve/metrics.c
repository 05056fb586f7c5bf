/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/serve/metrics.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>

void metrics_head(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* Counts keep all their digits, measured values those that mean something. */
static void put_value(FILE *out, double value)
{
	bool whole = value == floor(value) && fabs(value) < 9e15;

	fprintf(out, whole ? " %.0f\n" : " %.9g\n", value);
}

static void put_label(FILE *out, char before, const char *name, const char *value)
{
	fprintf(out, "%c%s=\"", before, name);
	for (; *value; value++)
		switch (*value) {
		case '\\':
		case '"':
			fprintf(out, "\\%c", *value);
			break;
		case '\n':
			fputs("\\n", out);
			break;
		default:
			fputc(*value, out);
		}
	fputc('"', out);
}

void metrics_sample(FILE *out, const char *name, double value, ...)
{
	const char *label;
	char before = '{';
	va_list ap;

	fputs(name, out);
	va_start(ap, value);
	while ((label = va_arg(ap, const char *))) {
		put_label(out, before, label, va_arg(ap, const char *));
		before = ',';
	}
	va_end(ap);
	if (before == ',')
		fputc('}', out);
	put_value(out, value);
}

void metrics_histogram(FILE *out, const char *name, const struct histogram *h, const char *label,
	const char *value)
{
	AUTO_FREE char *bucket = xasprintf("%s_bucket", name);
	AUTO_FREE char *sum = xasprintf("%s_sum", name), *count = xasprintf("%s_count", name);
	uint64_t n = 0;

	for (size_t i = 0; i < HISTOGRAM_N; i++) {
		char le[32];

		n += h->counts[i];
		snprintf(le, sizeof(le), "%g", (double)histogram_bounds[i] / 1e9);
		metrics_sample(out, bucket, (double)n, "le", le, label, value, NULL);
	}
	metrics_sample(out, bucket, (double)h->n, "le", "+Inf", label, value, NULL);
	metrics_sample(out, sum, (double)h->sum / 1e9, label, value, NULL);
	metrics_sample(out, count, (double)h->n, label, value, NULL);
}

static void single(FILE *out, const char *name, const char *type, double value, const char *help)
{
	metrics_head(out, name, type, help);
	metrics_sample(out, name, value, NULL);
}

void metrics_counter(FILE *out, const char *name, double value, const char *help)
{
	single(out, name, "counter", value, help);
}

void metrics_gauge(FILE *out, const char *name, double value, const char *help)
{
	single(out, name, "gauge", value, help);
}
