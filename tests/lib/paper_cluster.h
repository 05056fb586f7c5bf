/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * A cluster on paper: nodes that are nothing but the publishing state machine, with what the daemon does
 * around it (poll the own master, poll the truth while no publisher is heard, put tables in
 * force), on a network of calls. Masters are the first `n_masters`. All randomness is the seed's.
 *
 * Checked all along, the first breach in `error`: what is in force anywhere is one of the tables that
 * there are, whole; and a node never goes back to an older one, while one master leads.
 */
#include "agent/publish/publish.h"

/* Tables are numbered; a greater number is a later truth. These are large. */
enum { PAPER_MIDDLE = 100, PAPER_LARGE = 101 };

struct paper_node {
	struct publish *publish; /* NULL: not running */
	bool may_lead, leads;
	unsigned int doc; /* what its own master says; PAPER_TRUTH: the truth */
	uint64_t term;    /* written down */
	nsec_t poll_at, stopped_at;
	uint32_t life;
	int in_force;      /* number of the table; -1: none */
	unsigned int side; /* of a split */
};
#define PAPER_TRUTH UINT32_MAX

struct paper_event;

struct paper {
	unsigned int n, n_masters;
	struct paper_node *nodes;
	nsec_t now;
	uint64_t random;
	unsigned int truth;                   /* number of the table that leading masters know */
	unsigned int cast_loss, message_loss; /* per mille */
	unsigned int casts_left;              /* multicasts that still get out */
	bool split;
	uint64_t n_polls; /* of the truth, by nodes that follow nobody */
	size_t n_events, events_allocated;
	struct paper_event *events;
	size_t n_said; /* multicasts of the last minute */
	struct paper_event *said;
	const char *error;
};

struct paper *paper_new(unsigned int n, unsigned int n_masters, uint64_t seed);
struct paper *paper_free(struct paper *c);
void paper_run(struct paper *c, nsec_t duration);
uint64_t paper_random(struct paper *c, uint64_t below);
uint64_t paper_id(unsigned int i);

/* Master i leads alone, and from now on the truth is this table. */
void paper_lead(struct paper *c, unsigned int i, unsigned int table);
/* It leads too; what others say stays as it was. */
void paper_lead_other(struct paper *c, unsigned int i, unsigned int table);
void paper_not_leading(struct paper *c, unsigned int i);
void paper_poll_now(struct paper *c, unsigned int i);
void paper_stop(struct paper *c, unsigned int i);
void paper_start(struct paper *c, unsigned int i);
/* Even and odd numbers do not hear each other; healed, each side gets what the other has said within
 * the last minute. */
void paper_split(struct paper *c, bool split);
/* Leaders change and overlap, nodes and publishers restart, the network splits and loses. Well
 * again at the end. */
void paper_random_faults(struct paper *c, nsec_t duration);

uint64_t paper_polls(const struct paper *c);
void paper_reset_polls(struct paper *c);
bool paper_holds(const struct paper *c, unsigned int i, const struct vip_table *t);
bool paper_all_equal(const struct paper *c); /* and the truth */

struct ip_addr paper_ip(const char *text);
struct vip_table *paper_table(unsigned int number); /* caller frees */
/* The same in everything that is published, task ids included. */
bool paper_same(const struct vip_table *a, const struct vip_table *b);
