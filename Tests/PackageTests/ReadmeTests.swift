// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

@Suite(
  "The tasks of the README work as written",
  requires("zstd", "tar", "qemu-img", "qemu-nbd"))
struct ReadmeTests {
  /// A comment that states the task, and its commands.
  struct Task: Sendable, CustomTestStringConvertible {
    var purpose: String
    var commands: String
    var testDescription: String { purpose }
  }

  static let tasks: [Task] = {
    guard let readme = try? Repository.text("README.md"),
      let start = readme.range(of: "\n## Ten tasks\n"),
      let end = readme.range(of: "\n## ", range: start.upperBound..<readme.endIndex)
    else { return [] }
    var tasks: [Task] = []
    for line in readme[start.upperBound..<end.lowerBound].split(separator: "\n")
    where line.hasPrefix("    ") {
      let text = line.dropFirst(4)
      if text.hasPrefix("# ") {
        tasks.append(Task(purpose: String(text.dropFirst(2)), commands: ""))
      } else if !tasks.isEmpty {
        tasks[tasks.count - 1].commands += text + "\n"
      }
    }
    return tasks
  }()

  let dir: Scratch
  let image = Image.mixed(3 << 20, seed: 7)

  init() throws {
    dir = try Scratch()
    try dir.write(image, to: "disk.raw")
    try dir.write("cores: 2\nscsi0: local:vm-101-disk-0,size=3M\n", to: "qemu-server.conf")
    // "ssh host command" runs the command here.
    try dir.sh(
      """
      mkdir bin && printf '#!/bin/sh\\nshift\\nexec sh -c "$*"\\n' >bin/ssh && chmod +x bin/ssh
      vma-pack -zo vm.vma.zst -c qemu-server.conf drive-scsi0=disk.raw
      head -c -1000 vm.vma.zst >damaged.vma.zst
      qemu-img convert -O qcow2 disk.raw disk.qcow2
      head -c 3M /dev/urandom >volume
      """
    ).succeeds()
  }

  @Test func `the demo prints the README's output`() throws {
    let demo = try Repository.text("scripts/demo")
    let readme = try Repository.text("README.md")
    let console = try #require(readme.range(of: "```console\n"))
    let output = readme[console.upperBound...].components(separatedBy: "```")[0]
    var count = 0
    for line in output.split(separator: "\n") where line.hasPrefix("# ") || line.hasPrefix("$ ") {
      var text = line.dropFirst(2)
      if text.hasSuffix(" \\") { text = text.dropLast(2) }
      #expect(demo.contains(text), "\(line)")
      count += 1
    }
    #expect(count > 30)
  }

  @Test func `there are ten tasks`() { #expect(Self.tasks.count == 10) }

  @Test(arguments: tasks)
  func `a task`(task: Task) throws {
    let before = try dir.names(in: ".")
    let commands = task.commands.replacingOccurrences(of: "/dev/vg/disk", with: "volume")
      .replacingOccurrences(of: "/run/disk.sock", with: dir("disk.sock"))
    let outcome = try dir.sh("PATH=$PWD/bin:$PATH\n" + commands)
    let status = task.purpose.contains("exit status 65") ? 65 : 0
    #expect(outcome.ending == .exit(Int32(status)), "\(outcome.errors)")
    if task.purpose.contains("volume") { try dir.expect("volume", holds: image) }
    if task.purpose.contains("nothing else") { #expect(try dir.names(in: ".") == before) }
    // Archives packed by a task are complete.
    try dir.sh("for f in *.vma.zst; do [ $f = damaged.vma.zst ] || vma-unpack -t $f; done")
      .succeeds()
  }
}
