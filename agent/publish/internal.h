/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/* What publish.c (who publishes, who follows) and fetch.c (how a version is had) share. */
#include "agent/publish/publish.h"

#define NEVER UINT64_MAX

/* Deltas that cannot be applied yet: they came before others, or during a fetch. */
enum { PENDING_MAX = 64 };
#define PENDING_BYTES_MAX ((size_t)2 << 20)

struct pending {
	struct version version;
	uint8_t root[STORE_DIGEST], before[STORE_DIGEST];
	unsigned int n_parts;
	uint8_t *parts[WIRE_PARTS_MAX];
	size_t n[WIRE_PARTS_MAX];
};

struct neighbour {
	uint64_t id;
	struct version version; /* that it spoke of last */
	bool tried;             /* in this round of fetching */
};

enum fetch_state {
	FETCH_IDLE,
	FETCH_ASKED,    /* for a summary */
	FETCH_FETCHING, /* pages of `version` */
};

struct fetch {
	enum fetch_state state;
	nsec_t due; /* idle: when to begin, NEVER if there is nothing to fetch; else: when to give up */
	uint64_t peer;
	uint32_t nonce;
	struct version version;
	uint8_t root[STORE_DIGEST];
	uint8_t *digests; /* WIRE_DIGESTS, of that version */
	struct store
		*staging; /* what was held, with the buckets that came since; NULL: nothing did */
	uint8_t wanted[WIRE_BITMAP];
	uint32_t skip; /* records of the first wanted bucket that came already */
};

struct output {
	enum publish_output_kind kind;
	uint64_t peer;
	uint32_t tag;
	uint8_t *bytes;
	size_t n;
};

struct publish {
	struct publish_options options;
	nsec_t now, listen_until;
	uint64_t random;
	enum publish_mode mode, mode_told;

	struct store *store;
	struct version have; /* of `store`; zero: none */
	struct version top;  /* the greatest that was heard of */
	uint8_t top_root[STORE_DIGEST];
	bool top_certain; /* the publisher itself said so */
	uint64_t term;    /* the greatest that was heard of */
	nsec_t told_at;   /* neighbours were told of `top` in answer to a lesser publisher */

	/* The publisher of `top` */
	bool live;      /* is counted on */
	bool left;      /* said that it goes */
	bool contested; /* `lesser` was counted on when it was first heard of */
	struct version lesser;
	nsec_t lesser_at; /* when that was heard last */
	struct version beat_of;
	uint32_t beat;
	nsec_t beat_at;    /* last heard; 0: never */
	nsec_t beat_mark;  /* one that was heard before, from which RETURN_AFTER is measured */
	nsec_t said_after; /* what was heard last had not been said yet then; 0: that is not known */
	nsec_t confirmed_at;
	nsec_t polled_at;     /* this node polled a table last */
	struct version given; /* that is in force by OUTPUT_TABLE; zero: another table is */

	/* This node as a publisher */
	bool leading;
	bool claimed; /* since its master leads */
	bool listened;
	nsec_t own_at;   /* its own leading master's table was given last; 0: it does not lead */
	nsec_t yield_at; /* gave way to a greater term */
	nsec_t sent_at, remind_at;
	uint32_t own_beat;

	nsec_t linked_at; /* a neighbour came last */
	size_t n_neighbours;
	struct neighbour neighbours[PUBLISH_NEIGHBOURS_MAX];
	size_t n_pending, n_pending_bytes;
	struct pending pending[PENDING_MAX];
	struct fetch fetch;

	bool term_due, table_due, confirmed_due, lead_due;
	size_t n_outputs, outputs_allocated, output_first;
	struct output *outputs;
	uint8_t *popped;
	struct publish_status counts;
};

/* ---- publish.c ---- */

uint64_t publish_random(struct publish *p);
void publish_send(struct publish *p, enum publish_output_kind kind, uint64_t peer, uint32_t tag,
	const struct message *m);
/* Tells all neighbours but one of `top`. */
void publish_tell_top(struct publish *p, uint64_t except);
/* See publish_options; this node believes itself. */
bool publish_believes(const struct publish *p, uint64_t node, bool speaks);
/* Hears of a version. True if it is greater than any before. */
bool publish_note(struct publish *p, const struct version *v, const uint8_t *root, bool certain);
/* A neighbour counts on the publisher of `top`, and heard it so long ago. */
void publish_vouched(struct publish *p, nsec_t silence);
/* For how many milliseconds the publisher was not heard, as SUMMARY says it. */
uint32_t publish_silence(const struct publish *p);
/* `store` is this version now. Takes it over. */
void publish_hold(struct publish *p, struct store *store, const struct version *v);
bool publish_in_step(struct publish *p);

/* ---- fetch.c ---- */

/* Begins no later than at `when`, if idle. */
void fetch_soon(struct publish *p, nsec_t when);
/* There is nothing to fetch any more. */
void fetch_stop(struct publish *p);
void fetch_tick(struct publish *p);
void fetch_answer_ask(struct publish *p, uint64_t from, uint32_t tag, const struct message *m);
void fetch_answer_fetch(struct publish *p, uint64_t from, uint32_t tag, const struct message *m);
void fetch_take_summary(struct publish *p, uint64_t from, const struct message *m);
void fetch_take_body(struct publish *p, uint64_t from, const struct message *m);
/* A neighbour went. */
void fetch_lost(struct publish *p, uint64_t id);
struct neighbour *fetch_neighbour(struct publish *p, uint64_t id); /* NULL: none */
