# SPDX-License-Identifier: Apache-2.0
"""qmp.py SOCKET COMMAND [ARGUMENTS]: runs a QMP command and prints what it returns.

The command `left` prints the jobs and nodes that a run has left.
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
else:
    print(json.dumps(execute(sys.argv[2], json.loads((sys.argv + ["{}"])[3]))))
