/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/serve/put.h"

#include <stdio.h>

void put_string(json_object *o, const char *key, const char *value)
{
	json_object_object_add(o, key, value ? json_object_new_string(value) : NULL);
}

void put_int(json_object *o, const char *key, uint64_t value)
{
	json_object_object_add(o, key, json_object_new_int64((int64_t)value));
}

void put_bool(json_object *o, const char *key, bool value)
{
	json_object_object_add(o, key, json_object_new_boolean(value));
}

/* Rounded to microseconds: what a person reads, and no noise of binary fractions. */
void put_seconds(json_object *o, const char *key, double seconds)
{
	char text[32];

	snprintf(text, sizeof(text), "%.6g", seconds);
	json_object_object_add(o, key, json_object_new_double_s(seconds, text));
}

void put_duration(json_object *o, const char *key, nsec_t d)
{
	put_seconds(o, key, (double)(d / NSEC_PER_USEC) / 1e6);
}

void put_age(json_object *o, const char *key, nsec_t when)
{
	put_seconds(o, key, when ? (double)((now_ns() - when) / NSEC_PER_USEC) / 1e6 : -1);
}

void put_address(json_object *o, const char *key, const struct ip_addr *a)
{
	char buf[IP_ADDR_STRLEN];

	put_string(o, key, a->family ? ip_addr_format(a, buf) : NULL);
}

char *put_to_text(json_object *o)
{
	char *text =
		xasprintf("%s\n", json_object_to_json_string_ext(o,
					  JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));

	json_object_put(o);
	return text;
}

char *put_error(const char *text)
{
	json_object *o = json_object_new_object();

	put_string(o, "error", text);
	return put_to_text(o);
}

void put_seconds_us(json_object *o, const char *key, uint64_t us)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu.%06u", (unsigned long long)(us / 1000000),
		(unsigned int)(us % 1000000));
	json_object_object_add(o, key, json_object_new_double_s((double)us / 1e6, text));
}

void put_protocol(json_object *o, const char *key, uint8_t protocol)
{
	put_string(o, key, protocol == IPPROTO_UDP ? "udp" : "tcp");
}
