/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One table of keys (below) drives everything: reading the file, the command line, --help,
 * printing, and which keys a reload may change. inih reads the INI syntax; it would cut
 * a long line silently, so lines come to it through read_line(), which refuses them.
 */
#include "agent/config.h"

#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stddef.h>
#include <strings.h>

#include "agent/log.h"

enum key_type {
	KEY_PATH,     /* absolute */
	KEY_DIR,      /* the same, or nothing */
	KEY_URLS,     /* list of http(s) URLs, separated by commas or white space */
	KEY_DURATION, /* "500ms", "5s", "2m", "24h"; a bare number is seconds */
	KEY_BYTES,    /* "64M", "1G" */
	KEY_MARK,     /* "0x100000": bits of a packet mark */
	KEY_BOOL,
	KEY_IPV4, /* address or "auto" */
	KEY_IPV6,
	KEY_RANGE4,
	KEY_RANGE6,
	KEY_ENDPOINTS, /* list of addresses, each with or without a port */
	KEY_ENDPOINT,  /* one address with its port, or nothing */
	KEY_LISTEN,    /* the same, of this node: none is the wildcard */
	KEY_PERMILLE,  /* "1/3", "0.25": kept in thousandths */
	KEY_PORT,
	KEY_NUMBER,
	KEY_NAME,     /* of a cluster: 1 to 64 characters */
	KEY_PREFIXES, /* list of networks: "10.0.0.0/8, fd00::/8" */
	KEY_LEVEL,
	KEY_SOURCE,
	KEY_API,
	KEY_PUBLISH, /* "auto", "no", or a URL */
	KEY_DEVICE,
	KEY_KERNEL,
};

struct key {
	const char *name;
	enum key_type type;
	size_t offset;
	const char *value; /* default, in the form a user writes */
	const char *unit;  /* for --help */
	const char *help;
	bool reloadable;
	uint64_t min, max; /* KEY_DURATION (ns), KEY_BYTES, KEY_NUMBER; max 0: no bounds */
};

#define AT(member) offsetof(struct config, member)
#define MS NSEC_PER_MSEC
#define S NSEC_PER_SEC

static const struct key keys[] = {
	{"source", KEY_SOURCE, AT(source), "mesos", "mesos|file:PATH",
		"where the tasks come from: the Mesos masters, or a file of the same shapes"},
	{"masters", KEY_URLS, AT(masters), "", "URL,...",
		"base URLs of the Mesos masters, as http://10.0.0.1:5050", true},
	{"mesos_api", KEY_API, AT(mesos_api), "state", "state|v1|subscribe",
		"what is asked of a master: /state, or the operator API's GET_STATE, or its "
		"events"},
	{"tls_ca", KEY_DIR, AT(tls_ca), "", "PATH",
		"certificates of who may vouch for a master (PEM); empty: the system's", true},
	{"tls_cert", KEY_DIR, AT(tls_cert), "", "PATH",
		"certificate that is shown to a master (PEM)", true},
	{"tls_key", KEY_DIR, AT(tls_key), "", "PATH", "its private key", true},
	{"tls_verify", KEY_BOOL, AT(tls_verify), "yes", "yes|no",
		"whether a master's certificate is checked", true},
	{"auth_token_file", KEY_DIR, AT(auth_token_file), "", "PATH",
		"file that holds the token which is shown to a master", true},
	{"auth_basic_file", KEY_DIR, AT(auth_basic_file), "", "PATH",
		"file that holds NAME:PASSWORD, shown to a master", true},
	{"poll_interval", KEY_DURATION, AT(poll_interval), "5s", "TIME",
		"time between two polls, jittered by a tenth", true, 100 * MS, 3600 * S},
	{"publish", KEY_PUBLISH, AT(publish), "auto", "auto|no|URL",
		"whether the table of this node's own Mesos master is published to the cluster "
		"while it leads; auto: if it is one of `masters`; URL: that is the own one",
		true},
	{"publisher_timeout", KEY_DURATION, AT(publisher_timeout), "15s", "TIME",
		"without word of a publisher for so long the masters are polled", false, 6 * S,
		3600 * S},
	{"connect_timeout", KEY_DURATION, AT(connect_timeout), "3s", "TIME",
		"time to connect to a master", true, 10 * MS, 600 * S},
	{"request_timeout", KEY_DURATION, AT(request_timeout), "15s", "TIME",
		"time for a whole answer of a master", true, 10 * MS, 600 * S},
	{"max_document", KEY_BYTES, AT(max_document), "1G", "BYTES",
		"a larger Mesos document is refused", true, 1024, UINT64_C(1) << 40},
	{"kernel", KEY_KERNEL, AT(kernel), "ipvs", "ipvs|none",
		"what is programmed; none: nothing, vipd only logs what it would do"},
	{"device", KEY_DEVICE, AT(device), "vipd0", "NAME",
		"name of the dummy link that carries the routes of the VIPs"},
	{"node_address", KEY_IPV4, AT(node_address), "auto", "ADDRESS",
		"this node's IPv4 address: the source of its own connections to VIPs"},
	{"node_address6", KEY_IPV6, AT(node_address6), "auto", "ADDRESS", "the same for IPv6"},
	{"ipv6", KEY_BOOL, AT(ipv6), "yes", "yes|no", "whether IPv6 VIPs are made"},
	{"named_range", KEY_RANGE4, AT(named_range), "11.0.0.0-11.255.255.255", "MIN-MAX",
		"IPv4 addresses of named VIPs; must be the same on all nodes"},
	{"named_range6", KEY_RANGE6, AT(named_range6), "fd01:c::-fd01:c::ffff:ffff:ffff:ffff",
		"MIN-MAX", "IPv6 addresses of named VIPs; must be the same on all nodes"},
	{"drain_timeout", KEY_DURATION, AT(drain_timeout), "30s", "TIME",
		"how long a TCP backend whose task has ended keeps its connections; 0: not at all",
		true, 0, 86400 * S},
	{"slow_start", KEY_DURATION, AT(slow_start), "0s", "TIME",
		"time over which a new backend of a busy VIP gets its full share; 0: at once", true,
		0, 3600 * S},
	{"audit_interval", KEY_DURATION, AT(audit_interval), "15s", "TIME",
		"time between two comparisons of the kernel with the table; what others changed is "
		"repaired within two of them",
		true, 100 * MS, 3600 * S},
	{"allow_vips", KEY_PREFIXES, AT(allow_vips), "", "NETWORK,...",
		"networks in which VIPs are made although this node is connected to them", true},
	{"key_file", KEY_PATH, AT(key_file), "/etc/vipd/key", "PATH",
		"the cluster's keys (vipctl keygen makes one); without it the overlay is off",
		true},
	{"insecure", KEY_BOOL, AT(insecure), "no", "yes|no",
		"whether the overlay runs without a key file, open to anyone"},
	{"cluster", KEY_NAME, AT(cluster), "vipd", "NAME",
		"name of the cluster: nodes of another one are strangers"},
	{"contacts", KEY_ENDPOINTS, AT(contacts), "", "ADDRESS,...",
		"nodes to join through, beside the masters and the agents of the Mesos document",
		true},
	{"overlay_port", KEY_PORT, AT(overlay_port), "61420", "PORT",
		"UDP and TCP port of the overlay"},
	{"minority", KEY_PERMILLE, AT(minority), "1/3", "SHARE",
		"a part of the cluster that is smaller judges nobody"},
	{"dead_confirm", KEY_DURATION, AT(dead_confirm), "2s", "TIME",
		"how long a node is down before the connections to its backends end", true, 0,
		3600 * S},
	{"forget_after", KEY_DURATION, AT(forget_after), "24h", "TIME",
		"how long a node that is down is remembered", false, 60 * S, 365 * 86400 * S},
	{"rules", KEY_BOOL, AT(rules), "yes", "yes|no",
		"whether iptables rules around the VIPs are kept in place"},
	{"masquerade", KEY_BOOL, AT(masquerade), "yes", "yes|no",
		"whether containers behind this node reach VIPs with the node's address"},
	{"masquerade_mark", KEY_MARK, AT(masquerade_mark), "0x100000", "BITS",
		"packet mark that means: to be masqueraded"},
	{"sysctls", KEY_BOOL, AT(sysctls), "yes", "yes|no",
		"whether net.ipv4.vs settings are set (vipd.conf(5) names them)"},
	{"cni_dir", KEY_DIR, AT(cni_dir), "/var/run/dcos/cni/l4lb", "PATH",
		"directory in which containers with a network namespace of their own register; "
		"empty: none"},
	{"http_listen", KEY_ENDPOINT, AT(http_listen), "127.0.0.1:62080", "ADDRESS:PORT",
		"where vipd is asked by HTTP, for looking only: metrics, the page, /v1; empty: "
		"nowhere",
		true},
	{"dns_listen", KEY_LISTEN, AT(dns_listen), "127.0.0.61", "ADDRESS,...",
		"addresses on which names of VIPs are answered, port 53 unless given; empty: none",
		true},
	{"metrics_max", KEY_NUMBER, AT(metrics_max), "1000", "N",
		"VIPs and backends that /metrics shows one by one; the others are left out", true,
		0, 1000000},
	{"socket", KEY_PATH, AT(socket), "/run/vipd/vipd.sock", "PATH",
		"control socket for vipctl"},
	{"state_dir", KEY_PATH, AT(state_dir), "/var/lib/vipd", "PATH",
		"directory of small files that are harmless to lose"},
	{"log_level", KEY_LEVEL, AT(log_level), "info", "LEVEL",
		"error, warning, notice, info or debug", true},
};

#define N_KEYS ARRAY_SIZE(keys)

static bool is_list(const struct key *k)
{
	return k->type == KEY_URLS || k->type == KEY_ENDPOINTS || k->type == KEY_LISTEN ||
	       k->type == KEY_PREFIXES;
}

/* Same key with '-' and '_' taken as equal. */
static bool key_is(const struct key *k, const char *name)
{
	size_t i;

	for (i = 0; k->name[i] && name[i]; i++)
		if (k->name[i] != (name[i] == '-' ? '_' : name[i]))
			return false;
	return k->name[i] == name[i];
}

static const struct key *key_find(const char *name)
{
	for (size_t i = 0; i < N_KEYS; i++)
		if (key_is(&keys[i], name))
			return &keys[i];
	return NULL;
}

bool config_has(const char *key)
{
	return key_find(key) != NULL;
}

/* --- values ---------------------------------------------------------------- */

struct suffix {
	const char *text;
	uint64_t factor;
};

/* "12ms" with a table of suffixes -> 12 * factor. 0, -EINVAL, -ERANGE. */
static int parse_scaled(const char *text, const struct suffix *suffixes, uint64_t *ret)
{
	unsigned long long n;
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno)
		return -ERANGE;
	for (; suffixes->text; suffixes++)
		if (strcmp(end, suffixes->text) == 0) {
			if (__builtin_mul_overflow((uint64_t)n, suffixes->factor, ret))
				return -ERANGE;
			return 0;
		}
	return -EINVAL;
}

static const struct suffix time_suffixes[] = {{"ms", MS}, {"s", S}, {"", S}, {"min", 60 * S},
	{"m", 60 * S}, {"h", 3600 * S}, {"d", 86400 * S}, {NULL, 0}};
static const struct suffix size_suffixes[] = {
	{"", 1}, {"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}, {NULL, 0}};

static const char *const levels[] = {[LOG_ERR] = "error",
	[LOG_WARNING] = "warning",
	[LOG_NOTICE] = "notice",
	[LOG_INFO] = "info",
	[LOG_DEBUG] = "debug"};

static char **strv_free(char **v)
{
	for (size_t i = 0; v && v[i]; i++)
		free(v[i]);
	free(v);
	return NULL;
}

static size_t strv_len(char **v)
{
	size_t n = 0;

	while (v && v[n])
		n++;
	return n;
}

/* Appends the URLs of `text` to *urls; NULL, or what is wrong. */
static const char *parse_urls(const char *text, char ***urls)
{
	AUTO_FREE char *copy = xstrdup(text);
	char *save = NULL;

	for (char *u = strtok_r(copy, ", \t", &save); u; u = strtok_r(NULL, ", \t", &save)) {
		size_t n = strv_len(*urls), len = strlen(u);

		if (strncmp(u, "http://", 7) != 0 && strncmp(u, "https://", 8) != 0)
			return "each master is a URL such as http://10.0.0.1:5050";
		if (memchr(strstr(u, "://") + 3, '@', strcspn(strstr(u, "://") + 3, "/")))
			return "names and passwords belong into auth_basic_file";
		while (len && u[len - 1] == '/')
			u[--len] = '\0';
		*urls = xrealloc(*urls, n + 2, sizeof(**urls));
		(*urls)[n] = xstrdup(u);
		(*urls)[n + 1] = NULL;
	}
	return NULL;
}

static const char *set_string(char **where, const char *value)
{
	free(*where);
	*where = xstrdup(value);
	return NULL;
}

static const char *set_bool(bool *where, const char *value)
{
	static const char *const words[] = {"no", "yes", "false", "true", "off", "on", "0", "1"};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (strcasecmp(value, words[i]) == 0) {
			*where = i % 2;
			return NULL;
		}
	return "must be yes or no";
}

static const char *set_address(struct ip_addr *where, const char *value, uint8_t family)
{
	struct ip_addr addr = {0};

	if (strcmp(value, "auto") != 0 &&
		(ip_addr_parse(value, &addr) < 0 || addr.family != family))
		return family == AF_INET ? "must be an IPv4 address or auto"
					 : "must be an IPv6 address or auto";
	*where = addr;
	return NULL;
}

static const char *set_range(struct address_range *where, const char *value, uint8_t family)
{
	const char *error = "must be MIN-MAX";

	return address_range_parse(value, family, where, &error) < 0 ? error : NULL;
}

/* "10.0.0.1", "10.0.0.1:61420", "fd00::1", "[fd00::1]:61420". 0 or -EINVAL. */
static int parse_endpoint(const char *text, struct endpoint *ret)
{
	struct endpoint e = {0};
	const char *port = NULL;
	AUTO_FREE char *host = NULL;
	unsigned long n;
	char *end;

	if (ip_addr_parse(text, &ret->address) == 0) {
		ret->port = 0;
		return 0;
	}
	if (*text == '[') {
		host = xstrndup(text + 1, strcspn(text + 1, "]"));
		port = strstr(text, "]:");
		port = port ? port + 2 : NULL;
	} else {
		host = xstrndup(text, strcspn(text, ":"));
		port = strchr(text, ':');
		port = port ? port + 1 : NULL;
	}
	if (ip_addr_parse(host, &e.address) < 0 || !port || *port < '0' || *port > '9')
		return -EINVAL;
	n = strtoul(port, &end, 10);
	if (*end || n < 1 || n > 65535)
		return -EINVAL;
	e.port = (uint16_t)n;
	*ret = e;
	return 0;
}

static const char *parse_endpoints(const char *text, struct endpoints *where)
{
	AUTO_FREE char *copy = xstrdup(text);
	char *save = NULL;

	for (char *p = strtok_r(copy, ", \t", &save); p; p = strtok_r(NULL, ", \t", &save)) {
		where->list = xrealloc(where->list, where->n + 1, sizeof(*where->list));
		if (parse_endpoint(p, &where->list[where->n]) < 0)
			return "each is an address, with or without a port, such as 10.0.0.1:61420";
		where->n++;
	}
	return NULL;
}

/* A name server on every address would answer for VIPs' own, and whoever reaches the node. */
static const char *parse_listen(const char *text, struct endpoints *where)
{
	static const struct ip_addr any4 = {AF_INET, {0}}, any6 = {AF_INET6, {0}};
	const char *error = parse_endpoints(text, where);

	for (size_t i = 0; !error && i < where->n; i++)
		if (ip_addr_equal(&where->list[i].address, &any4) ||
			ip_addr_equal(&where->list[i].address, &any6))
			error = "each is one address of this node, not all of them";
	return error;
}

static const char *set_endpoint(struct endpoint *where, const char *value)
{
	struct endpoint e = {0};

	if (*value && (parse_endpoint(value, &e) < 0 || !e.port))
		return "must be an address and a port, such as 127.0.0.1:62080, or empty";
	*where = e;
	return NULL;
}

static char *endpoint_text(const struct endpoint *e)
{
	char buf[ENDPOINT_STRLEN];

	return xstrdup(e->port ? endpoint_format(&e->address, e->port, buf) : "");
}

static char *endpoints_text(const struct endpoints *list)
{
	char *text = xstrdup(""), buf[ENDPOINT_STRLEN];

	for (size_t i = 0; i < list->n; i++) {
		const struct endpoint *e = &list->list[i];
		AUTO_FREE char *old = text;

		text = xasprintf("%s%s%s", old, i ? "," : "",
			e->port ? endpoint_format(&e->address, e->port, buf)
				: ip_addr_format(&e->address, buf));
	}
	return text;
}

/* "1/3" or "0.333", more than 0 and at most a half. */
static const char *set_permille(uint64_t *where, const char *value)
{
	char *end;
	double share = strtod(value, &end);

	if (*end == '/') {
		const char *divisor = end + 1;

		share /= strtod(divisor, &end);
		if (end == divisor)
			share = 0;
	}
	if (*end || !(share >= 0.001 && share <= 0.5))
		return "must be a share between 0.001 and 1/2, such as 1/3 or 0.25";
	*where = (uint64_t)(share * 1000 + 0.5);
	return NULL;
}

static const char *set_port(uint64_t *where, const char *value)
{
	char *end;
	unsigned long n = strtoul(value, &end, 10);

	if (*value < '0' || *value > '9' || *end || n < 1 || n > 65535)
		return "must be a port, 1 to 65535";
	*where = n;
	return NULL;
}

/* Appends the networks of `text`; NULL, or what is wrong. */
static const char *parse_prefixes(const char *text, struct prefixes *where)
{
	AUTO_FREE char *copy = xstrdup(text);
	char *save = NULL;

	for (char *p = strtok_r(copy, ", \t", &save); p; p = strtok_r(NULL, ", \t", &save)) {
		where->list = xrealloc(where->list, where->n + 1, sizeof(*where->list));
		if (prefix_parse(p, &where->list[where->n]) < 0)
			return "each network is an address and a length such as 10.0.0.0/8";
		where->n++;
	}
	return NULL;
}

static char *prefixes_text(const struct prefixes *list)
{
	char *text = xstrdup(""), buf[IP_ADDR_STRLEN];

	for (size_t i = 0; i < list->n; i++) {
		AUTO_FREE char *old = text;

		text = xasprintf("%s%s%s/%u", old, i ? "," : "",
			ip_addr_format(&list->list[i].address, buf), list->list[i].length);
	}
	return text;
}

static const char *set_level(int *where, const char *value)
{
	for (int i = LOG_ERR; i <= LOG_DEBUG; i++)
		if (strcmp(value, levels[i]) == 0) {
			*where = i;
			return NULL;
		}
	return "must be error, warning, notice, info or debug";
}

static char *scaled_text(uint64_t n, const struct suffix *suffixes)
{
	const struct suffix *best = NULL;

	for (const struct suffix *s = suffixes; s->text; s++)
		if (n % s->factor == 0 && (!best || s->factor > best->factor) && *s->text)
			best = s;
	return best && n ? xasprintf("%llu%s", (unsigned long long)(n / best->factor), best->text)
			 : xasprintf("%llu", (unsigned long long)n);
}

/* Valid until the next call. */
static const char *range_error(const struct key *k, const struct suffix *suffixes)
{
	static char error[96];
	AUTO_FREE char *min = scaled_text(k->min, suffixes);
	AUTO_FREE char *max = scaled_text(k->max, suffixes);

	snprintf(error, sizeof(error), "must be between %s and %s", min, max);
	return error;
}

static const char *set_scaled(
	const struct key *k, uint64_t *where, const char *value, const struct suffix *suffixes)
{
	uint64_t n;
	int r = parse_scaled(value, suffixes, &n);

	if (r == -EINVAL)
		return k->type == KEY_DURATION ? "must be a time such as 500ms, 5s, 2m or 24h"
					       : "must be a size such as 500K, 64M or 1G";
	if (r < 0 || n < k->min || n > k->max)
		return range_error(k, suffixes);
	*where = n;
	return NULL;
}

static const char *set_number(const struct key *k, uint64_t *where, const char *value)
{
	static const struct suffix none[] = {{"", 1}, {NULL, 0}};
	uint64_t n;
	int r = parse_scaled(value, none, &n);

	if (r == -EINVAL)
		return "must be a number";
	if (r < 0 || n < k->min || n > k->max)
		return range_error(k, none);
	*where = n;
	return NULL;
}

static const char *set_mark(uint64_t *where, const char *value)
{
	unsigned long long n;
	char *end;

	errno = 0;
	n = strtoull(value, &end, 0);
	if (errno || *end || end == value || n == 0 || n > UINT32_MAX)
		return "must be one or more bits of 32, such as 0x100000";
	*where = n;
	return NULL;
}

/* IFNAMSIZ - 1 characters, none that the kernel refuses. */
static const char *set_device(char **where, const char *value)
{
	size_t n = strlen(value);

	if (n < 1 || n > 15 || strpbrk(value, "/: \t") || strcmp(value, ".") == 0 ||
		strcmp(value, "..") == 0)
		return "must be a link name of 1 to 15 characters";
	return set_string(where, value);
}

static const char *set_publish(char **where, const char *value)
{
	char **urls = NULL;
	const char *error = NULL;

	if (strcmp(value, "auto") == 0 || strcmp(value, "no") == 0)
		return set_string(where, value);
	if (parse_urls(value, &urls) || strv_len(urls) != 1)
		error = "must be auto, no, or the URL of this node's own master";
	else
		set_string(where, urls[0]);
	strv_free(urls);
	return error;
}

/* Sets a key from its text. NULL, or what is wrong with it (static text). */
static const char *key_set(struct config *c, const struct key *k, const char *value)
{
	void *at = (char *)c + k->offset;

	switch (k->type) {
	case KEY_PATH:
		return *value == '/' ? set_string(at, value) : "must be an absolute path";
	case KEY_DIR:
		return *value == '/' || !*value ? set_string(at, value)
						: "must be an absolute path, or empty";
	case KEY_URLS:
		return parse_urls(value, at);
	case KEY_DURATION:
		return set_scaled(k, at, value, time_suffixes);
	case KEY_BYTES:
		return set_scaled(k, at, value, size_suffixes);
	case KEY_MARK:
		return set_mark(at, value);
	case KEY_BOOL:
		return set_bool(at, value);
	case KEY_IPV4:
		return set_address(at, value, AF_INET);
	case KEY_IPV6:
		return set_address(at, value, AF_INET6);
	case KEY_RANGE4:
		return set_range(at, value, AF_INET);
	case KEY_RANGE6:
		return set_range(at, value, AF_INET6);
	case KEY_ENDPOINTS:
		return parse_endpoints(value, at);
	case KEY_ENDPOINT:
		return set_endpoint(at, value);
	case KEY_LISTEN:
		return parse_listen(value, at);
	case KEY_PERMILLE:
		return set_permille(at, value);
	case KEY_PORT:
		return set_port(at, value);
	case KEY_NUMBER:
		return set_number(k, at, value);
	case KEY_NAME:
		if (!*value || strlen(value) > 64)
			return "must be 1 to 64 characters";
		return set_string(at, value);
	case KEY_PREFIXES:
		return parse_prefixes(value, at);
	case KEY_LEVEL:
		return set_level(at, value);
	case KEY_SOURCE:
		if (strcmp(value, "mesos") != 0 && strncmp(value, "file:/", 6) != 0)
			return "must be mesos or file:/PATH";
		return set_string(at, value);
	case KEY_API:
		if (strcmp(value, "state") != 0 && strcmp(value, "v1") != 0 &&
			strcmp(value, "subscribe") != 0)
			return "must be state, v1 or subscribe";
		return set_string(at, value);
	case KEY_PUBLISH:
		return set_publish(at, value);
	case KEY_KERNEL:
		if (strcmp(value, "ipvs") != 0 && strcmp(value, "none") != 0)
			return "must be ipvs or none";
		return set_string(at, value);
	case KEY_DEVICE:
		return set_device(at, value);
	}
	return "has no type";
}

static char *range_text(const struct address_range *r)
{
	char min[IP_ADDR_STRLEN], max[IP_ADDR_STRLEN];

	return xasprintf("%s-%s", ip_addr_format(&r->min, min), ip_addr_format(&r->max, max));
}

static char *address_text(const struct ip_addr *a)
{
	char buf[IP_ADDR_STRLEN];

	return xstrdup(a->family ? ip_addr_format(a, buf) : "auto");
}

static char *urls_text(char **urls)
{
	char *text = xstrdup("");

	for (size_t i = 0; urls && urls[i]; i++) {
		AUTO_FREE char *old = text;

		text = xasprintf("%s%s%s", old, i ? "," : "", urls[i]);
	}
	return text;
}

/* The text that key_set() would take for the value in force. Caller frees. */
static char *key_text(const struct config *c, const struct key *k)
{
	const void *at = (const char *)c + k->offset;

	switch (k->type) {
	case KEY_PATH:
	case KEY_DIR:
	case KEY_SOURCE:
	case KEY_API:
	case KEY_PUBLISH:
	case KEY_DEVICE:
	case KEY_KERNEL:
	case KEY_NAME:
		return xstrdup(str_or(*(char *const *)at, ""));
	case KEY_URLS:
		return urls_text(*(char **const *)at);
	case KEY_DURATION:
		return scaled_text(*(const nsec_t *)at, time_suffixes);
	case KEY_BYTES:
		return scaled_text(*(const uint64_t *)at, size_suffixes);
	case KEY_MARK:
		return xasprintf("0x%llx", (unsigned long long)*(const uint64_t *)at);
	case KEY_BOOL:
		return xstrdup(*(const bool *)at ? "yes" : "no");
	case KEY_IPV4:
	case KEY_IPV6:
		return address_text(at);
	case KEY_RANGE4:
	case KEY_RANGE6:
		return range_text(at);
	case KEY_ENDPOINTS:
	case KEY_LISTEN:
		return endpoints_text(at);
	case KEY_ENDPOINT:
		return endpoint_text(at);
	case KEY_PERMILLE:
		return xasprintf("%g", (double)*(const uint64_t *)at / 1000);
	case KEY_PORT:
	case KEY_NUMBER:
		return xasprintf("%llu", (unsigned long long)*(const uint64_t *)at);
	case KEY_PREFIXES:
		return prefixes_text(at);
	case KEY_LEVEL:
		return xstrdup(levels[*(const int *)at]);
	}
	return xstrdup("");
}

/* --- life ------------------------------------------------------------------ */

struct config *config_new(void)
{
	struct config *c = xcalloc(1, sizeof(*c));

	for (size_t i = 0; i < N_KEYS; i++) {
		const char *error = key_set(c, &keys[i], keys[i].value);

		if (error) { /* a default that does not parse is a bug of the table above */
			log_error("%s: default %s", keys[i].name, error);
			abort();
		}
	}
	return c;
}

/* Frees what the key owns and leaves it empty. */
static void key_clear(struct config *c, const struct key *k)
{
	void *at = (char *)c + k->offset;

	switch (k->type) {
	case KEY_PATH:
	case KEY_DIR:
	case KEY_SOURCE:
	case KEY_API:
	case KEY_PUBLISH:
	case KEY_DEVICE:
	case KEY_KERNEL:
	case KEY_NAME:
		free(*(char **)at);
		*(char **)at = NULL;
		break;
	case KEY_URLS:
		*(char ***)at = strv_free(*(char ***)at);
		break;
	case KEY_ENDPOINTS:
	case KEY_LISTEN:
		free(((struct endpoints *)at)->list);
		*(struct endpoints *)at = (struct endpoints){0};
		break;
	case KEY_ENDPOINT:
	case KEY_PERMILLE:
	case KEY_PORT:
	case KEY_NUMBER:
		break;
	case KEY_PREFIXES:
		free(((struct prefixes *)at)->list);
		*(struct prefixes *)at = (struct prefixes){0};
		break;
	case KEY_DURATION:
	case KEY_BYTES:
	case KEY_MARK:
	case KEY_BOOL:
	case KEY_IPV4:
	case KEY_IPV6:
	case KEY_RANGE4:
	case KEY_RANGE6:
	case KEY_LEVEL:
		break;
	}
}

struct config *config_free(struct config *c)
{
	for (size_t i = 0; c && i < N_KEYS; i++)
		key_clear(c, &keys[i]);
	free(c);
	return NULL;
}

int config_set(struct config *c, const char *key, const char *value, FILE *errors)
{
	const struct key *k = key_find(key);
	const char *error;

	if (!k) {
		fprintf(errors, "--%s: no such option\n", key);
		return -EINVAL;
	}
	if (is_list(k))
		key_clear(c, k); /* the command line replaces the file's list */
	error = key_set(c, k, value);
	if (error) {
		fprintf(errors, "--%s: \"%s\" %s\n", k->name, value, error);
		return -EINVAL;
	}
	return 0;
}

/* --- the file -------------------------------------------------------------- */

struct reader {
	struct config *config;
	FILE *file, *errors;
	const char *path;
	int line;
	int n_errors;
	bool seen[N_KEYS]; /* given in this file already */
	int last;          /* index of the key on the line before, for continued lists */
};

__attribute__((format(printf, 2, 3))) static void reader_error(
	struct reader *r, const char *format, ...)
{
	va_list ap;

	fprintf(r->errors, "%s:%d: ", r->path, r->line);
	va_start(ap, format);
	vfprintf(r->errors, format, ap);
	va_end(ap);
	fputc('\n', r->errors);
	r->n_errors++;
}

/* inih's line reader: as fgets(), but counts lines and refuses those it would cut. */
static char *read_line(char *buf, int size, void *userdata)
{
	struct reader *r = userdata;
	char *ret = fgets(buf, size, r->file);
	size_t n;
	int ch;

	if (!ret)
		return NULL;
	r->line++;
	n = strlen(ret);
	if (n + 1 == (size_t)size && ret[n - 1] != '\n') {
		ch = fgetc(r->file);
		if (ch != '\n' && ch != EOF) {
			reader_error(r,
				"line longer than %d characters (a list may go on, "
				"indented, in the next line)",
				size - 2);
			while (ch != '\n' && ch != EOF)
				ch = fgetc(r->file);
			*ret = '\0';
		}
	}
	/* What is neither blank, comment, section, "key = value" nor a continued list
	 * is an error that inih would only count. */
	n = strspn(ret, " \t\r\n");
	if (n == 0 && *ret && !strchr(";#[", *ret) && !strchr(ret, '=') && !strchr(ret, ':')) {
		reader_error(r, "not a line of the form key = value");
		*ret = '\0';
	}
	return ret;
}

static int on_entry(void *userdata, const char *section, const char *name, const char *value)
{
	struct reader *r = userdata;
	const struct key *k = key_find(name);
	const char *error;
	int i;

	if (strcmp(section, "vipd") != 0) {
		reader_error(r, "unknown section [%s]: all keys stand in [vipd]", section);
		return 1;
	}
	if (!k) {
		reader_error(r, "unknown key \"%s\"", name);
		return 1;
	}
	i = (int)(k - keys);
	if (is_list(k)) {
		if (!r->seen[i])
			key_clear(r->config, k);
	} else if (r->seen[i]) {
		reader_error(r, "%s: given twice", k->name);
		return 1;
	}
	r->seen[i] = true;
	error = key_set(r->config, k, value);
	if (error)
		reader_error(r, "%s: \"%s\" %s", k->name, value, error);
	return 1;
}

int config_read_file(struct config *c, const char *path, FILE *errors)
{
	struct reader r = {.config = c, .errors = errors, .path = path};
	int n;

	r.file = fopen(path, "re");
	if (!r.file) {
		n = -errno;
		fprintf(errors, "%s: %s\n", path, strerror(-n));
		return n;
	}
	n = ini_parse_stream(read_line, &r, on_entry, &r);
	fclose(r.file);
	if (n < 0)
		fprintf(errors, "%s: cannot be read\n", path);
	else if (n > 0 && r.n_errors == 0)
		fprintf(errors, "%s:%d: not a line of the form key = value\n", path, n);
	return n || r.n_errors ? -EINVAL : 0;
}

int config_check(struct config *c, FILE *errors)
{
	c->observe = strcmp(c->kernel, "none") == 0;
	if (strncmp(c->source, "file:", 5) == 0) {
		c->source_kind = SOURCE_FILE;
		c->source_path = c->source + 5;
		return 0;
	}
	c->source_kind = SOURCE_MESOS;
	if (!*c->tls_cert != !*c->tls_key) {
		fprintf(errors, "tls_cert and tls_key go together\n");
		return -EINVAL;
	}
	if (*c->auth_token_file && *c->auth_basic_file) {
		fprintf(errors, "auth_token_file and auth_basic_file exclude each other\n");
		return -EINVAL;
	}
	if (!c->masters || !c->masters[0]) {
		fprintf(errors, "no source of tasks: set masters = http://MASTER:5050,... "
				"or source = file:/PATH\n");
		return -EINVAL;
	}
	return 0;
}

int config_reload(struct config *c, struct config *fresh, FILE *out)
{
	int n = 0;

	for (size_t i = 0; i < N_KEYS; i++) {
		AUTO_FREE char *old = key_text(c, &keys[i]);
		AUTO_FREE char *new = key_text(fresh, &keys[i]);

		if (strcmp(old, new) == 0)
			continue;
		if (keys[i].reloadable) {
			key_clear(c, &keys[i]);
			key_set(c, &keys[i], new);
		} else {
			fprintf(out, "%s: stays %s until a restart\n", keys[i].name,
				*old ? old : "empty");
			n++;
		}
	}
	return n;
}

void config_help(FILE *out)
{
	for (size_t i = 0; i < N_KEYS; i++) {
		char option[64];

		snprintf(option, sizeof(option), "--%s=%s", keys[i].name, keys[i].unit);
		for (char *p = option; *p && *p != '='; p++)
			if (*p == '_')
				*p = '-';
		fprintf(out, "  %-34s %s", option, keys[i].help);
		if (*keys[i].value)
			fprintf(out, " [%s]", keys[i].value);
		fputc('\n', out);
	}
}

/* Comments of up to 96 columns, broken between words. */
static void print_comment(const char *text, FILE *out)
{
	size_t column = 0;

	while (*text) {
		size_t n = strcspn(text, " ");

		if (column == 0 || column + 1 + n > 96)
			column = (size_t)fprintf(out, "%s#", column ? "\n" : "");
		column += (size_t)fprintf(out, " %.*s", (int)n, text);
		text += n;
		text += strspn(text, " ");
	}
	fputc('\n', out);
}

void config_example(FILE *out)
{
	fputs("# Configuration of vipd. Each key stands here with its default; vipd.conf(5) says "
	      "more.\n"
	      "# `vipd --check-config` checks this file, `systemctl reload vipd` takes over what "
	      "can\n"
	      "# be taken over without a restart.\n\n[vipd]\n",
		out);
	for (size_t i = 0; i < N_KEYS; i++) {
		AUTO_FREE char *comment = xasprintf("%s (%s%s)", keys[i].help, keys[i].unit,
			keys[i].reloadable ? "; reload" : "");

		fputc('\n', out);
		print_comment(comment, out);
		fprintf(out, "#%s =%s%s\n", keys[i].name, *keys[i].value ? " " : "", keys[i].value);
	}
}

void config_each(const struct config *c,
	void (*f)(void *userdata, const char *key, const char *value), void *userdata)
{
	for (size_t i = 0; i < N_KEYS; i++) {
		AUTO_FREE char *text = key_text(c, &keys[i]);

		f(userdata, keys[i].name, text);
	}
}

/* An empty value is told where it is not the default. */
static void print_key(void *out, const char *key, const char *value)
{
	if (*value || *key_find(key)->value)
		fprintf(out, "%s = %s\n", key, value);
}

void config_print(const struct config *c, FILE *out)
{
	fputs("[vipd]\n", out);
	config_each(c, print_key, out);
}

struct ip_addr config_master_address(const char *url)
{
	const char *host = strstr(url, "://") + 3;
	bool bracket = *host == '[';
	AUTO_FREE char *literal = bracket ? xstrndup(host + 1, strcspn(host + 1, "]"))
					  : xstrndup(host, strcspn(host, ":/"));
	struct ip_addr a = {0};

	(void)ip_addr_parse(literal, &a);
	return a;
}
