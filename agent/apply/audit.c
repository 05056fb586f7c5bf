/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two lists under one lock, which is never held across a system call but the wake-up: audits
 * to do, and audits done. The thread sleeps on a condition, the loop on an eventfd.
 */
#include "agent/apply/audit.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/eventfd.h>

struct auditor {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct audit *todo, **todo_end, *finished, **finished_end;
	bool stop, running;
	int fd;
	sd_event_source *io;
};

static int cmp_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* Steps are compared as text, which says all there is to them. */
void audit_keep_confirmed(struct plan *plan, const struct plan *earlier)
{
	AUTO_FREE char(*texts)[STEP_STRLEN] = xcalloc(earlier->n_steps, sizeof(*texts));
	char text[STEP_STRLEN];
	size_t kept = 0;

	for (size_t i = 0; i < earlier->n_steps; i++)
		step_format(&earlier->steps[i], texts[i]);
	qsort(texts, earlier->n_steps, sizeof(*texts), cmp_text);
	for (size_t i = 0; i < plan->n_steps; i++) {
		step_format(&plan->steps[i], text);
		if (bsearch(text, texts, earlier->n_steps, sizeof(*texts), cmp_text))
			plan->steps[kept++] = plan->steps[i];
	}
	plan->n_steps = kept;
}

/* Reads the kernel and plans. 0 or a negative errno. */
static int look(struct audit *a, struct kernel *kernel, struct plan *plan)
{
	int r;

	a->have = kernel_state_free(a->have);
	r = kernel_read(kernel, &a->have);
	return r < 0 || !a->want ? r : plan_make(plan, a->have, a->want, &a->options);
}

static int look_twice(struct audit *a, struct kernel *kernel)
{
	struct plan first = {0};
	int r = look(a, kernel, &first);

	if (r < 0 || first.n_steps == 0) {
		a->plan = first;
		return r;
	}
	r = look(a, kernel, &a->plan);
	audit_keep_confirmed(&a->plan, &first);
	plan_done(&first);
	return r;
}

static void run_audit(struct audit *a)
{
	nsec_t begun = now_ns();
	struct kernel *kernel = NULL;

	a->have = NULL;
	a->plan = (struct plan){0};
	a->error = kernel_open(&a->open, &kernel, NULL);
	if (a->error >= 0)
		a->error = a->look ? a->look(a, kernel) : look_twice(a, kernel);
	kernel_free(kernel);
	if (a->error < 0) {
		a->have = kernel_state_free(a->have);
		plan_done(&a->plan);
	}
	a->duration = now_ns() - begun;
}

static struct audit *take_first(struct audit **first, struct audit ***end)
{
	struct audit *a = *first;

	if (a) {
		*first = a->next;
		if (!*first)
			*end = first;
	}
	return a;
}

static void append(struct audit ***end, struct audit *a)
{
	a->next = NULL;
	**end = a;
	*end = &a->next;
}

static void *thread_main(void *userdata)
{
	struct auditor *r = userdata;
	uint64_t one = 1;

	pthread_mutex_lock(&r->lock);
	while (!r->stop) {
		struct audit *a = take_first(&r->todo, &r->todo_end);

		if (!a) {
			pthread_cond_wait(&r->wake, &r->lock);
			continue;
		}
		pthread_mutex_unlock(&r->lock);
		run_audit(a);
		pthread_mutex_lock(&r->lock);
		append(&r->finished_end, a);
		(void)!write(r->fd, &one, sizeof(one));
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

/* Gives all that is finished back to who submitted it. */
static void hand_back(struct auditor *r)
{
	struct audit *a;

	do {
		pthread_mutex_lock(&r->lock);
		a = take_first(&r->finished, &r->finished_end);
		pthread_mutex_unlock(&r->lock);
		if (a)
			a->done(a);
	} while (a);
}

static int on_finished(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
	uint64_t n;

	(void)!read(fd, &n, sizeof(n));
	hand_back(userdata);
	return 0;
}

void auditor_submit(struct auditor *r, struct audit *audit)
{
	pthread_mutex_lock(&r->lock);
	append(&r->todo_end, audit);
	pthread_cond_signal(&r->wake);
	pthread_mutex_unlock(&r->lock);
}

int auditor_new(sd_event *loop, struct auditor **ret)
{
	struct auditor *r = xcalloc(1, sizeof(*r));
	int x;

	r->todo_end = &r->todo;
	r->finished_end = &r->finished;
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->wake, NULL);
	r->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	x = r->fd < 0 ? -errno : sd_event_add_io(loop, &r->io, r->fd, EPOLLIN, on_finished, r);
	if (x >= 0) {
		x = -pthread_create(&r->thread, NULL, thread_main, r);
		r->running = x == 0;
	}
	if (x < 0) {
		auditor_free(r);
		return x;
	}
	*ret = r;
	return 0;
}

struct auditor *auditor_free(struct auditor *r)
{
	if (!r)
		return NULL;
	pthread_mutex_lock(&r->lock);
	r->stop = true;
	pthread_cond_signal(&r->wake);
	pthread_mutex_unlock(&r->lock);
	if (r->running)
		pthread_join(r->thread, NULL);
	while (r->todo) {
		struct audit *a = take_first(&r->todo, &r->todo_end);

		a->error = -ECANCELED;
		append(&r->finished_end, a);
	}
	hand_back(r);
	sd_event_source_disable_unref(r->io);
	if (r->fd >= 0)
		close(r->fd);
	pthread_cond_destroy(&r->wake);
	pthread_mutex_destroy(&r->lock);
	free(r);
	return NULL;
}
