/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The daemon's observer: turns what happens (steps that the kernel acknowledged, refusals that
 * begin and end, a source that fails) into events, and serves them to those who watch. It decides
 * nothing; without it all would go the same way.
 */
#include "agent/history/events.h"
#include "agent/history/gone.h"
#include "agent/overlay/overlay.h"
#include "agent/serve/control.h"
#include "ipvs/plan.h"

struct daemon;
struct watch;

struct watch *watch_new(struct daemon *d);
struct watch *watch_free(struct watch *w); /* takes NULL; returns NULL */
const struct events *watch_events(const struct watch *w);
const struct gone *watch_gone(const struct watch *w);
/* Names this process: another after every start. */
const char *watch_instance(const struct watch *w);

/* In the order in which they happen to a change: */

/* `fresh` is about to replace the daemon's table. */
void watch_table(struct watch *w, const struct vip_table *fresh, const struct vip_table_diff *diff,
	nsec_t now);
/* The daemon's desired state was made at `now`, and goes to the reconcile. `seen`: when its cause
 * came in. Before reconcile_want(). */
void watch_desired(struct watch *w, enum event_cause cause, nsec_t seen, nsec_t now);
/* As reconcile_handler.step. */
void watch_step(struct watch *w, const struct step *step, int error, bool repair);
/* The kernel holds what was wanted. */
void watch_settled(struct watch *w);

/* As in struct cluster_handler. Going down and coming back from it are told with the healths. */
void watch_status(
	struct watch *w, const struct overlay_node *node, enum gossip_status before, nsec_t since);
void watch_self(struct watch *w, enum gossip_self self, const char *text);

/* And beside it: the source failed with this error, or answers again (NULL); the rules were
 * checked; an operator had everything removed. */
void watch_source(struct watch *w, const char *error);
void watch_rules(struct watch *w, uint64_t n_repairs);
void watch_flushed(struct watch *w);

/* GET /v1/events?since=SEQ|last=N&instance=ID&follow=1: one JSON object a line. The first is
 * {"hello": ...}; {"gap": ...} says what was dropped before; {"lagged": ...} is the last line for
 * one who reads too slowly. */
void watch_view(
	struct watch *w, const struct control_request *request, struct control_reply *reply);
