/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The overlay: who is in the cluster, who is alive, and a way to tell everyone.
 *
 * A library without sockets, clocks, logs or randomness of its own. It is handed bytes and
 * the time; it hands back *effects* (what the outside should do: send, connect, probe) and
 * *events* (what the outside should know: a node is down). One `struct gossip` is one node.
 * Nothing is shared between two of them; none may be used by two threads at once.
 *
 * A turn of the outside's loop:
 *
 *	read every pending datagram      gossip_receive()       first: see gossip_tick()
 *	read every link                  gossip_link_*()
 *	if the deadline has passed       gossip_tick()
 *	until false                      gossip_pop_effect()    do it
 *	until false                      gossip_pop_event()     believe it
 *	sleep until                      gossip_deadline()
 *
 * `now` is monotonic, in nanoseconds, never less than in an earlier call. No wall clock takes
 * part in the protocol. The same calls with the same seed give the same effects, byte for byte.
 *
 * Datagrams and links are expected to be authenticated by the outside: whoever can hand bytes
 * to gossip_receive() is a member. Any bytes are survived; what does not parse is counted.
 *
 * Functions that return int: 0, -ENOMEM (the call was applied as far as memory went, the
 * object is whole), or what they name.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t nsec_t;
#define NSEC_PER_MSEC ((nsec_t)1000000)
#define NSEC_PER_SEC ((nsec_t)1000000000)
#define NSEC_NEVER UINT64_MAX

/* Bounds, whatever comes in. Together they bound an object's memory: see gossip_memory_max(). */
enum {
	GOSSIP_MEMBERS_MAX = 65000, /* dense 16-bit indices name members */
	GOSSIP_NEIGHBOURS_MAX = 12, /* active view: target 8, ceiling for those in need 12 */
	GOSSIP_LINKS_MAX = 32,      /* active, opening and being greeted together; one bit each */
	GOSSIP_LOST_MAX = 16,       /* lost neighbours that a record speaks of */
	GOSSIP_METADATA_MAX = 512,  /* bytes of metadata in a record: a record fits a datagram */
	GOSSIP_DATAGRAM_MAX = 1152, /* bytes in a packet effect: 1,200 with 44 of encryption */
	GOSSIP_FRAME_MAX = 65536,   /* bytes of one message on a link, its head included */
	GOSSIP_CAST_MAX = 32768,    /* bytes of a multicast, request or response */
	GOSSIP_CONTACTS_MAX = 64,   /* addresses to join through */
	GOSSIP_WITNESSES_MAX = 8,   /* addresses that prove that this node's own path works */
	GOSSIP_PASSIVE_MAX = 30,    /* passive view, HyParView's figure for 10,000 nodes */
	GOSSIP_EVENTS_MAX = 65536,  /* unread events; node events never exceed two a member */
	GOSSIP_QUEUE_BYTES_MAX = 16 << 20, /* of effects, of events, that nobody has popped */
	/* Bytes of records and news, asked for or not, that go out in any second. What is more is dropped
	 * and counted as refused; digests repair it later. The most that was simulated, a start of
	 * 1,000 at once, is a quarter of this; it is two thirds of what 100 Mbit/s carry. Heartbeats,
	 * tests, greetings and the application's own always go: they are bounded by what they answer. */
	GOSSIP_RATE_MAX = 8 << 20,
	GOSSIP_MESSAGE_KINDS = 23, /* message types, from 1; for gossip_stats.sent */
};

struct gossip_addr {
	uint8_t family;    /* 4, 6, or 0 for none */
	uint16_t port;     /* host order */
	uint8_t bytes[16]; /* network order; IPv4 in the first four, the others zero */
};

bool gossip_addr_equal(const struct gossip_addr *a, const struct gossip_addr *b);

struct gossip_config {
	uint64_t id; /* who this node is, for as long as its disk lives; not 0 */
	uint64_t
		incarnation; /* greater at every start: a boot counter above a random tail; not 0 */
	uint64_t seed;       /* of all randomness; different on every node */
	struct gossip_addr address;
	const void *metadata; /* copied */
	size_t n_metadata;

	/* How to detect. gossip_config_init() sets what the simulator found to be the right
	 * corner (tests/sim, curves); each is explained in detector.c. */
	nsec_t beat_interval; /* a heartbeat to the next neighbour in turn */
	nsec_t slack_min;     /* lateness of a heartbeat that is not yet remarkable */
	nsec_t try_interval;  /* between the pings of a test */
	unsigned n_tries_min; /* pings of a test without measured loss */
	unsigned n_tries_max; /* pings of a test on the worst network */
	nsec_t stall_after;   /* silence of a process on a live host before its link is severed */
	/* Whom to hold to. */
	unsigned degree;            /* neighbours wanted */
	unsigned minority_permille; /* smaller parts of the cluster than this give no verdict */
	nsec_t forget_after;        /* down for this long: the record goes */
	unsigned n_members_max;     /* at most GOSSIP_MEMBERS_MAX */
};

/* Zeroes *config and sets the defaults. */
void gossip_config_init(struct gossip_config *config);

struct gossip;

/* A node that knows nobody yet. 0, -ENOMEM, -EINVAL (id, incarnation or address missing, a
 * bound exceeded). */
int gossip_new(struct gossip **ret_g, const struct gossip_config *config, nsec_t now);
struct gossip *gossip_free(struct gossip *g); /* takes NULL; returns NULL */

/* ---- In ---- */

/* A datagram came. `from` is where it seemed to come from. */
int gossip_receive(struct gossip *g, nsec_t now, const struct gossip_addr *from, const void *bytes,
	size_t n_bytes);
/* The deadline has passed (earlier or repeated calls are harmless). Call it after everything
 * that had arrived was handed over: the distance from deadline to `now` is taken as lateness of
 * the own loop, and forgives others theirs. */
int gossip_tick(struct gossip *g, nsec_t now);
nsec_t gossip_deadline(const struct gossip *g); /* NSEC_NEVER never happens in practice */

enum gossip_close {
	GOSSIP_CLOSE_EOF,     /* the other side closed */
	GOSSIP_CLOSE_RESET,   /* reset: its kernel lives, its process may not */
	GOSSIP_CLOSE_REFUSED, /* an open was refused: likewise */
	GOSSIP_CLOSE_ERROR,   /* timed out, unreachable, or broken framing or encryption */
};

/* Someone opened a link (a stream, encrypted, in order). 0 with a handle; -EMFILE: too many,
 * close it. */
int gossip_link_accepted(
	struct gossip *g, nsec_t now, const struct gossip_addr *from, uint32_t *ret_link);
/* A GOSSIP_EFFECT_LINK_OPEN succeeded. Unknown handles are ignored, here and below. */
int gossip_link_opened(struct gossip *g, nsec_t now, uint32_t link);
/* Bytes of a stream, in any portions. */
int gossip_link_bytes(
	struct gossip *g, nsec_t now, uint32_t link, const void *bytes, size_t n_bytes);
/* How much of what was handed out for this link is not yet on its way. Above
 * GOSSIP_BACKLOG_MAX only what cannot wait is added. */
void gossip_link_backlog(struct gossip *g, uint32_t link, size_t n_bytes);
#define GOSSIP_BACKLOG_MAX (256 * 1024)
/* A link is gone, or could not be opened. Not called for links that gossip closed. */
int gossip_link_closed(struct gossip *g, nsec_t now, uint32_t link, enum gossip_close reason);

enum gossip_probe {
	GOSSIP_PROBE_ANSWERED, /* SYN-ACK: a process listens, running or not */
	GOSSIP_PROBE_REFUSED,  /* RST or port unreachable: a kernel, no process */
	GOSSIP_PROBE_SILENT,   /* nothing; need not be reported */
	GOSSIP_PROBE_LOCAL, /* this node had no way to send: its route may be gone with the host */
	GOSSIP_PROBE_NOT_ASKED, /* it had no descriptor or port left to ask by: no evidence */
};

/* What came of a GOSSIP_EFFECT_PROBE. */
int gossip_probe_result(struct gossip *g, nsec_t now, uint32_t probe, enum gossip_probe result);

/* What the node knows about its own path: false while the carrier is down or sends fail
 * locally. Starts true. */
void gossip_set_local(struct gossip *g, nsec_t now, bool ok);
/* Addresses to join through and to fall back on, for ever. Replaces the list. -E2BIG. */
int gossip_set_contacts(struct gossip *g, nsec_t now, const struct gossip_addr *contacts, size_t n);
/* Hosts outside the overlay (gateway, masters) whose kernel's answer proves that this node is
 * not the one cut off. Replaces the list; this node's own address is left out. -E2BIG. */
int gossip_set_witnesses(struct gossip *g, const struct gossip_addr *witnesses, size_t n);
/* Replaces this node's metadata and spreads it. -E2BIG. */
int gossip_set_metadata(struct gossip *g, nsec_t now, const void *bytes, size_t n);
/* A pinned member is not forgotten however long it is down. */
void gossip_set_pinned(struct gossip *g, uint64_t id, bool pinned);

/* Tells every member that is linked now or within a minute, each exactly once, over the
 * multicast tree. -E2BIG; -ENOBUFS: too many unacknowledged by time, try later. */
int gossip_multicast(struct gossip *g, nsec_t now, const void *bytes, size_t n);
/* To one neighbour. Requests are answered by gossip_respond() with the tag of the event.
 * -ENOTCONN: not a neighbour. -E2BIG. -ENOBUFS: backlog. */
int gossip_request(struct gossip *g, nsec_t now, uint64_t neighbour, const void *bytes, size_t n,
	uint32_t *ret_tag);
int gossip_respond(struct gossip *g, nsec_t now, uint64_t neighbour, uint32_t tag,
	const void *bytes, size_t n);

/* ---- Out ---- */

enum gossip_effect_kind {
	GOSSIP_EFFECT_PACKET,     /* send `bytes` to `address`; at most GOSSIP_DATAGRAM_MAX */
	GOSSIP_EFFECT_LINK_OPEN,  /* connect to `address`; report under handle `link` */
	GOSSIP_EFFECT_LINK_SEND,  /* append `bytes` to `link` */
	GOSSIP_EFFECT_LINK_CLOSE, /* after what was sent; the handle is dead already */
	GOSSIP_EFFECT_LINK_ABORT, /* the same for one whose other end is silent: at once */
	GOSSIP_EFFECT_PROBE,      /* one TCP SYN to `address`, close at once; report under `link` */
};

struct gossip_effect {
	enum gossip_effect_kind kind;
	uint32_t link; /* LINK_*: the link. PROBE: the probe */
	struct gossip_addr address;
	const uint8_t *bytes; /* valid until the next call that is not a pop */
	size_t n_bytes;
};

/* The oldest effect; false if there is none. */
bool gossip_pop_effect(struct gossip *g, struct gossip_effect *ret);

enum gossip_status {
	GOSSIP_STATUS_UNKNOWN,   /* named by others, own record not seen, or never seen linked */
	GOSSIP_STATUS_UP,        /* a path of links leads to it */
	GOSSIP_STATUS_STALLED,   /* no path; its kernel answers, its process does not */
	GOSSIP_STATUS_AGENTLESS, /* no path; its kernel answers, it has no process */
	GOSSIP_STATUS_DOWN,      /* no path, and no one hears its host */
};

enum gossip_event_kind {
	GOSSIP_EVENT_NODE,      /* `id` has `status` now: never the same twice in a row */
	GOSSIP_EVENT_FORGOTTEN, /* `id` is no member any more */
	GOSSIP_EVENT_SELF,      /* `self` has changed */
	GOSSIP_EVENT_METADATA,  /* `id` has new metadata or another address */
	GOSSIP_EVENT_DEGRADED,  /* the link to `id` carries pings by TCP only */
	GOSSIP_EVENT_CONFLICT,  /* someone else speaks as this node, from a later start: stop */
	GOSSIP_EVENT_MULTICAST, /* `bytes` from `id` */
	GOSSIP_EVENT_REQUEST,   /* `bytes` from `id`, to be answered under `tag` */
	GOSSIP_EVENT_RESPONSE,  /* `bytes` from `id`, to request `tag` */
};

enum gossip_self {
	GOSSIP_SELF_WELL,
	GOSSIP_SELF_MINORITY, /* this part of the cluster is too small to judge the others */
	GOSSIP_SELF_CUT_OFF,  /* no link at all, and nothing proves that the fault is elsewhere */
};

struct gossip_event {
	enum gossip_event_kind kind;
	enum gossip_status status;
	enum gossip_self self;
	uint64_t id, incarnation;
	uint64_t accuser; /* NODE, not UP: one of those whose test failed; else 0 */
	nsec_t silent;    /* NODE, not UP: since when no path has led there */
	/* NODE, DOWN: how it came to be known at this node. 0: not here, but at others. */
	nsec_t missed;  /* the first heartbeat or ping that was missed */
	nsec_t probed;  /* the first question to its kernel */
	nsec_t severed; /* the first link to it that was known to be severed */
	uint32_t tag;
	const uint8_t *bytes; /* valid until the next call that is not a pop */
	size_t n_bytes;
};

/* The oldest event; false if there is none. */
bool gossip_pop_event(struct gossip *g, struct gossip_event *ret);

/* ---- To look at ---- */

struct gossip_member {
	uint64_t id, incarnation, version;
	struct gossip_addr address;
	enum gossip_status status;
	bool reachable; /* a path leads to it: UP, before events were popped */
	size_t n_neighbours;
	uint64_t neighbours[GOSSIP_NEIGHBOURS_MAX];
	size_t n_lost;
	struct {
		uint64_t id;
		enum gossip_status status; /* DOWN: heard nothing of it; else its kernel answers */
	} lost[GOSSIP_LOST_MAX];
	const uint8_t *metadata; /* until the next call */
	size_t n_metadata;
};

/* The first member at or after *cursor (start at 0), this node included, in no special but a
 * steady order; moves the cursor on. False at the end. */
bool gossip_member_next(const struct gossip *g, size_t *cursor, struct gossip_member *ret);
bool gossip_member_get(const struct gossip *g, uint64_t id, struct gossip_member *ret);
/* The status alone: cheaper. */
enum gossip_status gossip_member_status(const struct gossip *g, uint64_t id);

struct gossip_neighbour {
	uint64_t id;
	bool listed;   /* in this node's record: an edge, if the other lists it too */
	bool testing;  /* silent, being tested */
	bool degraded; /* pings by TCP only */
	bool unheard;  /* the other side says by TCP that it gets no datagram of ours */
	bool eager;    /* on the multicast tree */
	bool incoming; /* the other side opened the link */
	nsec_t heard;  /* last sign of life */
	nsec_t rtt_min, rtt_median, rtt_max; /* of the window; 0 if it is empty */
	nsec_t timeout;                      /* of a ping, now */
	unsigned loss_permille;
};

bool gossip_neighbour_next(const struct gossip *g, size_t *cursor, struct gossip_neighbour *ret);

/* Messages of one type, both ways of sending together. */
struct gossip_sent {
	uint64_t messages, bytes; /* of the messages alone: without heads and encryption */
};

struct gossip_stats {
	size_t n_members, n_reachable, n_neighbours, n_links, n_absent, n_rumours, n_lost;
	size_t n_memory; /* bytes held */
	uint64_t digest; /* equal digests mean equal tables */
	enum gossip_self self;
	unsigned loss_permille;
	nsec_t lateness; /* of the own loop while it runs, allowed for in every time-out */
	/* Counters, since the start. */
	uint64_t packets_in, packets_out, bytes_in, bytes_out; /* datagrams, before encryption */
	uint64_t frames_in, frames_out, link_bytes_in, link_bytes_out;
	struct gossip_sent sent[GOSSIP_MESSAGE_KINDS];
	uint64_t opens;       /* links that were asked for */
	uint64_t pauses;      /* times that the own loop stood still for half a second or more */
	nsec_t longest_pause; /* of these */
	uint64_t malformed;   /* messages dropped: did not parse */
	uint64_t refused;     /* messages dropped: a bound was met */
	uint64_t beats_missed, tests, tests_heard, probes, words;
	uint64_t severed_silent, severed_stalled, severed_agentless, severed_by_peer;
	uint64_t rumours_new, rumours_known, rumours_dropped, pulls, syncs;
	uint64_t reach_steps; /* members visited by reachability updates */
	uint64_t casts, casts_known, grafts, prunes;
};

void gossip_stats(const struct gossip *g, struct gossip_stats *ret);
/* The most that n_memory can be where up to `n` members were in the table at a time. */
size_t gossip_memory_max(size_t n);
const char *gossip_status_name(enum gossip_status status);
/* What an index of gossip_stats.sent stands for ("beat"); NULL for none. */
const char *gossip_message_name(unsigned kind);

/* ---- A shortcut for simulations and restarts ---- */

/* One member's record as if it had been received; `neighbours` are ids. Members learned so are
 * not news to anyone. 0, -ENOMEM, -ENOSPC. */
int gossip_preload(struct gossip *g, uint64_t id, uint64_t incarnation, uint64_t version,
	const struct gossip_addr *address, const uint64_t *neighbours, size_t n);
/* The table of another node, this one's record in it included; nothing of its state. Far faster
 * than record by record. -EINVAL: this node is not in it, or anyone has metadata, an IPv6
 * address or a lost neighbour. */
int gossip_preload_from(struct gossip *g, const struct gossip *other);
/* Where a member stands on ring 0, 1, ... of degree / 2, each in another order: when all is at rest,
 * those next to each other on a ring (it closes from the last to the first) are neighbours. */
uint64_t gossip_ring_place(uint64_t id, unsigned ring);
/* A link that is open and agreed already; `rtt` seeds the window. */
int gossip_preload_link(
	struct gossip *g, nsec_t now, uint64_t id, nsec_t rtt, bool outgoing, uint32_t *ret_link);
/* Bytes that the first `n` members will need, now instead of as they come. */
int gossip_reserve(struct gossip *g, size_t n);
