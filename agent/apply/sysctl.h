/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/* The few kernel settings that IPVS needs for what vipd promises. */
#include <stdbool.h>
#include <stddef.h>

struct sysctl {
	const char *name; /* "net.ipv4.vs.expire_nodest_conn" */
	int value;
	bool if_masquerade; /* only while masquerading is on */
	const char *reason; /* a sentence for people */
};

extern const struct sysctl sysctls[];
extern const size_t n_sysctls;

/* The value in force, or a negative errno. */
int sysctl_read(const struct sysctl *s);
int sysctl_write(const struct sysctl *s); /* sets it; 0 or a negative errno */
/* Sets what differs, and logs each with its reason. Returns the number that could not be set. */
int sysctls_apply(bool masquerade);
