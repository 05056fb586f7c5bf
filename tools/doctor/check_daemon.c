/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the running vipd says about itself, from the source of the tasks to the kernel. Where it does
 * not run there is only that to say, and why. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/answer.h"
#include "tools/doctor/facts.h"

/* --- whether it runs -------------------------------------------------------- */

static const char *how_to_start(const struct facts *f)
{
	if (f->socket_error == EACCES)
		return "run vipctl as root: sudo vipctl doctor";
	if (f->config_error)
		return "mend the configuration (vipd --check-config tells all that is wrong with "
		       "it), then: systemctl restart vipd";
	return f->service ? "systemctl restart vipd; journalctl -u vipd -e says why it ended"
			  : "start vipd: systemctl start vipd, or by hand: vipd";
}

static void add_silence(const struct facts *f, struct findings *out)
{
	char *evidence = textf("connecting to %s: %s%s%s%s%s%s%s", f->socket,
		strerror(f->socket_error), f->service ? "; systemd: " : "",
		f->service ? f->service : "", f->last_words ? "; its last words: " : "",
		f->last_words ? f->last_words : "", f->config_error ? "; its configuration: " : "",
		f->config_error ? f->config_error : "");

	findings_add(out, SEVERITY_ERROR, evidence, how_to_start(f),
		"no vipd answers on this node, so nothing keeps its VIPs in step (what the kernel "
		"holds goes on forwarding)");
	free(evidence);
}

void check_vipd(const struct facts *f, struct findings *out)
{
	char uptime[32];

	if (!f->status) {
		add_silence(f, out);
		return;
	}
	findings_add(out, SEVERITY_OK, NULL, NULL, "vipd %s runs, pid %" PRId64 ", up %s",
		get_text(f->status, "version", "?"), get_int(f->status, "pid"),
		time_text(get_seconds(f->status, "uptime"), uptime));
}

/* --- where the tasks come from ---------------------------------------------- */

static const char *source_mend(const char *error)
{
	if (strstr(error, "401") || strstr(error, "403"))
		return "give vipd credentials that the master accepts (vipd.conf(5), \"Where the "
		       "tasks come from\"), then: systemctl reload vipd";
	if (strstr(error, "certificate") || strstr(error, "SSL") || strstr(error, "TLS"))
		return "see to the certificates: vipd.conf(5), and the clocks of both sides";
	return "see to the masters and the way to them: curl -sS MASTER/health; `masters` in "
	       "vipd.conf names them";
}

static void add_dead_masters(const struct facts *f, struct findings *out)
{
	for (size_t i = 0; i < f->n_masters; i++)
		if (f->masters[i].problem)
			findings_add(out, f->status ? SEVERITY_WARNING : SEVERITY_ERROR,
				f->masters[i].problem,
				"see to that master and the way to it, or take it out of `masters`",
				"the master %s does not answer this node", f->masters[i].url);
}

/* An agent that hears a master's vipd publish the table polls nobody. */
static bool is_follower(const struct facts *f)
{
	return strcmp(get_text(get(f->status, "publisher"), "mode", ""), "following") == 0;
}

static void judge_followed(json_object *publisher, struct findings *out)
{
	char age[32];

	findings_add(out, SEVERITY_OK, NULL, NULL,
		"the table that %s publishes is followed, confirmed %s ago",
		get_text(publisher, "address", "a master"),
		time_text(get_seconds(publisher, "confirmed"), age));
}

void check_source(const struct facts *f, struct findings *out)
{
	json_object *source = get(f->status, "source");
	const char *error = get_text(source, "error", NULL);
	char age[32], *evidence;

	add_dead_masters(f, out);
	if (!f->status)
		return;
	if (is_follower(f)) {
		judge_followed(get(f->status, "publisher"), out);
		return;
	}
	time_text(get_seconds(source, "age"), age);
	if (get_bool(source, "ok")) {
		findings_add(out, SEVERITY_OK, NULL, NULL, "%s %s %s ago",
			get_text(source, "url", "the source"),
			strcmp(get_text(source, "kind", ""), "file") == 0 ? "was read" : "answered",
			age);
	} else if (!error) {
		findings_add(out, SEVERITY_WARNING, NULL, "ask again in a few seconds",
			"no document has come yet");
	} else {
		bool never = get_seconds(source, "age") < 0;

		evidence = textf(
			"%s%s%s", error, never ? "" : "; the last answer is of ", never ? "" : age);
		findings_add(out, SEVERITY_ERROR, evidence, source_mend(error),
			never ? "no document could be had since vipd started, so there are no VIPs"
			      : "the source of the tasks fails, so the VIPs stay as they were");
		free(evidence);
	}
}

/* Labels and tasks that the document has and the table has not: their owners' part, so notes. */
void check_labels(const struct facts *f, struct findings *out)
{
	json_object *table = get(f->status, "table"), *first;
	json_object *list = get(table, "rejections");
	int64_t n = get_int(table, "rejected");
	char *evidence;

	if (!f->status || !get_bool(table, "known") || is_follower(f)) /* the publisher knows */
		return;
	if (n == 0 || get_length(list) == 0) {
		findings_add(out, SEVERITY_OK, NULL, NULL, "no label or task is left out");
		return;
	}
	first = json_object_array_get_idx(list, 0);
	evidence = textf("task %s: %s%s%s: %s%s", get_text(first, "task", "?"),
		get_text(first, "key", ""), *get_text(first, "key", "") ? " = " : "",
		get_text(first, "value", ""), get_text(first, "detail", "?"),
		n > 1 ? "; and others" : "");
	findings_add(out, SEVERITY_NOTE, evidence, "vipctl why TASK tells what each of them lacks",
		"%" PRId64 " task%s or label%s left out of the table", n, plural(n),
		n == 1 ? " is" : "s are");
	free(evidence);
}

/* --- the kernel -------------------------------------------------------------- */

static void add_differences(json_object *kernel, struct findings *out)
{
	const char *failing = get_text(kernel, "failing_step", NULL);

	if (get_int(kernel, "failing_steps"))
		findings_add(out, SEVERITY_ERROR, failing,
			"vipctl diff lists what is missing; vipd's log says why each was refused",
			"the kernel refuses %" PRId64 " command%s of vipd's",
			get_int(kernel, "failing_steps"), plural(get_int(kernel, "failing_steps")));
	if (get_int(kernel, "conflicts"))
		findings_add(out, SEVERITY_ERROR, NULL,
			"vipctl vips names them; then remove the other service (ipvsadm -D -t "
			"ADDRESS:PORT) or give the label another address",
			"%" PRId64 " VIP%s of somebody else in IPVS, and left alone",
			get_int(kernel, "conflicts"),
			get_int(kernel, "conflicts") == 1 ? " is a service" : "s are services");
}

void check_kernel(const struct facts *f, struct findings *out)
{
	json_object *kernel = get(f->status, "kernel");

	if (!f->status)
		return;
	if (get_bool(kernel, "observe_only"))
		findings_add(out, SEVERITY_NOTE, NULL, "kernel = ipvs in vipd.conf, and a restart",
			"kernel = none: vipd programs nothing and only says what it would do");
	if (get_bool(kernel, "paused"))
		findings_add(out, SEVERITY_ERROR, NULL, "systemctl reload vipd",
			"flushed by an operator: vipd programs nothing");
	else if (get_bool(kernel, "in_sync"))
		findings_add(out, SEVERITY_OK, NULL, NULL,
			"in step with the table: %" PRId64 " service%s, %" PRId64 " destination%s",
			get_int(kernel, "services"), plural(get_int(kernel, "services")),
			get_int(kernel, "destinations"), plural(get_int(kernel, "destinations")));
	add_differences(kernel, out);
	if (get_int(kernel, "foreign_services"))
		findings_add(out, SEVERITY_NOTE, NULL, NULL,
			"others use IPVS here, too: %" PRId64 " service%s that vipd leaves alone",
			get_int(kernel, "foreign_services"),
			plural(get_int(kernel, "foreign_services")));
}

/* VIPs that are not as they should be here, the first by name. */
void check_vips(const struct facts *f, struct findings *out)
{
	json_object *bad = NULL;
	size_t n = 0, n_all = get_length(f->table);
	char *evidence, *mend;

	if (!f->table || get_bool(get(f->status, "kernel"), "paused"))
		return;
	for (size_t i = 0; i < n_all; i++) {
		json_object *v = json_object_array_get_idx(f->table, i);

		if (strcmp(get_text(v, "state", ""), "programmed") == 0)
			continue;
		n++;
		bad = bad ? bad : v;
	}
	if (!bad) {
		findings_add(out, SEVERITY_OK, NULL, NULL, "%zu VIP%s, all programmed", n_all,
			plural((int64_t)n_all));
		return;
	}
	evidence = textf("%s is %s: %s%s", get_text(bad, "vip", "?"), get_text(bad, "state", "?"),
		get_text(bad, "reason", "?"), n > 1 ? "; and others" : "");
	mend = textf("vipctl why %s", get_text(bad, "vip", "VIP"));
	findings_add(out, SEVERITY_ERROR, evidence, mend,
		"%zu of %zu VIPs do not work on this node", n, n_all);
	free(evidence);
	free(mend);
}

void check_rules(const struct facts *f, struct findings *out)
{
	json_object *rules = get(f->status, "firewall");

	if (!f->status || !get_bool(rules, "wanted"))
		return;
	if (get_bool(rules, "ok"))
		findings_add(out, SEVERITY_OK, NULL, NULL, "iptables rules are in place");
	else
		findings_add(out, SEVERITY_WARNING, get_text(rules, "error", "not seen to yet"),
			"see that iptables works (iptables -t nat -S), or set rules = no where "
			"there are no containers",
			"the iptables rules are not in place: containers and host ports may be "
			"served wrongly");
}

void check_sysctls(const struct facts *f, struct findings *out)
{
	size_t n_wrong = 0;

	for (size_t i = 0; i < get_length(f->sysctls); i++) {
		json_object *s = json_object_array_get_idx(f->sysctls, i);
		const char *name = get_text(s, "name", "?");
		char *evidence, *mend;

		if (get_int(s, "value") == get_int(s, "wanted"))
			continue;
		n_wrong++;
		evidence = textf("%s = %" PRId64, name, get_int(s, "value"));
		mend = textf("sysctl -w %s=%" PRId64, name, get_int(s, "wanted"));
		findings_add(out, SEVERITY_WARNING, evidence, mend, "%s should be %" PRId64 ": %s",
			name, get_int(s, "wanted"), get_text(s, "reason", "?"));
		free(evidence);
		free(mend);
	}
	if (f->texts[FACT_CONN_REUSE] && strtol(f->texts[FACT_CONN_REUSE], NULL, 10) == 0) {
		n_wrong++;
		findings_add(out, SEVERITY_WARNING, "net.ipv4.vs.conn_reuse_mode = 0",
			"sysctl -w net.ipv4.vs.conn_reuse_mode=1",
			"a client that uses a port again is sent where its old connection went, "
			"though that backend may be gone");
	}
	if (f->status && !n_wrong)
		findings_add(out, SEVERITY_OK, NULL, NULL, "as they should be");
}

void check_namespaces(const struct facts *f, struct findings *out)
{
	json_object *n = get(f->status, "namespaces"), *first;
	json_object *troubles = get(n, "troubles");
	int64_t bad = get_int(n, "failing") + get_int(n, "bad_files");
	char *evidence;

	if (get_int(n, "registered") + bad == 0)
		return;
	if (!bad || get_length(troubles) == 0) {
		findings_add(out, SEVERITY_OK, NULL, NULL,
			"%" PRId64 " namespace%s of containers, programmed",
			get_int(n, "programmed"), plural(get_int(n, "programmed")));
		return;
	}
	first = json_object_array_get_idx(troubles, 0);
	evidence = textf("%s: %s", get_text(first, "name", "?"), get_text(first, "problem", "?"));
	findings_add(out, SEVERITY_WARNING, evidence, "vipctl namespaces lists them all",
		"%" PRId64 " namespace%s of containers cannot be programmed", bad, plural(bad));
	free(evidence);
}

void check_http(const struct facts *f, struct findings *out)
{
	json_object *http = get(f->status, "http");
	const char *listen = get_text(http, "listen", NULL), *error = get_text(http, "error", NULL);

	if (!listen)
		return;
	if (error)
		findings_add(out, SEVERITY_WARNING, error,
			"see who has the port (ss -ltnp) and stop it, or move vipd with "
			"http_listen in "
			"vipd.conf",
			"vipd cannot be asked by HTTP on %s: no metrics, and no page", listen);
	else
		findings_add(out, SEVERITY_OK, NULL, NULL, "vipd answers on http://%s/", listen);
}
