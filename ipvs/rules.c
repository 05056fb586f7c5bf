/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is there is read from iptables-save's text: for each chain of ours its rules as printed,
 * and for each built-in chain the places of our jump. Rules are compared as text, in the form
 * in which iptables-save prints them (the same in its legacy and nft variants), so the lines
 * below keep to that form. If some version should print one differently, the script is
 * written again at each check, which changes nothing but costs two processes.
 *
 * Declaring a chain in a --noflush restore empties it, and the whole is one transaction per
 * table: there is no moment without the rules. Only the jumps need care, since a second
 * -I would add a second one: those that stand wrongly are deleted first, as often as they were
 * seen.
 */
#include "rules.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N(a) (sizeof(a) / sizeof(*(a)))
#define MAX_RULES 6
#define RULE_MAX 160

/* One chain of ours and the built-in chain that leads there. */
struct chain {
	const char *table, *name, *parent;
};

static const struct chain chains[] = {
	{"nat", "VIPD-PREROUTING", "PREROUTING"},
	{"nat", "VIPD-OUTPUT", "OUTPUT"},
	{"nat", "VIPD-POSTROUTING", "POSTROUTING"},
	{"filter", "VIPD-INPUT", "INPUT"},
};
static const char *const tables[] = {"nat", "filter"};

struct rules {
	size_t n;
	char text[MAX_RULES][RULE_MAX]; /* without "-A CHAIN " */
};

__attribute__((format(printf, 2, 3))) static void add(struct rules *r, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(r->text[r->n++], RULE_MAX, format, ap);
	va_end(ap);
}

static void input_rules(const struct rules_options *o, struct rules *r)
{
	bool v6 = o->family == AF_INET6;

	add(r, "-m set ! --match-set %s dst -j RETURN", v6 ? "vipd-ip6" : "vipd-ip");
	add(r, "-m set --match-set %s dst,dst -j RETURN", v6 ? "vipd6" : "vipd");
	add(r, "-p %s -j RETURN", v6 ? "ipv6-icmp" : "icmp"); /* ping and path MTU */
	add(r, "-p tcp -j REJECT --reject-with tcp-reset");
	add(r, "-j REJECT --reject-with %s",
		v6 ? "icmp6-port-unreachable" : "icmp-port-unreachable");
}

/* The rules that belong into this chain. */
static struct rules wanted_rules(const struct rules_options *o, const struct chain *c)
{
	const char *set = o->family == AF_INET6 ? "vipd6" : "vipd";
	struct rules r = {0};

	if (strcmp(c->parent, "INPUT") == 0) {
		input_rules(o, &r);
	} else if (strcmp(c->parent, "POSTROUTING") == 0) {
		if (o->masquerade)
			add(&r, "-m mark --mark 0x%x/0x%x -j MASQUERADE", o->mark, o->mark);
	} else {
		if (o->masquerade && strcmp(c->parent, "PREROUTING") == 0)
			add(&r, "-m set --match-set %s dst,dst -j MARK --set-xmark 0x%x/0x%x", set,
				o->mark, o->mark);
		add(&r, "-m set --match-set %s dst,dst -j ACCEPT", set);
	}
	return r;
}

/* --- reading iptables-save ------------------------------------------------- */

/* What is there of one chain. */
struct found {
	bool declared;
	bool same; /* the rules are the wanted ones, in order */
	size_t n_rules;
	size_t n_jumps;  /* from the parent */
	bool first;      /* one of them is the parent's first rule */
	size_t n_parent; /* rules of the parent seen so far */
};

/* If `line` is "-A CHAIN rest", returns rest. */
static const char *rule_of(const char *line, const char *chain)
{
	size_t n = strlen(chain);

	if (strncmp(line, "-A ", 3) != 0 || strncmp(line + 3, chain, n) != 0 || line[3 + n] != ' ')
		return NULL;
	return line + 4 + n;
}

/* True if the line (ended by a newline or NUL) is this text; trailing blanks do not count. */
static bool line_is(const char *line, const char *text)
{
	size_t n = strcspn(line, "\n");

	while (n && line[n - 1] == ' ')
		n--;
	return strlen(text) == n && strncmp(line, text, n) == 0;
}

static void read_line(
	const struct chain *c, const struct rules *want, const char *line, struct found *f)
{
	char jump[64], declaration[64];
	const char *rest;

	snprintf(jump, sizeof(jump), "-j %s", c->name);
	snprintf(declaration, sizeof(declaration), ":%s ", c->name);
	if (strncmp(line, declaration, strlen(declaration)) == 0)
		f->declared = true;
	rest = rule_of(line, c->name);
	if (rest) {
		if (f->n_rules >= want->n || !line_is(rest, want->text[f->n_rules]))
			f->same = false;
		f->n_rules++;
	}
	rest = rule_of(line, c->parent);
	if (rest) {
		if (line_is(rest, jump)) {
			f->n_jumps++;
			f->first |= f->n_parent == 0;
		}
		f->n_parent++;
	}
}

static struct found find_chain(const struct chain *c, const struct rules *want, const char *saved)
{
	struct found f = {.same = true};
	bool in_table = false;

	for (const char *line = saved; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		if (*line == '*')
			in_table = line_is(line + 1, c->table);
		else if (in_table)
			read_line(c, want, line, &f);
	}
	if (f.n_rules != want->n)
		f.same = false;
	return f;
}

/* --- writing --------------------------------------------------------------- */

static bool is_complete(const struct found *f)
{
	return f->declared && f->same && f->n_jumps == 1 && f->first;
}

static void write_chain(
	FILE *out, const struct chain *c, const struct rules *want, const struct found *f)
{
	for (size_t i = 0; i < want->n; i++)
		fprintf(out, "-A %s %s\n", c->name, want->text[i]);
	if (f->n_jumps == 1 && f->first)
		return;
	for (size_t i = 0; i < f->n_jumps; i++)
		fprintf(out, "-D %s -j %s\n", c->parent, c->name);
	fprintf(out, "-I %s 1 -j %s\n", c->parent, c->name);
}

/* All chains of one table, if any of them is not as it should be. */
static void write_table(
	FILE *out, const struct rules_options *o, const char *table, const char *saved)
{
	struct found found[N(chains)];
	struct rules want[N(chains)];
	bool complete = true;

	for (size_t i = 0; i < N(chains); i++) {
		if (strcmp(chains[i].table, table) != 0)
			continue;
		want[i] = wanted_rules(o, &chains[i]);
		found[i] = find_chain(&chains[i], &want[i], saved);
		complete &= is_complete(&found[i]);
	}
	if (complete)
		return;
	fprintf(out, "*%s\n", table);
	for (size_t i = 0; i < N(chains); i++)
		if (strcmp(chains[i].table, table) == 0)
			fprintf(out, ":%s - [0:0]\n", chains[i].name);
	for (size_t i = 0; i < N(chains); i++)
		if (strcmp(chains[i].table, table) == 0)
			write_chain(out, &chains[i], &want[i], &found[i]);
	fputs("COMMIT\n", out);
}

static int finish(FILE *out, char **text, char **ret)
{
	if (fclose(out) != 0) {
		free(*text);
		return -ENOMEM;
	}
	if (!**text) {
		free(*text);
		*text = NULL;
	}
	*ret = *text;
	return 0;
}

int rules_script(const struct rules_options *options, const char *saved, char **ret)
{
	char *text = NULL;
	size_t n;
	FILE *out = open_memstream(&text, &n);

	if (!out)
		return -ENOMEM;
	for (size_t i = 0; i < N(tables); i++)
		write_table(out, options, tables[i], saved);
	return finish(out, &text, ret);
}

static void remove_table(FILE *out, const char *table, const char *saved)
{
	static const struct rules none;
	bool begun = false;

	for (size_t i = 0; i < N(chains); i++) {
		struct found f = find_chain(&chains[i], &none, saved);

		if (strcmp(chains[i].table, table) != 0 || (!f.declared && !f.n_jumps))
			continue;
		if (!begun)
			fprintf(out, "*%s\n", table);
		begun = true;
		fprintf(out, ":%s - [0:0]\n", chains[i].name);
		for (size_t k = 0; k < f.n_jumps; k++)
			fprintf(out, "-D %s -j %s\n", chains[i].parent, chains[i].name);
		fprintf(out, "-X %s\n", chains[i].name);
	}
	if (begun)
		fputs("COMMIT\n", out);
}

int rules_removal(const char *saved, char **ret)
{
	char *text = NULL;
	size_t n;
	FILE *out = open_memstream(&text, &n);

	if (!out)
		return -ENOMEM;
	for (size_t i = 0; i < N(tables); i++)
		remove_table(out, tables[i], saved);
	return finish(out, &text, ret);
}
