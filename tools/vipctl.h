/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/* vipctl: one table of commands (vipctl.c), one function each. */
#include <stdbool.h>

/* What stands before or among a command's own arguments, for all of them. */
struct options {
	const char *socket; /* --socket=PATH */
	bool json;          /* --json */
};

/* One that a command has beside those: "--last=N" or "--once", and what it does. */
struct own_option {
	const char *form, *help;
};
#define OWN_OPTIONS_MAX 6

/* The help, the man page and the completion are of this table, or checked against it. */
struct command {
	const char *name, *arguments, *summary;
	const char *help;       /* lines for --help after the summary; NULL: none */
	int min_args, max_args; /* words without dashes */
	/* Exit status: 0 all well, 1 not (told), 2 usage. argv holds the arguments only, those that
	 * begin with a dash among them: run() parses them. */
	int (*run)(const struct options *o, int argc, char **argv);
	struct own_option own[OWN_OPTIONS_MAX]; /* ended by one without a form */
};

/* vipctl_daemon.c: they ask the daemon */
int run_status(const struct options *o, int argc, char **argv);
int run_namespaces(const struct options *o, int argc, char **argv);
int run_vips(const struct options *o, int argc, char **argv);
int run_vip(const struct options *o, int argc, char **argv);
int run_backends(const struct options *o, int argc, char **argv);
int run_diff(const struct options *o, int argc, char **argv);
int run_flush(const struct options *o, int argc, char **argv);
/* vipctl_overlay.c: the cluster */
int run_members(const struct options *o, int argc, char **argv);
int run_links(const struct options *o, int argc, char **argv);
int run_graph(const struct options *o, int argc, char **argv);
int run_keygen(const struct options *o, int argc, char **argv);
/* vipctl_tasks.c */
int run_tasks(const struct options *o, int argc, char **argv);
/* vipctl_watch.c */
int run_watch(const struct options *o, int argc, char **argv);
/* vipctl_top.c */
int run_top(const struct options *o, int argc, char **argv);
int run_dashboard(const struct options *o, int argc, char **argv);
/* vipctl_doctor.c */
int run_doctor(const struct options *o, int argc, char **argv);
/* vipctl_why.c */
int run_why(const struct options *o, int argc, char **argv);
/* vipctl_table.c: offline */
int run_table(const struct options *o, int argc, char **argv);
