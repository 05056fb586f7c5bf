/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The VIP table by the overlay: the vipd beside the leading Mesos master publishes it, all others
 * follow, and poll Mesos only while no publisher is heard.
 *
 * A state machine without sockets, clocks, logs or randomness of its own: it is handed messages and
 * the time, and hands back messages and what the daemon is to do. A simulation runs this very code.
 *
 * What is published. The whole table, as a set of small records with a digest (record.h, store.h); how
 * it is said is drawn in wire.h. A table has a *version*: term, node, sequence, compared in this
 * order. After each poll of its master the publisher multicasts either an announcement (nothing
 * is new, but I am here) or a delta. A delta names the digest it applies to and the digest it leads
 * to, so it applies to whoever holds that content, and to nobody else; it is tried on a copy, and
 * taken if the digest is right. Whoever has missed something, or starts, or is told of a change too large
 * to be multicast, compares the digests of 1,024 buckets with a neighbour and fetches those that
 * differ, page by page, into a copy, which is taken when it is complete and its digest is the one
 * that the publisher announced. So no half table is ever in force, and any node that has a version can
 * serve it: ten thousand agents that start together load each other, not a master.
 *
 * Who publishes. Mesos' own election decides who leads; vipd only listens to the master beside it, and
 * publishes while that says that it leads. Its first version then has a term that is greater
 * than any that this node has heard of or written down: a Lamport clock. No wall clock
 * takes part. Mesos tells when a master was elected, but by the clock of that master, and one that is
 * an hour fast would win for an hour. The cases:
 *
 *  - A new leader: its vipd was in the overlay, so it knows the old one's term and goes above it.
 *  - A publisher that restarts, also without its disk: it listens to its neighbours before it claims.
 *  - Two masters that both believe they lead, for as long as the old one has not noticed: the one that
 *    claimed last has the greater term, and the other yields when it hears it. It does not claim
 *    again while it hears the winner, so they do not climb over each other. When a
 *    publisher's master stops leading it says so, and who had yielded to it claims at once.
 *  - Two that claim the same term without having heard each other: node ids decide.
 *  - Two halves, each with a publisher, and then healed: whoever hears a live publisher of a term less than
 *    one it knows tells its neighbours of that one. The news reaches the publisher, which
 *    goes above it.
 *
 * The price: while a master wrongly believes that it leads, and is the only one whose vipd is heard (or,
 * after a split of the overlay, the one with the greater term), what it says is believed, as by
 * those that would poll it. That ends when it notices, within Mesos' session time-out of ZooKeeper.
 *
 * Who follows. A node believes versions of nodes that its daemon takes for masters, nobody else's,
 * whoever relays them. It *counts on* a publisher whose announcements come: one within `timeout`. While
 * the table it holds is the announced one, it is confirmed; when it was not confirmed for
 * `timeout`, by silence or because it cannot be had, the node polls Mesos itself.
 *
 * Which is newer, a polled table or a published one? A node that polls takes what it polls. It
 * stops polling when it has heard the publisher for a while (two announcements, RETURN_AFTER
 * apart; the overlay delivers what was said up to a minute ago, but all at once), and goes back
 * to it when it holds a version that was said after its own last poll. Heard after it does not
 * suffice; said after it is what comes RETURN_AFTER behind something that was heard after it. A
 * publisher speaks right after its poll, so that is what the master said later. A node that
 * starts has nothing to lose: a neighbour's word that it hears the publisher is enough.
 *
 * Likewise a greater term alone changes nothing in force. While a publisher of a lesser one is counted
 * on and its node is up, the new one must be heard twice too: what comes may be the last words of one
 * that does not lead any more, from the other side of a split that has just healed. So may what comes
 * of the term of one that has stopped: who goes on from there takes a greater one. And so may whatever
 * comes just after a link came up, whether or not the publisher of before is still there.
 */
#include "agent/publish/wire.h"
#include "agent/util.h"

enum {
	PUBLISH_NEIGHBOURS_MAX = 32, /* more are not asked */
};

struct publish_options {
	uint64_t node;  /* this node's id in the overlay; not 0 */
	uint64_t term;  /* the greatest that was written down; 0: none */
	bool may_lead;  /* a Mesos master runs beside it */
	nsec_t timeout; /* without a confirmation: then Mesos is polled; 0: 15 s */
	uint64_t seed;  /* of all randomness */
	/* Whether this node is a master, whose versions count, whoever tells of them; and, if it
	 * `speaks` itself, is up at this moment. What it said in an earlier life is not to be handed
	 * over at all. */
	bool (*believes)(void *userdata, uint64_t node, bool speaks);
	void *userdata;
};

enum publish_mode {
	PUBLISH_LISTENING, /* there may be a publisher: Mesos is not polled yet, or for a moment */
	PUBLISH_FOLLOWING, /* the table is the publisher's */
	PUBLISH_POLLING,   /* no publisher is heard: the table is polled */
	PUBLISH_LEADING,   /* publishes what its own master says */
};

struct publish;

struct publish *publish_new(const struct publish_options *options, nsec_t now);
struct publish *publish_free(struct publish *p); /* takes NULL; returns NULL */

/* ---- in: from the overlay ---- */

/* Any bytes are survived; what is not understood or not believed is counted. */
void publish_take_multicast(
	struct publish *p, nsec_t now, uint64_t origin, const uint8_t *bytes, size_t n);
void publish_take_request(
	struct publish *p, nsec_t now, uint64_t from, uint32_t tag, const uint8_t *bytes, size_t n);
void publish_take_response(
	struct publish *p, nsec_t now, uint64_t from, const uint8_t *bytes, size_t n);
/* The nodes that can be asked. */
void publish_set_neighbours(struct publish *p, nsec_t now, const uint64_t *ids, size_t n);

/* ---- in: from the daemon ---- */

/* Its own master leads, and says this; to be called after each poll, changed or not. True if the
 * table is to be used here; false if another publisher is followed although this one leads. */
bool publish_lead(struct publish *p, nsec_t now, const struct vip_table *table);
/* A Mesos master runs beside it, or none does. */
void publish_set_may_lead(struct publish *p, nsec_t now, bool may);
/* Its own master does not lead. */
void publish_stop_leading(struct publish *p, nsec_t now);

/* A table that was polled by this node is in force now. */
void publish_polled(struct publish *p, nsec_t now);

void publish_tick(struct publish *p, nsec_t now);
nsec_t publish_deadline(const struct publish *p); /* UINT64_MAX: none */

/* ---- out ---- */

enum publish_output_kind {
	OUTPUT_TERM,      /* publish_status().term is greater: write it down before the next pop */
	OUTPUT_MODE,      /* publish_mode() is another one */
	OUTPUT_MULTICAST, /* `bytes` to everyone */
	OUTPUT_REQUEST,   /* to neighbour `peer` */
	OUTPUT_RESPONSE,  /* to neighbour `peer`, under `tag` */
	OUTPUT_TABLE,     /* publish_table() is in force now */
	OUTPUT_CONFIRMED, /* it still is */
	OUTPUT_LEAD,      /* ask its own master again, or if its events say that nothing is new,
			   * call publish_lead() */
};

struct publish_output {
	enum publish_output_kind kind;
	uint64_t peer;
	uint32_t tag;
	const uint8_t *bytes; /* until the next call */
	size_t n;
};

/* The next one; false if there is none. */
bool publish_pop(struct publish *p, struct publish_output *ret);

/* ---- to look at ---- */

enum publish_mode publish_mode(const struct publish *p);
const char *publish_mode_text(enum publish_mode mode);
/* A new table of what is held. */
struct vip_table *publish_table(struct publish *p, bool no_ipv6);

struct publish_status {
	enum publish_mode mode;
	struct version have;      /* what is held */
	struct version announced; /* the newest that was heard of */
	uint64_t term;            /* the greatest that was heard of */
	uint8_t root[STORE_DIGEST];
	size_t n_records;
	nsec_t heard;     /* when the publisher was heard last; 0: never */
	nsec_t confirmed; /* when the table was the announced one last; 0: never */
	bool fetching;
	/* Counters. */
	uint64_t announcements, deltas, deltas_applied, fetches, pages, served, bytes_out;
	uint64_t malformed, disbelieved, refused; /* refused: a digest was wrong, a bound was met */
	uint64_t claims, yields, fallbacks, returns;
};
void publish_status(struct publish *p, struct publish_status *ret);

/* ---- A shortcut for simulations ---- */

/* Holds what the other one publishes, and follows it, as if all had been received. */
void publish_preload(struct publish *p, nsec_t now, const struct publish *leader);
