#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A master's /state of any size, as Mesos writes it, on standard output. Always the same
for the same arguments; 50,000 tasks are about 45 MB.

usage: gen_state.py [--tasks N] [--vip-percent P] [--agents N] [--replace-percent P]"""

import argparse
import json
import sys


def agent(i):
    # Beside the networks of tests: their broadcast addresses can be nobody's backends.
    ip = f"10.{100 + (i >> 16 & 127)}.{i >> 8 & 255}.{i & 255}"
    return {"id": f"2f0e3a5c-7c2b-4e8e-9a51-4f6f0f6e1a11-S{i}", "hostname": ip, "port": 5051,
            "attributes": {}, "pid": f"slave(1)@{ip}:5051", "registered_time": 1542766816.796216,
            "resources": {"disk": 76238.0, "mem": 15026.0, "gpus": 0.0, "cpus": 4.0,
                          "ports": "[1025-2180, 2182-3887, 3889-5049, 5052-8079, 8082-32000]"},
            "active": True, "version": "1.8.0", "capabilities": ["MULTI_ROLE", "RESIZE_VOLUME"]}


def task(i, agents, vip, replaced):
    # Each app has five instances.
    name, a = f"app-{i // 5}", agents[i % len(agents)]
    address = f"9.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}"
    port = 1025 + i % 30000
    labels = [{"key": "network-scope", "value": "host"}]
    if vip:
        labels.insert(0, {"key": "VIP_0", "value": f"/{name}:80"})
    container = {"value": f"393301c8-0eef-44d6-a244-{i:012x}"}
    infos = [{"ip_addresses": [{"protocol": "IPv4", "ip_address": address}], "name": "dcos",
              "labels": [{"key": "DCOS_SPACE", "value": f"/{name}"}]}]
    statuses = [{"state": "TASK_RUNNING", "timestamp": 1542770516.399176,
                 "container_status": {"container_id": container, "network_infos": infos}}]
    # A replacement is another task, in another place.
    generation, a = ("92ed0e7a", agents[(i + 1) % len(agents)]) if replaced else ("92ed0e79", a)
    return {"id": f"{name}.{generation}-ed3c-11e8-841d-{i:012x}", "name": name,
            "framework_id": "2f0e3a5c-7c2b-4e8e-9a51-4f6f0f6e1a11-0000", "executor_id": "",
            "slave_id": a["id"], "state": "TASK_RUNNING",
            "resources": {"disk": 0.0, "mem": 128.0, "gpus": 0.0, "cpus": 0.1, "ports": f"[{port}-{port}]"},
            "role": "slave_public", "statuses": statuses,
            "discovery": {"visibility": "FRAMEWORK", "name": name, "ports": {"ports": [
                {"number": port, "protocol": "tcp", "labels": {"labels": labels}}]}},
            "container": {"type": "MESOS", "network_infos": [
                {"name": "dcos", "port_mappings": [
                    {"host_port": port, "container_port": 80, "protocol": "tcp"}]}]}}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=50000)
    parser.add_argument("--vip-percent", type=int, default=10)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--replace-percent", type=int, default=0)
    o = parser.parse_args()
    agents = [agent(i) for i in range(o.agents)]

    def dump(value):
        return json.dumps(value, separators=(",", ":"))

    out = sys.stdout
    out.write('{"version":"1.8.0","id":"M","pid":"master@10.255.0.1:5050","hostname":"10.255.0.1",')
    out.write(f'"slaves":{dump(agents)},"frameworks":[')
    out.write('{"id":"2f0e3a5c-7c2b-4e8e-9a51-4f6f0f6e1a11-0000","name":"marathon","tasks":[')
    for i in range(o.tasks):
        # all five instances of an app have the label, or none
        vip = i // 5 * o.vip_percent // 100 != (i // 5 + 1) * o.vip_percent // 100
        # here and there, with labels and without
        replaced = (i * 2654435761 % (1 << 32) >> 16) % 100 < o.replace_percent
        out.write(("," if i else "") + dump(task(i, agents, vip, replaced)))
    out.write('],"completed_tasks":[]}],"completed_frameworks":[]}\n')


if __name__ == "__main__":
    main()
