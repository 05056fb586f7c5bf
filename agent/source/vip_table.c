/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every label of every port of every task gives one claim per address that its backend has. Named
 * claims get their VIP's address once all names are known, since names may collide. Then the claims
 * are sorted, and runs of one key are a VIP.
 *
 * There are as many claims as backends, all at once, and sorted they stand in quite another order
 * than the tasks. So a claim is small, and yet has all of its task that a backend needs: looking
 * that up task by task, all over the memory, would take longer than sorting.
 */
#include "agent/source/vip_table.h"

#include "agent/source/arena.h"
#include "agent/source/names.h"
#include "agent/source/reject.h"
#include "agent/source/strset.h"
#include "agent/source/vip_label.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct claim {
	uint64_t order;         /* as much of the key's order as fits; equal: to be compared */
	struct service_key key; /* of a named VIP: without address until names are allocated */
	struct ip_addr address; /* of the backend, in both its forms */
	struct ip_addr local_address;
	uint16_t port, local_port;
	uint8_t weight, weight_reason;
	uint32_t name; /* number in the set of names, or NO_NAME */
	uint32_t task; /* index in the state */
};

#define NO_NAME UINT32_MAX

struct once {
	const char *text, *copy;
};

struct builder {
	const struct mesos_state *state;
	struct vip_table_options options;
	struct arena *arena;   /* the table's */
	struct arena *scratch; /* gone when the table is built */
	struct reject_list rejects;
	struct strset names; /* "redis.marathon" */
	struct strset texts; /* framework names and ids, kept once */
	struct once framework, framework_id;
	const char **ids; /* by index of task: its id in the table's arena, if it has claims */
	const char **dns; /* by number of name: with the suffix */
	struct ip_addr *agents;
	size_t n_tasks; /* that do not wait */
	size_t n_claims, claims_allocated;
	struct claim *claims;
};

/* ---- claims ---- */

static const struct ip_addr *agent_address(const struct builder *b, const struct mesos_placed *t)
{
	return &b->agents[t->agent - b->state->agents];
}

static void reject_label(struct builder *b, const struct mesos_placed *t,
	const struct mesos_port *port, size_t label, const char *detail)
{
	reject_add(&b->rejects,
		&(struct mesos_rejection){.reason = MESOS_REJECT_LABEL,
			.task = t->task->id,
			.framework = t->framework,
			.key = port->vip_keys[label],
			.value = port->vips[label]},
		"%s", detail);
}

static void add_claim(struct builder *b, const struct claim *claim)
{
	if (b->n_claims == b->claims_allocated) {
		b->claims_allocated = b->claims_allocated ? b->claims_allocated * 2 : 64;
		b->claims = reallocarray(b->claims, b->claims_allocated, sizeof *b->claims);
		if (!b->claims)
			abort();
	}
	b->claims[b->n_claims++] = *claim;
}

/* The task shares its host's network: one number serves as host and container port. */
static bool is_on_host(const struct mesos_task *t, const struct ip_addr *agent)
{
	return t->n_addresses == 0 ||
	       (t->n_addresses == 1 && ip_addr_cmp(&t->addresses[0], agent) == 0);
}

/* The addresses of a port's backends: the agent's if it has a host port, else each of the task. */
static const struct ip_addr *backend_addresses(const struct builder *b,
	const struct mesos_placed *t, const struct mesos_port *port, size_t *ret_n)
{
	const struct ip_addr *agent = agent_address(b, t);
	bool at_agent = port->host_port || is_on_host(t->task, agent);

	*ret_n = at_agent ? 1 : t->task->n_addresses;
	return at_agent ? agent : t->task->addresses;
}

/* On its own node a port mapping is bypassed by IPVS; Docker's stays, for its hairpin. */
static void set_local(struct claim *claim, const struct mesos_task *t,
	const struct mesos_port *port, const struct ip_addr *agent)
{
	claim->local_address = claim->address;
	claim->local_port = claim->port;
	if (t->docker || !port->host_port || !port->container_port || is_on_host(t, agent))
		return;
	for (size_t i = 0; i < t->n_addresses; i++) {
		if (t->addresses[i].family != claim->address.family)
			continue;
		claim->local_address = t->addresses[i];
		claim->local_port = port->container_port;
		return;
	}
}

/* Parses a label into a claim without backend. False if it is no label; then it is rejected. */
static bool read_label(struct builder *b, const struct mesos_placed *t,
	const struct mesos_port *port, size_t label, struct claim *claim)
{
	struct vip_label vip;
	char name[NAMES_MAX + 1];
	const char *error;

	if (vip_label_parse(port->vips[label], &vip, &error) < 0 ||
		(vip.address.family == AF_UNSPEC &&
			vip_label_name(port->vips[label], vip.n_name, t->framework, name,
				sizeof name, &error) < 0)) {
		reject_label(b, t, port, label, error);
		return false;
	}
	claim->key = (struct service_key){
		.protocol = port->protocol, .port = vip.port, .address = vip.address};
	if (vip.address.family == AF_UNSPEC)
		claim->name = strset_add(&b->names, name, strlen(name));
	return true;
}

/* Claims this label's VIP for all backends that it can have. */
static void claim_label(struct builder *b, const struct mesos_placed *t,
	const struct mesos_port *port, size_t label)
{
	struct claim claim = {.name = NO_NAME,
		.task = (uint32_t)(t - b->state->tasks),
		.weight = t->task->weight,
		.weight_reason = t->task->weight_reason};
	size_t n_before = b->n_claims, n;
	const struct ip_addr *addresses = backend_addresses(b, t, port, &n);
	uint8_t family;

	if (!read_label(b, t, port, label, &claim))
		return;
	family = claim.key.address.family;
	if (b->options.no_ipv6 && family == AF_INET6)
		return;
	claim.port = port->host_port ? port->host_port : port->container_port;
	for (size_t i = 0; i < n; i++) {
		claim.address = addresses[i];
		if (claim.name != NO_NAME)
			claim.key.address.family = addresses[i].family;
		else if (addresses[i].family != family)
			continue;
		if (b->options.no_ipv6 && claim.key.address.family == AF_INET6)
			continue;
		set_local(&claim, t->task, port, agent_address(b, t));
		add_claim(b, &claim);
	}
	if (b->n_claims == n_before && claim.name == NO_NAME)
		reject_label(b, t, port, label,
			family == AF_INET ? "the task has no IPv4 address for an IPv4 VIP"
					  : "the task has no IPv6 address for an IPv6 VIP");
}

static void claim_task(struct builder *b, const struct mesos_placed *t)
{
	size_t n_before = b->n_claims;

	if (t->task->waiting)
		return;
	b->n_tasks++;
	if (agent_address(b, t)->family == AF_UNSPEC) {
		reject_add(&b->rejects,
			&(struct mesos_rejection){.reason = MESOS_REJECT_NO_ADDRESS,
				.task = t->task->id,
				.framework = t->framework},
			"host name \"%.100s\" of agent %.100s is not resolved", t->agent->hostname,
			t->agent->id);
		return;
	}
	for (size_t i = 0; i < t->task->n_ports; i++)
		for (size_t j = 0; j < t->task->ports[i].n_vips; j++)
			claim_label(b, t, &t->task->ports[i], j);
	if (b->n_claims > n_before)
		b->ids[t - b->state->tasks] = arena_strdup(b->arena, t->task->id);
}

/* Agents whose address is not in the document are asked for, those with tasks only. */
static void resolve_agents(struct builder *b)
{
	const struct mesos_state *s = b->state;
	bool *asked = arena_alloc(b->scratch, s->n_agents);

	b->agents = arena_alloc(b->scratch, s->n_agents * sizeof *b->agents);
	for (size_t i = 0; i < s->n_agents; i++)
		b->agents[i] = s->agents[i].address;
	for (size_t i = 0; b->options.resolve && i < s->n_tasks; i++) {
		size_t agent = (size_t)(s->tasks[i].agent - s->agents);

		if (asked[agent] || b->agents[agent].family != AF_UNSPEC)
			continue;
		asked[agent] = true;
		if (*s->agents[agent].hostname)
			b->options.resolve(
				b->options.userdata, s->agents[agent].hostname, &b->agents[agent]);
	}
}

/* ---- names ---- */

static int entry_cmp(const void *a, const void *b)
{
	return strcmp(((const struct names_entry *)a)->name, ((const struct names_entry *)b)->name);
}

static int address_cmp(const void *a, const void *b)
{
	return ip_addr_cmp(a, b);
}

/* The addresses of IP VIPs, which names must keep off. */
static struct ip_addr *taken_addresses(struct builder *b, size_t *ret_n)
{
	struct ip_addr *taken;
	size_t n = 0;

	for (size_t i = 0; i < b->n_claims; i++)
		n += b->claims[i].name == NO_NAME;
	taken = arena_alloc(b->scratch, n * sizeof *taken);
	*ret_n = 0;
	for (size_t i = 0; i < b->n_claims; i++)
		if (b->claims[i].name == NO_NAME)
			taken[(*ret_n)++] = b->claims[i].key.address;
	qsort(taken, *ret_n, sizeof *taken, address_cmp);
	return taken;
}

static void reject_full(struct builder *b, const char *name, uint8_t family)
{
	reject_add(&b->rejects,
		&(struct mesos_rejection){.reason = MESOS_REJECT_LABEL, .value = name},
		"the %s range of named VIPs is full", family == AF_INET ? "IPv4" : "IPv6");
}

/* Gives the names with backends of one family their addresses. */
static void allocate_family(struct builder *b, const struct address_range *range,
	const struct ip_addr *taken, size_t n_taken)
{
	uint8_t family = range->min.family;
	struct names_entry *entries = arena_alloc(b->scratch, b->names.n * sizeof *entries);
	bool *wanted = arena_alloc(b->scratch, b->names.n);
	struct ip_addr *found = arena_alloc(b->scratch, b->names.n * sizeof *found);
	size_t n = 0;

	for (size_t i = 0; i < b->n_claims; i++)
		if (b->claims[i].name != NO_NAME && b->claims[i].key.address.family == family)
			wanted[b->claims[i].name] = true;
	for (size_t i = 0; i < b->names.n; i++)
		if (wanted[i])
			entries[n++] = (struct names_entry){
				.name = b->names.strings[i], .number = (uint32_t)i};
	qsort(entries, n, sizeof *entries, entry_cmp);
	names_allocate(entries, n, taken, n_taken, range);
	for (size_t i = 0; i < n; i++) {
		found[entries[i].number] = entries[i].address;
		if (entries[i].address.family == AF_UNSPEC)
			reject_full(b, entries[i].name, family);
	}
	for (size_t i = 0; i < b->n_claims; i++)
		if (b->claims[i].name != NO_NAME && b->claims[i].key.address.family == family)
			b->claims[i].key.address = found[b->claims[i].name];
}

/* Names that found no address lose their claims. */
static void drop_unplaced(struct builder *b)
{
	size_t n = 0;

	for (size_t i = 0; i < b->n_claims; i++)
		if (b->claims[i].key.address.family != AF_UNSPEC)
			b->claims[n++] = b->claims[i];
	b->n_claims = n;
}

static void allocate_names(struct builder *b)
{
	size_t n_taken;
	struct ip_addr *taken = taken_addresses(b, &n_taken);

	allocate_family(b, &b->options.range4, taken, n_taken);
	allocate_family(b, &b->options.range6, taken, n_taken);
	drop_unplaced(b);
	b->dns = arena_alloc(b->scratch, b->names.n * sizeof *b->dns);
	for (size_t i = 0; i < b->names.n; i++)
		b->dns[i] = arena_printf(b->arena, "%s." NAMES_SUFFIX, b->names.strings[i]);
}

/* ---- the table ---- */

static int address_port_cmp(
	const struct ip_addr *a, uint16_t a_port, const struct ip_addr *b, uint16_t b_port)
{
	int r = ip_addr_cmp(a, b);

	return r ? r : (int)a_port - (int)b_port;
}

static int endpoint_cmp(const struct vip_backend *a, const struct vip_backend *b)
{
	return address_port_cmp(&a->address, a->port, &b->address, b->port);
}

/* By key, then endpoint; of equal endpoints the one that stays comes first. */
static int claim_cmp(const void *pa, const void *pb, void *state)
{
	const struct claim *a = pa, *b = pb;
	const struct mesos_placed *tasks = ((const struct mesos_state *)state)->tasks;
	int r;

	if (a->order != b->order)
		return a->order < b->order ? -1 : 1;
	r = service_key_cmp(&a->key, &b->key);
	if (!r)
		r = address_port_cmp(&a->address, a->port, &b->address, b->port);
	if (!r && a->weight != b->weight)
		r = a->weight > b->weight ? -1 : 1;
	if (!r)
		r = strcmp(tasks[a->task].task->id, tasks[b->task].task->id);
	return r ? r : strcmp(tasks[a->task].framework, tasks[b->task].framework);
}

/* Of a text that the state has once, the one copy in the table; *last is the last that was asked
 * for. */
static const char *text_once(struct builder *b, struct once *last, const char *text)
{
	if (last->text != text) {
		uint32_t i = strset_add(&b->texts, text, strlen(text));

		*last = (struct once){text, b->texts.strings[i]};
	}
	return last->copy;
}

static struct vip_backend make_backend(struct builder *b, const struct claim *claim)
{
	const struct mesos_placed *t = &b->state->tasks[claim->task];

	return (struct vip_backend){.address = claim->address,
		.port = claim->port,
		.local_address = claim->local_address,
		.local_port = claim->local_port,
		.weight = claim->weight,
		.weight_reason = claim->weight_reason,
		.agent = *agent_address(b, t),
		.task = b->ids[claim->task],
		.framework = text_once(b, &b->framework, t->framework),
		.framework_id = text_once(b, &b->framework_id, t->framework_id)};
}

/* Makes a VIP of the claims from `claims` on that have one key; returns their number. */
static size_t add_vip(struct builder *b, const struct claim *claims, size_t n, struct vip *vip)
{
	size_t end = 1, n_backends = 1;

	for (; end < n && service_key_cmp(&claims[end].key, &claims->key) == 0; end++)
		n_backends += address_port_cmp(&claims[end].address, claims[end].port,
				      &claims[end - 1].address, claims[end - 1].port) != 0;
	*vip = (struct vip){.key = claims->key,
		.name = claims->name == NO_NAME ? NULL : b->dns[claims->name],
		.backends = arena_alloc(b->arena, n_backends * sizeof *vip->backends)};
	for (size_t i = 0; i < end; i++) {
		if (i && address_port_cmp(&claims[i].address, claims[i].port,
				 &claims[i - 1].address, claims[i - 1].port) == 0)
			continue;
		vip->backends[vip->n_backends++] = make_backend(b, &claims[i]);
	}
	return end;
}

/* Sorts addresses, each once and without those that are none; returns how many are left. */
static size_t sort_addresses(struct ip_addr *list, size_t n)
{
	size_t n_kept = 0;

	if (n)
		qsort(list, n, sizeof *list, address_cmp);
	for (size_t i = 0; i < n; i++)
		if (list[i].family != AF_UNSPEC &&
			(n_kept == 0 || ip_addr_cmp(&list[i], &list[n_kept - 1]) != 0))
			list[n_kept++] = list[i];
	return n_kept;
}

/* The recovered agents' addresses, but for those at which an agent has registered, under a new id
 * perhaps. Names are not resolved: an agent was reached at its pid's address, and a name may have
 * another one, or none yet. */
static void keep_recovered(struct builder *b, size_t n_registered, struct vip_table *t)
{
	const struct mesos_state *s = b->state;
	size_t n = 0;

	t->recovered = arena_alloc(b->arena, s->n_recovered * sizeof *t->recovered);
	for (size_t i = 0; i < s->n_recovered; i++) {
		const struct ip_addr *a = &s->recovered[i].address;

		t->n_recovered_nowhere += a->family == AF_UNSPEC;
		if (!n_registered ||
			!bsearch(a, b->agents, n_registered, sizeof *b->agents, address_cmp))
			t->recovered[n++] = *a;
	}
	t->n_recovered = sort_addresses(t->recovered, n);
}

/* All agents' addresses, for who must know which addresses are nodes. */
static void keep_agents(struct builder *b, struct vip_table *t)
{
	size_t n = sort_addresses(b->agents, b->state->n_agents);

	keep_recovered(b, n, t);
	t->agents = arena_alloc(b->arena, (n + t->n_recovered) * sizeof *t->agents);
	for (size_t i = 0; i < n; i++)
		t->agents[i] = b->agents[i];
	for (size_t i = 0; i < t->n_recovered; i++)
		t->agents[n + i] = t->recovered[i];
	t->n_agents = sort_addresses(t->agents, n + t->n_recovered);
}

static size_t count_vips(const struct builder *b)
{
	size_t n = 0;

	for (size_t i = 0; i < b->n_claims; i++)
		n += !i || service_key_cmp(&b->claims[i].key, &b->claims[i - 1].key) != 0;
	return n;
}

/* Protocol, family, 32 bits of the address, and the port if those are all. */
static uint64_t order_of(const struct service_key *key)
{
	const uint8_t *a = key->address.bytes;
	uint32_t high = (uint32_t)a[0] << 24 | (uint32_t)a[1] << 16 | (uint32_t)a[2] << 8 | a[3];

	return (uint64_t)key->protocol << 56 | (uint64_t)key->address.family << 48 |
	       (uint64_t)high << 16 | (key->address.family == AF_INET ? key->port : 0);
}

static void sort_claims(struct builder *b)
{
	for (size_t i = 0; i < b->n_claims; i++)
		b->claims[i].order = order_of(&b->claims[i].key);
	if (b->n_claims)
		qsort_r(b->claims, b->n_claims, sizeof *b->claims, claim_cmp,
			(void *)(uintptr_t)b->state);
}

static void fill_table(struct builder *b, struct vip_table *t)
{
	sort_claims(b);
	t->vips = arena_alloc(b->arena, count_vips(b) * sizeof *t->vips);
	for (size_t i = 0; i < b->n_claims;)
		i += add_vip(b, b->claims + i, b->n_claims - i, &t->vips[t->n_vips++]);
	keep_agents(b, t);
	t->n_tasks_seen = b->state->n_tasks_seen;
	t->n_tasks = b->n_tasks;
	t->n_bytes = b->state->n_bytes;
	memcpy(t->digest, b->state->digest, sizeof t->digest);
	memcpy(t->n_rejected, b->rejects.n_rejected, sizeof t->n_rejected);
	t->n_rejections = b->rejects.n;
	t->rejections = reject_list_keep(&b->rejects);
	t->arena = b->arena;
}

static void builder_init(
	struct builder *b, const struct mesos_state *state, const struct vip_table_options *options)
{
	*b = (struct builder){.state = state, .arena = arena_new(), .scratch = arena_new()};
	if (options)
		b->options = *options;
	if (b->options.range4.min.family == AF_UNSPEC)
		b->options.range4 = names_default_range(AF_INET);
	if (b->options.range6.min.family == AF_UNSPEC)
		b->options.range6 = names_default_range(AF_INET6);
	strset_init(&b->names, b->scratch);
	strset_init(&b->texts, b->arena);
	reject_list_init(&b->rejects, b->arena);
	memcpy(b->rejects.n_rejected, state->n_rejected, sizeof b->rejects.n_rejected);
	reject_copy(&b->rejects, state->rejections, state->n_rejections);
}

static void builder_done(struct builder *b)
{
	strset_done(&b->names);
	strset_done(&b->texts);
	reject_list_done(&b->rejects);
	free(b->claims);
	arena_free(b->scratch);
}

struct vip_table *vip_table_build(
	const struct mesos_state *state, const struct vip_table_options *options)
{
	struct vip_table *t = calloc(1, sizeof *t);
	struct builder b;

	if (!t)
		abort();
	builder_init(&b, state, options);
	resolve_agents(&b);
	b.ids = arena_alloc(b.scratch, state->n_tasks * sizeof *b.ids);
	for (size_t i = 0; i < state->n_tasks; i++)
		claim_task(&b, &state->tasks[i]);
	allocate_names(&b);
	fill_table(&b, t);
	builder_done(&b);
	return t;
}

struct vip_table *vip_table_free(struct vip_table *t)
{
	if (!t)
		return NULL;
	arena_free(t->arena);
	free(t);
	return NULL;
}

/* ---- comparing and finding ---- */

static bool backend_equal(const struct vip_backend *a, const struct vip_backend *b)
{
	return ip_addr_equal(&a->address, &b->address) && a->port == b->port &&
	       ip_addr_equal(&a->local_address, &b->local_address) &&
	       a->local_port == b->local_port && a->weight == b->weight &&
	       ip_addr_equal(&a->agent, &b->agent);
}

static bool framework_equal(const struct vip_backend *a, const struct vip_backend *b)
{
	return strcmp(a->framework, b->framework) == 0 &&
	       strcmp(a->framework_id, b->framework_id) == 0;
}

/* Within a table the backends of one framework mostly share its strings: those that were just
 * found equal need no second look. */
static bool framework_repeats(const struct vip_backend *a, const struct vip_backend *b, size_t i)
{
	return i && a[i].framework == a[i - 1].framework && b[i].framework == b[i - 1].framework &&
	       a[i].framework_id == a[i - 1].framework_id &&
	       b[i].framework_id == b[i - 1].framework_id;
}

static bool vip_equal(const struct vip *a, const struct vip *b)
{
	if (!service_key_equal(&a->key, &b->key) || a->n_backends != b->n_backends ||
		strcmp(a->name ? a->name : "", b->name ? b->name : "") != 0)
		return false;
	for (size_t i = 0; i < a->n_backends; i++)
		if (!backend_equal(&a->backends[i], &b->backends[i]) ||
			(!framework_repeats(a->backends, b->backends, i) &&
				!framework_equal(&a->backends[i], &b->backends[i])))
			return false;
	return true;
}

static bool agents_equal(const struct vip_table *a, const struct vip_table *b)
{
	if (a->n_agents != b->n_agents)
		return false;
	for (size_t i = 0; i < a->n_agents; i++)
		if (!ip_addr_equal(&a->agents[i], &b->agents[i]))
			return false;
	return true;
}

/* -1, 0, 1: whose VIP comes next, or both. */
static int which_first(const struct vip_table *old, size_t i, const struct vip_table *new, size_t k)
{
	if (!old || i == old->n_vips)
		return 1;
	if (k == new->n_vips)
		return -1;
	if (service_key_equal(&old->vips[i].key, &new->vips[k].key))
		return 0;
	return service_key_cmp(&old->vips[i].key, &new->vips[k].key);
}

void vip_table_diff(
	const struct vip_table *old, const struct vip_table *new, struct vip_table_diff *ret)
{
	size_t i = 0, k = 0, allocated = 0;

	*ret = (struct vip_table_diff){.same_agents = old && agents_equal(old, new)};
	while ((old && i < old->n_vips) || k < new->n_vips) {
		int c = which_first(old, i, new, k);
		bool changed = c == 0 && !vip_equal(&old->vips[i], &new->vips[k]);
		size_t n = ret->n_added + ret->n_changed;

		if ((c > 0 || changed) && n == allocated) {
			allocated = allocated ? 2 * allocated : 64;
			ret->keys = reallocarray(ret->keys, allocated, sizeof(*ret->keys));
			if (!ret->keys)
				abort();
		}
		if (c > 0 || changed)
			ret->keys[n] = new->vips[k].key;
		ret->n_removed += c < 0;
		ret->n_added += c > 0;
		ret->n_changed += changed;
		i += c <= 0;
		k += c >= 0;
	}
}

void vip_table_diff_done(struct vip_table_diff *diff)
{
	free(diff->keys);
	*diff = (struct vip_table_diff){0};
}

bool vip_table_equal(const struct vip_table *a, const struct vip_table *b)
{
	if (a->n_vips != b->n_vips || !agents_equal(a, b))
		return false;
	for (size_t i = 0; i < a->n_vips; i++)
		if (!vip_equal(&a->vips[i], &b->vips[i]))
			return false;
	return true;
}

static int key_cmp(const void *key, const void *vip)
{
	return service_key_cmp(key, &((const struct vip *)vip)->key);
}

const struct vip *vip_table_find(const struct vip_table *t, const struct service_key *key)
{
	return t->n_vips ? bsearch(key, t->vips, t->n_vips, sizeof *t->vips, key_cmp) : NULL;
}

static int backend_key_cmp(const void *key, const void *backend)
{
	return endpoint_cmp(key, backend);
}

const struct vip_backend *vip_find_backend(
	const struct vip *vip, const struct ip_addr *address, uint16_t port)
{
	struct vip_backend key = {.address = *address, .port = port};
	const struct vip_backend *b = NULL;

	if (vip->n_backends)
		b = bsearch(&key, vip->backends, vip->n_backends, sizeof *b, backend_key_cmp);
	for (size_t i = 0; !b && i < vip->n_backends; i++)
		if (ip_addr_cmp(&vip->backends[i].local_address, address) == 0 &&
			vip->backends[i].local_port == port)
			b = &vip->backends[i];
	return b;
}
