/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * What vipctl doctor knows before it judges: texts of the kernel and of files as they were read,
 * the running vipd's answers, and what other machines answered. Gathering (gather.c) does all the
 * input and output; the checks (check_*.c) are pure functions of this, so that a test can make up
 * any machine.
 */
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "ipvs/model.h"
#include "tools/doctor/findings.h"

/* Files that are read whole; NULL in `texts` if one cannot be. */
enum fact {
	FACT_MODULES,         /* /proc/modules */
	FACT_MODULES_BUILTIN, /* /lib/modules/RELEASE/modules.builtin */
	FACT_MODULES_DEP,     /* /lib/modules/RELEASE/modules.dep: what could be loaded */
	FACT_IP_VS,           /* /proc/net/ip_vs: is there if the kernel has IPVS now */
	FACT_ROUTE,           /* /proc/net/route: the main table, IPv4 */
	FACT_ROUTE6,          /* /proc/net/ipv6_route */
	FACT_IF_INET6,        /* /proc/net/if_inet6: addresses with their flags */
	FACT_TCP,             /* /proc/net/tcp */
	FACT_TCP6,
	FACT_PORT_RANGE,      /* net.ipv4.ip_local_port_range */
	FACT_CONNTRACK_COUNT, /* net.netfilter.nf_conntrack_count */
	FACT_CONNTRACK_MAX,
	FACT_CONN_REUSE,  /* net.ipv4.vs.conn_reuse_mode */
	FACT_RESOLV_CONF, /* /etc/resolv.conf */
	FACT_PID_STATUS,  /* /proc/PID/status of vipd */
	FACT_PID_LIMITS,  /* /proc/PID/limits of vipd */
	_FACT_N,
};

/* How a TCP port of another machine answered. */
enum dial { DIAL_OPEN, DIAL_REFUSED, DIAL_SILENT, DIAL_UNREACHABLE };

struct peer {
	struct ip_addr address;
	uint16_t port;
	enum dial dial;
};

struct master {
	char *url;     /* without a user and password */
	char *problem; /* NULL: it answered */
	bool dated;    /* it said what time it is */
	double ahead;  /* seconds by which this node's clock is ahead of it */
};

/* How a question for a name ended. */
enum name_answer {
	NAME_NOT_ASKED, /* by this resolver it cannot be, as over IPv6 */
	NAME_RIGHT,     /* the address that vipd gave it */
	NAME_WRONG,     /* another one */
	NAME_UNKNOWN,   /* NXDOMAIN, or no address */
	NAME_REFUSED,   /* REFUSED or SERVFAIL */
	NAME_SILENT,    /* no answer in time, or nobody listens */
};

struct name_facts {
	char *name;    /* that was asked for; NULL: there was none to ask for */
	char *address; /* that vipd gives it */
	char *got;     /* NAME_WRONG */
	char *server;  /* "127.0.0.61" or "127.0.0.61:5353", where vipd serves; NULL: nowhere */
	enum name_answer direct, by_system;
};

struct key_file {
	bool exists;
	int error; /* errno of reading it, if it exists */
	mode_t mode;
	unsigned int n_keys;
	int bad_line; /* 0: none */
};

struct facts {
	char *texts[_FACT_N];
	bool is_root;
	const char *socket;
	/* The running vipd; NULL if it is not, or cannot be asked. */
	json_object *status, *nodes, *links, *table;
	json_object *config;  /* {key: text}, of the running vipd or of its file; NULL: neither */
	json_object *sysctls; /* [{"name", "value", "wanted", "reason"}] of the running vipd */
	char *config_error;   /* what vipd says about its file, if that cannot be used */
	int socket_error;     /* errno of connecting to the socket */
	char *service;        /* what systemd says about vipd.service; NULL: nothing */
	char *last_words;     /* of its log */
	size_t n_addresses;
	struct ip_addr *addresses; /* of this node */
	size_t n_peers, n_peers_left_out;
	struct peer *peers;
	size_t n_masters;
	struct master *masters;
	struct name_facts name;
	struct key_file key;
	bool clock_unsynchronized;
	size_t n_files; /* that vipd has open; 0: not known */
};

/* Reads and asks; takes a second or two, since some do not answer. */
void facts_gather(struct facts *f, const char *socket);
void facts_done(struct facts *f);

/* A value of the configuration, or `fallback`. */
const char *facts_config(const struct facts *f, const char *key, const char *fallback);

/* The checks, in the order in which they are shown. */
struct check {
	const char *name;
	void (*run)(const struct facts *f, struct findings *out);
};
extern const struct check checks[];
extern const size_t n_checks;
/* Runs them all. */
void checks_run(const struct facts *f, struct findings *out);

/* check_daemon.c */
void check_vipd(const struct facts *f, struct findings *out);
void check_source(const struct facts *f, struct findings *out);
void check_labels(const struct facts *f, struct findings *out);
void check_kernel(const struct facts *f, struct findings *out);
void check_vips(const struct facts *f, struct findings *out);
void check_rules(const struct facts *f, struct findings *out);
void check_sysctls(const struct facts *f, struct findings *out);
void check_namespaces(const struct facts *f, struct findings *out);
void check_http(const struct facts *f, struct findings *out);
/* check_cluster.c */
void check_key(const struct facts *f, struct findings *out);
void check_overlay(const struct facts *f, struct findings *out);
void check_peers(const struct facts *f, struct findings *out);
/* check_network.c */
void check_addresses(const struct facts *f, struct findings *out);
void check_overlap(const struct facts *f, struct findings *out);
void check_dns(const struct facts *f, struct findings *out);
/* check_host.c */
void check_modules(const struct facts *f, struct findings *out);
void check_capabilities(const struct facts *f, struct findings *out);
void check_files(const struct facts *f, struct findings *out);
void check_conntrack(const struct facts *f, struct findings *out);
void check_ports(const struct facts *f, struct findings *out);
void check_clock(const struct facts *f, struct findings *out);
