/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/source/json_runs.h"

/* A state document has some hundred runs and fifty places. */
#define PLACES_MAX ((size_t)512)
#define RUNS_MAX ((size_t)1024)
#define SLOTS (2 * RUNS_MAX) /* a power of two */
/* Slots looked at for a run, which else is not remembered: whoever writes runs can choose their
 * slots. */
#define PROBES_MAX ((size_t)32)

static void *zeroed(size_t n, size_t size)
{
	void *p = calloc(n, size);

	if (!p)
		abort();
	return p;
}

static void forget(struct json_runs *r)
{
	r->full = false;
	r->roots = JSON_PLACE_NONE;
	r->n_places = r->n_runs = 0;
	memset(r->slots, 0, SLOTS * sizeof(*r->slots));
}

void json_runs_init(struct json_runs *r)
{
	r->places = zeroed(PLACES_MAX, sizeof(*r->places));
	r->runs = zeroed(RUNS_MAX, sizeof(*r->runs));
	r->slots = zeroed(SLOTS, sizeof(*r->slots));
	forget(r);
}

void json_runs_done(struct json_runs *r)
{
	free(r->places);
	free(r->runs);
	free(r->slots);
	*r = (struct json_runs){0};
}

static int16_t place_new(struct json_runs *r, int16_t *list, const struct json_place *place)
{
	if (r->n_places == PLACES_MAX) {
		r->full = true;
		return JSON_PLACE_NONE;
	}
	r->places[r->n_places] = *place;
	r->places[r->n_places].beside = *list;
	r->places[r->n_places].inside = JSON_PLACE_NONE;
	return *list = (int16_t)r->n_places++;
}

static struct json_run *run_new(struct json_runs *r)
{
	if (r->n_runs == RUNS_MAX) {
		r->full = true;
		return NULL;
	}
	return &r->runs[r->n_runs++];
}

struct json_run *json_runs_start(struct json_runs *r, int16_t node, size_t depth)
{
	struct json_place place = {.up = JSON_PLACE_NONE, .node = node, .depth = (uint16_t)depth};
	int16_t i;

	if (r->full)
		forget(r);
	for (i = r->roots; i != JSON_PLACE_NONE; i = r->places[i].beside)
		if (r->places[i].node == node && r->places[i].depth == depth)
			return r->places[i].start;
	place.start = run_new(r);
	i = place_new(r, &r->roots, &place);
	if (place.start)
		*place.start = (struct json_run){.to = i};
	return place.start;
}

int16_t json_runs_open(struct json_runs *r, int16_t up, int16_t node, bool object)
{
	struct json_place place = {.up = up, .node = node, .object = object};

	if (up == JSON_PLACE_NONE)
		return JSON_PLACE_NONE;
	for (int16_t i = r->places[up].inside; i != JSON_PLACE_NONE; i = r->places[i].beside)
		if (r->places[i].node == node && r->places[i].object == object)
			return i;
	place.depth = r->places[up].depth + 1;
	return place_new(r, &r->places[up].inside, &place);
}

/* FNV-1a, with a last mix for the low bits. */
static uint32_t hash_run(const struct json_run *run)
{
	uint32_t h = 2166136261u ^ (uint32_t)run->from;

	for (size_t i = 0; i < run->n_text; i++)
		h = (h ^ (unsigned char)run->text[i]) * 16777619u;
	h = (h ^ run->then) * 16777619u;
	return h ^ h >> 15;
}

static bool is_same(const struct json_run *a, const struct json_run *b)
{
	return a->from == b->from && a->then == b->then && a->n_text == b->n_text &&
	       memcmp(a->text, b->text, a->n_text) == 0;
}

static struct json_run *find_or_add(struct json_runs *r, const struct json_run *run)
{
	uint32_t i = hash_run(run) % SLOTS;
	struct json_run *added;

	for (size_t n = 0; r->slots[i]; i = (i + 1) % SLOTS, n++)
		if (n == PROBES_MAX)
			return NULL;
		else if (is_same(&r->runs[r->slots[i] - 1], run))
			return &r->runs[r->slots[i] - 1];
	added = run_new(r);
	if (!added)
		return NULL;
	*added = *run;
	added->next[0] = added->next[1] = NULL;
	added->last = 0;
	memset(&added->last, 0xff, run->n_text % sizeof(added->last));
	r->slots[i] = (uint16_t)r->n_runs;
	return added;
}

struct json_run *json_runs_learn(
	struct json_runs *r, struct json_run *before, const struct json_run *run)
{
	struct json_run *known = find_or_add(r, run);

	if (known && before && before->next[0] != known) {
		before->next[1] = before->next[0];
		before->next[0] = known;
	}
	return known;
}
