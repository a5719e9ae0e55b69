# SPDX-License-Identifier: Apache-2.0
"""records.py DISK=BASE DISK=BASE: checks the two disks that the guest of scripts/guest-init has written to.

Each disk must be, byte for byte, its base with the records 1 to n, and n of the second disk must
be that of the first or one less. Prints both n; otherwise exits with 1 and a reason.
"""
import json
import re
import sys

SLOT = 256 << 10


def record(number, size):
    """The position and content of a record on a disk of this size."""
    place, length = number * 37 % (size // SLOT) * SLOT, SLOT
    if number % 8:
        place, length = place + number * 5 % 64 * 4096, 4096
    return place, b"%0511d\n" % number * (length // 512)


numbers = []
for argument in sys.argv[1:]:
    names = argument.split("=")
    with open(names[0], "rb") as disk, open(names[1], "rb") as base:
        found, expected = disk.read(), bytearray(base.read())
    last = max((int(line) for line in re.findall(rb"0{400}\d{111}\n", found)), default=0)
    for number in range(1, last + 1):
        place, data = record(number, len(expected))
        expected[place:place + len(data)] = data
    if found != expected:
        sectors = range(0, max(len(found), len(expected)), 512)
        wrong = [place for place in sectors if found[place:place + 512] != expected[place:place + 512]]
        sys.exit(f"{names[0]}: is not its base and records 1 to {last}: "
                 f"{len(wrong)} sectors, the first at byte {wrong[0]}")
    numbers.append(last)
if numbers[0] - numbers[1] not in (0, 1):
    sys.exit(f"the disks show different instants: {numbers}")
json.dump(numbers, sys.stdout)
