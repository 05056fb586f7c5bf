/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * Tasks that documents have in common. What was read of a task is kept by a digest of its text as
 * long as some document holds it, so that the next one, which mostly brings the same text
 * again, costs that task no JSON and no memory.
 *
 * The digest is SipHash-2-4 with 128 bits under a key of this process: whoever writes labels cannot
 * make two texts that are taken for one.
 *
 * Frameworks and agents are numbered by their ids, and the numbers hold as long as the pool
 * does. So the pool grows with the ids that it ever saw; task_pool_is_worn() says when a new one
 * is better.
 */
#include <sodium.h>

#include "agent/source/mesos.h"
#include "agent/source/strset.h"

struct digest {
	uint8_t bytes[crypto_shorthash_siphashx24_BYTES];
};

struct task_pool;

struct task_pool *task_pool_new(void);
struct task_pool *task_pool_ref(struct task_pool *p);
struct task_pool *task_pool_unref(struct task_pool *p); /* takes NULL; returns NULL */
struct strset *task_pool_frameworks(struct task_pool *p);
struct strset *task_pool_agents(struct task_pool *p);
/* True if it knows many more ids than this number, which are in use. */
bool task_pool_is_worn(const struct task_pool *p, size_t n_used);

struct digest task_pool_digest(const struct task_pool *p, const void *bytes, size_t n_bytes);
bool task_pool_is_empty(const struct task_pool *p); /* nothing can be found */
/* The task with this digest, with a reference for the caller; NULL: there is none. */
const struct mesos_task *task_pool_find(struct task_pool *p, const struct digest *digest);
/* A copy of `task` with all that it points to; the caller has its one reference. Of several with
 * one digest any may be found; without one (NULL) none. */
const struct mesos_task *task_pool_add(
	struct task_pool *p, const struct digest *digest, const struct mesos_task *task);
const struct mesos_task *task_pool_hold(const struct mesos_task *task); /* one more reference */
void task_pool_release(struct task_pool *p, const struct mesos_task *task);
