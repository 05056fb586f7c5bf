/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * Between the files of why: what is traced, the trace, and the checks, a file for each part of
 * the way from label to kernel.
 */
#include "agent/serve/why.h"

enum object_kind {
	OBJECT_VIP = 1 << 0,
	OBJECT_BACKEND = 1 << 1,
	OBJECT_DRAIN = 1 << 2,    /* has left the table, is in the kernel */
	OBJECT_REJECTED = 1 << 3, /* a task or label that is in the document and not in the table */
	OBJECT_GONE = 1 << 4,     /* has left the table and the kernel */
	OBJECT_UNKNOWN = 1 << 5,
};
#define OBJECT_IN_TABLE (OBJECT_VIP | OBJECT_BACKEND)
#define OBJECT_ANY (~0U)

/* Objects that are traced for one query. */
#define OBJECTS_MAX 50

struct object {
	enum object_kind kind;
	const struct vip *vip;                   /* VIP, BACKEND */
	const struct vip_backend *backend;       /* BACKEND */
	const struct drain *drain;               /* DRAIN */
	const struct mesos_rejection *rejection; /* REJECTED */
	const struct gone_item *gone;            /* GONE; DRAIN, if known */
};

struct objects {
	size_t n;
	struct object list[OBJECTS_MAX];
};

/* why_find.c: what in->query means; at least one object. */
void why_find(const struct why_input *in, struct objects *o);
/* True if the rejected label would have made a VIP of this whole name. */
bool why_is_rejection_of(const struct mesos_rejection *r, const char *name);
/* What the kernel holds of a backend; NULL: nothing. */
const struct destination *why_find_destination(
	const struct kernel_state *have, const struct drain_key *key);

/* --- a trace --------------------------------------------------------------- */

enum mark { MARK_OK, MARK_NOTE, MARK_BAD };

struct trace {
	const struct why_input *in;
	const struct object *object;
	const char *stage;
	json_object *steps;
	char *verdict, *mend; /* of the first bad step; owned */
	bool stopped;         /* after this, nothing more can be said */
};

/* Adds a step. `mend` may be NULL; `format` makes a sentence without its full stop. */
__attribute__((format(printf, 4, 5))) void why_step(
	struct trace *t, enum mark mark, const char *mend, const char *format, ...);
/* Adds a bad step about what is wanted and is not there, with what becomes of it. */
void why_absent(struct trace *t, const char *text);
double why_seconds_since(const struct trace *t, nsec_t when);
/* Of anything but what is rejected or unknown. */
const struct service_key *why_key_of(const struct object *o);
/* The backend's form on this node. */
struct drain_key why_kernel_form(const struct trace *t, const struct vip_backend *b);

/* Why a backend gets no connections, for its task's sake and for its node's, and the mend; NULL: it
 * does (*ret_mend is then NULL, too). why_node.c */
const char *why_weight_words(const struct vip_backend *b, const char **ret_mend);
const char *why_health_words(
	const struct trace *t, const struct vip_backend *b, const char **ret_mend);

/* --- the checks, in the order of the way ------------------------------------ */

/* why_source.c */
void why_check_source(struct trace *t);
void why_check_document(struct trace *t);
void why_check_table(struct trace *t);
/* why_node.c */
void why_check_admission(struct trace *t);
void why_check_own_address(struct trace *t);
void why_check_weight(struct trace *t);
void why_check_health(struct trace *t);
/* why_kernel.c */
void why_check_programming(struct trace *t);
void why_check_service(struct trace *t);
void why_check_destinations(struct trace *t);
void why_check_destination(struct trace *t);
void why_check_drains(struct trace *t);
void why_check_drain(struct trace *t);
void why_check_route(struct trace *t);
void why_check_sets(struct trace *t);
void why_check_rules(struct trace *t);
void why_check_sysctls(struct trace *t);
void why_check_name(struct trace *t);
