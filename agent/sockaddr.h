/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/* Between addresses as vipd has them and those of sockets. */
#include <sys/socket.h>

#include "ipvs/model.h"

/* Writes an address (of a family) and a port, and returns how long that is. */
socklen_t sockaddr_make(const struct ip_addr *a, uint16_t port, struct sockaddr_storage *ret);
/* AF_UNSPEC if it is of no family that we know. */
struct ip_addr sockaddr_address(const struct sockaddr *sa);
