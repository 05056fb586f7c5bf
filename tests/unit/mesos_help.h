/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * Documents and tables as short texts. In documents ' stands for ", so that they can be read
 * inside C. A table is one line per VIP and family:
 *
 *   tcp 11.202.66.36:6379 redis.marathon: 10.0.0.5:31000*1, 10.0.0.6:31001*0
 *
 * with "name" only for named VIPs, *weight behind each backend, and "=local endpoint" behind
 * that where the backend is reached otherwise on its own node.
 */
#include "agent/source/names.h"
#include "agent/source/vip_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline char *quoted(const char *text)
{
	char *s = strdup(text);

	for (char *p = s; *p; p++)
		if (*p == '\'')
			*p = '"';
	return s;
}

/* Reads a document fed in pieces of `piece` bytes (0: at once). NULL: *ret_error is set. */
static inline struct mesos_state *read_pieces(const char *doc, size_t n, size_t piece,
	const struct mesos_limits *limits, char ret_error[200])
{
	struct mesos_parser *p = mesos_parser_new(limits, NULL);
	struct mesos_state *s = NULL;
	int r = 0;

	for (size_t at = 0; r == 0 && at < n;) {
		size_t m = piece && piece < n - at ? piece : n - at;
		char *copy = malloc(m); /* so that a sanitizer sees reads beyond it */

		memcpy(copy, doc + at, m);
		r = mesos_parser_feed(p, copy, m);
		free(copy);
		at += m;
	}
	if (r == 0)
		r = mesos_parser_finish(p, NULL, &s);
	snprintf(ret_error, 200, "%s", r < 0 ? mesos_parser_error(p) : "");
	mesos_parser_free(p);
	return s;
}

static inline struct mesos_state *read_doc(const char *text, char ret_error[200])
{
	char *doc = quoted(text);
	struct mesos_state *s = read_pieces(doc, strlen(doc), 0, NULL, ret_error);

	free(doc);
	return s;
}

static inline void list_backend(FILE *f, const struct vip_backend *b)
{
	char text[ENDPOINT_STRLEN];

	fprintf(f, "%s*%u", endpoint_format(&b->address, b->port, text), b->weight);
	if (ip_addr_cmp(&b->address, &b->local_address) != 0 || b->port != b->local_port)
		fprintf(f, "=%s", endpoint_format(&b->local_address, b->local_port, text));
}

static inline char *table_list(const struct vip_table *t)
{
	char *text = NULL, key[SERVICE_KEY_STRLEN];
	size_t size;
	FILE *f = open_memstream(&text, &size);

	for (size_t i = 0; i < t->n_vips; i++) {
		const struct vip *v = &t->vips[i];

		fprintf(f, "%s%s", i ? "\n" : "", service_key_format(&v->key, key));
		if (v->name)
			fprintf(f, " %.*s", (int)(strlen(v->name) - strlen("." NAMES_SUFFIX)),
				v->name);
		for (size_t j = 0; j < v->n_backends; j++) {
			fputs(j ? ", " : ": ", f);
			list_backend(f, &v->backends[j]);
		}
	}
	fclose(f);
	return text;
}

/* The table of a document as text; "error: ..." if it is refused. Rejections in *ret if given. */
static inline char *table_of(
	const char *text, const struct vip_table_options *options, size_t *ret_rejected)
{
	char error[200], *list;
	struct mesos_state *s = read_doc(text, error);
	struct vip_table *t;

	if (!s) {
		if (asprintf(&list, "error: %s", error) < 0)
			abort();
		return list;
	}
	t = vip_table_build(s, options);
	mesos_state_free(s);
	list = table_list(t);
	if (ret_rejected)
		memcpy(ret_rejected, t->n_rejected, sizeof t->n_rejected);
	vip_table_free(t);
	return list;
}
