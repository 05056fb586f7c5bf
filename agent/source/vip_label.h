/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The value of a VIP label: "/redis:6379", "1.2.3.4:80", "fd01:d::1:80", "[fd01:d::1]:80".
 */
#include "ipvs/model.h"

struct vip_label {
	uint16_t port;
	struct ip_addr address; /* AF_UNSPEC: a named VIP */
	size_t n_name;          /* the name is this much of the value's beginning */
};

/* 0, or -EINVAL with *ret_error (static text) saying why; *ret untouched. */
int vip_label_parse(const char *value, struct vip_label *ret, const char **ret_error);

/* The DNS name without its suffix, "redis.marathon", of the first n_name bytes of `name` and
 * a framework. 0, or -EINVAL with *ret_error. `size` should be NAMES_MAX. */
int vip_label_name(const char *name, size_t n_name, const char *framework, char *buf, size_t size,
	const char **ret_error);
