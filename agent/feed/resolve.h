/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * Host names of agents that registered by name, resolved without ever blocking the loop:
 * the first question starts a look-up and is answered "not yet"; when it is through, `ready` is
 * called, and the next question finds the answer. Answers are kept for a while.
 */
#include <systemd/sd-event.h>

#include "ipvs/model.h"

struct resolver;

int resolver_new(
	sd_event *loop, void (*ready)(void *userdata), void *userdata, struct resolver **ret);
struct resolver *resolver_free(struct resolver *r);
/* The name's first IPv4 address, else its first IPv6 address. 0; -EAGAIN: not known yet;
 * -ENOENT: has no address; -ENOSPC: too many names. An expired answer stays in use until there is
 * a new one. Any thread may ask. Fits vip_table_options.resolve. */
int resolver_ask(void *resolver, const char *name, struct ip_addr *ret);
