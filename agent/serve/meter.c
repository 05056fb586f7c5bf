/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/serve/meter.h"

#include <errno.h>

/* Readings are at least this far apart: rates over less are noise. */
#define METER_INTERVAL NSEC_PER_SEC
/* And so many times as long as one takes: 5 % of a processor, while somebody looks. */
#define METER_IDLE 20
/* An older reading is not shown, but a new one waited for. */
#define METER_STALE (5 * NSEC_PER_SEC)
/* A rate over more than this is history: nobody had looked. A table whose reading takes three seconds
 * still has one. */
#define METER_RATE_MAX (70 * NSEC_PER_SEC)

struct waiter {
	void (*ready)(void *userdata);
	void *userdata;
};

struct meter {
	struct auditor *auditor;
	struct audit audit;
	bool reading;
	bool cold; /* the last reading had none before it, and asked for everything: no measure */
	struct traffic_table *before, *now, *fresh;
	nsec_t before_at, now_at;
	int error;
	struct meter_stats stats;
	size_t n_waiters;
	struct waiter *waiters;
};

double meter_rate(uint64_t before, uint64_t now, nsec_t interval)
{
	if (now <= before || interval == 0)
		return 0;
	return (double)(now - before) * 1e9 / (double)interval;
}

/* In the auditor's thread; `now` is not touched while a reading is under way. */
static int look(struct audit *audit, struct kernel *kernel)
{
	struct meter *m = audit->userdata;

	return kernel_read_traffic(kernel, m->now, &m->fresh);
}

static void tell_waiters(struct meter *m)
{
	struct waiter *list = STEAL(m->waiters);
	size_t n = m->n_waiters;

	m->n_waiters = 0;
	for (size_t i = 0; i < n; i++)
		list[i].ready(list[i].userdata);
	free(list);
}

static void on_read(struct audit *audit)
{
	struct meter *m = audit->userdata;

	m->reading = false;
	m->error = audit->error;
	m->stats.n_readings++;
	m->stats.n_failures += audit->error < 0;
	m->stats.last_duration = audit->duration;
	traffic_table_free(m->before);
	m->before = m->now;
	m->before_at = m->now_at;
	m->cold = !m->before;
	m->now = STEAL(m->fresh);
	m->now_at = now_ns();
	tell_waiters(m);
}

static void read_again(struct meter *m)
{
	m->reading = true;
	auditor_submit(m->auditor, &m->audit);
}

static struct meter_view view_of(const struct meter *m)
{
	struct meter_view view = {
		.now = m->now,
		.error = m->auditor ? m->error : -EOPNOTSUPP,
		.at = m->now_at,
		.interval = m->now_at - m->before_at,
	};

	if (m->before && view.interval <= METER_RATE_MAX)
		view.before = m->before;
	return view;
}

bool meter_look(struct meter *m, struct meter_view *ret)
{
	nsec_t age = m->stats.n_readings ? now_ns() - m->now_at : UINT64_MAX;
	nsec_t pause = (m->cold ? 1 : METER_IDLE) * m->stats.last_duration;

	if (m->auditor && !m->reading && age >= METER_INTERVAL && age >= pause)
		read_again(m);
	if (m->reading && age >= METER_STALE)
		return false;
	*ret = view_of(m);
	return true;
}

void meter_wait(struct meter *m, void (*ready)(void *userdata), void *userdata)
{
	m->waiters = xrealloc(m->waiters, m->n_waiters + 1, sizeof(*m->waiters));
	m->waiters[m->n_waiters++] = (struct waiter){ready, userdata};
}

struct meter_stats meter_stats(const struct meter *m)
{
	return m->stats;
}

struct meter *meter_new(struct auditor *auditor, const char *device)
{
	struct meter *m = xcalloc(1, sizeof(*m));

	m->auditor = auditor;
	m->audit.open = (struct kernel_options){.device = device};
	m->audit.look = look;
	m->audit.done = on_read;
	m->audit.userdata = m;
	return m;
}

struct meter *meter_free(struct meter *m)
{
	if (!m)
		return NULL;
	tell_waiters(m);
	traffic_table_free(m->before);
	traffic_table_free(m->now);
	traffic_table_free(m->fresh);
	free(m);
	return NULL;
}
