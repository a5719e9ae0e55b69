# SPDX-License-Identifier: Apache-2.0
"""monitor.py SOCKET MODE [TARGET]: a QMP monitor that misbehaves.

Without TARGET it answers itself. With TARGET, a real monitor, it forwards everything, one client
after another, except for the fault that MODE selects. Each command that it receives is a line of
SOCKET.log.
"""
import json
import os
import socket
import sys
import threading
import time

path, mode = sys.argv[1], sys.argv[2]
target = sys.argv[3] if len(sys.argv) > 3 else None
GREETING = b'{"QMP": {"version": {"qemu": {"major": 7}}, "capabilities": []}}\r\n'
PARENT = os.getppid()


def end_with_parent():
    """A test that takes too long is killed; this must not outlive it and keep its pipes open."""
    while os.getppid() == PARENT:
        time.sleep(0.5)
    os._exit(1)


threading.Thread(target=end_with_parent, daemon=True).start()
log = open(path + ".log", "w", buffering=1)

if os.path.exists(path):
    os.unlink(path)
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen(0 if mode == "backlog" else 16)


def stay(client):
    """Keeps the connection until the other side closes it, and reports that."""
    try:
        while client.recv(65536):
            pass
    except OSError:
        pass
    print("closed", file=log)


def alone(client):
    if mode == "silent":
        return stay(client)
    if mode == "half":
        client.sendall(GREETING[:20])
        return stay(client)
    if mode == "drip":
        for byte in GREETING:
            client.sendall(bytes([byte]))
            time.sleep(1)
        return stay(client)
    if mode == "other":
        client.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
        return stay(client)
    if mode == "endless-greeting":
        client.sendall(b'{"QMP": "')
        while True:
            client.sendall(b"x" * 65536)
    client.sendall(GREETING)
    for line in client.makefile():
        request = json.loads(line)
        print(request["execute"], file=log)
        if request["execute"] == "qmp_capabilities" and mode != "no-capabilities":
            client.sendall(b'{"return": {}, "id": %d}\r\n' % request["id"])
        elif mode in ("no-capabilities", "mute"):
            return stay(client)
        elif mode == "undecodable":
            client.sendall(b'{"return": [nonsense], "id": 2}\r\n')
            return stay(client)
        elif mode == "brace":
            client.sendall(b"}\r\n")
            return stay(client)
        elif mode == "wrong":
            client.sendall(b'{"return": "no list", "id": %d}\r\n' % request["id"])
        elif mode == "endless":
            client.sendall(b'{"return": "')
            while True:
                client.sendall(b"x" * 65536)
        elif mode == "flood":
            while True:
                client.sendall(b'{"event": "STOP", "timestamp": {}}\r\n' * 100)
        elif mode == "deep":
            client.sendall(b'{"return": ' + b"[" * 1000000)
            return stay(client)
        elif mode == "close":
            return client.close()


class Passing:
    """One client, and its connection to the real monitor."""
    seen = False

    def __init__(self, client):
        self.client = client
        self.real = socket.socket(socket.AF_UNIX)
        self.real.connect(target)
        self.names, self.isDeaf = {}, False

    def run(self):
        thread = threading.Thread(target=self.answers)
        thread.start()
        try:
            for line in self.client.makefile():
                request = json.loads(line)
                self.names[json.dumps(request.get("id"))] = request["execute"]
                print(line.strip(), file=log)
                self.real.sendall(json.dumps(self.changed(request)).encode() + b"\n")
        except (OSError, ValueError):
            pass
        print("closed", file=log)
        for end in self.real, self.client:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        thread.join()

    def changed(self, request):
        if mode == "schema" and request["execute"] == "transaction":
            for action in request["arguments"]["actions"]:
                action["data"].pop("on-cbw-error", None)
        return request

    def answers(self):
        for line in self.real.makefile():
            answer = json.loads(line)
            name = self.names.get(json.dumps(answer.get("id")))
            self.answer(answer, name)
            # The fault happens once, in the middle of the backup.
            if name == "transaction" and not Passing.seen:
                Passing.seen = True
                self.misbehave()

    def answer(self, answer, name):
        if self.isDeaf:
            return
        if mode == "schema" and name == "query-qmp-schema":
            entries = answer["return"]
            kind = next(e["arg-type"] for e in entries if e["name"] == "blockdev-backup")
            members = next(e["members"] for e in entries if e["name"] == kind)
            members[:] = [m for m in members if m["name"] not in ("on-cbw-error", "x-perf")]
            members.append({"name": "on-cbw-error", "default": None, "type": "7"})
        if mode.startswith("state:") and name == "query-status":
            answer["return"]["status"] = mode[6:]
        text = json.dumps(answer, indent=4 if mode == "pretty" else None) + "\r\n"
        if mode == "ids" and name:
            for other in ("mine", None, {"a": [1]}, -1, 1.5, 10 ** 30):
                text = json.dumps({"return": {}, "id": other}) + "\r\n" + text
        try:
            self.client.sendall(text.encode())
        except OSError:
            pass

    def misbehave(self):
        try:
            if mode == "mid-garbage":
                self.client.sendall(b"\xff\xfe what is this?\r\n")
            elif mode == "mid-close":
                self.client.shutdown(socket.SHUT_RDWR)
            elif mode == "mid-mute":
                self.isDeaf = True
            elif mode == "mid-long":
                self.client.sendall(b'{"event": "' + b"x" * (70 << 20))
        except OSError:
            pass


if mode == "backlog":
    # No connection is ever accepted; the queue is full.
    waiting = []
    while True:
        other = socket.socket(socket.AF_UNIX)
        other.setblocking(False)
        try:
            other.connect(path)
        except BlockingIOError:
            break
        waiting.append(other)
    print("full", file=log)
    time.sleep(3600)
while True:
    client = server.accept()[0]
    if target:
        Passing(client).run()
    else:
        threading.Thread(target=alone, args=(client,), daemon=True).start()
