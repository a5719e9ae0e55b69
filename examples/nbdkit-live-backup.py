# SPDX-License-Identifier: Apache-2.0
"""An nbdkit plugin that serves a raw disk image and backs it up while guests write to it.

    nbdkit -f -U disk.sock python nbdkit-live-backup.py \\
        file=disk.raw device=drive-scsi0 archive=backup.vma

The backup begins when the server starts, before the first guest can connect. backup.vma shows the
disk at that time. The plugin announces each write, zero and trim request to vma-pack(1); see
vma-events(5). The request waits until the data that it overwrites is saved, and then continues. When
the archive contains all of the disk, the plugin stops announcing requests and ends the stream, and
the archive appears under its name.

A failed backup never causes a guest write to fail. If vma-pack exits, or a write is held for longer
than `timeout`, the backup fails and all writes continue. The failure is reported on standard error
and to syslog(3), and the archive does not appear.

Parameters:

    file=PATH      disk image; its size must be a multiple of 512 bytes
    archive=PATH   archive to create; it must not exist, unless it is a FIFO
    device=NAME    name of the disk in the archive (default: drive-scsi0)
    timeout=SECS   maximum time to hold a write (default: 20; must be less than 30, after which
                   guests give up)
    pack=PROGRAM   vma-pack program to run (default: vma-pack)

Requires nbdkit and its Python plugin (Debian packages: nbdkit, nbdkit-plugin-python).
"""

import contextlib
import ctypes
import errno
import os
import struct
import subprocess
import sys
import syslog
import threading
import time

import nbdkit

API_VERSION = 2

SECTOR = 512
LONGEST = 16 << 20  # bytes in one announced write
COMPLETE = 0xFFFFFFFF

parameters = {"device": "drive-scsi0", "timeout": "20", "pack": "vma-pack"}
timeout = 0.0
disk = -1
size = 0
backup = None


def report(message):
    """Reports a message that an administrator must see, even if nbdkit runs in the background."""
    message = f"{parameters['device']}: {message}"
    print(f"nbdkit-live-backup: {message}", file=sys.stderr, flush=True)
    syslog.syslog(syslog.LOG_ERR, message)


class Backup:
    """One run of vma-pack, and the writes that are held for it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.sequence = 0
        self.held = {}  # sequence number: threading.Event
        # A producer may have at most 256 unacknowledged records.
        self.slots = threading.BoundedSemaphore(256)
        self.is_over = False  # If true, further writes are not announced.
        self.answers, answering = os.pipe()
        self.packer = subprocess.Popen(
            [
                parameters["pack"], "--events", "--ack-fd", str(answering),
                "-o", parameters["archive"], parameters["device"] + "=" + parameters["file"],
            ],
            stdin=subprocess.PIPE, pass_fds=[answering])
        os.close(answering)
        threading.Thread(target=self.listen, daemon=True).start()
        name = parameters["device"].encode()
        with self.lock:
            self.send("D", 1, length=size, payload=name)
            self.send("B")

    def send(self, kind, device=0, offset=0, length=0, payload=b"", flags=0):
        """Sends a record. The caller holds the lock, so that records are sent in order.

        This never blocks: 256 records without payload fit into any pipe.
        """
        if self.is_over:
            return None
        header = struct.pack(
            ">4sBBHQQII", b"CBE1", ord(kind), device, flags, offset, length, len(payload),
            self.sequence)
        record = header + payload
        sequence = self.sequence
        self.sequence = (self.sequence + 1) & 0xFFFFFFFF
        try:
            while record:
                record = record[os.write(self.packer.stdin.fileno(), record):]
        except OSError as error:
            self.give_up(error.strerror)
            return None
        return sequence

    def hold(self, offset, length):
        """Announces a write, and returns when it may continue or the backup is over.

        The timeout applies to the write, even if it takes several records.
        """
        deadline = time.monotonic() + timeout
        end = min((offset + length + SECTOR - 1) // SECTOR * SECTOR, size)
        offset = offset // SECTOR * SECTOR
        while offset < end and not self.is_over:
            part = min(end - offset, LONGEST)
            if not self.slots.acquire(timeout=max(0, deadline - time.monotonic())):
                return self.give_up_held()
            try:
                answered = threading.Event()
                with self.lock:
                    sequence = self.send("W", 1, offset, part, flags=1)
                    if sequence is None:
                        return
                    self.held[sequence] = answered
                if not answered.wait(max(0, deadline - time.monotonic())):
                    return self.give_up_held()
            finally:
                self.slots.release()
            offset += part

    def give_up_held(self):
        with self.lock:
            self.give_up(f"a write was held for {timeout:g} seconds")

    def listen(self):
        """Receives answers, independently of the other threads."""
        with os.fdopen(self.answers, "rb") as answers:
            while len(message := answers.read(8)) == 8:
                first, second = struct.unpack(">II", message)
                with self.lock:
                    if second != COMPLETE:
                        self.release(first)
                    else:
                        # The archive contains all of the disk, so the stream can end.
                        self.send("F", 1)
                        self.send("E", offset=self.sequence)
                        self.stop()
        with self.lock:
            self.give_up("vma-pack has exited")
        status = self.packer.wait()
        if status:
            how = f"exit status {status}" if status > 0 else f"signal {-status}"
            report(f"backup failed: vma-pack ended with {how}; the archive was not created")
        else:
            nbdkit.debug("backup complete")

    def release(self, sequence):
        answered = self.held.pop(sequence, None)
        if answered:
            answered.set()

    def give_up(self, reason):
        if not self.is_over:
            report(f"backup failed: {reason}")
            self.stop()

    def stop(self):
        """Ends the stream, and releases all held writes."""
        self.is_over = True
        with contextlib.suppress(OSError):
            self.packer.stdin.close()
        for sequence in list(self.held):
            self.release(sequence)


def thread_model():
    return nbdkit.THREAD_MODEL_PARALLEL


def config(key, value):
    if key not in ("file", "archive", "device", "timeout", "pack"):
        raise RuntimeError(f"unknown parameter: {key}")
    # nbdkit changes its directory when it goes to the background.
    parameters[key] = os.path.abspath(value) if key in ("file", "archive") else value


def config_complete():
    global disk, size, timeout
    if "file" not in parameters or "archive" not in parameters:
        raise RuntimeError("the parameters file and archive are required")
    try:
        timeout = float(parameters["timeout"])
    except ValueError:
        timeout = 0
    if not 0 < timeout < 30:
        raise RuntimeError("timeout must be more than 0 and less than 30 seconds")
    # In the background, an error message of vma-pack could be missed.
    if os.path.isfile(parameters["archive"]):
        raise RuntimeError("the archive already exists: " + parameters["archive"])
    disk = os.open(parameters["file"], os.O_RDWR | os.O_CLOEXEC)
    size = os.fstat(disk).st_size
    if size == 0 or size % SECTOR:
        raise RuntimeError("the size of the image must be a multiple of 512 bytes, and not 0")


def after_fork():
    # The backup begins here: no guest is connected yet, so no write is in flight. From here on, threads
    # can be started.
    global backup
    backup = Backup()


def open(readonly):
    return 1


def get_size(h):
    return size


def can_multi_conn(h):
    return True


def can_trim(h):
    return True


def can_zero(h):
    return True


def can_flush(h):
    return True


def can_fua(h):
    return nbdkit.FUA_EMULATE


def pread(h, buf, offset, flags):
    if os.preadv(disk, [buf], offset) != len(buf):
        raise OSError(errno.EIO, "the image is too short")


def pwrite(h, buf, offset, flags):
    backup.hold(offset, len(buf))
    write(buf, offset)


def write(buf, offset):
    done = 0
    while done < len(buf):
        done += os.pwrite(disk, memoryview(buf)[done:], offset + done)


def zero(h, count, offset, flags):
    backup.hold(offset, count)
    # Without this flag (NO_HOLE), the space must stay allocated.
    mode = PUNCH_HOLE if flags & nbdkit.FLAG_MAY_TRIM else ZERO_RANGE
    if not fallocate(mode, offset, count):
        for place in range(offset, offset + count, 1 << 20):
            write(bytes(min(1 << 20, offset + count - place)), place)


def trim(h, count, offset, flags):
    backup.hold(offset, count)
    fallocate(PUNCH_HOLE, offset, count)


def flush(h, flags):
    os.fdatasync(disk)


libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16


def fallocate(mode, offset, count):
    """Zeroes a range. Returns false if the file system does not support the mode."""
    return count == 0 or libc.fallocate(disk, KEEP_SIZE | mode, offset, count) == 0
