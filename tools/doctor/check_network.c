/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This node's addresses, networks that VIPs would hide, and whether names reach vipd. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/source/names.h"
#include "agent/source/vip_table.h"
#include "tools/answer.h"
#include "tools/doctor/facts.h"

#define NAME_STRLEN 16 /* of a link, with its final zero */
/* Overlaps that are told one by one. */
#define OVERLAPS_SHOWN 5

/* linux/if_addr.h, as /proc/net/if_inet6 shows them */
#define ADDRESS_DAD_FAILED 0x08
#define ADDRESS_DEPRECATED 0x20
#define ADDRESS_TENTATIVE 0x40

/* --- this node's addresses ------------------------------------------------------ */

static bool is_own(const struct facts *f, const struct ip_addr *a)
{
	for (size_t i = 0; i < f->n_addresses; i++)
		if (ip_addr_equal(&f->addresses[i], a))
			return true;
	return false;
}

/* 32 hexadecimal digits. */
static bool parse_hex6(const char *hex, struct ip_addr *ret)
{
	struct ip_addr a = {.family = AF_INET6};

	for (int i = 0; i < 16; i++) {
		unsigned int byte;

		if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
			return false;
		a.bytes[i] = (uint8_t)byte;
	}
	*ret = a;
	return true;
}

/* The flags of an IPv6 address in /proc/net/if_inet6; -1: it is not there. */
static int address_flags(const char *if_inet6, const struct ip_addr *a)
{
	char hex[33];
	unsigned int flags;

	for (const char *line = if_inet6; line && *line; line = strchr(line, '\n')) {
		struct ip_addr b;

		line += *line == '\n';
		if (sscanf(line, "%32[0-9a-f] %*x %*x %*x %x", hex, &flags) == 2 &&
			strlen(hex) == 32 && parse_hex6(hex, &b) && ip_addr_equal(a, &b))
			return (int)flags;
	}
	return -1;
}

static void judge_address(const struct facts *f, const char *address, struct findings *out)
{
	struct ip_addr a;
	char *mend = textf("ip address show to %s; then give the link that address, or say "
			   "another one in vipd.conf (node_address, node_address6)",
		address);
	int flags;

	if (ip_addr_parse(address, &a) < 0) {
		free(mend);
		return;
	}
	flags = a.family == AF_INET6 ? address_flags(f->texts[FACT_IF_INET6], &a) : 0;
	if (!is_own(f, &a))
		findings_add(out, SEVERITY_ERROR, "no link has it", mend,
			"%s, from which VIPs are to be reached, is no address of this node: the "
			"kernel refuses the routes of VIPs with it",
			address);
	else if (flags > 0 && flags & ADDRESS_DAD_FAILED)
		findings_add(out, SEVERITY_ERROR, "its state is dadfailed: another machine has it",
			mend, "%s cannot be used: the kernel found it on another machine", address);
	else if (flags > 0 && flags & ADDRESS_TENTATIVE)
		findings_add(out, SEVERITY_WARNING, "its state is tentative",
			"wait a few seconds: the kernel asks whether another machine has it",
			"%s cannot be used yet", address);
	else if (flags > 0 && flags & ADDRESS_DEPRECATED)
		findings_add(out, SEVERITY_NOTE, "its state is deprecated", mend,
			"%s is about to go from this node", address);
	else
		findings_add(out, SEVERITY_OK, NULL, NULL, "%s is this node's", address);
	free(mend);
}

void check_addresses(const struct facts *f, struct findings *out)
{
	static const char *const keys[] = {"address", "address6"};
	static const char *const config_keys[] = {"node_address", "node_address6"};
	json_object *node = get(f->status, "node");
	size_t n = 0;

	for (size_t i = 0; i < 2; i++) {
		const char *a = f->status ? get_text(node, keys[i], NULL)
					  : facts_config(f, config_keys[i], NULL);

		if (!a || strcmp(a, "auto") == 0)
			continue;
		n++;
		judge_address(f, a, out);
	}
	if (f->status && n == 0)
		findings_add(out, SEVERITY_ERROR, "no link has an address that others can reach",
			"give this node an address, or say which (node_address in vipd.conf)",
			"this node has no address from which VIPs could be reached");
}

/* --- networks that VIPs would hide ---------------------------------------------- */

/* A network that this node has a way to. */
struct network {
	struct ip_addr first, last;
	unsigned int length;
	char device[NAME_STRLEN];
	struct ip_addr gateway; /* AF_UNSPEC: connected */
};

static void set_ends(struct network *n, const struct ip_addr *base)
{
	n->first = n->last = *base;
	for (unsigned int bit = n->length; bit < 8 * ip_addr_len(base->family); bit++) {
		n->first.bytes[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
		n->last.bytes[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
	}
}

static struct ip_addr from_word(uint32_t word)
{
	struct ip_addr a = {.family = AF_INET};

	memcpy(a.bytes, &word, 4); /* /proc shows the bytes as this machine's word has them */
	return a;
}

/* A line of /proc/net/route. False if it is none, or a default route. */
static bool parse_route4(const char *line, struct network *ret)
{
	unsigned int destination, gateway, flags, mask;
	struct network n = {0};
	struct ip_addr base;

	if (sscanf(line, "%15s %x %x %x %*d %*d %*d %x", n.device, &destination, &gateway, &flags,
		    &mask) != 5 ||
		!mask)
		return false;
	base = from_word(destination);
	n.length = (unsigned int)__builtin_popcount(mask);
	if (gateway)
		n.gateway = from_word(gateway);
	set_ends(&n, &base);
	*ret = n;
	return true;
}

/* A line of /proc/net/ipv6_route; those of the local table and multicast are no networks. */
static bool parse_route6(const char *line, struct network *ret)
{
	char destination[33], gateway[33];
	struct network n = {0};
	struct ip_addr base;
	unsigned int flags;

	if (sscanf(line, "%32s %x %*s %*x %32s %*x %*x %*x %x %15s", destination, &n.length,
		    gateway, &flags, n.device) != 5)
		return false;
	if (strlen(destination) != 32 || strlen(gateway) != 32 || !n.length || n.length >= 128 ||
		strcmp(n.device, "lo") == 0 || !parse_hex6(destination, &base) ||
		base.bytes[0] == 0xff || (base.bytes[0] == 0xfe && base.bytes[1] == 0x80))
		return false;
	if (parse_hex6(gateway, &n.gateway) &&
		ip_addr_equal(&n.gateway, &(struct ip_addr){.family = AF_INET6}))
		n.gateway.family = AF_UNSPEC;
	set_ends(&n, &base);
	*ret = n;
	return true;
}

/* "11.0.0.0/16 via 10.0.0.1 dev eth0"; caller frees. */
static char *network_text(const struct network *n)
{
	char first[IP_ADDR_STRLEN], gateway[IP_ADDR_STRLEN];
	bool via = n->gateway.family != AF_UNSPEC;

	return textf("%s/%u%s%s dev %s", ip_addr_format(&n->first, first), n->length,
		via ? " via " : "", via ? ip_addr_format(&n->gateway, gateway) : "", n->device);
}

/* Of one family, so the bytes say it. */
static bool overlap(const struct ip_addr *min, const struct ip_addr *max, const struct network *n)
{
	return min->family == n->first.family &&
	       memcmp(min->bytes, n->last.bytes, sizeof(min->bytes)) <= 0 &&
	       memcmp(n->first.bytes, max->bytes, sizeof(max->bytes)) <= 0;
}

static void judge_range(const struct facts *f, const struct network *n, struct findings *out)
{
	bool is6 = n->first.family == AF_INET6;
	const char *key = is6 ? "named_range6" : "named_range", *error;
	const char *value = facts_config(f, key, NULL);
	struct address_range range = names_default_range(n->first.family);
	char min[IP_ADDR_STRLEN], max[IP_ADDR_STRLEN];
	char *evidence, *mend;

	if (value && address_range_parse(value, n->first.family, &range, &error) < 0)
		return;
	if (!overlap(&range.min, &range.max, n))
		return;
	evidence = network_text(n);
	mend = textf("choose a range that no network of yours uses: %s = MIN-MAX in vipd.conf, the "
		     "same on all nodes, and restart vipd; or number that network anew",
		key);
	findings_add(out, SEVERITY_ERROR, evidence, mend,
		"a network of yours lies in the range of named VIPs, %s to %s: hosts in it whose "
		"address a VIP gets cannot be reached from here",
		ip_addr_format(&range.min, min), ip_addr_format(&range.max, max));
	free(evidence);
	free(mend);
}

/* An IP VIP that this node programs, or would. */
struct ip_vip {
	struct ip_addr address;
	const char *text;
};

/* Caller frees. */
static struct ip_vip *find_ip_vips(const struct facts *f, size_t *ret_n)
{
	struct ip_vip *list = calloc(get_length(f->table) + 1, sizeof(*list));
	size_t n = 0;

	if (!list)
		abort();
	for (size_t i = 0; i < get_length(f->table); i++) {
		json_object *v = json_object_array_get_idx(f->table, i);

		if (get_text(v, "name", NULL) || strcmp(get_text(v, "state", ""), "refused") == 0 ||
			ip_addr_parse(get_text(v, "address", ""), &list[n].address) < 0)
			continue;
		list[n++].text = get_text(v, "vip", "?");
	}
	*ret_n = n;
	return list;
}

/* IP VIPs in that network: their labels hide hosts of the same addresses. The first stands for all. */
static void judge_vips(
	const struct ip_vip *vips, size_t n_vips, const struct network *n, struct findings *out)
{
	char *evidence;
	size_t i = 0;

	while (i < n_vips && !overlap(&vips[i].address, &vips[i].address, n))
		i++;
	if (i == n_vips)
		return;
	evidence = network_text(n);
	findings_add(out, SEVERITY_WARNING, evidence,
		"give its label an address that no network of yours uses, or a name (VIP_0 = "
		"/name:port)",
		"the VIP %s lies in a network of yours: a host there with this address cannot be "
		"reached from here",
		vips[i].text);
	free(evidence);
}

/* What is on vipd's own link are the VIPs themselves. */
static void each_network(const struct facts *f, const char *routes,
	bool (*parse)(const char *line, struct network *ret), struct findings *out)
{
	const char *device = facts_config(f, "device", "vipd0");
	size_t n_vips, n_found = get_length(out->list);
	struct ip_vip *vips = find_ip_vips(f, &n_vips);
	struct network n;

	for (const char *line = routes; line && *line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!parse(line, &n) || strcmp(n.device, device) == 0)
			continue;
		judge_range(f, &n, out);
		judge_vips(vips, n_vips, &n, out);
		if (get_length(out->list) >= n_found + OVERLAPS_SHOWN)
			break;
	}
	free(vips);
}

void check_overlap(const struct facts *f, struct findings *out)
{
	size_t before = get_length(out->list);

	each_network(f, f->texts[FACT_ROUTE], parse_route4, out);
	if (strcmp(facts_config(f, "ipv6", "yes"), "yes") == 0)
		each_network(f, f->texts[FACT_ROUTE6], parse_route6, out);
	if (get_length(out->list) == before && f->texts[FACT_ROUTE])
		findings_add(out, SEVERITY_OK, NULL, NULL,
			"no network of this node's lies where VIPs do");
}

/* --- names ------------------------------------------------------------------------ */

/* How the resolver of this machine is told to ask vipd: by what /etc/resolv.conf names. The rest is in
 * docs/dns.md. */
static char *delegation(const struct facts *f)
{
	const char *conf = f->texts[FACT_RESOLV_CONF] ? f->texts[FACT_RESOLV_CONF] : "";
	const char *server = f->name.server;
	int address = (int)strcspn(server, strchr(server, '.') ? ":" : "");
	const char *port = server[address] ? server + address + 1 : "53";

	if (strstr(conf, "nameserver 127.0.0.53"))
		return textf("mkdir -p /etc/systemd/resolved.conf.d; printf '[Resolve]\\nDNS=%s\\n"
			     "Domains=~l4lb.thisdcos.directory\\n' > "
			     "/etc/systemd/resolved.conf.d/vipd.conf; systemctl restart "
			     "systemd-resolved",
			server);
	if (strstr(conf, "nameserver 127."))
		return textf("for dnsmasq: echo server=/l4lb.thisdcos.directory/%.*s#%s > "
			     "/etc/dnsmasq.d/vipd.conf; systemctl restart dnsmasq. For CoreDNS, in "
			     "its Corefile: l4lb.thisdcos.directory { forward . %s }",
			address, server, port, server);
	return textf("have the name servers of /etc/resolv.conf forward l4lb.thisdcos.directory to "
		     "%s, or run dnsmasq or systemd-resolved on this node, which does so "
		     "(docs/dns.md says how)",
		server);
}

static const char *answer_words(enum name_answer a)
{
	switch (a) {
	case NAME_NOT_ASKED:
		return "was not asked";
	case NAME_RIGHT:
		return "gives the right address";
	case NAME_WRONG:
		return "gives another address";
	case NAME_UNKNOWN:
		return "knows no such name";
	case NAME_REFUSED:
		return "refuses";
	case NAME_SILENT:
		break;
	}
	return "does not answer";
}

static void judge_system(const struct facts *f, struct findings *out)
{
	const struct name_facts *n = &f->name;
	char *mend = delegation(f);
	char *evidence = textf("asked for %s, vipd %s, and this node's resolver %s%s%s", n->name,
		answer_words(n->direct), answer_words(n->by_system), n->got ? ": " : "",
		n->got ? n->got : "");

	if (n->by_system == NAME_RIGHT)
		findings_add(out, SEVERITY_OK, NULL, NULL,
			"%s resolves to %s by this node's resolver", n->name, n->address);
	else
		findings_add(out, SEVERITY_WARNING, evidence, mend,
			"names of VIPs do not resolve on this node: its resolver does not send "
			"l4lb.thisdcos.directory to vipd");
	free(evidence);
	free(mend);
}

/* Addresses on which vipd should answer and cannot. */
static size_t judge_listeners(const struct facts *f, struct findings *out)
{
	json_object *list = get(get(f->status, "dns"), "listen");
	size_t n_failed = 0;

	for (size_t i = 0; i < get_length(list); i++) {
		json_object *l = json_object_array_get_idx(list, i);
		const char *error = get_text(l, "error", NULL);

		if (!error)
			continue;
		n_failed++;
		findings_add(out, SEVERITY_ERROR, error,
			"see who has the port (ss -lunp sport = :53; ss -ltnp sport = :53) and "
			"stop "
			"it, or move vipd with dns_listen in vipd.conf",
			"vipd cannot answer for names on %s port %" PRId64,
			get_text(l, "address", "?"), get_int(l, "port"));
	}
	return n_failed;
}

void check_dns(const struct facts *f, struct findings *out)
{
	const struct name_facts *n = &f->name;
	char *evidence;

	if (judge_listeners(f, out) || !n->server) /* it serves no names: others are to */
		return;
	if (!n->name) {
		findings_add(out, SEVERITY_OK, NULL, NULL,
			"vipd answers at %s; there is no named VIP yet that could be asked for",
			n->server);
		return;
	}
	if (n->direct == NAME_RIGHT || n->direct == NAME_NOT_ASKED) {
		judge_system(f, out);
		return;
	}
	evidence = textf("asked %s for %s: it %s", n->server, n->name, answer_words(n->direct));
	findings_add(out, SEVERITY_ERROR, evidence,
		"see whether a firewall keeps this node from itself (iptables -S INPUT), and "
		"vipd's "
		"log",
		"vipd does not answer for names at %s", n->server);
	free(evidence);
}
