/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/* Members of JSON objects, as all answers of the control socket write them. Times are in seconds,
 * as numbers; -1 means never. */
#include <json-c/json.h>
#include <stdbool.h>

#include "agent/util.h"
#include "ipvs/model.h"

void put_string(json_object *o, const char *key, const char *value); /* NULL: null */
void put_int(json_object *o, const char *key, uint64_t value);
void put_bool(json_object *o, const char *key, bool value);
void put_seconds(json_object *o, const char *key, double seconds); /* six significant digits */
void put_duration(json_object *o, const char *key, nsec_t d);
void put_age(
	json_object *o, const char *key, nsec_t when); /* since a time of the monotonic clock */
/* Seconds with all their digits after the point that matter, down to microseconds. */
void put_seconds_us(json_object *o, const char *key, uint64_t us);
void put_address(
	json_object *o, const char *key, const struct ip_addr *a); /* null if there is none */
void put_protocol(json_object *o, const char *key, uint8_t protocol);

/* One line of text with its end; frees the object. Caller frees. */
char *put_to_text(json_object *o);
/* {"error": text} */
char *put_error(const char *text);
