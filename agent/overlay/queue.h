/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * A bounded queue of pointers from one thread to another's event loop. The lock guards a few
 * assignments, never a system call; the reader is woken through a descriptor.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct queue;

struct queue *queue_new(size_t max); /* NULL: no descriptor left */
/* What is still queued is freed with `free_item`. Takes NULL; returns NULL. */
struct queue *queue_free(struct queue *q, void (*free_item)(void *item));
/* False if the queue is full; the item is still the caller's then. */
bool queue_push(struct queue *q, void *item);
/* The oldest item, now the caller's; NULL if there is none. */
void *queue_pop(struct queue *q);
/* Readable while there may be items; queue_pop() until NULL makes it quiet. */
int queue_fd(const struct queue *q);
size_t queue_count(struct queue *q);
uint64_t queue_dropped(const struct queue *q); /* pushes that found it full */
