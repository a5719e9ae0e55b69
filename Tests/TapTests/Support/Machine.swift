// SPDX-License-Identifier: Apache-2.0

import Foundation
import Glibc
import TestSupport
import Testing

/// The guest's view of its own writes.
struct GuestReport: Decodable {
  var count: Int
  var errors: [String]
  var median: Double
  var p99: Double
  var worst: Double
}

/// The result of an independent reader of a stream.
struct StreamReport: Decodable {
  var ended: Bool
  var abort: String?
  var names: [String]
  var configs: [String: String]
  var begin: Int?
  /// Records with the flag of a guest write, by type (`O`, `Z`).
  var byGuest: [String: Int]
  /// The possible points in time of each disk.
  var numbers: [[Int]]
}

/// A real qemu-storage-daemon or qemu-system-x86_64 with two disks, in a directory of its own.
final class Machine {
  enum Kind {
    /// A qemu-storage-daemon that exports the disks over NBD.
    case daemon
    /// A machine that is never started.
    case still
    /// A machine that runs the guest of scripts/make-guest, which writes to its disks from the
    /// start. A separate thread serves disk a; disk b is a qcow2 image.
    ///
    /// - Parameter onError: what QEMU does if a write fails: `report` it or `stop`.
    case linux(onError: String)
  }

  let path: String
  /// The folder for the tap's socket: empty after each run.
  let temporary: String
  private let root: String
  private let release: QEMU
  private var qemu: Child?

  /// 24 MiB with a hole and zeros, and a size that is not a multiple of a cluster.
  ///
  /// - Parameters:
  ///   - format: of the files of both disks, or in a system of disk b.
  ///   - megabytes: of disk a, for a backup that must take some time.
  ///   - qemu: its programs run the machine, and are first in the path of its scripts.
  init(
    _ kind: Kind = .daemon, format: String = "raw", megabytes: Int = 24, qemu: QEMU = .current
  ) throws {
    release = qemu
    var template = Array("/tmp/vma-tap-test.XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    root = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    path = root + "/here"
    temporary = root + "/tmp"
    mkdir(path, 0o755)
    mkdir(temporary, 0o755)
    try succeed(
      """
      dd if=/dev/urandom of=a.raw bs=1M count=10 status=none
      dd if=/dev/urandom of=a.raw bs=1M count=\(megabytes - 18) seek=14 conv=notrunc status=none
      truncate -s \(megabytes)M a.raw
      dd if=/dev/urandom of=b.raw bs=1M count=4 status=none
      dd if=/dev/zero of=b.raw bs=1M count=2 oflag=append conv=notrunc status=none
      dd if=/dev/urandom of=b.raw bs=512 count=\((3 << 11) + 37) oflag=append conv=notrunc \
      status=none
      for name in a b; do
        [ \(format) = raw ] || qemu-img convert -f raw -O \(format) $name.raw $name.\(format)
      done
      sync a.* b.*
      """)
    try start(kind, format: format)
  }

  deinit {
    if let qemu, qemu.process.isRunning { kill(qemu.process.processIdentifier, SIGKILL) }
    try? FileManager.default.removeItem(atPath: root)
  }

  private func start(_ kind: Kind, format: String) throws {
    let arguments: [String]
    switch kind {
    case .daemon: arguments = Self.daemon(format)
    case .still: arguments = Self.still(format)
    case .linux(let onError):
      try keepBases()
      try succeed("qemu-img convert -f raw -O qcow2 b.raw b.qcow2")
      arguments = Self.linux(onError: onError)
    }
    qemu = try Child(arguments, in: path, temporary: temporary, qemu: release)
    // It answers once all disks, exports and monitors exist.
    let limit = Date().addingTimeInterval(30)
    while try sh("\(Programs.python) $P/qmp.py second.qmp query-version 2>&1").status != 0 {
      try #require(Date() < limit, "\(arguments[0]) does not answer")
      usleep(20_000)
    }
  }

  private static func daemon(_ format: String) -> [String] {
    let nodes = ["a", "b"].flatMap { name in
      // A raw node can be on top of any other node.
      let image = "driver=\(format),node-name=\(name)-image,file=\(name)-file,discard=unmap"
      return [
        "--blockdev",
        "driver=file,node-name=\(name)-file,filename=\(name).\(format),discard=unmap",
      ] + (format == "raw" ? [] : ["--blockdev", image]) + [
        "--blockdev",
        "driver=raw,node-name=\(name),file=\(name)-\(format == "raw" ? "file" : "image"),"
          + "discard=unmap",
      ]
    }
    let exports = ["a", "b"].flatMap { name in
      ["--export", "nbd,id=x-\(name),node-name=\(name),name=\(name),writable=on"]
    }
    return [
      "qemu-storage-daemon", "--chardev", "socket,id=m,path=vm.qmp,server=on,wait=off",
      "--monitor", "chardev=m", "--chardev", "socket,id=n,path=second.qmp,server=on,wait=off",
      "--monitor", "chardev=n", "--nbd-server",
      "addr.type=unix,addr.path=guest.nbd,max-connections=0",
    ] + nodes + exports
  }

  private static let system = [
    "qemu-system-x86_64", "-nodefaults", "-display", "none", "-accel", "tcg", "-M", "pc",
    "-qmp", "unix:vm.qmp,server=on,wait=off", "-qmp", "unix:second.qmp,server=on,wait=off",
  ]

  private static func still(_ format: String) -> [String] {
    system + [
      "-S", "-m", "64",
      "-drive", "if=none,id=drive-scsi0,file=a.raw,format=raw",
      "-object", "iothread,id=io",
      "-device", "virtio-blk-pci,drive=drive-scsi0,id=vd0,iothread=io",
      "-blockdev", "driver=\(format),node-name=nodeb,file.driver=file,file.filename=b.\(format)",
      "-device", "virtio-blk-pci,drive=nodeb,id=virtio1",
      "-drive", "if=none,id=cd,media=cdrom", "-device", "ide-cd,drive=cd",
    ]
  }

  private static func linux(onError: String) -> [String] {
    system + [
      "-m", "192", "-no-reboot", "-kernel", Programs.linux + "/vmlinuz",
      "-initrd", Programs.linux + "/initrd",
      "-append", "console=ttyS0 loglevel=4 no_timer_check panic=-1", "-serial", "file:console",
      "-object", "iothread,id=thread",
      "-drive", "if=none,id=drive-virtio0,file=a.raw,format=raw",
      "-device", "virtio-blk-pci,drive=drive-virtio0,iothread=thread,werror=\(onError)",
      "-drive", "if=none,id=drive-virtio1,file=b.qcow2,format=qcow2",
      "-device", "virtio-blk-pci,drive=drive-virtio1,werror=\(onError)",
    ]
  }

  /// The process of QEMU.
  var processID: pid_t { qemu?.process.processIdentifier ?? -1 }

  /// Runs a bash script in the directory, with the tools in its path.
  func sh(
    _ script: String, atMost seconds: Int = 60
  ) throws -> (status: Int32, output: String, errors: String) {
    let child = try Child(["bash", "-c", script], in: path, temporary: temporary, qemu: release)
    child.closeInput()
    return child.finish(atMost: seconds)
  }

  /// Runs a script, every part of which must succeed.
  func succeed(
    _ script: String, atMost seconds: Int = 60, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let run = try sh("set -e -o pipefail\n" + script, atMost: seconds)
    try #require(run.status == 0, "\(script): \(run)", sourceLocation: sourceLocation)
  }

  /// A part of a script that waits until this many bytes of a backup have arrived, so that it is in
  /// progress, however slow the machine is.
  static func until(_ count: Int, of events: String = "events") -> String {
    """
    for _ in {1..3000}; do
      [ "$(stat -c %s \(events) 2> /dev/null)" -ge \(count) ] 2> /dev/null && break
      sleep 0.01
    done
    """
  }

  /// Keeps the current content of the disks, for a check.
  func keepBases() throws { try succeed("cp a.raw base-a; cp b.raw base-b") }

  /// The jobs and nodes in QEMU that no run should leave.
  func leftovers() throws -> String {
    try sh("\(Programs.python) $P/qmp.py vm.qmp left").output.trimmed
  }

  /// The structure of QEMU's block graph, and how its nodes are opened.
  func graph() throws -> String {
    try sh("\(Programs.python) $P/qmp.py vm.qmp graph").output.trimmed
  }

  /// Reads a stream, or a folder of restored disks, with an independent program; invalid data fails
  /// the test.
  func check(_ events: String, seed: String, a: String = "a", b: String = "b") throws
    -> StreamReport
  {
    try check(events, seed: seed, disks: ["\(a)=base-a", "\(b)=base-b"])
  }

  /// - Parameter disks: each with its base, in the order in which the guest writes to them.
  func check(_ events: String, seed: String = "-", disks: [String]) throws -> StreamReport {
    let result = try sh(
      "\(Programs.python) $P/check.py \(events) \(seed) \(disks.joined(separator: " "))",
      atMost: 120)
    try #require(result.status == 0, "\(result.errors)")
    return try JSONDecoder().decode(StreamReport.self, from: Data(result.output.utf8))
  }

  /// Whether the last record of a stream, complete or truncated, is `end`.
  func hasEnd(_ events: String) throws -> Bool {
    let stream = try Data(contentsOf: URL(fileURLWithPath: "\(path)/\(events)"))
    return stream.suffix(32).starts(with: Data("CBE1E".utf8))
  }

  /// Runs `body` while a guest writes to both disks.
  ///
  /// - Parameter pause: seconds between its writes.
  func withGuest(
    seed: Int, pause: Double = 0, _ body: () throws -> Void
  ) throws -> GuestReport {
    try keepBases()
    let guest = try Child(
      [
        Programs.python, Programs.directory + "/guest.py", "guest.nbd", "\(seed)", "\(pause)",
        "guest.json", "a", "b",
      ], in: path, temporary: temporary, qemu: release)
    _ = guest.readSome()
    do { try body() } catch {
      guest.closeInput()
      _ = guest.finish()
      throw error
    }
    guest.closeInput()
    let end = guest.finish()
    #expect(end.status == 0, "\(end.errors)")
    let data = try Data(contentsOf: URL(fileURLWithPath: path + "/guest.json"))
    return try JSONDecoder().decode(GuestReport.self, from: data)
  }

  /// The output of the Linux guest.
  var console: String {
    let data = FileManager.default.contents(atPath: path + "/console") ?? Data()
    return String(decoding: data, as: UTF8.self)
  }

  /// The number of records that the Linux guest has reported as written.
  var recordCount: Int {
    let lines = console.split(whereSeparator: \.isNewline).filter { $0.hasPrefix("guest: ") }
    return lines.last?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
  }

  /// Waits until the Linux guest has written this many records, without an error.
  func waitForRecords(_ count: Int, sourceLocation: SourceLocation = #_sourceLocation) throws {
    for _ in 0..<2400 where recordCount < count { usleep(100_000) }
    try #require(recordCount >= count, "\(console)", sourceLocation: sourceLocation)
    let bad = console.split(whereSeparator: \.isNewline).filter {
      $0.localizedCaseInsensitiveContains("error")
        || $0.hasPrefix("guest: ") && !$0.contains(" 0 failed")
    }
    #expect(bad == [], sourceLocation: sourceLocation)
  }

  /// Compares images of both disks with their bases and the records of the Linux guest.
  ///
  /// - Returns: the number of the last record on each.
  func records(_ a: String, _ b: String) throws -> [Int] {
    let result = try sh("\(Programs.python) $P/records.py \(a)=base-a \(b)=base-b")
    try #require(result.status == 0, "\(result.errors)")
    return try JSONDecoder().decode([Int].self, from: Data(result.output.utf8))
  }

  /// Checks that nothing of a run remains.
  ///
  /// - Parameter folders: that a killed run could not remove.
  func expectNothingLeft(
    in folders: Int = 0, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    #expect(try leftovers() == "[]", sourceLocation: sourceLocation)
    let files = try FileManager.default.contentsOfDirectory(atPath: temporary)
    #expect(files.count == folders, sourceLocation: sourceLocation)
  }
}

extension String {
  var trimmed: String { trimmingCharacters(in: .whitespacesAndNewlines) }
}
