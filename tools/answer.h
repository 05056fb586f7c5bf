/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/* Reading the daemon's JSON answers: what is missing is NULL, 0 or false, never a crash. */
#include <inttypes.h>
#include <json-c/json.h>
#include <stdbool.h>

#include "columns.h"

json_object *get(json_object *o, const char *key);
const char *get_text(json_object *o, const char *key, const char *fallback);
int64_t get_int(json_object *o, const char *key);
double get_seconds(json_object *o, const char *key);
bool get_bool(json_object *o, const char *key);

/* Takes what could drive a terminal out of all texts in it: they are other people's. */
void disarm_answer(json_object *o);
/* Prints a document as it came, indented. */
void print_json(json_object *o);
/* "8 ms", "0.4 s", "5 s", "3 min", "2.1 h", "4 d"; "never" for a negative time. Returns buf or a
 * static text. */
const char *time_text(double s, char buf[static 32]);

/* "1 VIP", "3 VIPs": what follows the word. */
static inline const char *plural(int64_t n)
{
	return n == 1 ? "" : "s";
}

/* The elements of an array; 0 for what is none. */
size_t get_length(json_object *list);
/* Adds "1.2.3.4:80" or "[fd01::1]:80". */
void add_endpoint(struct columns *c, const char *address, int64_t port);
/* How much of a VIP's text "redis.marathon.l4lb.thisdcos.directory:6379" is its short name, and
 * what follows the suffix: ":6379" ("" if the whole text is short already). */
int short_name(const char *vip);
const char *after_suffix(const char *vip);
