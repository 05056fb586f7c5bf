/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * IPVS' generic netlink language (linux/ip_vs.h): steps into messages, messages into
 * services and destinations. Pure: no socket. The messages carry no sequence number and
 * no acknowledgement flag; batch.h sets them.
 *
 * A command is
 *
 *   nlmsghdr    type: IPVS' family id, flags: NLM_F_REQUEST
 *   genlmsghdr  cmd: NEW_, SET_, DEL_SERVICE or NEW_, SET_, DEL_DEST; version 1
 *   IPVS_CMD_ATTR_SERVICE {
 *     AF u16, PROTOCOL u16, ADDR 16 bytes, PORT be16          the key
 *     SCHED_NAME, FLAGS {flags, mask}, TIMEOUT s, NETMASK     NEW_, SET_SERVICE
 *   }
 *   IPVS_CMD_ATTR_DEST {                                      *_DEST
 *     ADDR 16 bytes, PORT be16, ADDR_FAMILY u16
 *     FWD_METHOD, WEIGHT, U_THRESH, L_THRESH                  NEW_, SET_DEST
 *   }
 *
 * numbers in host order unless marked.
 */
#include "plan.h"
#include "traffic.h"

#include <linux/netlink.h>

struct nl_msg;

/* The message of a *_DEST command with its values left open: where in it they stand, as
 * offsets from the header in bytes. */
struct wire_template {
	struct nl_msg *message;
	size_t family, protocol, address, port; /* of the service */
	size_t to_address, to_port, to_family;  /* of the destination */
	size_t forward, weight, upper, lower;   /* 0: not in this command */
};

/* Messages under construction, used again for each. */
struct wire {
	int family; /* IPVS' generic netlink family id */
	struct nl_msg *message;
	struct wire_template add, edit, del; /* of destinations */
};

int wire_init(struct wire *w, int family); /* 0 or -ENOMEM */
void wire_done(struct wire *w);

/* Each returns a message that is valid until the next call. */
const struct nlmsghdr *wire_step(struct wire *w, const struct step *step); /* NULL: no IPVS step */
const struct nlmsghdr *wire_get_services(struct wire *w);                  /* a dump */
const struct nlmsghdr *wire_get_service(struct wire *w, const struct service_key *key);
const struct nlmsghdr *wire_get_destinations(/* a dump */
	struct wire *w, const struct service_key *key);

/* A well-formed service that is none of ours to describe: named by a firewall mark, or of
 * another protocol than TCP and UDP. */
#define WIRE_E_OTHER 1

/* Parses a message of the answer to wire_get_service(s): 0, WIRE_E_OTHER, or -EBADMSG. The
 * destinations and the array in *ret are left alone. */
int wire_parse_service(const struct nlmsghdr *message, struct service *ret);
/* Parses a message of the answer to wire_get_destinations(). `family` is that of the
 * service, for kernels that do not tell the destination's. 0 or -EBADMSG. */
int wire_parse_destination(const struct nlmsghdr *message, uint8_t family, struct destination *ret);
/* The counters in the same two messages: 0, WIRE_E_OTHER or -EBADMSG; the destinations of *ret are left
 * alone. A kernel that does not count (none is known) gives zeros. */
int wire_parse_service_traffic(const struct nlmsghdr *message, struct service_traffic *ret);
int wire_parse_destination_traffic(
	const struct nlmsghdr *message, uint8_t family, struct destination_traffic *ret);
