# SPDX-License-Identifier: Apache-2.0
"""proxy.py FROM TO [WORD]: forwards one connection until it is killed or the client sends WORD,
which is not forwarded."""
import os
import socket
import sys
import threading

if os.path.exists(sys.argv[1]):
    os.unlink(sys.argv[1])
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
client = server.accept()[0]
target = socket.socket(socket.AF_UNIX)
target.connect(sys.argv[2])


def copy(source, sink):
    while data := source.recv(65536):
        if source is client and sys.argv[3:] and sys.argv[3].encode() in data:
            break
        sink.sendall(data)
    os._exit(0)


threading.Thread(target=copy, args=(client, target)).start()
copy(target, client)
