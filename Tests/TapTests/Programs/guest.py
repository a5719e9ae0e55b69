# SPDX-License-Identifier: Apache-2.0
"""guest.py SOCKET SEED PAUSE RESULT EXPORT...: writes to disks until its standard input closes.

Prints a line when it has begun; its results are written to RESULT as JSON.
"""
import json
import select
import sys
import time

import nbd

from writes import pattern, writes

socket, seed, pause, result = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
disks = []
for name in sys.argv[5:]:
    handle = nbd.NBD()
    handle.set_export_name(name)
    handle.connect_unix(socket)
    disks.append(handle)
sizes = [handle.get_size() for handle in disks]
latencies, errors, count = [], [], 0
for number, step in enumerate(writes(seed, sizes), 1):
    for handle, (offset, length, is_zero) in zip(disks, step):
        begin = time.monotonic()
        try:
            if is_zero:
                handle.zero(length, offset)
            else:
                handle.pwrite(pattern(seed, number, length), offset)
        except nbd.Error as error:
            errors.append(str(error))
        latencies.append((time.monotonic() - begin, number))
    count = number
    if number == 50:
        print("begun", flush=True)
    if errors or select.select([sys.stdin], [], [], pause)[0]:
        break
latencies.sort()
with open(result, "w") as file:
    json.dump({
        "count": count, "errors": errors,
        "median": latencies[len(latencies) // 2][0],
        "p99": latencies[len(latencies) * 99 // 100][0],
        "worst": latencies[-1][0],
    }, file)
