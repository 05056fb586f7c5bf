/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernel and its limits, the daemon's privileges, the clock. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/answer.h"
#include "tools/doctor/facts.h"

/* How much of a limit may be used before it is said; a burst takes the rest in no time. */
#define NEARLY_PERCENT 80
#define FULL_PERCENT 97
/* A clock that is off by more confuses whoever compares logs, and certificates that are new. */
#define CLOCK_OFF_S 5.0

/* --- modules ------------------------------------------------------------------------ */

static const struct {
	const char *name, *what;
} modules[] = {
	{"ip_vs", "IPVS itself"},
	{"ip_vs_wlc", "the scheduler wlc of every VIP"},
	{"ip_set", "the sets of VIPs"},
	{"ip_set_hash_ip", "the sets of VIPs' addresses"},
	{"ip_set_hash_ipport", "the sets of VIPs' ports"},
	{"dummy", "the link that carries the VIPs' routes"},
};

/* True if `list` has the module's name at the start of a line, before a blank. */
static bool is_loaded(const char *list, const char *name)
{
	size_t n = strlen(name);

	for (const char *line = list; line && *line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, name, n) == 0 && line[n] == ' ')
			return true;
	}
	return false;
}

/* True if a line's path ends in NAME.ko, however compressed: modules.dep, modules.builtin. */
static bool is_listed(const char *list, const char *name)
{
	char *file = textf("/%s.ko", name);
	bool found = false;

	for (const char *at = list; at && (at = strstr(at, file)) && !found; at++) {
		char after = at[strlen(file)];

		found = !after || after == '\n' || after == ':' || after == '.';
	}
	free(file);
	return found;
}

static bool have_module(const struct facts *f, const char *name)
{
	return is_loaded(f->texts[FACT_MODULES], name) ||
	       is_listed(f->texts[FACT_MODULES_BUILTIN], name) ||
	       is_listed(f->texts[FACT_MODULES_DEP], name);
}

/* Without a list of what could be loaded nothing can be said of modules that may be built in. */
void check_modules(const struct facts *f, struct findings *out)
{
	bool known = f->texts[FACT_MODULES_DEP] != NULL, all = true;
	char *mend;

	if (strcmp(facts_config(f, "kernel", "ipvs"), "none") == 0)
		return;
	for (size_t i = 0; i < sizeof(modules) / sizeof(*modules); i++) {
		bool is_ipvs = i == 0;
		bool have =
			is_ipvs && f->texts[FACT_IP_VS] ? true : have_module(f, modules[i].name);

		if (have || (!known && !is_ipvs))
			continue;
		all = false;
		mend = textf("modprobe %s; if there is no such module, boot a kernel that has it "
			     "(Debian: linux-image-amd64)",
			modules[i].name);
		findings_add(out, SEVERITY_ERROR,
			is_ipvs ? "there is no /proc/net/ip_vs"
				: "it is neither loaded, nor built in, nor in modules.dep",
			mend, "the kernel has no module %s: %s", modules[i].name, modules[i].what);
		free(mend);
	}
	if (all)
		findings_add(out, SEVERITY_OK, NULL, NULL, "%s",
			f->texts[FACT_IP_VS] ? "IPVS is in the kernel"
					     : "IPVS is loaded on demand");
}

/* --- the daemon's process ------------------------------------------------------------- */

static bool always(const struct facts *f)
{
	return true;
}

static bool has_containers(const struct facts *f)
{
	json_object *n = get(f->status, "namespaces");

	return get_int(n, "registered") + get_int(n, "bad_files") > 0;
}

static bool has_rules(const struct facts *f)
{
	return get_bool(get(f->status, "firewall"), "wanted");
}

static bool has_names(const struct facts *f)
{
	return *facts_config(f, "dns_listen", "") != '\0';
}

static const struct {
	unsigned int number;
	const char *name, *what;
	bool (*is_needed)(const struct facts *f);
} capabilities[] = {
	{12, "CAP_NET_ADMIN", "to program IPVS, routes and sets", always},
	{13, "CAP_NET_RAW", "to write iptables rules that name its sets", has_rules},
	{21, "CAP_SYS_ADMIN", "to enter containers' network namespaces", has_containers},
	{10, "CAP_NET_BIND_SERVICE", "to serve names on port 53", has_names},
};

static char *capability_mend(const char *name)
{
	if (strcmp(name, "CAP_SYS_ADMIN") == 0)
		return textf(
			"mkdir -p /etc/systemd/system/vipd.service.d; cp "
			"/usr/share/doc/vipd/examples/container-namespaces.conf "
			"/etc/systemd/system/vipd.service.d/; systemctl daemon-reload; systemctl "
			"restart vipd");
	return textf(
		"systemctl edit vipd: CapabilityBoundingSet=%s under [Service], which adds it; "
		"systemctl restart vipd",
		name);
}

void check_capabilities(const struct facts *f, struct findings *out)
{
	const char *line =
		f->texts[FACT_PID_STATUS] ? strstr(f->texts[FACT_PID_STATUS], "CapEff:") : NULL;
	unsigned long long have = line ? strtoull(line + 7, NULL, 16) : 0;
	size_t before = get_length(out->list);

	for (size_t i = 0; line && i < sizeof(capabilities) / sizeof(*capabilities); i++) {
		char *evidence, *mend;

		if (have >> capabilities[i].number & 1 || !capabilities[i].is_needed(f))
			continue;
		evidence = textf("CapEff of vipd is %llx", have);
		mend = capability_mend(capabilities[i].name);
		findings_add(out, i == 0 ? SEVERITY_ERROR : SEVERITY_WARNING, evidence, mend,
			"vipd lacks %s, which it needs %s", capabilities[i].name,
			capabilities[i].what);
		free(evidence);
		free(mend);
	}
	if (line && get_length(out->list) == before)
		findings_add(out, SEVERITY_OK, NULL, NULL, "vipd has what it needs");
}

void check_files(const struct facts *f, struct findings *out)
{
	const char *line = f->texts[FACT_PID_LIMITS]
				   ? strstr(f->texts[FACT_PID_LIMITS], "Max open files")
				   : NULL;
	unsigned long long limit = line ? strtoull(line + strlen("Max open files"), NULL, 10) : 0;
	char *evidence;

	if (!limit || !f->n_files)
		return;
	evidence = textf("%zu of %llu", f->n_files, limit);
	if (f->n_files * 100 >= limit * NEARLY_PERCENT)
		findings_add(out, SEVERITY_WARNING, evidence,
			"systemctl edit vipd: LimitNOFILE=65536, then: systemctl restart vipd",
			"vipd is about to run out of file descriptors");
	else
		findings_add(
			out, SEVERITY_OK, NULL, NULL, "%s file descriptors are open", evidence);
	free(evidence);
}

/* --- tables and ports that fill up ----------------------------------------------------- */

void check_conntrack(const struct facts *f, struct findings *out)
{
	const char *count = f->texts[FACT_CONNTRACK_COUNT], *max = f->texts[FACT_CONNTRACK_MAX];
	unsigned long long n = count ? strtoull(count, NULL, 10) : 0;
	unsigned long long limit = max ? strtoull(max, NULL, 10) : 0;
	char *evidence, *mend;

	if (!count || !limit)
		return;
	evidence = textf(
		"net.netfilter.nf_conntrack_count = %llu of nf_conntrack_max = %llu", n, limit);
	mend = textf("sysctl -w net.netfilter.nf_conntrack_max=%llu (and in /etc/sysctl.d/), or "
		     "find who makes so many connections: conntrack -L",
		2 * (limit > n ? limit : n));
	if (n * 100 >= limit * FULL_PERCENT)
		findings_add(out, SEVERITY_ERROR, evidence, mend,
			"the connection tracking table is full: new connections are dropped, those "
			"to VIPs too");
	else if (n * 100 >= limit * NEARLY_PERCENT)
		findings_add(out, SEVERITY_WARNING, evidence, mend,
			"the connection tracking table is nearly full");
	else
		findings_add(out, SEVERITY_OK, NULL, NULL, "%llu of %llu connections are tracked",
			n, limit);
	free(evidence);
	free(mend);
}

/* Sockets of this node by where they lead. */
struct target {
	char remote[40]; /* "0B424C0A:0050", as /proc/net/tcp has it */
	unsigned int n, n_waiting;
};

static int cmp_remote(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* Reads "ADDRESS:PORT" of /proc/net/tcp or tcp6. */
static bool parse_remote(const char *text, struct ip_addr *ret, unsigned int *ret_port)
{
	struct ip_addr a = {.family = AF_INET};
	size_t words = strcspn(text, ":") / 8;

	if ((words != 1 && words != 4) || sscanf(text + 8 * words, ":%x", ret_port) != 1)
		return false;
	if (words == 4)
		a.family = AF_INET6;
	for (size_t i = 0; i < words; i++) {
		uint32_t word;

		if (sscanf(text + 8 * i, "%8x", &word) != 1)
			return false;
		memcpy(a.bytes + 4 * i, &word, 4); /* each a word of this machine's */
	}
	*ret = a;
	return true;
}

/* The name of a VIP at this place; NULL: there is none. */
static const char *vip_at(const struct facts *f, const struct ip_addr *a, unsigned int port)
{
	char address[IP_ADDR_STRLEN];

	ip_addr_format(a, address);
	for (size_t i = 0; i < get_length(f->table); i++) {
		json_object *v = json_object_array_get_idx(f->table, i);

		if ((unsigned int)get_int(v, "port") == port &&
			strcmp(get_text(v, "address", ""), address) == 0)
			return get_text(v, "vip", NULL);
	}
	return NULL;
}

/* Where the clients' sockets (local port in the range) lead, sorted; caller frees. */
static struct target *read_targets(
	const char *tcp, unsigned int low, unsigned int high, size_t *ret_n)
{
	struct target *list = NULL;
	size_t n = 0, allocated = 0;

	for (const char *line = tcp; line && *line; line = strchr(line, '\n')) {
		struct target t = {.n = 1};
		unsigned int port, state;

		line += *line == '\n';
		if (sscanf(line, " %*d: %*[0-9A-F]:%x %39s %x", &port, t.remote, &state) != 3 ||
			port < low || port > high)
			continue;
		t.n_waiting = state == 6; /* TCP_TIME_WAIT */
		if (n == allocated) {
			allocated = allocated ? 2 * allocated : 1024;
			list = reallocarray(list, allocated, sizeof(*list));
			if (!list)
				abort();
		}
		list[n++] = t;
	}
	if (n)
		qsort(list, n, sizeof(*list), cmp_remote);
	*ret_n = n;
	return list;
}

/* Adds up equal neighbours, and returns the greatest. */
static struct target fullest(const struct target *list, size_t n)
{
	struct target sum = {0}, best = {0};

	for (size_t i = 0; i < n; i++) {
		if (strcmp(list[i].remote, sum.remote) != 0)
			sum = (struct target){0};
		memcpy(sum.remote, list[i].remote, sizeof(sum.remote));
		sum.n += list[i].n;
		sum.n_waiting += list[i].n_waiting;
		if (sum.n > best.n)
			best = sum;
	}
	return best;
}

static void add_exhausted(
	const struct facts *f, const struct target *t, unsigned int n_ports, struct findings *out)
{
	char where[ENDPOINT_STRLEN];
	struct ip_addr a;
	unsigned int port;
	const char *vip;
	char *evidence;

	if (!parse_remote(t->remote, &a, &port))
		return;
	endpoint_format(&a, (uint16_t)port, where);
	vip = vip_at(f, &a, port);
	evidence = textf("%u of %u local ports are taken toward %s, %u of them in TIME_WAIT", t->n,
		n_ports, where, t->n_waiting);
	findings_add(out, t->n * 100 >= n_ports * FULL_PERCENT ? SEVERITY_ERROR : SEVERITY_WARNING,
		evidence,
		"have the client keep its connections open; until then: sysctl -w "
		"net.ipv4.ip_local_port_range=\"1024 65535\" net.ipv4.tcp_tw_reuse=1",
		"this node is running out of ports for new connections to %s", vip ? vip : where);
	free(evidence);
}

void check_ports(const struct facts *f, struct findings *out)
{
	static const enum fact tables[] = {FACT_TCP, FACT_TCP6};
	unsigned int low, high, most = 0;

	if (!f->texts[FACT_PORT_RANGE] ||
		sscanf(f->texts[FACT_PORT_RANGE], "%u %u", &low, &high) != 2 || high < low)
		return;
	for (size_t i = 0; i < 2; i++) {
		size_t n;
		struct target *list = read_targets(f->texts[tables[i]], low, high, &n);
		struct target t = fullest(list, n);

		if (t.n * 100 >= (high - low + 1) * NEARLY_PERCENT)
			add_exhausted(f, &t, high - low + 1, out);
		most = t.n > most ? t.n : most;
		free(list);
	}
	if (most * 100 < (high - low + 1) * NEARLY_PERCENT)
		findings_add(out, SEVERITY_OK, NULL, NULL,
			"at most %u of %u local ports are taken toward one place", most,
			high - low + 1);
}

/* --- the clock --------------------------------------------------------------------------- */

void check_clock(const struct facts *f, struct findings *out)
{
	bool dated = false;

	for (size_t i = 0; i < f->n_masters; i++) {
		const struct master *m = &f->masters[i];
		double off = m->ahead < 0 ? -m->ahead : m->ahead;
		char *evidence;

		if (!m->dated)
			continue;
		dated = true;
		if (off <= CLOCK_OFF_S)
			continue;
		evidence = textf("by the Date that %s answers with, %.0f s", m->url, off);
		findings_add(out, SEVERITY_WARNING, evidence,
			"timedatectl set-ntp true, or: chronyc makestep; on the master, if it is "
			"the one that is off",
			"this node's clock is %s of the master's: vipd itself needs none, but logs "
			"cannot be compared, and certificates may count as expired",
			m->ahead > 0 ? "ahead" : "behind");
		free(evidence);
		return;
	}
	if (dated)
		findings_add(out, SEVERITY_OK, NULL, NULL, "agrees with the masters'");
	else if (f->clock_unsynchronized)
		findings_add(out, SEVERITY_NOTE, "adjtimex says so",
			"timedatectl set-ntp true, or install chrony",
			"nothing keeps this node's clock right");
}
