/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * The one way from the daemon's answer to the screen: each command asks for one JSON document, and
 * shows that, as it came with --json, else made readable. The exit status is the same in both forms.
 */
#include <json-c/json.h>

#include "vipctl.h"

/* Asks for `path`. `show` prints the answer for people and returns the exit status, as `judge` does
 * without printing. 1 if there is no answer (told). */
int show_answer(const struct options *o, const char *path, int (*show)(json_object *answer),
	int (*judge)(json_object *answer));
/* For commands that only tell: 0. */
int judge_nothing(json_object *answer);

/* Nothing is called `text`: says on standard error what the nearest VIP is called, if one is near. */
void suggest_vip(const struct options *o, const char *text);
