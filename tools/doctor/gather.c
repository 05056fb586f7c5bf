/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * All input of vipctl doctor. Nothing here judges. What cannot be had stays NULL or 0; nothing waits
 * longer than a second or two, and the other machines are asked at once.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "tools/answer.h"
#include "tools/client.h"
#include "tools/doctor/facts.h"
#include "tools/doctor/probe.h"
#include "tools/program.h"

/* More of a file is not read: /proc/net/tcp of a busy node has some ten MB. */
#define FILE_MAX ((size_t)64 << 20)
/* Nodes whose port is tried: enough to see a firewall. */
#define PEERS_MAX 64
#define MASTERS_MAX 5
#define KEY_DIGITS 64

/* --- files ------------------------------------------------------------------------ */

/* The whole file; NULL if it cannot be read. Caller frees. */
static char *read_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	size_t n = 0, allocated = 4096;
	char *s = fd < 0 ? NULL : malloc(allocated);
	ssize_t got = 0;

	while (s && n < FILE_MAX && (got = read(fd, s + n, allocated - n - 1)) > 0) {
		n += (size_t)got;
		if (n + 1 == allocated)
			s = realloc(s, allocated *= 2);
	}
	if (fd >= 0)
		close(fd);
	if (s && got >= 0) {
		s[n] = '\0';
		return s;
	}
	free(s);
	return NULL;
}

static const char *const paths[_FACT_N] = {
	[FACT_MODULES] = "/proc/modules",
	[FACT_IP_VS] = "/proc/net/ip_vs",
	[FACT_ROUTE] = "/proc/net/route",
	[FACT_ROUTE6] = "/proc/net/ipv6_route",
	[FACT_IF_INET6] = "/proc/net/if_inet6",
	[FACT_TCP] = "/proc/net/tcp",
	[FACT_TCP6] = "/proc/net/tcp6",
	[FACT_PORT_RANGE] = "/proc/sys/net/ipv4/ip_local_port_range",
	[FACT_CONNTRACK_COUNT] = "/proc/sys/net/netfilter/nf_conntrack_count",
	[FACT_CONNTRACK_MAX] = "/proc/sys/net/netfilter/nf_conntrack_max",
	[FACT_CONN_REUSE] = "/proc/sys/net/ipv4/vs/conn_reuse_mode",
	[FACT_RESOLV_CONF] = "/etc/resolv.conf",
};

static void read_modules_of(struct facts *f, const char *release)
{
	static const struct {
		enum fact fact;
		const char *name;
	} lists[] = {{FACT_MODULES_BUILTIN, "modules.builtin"}, {FACT_MODULES_DEP, "modules.dep"}};

	for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
		char *path = textf("/lib/modules/%s/%s", release, lists[i].name);

		f->texts[lists[i].fact] = read_file(path);
		free(path);
	}
}

static void read_files(struct facts *f)
{
	struct utsname kernel;

	for (size_t i = 0; i < _FACT_N; i++)
		if (paths[i])
			f->texts[i] = read_file(paths[i]);
	if (uname(&kernel) == 0)
		read_modules_of(f, kernel.release);
}

/* Of vipd's process. It may be another user's: then nothing is known. */
static void read_process(struct facts *f, int64_t pid)
{
	char *status = textf("/proc/%" PRId64 "/status", pid);
	char *limits = textf("/proc/%" PRId64 "/limits", pid);
	char *fds = textf("/proc/%" PRId64 "/fd", pid);
	DIR *dir = opendir(fds);

	f->texts[FACT_PID_STATUS] = read_file(status);
	f->texts[FACT_PID_LIMITS] = read_file(limits);
	for (struct dirent *e; dir && (e = readdir(dir));)
		f->n_files += e->d_name[0] != '.';
	if (dir)
		closedir(dir);
	free(status);
	free(limits);
	free(fds);
}

/* --- the daemon, its configuration and its service ----------------------------------- */

static json_object *ask(const struct facts *f, const char *path)
{
	json_object *answer = NULL;

	return client_try(f->socket, "GET", path, CLIENT_QUIET, &answer) == 0 ? answer : NULL;
}

/* Why nobody answers at the socket. */
static int try_socket(const char *path)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), error = 0;

	if (fd < 0 || strlen(path) >= sizeof(sun.sun_path))
		return fd < 0 ? errno : ENAMETOOLONG;
	strcpy(sun.sun_path, path);
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0)
		error = errno;
	close(fd);
	return error ? error : EPROTO;
}

/* "key = value" lines. */
static json_object *parse_config(const char *s)
{
	json_object *o = json_object_new_object();
	char key[64], value[1024];

	for (const char *line = s; line && *line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (sscanf(line, "%63[a-z0-9_] = %1023[^\n]", key, value) == 2)
			json_object_object_add(o, key, json_object_new_string(value));
	}
	return o;
}

/* What vipd would run with: it is asked, for only it knows its keys. */
static void read_config(struct facts *f)
{
	const char *const argv[] = {"vipd", "--check-config", NULL};
	char path[PROGRAM_PATH_MAX], *out = NULL, *errors = NULL;
	int status = program_run(program_find_vipd(path), argv, &out, &errors);

	if (status == 0)
		f->config = parse_config(out);
	else if (status > 0 && errors && *errors)
		f->config_error = textf("%.*s", (int)strcspn(errors, "\n"), errors);
	free(out);
	free(errors);
}

/* The value of a property in what systemctl show prints, or "". */
static const char *property(const char *show, const char *name, char buf[static 64])
{
	size_t n = strlen(name);

	*buf = '\0';
	for (const char *line = show; line && *line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, name, n) == 0 && line[n] == '=')
			snprintf(buf, 64, "%.*s", (int)strcspn(line + n + 1, "\n"), line + n + 1);
	}
	return buf;
}

/* "vipd.service is failed (failed), result exit-code"; NULL: there is no such unit. */
static char *service_words(const char *show)
{
	char load[64], active[64], sub[64], result[64], condition[64];

	property(show, "LoadState", load);
	property(show, "ActiveState", active);
	property(show, "ConditionResult", condition);
	if (!*active || strcmp(load, "not-found") == 0)
		return NULL;
	return textf("vipd.service is %s (%s), result %s%s", active,
		property(show, "SubState", sub), property(show, "Result", result),
		strcmp(active, "inactive") == 0 && strcmp(condition, "no") == 0
			? "; a condition of it does not hold: is there a configuration?"
			: "");
}

static void read_service(struct facts *f)
{
	const char *const show[] = {"systemctl", "show", "vipd.service",
		"--property=LoadState,ActiveState,SubState,Result,ConditionResult", NULL};
	const char *const journal[] = {
		"journalctl", "-q", "-u", "vipd.service", "-n", "1", "-o", "cat", NULL};
	char *out = NULL;

	if (access("/run/systemd/system", F_OK) < 0)
		return;
	if (program_run("systemctl", show, &out, NULL) == 0)
		f->service = service_words(out);
	free(out);
	out = NULL;
	if (f->service && program_run("journalctl", journal, &out, NULL) == 0 && out && *out)
		f->last_words = textf("%.*s", (int)strcspn(out, "\n"), out);
	free(out);
}

static void ask_daemon(struct facts *f)
{
	json_object *own;

	f->status = ask(f, "/v1/status");
	if (!f->status) {
		f->socket_error = try_socket(f->socket);
		read_config(f);
		read_service(f);
		return;
	}
	f->table = ask(f, "/v1/table");
	f->nodes = ask(f, "/v1/nodes");
	f->links = ask(f, "/v1/links");
	own = ask(f, "/v1/doctor");
	f->config = json_object_get(get(own, "config"));
	f->sysctls = json_object_get(get(own, "sysctls"));
	json_object_put(own);
	read_process(f, get_int(f->status, "pid"));
}

/* --- this node ------------------------------------------------------------------------ */

static void add_address(struct ip_addr **list, size_t *n, const struct ip_addr *a)
{
	*list = reallocarray(*list, *n + 1, sizeof(**list));
	if (!*list)
		abort();
	(*list)[(*n)++] = *a;
}

static void read_addresses(struct facts *f)
{
	struct ifaddrs *list;

	if (getifaddrs(&list) < 0)
		return;
	for (struct ifaddrs *i = list; i; i = i->ifa_next) {
		struct ip_addr a;

		if (i->ifa_addr && probe_from_sockaddr(i->ifa_addr, &a))
			add_address(&f->addresses, &f->n_addresses, &a);
	}
	freeifaddrs(list);
}

/* A line of 64 hexadecimal digits, or of nothing but a comment: 1, 0; -1 for any other. */
static int is_key(const char *line)
{
	size_t n = 0;
	size_t end = strcspn(line, "#\r\n");

	for (size_t i = 0; i < end; i++) {
		if (line[i] == ' ' || line[i] == '\t')
			continue;
		if (!strchr("0123456789abcdefABCDEF", line[i]))
			return -1;
		n++;
	}
	return n == 0 ? 0 : n == KEY_DIGITS ? 1 : -1;
}

/* Only whether it is a key file: no key is kept. */
static void read_key(struct facts *f)
{
	const char *path = facts_config(f, "key_file", "/etc/vipd/key");
	struct stat st;
	char *s;
	int number = 1;

	f->key.exists = stat(path, &st) == 0;
	if (!f->key.exists)
		return;
	f->key.mode = st.st_mode;
	s = read_file(path);
	f->key.error = s ? 0 : errno;
	for (const char *line = s; line && *line; line = strchr(line, '\n'), number++) {
		line += *line == '\n';
		if (is_key(line) < 0 && !f->key.bad_line)
			f->key.bad_line = number;
		f->key.n_keys += is_key(line) > 0;
	}
	if (s)
		explicit_bzero(s, strlen(s));
	free(s);
}

static void read_clock(struct facts *f)
{
	struct timex t = {0};
	int state = adjtimex(&t);

	f->clock_unsynchronized = state == TIME_ERROR || t.status & STA_UNSYNC;
}

/* --- other machines ------------------------------------------------------------------- */

static bool is_own(const struct facts *f, const struct ip_addr *a)
{
	for (size_t i = 0; i < f->n_addresses; i++)
		if (ip_addr_equal(&f->addresses[i], a))
			return true;
	return false;
}

static void add_peer(struct facts *f, const char *address, unsigned int port)
{
	struct peer p = {.port = (uint16_t)port};

	if (!port || ip_addr_parse(address, &p.address) < 0 || is_own(f, &p.address))
		return;
	for (size_t i = 0; i < f->n_peers; i++)
		if (ip_addr_equal(&f->peers[i].address, &p.address) && f->peers[i].port == port)
			return;
	if (f->n_peers == PEERS_MAX) {
		f->n_peers_left_out++;
		return;
	}
	f->peers[f->n_peers++] = p;
}

/* "10.0.0.1,[fd00::1]:61421" */
static void add_contacts(struct facts *f, const char *list, unsigned int port)
{
	char *copy = textf("%s", list), *save = NULL;

	for (char *p = strtok_r(copy, ", \t", &save); p; p = strtok_r(NULL, ", \t", &save)) {
		char address[IP_ADDR_STRLEN] = "";
		unsigned int own_port = port;
		struct ip_addr a;

		if (ip_addr_parse(p, &a) == 0)
			add_peer(f, p, port);
		else if (sscanf(p, "[%45[^]]]:%u", address, &own_port) >= 1 ||
			 sscanf(p, "%45[^:]:%u", address, &own_port) >= 1)
			add_peer(f, address, own_port);
	}
	free(copy);
}

/* The host of "http://10.0.0.1:5050/mesos". */
static void add_master_peer(struct facts *f, const char *url, unsigned int port)
{
	const char *host = strstr(url, "://");
	char address[IP_ADDR_STRLEN];

	host = host ? host + 3 : url;
	if (sscanf(host, "[%45[^]]]", address) == 1 || sscanf(host, "%45[^:/]", address) == 1)
		add_peer(f, address, port);
}

static void add_agents(struct facts *f, unsigned int port)
{
	for (size_t i = 0; i < get_length(f->table); i++) {
		json_object *list = get(json_object_array_get_idx(f->table, i), "backends");

		for (size_t k = 0; k < get_length(list); k++)
			add_peer(
				f, get_text(json_object_array_get_idx(list, k), "agent", ""), port);
	}
}

/* Whom the overlay knows, and whom it should. */
static void find_peers(struct facts *f)
{
	unsigned int port = (unsigned int)atoi(facts_config(f, "overlay_port", "61420"));

	if (f->status && !get_bool(get(f->status, "overlay"), "on"))
		return;
	f->peers = calloc(PEERS_MAX, sizeof(*f->peers));
	if (!f->peers)
		abort();
	add_contacts(f, facts_config(f, "contacts", ""), port);
	for (size_t i = 0; i < f->n_masters; i++)
		add_master_peer(f, f->masters[i].url, port);
	for (size_t i = 0; i < get_length(f->nodes); i++) {
		json_object *m = json_object_array_get_idx(f->nodes, i);

		add_peer(f, get_text(m, "address", ""), (unsigned int)get_int(m, "port"));
	}
	add_agents(f, port);
	probe_dial(f->peers, f->n_peers);
}

/* Without a user and password: the file's are nobody's business. Caller frees. */
static char *bare_url(const char *url)
{
	const char *host = strstr(url, "://"), *at;

	host = host ? host + 3 : url;
	at = host + strcspn(host, "@/");
	return textf("%.*s%s", (int)(host - url), url, *at == '@' ? at + 1 : host);
}

static void ask_masters(struct facts *f)
{
	char *copy = textf("%s", facts_config(f, "masters", "")), *save = NULL;

	f->masters = calloc(MASTERS_MAX, sizeof(*f->masters));
	if (!f->masters)
		abort();
	if (strncmp(facts_config(f, "source", "mesos"), "mesos", 5) == 0)
		for (char *p = strtok_r(copy, ", \t", &save); p && f->n_masters < MASTERS_MAX;
			p = strtok_r(NULL, ", \t", &save))
			f->masters[f->n_masters++].url = bare_url(p);
	free(copy);
	probe_masters(f->masters, f->n_masters);
}

/* Where vipd serves names: "127.0.0.61", with the port if it is another than 53; caller frees. NULL:
 * nowhere. */
static char *find_name_server(const struct facts *f)
{
	json_object *list = get(get(f->status, "dns"), "listen");

	for (size_t i = 0; i < get_length(list); i++) {
		json_object *l = json_object_array_get_idx(list, i);
		const char *address = get_text(l, "address", "");
		int64_t port = get_int(l, "port");

		if (get_text(l, "error", NULL))
			continue;
		if (port == 53)
			return textf("%s", address);
		return textf(strchr(address, ':') ? "[%s]:%" PRId64 : "%s:%" PRId64, address, port);
	}
	return NULL;
}

/* The first named VIP that works here, by IPv4. */
static void ask_name(struct facts *f)
{
	f->name.server = find_name_server(f);
	if (!f->name.server)
		return;
	for (size_t i = 0; i < get_length(f->table) && !f->name.name; i++) {
		json_object *v = json_object_array_get_idx(f->table, i);
		const char *name = get_text(v, "name", NULL), *a = get_text(v, "address", ":");

		if (!name || strchr(a, ':') || strcmp(get_text(v, "state", ""), "programmed") != 0)
			continue;
		f->name.name = textf("%s", name);
		f->name.address = textf("%s", a);
	}
	if (f->name.name)
		probe_name(&f->name);
}

/* --- all of it ------------------------------------------------------------------------ */

const char *facts_config(const struct facts *f, const char *key, const char *fallback)
{
	return get_text(f->config, key, fallback);
}

void facts_gather(struct facts *f, const char *socket)
{
	*f = (struct facts){.socket = socket, .is_root = geteuid() == 0};
	read_files(f);
	ask_daemon(f);
	read_addresses(f);
	read_key(f);
	read_clock(f);
	ask_masters(f);
	find_peers(f);
	ask_name(f);
}

void facts_done(struct facts *f)
{
	for (size_t i = 0; i < _FACT_N; i++)
		free(f->texts[i]);
	json_object_put(f->status);
	json_object_put(f->nodes);
	json_object_put(f->links);
	json_object_put(f->table);
	json_object_put(f->config);
	json_object_put(f->sysctls);
	free(f->config_error);
	free(f->service);
	free(f->last_words);
	free(f->addresses);
	free(f->peers);
	for (size_t i = 0; i < f->n_masters; i++) {
		free(f->masters[i].url);
		free(f->masters[i].problem);
	}
	free(f->masters);
	free(f->name.name);
	free(f->name.address);
	free(f->name.got);
	free(f->name.server);
}
