/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Each rule of how tasks become VIPs, on the smallest document that shows it. */
#include "mesos_help.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <time.h>

#include <cmocka.h>

#define AGENT "{'id': 'S', 'hostname': '10.0.0.5', 'pid': 'slave(1)@10.0.0.5:5051'}"
/* A master's /state with one running task of marathon's on agent S. */
#define STATE(members)                                                           \
	"{'frameworks': [{'id': 'F', 'name': 'marathon', 'tasks': [{'id': 't', " \
	"'framework_id': 'F', 'slave_id': 'S', " members "}]}], 'slaves': [" AGENT "]}"
#define RUNNING "'state': 'TASK_RUNNING'"
#define DISCOVERY(ports) "'discovery': {'ports': {'ports': [" ports "]}}"
#define VIP(value) "'labels': {'labels': [{'key': 'VIP_0', 'value': '" value "'}]}"
#define HOST_VIP(value)                                           \
	"'labels': {'labels': [{'key': 'VIP_0', 'value': '" value \
	"'}, {'key': 'network-scope', 'value': 'host'}]}"
#define PORT(n, label) "{'number': " #n ", 'protocol': 'tcp', " label "}"
#define IP(address) "{'ip_address': '" address "'}"
#define STATUS(ips)                                                                     \
	"'statuses': [{'state': 'TASK_RUNNING', 'timestamp': 1.5, 'container_status': " \
	"{'network_infos': [{'ip_addresses': [" ips "]}]}}]"
#define MAP(container, host) "{'container_port': " #container ", 'host_port': " #host "}"
#define BASIC DISCOVERY(PORT(80, VIP("1.2.3.4:5000")))

struct row {
	const char *what, *doc, *expected;
	enum mesos_reject reject; /* with n_rejected */
	size_t n_rejected;
};

static void check_rows(const struct row *rows, size_t n, const struct vip_table_options *options)
{
	for (size_t i = 0; i < n; i++) {
		size_t rejected[_MESOS_REJECT_N] = {0};
		char *list = table_of(rows[i].doc, options, rejected);
		size_t sum = 0;

		if (strcmp(list, rows[i].expected) != 0)
			fail_msg("%s:\n  have %s\n  want %s", rows[i].what, list, rows[i].expected);
		for (int r = 0; r < _MESOS_REJECT_N; r++)
			sum += rejected[r];
		if (sum != rows[i].n_rejected || rejected[rows[i].reject] != rows[i].n_rejected)
			fail_msg("%s: %zu rejections, %zu of \"%s\", not %zu", rows[i].what, sum,
				rejected[rows[i].reject], mesos_reject_text(rows[i].reject),
				rows[i].n_rejected);
		free(list);
	}
}

#define CHECK(rows) check_rows(rows, sizeof(rows) / sizeof *(rows), NULL)

static void test_shapes(void **state)
{
#define TASK "{'id': 't', 'framework_id': 'F', 'slave_id': 'S', " RUNNING ", " BASIC "}"
#define V1_TASK                                                                              \
	"{'task_id': {'value': 't'}, 'framework_id': {'value': 'F'}, 'agent_id': {'value': " \
	"'S'}, " RUNNING ", " BASIC "}"
#define V1_FRAMEWORKS                                                                          \
	"'get_frameworks': {'frameworks': [{'framework_info': {'id': {'value': 'F'}, 'name': " \
	"'marathon'}}]}"
#define V1_AGENT "{'agent_info': {'id': {'value': 'S'}, 'hostname': '10.0.0.5'}}"
#define V1_AGENTS "'get_agents': {'agents': [" V1_AGENT "]}"
#define RESULT "tcp 1.2.3.4:5000: 10.0.0.5:80*1"
	static const struct row rows[] = {
		{"master", STATE(RUNNING ", " BASIC), RESULT},
		{"agent",
			"{'id': 'S', 'hostname': '10.0.0.5', 'pid': 'slave(1)@10.0.0.5:5051', "
			"'frameworks': [{'id': 'F', 'name': 'marathon', 'executors': [{'tasks': "
			"[" TASK "]}]}]}",
			RESULT},
		{"v1, tasks",
			"{'type': 'GET_STATE', 'get_state': {'get_tasks': {'tasks': [" V1_TASK
			"]}, " V1_FRAMEWORKS ", " V1_AGENTS "}}",
			RESULT},
		{"v1, launched_tasks",
			"{'get_state': {'get_tasks': {'launched_tasks': [" V1_TASK
			"]}, " V1_FRAMEWORKS ", " V1_AGENTS "}}",
			RESULT},
		{"v1, both lists have it",
			"{'get_state': {'get_tasks': {'tasks': [" V1_TASK
			"], 'launched_tasks': [" V1_TASK "]}, " V1_FRAMEWORKS ", " V1_AGENTS "}}",
			RESULT},
		{"v1, agent beside",
			"{'get_agent': " V1_AGENT ", 'get_state': {'get_tasks': {'tasks': [" V1_TASK
			"]}, " V1_FRAMEWORKS "}}",
			RESULT},
		{"v1, agent inside",
			"{'get_state': {'get_agent': " V1_AGENT ", 'get_tasks': {'tasks': [" V1_TASK
			"]}, " V1_FRAMEWORKS "}}",
			RESULT},
		{"v1, plain ids",
			"{'get_state': {'get_tasks': {'tasks': [" TASK "]}, 'get_frameworks': "
			"{'frameworks': [{'id': 'F', 'name': 'marathon'}]}, 'get_agents': "
			"{'agents': [{'id': 'S', 'pid': 'slave(1)@10.0.0.5:5051'}]}}}",
			RESULT},
		{"empty v1", "{'get_state': {'get_tasks': {}}}", ""},
		{"empty master", "{'frameworks': [], 'slaves': []}", ""},
		{"empty agent", "{'id': 'S', 'pid': 'slave(1)@10.0.0.5:5051', 'frameworks': []}",
			""},
		{"completed tasks do not count",
			"{'frameworks': [{'id': 'F', 'name': 'marathon', 'completed_tasks': [" TASK
			"], 'unreachable_tasks': [" TASK
			"]}], 'completed_frameworks': [{'id': 'F', "
			"'tasks': [" TASK "]}], 'slaves': [" AGENT "]}",
			""},
	};

	CHECK(rows);
}

static void test_refused(void **state)
{
#define NO_SHAPE "neither a master's or agent's /state nor an answer to GET_STATE"
	static const struct row rows[] = {
		{"nothing", "", "error: byte 0: the document is not complete"},
		{"object", "{}", "error: byte 2: " NO_SHAPE},
		{"list", "[]", "error: byte 2: " NO_SHAPE},
		{"error", "{'error': 'no'}", "error: byte 15: " NO_SHAPE},
		{"frameworks no list", "{'frameworks': {}, 'slaves': []}",
			"error: byte 32: " NO_SHAPE},
		{"slaves no list", "{'frameworks': [], 'slaves': 1}", "error: byte 31: " NO_SHAPE},
		{"master without slaves",
			"{'id': 'M', 'pid': 'master@10.0.0.1:5050', 'frameworks': []}",
			"error: byte 60: " NO_SHAPE},
		{"v1 without tasks", "{'get_state': {}}", "error: byte 17: " NO_SHAPE},
		{"garbage behind", "{'frameworks': [], 'slaves': []} x",
			"error: byte 33: the end expected, not 'x'"},
		{"slaves replaced", "{'frameworks': [], 'slaves': [], 'slaves': null}",
			"error: byte 48: " NO_SHAPE},
	};

	CHECK(rows);
}

static void test_which_tasks(void **state)
{
#define ANY(task_ids) "{'id': 't', " task_ids ", " RUNNING ", " BASIC "}"
#define DOC(tasks, agents)                                                 \
	"{'frameworks': [{'id': 'F', 'name': 'marathon', 'tasks': [" tasks \
	"]}], 'slaves': [" agents "]}"
#define HOST(hostname, pid) "{'id': 'S', 'hostname': '" hostname "', 'pid': '" pid "'}"
	static const struct row rows[] = {
		{"staging", STATE("'state': 'TASK_STAGING', " BASIC), ""},
		{"finished", STATE("'state': 'TASK_FINISHED', " BASIC), ""},
		{"no state", STATE(BASIC), ""},
		{"killing", STATE("'state': 'TASK_KILLING', " BASIC),
			"tcp 1.2.3.4:5000: 10.0.0.5:80*0"},
		{"state with escapes", STATE("'state': 'TASK\\u005fRUNNING', " BASIC), RESULT},
		{"unknown framework", DOC(ANY("'framework_id': 'G', 'slave_id': 'S'"), AGENT), "",
			MESOS_REJECT_NO_FRAMEWORK, 1},
		{"framework by place", DOC(ANY("'slave_id': 'S'"), AGENT), RESULT},
		{"unknown agent", DOC(ANY("'framework_id': 'F', 'slave_id': 'T'"), AGENT), "",
			MESOS_REJECT_NO_AGENT, 1},
		{"no agent named", DOC(ANY("'framework_id': 'F'"), AGENT), "",
			MESOS_REJECT_NO_AGENT, 1},
		{"agent by pid", DOC(TASK, HOST("node-1", "slave(1)@10.0.0.5:5051")), RESULT},
		{"hostname before pid", DOC(TASK, HOST("10.0.0.5", "slave(1)@10.0.0.6:5051")),
			RESULT},
		{"agent by IPv6 pid", DOC(TASK, HOST("node-1", "slave(1)@[fd00::1]:5051")), "",
			MESOS_REJECT_LABEL, 1},
		{"agent without address", DOC(TASK, HOST("node-1", "slave(1)")), "",
			MESOS_REJECT_NO_ADDRESS, 1},
		{"the last agent of an id counts",
			DOC(TASK, HOST("10.0.0.9", "") ", " HOST("10.0.0.5", "")), RESULT},
		{"no id",
			DOC("{'framework_id': 'F', 'slave_id': 'S', " RUNNING ", " BASIC "}",
				AGENT),
			"", MESOS_REJECT_MALFORMED, 1},
		{"not an object", DOC("'VIP', 1, null, []", AGENT), "", MESOS_REJECT_MALFORMED, 4},
	};

	CHECK(rows);
}

static void test_weight(void **state)
{
#define HEALTHY(time, healthy) "{'timestamp': " #time ", 'healthy': " #healthy "}"
#define UNKNOWN(time) "{'timestamp': " #time "}"
#define STATUSES(list) STATE(RUNNING ", " BASIC ", 'statuses': [" list "]")
#define CHECKED(list) \
	STATE(RUNNING ", 'health_check': {'type': 'HTTP'}, " BASIC ", 'statuses': [" list "]")
#define UP "tcp 1.2.3.4:5000: 10.0.0.5:80*1"
#define AWAY "tcp 1.2.3.4:5000: 10.0.0.5:80*0"
	static const struct row rows[] = {
		{"not known", STATUSES(UNKNOWN(1)), UP},
		{"healthy", STATUSES(HEALTHY(1, true)), UP},
		{"unhealthy", STATUSES(HEALTHY(1, false)), AWAY},
		{"latest last", STATUSES(HEALTHY(1, true) ", " HEALTHY(2, false)), AWAY},
		{"latest first", STATUSES(HEALTHY(2, false) ", " HEALTHY(1, true)), AWAY},
		{"latest in the middle",
			STATUSES(
				HEALTHY(1, false) ", " HEALTHY(3.5, true) ", " HEALTHY(3.4, false)),
			UP},
		{"of equals the later", STATUSES(HEALTHY(1, true) ", " HEALTHY(1, false)), AWAY},
		{"no timestamp is before all", STATUSES("{'healthy': false}, " HEALTHY(0, true)),
			UP},
		{"checked, no result", CHECKED(UNKNOWN(1)), AWAY},
		{"checked, no status", CHECKED(""), AWAY},
		{"checked, healthy", CHECKED(HEALTHY(1, true)), UP},
		{"checked, unhealthy", CHECKED(HEALTHY(1, false)), AWAY},
		{"killed, healthy",
			STATE("'state': 'TASK_KILLING', " BASIC
			      ", 'statuses': [" HEALTHY(1, true) "]"),
			AWAY},
	};

	CHECK(rows);
}

static void test_labels(void **state)
{
#define LABELED(port_members) STATE(RUNNING ", " DISCOVERY("{'number': 80, " port_members "}"))
#define KEY(key) LABELED("'labels': {'labels': [{'key': '" key "', 'value': '1.2.3.4:5000'}]}")
#define VALUE(value) LABELED(VIP(value))
	static const struct row rows[] = {
		{"VIP_0", KEY("VIP_0"), RESULT},
		{"VIP", KEY("VIP"), RESULT},
		{"vip_anything", KEY("vip_anything"), RESULT},
		{"Vip", KEY("Vip_0"), ""},
		{"another key", KEY("XVIP_0"), ""},
		{"escaped key", KEY("\\u0056I\\u0050_0"), RESULT},
		{"labels as a list",
			LABELED("'labels': [{'key': 'VIP_0', 'value': '1.2.3.4:5000'}]"), RESULT},
		{"several on one port",
			LABELED("'labels': {'labels': [{'key': 'VIP_0', 'value': '1.2.3.4:5000'}, "
				"{'key': "
				"'VIP_1', 'value': '1.2.3.5:5001'}]}"),
			RESULT "\ntcp 1.2.3.5:5001: 10.0.0.5:80*1"},
		{"one bad, one good",
			LABELED("'labels': {'labels': [{'key': 'VIP_0', 'value': '1.2.3.4'}, "
				"{'key': "
				"'VIP_1', 'value': '1.2.3.4:5000'}]}"),
			RESULT, MESOS_REJECT_LABEL, 1},
		{"no value", LABELED("'labels': {'labels': [{'key': 'VIP_0'}]}"), "",
			MESOS_REJECT_LABEL, 1},
		{"value no string",
			LABELED("'labels': {'labels': [{'key': 'VIP_0', 'value': 80}]}"), "",
			MESOS_REJECT_LABEL, 1},
		{"NUL in the value", VALUE("1.2.3.4:50\\u000000"), "", MESOS_REJECT_LABEL, 1},
		{"IPv4", VALUE("1.2.3.4:5000"), RESULT},
		{"named", VALUE("redis:6379"),
			"tcp 11.202.66.36:6379 redis.marathon: 10.0.0.5:80*1"},
		{"name with colons", VALUE("re:dis:6379"),
			"tcp 11.202.66.36:6379 redis.marathon: 10.0.0.5:80*1"},
		{"greatest port", VALUE("1.2.3.4:65535"), "tcp 1.2.3.4:65535: 10.0.0.5:80*1"},
		{"port 0", VALUE("1.2.3.4:0"), "", MESOS_REJECT_LABEL, 1},
		{"port 65536", VALUE("1.2.3.4:65536"), "", MESOS_REJECT_LABEL, 1},
		{"port 2^32 + 80", VALUE("1.2.3.4:4294967376"), "", MESOS_REJECT_LABEL, 1},
		{"no port", VALUE("1.2.3.4:"), "", MESOS_REJECT_LABEL, 1},
		{"port with a sign", VALUE("1.2.3.4:+80"), "", MESOS_REJECT_LABEL, 1},
		{"port with space", VALUE("1.2.3.4: 80"), "", MESOS_REJECT_LABEL, 1},
		{"port with letters", VALUE("1.2.3.4:80x"), "", MESOS_REJECT_LABEL, 1},
		{"empty", VALUE(""), "", MESOS_REJECT_LABEL, 1},
		{"no host", VALUE(":80"), "", MESOS_REJECT_LABEL, 1},
		{"nothing left of the name", VALUE("/_-.:80"), "", MESOS_REJECT_LABEL, 1},
		{"udp", LABELED("'protocol': 'udp', " VIP("1.2.3.4:5000")),
			"udp 1.2.3.4:5000: 10.0.0.5:80*1"},
		{"UDP", LABELED("'protocol': 'UDP', " VIP("1.2.3.4:5000")),
			"udp 1.2.3.4:5000: 10.0.0.5:80*1"},
		{"TCP", LABELED("'protocol': 'Tcp', " VIP("1.2.3.4:5000")), RESULT},
		{"no protocol", LABELED(VIP("1.2.3.4:5000")), RESULT},
		{"unknown protocol loses its port",
			STATE(RUNNING ", " DISCOVERY("{'number': 81, 'protocol': 'sctp', " VIP(
				"9.9.9.9:1") "}, " PORT(80, VIP("1.2.3.4:5000")))),
			RESULT, MESOS_REJECT_PORT, 1},
		{"port number 0",
			STATE(RUNNING ", " DISCOVERY(
				PORT(0, VIP("9.9.9.9:1")) ", " PORT(80, VIP("1.2.3.4:5000")))),
			RESULT, MESOS_REJECT_PORT, 1},
		{"port number too large",
			STATE(RUNNING ", " DISCOVERY(PORT(65536, VIP("9.9.9.9:1")))), "",
			MESOS_REJECT_PORT, 1},
		{"no port number", STATE(RUNNING ", " DISCOVERY("{" VIP("9.9.9.9:1") "}")), "",
			MESOS_REJECT_PORT, 1},
		{"number with a point",
			STATE(RUNNING ", " DISCOVERY(PORT(80.0, VIP("1.2.3.4:5000")))), RESULT},
		{"same label twice",
			LABELED("'labels': {'labels': [{'key': 'VIP_0', 'value': '1.2.3.4:5000'}, "
				"{'key': "
				"'VIP_1', 'value': '1.2.3.4:5000'}]}"),
			RESULT},
	};

	CHECK(rows);
}

static void test_legacy_labels(void **state)
{
#define PORTS "'resources': {'cpus': 1.0, 'ports': '[31000-31001, 31005-31005]'}"
#define LEGACY(key, value, resources) \
	STATE(RUNNING ", 'labels': [{'key': '" key "', 'value': '" value "'}], " resources)
#define V1_PORTS                                                                                  \
	"'resources': [{'name': 'cpus', 'type': 'SCALAR', 'scalar': {'value': 0.1}}, {'name': "   \
	"'ports', 'type': 'RANGES', 'ranges': {'range': [{'begin': 31000, 'end': 31001}]}}, "     \
	"{'name': 'ports', 'type': 'RANGES', 'role': 'x', 'ranges': {'range': [{'begin': 31005, " \
	"'end': 31005}]}}]"
	static const struct row rows[] = {
		{"first", LEGACY("vip_port0", "tcp://1.2.3.4:5000", PORTS),
			"tcp 1.2.3.4:5000: 10.0.0.5:31000*1"},
		{"second", LEGACY("VIP_PORT1", "tcp://1.2.3.4:5000", PORTS),
			"tcp 1.2.3.4:5000: 10.0.0.5:31001*1"},
		{"third", LEGACY("Vip_Port2", "udp://1.2.3.4:5000", PORTS),
			"udp 1.2.3.4:5000: 10.0.0.5:31005*1"},
		{"behind the last", LEGACY("vip_port3", "tcp://1.2.3.4:5000", PORTS), "",
			MESOS_REJECT_PORT, 1},
		{"v1, second", LEGACY("vip_port1", "tcp://1.2.3.4:5000", V1_PORTS),
			"tcp 1.2.3.4:5000: 10.0.0.5:31001*1"},
		{"v1, other role", LEGACY("vip_port2", "tcp://1.2.3.4:5000", V1_PORTS),
			"tcp 1.2.3.4:5000: 10.0.0.5:31005*1"},
		{"no resources", LEGACY("vip_port0", "tcp://1.2.3.4:5000", "'x': 1"), "",
			MESOS_REJECT_PORT, 1},
		{"no number", LEGACY("vip_port", "tcp://1.2.3.4:5000", PORTS), "",
			MESOS_REJECT_LABEL, 1},
		{"bad number", LEGACY("vip_port-1", "tcp://1.2.3.4:5000", PORTS), "",
			MESOS_REJECT_LABEL, 1},
		{"bad scheme", LEGACY("vip_port0", "http://1.2.3.4:5000", PORTS), "",
			MESOS_REJECT_LABEL, 1},
		{"no scheme", LEGACY("vip_port0", "1.2.3.4:5000", PORTS), "", MESOS_REJECT_LABEL,
			1},
		{"named", LEGACY("vip_port0", "tcp://redis:6379", PORTS),
			"tcp 11.202.66.36:6379 redis.marathon: 10.0.0.5:31000*1"},
		{"labels in {labels}",
			STATE(RUNNING ", 'labels': {'labels': [{'key': 'vip_port0', 'value': "
				      "'tcp://1.2.3.4:5000'}]}, " PORTS),
			"tcp 1.2.3.4:5000: 10.0.0.5:31000*1"},
		{"other task labels are no VIPs", LEGACY("VIP_0", "1.2.3.4:5000", PORTS), ""},
		{"is one with the mapping's host port",
			STATE(RUNNING ", 'labels': [{'key': 'vip_port0', 'value': "
				      "'tcp://1.2.3.4:5000'}], " PORTS
				      ", 'container': {'network_infos': [{'port_mappings': [" MAP(
					      8080, 31000) "]}]}, " STATUS(IP("9.0.0.2"))),
			"tcp 1.2.3.4:5000: 10.0.0.5:31000*1=9.0.0.2:8080"},
	};

	CHECK(rows);
}

static void test_ports(void **state)
{
#define ON_NET STATUS(IP("9.0.0.2"))
#define UCR(maps) "'container': {'type': 'MESOS', 'network_infos': [{'port_mappings': [" maps "]}]}"
#define DOCKER(maps) "'container': {'type': 'DOCKER', 'docker': {'port_mappings': [" maps "]}}"
#define NETWORK "'container': {'type': 'MESOS', 'network_infos': [{'name': 'dcos'}]}"
#define ON_NET_MAPPED(maps)                                                    \
	"'statuses': [{'timestamp': 1, 'container_status': {'network_infos': " \
	"[{'ip_addresses': [" IP("9.0.0.2") "], 'port_mappings': [" maps "]}]}}]"
#define CONTAINER_80 DISCOVERY(PORT(80, VIP("1.2.3.4:5000")))
#define HOST_31000 DISCOVERY(PORT(31000, HOST_VIP("1.2.3.4:5000")))
#define IS(backend) "tcp 1.2.3.4:5000: " backend
	static const struct row rows[] = {
		{"container port", STATE(RUNNING ", " CONTAINER_80 ", " ON_NET),
			IS("9.0.0.2:80*1")},
		{"host port", STATE(RUNNING ", " HOST_31000 ", " ON_NET), IS("10.0.0.5:31000*1")},
		{"scope container",
			STATE(RUNNING
				", " DISCOVERY("{'number': 80, 'labels': {'labels': [{'key': "
					       "'network-scope', 'value': 'container'}, {'key': "
					       "'VIP_0', 'value': '1.2.3.4:5000'}]}}") ", " ON_NET),
			IS("9.0.0.2:80*1")},
		{"mapped container port",
			STATE(RUNNING ", " CONTAINER_80 ", " ON_NET ", " UCR(MAP(80, 31000))),
			IS("10.0.0.5:31000*1=9.0.0.2:80")},
		{"mapped host port",
			STATE(RUNNING ", " HOST_31000 ", " ON_NET ", " UCR(MAP(80, 31000))),
			IS("10.0.0.5:31000*1=9.0.0.2:80")},
		{"Docker's mapping stays",
			STATE(RUNNING ", " CONTAINER_80 ", " ON_NET ", " DOCKER(MAP(80, 31000))),
			IS("10.0.0.5:31000*1")},
		{"other port mapped",
			STATE(RUNNING ", " CONTAINER_80 ", " ON_NET ", " UCR(MAP(81, 31000))),
			IS("9.0.0.2:80*1")},
		{"other protocol mapped",
			STATE(RUNNING ", " CONTAINER_80 ", " ON_NET ", " UCR(
				"{'container_port': 80, 'host_port': 31000, 'protocol': 'udp'}")),
			IS("9.0.0.2:80*1")},
		{"pod: mapping in the status",
			STATE(RUNNING
				", " CONTAINER_80 ", 'statuses': [{'timestamp': 1, "
				"'container_status': {'network_infos': "
				"[{'ip_addresses': [" IP("9.0.0.2") "], 'port_mappings': [" MAP(
					80, 31000) "]}]}}]"),
			IS("10.0.0.5:31000*1=9.0.0.2:80")},
		{"pod: networks without a mapping in the container",
			STATE(RUNNING ", " CONTAINER_80
				      ", " ON_NET_MAPPED(MAP(80, 31000)) ", " NETWORK),
			IS("10.0.0.5:31000*1=9.0.0.2:80")},
		{"the container's mapping before the status'",
			STATE(RUNNING ", " CONTAINER_80
				      ", " ON_NET_MAPPED(MAP(80, 31001)) ", " UCR(MAP(80, 31000))),
			IS("10.0.0.5:31000*1=9.0.0.2:80")},
		{"no mapping of Docker's, one of the network's",
			STATE(RUNNING ", " CONTAINER_80
				      ", " ON_NET_MAPPED(MAP(80, 31000)) ", " DOCKER("")),
			IS("10.0.0.5:31000*1")},
		{"two labels meet in one port",
			STATE(RUNNING ", " DISCOVERY(PORT(80, VIP("1.2.3.4:5000")) ", " PORT(31000,
				HOST_VIP("1.2.3.5:5000"))) ", " ON_NET ", " UCR(MAP(80, 31000))),
			IS("10.0.0.5:31000*1=9.0.0.2:80") "\ntcp 1.2.3.5:5000: "
							  "10.0.0.5:31000*1=9.0.0.2:80"},
		{"several addresses",
			STATE(RUNNING ", " CONTAINER_80
				      ", " STATUS(IP("9.0.0.3") ", " IP("9.0.0.2"))),
			IS("9.0.0.2:80*1, 9.0.0.3:80*1")},
		{"older single address",
			STATE(RUNNING ", " CONTAINER_80
				      ", 'statuses': [{'timestamp': 1, 'container_status': "
				      "{'network_infos': [{'ip_address': '9.0.0.2'}]}}]"),
			IS("9.0.0.2:80*1")},
		{"no literal address",
			STATE(RUNNING ", " CONTAINER_80
				      ", " STATUS("{'protocol': 'IPv4'}, " IP("x"))),
			IS("10.0.0.5:80*1")},
		{"host network",
			STATE(RUNNING ", " CONTAINER_80
				      ", " STATUS(IP("10.0.0.5")) ", " UCR(MAP(80, 31000))),
			IS("10.0.0.5:31000*1")},
		{"addresses of the latest status only",
			STATE(RUNNING
				", " CONTAINER_80 ", 'statuses': [{'timestamp': 2, "
				"'container_status': {'network_infos': "
				"[{'ip_addresses': [" IP(
					"9.0.0.2") "]}]}}, {'timestamp': 1, "
						   "'container_status': {'network_infos': "
						   "[{'ip_addresses': [" IP("9.0.0.9") "]}]}}]"),
			IS("9.0.0.2:80*1")},
		{"container port mapped twice: the later",
			STATE(RUNNING ", " CONTAINER_80 ", " ON_NET
				      ", " UCR(MAP(80, 31000) ", " MAP(80, 31001))),
			IS("10.0.0.5:31001*1=9.0.0.2:80")},
	};

	CHECK(rows);
}

static void test_families(void **state)
{
#define BOTH STATUS(IP("9.0.0.2") ", " IP("fd01:b::2"))
#define NAMED6 "tcp [fd01:c::da94:49ac:1e87:4a07]:6379 redis.marathon: [fd01:b::2]:80*1"
#define PORT80(value) STATE(RUNNING ", " DISCOVERY(PORT(80, VIP(value))) ", " BOTH)
	static const struct vip_table_options no_ipv6 = {.no_ipv6 = true};
	static const struct row rows[] = {
		{"IPv4 VIP", PORT80("1.2.3.4:5000"), "tcp 1.2.3.4:5000: 9.0.0.2:80*1"},
		{"bare IPv6 VIP", PORT80("fd01:d::1:80"), "tcp [fd01:d::1]:80: [fd01:b::2]:80*1"},
		{"IPv6 VIP in brackets", PORT80("[fd01:d::1]:80"),
			"tcp [fd01:d::1]:80: [fd01:b::2]:80*1"},
		{"named VIP in both", PORT80("redis:6379"),
			"tcp 11.202.66.36:6379 redis.marathon: 9.0.0.2:80*1\n" NAMED6},
		{"IPv4 in brackets is a name", PORT80("[1.2.3.4]:80"),
			"tcp 11.190.160.132:80 1.2.3.4.marathon: 9.0.0.2:80*1\n"
			"tcp [fd01:c::f41e:3b65:6ec1:ac0d]:80 1.2.3.4.marathon: [fd01:b::2]:80*1"},
		{"IPv6 VIP without IPv6 backend",
			STATE(RUNNING ", " DISCOVERY(PORT(80, VIP("fd01:d::1:80"))) ", " ON_NET),
			"", MESOS_REJECT_LABEL, 1},
	};
	static const struct row without[] = {
		{"named", PORT80("redis:6379"),
			"tcp 11.202.66.36:6379 redis.marathon: 9.0.0.2:80*1"},
		{"IPv6 VIP", PORT80("fd01:d::1:80"), ""},
		{"IPv4 VIP", PORT80("1.2.3.4:5000"), "tcp 1.2.3.4:5000: 9.0.0.2:80*1"},
	};

	CHECK(rows);
	check_rows(without, sizeof without / sizeof *without, &no_ipv6);
}

static void test_merging(void **state)
{
#define TWO(members1, members2)                                                                \
	"{'frameworks': [{'id': 'F', 'name': 'marathon', 'tasks': [{'id': 'b', 'slave_id': "   \
	"'S', " RUNNING ", " members1 "}, {'id': 'a', 'slave_id': 'S', " RUNNING ", " members2 \
	"}]}], 'slaves': [" AGENT "]}"
	static const struct row rows[] = {
		{"two ports, one VIP",
			TWO(HOST_31000, DISCOVERY(PORT(30000, HOST_VIP("1.2.3.4:5000")))),
			IS("10.0.0.5:30000*1, 10.0.0.5:31000*1")},
		{"names that mangle alike",
			TWO(DISCOVERY(PORT(1, VIP("/Redis:6379"))),
				DISCOVERY(PORT(2, VIP("redis-:6379")))),
			"tcp 11.202.66.36:6379 redis.marathon: 10.0.0.5:1*1, 10.0.0.5:2*1"},
		{"equal backends: greater weight",
			TWO(HOST_31000 ", 'statuses': [" HEALTHY(1, false) "]", HOST_31000),
			IS("10.0.0.5:31000*1")},
	};

	CHECK(rows);
}

static void test_equal_backends_keep_smaller_task(void **state)
{
	char error[200];
	struct mesos_state *s = read_doc(TWO(HOST_31000, HOST_31000), error);
	struct vip_table *t = vip_table_build(s, NULL);

	assert_int_equal(t->n_vips, 1);
	assert_int_equal(t->vips[0].n_backends, 1);
	assert_string_equal(t->vips[0].backends[0].task, "a");
	assert_string_equal(t->vips[0].backends[0].framework, "marathon");
	assert_ptr_equal(vip_table_find(t, &t->vips[0].key), &t->vips[0]);
	vip_table_free(t);
	mesos_state_free(s);
}

static void test_repeated_keys(void **state)
{
	static const struct row rows[] = {
		{"frameworks",
			"{'frameworks': [{'id': 'F', 'name': 'x', 'tasks': [" TASK
			"]}], 'frameworks': "
			"[{'id': 'F', 'name': 'marathon', 'tasks': []}], 'slaves': [" AGENT "]}",
			""},
		{"tasks",
			"{'frameworks': [{'id': 'F', 'name': 'marathon', 'tasks': [" TASK
			"], 'tasks': null}, {'id': 'G', 'name': 'g', 'tasks': [" TASK
			"]}], 'slaves': [" AGENT "]}",
			RESULT},
		{"slaves", DOC(TASK, AGENT "], 'slaves': ["), "", MESOS_REJECT_NO_AGENT, 1},
		{"state", STATE("'state': 'TASK_FAILED', " RUNNING ", " BASIC), RESULT},
		{"state, other way", STATE(RUNNING ", 'state': 'TASK_FAILED', " BASIC), ""},
		{"name",
			"{'slaves': [" AGENT "], 'frameworks': [{'tasks': [" TASK
			"], 'name': 'x', 'id': 'x', 'id': 'F', 'name': 'marathon'}]}",
			RESULT},
		{"get_state",
			"{'get_state': {'get_tasks': {'tasks': [" V1_TASK "]}}, 'get_state': "
			"{'get_tasks': {}, " V1_FRAMEWORKS ", " V1_AGENTS "}}",
			""},
	};

	CHECK(rows);
}

/* What is repeated without end is refused, not looked through without end. */
static void test_many_repeated_keys(void **state)
{
	char error[200], doc[4000] = "{\"get_state\":0";

	for (size_t i = 0; i < 200; i++)
		strcat(doc, ",\"get_state\":0");
	strcat(doc, "}");
	assert_null(read_pieces(doc, strlen(doc), 0, NULL, error));
	assert_non_null(strstr(error, "more than 100 keys are there twice"));
}

static void repeat(FILE *f, const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++)
		fputs(text, f);
}

/* A task whose parts are many: each is looked at once, not once for each other. The time is of
 * this process alone; with a look for each other it would be minutes. */
static void check_large_task(const char *first, const char *more, size_t n_more, const char *middle,
	const char *others, size_t n_others, const char *end)
{
	char error[200], *text = NULL, *doc;
	clock_t begun = clock();
	struct mesos_state *s;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	fputs("{'slaves': [" AGENT "], 'frameworks': [{'id': 'F', 'name': 'm', 'tasks': [{'id': "
				   "'t', 'slave_id': 'S', " RUNNING ", " BASIC,
		f);
	fputs(first, f);
	repeat(f, more, n_more);
	fputs(middle, f);
	repeat(f, others, n_others);
	fputs(end, f);
	fputs("}]}]}", f);
	fclose(f);
	doc = quoted(text);
	s = read_pieces(doc, n, 0, NULL, error);
	assert_string_equal(error, "");
	assert_int_equal(s->n_tasks_seen, 1);
	assert_true(clock() - begun < 20 * (clock_t)CLOCKS_PER_SEC);
	mesos_state_free(s);
	free(doc);
	free(text);
}

static void test_large_tasks(void **state)
{
	check_large_task(", 'statuses': [{'timestamp': 9", ",'healthy':true", 300000, "}", ",{}",
		500000, "]");
	check_large_task(", 'resources': {'ports': '[", "1-1,", 300000, "]'}, 'labels': [0",
		",{'key':'vip_port999999','value':'tcp://a:1'}", 50000, "]");
}

static int fake_resolve(void *userdata, const char *hostname, struct ip_addr *ret)
{
	++*(int *)userdata;
	return strcmp(hostname, "node-1") == 0 ? ip_addr_parse("10.0.0.5", ret) : -ENOENT;
}

static void test_resolve(void **state)
{
	int calls = 0;
	struct vip_table_options options = {.resolve = fake_resolve, .userdata = &calls};
	static const struct row rows[] = {
		{"known", DOC(TASK, HOST("node-1", "")), RESULT},
		{"unknown", DOC(TASK, HOST("node-2", "")), "", MESOS_REJECT_NO_ADDRESS, 1},
		{"not asked", DOC(TASK, HOST("node-2", "slave(1)@10.0.0.5:1")), RESULT},
		{"no task there", DOC("", HOST("node-2", "")), ""},
	};

	check_rows(rows, sizeof rows / sizeof *rows, &options);
	assert_int_equal(calls, 2);
}

static void test_equal(void **state)
{
	static const char *docs[] = {STATE(RUNNING ", " BASIC),
		STATE("'state': 'TASK_KILLING', " BASIC), STATE(RUNNING ", " HOST_31000),
		STATE(RUNNING)};
	struct vip_table *tables[4];
	char error[200];

	for (size_t i = 0; i < 4; i++) {
		struct mesos_state *s = read_doc(docs[i], error);

		tables[i] = vip_table_build(s, NULL);
		mesos_state_free(s);
	}
	for (size_t i = 0; i < 4; i++)
		for (size_t j = 0; j < 4; j++)
			assert_int_equal(vip_table_equal(tables[i], tables[j]), i == j);
	for (size_t i = 0; i < 4; i++)
		vip_table_free(tables[i]);
}

static void test_limits(void **state)
{
	static const struct {
		struct mesos_limits limits;
		const char *error; /* NULL: a table without the task */
	} rows[] = {
		{{.document = 100}, "byte 0: the document has more than 100 bytes"},
		{{.element = 100}, NULL},
		{{.frameworks = 1}, ""},
		{{.depth = 3}, "byte 57: nested deeper than 3"},
		{{.labels = 1}, ""},
	};
	char *doc = quoted(STATE(RUNNING ", " BASIC));

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char error[200];
		struct mesos_state *s = read_pieces(doc, strlen(doc), 0, &rows[i].limits, error);

		assert_string_equal(error, rows[i].error ? rows[i].error : "");
		if (s && !rows[i].error) {
			assert_int_equal(s->n_tasks, 0);
			assert_int_equal(s->n_rejected[MESOS_REJECT_TOO_LARGE], 1);
		} else if (s) {
			assert_int_equal(s->n_tasks, 1);
		}
		mesos_state_free(s);
	}
	free(doc);
}

static void test_too_many_labels(void **state)
{
	static const struct mesos_limits limits = {.labels = 1};
	char error[200], *doc = quoted(STATE(RUNNING
				 ", " DISCOVERY(PORT(80, VIP("a:1")) ", " PORT(81, VIP("b:1")))));
	struct mesos_state *s = read_pieces(doc, strlen(doc), 0, &limits, error);

	assert_non_null(s);
	assert_int_equal(s->n_tasks, 0);
	assert_int_equal(s->n_rejected[MESOS_REJECT_TOO_LARGE], 1);
	assert_int_equal(s->n_tasks_seen, 1);
	mesos_state_free(s);
	free(doc);
}

static void test_rejections(void **state)
{
	char error[200];
	struct mesos_state *s =
		read_doc(STATE(RUNNING ", " DISCOVERY(PORT(99999, VIP("redis:1")))), error);

	assert_int_equal(s->n_rejections, 1);
	assert_int_equal(s->rejections[0].reason, MESOS_REJECT_PORT);
	assert_string_equal(s->rejections[0].task, "t");
	assert_string_equal(s->rejections[0].framework, "marathon");
	assert_string_equal(s->rejections[0].key, "VIP_0");
	assert_string_equal(s->rejections[0].value, "redis:1");
	assert_string_equal(s->rejections[0].detail, "port number 99999 is not one of 1 to 65535");
	mesos_state_free(s);
}

/* Several rejections with a framework's name, which is the id of none. */
static void test_rejections_of_one_framework(void **state)
{
#define LOST(id) "{'id': '" id "', 'framework_id': 'F', 'slave_id': 'T', " RUNNING ", " BASIC "}"
	char error[200];
	struct mesos_state *s =
		read_doc(DOC(LOST("a") ", " LOST("b") ", " LOST("c"), AGENT), error);

	assert_int_equal(s->n_rejections, 3);
	for (size_t i = 0; i < 3; i++)
		assert_string_equal(s->rejections[i].framework, "marathon");
	mesos_state_free(s);
}

/* Cut anywhere into two, or into pieces of any size, the document gives the same table; a
 * beginning of it gives none. */
static void test_pieces(void **state)
{
	char error[200];
	char *doc = quoted("{'x': ['\\u00e4\\n\\\\', -1.5e+3, 0, true, false, null, {}, []], "
			   "'frameworks': [{'name': "
			   "'marathon', 'id': 'F', 'tasks': [{'id': 'u', 'state': 'TASK_RUNNING'}, "
			   "{'id': 't', "
			   "'slave_id': 'S', " RUNNING
			   ", 'discovery': {'ports': {'ports': [{'number': 80, 'labels': "
			   "{'labels': [{'key': '\\u0056IP_\\u0030', 'value': "
			   "'1.2.3.4:5000'}]}}]}}}]}], 'slaves': [" AGENT "]}");
	size_t n = strlen(doc);

	for (size_t piece = 1; piece <= n; piece++) {
		struct mesos_state *s = read_pieces(doc, n, piece, NULL, error);
		struct vip_table *t;
		char *list;

		assert_non_null(s);
		assert_int_equal(s->n_tasks_seen, 2);
		t = vip_table_build(s, NULL);
		list = table_list(t);
		assert_string_equal(list, RESULT);
		free(list);
		vip_table_free(t);
		mesos_state_free(s);
	}
	for (size_t cut = 0; cut < n; cut++)
		assert_null(read_pieces(doc, cut, 0, NULL, error));
	free(doc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_which_tasks),
		cmocka_unit_test(test_weight),
		cmocka_unit_test(test_labels),
		cmocka_unit_test(test_legacy_labels),
		cmocka_unit_test(test_ports),
		cmocka_unit_test(test_families),
		cmocka_unit_test(test_merging),
		cmocka_unit_test(test_equal_backends_keep_smaller_task),
		cmocka_unit_test(test_repeated_keys),
		cmocka_unit_test(test_many_repeated_keys),
		cmocka_unit_test(test_large_tasks),
		cmocka_unit_test(test_resolve),
		cmocka_unit_test(test_equal),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_too_many_labels),
		cmocka_unit_test(test_rejections),
		cmocka_unit_test(test_rejections_of_one_framework),
		cmocka_unit_test(test_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
