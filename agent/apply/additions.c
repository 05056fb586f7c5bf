/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/apply/additions.h"

#include "agent/util.h"

/* The steps of one service. */
struct group {
	const struct step *first;
	size_t n;
	uint32_t place;
};

static size_t find_groups(
	const struct step *steps, size_t n, const struct kernel_state *lost, struct group *groups)
{
	size_t n_groups = 0;

	for (size_t i = 0; i < n; i++) {
		const struct service *svc;

		if (i > 0 && service_key_equal(&steps[i].key, &steps[i - 1].key)) {
			groups[n_groups - 1].n++;
			continue;
		}
		svc = kernel_state_find(lost, &steps[i].key);
		groups[n_groups++] = (struct group){&steps[i], 1, svc ? svc->place : 0};
	}
	return n_groups;
}

static int cmp_group(const void *a, const void *b)
{
	const struct group *x = a, *y = b;

	if (x->place != y->place)
		return x->place > y->place ? -1 : 1;
	return x->first < y->first ? -1 : 1;
}

static void sort_run(struct step *steps, size_t n, const struct kernel_state *lost)
{
	size_t n_groups, k = 0;
	AUTO_FREE struct group *groups = xcalloc(n, sizeof(*groups));
	AUTO_FREE struct step *sorted = xcalloc(n, sizeof(*sorted));

	n_groups = find_groups(steps, n, lost, groups);
	qsort(groups, n_groups, sizeof(*groups), cmp_group);
	for (size_t i = 0; i < n_groups; i++) {
		memcpy(&sorted[k], groups[i].first, groups[i].n * sizeof(*sorted));
		k += groups[i].n;
	}
	memcpy(steps, sorted, n * sizeof(*sorted));
}

void additions_sort(struct plan *p, const struct kernel_state *lost)
{
	for (size_t i = 0, n; i < p->n_steps; i += n) {
		n = 1;
		if (p->steps[i].kind != STEP_DESTINATION_ADD)
			continue;
		while (i + n < p->n_steps && p->steps[i + n].kind == STEP_DESTINATION_ADD)
			n++;
		sort_run(&p->steps[i], n, lost);
	}
}
