/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * Log lines on stderr, one line per decision and never one per poll. Where the journal reads them
 * each begins with its priority ("<4>...").
 */
#include <syslog.h>

/* Lines of a lower importance than `level` (LOG_ERR ... LOG_DEBUG) are dropped. */
void log_set_level(int level);
int log_level(void);

__attribute__((format(printf, 2, 3))) void log_at(int level, const char *format, ...);

#define log_error(...) log_at(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_at(LOG_WARNING, __VA_ARGS__)
#define log_notice(...) log_at(LOG_NOTICE, __VA_ARGS__)
#define log_info(...) log_at(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)
