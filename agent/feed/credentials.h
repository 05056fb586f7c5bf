/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * What vipd shows a master to be let in: a token or a name with its password, from a file that
 * others may not read. Never in a log, a status or an argument.
 */
#include "agent/config.h"

/* The "Authorization: ..." line to send, or NULL if none is configured; the caller wipes and
 * frees it. A negative errno if the file cannot be used: *ret_error says why (caller frees). */
int credentials_read(const struct config *config, char **ret_line, char **ret_error);
/* Overwrites a string that was secret. */
void credentials_wipe(char *text);
