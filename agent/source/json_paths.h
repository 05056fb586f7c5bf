/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
/*
 * Which values of a document are wanted: a table of paths, made into a tree that a scanner goes
 * down key by key.
 *
 * A path names members by keys joined with dots, "[]" being every element of an array:
 * "frameworks[].tasks[]".
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The value is told to `events.begin` when it begins. */
#define JSON_PATH_BEGIN 1u
/* The value is collected and given to `events.element` when it is complete. */
#define JSON_PATH_ELEMENT 2u
/* For paths inside an element: if the value is a string that begins with "vip" in any case, the
 * element is `watched`. */
#define JSON_PATH_WATCH 4u
/* For paths inside an element: the value is its `mark`. */
#define JSON_PATH_MARK 8u

struct json_path {
	const char *path; /* NULL ends a table */
	unsigned flags;
	/* For an element: the paths inside it that are wanted, the element's tokens being those
	 * of these values and what is around them. Of a value with no longer path below it only
	 * a scalar is taken whole: an object or array is given as if it were empty. NULL:
	 * nothing inside is wanted. */
	const struct json_path *inner;
};

#define JSON_NODE_NONE (-1)
/* Nodes of all paths of a table; vipd's have about 110. */
#define JSON_NODES_MAX 160
/* Longer keys are in no table. */
#define JSON_KEY_MAX 32
/* Lists in which a node's children stand, by length and first letter of their keys: of the
 * keys in a task most then need no comparison, and the others one. */
#define JSON_NODE_BUCKETS 16

struct json_node {
	const char *key; /* NULL: the elements of an array */
	uint8_t n_key;
	uint8_t field; /* the key's number; inside elements only */
	uint8_t flags;
	uint8_t bit;  /* its number among its siblings */
	int16_t path; /* index into the table; NONE for those inside an element */
	int16_t parent, array_child;
	int16_t next; /* of the children of one parent in one bucket */
	uint8_t n_children;
	int16_t children[JSON_NODE_BUCKETS];
};

struct json_paths {
	size_t n;
	struct json_node nodes[JSON_NODES_MAX]; /* the first is the document */
};

/* `fields`: the keys inside elements by their numbers, NULL at the end; the first is for what
 * has none. Both tables must outlive the tree. Aborts if they are not valid. */
void json_paths_compile(
	struct json_paths *p, const struct json_path *table, const char *const *fields);
/* True if `path` is `ancestor` or below it; both are indices into the table. */
bool json_paths_within(const struct json_paths *p, size_t path, size_t ancestor);

static inline size_t json_paths_bucket(const char *key, size_t n_key)
{
	return n_key ? (n_key * 5 + (unsigned char)*key) % JSON_NODE_BUCKETS : 0;
}

/* The node of an object's member, or NONE. */
static inline int16_t json_paths_child(
	const struct json_paths *p, int16_t parent, const char *key, size_t n_key)
{
	int16_t i = p->nodes[parent].children[json_paths_bucket(key, n_key)];

	for (; i != JSON_NODE_NONE; i = p->nodes[i].next)
		if (p->nodes[i].n_key == n_key && memcmp(p->nodes[i].key, key, n_key) == 0)
			break;
	return i;
}
