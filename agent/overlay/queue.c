/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/overlay/queue.h"

#include <pthread.h>
#include <sys/eventfd.h>

#include "agent/util.h"

struct queue {
	pthread_mutex_t lock;
	size_t max, first, n;
	uint64_t n_dropped;
	int fd;
	void *items[];
};

struct queue *queue_new(size_t max)
{
	struct queue *q = xcalloc(1, sizeof(*q) + max * sizeof(*q->items));

	q->max = max;
	q->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (q->fd < 0) {
		free(q);
		return NULL;
	}
	pthread_mutex_init(&q->lock, NULL);
	return q;
}

static void wake(struct queue *q)
{
	uint64_t one = 1;

	(void)!write(q->fd, &one, sizeof(one));
}

bool queue_push(struct queue *q, void *item)
{
	bool full, first;

	pthread_mutex_lock(&q->lock);
	full = q->n == q->max;
	first = q->n == 0;
	if (full)
		q->n_dropped++;
	else
		q->items[(q->first + q->n++) % q->max] = item;
	pthread_mutex_unlock(&q->lock);
	if (first && !full)
		wake(q);
	return !full;
}

void *queue_pop(struct queue *q)
{
	void *item = NULL;
	uint64_t n;

	pthread_mutex_lock(&q->lock);
	if (q->n > 0) {
		item = q->items[q->first];
		q->first = (q->first + 1) % q->max;
		q->n--;
	}
	pthread_mutex_unlock(&q->lock);
	if (item || read(q->fd, &n, sizeof(n)) < 0)
		return item;
	/* Some may have come between the look and the reading, which took their wake-up away: who
	 * takes one at a time needs it for the rest. */
	item = queue_pop(q);
	if (item && queue_count(q) > 0)
		wake(q);
	return item;
}

int queue_fd(const struct queue *q)
{
	return q->fd;
}

size_t queue_count(struct queue *q)
{
	size_t n;

	pthread_mutex_lock(&q->lock);
	n = q->n;
	pthread_mutex_unlock(&q->lock);
	return n;
}

uint64_t queue_dropped(const struct queue *q)
{
	return q->n_dropped;
}

struct queue *queue_free(struct queue *q, void (*free_item)(void *item))
{
	if (!q)
		return NULL;
	while (q->n > 0) {
		free_item(q->items[q->first]);
		q->first = (q->first + 1) % q->max;
		q->n--;
	}
	close(q->fd);
	pthread_mutex_destroy(&q->lock);
	free(q);
	return NULL;
}
