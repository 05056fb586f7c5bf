/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * States: idle (nothing planned), applying (steps left) and reading (after a failure). A wanted state or an audit makes
 * a plan; on_portion(), a deferred source of the loop, applies some steps, measures how
 * long that took and sizes the next portion by it, so that the loop is never held much longer
 * than PORTION_TARGET.
 *
 * While the kernel is in step, a change is planned from the state wanted before, which shares most
 * services with the new one, so that only the others are looked at. In all other cases the
 * plan is from what the kernel is known to hold.
 *
 * A step that fails ends its plan: the rest was made for a kernel in which it succeeded. The
 * kernel is read anew, beside the loop since that may take seconds, and a second plan is made from
 * what is really there; what is wanted meanwhile waits for it. An address whose steps fail again is
 * set aside, and the others go on without it. What is set aside is tried again after a growing while
 * and at every audit: an IPv6 address of this node is no source of routes during its first second or
 * two. Failing is logged when it begins and when it ends.
 */
#include "agent/apply/reconcile.h"

#include <errno.h>

#include "agent/apply/additions.h"
#include "agent/apply/wanted.h"
#include "agent/log.h"

/* How long one portion of steps may hold the loop: it also answers clients. */
#define PORTION_TARGET (3 * NSEC_PER_MSEC)
#define PORTION_MAX 512
/* The first destinations that a plan adds: nobody knows what they cost. The kernel looks each up in
 * its list of deleted ones: 2 us if that is empty, some ms if a large table has just gone. */
#define PORTION_UNPRICED 32
/* A reading this old says what services there are. */
#define FRESH (100 * NSEC_PER_MSEC)
/* New services that are looked up one by one; for more the list of all is cheaper. */
#define LOOKED_UP 64
/* A portion's errors that are kept with their step; more are counted only. */
#define ERRORS_KEPT 64
/* Log lines about failing steps of one wanted state; the rest is summed up. */
#define ERRORS_LOGGED 5
/* Plans for one wanted state. Each reads the kernel; what has not been found by then waits for
 * the next audit. */
#define ATTEMPTS 5
/* Until what failed is tried again, the first time and at most; each time is twice the last. Each
 * costs a reading of the kernel. */
#define RETRY_MIN (500 * NSEC_PER_MSEC)
#define RETRY_MAX (30 * NSEC_PER_SEC)

/* An audit or a reading, what it was given, and whose it is. */
struct audit_job {
	struct audit audit;
	struct reconcile *reconcile; /* NULL: freed meanwhile */
	struct wanted *want;
	uint64_t generation;
};

struct reconcile {
	sd_event *loop;
	struct kernel *kernel;
	struct kernel_options kernel_options;
	struct plan_options options;
	struct auditor *auditor;
	struct reconcile_handler handler;
	struct reconcile_stats stats;
	struct kernel_state *have;
	struct kernel_state
		*lost; /* while a repair runs: what was there before others changed it */
	struct wanted *want;
	uint64_t generation; /* moves with every portion and wanted state: what an audit saw is old
			      */
	struct audit_job *job;     /* an audit under way */
	struct audit_job *reading; /* after a failure: nothing is applied until it is back */
	struct plan plan;
	size_t cursor;        /* next step of the plan */
	size_t portion;       /* steps of the next portion */
	size_t n_errors;      /* of the plan in force */
	size_t n_logged;      /* errors of this wanted state that were logged */
	size_t n_skipped;     /* steps left out of the plan in force: their address is set aside */
	unsigned int attempt; /* plans made for this wanted state, this one included */
	size_t n_aside, aside_allocated;
	struct ip_addr *aside; /* addresses whose steps failed twice */
	bool auditing;         /* this plan repairs what others changed */
	bool in_step;          /* nothing is left of `want` */
	bool priced;           /* this plan has begun to add destinations */
	bool failing;          /* a plan ended with errors, and that was logged */
	nsec_t last_read;      /* when `have` was last read as a whole */
	nsec_t since;          /* when the cause of the wanted state came in */
	nsec_t retry_delay;    /* of the next retry */
	sd_event_source *defer, *retry;
};

const struct reconcile_stats *reconcile_stats(const struct reconcile *r)
{
	return &r->stats;
}

const struct kernel_state *reconcile_have(const struct reconcile *r)
{
	return r->have;
}

bool reconcile_in_step(const struct reconcile *r)
{
	return r->in_step;
}

struct wanted *reconcile_wanted(const struct reconcile *r)
{
	return r->want;
}

const struct service_key *reconcile_conflicts(const struct reconcile *r, size_t *ret_n)
{
	*ret_n = r->plan.n_conflicts;
	return r->plan.conflicts;
}

static void take_reading(struct reconcile *r, struct kernel_state *fresh)
{
	kernel_state_free(r->have);
	r->have = fresh;
	r->last_read = now_ns();
}

static int read_kernel(struct reconcile *r)
{
	struct kernel_state *fresh;
	int n = kernel_read(r->kernel, &fresh);

	if (n < 0)
		return n;
	take_reading(r, fresh);
	r->stats.n_reads++;
	return 0;
}

static void log_conflicts(const struct plan *p, size_t n_before)
{
	char buf[SERVICE_KEY_STRLEN];

	if (p->n_conflicts <= n_before)
		return;
	log_warning("%zu wanted VIPs are services that someone else made, and are left alone: %s%s",
		p->n_conflicts, service_key_format(&p->conflicts[0], buf),
		p->n_conflicts > 1 ? ", ..." : "");
}

static bool is_aside(const struct reconcile *r, const struct step *step)
{
	const struct ip_addr *a = step_address(step);

	for (size_t i = 0; a && i < r->n_aside; i++)
		if (ip_addr_cmp(a, &r->aside[i]) == 0)
			return true;
	return false;
}

static void set_aside(struct reconcile *r, const struct step *step)
{
	const struct ip_addr *a = step_address(step);

	if (!a || is_aside(r, step))
		return;
	if (r->n_aside == r->aside_allocated) {
		r->aside_allocated = r->aside_allocated ? 2 * r->aside_allocated : 8;
		r->aside = xrealloc(r->aside, r->aside_allocated, sizeof(*r->aside));
	}
	r->aside[r->n_aside++] = *a;
}

/* Takes the steps for addresses that are set aside out of the plan. */
static void skip_aside(struct reconcile *r)
{
	struct plan *p = &r->plan;
	size_t kept = 0;

	for (size_t i = 0; r->n_aside && i < p->n_steps; i++)
		if (!is_aside(r, &p->steps[i]))
			p->steps[kept++] = p->steps[i];
	r->n_skipped = r->n_aside ? p->n_steps - kept : 0;
	p->n_steps -= r->n_skipped;
}

static void run_plan(struct reconcile *r)
{
	if (r->lost)
		additions_sort(&r->plan, r->lost);
	r->stats.n_conflicts = r->plan.n_conflicts;
	r->cursor = 0;
	r->n_errors = 0;
	r->priced = false;
	r->attempt++;
	r->stats.busy = true;
	sd_event_source_set_enabled(r->defer, SD_EVENT_ON);
}

static void make_plan(struct reconcile *r)
{
	plan_done(&r->plan);
	if (plan_make(&r->plan, r->have, r->want->state, &r->options) < 0)
		abort(); /* out of memory, as everywhere in agent/ */
}

static int cmp_key(const void *a, const void *b)
{
	return service_key_cmp(a, b);
}

/* Takes over into `have` a service that turned up in the kernel. */
static void meet(struct reconcile *r, const struct service *stranger)
{
	struct service *svc = kernel_state_service(r->have, &stranger->key);

	if (!svc)
		abort();
	memcpy(svc->scheduler, stranger->scheduler, sizeof(svc->scheduler));
	svc->flags = stranger->flags;
	svc->timeout = stranger->timeout;
	svc->netmask = stranger->netmask;
	for (size_t i = 0; i < stranger->n_destinations; i++)
		if (service_set_destination(svc, &stranger->destinations[i]) < 0)
			abort();
}

/*
 * Others may have made services since the kernel was last read. One that stands where a VIP is to
 * come must be known before the VIP's first command: its destinations would end up in that
 * service. True if there are such.
 */
static bool meet_strangers(struct reconcile *r)
{
	AUTO_FREE struct service_key *keys = xcalloc(r->plan.n_steps, sizeof(*keys));
	struct kernel_state *there = NULL;
	size_t n = 0;
	bool any = false;
	int x;

	for (size_t i = 0; i < r->plan.n_steps; i++)
		if (r->plan.steps[i].kind == STEP_SERVICE_ADD)
			keys[n++] = r->plan.steps[i].key;
	if (n == 0 || now_ns() - r->last_read < FRESH)
		return false;
	qsort(keys, n, sizeof(*keys), cmp_key);
	x = n <= LOOKED_UP ? kernel_read_services(r->kernel, keys, n, &there)
			   : kernel_read_parts(r->kernel, KERNEL_SERVICES, &there);
	if (x < 0)
		return false; /* then the commands themselves will tell */
	for (size_t i = 0; i < there->n_services; i++) {
		const struct service *svc = there->services[i];

		if (!bsearch(&svc->key, keys, n, sizeof(*keys), cmp_key))
			continue;
		meet(r, svc);
		any = true;
	}
	kernel_state_free(there);
	return any;
}

/* Plans from what is there to what is wanted, and starts applying it. */
static void replan(struct reconcile *r)
{
	size_t n_conflicts = r->stats.n_conflicts;

	make_plan(r);
	if (meet_strangers(r))
		make_plan(r);
	skip_aside(r);
	log_conflicts(&r->plan, n_conflicts);
	run_plan(r);
}

/* A wanted state, or an audit, begins: nothing of it has failed yet. */
static void begin(struct reconcile *r, nsec_t since)
{
	r->in_step = false;
	r->since = since;
	r->attempt = 0;
	r->n_logged = 0;
}

/* They are the largest thing in memory after a start. */
static void drop_steps(struct plan *p)
{
	free(p->steps);
	p->steps = NULL;
	p->n_steps = p->steps_allocated = 0;
}

static bool is_armed(sd_event_source *timer)
{
	return sd_event_source_get_enabled(timer, NULL) > 0;
}

/* Not while one is due already: wanted states that follow each other do not put it off. */
static void arm_retry(struct reconcile *r)
{
	if (!r->stats.n_failing) {
		r->retry_delay = RETRY_MIN;
		sd_event_source_set_enabled(r->retry, SD_EVENT_OFF);
	} else if (!is_armed(r->retry)) {
		sd_event_source_set_time_relative(r->retry, r->retry_delay / NSEC_PER_USEC);
		sd_event_source_set_enabled(r->retry, SD_EVENT_ONESHOT);
		r->retry_delay = 2 * r->retry_delay < RETRY_MAX ? 2 * r->retry_delay : RETRY_MAX;
	}
}

static void settle(struct reconcile *r)
{
	drop_steps(&r->plan);
	r->lost = kernel_state_free(r->lost);
	r->cursor = 0;
	sd_event_source_set_enabled(r->defer, SD_EVENT_OFF);
	r->stats.busy = false;
	r->stats.n_pending = 0;
	r->stats.n_failing = r->n_errors + r->n_skipped;
	r->in_step = r->stats.n_failing + r->stats.n_conflicts == 0;
	r->stats.n_runs++;
	r->stats.last_done = now_ns();
	r->stats.last_duration = r->stats.last_done - r->since;
	if (!r->stats.n_failing)
		*r->stats.failing = '\0';
	arm_retry(r);
	if (r->stats.n_failing && !r->failing)
		log_error("kernel: %zu steps failed; they are tried again, at growing intervals up "
			  "to %d s",
			r->stats.n_failing, (int)(RETRY_MAX / NSEC_PER_SEC));
	if (!r->stats.n_failing && r->failing)
		log_notice("kernel: in step with the table again");
	r->failing = r->stats.n_failing > 0;
	r->auditing = false;
	/* No stranger is there: what bears a mark from now on, we have made. */
	if (!r->stats.n_failing && !r->stats.n_conflicts)
		r->options.trust_marks = true;
	r->handler.settled(r->handler.userdata);
}

static void on_read(struct audit *a)
{
	struct audit_job *job = a->userdata;
	struct reconcile *r = job->reconcile;

	if (r) {
		r->reading = NULL;
		if (a->error < 0) {
			log_error("kernel: cannot be read: %s", strerror(-a->error));
			settle(r);
		} else {
			take_reading(r, STEAL(a->have));
			replan(r);
		}
	}
	kernel_state_free(a->have);
	free(job);
}

/* Has the auditor read; nothing is applied until it is done. */
static void read_beside(struct reconcile *r)
{
	struct audit_job *job = xcalloc(1, sizeof(*job));

	sd_event_source_set_enabled(r->defer, SD_EVENT_OFF);
	job->reconcile = r;
	job->audit = (struct audit){.open = r->kernel_options, .done = on_read, .userdata = job};
	r->reading = job;
	auditor_submit(r->auditor, &job->audit);
}

/* The next plan starts from what is really there. */
static void read_and_replan(struct reconcile *r)
{
	if (r->auditor)
		read_beside(r);
	else if (read_kernel(r) < 0)
		settle(r);
	else
		replan(r);
}

/* Whatever it finds is not waited for any more. */
static void forget_reading(struct reconcile *r)
{
	if (r->reading)
		r->reading->reconcile = NULL;
	r->reading = NULL;
}

/* The plan has run, or ended at a failure. */
static void plan_ended(struct reconcile *r)
{
	if (r->n_errors == 0 || r->attempt >= ATTEMPTS)
		settle(r);
	else
		read_and_replan(r);
}

/* A service that is to be added is there already: someone made it since the kernel was read. Its
 * port entry was added before it, so that it would be taken for vipd's at the next reading: unless
 * it bears vipd's signature, the entry goes again. */
static void disown(struct reconcile *r, const struct service_key *key)
{
	struct step step = {.kind = STEP_PORT_DEL, .key = *key};
	struct kernel_state *there = NULL;
	struct step_error error;
	size_t n_errors;

	if (kernel_read_services(r->kernel, key, 1, &there) < 0)
		return;
	if (there->n_services == 1 && there->services[0]->timeout != SERVICE_SIGNATURE)
		(void)kernel_apply(r->kernel, &step, 1, &error, 1, &n_errors);
	kernel_state_free(there);
}

static void tell_step(const struct reconcile *r, const struct step *step, int error)
{
	if (r->handler.step)
		r->handler.step(r->handler.userdata, step, error, r->auditing);
}

static void step_failed(struct reconcile *r, const struct step *step, int error)
{
	r->n_errors++;
	if (r->n_errors == 1 && error != -ECANCELED)
		explain_failure(step, error, r->stats.failing);
	if (step->kind == STEP_SERVICE_ADD && error == -EEXIST)
		disown(r, &step->key);
	if (r->attempt > 1)
		set_aside(r, step);
	/* A stranger has made it just before, and the entry may be there already: no mark alone
	 * is proof now. */
	if (step->kind == STEP_SERVICE_ADD && error == -EEXIST)
		r->options.trust_marks = false;
	if (r->failing || error == -ECANCELED)
		return;
	tell_step(r, step, error);
	if (r->n_logged++ < ERRORS_LOGGED)
		log_warning("kernel: %s", explain_failure(step, error, (char[EXPLAIN_STRLEN]){0}));
}

/* Without a kernel, the steps themselves are what there is to see. */
static void log_observed(const struct step *step)
{
	nsec_t now = now_ns();
	char buf[STEP_STRLEN];

	log_info("observed at %llu.%06llu: %s", (unsigned long long)(now / NSEC_PER_SEC),
		(unsigned long long)(now % NSEC_PER_SEC / NSEC_PER_USEC), step_format(step, buf));
}

/* Takes over into `have` what the kernel took. `errors` are in the order of the steps. */
static void take_over(
	struct reconcile *r, size_t n, const struct step_error *errors, size_t n_errors)
{
	size_t e = 0;

	for (size_t i = 0; i < n; i++) {
		const struct step *step = &r->plan.steps[r->cursor + i];

		if (e < n_errors && errors[e].index == i) {
			step_failed(r, step, errors[e++].error);
			continue;
		}
		tell_step(r, step, 0);
		if (kernel_state_apply(r->have, step) == -ENOMEM)
			abort();
		else if (r->kernel_options.dry)
			log_observed(step);
	}
}

static void adapt_portion(struct reconcile *r, nsec_t held)
{
	if (held > r->stats.longest_hold)
		r->stats.longest_hold = held;
	if (held > PORTION_TARGET && r->portion > 1)
		r->portion /= 2;
	else if (held < PORTION_TARGET / 3 && r->portion < PORTION_MAX)
		r->portion *= 2;
}

/* How many steps are taken now: those before the first destination to be added, or some from there. */
static size_t next_portion(struct reconcile *r)
{
	size_t left = r->plan.n_steps - r->cursor;
	size_t n = left < r->portion ? left : r->portion;

	for (size_t i = 0; i < n && !r->priced; i++) {
		if (r->plan.steps[r->cursor + i].kind != STEP_DESTINATION_ADD)
			continue;
		if (i > 0)
			return i;
		r->priced = true;
		r->portion = r->portion < PORTION_UNPRICED ? r->portion : PORTION_UNPRICED;
		n = n < r->portion ? n : r->portion;
	}
	return n;
}

/* The kernel did not answer, or more failed than could be told: nothing is known any more. */
static void lost_track(struct reconcile *r, int error)
{
	log_error("kernel: a batch of commands was not answered: %s", strerror(-error));
	r->n_errors++;
}

/* What is set aside gets another chance; failing once more is enough to be set aside again. */
static int on_retry(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct reconcile *r = userdata;

	if (!r->want || r->stats.busy) /* settling arms it anew */
		return 0;
	r->stats.n_retries++;
	r->n_aside = r->n_skipped = 0;
	begin(r, now_ns());
	r->attempt = 1;
	replan(r);
	return 0;
}

static int on_portion(sd_event_source *s, void *userdata)
{
	struct reconcile *r = userdata;
	struct step_error errors[ERRORS_KEPT];
	size_t n = next_portion(r), n_errors = 0;
	nsec_t begun = now_ns();
	int x;

	if (n > 0) {
		x = kernel_apply(
			r->kernel, &r->plan.steps[r->cursor], n, errors, ERRORS_KEPT, &n_errors);
		r->stats.n_steps += n;
		r->stats.n_failed += n_errors;
		if (r->auditing)
			r->stats.n_repairs += n - n_errors;
		if (x < 0 || n_errors > ERRORS_KEPT) {
			lost_track(r, x < 0 ? x : -EOVERFLOW);
		} else {
			take_over(r, n, errors, n_errors);
			r->cursor += n;
		}
		if (n == r->portion)
			adapt_portion(r, now_ns() - begun);
	}
	r->stats.n_pending = r->plan.n_steps - r->cursor;
	if (r->cursor == r->plan.n_steps || r->n_errors > 0)
		plan_ended(r);
	return 0;
}

/* Plans from the state that was wanted before. False if that cannot be: one of the services that
 * come is there already, so it is someone else's. */
static bool plan_difference(struct reconcile *r, const struct kernel_state *before)
{
	plan_done(&r->plan);
	if (plan_make(&r->plan, before, r->want->state, &r->options) < 0)
		abort(); /* out of memory */
	for (size_t i = 0; i < r->plan.n_steps; i++) {
		const struct step *step = &r->plan.steps[i];

		if (step->kind == STEP_SERVICE_ADD && kernel_state_find(r->have, &step->key))
			return false;
	}
	skip_aside(r);
	return true;
}

void reconcile_want(struct reconcile *r, struct kernel_state *want, nsec_t since)
{
	struct wanted *before = r->want;
	bool in_step = r->in_step;

	r->want = wanted_new(want);
	r->generation++;
	r->auditing = false;
	begin(r, since);
	if (r->reading)
		; /* which then plans for this */
	else if (in_step && plan_difference(r, before->state))
		run_plan(r);
	else
		replan(r);
	wanted_unref(before);
}

/* Repairs what the audit found: just the steps that both of its dumps asked for. */
static void repair(struct reconcile *r, struct audit *a)
{
	char buf[STEP_STRLEN];

	kernel_state_free(r->lost);
	r->lost = r->have;
	r->have = STEAL(a->have);
	if (a->plan.n_steps == 0) {
		r->lost = kernel_state_free(r->lost);
		return;
	}
	if (!r->failing)
		log_warning("kernel: differs from the table in %zu steps, repairing: %s%s",
			a->plan.n_steps, step_format(&a->plan.steps[0], buf),
			a->plan.n_steps > 1 ? ", ..." : "");
	r->n_aside = r->n_skipped = 0; /* what failed is tried again */
	begin(r, now_ns());
	plan_done(&r->plan);
	r->plan = a->plan;
	a->plan = (struct plan){0};
	r->auditing = true;
	run_plan(r);
}

static void on_audited(struct audit *a)
{
	struct audit_job *job = a->userdata;
	struct reconcile *r = job->reconcile;

	if (r) {
		r->job = NULL;
		r->stats.n_audits++;
		r->stats.last_audit = now_ns();
		r->stats.last_audit_duration = a->duration;
		if (a->error < 0)
			log_error("audit: the kernel cannot be read: %s", strerror(-a->error));
		else if (job->generation == r->generation && !r->stats.busy)
			repair(r, a);
		/* else the kernel has moved on while it was read: the next audit will see */
	}
	wanted_unref(job->want);
	kernel_state_free(a->have);
	plan_done(&a->plan);
	free(job);
}

void reconcile_audit(struct reconcile *r)
{
	struct audit_job *job;

	if (!r->auditor || !r->want || r->stats.busy || r->job)
		return;
	job = xcalloc(1, sizeof(*job));
	job->reconcile = r;
	job->want = wanted_ref(r->want);
	job->generation = r->generation;
	job->audit = (struct audit){
		.open = r->kernel_options,
		.want = r->want->state,
		.options = r->options,
		.done = on_audited,
		.userdata = job,
	};
	r->job = job;
	auditor_submit(r->auditor, &job->audit);
}

int reconcile_observe(struct reconcile *r, const struct service_key *keys, size_t n_keys)
{
	struct kernel_state *fresh;
	int x = kernel_read_services(r->kernel, keys, n_keys, &fresh);

	if (x < 0)
		return x;
	for (size_t i = 0; i < fresh->n_services; i++) {
		const struct service *svc = fresh->services[i];
		struct service *known = kernel_state_find(r->have, &svc->key);

		for (size_t k = 0; known && k < svc->n_destinations; k++) {
			const struct destination *d = &svc->destinations[k];
			struct destination *mine =
				service_find_destination(known, &d->address, d->port);

			if (mine) {
				mine->n_active = d->n_active;
				mine->n_inactive = d->n_inactive;
			}
		}
	}
	kernel_state_free(fresh);
	return 0;
}

int reconcile_diff(const struct reconcile *r, const struct kernel_state *have, struct plan *ret)
{
	return r->want ? plan_make(ret, have, r->want->state, &r->options) : -EAGAIN;
}

/* Applies the whole plan from what is there to `want`, at once. 0, or the first error. */
static int apply_now(struct reconcile *r, const struct kernel_state *want)
{
	struct step_error error;
	size_t n_errors = 0;
	int n;

	plan_done(&r->plan);
	n = plan_make(&r->plan, r->have, want, &r->options);
	if (n >= 0)
		n = kernel_apply(r->kernel, r->plan.steps, r->plan.n_steps, &error, 1, &n_errors);
	if (n >= 0 && n_errors > 0)
		n = error.error;
	for (size_t i = 0; n >= 0 && i < r->plan.n_steps; i++)
		if (kernel_state_apply(r->have, &r->plan.steps[i]) == -ENOMEM)
			abort();
	r->stats.n_steps += r->plan.n_steps;
	r->stats.n_failed += n_errors;
	r->cursor = r->plan.n_steps;
	return n;
}

int reconcile_frame(struct reconcile *r)
{
	struct step steps[] = {{.kind = STEP_LINK_ADD}, {.kind = STEP_SETS_ADD}};
	struct step_error error;
	size_t n_errors = 0;
	int n;

	if (r->have->has_link && r->have->has_sets)
		return 0;
	n = kernel_apply(r->kernel, steps, ARRAY_SIZE(steps), &error, 1, &n_errors);
	if (n >= 0 && n_errors > 0)
		n = error.error;
	return n < 0 ? n : read_kernel(r);
}

int reconcile_flush(struct reconcile *r)
{
	struct kernel_state *empty = kernel_state_new();
	int n;

	r->want = wanted_unref(r->want);
	r->in_step = false;
	r->generation++;
	sd_event_source_set_enabled(r->defer, SD_EVENT_OFF);
	sd_event_source_set_enabled(r->retry, SD_EVENT_OFF);
	forget_reading(r);
	r->lost = kernel_state_free(r->lost);
	r->stats.busy = false;
	n = empty ? read_kernel(r) : -ENOMEM;
	if (n >= 0)
		n = apply_now(r, empty);
	kernel_state_free(empty);
	return n;
}

int reconcile_remove_frame(struct reconcile *r)
{
	int n = kernel_remove_frame(r->kernel);
	int x = read_kernel(r); /* it may have gone in part */

	return n < 0 ? n : x;
}

int reconcile_new(sd_event *loop, const struct kernel_options *kernel, uint64_t seed,
	struct auditor *auditor, const struct reconcile_handler *handler, struct reconcile **ret,
	const char **ret_what)
{
	struct reconcile *r = xcalloc(1, sizeof(*r));
	int n;

	r->loop = sd_event_ref(loop);
	r->kernel_options = *kernel;
	r->auditor = auditor;
	r->options.seed = seed;
	r->handler = *handler;
	r->portion = 256;
	r->retry_delay = RETRY_MIN;
	n = kernel_open(kernel, &r->kernel, ret_what);
	if (n >= 0) {
		*ret_what = "reading the kernel";
		n = read_kernel(r);
	}
	if (n >= 0) {
		*ret_what = "event loop";
		n = sd_event_add_defer(loop, &r->defer, on_portion, r);
	}
	if (n >= 0)
		n = sd_event_source_set_enabled(r->defer, SD_EVENT_OFF);
	if (n >= 0)
		n = sd_event_add_time(loop, &r->retry, CLOCK_MONOTONIC, 0, 1000, on_retry, r);
	if (n >= 0)
		n = sd_event_source_set_enabled(r->retry, SD_EVENT_OFF);
	if (n < 0) {
		reconcile_free(r);
		return n;
	}
	*ret = r;
	return 0;
}

struct reconcile *reconcile_free(struct reconcile *r)
{
	if (!r)
		return NULL;
	if (r->job)
		r->job->reconcile = NULL;
	forget_reading(r);
	sd_event_source_disable_unref(r->defer);
	sd_event_source_disable_unref(r->retry);
	plan_done(&r->plan);
	kernel_state_free(r->have);
	kernel_state_free(r->lost);
	wanted_unref(r->want);
	kernel_free(r->kernel);
	free(r->aside);
	sd_event_unref(r->loop);
	free(r);
	return NULL;
}
