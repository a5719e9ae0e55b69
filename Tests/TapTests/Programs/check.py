# SPDX-License-Identifier: Apache-2.0
"""check.py EVENTS SEED NAME=BASE...: reads an event stream as strictly as it is defined, and
compares each disk with its base image and the writes of the guest up to some point in time.

EVENTS can be a folder instead, with disks that vma-unpack has restored. SEED is - if there was no
guest. Prints JSON; exits with 1 and a reason if anything is wrong.
"""
import hashlib
import json
import os
import struct
import sys

from writes import mark, replay


def fail(reason):
    sys.exit(f"check: {reason}")


def records(file):
    sequence = 0
    while True:
        head = file.read(32)
        if not head:
            return
        if len(head) != 32:
            fail("torn")
        magic, kind, device, flags, offset, length, size, number = struct.unpack(
            ">4sBBHQQII", head)
        if magic != b"CBE1":
            fail(f"no record at {file.tell() - 32}")
        if number != sequence:
            fail(f"sequence {number}, not {sequence}")
        if size > 16 << 20:
            fail("payload")
        payload = file.read(size)
        if len(payload) != size:
            fail("torn payload")
        yield chr(kind), device, flags, offset, length, payload, sequence
        sequence += 1


class Disk:
    def __init__(self, name, size):
        self.name, self.size = name, size
        self.image = bytearray(size)
        self.seen = bytearray(size // 512)
        self.finished = False
        self.records = {"O": 0, "Z": 0}


disks, configs, begin, ended, abort = {}, {}, None, False, None
if os.path.isdir(sys.argv[1]):
    for name in (word.split("=", 1)[0] for word in sys.argv[3:]):
        with open(f"{sys.argv[1]}/disk-{name}.raw", "rb") as file:
            image = file.read()
        disk = disks[name] = Disk(name, len(image))
        disk.image[:], disk.seen[:] = image, b"\1" * len(disk.seen)
    ended = True
by_guest = {"O": 0, "Z": 0}
with open(os.devnull if ended else sys.argv[1], "rb") as file:
    for kind, device, flags, offset, length, payload, sequence in records(file):
        if ended or abort is not None:
            fail("something follows the end")
        if flags not in ((0, 1) if kind in "OZW" else (0,)):
            fail("flags")
        if kind == "X":
            abort = payload.decode()
        elif kind == "C" and begin is None:
            name, content = payload.split(b"\0", 1)
            configs[name.decode()] = content.decode()
        elif kind == "D" and begin is None:
            if device != len(disks) + 1 or length % 512 or not length or offset:
                fail("device")
            disks[device] = Disk(payload.decode(), length)
        elif kind == "B" and begin is None and disks and not payload:
            begin = offset
        elif kind in "OZ" and begin is not None:
            disk = disks[device]
            if disk.finished or offset % 512 or length % 512 or not length:
                fail("place")
            if offset + length > disk.size or len(payload) != (length if kind == "O" else 0):
                fail("range")
            part = slice(offset // 512, (offset + length) // 512)
            if any(disk.seen[part]):
                fail(f"{disk.name}: {offset} twice")
            disk.seen[part] = b"\1" * (length // 512)
            if kind == "O":
                disk.image[offset:offset + length] = payload
            disk.records[kind] += 1
            by_guest[kind] += flags
        elif kind == "F" and not disks[device].finished:
            disks[device].finished = True
        elif kind == "E" and all(disk.finished for disk in disks.values()):
            if offset != sequence:
                fail("count")
            ended = True
        else:
            fail(f"{kind} is out of place")

result = {"begin": begin, "configs": configs, "ended": ended, "abort": abort, "numbers": [],
          "names": [disk.name for disk in disks.values()],
          "records": [disk.records for disk in disks.values()], "byGuest": by_guest}
if ended and len(sys.argv) > 3:
    bases = dict(word.split("=", 1) for word in sys.argv[3:])
    if sorted(bases) != sorted(result["names"]):
        fail(f"disks {result['names']}")
    # In the order in which the guest writes to them.
    ordered = sorted(disks.values(), key=lambda disk: list(bases).index(disk.name))
    sizes = [disk.size for disk in ordered]
    seed = None if sys.argv[2] == "-" else int(sys.argv[2])
    for place, disk in enumerate(ordered):
        if not all(disk.seen):
            fail(f"{disk.name}: sector {disk.seen.index(0)} is missing")
        with open(bases[disk.name], "rb") as file:
            expected = bytearray(file.read())
        if seed is not None:
            # The last write before the point in time is complete, because no later one is on the disk.
            number = 0
            for start in range(0, disk.size, 512):
                sector = disk.image[start:start + 512]
                word = int.from_bytes(sector[:8], "big")
                if word >> 32 == mark(seed) >> 32 and sector == sector[:8] * 64:
                    number = max(number, word ^ mark(seed))
            # Writes of zeros have no number: some may follow the last numbered one.
            candidates = range(number, number + 30)
        else:
            candidates = [0]
        digest = hashlib.sha256(disk.image).digest()
        found = []
        for count, image in replay(expected, place, seed, sizes, candidates[-1]):
            if count in candidates and hashlib.sha256(image).digest() == digest:
                found.append(count)
        if not found:
            fail(f"{disk.name}: shows no instant, the last write is {candidates[0]}")
        result["numbers"].append(found)
    if len(sizes) == 2 and seed is not None:
        a, b = result["numbers"]
        if not any(x - y in (0, 1) for x in a for y in b):
            fail(f"the disks show different instants: {a}, {b}")
json.dump(result, sys.stdout)
