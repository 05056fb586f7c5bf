/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two lists under one lock, as in audit.c: what is to be done, bounded by its bytes, and what came
 * of it. Everything below `worker` is the thread's alone.
 *
 * Events come one by one, but a table is made of all tasks; so it is made when the queue is empty,
 * and not again before the thread has rested twice as long as it took (at most REST_MAX): a storm of
 * events costs a third of a processor.
 *
 * Agents registered by name make a table depend on what the resolver knew. The questions that a
 * table was made with are kept, and asked again before a document passes as unchanged.
 */
#include "agent/feed/reader.h"

#include <errno.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <time.h>

#include "agent/source/stream.h"
#include "agent/source/task_pool.h"

/* Bytes that wait for the thread: some ten milliseconds of its work. */
#define QUEUE_MAX ((size_t)1 << 20)
#define REST_MAX (100 * NSEC_PER_MSEC)

enum job_kind {
	JOB_BEGIN,
	JOB_BYTES,
	JOB_FINISH,
	JOB_REBUILD,
	JOB_ABORT,
};

struct job {
	struct job *next;
	enum job_kind kind;
	unsigned int text; /* which text it belongs to */
	bool stream, has_known;
	size_t max_document;
	uint8_t known[16];
	nsec_t when;
	size_t n_bytes;
	char bytes[];
};

/* A host name, and what was known of it. */
struct question {
	char *name;
	struct ip_addr answer;
};

struct worker {
	struct vip_table_options options;
	struct task_pool *pool;
	struct mesos_state *state; /* of the last document; keeps its tasks in the pool */
	size_t n_questions;
	struct question *questions; /* of the last table */
	struct mesos_parser *parser;
	struct mesos_stream *stream;
	bool deaf;    /* the text is broken: the rest of it is not looked at */
	bool rebuild; /* the resolver may know more than it did */
	unsigned int text;
	nsec_t last_byte, rest_until;
};

struct reader {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct job *jobs, **jobs_end;
	struct reading *readings, **readings_end;
	size_t n_queued; /* bytes */
	bool stop, running, full;
	int fd;
	sd_event_source *io;
	struct reader_handler handler;
	unsigned int text; /* the loop's: the one under way; others' readings are dropped */
	struct worker worker;
};

/* --- in the thread: tables ------------------------------------------------- */

static void forget_questions(struct worker *w)
{
	for (size_t i = 0; i < w->n_questions; i++)
		free(w->questions[i].name);
	free(w->questions);
	w->questions = NULL;
	w->n_questions = 0;
}

static struct ip_addr ask(struct worker *w, const char *name)
{
	struct ip_addr answer = {0};

	if (w->options.resolve)
		(void)w->options.resolve(w->options.userdata, name, &answer);
	return answer;
}

/* vip_table_options.resolve, noting what was asked. */
static int ask_and_note(void *userdata, const char *name, struct ip_addr *ret)
{
	struct worker *w = userdata;
	struct ip_addr answer = ask(w, name);

	w->questions = xrealloc(w->questions, w->n_questions + 1, sizeof(*w->questions));
	w->questions[w->n_questions++] = (struct question){xstrdup(name), answer};
	if (!answer.family)
		return -ENOENT;
	*ret = answer;
	return 0;
}

static bool answers_hold(struct worker *w)
{
	bool hold = true;

	for (size_t i = 0; i < w->n_questions; i++) { /* all: asking keeps answers fresh */
		struct ip_addr answer = ask(w, w->questions[i].name);

		hold &= ip_addr_equal(&answer, &w->questions[i].answer);
	}
	return hold;
}

static struct vip_table *build(struct worker *w, const struct mesos_state *state)
{
	struct vip_table_options options = w->options;

	options.resolve = ask_and_note;
	options.userdata = w;
	forget_questions(w);
	return vip_table_build(state, &options);
}

/* --- in the thread: texts -------------------------------------------------- */

static void end_text(struct worker *w)
{
	w->parser = mesos_parser_free(w->parser);
	w->stream = mesos_stream_free(w->stream);
}

static void begin_text(struct worker *w, const struct job *job)
{
	struct mesos_limits limits = {.document = job->max_document};

	end_text(w);
	w->deaf = false;
	w->text = job->text;
	if (job->stream) {
		w->stream = mesos_stream_new(&limits);
		return;
	}
	if (w->state && task_pool_is_worn(w->pool, w->state->n_ids)) {
		task_pool_unref(w->pool);
		w->pool = task_pool_new();
	}
	w->parser = mesos_parser_new(&limits, w->pool);
}

static struct reading *reading_new(const struct worker *w, enum reading_kind kind)
{
	struct reading *reading = xcalloc(1, sizeof(*reading));

	reading->kind = kind;
	reading->text = w->text;
	reading->last_byte = w->last_byte;
	return reading;
}

static struct reading *broken(struct worker *w, const char *error)
{
	struct reading *reading = reading_new(w, READING_BROKEN);

	reading->error = xstrdup(error);
	w->deaf = true;
	return reading;
}

static struct reading *take_bytes(struct worker *w, const struct job *job)
{
	w->last_byte = job->when;
	if (w->deaf)
		return NULL;
	if (w->stream && mesos_stream_feed(w->stream, job->bytes, job->n_bytes) < 0)
		return broken(w, mesos_stream_error(w->stream));
	if (w->parser && mesos_parser_feed(w->parser, job->bytes, job->n_bytes) < 0)
		return broken(w, mesos_parser_error(w->parser));
	return NULL;
}

/* The document's state is the last one now; NULL: it says what that said. */
static struct reading *take_state(struct worker *w, struct mesos_state *fresh)
{
	struct reading *reading =
		reading_new(w, fresh || !answers_hold(w) ? READING_TABLE : READING_UNCHANGED);

	reading->n_bytes = mesos_parser_position(w->parser);
	end_text(w); /* its memory is of use for the table */
	if (fresh) {
		mesos_state_free(w->state);
		w->state = fresh;
	}
	if (reading->kind == READING_TABLE)
		reading->table = build(w, w->state);
	return reading;
}

static struct reading *finish_document(struct worker *w, const struct job *job)
{
	/* The table in force may be of another origin than the last state here. */
	bool is_last = job->has_known && w->state &&
		       memcmp(w->state->digest, job->known, sizeof(job->known)) == 0;
	struct mesos_state *fresh = NULL;

	if (w->deaf || !w->parser)
		return NULL;
	if (mesos_parser_finish(w->parser, is_last ? job->known : NULL, &fresh) < 0)
		return broken(w, mesos_parser_error(w->parser));
	return take_state(w, fresh);
}

static struct reading *do_job(struct worker *w, const struct job *job)
{
	switch (job->kind) {
	case JOB_BEGIN:
		begin_text(w, job);
		return NULL;
	case JOB_BYTES:
		return take_bytes(w, job);
	case JOB_FINISH:
		return finish_document(w, job);
	case JOB_REBUILD:
		w->rebuild = true;
		return NULL;
	case JOB_ABORT:
		end_text(w);
		return NULL;
	}
	return NULL;
}

/* A table is to be made without a document's end. */
static bool table_is_due(const struct worker *w)
{
	return w->rebuild || (w->stream && !w->deaf && mesos_stream_changed(w->stream));
}

/* The table of what the stream has told so far. */
static struct reading *read_stream(struct worker *w)
{
	struct reading *reading = reading_new(w, READING_TABLE);
	struct mesos_state *state = mesos_stream_state(w->stream);

	reading->table = build(w, state);
	reading->n_bytes = state->n_bytes;
	reading->heartbeat = mesos_stream_heartbeat_ms(w->stream) * NSEC_PER_MSEC;
	mesos_state_free(state);
	return reading;
}

static struct reading *read_again(struct worker *w)
{
	struct reading *reading;

	if (!w->state || w->parser || answers_hold(w))
		return NULL;
	reading = reading_new(w, READING_REBUILT);
	reading->table = build(w, w->state);
	return reading;
}

/* What is due; then comes a rest. */
static struct reading *make_table(struct worker *w)
{
	nsec_t begun = now_ns(), took;
	struct reading *reading = NULL;
	bool known = w->stream && mesos_stream_n_records(w->stream) > 0;

	if (w->stream && (mesos_stream_changed(w->stream) || (known && !answers_hold(w))))
		reading = read_stream(w);
	else if (!w->stream)
		reading = read_again(w);
	w->rebuild = false;
	took = now_ns() - begun;
	w->rest_until = begun + took + (2 * took < REST_MAX ? 2 * took : REST_MAX);
	return reading;
}

/* --- between thread and loop ----------------------------------------------- */

static void wake_loop(struct reader *r)
{
	uint64_t one = 1;

	(void)!write(r->fd, &one, sizeof(one));
}

/* With the lock held. */
static void post(struct reader *r, struct reading *reading)
{
	if (!reading)
		return;
	*r->readings_end = reading;
	r->readings_end = &reading->next;
	wake_loop(r);
}

static struct job *take_job(struct reader *r)
{
	struct job *job = r->jobs;

	if (!job)
		return NULL;
	r->jobs = job->next;
	if (!r->jobs)
		r->jobs_end = &r->jobs;
	r->n_queued -= job->n_bytes;
	if (r->full && r->n_queued < QUEUE_MAX / 2) {
		r->full = false;
		wake_loop(r);
	}
	return job;
}

/* Sleeps, with the lock held, until there is a job or the stream's rest is over. */
static void sleep_for_job(struct reader *r, bool due)
{
	nsec_t until = r->worker.rest_until;
	struct timespec ts = {
		.tv_sec = (time_t)(until / NSEC_PER_SEC), .tv_nsec = (long)(until % NSEC_PER_SEC)};

	if (due)
		pthread_cond_timedwait(&r->wake, &r->lock, &ts);
	else
		pthread_cond_wait(&r->wake, &r->lock);
}

static void *thread_main(void *userdata)
{
	struct reader *r = userdata;

	pthread_mutex_lock(&r->lock);
	while (!r->stop) {
		struct job *job = take_job(r);
		struct reading *reading;
		bool due = !job && table_is_due(&r->worker);

		if (!job && (!due || now_ns() < r->worker.rest_until)) {
			sleep_for_job(r, due);
			continue;
		}
		pthread_mutex_unlock(&r->lock);
		reading = job ? do_job(&r->worker, job) : make_table(&r->worker);
		free(job);
		pthread_mutex_lock(&r->lock);
		post(r, reading);
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

/* --- in the loop ----------------------------------------------------------- */

static void reading_free(struct reading *reading)
{
	vip_table_free(reading->table);
	free(reading->error);
	free(reading);
}

static struct reading *take_reading(struct reader *r, bool *ret_room)
{
	struct reading *reading;

	pthread_mutex_lock(&r->lock);
	reading = r->readings;
	if (reading)
		r->readings = reading->next;
	if (!r->readings)
		r->readings_end = &r->readings;
	*ret_room = !r->full;
	pthread_mutex_unlock(&r->lock);
	return reading;
}

static int on_readings(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
	struct reader *r = userdata;
	struct reading *reading;
	uint64_t n;
	bool room;

	(void)!read(fd, &n, sizeof(n));
	while ((reading = take_reading(r, &room))) {
		if (reading->text == r->text)
			r->handler.done(r->handler.userdata, reading);
		reading_free(reading);
	}
	if (room)
		r->handler.room(r->handler.userdata);
	return 0;
}

static struct job *job_new(struct reader *r, enum job_kind kind, size_t n_bytes)
{
	struct job *job = xrealloc(NULL, 1, sizeof(*job) + n_bytes);

	*job = (struct job){.kind = kind, .text = r->text, .when = now_ns(), .n_bytes = n_bytes};
	return job;
}

/* With the lock held. */
static void append(struct reader *r, struct job *job)
{
	*r->jobs_end = job;
	r->jobs_end = &job->next;
	r->n_queued += job->n_bytes;
	pthread_cond_signal(&r->wake);
}

static void submit(struct reader *r, struct job *job)
{
	pthread_mutex_lock(&r->lock);
	append(r, job);
	pthread_mutex_unlock(&r->lock);
}

/* The jobs of texts of which nothing is to be heard any more. With the lock held. */
static void drop_jobs(struct reader *r)
{
	struct job *job;

	while ((job = take_job(r)))
		free(job);
}

/* What waits is dropped, with the lock held only for that. */
static void next_text(struct reader *r)
{
	pthread_mutex_lock(&r->lock);
	drop_jobs(r);
	r->text++;
	pthread_mutex_unlock(&r->lock);
}

void reader_begin(struct reader *r, size_t max_document, bool stream)
{
	struct job *job;

	next_text(r);
	job = job_new(r, JOB_BEGIN, 0);
	job->max_document = max_document;
	job->stream = stream;
	submit(r, job);
}

int reader_feed(struct reader *r, const void *bytes, size_t n_bytes)
{
	struct job *job = job_new(r, JOB_BYTES, n_bytes);
	bool full;

	memcpy(job->bytes, bytes, n_bytes);
	pthread_mutex_lock(&r->lock);
	full = r->n_queued > 0 && r->n_queued + n_bytes > QUEUE_MAX;
	r->full |= full;
	if (!full)
		append(r, job);
	pthread_mutex_unlock(&r->lock);
	if (full)
		free(job);
	return full ? READER_FULL : 0;
}

void reader_finish(struct reader *r, const uint8_t known[16])
{
	struct job *job = job_new(r, JOB_FINISH, 0);

	job->has_known = known != NULL;
	if (known)
		memcpy(job->known, known, sizeof(job->known));
	submit(r, job);
}

void reader_rebuild(struct reader *r)
{
	submit(r, job_new(r, JOB_REBUILD, 0));
}

void reader_abort(struct reader *r)
{
	next_text(r);
	submit(r, job_new(r, JOB_ABORT, 0));
}

/* --- life ------------------------------------------------------------------ */

static void init_wake(pthread_cond_t *wake)
{
	pthread_condattr_t attributes;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(wake, &attributes);
	pthread_condattr_destroy(&attributes);
}

int reader_new(sd_event *loop, const struct vip_table_options *options,
	const struct reader_handler *handler, struct reader **ret)
{
	struct reader *r = xcalloc(1, sizeof(*r));
	int x;

	r->handler = *handler;
	r->worker.options = *options;
	r->worker.pool = task_pool_new();
	r->jobs_end = &r->jobs;
	r->readings_end = &r->readings;
	pthread_mutex_init(&r->lock, NULL);
	init_wake(&r->wake);
	r->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	x = r->fd < 0 ? -errno : sd_event_add_io(loop, &r->io, r->fd, EPOLLIN, on_readings, r);
	if (x >= 0) {
		x = -pthread_create(&r->thread, NULL, thread_main, r);
		r->running = x == 0;
	}
	if (x < 0) {
		reader_free(r);
		return x;
	}
	*ret = r;
	return 0;
}

static void worker_done(struct worker *w)
{
	end_text(w);
	forget_questions(w);
	mesos_state_free(w->state);
	task_pool_unref(w->pool);
}

struct reader *reader_free(struct reader *r)
{
	struct reading *reading;
	bool room;

	if (!r)
		return NULL;
	pthread_mutex_lock(&r->lock);
	r->stop = true;
	drop_jobs(r);
	pthread_cond_signal(&r->wake);
	pthread_mutex_unlock(&r->lock);
	if (r->running)
		pthread_join(r->thread, NULL);
	while ((reading = take_reading(r, &room)))
		reading_free(reading);
	worker_done(&r->worker);
	sd_event_source_disable_unref(r->io);
	if (r->fd >= 0)
		close(r->fd);
	pthread_cond_destroy(&r->wake);
	pthread_mutex_destroy(&r->lock);
	free(r);
	return NULL;
}
