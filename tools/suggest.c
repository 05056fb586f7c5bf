/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "suggest.h"

#include <string.h>

/* Longer words are not compared: nobody mistypes a task's id by hand. */
#define LENGTH_MAX 128

static size_t min(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Insertions, deletions, changes and swaps of neighbours between two words (Damerau and Levenshtein,
 * of neighbours that are edited once). */
static size_t distance(const char *a, const char *b)
{
	static size_t rows[3][LENGTH_MAX + 1];
	size_t n = strlen(b), *two = rows[0], *last = rows[1], *now = rows[2];

	for (size_t k = 0; k <= n; k++)
		last[k] = k;
	for (size_t i = 1; a[i - 1]; i++) {
		size_t *spare = two;

		now[0] = i;
		for (size_t k = 1; k <= n; k++) {
			now[k] = min(
				min(last[k], now[k - 1]) + 1, last[k - 1] + (a[i - 1] != b[k - 1]));
			if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1])
				now[k] = min(now[k], two[k - 2] + 1);
		}
		two = last;
		last = now;
		now = spare;
	}
	return last[n];
}

void suggest_begin(struct suggestion *s, const char *word)
{
	size_t n = strlen(word);

	/* A third of the letters may be wrong, or one of very few: everything is like a short word. */
	*s = (struct suggestion){.word = word, .distance = (n < 3 ? 1 : n / 3) + 1};
}

void suggest_offer(struct suggestion *s, const char *candidate)
{
	size_t n = strlen(s->word), d;

	if (n == 0 || n > LENGTH_MAX || strlen(candidate) > LENGTH_MAX)
		return;
	/* What it begins with, or a word of it: "redis" for "redis.marathon". */
	d = n >= 3 && strstr(candidate, s->word) ? 1 : distance(s->word, candidate);
	if (d >= s->distance)
		return;
	s->distance = d;
	s->best = candidate;
}
