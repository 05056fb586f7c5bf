/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Is a neighbour there? Heartbeats, tests, kernel probes, and word to those who can tell.
 *
 * What others do. lashup pings each neighbour from time to time (the first time after 60 to
 * 120 s) and severs at the first miss, the time-out being a curve of the last round trip. SWIM
 * pings a random member each second: 1.58 periods until somebody notices, then a suspicion of
 * seconds, since the accused must be able to object by rumour. Here
 *
 *   1. Every node sends a heartbeat each `beat_interval` to the next neighbour in turn, and says
 *      in it when that one's next is due. So the silence of a dead node shows to somebody within
 *      beat_interval, whatever the number of neighbours, for a constant 4 packets a second.
 *      Heartbeats carry each other's numbers back, so that round-trip times and loss, both ways,
 *      are measured without further packets.
 *   2. A heartbeat that is late by `slack` starts a *test*: pings `try_interval` apart, as many
 *      as the measured loss asks for (4 on a clean network, 10 at a third lost). The first
 *      unanswered one sends word to the node's other neighbours, which its record names: they
 *      test as well. They do not trust: each judges by its own pings.
 *   3. From the second try on its kernel is asked too. If that answers, the node's host is
 *      alive, and no backend of it may move: refused means *agentless*, accepted means
 *      *stalled*, which is watched for `stall_after` before the link is severed, since most
 *      stalls end by themselves.
 *   4. Neither answers: the link is severed, and the record says so. Time from death to this:
 *      beat_interval * U(0,1) + slack + try + n_tries * try_interval, here 210 to 460 ms.
 *   5. Whose kernel answered is probed on by its former neighbours, once a second each.
 *
 * What keeps it from error. A time-out is the window's largest round trip and a quarter more.
 * Own lateness (a tick that came late, because this process was starved or paused) lengthens
 * all time-outs, and after a pause nobody is judged by what came meanwhile but was not read. An
 * answer counts only for the number that was asked (a stale packet proves nothing). A beat that
 * is lost is one sample, in the loss estimate, and costs a ping; it takes all pings and all
 * probes of all six neighbours to be wrong about a node. A one-way link breaks for both ends,
 * since the one that hears nothing severs it.
 *
 * A reset connection starts a test that asks the kernel at once: its answer, a reset, is there
 * within a round trip, and that is how a killed process is known everywhere in milliseconds.
 */
#include "internal.h"

#include <string.h>

/* Floor and ceiling of a ping's time-out where nothing was measured, or nonsense. */
#define TIMEOUT_UNKNOWN (100 * MSEC)
#define TIMEOUT_MAX (1 * SEC)
#define TIMEOUT_SPARE (10 * MSEC)
/* Lateness of the own loop from which on nobody is judged by the clock alone: a pause. */
#define PAUSE (50 * MSEC)
/* Own lateness counts at most so much: or a starved node would never notice anything. */
#define LATENESS_MAX (250 * MSEC)
/* It is forgotten by a sixteenth of itself each second. */
#define LATENESS_DECAY 16
/* After a pause, heartbeats may have overflowed the socket's buffer: so much grace. */
#define PAUSE_GRACE (250 * MSEC)
/* Between the tries of a test whose kernel answers. */
#define STALL_INTERVAL (100 * MSEC)
/* Between probes of a lost neighbour whose kernel answered, and by how many members at most: as many as
 * it had neighbours, though all may have found out. */
#define WATCH_INTERVAL (1 * SEC)
#define WATCHERS_MAX 6
/* Two members silenced within this time are one event; who has spoken so recently is no part
 * of it; and a look at all neighbours is enough for so long. */
#define SEVERAL_WITHIN (2 * SEC)
#define RECENT (100 * MSEC)
#define ALL_INTERVAL (400 * MSEC)
/* Added between tries by TCP alone: there, a lost one takes 200 ms to be sent again. */
#define DEGRADED_SPARE (65 * MSEC)
/* Tests in a row answered on the link alone, each after three pings by datagram, before datagrams are
 * taken for blocked: two on a clean network, one more from 1 % lost on, and from 10 %. At 20 %, chance
 * does that once in 2e5 times. (Two tests after two pings took one end of a link in 500 for blocked
 * there, and a test by TCP alone lasts a second: a crash in a hundred was known that much later.) */
#define BY_LINK_CLEAN 2
#define BY_LINK_TRIES 2
/* Word is said three times where more than 1 % is lost. */
#define WORD_LOSS PERCENT
#define WORD_ROUNDS 3
/* Of one that is no neighbour, or has only just become one, the loss on the way is not known: tries
 * enough for a node that loses three quarters of what it gets. It is such nodes that have lost all
 * their neighbours alive. */
#define TRIES_UNMEASURED 8
/* Of several neighbours that are silent, the first waits so many tries for the others: what is said
 * of all of them goes round as one. */
#define OVER_WAIT 2
/* So many where there is nobody else to ask, and an unmeasured path's time for the last ones' answers: of
 * two, one's test is the verdict. */
#define TRIES_TWO 8
/* Nonces of one test. */
#define NONCES 64
/* Shares of a sample in the loss estimates: of a link 1/32, of all links 1/256. */
#define LOSS_LINK 5
#define LOSS_ALL 8

static void detector_at(struct gossip *g, nsec_t at)
{
	if (at < g->detector_next)
		g->detector_next = at;
}

static nsec_t lateness(const struct gossip *g)
{
	return g->lateness < LATENESS_MAX ? g->lateness : LATENESS_MAX;
}

static uint32_t rtt_max(const struct link *l)
{
	uint32_t max = 0;

	for (unsigned i = 0; i < l->n_rtt; i++)
		max = l->rtt_us[i] > max ? l->rtt_us[i] : max;
	return max;
}

nsec_t detector_timeout(const struct gossip *g, const struct link *l)
{
	nsec_t t = TIMEOUT_UNKNOWN;

	if (l && l->n_rtt > 0) {
		t = rtt_max(l) * UINT64_C(1000);
		t += t / 4 + TIMEOUT_SPARE;
	}
	t += lateness(g);
	if (t < g->config.try_interval)
		t = g->config.try_interval;
	return t < TIMEOUT_MAX ? t : TIMEOUT_MAX;
}

/* How late a heartbeat may be before it is remarkable: as late as the latest of the window and
 * half as much again. */
static nsec_t slack(const struct gossip *g, const struct link *l)
{
	nsec_t t = 0;

	for (unsigned i = 0; i < l->n_late; i++) {
		nsec_t late = l->late_ms[i] * MSEC;

		t = late > t ? late : t;
	}
	t += t / 2;
	if (t < g->config.slack_min)
		t = g->config.slack_min;
	t += lateness(g);
	return t < TIMEOUT_MAX ? t : TIMEOUT_MAX;
}

static bool of_two(const struct gossip *g)
{
	return g->n_reachable <= 2;
}

/* Tries after which a live node has been missed with a chance below 1e-4, from the loss one way p
 * (65536ths). Each try but the first is a ping and a probe, and each of those fails with
 * q = 1 - (1-p)^2: the smallest n with q^(2n-1) < 1e-4, and one more from 16 % on, where the
 * estimate is no better than its window. */
static unsigned tries(const struct gossip *g, const struct link *l)
{
	static const struct {
		uint32_t loss;
		unsigned n;
	} table[] = {{7864, 4}, {10486, 5}, {14418, 6}, {17039, 7}, {20316, 8}};
	uint32_t p = g->loss;
	unsigned n = 10;

	if (l && l->loss > p)
		p = l->loss;
	for (unsigned i = sizeof(table) / sizeof(table[0]); i-- > 0;) {
		if (p <= table[i].loss)
			n = table[i].n;
	}
	if (n < g->config.n_tries_min)
		n = g->config.n_tries_min;
	if ((!l || !l->proven) && n < TRIES_UNMEASURED)
		n = TRIES_UNMEASURED;
	if (of_two(g) && n < TRIES_TWO)
		n = TRIES_TWO;
	if (l && l->degraded_told)
		n = g->config.n_tries_max;
	return n < g->config.n_tries_max ? n : g->config.n_tries_max;
}

static void loss_sample(struct gossip *g, struct link *l, bool lost)
{
	uint32_t target = lost ? UINT16_MAX : 0;

	l->loss += ((int32_t)target - (int32_t)l->loss) >> LOSS_LINK;
	g->loss += ((int32_t)target - (int32_t)g->loss) >> LOSS_ALL;
}

/* ---- Tests ---- */

struct test *test_find(struct gossip *g, uint16_t m)
{
	for (size_t i = 0; i < g->n_tests; i++) {
		if (g->tests[i].peer == m)
			return &g->tests[i];
	}
	return NULL;
}

bool detector_silent(struct gossip *g, uint16_t m)
{
	const struct test *t = test_find(g, m);

	return t && t->n_tries >= 2 && !t->answered;
}

static void rtt_sample(struct gossip *g, struct link *l, nsec_t since)
{
	l->rtt_us[l->at_rtt] = (g->now - since) / 1000;
	l->at_rtt = (l->at_rtt + 1) % RTT_WINDOW;
	l->n_rtt += l->n_rtt < RTT_WINDOW;
}

/* The try that this nonce was sent with, if it is remembered. */
static bool tried_at(const struct test *t, uint32_t nonce, nsec_t *ret_at)
{
	uint32_t k = nonce - t->nonce;

	if (k >= t->n_tries || k + TRIES_MAX < t->n_tries)
		return false;
	*ret_at = t->tried[k % TRIES_MAX];
	return true;
}

static void test_end(struct gossip *g, struct test *t)
{
	*t = g->tests[--g->n_tests];
}

static struct watch *watch_find(struct gossip *g, uint16_t m)
{
	for (size_t i = 0; i < g->n_watches; i++) {
		if (g->watches[i].peer == m)
			return &g->watches[i];
	}
	return NULL;
}

bool detector_watching(struct gossip *g, uint16_t m)
{
	return watch_find(g, m) != NULL;
}

void detector_unwatch(struct gossip *g, uint16_t m)
{
	struct watch *w = watch_find(g, m);

	if (w)
		*w = g->watches[--g->n_watches];
}

void detector_watch(struct gossip *g, uint16_t m)
{
	struct watch *w = watch_find(g, m);

	if (!w && g->n_watches < WATCHES_MAX)
		w = &g->watches[g->n_watches++];
	if (!w)
		return;
	w->peer = m;
	w->next = g->now + WATCH_INTERVAL / 2 + random_below(g, WATCH_INTERVAL);
	detector_at(g, w->next);
}

static struct test *test_start(struct gossip *g, uint16_t m)
{
	struct test *t = test_find(g, m);
	struct link *l = link_of(g, m);

	if (t || g->n_tests == TESTS_MAX || m == g->self || g->members[m].incarnation == 0)
		return t;
	t = &g->tests[g->n_tests++];
	memset(t, 0, sizeof(*t));
	t->peer = m;
	t->initiator = t->initiator2 = NONE;
	t->max_tries = tries(g, l);
	t->nonce = g->next_nonce;
	g->next_nonce += NONCES;
	t->started = t->next = g->now;
	detector_at(g, g->now);
	g->stats.tests++;
	return t;
}

void detector_test(struct gossip *g, uint16_t m, uint16_t initiator)
{
	struct test *t = test_find(g, m);

	if (!t)
		t = test_start(g, m);
	if (!t || initiator == NONE || t->told)
		return;
	if (t->initiator == NONE || t->initiator == initiator)
		t->initiator = initiator;
	else
		t->initiator2 = initiator;
}

/* Whether a lost member answers again; its silence is no news. */
void detector_hail(struct gossip *g, uint16_t m)
{
	struct test *t;

	if (test_find(g, m) || watch_find(g, m))
		return;
	t = test_start(g, m);
	if (!t)
		return;
	t->hail = true;
	t->max_tries = 1;
}

static void ping_by_link(struct gossip *g, struct link *l, uint32_t nonce)
{
	struct frame f;

	if (l->backlog > GOSSIP_BACKLOG_MAX)
		return;
	frame_init(g, &f, WIRE_PING, 8);
	write_u32(&f.w, nonce);
	write_u8(&f.w, 0);
	frame_send(g, &f, l);
}

static void probe_send(struct gossip *g, const struct gossip_addr *to, uint32_t nonce)
{
	g->stats.probes++;
	effect_push(g, &(struct gossip_effect){
			       .kind = GOSSIP_EFFECT_PROBE, .link = nonce, .address = *to});
}

/* One try: a ping by datagram; from the second on the kernel is asked too. The link carries the
 * third, and all once the kernel has answered, or if it is only kept for its peer's return: what a
 * dead host is sent in vain is sent again and again. Where there is no link to speak for it, the
 * kernel is asked at once. */
static void test_try(struct gossip *g, struct test *t)
{
	struct link *l = link_of(g, t->peer);
	uint32_t nonce = t->nonce + t->n_tries;
	bool asks_kernel = t->n_tries > 0 || !l || t->closed;
	struct gossip_addr to;
	struct packet p;

	member_address(g, t->peer, &to);
	packet_init(g, &p);
	write_message_begin(&p.w, WIRE_PING);
	write_u32(&p.w, nonce);
	write_u8(&p.w, t->hail ? PING_HAIL : 0);
	write_message_end(&p.w);
	packet_send(g, &p, &to);
	if (l && l->handle != 0 &&
		(t->n_tries == BY_LINK_TRIES || t->answered || l->degraded || l->stalled))
		ping_by_link(g, l, nonce);
	if (asks_kernel) {
		probe_send(g, &to, nonce);
		t->n_asked++;
	}
	if (!t->hail && t->n_tries == 0)
		trace_note(g, t->peer, TRACE_MISSED);
	if (!t->hail && asks_kernel)
		trace_note(g, t->peer, TRACE_PROBED);
	t->tried[t->n_tries % TRIES_MAX] = g->now;
	t->n_tries++;
}

/* Where nothing gets lost, a late heartbeat is worth a word with the first ping already: the others'
 * tests are over a try sooner. Where packets do get lost, a ping unanswered as well is asked for, by as
 * late as answers come on this link, and the word, which may get lost too, is said again. */
static bool word_due(const struct gossip *g, const struct test *t, const struct link *l)
{
	if (g->loss < WORD_LOSS)
		return t->n_tries == (t->quiet ? 1 : 0);
	if (t->n_tries == 0 || t->n_words >= WORD_ROUNDS)
		return false;
	return g->now - t->started >= detector_timeout(g, l) || t->n_tries + 1u >= t->max_tries;
}

static void word_to(struct gossip *g, uint16_t to, uint16_t subject)
{
	struct gossip_addr address;
	struct packet p;

	packet_init(g, &p);
	write_message_begin(&p.w, WIRE_WORD);
	write_u64(&p.w, g->members[subject].id);
	write_message_end(&p.w);
	member_address(g, to, &address);
	packet_send(g, &p, &address);
	g->stats.words++;
}

/* Word to the other neighbours of the silent one. */
static void word_send(struct gossip *g, struct test *t)
{
	const struct member *m = &g->members[t->peer];

	t->told = true;
	t->n_words++;
	for (unsigned i = 0; i < m->n_neighbours; i++) {
		uint16_t other = m->neighbours[i];

		if (other != g->self && member_reachable(g, other))
			word_to(g, other, t->peer);
	}
}

void detector_ask(struct gossip *g, uint16_t m)
{
	const struct link *l = link_random(g, NONE, 0);

	if (l)
		word_to(g, l->peer, m);
}

static void sever_count(struct gossip *g, enum wire_op op)
{
	if (op == OP_SILENT)
		g->stats.severed_silent++;
	else if (op == OP_STALLED)
		g->stats.severed_stalled++;
	else
		g->stats.severed_agentless++;
}

/* Says of a neighbour, or of another member, what its test has shown. */
static void outcome_tell(struct gossip *g, const struct test *t, enum wire_op op)
{
	uint16_t peer = t->peer;
	struct link *l = link_of(g, peer);
	const struct lost *said = own_lost(g, peer);

	if (l && l->listed) {
		sever_count(g, op);
		if (op == OP_SILENT)
			detector_silenced(g, peer);
		link_unlist(g, l, op, true);
		membership_lost_neighbour(g);
		if (op == OP_STALLED && l->handle != 0) {
			link_stall(g, l);
		} else {
			l->silent = op == OP_SILENT;
			link_drop(g, l, false);
		}
		return;
	}
	if (l && op == OP_SILENT) {
		l->silent = true;
		link_drop(g, l, false); /* was kept for its return */
	}
	if (said && said->op == OP_SILENT && op == OP_SILENT && verdict_outdated(g, peer))
		own_change(g, OP_CLEAR, peer, true); /* or to say it again would be no news */
	else if (said && said->op == op && lost_valid(g, said))
		return;
	own_change(g, op, peer, true);
}

/* Those that waited for another to be over are so, too. */
static void tests_release(struct gossip *g)
{
	for (size_t i = 0; i < g->n_tests; i++) {
		if (g->tests[i].over && g->tests[i].next > g->now) {
			g->tests[i].next = g->now;
			detector_at(g, g->now);
		}
	}
}

/* The test is over, without an answer from the process. */
static void test_conclude(struct gossip *g, struct test *test, enum wire_op op)
{
	struct test t = *test;
	const struct absent *a;

	test_end(g, test);
	tests_release(g);
	if (t.hail) {
		a = absent_find(g, t.peer);
		if (op == OP_SILENT || !a || a->stalled || a->agentless)
			return;
	}
	outcome_tell(g, &t, op);
	if (op == OP_SILENT)
		detector_unwatch(g, t.peer);
	else
		detector_watch(g, t.peer);
	if (t.initiator != NONE) {
		spread_report(g, t.initiator, t.peer);
		if (t.initiator2 != NONE)
			spread_report(g, t.initiator2, t.peer);
	} else if (t.told && op == OP_SILENT) {
		spread_gather(g, t.peer, g->now + 2 * g->config.try_interval);
		if (!member_reachable(g, t.peer))
			spread_gathered(g, t.peer);
	}
}

/* Its kernel could not be asked, and might have answered: the link is given up, and nothing is said of the host.
 * That is for those who can ask. */
static void test_abandon(struct gossip *g, struct test *t)
{
	struct link *l = link_of(g, t->peer);

	test_end(g, t);
	tests_release(g);
	if (!l)
		return;
	l->silent = true;
	link_unlist(g, l, OP_DROP, true);
	link_drop(g, l, false);
	membership_lost_neighbour(g);
}

/* See BY_LINK_CLEAN. */
static unsigned by_link_most(const struct gossip *g, const struct link *l)
{
	uint32_t loss = l->loss > g->loss ? l->loss : g->loss;

	return BY_LINK_CLEAN + (loss >= PERCENT) + (loss >= 10 * PERCENT);
}

/* The process has answered. */
static void test_heard(struct gossip *g, struct test *test)
{
	struct test t = *test;
	struct link *l = link_of(g, t.peer);

	test_end(g, test);
	tests_release(g);
	trace_clear(g, t.peer);
	g->stats.tests_heard++;
	if (t.initiator != NONE) {
		struct gossip_addr to;
		struct packet p;

		packet_init(g, &p);
		write_message_begin(&p.w, WIRE_HEARD);
		write_u64(&p.w, g->members[t.peer].id);
		write_message_end(&p.w);
		member_address(g, t.initiator, &to);
		packet_send(g, &p, &to);
	}
	if (!l) {
		verdict_answered(g, t.peer);
		membership_pong(g, t.peer);
		return;
	}
	if (l->handle == 0) { /* its connection broke, it did not */
		link_drop(g, l, false);
		membership_lost_neighbour(g);
		return;
	}
	if (t.by_link && l->n_by_link < UINT8_MAX)
		l->n_by_link++;
	if (t.by_link && l->n_by_link >= by_link_most(g, l))
		l->degraded = true;
	if (l->degraded && !l->degraded_told) {
		l->degraded_told = true;
		event_push(g, &(struct gossip_event){
				      .kind = GOSSIP_EVENT_DEGRADED, .id = g->members[t.peer].id});
	}
	if (l->stalled)
		link_list(g, l);
}

static void stall_step(struct gossip *g, struct test *t)
{
	nsec_t quiet = g->now - t->answered_at;

	if (quiet > g->config.n_tries_min * g->config.try_interval + STALL_INTERVAL + lateness(g)) {
		/* The host has fallen silent meanwhile: the test begins anew. */
		t->stalling = t->answered = t->told = false;
		t->n_tries = t->n_words = 0;
		t->nonce = g->next_nonce;
		g->next_nonce += NONCES;
		t->started = g->now;
		t->next = g->now;
		return;
	}
	if (g->now - t->started >= g->config.stall_after) {
		test_conclude(g, t, OP_STALLED);
		return;
	}
	if (t->n_tries >= NONCES - 1) {
		t->n_tries = 1;
		t->nonce = g->next_nonce;
		g->next_nonce += NONCES;
	}
	test_try(g, t);
	t->next = g->now + STALL_INTERVAL;
}

/* Tests all neighbours that have said nothing for so long. */
static void test_links(struct gossip *g, nsec_t silent)
{
	for (unsigned i = 0; i < g->n_links; i++) {
		struct link *l = &g->links[i];
		struct test *t;

		if (l->state != LINK_ACTIVE || !l->listed || g->now - l->heard < silent ||
			test_find(g, l->peer))
			continue;
		t = test_start(g, l->peer);
		if (t)
			t->quiet = true;
	}
}

/* See who is left, rather than wait for each one's next heartbeat. */
static void test_all(struct gossip *g)
{
	if (g->all_tested != 0 && g->now - g->all_tested < ALL_INTERVAL)
		return;
	g->all_tested = g->now;
	test_links(g, RECENT);
}

/* A member was severed for silence, by us or by another. If it is the second within a short time,
 * this is larger than a node: in a split, say, where everyone has links to the other side. */
void detector_silenced(struct gossip *g, uint16_t m)
{
	if (g->silenced != m && g->silenced_at != 0 && g->now - g->silenced_at < SEVERAL_WITHIN)
		test_all(g);
	g->silenced = m;
	g->silenced_at = g->now;
}

/* Whether another neighbour is as silent as this one. */
static bool silent_too(struct gossip *g, const struct test *t)
{
	for (size_t i = 0; i < g->n_tests; i++) {
		const struct test *other = &g->tests[i];

		if (other != t && other->n_tries >= 2 && !other->answered && !other->hail &&
			link_of(g, other->peer))
			return true;
	}
	return false;
}

/* For the answers to the last tries. */
static nsec_t last_wait(const struct gossip *g, const struct link *l)
{
	nsec_t t = detector_timeout(g, l);

	return of_two(g) && t < TIMEOUT_UNKNOWN ? TIMEOUT_UNKNOWN : t;
}

static void test_step(struct gossip *g, struct test *t)
{
	struct link *l = link_of(g, t->peer);

	if (t->stalling) {
		stall_step(g, t);
		return;
	}
	if (word_due(g, t, l) && !t->hail && t->initiator == NONE && (l || watch_find(g, t->peer)))
		word_send(g, t);
	if (t->n_tries < t->max_tries) {
		test_try(g, t);
		t->next = g->now + g->config.try_interval + lateness(g);
		if (l && l->degraded_told)
			t->next += DEGRADED_SPARE;
		if (t->n_tries == t->max_tries)
			t->next = g->now + last_wait(g, l);
		if (t->n_tries == 2 && l && silent_too(g, t))
			test_all(g);
		return;
	}
	if (t->refused) {
		test_conclude(g, t, OP_AGENTLESS);
	} else if (t->answered && l && l->listed) {
		t->stalling = true;
		stall_step(g, t);
	} else if (!t->over && !t->answered && l && silent_too(g, t)) {
		t->over = true;
		t->next = g->now + OVER_WAIT * g->config.try_interval;
	} else if (!t->answered && t->n_asked == 0 && t->n_not_asked > 0) {
		test_abandon(g, t);
	} else {
		test_conclude(g, t, t->answered ? OP_STALLED : OP_SILENT);
	}
}

void detector_probe(struct gossip *g, uint32_t probe, enum gossip_probe result)
{
	if (result == GOSSIP_PROBE_REFUSED || result == GOSSIP_PROBE_ANSWERED)
		verdict_kernel(g);
	for (size_t i = 0; i < g->n_tests; i++) {
		struct test *t = &g->tests[i];
		struct link *l;
		nsec_t at;

		if (probe - t->nonce >= NONCES)
			continue;
		if (result == GOSSIP_PROBE_NOT_ASKED && t->n_asked > 0) {
			t->n_asked--;
			t->n_not_asked++;
		}
		if (result == GOSSIP_PROBE_REFUSED) {
			t->refused = true;
			test_conclude(g, t, OP_AGENTLESS);
		} else if (result == GOSSIP_PROBE_ANSWERED) {
			t->answered = true;
			t->answered_at = g->now;
			l = link_of(g, t->peer);
			if (!l)
				verdict_answered(g, t->peer);
			else if (tried_at(t, probe, &at))
				rtt_sample(g, l,
					at); /* while the process is stopped, it is all we have */
			if (links_listed(g) == 0)
				membership_pong(
					g, t->peer); /* a stream may pass where no ping does */
			if (watch_find(g, t->peer) && !(l && l->listed))
				test_conclude(g, t, OP_STALLED);
		}
		return;
	}
}

/* Both ways: it answers one of ours. */
static void datagram_passed(struct link *l)
{
	l->proven = true;
	l->degraded = l->degraded_told = false;
	l->n_by_link = 0;
}

/* A heartbeat that was due is not waited for any more. The next one is due when it always was: later,
 * and nobody would notice a peer that dies just after one was lost. */
static void beat_skipped(struct gossip *g, struct link *l)
{
	nsec_t period =
		l->period != 0 ? l->period : GOSSIP_NEIGHBOURS_MAX * g->config.beat_interval;

	if (l->expected <= g->now)
		l->expected += ((g->now - l->expected) / period + 1) * period;
	detector_at(g, l->expected + slack(g, l));
}

void detector_pong(struct gossip *g, uint16_t m, uint32_t nonce, bool by_link)
{
	struct test *t = test_find(g, m);
	struct link *l = link_of(g, m);
	nsec_t at;

	if (!t || nonce - t->nonce >= t->n_tries)
		return;
	if (l && !by_link && tried_at(t, nonce, &at))
		rtt_sample(g, l, at);
	for (unsigned i = 0; l && !by_link && i < nonce - t->nonce && i < 4; i++)
		loss_sample(g, l, true); /* those before it went unanswered */
	if (l && !by_link)
		datagram_passed(l);
	t->by_link = by_link;
	if (l) {
		beat_skipped(g, l);
		verdict_proven(g);
	}
	test_heard(g, t);
}

void detector_heard(struct gossip *g, uint16_t m)
{
	struct link *l = link_of(g, m);

	g->heard = g->now;
	g->verdict_dirty |= g->withheld;
	if (!l)
		return;
	l->heard = g->now;
	if (g->now > g->paused + TIMEOUT_MAX)
		verdict_proven(g); /* this was not in the socket while we paused */
}

/* How many others that are there say that they hear its kernel, and have smaller ids. */
static unsigned n_hearers_before(const struct gossip *g, uint16_t m)
{
	unsigned n = 0;

	for (size_t i = 0; i < g->n_lost; i++) {
		const struct lost *lost = &g->lost[i];

		n += lost->subject == m && lost->op != OP_SILENT && lost_valid(g, lost) &&
		     member_reachable(g, lost->owner) && g->members[lost->owner].id < g->config.id;
	}
	return n;
}

/* Enough of them hear it without us, and go on asking. */
static bool heard_enough(const struct gossip *g, uint16_t m)
{
	return n_hearers_before(g, m) >= WATCHERS_MAX;
}

void detector_word(struct gossip *g, uint16_t from, uint16_t subject)
{
	struct link *l = link_of(g, subject);

	if ((l && l->listed) || watch_find(g, subject) ||
		(verdict_unsaid(g, subject) && !heard_enough(g, subject)))
		detector_test(g, subject, from);
	else if (own_lost(g, subject))
		spread_report(g, from, subject);
}

void detector_heard_by(struct gossip *g, uint16_t from, uint16_t subject)
{
	struct test *t = test_find(g, subject);

	if (!t || t->doubted || !t->told)
		return;
	t->doubted = true; /* the link may be at fault, not the node: no hurry */
	if (t->max_tries + 2 <= TRIES_MAX)
		t->max_tries += 2;
}

void detector_severed_by(struct gossip *g, uint16_t owner, uint16_t subject, enum wire_op op)
{
	struct link *l = link_of(g, subject);

	if (owner == g->self || !l || !l->listed || l->stalled || test_find(g, subject))
		return;
	if (l->heard + g->config.slack_min < g->now)
		detector_test(g, subject, NONE);
}

/* ---- Heartbeats ---- */

static unsigned n_beaten(const struct gossip *g)
{
	unsigned n = 0;

	for (unsigned i = 0; i < g->n_links; i++)
		n += g->links[i].state == LINK_ACTIVE && !g->links[i].stalled;
	return n;
}

static void beat_send(struct gossip *g, struct link *l, uint8_t flags)
{
	nsec_t held = g->now - l->received;
	struct wire_beat beat = {.flags = flags};
	struct gossip_addr to;
	struct packet p;

	if (l->sent > 0 && !l->echoed && l->received > l->sent + detector_timeout(g, l))
		loss_sample(g, l, true); /* it spoke after ours should have come, of an older one */
	else if (l->echoed)
		loss_sample(g, l, false);
	beat.seq = ++l->seq;
	beat.next_ms = n_beaten(g) * g->config.beat_interval / MSEC;
	beat.digest = spread_digest(g) ^ spread_digest(g) >> 32;
	if (l->listed)
		beat.flags |= BEAT_YOU_ARE_LISTED;
	if (l->degraded)
		beat.flags |= BEAT_DEGRADED;
	if (l->any_in && held / BEAT_HELD_UNIT <= UINT16_MAX) {
		beat.flags |= BEAT_ECHO;
		beat.echo = l->seq_in;
		beat.held = held / BEAT_HELD_UNIT;
	}
	l->sent = g->now;
	l->echoed = false;
	packet_init(g, &p);
	write_message_begin(&p.w, WIRE_BEAT);
	wire_beat_write(&p.w, &beat);
	write_message_end(&p.w);
	if (!l->degraded && l->proven)
		spread_ride(g, l, &p.w);
	member_address(g, l->peer, &to);
	packet_send(g, &p, &to);
	if ((l->degraded || l->by_link_until > g->now) && l->handle != 0) {
		struct frame f;

		frame_init(g, &f, WIRE_BEAT, 32);
		wire_beat_write(&f.w, &beat);
		frame_send(g, &f, l);
	}
}

void detector_want_link(struct gossip *g, struct link *l)
{
	if (l->state == LINK_ACTIVE)
		beat_send(g, l, BEAT_WANT_LINK);
}

static void late_sample(struct gossip *g, struct link *l, uint16_t gap)
{
	nsec_t late = g->now > l->expected ? g->now - l->expected : 0;

	if (gap > 0 || l->expected == 0 || late > TIMEOUT_MAX)
		return;
	l->late_ms[l->at_late] = late / MSEC;
	l->at_late = (l->at_late + 1) % RTT_WINDOW;
	l->n_late += l->n_late < RTT_WINDOW;
}

static void echo_sample(struct gossip *g, struct link *l, const struct wire_beat *beat)
{
	nsec_t held = beat->held * BEAT_HELD_UNIT;

	if (!(beat->flags & BEAT_ECHO) || beat->echo != l->seq || l->echoed)
		return;
	l->echoed = true;
	if (g->now < l->sent + held || g->now - l->sent - held > TIMEOUT_MAX)
		return;
	rtt_sample(g, l, l->sent + held);
}

void detector_beat(struct gossip *g, struct link *l, const struct wire_beat *beat, bool by_link)
{
	uint16_t gap = beat->seq - l->seq_in - 1;
	bool first = !l->any_in;
	struct test *t;

	if (!by_link && (beat->flags & BEAT_ECHO))
		datagram_passed(l);
	if (by_link && (beat->flags & BEAT_DEGRADED))
		l->by_link_until = g->now + 2 * GOSSIP_NEIGHBOURS_MAX * g->config.beat_interval;
	if (l->any_in && gap >= 0x8000)
		return; /* again, or late */
	if (l->any_in) {
		for (unsigned i = 0; i < gap && i < 8; i++)
			loss_sample(g, l, true);
		loss_sample(g, l, false);
		late_sample(g, l, gap);
	}
	l->any_in = true;
	l->seq_in = beat->seq;
	l->received = g->now;
	echo_sample(g, l, beat);
	l->period = beat->next_ms * MSEC;
	l->expected = g->now + l->period;
	detector_at(g, l->expected + slack(g, l));
	t = test_find(g, l->peer);
	if (t)
		test_heard(g, t); /* may drop the link, or list it again */
	if (l->state != LINK_ACTIVE)
		return;
	if (l->stalled)
		link_list(g, l);
	if (beat->flags & BEAT_YOU_ARE_LISTED)
		l->unlisted = NSEC_NEVER;
	if (first || (beat->flags & BEAT_WANT_LINK && l->listed))
		beat_send(g, l, 0); /* so that both learn at once that datagrams pass */
	spread_beat(g, l, beat->digest);
}

/* ---- Links ---- */

void detector_link_up(struct gossip *g, struct link *l)
{
	struct test *t = test_find(g, l->peer);

	if (t)
		test_end(g, t);
	detector_unwatch(g, l->peer);
	l->order = g->next_order++;
	l->heard = g->now;
	/* After those of any link to it before, of which one may still be on its way. */
	l->seq = (g->now - g->started) / g->config.beat_interval;
	l->expected = g->now + SEC; /* its first heartbeat comes at once */
	detector_at(g, l->expected + slack(g, l));
	if (l->outgoing)
		beat_send(g, l, 0); /* which the other end answers, and we that: three, not four */
}

void detector_link_closed(struct gossip *g, struct link *l, enum gossip_close reason)
{
	struct test *t;

	l->handle = 0;
	if (l->state != LINK_ACTIVE) {
		membership_open_failed(g, l);
		return;
	}
	if (!l->listed) {
		link_drop(g, l, false);
		return;
	}
	t = test_find(g, l->peer);
	if (!t)
		t = test_start(g, l->peer);
	if (!t) {
		link_drop(g, l, false);
		membership_lost_neighbour(g);
		return;
	}
	t->closed = true;
	t->hail = false;
	t->next = g->now;
	detector_at(g, g->now);
}

void detector_link_gone(struct gossip *g, uint16_t m)
{
	struct test *t = test_find(g, m);

	if (t)
		test_end(g, t);
}

void detector_forget(struct gossip *g, uint16_t m)
{
	detector_link_gone(g, m);
	detector_unwatch(g, m);
	for (size_t i = 0; i < g->n_tests; i++) {
		if (g->tests[i].initiator == m)
			g->tests[i].initiator = NONE;
		if (g->tests[i].initiator2 == m)
			g->tests[i].initiator2 = NONE;
	}
}

/* ---- Time ---- */

void detector_late(struct gossip *g, nsec_t late)
{
	nsec_t since = g->now - g->lateness_at;

	if (since >= SEC) {
		nsec_t n = since / SEC;

		g->lateness -=
			g->lateness / LATENESS_DECAY * (n < LATENESS_DECAY ? n : LATENESS_DECAY);
		g->lateness_at = g->now;
	}
	if (late >= LONG_PAUSE) { /* stopped, not late: that says nothing of how it runs */
		g->stats.pauses++;
		if (late > g->stats.longest_pause)
			g->stats.longest_pause = late;
		verdict_paused(g);
		test_links(g, 0);
	} else if (late > g->lateness) {
		g->lateness = late;
	}
	if (late < PAUSE)
		return;
	for (unsigned i = 0; i < g->n_links; i++) {
		struct link *l = &g->links[i];

		if (l->state == LINK_ACTIVE && l->expected < g->now + PAUSE_GRACE)
			l->expected = g->now + PAUSE_GRACE;
	}
	for (size_t i = 0; i < g->n_tests; i++) {
		struct test *t = &g->tests[i];

		/* Unread answers were read before this tick; those under way get a try's time. */
		if (t->next < g->now + g->config.try_interval)
			t->next = g->now + g->config.try_interval;
		if (t->n_tries > 0 && !t->stalling)
			t->n_tries = 1;
		t->answered_at = g->now;
	}
}

static void beat_next(struct gossip *g)
{
	struct link *first = NULL;

	for (unsigned i = 0; i < g->n_links; i++) {
		struct link *l = &g->links[i];

		if (l->state == LINK_ACTIVE && !l->stalled &&
			(!first || (int32_t)(l->order - first->order) < 0))
			first = l;
	}
	if (!first)
		return;
	first->order = g->next_order++;
	beat_send(g, first, 0);
}

static void overdue(struct gossip *g)
{
	for (unsigned i = 0; i < g->n_links; i++) {
		struct link *l = &g->links[i];

		if (l->state != LINK_ACTIVE || l->stalled || !l->listed ||
			l->expected + slack(g, l) > g->now || test_find(g, l->peer))
			continue;
		g->stats.beats_missed++;
		detector_test(g, l->peer, NONE);
	}
}

static void watches(struct gossip *g)
{
	for (size_t i = 0; i < g->n_watches; i++) {
		struct watch *w = &g->watches[i];

		if (w->next > g->now)
			continue;
		w->next = g->now + WATCH_INTERVAL - random_below(g, WATCH_INTERVAL / 8);
		if (!member_reachable(g, w->peer) && !heard_enough(g, w->peer)) {
			detector_test(g, w->peer, NONE);
			continue;
		}
		if (!member_reachable(g, w->peer))
			own_change(g, OP_CLEAR, w->peer, false);
		*w = g->watches[--g->n_watches];
		i--;
	}
}

static void detector_schedule(struct gossip *g)
{
	g->detector_next = NSEC_NEVER;
	for (unsigned i = 0; i < g->n_links; i++) {
		struct link *l = &g->links[i];

		if (l->state == LINK_ACTIVE && !l->stalled && l->listed && !test_find(g, l->peer))
			detector_at(g, l->expected + slack(g, l));
	}
	for (size_t i = 0; i < g->n_tests; i++)
		detector_at(g, g->tests[i].next);
	for (size_t i = 0; i < g->n_watches; i++)
		detector_at(g, g->watches[i].next);
}

void detector_tick(struct gossip *g)
{
	if (g->beat_next <= g->now) {
		g->beat_next += g->config.beat_interval;
		if (g->beat_next <= g->now)
			g->beat_next = g->now + g->config.beat_interval;
		beat_next(g);
	}
	if (g->detector_next > g->now)
		return;
	overdue(g);
	for (size_t i = g->n_tests; i-- > 0;) {
		if (i < g->n_tests && g->tests[i].next <= g->now)
			test_step(g, &g->tests[i]);
	}
	watches(g);
	detector_schedule(g);
}

nsec_t detector_deadline(const struct gossip *g)
{
	return g->detector_next < g->beat_next ? g->detector_next : g->beat_next;
}

/* ---- To look at ---- */

bool gossip_neighbour_next(const struct gossip *g, size_t *cursor, struct gossip_neighbour *ret)
{
	uint32_t sorted[RTT_WINDOW];

	for (; *cursor < g->n_links; ++*cursor) {
		const struct link *l = &g->links[*cursor];

		if (l->state != LINK_ACTIVE)
			continue;
		*ret = (struct gossip_neighbour){.id = g->members[l->peer].id,
			.listed = l->listed,
			.testing = test_find((struct gossip *)g, l->peer) != NULL,
			.degraded = l->degraded,
			.unheard = l->by_link_until > g->now,
			.eager = l->eager,
			.incoming = !l->outgoing,
			.heard = l->heard,
			.timeout = detector_timeout(g, l),
			.loss_permille = (uint32_t)l->loss * 1000 >> 16};
		for (unsigned i = 0; i < l->n_rtt; i++) {
			unsigned k = i;

			for (; k > 0 && sorted[k - 1] > l->rtt_us[i]; k--)
				sorted[k] = sorted[k - 1];
			sorted[k] = l->rtt_us[i];
		}
		if (l->n_rtt > 0) {
			ret->rtt_min = sorted[0] * UINT64_C(1000);
			ret->rtt_median = sorted[l->n_rtt / 2] * UINT64_C(1000);
			ret->rtt_max = sorted[l->n_rtt - 1] * UINT64_C(1000);
		}
		++*cursor;
		return true;
	}
	return false;
}
