/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The overlay: key, members, and whether the ports between the nodes are open. A port's answer and
 * the member's status together say what is wrong with a node: no answer at all is a firewall or
 * a dead host, a refusal a host without vipd, an open port of a node that is no member another key
 * or another cluster.
 */
#include <stdlib.h>
#include <string.h>

#include "tools/answer.h"
#include "tools/doctor/facts.h"

#define NAMED_MAX 5 /* nodes that one finding names; of more it tells the number */
/* A vipd that has run for so long is a member if it can be. */
#define JOINED_S 3.0
/* From this loss on a link is told. A restart or a cut that is over leaves less in the estimate. */
#define LOSSY 0.2

static bool is_insecure(const struct facts *f)
{
	return strcmp(facts_config(f, "insecure", "no"), "yes") == 0;
}

/* --- the key file ------------------------------------------------------------ */

static bool key_is_missing(const struct facts *f)
{
	return !is_insecure(f) && f->is_root && !f->key.exists;
}

static void add_missing_key(const struct facts *f, const char *path, struct findings *out)
{
	bool runs = get_bool(get(f->status, "overlay"), "on");
	char *mend = runs ? textf("copy %s from another node, with mode 600", path)
			  : textf("on one node: (umask 077; vipctl keygen >%s); copy it to all the "
				  "others, with mode 600, then on each: systemctl "
				  "reload-or-restart vipd",
				    path);

	findings_add(out, SEVERITY_WARNING, NULL, mend,
		runs ? "there is no key file %s any more: the overlay has its key until vipd's "
		       "next start, and is off from then on"
		     : "there is no key file %s, so the overlay is off: a dead node is noticed "
		       "only when the Mesos master does",
		path);
	free(mend);
}

static void judge_key(const struct key_file *key, const char *path, struct findings *out)
{
	char *evidence = textf("%s has mode %04o", path, (unsigned int)key->mode & 07777);
	char *mend = textf("chmod 600 %s", path);

	if (key->error) {
		findings_add(
			out, SEVERITY_ERROR, strerror(key->error), NULL, "%s cannot be read", path);
	} else if (key->mode & 027) {
		findings_add(out, SEVERITY_ERROR, evidence, mend,
			"others may read or write the cluster's key: vipd refuses it");
	} else if (key->bad_line || !key->n_keys || key->n_keys > 3) {
		free(evidence);
		evidence = key->bad_line
				   ? textf("line %d is not 64 hexadecimal digits", key->bad_line)
				   : textf("it holds %u keys", key->n_keys);
		findings_add(out, SEVERITY_ERROR, evidence,
			"put the file of a node that is well in its place",
			"%s is not a file of one to three keys, each on a line", path);
	} else {
		findings_add(out, SEVERITY_OK, NULL, NULL, "%s holds %u key%s, for root only", path,
			key->n_keys, key->n_keys == 1 ? "" : "s");
	}
	free(evidence);
	free(mend);
}

void check_key(const struct facts *f, struct findings *out)
{
	const char *path = facts_config(f, "key_file", "/etc/vipd/key");

	if (is_insecure(f))
		findings_add(out, SEVERITY_WARNING, "insecure = yes in the configuration",
			"make a key (vipctl keygen) for all nodes, and take insecure = yes out",
			"the overlay has no key: whoever reaches the port can take nodes out");
	else if (!f->is_root)
		findings_add(out, SEVERITY_NOTE, NULL, "run vipctl doctor as root",
			"the key file was not looked at: only root may");
	else if (key_is_missing(f))
		add_missing_key(f, path, out);
	else
		judge_key(&f->key, path, out);
}

/* --- members ----------------------------------------------------------------- */

/* "10.0.0.1, 10.0.0.2, and 3 more" */
struct names {
	size_t n;
	char *text; /* NULL: none */
};

static void names_add(struct names *list, const char *name)
{
	char *old = list->text;

	if (list->n++ >= NAMED_MAX)
		return;
	list->text = textf("%s%s%s", old ? old : "", old ? ", " : "", name);
	free(old);
}

static void names_end(struct names *list)
{
	char *old = list->text;

	if (list->n <= NAMED_MAX)
		return;
	list->text = textf("%s, and %zu more", old, list->n - NAMED_MAX);
	free(old);
}

static bool has_status(json_object *member, const char *status)
{
	return strcmp(get_text(member, "status", ""), status) == 0;
}

/* The members with this status. */
static struct names name_members(const struct facts *f, const char *status)
{
	struct names list = {0};

	for (size_t i = 0; i < get_length(f->nodes); i++) {
		json_object *m = json_object_array_get_idx(f->nodes, i);

		if (has_status(m, status) && !get_bool(m, "replaced"))
			names_add(&list, get_text(m, "address", "?"));
	}
	names_end(&list);
	return list;
}

/* A node whose state_dir was lost has a new id; the old one is not heard from any more. */
static void add_replaced(const struct facts *f, struct findings *out)
{
	struct names list = {0};

	for (size_t i = 0; i < get_length(f->nodes); i++) {
		json_object *m = json_object_array_get_idx(f->nodes, i);

		if (get_bool(m, "replaced"))
			names_add(&list, get_text(m, "address", "?"));
	}
	names_end(&list);
	if (list.n)
		findings_add(out, SEVERITY_NOTE, list.text, NULL,
			"%zu earlier id%s of nodes that are up %s still listed: a state_dir was "
			"lost; forgotten after `forget_after`",
			list.n, list.n == 1 ? "" : "s", list.n == 1 ? "is" : "are");
	free(list.text);
}

/* Back, and not trusted yet. */
static void add_held(const struct facts *f, struct findings *out)
{
	struct names list = {0};

	for (size_t i = 0; i < get_length(f->nodes); i++) {
		json_object *m = json_object_array_get_idx(f->nodes, i);
		char *text = textf(
			"%s (%" PRId64 " times)", get_text(m, "address", "?"), get_int(m, "flaps"));

		if (get_bool(m, "held"))
			names_add(&list, text);
		free(text);
	}
	names_end(&list);
	if (list.n)
		findings_add(out, SEVERITY_WARNING, list.text,
			"see to their network (ping, cables, duplex), and what restarts them",
			"%zu node%s down again and again: up now, and without new connections for "
			"a "
			"while",
			list.n, list.n == 1 ? " goes" : "s go");
	free(list.text);
}

/* Packets that others sent and that this node does not understand; theirs look stalled from here. */
static int64_t count_refused(const struct facts *f)
{
	json_object *t = get(f->links, "transport");

	return get_int(t, "unknown_key") + get_int(t, "forged");
}

static void add_stalled(const struct facts *f, struct findings *out)
{
	struct names list = name_members(f, "stalled");
	int64_t n_refused = count_refused(f);
	char *evidence = NULL, *mend = NULL;

	if (list.n && n_refused) {
		evidence = textf("%s; since its start this vipd has refused %" PRId64
				 " packets for their key or cluster's name",
			list.text, n_refused);
		mend = textf("compare on both nodes: sha256sum %s; if they differ, copy the newer, "
			     "then: systemctl reload vipd; else see what starves them (top, dmesg)",
			facts_config(f, "key_file", "/etc/vipd/key"));
		findings_add(out, SEVERITY_ERROR, evidence, mend,
			"the vipd%s of %zu node%s not understood here: another key, or it does not "
			"get "
			"to run",
			list.n == 1 ? "" : "s", list.n, list.n == 1 ? " is" : "s are");
	} else if (list.n) {
		findings_add(out, SEVERITY_WARNING, list.text,
			"see what starves them of processor time or memory (top, dmesg)",
			"the vipd%s of %zu node%s not get to run", list.n == 1 ? "" : "s", list.n,
			list.n == 1 ? " does" : "s do");
	}
	free(evidence);
	free(mend);
	free(list.text);
}

static void add_members(const struct facts *f, struct findings *out)
{
	struct names down = name_members(f, "down"), gone = name_members(f, "agentless");

	if (down.n)
		findings_add(out, SEVERITY_WARNING, down.text,
			3 * down.n >= get_length(f->nodes) && down.n > 1
				? "so many are rather a partition: see to the network between them "
				  "and this node (ping, switches); they judge this part alike"
				: "see to these hosts and the network to them (ping); what is gone "
				  "for good is forgotten after `forget_after`",
			"%zu node%s down", down.n, down.n == 1 ? " is" : "s are");
	if (gone.n)
		findings_add(out, SEVERITY_WARNING, gone.text,
			"on each of them: systemctl restart vipd; journalctl -u vipd -e",
			"%zu node%s alive without a vipd", gone.n, gone.n == 1 ? " is" : "s are");
	add_stalled(f, out);
	add_held(f, out);
	add_replaced(f, out);
	free(down.text);
	free(gone.text);
}

/* Agents are known, and none of them is a member. */
static void add_alone(const struct facts *f, json_object *overlay, struct findings *out)
{
	if (f->n_peers && get_length(f->nodes) <= 1 && !get_int(overlay, "up") &&
		get_seconds(f->status, "uptime") >= JOINED_S)
		findings_add(out, SEVERITY_WARNING, NULL, "the check `peers` says why",
			"this node is alone in the overlay: a dead node is noticed only when the "
			"Mesos master does");
}

/* All others can be reached: what cuts this node off is not the network. */
static bool reaches_all(const struct facts *f)
{
	size_t n = 0;

	for (size_t i = 0; i < f->n_peers; i++)
		n += f->peers[i].dial == DIAL_OPEN;
	return n && n == f->n_peers;
}

static void add_self(const struct facts *f, json_object *overlay, struct findings *out)
{
	const char *self = get_text(overlay, "self", "well");

	if (strcmp(self, "well") != 0)
		findings_add(out, SEVERITY_ERROR, NULL,
			reaches_all(f) ? "all others answer, so it is not TCP: is UDP blocked, was "
					 "the key "
					 "changed without this node, or was its state_dir copied "
					 "(then its "
					 "id is another's: remove `node` from it)? then: systemctl "
					 "restart "
					 "vipd"
				       : "see to this node's network: the check `peers` says whom "
					 "it reaches",
			"this node is %s: it sees too few of the others to judge any, and goes on "
			"sending to all backends",
			strcmp(self, "minority") == 0 ? "in a small part of the cluster" : self);
	if (get(overlay, "id_conflict"))
		findings_add(out, SEVERITY_ERROR, NULL,
			"on the node that was made as a copy: systemctl stop vipd; remove `node` "
			"from "
			"its state_dir; systemctl start vipd",
			"another vipd speaks as this node: a state_dir was copied, and both nodes "
			"are in the overlay by turns, if at all");
	if (get_int(overlay, "vips_all_down"))
		findings_add(out, SEVERITY_ERROR, NULL, "see to the nodes that are down",
			"%" PRId64 " VIPs have backends on down nodes only, and keep them",
			get_int(overlay, "vips_all_down"));
}

void check_overlay(const struct facts *f, struct findings *out)
{
	json_object *overlay = get(f->status, "overlay");
	size_t before = get_length(out->list);

	if (!f->status)
		return;
	if (!get_bool(overlay, "on")) {
		if (key_is_missing(f))
			return; /* check_key() said so */
		findings_add(out, SEVERITY_WARNING, get_text(overlay, "off_because", NULL),
			"mend what it says, then: systemctl reload vipd",
			"the overlay is off: a dead node is noticed only when the Mesos master "
			"does");
		return;
	}
	add_self(f, overlay, out);
	add_alone(f, overlay, out);
	add_members(f, out);
	if (get_length(out->list) == before)
		findings_add(out, SEVERITY_OK, NULL, NULL, "this node and %" PRId64 " other%s up",
			get_int(overlay, "up"), get_int(overlay, "up") == 1 ? " are" : "s are");
}

/* --- ports between the nodes ---------------------------------------------------- */

/* The member with this address, not an earlier id of it; NULL: none. */
static json_object *find_member(const struct facts *f, const char *address)
{
	for (size_t i = 0; i < get_length(f->nodes); i++) {
		json_object *m = json_object_array_get_idx(f->nodes, i);

		if (strcmp(get_text(m, "address", ""), address) == 0 && !get_bool(m, "replaced"))
			return m;
	}
	return NULL;
}

/* A connection to it may fail for loss alone, on its link or on most of this node's, which
 * judge_links() tells. */
static bool is_lossy(const struct facts *f, const char *address)
{
	json_object *links = get(f->links, "links");
	size_t n = get_length(links), n_lossy = 0;

	for (size_t i = 0; i < n; i++) {
		json_object *l = json_object_array_get_idx(links, i);

		if (get_seconds(l, "loss") < LOSSY)
			continue;
		n_lossy++;
		if (strcmp(get_text(l, "address", ""), address) == 0)
			return true;
	}
	return 2 * n_lossy > n;
}

/* What becomes of a peer that was tried. */
enum fate { FATE_WELL, FATE_BLOCKED, FATE_DOWN, FATE_WITHOUT_VIPD, FATE_STRANGER, _FATE_N };

static enum fate fate_of(const struct facts *f, const struct peer *p)
{
	char address[IP_ADDR_STRLEN];
	json_object *m = find_member(f, ip_addr_format(&p->address, address));
	bool is_down = strcmp(get_text(m, "status", ""), "down") == 0;
	/* Without a vipd here, or when it has just started, nobody is a member yet. */
	bool joined = f->status && get_seconds(f->status, "uptime") >= JOINED_S;

	switch (p->dial) {
	case DIAL_OPEN:
		return joined && (!m || is_down) ? FATE_STRANGER : FATE_WELL;
	case DIAL_REFUSED:
		return m && !is_down ? FATE_WELL : FATE_WITHOUT_VIPD; /* check_overlay() tells it */
	case DIAL_SILENT:
	case DIAL_UNREACHABLE:
		break;
	}
	return is_down ? FATE_DOWN : m && is_lossy(f, address) ? FATE_WELL : FATE_BLOCKED;
}

static char *opening(unsigned int port)
{
	return textf(
		"let UDP and TCP port %u through between all nodes, in both directions: iptables "
		"-I INPUT -p tcp --dport %u -j ACCEPT; iptables -I INPUT -p udp --dport %u -j "
		"ACCEPT",
		port, port, port);
}

static void add_blocked(
	const struct names *list, unsigned int port, bool are_down, struct findings *out)
{
	char *open = opening(port);
	char *mend = textf("%s%s", are_down ? "ping it; if it answers: " : "", open);
	char *evidence = textf("no answer to a TCP connection on port %u within a second", port);

	findings_add(out, are_down ? SEVERITY_WARNING : SEVERITY_ERROR, evidence, mend,
		"%s %s not answer on port %u: %s", list->text, list->n == 1 ? "does" : "do", port,
		are_down ? "down, or behind a firewall" : "behind a firewall, or the host is down");
	free(open);
	free(evidence);
	free(mend);
}

static void add_strangers(const struct facts *f, const struct names *list, struct findings *out)
{
	json_object *t = get(f->links, "transport");
	char *evidence = textf(
		"they accept connections, and are no members; since its start this vipd "
		"has refused %" PRId64 " packets with an unknown key, %" PRId64
		" that did not fit the key and the cluster's name, and %" PRId64
		" greetings failed",
		get_int(t, "unknown_key"), get_int(t, "forged"), get_int(t, "handshakes_failed"));
	char *mend =
		textf("compare on both nodes: sha256sum %s; vipd --check-config | grep -e "
		      "cluster -e insecure; make them the same, then: systemctl restart vipd. If "
		      "they are: vipctl members there; if its own id is listed here under another "
		      "address, a state_dir was copied: remove `node` from both, restart both",
			facts_config(f, "key_file", "/etc/vipd/key"));

	findings_add(out, SEVERITY_ERROR, evidence, mend,
		"%s: what listens there on the overlay's port is not of this overlay; a vipd with "
		"another key, another cluster's name or another node's id",
		list->text);
	free(evidence);
	free(mend);
}

static void add_without_vipd(const struct names *list, struct findings *out)
{
	findings_add(out, SEVERITY_WARNING, "the kernel there refuses the connection",
		"on each of them: systemctl start vipd; journalctl -u vipd -e",
		"no vipd with an overlay runs on %s, so the death of %s would be noticed late",
		list->text, list->n == 1 ? "that node" : "those nodes");
}

static void judge_peers(const struct facts *f, unsigned int port, struct findings *out)
{
	struct names fates[_FATE_N] = {{0}};
	char address[IP_ADDR_STRLEN];

	for (size_t i = 0; i < f->n_peers; i++)
		names_add(&fates[fate_of(f, &f->peers[i])],
			ip_addr_format(&f->peers[i].address, address));
	for (int i = 0; i < _FATE_N; i++)
		names_end(&fates[i]);
	if (fates[FATE_BLOCKED].n)
		add_blocked(&fates[FATE_BLOCKED], port, false, out);
	if (fates[FATE_DOWN].n)
		add_blocked(&fates[FATE_DOWN], port, true, out);
	if (fates[FATE_WITHOUT_VIPD].n)
		add_without_vipd(&fates[FATE_WITHOUT_VIPD], out);
	if (fates[FATE_STRANGER].n)
		add_strangers(f, &fates[FATE_STRANGER], out);
	for (int i = 0; i < _FATE_N; i++)
		free(fates[i].text);
}

/* Most links of several have it: rather here than there. */
static bool is_own_trouble(const struct names *list, size_t n_links)
{
	return n_links > 2 && 2 * list->n > n_links;
}

/* Whoever is heard by TCP alone sends no UDP that arrives; of the other direction this says nothing. */
static void add_tcp_only(
	const struct names *list, size_t n_links, unsigned int port, struct findings *out)
{
	bool own = is_own_trouble(list, n_links);
	char *mend =
		textf("let UDP port %u %s, too: iptables -I INPUT -p udp --dport %u -j ACCEPT; "
		      "iptables -I OUTPUT -p udp --dport %u -j ACCEPT",
			port, own ? "in on this node" : "out there and in here", port, port);

	findings_add(out, SEVERITY_WARNING, "heartbeats come by TCP, and none by UDP", mend,
		"no UDP from %s reaches port %u of this node%s, so %s death is noticed later",
		list->text, port, own ? " (the trouble is probably here)" : "",
		list->n == 1 ? "its" : "their");
	free(mend);
}

/* The other direction: they tell by TCP that they hear this node by TCP alone. */
static void add_unheard(
	const struct names *list, size_t n_links, unsigned int port, struct findings *out)
{
	bool own = is_own_trouble(list, n_links);
	char *mend =
		textf("let UDP port %u %s, too: iptables -I OUTPUT -p udp --dport %u -j ACCEPT; "
		      "iptables -I INPUT -p udp --dport %u -j ACCEPT",
			port, own ? "out on this node" : "out here and in there", port, port);

	findings_add(out, SEVERITY_WARNING, "they hear this node by TCP alone", mend,
		"no UDP from this node reaches port %u of %s%s, so its death is noticed later",
		port, list->text, own ? " (the trouble is probably here)" : "");
	free(mend);
}

static void add_lossy(const struct names *list, size_t n_links, struct findings *out)
{
	bool own = is_own_trouble(list, n_links);

	findings_add(out, SEVERITY_WARNING, list->text,
		own ? "see to this node's network: ip -s link; ethtool -S; vipctl links"
		    : "see to those nodes' network: ip -s link; ethtool -S; vipctl links there",
		"packets get lost on %zu of this node's %zu links%s", list->n, n_links,
		own ? ": the trouble is probably here" : "");
}

static void judge_links(const struct facts *f, unsigned int port, struct findings *out)
{
	json_object *links = get(f->links, "links");
	struct names tcp_only = {0}, unheard = {0}, lossy = {0};

	for (size_t i = 0; i < get_length(links); i++) {
		json_object *l = json_object_array_get_idx(links, i);
		double loss = get_seconds(l, "loss");
		char *text = textf("%s (%.0f %%)", get_text(l, "address", "?"), 1e2 * loss);

		if (get_bool(l, "tcp_only"))
			names_add(&tcp_only, get_text(l, "address", "?"));
		else if (loss >= LOSSY)
			names_add(&lossy, text);
		if (get_bool(l, "udp_unheard"))
			names_add(&unheard, get_text(l, "address", "?"));
		free(text);
	}
	names_end(&tcp_only);
	names_end(&unheard);
	names_end(&lossy);
	if (tcp_only.n)
		add_tcp_only(&tcp_only, get_length(links), port, out);
	if (unheard.n)
		add_unheard(&unheard, get_length(links), port, out);
	if (lossy.n)
		add_lossy(&lossy, get_length(links), out);
	free(tcp_only.text);
	free(unheard.text);
	free(lossy.text);
}

void check_peers(const struct facts *f, struct findings *out)
{
	size_t before = get_length(out->list);
	unsigned int port = (unsigned int)atoi(facts_config(f, "overlay_port", "61420"));

	if (!f->n_peers)
		return;
	judge_peers(f, port, out);
	judge_links(f, port, out);
	if (get_length(out->list) == before)
		findings_add(out, SEVERITY_OK, NULL, NULL, "%zu other node%s on port %u%s",
			f->n_peers, f->n_peers == 1 ? " answers" : "s answer", port,
			f->n_peers_left_out ? " (more were not asked)" : "");
}
