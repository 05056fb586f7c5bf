/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * DNS messages: the bytes of a query and the names of a table make the bytes of an answer. Pure: no
 * sockets, no clock.
 *
 * Authoritative for four zones with the same names: l4lb.thisdcos.directory and its aliases
 * dclb.thisdcos.directory, l4lb.thisdcos.global, dclb.thisdcos.global. Each name has at most one A
 * and one AAAA record; the zone itself SOA and NS, and its server, ns.ZONE, an address.
 */
#include "agent/serve/dns_zone.h"

/* No query that makes sense is longer: a name has 255 bytes, EDNS' options a few hundred. */
#define DNS_QUERY_MAX 4096
/* What fits into the packets of any network without fragments (dnsflagday.net/2020); said in EDNS,
 * and more than any answer of ours has. */
#define DNS_ANSWER_MAX 1232
/* Room for any question, and for EDNS. */
#define DNS_ANSWER_MIN 288
/* Time that an answer may be kept (s), the negative ones too: a name's address hardly ever changes,
 * but a name that is gone should be so for everyone soon. dcos-net has the same. */
#define DNS_TTL 5U
/* An answer is longer than its query by no more than this: nobody's flood is multiplied here. */
#define DNS_GROWTH_MAX 100

/* Answers are counted by RCODE: 0 to 15, and EDNS' BADVERS. */
#define DNS_N_RCODES 17
/* "noerror", "nxdomain", ...; NULL for those that are never given. */
const char *dns_rcode_text(unsigned int rcode);

/* Counters, since the start. */
struct dns_counts {
	uint64_t n_queries;               /* messages taken */
	uint64_t n_ignored;               /* of them, those that are not answered: no queries */
	uint64_t n_answers[DNS_N_RCODES]; /* made, by RCODE */
	uint64_t n_truncated;             /* of them, with TC: did not fit */
};

/* What is answered from. */
struct dns_source {
	const struct dns_zone *zone; /* NULL: the names are not known (yet); then SERVFAIL */
	/* Where the query arrived, and so where the client can reach the zones' server. */
	struct ip_addr self;
	/* True if connections to this VIP address are forwarded: only then is it told. */
	bool (*is_reachable)(void *userdata, const struct ip_addr *address);
	void *userdata;
};

/*
 * Answers the message `query` of n_query bytes into `answer`, of at most n_answer bytes, and of at
 * most what the client takes if it comes by UDP (`stream` false). Returns the answer's length; 0 if
 * there is to be none: the message is an answer itself, or too short to have a number.
 * `n_answer` is at least DNS_ANSWER_MIN; what does not fit is left out and the answer marked as
 * truncated.
 */
size_t dns_answer(const struct dns_source *source, const uint8_t *query, size_t n_query,
	bool stream, uint8_t *answer, size_t n_answer, struct dns_counts *counts);
