/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * What the files of the overlay share: the object, and the calls between its parts.
 *
 *	gossip.c      the object's life, the doors in and out, timers
 *	membership.c  links and views: whom to be a neighbour of          (HyParView)
 *	detector.c    heartbeats, tests, kernel probes: is a neighbour there?
 *	adjacency.c   every member's record; which of them a path leads to
 *	spread.c      records to everyone: rumours, digests, sync
 *	verdict.c     from "no path" to down, or to self-doubt
 *	multicast.c   the application's messages to everyone              (Plumtree)
 *	wire.c        bytes
 *
 * Calls go from the doors inwards; what a part learns it tells the next one down this list:
 *
 *	bytes -> detector -> sever -> own record -> reachability -> absent -> verdict -> event
 *	                                  |
 *	bytes -> spread  -> others' records
 */
#include "gossip.h"
#include "wire.h"

#define NONE UINT16_MAX /* no member */
#define MSEC NSEC_PER_MSEC
#define SEC NSEC_PER_SEC

/* Lateness of the own loop after which what was read is no proof that anybody is still there: all
 * neighbours are tested, and no verdict is given for a while. */
#define LONG_PAUSE (500 * MSEC)
/* Of loss, which is counted in 65536ths. */
#define PERCENT 655

/* Bounds of memory, each explained where it is met. */
enum {
	RUMOURS_MAX = 1024,               /* spread.c */
	TOMBSTONES_MAX = 4096,            /* verdict.c */
	CASTS_MAX = 256,                  /* multicast.c */
	CAST_BYTES_MAX = 1 << 20,         /* multicast.c */
	MISSING_MAX = 256,                /* multicast.c */
	ORIGINS_MAX = GOSSIP_MEMBERS_MAX, /* multicast.c */
};

/* One member's record, compact: 64 bytes, since everyone holds everyone's. */
struct member {
	uint64_t id, incarnation; /* incarnation 0: named by others, record not seen */
	uint64_t version;
	uint8_t host[4]; /* IPv4; an IPv6 address is in g->v6 */
	uint16_t port;
	uint16_t since_add; /* versions since it last gained a neighbour, as its owner counts */
	uint8_t family : 4, n_neighbours : 4;
	uint8_t status : 3; /* enum gossip_status, as announced */
	uint8_t n_lost : 5; /* entries in g->lost with this owner */
	uint16_t neighbours[GOSSIP_NEIGHBOURS_MAX];
	uint16_t mutual; /* bit per neighbour: it lists us too. The edges */
	uint16_t parent; /* on a tree of edges rooted in this node; NONE: no path */
	uint8_t flags;
};

enum {
	MEMBER_ABSENT = 1,  /* in g->absent */
	MEMBER_SEEN_UP = 2, /* its absence counts in self-doubt */
	MEMBER_PINNED = 4,
	MEMBER_FREE = 8,
	MEMBER_FORGOTTEN = 16, /* until the sweep */
	MEMBER_LINKED = 16, /* has no path, but a reachable member has just become its neighbour */
};

/* `owner` says of `subject`: I tested it, at `version` of its record, with this outcome. */
struct lost {
	uint64_t version;
	nsec_t since; /* when we learned of it */
	uint16_t owner, subject;
	uint16_t boot; /* of the incarnation that was tested */
	uint8_t op;
};

/* A member without a path. */
struct absent {
	uint16_t member;
	uint8_t votes; /* of reachable members that tested this version and heard nothing */
	uint8_t near;  /* of these, fresh ones of members that its record lists: its neighbours */
	uint8_t void_votes;      /* valid ones, but older than the last sign of life */
	bool stalled, agentless; /* a reachable member hears its kernel */
	bool was_heard;          /* so it was when that was counted before */
	bool reborn;             /* this life of it has had no path yet */
	bool noted;       /* judged at least once without a path: not just moved on the tree */
	bool settled;     /* missing for so long that self-doubt has stopped counting it */
	uint16_t accuser; /* one of the voters */
	nsec_t since;
	nsec_t heard;     /* when we learned last that someone hears it or its kernel; 0: never */
	nsec_t unheard;   /* when those who heard its kernel last were gone; 0: nobody was */
	nsec_t answered;  /* when it answered our own test, or its kernel did; 0: never */
	nsec_t next_look; /* when to consider a test of one's own again */
};

/* A member with a path that some of its neighbours have lost; what the others say is waited for. */
struct half_lost {
	uint16_t member; /* NONE: a free place */
	uint8_t n_asked;
	nsec_t next;
};

struct tombstone {
	uint64_t id, incarnation, version;
	nsec_t until;
};

/* A change of a record on its way to the neighbours. */
struct rumour {
	uint16_t owner;
	bool urgent; /* goes by itself; else it rides on heartbeats */
	bool flushed;
	uint32_t known; /* bit per link: the peer has it, or was sent it */
	uint16_t boot;
	uint8_t n_ops; /* 0: the whole record, as it is when sent */
	nsec_t born, due;
	uint64_t base;
	struct {
		uint64_t version;
		uint16_t subject, boot;
		uint8_t op;
	} ops[WIRE_OPS_MAX];
};

enum {
	RTT_WINDOW = 16, /* samples: at a beat every 2 s each, half a minute */
	BEATS_REMEMBERED = 4,
};

enum link_state {
	LINK_FREE,
	LINK_OPENING,  /* waiting for the outside */
	LINK_GREETING, /* accepted, HELLO not yet seen; or ours sent, REPLY not yet seen */
	LINK_ACTIVE,   /* the peer is a neighbour */
};

struct link {
	enum link_state state;
	uint32_t handle; /* 0: the stream is gone, the peer's fate is being found out */
	bool outgoing;
	bool listed;   /* peer is in our record */
	bool stalled;  /* peer was severed as stalled; the link is kept for its return */
	bool silent;   /* peer was severed as silent: nothing that was sent needs to arrive */
	bool proven;   /* datagrams have passed both ways: news may go by them */
	bool degraded; /* datagrams do not pass both ways: the link carries beats and pings too */
	bool degraded_told;
	uint8_t n_by_link; /* tests in a row that were answered on the link alone */
	bool eager;
	bool sync_wanted;
	uint8_t purpose;
	uint16_t peer;
	uint32_t number;
	uint64_t incarnation; /* of the peer that was greeted */
	uint64_t digest;      /* of the peer's table, then */
	struct gossip_addr address;
	nsec_t since;    /* of the state */
	nsec_t unlisted; /* since when the peer's record has not listed us; NSEC_NEVER */
	/* Heartbeats. */
	uint32_t order; /* place in the rotation */
	uint16_t seq, seq_in;
	bool any_in, echoed;
	nsec_t sent, received, heard, expected;
	nsec_t period; /* of the peer's heartbeats to us, as it said last; 0: it has not yet */
	nsec_t by_link_until; /* the peer gets no datagrams of ours: beats go by the link too */
	uint16_t loss;        /* 65536ths, of what comes in and of what goes out */
	uint8_t n_rtt, at_rtt, n_late, at_late;
	uint32_t rtt_us[RTT_WINDOW];
	uint16_t late_ms[RTT_WINDOW];
	/* Sync. */
	nsec_t synced, mismatch; /* last started; digests differ since */
	nsec_t news_at;          /* it was sent news by itself last */
	/* The stream. */
	size_t backlog, n_partial;
	uint8_t *partial;
};

enum {
	TESTS_MAX = 32,
	TRIES_MAX = 16,
	WATCHES_MAX = GOSSIP_LOST_MAX,
};

/* Is it there? Pings and kernel probes to one member, neighbour or not. */
struct test {
	uint16_t peer;
	uint16_t initiator; /* who told us; NONE: we noticed */
	uint16_t initiator2;
	bool told;              /* we told its other neighbours */
	bool closed;            /* its link was reset: the kernel is asked at once */
	bool refused, answered; /* what its kernel said */
	bool stalling;          /* its kernel answers: patience */
	bool hail;              /* one try, and only good news is news */
	bool by_link;           /* answered on the link, but not by datagram */
	bool doubted;           /* another neighbour has heard it */
	bool over;              /* it waits for another to be over, for one word of both */
	bool quiet;             /* nothing of its own was missed: no word before a ping is */
	uint8_t n_tries, max_tries;
	uint8_t n_asked, n_not_asked; /* probes of its kernel that may have got out; that did not */
	uint8_t n_words;              /* times that its other neighbours were told */
	uint8_t n_reports;            /* other neighbours that severed it, told by us */
	uint32_t nonce;               /* of the first try; one more each */
	nsec_t started, next, answered_at;
	nsec_t tried[TRIES_MAX];
};

/* A lost neighbour whose kernel answered: probed on. */
struct watch {
	uint16_t peer;
	nsec_t next;
};

/* How the silence of a member came to be known here, for whoever asks how long each step took. */
struct trace {
	uint16_t member;
	nsec_t at[3]; /* by enum trace_step; 0: it was not taken here */
};

enum trace_step { TRACE_MISSED, TRACE_PROBED, TRACE_SEVERED };

enum {
	HALF_LOST_MAX = 16, /* beyond, the digests' work */
	TRACES_MAX = 64,    /* the oldest gives way: of a larger loss only a part is explained */
};

/* What has been gathered about a lost node before it is told to all. */
struct gather {
	uint16_t subject;
	nsec_t until;
};

struct cast {
	struct wire_cast_id id;
	uint32_t known; /* bit per link: has it, was sent it, or announced it */
	uint32_t announced;
	uint32_t n;
	bool alone; /* nothing else came shortly before it */
	nsec_t born;
	uint8_t *bytes;
};

/* Announced, not here yet. */
struct missing {
	struct wire_cast_id id;
	uint32_t sources;
	nsec_t due;
};

/* What has been delivered from one origin: all up to `low`, and bit i: low + 1 + i. */
struct origin {
	uint64_t id, incarnation, low;
	uint64_t bits[4];
};

struct out_item;

enum {
	RINGS_MAX = GOSSIP_NEIGHBOURS_MAX / 2,
};

struct gossip {
	struct gossip_config config;
	nsec_t now;
	uint64_t random;
	int fault; /* -ENOMEM until the end of the call */
	uint16_t self;

	/* adjacency.c */
	struct member *members;
	size_t n_members, n_members_allocated; /* slots in use or free */
	size_t n_free, n_known;                /* free slots; records seen */
	size_t free_from;                      /* no free slot before this one */
	size_t n_reachable;                    /* this node included */
	uint16_t *index;                       /* open addressing, by id */
	size_t n_index;
	uint16_t *scratch;  /* two areas of n_members_allocated */
	uint8_t **metadata; /* parallel to members, when anyone has some: u16 length, bytes */
	size_t n_metadata;  /* bytes of all */
	uint8_t (*v6)[16];  /* parallel to members, when anyone has such an address */
	struct lost *lost;
	size_t n_lost, n_lost_allocated;
	uint64_t digest;
	uint64_t buckets[1 << WIRE_BUCKETS_LOG2];
	nsec_t changed;     /* last change of the table */
	bool exposed;       /* our version was seen since it last changed */
	uint16_t news_link; /* while applying: the link it came by; NONE */

	/* verdict.c */
	struct absent *absent;
	size_t n_absent, n_absent_allocated;
	bool verdict_dirty;
	nsec_t verdict_next;       /* judge again by then */
	nsec_t verdict_asked;      /* judged last */
	nsec_t verdict_not_before; /* no verdict before: doubt has just ended */
	bool catching_up;          /* that waits for a table as others have it, at most */
	enum gossip_self self_state;
	bool unproven;   /* we have paused, and no neighbour has answered since */
	nsec_t paused;   /* noticed last that we had */
	nsec_t heard;    /* something last, of a member */
	bool withheld;   /* a verdict is due, but ours does not count at the moment */
	bool must_prove; /* no path to anybody, which may be our own fault */
	nsec_t doubt_since;
	bool local_ok;
	nsec_t witness_asked, witness_heard;
	nsec_t kernel_heard; /* some member's kernel answered a probe of ours */
	uint32_t witness_probe;
	struct tombstone *tombstones;
	size_t n_tombstones;
	struct half_lost half_lost[HALF_LOST_MAX];
	nsec_t half_lost_next;
	struct trace traces[TRACES_MAX];
	unsigned n_traces, at_trace; /* in use; to be replaced next */

	/* membership.c */
	struct link links[GOSSIP_LINKS_MAX];
	unsigned n_links; /* slots from here on are free */
	uint32_t next_handle, next_number, next_order;
	struct wire_entry passive[GOSSIP_PASSIVE_MAX];
	size_t n_passive;
	struct gossip_addr contacts[GOSSIP_CONTACTS_MAX];
	size_t n_contacts;
	struct gossip_addr witnesses[GOSSIP_WITNESSES_MAX];
	size_t n_witnesses;
	nsec_t started; /* this node's start */
	nsec_t repair_next, dial_next, shuffle_next, contact_next;
	nsec_t rings_next;      /* nobody has come or gone by then: look at the rings */
	nsec_t fill_not_before; /* a lost neighbour's place is left to the rings until then */
	nsec_t linked_since;    /* the last time there was a neighbour */
	unsigned contact_failures;
	uint64_t shuffled[4]; /* ids sent in the last shuffle: replaced first */
	struct {
		uint16_t member;
		nsec_t until;
	} refused[32]; /* asked lately, without success */
	unsigned at_refused;
	uint16_t rings[RINGS_MAX][2];          /* our successor and predecessor on each ring */
	uint64_t ring_distances[RINGS_MAX][2]; /* how far away they stand */
	bool rings_known; /* and kept up as members come; false: one has gone, look anew */
	nsec_t reach_changed;
	unsigned n_repairs; /* tries in a row that left the view short */
	nsec_t upkeep_next;

	/* detector.c */
	nsec_t beat_next;
	nsec_t detector_next; /* the earliest of its other timers, or earlier */
	struct test tests[TESTS_MAX];
	size_t n_tests;
	struct watch watches[WATCHES_MAX];
	size_t n_watches;
	uint32_t next_nonce;
	uint16_t silenced; /* the member that was severed last for silence, by anyone, and when */
	nsec_t silenced_at, all_tested;
	nsec_t lateness; /* of the own loop: a peak that decays */
	nsec_t lateness_at;
	uint32_t loss;        /* 65536ths, over all links */
	nsec_t deadline_told; /* what gossip_deadline() says */

	/* spread.c */
	struct rumour *rumours;
	size_t n_rumours, n_rumours_allocated;
	nsec_t rumours_next;
	struct gather gathers[8];
	unsigned n_gathers;
	uint16_t reports[8]; /* whom to tell at the end of this call what we have severed */
	unsigned n_reports;
	uint64_t pulled[16]; /* asked for lately */
	nsec_t pulled_at[16];
	unsigned at_pulled;
	nsec_t sync_next;

	/* multicast.c */
	struct cast *casts;
	size_t n_casts;
	size_t n_cast_bytes;
	struct missing *missing;
	size_t n_missing;
	struct origin *origins;
	size_t n_origins, n_origins_allocated;
	uint64_t cast_seq;
	nsec_t cast_next;
	uint32_t next_tag;

	/* gossip.c: effects and events, in the order they came, in two byte queues */
	struct queue {
		uint8_t *bytes;
		size_t n, at, n_allocated, n_items;
	} effects, events;

	nsec_t rate_at; /* what may go out yet, as of then */
	size_t rate_left;

	struct gossip_stats stats;
};

/* ---- gossip.c ---- */

uint64_t random_u64(struct gossip *g);
/* Uniform in [0, n); 0 if n is 0. */
uint64_t random_below(struct gossip *g, uint64_t n);
uint64_t mix64(uint64_t v);
/* realloc() that notes failure in g->fault and keeps what was there. */
bool grow(struct gossip *g, void *array, size_t *n_allocated, size_t n_wanted, size_t size,
	size_t n_max);

void effect_push(struct gossip *g, const struct gossip_effect *effect);
void event_push(struct gossip *g, const struct gossip_event *event);

/* A datagram under way: head written, messages to be added. */
struct packet {
	struct writer w;
	uint8_t bytes[GOSSIP_DATAGRAM_MAX];
};
void packet_init(struct gossip *g, struct packet *p);
void packet_send(struct gossip *g, struct packet *p, const struct gossip_addr *to);

/* Whole messages on their way on a link. */
void link_send(struct gossip *g, struct link *l, const uint8_t *bytes, size_t n);

/* A message under way on a link. */
struct frame {
	struct writer w;
	uint8_t *bytes;
	uint8_t small[2048];
};
/* `n_max` bytes suffice for its body. */
void frame_init(struct gossip *g, struct frame *f, enum wire_type type, size_t n_max);
void frame_send(struct gossip *g, struct frame *f, struct link *l);

/* ---- adjacency.c ---- */

uint16_t member_find(const struct gossip *g, uint64_t id);
/* Finds it or makes room for it; NONE: the table is full or memory is. */
uint16_t member_add(struct gossip *g, uint64_t id);
/* Takes a member out. It stays in the table until members_sweep(): one sweep for however many. */
void member_forget(struct gossip *g, uint16_t m);
void members_sweep(struct gossip *g);
void member_address(const struct gossip *g, uint16_t m, struct gossip_addr *ret);
bool member_lists(const struct gossip *g, uint16_t m, uint16_t other);
static inline bool member_reachable(const struct gossip *g, uint16_t m)
{
	return g->members[m].parent != NONE;
}
/* Whether `subject` has neither started again nor gained a neighbour since it was tested. */
static inline bool lost_valid(const struct gossip *g, const struct lost *lost)
{
	const struct member *m = &g->members[lost->subject];

	return lost->boot == wire_boot(m->incarnation) &&
	       lost->version + m->since_add >= m->version;
}
uint16_t member_random(struct gossip *g); /* any slot with a seen record, or NONE */

enum apply {
	APPLY_OLD,  /* known already, or older */
	APPLY_NEW,  /* applied */
	APPLY_GAP,  /* a delta without its base: the record is needed */
	APPLY_DROP, /* no room, or not to be believed */
};
enum apply record_apply(struct gossip *g, const struct wire_item *item, uint16_t *ret_owner);
/* The record of m as an item that lives until the table changes. */
void record_item(const struct gossip *g, uint16_t m, struct wire_item *ret);
/* Changes our own record by one op; a rumour is made of it. */
void own_change(struct gossip *g, enum wire_op op, uint16_t subject, bool urgent);
int own_metadata(struct gossip *g, const void *bytes, size_t n);
/* What we say of `subject` as lost, or NULL. */
struct lost *own_lost(struct gossip *g, uint16_t subject);
void own_silence_clear(struct gossip *g); /* takes back what we say of those we heard nothing of */
void adjacency_done(struct gossip *g);
int adjacency_init(struct gossip *g);
int members_reserve(struct gossip *g, size_t n);

/* ---- spread.c ---- */

void rumour_add_delta(struct gossip *g, const struct wire_item *item, uint16_t owner, bool urgent);
void rumour_add_record(struct gossip *g, uint16_t owner, bool urgent);
/* Our own change: joined to the last one while nobody has seen it. */
void rumour_own(struct gossip *g, const struct wire_lost *said, uint16_t subject, bool urgent,
	uint64_t base);
bool rumour_own_pending(const struct gossip *g);
/* `asked`: it answers a datagram of ours. */
void spread_news(struct gossip *g, struct link *l, const struct gossip_addr *from, struct reader *r,
	bool asked);
/* A record that came otherwise than as news: applied, and passed on. */
void spread_record(struct gossip *g, const struct wire_item *item);
void spread_pull(
	struct gossip *g, struct link *l, const struct gossip_addr *from, struct reader *r);
/* Asks a neighbour for records of others; what has changed comes as news. */
void spread_ask(struct gossip *g, struct link *l, const uint64_t *ids, size_t n);
void spread_sync(struct gossip *g, struct link *l, struct reader *r);
void spread_summary(struct gossip *g, struct link *l, struct reader *r);
void spread_beat(struct gossip *g, struct link *l, uint32_t digest);
/* Adds to a datagram to this neighbour what it lacks, as far as it fits. */
void spread_ride(struct gossip *g, struct link *l, struct writer *w);
/* Our severance of `subject` to who asked for the test, at the end of this call. */
void spread_report(struct gossip *g, uint16_t to, uint16_t subject);
void spread_reports_send(struct gossip *g);
/* Whether what rides on heartbeats is left to others, as a rule: it takes longer to all then. */
bool spread_leaves(const struct gossip *g);
void spread_gather(struct gossip *g, uint16_t subject, nsec_t until);
void spread_gathered(struct gossip *g, uint16_t subject);
void spread_link_up(struct gossip *g, struct link *l, uint64_t their_digest);
void spread_resync(struct gossip *g); /* compares tables with every neighbour, soon */
void spread_link_down(struct gossip *g, unsigned slot);
void spread_forget(struct gossip *g, uint16_t m);
void spread_tick(struct gossip *g);
nsec_t spread_deadline(const struct gossip *g);
uint64_t spread_digest(struct gossip *g); /* marks our version as seen */
void spread_done(struct gossip *g);

/* ---- verdict.c ---- */

void absent_add(struct gossip *g, uint16_t m);
void absent_age(struct gossip *g, uint16_t m, uint64_t age);
void absent_reborn(struct gossip *g, uint16_t m);
const struct absent *absent_find(const struct gossip *g, uint16_t m);
void verdict_tick(struct gossip *g);
nsec_t verdict_deadline(const struct gossip *g);
void verdict_witness(struct gossip *g, uint32_t probe, enum gossip_probe result);
void verdict_kernel(struct gossip *g); /* some member's kernel has answered a probe of ours */
bool tombstone_covers(const struct gossip *g, uint64_t id, uint64_t incarnation, uint64_t version);
void verdict_paused(struct gossip *g);
void verdict_caught_up(struct gossip *g);            /* our loop stood still for long */
void verdict_answered(struct gossip *g, uint16_t m); /* a member without a link answers */
/* Whether our word of m's silence counts no more, because it was heard later; it is not now. */
bool verdict_outdated(struct gossip *g, uint16_t m);
/* Whether it has no path, and we have said nothing of it that counts. */
bool verdict_unsaid(struct gossip *g, uint16_t m);
void verdict_proven(struct gossip *g); /* and a neighbour has answered since */
void verdict_half_lost(
	struct gossip *g, uint16_t m); /* one of its neighbours heard nothing of it */
/* A step on m's way to a verdict; the first of its kind counts. */
void trace_note(struct gossip *g, uint16_t m, enum trace_step step);
void trace_clear(struct gossip *g, uint16_t m); /* it was heard, or is forgotten */
void verdict_done(struct gossip *g);

/* ---- membership.c ---- */

struct link *link_of(struct gossip *g, uint16_t peer); /* active, or NULL */
struct link *link_by_handle(struct gossip *g, uint32_t handle);
unsigned link_slot(const struct gossip *g, const struct link *l);
unsigned links_listed(const struct gossip *g);
/* One to some neighbour, other than these: a member (NONE) and an id (0). NULL: there is none. */
struct link *link_random(struct gossip *g, uint16_t except1, uint64_t except2);
/* Ends a link that both sides may still think well of. */
void link_drop(struct gossip *g, struct link *l, bool tell);
/* Opens one to a member, if there is none yet. */
void link_request(
	struct gossip *g, uint16_t peer, const struct gossip_addr *to, enum wire_purpose purpose);
void link_list(struct gossip *g, struct link *l);  /* the peer becomes a neighbour */
void link_stall(struct gossip *g, struct link *l); /* kept for its return, for a while */
void link_unlist(struct gossip *g, struct link *l, enum wire_op op, bool urgent);
void membership_hello(struct gossip *g, struct link *l, struct reader *r);
void membership_reply(struct gossip *g, struct link *l, struct reader *r);
void membership_walk(struct gossip *g, struct link *l, struct reader *r);
void membership_shuffle(struct gossip *g, struct link *l, struct reader *r);
void membership_shuffled(struct gossip *g, struct reader *r);
void membership_part(struct gossip *g, struct link *l, struct reader *r);
void membership_record_changed(struct gossip *g, uint16_t m);
void membership_pong(struct gossip *g, uint16_t m); /* a lost member answered a hail */
void membership_lost_neighbour(struct gossip *g);
void membership_open_failed(struct gossip *g, struct link *l);
void membership_moved(struct gossip *g); /* someone has come or gone */
void membership_found(struct gossip *g); /* there is someone new to link to */
/* A path leads to it now, or none does: only where it stands on the rings is seen to. */
void membership_reached(struct gossip *g, uint16_t m);
void membership_unreached(struct gossip *g, uint16_t m);
void membership_tick(struct gossip *g);
nsec_t membership_deadline(const struct gossip *g);
void membership_forget(struct gossip *g, uint16_t m);

/* ---- detector.c ---- */

void detector_link_up(struct gossip *g, struct link *l);
void detector_link_closed(struct gossip *g, struct link *l, enum gossip_close reason);
void detector_beat(struct gossip *g, struct link *l, const struct wire_beat *beat, bool by_link);
void detector_pong(struct gossip *g, uint16_t m, uint32_t nonce, bool by_link);
void detector_heard(struct gossip *g, uint16_t m); /* any sign of life */
void detector_word(struct gossip *g, uint16_t from, uint16_t subject);
void detector_heard_by(struct gossip *g, uint16_t from, uint16_t subject);
void detector_probe(struct gossip *g, uint32_t probe, enum gossip_probe result);
/* Someone severed `subject`: if it is our neighbour, see for ourselves. */
void detector_severed_by(struct gossip *g, uint16_t owner, uint16_t subject, enum wire_op op);
void detector_silenced(struct gossip *g, uint16_t m);
void detector_test(struct gossip *g, uint16_t m, uint16_t initiator);
void detector_hail(struct gossip *g, uint16_t m);
void detector_ask(struct gossip *g, uint16_t m);       /* asks some neighbour to test it */
void detector_link_gone(struct gossip *g, uint16_t m); /* no neighbour any more */
struct test *test_find(struct gossip *g, uint16_t m);
bool detector_silent(struct gossip *g, uint16_t m); /* it has not answered a ping in time */
void detector_forget(struct gossip *g, uint16_t m);
void detector_watch(struct gossip *g, uint16_t m); /* its kernel is asked on */
bool detector_watching(struct gossip *g, uint16_t m);
void detector_unwatch(struct gossip *g, uint16_t m);
void detector_want_link(struct gossip *g, struct link *l); /* beat now: we miss ourselves */
void detector_tick(struct gossip *g);
void detector_late(struct gossip *g, nsec_t late);
nsec_t detector_deadline(const struct gossip *g);
nsec_t detector_timeout(const struct gossip *g, const struct link *l);

/* ---- multicast.c ---- */

void multicast_link_up(struct gossip *g, struct link *l);
void multicast_link_down(struct gossip *g, unsigned slot);
void multicast_cast(struct gossip *g, struct link *l, struct reader *r);
void multicast_ihave(struct gossip *g, struct link *l, struct reader *r);
void multicast_graft(struct gossip *g, struct link *l, struct reader *r);
void multicast_prune(struct gossip *g, struct link *l);
void multicast_tick(struct gossip *g);
nsec_t multicast_deadline(const struct gossip *g);
void multicast_done(struct gossip *g);
