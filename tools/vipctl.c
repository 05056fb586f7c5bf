/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vipctl: shows and explains what vipd does on this node. */
#include "vipctl.h"

#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "style.h"
#include "suggest.h"

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
		0, 0, run_status},
	{"vips", "", "all VIPs with their addresses and what became of them here",
		"Exit status 1 if any of them is not programmed.\n", 0, 0, run_vips},
	{"vip", "NAME|ADDRESS[:PORT]", "one VIP with its backends and their connections",
		"NAME may be short: redis.marathon. The kernel is read for it. Exit status 1 if "
		"there\n"
		"is no such VIP or it is not programmed.\n",
		1, 1, run_vip},
	{"backends", "[AGENT]", "all backends of all VIPs with their connections",
		"AGENT is an address: only the backends there. Exit status 1 if any is not in the\n"
		"kernel.\n",
		0, 1, run_backends},
	{"tasks", "", "where the tasks come from, how many have VIPs, what was left out and why",
		"Exit status 1 if a task was skipped or a label rejected.\n", 0, 0, run_tasks},
	{"watch", "", "a line per change as it happens, with its latency",
		"The latency is from the cause (a document's last byte, a drain found over, the\n"
		"end of an audit) to the kernel's acknowledgement. A restart of vipd is said, and\n"
		"survived.\n",
		0, 0, run_watch,
		{{"--last=N", "begin with the last N events [10]"},
			{"--since=SEQ", "begin after the event of this number (see --json)"},
			{"--once", "do not wait for more"}}},
	{"top", "[TEXT]", "connections and rates per VIP, the busiest first, as they change",
		"TEXT: only VIPs whose name or address has it. ACTIVE and IDLE are connections now "
		"(idle:\n"
		"beginning, ending, or UDP flows); TOTAL is since the service was made.\n",
		0, 1, run_top,
		{{"--once", "one list, then the end; --json implies it"},
			{"--sort=ORDER", "rate, active, bytes or name [rate]"},
			{"--limit=N", "at most N VIPs, 500 or less [what the screen has room for]"},
			{"--interval=N", "seconds between two lists [2]"}}},
	{"dashboard", "", "the address of the page that vipd serves on this node",
		"The page is for browsers on the node. From elsewhere:\n"
		"ssh -L 62080:127.0.0.1:62080 NODE, then http://127.0.0.1:62080/\n",
		0, 0, run_dashboard},
	{"why", "VIP|BACKEND|TASK", "what stands in its way, from its label to the kernel",
		"VIP: a name (may be short) or address, with or without port. BACKEND: "
		"ADDRESS:PORT\n"
		"or an address. TASK: an id or its beginning. Exit status 1 if something stands "
		"in\n"
		"the way of any that is meant.\n",
		1, 1, run_why},
	{"doctor", "", "what is wrong on this node, whether vipd runs or not, and how to mend it",
		"Looks at the kernel's modules and limits, privileges, addresses, networks that "
		"VIPs\n"
		"would hide, the key, ports between the nodes, names, masters and the clock. Best "
		"as\n"
		"root, and on the node that has the trouble. Exit status 1 for errors and "
		"warnings.\n",
		0, 0, run_doctor, {{"--quiet", "only what is not well"}}},
	{"members", "", "the nodes of the cluster, and which of them are alive", NULL, 0, 0,
		run_members},
	{"links", "", "this node's links: round trips, time-outs, losses", NULL, 0, 0, run_links},
	{"graph", "", "the overlay as a Graphviz graph", "vipctl graph | dot -Tsvg > overlay.svg\n",
		0, 0, run_graph},
	{"keygen", "", "a new key for the cluster's key file",
		"(umask 077; vipctl keygen >/etc/vipd/key); the same file, with mode 600, on all "
		"nodes.\n",
		0, 0, run_keygen},
	{"namespaces", "", "the containers whose network namespaces are programmed too",
		"Exit status 1 if one fails.\n", 0, 0, run_namespaces},
	{"diff", "", "the steps from what the kernel holds to the table",
		"Nothing, and exit status 0, if they agree; else one step a line and status 1.\n",
		0, 0, run_diff},
	{"flush", "", "remove everything of vipd's from this kernel",
		"A running vipd then programs nothing until it is restarted or reloaded.\n", 0, 0,
		run_flush},
	{"table", "--state=FILE", "offline: the VIP table of a Mesos document", NULL, 0, 0,
		run_table,
		{{"--state=FILE", "the document; - is standard input"},
			{"--no-ipv6", "leave IPv6 VIPs out"},
			{"--named-range=MIN-MAX", "addresses of named VIPs, IPv4"},
			{"--named-range6=MIN-MAX", "the same, IPv6"}}},
	{"version", "", "the version of vipctl", NULL, 0, 0, run_version},
};

/* For all commands; parsed by common_option(). */
static const struct own_option common[] = {
	{"--json", "machine-readable"},
	{"--socket=PATH", "the daemon's control socket [" DEFAULT_SOCKET "]"},
	{"--color=WHEN", "auto, always or never; auto minds NO_COLOR and FORCE_COLOR"},
	{"--help", "this text; after a command: more about it"},
};

static void show_option(FILE *out, const struct own_option *o)
{
	fprintf(out, "  %-22s %s\n", o->form, o->help);
}

static void usage(FILE *out)
{
	fprintf(out, "Usage: vipctl [OPTION]... COMMAND [ARGUMENT]...\n"
		     "Shows and explains the virtual addresses that vipd keeps on this node.\n\n");
	for (size_t i = 0; i < N(commands); i++) {
		fprintf(out, "  %-10s %-19s ", commands[i].name, commands[i].arguments);
		text_wrap(out, commands[i].summary, 33);
	}
	fputc('\n', out);
	for (size_t i = 0; i < N(common); i++)
		show_option(out, &common[i]);
	fprintf(out,
		"\nExit status: 0 all is well, 1 it is not, or the command failed, 2 bad usage.\n");
}

static int command_help(const struct command *c)
{
	printf("Usage: vipctl %s%s%s%s [--json]\n%s\n", c->name, *c->arguments ? " " : "",
		c->arguments, c->own[0].form ? " [OPTION]..." : "", c->summary);
	if (c->help)
		printf("\n%s", c->help);
	if (c->own[0].form)
		putchar('\n');
	for (size_t i = 0; c->own[i].form; i++)
		show_option(stdout, &c->own[i]);
	return 0;
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < N(commands); i++)
		if (strcmp(name, commands[i].name) == 0)
			return &commands[i];
	return NULL;
}

/* The value of --NAME=VALUE or --NAME VALUE at *i; NULL: it is another option. *ret_missing: it is
 * this one, without a value. */
static const char *value_of(const char *name, int argc, char **argv, int *i, bool *ret_missing)
{
	size_t n = strlen(name);

	if (strncmp(argv[*i], name, n) != 0)
		return NULL;
	if (argv[*i][n] == '=')
		return argv[*i] + n + 1;
	if (argv[*i][n])
		return NULL;
	if (*i + 1 < argc)
		return argv[++*i];
	fprintf(stderr, "vipctl: %s needs a value\n", name);
	*ret_missing = true;
	return NULL;
}

/* Takes an option that all commands have. False if its value lacks or is none (told). */
static bool common_option(struct options *o, int argc, char **argv, int *i, bool *ret_taken)
{
	bool missing = false;
	const char *value;

	*ret_taken = true;
	if (strcmp(argv[*i], "--json") == 0) {
		o->json = true;
	} else if ((value = value_of("--socket", argc, argv, i, &missing))) {
		o->socket = value;
	} else if (missing) {
		return false;
	} else if ((value = value_of("--color", argc, argv, i, &missing))) {
		if (style_init(value) == 0)
			return true;
		fprintf(stderr, "vipctl: --color is auto, always or never\n");
		return false;
	} else {
		*ret_taken = false;
	}
	return !missing;
}

static bool is_help(const char *word)
{
	return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* Same option up to its '='. */
static bool is_form(const char *form, const char *word)
{
	size_t n = strcspn(form, "=");

	return strncmp(form, word, n) == 0 && (!word[n] || word[n] == '=');
}

static bool has_option(const struct command *c, const char *word)
{
	for (size_t i = 0; c->own[i].form; i++)
		if (is_form(c->own[i].form, word))
			return true;
	return false;
}

static int unknown_option(const struct command *c, const char *word)
{
	struct suggestion s;

	suggest_begin(&s, word);
	for (size_t i = 0; c->own[i].form; i++)
		suggest_offer(&s, c->own[i].form);
	for (size_t i = 0; i < N(common); i++)
		suggest_offer(&s, common[i].form);
	fprintf(stderr, "vipctl %s: unknown option %s%s%s%s\n", c->name, word,
		s.best ? "; did you mean " : "", s.best ? s.best : "", s.best ? "?" : "");
	return 2;
}

static int run_command(const struct command *c, const struct options *o, int argc, char **argv)
{
	bool own = c->own[0].form != NULL;

	for (int i = 0; i < argc; i++) {
		if (is_help(argv[i]))
			return command_help(c);
		if (argv[i][0] == '-' && argv[i][1] && !has_option(c, argv[i]))
			return unknown_option(c, argv[i]);
	}
	if (!own && (argc < c->min_args || argc > c->max_args)) {
		fprintf(stderr, "Usage: vipctl %s %s\n", c->name, c->arguments);
		return 2;
	}
	return c->run(o, argc, argv);
}

static int unknown_command(const char *word)
{
	struct suggestion s;

	suggest_begin(&s, word);
	for (size_t i = 0; i < N(commands); i++)
		suggest_offer(&s, commands[i].name);
	fprintf(stderr, "vipctl: unknown command %s%s%s%s (vipctl --help lists all)\n", word,
		s.best ? "; did you mean " : "", s.best ? s.best : "", s.best ? "?" : "");
	return 2;
}

/* "vipctl", "vipctl --help", "vipctl help COMMAND", "vipctl COMMAND ...". */
static int run_words(const struct options *o, int n, char **words)
{
	const struct command *c;

	if (n > 1 && strcmp(words[0], "help") == 0)
		return (c = find_command(words[1])) ? command_help(c) : unknown_command(words[1]);
	if (n > 0 && (is_help(words[0]) || strcmp(words[0], "help") == 0)) {
		usage(stdout);
		return 0;
	}
	if (n == 0) {
		usage(stderr);
		return 2;
	}
	c = find_command(words[0]);
	return c ? run_command(c, o, n - 1, words + 1) : unknown_command(words[0]);
}

int main(int argc, char **argv)
{
	struct options o = {.socket = DEFAULT_SOCKET};
	char **words = calloc((size_t)argc + 1, sizeof(*words));
	int n = 0, status = 0;

	if (!words)
		abort();
	setlocale(LC_CTYPE, "");
	(void)style_init(NULL);
	for (int i = 1; i < argc && status == 0; i++) {
		bool taken;

		if (!common_option(&o, argc, argv, &i, &taken))
			status = 2;
		else if (!taken)
			words[n++] = argv[i];
	}
	if (status == 0)
		status = run_words(&o, n, words);
	free(words);
	if (fflush(stdout) != 0 && errno != EPIPE) {
		perror("vipctl: standard output");
		return 1;
	}
	return status;
}
