/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/overlay/cluster.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/log.h"

/* How often the members are remembered on disk, the first time and then. */
#define REMEMBER_FIRST (20 * NSEC_PER_SEC)
#define REMEMBER (300 * NSEC_PER_SEC)
/* A node that returns for the second time in a row is held down for so long, longer than what a
 * flapping cable or a rebooting switch takes; then twice as long each time, up to HOLD_MAX, in which
 * one return is forgiven as well. */
#define HOLD (5 * NSEC_PER_SEC)
#define HOLD_MAX (300 * NSEC_PER_SEC)
/* Members that the file holds at most: enough to find the way back in. */
#define REMEMBERED_MAX 256
/* Lines of the file that are read: more than this program writes. */
#define REMEMBERED_LINES (4 * REMEMBERED_MAX)
/* Between two tries to open the overlay, where the address or the port may become free. */
#define RETRY (5 * NSEC_PER_SEC)
/* Nodes that say that they have a master. Clusters have up to seven. */
#define MASTERS_MAX 64
/* Changes of nodes that are logged by name within a second; of more only the number is. */
#define LOGGED_PER_SECOND 10

struct cluster {
	sd_event *loop;
	const struct config *config;
	const struct node *node;
	struct cluster_handler handler;
	struct overlay *overlay;
	struct liveness *liveness;
	char *off;
	struct ip_addr address, address6; /* that it was opened on */
	sd_event_source *tick, *remember, *retry;
	bool unsaved; /* the members could not be written down */
	size_t n_remembered, n_agents;
	struct gossip_addr *remembered, *agents;
	nsec_t log_second;
	size_t n_logged;
	bool told_alone;
	nsec_t conflict; /* when another vipd spoke as this node last; 0: never */
	size_t n_key_ids;
	uint8_t key_ids[KEYS_MAX];
	uint64_t id; /* this node's, once the overlay was on */
	bool master; /* this node has one */
	size_t n_masters;
	struct overlay_node masters[MASTERS_MAX];
};

const char *cluster_off(const struct cluster *c)
{
	return c->off;
}

const uint8_t *cluster_key_ids(const struct cluster *c, size_t *ret_n)
{
	*ret_n = c->overlay && !c->config->insecure ? c->n_key_ids : 0;
	return c->key_ids;
}

nsec_t cluster_conflict(const struct cluster *c)
{
	return c->conflict;
}

struct liveness *cluster_liveness(struct cluster *c)
{
	return c->liveness;
}

struct overlay_snapshot *cluster_snapshot(struct cluster *c)
{
	return c->overlay ? overlay_snapshot(c->overlay) : NULL;
}

static char *state_path(const struct cluster *c, const char *name)
{
	return xasprintf("%s/%s", c->config->state_dir, name);
}

/* --- what the overlay says ------------------------------------------------- */

static void arm_tick(struct cluster *c)
{
	nsec_t when = liveness_deadline(c->liveness);

	if (when == UINT64_MAX) {
		sd_event_source_set_enabled(c->tick, SD_EVENT_OFF);
		return;
	}
	sd_event_source_set_time(c->tick, when / NSEC_PER_USEC);
	sd_event_source_set_enabled(c->tick, SD_EVENT_ONESHOT);
}

static void judged(struct cluster *c, bool changed, nsec_t since)
{
	arm_tick(c);
	if (changed)
		c->handler.changed(c->handler.userdata, since);
}

static int on_tick(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct cluster *c = userdata;
	nsec_t now = now_ns();

	judged(c, liveness_tick(c->liveness, now), now);
	return 0;
}

/* True if another line about a node may be written: a rack that goes down is told in few. */
static bool may_log(struct cluster *c)
{
	nsec_t second = now_ns() / NSEC_PER_SEC;

	if (second != c->log_second) {
		if (c->n_logged > LOGGED_PER_SECOND)
			log_notice("overlay: %zu more changes of nodes within that second",
				c->n_logged - LOGGED_PER_SECOND);
		c->log_second = second;
		c->n_logged = 0;
	}
	return ++c->n_logged <= LOGGED_PER_SECOND;
}

/* "10.0.0.1", or "10.0.0.1 (id ...)" where another node has that address: an earlier self. */
#define NODE_STRLEN (IP_ADDR_STRLEN + 24)

static const char *name_of_several(
	const struct cluster *c, const struct overlay_node *n, char buf[static NODE_STRLEN])
{
	const struct overlay_node *other =
		n->n_addresses ? liveness_find(c->liveness, &n->addresses[0]) : NULL;
	char address[IP_ADDR_STRLEN] = "?";

	if (n->n_addresses)
		ip_addr_format(&n->addresses[0], address);
	if (other && other->id != n->id)
		snprintf(buf, NODE_STRLEN, "%s (id %016llx)", address, (unsigned long long)n->id);
	else
		snprintf(buf, NODE_STRLEN, "%s", address);
	return buf;
}

static const char *name_node(const struct overlay_node *n, char buf[static IP_ADDR_STRLEN])
{
	return n && n->n_addresses ? ip_addr_format(&n->addresses[0], buf) : "?";
}

static double seconds_since(nsec_t when)
{
	nsec_t now = now_ns();

	return when && now > when ? (double)(now - when) / (double)NSEC_PER_SEC : 0.0;
}

/* Who found it down: one of several, so that a sick observer shows. */
static const char *name_accuser(
	const struct cluster *c, uint64_t id, char buf[static IP_ADDR_STRLEN])
{
	return id == c->id ? "this node" : name_node(liveness_get(c->liveness, id), buf);
}

static void log_back(const struct cluster *c, const struct overlay_node *n, nsec_t since)
{
	const struct node_health *h =
		n->n_addresses ? liveness_health(c->liveness, &n->addresses[0]) : NULL;
	char buf[IP_ADDR_STRLEN];
	nsec_t now = now_ns();

	if (h && h->until > now)
		log_notice("overlay: node %s is up again, after %.1f s; it went down %u times: "
			   "held down "
			   "for %.0f s",
			name_node(n, buf), seconds_since(since), h->n_flaps,
			(double)(h->until - now) / (double)NSEC_PER_SEC);
	else
		log_notice("overlay: node %s is up again, after %.1f s", name_node(n, buf),
			seconds_since(since));
}

static void log_status(const struct cluster *c, const struct overlay_node *n, nsec_t since)
{
	char buf[NODE_STRLEN], accuser[IP_ADDR_STRLEN];
	const char *address = name_of_several(c, n, buf);

	switch (n->status) {
	case GOSSIP_STATUS_DOWN:
		log_notice(
			"overlay: node %s is down: no answer from its vipd and its host%s%s, for "
			"%.2f s",
			address, n->accuser ? ", tested by " : "",
			n->accuser ? name_accuser(c, n->accuser, accuser) : "",
			seconds_since(n->missed ? n->missed : n->silent));
		return;
	case GOSSIP_STATUS_AGENTLESS:
	case GOSSIP_STATUS_STALLED:
		log_notice(
			"overlay: node %s is %s: its vipd %s, its host answers, its backends stay",
			address, gossip_status_name(n->status),
			n->status == GOSSIP_STATUS_AGENTLESS ? "is gone" : "does not answer");
		return;
	case GOSSIP_STATUS_UP:
		if (since) {
			log_back(c, n, since);
			return;
		}
		break;
	case GOSSIP_STATUS_UNKNOWN:
		break;
	}
	log_notice("overlay: node %s is %s", address, gossip_status_name(n->status));
}

static void tell_status(
	struct cluster *c, const struct overlay_node *n, enum gossip_status before, nsec_t since)
{
	if (may_log(c))
		log_status(c, n, since);
	c->handler.status(c->handler.userdata, n, before, since);
}

/* --- who has a master ------------------------------------------------------ */

static size_t find_master(const struct cluster *c, uint64_t id)
{
	size_t i = 0;

	while (i < c->n_masters && c->masters[i].id != id)
		i++;
	return i;
}

static void forget_master(struct cluster *c, uint64_t id)
{
	size_t i = find_master(c, id);

	if (i < c->n_masters)
		c->masters[i] = c->masters[--c->n_masters];
}

static void note_master(struct cluster *c, const struct overlay_node *node)
{
	size_t i = find_master(c, node->id);

	if (!node->master)
		forget_master(c, node->id);
	else if (i < MASTERS_MAX)
		c->masters[i] = *node;
	if (node->master && i == c->n_masters && i < MASTERS_MAX)
		c->n_masters++;
}

static bool has_address(const struct overlay_node *node, const struct ip_addr *a)
{
	for (size_t i = 0; i < node->n_addresses; i++)
		if (ip_addr_equal(&node->addresses[i], a))
			return true;
	return false;
}

bool cluster_is_master(const struct cluster *c, uint64_t id, bool up)
{
	size_t i = find_master(c, id);
	bool listed = false;

	if (i == c->n_masters || (up && c->masters[i].status != GOSSIP_STATUS_UP))
		return false;
	for (char **m = c->config->masters; m && *m; m++) {
		struct ip_addr a = config_master_address(*m);

		/* By name: anyone's address may be behind it. */
		listed |= !a.family || has_address(&c->masters[i], &a);
	}
	return listed;
}

struct ip_addr cluster_master_address(const struct cluster *c, uint64_t id)
{
	size_t i = find_master(c, id);
	bool known = i < c->n_masters && c->masters[i].n_addresses;

	if (id == c->id && id)
		return c->node->address.family ? c->node->address : c->node->address6;
	return known ? c->masters[i].addresses[0] : (struct ip_addr){0};
}

uint64_t cluster_id(const struct cluster *c)
{
	return c->overlay ? c->id : 0;
}

struct overlay *cluster_overlay(struct cluster *c)
{
	return c->overlay;
}

static void on_node(void *userdata, const struct overlay_node *node)
{
	struct cluster *c = userdata;
	const struct overlay_node *known = liveness_get(c->liveness, node->id);
	enum gossip_status before = known ? known->status : GOSSIP_STATUS_UNKNOWN;
	nsec_t silent = known ? known->silent : 0;
	bool changed = liveness_node(c->liveness, node, now_ns());

	if (before != node->status)
		tell_status(c, node, before, silent);
	note_master(c, node);
	judged(c, changed, node->told);
}

static void on_forgotten(void *userdata, uint64_t id)
{
	struct cluster *c = userdata;
	nsec_t now = now_ns();

	forget_master(c, id);
	judged(c, liveness_forgotten(c->liveness, id, now), now);
}

static bool knows_nobody(const struct cluster *c)
{
	return !liveness_count(c->liveness, GOSSIP_STATUS_UP) &&
	       !liveness_count(c->liveness, GOSSIP_STATUS_STALLED) &&
	       !liveness_count(c->liveness, GOSSIP_STATUS_AGENTLESS) &&
	       !liveness_count(c->liveness, GOSSIP_STATUS_DOWN);
}

static const char *self_text(const struct cluster *c, enum gossip_self self)
{
	static const char *const texts[] = {
		[GOSSIP_SELF_WELL] = "this node is part of the cluster again, and judges others",
		[GOSSIP_SELF_MINORITY] =
			"this node sees only a small part of the cluster: it judges "
			"nobody, and goes on using all backends",
		[GOSSIP_SELF_CUT_OFF] = "this node is cut off: it judges nobody, and goes on using "
					"all backends",
	};

	if (self == GOSSIP_SELF_MINORITY && liveness_get_self(c->liveness) == GOSSIP_SELF_CUT_OFF)
		return "this node is linked again, so far to a small part of the cluster: it "
		       "judges "
		       "nobody yet";
	if (!knows_nobody(c))
		return texts[self];
	/* It has just started. */
	return self == GOSSIP_SELF_WELL ? "this node is part of the cluster, and judges others"
					: "no other node is found yet, and none is judged";
}

static void on_self(void *userdata, enum gossip_self self)
{
	struct cluster *c = userdata;
	const char *text = self_text(c, self);

	if (liveness_get_self(c->liveness) != self) {
		log_notice("overlay: %s", text);
		c->handler.self(c->handler.userdata, self, text);
	}
	judged(c, liveness_self(c->liveness, self), now_ns());
}

static void on_conflict(void *userdata)
{
	struct cluster *c = userdata;

	c->conflict = now_ns();
	log_error(
		"overlay: another vipd speaks as this node, from a later start; was its state_dir "
		"copied from here? Remove the file `node` there or here, and restart that vipd");
}

/* --- what other daemons say, handed on ------------------------------------- */

static void on_multicast(void *userdata, uint64_t from, const uint8_t *bytes, size_t n)
{
	struct cluster *c = userdata;

	c->handler.multicast(c->handler.userdata, from, bytes, n);
}

static void on_request(void *userdata, uint64_t from, uint32_t tag, const uint8_t *bytes, size_t n)
{
	struct cluster *c = userdata;

	c->handler.request(c->handler.userdata, from, tag, bytes, n);
}

static void on_response(void *userdata, uint64_t from, const uint8_t *bytes, size_t n)
{
	struct cluster *c = userdata;

	c->handler.response(c->handler.userdata, from, bytes, n);
}

static void on_neighbours(void *userdata, const uint64_t *ids, size_t n)
{
	struct cluster *c = userdata;

	c->handler.neighbours(c->handler.userdata, ids, n);
}

/* --- whom to join through -------------------------------------------------- */

struct contacts {
	size_t n;
	struct gossip_addr list[GOSSIP_CONTACTS_MAX];
};

static void add_contact(struct contacts *c, const struct gossip_addr *a)
{
	for (size_t i = 0; i < c->n; i++)
		if (gossip_addr_equal(&c->list[i], a))
			return;
	if (c->n < GOSSIP_CONTACTS_MAX)
		c->list[c->n++] = *a;
}

/* Some of a list, at random, so that the nodes of a cluster do not all ask the same. */
static void add_some(struct contacts *c, const struct gossip_addr *list, size_t n, size_t some)
{
	for (size_t i = 0; i < some && n > 0; i++)
		add_contact(c, &list[randombytes_uniform((uint32_t)n)]);
}

/* The address in a master's URL, with our port. False if it is a name. */
static bool master_contact(const struct cluster *c, const char *url, struct gossip_addr *ret)
{
	struct ip_addr a = config_master_address(url);

	if (!a.family)
		return false;
	*ret = overlay_address(&a, (uint16_t)c->config->overlay_port);
	return true;
}

/* One's own kernel proves nothing of one's own path. */
static bool is_own_master(const struct cluster *c, const char *url)
{
	struct ip_addr a = config_master_address(url);

	return node_owns(c->node, &a);
}

static void send_contacts(struct cluster *c)
{
	const struct endpoints *given = &c->config->contacts;
	struct gossip_addr witnesses[GOSSIP_WITNESSES_MAX], a;
	struct contacts contacts = {0};
	size_t n_witnesses = 0;

	if (!c->overlay)
		return;
	for (size_t i = 0; i < given->n; i++) {
		a = overlay_address(&given->list[i].address,
			given->list[i].port ? given->list[i].port
					    : (uint16_t)c->config->overlay_port);
		add_contact(&contacts, &a);
	}
	for (char **m = c->config->masters; m && *m; m++) {
		if (!master_contact(c, *m, &a) || is_own_master(c, *m))
			continue;
		add_contact(&contacts, &a);
		if (n_witnesses < GOSSIP_WITNESSES_MAX)
			witnesses[n_witnesses++] = a;
	}
	add_some(&contacts, c->remembered, c->n_remembered, 16);
	add_some(&contacts, c->agents, c->n_agents, GOSSIP_CONTACTS_MAX);
	overlay_set_contacts(c->overlay, contacts.list, contacts.n);
	overlay_set_witnesses(c->overlay, witnesses, n_witnesses);
}

static bool same_addresses(
	const struct gossip_addr *a, size_t n_a, const struct gossip_addr *b, size_t n_b)
{
	for (size_t i = 0; n_a == n_b && i < n_a; i++)
		if (!gossip_addr_equal(&a[i], &b[i]))
			return false;
	return n_a == n_b;
}

void cluster_set_table(struct cluster *c, const struct vip_table *table)
{
	struct gossip_addr *fresh = xcalloc(table->n_agents, sizeof(*fresh));
	size_t n = 0;

	for (size_t i = 0; i < table->n_agents; i++)
		if (!node_owns(c->node, &table->agents[i]))
			fresh[n++] = overlay_address(
				&table->agents[i], (uint16_t)c->config->overlay_port);
	if (same_addresses(fresh, n, c->agents, c->n_agents)) {
		free(fresh);
		return;
	}
	free(c->agents);
	c->agents = fresh;
	c->n_agents = n;
	send_contacts(c);
}

/* --- members remembered across restarts ------------------------------------ */

/* "10.0.0.1 61420" a line; what does not parse is passed over. */
/* NULL, and a line in the log, if it is there and cannot be read. It must not block, whatever it is. */
static FILE *open_remembered(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;
	FILE *f = NULL;

	if (fd < 0 && errno == ENOENT)
		return NULL;
	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		f = fdopen(fd, "r");
	if (f)
		return f;
	log_warning("%s: %s; no members are remembered", path,
		fd < 0 ? strerror(errno) : "not a regular file");
	if (fd >= 0)
		close(fd);
	return NULL;
}

static void load_remembered(struct cluster *c)
{
	AUTO_FREE char *path = state_path(c, "members");
	FILE *f = open_remembered(path);
	char line[128], text[IP_ADDR_STRLEN];

	c->remembered = xcalloc(REMEMBERED_MAX, sizeof(*c->remembered));
	for (size_t i = 0; f && i < REMEMBERED_LINES && c->n_remembered < REMEMBERED_MAX &&
			   fgets(line, sizeof(line), f);
		i++) {
		struct ip_addr a;
		unsigned int port;

		if (sscanf(line, "%45s %u", text, &port) == 2 && ip_addr_parse(text, &a) == 0 &&
			port >= 1 && port <= 65535)
			c->remembered[c->n_remembered++] = overlay_address(&a, (uint16_t)port);
	}
	if (f)
		fclose(f);
}

/* Says once that the members cannot be written down, and once that they can again. */
static void tell_saved(struct cluster *c, const char *path, bool saved)
{
	if (saved == !c->unsaved)
		return;
	c->unsaved = !saved;
	if (saved)
		log_notice("%s: is written again", path);
	else
		log_warning("%s: %s; after a restart this node joins by its contacts only", path,
			strerror(errno));
}

static void save_remembered(struct cluster *c)
{
	struct overlay_snapshot *s = cluster_snapshot(c);
	AUTO_FREE char *path = state_path(c, "members");
	AUTO_FREE char *tmp = xasprintf("%s.new", path);
	char text[IP_ADDR_STRLEN];
	size_t n = 0;
	bool saved;
	FILE *f;

	if (!s || s->n_members < 2) { /* an isolated node does not forget where it came from */
		overlay_snapshot_free(s);
		return;
	}
	f = fopen(tmp, "we");
	for (size_t i = 0; f && i < s->n_members && n < REMEMBERED_MAX; i++) {
		struct ip_addr a = overlay_ip(&s->members[i].address);

		if (s->members[i].id == s->id || !s->members[i].address.family)
			continue;
		fprintf(f, "%s %u\n", ip_addr_format(&a, text), s->members[i].address.port);
		n++;
	}
	saved = f && fclose(f) == 0 && rename(tmp, path) == 0;
	tell_saved(c, path, saved);
	if (f && !saved)
		unlink(tmp);
	overlay_snapshot_free(s);
}

/* Whoever finds nobody, although there are others, says so once. */
static void tell_alone(struct cluster *c)
{
	size_t n = c->config->contacts.n + c->n_agents + c->n_remembered;
	bool alone = c->overlay && n && knows_nobody(c);

	if (alone && !c->told_alone)
		log_warning("overlay: no other node found by now, of %zu to ask: another key or "
			    "cluster's name, or port %u is blocked; vipctl doctor says which",
			n, (unsigned int)c->config->overlay_port);
	c->told_alone = alone;
}

static int on_remember(sd_event_source *s, uint64_t usec, void *userdata)
{
	save_remembered(userdata);
	tell_alone(userdata);
	sd_event_source_set_time_relative(s, REMEMBER / NSEC_PER_USEC);
	return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

/* --- life ------------------------------------------------------------------ */

/* The keys in force. 0; 1: none, the overlay is off (c->off says why); a negative errno. */
static int read_keys(struct cluster *c, struct keys *ret)
{
	char *error = NULL;
	int r;

	if (c->config->insecure) {
		keys_insecure(ret);
		return 0;
	}
	r = keys_read(c->config->key_file, ret, &error);
	if (r == 0)
		return 0;
	free(c->off);
	c->off = error;
	return r == -ENOENT ? 1 : r;
}

/* By the ids, which stand in clear in every packet, an operator compares nodes. */
static void note_keys(struct cluster *c, const struct keys *keys)
{
	c->n_key_ids = keys->n;
	for (size_t i = 0; i < keys->n; i++)
		c->key_ids[i] = keys->list[i].id;
}

/* All addresses that others may know this node by: the main ones first. */
static size_t own_addresses(const struct node *n, struct ip_addr out[static OVERLAY_ADDRESSES_MAX])
{
	size_t count = 0;

	if (n->address.family)
		out[count++] = n->address;
	if (n->address6.family)
		out[count++] = n->address6;
	for (size_t i = 0; i < n->n_own && count < OVERLAY_ADDRESSES_MAX; i++)
		if (node_is_usable(&n->own[i]) && ip_addr_cmp(&n->own[i], &n->address) != 0 &&
			ip_addr_cmp(&n->own[i], &n->address6) != 0)
			out[count++] = n->own[i];
	return count;
}

/* Says why the overlay is off; once, as long as the reason is the same. Takes `why` over. */
static void stay_off(struct cluster *c, char *why)
{
	if (!c->off || strcmp(c->off, why) != 0)
		log_error("overlay: off: %s", why);
	free(c->off);
	c->off = why;
}

static int open_overlay(struct cluster *c, const struct keys *keys)
{
	struct overlay_handler handler = {on_node, on_forgotten, on_self, on_conflict, on_multicast,
		on_request, on_response, on_neighbours, c};
	struct ip_addr own[OVERLAY_ADDRESSES_MAX];
	AUTO_FREE char *path = state_path(c, "node");
	struct overlay_options options = {
		.keys = *keys,
		.cluster = c->config->cluster,
		.address = c->node->address,
		.address6 = c->node->address6,
		.port = (uint16_t)c->config->overlay_port,
		.minority_permille = (unsigned int)c->config->minority,
		.forget_after = c->config->forget_after,
		.own = own,
		.n_own = own_addresses(c->node, own),
		.master = c->master,
	};
	const char *what;
	int r;

	if (!options.address.family && !options.address6.family) {
		stay_off(c, xstrdup("this node has no address yet"));
		return -EADDRNOTAVAIL;
	}
	r = identity_load(path, &options.identity);
	if (r < 0)
		log_warning("%s: %s; after a restart this node will be taken for another one", path,
			strerror(-r));
	r = overlay_new(c->loop, &options, &handler, &c->overlay, &what);
	keys_wipe(&options.keys);
	if (r == -EADDRINUSE) {
		stay_off(c, xasprintf("%s %u is taken by another program (ss -lnptu 'sport = :%u' "
				      "names it): stop it, or set overlay_port",
				    what, options.port, options.port));
		return r;
	}
	if (r < 0) {
		stay_off(c, xasprintf("%s %u: %s", what, options.port, strerror(-r)));
		return r;
	}
	c->id = options.identity.id;
	c->address = c->node->address;
	c->address6 = c->node->address6;
	free(STEAL(c->off));
	log_notice("overlay: on port %u of cluster \"%s\"%s", options.port, options.cluster,
		c->config->insecure ? ", INSECURE: open to anyone" : "");
	return 0;
}

/* Opens the overlay if there are keys, and tries again later if the address is the trouble. 0, or
 * what is wrong with the keys. */
static int try_open(struct cluster *c)
{
	struct keys keys = {0};
	char *off = STEAL(c->off);
	int r = read_keys(c, &keys);

	if (r != 0) {
		free(off);
		return r;
	}
	c->off = off;
	note_keys(c, &keys);
	r = open_overlay(c, &keys);
	keys_wipe(&keys);
	if (r < 0) {
		sd_event_source_set_time_relative(c->retry, RETRY / NSEC_PER_USEC);
		sd_event_source_set_enabled(c->retry, SD_EVENT_ONESHOT);
		return 0;
	}
	send_contacts(c);
	c->handler.opened(c->handler.userdata);
	return 0;
}

static int on_retry(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct cluster *c = userdata;

	if (!c->overlay && try_open(c) < 0)
		log_error("overlay: %s", c->off);
	return 0;
}

static int start_timers(struct cluster *c)
{
	int r = sd_event_add_time(c->loop, &c->tick, CLOCK_MONOTONIC, 0, 1000, on_tick, c);

	if (r >= 0)
		r = sd_event_source_set_enabled(c->tick, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_time(c->loop, &c->retry, CLOCK_MONOTONIC, 0, 100000, on_retry, c);
	if (r >= 0)
		r = sd_event_source_set_enabled(c->retry, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_time_relative(c->loop, &c->remember, CLOCK_MONOTONIC,
			REMEMBER_FIRST / NSEC_PER_USEC, 0, on_remember, c);
	return r;
}

static struct liveness *new_liveness(const struct config *config)
{
	struct health_options health = {
		.confirm = config->dead_confirm,
		.hold = HOLD,
		.hold_max = HOLD_MAX,
	};

	return liveness_new(&health);
}

int cluster_new(sd_event *loop, const struct config *config, const struct node *node,
	const struct cluster_handler *handler, struct cluster **ret)
{
	struct cluster *c = xcalloc(1, sizeof(*c));
	int r;

	c->loop = sd_event_ref(loop);
	c->config = config;
	c->node = node;
	c->handler = *handler;
	c->liveness = new_liveness(config);
	load_remembered(c);
	r = start_timers(c);
	if (r >= 0)
		r = try_open(c);
	if (r == 1)
		log_notice("overlay: off: %s; dead nodes are noticed by Mesos only", c->off);
	else if (r < 0)
		log_error("overlay: %s", str_or(c->off, strerror(-r)));
	if (r < 0) {
		cluster_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

/* True if the address in use is not this node's any more, and there is another one. As long as it
 * is, a route that is lost for a moment does not make this node join under the address of some
 * bridge. */
static bool is_gone(
	const struct cluster *c, const struct ip_addr *used, const struct ip_addr *fresh)
{
	return used->family && fresh->family && ip_addr_cmp(used, fresh) != 0 &&
	       !node_owns(c->node, used);
}

void cluster_node_changed(struct cluster *c)
{
	struct ip_addr own[OVERLAY_ADDRESSES_MAX];
	bool moved = is_gone(c, &c->address, &c->node->address) ||
		     is_gone(c, &c->address6, &c->node->address6);

	if (!c->overlay) {
		sd_event_source_set_time_relative(c->retry, 0);
		return;
	}
	if (!moved) {
		overlay_set_addresses(c->overlay, own, own_addresses(c->node, own), c->master);
		return;
	}
	log_notice("overlay: this node's address is another one: joining anew");
	save_remembered(c);
	c->overlay = overlay_free(c->overlay);
	/* What was known came by way of the old address. Until it is learned again nobody is out,
	 * as after a restart. */
	liveness_free(c->liveness);
	c->liveness = new_liveness(c->config);
	judged(c, true, now_ns());
	if (try_open(c) < 0)
		log_error("overlay: %s", c->off);
}

void cluster_set_master(struct cluster *c, bool master)
{
	struct ip_addr own[OVERLAY_ADDRESSES_MAX];

	if (c->master == master)
		return;
	c->master = master;
	if (c->overlay)
		overlay_set_addresses(c->overlay, own, own_addresses(c->node, own), master);
}

void cluster_reload(struct cluster *c)
{
	struct keys keys = {0};

	if (!c->overlay && try_open(c) < 0)
		log_error("overlay: %s", c->off);
	if (c->overlay && read_keys(c, &keys) == 0) {
		overlay_set_keys(c->overlay, &keys);
		note_keys(c, &keys);
		log_notice("overlay: %zu key%s read: %02x sends", keys.n, keys.n == 1 ? "" : "s",
			keys.list[0].id);
	} else if (c->overlay) {
		log_error("overlay: the keys stay as they are: %s", c->off);
	}
	if (c->overlay)
		free(STEAL(c->off));
	keys_wipe(&keys);
	send_contacts(c);
}

struct cluster *cluster_free(struct cluster *c)
{
	if (!c)
		return NULL;
	if (c->overlay)
		save_remembered(c);
	overlay_free(c->overlay);
	liveness_free(c->liveness);
	sd_event_source_disable_unref(c->tick);
	sd_event_source_disable_unref(c->remember);
	sd_event_source_disable_unref(c->retry);
	sd_event_unref(c->loop);
	free(c->off);
	free(c->remembered);
	free(c->agents);
	free(c);
	return NULL;
}
