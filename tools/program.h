/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/* Running other programs. */
#define PROGRAM_PATH_MAX 4096

/* Where vipd is: beside this program, as it is installed or built, else "vipd", to be looked for in
 * PATH. Returns path. */
const char *program_find_vipd(char path[static PROGRAM_PATH_MAX]);
/* Runs it, standard input empty, and gives its exit status, or a negative errno if it could not be
 * run or was killed. What it wrote to standard output and error is in *ret_out and *ret_errors
 * (malloced; either may be NULL: then it is dropped). */
int program_run(const char *path, const char *const *argv, char **ret_out, char **ret_errors);
