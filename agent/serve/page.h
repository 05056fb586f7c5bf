/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/* The page of agent/serve/page.html, as embed_page.py made it part of the program. */

extern const char page_html[];   /* a string */
extern const char page_policy[]; /* Content-Security-Policy */
extern const char page_etag[];   /* with its quotes */
