/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/overlay/queue.h"
#include "agent/util.h"

static bool readable(struct queue *q)
{
	struct pollfd p = {.fd = queue_fd(q), .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static void test_order_and_bound(void **state)
{
	int items[4] = {0, 1, 2, 3};
	struct queue *q = queue_new(3);

	assert_null(queue_pop(q));
	assert_false(readable(q));
	for (int i = 0; i < 3; i++)
		assert_true(queue_push(q, &items[i]));
	assert_false(queue_push(q, &items[3])); /* the newest is refused */
	assert_int_equal(queue_dropped(q), 1);
	assert_int_equal(queue_count(q), 3);
	assert_true(readable(q));
	assert_ptr_equal(queue_pop(q), &items[0]);
	assert_true(queue_push(q, &items[3]));
	for (int i = 1; i < 4; i++)
		assert_ptr_equal(queue_pop(q), &items[i]);
	assert_null(queue_pop(q));
	assert_false(readable(q));
	queue_free(q, free);
}

static void test_rest_is_freed(void **state)
{
	struct queue *q = queue_new(10);

	for (int i = 0; i < 5; i++)
		assert_true(queue_push(q, xstrdup("left")));
	free(queue_pop(q));
	queue_free(q, free); /* a leak would show in a sanitizer */
	assert_null(queue_free(NULL, free));
}

#define N 50000

static void *push_all(void *userdata)
{
	struct queue *q = userdata;

	for (uintptr_t i = 1; i <= N;)
		if (queue_push(q, (void *)i))
			i++;
	return NULL;
}

/* Whoever sleeps on the descriptor misses nothing. */
static void test_two_threads(void **state)
{
	struct queue *q = queue_new(64);
	struct pollfd p = {.fd = queue_fd(q), .events = POLLIN};
	uintptr_t next = 1;
	pthread_t thread;
	void *item;

	pthread_create(&thread, NULL, push_all, q);
	while (next <= N) {
		assert_int_equal(poll(&p, 1, 10000), 1);
		while ((item = queue_pop(q)))
			assert_int_equal((uintptr_t)item, next++);
	}
	pthread_join(thread, NULL);
	queue_free(q, free);
}

/* What the other thread does after the reader saw an empty queue and before it reads the descriptor. */
static struct queue *meanwhile;

ssize_t read(int fd, void *buf, size_t n)
{
	static int items[2];
	struct queue *q = STEAL(meanwhile);

	if (q && fd == queue_fd(q)) {
		queue_push(q, &items[0]);
		queue_push(q, &items[1]);
	}
	return syscall(SYS_read, fd, buf, n);
}

/* Who takes one item at a wake-up is woken for the next, whenever that came. */
static void test_one_at_a_time(void **state)
{
	struct queue *q = queue_new(4);

	meanwhile = q;
	assert_non_null(queue_pop(q));
	assert_null(meanwhile);
	assert_int_equal(queue_count(q), 1);
	assert_true(readable(q));
	assert_non_null(queue_pop(q));
	assert_null(queue_pop(q));
	assert_false(readable(q));
	queue_free(q, free);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_and_bound),
		cmocka_unit_test(test_rest_is_freed),
		cmocka_unit_test(test_two_threads),
		cmocka_unit_test(test_one_at_a_time),
	};

	return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
