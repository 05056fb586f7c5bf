/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of checks: from the daemon outward. One more is one more line. */
#include "tools/doctor/facts.h"

const struct check checks[] = {
	{"vipd", check_vipd},
	{"source", check_source},
	{"labels", check_labels},
	{"vips", check_vips},
	{"kernel", check_kernel},
	{"modules", check_modules},
	{"rules", check_rules},
	{"sysctls", check_sysctls},
	{"containers", check_namespaces},
	{"privileges", check_capabilities},
	{"files", check_files},
	{"addresses", check_addresses},
	{"overlap", check_overlap},
	{"key", check_key},
	{"overlay", check_overlay},
	{"peers", check_peers},
	{"names", check_dns},
	{"http", check_http},
	{"conntrack", check_conntrack},
	{"ports", check_ports},
	{"clock", check_clock},
};
const size_t n_checks = sizeof(checks) / sizeof(*checks);

void checks_run(const struct facts *f, struct findings *out)
{
	for (size_t i = 0; i < n_checks; i++) {
		out->check = checks[i].name;
		checks[i].run(f, out);
	}
}
