/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One poll is a small machine, of attempts:
 *
 *   idle -> attempt (-> attempt)* -> success or failure -> idle until the interval is over
 *
 * An attempt asks one master, for a subscription or for a document; next_attempt() says who comes
 * after whom: for a subscription first the own master, then the others; then for a document the same.
 * The bytes go to the reader's thread as they arrive, and an attempt succeeds when a table comes
 * back. That of a subscription then goes on, giving tables, until it breaks: lose_subscription().
 * poll_succeeded() and poll_failed() are a poll's only ways out.
 *
 * The same timer begins the next poll and renews a subscription, whose whole state would else never
 * be looked at again.
 */
#include "agent/feed/feed.h"

#include <errno.h>
#include <stdio.h>
#include <sys/random.h>

#include "agent/feed/file.h"
#include "agent/feed/reader.h"
#include "agent/feed/request.h"
#include "agent/log.h"

/* The own master is polled at least so often, jitter included at most 5 s apart. */
#define OWN_INTERVAL (4500 * NSEC_PER_MSEC)
/* us; the loop's default of 250 ms would blur time-outs. */
#define TIMER_ACCURACY 1000
/* A subscription is renewed this often: events that a master forgot to send are repaired, at
 * the cost of one document. */
#define RENEWAL (300 * NSEC_PER_SEC)
/* Mesos' own interval, until the master has told its. */
#define HEARTBEAT (15 * NSEC_PER_SEC)

struct feed {
	sd_event *loop;
	const struct config *config;
	struct feed_handler handler;
	struct feed_stats stats;
	sd_event_source *timer; /* next poll, or renewal */
	struct reader *reader;
	char *url, *error, *lost; /* owned texts behind stats */
	bool polling;             /* a poll is under way */

	/* SOURCE_MESOS */
	struct requester *requester;
	sd_event_source *silence; /* of a subscription */
	nsec_t heartbeat;
	enum feed_mode mode;
	char *own; /* base URL of this node's own master; NULL: none */
	/* the attempt under way */
	bool streaming;    /* for a subscription */
	bool at_own;       /* to the own master */
	bool own_lags;     /* that said in this poll that it does not lead */
	size_t master;     /* index of the one asked now or last */
	size_t n_tried;    /* of the others, in this poll, in the same way */
	char *attempt_url; /* after redirects, once the answer is whole */

	struct source_file *file; /* SOURCE_FILE */
};

static void begin_poll(struct feed *f);

const struct feed_stats *feed_stats(const struct feed *f)
{
	return &f->stats;
}

static size_t n_masters(const struct feed *f)
{
	size_t n = 0;

	while (f->config->masters && f->config->masters[n])
		n++;
	return n;
}

/* --- the end of a poll ----------------------------------------------------- */

/* 0 to 1. */
static double random_share(void)
{
	uint32_t r = 0;

	(void)!getrandom(&r, sizeof(r), GRND_NONBLOCK);
	return (double)r / UINT32_MAX;
}

/* interval +- 10 %: a cluster's nodes must not ask the master all at once. */
static nsec_t jittered(nsec_t interval)
{
	return interval - interval / 10 + (nsec_t)(random_share() * (double)(interval / 5));
}

static void arm(sd_event_source *timer, nsec_t in)
{
	sd_event_source_set_time_relative(timer, in / NSEC_PER_USEC);
	sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
}

static void disarm(sd_event_source *timer)
{
	if (timer)
		sd_event_source_set_enabled(timer, SD_EVENT_OFF);
}

/* The next poll, if there is to be one. A publisher speaks for all, so its own master is asked often
 * enough for others to hear of it in time, whatever the operator wants of polls in general. */
static void arm_interval(struct feed *f)
{
	nsec_t interval = f->config->poll_interval;

	if (f->mode == FEED_NONE)
		return;
	if (f->own && interval > OWN_INTERVAL)
		interval = OWN_INTERVAL;
	arm(f->timer, jittered(f->stats.subscribed ? RENEWAL : interval));
}

/* Replaces an owned text; takes `text` over, which may be NULL. */
static void replace(char **owned, char *text)
{
	free(*owned);
	*owned = text;
}

/* The same of a text that the statistics show. */
static void set_text(char **owned, const char **shown, char *text)
{
	replace(owned, text);
	*shown = text;
}

static void poll_begins(struct feed *f)
{
	f->polling = true;
	f->stats.n_polls++;
	f->stats.last_begun = now_ns();
}

static void poll_over(struct feed *f)
{
	f->polling = false;
	f->stats.last_duration = now_ns() - f->stats.last_begun;
	arm_interval(f);
}

static void poll_failed(struct feed *f, char *reason)
{
	set_text(&f->error, &f->stats.error, reason);
	f->stats.n_failures++;
	poll_over(f);
	f->handler.failure(f->handler.userdata, f->error);
}

/* Also for each of the tables that a subscription gives. */
static void take_reading(struct feed *f, struct reading *reading)
{
	set_text(&f->error, &f->stats.error, NULL);
	f->stats.last_success = now_ns();
	f->stats.last_byte = reading->last_byte;
	f->stats.n_documents++;
	f->stats.n_unchanged += reading->kind == READING_UNCHANGED;
	if (reading->n_bytes)
		f->stats.document = reading->n_bytes;
	f->handler.table(f->handler.userdata, STEAL(reading->table));
}

static void poll_succeeded(struct feed *f, struct reading *reading)
{
	if (f->file == NULL)
		set_text(&f->url, &f->stats.url, xstrdup(str_or(f->attempt_url, "")));
	f->stats.from_own = f->at_own;
	poll_over(f);
	take_reading(f, reading);
}

/* --- attempts -------------------------------------------------------------- */

static bool wants_stream(const struct feed *f)
{
	return strcmp(f->config->mesos_api, "subscribe") == 0;
}

static enum request_kind request_kind(const struct feed *f)
{
	if (f->streaming)
		return REQUEST_SUBSCRIBE;
	return strcmp(f->config->mesos_api, "state") == 0 ? REQUEST_STATE : REQUEST_GET_STATE;
}

/* Asks the own master, or the one at f->master. */
static void attempt(struct feed *f)
{
	const char *base = f->at_own ? f->own : f->config->masters[f->master % n_masters(f)];

	replace(&f->attempt_url, xstrdup(base));
	reader_begin(f->reader, f->config->max_document, f->streaming);
	if (f->streaming) {
		f->heartbeat = 0;
		arm(f->silence, f->config->request_timeout);
	}
	request_begin(f->requester, base, request_kind(f), !f->at_own);
}

/* The first of one way to ask. False if nobody is to be asked. */
static bool first_attempt(struct feed *f, bool streaming)
{
	f->streaming = streaming;
	f->n_tried = 0;
	f->at_own = f->own && !f->own_lags;
	return f->at_own || (f->mode == FEED_ANY && n_masters(f) > 0);
}

/* The attempt gave nothing; true if there is another, which is then the one under way. */
static bool next_attempt(struct feed *f)
{
	size_t n = f->mode == FEED_ANY ? n_masters(f) : 0;

	if (f->at_own) {
		f->at_own = false;
		if (n > 0)
			return true;
	} else {
		f->master++;
		if (++f->n_tried < n)
			return true;
	}
	return f->streaming && first_attempt(f, false);
}

static void stop_attempt(struct feed *f)
{
	disarm(f->silence);
	request_drop(f->requester);
	reader_abort(f->reader);
}

static void note_lost(struct feed *f, const char *reason)
{
	if (f->stats.subscribed)
		log_notice("source: %s; polling until there is a subscription again", reason);
	else if (!f->lost)
		log_notice("source: no subscription, so polling: %s", reason);
	f->stats.n_subscriptions_lost += f->stats.subscribed;
	f->stats.subscribed = false;
	set_text(&f->lost, &f->stats.lost, xstrdup(reason));
}

static void attempt_failed(struct feed *f, char *reason)
{
	stop_attempt(f);
	if (f->streaming)
		note_lost(f, reason);
	if (!next_attempt(f)) {
		poll_failed(f, reason);
		return;
	}
	log_debug("poll: %s; trying another way", reason);
	free(reason);
	attempt(f);
}

/* The own master sends elsewhere, or knows nobody to send to: that is no failure. */
static void own_does_not_lead(struct feed *f)
{
	stop_attempt(f);
	f->own_lags = true;
	if (f->streaming)
		set_text(&f->lost, &f->stats.lost, NULL);
	if (next_attempt(f)) {
		attempt(f);
	} else {
		set_text(&f->error, &f->stats.error, NULL);
		poll_over(f);
	}
	if (f->handler.not_leading)
		f->handler.not_leading(f->handler.userdata);
}

/* Asks for a document at once: events may have been missed. */
static void lose_subscription(struct feed *f, char *reason)
{
	stop_attempt(f);
	note_lost(f, reason);
	free(reason);
	poll_begins(f);
	f->own_lags = false;
	if (first_attempt(f, false))
		attempt(f);
	else
		poll_over(f);
}

/* --- bytes and tables ------------------------------------------------------ */

static int on_body(void *userdata, const char *bytes, size_t n)
{
	struct feed *f = userdata;

	if (reader_feed(f->reader, bytes, n) == READER_FULL)
		return REQUEST_WAIT;
	f->stats.n_bytes += n;
	f->stats.last_heard = now_ns();
	return REQUEST_GO_ON;
}

static void finish_document(struct feed *f)
{
	const struct vip_table *known = f->handler.known(f->handler.userdata);

	reader_finish(f->reader, known ? known->digest : NULL);
}

static void on_request_done(void *userdata, const struct request_end *end)
{
	struct feed *f = userdata;
	bool whole = end->outcome == REQUEST_WHOLE;
	char *reason = xasprintf("%s: %s", end->url,
		whole ? "the master ended the subscription" : str_or(end->reason, "failed"));

	if (whole && !f->streaming) {
		replace(&f->attempt_url, xstrdup(end->url));
		finish_document(f);
	} else if (f->stats.subscribed) {
		lose_subscription(f, STEAL(reason));
	} else if (f->at_own && end->outcome == REQUEST_ELSEWHERE) {
		own_does_not_lead(f);
	} else {
		attempt_failed(f, STEAL(reason));
	}
	free(reason);
}

static void subscribed(struct feed *f)
{
	f->stats.subscribed = true;
	f->stats.n_subscriptions++;
	replace(&f->attempt_url, xstrdup(request_url(f->requester)));
	if (f->lost || f->stats.n_subscriptions == 1)
		log_notice("source: subscribed to the events of %s", f->attempt_url);
	set_text(&f->lost, &f->stats.lost, NULL);
}

/* Silence is measured from the last byte, so that hearing one costs no timer. */
static nsec_t silence_limit(const struct feed *f)
{
	nsec_t heartbeat = f->heartbeat ? f->heartbeat : HEARTBEAT;

	return f->stats.subscribed ? 2 * heartbeat + NSEC_PER_SEC : f->config->request_timeout;
}

static void on_stream_table(struct feed *f, struct reading *reading)
{
	bool first = !f->stats.subscribed;

	f->heartbeat = reading->heartbeat;
	if (!first) {
		take_reading(f, reading);
		return;
	}
	subscribed(f);
	arm(f->silence, silence_limit(f));
	poll_succeeded(f, reading);
}

static void on_broken(struct feed *f, const char *error)
{
	char *reason = xasprintf("%s: answer is not a Mesos state: %s",
		f->file ? f->config->source_path : f->attempt_url, error);

	if (f->file)
		poll_failed(f, reason);
	else if (f->stats.subscribed)
		lose_subscription(f, reason);
	else
		attempt_failed(f, reason);
}

static void on_reading(void *userdata, struct reading *reading)
{
	struct feed *f = userdata;

	if (reading->kind == READING_BROKEN)
		on_broken(f, reading->error);
	else if (reading->kind == READING_REBUILT)
		f->handler.table(f->handler.userdata, STEAL(reading->table));
	else if (f->streaming)
		on_stream_table(f, reading);
	else
		poll_succeeded(f, reading);
}

static int on_silence(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct feed *f = userdata;
	nsec_t limit = silence_limit(f), since = now_ns() - f->stats.last_heard;
	char *reason;

	if (f->stats.subscribed && since < limit) {
		arm(f->silence, limit - since);
		return 0;
	}
	if (f->stats.subscribed) {
		reason = xasprintf("%s: silent for %.0f s", str_or(f->url, "?"),
			(double)since / (double)NSEC_PER_SEC);
		lose_subscription(f, reason);
	} else {
		reason = xasprintf("%s: no whole state within %.0f s", f->attempt_url,
			(double)limit / (double)NSEC_PER_SEC);
		attempt_failed(f, reason);
	}
	return 0;
}

/* --- the file -------------------------------------------------------------- */

static void file_failed(struct feed *f, const char *error)
{
	char *reason = xasprintf("%s: %s", f->config->source_path, error);

	source_file_close(f->file);
	reader_abort(f->reader);
	poll_failed(f, reason);
}

/* Hands pieces to the reader until it has enough for now. */
static void pump_file(struct feed *f)
{
	const char *piece, *error;
	size_t n;

	while (f->polling) {
		error = source_file_piece(f->file, &piece, &n);
		if (error) {
			file_failed(f, error);
			return;
		}
		if (n == 0) {
			source_file_close(f->file);
			finish_document(f);
			return;
		}
		if (reader_feed(f->reader, piece, n) == READER_FULL)
			return;
		f->stats.n_bytes += n;
		source_file_next(f->file);
	}
}

static void read_file(struct feed *f)
{
	const char *error = source_file_open(f->file);

	reader_begin(f->reader, f->config->max_document, false);
	if (error)
		file_failed(f, error);
	else
		pump_file(f);
}

static void on_file_changed(void *userdata)
{
	begin_poll(userdata);
}

/* --- polls ----------------------------------------------------------------- */

static void begin_poll(struct feed *f)
{
	bool renewal = f->stats.subscribed;

	disarm(f->timer);
	if (f->polling && !f->file)
		return;
	f->own_lags = false;
	if (!f->file && (f->mode == FEED_NONE || !first_attempt(f, wants_stream(f))))
		return;
	poll_begins(f);
	if (f->file) {
		read_file(f);
		return;
	}
	if (renewal)
		stop_attempt(f);
	f->stats.subscribed = false;
	attempt(f);
}

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct feed *f = userdata;

	/* For a file it is a poll only if the file is another one than before, or its content
	 * could not be used. */
	if (f->file && !f->error && f->stats.n_documents && source_file_unchanged(f->file)) {
		f->stats.last_success = now_ns();
		arm_interval(f);
		return 0;
	}
	begin_poll(f);
	return 0;
}

static void on_room(void *userdata)
{
	struct feed *f = userdata;

	if (f->file)
		pump_file(f);
	else
		request_resume(f->requester);
}

void feed_kick(struct feed *f)
{
	if (!f->polling && !f->stats.subscribed && f->mode != FEED_NONE)
		arm(f->timer, 0);
}

void feed_resolved(struct feed *f)
{
	if (f->mode != FEED_NONE)
		reader_rebuild(f->reader);
}

/* What is under way is of no interest any more. */
static void stop(struct feed *f)
{
	stop_attempt(f);
	f->polling = f->stats.subscribed = f->at_own = false;
}

void feed_set_own(struct feed *f, const char *url)
{
	if (f->file || strcmp(str_or(f->own, ""), str_or(url, "")) == 0)
		return;
	if (f->at_own || f->stats.subscribed)
		stop(f);
	free(f->own);
	f->own = url ? xstrdup(url) : NULL;
	feed_kick(f);
}

void feed_set_mode(struct feed *f, enum feed_mode mode, nsec_t within)
{
	if (f->file || mode == f->mode)
		return;
	f->mode = mode;
	if (mode == FEED_NONE || (mode == FEED_OWN && !f->at_own))
		stop(f);
	if (mode == FEED_NONE)
		disarm(f->timer);
	else if (!f->polling && !f->stats.subscribed)
		arm(f->timer, (nsec_t)(random_share() * (double)within));
}

/* --- life ------------------------------------------------------------------ */

static int masters_init(struct feed *f)
{
	struct request_handler handler = {on_body, on_request_done, f};
	size_t n = n_masters(f);
	int r;

	f->master = n ? (size_t)(random_share() * (double)n) % n : 0;
	r = sd_event_add_time_relative(f->loop, &f->silence, CLOCK_MONOTONIC, UINT64_MAX / 2,
		TIMER_ACCURACY, on_silence, f);
	if (r < 0)
		return r;
	disarm(f->silence);
	return requester_new(f->loop, f->config, &handler, &f->requester);
}

static int file_init(struct feed *f)
{
	set_text(&f->url, &f->stats.url, xstrdup(f->config->source_path));
	return source_file_new(f->loop, f->config->source_path, on_file_changed, f, &f->file);
}

int feed_new(sd_event *loop, const struct config *config, const struct vip_table_options *options,
	const struct feed_handler *handler, struct feed **ret)
{
	struct feed *f = xcalloc(1, sizeof(*f));
	struct reader_handler reader_handler = {on_reading, on_room, f};
	int r;

	f->loop = sd_event_ref(loop);
	f->config = config;
	f->handler = *handler;
	r = sd_event_add_time_relative(
		loop, &f->timer, CLOCK_MONOTONIC, 0, TIMER_ACCURACY, on_timer, f);
	if (r >= 0)
		r = reader_new(loop, options, &reader_handler, &f->reader);
	if (r >= 0)
		r = config->source_kind == SOURCE_FILE ? file_init(f) : masters_init(f);
	if (r < 0) {
		feed_free(f);
		return r;
	}
	*ret = f;
	return 0;
}

struct feed *feed_free(struct feed *f)
{
	if (!f)
		return NULL;
	requester_free(f->requester);
	source_file_free(f->file);
	reader_free(f->reader);
	sd_event_source_disable_unref(f->timer);
	sd_event_source_disable_unref(f->silence);
	free(f->attempt_url);
	free(f->own);
	free(f->url);
	free(f->error);
	free(f->lost);
	sd_event_unref(f->loop);
	free(f);
	return NULL;
}
