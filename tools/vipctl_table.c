/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vipctl table: the VIP table of a Mesos document, without a daemon or a kernel. */
#include "agent/source/mesos.h"
#include "agent/source/vip_table.h"
#include "columns.h"
#include "vipctl.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define STATUS_FAILED 1
#define STATUS_USAGE 2
/* Bytes read at once: a few pages, and the scanner's working set stays in the cache. */
#define CHUNK ((size_t)64 * 1024)
/* Rejections shown to people; their number is always told. */
#define REJECTIONS_SHOWN 20

struct table_options {
	const char *state;
	struct vip_table_options build;
};

/* ---- options ---- */

static int usage(const char *subject, const char *why)
{
	fprintf(stderr,
		"vipctl table: %s: %s\n"
		"Usage: vipctl table --state=FILE [--json] [--no-ipv6] [--named-range=MIN-MAX] "
		"[--named-range6=MIN-MAX]\n",
		subject, why);
	return STATUS_USAGE;
}

static int parse_range(const char *option, const char *text, struct vip_table_options *o)
{
	bool is6 = strcmp(option, "--named-range6") == 0;
	const char *error;

	if (address_range_parse(
		    text, is6 ? AF_INET6 : AF_INET, is6 ? &o->range6 : &o->range4, &error) < 0)
		return usage(option, error);
	return 0;
}

static bool takes_value(const char *option)
{
	return strcmp(option, "--state") == 0 || strcmp(option, "--named-range") == 0 ||
	       strcmp(option, "--named-range6") == 0;
}

/* One option at argv[*i], as --name=VALUE or --name VALUE. */
static int parse_option(struct table_options *o, int argc, char **argv, int *i)
{
	char *option = argv[*i], *value = strchr(option, '=');
	char name[32];

	if (strcmp(option, "--no-ipv6") == 0) {
		o->build.no_ipv6 = true;
		return 0;
	}
	snprintf(name, sizeof name, "%.*s", value ? (int)(value - option) : (int)strlen(option),
		option);
	if (!takes_value(name))
		return usage(option, "unknown option or argument");
	if (value)
		value++;
	else if (*i + 1 < argc)
		value = argv[++*i];
	else
		return usage(option, "a value is missing");
	if (strcmp(name, "--state") != 0)
		return parse_range(name, value, &o->build);
	o->state = value;
	return 0;
}

static int parse_options(struct table_options *o, int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		int status = parse_option(o, argc, argv, &i);

		if (status)
			return status;
	}
	return o->state ? 0 : usage("--state", "which document?");
}

/* ---- the document ---- */

/* The address of an agent that is registered by a name only; IPv4 is preferred, as agents have it.
 */
static int resolve(void *userdata, const char *hostname, struct ip_addr *ret)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
	struct ip_addr a = {0};

	if (getaddrinfo(hostname, NULL, &hints, &list) != 0)
		return -ENOENT;
	for (struct addrinfo *ai = list; ai && a.family != AF_INET; ai = ai->ai_next) {
		if (ai->ai_family == AF_INET) {
			const struct sockaddr_in *in = (const void *)ai->ai_addr;

			a = (struct ip_addr){.family = AF_INET};
			memcpy(a.bytes, &in->sin_addr, 4);
		} else if (ai->ai_family == AF_INET6 && a.family == AF_UNSPEC) {
			const struct sockaddr_in6 *in6 = (const void *)ai->ai_addr;

			a.family = AF_INET6;
			memcpy(a.bytes, &in6->sin6_addr, 16);
		}
	}
	freeaddrinfo(list);
	if (a.family == AF_UNSPEC)
		return -ENOENT;
	*ret = a;
	return 0;
}

/* Feeds what the file holds. 0, -EBADMSG (the parser says why) or another errno of reading. */
static int feed(struct mesos_parser *parser, int fd)
{
	static char chunk[CHUNK];
	ssize_t n;

	while ((n = read(fd, chunk, sizeof chunk)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (mesos_parser_feed(parser, chunk, (size_t)n) < 0)
			return -EBADMSG;
	}
	return 0;
}

static struct mesos_state *read_fd(int fd, const char *name)
{
	struct mesos_parser *parser = mesos_parser_new(NULL, NULL);
	struct mesos_state *state = NULL;
	int r = feed(parser, fd);

	if (r == 0)
		r = mesos_parser_finish(parser, NULL, &state);
	if (r < 0)
		fprintf(stderr, "vipctl: %s: %s\n", name,
			r == -EBADMSG ? mesos_parser_error(parser) : strerror(-r));
	mesos_parser_free(parser);
	return state;
}

static struct mesos_state *read_state(const char *path)
{
	struct mesos_state *state;
	int fd;

	if (strcmp(path, "-") == 0)
		return read_fd(STDIN_FILENO, "standard input");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		fprintf(stderr, "vipctl: %s: %s\n", path, strerror(errno));
		return NULL;
	}
	state = read_fd(fd, path);
	close(fd);
	return state;
}

/* ---- the table for people ---- */

static void add_row(struct columns *c, const struct vip *vip, size_t i)
{
	const struct vip_backend *b = &vip->backends[i];
	char address[IP_ADDR_STRLEN], endpoint[ENDPOINT_STRLEN];

	if (i > 0) {
		for (int cell = 0; cell < 3; cell++)
			columns_add(c, "%s", "");
	} else {
		columns_add(c, "%s", vip->key.protocol == IPPROTO_UDP ? "udp" : "tcp");
		columns_add(c, "%s", endpoint_format(&vip->key.address, vip->key.port, endpoint));
		columns_add(c, "%s", vip->name ? vip->name : "");
	}
	columns_add(c, "%s", endpoint_format(&b->address, b->port, endpoint));
	columns_add(c, "%u", b->weight);
	columns_add(c, "%s", ip_addr_format(&b->agent, address));
	columns_add(c, "%s", b->task);
}

static void print_vips(const struct vip_table *t)
{
	static const char *const headings[] = {
		"PROTO", "ADDRESS", "NAME", "BACKEND", "WEIGHT", "AGENT", "TASK"};
	struct columns *c = columns_new(sizeof headings / sizeof *headings, headings);
	size_t n_backends = 0;

	columns_may_cut(c, 2);
	columns_may_cut(c, 6);
	for (size_t i = 0; i < t->n_vips; i++) {
		for (size_t j = 0; j < t->vips[i].n_backends; j++)
			add_row(c, &t->vips[i], j);
		n_backends += t->vips[i].n_backends;
	}
	columns_print(c, stdout, 0);
	printf("\n%zu VIPs with %zu backends; %zu tasks run\n", t->n_vips, n_backends,
		t->n_tasks_seen);
}

/* Text of the document, without what could drive a terminal. */
static void print_text(const char *text)
{
	for (; *text; text++)
		fputc((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text, stderr);
}

/* One that stands for a whole task has neither key nor value. */
static void print_rejection(const struct mesos_rejection *r)
{
	const char *const parts[] = {"  ", *r->task ? r->task : "(no task)", ": ", r->key,
		*r->key ? "=" : "", r->value, *r->key || *r->value ? ": " : "", r->detail};

	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		print_text(parts[i]);
	fputc('\n', stderr);
}

static void print_rejections(const struct vip_table *t)
{
	size_t n = 0, n_shown;

	for (int reason = 0; reason < _MESOS_REJECT_N; reason++)
		n += t->n_rejected[reason];
	if (!n)
		return;
	fprintf(stderr, "%zu left out:", n);
	for (int reason = 0, first = 1; reason < _MESOS_REJECT_N; reason++) {
		if (!t->n_rejected[reason])
			continue;
		fprintf(stderr, "%s %zu %s", first ? "" : ",", t->n_rejected[reason],
			mesos_reject_text((enum mesos_reject)reason));
		first = 0;
	}
	fputc('\n', stderr);
	n_shown = t->n_rejections < REJECTIONS_SHOWN ? t->n_rejections : REJECTIONS_SHOWN;
	for (size_t i = 0; i < n_shown; i++)
		print_rejection(&t->rejections[i]);
	if (n > n_shown)
		fprintf(stderr, "  and %zu more\n", n - n_shown);
}

static int print_table(const struct vip_table *t, bool json)
{
	if (json) {
		char *text = vip_table_to_json(t);

		fputs(text, stdout);
		free(text);
	} else {
		print_vips(t);
	}
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "vipctl: standard output: %s\n", strerror(errno));
		return STATUS_FAILED;
	}
	print_rejections(t);
	return 0;
}

int run_table(const struct options *o, int argc, char **argv)
{
	struct table_options options = {.build.resolve = resolve};
	struct mesos_state *state;
	struct vip_table *table;
	int status = parse_options(&options, argc, argv);

	if (status)
		return status;
	state = read_state(options.state);
	if (!state)
		return STATUS_FAILED;
	table = vip_table_build(state, &options.build);
	mesos_state_free(state);
	status = print_table(table, o->json);
	vip_table_free(table);
	return status;
}
