// SPDX-License-Identifier: Apache-2.0

import Testing

/// A producer of changed-block events that waits for answers: a Python script, because it needs
/// another pipe to vma-pack, and threads.
enum EventProducer {
  /// The start of all scripts.
  private static let library = #"""
    import os, random, resource, select, struct, subprocess, sys, threading, time

    COMPLETE = 0xffffffff

    def record(sequence, kind, device=0, offset=0, length=0, payload=b"", flags=0):
        return struct.pack(
            ">4sBBHQQII", b"CBE1", ord(kind), device, flags, offset, length, len(payload),
            sequence & 0xffffffff) + payload

    class Packer:
        """vma-pack with a pipe for its answers."""

        def __init__(self, *arguments, output=subprocess.DEVNULL):
            self.answers, answering = os.pipe()
            command = ["vma-pack", "--events", "--ack-fd", str(answering), *arguments]
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.PIPE,
                pass_fds=[answering])
            os.close(answering)
            self.stdin = self.process.stdin.fileno()
            self.count = 0
            self.lock = threading.Lock()

        def tell(self, *records):
            """Sends records in one piece; returns the number of the last."""
            with self.lock:
                piece = b""
                for fields in records:
                    piece += record(self.count, *fields)
                    self.count += 1
                while piece:
                    piece = piece[os.write(self.stdin, piece):]
                return self.count - 1

        def hears(self, seconds):
            return bool(select.select([self.answers], [], [], seconds)[0])

        def message(self, seconds=60):
            """The next message as two numbers; None at the end."""
            if not self.hears(seconds):
                sys.exit("no answer in time")
            piece = b""
            while len(piece) < 8:
                more = os.read(self.answers, 8 - len(piece))
                if not more:
                    return None if not piece else sys.exit("half an answer")
                piece += more
            return struct.unpack(">II", piece)

        def messages(self, count):
            return [self.message() for _ in range(count)]

        def end(self, *devices):
            for device in devices:
                self.tell(("F", device))
            self.tell(("E", 0, self.count))
            return self.leave()

        def leave(self):
            """Closes the stream, and waits for the end."""
            self.process.stdin.close()
            errors = self.process.stderr.read()
            return self.process.wait(), errors.decode()

    def check(actual, expected):
        if actual != expected:
            sys.exit(f"{actual!r:.500} instead of {expected!r:.500}")

    def refused(outcome):
        """65, and one line."""
        status, errors = outcome
        if status != 65 or errors.count("\n") != 1 or not errors.startswith("vma-pack: "):
            sys.exit(f"status {status}, stderr {errors!r}")

    def cat(archive, name):
        return subprocess.run(
            ["vma-cat", archive, name], stdout=subprocess.PIPE, check=True).stdout
    """#

  static func script(_ text: String) -> String { library + "\n\n" + text }
}

extension Scratch {
  /// Runs a producer to its end: it exits with 0, without output.
  @discardableResult
  func produce(
    _ script: String, _ arguments: String..., sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> Outcome {
    try write(EventProducer.script(script), to: "producer.py")
    let words = arguments.map { "'\($0)'" }.joined(separator: " ")
    return try sh("python3 producer.py \(words)", sourceLocation: sourceLocation)
      .succeeds(sourceLocation: sourceLocation)
  }
}
