/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vipctl: shows and explains what vipd does on this node. */
#include "vipctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N(a) (sizeof(a) / sizeof(*(a)))
#define DEFAULT_SOCKET "/run/vipd/vipd.sock"

static int run_version(const struct options *o, int argc, char **argv)
{
	printf(o->json ? "{\"version\":\"%s\"}\n" : "vipctl %s\n", VIPD_VERSION);
	return 0;
}

static const struct command commands[] = {
	{"status", "", "where the table comes from, how old it is, what the kernel holds",
		"Exit status 1 if the source fails or the kernel is not in step with the table.\n",
		0, 0, false, run_status},
	{"vips", "", "all VIPs with their addresses and what became of them here",
		"Exit status 1 if any of them is not programmed.\n", 0, 0, false, run_vips},
	{"vip", "NAME|ADDRESS[:PORT]", "one VIP with its backends and their connections",
		"NAME may be short: redis.marathon. The kernel is read for it.\n", 1, 1, false,
		run_vip},
	{"backends", "[AGENT]", "all backends of all VIPs with their connections",
		"AGENT is an address: only the backends there. Exit status 1 if any is not in the\n"
		"kernel.\n",
		0, 1, false, run_backends},
	{"watch", "[--since=SEQ]", "a line per change as it happens, with its latency",
		"The latency is from the cause (a document's last byte, a drain found over, the\n"
		"end of an audit) to the kernel's acknowledgement. A restart of vipd is said, and\n"
		"survived.\n"
		"  --last=N     begin with the last N events [10]\n"
		"  --since=SEQ  begin after the event of this number (see --json)\n"
		"  --once       do not wait for more\n",
		0, 0, true, run_watch},
	{"why", "VIP|BACKEND|TASK", "what stands in its way, from its label to the kernel",
		"VIP: a name (may be short) or address, with or without port. BACKEND: "
		"ADDRESS:PORT\n"
		"or an address. TASK: an id or its beginning. Exit status 1 if something stands "
		"in\n"
		"the way of any that is meant.\n",
		1, 1, false, run_why},
	{"members", "", "the nodes of the cluster, and which of them are alive", NULL, 0, 0, false,
		run_members},
	{"links", "", "this node's links: round trips, time-outs, losses", NULL, 0, 0, false,
		run_links},
	{"graph", "", "the overlay as a Graphviz graph", NULL, 0, 0, false, run_graph},
	{"keygen", "", "a new key for the cluster's key file",
		"vipctl keygen > /etc/vipd/key; chmod 600 /etc/vipd/key; the same file on all "
		"nodes.\n",
		0, 0, false, run_keygen},
	{"namespaces", "", "the containers whose network namespaces are programmed too",
		"Exit status 1 if one fails.\n", 0, 0, false, run_namespaces},
	{"diff", "", "the steps from what the kernel holds to the table",
		"Nothing, and exit status 0, if they agree; else one step a line and status 1.\n",
		0, 0, false, run_diff},
	{"flush", "", "remove everything of vipd's from this kernel",
		"A running vipd then programs nothing until it is restarted or reloaded.\n", 0, 0,
		false, run_flush},
	{"table", "--state=FILE", "offline: the VIP table of a Mesos document",
		"  --state=FILE          the document; - is standard input\n"
		"  --no-ipv6             leave IPv6 VIPs out\n"
		"  --named-range=MIN-MAX, --named-range6=MIN-MAX\n"
		"                        addresses of named VIPs\n",
		0, 0, true, run_table},
	{"version", "", "the version of vipctl", NULL, 0, 0, false, run_version},
};

static void usage(FILE *out)
{
	fprintf(out, "Usage: vipctl [--socket=PATH] [--json] COMMAND [ARGUMENT]...\n"
		     "Shows and explains the virtual addresses that vipd keeps on this node.\n\n");
	for (size_t i = 0; i < N(commands); i++)
		fprintf(out, "  %-8s %-20s %s\n", commands[i].name, commands[i].arguments,
			commands[i].summary);
	fprintf(out, "\n  --json         machine-readable\n"
		     "  --socket=PATH  the daemon's control socket [" DEFAULT_SOCKET "]\n"
		     "  --help         this text; after a command: more about it\n");
}

static int command_help(const struct command *c)
{
	printf("Usage: vipctl %s%s%s [--json]\n%s\n", c->name, *c->arguments ? " " : "",
		c->arguments, c->summary);
	if (c->help)
		printf("\n%s", c->help);
	return 0;
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < N(commands); i++)
		if (strcmp(name, commands[i].name) == 0)
			return &commands[i];
	return NULL;
}

/* Takes --json, --socket=PATH and --socket PATH out of the words. False if the value lacks. */
static bool common_option(struct options *o, int argc, char **argv, int *i, bool *ret_taken)
{
	*ret_taken = true;
	if (strcmp(argv[*i], "--json") == 0) {
		o->json = true;
	} else if (strncmp(argv[*i], "--socket=", 9) == 0) {
		o->socket = argv[*i] + 9;
	} else if (strcmp(argv[*i], "--socket") == 0) {
		if (*i + 1 >= argc) {
			fprintf(stderr, "vipctl: --socket needs a value\n");
			return false;
		}
		o->socket = argv[++*i];
	} else {
		*ret_taken = false;
	}
	return true;
}

static bool is_help(const char *word)
{
	return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

static int run_command(const struct command *c, const struct options *o, int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		if (is_help(argv[i]))
			return command_help(c);
		if (!c->own_options && argv[i][0] == '-' && argv[i][1]) {
			fprintf(stderr, "vipctl %s: unknown option %s\n", c->name, argv[i]);
			return 2;
		}
	}
	if (!c->own_options && (argc < c->min_args || argc > c->max_args)) {
		fprintf(stderr, "Usage: vipctl %s %s\n", c->name, c->arguments);
		return 2;
	}
	return c->run(o, argc, argv);
}

int main(int argc, char **argv)
{
	struct options o = {.socket = DEFAULT_SOCKET};
	const struct command *command = NULL;
	char **words = calloc((size_t)argc + 1, sizeof(*words));
	int n = 0, status;

	if (!words)
		abort();
	for (int i = 1; i < argc; i++) {
		bool taken;

		if (!common_option(&o, argc, argv, &i, &taken)) {
			free(words);
			return 2;
		}
		if (!taken)
			words[n++] = argv[i];
	}
	if (n > 0)
		command = find_command(words[0]);
	if (command) {
		status = run_command(command, &o, n - 1, words + 1);
	} else if (n > 0 && (is_help(words[0]) || strcmp(words[0], "help") == 0)) {
		usage(stdout);
		status = 0;
	} else {
		if (n > 0)
			fprintf(stderr, "vipctl: unknown command %s\n", words[0]);
		usage(stderr);
		status = 2;
	}
	free(words);
	return status;
}
