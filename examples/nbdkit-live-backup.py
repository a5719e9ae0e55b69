# SPDX-License-Identifier: Apache-2.0
"""Serves a raw disk image, and backs it up while guests write to it: an nbdkit plugin.

    nbdkit -f -U disk.sock python nbdkit-live-backup.py \\
        file=disk.raw device=drive-scsi0 archive=backup.vma

The backup begins at start, before the first guest can connect: backup.vma will show the disk as
it was then. Each write, zero and trim is announced to vma-pack(1) as vma-events(5) describes it,
waits until the data that it is about to destroy is safe, and then goes on. When all of the disk is
in the archive, writes are announced no more, the stream ends, and the archive appears under its
name.

Whatever becomes of the backup, no guest write fails because of it: if vma-pack dies, or a write is
held for longer than `timeout`, the backup fails and every write goes on. That is reported on
standard error and to syslog(3), and there is no archive.

Parameters:

    file=PATH      the image; its size must be a multiple of 512
    archive=PATH   what to write; it must not exist (a FIFO may)
    device=NAME    the disk's name in the archive (default: drive-scsi0)
    timeout=SECS   the longest that a write may be held (default: 20; less than 30, after which
                   guests give up)
    pack=PROGRAM   (default: vma-pack)

nbdkit needs its Python plugin (Debian: nbdkit, nbdkit-plugin-python).
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
LONGEST = 16 << 20  # of an announced write
COMPLETE = 0xFFFFFFFF

parameters = {"device": "drive-scsi0", "timeout": "20", "pack": "vma-pack"}
timeout = 0.0
disk = -1
size = 0
backup = None


def report(message):
    """Says what an administrator must see, in the background, too."""
    message = f"{parameters['device']}: {message}"
    print(f"nbdkit-live-backup: {message}", file=sys.stderr, flush=True)
    syslog.syslog(syslog.LOG_ERR, message)


class Backup:
    """One run of vma-pack, and the writes that it holds."""

    def __init__(self):
        self.lock = threading.Lock()
        self.sequence = 0
        self.held = {}  # sequence number: threading.Event
        # A producer has at most 256 records unanswered.
        self.slots = threading.BoundedSemaphore(256)
        self.is_over = False  # true: nothing is announced any more
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
            self.tell("D", 1, length=size, payload=name)
            self.tell("B")

    def tell(self, kind, device=0, offset=0, length=0, payload=b"", flags=0):
        """Sends a record. Under the lock, so that records stand in the order of their numbers.

        This never waits with the lock held: 256 records without payload fit into any pipe.
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
        """Announces a write, and returns when it may go on: soon, or when the backup is over.

        However many records it takes, all of it is over in time.
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
                    sequence = self.tell("W", 1, offset, part, flags=1)
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
        """Takes answers, whatever the other threads are doing."""
        with os.fdopen(self.answers, "rb") as answers:
            while len(message := answers.read(8)) == 8:
                first, second = struct.unpack(">II", message)
                with self.lock:
                    if second != COMPLETE:
                        self.release(first)
                    else:
                        # All is safe: the stream can end, and writes need no word any more.
                        self.tell("F", 1)
                        self.tell("E", offset=self.sequence)
                        self.stop()
        with self.lock:
            self.give_up("vma-pack has ended")
        status = self.packer.wait()
        if status:
            how = f"exit status {status}" if status > 0 else f"signal {-status}"
            report(f"backup failed: vma-pack ended with {how}; there is no archive")
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
        """Ends the stream, and lets every write go."""
        self.is_over = True
        with contextlib.suppress(OSError):
            self.packer.stdin.close()
        for sequence in list(self.held):
            self.release(sequence)


def thread_model():
    return nbdkit.THREAD_MODEL_PARALLEL


def config(key, value):
    if key not in ("file", "archive", "device", "timeout", "pack"):
        raise RuntimeError(f"unknown parameter {key}")
    # nbdkit leaves its directory when it goes to the background.
    parameters[key] = os.path.abspath(value) if key in ("file", "archive") else value


def config_complete():
    global disk, size, timeout
    if "file" not in parameters or "archive" not in parameters:
        raise RuntimeError("the parameters file and archive are needed")
    try:
        timeout = float(parameters["timeout"])
    except ValueError:
        timeout = 0
    if not 0 < timeout < 30:
        raise RuntimeError("timeout must be more than 0 and less than 30 seconds")
    # In the background, nobody would see that vma-pack refuses it.
    if os.path.isfile(parameters["archive"]):
        raise RuntimeError("the archive exists: " + parameters["archive"])
    disk = os.open(parameters["file"], os.O_RDWR | os.O_CLOEXEC)
    size = os.fstat(disk).st_size
    if size == 0 or size % SECTOR:
        raise RuntimeError("the size of the image must be a multiple of 512")


def after_fork():
    # The trigger: no guest is connected yet, so that no write is in flight when the backup begins.
    # Threads can be started from here on.
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
    # Without this flag (NO_HOLE) the client wants the space to stay allocated.
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
    """Makes a range read as zeros; false where the file system cannot do it that way."""
    return count == 0 or libc.fallocate(disk, KEEP_SIZE | mode, offset, count) == 0
