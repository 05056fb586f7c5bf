/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The views, by subject: each file view_*.c has what views.c lists of it. A view reads the
 * daemon's state and writes JSON; it changes nothing.
 *
 * Times are in seconds, as numbers; -1 means never.
 */
#include <json-c/json.h>

#include "agent/daemon.h"

/* The answer to one request. */
typedef void (*view_t)(
	struct daemon *d, const struct control_request *request, struct control_reply *reply);

void view_status(
	struct daemon *d, const struct control_request *request, struct control_reply *reply);
/* view_table.c */
void view_table(
	struct daemon *d, const struct control_request *request, struct control_reply *reply);
void view_vips(
	struct daemon *d, const struct control_request *request, struct control_reply *reply);
/* view_tasks.c */
void view_tasks(
	struct daemon *d, const struct control_request *request, struct control_reply *reply);
json_object *view_rejections(const struct vip_table *t);
/* view_status.c: where the table comes from */
json_object *view_source(const struct daemon *d);
json_object *view_publisher(struct daemon *d);
void view_top(struct daemon *d, const struct control_request *request, struct control_reply *reply);
void view_metrics(
	struct daemon *d, const struct control_request *request, struct control_reply *reply);
/* view_kernel.c */
void view_why(struct daemon *d, const struct control_request *request, struct control_reply *reply);
void view_diff(
	struct daemon *d, const struct control_request *request, struct control_reply *reply);
void view_flush(
	struct daemon *d, const struct control_request *request, struct control_reply *reply);
/* view_doctor.c */
void view_doctor(
	struct daemon *d, const struct control_request *request, struct control_reply *reply);
/* view_overlay.c */
void view_nodes(
	struct daemon *d, const struct control_request *request, struct control_reply *reply);
void view_links(
	struct daemon *d, const struct control_request *request, struct control_reply *reply);
void view_namespaces(
	struct daemon *d, const struct control_request *request, struct control_reply *reply);

/* Has the auditor's thread read the kernel, and then answers with the text that `answer` gives.
 * `have` is NULL if the kernel cannot be read, for that errno; *status is 200 unless set. */
typedef char *(*view_of_kernel_t)(struct daemon *d, const struct kernel_state *have, int error,
	const char *query, unsigned int *status);
void view_read_kernel(struct daemon *d, const struct control_request *request,
	struct control_reply *reply, const char *query, view_of_kernel_t answer);

/* Parts that several views show (view_table.c).
 * "redis.marathon.l4lb.thisdcos.directory:6379", "1.2.3.4:5000"; caller frees. */
char *view_vip_text(const struct vip *vip);
/* What became of a VIP here, in one word and a reason. */
const char *view_vip_state(const struct daemon *d, const struct vip *vip,
	const struct kernel_state *have, const char **ret_reason);
/* `svc` is what the kernel has, NULL for nothing; `fresh`: with connections as they are in it. */
json_object *view_backend(const struct daemon *d, const struct vip *vip,
	const struct vip_backend *b, const struct service *svc, bool fresh);
/* An entity tag for a whole answer that often stays the same (views.c). Caller frees. */
char *view_etag(const char *body);
/* For views that need a reading of the counters: they are called again when there is one. */
void view_wait_for_meter(
	struct daemon *d, const struct control_request *request, struct control_reply *reply);
