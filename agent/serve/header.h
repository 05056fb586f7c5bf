/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/* What vipd reads of a request's headers by itself. Pure; any text is survived. */
#include <stdbool.h>

/*
 * True if a Host header names this machine in a way that no DNS server can have invented: a literal
 * address or localhost, each with or without a port. A page from elsewhere whose name was
 * made to lead to 127.0.0.1 (DNS rebinding) sends its own name here, and is not to be answered: to the
 * browser it would be of the same origin, and could read everything.
 */
bool header_host_is_local(const char *host);

/* True if an If-None-Match header has this entity tag (with its quotes), weak or not, or is "*". */
bool header_etag_matches(const char *if_none_match, const char *etag);
