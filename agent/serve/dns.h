/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The DNS server: UDP and TCP sockets on the event loop, around dns_message.h. It answers only what
 * it is handed; whoever has the table says what names there are, and whether their addresses are
 * forwarded.
 */
#include <systemd/sd-event.h>

#include "agent/config.h"
#include "agent/serve/dns_message.h"

struct dns;

struct dns_stats {
	struct dns_counts udp, tcp;
	uint64_t n_lost;      /* UDP queries that came while the socket's buffer was full */
	uint64_t n_unsent;    /* UDP answers that the kernel did not take */
	uint64_t n_accepted;  /* TCP clients, ever */
	uint64_t n_displaced; /* of them, those cut off because more came than are served at once */
	uint64_t n_timed_out; /* and those that were idle or too slow */
	uint64_t n_malformed; /* and those that sent a frame that cannot be a query */
	size_t n_clients;     /* TCP clients now */
};

/* One address that is to be listened on. */
struct dns_listener_view {
	struct endpoint endpoint;
	const char *error; /* NULL: it is listened on. Valid until the loop runs on. */
};

struct dns_options {
	bool (*is_reachable)(void *userdata, const struct ip_addr *address); /* see dns_source */
	void *userdata;
};

/* Listens nowhere yet. 0 or a negative errno. */
int dns_new(sd_event *loop, const struct dns_options *options, struct dns **ret);
struct dns *dns_free(struct dns *d); /* takes NULL; returns NULL */

/* Listens on these from now on, port 53 unless they have another; those that stay the same are not
 * touched. An address that cannot be listened on is no failure: it is logged, shown and tried again. */
void dns_listen(struct dns *d, const struct endpoints *listen);
/* Answers from this zone from now on; takes it over. NULL: nothing is known, SERVFAIL. */
void dns_set_zone(struct dns *d, struct dns_zone *zone);

struct dns_stats dns_stats(const struct dns *d);
/* NULL: no table known yet. */
const struct dns_zone *dns_get_zone(const struct dns *d);
/* All that are wanted. Caller frees. */
struct dns_listener_view *dns_listeners(const struct dns *d, size_t *ret_n);
