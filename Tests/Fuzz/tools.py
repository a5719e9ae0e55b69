#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the tools on archives and event streams with damage that follows the formats.

    tools.py DIRECTORY SECONDS [SEED]

DIRECTORY contains the built tools. Most changes correct the checksums, so that the code after
their checks is reached. A reader and a writer in this file, based only on vma(5) and vma-events(5),
determine the expected result: a tool may only exit with 0 if its output matches.
"""

import bz2, gzip, hashlib, io, lzma, os, random, resource, shutil, signal, struct, subprocess
import sys, tarfile, tempfile, time

CLUSTER, BLOCK, SECTOR, SLOTS = 65536, 4096, 512, 59
STATUSES = {0, 1, 64, 65, 66, 73, 74}
MEMORY_LIMIT = 700 << 20
TIME_LIMIT = 60


class Bad(Exception):
    """The archive or stream is not acceptable."""


# ---- Writing ---------------------------------------------------------------------------------


def header_bytes(uuid, configs, devices, rng):
    blobs = bytearray(1)

    def blob(data):
        offset = len(blobs)
        blobs.extend(struct.pack("<H", len(data)) + data)
        return offset

    fixed = bytearray(12288)
    for index, (name, data) in enumerate(configs):
        struct.pack_into(">I", fixed, 2044 + 4 * index, blob(name + b"\0"))
        struct.pack_into(">I", fixed, 3068 + 4 * index, blob(data))
    for number, name, size in devices:
        struct.pack_into(">IIQ", fixed, 4096 + 32 * number, blob(name + b"\0"), 0, size)
    used = len(blobs)
    blobs.extend(bytes(-used % SECTOR))
    struct.pack_into(
        ">4sI16sq16sIII", fixed, 0, b"VMA\0", 1, uuid, rng.randrange(1 << 32), bytes(16), 12288,
        used, 12288 + len(blobs))
    whole = fixed + blobs
    fix_header(whole)
    return whole


def fix_header(data):
    size = min(int.from_bytes(data[56:60], "big"), len(data))
    data[32:48] = bytes(16)
    data[32:48] = hashlib.md5(data[:size]).digest()


def fix_extent(data, start=0):
    head = data[start:start + SECTOR]
    if len(head) == SECTOR:
        head[24:40] = bytes(16)
        data[start + 24:start + 40] = hashlib.md5(head).digest()


def extent_bytes(uuid, slots):
    """slots: (device, cluster, [block or None] * 16)"""
    head = bytearray(SECTOR)
    body = bytearray()
    for index, (device, cluster, blocks) in enumerate(slots):
        mask = sum(1 << j for j, block in enumerate(blocks) if block is not None)
        struct.pack_into(">HBBI", head, 40 + 8 * index, mask, 0, device, cluster)
        body += b"".join(block for block in blocks if block is not None)
    struct.pack_into(">4sHH16s", head, 0, b"VMAE", 0, len(body) // BLOCK, uuid)
    fix_extent(head)
    return head + body


def disk_content(rng, size):
    data = bytearray(size)
    for start in range(0, size, BLOCK):
        if rng.random() < 0.3:
            data[start:start + BLOCK] = bytes([rng.randrange(1, 256)]) * min(BLOCK, size - start)
    return bytes(data)


class Sample:
    """An intact archive: its parts and its content."""

    def __init__(self, rng):
        self.uuid = rng.randbytes(16)
        names = [b"drive-scsi0", b"drive-efidisk0", b"x", b"vmstate"]
        rng.shuffle(names)
        self.devices = []
        for index, name in enumerate(names[:rng.randrange(1, 4)]):
            size = rng.choice([512, 4096, 65536, 66048, 131072, 540672, rng.randrange(1, 900) * 512])
            self.devices.append((index + 1, name, size))
        self.configs = [(b"qemu-server.conf", b"cores: 2\n"), (b"x.fw", b"")][:rng.randrange(3)]
        self.content = {}
        clusters = []
        for number, name, size in self.devices:
            count = -(-size // CLUSTER)
            if name == b"vmstate":
                size = (count + rng.randrange(2)) * CLUSTER
                count = size // CLUSTER
            self.content[name] = disk_content(rng, size)
            clusters.append([(number, name, cluster) for cluster in range(count)])
        order = []
        while any(clusters):
            queue = rng.choice([queue for queue in clusters if queue])
            at = 0 if queue[0][1] == b"vmstate" else rng.randrange(len(queue))
            order.append(queue.pop(at))
        self.extents = []
        while order:
            count = rng.randrange(1, 60)
            part, order = order[:count], order[count:]
            self.extents.append(extent_bytes(self.uuid, [self.slot(*place) for place in part]))
        self.header = header_bytes(self.uuid, self.configs, self.devices, rng)

    def slot(self, number, name, cluster):
        data = self.content[name][cluster * CLUSTER:(cluster + 1) * CLUSTER]
        blocks = []
        for start in range(0, CLUSTER, BLOCK):
            block = data[start:start + BLOCK]
            block += bytes(BLOCK - len(block))
            blocks.append(block if any(block) else None)
        return number, cluster, blocks

    def damaged(self, rng):
        header = bytearray(self.header)
        extents = [bytearray(extent) for extent in self.extents]
        numbers = [0, 1, 2, 3, 255, 511, 512, 4096, 12288, 65535, 65536, 1 << 31, (1 << 32) - 1]
        for _ in range(rng.choice([0, 0, 1, 1, 1, 2, 3])):
            kind = rng.randrange(12)
            at = rng.randrange(len(extents))
            if kind == 0:  # a field of the header
                field = rng.choice(
                    [4, 24, 48, 52, 56, 60, 2044, 2048, 3068, 4096, 4128, 4136, 4140, 4160, 4168,
                     4100, 12289, 12290, 12291, 12300])
                value = rng.choice(numbers) if rng.random() < 0.7 else rng.randrange(1 << 32)
                struct.pack_into(">I", header, field, value)
                fix_header(header)
            elif kind == 1:  # a field of an extent
                field = rng.choice([0, 4, 6, 8, 40, 42, 43, 44, 46, 48, 51, 52, 60, 504])
                extents[at][field:field + 2] = struct.pack(">H", rng.choice(numbers) & 0xffff)
                fix_extent(extents[at])
            elif kind == 2:
                del extents[at]
            elif kind == 3:
                extents.insert(rng.randrange(len(extents) + 1), extents[at])
            elif kind == 4:
                rng.shuffle(extents)
            elif kind == 5:  # data is lost or added
                place = rng.randrange(len(extents[at]) + 1)
                count = rng.choice([1, 2, 511, 512, 4096, 65536])
                if rng.random() < 0.5:
                    del extents[at][place:place + count]
                else:
                    extents[at][place:place] = rng.randbytes(count)
            elif kind == 6:
                extents[at] = extents[at][:rng.randrange(len(extents[at]) + 1)]
                del extents[at + 1:]
            elif kind == 7:  # bits
                part = rng.choice([header] + extents)
                if part:
                    part[rng.randrange(len(part))] ^= 1 << rng.randrange(8)
            elif kind == 8:  # an extent of another archive
                extents.insert(at, extent_bytes(rng.randbytes(16), [(1, 0, [None] * 16)]))
            elif kind == 9:  # an extent without slots, or with unused ones between
                extents.insert(at, extent_bytes(self.uuid, []))
            elif kind == 10:
                extents.append(bytearray(rng.choice([b"\0", bytes(512), rng.randbytes(700)])))
            elif len(extents[at]) >= SECTOR:  # slots in another order, their data not
                slots = [extents[at][40 + 8 * j:48 + 8 * j] for j in range(SLOTS)]
                rng.shuffle(slots)
                extents[at][40:512] = b"".join(slots)
                fix_extent(extents[at])
            if not extents:
                extents = [bytearray()]
        return bytes(header) + b"".join(extents)


# ---- Reading ---------------------------------------------------------------------------------


class Archive:
    """The content of an archive according to vma(5), up to `fault`, if there is one."""

    def __init__(self, data):
        self.configs, self.devices, self.blocks = [], {}, {}
        self.fault = None
        self.parse_header(data)
        try:
            self.parse_extents(data)
        except Bad as fault:
            self.fault = fault

    def parse_header(self, data):
        if len(data) < 12288 or data[:8] != b"VMA\0\0\0\0\1":
            raise Bad("magic")
        start, used, size = struct.unpack_from(">III", data, 48)
        if size < 12288 or size % 512 or size > 52 << 20 or size > len(data):
            raise Bad("header size")
        if hashlib.md5(data[:32] + bytes(16) + data[48:size]).digest() != data[32:48]:
            raise Bad("checksum")
        if start < 12288 or start % 512 or start + used > size:
            raise Bad("blob buffer")
        self.size, self.uuid = size, data[8:24]

        def blob(offset):
            if offset + 2 > used:
                raise Bad("blob")
            length = struct.unpack_from("<H", data, start + offset)[0]
            if offset + 2 + length > used:
                raise Bad("blob")
            return data[start + offset + 2:start + offset + 2 + length]

        def name(offset):
            text = blob(offset)
            if text[-1:] != b"\0":
                raise Bad("name")
            return text[:-1]

        for index in range(256):
            one, = struct.unpack_from(">I", data, 2044 + 4 * index)
            other, = struct.unpack_from(">I", data, 3068 + 4 * index)
            if one and other:
                self.configs.append((name(one), blob(other)))
        for number in range(256):
            one, _, bytes_ = struct.unpack_from(">IIQ", data, 4096 + 32 * number)
            if one and bytes_:
                if number == 0:
                    raise Bad("device 0")
                text = name(one)
                if bytes_ > 1 << 48 or (bytes_ % 512 and text != b"vmstate"):
                    raise Bad("size")
                self.devices[number] = (text, bytes_)

    def parse_extents(self, data):
        seen = {number: {} for number in self.devices}
        self.seen = seen
        at = self.size
        while at < len(data):
            head = data[at:at + 512]
            if len(head) < 512 or head[:4] != b"VMAE":
                raise Bad("no extent")
            if hashlib.md5(head[:24] + bytes(16) + head[40:]).digest() != head[24:40]:
                raise Bad("checksum")
            if head[8:24] != self.uuid:
                raise Bad("uuid")
            count = struct.unpack_from(">H", head, 6)[0]
            position = at + 512
            slots = []
            for index in range(SLOTS):
                mask, _, number, cluster = struct.unpack_from(">HBBI", head, 40 + 8 * index)
                if number:
                    slots.append((number, cluster, mask, position))
                    position += bin(mask).count("1") * BLOCK
            if position != at + 512 + count * BLOCK or position > len(data):
                raise Bad("blocks")
            for number, cluster, mask, place in slots:
                if number not in self.devices:
                    raise Bad("device")
                name, size = self.devices[number]
                if cluster in seen[number]:
                    raise Bad("duplicate")
                if name == b"vmstate":
                    if cluster != len(seen[number]):
                        raise Bad("order")
                elif cluster * CLUSTER + max(mask.bit_length() - 1, 0) * BLOCK >= size:
                    raise Bad("beyond")
                seen[number][cluster] = (mask, place)
            at = position
        self.data = data

    def is_complete(self, number):
        name, size = self.devices[number]
        return self.fault is None and len(self.seen[number]) >= -(-size // CLUSTER)

    @property
    def is_whole(self):
        return self.fault is None and all(self.is_complete(number) for number in self.devices)

    def content(self, number):
        name, size = self.devices[number]
        clusters = self.seen[number]
        if name == b"vmstate":
            size = len(clusters) * CLUSTER
        out = bytearray(-(-size // CLUSTER) * CLUSTER)
        for cluster, (mask, place) in clusters.items():
            for block in range(16):
                if mask >> block & 1:
                    start = cluster * CLUSTER + block * BLOCK
                    out[start:start + BLOCK] = self.data[place:place + BLOCK]
                    place += BLOCK
        return bytes(out[:size])

    def files(self):
        """Names and contents as vma-unpack writes them; None for an invalid file name."""
        files = {}
        for name, content in self.configs:
            files.setdefault(name, []).append(lambda content=content: content)
        for number, (name, _) in self.devices.items():
            file = b"vmstate.bin" if name == b"vmstate" else b"disk-" + name + b".raw"
            files.setdefault(file, []).append(lambda number=number: self.content(number))
        for name, contents in files.items():
            try:
                text = name.decode()
            except UnicodeDecodeError:
                text = name.decode("latin-1")
            if len(contents) > 1 or name in (b"", b".", b"..") or len(name) > 255 or b"/" in name:
                return None
            if any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text):
                return None
        return {name: contents[0] for name, contents in files.items()}


# ---- Running ---------------------------------------------------------------------------------


class Failure(Exception):
    pass


class Runner:
    def __init__(self, tools):
        self.tools = os.path.abspath(tools)
        self.base = tempfile.mkdtemp(prefix="vma-fuzz.")
        self.counts = {}

    def fresh(self):
        self.dir = os.path.join(self.base, "work")
        self.tmp = os.path.join(self.base, "tmp")
        for path in (self.dir, self.tmp):
            shutil.rmtree(path, ignore_errors=True)
            os.mkdir(path)

    def run(self, tool, *arguments, input=None):
        """The exit status, standard output and errors; the input is a pipe."""
        path = os.path.join(self.tools, tool)
        started = time.monotonic()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = subprocess.Popen(
                [path, *arguments], cwd=self.dir, stdout=out, stderr=err,
                stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL,
                env={"PATH": os.environ["PATH"], "TMPDIR": self.tmp})
            if input is not None:
                try:
                    child.stdin.write(input)
                    child.stdin.close()
                except BrokenPipeError:
                    pass
                try:
                    child.stdin.close()
                except BrokenPipeError:
                    pass
            signal.alarm(TIME_LIMIT)
            try:
                _, status, usage = os.wait4(child.pid, 0)
                child.returncode = status
            finally:
                signal.alarm(0)
            out.seek(0)
            err.seek(0)
            output, errors = out.read(), err.read()
        key = (tool, os.waitstatus_to_exitcode(status))
        self.counts[key] = self.counts.get(key, 0) + 1
        words = f"{tool} {' '.join(arguments)}: status {key[1]}: {errors[:300]!r}"
        if key[1] not in STATUSES:
            raise Failure(f"undocumented end: {words}")
        if usage.ru_maxrss << 10 > MEMORY_LIMIT:
            raise Failure(f"{usage.ru_maxrss >> 10} MiB: {words}")
        if key[1] != 0:
            lines = errors.decode(errors="replace").splitlines()
            if not lines or not all(line.startswith(tool + ": ") for line in lines):
                raise Failure(f"no clean line: {words}")
        if os.listdir(self.tmp):
            raise Failure(f"leftovers {os.listdir(self.tmp)}: {words}")
        self.words = words
        return key[1], output

    def expect(self, condition, what):
        if not condition:
            raise Failure(f"{what}: {self.words}")


def compress(rng, data):
    """The data in some format, and the program that decompresses it."""
    kind = rng.choice([None, None, "zstd", "gzip", "xz", "bzip2", "lz4", "lzop"])
    if kind is None:
        return None, data
    packed = subprocess.run([kind, "-c", "-1"], input=data, stdout=subprocess.PIPE, check=True)
    return kind, packed.stdout


def spoil(rng, data):
    data = bytearray(data)
    for _ in range(rng.randrange(1, 3)):
        place = rng.randrange(len(data)) if data else 0
        kind = rng.randrange(4)
        if kind == 0 and data:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[place:place + rng.choice([1, 4, 1000])]
        elif kind == 2:
            data[place:place] = rng.randbytes(rng.choice([1, 16, 600]))
        else:
            data += rng.choice([b"\0", b"garbage", bytes(512)])
    return bytes(data)


def try_archive(runner, rng):
    sample = Sample(rng)
    plain = sample.damaged(rng)
    kind, packed = compress(rng, plain)
    is_proven = True
    if kind and rng.random() < 0.4:
        packed = spoil(rng, packed)
        reference = subprocess.run(
            [kind, "-dc"], input=packed, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        plain = reference.stdout
        # If the program fails, the tools must fail. If it succeeds, it may have ignored garbage that
        # the tools refuse.
        is_proven = False
        reference_failed = reference.returncode != 0
    else:
        reference_failed = False
    try:
        archive = Archive(plain)
    except Bad:
        archive = None
    is_whole = archive is not None and archive.is_whole and not reference_failed
    files = archive.files() if is_whole else None

    through_pipe = rng.random() < 0.5
    runner.fresh()
    name = "-" if through_pipe else "a.vma"
    if not through_pipe:
        with open(os.path.join(runner.dir, "a.vma"), "wb") as file:
            file.write(packed)
    source = packed if through_pipe else None

    def run(tool, *arguments):
        return runner.run(tool, *arguments, input=source)

    def left(*expected):
        names = sorted(os.listdir(runner.dir))
        runner.expect(
            names == sorted(set(expected) | (set() if through_pipe else {"a.vma"})),
            f"leftovers {names}")

    def judge(status, is_right, what):
        runner.expect(status in (0, 65), f"{what}: 0 or 65")
        if is_proven:
            runner.expect((status == 0) == bool(is_right), f"{what}: should be {bool(is_right)}")
        else:
            runner.expect(status != 0 or is_right, f"{what}: passes what is not right")

    status, _ = run("vma-unpack", "-t", name)
    judge(status, is_whole, "-t")
    left()
    status, _ = run("vma-unpack", "-l", "--json", name)
    judge(status, archive is not None, "-l") if is_proven else None
    status, _ = run("vma-unpack", "-C", "out", name)
    judge(status, files is not None, "-C")
    out = os.path.join(runner.dir, "out")
    if status == 0:
        found = {os.fsencode(file) for file in os.listdir(out)}
        runner.expect(found == set(files), f"files {found}")
        for file, content in files.items():
            with open(os.path.join(os.fsencode(out), file), "rb") as opened:
                runner.expect(opened.read() == content(), f"content of {file}")
    elif os.path.exists(out):
        runner.expect(os.listdir(out) == [], f"leftovers {os.listdir(out)}")
    shutil.rmtree(out, ignore_errors=True)
    left()

    status, _ = run("vma-unpack", "--salvage", "-C", "out", "--lost", "maps", name)
    runner.expect(status in (0, 65), "--salvage: 0 or 65")
    if status == 0:
        # A vmstate in the wrong order is salvaged completely: each cluster has its number.
        is_unordered = archive is not None and "order" in str(archive.fault)
        runner.expect(files is not None or is_unordered, "--salvage: passes what is not right")
        for file, content in (files or {}).items():
            with open(os.path.join(os.fsencode(out), file), "rb") as opened:
                runner.expect(opened.read() == content(), f"salvaged content of {file}")
    if is_proven and files is not None:
        runner.expect(status == 0, "--salvage of a complete archive")
    for directory in (out, os.path.join(runner.dir, "maps")):
        shutil.rmtree(directory, ignore_errors=True)
    left()

    if archive is not None:
        for number, (device, size) in archive.devices.items():
            try:
                argument = device.decode("ascii")
            except UnicodeDecodeError:
                continue
            others = [other for other, _ in archive.devices.values()]
            if not argument.isalnum() and "drive" not in argument or others.count(device) > 1:
                continue
            status, output = run("vma-cat", name, argument)
            is_right = archive.is_complete(number) and not reference_failed
            judge(status, is_right, "vma-cat")
            if status == 0:
                runner.expect(output == archive.content(number), "content of vma-cat")
            break
    arguments = rng.choice([[], ["--no-sparse"], ["--format", "gnutar"]])
    status, output = run("vma-to-tar", *arguments, name)
    judge(status, files is not None, "vma-to-tar")
    if status == 0:
        with tarfile.open(fileobj=io.BytesIO(output)) as tar:
            members = {os.fsencode(member.name): tar.extractfile(member).read() for member in tar}
        runner.expect(set(members) == set(files), f"members {set(members)}")
        for file, content in files.items():
            runner.expect(members[file] == content(), f"content of {file} in tar")
    left()


# ---- Event streams ---------------------------------------------------------------------------


def record(kind, sequence, device=0, flags=0, offset=0, length=0, payload=b""):
    return struct.pack(
        ">4scBHQQII", b"CBE1", kind, device, flags, offset, length, len(payload), sequence
    ) + payload


def try_events(runner, rng):
    devices = {}
    for number in range(1, rng.randrange(2, 4)):
        size = rng.choice([512, 65536, 66048, rng.randrange(1, 400) * 512])
        devices[number] = (b"d%d" % number, bytearray(disk_content(rng, size)))
    parts = [(b"C", 0, 0, 0, 0, b"a.conf\0text")][:rng.randrange(2)]
    parts += [(b"D", n, 0, 0, len(data), name) for n, (name, data) in devices.items()]
    parts.append((b"B", 0, 0, 1, 0, b""))
    told = []
    for number, (_, data) in devices.items():
        at = 0
        while at < len(data):
            count = min(rng.choice([512, 4096, 65536, 3 * 512]), len(data) - at)
            piece = bytes(data[at:at + count])
            kind = b"O" if any(piece) or rng.random() < 0.2 else b"Z"
            told.append(
                (kind, number, rng.randrange(2), at, count, piece if kind == b"O" else b""))
            at += count
    rng.shuffle(told)
    parts += told + [(b"F", number, 0, 0, 0, b"") for number in devices]
    parts.append((b"E", 0, 0, len(parts), 0, b""))
    original = list(parts)
    for _ in range(rng.choice([0, 1, 1, 2])):
        at = rng.randrange(len(parts))
        kind, number, flags, offset, length, payload = parts[at]
        change = rng.randrange(8)
        if change == 0:
            del parts[at]
        elif change == 1:
            parts.insert(rng.randrange(len(parts) + 1), parts[at])
        elif change == 2:
            other = rng.randrange(len(parts))
            parts[at], parts[other] = parts[other], parts[at]
        elif change == 3:
            offset = rng.choice([0, 1, 512, offset + 512, 1 << 63, (1 << 64) - 512])
            parts[at] = kind, number, flags, offset, length, payload
        elif change == 4:
            length = rng.choice([0, 1, 512, length + 512, 1 << 63, (1 << 64) - 512])
            parts[at] = kind, number, flags, offset, length, payload
        elif change == 5:
            parts[at] = kind, rng.choice([0, 1, 2, 3, 255]), flags, offset, length, payload
        elif change == 6:
            kind = rng.choice([b"C", b"D", b"B", b"O", b"Z", b"W", b"S", b"F", b"E", b"X", b"q"])
            parts[at] = kind, number, flags, offset, length, payload
        else:
            payload = payload[:rng.randrange(len(payload) + 1)] + rng.choice([b"", bytes(512)])
            parts[at] = kind, number, flags, offset, length, payload
        if rng.random() < 0.5 and parts and parts[-1][0] == b"E":
            parts[-1] = (b"E", 0, 0, len(parts) - 1, 0, b"")
        if not parts:
            break
    stream = b"".join(
        record(kind, index, number, flags, offset & (1 << 64) - 1, length & (1 << 64) - 1, payload)
        for index, (kind, number, flags, offset, length, payload) in enumerate(parts))
    is_same = parts == original
    if rng.random() < 0.2:
        stream = spoil(rng, stream)
        is_same = False
    runner.fresh()
    arguments = rng.choice([[], ["-o", "a.vma"]])
    status, output = runner.run("vma-pack", "--events", *arguments, input=stream)
    runner.expect(status in (0, 65), "--events: 0 or 65")
    runner.expect(not is_same or status == 0, "a sound stream is refused")
    path = os.path.join(runner.dir, "a.vma")
    runner.expect(os.listdir(runner.dir) == (["a.vma"] if arguments and status == 0 else []),
                  "the output file")
    if arguments and status == 0:
        with open(path, "rb") as file:
            output = file.read()
    try:
        archive = Archive(output)
    except Bad:
        archive = None
    is_whole = archive is not None and archive.is_whole
    # A stream without a device results in an archive of configurations.
    runner.expect(is_whole if status == 0 else not (is_whole and archive.devices),
                  "the archive and the status contradict each other")
    if status == 0:
        check_stream(runner, stream, archive)


def check_stream(runner, stream, archive):
    """The first record of a sector has priority."""
    at = 0
    expected, known = {}, {}
    while at < len(stream):
        magic, kind, number, _, offset, length, size, _ = struct.unpack_from(">4scBHQQII", stream, at)
        payload = stream[at + 32:at + 32 + size]
        at += 32 + size
        if kind == b"D":
            expected[number] = bytearray(length)
            known[number] = set()
        elif kind in (b"O", b"Z"):
            for sector in range(offset // 512, (offset + length) // 512):
                if sector not in known[number]:
                    known[number].add(sector)
                    if kind == b"O":
                        start = sector * 512
                        expected[number][start:start + 512] = payload[
                            start - offset:start - offset + 512]
    runner.expect(set(expected) == set(archive.devices), "the devices of the stream")
    for number, content in expected.items():
        if archive.devices[number][0] != b"vmstate":
            runner.expect(len(known[number]) * 512 == len(content), "a gap passes")
            runner.expect(archive.content(number) == content, "the content of a device")


def main():
    tools, seconds = sys.argv[1], float(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(1 << 32)
    only = len(sys.argv) > 3 and seconds == 0
    runner = Runner(tools)
    end = time.monotonic() + seconds
    done = 0
    try:
        while True:
            rng = random.Random(seed)
            try:
                (try_events if rng.random() < 0.3 else try_archive)(runner, rng)
            except Failure as failure:
                print(f"tools.py: seed {seed}: {failure}", file=sys.stderr)
                sys.exit(1)
            except BaseException:
                print(f"tools.py: seed {seed}", file=sys.stderr)
                raise
            done += 1
            seed += 1
            if only or time.monotonic() >= end:
                break
    finally:
        shutil.rmtree(runner.base, ignore_errors=True)
    counts = ", ".join(
        f"{tool} {status}: {count}" for (tool, status), count in sorted(runner.counts.items()))
    print(f"tools.py: {done} samples, all right, up to seed {seed - 1}; {counts}")


if __name__ == "__main__":
    main()
