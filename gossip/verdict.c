/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From "no path leads there" to down, agentless, or doubt in oneself.
 *
 * A member without a path is *absent*. That alone says little: its links may be cut while its
 * host serves on, it may have had all its neighbours among the dead, or we may be the ones cut
 * off. So:
 *
 *	a path again                                           up
 *	a reachable member hears its kernel                    stalled, agentless: nobody's
 *	                                                       backends move
 *	at least two reachable members tested this version     down
 *	of it, process and kernel, and heard nothing, and
 *	nobody hears it, and we are not in doubt
 *	otherwise                                              as it was
 *
 * Since a path is gone only when every link to it is severed, two votes are the least that is
 * asked for and usually all its neighbours have voted. The two matter for who had one neighbour
 * only, or whose neighbours died with it: nobody has tested those. Each member then rolls dice,
 * so that about eight of the cluster test it (a handful of random members probed directly,
 * whatever N is), and what they hear goes into their records like any other loss. Where its own
 * neighbours have not voted, the verdict waits LOOK_TIME for who may have heard it.
 *
 * The news of a lost link may itself be lost, and a single link that is not known to be severed is a
 * path. Whoever knows of two that have lost a member, and hears no more while the others' tests
 * must be over, asks its own neighbours for the records of those that still list it: with 20 % loss
 * one crash in a hundred was known to all but one node, which learned of it from the digests after
 * three seconds.
 *
 * Doubt. lashup has none: an isolated node declares all others dead. Consul and Rapid ask for a
 * majority: in a half-and-half split nobody acts. Here a part of the cluster gives verdicts
 * if it is at least a third (`minority`) of what was there; a smaller one keeps everything as it
 * was and says so. What was there: members that were up, leaving out those missing for
 * SETTLED_AFTER already, or a cluster that has shrunk could never judge again; while in doubt
 * nothing settles. The hovering at a threshold that links alone give does not arise, because all
 * of a part count the same table; and half is far from a third.
 *
 * With no link at all, small numbers mislead: of three nodes, one that lost two links is more
 * likely cut off than right. It gives no verdict until someone outside the overlay (a witness:
 * gateway, master) or a lost member's own kernel has answered, after the silence that it is to
 * judge: an answer from before says nothing of the way since. Of two nodes, either view is as
 * likely; without witnesses the peer is taken for dead unless the own carrier is down.
 *
 * After doubt, a pause: tables are exchanged first, which a neighbour's heartbeat with our own digest ends, and what this node said of others' silence is
 * taken back, since the silence may have been its own; who is missing still is looked at anew.
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

/* Missing so long, a member no longer counts as part of what was there. Longer than partitions
 * that operators notice; shorter than a day's shrinking. */
#define SETTLED_AFTER (600 * SEC)
/* No verdict so long after doubt, or after a pause of our own that others may have noticed: two
 * syncs. */
#define AFTER_DOUBT (2 * SEC)
/* Doubt for no longer than a test takes is a moment's, as when the last link is gone and the witness
 * has not answered yet: the own path worked before and after. */
#define DOUBT_MOMENT (400 * MSEC)
/* Untested absentees are looked at after so long, the time in which word of tests that are over
 * gets here; then again at growing intervals from the second on, which is longer than a look. */
#define LOOK_AFTER (50 * MSEC)
#define LOOK_INTERVAL_MIN (400 * MSEC)
#define LOOK_INTERVAL_MAX (5 * SEC)
/* A look and word of it: eight pings, their time-out, and a flood. In a split, one in nine of the other
 * side's members had but one neighbour on this one, and is judged after that. */
#define LOOK_TIME (400 * MSEC)
/* For a member that was never up here, or not since it started again: it, or we, may have just started, and links are still to come. Also
 * where one vote is not older than the last sign of life, and the others are: what is news here need
 * not be so to those who gave them, so that they do not vote again. */
#define NEW_TIME (3 * SEC)
/* Votes this much older than the loss of the last path are no part of it: since then some neighbour has
 * heard it. Longer than from one neighbour's notice to the last one's, but for tests by TCP alone. */
#define VOTE_FRESH (1 * SEC)
/* Members that look at one absentee, on average, each time. */
#define LOOKERS 8
/* Votes of silence that a verdict needs, as far as there are voters. */
#define VOTES_NEEDED 2
/* Who still lists a member that two have lost is asked for after so long without further news: the
 * longest test and a flood after the shortest one's. Then again, in case that is lost too, from the
 * third time on at growing intervals: a test by TCP alone takes a second. */
#define ASK_AFTER (200 * MSEC)
#define ASK_AGAIN (100 * MSEC)
#define ASK_MOST 6
/* Where so much is lost, that one has lost it is enough to ask: all others' news go by one flood, and
 * one node in 15,000 hears none of six copies at 20 %. */
#define ASK_LOSS (5 * PERCENT)
/* With many absent, judge no more often than this. */
#define VERDICT_INTERVAL (5 * MSEC)
#define VERDICT_MANY 64
/* A heartbeat comes in each beat_interval, on average, from one neighbour or another; who hears none for so
 * many is more likely cut off than right. */
#define DEAF_BEATS 3
/* While there is no link: how often a witness is asked, or a lost member's kernel in its stead. */
#define WITNESS_INTERVAL (200 * MSEC)
/* An answer to a look counts against others' silence for so long. */
#define ANSWER_FRESH (1 * SEC)
/* An answer is proof for so long: a probe of a lost member a second, and half of one more. */
#define PROOF_FRESH (1500 * MSEC)
/* Forgotten members' records are refused for so long: others forget them within seconds. */
#define TOMBSTONE_LIFE (3600 * SEC)

void absent_add(struct gossip *g, uint16_t m)
{
	struct member *member = &g->members[m];

	if (m == g->self || member->incarnation == 0)
		return;
	g->verdict_dirty = true;
	if (member->flags & MEMBER_ABSENT)
		return;
	if (!grow(g, &g->absent, &g->n_absent_allocated, g->n_absent + 1, sizeof(*g->absent),
		    GOSSIP_MEMBERS_MAX))
		return;
	member->flags |= MEMBER_ABSENT;
	g->absent[g->n_absent++] = (struct absent){
		.member = m, .accuser = NONE, .since = g->now, .next_look = g->now + LOOK_AFTER};
}

const struct absent *absent_find(const struct gossip *g, uint16_t m)
{
	if (!(g->members[m].flags & MEMBER_ABSENT))
		return NULL;
	for (size_t i = 0; i < g->n_absent; i++) {
		if (g->absent[i].member == m)
			return &g->absent[i];
	}
	return NULL;
}

/* Learned from others, who have missed it for longer. */
void absent_age(struct gossip *g, uint16_t m, uint64_t age)
{
	struct absent *a = (struct absent *)absent_find(g, m);
	nsec_t ago = age > g->now / SEC ? g->now : (age - 1) * SEC;

	if (a && g->now - ago < a->since)
		a->since = g->now - ago;
}

/* It has started again. Nobody can have missed that life for longer. */
void absent_reborn(struct gossip *g, uint16_t m)
{
	struct absent *a = (struct absent *)absent_find(g, m);

	if (!a)
		return;
	a->since = g->now;
	a->reborn = true;
}

static struct trace *trace_find(struct gossip *g, uint16_t m)
{
	for (unsigned i = 0; i < g->n_traces; i++) {
		if (g->traces[i].member == m)
			return &g->traces[i];
	}
	return NULL;
}

void trace_note(struct gossip *g, uint16_t m, enum trace_step step)
{
	struct trace *t = trace_find(g, m);

	if (!t) {
		t = &g->traces[g->at_trace];
		*t = (struct trace){.member = m};
		g->at_trace = (g->at_trace + 1) % TRACES_MAX;
		if (g->n_traces < TRACES_MAX)
			g->n_traces++;
	}
	if (t->at[step] == 0)
		t->at[step] = g->now;
}

void trace_clear(struct gossip *g, uint16_t m)
{
	struct trace *t = trace_find(g, m);

	if (t)
		*t = (struct trace){.member = NONE};
}

static void announce(struct gossip *g, const struct absent *a, enum gossip_status status)
{
	struct member *member = &g->members[a->member];
	const struct trace *t = trace_find(g, a->member);
	struct gossip_event event = {.kind = GOSSIP_EVENT_NODE,
		.status = status,
		.id = member->id,
		.incarnation = member->incarnation};

	if (member->status == status)
		return;
	member->status = status;
	if (status != GOSSIP_STATUS_UP) {
		event.accuser = a->accuser != NONE ? g->members[a->accuser].id : 0;
		event.silent = a->since;
	}
	if (status == GOSSIP_STATUS_DOWN && t) {
		event.missed = t->at[TRACE_MISSED];
		event.probed = t->at[TRACE_PROBED];
		event.severed = t->at[TRACE_SEVERED];
	}
	event_push(g, &event);
	if (status == GOSSIP_STATUS_UP)
		trace_clear(g, a->member);
}

/* Whom a reachable member speaks of as lost, if that is absent. */
static struct absent *lost_absent(struct gossip *g, const struct lost *lost)
{
	if (!member_reachable(g, lost->owner) || !(g->members[lost->subject].flags & MEMBER_ABSENT))
		return NULL;
	return &g->absent[g->scratch[lost->subject]];
}

static void kernel_count(const struct gossip *g, struct absent *a, const struct lost *lost)
{
	if (!lost_valid(g, lost))
		return;
	a->stalled |= lost->op == OP_STALLED;
	a->agentless |= lost->op == OP_AGENTLESS;
	a->accuser = lost->owner;
	if (lost->since > a->heard)
		a->heard = lost->since;
}

/* A vote from before its last start or link counts for nothing. One from before someone heard its
 * kernel is void at first: else the last one who hears that, leaving, would turn old silence into a
 * death. So is one from before someone became its neighbour, though its own record, which would say
 * the same, is still on its way. */
static void silence_count(struct gossip *g, struct absent *a, const struct lost *lost)
{
	if (!lost_valid(g, lost))
		return;
	if (a->heard != 0 && lost->since <= a->heard) {
		a->void_votes += a->void_votes < UINT8_MAX;
		return;
	}
	a->votes += a->votes < UINT8_MAX;
	a->near += a->near < UINT8_MAX && lost->since + VOTE_FRESH >= a->since &&
		   member_lists(g, lost->subject, lost->owner);
	a->accuser = lost->owner;
}

/* Counts what reachable members say of the absent. */
static void votes_count(struct gossip *g)
{
	for (size_t i = 0; i < g->n_absent; i++) {
		struct absent *a = &g->absent[i];

		a->votes = a->near = a->void_votes = 0;
		a->was_heard = a->stalled || a->agentless;
		a->stalled = a->agentless = false;
		a->accuser = NONE;
		if (g->members[a->member].flags & MEMBER_LINKED)
			a->heard = g->now;
		g->members[a->member].flags &= ~MEMBER_LINKED;
		g->scratch[a->member] = i;
	}
	for (size_t i = 0; i < g->n_lost; i++) {
		struct absent *a = lost_absent(g, &g->lost[i]);

		if (a && g->lost[i].op != OP_SILENT)
			kernel_count(g, a, &g->lost[i]);
	}
	for (size_t i = 0; i < g->n_lost; i++) {
		struct absent *a = lost_absent(g, &g->lost[i]);

		if (a && g->lost[i].op == OP_SILENT)
			silence_count(g, a, &g->lost[i]);
	}
	for (size_t i = 0; i < g->n_absent; i++) {
		struct absent *a = &g->absent[i];

		if (a->was_heard && !a->stalled && !a->agentless)
			a->unheard = a->next_look = g->now;
	}
}

/* Whom we heard nothing of before or during doubt, that doubt speaks for. */
static void silence_take_back(struct gossip *g)
{
	own_silence_clear(g);
	for (size_t i = 0; i < g->n_absent; i++)
		g->absent[i].next_look = g->now;
	votes_count(g);
}

static void self_set(struct gossip *g, enum gossip_self state)
{
	if (g->self_state == state)
		return;
	if (state == GOSSIP_SELF_WELL) {
		nsec_t doubted = g->now - g->doubt_since;
		nsec_t until = g->now + (doubted < AFTER_DOUBT ? doubted : AFTER_DOUBT);

		/* As long as the doubt lasted: a moment's leaves little to catch up with. It may be the
		 * second of two. */
		if (until > g->verdict_not_before) {
			g->verdict_not_before = until;
			g->catching_up = true;
		}
		if (doubted > DOUBT_MOMENT)
			silence_take_back(g);
	} else if (g->self_state == GOSSIP_SELF_WELL) {
		g->doubt_since = g->now;
	}
	g->self_state = state;
	event_push(g, &(struct gossip_event){.kind = GOSSIP_EVENT_SELF, .self = state});
}

/* A neighbour's table is ours, so there is nothing left to catch up with. */
void verdict_caught_up(struct gossip *g)
{
	if (!g->catching_up || g->self_state != GOSSIP_SELF_WELL)
		return;
	g->catching_up = false;
	g->verdict_not_before = g->now;
	g->verdict_dirty |= g->n_absent > 0;
}

void verdict_paused(struct gossip *g)
{
	g->catching_up = false; /* what comes now may be from before */
	g->verdict_not_before = g->now + AFTER_DOUBT;
	g->unproven = g->verdict_dirty = true;
	g->paused = g->now;
	spread_resync(g); /* what came meanwhile may have been more than the socket holds */
}

void verdict_answered(struct gossip *g, uint16_t m)
{
	struct absent *a = (struct absent *)absent_find(g, m);

	if (!a)
		return;
	a->answered = g->now;
	g->verdict_dirty |= a->votes > 0;
}

/* Others heard nothing of one that has just answered us: it is their way that is cut. To say that it
 * is stalled says that nothing of it may move, until it has a link. */
static void contradict(struct gossip *g, struct absent *a)
{
	const struct lost *said = own_lost(g, a->member);

	if (a->votes == 0 || a->answered == 0 || g->now - a->answered > ANSWER_FRESH)
		return;
	if (link_of(g, a->member))
		return; /* our record lists it, which says more */
	if (said && said->op != OP_SILENT && lost_valid(g, said))
		return;
	own_change(g, OP_STALLED, a->member, true);
	detector_watch(g, a->member);
	a->stalled = true;
}

void verdict_proven(struct gossip *g)
{
	g->verdict_dirty |= g->unproven;
	g->unproven = false;
}

/* Whether an answer that came then shows that our path works now. */
static bool proves(const struct gossip *g, nsec_t heard)
{
	return heard > g->linked_since && g->now - heard < PROOF_FRESH;
}

/* No path to anybody: no link, or one that the other side does not speak of. */
static bool alone(const struct gossip *g)
{
	return g->n_reachable == 1;
}

/* Whether there is a contact that no member we know of answers at: the cluster is larger than we
 * know, who have just started. */
static bool contact_unknown(const struct gossip *g)
{
	for (size_t i = 0; i < g->n_contacts; i++) {
		bool known = false;

		for (size_t m = 0; m < g->n_members && !known; m++) {
			struct gossip_addr a;

			member_address(g, m, &a);
			known = gossip_addr_equal(&a, &g->contacts[i]);
		}
		if (!known)
			return true;
	}
	return false;
}

/* Whether to be alone may be our own fault. `n_there` others were up. */
static bool alone_proves(const struct gossip *g, size_t n_there)
{
	return g->n_witnesses > 0 || n_there >= 2 || contact_unknown(g);
}

/* Those whose kernels are heard are there, and so part of what we see, if another sees them too. To who is alone
 * each is its own word: one whose path loses most packets hears a kernel now and then. */
static bool is_minority(const struct gossip *g, size_t n_heard, size_t n_missing)
{
	size_t all = g->n_reachable + n_heard + n_missing;
	size_t part = g->n_reachable + (alone(g) ? 0 : n_heard);

	return n_missing > 0 && part * 1000 < g->config.minority_permille * all;
}

static void doubt_update(struct gossip *g)
{
	size_t n_missing = 0, n_heard = 0, n_new = 0; /* new to us, who have just started */

	for (size_t i = 0; i < g->n_absent; i++) {
		const struct absent *a = &g->absent[i];

		if (member_reachable(g, a->member))
			continue;
		if (a->stalled || a->agentless)
			n_heard++;
		else if ((g->members[a->member].flags & MEMBER_SEEN_UP) && !a->settled)
			n_missing++;
		else if (!a->settled)
			n_new++;
	}
	if (!alone(g))
		g->linked_since = g->now;
	g->must_prove =
		alone(g) && n_missing + n_new > 0 && alone_proves(g, n_missing + n_new + n_heard);
	if (!g->local_ok ||
		(g->must_prove && !proves(g, g->kernel_heard) && !proves(g, g->witness_heard)))
		self_set(g, GOSSIP_SELF_CUT_OFF);
	else if (is_minority(g, n_heard, n_missing))
		self_set(g, GOSSIP_SELF_MINORITY);
	else
		self_set(g, GOSSIP_SELF_WELL);
}

/* We said that it was silent, and it has been back or heard since: that word counts no more, nor does it
 * tell others to look in our stead. */
static bool word_outdated(struct gossip *g, const struct absent *a)
{
	const struct lost *said = own_lost(g, a->member);

	return said && said->op == OP_SILENT &&
	       (!lost_valid(g, said) || (a->heard != 0 && said->since <= a->heard));
}

bool verdict_outdated(struct gossip *g, uint16_t m)
{
	const struct absent *a = absent_find(g, m);

	return a && !a->stalled && !a->agentless && word_outdated(g, a);
}

bool verdict_unsaid(struct gossip *g, uint16_t m)
{
	const struct absent *a = absent_find(g, m);

	return a && !member_reachable(g, m) && (!own_lost(g, m) || word_outdated(g, a));
}

/* Nobody has tested it as far as we know: maybe we should. */
static void look(struct gossip *g, struct absent *a)
{
	nsec_t interval = (g->now - a->since) / 2;

	if (interval < LOOK_INTERVAL_MIN)
		interval = LOOK_INTERVAL_MIN;
	if (interval > LOOK_INTERVAL_MAX)
		interval = LOOK_INTERVAL_MAX;
	a->next_look = g->now + interval + random_below(g, interval / 4);
	if (g->self_state != GOSSIP_SELF_WELL)
		return;
	if (word_outdated(g, a) || random_below(g, g->n_reachable) < LOOKERS)
		detector_test(g, a->member, NONE);
	/* Those who could vote may have judged long ago. Of many, one after the other is asked about. */
	if (g->now - a->since > NEW_TIME && random_below(g, g->n_absent) < LOOKERS)
		detector_ask(g, a->member);
}

/* Reading what came during a pause that the next tick will notice. */
static bool pausing(const struct gossip *g)
{
	return g->deadline_told < g->now && g->now - g->deadline_told >= LONG_PAUSE;
}

/* Whether no neighbour that is left has been heard for so long that all may be about to be lost, and one
 * at least is late: heartbeats may come close together, and then none for a while; but whoever is to be
 * judged, others have just said so. */
static bool deaf(const struct gossip *g)
{
	nsec_t quiet = DEAF_BEATS * g->config.beat_interval;
	bool late = g->now - g->heard >= quiet;

	for (unsigned i = 0; i < g->n_links; i++) {
		const struct link *l = &g->links[i];

		if (l->state != LINK_ACTIVE || !l->listed)
			continue;
		if (g->now - l->heard < quiet)
			return false;
		late |= l->expected + g->config.slack_min < g->now;
	}
	return late && links_listed(g) > 0;
}

/* Not in doubt, nor just out of it, nor about to be, nor yet to see that our neighbours are there
 * still. */
static bool may_judge(struct gossip *g)
{
	return g->self_state == GOSSIP_SELF_WELL && g->now >= g->verdict_not_before &&
	       !pausing(g) && (!g->unproven || links_listed(g) == 0) && !deaf(g);
}

/* Our own word is silence, another hears its kernel: we may have said so while we were cut off. */
static void reconsider(struct gossip *g, struct absent *a)
{
	const struct lost *said = own_lost(g, a->member);

	if (!said || said->op != OP_SILENT || !lost_valid(g, said) || a->next_look > g->now)
		return;
	a->next_look = g->now + LOOK_INTERVAL_MAX;
	detector_test(g, a->member, NONE);
}

/* Who says that its kernel answers goes on asking. The word may be from an absence before, which ended
 * with a path and not with a new neighbour. */
static void word_keep(struct gossip *g, const struct absent *a)
{
	const struct lost *said = own_lost(g, a->member);

	if (!said || said->op == OP_SILENT || !lost_valid(g, said) ||
		detector_watching(g, a->member))
		return;
	detector_watch(g, a->member);
	detector_test(g, a->member, NONE);
}

static unsigned votes_needed(const struct gossip *g)
{
	return g->n_reachable >= VOTES_NEEDED ? VOTES_NEEDED : 1;
}

/* Whether something has answered us since we spoke of its silence. Asked of who is alone: only its
 * own word counts there. */
static bool word_proven(struct gossip *g, const struct absent *a)
{
	const struct lost *said = own_lost(g, a->member);

	return !said || said->since <= g->kernel_heard || said->since <= g->witness_heard;
}

/* When the votes suffice. Neighbours that have lost it just now do at once. Others may have had no way to
 * it ever (a rack that is cut one way), or none for a while (it hung by one link, to a process that has
 * stopped): those who hear it get the time to say so, and so do we, if we are testing it. So they do when
 * those who heard its kernel are gone, who may have been the only ones to ask. While it is our own
 * neighbour, our test decides. */
static nsec_t verdict_due(struct gossip *g, const struct absent *a)
{
	bool seen = (g->members[a->member].flags & MEMBER_SEEN_UP) && !a->reborn;
	nsec_t wait = seen ? LOOK_TIME : NEW_TIME;
	nsec_t since = a->unheard > a->since ? a->unheard : a->since;
	const struct test *test;

	if (a->votes < votes_needed(g)) {
		if (a->votes == 0 || a->votes + a->void_votes < votes_needed(g))
			return NSEC_NEVER;
		wait = NEW_TIME; /* void here, but not to those who gave them */
		since = a->heard > since ? a->heard : since;
	}
	if ((g->must_prove && !word_proven(g, a)) || link_of(g, a->member))
		return NSEC_NEVER;
	if (a->near >= votes_needed(g))
		return a->unheard != 0 ? a->unheard + LOOK_TIME : 0;
	test = test_find(g, a->member);
	return test && !test->hail ? NSEC_NEVER : since + wait;
}

/* True if the member is absent no more. */
static bool judge(struct gossip *g, struct absent *a)
{
	struct member *member = &g->members[a->member];
	bool gone = member->parent == NONE;

	if (gone != a->noted || (!gone && member->status != GOSSIP_STATUS_UP)) {
		membership_moved(g); /* come or gone, not just moved on the tree */
		a->noted = true;
		if (!gone)
			membership_found(g);
	}
	if (!gone) {
		member->flags &= ~MEMBER_ABSENT;
		member->flags |= MEMBER_SEEN_UP;
		announce(g, a, GOSSIP_STATUS_UP);
		return true;
	}
	contradict(g, a);
	if (a->agentless || a->stalled) {
		reconsider(g, a);
		word_keep(g, a);
		announce(g, a, a->agentless ? GOSSIP_STATUS_AGENTLESS : GOSSIP_STATUS_STALLED);
		return false;
	}
	if (verdict_due(g, a) <= g->now) {
		if (may_judge(g))
			announce(g, a, GOSSIP_STATUS_DOWN);
		else
			g->withheld = true;
	} else if (member->status != GOSSIP_STATUS_DOWN && a->next_look <= g->now) {
		look(g, a);
	}
	if (g->self_state == GOSSIP_SELF_WELL && g->now - a->since > SETTLED_AFTER)
		a->settled = true;
	return false;
}

static void tombstone_add(struct gossip *g, const struct member *member)
{
	struct tombstone *t;

	if (!g->tombstones) {
		g->tombstones = calloc(TOMBSTONES_MAX, sizeof(*t));
		if (!g->tombstones) {
			g->fault = -12;
			return;
		}
	}
	if (g->n_tombstones == TOMBSTONES_MAX)
		memmove(g->tombstones, g->tombstones + 1, --g->n_tombstones * sizeof(*t));
	g->tombstones[g->n_tombstones++] = (struct tombstone){.id = member->id,
		.incarnation = member->incarnation,
		.version = member->version,
		.until = g->now + TOMBSTONE_LIFE};
}

bool tombstone_covers(const struct gossip *g, uint64_t id, uint64_t incarnation, uint64_t version)
{
	for (size_t i = 0; i < g->n_tombstones; i++) {
		const struct tombstone *t = &g->tombstones[i];

		if (t->id == id && t->until > g->now &&
			(incarnation < t->incarnation ||
				(incarnation == t->incarnation && version <= t->version)))
			return true;
	}
	return false;
}

static void forget(struct gossip *g, uint16_t m)
{
	uint64_t id = g->members[m].id;

	tombstone_add(g, &g->members[m]);
	spread_forget(g, m);
	detector_forget(g, m);
	membership_forget(g, m);
	trace_clear(g, m);
	for (unsigned i = 0; i < HALF_LOST_MAX; i++) {
		if (g->half_lost[i].member == m)
			g->half_lost[i].member = NONE;
	}
	member_forget(g, m);
	event_push(g, &(struct gossip_event){.kind = GOSSIP_EVENT_FORGOTTEN, .id = id});
}

/* Those absent for forget_after. */
static void forget_old(struct gossip *g)
{
	size_t n_before = g->n_absent;

	for (size_t i = g->n_absent; i-- > 0;) {
		uint16_t m = g->absent[i].member;

		if (g->now - g->absent[i].since < g->config.forget_after ||
			(g->members[m].flags & MEMBER_PINNED) ||
			g->self_state != GOSSIP_SELF_WELL ||
			(g->members[m].status != GOSSIP_STATUS_DOWN &&
				g->members[m].status != GOSSIP_STATUS_UNKNOWN))
			continue;
		g->absent[i] = g->absent[--g->n_absent];
		forget(g, m);
	}
	if (g->n_absent < n_before)
		members_sweep(g);
}

/* Who may prove that our path works, while there is no link. False: nobody. */
static bool witness_pick(struct gossip *g, struct gossip_addr *ret)
{
	uint16_t chosen = NONE;
	unsigned n = 0;

	if (!alone(g) || g->n_absent == 0)
		return false;
	if (g->n_witnesses > 0) {
		*ret = g->witnesses[random_below(g, g->n_witnesses)];
		return true;
	}
	for (size_t i = 0; i < g->n_absent; i++) {
		const struct absent *a = &g->absent[i];

		if ((a->stalled || a->agentless) && random_below(g, ++n) == 0)
			chosen = a->member;
	}
	if (chosen == NONE)
		return false;
	member_address(g, chosen, ret);
	return true;
}

static void witness_ask(struct gossip *g)
{
	struct gossip_addr to;

	if (g->now - g->witness_asked < WITNESS_INTERVAL || !witness_pick(g, &to))
		return;
	g->witness_asked = g->now;
	g->witness_probe = g->next_nonce++;
	effect_push(
		g, &(struct gossip_effect){
			   .kind = GOSSIP_EFFECT_PROBE, .link = g->witness_probe, .address = to});
	g->stats.probes++;
}

void verdict_witness(struct gossip *g, uint32_t probe, enum gossip_probe result)
{
	if (result != GOSSIP_PROBE_ANSWERED && result != GOSSIP_PROBE_REFUSED)
		return;
	g->witness_heard = g->now;
	g->verdict_dirty = true;
}

void verdict_kernel(struct gossip *g)
{
	g->kernel_heard = g->now;
	g->verdict_dirty |= g->must_prove;
}

/* When something is to be done about an undecided absentee. */
static nsec_t next_step(struct gossip *g, const struct absent *a)
{
	nsec_t due = verdict_due(g, a);

	if (a->agentless || a->stalled || g->members[a->member].status == GOSSIP_STATUS_DOWN ||
		due <= g->now)
		return NSEC_NEVER;
	due = due < a->next_look ? due : a->next_look;
	return due > g->now ? due : g->now + MSEC;
}

/* When to judge again though nothing changes. */
static nsec_t next_time(struct gossip *g)
{
	nsec_t next = g->n_absent > 0 ? g->now + SEC : NSEC_NEVER;

	for (size_t i = 0; i < g->n_absent; i++) {
		nsec_t step = next_step(g, &g->absent[i]);

		next = step < next ? step : next;
	}
	if (g->n_absent > 0 && alone(g) && g->now + WITNESS_INTERVAL < next)
		next = g->now + WITNESS_INTERVAL;
	if (g->verdict_not_before > g->now && g->verdict_not_before < next && g->n_absent > 0)
		next = g->verdict_not_before;
	return next;
}

/* ---- News that is missing ---- */

void verdict_half_lost(struct gossip *g, uint16_t m)
{
	struct half_lost *chosen = &g->half_lost[0];

	if (!member_reachable(g, m))
		return;
	for (unsigned i = 0; i < HALF_LOST_MAX; i++) {
		struct half_lost *h = &g->half_lost[i];

		if (h->member == m || (chosen->member != m && h->member == NONE))
			chosen = h;
	}
	if (chosen->member != m && chosen->member != NONE)
		return;
	*chosen = (struct half_lost){.member = m, .next = g->now + ASK_AFTER};
	if (chosen->next < g->half_lost_next)
		g->half_lost_next = chosen->next;
}

/* Whether others may have lost it as well, without our knowing. */
static bool half_lost_still(const struct gossip *g, uint16_t m)
{
	unsigned votes = 0;

	if (!member_reachable(g, m) || member_lists(g, g->self, m))
		return false;
	for (size_t i = 0; i < g->n_lost; i++)
		votes += g->lost[i].subject == m && g->lost[i].op == OP_SILENT &&
			 lost_valid(g, &g->lost[i]);
	return votes >= (g->loss < ASK_LOSS ? VOTES_NEEDED : 1);
}

/* Asks a neighbour, another each time, for the records that list it. */
static void half_lost_ask(struct gossip *g, uint16_t m)
{
	uint64_t ids[GOSSIP_NEIGHBOURS_MAX];
	const struct member *member = &g->members[m];
	struct link *chosen = link_random(g, NONE, 0);
	unsigned n_ids = 0;

	for (unsigned bits = member->mutual; bits > 0; bits &= bits - 1)
		ids[n_ids++] = g->members[member->neighbours[__builtin_ctz(bits)]].id;
	if (chosen && n_ids > 0)
		spread_ask(g, chosen, ids, n_ids);
}

static void half_lost_tick(struct gossip *g)
{
	g->half_lost_next = NSEC_NEVER;
	for (unsigned i = 0; i < HALF_LOST_MAX; i++) {
		struct half_lost *h = &g->half_lost[i];

		if (h->member == NONE)
			continue;
		if (h->next <= g->now) {
			if (h->n_asked++ == ASK_MOST || !half_lost_still(g, h->member)) {
				h->member = NONE;
				continue;
			}
			half_lost_ask(g, h->member);
			h->next = g->now + (ASK_AGAIN << (h->n_asked < 3 ? 0 : h->n_asked - 2));
		}
		if (h->next < g->half_lost_next)
			g->half_lost_next = h->next;
	}
}

static void absent_done(struct gossip *g)
{
	if (g->n_absent > 0 || g->n_absent_allocated <= VERDICT_MANY)
		return;
	free(g->absent);
	g->absent = NULL;
	g->n_absent_allocated = 0;
}

void verdict_tick(struct gossip *g)
{
	size_t n = 0;

	if (g->half_lost_next <= g->now)
		half_lost_tick(g);
	if (!g->verdict_dirty && g->verdict_next > g->now)
		return;
	if (g->n_absent > VERDICT_MANY && g->now < g->verdict_asked + VERDICT_INTERVAL) {
		g->verdict_next = g->verdict_asked + VERDICT_INTERVAL;
		return;
	}
	g->verdict_asked = g->now;
	g->verdict_dirty = g->withheld = false;
	witness_ask(g);
	votes_count(g);
	doubt_update(g);
	for (size_t i = 0; i < g->n_absent; i++) {
		struct absent a = g->absent[i];

		if (!judge(g, &a))
			g->absent[n++] = a;
	}
	g->n_absent = n;
	forget_old(g);
	absent_done(g);
	g->verdict_dirty = false;
	g->verdict_next = next_time(g);
}

nsec_t verdict_deadline(const struct gossip *g)
{
	return g->verdict_next < g->half_lost_next ? g->verdict_next : g->half_lost_next;
}

void verdict_done(struct gossip *g)
{
	free(g->absent);
	free(g->tombstones);
}
