/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One node with everything well; each test breaks one thing and sees it named. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/apply/sysctl.h"
#include "agent/serve/why.h"

#define NAME "redis.marathon"
#define VIP_ADDRESS "11.202.66.36"
#define NOW (1000 * NSEC_PER_SEC)

static struct ip_addr addr(const char *text)
{
	struct ip_addr a = {0};

	assert_int_equal(ip_addr_parse(text, &a), 0);
	return a;
}

struct world {
	struct why_input in;
	struct feed_stats source;
	struct vip_backend backends[2];
	struct vip vip;
	struct vip_table table;
	struct ip_addr own;
	struct node node;
	struct desired desired;
	struct refused refused;
	struct mesos_rejection rejection;
	struct reconcile_stats kernel;
	struct firewall_stats firewall;
	struct kernel_state *have;
	struct gone *gone;
	struct drains *drains;
	int sysctl_values[8];
	struct dns_listener_view listener;
};

static void set_up_table(struct world *w)
{
	for (int i = 0; i < 2; i++) {
		w->backends[i] = (struct vip_backend){
			.address = addr(i ? "10.0.0.6" : "10.0.0.5"),
			.port = 31000,
			.weight = 1,
			.agent = addr(i ? "10.0.0.6" : "10.0.0.5"),
			.task = i ? "redis.two" : "redis.one",
			.framework = "marathon",
			.framework_id = "f1",
		};
		w->backends[i].local_address = w->backends[i].address;
		w->backends[i].local_port = 31000;
	}
	w->vip = (struct vip){
		.key = {addr(VIP_ADDRESS), 6379, IPPROTO_TCP},
		.name = NAME ".l4lb.thisdcos.directory",
		.n_backends = 2,
		.backends = w->backends,
	};
	w->table = (struct vip_table){.n_vips = 1, .vips = &w->vip, .n_tasks_seen = 9};
}

static int set_up(void **state)
{
	struct world *w = xcalloc(1, sizeof(*w));
	struct service *svc;

	set_up_table(w);
	w->own = addr("10.0.0.1");
	w->node = (struct node){.address = w->own, .n_own = 1, .own = &w->own};
	w->source = (struct feed_stats){
		.n_documents = 3, .url = "http://m:5050/state", .last_success = NOW - NSEC_PER_SEC};
	w->have = kernel_state_new();
	svc = kernel_state_service(w->have, &w->vip.key);
	for (int i = 0; i < 2; i++)
		service_set_destination(
			svc, &(struct destination){.address = w->backends[i].address,
				     .port = 31000,
				     .weight = 1,
				     .n_active = 3});
	kernel_state_complete(w->have, &w->own, &(struct ip_addr){0});
	w->gone = gone_new();
	w->drains = drains_new();
	for (size_t i = 0; i < n_sysctls; i++)
		w->sysctl_values[i] = sysctls[i].value;
	w->in = (struct why_input){
		.query = NAME,
		.source = &w->source,
		.table = &w->table,
		.gone = w->gone,
		.node = &w->node,
		.desired = &w->desired,
		.drains = w->drains,
		.surrounded = true,
		.kernel = &w->kernel,
		.have = w->have,
		.firewall = &w->firewall,
		.sysctl_values = w->sysctl_values,
		.masquerade = true,
		.listeners = &w->listener,
		.n_listeners = 1,
		.now = NOW,
	};
	w->listener.endpoint.address = addr("127.0.0.61");
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	kernel_state_free(w->have);
	gone_free(w->gone);
	drains_free(w->drains);
	free(w);
	return 0;
}

static const char *text_of(json_object *o, const char *key)
{
	return json_object_get_string(json_object_object_get(o, key));
}

/* Traces, and expects n objects; the first is to be put. */
static json_object *trace(struct world *w, const char *query, size_t n)
{
	json_object *list, *first;

	w->in.query = query;
	list = why_trace(&w->in);
	assert_int_equal(json_object_array_length(list), n);
	first = json_object_get(json_object_array_get_idx(list, 0));
	json_object_put(list);
	return first;
}

static void expect_well(struct world *w, const char *query)
{
	json_object *o = trace(w, query, 1);

	if (!json_object_get_boolean(json_object_object_get(o, "ok")))
		fail_msg("%s", json_object_to_json_string(o));
	json_object_put(o);
}

/* One object, and its verdict has these words. */
static void expect_blame(struct world *w, const char *query, const char *words)
{
	json_object *o = trace(w, query, 1);

	assert_false(json_object_get_boolean(json_object_object_get(o, "ok")));
	if (!strstr(text_of(o, "verdict"), words))
		fail_msg("'%s' lacks '%s'", text_of(o, "verdict"), words);
	json_object_put(o);
}

/* Some step of the trace has this mark and these words. */
static void expect_step(struct world *w, const char *query, const char *mark, const char *words)
{
	json_object *o = trace(w, query, 1), *steps = json_object_object_get(o, "steps");
	bool found = false;

	for (size_t i = 0; i < json_object_array_length(steps); i++) {
		json_object *s = json_object_array_get_idx(steps, i);

		found |= strcmp(text_of(s, "mark"), mark) == 0 && strstr(text_of(s, "text"), words);
	}
	if (!found)
		fail_msg("no step '%s' %s: %s", mark, words, json_object_to_json_string(o));
	json_object_put(o);
}

static void test_all_is_well_by_every_name(void **state)
{
	static const char *const queries[] = {NAME, "REDIS.marathon", NAME ":6379", "/" NAME,
		NAME ".l4lb.thisdcos.directory", NAME ".l4lb.thisdcos.directory:6379", VIP_ADDRESS,
		VIP_ADDRESS ":6379", "10.0.0.5", "10.0.0.5:31000", "redis.one", "redis.o"};

	for (size_t i = 0; i < ARRAY_SIZE(queries); i++)
		expect_well(*state, queries[i]);
	json_object_put(trace(*state, "redis.", 2));
	expect_step(*state, NAME, "ok", "its home");
	expect_step(*state, "redis.one", "ok", "3 active");
}

static void test_nothing_of_that_name(void **state)
{
	static const char *const queries[] = {"nope", NAME ":80", "redis", "10.0.0.5:1", "",
		"[::1]:80", "[", ":", "re", "/", "redis.marathon.l4lb.thisdcos"};

	for (size_t i = 0; i < ARRAY_SIZE(queries); i++)
		if (strcmp(queries[i], "redis") != 0) /* the beginning of two tasks' ids */
			expect_blame(*state, queries[i], "no VIP");
	json_object_put(trace(*state, "redis", 2));
}

static void test_source(void **state)
{
	struct world *w = *state;

	w->source.error = "m:5050: refused";
	expect_blame(w, NAME, "m:5050: refused");
	w->source.n_documents = 0;
	expect_blame(w, NAME, "no document could be had");
	w->source.error = NULL;
	w->in.table = NULL;
	expect_blame(w, NAME, "no document has come yet");
}

/* Whoever follows a published table has no document, and asks elsewhere about what was left out. */
static void test_followed(void **state)
{
	struct world *w = *state;

	w->source = (struct feed_stats){0};
	w->table.n_tasks_seen = 0;
	w->in.followed = true;
	w->in.publisher = addr("10.0.0.9");
	w->in.confirmed = NOW - NSEC_PER_SEC;
	expect_well(w, NAME);
	expect_step(w, NAME, "ok", "published by 10.0.0.9, confirmed 1.0 s ago");
	expect_step(w, NAME, "ok", "backends behind this VIP: 2");
	expect_blame(w, "nope", "that 10.0.0.9 publishes");
}

static void test_kept_for_an_agent_that_is_awaited(void **state)
{
	struct world *w = *state;

	w->backends[0].kept = true;
	expect_step(w, "redis.one", "note", "has not heard from this agent since its failover");
	expect_well(w, "redis.one");
}

static void test_rejections(void **state)
{
	struct world *w = *state;

	w->rejection = (struct mesos_rejection){MESOS_REJECT_LABEL, "web.1", "marathon", "VIP_0",
		"/web:99999", "port 99999 is out of range"};
	w->table.n_rejections = 1;
	w->table.rejections = &w->rejection;
	expect_blame(w, "web.1", "port 99999 is out of range");
	expect_blame(w, "web.marathon", "VIP_0 = /web:99999");
	expect_blame(w, "/web:99999", "task web.1");
	w->rejection.value = "/redis:99999"; /* beside tasks whose label is right */
	expect_step(w, VIP_ADDRESS, "note", "port 99999 is out of range");
	expect_well(w, VIP_ADDRESS);
}

/* A task that is left out whole: its labels are not known, only what it was. */
static void test_left_out_whole(void **state)
{
	struct vip_table empty = {.n_rejections = 1};
	struct vip_table_diff diff;
	struct world *w = *state;

	w->rejection = (struct mesos_rejection){MESOS_REJECT_NO_ADDRESS, "redis.one", "marathon",
		"", "", "host name \"x\" is not resolved"};
	empty.rejections = &w->rejection;
	vip_table_diff(&w->table, &empty, &diff);
	gone_note(w->gone, &w->table, &empty, &diff, NOW - NSEC_PER_SEC);
	vip_table_diff_done(&diff);
	w->in.table = &empty;
	expect_blame(w, NAME, "host name \"x\" is not resolved");
	expect_blame(w, "redis.one", "host name \"x\" is not resolved");
	expect_blame(w, "redis.two", "left the document");
	expect_blame(w, "web.marathon", "no VIP");
	expect_step(w, "web.marathon", "note", "task redis.one");
}

static void test_moved_from_home(void **state)
{
	struct world *w = *state;

	w->in.range4 = (struct address_range){addr("11.0.0.0"), addr("11.0.0.255")};
	expect_step(w, NAME, "ok", "is another VIP's");
}

static void test_refusals(void **state)
{
	struct world *w = *state;

	w->refused = (struct refused){&w->vip, REFUSAL_SUBNET, NULL};
	w->desired.n_refused = 1;
	w->desired.refused = &w->refused;
	expect_blame(w, NAME, "lies in a network");
	w->refused = (struct refused){&w->vip, REFUSAL_OTHER_FRAMEWORK, "f1"};
	expect_blame(w, "redis.one", "another framework");
}

static void test_weights(void **state)
{
	static const struct {
		enum weight_reason reason;
		const char *words;
	} cases[] = {{WEIGHT_UNHEALTHY, "its health check fails"},
		{WEIGHT_NO_RESULT, "no result yet"}, {WEIGHT_KILLING, "being killed"}};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		w->backends[0].weight = 0;
		w->backends[0].weight_reason = cases[i].reason;
		w->have->services[0]->destinations[0].weight = 0;
		expect_blame(w, "redis.one", cases[i].words);
		expect_step(w, NAME, "note", cases[i].words);
		expect_well(w, NAME); /* there is another */
	}
	w->backends[1].weight = 0;
	w->backends[1].weight_reason = WEIGHT_UNHEALTHY;
	w->have->services[0]->destinations[1].weight = 0;
	expect_blame(w, NAME, "0 of 2 backends");
}

static void test_own_address(void **state)
{
	static const struct {
		enum source_state state;
		const char *words;
	} cases[] = {{SOURCE_ABSENT, "is not an address of this node"},
		{SOURCE_TENTATIVE, "is tentative"}, {SOURCE_DUPLICATE, "another machine"}};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		w->in.source_state = cases[i].state;
		expect_blame(w, NAME, cases[i].words);
		expect_blame(w, NAME, "10.0.0.1");
	}
	w->in.source_state = SOURCE_DEPRECATED;
	expect_well(w, NAME);
	expect_step(w, NAME, "note", "deprecated");
	w->in.source_state6 = SOURCE_ABSENT; /* the VIP is of IPv4 */
	w->in.source_state = SOURCE_USABLE;
	expect_well(w, NAME);
}

static void test_name(void **state)
{
	struct world *w = *state;

	expect_step(w, NAME, "ok", "answered on 127.0.0.61");
	w->listener.error = "in use";
	expect_step(w, NAME, "note", "not answered on 127.0.0.61: in use");
	expect_well(w, NAME); /* by its address it is */
	w->in.n_listeners = 0;
	expect_step(w, NAME, "note", "dns_listen");
}

static void test_node_health(void **state)
{
	struct world *w = *state;
	struct node_health down[] = {{.agent = w->backends[0].agent, .health = HEALTH_DOWN},
		{.agent = w->backends[1].agent, .health = HEALTH_DOWN}};

	w->in.healths = down;
	w->in.n_healths = 1;
	w->have->services[0]->destinations[0].weight = 0;
	expect_blame(w, "redis.one", "its node is down");
	expect_step(
		w, "redis.one", "note", "weight 0 because of its node"); /* and no one's doing */
	expect_step(w, NAME, "note", "its node is down");
	expect_well(w, NAME);
	down[0].until = 1; /* it is back, and held */
	expect_blame(w, "redis.one", "held down for a while");
	down[0].until = 0;
	down[0].health = HEALTH_CONFIRMED;
	service_remove_destination(w->have->services[0], &w->backends[0].address, 31000);
	expect_blame(w, "redis.one", "it was removed");
	expect_well(w, NAME);
	w->in.n_healths = 2; /* all are down: all stay */
	expect_blame(w, "redis.one", "10.0.0.5:31000 is missing");
	expect_step(w, "redis.two", "note", "all backends stay");
}

/* What the overlay says of nodes whose backends stay. */
static void test_member(void **state)
{
	static const struct health_options options = {.confirm = NSEC_PER_SEC};
	struct world *w = *state;
	struct liveness *l = liveness_new(&options);
	struct overlay_node n = {.id = 1,
		.status = GOSSIP_STATUS_UP,
		.n_addresses = 1,
		.addresses = {w->backends[0].agent},
		.silent = NOW - 7 * NSEC_PER_SEC};

	w->in.liveness = l;
	expect_step(w, "redis.one", "note", "no member of the overlay");
	liveness_node(l, &n, NOW);
	expect_step(w, "redis.one", "ok", "not known to be down");
	n.status = GOSSIP_STATUS_AGENTLESS;
	liveness_node(l, &n, NOW);
	expect_step(w, "redis.one", "note", "vipd has been gone for 7 s, its host answers");
	n.status = GOSSIP_STATUS_STALLED;
	liveness_node(l, &n, NOW);
	expect_step(w, "redis.one", "note", "vipd has not answered for 7 s, its host answers");
	expect_well(w, "redis.one");
	n.status = GOSSIP_STATUS_DOWN;
	liveness_node(l, &n, NOW);
	w->in.healths = liveness_healths(l, &w->in.n_healths);
	expect_blame(w, "redis.one",
		"its node is down, so it gets no new connections; it has been silent for 7 s");
	liveness_self(l, GOSSIP_SELF_CUT_OFF);
	w->in.healths = liveness_healths(l, &w->in.n_healths);
	expect_step(w, "redis.one", "note", "judges nobody");
	liveness_free(l);
}

static void test_programming(void **state)
{
	struct world *w = *state;

	w->in.surrounded = false;
	expect_blame(w, NAME, "rules come before VIPs");
	w->in.paused = true;
	expect_blame(w, NAME, "flushed");
	w->in.paused = false;
	w->in.surrounded = true;
	w->in.have = NULL;
	w->in.error = -ENOENT;
	expect_blame(w, NAME, "cannot be read");
}

static void test_missing_parts(void **state)
{
	struct world *w = *state;
	struct ip_addr vip = w->vip.key.address;

	kernel_state_remove_port(w->have, &w->vip.key);
	expect_blame(w, NAME, "not in vipd's sets");
	w->have->has_sets = false;
	expect_blame(w, NAME, "sets are missing");
	kernel_state_remove_route(w->have, &vip);
	expect_blame(w, NAME, "no route");
	w->have->has_link = false;
	expect_blame(w, NAME, "link is missing");
}

static void test_missing_services(void **state)
{
	struct world *w = *state;

	w->have->services[0]->destinations[0].weight = 0;
	expect_blame(w, "redis.one", "weight 0 in the kernel");
	expect_blame(w, NAME, "weight 0 in the kernel");
	service_remove_destination(w->have->services[0], &w->backends[0].address, 31000);
	expect_blame(w, NAME, "10.0.0.5:31000 is missing");
	expect_blame(w, "redis.one", "10.0.0.5:31000 is missing");
	kernel_state_remove_service(w->have, &w->vip.key);
	expect_blame(w, NAME, "IPVS has no service tcp " VIP_ADDRESS ":6379");
}

static void test_conflict(void **state)
{
	struct world *w = *state;

	w->in.conflicts = &w->vip.key;
	w->in.n_conflicts = 1;
	expect_blame(w, NAME, "conflict");
}

static void test_local_form(void **state)
{
	struct world *w = *state;

	w->own = addr("10.0.0.5");
	w->backends[0].local_address = addr("172.17.0.2");
	w->backends[0].local_port = 80;
	expect_blame(w, "redis.one", "172.17.0.2:80 is missing");
	service_set_destination(w->have->services[0],
		&(struct destination){.address = addr("172.17.0.2"), .port = 80, .weight = 1});
	expect_well(w, "redis.one");
	expect_step(w, "172.17.0.2:80", "ok", "past its port mapping");
}

/* The second backend leaves the table and drains. */
static void test_drain(void **state)
{
	struct world *w = *state;
	struct vip_table fresh = w->table;
	struct vip vip = w->vip;
	struct vip_table_diff diff;
	struct kernel_state *want = kernel_state_new();
	struct drains_input in = {
		.have = w->have, .now = NOW - NSEC_PER_SEC, .timeout = 30 * NSEC_PER_SEC};

	vip.n_backends = 1;
	fresh.vips = &vip;
	vip_table_diff(&w->table, &fresh, &diff);
	gone_note(w->gone, &w->table, &fresh, &diff, NOW - 2 * NSEC_PER_SEC);
	vip_table_diff_done(&diff);
	service_set_destination(kernel_state_service(want, &vip.key),
		&(struct destination){.address = w->backends[0].address, .port = 31000});
	assert_true(drains_extend(w->drains, want, &in));
	w->in.table = &fresh;
	w->in.query = "redis.two";
	expect_blame(w, "redis.two", "redis.two left the document 2.0 s ago");
	expect_blame(w, "10.0.0.6:31000", "left the document");
	expect_step(w, "redis.two", "note", "3 active connections go on");
	expect_step(w, "redis.two", "note", "in 29.0 s");
	expect_step(w, NAME, "note", "10.0.0.6:31000 drains");
	expect_well(w, NAME);
	/* It is over: the drain is forgotten with the next change, the kernel knows now. */
	service_remove_destination(w->have->services[0], &w->backends[1].address, 31000);
	expect_blame(w, "redis.two", "redis.two left the document");
	kernel_state_free(want);
}

static void test_surroundings_are_noted(void **state)
{
	struct world *w = *state;

	w->firewall.error = "iptables-save: not found";
	expect_step(w, NAME, "note", "iptables-save: not found");
	w->sysctl_values[0] = 0;
	expect_step(w, NAME, "note", "is 0, should be 1");
	expect_well(w, NAME);
	w->in.firewall = NULL;
	w->in.sysctl_values = NULL;
	expect_step(w, NAME, "ok", "rules = no");
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_all_is_well_by_every_name),
		T(test_nothing_of_that_name),
		T(test_source),
		T(test_followed),
		T(test_kept_for_an_agent_that_is_awaited),
		T(test_rejections),
		T(test_left_out_whole),
		T(test_moved_from_home),
		T(test_refusals),
		T(test_weights),
		T(test_own_address),
		T(test_name),
		T(test_node_health),
		T(test_member),
		T(test_programming),
		T(test_missing_parts),
		T(test_missing_services),
		T(test_conflict),
		T(test_local_form),
		T(test_drain),
		T(test_surroundings_are_noted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
