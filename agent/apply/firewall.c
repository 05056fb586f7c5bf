/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A check goes through the families one after another: save -> (restore ->)? next family.
 * Each step is a process beside the loop; on_saved() and on_restored() are their ends.
 */
#include "agent/apply/firewall.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#include "agent/apply/process.h"
#include "agent/log.h"
#include "ipvs/rules.h"

struct firewall {
	sd_event *loop;
	struct firewall_options options;
	struct firewall_stats stats;
	void (*checked)(void *userdata);
	void *userdata;
	struct process *process; /* under way */
	uint8_t family;          /* of the check under way; AF_UNSPEC: none */
	bool removing;
	bool was_there;   /* the rules were in place after the last check */
	bool was_failing; /* the last check failed, and that was logged */
	char *error;
};

const struct firewall_stats *firewall_stats(const struct firewall *f)
{
	return &f->stats;
}

static void check_family(struct firewall *f, uint8_t family);

/* The check of all families is through. */
static void finished(struct firewall *f)
{
	f->family = AF_UNSPEC;
	f->was_there = !f->error && !f->removing;
	if (f->was_failing && !f->error)
		log_notice("firewall: the rules are in place again");
	f->was_failing = f->error != NULL;
	f->checked(f->userdata);
}

static void next_family(struct firewall *f)
{
	f->process = process_free(f->process);
	if (f->family == AF_INET && f->options.ipv6)
		check_family(f, AF_INET6);
	else
		finished(f);
}

static const char *tool(const struct firewall *f, const char *v4, const char *v6)
{
	return f->family == AF_INET6 ? v6 : v4;
}

/* Remembers what went wrong, as one line; says it when it is new. */
static void failed(struct firewall *f, const char *program, const char *why)
{
	char *text = xasprintf("%s: %.300s", program, *why ? why : "failed");
	size_t n = strlen(text);

	while (n && text[n - 1] == '\n')
		text[--n] = '\0';
	for (char *p = text; *p; p++)
		if (*p == '\n')
			*p = ' ';

	if (!f->error && !f->was_failing)
		log_error("firewall: %s; containers and host ports may be served wrongly", text);
	free(f->error);
	f->stats.error = f->error = text;
}

static void on_restored(void *userdata, const struct process_result *result)
{
	struct firewall *f = userdata;

	if (result->status != 0) {
		failed(f, tool(f, "iptables-restore", "ip6tables-restore"), result->errors);
	} else {
		f->stats.n_writes++;
		f->stats.n_repairs += f->was_there;
	}
	next_family(f);
}

static void restore(struct firewall *f, const char *script)
{
	const char *const argv[] = {
		tool(f, "iptables-restore", "ip6tables-restore"), "--noflush", "-w", "5", NULL};
	int r;

	f->process = process_free(f->process);
	r = process_new(f->loop, argv, script, on_restored, f, &f->process);
	if (r < 0) {
		failed(f, argv[0], strerror(-r));
		next_family(f);
	}
}

static void on_saved(void *userdata, const struct process_result *result)
{
	struct firewall *f = userdata;
	struct rules_options options = {f->family, f->options.masquerade, f->options.mark};
	AUTO_FREE char *script = NULL;
	int r;

	if (result->status != 0) {
		failed(f, tool(f, "iptables-save", "ip6tables-save"), result->errors);
		next_family(f);
		return;
	}
	f->stats.n_checks++;
	r = f->removing ? rules_removal(result->output, &script)
			: rules_script(&options, result->output, &script);
	if (r < 0)
		abort(); /* out of memory, as everywhere in agent/ */
	if (!script) {
		next_family(f);
		return;
	}
	if (!f->removing && f->was_there)
		log_warning("firewall: rules of %s were changed by others, restoring them",
			f->family == AF_INET6 ? "IPv6" : "IPv4");
	restore(f, script);
}

static void check_family(struct firewall *f, uint8_t family)
{
	const char *argv[2] = {NULL};
	int r;

	f->family = family;
	argv[0] = tool(f, "iptables-save", "ip6tables-save");
	r = process_new(f->loop, argv, NULL, on_saved, f, &f->process);
	if (r < 0) {
		failed(f, argv[0], strerror(-r));
		next_family(f);
	}
}

static void begin(struct firewall *f)
{
	free(STEAL(f->error));
	f->stats.error = NULL;
	check_family(f, AF_INET);
}

void firewall_check(struct firewall *f)
{
	if (f->family == AF_UNSPEC)
		begin(f);
}

struct firewall *firewall_new(sd_event *loop, const struct firewall_options *options,
	void (*checked)(void *userdata), void *userdata)
{
	struct firewall *f = xcalloc(1, sizeof(*f));

	f->loop = sd_event_ref(loop);
	f->options = *options;
	f->checked = checked;
	f->userdata = userdata;
	return f;
}

struct firewall *firewall_free(struct firewall *f)
{
	if (!f)
		return NULL;
	process_free(f->process);
	sd_event_unref(f->loop);
	free(f->error);
	free(f);
	return NULL;
}

static void on_removed(void *userdata)
{
	sd_event_exit(userdata, 0);
}

/* A loop of its own, which ends with the last process. */
int firewall_remove(void)
{
	struct firewall_options options = {.ipv6 = true};
	struct firewall *f;
	sd_event *loop;
	int r = sd_event_new(&loop);

	if (r < 0)
		return r;
	f = firewall_new(loop, &options, on_removed, loop);
	f->removing = true;
	begin(f);
	r = sd_event_loop(loop);
	if (r >= 0 && f->error)
		r = -EIO;
	firewall_free(f);
	sd_event_unref(loop);
	return r;
}
