/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/* The listening sockets of vipd's doors; each is non-blocking. */
#include "ipvs/model.h"

/* Makes the directory of `path` if it is missing, and takes the lock PATH.lock, which a process has at most
 * one of. 0 with its descriptor; -EADDRINUSE if another process has it; other negative errno. */
int listen_lock(const char *path, int *ret_lock);
/* At a path in the file system, mode 0660. The lock is held, so what stands there is dead, and is
 * replaced. The socket, or a negative errno. */
int listen_at(const char *path);
int listen_port(const struct ip_addr *address, uint16_t port);
