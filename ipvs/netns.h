/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/* Opening sockets inside another network namespace. */

/* Calls fn(userdata) inside the network namespace that the file at `path` stands for
 * (/run/netns/x, /proc/PID/ns/net) and returns what it returns; with a NULL path, simply
 * calls it. A socket opened in there stays in that namespace, whoever uses it later.
 * Negative errno if the namespace cannot be entered: -ENOENT, -EPERM, -EINVAL (the file is
 * not a network namespace). */
int netns_call(const char *path, int (*fn)(void *userdata), void *userdata);
