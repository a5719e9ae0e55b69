# SPDX-License-Identifier: Apache-2.0
"""qmp.py SOCKET COMMAND [ARGUMENTS]: runs a QMP command and prints its result.

The command `left` prints the leftover jobs and nodes of a run, `graph` the node below each node
and device, and how it is opened.
"""
import json
import socket
import sys

monitor = socket.socket(socket.AF_UNIX)
monitor.connect(sys.argv[1])
lines = monitor.makefile("rw")
json.loads(lines.readline())


def execute(command, arguments=None):
    request = {"execute": command, "arguments": arguments or {}}
    lines.write(json.dumps(request) + "\n")
    lines.flush()
    while True:
        answer = json.loads(lines.readline() or sys.exit("closed"))
        if "error" in answer:
            sys.exit(answer["error"]["desc"])
        if "return" in answer:
            return answer["return"]


execute("qmp_capabilities")
if sys.argv[2] == "left":
    jobs = [job["id"] for job in execute("query-jobs")]
    nodes = [node["node-name"] for node in execute("query-named-block-nodes")]
    print(json.dumps(jobs + [node for node in nodes if node.startswith("vmatap")]))
elif sys.argv[2] == "graph":
    graph = execute("x-debug-query-block-graph")
    names = {node["id"]: node["name"] for node in graph["nodes"]}
    edges = [(names[edge["parent"]], edge["name"], names[edge["child"]], edge["perm"])
             for edge in graph["edges"]]
    nodes = [(node["node-name"], node["drv"], node["ro"], node["detect_zeroes"],
              sorted(node["cache"].items())) for node in execute("query-named-block-nodes")]
    print(json.dumps([sorted(edges), sorted(nodes)]))
else:
    print(json.dumps(execute(sys.argv[2], json.loads((sys.argv + ["{}"])[3]))))
