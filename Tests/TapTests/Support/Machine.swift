// SPDX-License-Identifier: Apache-2.0

import Foundation
import Glibc
import Testing

/// What the guest saw of its own writes.
struct GuestReport: Decodable {
  var count: Int
  var errors: [String]
  var median: Double
  var p99: Double
  var worst: Double
}

/// What an independent reader found in a stream.
struct StreamReport: Decodable {
  var ended: Bool
  var abort: String?
  var names: [String]
  var configs: [String: String]
  var begin: Int?
  /// The instants that each disk may show.
  var numbers: [[Int]]
}

/// A real qemu-storage-daemon or qemu-system-x86_64 with two disks, in a directory of its own.
final class Machine {
  let path: String
  /// Where the tap makes its socket: empty after each run.
  let temporary: String
  private let root: String
  private var qemu: Child?

  /// 24 MiB with a hole and zeros, and a size that is no multiple of a cluster.
  ///
  /// - Parameters:
  ///   - format: of the files of both disks, or in a system of disk b.
  ///   - megabytes: of disk a, where a backup has to take its time.
  init(system: Bool = false, format: String = "raw", megabytes: Int = 24) throws {
    var template = Array("/tmp/vma-tap-test.XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    root = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    path = root + "/here"
    temporary = root + "/tmp"
    mkdir(path, 0o755)
    mkdir(temporary, 0o755)
    try sh(
      """
      dd if=/dev/urandom of=a.raw bs=1M count=10 status=none
      dd if=/dev/urandom of=a.raw bs=1M count=\(megabytes - 18) seek=14 conv=notrunc status=none
      truncate -s \(megabytes)M a.raw
      dd if=/dev/urandom of=b.raw bs=1M count=4 status=none
      dd if=/dev/zero of=b.raw bs=1M count=2 oflag=append conv=notrunc status=none
      dd if=/dev/urandom of=b.raw bs=512 count=\((3 << 11) + 37) oflag=append conv=notrunc \
      status=none
      for name in a b; do
        [ \(format) = raw ] || qemu-img convert -O \(format) $name.raw $name.\(format)
      done
      sync -f .
      """)
    try start(system: system, format: format)
  }

  deinit {
    if let qemu, qemu.process.isRunning { kill(qemu.process.processIdentifier, SIGKILL) }
    try? FileManager.default.removeItem(atPath: root)
  }

  private func start(system: Bool, format: String) throws {
    let nodes = ["a", "b"].flatMap { name in
      // A node of the driver raw can stand on any other.
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
    let arguments =
      system
      ? [
        "qemu-system-x86_64", "-nodefaults", "-display", "none", "-accel", "tcg", "-S", "-M", "pc",
        "-m", "64", "-qmp", "unix:vm.qmp,server=on,wait=off",
        "-qmp", "unix:second.qmp,server=on,wait=off",
        "-drive", "if=none,id=drive-scsi0,file=a.raw,format=raw",
        "-object", "iothread,id=io",
        "-device", "virtio-blk-pci,drive=drive-scsi0,id=vd0,iothread=io",
        "-blockdev", "driver=\(format),node-name=nodeb,file.driver=file,file.filename=b.\(format)",
        "-device", "virtio-blk-pci,drive=nodeb,id=virtio1",
        "-drive", "if=none,id=cd,media=cdrom", "-device", "ide-cd,drive=cd",
      ]
      : [
        "qemu-storage-daemon", "--chardev", "socket,id=m,path=vm.qmp,server=on,wait=off",
        "--monitor", "chardev=m", "--chardev", "socket,id=n,path=second.qmp,server=on,wait=off",
        "--monitor", "chardev=n", "--nbd-server",
        "addr.type=unix,addr.path=guest.nbd,max-connections=0",
      ] + nodes + exports
    qemu = try Child(arguments, in: path, temporary: temporary)
    let socket = system ? "vm.qmp" : "guest.nbd"
    for _ in 0..<200 where !FileManager.default.fileExists(atPath: "\(path)/\(socket)") {
      usleep(20_000)
    }
    // It listens a moment after the name is there.
    usleep(100_000)
  }

  /// The process of QEMU.
  var processID: pid_t { qemu?.process.processIdentifier ?? -1 }

  /// Runs a script of bash in the directory, the tools on its path.
  @discardableResult
  func sh(
    _ script: String, atMost seconds: Int = 60
  ) throws -> (status: Int32, output: String, errors: String) {
    let child = try Child(["bash", "-c", script], in: path, temporary: temporary)
    child.closeInput()
    return child.finish(atMost: seconds)
  }

  /// Keeps what the disks hold now, for a check.
  func keepBases() throws { try sh("cp a.raw base-a; cp b.raw base-b") }

  /// The jobs and nodes in QEMU that no run should leave.
  func leftovers() throws -> String {
    try sh("\(Programs.python) $P/qmp.py vm.qmp left").output.trimmed
  }

  /// What stands on what in QEMU, and how it is opened.
  func graph() throws -> String {
    try sh("\(Programs.python) $P/qmp.py vm.qmp graph").output.trimmed
  }

  func check(_ events: String, seed: String, a: String = "a", b: String = "b") throws
    -> StreamReport
  {
    let result = try sh(
      "\(Programs.python) $P/check.py \(events) \(seed) \(a)=base-a \(b)=base-b", atMost: 120)
    try #require(result.status == 0, "\(result.errors)")
    return try JSONDecoder().decode(StreamReport.self, from: Data(result.output.utf8))
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
      ], in: path, temporary: temporary)
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

  /// Nothing of a run is anywhere.
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
