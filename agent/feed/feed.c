/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libcurl's multi interface on the event loop: curl says which descriptors it waits for
 * (on_curl_socket) and until when (on_curl_timer), the loop calls back. The document is
 * parsed as its bytes arrive, so it is never held as a whole.
 *
 * One poll is a small machine: idle -> asking master i -> (failed -> asking master i+1)* ->
 * done -> idle until the next interval. feed_poll_done() is its one way out.
 */
#include "agent/feed/feed.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "agent/log.h"

/* A redirect leads from any master to the leader; a chain means that they disagree. */
#define MAX_REDIRECTS 3L
/* How long after the last event in the directory the file is read: editors and `mv` make
 * several events of one change. */
#define FILE_SETTLE (20 * NSEC_PER_MSEC)
#define FILE_CHUNK 65536
/* The own master is polled at least so often, jitter included at most 5 s apart. */
#define OWN_INTERVAL (4500 * NSEC_PER_MSEC)
/* us; the loop's default of 250 ms would blur time-outs. */
#define TIMER_ACCURACY 1000

struct feed {
	sd_event *loop;
	const struct config *config;
	struct feed_handler handler;
	struct feed_stats stats;
	sd_event_source *timer;      /* next poll */
	struct mesos_parser *parser; /* of the answer that is coming in */
	char *url, *error;           /* owned texts behind stats */

	/* SOURCE_MESOS */
	CURLM *multi;
	CURL *easy; /* the request under way, or NULL */
	sd_event_source *curl_timer;
	struct curl_slist *headers;
	char curl_error[CURL_ERROR_SIZE];
	size_t master;  /* index of the one asked now or last */
	size_t n_tried; /* in this poll */
	enum feed_mode mode;
	char *own;   /* base URL of this node's own master; NULL: none */
	bool at_own; /* the request under way is to it */

	/* SOURCE_FILE */
	int inotify;
	sd_event_source *inotify_source, *settle;
	char *file_name;       /* last component, as inotify tells it */
	struct stat file_seen; /* of the last read, to skip reading what has not changed */
};

static void start_poll(struct feed *f);

const struct feed_stats *feed_stats(const struct feed *f)
{
	return &f->stats;
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

/* The next poll, if there is to be one. A publisher speaks for all, so its own master is asked often
 * enough for others to hear of it in time, whatever the operator wants of polls in general. */
static void arm_interval(struct feed *f)
{
	nsec_t interval = f->config->poll_interval;

	if (f->mode == FEED_NONE)
		return;
	if (f->own && interval > OWN_INTERVAL)
		interval = OWN_INTERVAL;
	arm(f->timer, jittered(interval));
}

static void set_error(struct feed *f, char *reason)
{
	free(f->error);
	f->stats.error = f->error = reason;
}

/* The poll is over: with a document, or with f->error set. */
static void feed_poll_done(struct feed *f, struct mesos_state *state)
{
	f->stats.last_duration = now_ns() - f->stats.last_begun;
	f->parser = mesos_parser_free(f->parser);
	arm_interval(f);
	if (state) {
		set_error(f, NULL);
		f->stats.last_success = now_ns();
		f->stats.n_documents++;
		f->handler.document(f->handler.userdata, state);
	} else {
		f->stats.n_failures++;
		f->handler.failure(f->handler.userdata, f->error);
	}
}

static void new_parser(struct feed *f)
{
	struct mesos_limits limits = {.document = f->config->max_document};

	mesos_parser_free(f->parser);
	f->parser = mesos_parser_new(&limits, NULL);
}

/* --- polling the masters --------------------------------------------------- */

static size_t n_masters(const struct feed *f)
{
	size_t n = 0;

	while (f->config->masters && f->config->masters[n])
		n++;
	return n;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *userdata)
{
	struct feed *f = userdata;
	long status = 0;

	curl_easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status != 200)
		return size * n; /* the body of an error page is of no interest */
	f->stats.n_bytes += size * n;
	f->stats.last_byte = now_ns();
	if (mesos_parser_feed(f->parser, bytes, size * n) < 0)
		return 0; /* ends the transfer; request_failure() tells why */
	return size * n;
}

/* Why this answer is no document. Caller frees. */
static char *request_failure(struct feed *f, CURLcode code, long status)
{
	if (code == CURLE_WRITE_ERROR && *mesos_parser_error(f->parser))
		return xasprintf("answer is not a Mesos state: %s", mesos_parser_error(f->parser));
	if (code == CURLE_TOO_MANY_REDIRECTS)
		return xstrdup("redirected too often: the masters disagree about who leads");
	if (code != CURLE_OK)
		return xstrdup(*f->curl_error ? f->curl_error : curl_easy_strerror(code));
	if (status != 200)
		return xasprintf("HTTP status %ld", status);
	return xasprintf("answer is not a Mesos state: %s", mesos_parser_error(f->parser));
}

static void drop_request(struct feed *f)
{
	if (!f->easy)
		return;
	curl_multi_remove_handle(f->multi, f->easy);
	curl_easy_cleanup(f->easy);
	f->easy = NULL;
}

static void ask(struct feed *f);

/* A master that does not lead sends elsewhere, or knows nobody to send to. */
static bool says_not_leading(CURLcode code, long status)
{
	return code == CURLE_OK && ((status >= 300 && status < 400) || status == 503);
}

/* The own master gave no document: whoever else may be asked is. */
static void own_done(struct feed *f, CURLcode code, long status)
{
	bool not_leading = says_not_leading(code, status);

	drop_request(f);
	f->at_own = false;
	if (f->mode == FEED_ANY && n_masters(f)) {
		log_debug("poll: the own master %s; asking the others",
			not_leading ? "does not lead" : "gives no document");
		ask(f);
	} else if (not_leading) {
		set_error(f, NULL);
		f->parser = mesos_parser_free(f->parser);
		arm_interval(f);
	} else {
		feed_poll_done(f, NULL);
	}
	if (not_leading && f->handler.not_leading)
		f->handler.not_leading(f->handler.userdata);
}

static void request_done(struct feed *f, CURLcode code)
{
	struct mesos_state *state = NULL;
	const char *url = NULL;
	AUTO_FREE char *reason = NULL;
	size_t n = n_masters(f);
	long status = 0;

	curl_easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(f->easy, CURLINFO_EFFECTIVE_URL, &url);
	if (code == CURLE_OK && status == 200)
		mesos_parser_finish(f->parser, NULL, &state);
	if (state) {
		free(f->url);
		f->stats.url = f->url = xstrdup(str_or(url, ""));
		f->stats.from_own = f->at_own;
		drop_request(f);
		feed_poll_done(f, state);
		return;
	}
	reason = request_failure(f, code, status);
	set_error(f, xasprintf("%s: %s", str_or(url, "?"), reason));
	if (f->at_own) {
		own_done(f, code, status);
		return;
	}
	drop_request(f);
	f->master++;
	if (++f->n_tried < n) {
		log_debug("poll: %s; trying the next master", f->error);
		ask(f);
	} else {
		feed_poll_done(f, NULL);
	}
}

static void set_method(struct feed *f, const char *base)
{
	bool v1 = strcmp(f->config->mesos_api, "v1") == 0;
	AUTO_FREE char *url = xasprintf("%s%s", base, v1 ? "/api/v1" : "/state");

	curl_easy_setopt(f->easy, CURLOPT_URL, url);
	if (!v1)
		return;
	curl_easy_setopt(f->easy, CURLOPT_POST, 1L);
	curl_easy_setopt(f->easy, CURLOPT_POSTFIELDS, "{\"type\":\"GET_STATE\"}");
	curl_easy_setopt(f->easy, CURLOPT_HTTPHEADER, f->headers);
}

/* Asks the own master, or the one at f->master. */
static void ask(struct feed *f)
{
	const struct config *c = f->config;
	const char *base = f->at_own ? f->own : c->masters[f->master % n_masters(f)];

	new_parser(f);
	f->easy = curl_easy_init();
	if (!f->easy)
		abort(); /* out of memory */
	*f->curl_error = '\0';
	set_method(f, base);
	curl_easy_setopt(f->easy, CURLOPT_ERRORBUFFER, f->curl_error);
	curl_easy_setopt(f->easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(f->easy, CURLOPT_WRITEDATA, f);
	curl_easy_setopt(f->easy, CURLOPT_FOLLOWLOCATION, f->at_own ? 0L : 1L);
	curl_easy_setopt(f->easy, CURLOPT_MAXREDIRS, MAX_REDIRECTS);
	curl_easy_setopt(f->easy, CURLOPT_POSTREDIR, CURL_REDIR_POST_ALL);
	curl_easy_setopt(f->easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(f->easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(f->easy, CURLOPT_ACCEPT_ENCODING, "gzip");
	curl_easy_setopt(f->easy, CURLOPT_USERAGENT, "vipd/" VIPD_VERSION);
	curl_easy_setopt(f->easy, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(f->easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(
		f->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(c->connect_timeout / NSEC_PER_MSEC));
	curl_easy_setopt(f->easy, CURLOPT_TIMEOUT_MS, (long)(c->request_timeout / NSEC_PER_MSEC));
	curl_multi_add_handle(f->multi, f->easy);
}

/* Takes what curl has finished. There is one request at a time. */
static void reap(struct feed *f)
{
	CURLMsg *msg;
	int n;

	while ((msg = curl_multi_info_read(f->multi, &n)))
		if (msg->msg == CURLMSG_DONE && msg->easy_handle == f->easy)
			request_done(f, msg->data.result);
}

static int on_socket_ready(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
	struct feed *f = userdata;
	int flags = 0, running;

	if (events & (EPOLLIN | EPOLLHUP))
		flags |= CURL_CSELECT_IN;
	if (events & EPOLLOUT)
		flags |= CURL_CSELECT_OUT;
	if (events & EPOLLERR)
		flags |= CURL_CSELECT_ERR;
	curl_multi_socket_action(f->multi, fd, flags, &running);
	reap(f);
	return 0;
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *userdata, void *per_socket)
{
	struct feed *f = userdata;
	sd_event_source *s = per_socket;
	uint32_t events =
		(what & CURL_POLL_IN ? EPOLLIN : 0U) | (what & CURL_POLL_OUT ? EPOLLOUT : 0U);

	if (what == CURL_POLL_REMOVE) {
		sd_event_source_disable_unref(s);
		curl_multi_assign(f->multi, fd, NULL);
		return 0;
	}
	if (s)
		return sd_event_source_set_io_events(s, events) < 0 ? -1 : 0;
	if (sd_event_add_io(f->loop, &s, fd, events, on_socket_ready, f) < 0)
		return -1;
	curl_multi_assign(f->multi, fd, s);
	return 0;
}

static int on_curl_timeout(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct feed *f = userdata;
	int running;

	curl_multi_socket_action(f->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	reap(f);
	return 0;
}

static int on_curl_timer(CURLM *multi, long ms, void *userdata)
{
	struct feed *f = userdata;

	if (ms < 0)
		sd_event_source_set_enabled(f->curl_timer, SD_EVENT_OFF);
	else
		arm(f->curl_timer, (nsec_t)ms * NSEC_PER_MSEC);
	return 0;
}

static int on_poll_due(sd_event_source *s, uint64_t usec, void *userdata)
{
	start_poll(userdata);
	return 0;
}

static int masters_init(struct feed *f)
{
	uint32_t r = 0;

	(void)!getrandom(&r, sizeof(r), GRND_NONBLOCK);
	f->master = r % n_masters(f);
	f->multi = curl_multi_init();
	f->headers = curl_slist_append(NULL, "Content-Type: application/json");
	if (!f->multi || !f->headers)
		return -ENOMEM;
	curl_multi_setopt(f->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
	curl_multi_setopt(f->multi, CURLMOPT_SOCKETDATA, f);
	curl_multi_setopt(f->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
	curl_multi_setopt(f->multi, CURLMOPT_TIMERDATA, f);
	return sd_event_add_time_relative(f->loop, &f->curl_timer, CLOCK_MONOTONIC, UINT64_MAX / 2,
		TIMER_ACCURACY, on_curl_timeout, f);
}

/* --- watching a file ------------------------------------------------------- */

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Feeds the file to the parser. NULL, or what went wrong (caller frees). */
static char *parse_file(struct feed *f, int fd, struct mesos_state **ret)
{
	AUTO_FREE char *chunk = xcalloc(1, FILE_CHUNK);
	ssize_t n;

	new_parser(f);
	while ((n = read(fd, chunk, FILE_CHUNK)) > 0) {
		f->stats.n_bytes += (uint64_t)n;
		if (mesos_parser_feed(f->parser, chunk, (size_t)n) < 0)
			return xstrdup(mesos_parser_error(f->parser));
	}
	if (n < 0)
		return xstrdup(strerror(errno));
	f->stats.last_byte = now_ns();
	if (mesos_parser_finish(f->parser, NULL, ret) < 0)
		return xstrdup(mesos_parser_error(f->parser));
	return NULL;
}

static void read_source_file(struct feed *f)
{
	const char *path = f->config->source_path;
	struct mesos_state *state = NULL;
	AUTO_FREE char *reason = NULL;
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st = {0};

	if (fd < 0 || fstat(fd, &st) < 0)
		reason = xstrdup(strerror(errno));
	else if (!S_ISREG(st.st_mode))
		reason = xstrdup("not a regular file");
	else
		reason = parse_file(f, fd, &state);
	f->file_seen = st;
	if (reason)
		set_error(f, xasprintf("%s: %s", path, reason));
	feed_poll_done(f, state);
}

static int on_settled(sd_event_source *s, uint64_t usec, void *userdata)
{
	start_poll(userdata);
	return 0;
}

static int on_inotify(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
	struct feed *f = userdata;
	char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	bool ours = false;
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		for (char *p = buf; p < buf + n;) {
			const struct inotify_event *e = (const struct inotify_event *)p;

			ours |= (e->mask & IN_Q_OVERFLOW) ||
				(e->len && strcmp(e->name, f->file_name) == 0);
			p += sizeof(*e) + e->len;
		}
	if (ours)
		arm(f->settle, FILE_SETTLE);
	return 0;
}

/* The directory is watched, not the file: a file is best replaced by rename. */
static int file_init(struct feed *f)
{
	AUTO_FREE char *copy1 = xstrdup(f->config->source_path);
	AUTO_FREE char *copy2 = xstrdup(f->config->source_path);
	int r;

	f->stats.url = f->url = xstrdup(f->config->source_path);
	f->file_name = xstrdup(basename(copy1));
	f->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (f->inotify < 0)
		return -errno;
	if (inotify_add_watch(f->inotify, dirname(copy2),
		    IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE) < 0)
		return -errno;
	r = sd_event_add_io(f->loop, &f->inotify_source, f->inotify, EPOLLIN, on_inotify, f);
	if (r < 0)
		return r;
	r = sd_event_add_time_relative(f->loop, &f->settle, CLOCK_MONOTONIC, UINT64_MAX / 2,
		TIMER_ACCURACY, on_settled, f);
	if (r < 0)
		return r;
	return sd_event_source_set_enabled(f->settle, SD_EVENT_OFF);
}

/* inotify can miss a change (a remounted directory, a network file system), so the
 * interval looks as well; it is a poll only if the file is another one than before, or its
 * content could not be used. */
static bool file_unchanged(struct feed *f)
{
	struct stat st;

	return !f->error && f->stats.n_documents && stat(f->config->source_path, &st) == 0 &&
	       same_file(&st, &f->file_seen);
}

/* --- life ------------------------------------------------------------------ */

static void begin_poll(struct feed *f)
{
	f->stats.n_polls++;
	f->stats.last_begun = now_ns();
}

static void start_poll(struct feed *f)
{
	sd_event_source_set_enabled(f->timer, SD_EVENT_OFF);
	if (f->config->source_kind == SOURCE_FILE) {
		begin_poll(f);
		read_source_file(f);
		return;
	}
	if (f->easy)
		return;
	f->at_own = f->own != NULL;
	if (f->mode == FEED_NONE || (f->mode == FEED_OWN && !f->own))
		return;
	begin_poll(f);
	f->n_tried = 0;
	ask(f);
}

static int on_interval(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct feed *f = userdata;

	if (f->config->source_kind == SOURCE_FILE && file_unchanged(f)) {
		f->stats.last_success = now_ns();
		arm(f->timer, jittered(f->config->poll_interval));
		return 0;
	}
	return on_poll_due(s, usec, userdata);
}

void feed_kick(struct feed *f)
{
	if (!f->easy && f->mode != FEED_NONE)
		arm(f->timer, 0);
}

void feed_set_own(struct feed *f, const char *url)
{
	if (strcmp(str_or(f->own, ""), str_or(url, "")) == 0)
		return;
	if (f->at_own) /* its URL is in use by curl's copy only, but its answer is of no interest */
		drop_request(f);
	f->at_own = false;
	free(f->own);
	f->own = url ? xstrdup(url) : NULL;
	feed_kick(f);
}

void feed_set_mode(struct feed *f, enum feed_mode mode, nsec_t within)
{
	enum feed_mode before = f->mode;

	if (f->config->source_kind == SOURCE_FILE || mode == before)
		return;
	f->mode = mode;
	if (mode == FEED_NONE || (mode == FEED_OWN && !f->at_own))
		drop_request(f); /* what it would say is not asked any more */
	if (mode == FEED_NONE)
		sd_event_source_set_enabled(f->timer, SD_EVENT_OFF);
	else if (!f->easy)
		arm(f->timer, (nsec_t)(random_share() * (double)within));
}

int feed_new(sd_event *loop, const struct config *config, const struct feed_handler *handler,
	struct feed **ret)
{
	struct feed *f = xcalloc(1, sizeof(*f));
	int r;

	f->loop = sd_event_ref(loop);
	f->config = config;
	f->handler = *handler;
	f->inotify = -1;
	r = sd_event_add_time_relative(
		loop, &f->timer, CLOCK_MONOTONIC, 0, TIMER_ACCURACY, on_interval, f);
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
	drop_request(f);
	curl_multi_cleanup(f->multi);
	curl_slist_free_all(f->headers);
	sd_event_source_disable_unref(f->curl_timer);
	sd_event_source_disable_unref(f->timer);
	sd_event_source_disable_unref(f->inotify_source);
	sd_event_source_disable_unref(f->settle);
	if (f->inotify >= 0)
		close(f->inotify);
	mesos_parser_free(f->parser);
	free(f->file_name);
	free(f->own);
	free(f->url);
	free(f->error);
	sd_event_unref(f->loop);
	free(f);
	return NULL;
}
