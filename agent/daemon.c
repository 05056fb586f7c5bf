/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a label becomes a destination: on_table() gets the VIP table of a document, or on_published()
 * that of the publisher, and decides whether it is to be believed; update_desired() makes the desired state of this
 * node, and hands it to the reconcile. A failed poll comes to on_failure() and changes nothing.
 */
#include "agent/daemon.h"

#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-id128.h>
#include <time.h>

#include "agent/apply/sysctl.h"
#include "agent/apply/wanted.h"
#include "agent/log.h"
#include "agent/serve/views.h"
#include "agent/source/vip_keep.h"

/* How often the connections of draining destinations are counted. */
#define DRAIN_TICK NSEC_PER_SEC
/* Services whose connections are counted in one tick: a few microseconds each. */
#define DRAIN_SERVICES 100
/* A table of at least this many backends is large: one document alone does not empty it. */
#define LARGE_TABLE 10
/* Changed VIPs of one document that are logged by name; the rest is summed up. */
#define CHANGES_LOGGED 20

static size_t count_backends(const struct vip_table *t)
{
	size_t n = 0;

	for (size_t i = 0; t && i < t->n_vips; i++)
		n += t->vips[i].n_backends;
	return n;
}

/* --- logging a change ------------------------------------------------------ */

static void log_vip(const struct vip *vip, const char *what)
{
	char key[SERVICE_KEY_STRLEN];

	log_info("table: %s %s%s%s%s: %zu backend%s", what, service_key_format(&vip->key, key),
		vip->name ? " (" : "", str_or(vip->name, ""), vip->name ? ")" : "", vip->n_backends,
		vip->n_backends == 1 ? "" : "s");
}

static void log_table_change(
	const struct vip_table *old, const struct vip_table *new, const struct vip_table_diff *diff)
{
	size_t n_lines = CHANGES_LOGGED;

	for (size_t i = 0; i < diff->n_added + diff->n_changed && n_lines > 0; i++, n_lines--)
		log_vip(vip_table_find(new, &diff->keys[i]),
			old && vip_table_find(old, &diff->keys[i]) ? "changed" : "added");
	for (size_t i = 0; diff->n_removed > 0 && i < old->n_vips && n_lines > 0; i++)
		if (!vip_table_find(new, &old->vips[i].key)) {
			log_vip(&old->vips[i], "removed");
			n_lines--;
		}
	log_notice("table: %zu VIPs, %zu backends (%zu VIPs added, %zu removed, %zu changed)",
		new->n_vips, count_backends(new), diff->n_added, diff->n_removed, diff->n_changed);
}

/* --- from a document to the kernel ----------------------------------------- */

static int cmp_addr(const void *a, const void *b)
{
	return ip_addr_cmp(a, b);
}

/* The masters' addresses, sorted. Caller frees. */
static struct ip_addr *master_addresses(const struct config *c, size_t *ret_n)
{
	struct ip_addr *list;
	size_t n = 0;

	while (c->masters && c->masters[n])
		n++;
	list = xcalloc(n, sizeof(*list));
	for (size_t i = 0; i < n; i++)
		list[i] = config_master_address(c->masters[i]);
	qsort(list, n, sizeof(*list), cmp_addr);
	*ret_n = n;
	return list;
}

static int update_node(struct daemon *d)
{
	struct ip_addr toward = {0};
	char a4[IP_ADDR_STRLEN], a6[IP_ADDR_STRLEN];
	struct ip_addr old4 = d->node.address, old6 = d->node.address6;
	int r;

	if (d->config->masters && d->config->masters[0])
		toward = config_master_address(d->config->masters[0]);
	r = node_update(&d->node, &d->config->node_address, &d->config->node_address6, &toward);

	if (r < 0)
		log_error("this node's addresses: %s", strerror(-r));
	else if (ip_addr_cmp(&old4, &d->node.address) || ip_addr_cmp(&old6, &d->node.address6))
		log_notice("this node is %s, %s",
			d->node.address.family ? ip_addr_format(&d->node.address, a4)
					       : "without IPv4",
			d->node.address6.family ? ip_addr_format(&d->node.address6, a6)
						: "without IPv6");
	return r;
}

static void log_refused(const struct desired *d, size_t n_before)
{
	char key[SERVICE_KEY_STRLEN];

	if (d->n_refused > n_before)
		log_warning("table: %zu refusals: %s: %s%s", d->n_refused,
			service_key_format(&d->refused[0].vip->key, key),
			refusal_text(d->refused[0].reason), d->n_refused > 1 ? ", ..." : "");
}

/* Sets a timer of the monotonic clock; UINT64_MAX: off. */
static void arm_at(sd_event_source *timer, nsec_t when)
{
	if (when == UINT64_MAX) {
		sd_event_source_set_enabled(timer, SD_EVENT_OFF);
		return;
	}
	sd_event_source_set_time(timer, when / NSEC_PER_USEC);
	sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
}

static char *drains_path(const struct daemon *d)
{
	return xasprintf("%s/drains", d->config->state_dir);
}

/* A drain was begun or is over: its deadline is to survive a restart. */
static void drains_changed(struct daemon *d)
{
	AUTO_FREE char *path = drains_path(d);
	int r = drains_save(d->drains, path);

	if (r < 0)
		log_warning(
			"%s: %s; a restart will start the drains' clocks anew", path, strerror(-r));
}

/* Ticks while something drains, also what was loaded at the start. */
static void keep_ticking(struct daemon *d)
{
	if (drains_count(d->drains) == 0)
		arm_at(d->drain_tick, UINT64_MAX);
	else if (sd_event_source_get_enabled(d->drain_tick, NULL) == SD_EVENT_OFF)
		arm_at(d->drain_tick, now_ns() + DRAIN_TICK);
}

/* --- names ----------------------------------------------------------------- */

/*
 * A name is told while its VIP is wanted and its route is in the kernel: the route is the last that a
 * VIP gets and the first that it loses, so it is complete as long as it is there. What is not wanted
 * any more loses its name here, before the first step of the plan that removes it.
 */
static bool is_reachable(void *userdata, const struct ip_addr *address)
{
	const struct daemon *d = userdata;
	const struct wanted *wanted = reconcile_wanted(d->reconcile);

	return wanted && kernel_state_find_route(wanted->state, address) &&
	       kernel_state_find_route(reconcile_have(d->reconcile), address);
}

static void publish_names(struct daemon *d)
{
	dns_set_zone(d->dns, dns_zone_new(d->table, (uint32_t)time(NULL)));
}

/* Nothing is known, or nothing is programmed: SERVFAIL, so that resolvers ask others. */
static void withdraw_names(struct daemon *d)
{
	dns_set_zone(d->dns, NULL);
}

/* Table, node or drains changed: the kernel is to follow. `diff` is what of the table. */
static void update_desired_from(
	struct daemon *d, enum event_cause cause, const struct vip_table_diff *diff, nsec_t since)
{
	struct desired *before = d->desired;
	size_t n_refused = d->desired ? d->desired->n_refused : 0;
	struct desired_input in = {
		.table = d->table,
		.node = &d->node,
		.allowed = d->config->allow_vips.list,
		.n_allowed = d->config->allow_vips.n,
		.have = reconcile_have(d->reconcile),
		.drains = d->drains,
		.ramps = d->ramps,
		.now = now_ns(),
		.drain_timeout = d->config->drain_timeout,
		.slow_start = d->config->slow_start,
	};
	AUTO_FREE struct ip_addr *masters = master_addresses(d->config, &in.n_masters);

	d->desired_stale |= !d->table || d->paused || !d->surrounded;
	if (!d->table || d->paused || !d->surrounded)
		return;
	in.masters = masters;
	in.healths = liveness_healths(cluster_liveness(d->cluster), &in.n_healths);
	if (!d->desired_stale && reconcile_in_step(d->reconcile)) {
		in.previous = before;
		in.changed = diff->keys;
		in.n_changed = diff->n_added + diff->n_changed;
		in.have = reconcile_wanted(d->reconcile)->state;
	}
	d->desired = desired_new(&in);
	d->desired_stale = false;
	desired_free(before);
	arm_at(d->ramp_tick, ramps_deadline(d->ramps, in.now, in.slow_start));
	log_refused(d->desired, n_refused);
	if (d->desired->drains_changed)
		drains_changed(d);
	keep_ticking(d);
	watch_desired(d->watch, cause, since, in.now);
	reconcile_want(d->reconcile, STEAL(d->desired->want), since);
	if (diff->n_added + diff->n_removed + diff->n_changed > 0 || !dns_get_zone(d->dns))
		publish_names(d);
	if (d->namespaces)
		namespaces_want(d->namespaces, reconcile_wanted(d->reconcile));
}

/* The table is as it was. */
static void update_desired(struct daemon *d, enum event_cause cause, nsec_t since)
{
	const struct vip_table_diff none = {0};

	update_desired_from(d, cause, &none, since);
}

static int on_drain_tick(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct daemon *d = userdata;
	struct service_key keys[DRAIN_SERVICES];
	size_t n = drains_next(d->drains, now_ns(), keys, DRAIN_SERVICES);

	if (n > 0 && reconcile_observe(d->reconcile, keys, n) < 0)
		n = 0;
	if (drains_observe(d->drains, reconcile_have(d->reconcile), keys, n, now_ns()))
		update_desired(d, CAUSE_DRAIN, now_ns());
	if (drains_count(d->drains) > 0)
		arm_at(s, now_ns() + DRAIN_TICK);
	return 0;
}

static int on_ramp_tick(sd_event_source *s, uint64_t usec, void *userdata)
{
	update_desired(userdata, CAUSE_RAMP, now_ns());
	return 0;
}

/* True if this table is not to be believed until the next document, or the publisher, repeats it. */
static bool hold_emptying(struct daemon *d, const struct vip_table *fresh)
{
	size_t n = count_backends(d->table);

	if (count_backends(fresh) > 0 || n < LARGE_TABLE || d->held)
		return false;
	log_warning(
		"table: an empty one came, while %zu backends are in use; they are kept until it "
		"is said once more",
		n);
	return true;
}

static void recovered(struct daemon *d)
{
	if (d->failing)
		watch_source(d->watch, NULL);
	if (d->failing)
		log_notice("source: answers again: %s", str_or(feed_stats(d->feed)->url, "?"));
	d->failing = false;
}

static void take_table(struct daemon *d, struct vip_table *fresh, bool node_changed, nsec_t since)
{
	struct vip_table *old = d->table;
	struct vip_table_diff diff;
	bool same;

	vip_table_diff(old, fresh, &diff);
	same = diff.same_agents && diff.n_added + diff.n_removed + diff.n_changed == 0;
	if (!same) {
		log_table_change(old, fresh, &diff);
		d->table_since = now_ns();
		d->n_table_changes++;
		watch_table(d->watch, fresh, &diff, now_ns());
	}
	d->table = fresh;
	cluster_set_table(d->cluster, fresh);
	if (!same || node_changed ||
		(d->desired && d->desired->n_refused)) /* refusals name its VIPs */
		update_desired_from(d, CAUSE_DOCUMENT, &diff, since);
	vip_table_diff_done(&diff);
	vip_table_free(old);
}

/* What a master that has just taken over does not know yet stays as it is. */
static void keep_recovered(const struct daemon *d, struct vip_table *fresh)
{
	const struct vip_table_options options = {
		.range4 = d->config->named_range,
		.range6 = d->config->named_range6,
	};

	vip_table_keep_recovered(fresh, d->table, &options);
}

static void log_kept(const struct vip_table *old, const struct vip_table *new)
{
	size_t before = old ? old->n_kept : 0;

	if (new->n_kept && !before)
		log_warning(
			"table: the master has not heard from %zu agents yet since its failover; "
			"their %zu backends stay",
			new->n_recovered + new->n_recovered_nowhere, new->n_kept);
	else if (before && !new->n_kept)
		log_notice("table: the master has heard from all agents whose backends stayed, or "
			   "gave them up");
}

static void take_polled(struct daemon *d, struct vip_table *fresh, bool node_changed, nsec_t since)
{
	d->own_table = feed_stats(d->feed)->from_own;
	log_kept(d->table, fresh);
	take_table(d, fresh, node_changed, since);
}

/* What the next document is compared with. */
static const struct vip_table *known_table(void *userdata)
{
	struct daemon *d = userdata;

	return d->held ? d->held : d->table;
}

/* The node's addresses may have changed; the document's or the publisher's word is when we look. */
static bool node_changed(struct daemon *d)
{
	bool changed = update_node(d) > 0;

	if (changed) {
		cluster_node_changed(d->cluster);
		publisher_update(d->publisher);
		feed_set_own(d->feed, publisher_own_master(d->publisher));
	}
	return changed;
}

/* A table was polled, and is believed: it is published if it came from this node's own leading
 * master. True if it is to be used here, where a publisher may be followed. */
static bool use_polled(struct daemon *d, const struct vip_table *table)
{
	if (feed_stats(d->feed)->from_own)
		return publisher_lead(d->publisher, table);
	if (publisher_mode(d->publisher) == PUBLISH_FOLLOWING)
		return false;
	publisher_polled(d->publisher);
	return true;
}

/* The document repeats what known_table() was made of. */
static void on_unchanged(struct daemon *d, bool changed, nsec_t since)
{
	struct vip_table *held = STEAL(d->held);

	if (!use_polled(d, held ? held : d->table)) {
		vip_table_free(held);
	} else if (held) {
		take_polled(d, held, changed, since);
	} else if (changed) {
		update_desired(d, CAUSE_DOCUMENT, since);
	}
}

static void on_table(void *userdata, struct vip_table *fresh)
{
	struct daemon *d = userdata;
	nsec_t since = feed_stats(d->feed)->last_byte;
	bool changed = node_changed(d);

	recovered(d);
	if (fresh)
		keep_recovered(d, fresh);
	if (fresh && hold_emptying(d, fresh)) {
		d->held = fresh;
		return;
	}
	if (!fresh) {
		on_unchanged(d, changed, since);
		return;
	}
	d->held = vip_table_free(d->held);
	if (!use_polled(d, fresh)) {
		vip_table_free(fresh);
		return;
	}
	take_polled(d, fresh, changed, since);
}

static void on_not_leading(void *userdata)
{
	struct daemon *d = userdata;

	recovered(d);
	publisher_stop_leading(d->publisher);
}

static void on_failure(void *userdata, const char *reason)
{
	struct daemon *d = userdata;

	d->held = vip_table_free(d->held);
	if (!d->failing)
		watch_source(d->watch, reason);
	if (!d->failing)
		log_warning("source: %s; the table stays as it is", reason);
	d->failing = true;
}

/* --- the table by the overlay ---------------------------------------------- */

static void on_published(void *userdata, struct vip_table *fresh)
{
	struct daemon *d = userdata;
	nsec_t since = now_ns();

	vip_table_free(d->held);
	d->held = NULL;
	if (hold_emptying(d, fresh)) {
		d->held = fresh;
		return;
	}
	d->own_table = false;
	take_table(d, fresh, node_changed(d), since);
}

static void on_confirmed(void *userdata)
{
	struct daemon *d = userdata;

	if (d->held)
		take_table(d, STEAL(d->held), node_changed(d), now_ns());
	else if (node_changed(d))
		update_desired(d, CAUSE_RELOAD, now_ns());
}

/* What the own master says now is to be published: a subscription keeps the table current, else it
 * has to be asked. */
static void on_lead(void *userdata)
{
	struct daemon *d = userdata;
	const struct feed_stats *s = feed_stats(d->feed);

	if (s->subscribed && s->from_own && d->own_table)
		publisher_lead(d->publisher, d->table);
	else
		feed_kick(d->feed);
}

static void log_mode(struct daemon *d, enum publish_mode mode, enum publish_mode before)
{
	struct publish_status s;
	char text[IP_ADDR_STRLEN] = "?";
	struct ip_addr a;

	publisher_status(d->publisher, &s);
	a = cluster_master_address(d->cluster, s.announced.node);
	if (a.family)
		ip_addr_format(&a, text);
	if (mode == PUBLISH_FOLLOWING)
		log_notice("table: follows the publisher %s, term %llu", text,
			(unsigned long long)s.announced.term);
	else if (mode == PUBLISH_LEADING)
		log_notice("table: this node's master leads: publishing, term %llu",
			(unsigned long long)s.term);
	else if (mode == PUBLISH_POLLING && before == PUBLISH_LEADING)
		log_warning("table: this node's master is silent: not publishing any more");
	else if (mode == PUBLISH_POLLING && s.heard)
		log_warning("table: no publisher is heard any more: polling the masters");
	else if (mode == PUBLISH_POLLING)
		log_notice("table: no publisher is heard: polling the masters");
}

/* Whom the feed asks. Who has a master asks that one always, since it may come to lead. */
static void set_feed(struct daemon *d, enum publish_mode before)
{
	bool own = publisher_own_master(d->publisher);
	nsec_t within = before == PUBLISH_FOLLOWING ? d->config->poll_interval : 0;

	feed_set_own(d->feed, publisher_own_master(d->publisher));
	if (publisher_mode(d->publisher) == PUBLISH_POLLING)
		feed_set_mode(d->feed, FEED_ANY, own ? 0 : within);
	else
		feed_set_mode(d->feed, own ? FEED_OWN : FEED_NONE, 0);
}

static void on_mode(void *userdata, enum publish_mode mode, enum publish_mode before)
{
	struct daemon *d = userdata;

	if (mode != before)
		log_mode(d, mode, before);
	set_feed(d, before);
}

static void on_multicast(void *userdata, uint64_t from, const uint8_t *bytes, size_t n)
{
	struct daemon *d = userdata;

	publisher_multicast(d->publisher, from, bytes, n);
}

static void on_request(void *userdata, uint64_t from, uint32_t tag, const uint8_t *bytes, size_t n)
{
	struct daemon *d = userdata;

	publisher_request(d->publisher, from, tag, bytes, n);
}

static void on_response(void *userdata, uint64_t from, const uint8_t *bytes, size_t n)
{
	struct daemon *d = userdata;

	publisher_response(d->publisher, from, bytes, n);
}

static void on_neighbours(void *userdata, const uint64_t *ids, size_t n)
{
	struct daemon *d = userdata;

	publisher_neighbours(d->publisher, ids, n);
}

static void on_overlay_opened(void *userdata)
{
	struct daemon *d = userdata;

	publisher_update(d->publisher);
}

static int open_publisher(struct daemon *d)
{
	const struct publisher_handler handler = {on_mode, on_published, on_confirmed, on_lead, d};
	int r = publisher_new(d->loop, d->config, &d->node, d->cluster, &handler, &d->publisher);

	if (r < 0)
		log_error("publisher: %s", strerror(-r));
	else
		publisher_update(d->publisher);
	return r;
}

static void on_resolved(void *userdata)
{
	struct daemon *d = userdata;

	feed_resolved(d->feed);
}

static void on_settled(void *userdata)
{
	struct daemon *d = userdata;
	const struct reconcile_stats *s = reconcile_stats(d->reconcile);

	watch_settled(d->watch);
	sd_notifyf(0, "STATUS=%zu VIPs, %zu backends; kernel %s", d->table ? d->table->n_vips : 0,
		count_backends(d->table), s->n_failing ? "differs" : "in step");
}

static void on_step(void *userdata, const struct step *step, int error, bool repair)
{
	struct daemon *d = userdata;

	watch_step(d->watch, step, error, repair);
}

int flush_kernel(struct reconcile *reconcile)
{
	int r = reconcile_flush(reconcile);

	if (r >= 0)
		r = firewall_remove();
	if (r >= 0)
		r = reconcile_remove_frame(reconcile);
	return r;
}

int daemon_flush(struct daemon *d)
{
	int r;

	log_notice("flush: removing everything of vipd's from the kernel");
	d->paused = true;
	withdraw_names(d);
	if (d->namespaces)
		namespaces_flush(d->namespaces);
	r = flush_kernel(d->reconcile);
	if (r < 0)
		log_error("flush: %s", strerror(-r));
	else
		watch_flushed(d->watch);
	return r;
}

/* The rules are in place, or cannot be: either way the VIPs need not wait any longer. */
static void on_firewall(void *userdata)
{
	struct daemon *d = userdata;

	if (d->firewall)
		watch_rules(d->watch, firewall_stats(d->firewall)->n_repairs);
	if (d->surrounded)
		return;
	d->surrounded = true;
	update_desired(d, CAUSE_START, now_ns());
}

/* Link, sets and rules, in this order, before any VIP. */
static void surround(struct daemon *d)
{
	int r = reconcile_frame(d->reconcile);

	d->surrounded = false;
	if (r < 0)
		log_error("kernel: link and sets: %s", strerror(-r));
	if (r < 0 || !d->firewall)
		on_firewall(d);
	else
		firewall_check(d->firewall);
}

/* --- timers and signals ---------------------------------------------------- */

static bool is_loopback(const struct ip_addr *a)
{
	static const uint8_t one[16] = {[15] = 1};

	return a->family == AF_INET ? a->bytes[0] == 127 : memcmp(a->bytes, one, sizeof(one)) == 0;
}

/* A reload has moved it. */
static void leave_old_port(struct daemon *d)
{
	const struct endpoint *e = &d->config->http_listen;

	if (e->port == d->http_at.port && ip_addr_equal(&e->address, &d->http_at.address))
		return;
	d->http = control_free(d->http);
	d->http_error = 0;
	d->http_at = *e;
}

/* Without the port vipd does its work all the same, so somebody who has it (dcos-net, which is about
 * to go) is waited for: tried again with every audit, and told when it begins and ends. */
static void open_http(struct daemon *d)
{
	const struct endpoint *e = &d->http_at;
	char text[ENDPOINT_STRLEN];
	int r;

	leave_old_port(d);
	if (!e->port || d->http)
		return;
	endpoint_format(&e->address, e->port, text);
	r = control_new_port(d->loop, &e->address, e->port, views_handle, d, &d->http);
	if (r < 0 && r != d->http_error)
		log_warning("http_listen: %s: %s; tried again", text, strerror(-r));
	else if (r >= 0 && d->http_error)
		log_notice("http_listen: %s can be had now", text);
	if (r >= 0 && !is_loopback(&e->address))
		log_warning("http_listen: %s is no loopback address: whoever reaches it can see "
			    "this node's VIPs, tasks and members",
			text);
	d->http_error = r < 0 ? r : 0;
}

static int on_audit(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct daemon *d = userdata;

	open_http(d);
	if (!d->paused)
		reconcile_audit(d->reconcile);
	if (d->firewall && !d->paused)
		firewall_check(d->firewall);
	if (d->namespaces)
		namespaces_rescan(d->namespaces);
	sd_event_source_set_time_relative(s, d->config->audit_interval / NSEC_PER_USEC);
	return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

static int on_stop(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
	struct daemon *d = userdata;

	log_notice("stopping; the kernel goes on forwarding");
	sd_notify(0, "STOPPING=1");
	return sd_event_exit(d->loop, 0);
}

static void log_lines(const char *prefix, char *text)
{
	char *save = NULL;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		log_warning("%s%s", prefix, line);
}

static int on_reload(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
	struct daemon *d = userdata;
	AUTO_FREE char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);
	struct config *fresh;

	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
		(unsigned long long)(now_ns() / NSEC_PER_USEC));
	fresh = d->load_config(d->load_userdata, out);
	if (fresh)
		config_reload(d->config, fresh, out);
	fclose(out);
	log_lines("reload: ", text);
	if (fresh) {
		log_set_level(d->config->log_level);
		cluster_reload(d->cluster);
		publisher_update(d->publisher);
		feed_set_own(d->feed, publisher_own_master(d->publisher));
		dns_listen(d->dns, &d->config->dns_listen);
		open_http(d);
		log_notice("reload: done");
		if (d->paused) {
			d->paused = false;
			surround(d);
		}
		update_desired(d, CAUSE_RELOAD, now_ns());
		feed_kick(d->feed);
	} else {
		log_error("reload: nothing was changed");
	}
	config_free(fresh);
	sd_notify(0, "READY=1");
	return 0;
}

static const struct {
	int number;
	sd_event_signal_handler_t handler;
} signals[] = {{SIGTERM, on_stop}, {SIGINT, on_stop}, {SIGHUP, on_reload}};

/* Before any thread is made: all of them inherit this, and the loop alone takes signals. */
static void block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaddset(&set, signals[i].number);
	sigaddset(&set, SIGCHLD); /* or sd-event cannot wait for processes */
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static int add_signals(struct daemon *d)
{
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(signals) && r >= 0; i++)
		r = sd_event_add_signal(
			d->loop, &d->sigs[i], signals[i].number, signals[i].handler, d);
	return r;
}

/* --- life ------------------------------------------------------------------ */

/* Differs per node; the same after every restart of one. FNV-1a. */
static uint64_t node_seed(const struct node *n)
{
	uint64_t h = 0xcbf29ce484222325;
	sd_id128_t id = SD_ID128_NULL;

	(void)sd_id128_get_machine(&id);
	for (size_t i = 0; i < sizeof(id.bytes); i++)
		h = (h ^ id.bytes[i]) * 0x100000001b3;
	for (size_t i = 0; i < sizeof(n->address.bytes); i++)
		h = (h ^ n->address.bytes[i]) * 0x100000001b3;
	return h;
}

static int open_kernel(struct daemon *d)
{
	struct kernel_options options = {.device = d->config->device, .dry = d->config->observe};
	struct reconcile_handler handler = {.step = on_step, .settled = on_settled, .userdata = d};
	const char *what = "auditor";
	/* Nobody else changes what only we remember: there is nothing to audit. */
	int r = d->config->observe ? 0 : auditor_new(d->loop, &d->auditor);

	if (r >= 0)
		r = reconcile_new(d->loop, &options, node_seed(&d->node), d->auditor, &handler,
			&d->reconcile, &what);
	d->meter = meter_new(d->auditor, d->config->device);
	if (r < 0)
		log_error("kernel: %s: %s", what, strerror(-r));
	else if (d->config->observe)
		log_notice("kernel = none: nothing is programmed, only logged");
	return r;
}

static int open_control(struct daemon *d)
{
	int r = control_new(d->loop, d->config->socket, views_handle, d, &d->control);

	if (r == -EADDRINUSE)
		log_error("%s: another vipd is running (it holds %s.lock)", d->config->socket,
			d->config->socket);
	else if (r < 0)
		log_error("%s: %s", d->config->socket, strerror(-r));
	return r;
}

static int open_dns(struct daemon *d)
{
	const struct dns_options options = {is_reachable, d};
	int r = dns_new(d->loop, &options, &d->dns);

	if (r < 0)
		log_error("dns: %s", strerror(-r));
	else
		dns_listen(d->dns, &d->config->dns_listen);
	return r;
}

static void on_cluster_changed(void *userdata, nsec_t since)
{
	update_desired(userdata, CAUSE_NODE, since);
}

static void on_status(
	void *userdata, const struct overlay_node *node, enum gossip_status before, nsec_t since)
{
	struct daemon *d = userdata;

	watch_status(d->watch, node, before, since);
}

static void on_self(void *userdata, enum gossip_self self, const char *text)
{
	struct daemon *d = userdata;

	watch_self(d->watch, self, text);
}

static int open_cluster(struct daemon *d)
{
	struct cluster_handler handler = {
		.changed = on_cluster_changed,
		.status = on_status,
		.self = on_self,
		.opened = on_overlay_opened,
		.multicast = on_multicast,
		.request = on_request,
		.response = on_response,
		.neighbours = on_neighbours,
		.userdata = d,
	};

	return cluster_new(d->loop, d->config, &d->node, &handler, &d->cluster);
}

static int open_feed(struct daemon *d)
{
	struct vip_table_options options = {
		.no_ipv6 = !d->config->ipv6,
		.range4 = d->config->named_range,
		.range6 = d->config->named_range6,
		.resolve = resolver_ask,
	};
	struct feed_handler handler = {.table = on_table,
		.known = known_table,
		.failure = on_failure,
		.not_leading = on_not_leading,
		.userdata = d};
	int r = resolver_new(d->loop, on_resolved, d, &d->resolver);

	options.userdata = d->resolver;
	if (r >= 0)
		r = feed_new(d->loop, d->config, &options, &handler, &d->feed);
	if (r < 0)
		log_error("%s: %s", d->config->source, strerror(-r));
	return r;
}

/* A timer that is off; accurate to a millisecond. */
static int add_timer(struct daemon *d, sd_event_source **ret, sd_event_time_handler_t handler)
{
	int r = sd_event_add_time(d->loop, ret, CLOCK_MONOTONIC, 0, 1000, handler, d);

	return r < 0 ? r : sd_event_source_set_enabled(*ret, SD_EVENT_OFF);
}

static int start_timers(struct daemon *d)
{
	int r = sd_event_add_time_relative(d->loop, &d->audit, CLOCK_MONOTONIC,
		d->config->audit_interval / NSEC_PER_USEC, 0, on_audit, d);

	if (r >= 0)
		r = add_timer(d, &d->drain_tick, on_drain_tick);
	if (r >= 0)
		r = add_timer(d, &d->ramp_tick, on_ramp_tick);
	if (r >= 0)
		r = add_signals(d);
	if (r >= 0)
		r = sd_event_set_watchdog(d->loop, true);
	if (r < 0)
		log_error("event loop: %s", strerror(-r));
	return r;
}

static void open_namespaces(struct daemon *d)
{
	const struct namespaces_options options = {
		.directory = d->config->cni_dir,
		.device = d->config->device,
		.seed = node_seed(&d->node),
		.sysctls = d->config->sysctls,
		.audit_interval = d->config->audit_interval,
	};
	int r = 0;

	if (*d->config->cni_dir && !d->config->observe)
		r = namespaces_new(d->loop, &options, &d->namespaces);
	if (r < 0)
		log_error("namespaces: %s: %s", d->config->cni_dir, strerror(-r));
}

/* What is not needed to forward, and whose failure is shown instead of fatal: sysctls, rules, the
 * drains' deadlines. */
static void open_surroundings(struct daemon *d)
{
	AUTO_FREE char *path = drains_path(d);
	struct firewall_options options = {
		.ipv6 = d->config->ipv6,
		.masquerade = d->config->masquerade,
		.mark = (uint32_t)d->config->masquerade_mark,
	};

	d->drains = drains_new();
	d->ramps = ramps_new();
	(void)drains_load(d->drains, path);
	if (d->config->sysctls && !d->config->observe)
		sysctls_apply(d->config->masquerade);
	if (d->config->rules && !d->config->observe)
		d->firewall = firewall_new(d->loop, &options, on_firewall, d);
	open_namespaces(d);
	surround(d);
}

int daemon_init(struct daemon *d)
{
	int r;

	d->started = now_ns();
	d->watch = watch_new(d);
	block_signals();
	r = sd_event_default(&d->loop);
	if (r < 0)
		return r;
	if (mkdir(d->config->state_dir, 0755) < 0 && errno != EEXIST)
		log_warning("%s: %s", d->config->state_dir, strerror(errno));
	update_node(d);
	/* The control socket's lock comes first: two vipds must not drive one kernel. */
	if ((r = open_control(d)) < 0 || (r = open_kernel(d)) < 0 || (r = open_cluster(d)) < 0 ||
		(r = open_dns(d)) < 0 || (r = open_feed(d)) < 0 || (r = open_publisher(d)) < 0 ||
		(r = start_timers(d)) < 0)
		return r;
	open_surroundings(d);
	open_http(d);
	log_notice("vipd " VIPD_VERSION
		   " started; the kernel holds %zu IPVS services, %zu VIP routes",
		reconcile_have(d->reconcile)->n_services, reconcile_have(d->reconcile)->n_routes);
	sd_notify(0, "READY=1\nSTATUS=waiting for the first document");
	return 0;
}

void daemon_done(struct daemon *d)
{
	d->control = control_free(d->control);
	d->http = control_free(d->http);
	dns_free(d->dns);
	cluster_free(d->cluster);
	publisher_free(d->publisher);
	feed_free(d->feed);
	resolver_free(d->resolver);
	namespaces_free(d->namespaces);
	reconcile_free(d->reconcile);
	auditor_free(d->auditor);
	meter_free(d->meter);
	desired_free(d->desired);
	vip_table_free(d->table);
	vip_table_free(d->held);
	node_done(&d->node);
	drains_free(d->drains);
	ramps_free(d->ramps);
	firewall_free(d->firewall);
	watch_free(d->watch);
	sd_event_source_disable_unref(d->audit);
	sd_event_source_disable_unref(d->drain_tick);
	sd_event_source_disable_unref(d->ramp_tick);
	for (size_t i = 0; i < ARRAY_SIZE(d->sigs); i++)
		sd_event_source_disable_unref(d->sigs[i]);
	sd_event_unref(d->loop);
}
