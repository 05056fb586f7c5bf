/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/* The IPVS socket: applies steps in batches, reads services and destinations. */
#include "kernel_ops.h"

struct ipvs_socket;

/* Connects in the calling thread's network namespace; up to `batch` commands per send.
 * 0; -EPROTONOSUPPORT if the kernel has no IPVS; -EPERM; ... */
int ipvs_socket_open(size_t batch, struct ipvs_socket **ret);
struct ipvs_socket *ipvs_socket_free(struct ipvs_socket *s); /* takes NULL; returns NULL */

/* Applies steps of STEP_CLASS_SERVICE_ADD or STEP_CLASS_IPVS; errors as kernel_apply(). */
int ipvs_socket_apply(struct ipvs_socket *s, struct step_report *r, size_t first, size_t n);

/* Adds all services to an unsorted state, with their destinations if asked. */
int ipvs_socket_read(struct ipvs_socket *s, bool destinations, struct kernel_state *state);
/* Adds the named services that exist, with their destinations, to an unsorted state. */
int ipvs_socket_read_services(struct ipvs_socket *s, const struct service_key *keys, size_t n_keys,
	struct kernel_state *state);
/* As kernel_read_traffic(), into an empty table. */
int ipvs_socket_read_traffic(
	struct ipvs_socket *s, const struct traffic_table *before, struct traffic_table *table);
