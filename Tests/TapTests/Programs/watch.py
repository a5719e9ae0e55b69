# SPDX-License-Identifier: Apache-2.0
"""watch.py FROM TO LOG: forwards connections to a monitor until it is killed, and writes each
command of a client to LOG, one per line, before the monitor receives it.

watch.py LOG: prints the commands in LOG that could change QEMU's block graph other than by adding
and removing the tap's own target nodes, and fails if there are any or LOG is empty.
"""
import json
import os
import socket
import sys
import threading

OURS = "vmatap-"


def is_harmless(command):
    name, arguments = command["execute"], command.get("arguments", {})
    if name == "qmp_capabilities" or name.startswith("query-"):
        return True
    if name == "blockdev-add":
        return arguments["driver"] == "nbd" and arguments["node-name"].startswith(OURS)
    if name == "blockdev-del":
        return arguments["node-name"].startswith(OURS)
    if name in ("job-pause", "job-resume", "job-cancel", "job-dismiss"):
        return arguments["id"].startswith(OURS)
    if name == "transaction":
        return all(
            action["type"] == "blockdev-backup" and action["data"]["job-id"].startswith(OURS)
            and action["data"]["target"].startswith(OURS) for action in arguments["actions"])
    return False


def judge():
    commands = [json.loads(line) for line in open(sys.argv[1])]
    bad = [command for command in commands if not is_harmless(command)]
    for command in bad:
        print(json.dumps(command))
    sys.exit(1 if bad or not any(c["execute"] == "transaction" for c in commands) else 0)


def copy(source, sink, log=None):
    rest = b""
    try:
        while data := source.recv(65536):
            if log:
                *lines, rest = (rest + data).split(b"\n")
                log.writelines(line + b"\n" for line in lines)
                log.flush()
            sink.sendall(data)
    except OSError:
        pass
    for end in (source, sink):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


if len(sys.argv) == 2:
    judge()
if os.path.exists(sys.argv[1]):
    os.unlink(sys.argv[1])
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
log = open(sys.argv[3], "ab")
while True:
    client = server.accept()[0]
    target = socket.socket(socket.AF_UNIX)
    target.connect(sys.argv[2])
    threading.Thread(target=copy, args=(client, target, log), daemon=True).start()
    threading.Thread(target=copy, args=(target, client), daemon=True).start()
