/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vipctl doctor: looks at all that VIPs need on this node, whether vipd runs or not (doctor/). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "style.h"
#include "tools/doctor/facts.h"
#include "vipctl.h"

/* Where the sentences begin: "  OK  privileges  ". */
#define INDENT 18

static void show_more(const char *label, const char *more)
{
	if (!more)
		return;
	printf("%*s%s ", INDENT, "", label);
	text_wrap(stdout, more, INDENT + (int)strlen(label) + 1);
}

static void show_finding(json_object *o)
{
	const char *severity = get_text(o, "severity", "?");
	enum style style = style_of(severity);

	printf("  %s%s%s  %-10s  ", style_begin(style), style_sign(severity), style_end(style),
		get_text(o, "check", "?"));
	text_wrap(stdout, get_text(o, "text", "?"), INDENT);
	show_more("seen:", get_text(o, "evidence", NULL));
	show_more("mend:", get_text(o, "mend", NULL));
}

static void show_verdict(const struct findings *f)
{
	size_t n_errors = findings_count(f, SEVERITY_ERROR);
	size_t n_warnings = findings_count(f, SEVERITY_WARNING);

	if (n_errors + n_warnings == 0)
		puts("\nNothing is wrong on this node.");
	else
		printf("\n%zu error%s, %zu warning%s. vipctl why VIP follows one VIP from its "
		       "label "
		       "to the kernel.\n",
			n_errors, n_errors == 1 ? "" : "s", n_warnings, n_warnings == 1 ? "" : "s");
}

static void show(const struct findings *f, bool all)
{
	for (size_t i = 0; i < get_length(f->list); i++) {
		json_object *o = json_object_array_get_idx(f->list, i);

		if (all || strcmp(get_text(o, "severity", ""), "ok") != 0)
			show_finding(o);
	}
	show_verdict(f);
}

static void show_json(const struct findings *f)
{
	json_object *o = json_object_new_object();

	json_object_object_add(o, "ok", json_object_new_boolean(f->worst < SEVERITY_WARNING));
	json_object_object_add(o, "worst", json_object_new_string(severity_name(f->worst)));
	json_object_object_add(o, "findings", json_object_get(f->list));
	print_json(o);
	json_object_put(o);
}

int run_doctor(const struct options *o, int argc, char **argv)
{
	bool quiet = argc > 0;
	struct findings findings;
	struct facts facts;
	int status;

	for (int i = 0; i < argc; i++)
		if (strcmp(argv[i], "--quiet") != 0) {
			fprintf(stderr, "vipctl doctor: unknown argument %s\n", argv[i]);
			return 2;
		}
	facts_gather(&facts, o->socket);
	findings_init(&findings);
	checks_run(&facts, &findings);
	if (o->json) {
		show_json(&findings);
	} else {
		disarm_answer(findings.list);
		show(&findings, !quiet);
	}
	status = findings.worst >= SEVERITY_WARNING;
	findings_done(&findings);
	facts_done(&facts);
	return status;
}
