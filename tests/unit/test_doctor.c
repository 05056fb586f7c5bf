/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A node with everything well; each test breaks one thing and sees it named, with its mend. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tools/answer.h"
#include "tools/doctor/facts.h"

static const char status[] =
	"{\"version\": \"1\", \"pid\": 7, \"uptime\": 60,"
	" \"node\": {\"address\": \"10.0.0.1\", \"address6\": \"fd00:aa::1\"},"
	" \"source\": {\"ok\": true, \"url\": \"http://10.0.0.9:5050/state\", \"age\": 1},"
	" \"table\": {\"known\": true, \"rejected\": 0},"
	" \"kernel\": {\"in_sync\": true, \"services\": 1, \"destinations\": 2},"
	" \"firewall\": {\"wanted\": true, \"ok\": true},"
	" \"overlay\": {\"on\": true, \"self\": \"well\", \"up\": 2},"
	" \"namespaces\": {\"registered\": 1, \"programmed\": 1},"
	" \"http\": {\"listen\": \"127.0.0.1:62080\", \"error\": null},"
	" \"dns\": {\"listen\": [{\"address\": \"127.0.0.61\", \"port\": 53,"
	" \"error\": null}]}}";
static const char table[] =
	"[{\"vip\": \"web.marathon.l4lb.thisdcos.directory:80\","
	" \"name\": \"web.marathon.l4lb.thisdcos.directory\", \"address\": \"11.1.2.3\","
	" \"port\": 80, \"state\": \"programmed\", \"backends\": []},"
	" {\"vip\": \"1.2.3.4:80\", \"name\": null, \"address\": \"1.2.3.4\", \"port\": 80,"
	" \"state\": \"programmed\", \"backends\": []}]";
static const char nodes[] = "[{\"address\": \"10.0.0.1\", \"self\": true, \"status\": \"up\"},"
			    " {\"address\": \"10.0.0.2\", \"status\": \"up\"}]";
static const char links[] = "{\"links\": [{\"address\": \"10.0.0.2\", \"tcp_only\": false}],"
			    " \"transport\": {\"unknown_key\": 0, \"forged\": 0}}";
static const char sysctls[] =
	"[{\"name\": \"net.ipv4.vs.expire_nodest_conn\", \"value\": 1, \"wanted\": 1,"
	" \"reason\": \"they end\"}]";

static const char route[] =
	"Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
	"eth0\t00000000\tFE00000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
	"eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
static const char route6[] =
	"fd0000aa000000000000000000000000 40 00000000000000000000000000000000 00 "
	"00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n";
static const char if_inet6[] = "fd0000aa000000000000000000000001 02 40 00 80     eth0\n"
			       "00000000000000000000000000000001 01 80 10 80       lo\n";
static const char dep[] =
	"kernel/net/netfilter/ipvs/ip_vs_wlc.ko.xz: kernel/net/netfilter/ipvs/ip_vs.ko.xz\n"
	"kernel/net/netfilter/ipvs/ip_vs.ko.xz:\n"
	"kernel/net/netfilter/ipset/ip_set.ko:\n"
	"kernel/net/netfilter/ipset/ip_set_hash_ipport.ko:\n"
	"kernel/drivers/net/dummy.ko:\n";

/* Facts own their texts, so these can be written. */
static char url[] = "http://10.0.0.9:5050";
static char name[] = "web.marathon.l4lb.thisdcos.directory";
static char address[] = "11.1.2.3";
static char server[] = "127.0.0.61";
static char service[] = "vipd.service is failed (failed), result exit-code";
static char config_error[] = "/etc/vipd/vipd.conf:3: polls: no such key";

struct world {
	struct facts f;
	struct findings out;
	struct ip_addr addresses[2];
	struct peer peers[1];
	struct master masters[1];
};

static struct ip_addr addr(const char *s)
{
	struct ip_addr a;

	assert_int_equal(ip_addr_parse(s, &a), 0);
	return a;
}

static void set_text(struct world *w, enum fact fact, const char *s)
{
	free(w->f.texts[fact]);
	w->f.texts[fact] = textf("%s", s);
}

static void set_json(json_object **o, const char *s)
{
	json_object_put(*o);
	*o = json_tokener_parse(s);
	assert_non_null(*o);
}

/* Replaces a member, as in {"kernel": {"in_sync": false}}. */
static void set_part(json_object *o, const char *key, const char *s)
{
	json_object *part = json_tokener_parse(s);

	assert_non_null(part);
	json_object_object_add(o, key, part);
}

static void set_up_texts(struct world *w)
{
	set_text(w, FACT_MODULES, "ip_set_hash_ip 16384 2 - Live 0x0\nip_vs 9 1 - Live 0x0\n");
	set_text(w, FACT_MODULES_DEP, dep);
	set_text(w, FACT_IP_VS, "IP Virtual Server\n");
	set_text(w, FACT_ROUTE, route);
	set_text(w, FACT_ROUTE6, route6);
	set_text(w, FACT_IF_INET6, if_inet6);
	set_text(w, FACT_TCP, "  sl  local_address rem_address   st\n");
	set_text(w, FACT_PORT_RANGE, "40000\t40009\n");
	set_text(w, FACT_CONNTRACK_COUNT, "10\n");
	set_text(w, FACT_CONNTRACK_MAX, "1000\n");
	set_text(w, FACT_CONN_REUSE, "1\n");
	set_text(w, FACT_RESOLV_CONF, "nameserver 127.0.0.53\n");
	set_text(w, FACT_PID_STATUS, "CapEff:\t000001ffffffffff\n");
	set_text(w, FACT_PID_LIMITS, "Max open files            1024   524288   files\n");
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	set_up_texts(w);
	set_json(&w->f.status, status);
	set_json(&w->f.table, table);
	set_json(&w->f.nodes, nodes);
	set_json(&w->f.links, links);
	set_json(&w->f.sysctls, sysctls);
	set_json(&w->f.config, "{\"ipv6\": \"yes\", \"cni_dir\": \"/x\", \"dns_listen\": \"\"}");
	w->f.socket = "/run/vipd/vipd.sock";
	w->f.is_root = true;
	w->addresses[0] = addr("10.0.0.1");
	w->addresses[1] = addr("fd00:aa::1");
	w->f.addresses = w->addresses;
	w->f.n_addresses = 2;
	w->peers[0] = (struct peer){.address = addr("10.0.0.2"), .port = 61420};
	w->f.peers = w->peers;
	w->f.n_peers = 1;
	w->masters[0] = (struct master){.url = url, .dated = true, .ahead = 0.4};
	w->f.masters = w->masters;
	w->f.n_masters = 1;
	w->f.n_files = 30;
	w->f.key = (struct key_file){.exists = true, .mode = 0100600, .n_keys = 1};
	w->f.name = (struct name_facts){.name = name,
		.address = address,
		.server = server,
		.direct = NAME_RIGHT,
		.by_system = NAME_RIGHT};
	findings_init(&w->out);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < _FACT_N; i++)
		free(w->f.texts[i]);
	json_object_put(w->f.status);
	json_object_put(w->f.table);
	json_object_put(w->f.nodes);
	json_object_put(w->f.links);
	json_object_put(w->f.sysctls);
	json_object_put(w->f.config);
	findings_done(&w->out);
	free(w);
	return 0;
}

/* The only finding of a warning or error is of this check, and has these words and this mend. */
static void expect(struct world *w, const char *check, enum severity severity, const char *words,
	const char *mend)
{
	json_object *found = NULL;

	checks_run(&w->f, &w->out);
	for (size_t i = 0; i < get_length(w->out.list); i++) {
		json_object *o = json_object_array_get_idx(w->out.list, i);
		const char *s = get_text(o, "severity", "");

		if (strcmp(s, "ok") == 0 || (strcmp(s, "note") == 0 && severity != SEVERITY_NOTE))
			continue;
		if (found)
			fail_msg("more than one: %s", json_object_to_json_string(w->out.list));
		found = o;
	}
	if (!found)
		fail_msg("nothing found: %s", json_object_to_json_string(w->out.list));
	if (strcmp(get_text(found, "check", ""), check) != 0 ||
		strcmp(get_text(found, "severity", ""), severity_name(severity)) != 0 ||
		!strstr(get_text(found, "text", ""), words) ||
		!strstr(get_text(found, "mend", ""), mend))
		fail_msg("%s", json_object_to_json_string(found));
	assert_int_equal(w->out.worst, severity);
}

static void test_all_is_well(void **state)
{
	struct world *w = *state;

	checks_run(&w->f, &w->out);
	if (w->out.worst != SEVERITY_OK)
		fail_msg("%s", json_object_to_json_string(w->out.list));
	/* Every check had something to look at. */
	assert_true(get_length(w->out.list) >= n_checks);
}

/* --- the daemon ---------------------------------------------------------------- */

static void stop_daemon(struct world *w)
{
	json_object **answers[] = {
		&w->f.status, &w->f.table, &w->f.nodes, &w->f.links, &w->f.sysctls};

	for (size_t i = 0; i < sizeof(answers) / sizeof(*answers); i++) {
		json_object_put(*answers[i]);
		*answers[i] = NULL;
	}
	w->f.n_peers = 0;
	w->f.socket_error = ENOENT;
}

static void test_vipd_does_not_run(void **state)
{
	struct world *w = *state;

	stop_daemon(w);
	w->f.service = service;
	expect(w, "vipd", SEVERITY_ERROR, "no vipd answers", "systemctl restart vipd");
}

static void test_its_configuration_is_bad(void **state)
{
	struct world *w = *state;

	stop_daemon(w);
	w->f.config_error = config_error;
	expect(w, "vipd", SEVERITY_ERROR, "no vipd answers", "vipd --check-config");
	assert_non_null(
		strstr(json_object_to_json_string_ext(w->out.list, JSON_C_TO_STRING_NOSLASHESCAPE),
			"vipd.conf:3"));
}

static void test_only_root_may_ask(void **state)
{
	struct world *w = *state;

	stop_daemon(w);
	w->f.socket_error = EACCES;
	expect(w, "vipd", SEVERITY_ERROR, "no vipd answers", "as root");
}

static void test_source_fails(void **state)
{
	struct world *w = *state;

	set_part(w->f.status, "source", "{\"ok\": false, \"error\": \"timed out\", \"age\": 30}");
	expect(w, "source", SEVERITY_ERROR, "VIPs stay as they were", "see to the masters");
}

static void test_source_wants_credentials(void **state)
{
	struct world *w = *state;

	set_part(w->f.status, "source", "{\"ok\": false, \"error\": \"HTTP 401\", \"age\": -1}");
	expect(w, "source", SEVERITY_ERROR, "there are no VIPs", "credentials");
}

/* Who follows a published table polls nobody: that is no source that fails. */
static void test_table_is_followed(void **state)
{
	struct world *w = *state;

	set_part(w->f.status, "source", "{\"ok\": true, \"age\": -1}");
	set_part(w->f.status, "publisher",
		"{\"mode\": \"following\", \"address\": \"10.0.0.9\", \"confirmed\": 1}");
	checks_run(&w->f, &w->out);
	assert_int_equal(w->out.worst, SEVERITY_OK);
	assert_non_null(strstr(json_object_to_json_string(w->out.list), "10.0.0.9 publishes"));
}

static void test_label_is_left_out(void **state)
{
	struct world *w = *state;

	set_part(w->f.status, "table",
		"{\"known\": true, \"rejected\": 1, \"rejections\": [{\"task\": \"web.1\","
		" \"key\": \"VIP_0\", \"value\": \"x\", \"detail\": \"no port\"}]}");
	expect(w, "labels", SEVERITY_NOTE, "left out", "vipctl why TASK");
}

static void test_kernel_refuses(void **state)
{
	struct world *w = *state;

	set_part(w->f.status, "kernel", "{\"in_sync\": false, \"failing_steps\": 2}");
	expect(w, "kernel", SEVERITY_ERROR, "refuses 2 commands", "vipctl diff");
}

static void test_flushed(void **state)
{
	struct world *w = *state;

	set_part(w->f.status, "kernel", "{\"paused\": true}");
	expect(w, "kernel", SEVERITY_ERROR, "flushed", "systemctl reload vipd");
}

static void test_vip_is_refused(void **state)
{
	struct world *w = *state;

	set_json(&w->f.table, "[{\"vip\": \"10.0.0.1:80\", \"address\": \"10.0.0.1\", \"port\": 80,"
			      " \"state\": \"refused\", \"reason\": \"is a node's\"}]");
	expect(w, "vips", SEVERITY_ERROR, "1 of 1 VIPs", "vipctl why 10.0.0.1:80");
}

static void test_rules_fail(void **state)
{
	struct world *w = *state;

	set_part(w->f.status, "firewall", "{\"wanted\": true, \"ok\": false, \"error\": \"x\"}");
	expect(w, "rules", SEVERITY_WARNING, "not in place", "iptables");
}

static void test_sysctl_was_changed(void **state)
{
	struct world *w = *state;

	set_json(&w->f.sysctls, "[{\"name\": \"net.ipv4.vs.conntrack\", \"value\": 0,"
				" \"wanted\": 1, \"reason\": \"they pass\"}]");
	expect(w, "sysctls", SEVERITY_WARNING, "they pass", "sysctl -w net.ipv4.vs.conntrack=1");
}

static void test_ports_are_not_reused(void **state)
{
	struct world *w = *state;

	set_text(w, FACT_CONN_REUSE, "0\n");
	expect(w, "sysctls", SEVERITY_WARNING, "old connection", "conn_reuse_mode=1");
}

static void test_namespace_fails(void **state)
{
	struct world *w = *state;

	set_part(w->f.status, "namespaces",
		"{\"registered\": 2, \"failing\": 1, \"troubles\": [{\"name\": \"c1\","
		" \"problem\": \"gone\"}]}");
	expect(w, "containers", SEVERITY_WARNING, "1 namespace of containers", "vipctl namespaces");
}

/* --- the host ------------------------------------------------------------------ */

static void test_module_is_missing(void **state)
{
	struct world *w = *state;

	set_text(w, FACT_MODULES_DEP,
		"kernel/net/netfilter/ipvs/ip_vs.ko:\n"
		"kernel/net/netfilter/ipset/ip_set.ko:\n"
		"kernel/net/netfilter/ipset/ip_set_hash_ipport.ko:\n"
		"kernel/drivers/net/dummy.ko:\n"
		"kernel/net/netfilter/ipvs/ip_vs_wlc_other.ko:\n");
	expect(w, "modules", SEVERITY_ERROR, "ip_vs_wlc", "modprobe ip_vs_wlc");
}

static void test_ipvs_is_missing(void **state)
{
	struct world *w = *state;

	for (int i = FACT_MODULES; i <= FACT_IP_VS; i++) {
		free(w->f.texts[i]);
		w->f.texts[i] = NULL;
	}
	expect(w, "modules", SEVERITY_ERROR, "no module ip_vs", "modprobe ip_vs");
}

static void test_capability_is_missing(void **state)
{
	struct world *w = *state;

	set_text(w, FACT_PID_STATUS, "CapEff:\t0000000000003000\n"); /* NET_ADMIN, NET_RAW */
	expect(w, "privileges", SEVERITY_WARNING, "CAP_SYS_ADMIN", "container-namespaces.conf");
}

static void test_no_container_needs_no_capability(void **state)
{
	struct world *w = *state;

	set_text(w, FACT_PID_STATUS, "CapEff:\t0000000000003000\n");
	set_part(w->f.status, "namespaces", "{\"registered\": 0}");
	checks_run(&w->f, &w->out);
	assert_int_equal(w->out.worst, SEVERITY_OK);
}

static void test_rules_need_a_raw_socket(void **state)
{
	struct world *w = *state;

	set_text(w, FACT_PID_STATUS, "CapEff:\t0000000000201000\n"); /* NET_ADMIN, SYS_ADMIN */
	expect(w, "privileges", SEVERITY_WARNING, "CAP_NET_RAW", "CapabilityBoundingSet");
}

static void test_files_run_out(void **state)
{
	struct world *w = *state;

	w->f.n_files = 900;
	expect(w, "files", SEVERITY_WARNING, "file descriptors", "LimitNOFILE");
}

static void test_conntrack_is_full(void **state)
{
	struct world *w = *state;

	set_text(w, FACT_CONNTRACK_COUNT, "1000\n");
	expect(w, "conntrack", SEVERITY_ERROR, "is full", "nf_conntrack_max=2000");
}

static void test_conntrack_is_nearly_full(void **state)
{
	struct world *w = *state;

	set_text(w, FACT_CONNTRACK_COUNT, "800\n");
	expect(w, "conntrack", SEVERITY_WARNING, "nearly full", "nf_conntrack_max=2000");
}

/* Eight of ten ports lead to one VIP, one to another place, and a server's own is none of them. */
static void test_ports_run_out(void **state)
{
	struct world *w = *state;
	char lines[4096] = "  sl  local_address rem_address   st\n";

	for (int i = 0; i < 8; i++)
		sprintf(lines + strlen(lines),
			"%4d: 0100000A:%04X 04030201:0050 06 00000000:00000000\n", i, 40000 + i);
	strcat(lines, "   8: 0100000A:9C48 05030201:0050 01 00000000:00000000\n"
		      "   9: 0100000A:0050 04030201:9C41 01 00000000:00000000\n");
	set_text(w, FACT_TCP, lines);
	expect(w, "ports", SEVERITY_WARNING, "1.2.3.4:80", "ip_local_port_range");
	assert_non_null(strstr(json_object_to_json_string(w->out.list),
		"8 of 10 local ports are taken toward 1.2.3.4:80, 8 of them in TIME_WAIT"));
}

static void test_clock_is_off(void **state)
{
	struct world *w = *state;

	w->masters[0].ahead = -600;
	expect(w, "clock", SEVERITY_WARNING, "behind", "timedatectl");
}

/* --- addresses and networks ------------------------------------------------------ */

static void test_address_is_no_more(void **state)
{
	struct world *w = *state;

	w->f.n_addresses = 1;
	expect(w, "addresses", SEVERITY_ERROR, "fd00:aa::1", "node_address6");
}

static void test_address_is_another_machines(void **state)
{
	struct world *w = *state;

	set_text(w, FACT_IF_INET6, "fd0000aa000000000000000000000001 02 40 00 c8     eth0\n");
	expect(w, "addresses", SEVERITY_ERROR, "another machine", "ip address show");
}

static void test_address_is_tentative(void **state)
{
	struct world *w = *state;

	set_text(w, FACT_IF_INET6, "fd0000aa000000000000000000000001 02 40 00 c0     eth0\n");
	expect(w, "addresses", SEVERITY_WARNING, "cannot be used yet", "wait");
}

static void test_network_lies_in_the_range(void **state)
{
	struct world *w = *state;

	set_text(w, FACT_ROUTE, "eth1\t0000070B\tFE00000A\t0003\t0\t0\t0\t0000FFFF\t0\t0\t0\n");
	expect(w, "overlap", SEVERITY_ERROR, "range of named VIPs", "named_range");
	assert_non_null(
		strstr(json_object_to_json_string_ext(w->out.list, JSON_C_TO_STRING_NOSLASHESCAPE),
			"11.7.0.0/16 via 10.0.0.254 dev eth1"));
}

static void test_the_range_is_configured(void **state)
{
	struct world *w = *state;

	set_part(w->f.config, "named_range", "\"12.0.0.0-12.255.255.255\"");
	set_text(w, FACT_ROUTE, "eth1\t0000070B\tFE00000A\t0003\t0\t0\t0\t0000FFFF\t0\t0\t0\n");
	checks_run(&w->f, &w->out);
	assert_int_equal(w->out.worst, SEVERITY_OK);
}

static void test_network6_lies_in_the_range(void **state)
{
	struct world *w = *state;

	set_text(w, FACT_ROUTE6,
		"fd01000c000000000000000000000000 60 00000000000000000000000000000000 00 "
		"00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth1\n");
	expect(w, "overlap", SEVERITY_ERROR, "range of named VIPs", "named_range6");
}

/* What is on vipd's own link are the VIPs. */
static void test_own_routes_are_no_overlap(void **state)
{
	struct world *w = *state;

	set_text(w, FACT_ROUTE6,
		"fd01000c000000000000000000000005 7f 00000000000000000000000000000000 00 "
		"00000000000000000000000000000000 00000100 00000001 00000000 00000001     vipd0\n");
	checks_run(&w->f, &w->out);
	assert_int_equal(w->out.worst, SEVERITY_OK);
}

static void test_vip_hides_a_host(void **state)
{
	struct world *w = *state;

	set_text(w, FACT_ROUTE, "eth0\t00000201\tFE00000A\t0003\t0\t0\t0\t0000FEFF\t0\t0\t0\n");
	expect(w, "overlap", SEVERITY_WARNING, "1.2.3.4:80 lies in a network",
		"no network of yours");
}

/* --- the cluster ------------------------------------------------------------------ */

static void test_key_is_missing(void **state)
{
	struct world *w = *state;

	w->f.key.exists = false;
	w->f.n_peers = 0;
	set_part(w->f.status, "overlay", "{\"on\": false, \"off_because\": \"no key\"}");
	expect(w, "key", SEVERITY_WARNING, "so the overlay is off", "vipctl keygen");
}

static void test_key_has_gone(void **state)
{
	struct world *w = *state;

	w->f.key.exists = false;
	expect(w, "key", SEVERITY_WARNING, "until vipd's next start", "from another node");
}

static void test_key_is_open_to_all(void **state)
{
	struct world *w = *state;

	w->f.key.mode = 0100644;
	expect(w, "key", SEVERITY_ERROR, "others may read", "chmod 600");
}

static void test_key_is_none(void **state)
{
	struct world *w = *state;

	w->f.key.bad_line = 2;
	expect(w, "key", SEVERITY_ERROR, "one to three keys", "of a node that is well");
}

static void test_overlay_is_off(void **state)
{
	struct world *w = *state;

	w->f.n_peers = 0;
	set_part(w->f.status, "overlay", "{\"on\": false, \"off_because\": \"no key\"}");
	expect(w, "overlay", SEVERITY_WARNING, "the overlay is off", "reload vipd");
}

static void test_node_is_down(void **state)
{
	struct world *w = *state;

	set_json(&w->f.nodes, "[{\"address\": \"10.0.0.3\", \"status\": \"down\"},"
			      " {\"address\": \"10.0.0.2\", \"status\": \"up\"}]");
	expect(w, "overlay", SEVERITY_WARNING, "1 node is down", "ping");
	findings_done(&w->out);
	findings_init(&w->out);
	set_json(&w->f.nodes, "[{\"address\": \"10.0.0.3\", \"status\": \"down\"},"
			      " {\"address\": \"10.0.0.4\", \"status\": \"down\"},"
			      " {\"address\": \"10.0.0.2\", \"status\": \"up\"}]");
	expect(w, "overlay", SEVERITY_WARNING, "2 nodes are down", "partition");
}

/* Who rotated the keys without this node looks stalled from here. */
static void test_key_was_rotated_elsewhere(void **state)
{
	struct world *w = *state;

	set_json(&w->f.nodes, "[{\"address\": \"10.0.0.2\", \"status\": \"stalled\"}]");
	expect(w, "overlay", SEVERITY_WARNING, "does not get to run", "top");
	findings_done(&w->out);
	findings_init(&w->out);
	set_json(&w->f.links, "{\"links\": [], \"transport\": {\"unknown_key\": 9}}");
	expect(w, "overlay", SEVERITY_ERROR, "not understood here: another key", "sha256sum");
}

/* A node that lost its state_dir is not a stalled one as well. */
static void test_earlier_id(void **state)
{
	struct world *w = *state;

	set_json(&w->f.nodes,
		"[{\"address\": \"10.0.0.2\", \"status\": \"stalled\", \"replaced\": true},"
		" {\"address\": \"10.0.0.2\", \"status\": \"up\"}]");
	checks_run(&w->f, &w->out);
	assert_int_equal(w->out.worst, SEVERITY_NOTE);
	assert_non_null(strstr(json_object_to_json_string(w->out.list), "1 earlier id of nodes"));
}

static void test_node_flaps(void **state)
{
	struct world *w = *state;

	set_json(&w->f.nodes, "[{\"address\": \"10.0.0.2\", \"status\": \"up\", \"held\": true,"
			      " \"flaps\": 5}]");
	expect(w, "overlay", SEVERITY_WARNING, "1 node goes down again and again", "network");
}

static void test_alone(void **state)
{
	struct world *w = *state;

	set_part(w->f.status, "overlay", "{\"on\": true, \"self\": \"well\", \"up\": 0}");
	set_json(&w->f.nodes, "[{\"address\": \"10.0.0.1\", \"self\": true, \"status\": \"up\"}]");
	w->peers[0].dial = DIAL_SILENT;
	checks_run(&w->f, &w->out); /* `peers` says why */
	assert_non_null(strstr(json_object_to_json_string(w->out.list), "alone in the overlay"));
}

static void test_packets_get_lost(void **state)
{
	struct world *w = *state;

	set_json(&w->f.links, "{\"links\": [{\"address\": \"10.0.0.2\", \"loss\": 0.5},"
			      " {\"address\": \"10.0.0.3\", \"loss\": 0.02},"
			      " {\"address\": \"10.0.0.4\", \"loss\": 0}]}");
	expect(w, "peers", SEVERITY_WARNING, "packets get lost on 1 of this node's 3 links",
		"those nodes' network");
	findings_done(&w->out);
	findings_init(&w->out);
	w->peers[0].dial = DIAL_SILENT; /* for that reason, and not for a firewall */
	expect(w, "peers", SEVERITY_WARNING, "packets get lost on 1 of this node's 3 links",
		"those nodes' network");
	findings_done(&w->out);
	findings_init(&w->out);
	set_json(&w->f.links, "{\"links\": [{\"address\": \"10.0.0.2\", \"loss\": 0.5},"
			      " {\"address\": \"10.0.0.3\", \"loss\": 0.3},"
			      " {\"address\": \"10.0.0.4\", \"loss\": 0}]}");
	expect(w, "peers", SEVERITY_WARNING, "probably here", "this node's network");
}

static void test_state_dir_was_copied(void **state)
{
	struct world *w = *state;

	set_part(w->f.status, "overlay",
		"{\"on\": true, \"self\": \"well\", \"up\": 1, \"id_conflict\": 3.5}");
	expect(w, "overlay", SEVERITY_ERROR, "another vipd speaks as this node", "remove `node`");
}

static void test_cut_off(void **state)
{
	struct world *w = *state;

	set_part(w->f.status, "overlay", "{\"on\": true, \"self\": \"cut off\", \"up\": 1}");
	expect(w, "overlay", SEVERITY_ERROR, "this node is cut off", "not TCP");
	findings_done(&w->out);
	findings_init(&w->out);
	w->peers[0].dial = DIAL_SILENT;
	checks_run(&w->f, &w->out);
	assert_non_null(strstr(json_object_to_json_string(w->out.list), "says whom it reaches"));
}

static void forget_peer(struct world *w, enum dial dial)
{
	set_json(&w->f.nodes, "[{\"address\": \"10.0.0.1\", \"self\": true, \"status\": \"up\"}]");
	set_json(
		&w->f.links, "{\"links\": [], \"transport\": {\"unknown_key\": 9, \"forged\": 0}}");
	w->peers[0].dial = dial;
}

static void test_port_is_blocked(void **state)
{
	struct world *w = *state;

	forget_peer(w, DIAL_SILENT);
	expect(w, "peers", SEVERITY_ERROR, "10.0.0.2 does not answer on port 61420",
		"iptables -I INPUT -p tcp --dport 61420");
}

static void test_udp_is_blocked(void **state)
{
	struct world *w = *state;

	set_json(&w->f.links, "{\"links\": [{\"address\": \"10.0.0.2\", \"tcp_only\": true}]}");
	expect(w, "peers", SEVERITY_WARNING, "no UDP from 10.0.0.2 reaches port 61420",
		"out there and in here");
}

static void test_own_udp_is_blocked(void **state)
{
	struct world *w = *state;

	set_json(&w->f.links, "{\"links\": [{\"address\": \"10.0.0.2\", \"udp_unheard\": true}]}");
	expect(w, "peers", SEVERITY_WARNING, "no UDP from this node reaches port 61420 of 10.0.0.2",
		"out here and in there");
}

static void test_nobody_listens(void **state)
{
	struct world *w = *state;

	forget_peer(w, DIAL_REFUSED);
	expect(w, "peers", SEVERITY_WARNING, "no vipd with an overlay runs on 10.0.0.2",
		"systemctl start vipd");
}

/* Six nodes are one finding. */
static void test_many_ports_are_blocked(void **state)
{
	struct world *w = *state;
	struct peer many[6];

	forget_peer(w, DIAL_SILENT);
	for (int i = 0; i < 6; i++)
		many[i] = (struct peer){{AF_INET, {10, 0, 1, (uint8_t)i}}, 61420, DIAL_SILENT};
	w->f.peers = many;
	w->f.n_peers = 6;
	expect(w, "peers", SEVERITY_ERROR, "10.0.1.4, and 1 more do not answer", "iptables");
}

/* It has not had the time to join yet, or does not run: an open port says nothing then. */
static void test_nobody_has_joined_yet(void **state)
{
	struct world *w = *state;

	forget_peer(w, DIAL_OPEN);
	json_object_object_add(w->f.status, "uptime", json_object_new_double(0.5));
	checks_run(&w->f, &w->out);
	assert_int_equal(w->out.worst, SEVERITY_OK);
	stop_daemon(w);
	w->f.n_peers = 1;
	findings_done(&w->out);
	findings_init(&w->out);
	expect(w, "vipd", SEVERITY_ERROR, "no vipd answers", "start vipd");
}

static void test_key_is_another(void **state)
{
	struct world *w = *state;

	forget_peer(w, DIAL_OPEN);
	expect(w, "peers", SEVERITY_ERROR, "another key", "sha256sum");
	assert_non_null(strstr(
		json_object_to_json_string(w->out.list), "refused 9 packets with an unknown key"));
}

/* --- names -------------------------------------------------------------------------- */

static void test_names_are_not_delegated(void **state)
{
	struct world *w = *state;

	w->f.name.by_system = NAME_UNKNOWN;
	expect(w, "names", SEVERITY_WARNING, "do not resolve", "systemd-resolved");
}

static void test_names_are_not_delegated_by_dnsmasq(void **state)
{
	struct world *w = *state;

	set_text(w, FACT_RESOLV_CONF, "nameserver 127.0.0.1\n");
	w->f.name.by_system = NAME_SILENT;
	expect(w, "names", SEVERITY_WARNING, "do not resolve", "dnsmasq");
}

static void test_port_of_names_is_taken(void **state)
{
	struct world *w = *state;

	set_part(w->f.status, "dns",
		"{\"listen\": [{\"address\": \"127.0.0.61\", \"port\": 53, \"error\": \"in "
		"use\"}]}");
	w->f.name.server = NULL;
	expect(w, "names", SEVERITY_ERROR, "on 127.0.0.61 port 53", "ss -lunp");
}

static void test_port_of_http_is_taken(void **state)
{
	struct world *w = *state;

	set_part(w->f.status, "http", "{\"listen\": \"127.0.0.1:62080\", \"error\": \"in use\"}");
	expect(w, "http", SEVERITY_WARNING, "127.0.0.1:62080", "http_listen");
}

static void test_names_are_not_served(void **state)
{
	struct world *w = *state;

	w->f.name.direct = NAME_SILENT;
	expect(w, "names", SEVERITY_ERROR, "does not answer for names", "iptables");
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_all_is_well),
		T(test_vipd_does_not_run),
		T(test_its_configuration_is_bad),
		T(test_only_root_may_ask),
		T(test_source_fails),
		T(test_source_wants_credentials),
		T(test_table_is_followed),
		T(test_label_is_left_out),
		T(test_kernel_refuses),
		T(test_flushed),
		T(test_vip_is_refused),
		T(test_rules_fail),
		T(test_sysctl_was_changed),
		T(test_ports_are_not_reused),
		T(test_namespace_fails),
		T(test_module_is_missing),
		T(test_ipvs_is_missing),
		T(test_capability_is_missing),
		T(test_no_container_needs_no_capability),
		T(test_rules_need_a_raw_socket),
		T(test_files_run_out),
		T(test_conntrack_is_full),
		T(test_conntrack_is_nearly_full),
		T(test_ports_run_out),
		T(test_clock_is_off),
		T(test_address_is_no_more),
		T(test_address_is_another_machines),
		T(test_address_is_tentative),
		T(test_network_lies_in_the_range),
		T(test_the_range_is_configured),
		T(test_network6_lies_in_the_range),
		T(test_own_routes_are_no_overlap),
		T(test_vip_hides_a_host),
		T(test_key_is_missing),
		T(test_key_has_gone),
		T(test_key_is_open_to_all),
		T(test_key_is_none),
		T(test_overlay_is_off),
		T(test_node_is_down),
		T(test_key_was_rotated_elsewhere),
		T(test_earlier_id),
		T(test_node_flaps),
		T(test_alone),
		T(test_packets_get_lost),
		T(test_state_dir_was_copied),
		T(test_cut_off),
		T(test_port_is_blocked),
		T(test_udp_is_blocked),
		T(test_own_udp_is_blocked),
		T(test_nobody_listens),
		T(test_many_ports_are_blocked),
		T(test_nobody_has_joined_yet),
		T(test_key_is_another),
		T(test_names_are_not_delegated),
		T(test_names_are_not_delegated_by_dnsmasq),
		T(test_port_of_names_is_taken),
		T(test_port_of_http_is_taken),
		T(test_names_are_not_served),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
