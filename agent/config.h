/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * Configuration: an INI file with one section, [vipd], whose every key is also a command-line
 * option (`poll_interval = 5s` is `--poll-interval=5s`). The command line wins. One table
 * in config.c holds every key with its type, default and help.
 */
#include <stdbool.h>
#include <stdio.h>

#include "agent/desired/node.h"
#include "agent/source/vip_table.h"
#include "agent/util.h"

enum source_kind {
	SOURCE_MESOS, /* poll the masters */
	SOURCE_FILE,  /* watch a file of the same shapes */
};

struct config {
	/* where the tasks come from */
	char *source;    /* as given: "mesos" or "file:PATH" */
	char **masters;  /* base URLs, without a trailing slash; NULL-terminated */
	char *mesos_api; /* "state", "v1" or "subscribe" */
	char *tls_ca, *tls_cert, *tls_key; /* files; "": the system's, none, none */
	bool tls_verify;
	char *auth_token_file, *auth_basic_file; /* "": none */
	nsec_t poll_interval;
	char *publish; /* "auto", "no", or the own master's URL */
	nsec_t publisher_timeout;
	nsec_t connect_timeout;
	nsec_t request_timeout;
	uint64_t max_document; /* bytes, decompressed */
	/* this node */
	char *device;
	struct ip_addr node_address, node_address6; /* AF_UNSPEC: found by itself */
	bool ipv6;
	struct address_range named_range, named_range6;
	nsec_t drain_timeout; /* 0: no draining */
	nsec_t slow_start;    /* 0: off */
	nsec_t audit_interval;
	struct prefixes {
		size_t n;
		struct prefix *list;
	} allow_vips;
	/* the kernel */
	char *kernel; /* "ipvs", or "none": watch only */
	bool observe; /* derived from it */
	bool rules, masquerade, sysctls;
	uint64_t masquerade_mark;
	/* the overlay */
	char *key_file; /* without it the port is not opened, unless insecure */
	bool insecure;
	char *cluster; /* its name */
	struct endpoints {
		size_t n;
		struct endpoint {
			struct ip_addr address;
			uint16_t port;
		} * list;
	} contacts;
	uint64_t overlay_port;
	uint64_t minority; /* per mille */
	nsec_t forget_after, dead_confirm;
	char *cni_dir; /* "": no namespaces but the host's */
	/* where it is asked; family AF_UNSPEC: nowhere but at the socket */
	struct endpoint http_listen;
	struct endpoints dns_listen; /* port 0: 53 */
	uint64_t metrics_max;        /* VIPs and backends together */
	/* files */
	char *socket;
	char *state_dir;
	/* the rest */
	int log_level;

	enum source_kind source_kind; /* derived from `source` */
	const char *source_path;      /* SOURCE_FILE */
};

#define CONFIG_DEFAULT_PATH "/etc/vipd/vipd.conf"

struct config *config_new(void);              /* all defaults */
struct config *config_free(struct config *c); /* takes NULL; returns NULL */

/* Reads a file into c. Every problem is written to `errors` as "FILE:LINE: what". 0; -EINVAL
 * if there was any; -ENOENT or another errno if the file cannot be read (also told). */
int config_read_file(struct config *c, const char *path, FILE *errors);
/* Sets one key as from the command line. 0 or -EINVAL, with "--KEY: what" on `errors`. */
int config_set(struct config *c, const char *key, const char *value, FILE *errors);
/* True if `key` (with - or _) is a key. */
bool config_has(const char *key);
/* Checks what only the whole can tell (a source must be given ...). 0 or -EINVAL. */
int config_check(struct config *c, FILE *errors);
/* Tells on `out` the keys whose values differ but take effect only after a restart ("cannot be
 * reloaded"), and returns their number. Reloadable keys are moved from `fresh` to `c`. */
int config_reload(struct config *c, struct config *fresh, FILE *out);
/* The address in a master's URL; AF_UNSPEC if it is a name. */
struct ip_addr config_master_address(const char *url);
/* Prints the options for --help: one line each with default. */
void config_help(FILE *out);
/* Every key with its value in force, in the form of the file; "" for what is empty. */
void config_each(const struct config *c,
	void (*f)(void *userdata, const char *key, const char *value), void *userdata);
/* Prints a file to start from: every key with its help and default, commented out. */
void config_example(FILE *out);
/* Prints the configuration in force, in the file's own form. */
void config_print(const struct config *c, FILE *out);
