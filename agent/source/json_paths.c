/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/source/json_paths.h"

#include <stdlib.h>

#define NONE JSON_NODE_NONE

static void node_init(struct json_node *n)
{
	*n = (struct json_node){.path = NONE, .parent = NONE, .array_child = NONE, .next = NONE};
	for (size_t i = 0; i < JSON_NODE_BUCKETS; i++)
		n->children[i] = NONE;
}

static int16_t node_new(struct json_paths *p, int16_t parent, const char *key, size_t n_key)
{
	struct json_node *n = &p->nodes[p->n], *up = &p->nodes[parent];
	int16_t *list = &up->children[json_paths_bucket(key, n_key)];

	if (p->n == JSON_NODES_MAX || n_key > JSON_KEY_MAX || up->n_children == 32)
		abort();
	node_init(n);
	n->key = key;
	n->n_key = (uint8_t)n_key;
	n->parent = parent;
	if (!key)
		return up->array_child = (int16_t)p->n++;
	n->bit = up->n_children++;
	n->next = *list;
	return *list = (int16_t)p->n++;
}

static int16_t node_of_path(struct json_paths *p, int16_t root, const char *path)
{
	int16_t at = root;

	while (*path) {
		size_t n = strcspn(path, ".[");
		int16_t next;

		if (n) {
			next = json_paths_child(p, at, path, n);
			at = next != NONE ? next : node_new(p, at, path, n);
			path += n;
		}
		while (strncmp(path, "[]", 2) == 0) {
			next = p->nodes[at].array_child;
			at = next != NONE ? next : node_new(p, at, NULL, 0);
			path += 2;
		}
		path += *path == '.';
	}
	return at;
}

static uint8_t field_number(const char *const *fields, const char *key, size_t n_key)
{
	for (uint8_t i = 1; fields[i]; i++)
		if (strlen(fields[i]) == n_key && memcmp(fields[i], key, n_key) == 0)
			return i;
	abort();
}

static void compile_inner(struct json_paths *p, int16_t root, const struct json_path *inner,
	const char *const *fields)
{
	size_t first = p->n;

	for (; inner->path; inner++)
		p->nodes[node_of_path(p, root, inner->path)].flags |= (uint8_t)inner->flags;
	for (size_t i = first; i < p->n; i++)
		if (p->nodes[i].key)
			p->nodes[i].field =
				field_number(fields, p->nodes[i].key, p->nodes[i].n_key);
}

static void nodes_share(struct json_paths *p, int16_t at, int16_t same)
{
	p->nodes[at].n_children = p->nodes[same].n_children;
	memcpy(p->nodes[at].children, p->nodes[same].children, sizeof(p->nodes[at].children));
}

/* An element's inner paths hang below its node; elements with the same table share them. */
void json_paths_compile(
	struct json_paths *p, const struct json_path *table, const char *const *fields)
{
	p->n = 1;
	node_init(&p->nodes[0]);
	for (size_t i = 0; table[i].path; i++) {
		int16_t at = node_of_path(p, 0, table[i].path), same = NONE;

		p->nodes[at].flags = (uint8_t)table[i].flags;
		p->nodes[at].path = (int16_t)i;
		if (!table[i].inner)
			continue;
		for (size_t j = 0; j < i && same == NONE; j++)
			if (table[j].inner == table[i].inner)
				same = node_of_path(p, 0, table[j].path);
		if (same == NONE)
			compile_inner(p, at, table[i].inner, fields);
		else
			nodes_share(p, at, same);
	}
}

bool json_paths_within(const struct json_paths *p, size_t path, size_t ancestor)
{
	for (size_t i = 0; i < p->n; i++) {
		if (p->nodes[i].path != (int16_t)path)
			continue;
		for (int16_t at = (int16_t)i; at != NONE; at = p->nodes[at].parent)
			if (p->nodes[at].path == (int16_t)ancestor)
				return true;
		return false;
	}
	return false;
}
