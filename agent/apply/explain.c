/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/apply/explain.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* What the kernel's handlers mean by an error, as far as they mean one thing by it. */
static const struct meaning {
	enum step_kind kind;
	int error;
	const char *text;
} meanings[] = {
	/* ip_vs_add_service(): the scheduler is neither there nor can be loaded */
	{STEP_SERVICE_ADD, ENOENT, "the kernel has no such scheduler (modprobe ip_vs_wlc)"},
	{STEP_SERVICE_ADD, EAFNOSUPPORT, "the kernel's IPVS has no IPv6 (ipv6 = no leaves it out)"},
	{STEP_SERVICE_ADD, EEXIST, "someone else has made it just now"},
	{STEP_LINK_ADD, EOPNOTSUPP, "the kernel has no dummy links (modprobe dummy)"},
	{STEP_ROUTE_ADD, ENODEV, "vipd's link is gone"},
	{STEP_ROUTE_ADD, ENETDOWN, "vipd's link is down"},
};

/* fib_create_info(), ip6_route_info_create(): of all that is in the message only the source may be
 * wrong. It has to be an address of this node; one of IPv6 that is still being looked for on other
 * machines (tentative), or was found there, is none yet. */
static bool is_bad_source(const struct step *step, int error)
{
	return step->kind == STEP_ROUTE_ADD && error == -EINVAL && step->route.source.family;
}

static const char *meaning_of(const struct step *step, int error)
{
	for (size_t i = 0; i < sizeof(meanings) / sizeof(*meanings); i++)
		if (meanings[i].kind == step->kind && meanings[i].error == -error)
			return meanings[i].text;
	return error == -EPERM || error == -EACCES ? "vipd lacks CAP_NET_ADMIN" : NULL;
}

const char *explain_failure(const struct step *step, int error, char buf[static EXPLAIN_STRLEN])
{
	char text[STEP_STRLEN], source[IP_ADDR_STRLEN];
	const char *meaning = meaning_of(step, error);

	step_format(step, text);
	if (is_bad_source(step, error))
		snprintf(buf, EXPLAIN_STRLEN,
			"%s: %s: the source %s is not an address of this node, or cannot be used "
			"yet (ip address show to %s)",
			text, strerror(-error), ip_addr_format(&step->route.source, source),
			source);
	else
		snprintf(buf, EXPLAIN_STRLEN, "%s: %s%s%s", text, strerror(-error),
			meaning ? ": " : "", meaning ? meaning : "");
	return buf;
}
