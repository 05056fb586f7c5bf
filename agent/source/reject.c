/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/source/reject.h"

#include "agent/source/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *mesos_reject_text(enum mesos_reject reason)
{
	switch (reason) {
	case MESOS_REJECT_NO_FRAMEWORK:
		return "no such framework";
	case MESOS_REJECT_NO_AGENT:
		return "no such agent";
	case MESOS_REJECT_NO_ADDRESS:
		return "agent without address";
	case MESOS_REJECT_LABEL:
		return "malformed label";
	case MESOS_REJECT_PORT:
		return "unusable port";
	case MESOS_REJECT_TOO_LARGE:
		return "too large";
	case MESOS_REJECT_MALFORMED:
		return "malformed task";
	case _MESOS_REJECT_N:
		break;
	}
	return "unknown reason";
}

void reject_list_init(struct reject_list *l, struct arena *arena)
{
	*l = (struct reject_list){.arena = arena};
}

void reject_list_done(struct reject_list *l)
{
	free(l->list);
	*l = (struct reject_list){0};
}

/* A place for one more, or NULL if no more are kept. */
static struct mesos_rejection *add(struct reject_list *l)
{
	if (l->n == MESOS_REJECTIONS_KEPT)
		return NULL;
	if (l->n == l->allocated) {
		l->allocated = l->allocated ? l->allocated * 2 : 16;
		l->list = reallocarray(l->list, l->allocated, sizeof *l->list);
		if (!l->list)
			abort();
	}
	return &l->list[l->n++];
}

static const char *keep(struct reject_list *l, const char *text)
{
	size_t n;

	if (!text || !*text)
		return "";
	n = strnlen(text, REJECT_TEXT_MAX + 1);
	if (n <= REJECT_TEXT_MAX)
		return arena_strndup(l->arena, text, n);
	return arena_printf(l->arena, "%.*s...", (int)REJECT_TEXT_MAX, text);
}

void reject_add(struct reject_list *l, const struct mesos_rejection *what, const char *format, ...)
{
	struct mesos_rejection *r;
	char detail[REJECT_TEXT_MAX + 1];
	va_list args;

	l->n_rejected[what->reason]++;
	l->n_all++;
	r = add(l);
	if (!r)
		return;
	va_start(args, format);
	vsnprintf(detail, sizeof detail, format, args);
	va_end(args);
	*r = (struct mesos_rejection){.reason = what->reason,
		.task = keep(l, what->task),
		.framework = keep(l, what->framework),
		.key = keep(l, what->key),
		.value = keep(l, what->value),
		.detail = keep(l, detail)};
}

void reject_copy(struct reject_list *l, const struct mesos_rejection *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct mesos_rejection *r = add(l);

		if (!r)
			return;
		*r = (struct mesos_rejection){.reason = list[i].reason,
			.task = keep(l, list[i].task),
			.framework = keep(l, list[i].framework),
			.key = keep(l, list[i].key),
			.value = keep(l, list[i].value),
			.detail = keep(l, list[i].detail)};
	}
}

struct mesos_rejection *reject_list_keep(const struct reject_list *l)
{
	struct mesos_rejection *kept = arena_alloc(l->arena, l->n * sizeof *kept);

	if (l->n)
		memcpy(kept, l->list, l->n * sizeof *kept);
	return kept;
}
