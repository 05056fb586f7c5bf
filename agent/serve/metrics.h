/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * Prometheus' text format, version 0.0.4: for each metric a head, then its samples. Labels are pairs
 * of a name and a value, ended by NULL; values may be any text.
 */
#include <stdio.h>

#include "agent/history/histogram.h"

#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* `type` is "counter", "gauge" or "histogram". */
void metrics_head(FILE *out, const char *name, const char *type, const char *help);
__attribute__((sentinel)) void metrics_sample(FILE *out, const char *name, double value, ...);
/* All of its buckets, sum and count, with one label; NULL: none. */
void metrics_histogram(FILE *out, const char *name, const struct histogram *h, const char *label,
	const char *value);

/* A metric with one sample and no label. */
void metrics_counter(FILE *out, const char *name, double value, const char *help);
void metrics_gauge(FILE *out, const char *name, double value, const char *help);
