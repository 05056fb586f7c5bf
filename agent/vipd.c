/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The program: command line and exit status. The daemon itself is daemon.c. */
#include <curl/curl.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "agent/daemon.h"
#include "agent/log.h"

enum mode { MODE_RUN, MODE_CHECK, MODE_FLUSH };

struct command_line {
	int argc;
	char **argv;
	const char *path; /* of the configuration file */
	bool path_given;
	enum mode mode;
};

static void usage(FILE *out)
{
	fprintf(out,
		"Usage: vipd [OPTION]...\n"
		"Keeps this node's kernel (IPVS) in step with the virtual addresses of a Mesos "
		"cluster.\n\n"
		"  -c, --config=FILE                  configuration [" CONFIG_DEFAULT_PATH "]\n"
		"      --check-config                 check it, print what is in force, and exit\n"
		"      --example-config               print a configuration to start from, and "
		"exit\n"
		"      --flush                        remove all of vipd's from the kernel, and "
		"exit\n"
		"  -h, --help                         this text\n"
		"  -V, --version\n\n"
		"Every key of the file is an option too, and wins over the file:\n");
	config_help(out);
}

/* The value of the option at *i, which may stand in the next word; NULL (told) if missing. */
static const char *option_value(const struct command_line *cl, int *i, const char *equals)
{
	if (equals)
		return equals + 1;
	if (*i + 1 < cl->argc)
		return cl->argv[++*i];
	fprintf(stderr, "vipd: %s needs a value\n", cl->argv[*i]);
	return NULL;
}

/* Takes the option at *i as a key of the configuration. `config` may be NULL: then it is only
 * checked to be one. */
static int key_option(const struct command_line *cl, int *i, struct config *config, FILE *errors)
{
	const char *arg = cl->argv[*i];
	const char *equals = strchr(arg, '='), *value;
	AUTO_FREE char *key = NULL;

	if (strncmp(arg, "--", 2) != 0) {
		fprintf(errors, "%s: unknown argument\n", arg);
		return -EINVAL;
	}
	key = equals ? xstrndup(arg + 2, (size_t)(equals - arg - 2)) : xstrdup(arg + 2);
	if (!config_has(key)) {
		fprintf(errors, "--%s: no such option\n", key);
		return -EINVAL;
	}
	value = option_value(cl, i, equals);
	if (!value)
		return -EINVAL;
	return config ? config_set(config, key, value, errors) : 0;
}

/* True if the word at *i is an option of the program itself; *ret_exit is then >= 0 if it ends
 * here with this status. */
static bool program_option(struct command_line *cl, int *i, int *ret_exit)
{
	const char *arg = cl->argv[*i];

	*ret_exit = -1;
	if (strcmp(arg, "-h") == 0 || strcmp(arg, "--help") == 0) {
		usage(stdout);
		*ret_exit = 0;
	} else if (strcmp(arg, "-V") == 0 || strcmp(arg, "--version") == 0) {
		puts("vipd " VIPD_VERSION);
		*ret_exit = 0;
	} else if (strcmp(arg, "--example-config") == 0) {
		config_example(stdout);
		*ret_exit = 0;
	} else if (strcmp(arg, "--check-config") == 0) {
		cl->mode = MODE_CHECK;
	} else if (strcmp(arg, "--flush") == 0) {
		cl->mode = MODE_FLUSH;
	} else if (strcmp(arg, "-c") == 0 || strcmp(arg, "--config") == 0 ||
		   strncmp(arg, "--config=", 9) == 0) {
		cl->path = option_value(cl, i, strchr(arg, '='));
		cl->path_given = true;
		if (!cl->path)
			*ret_exit = 2;
	} else {
		return false;
	}
	return true;
}

/* -1 to go on, else the exit status. */
static int parse_program_options(struct command_line *cl)
{
	int status;

	for (int i = 1; i < cl->argc; i++) {
		if (program_option(cl, &i, &status)) {
			if (status >= 0)
				return status;
		} else if (key_option(cl, &i, NULL, stderr) < 0) {
			fprintf(stderr, "Try 'vipd --help'.\n");
			return 2;
		}
	}
	return -1;
}

/* File, then command line. Fits daemon.load_config. */
static struct config *load(void *userdata, FILE *errors)
{
	struct command_line *cl = userdata;
	struct config *c = config_new();
	bool there = cl->path_given || access(cl->path, F_OK) == 0;
	int r = 0, ignored;

	if (there)
		r = config_read_file(c, cl->path, errors);
	for (int i = 1; i < cl->argc; i++)
		if (!program_option(cl, &i, &ignored) && key_option(cl, &i, c, errors) < 0)
			r = -EINVAL;
	if (r == 0 && cl->mode != MODE_FLUSH && config_check(c, errors) < 0) {
		r = -EINVAL;
		if (!there && c->source_kind == SOURCE_MESOS && !c->masters)
			fprintf(errors,
				"%s does not exist; vipd --example-config prints one to start "
				"from\n",
				cl->path);
	}
	return r < 0 ? config_free(c) : c;
}

static int run(struct command_line *cl, struct config *config)
{
	struct daemon d = {.config = config,
		.config_path = cl->path,
		.load_config = load,
		.load_userdata = cl};
	int r;

	if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
		return 1;
	r = daemon_init(&d);
	if (r >= 0)
		r = sd_event_loop(d.loop);
	if (r < 0)
		log_error("giving up: %s", strerror(-r));
	daemon_done(&d);
	curl_global_cleanup();
	return r < 0 ? 1 : r;
}

/* How long the containers' namespaces may take altogether. */
#define FLUSH_PATIENCE (30 * NSEC_PER_SEC)

static int flush_namespaces(sd_event *loop, const struct config *config)
{
	const struct namespaces_options options = {
		.directory = config->cni_dir, .device = config->device};
	const struct timespec pause = {.tv_nsec = 5 * NSEC_PER_MSEC};
	struct namespaces *n = NULL;
	nsec_t begun = now_ns();
	int r = *config->cni_dir ? namespaces_new(loop, &options, &n) : 0;

	if (n)
		namespaces_flush(n);
	while (n && !namespaces_flushed(n) && now_ns() - begun < FLUSH_PATIENCE)
		nanosleep(&pause, NULL);
	if (n && !namespaces_flushed(n))
		r = -ETIMEDOUT;
	namespaces_free(n);
	return r;
}

/* Without a daemon: reads what is there and removes what is vipd's. */
static int flush(const struct config *config)
{
	struct kernel_options options = {.device = config->device};
	struct reconcile_handler handler = {0};
	struct reconcile *reconcile = NULL;
	const char *what = "kernel";
	sd_event *loop = NULL;
	sigset_t set;
	int r = sd_event_default(&loop);

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD); /* or sd-event cannot wait for processes */
	sigprocmask(SIG_BLOCK, &set, NULL);

	if (r >= 0)
		r = reconcile_new(loop, &options, 0, NULL, &handler, &reconcile, &what);
	if (r >= 0)
		r = flush_kernel(reconcile);
	if (r >= 0) {
		what = config->cni_dir;
		r = flush_namespaces(loop, config);
	}
	if (r < 0)
		log_error("flush: %s: %s", what, strerror(-r));
	reconcile_free(reconcile);
	sd_event_unref(loop);
	return r < 0;
}

int main(int argc, char **argv)
{
	struct command_line cl = {.argc = argc, .argv = argv, .path = CONFIG_DEFAULT_PATH};
	struct config *config;
	int status = parse_program_options(&cl);

	if (status >= 0)
		return status;
	config = load(&cl, stderr);
	if (!config)
		return 2;
	log_set_level(config->log_level);
	switch (cl.mode) {
	case MODE_CHECK:
		config_print(config, stdout);
		status = 0;
		break;
	case MODE_FLUSH:
		status = flush(config);
		break;
	case MODE_RUN:
		status = run(&cl, config);
		break;
	}
	config_free(config);
	return status;
}
