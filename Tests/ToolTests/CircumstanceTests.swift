// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("Circumstances outside a tool's control")
struct CircumstanceTests {
  let dir: Scratch

  init() throws {
    dir = try Scratch()
    try dir.write(Sample.wholeBytes, to: "a.vma")
  }

  /// A run that waits for the rest of its archive while the test changes its surroundings.
  private func stall(_ tool: Tool, _ arguments: [String]) throws -> Running {
    let running = try dir.start(tool, arguments, input: .open)
    running.send(Sample.wholeBytes.prefix(Sample.wholeBytes.count / 2))
    #expect(running.wait { running.hasTakenAll })
    return running
  }

  private func finish(_ running: Running) -> Outcome {
    running.send(Sample.wholeBytes.dropFirst(Sample.wholeBytes.count / 2))
    return running.finish()
  }

  // MARK: Pipes

  @Test(arguments: 0..<4)
  func `input in pieces of any size gives the same result`(seed: UInt64) throws {
    var random = Seeded(seed)
    let order: ClusterOrder = seed % 2 == 0 ? .straight : .shuffled(seed: seed)
    let disks = [Archive.Disk("drive-scsi0", Sample.smallImage)]
    let bytes = Archive(disks, configs: [Sample.config], order: order).bytes()
    let runs: [(Tool, [String])] = [(.unpack, ["-C", "out"]), (.cat, ["-"]), (.toTar, [])]
    for (tool, arguments) in runs {
      let running = try dir.start(tool, arguments, input: .open)
      var rest = bytes[...]
      while !rest.isEmpty {
        let count = [1, 7, 511, 4097, 60_000].randomElement(using: &random) ?? 1
        running.send(rest.prefix(count))
        rest = rest.dropFirst(count)
        #expect(running.wait { running.hasTakenAll })
      }
      let outcome = running.finish().succeeds()
      let expected = try dir.run(
        tool, arguments + ["-f"].filter { _ in tool == .unpack },
        input: .pipe(bytes))
      expectSame(outcome.output, expected.output, tool.rawValue)
    }
    try dir.expect("out/disk-drive-scsi0.raw", holds: Sample.smallImage)
  }

  @Test func `a very slow reader`() throws {
    let running = try dir.start(.cat, ["a.vma", "scsi0"])
    usleep(300_000)
    expectSame(running.finish().succeeds().output, Sample.scsi)
    try dir.sh("vma-pack d=<(vma-cat a.vma scsi0) --size d=1M | { sleep 0.3; cat; } | vma-unpack")
      .succeeds()
    try dir.expect("disk-d.raw", holds: Sample.scsi)
  }

  @Test func `a directory is neither an archive nor a source`() throws {
    for tool in [.pack] + Tool.readers {
      try dir.run(tool, ["."]).fails(66, tool, saying: "directory")
      try dir.sh("\(tool.rawValue) - < .").fails(66, tool, saying: "directory")
    }
    try dir.sh("vma-pack --size d=512 d=- < .").fails(66, .pack, saying: "directory")
    try dir.sh("vma-pack --events < .").fails(66, .pack, saying: "directory")
  }

  @Test func `with names of any length, a message is one short line`() throws {
    let name = String(repeating: "long ", count: 800)
    for tool in [.pack] + Tool.readers {
      let outcome = try dir.run(tool, [name])
      outcome.fails(66, tool, saying: "\(tool.rawValue): long ", "…", "File name too long")
      try dir.run(tool, ["--no-such-\(name)"]).fails(64, tool)
      try dir.run(tool, ["-q", "-v", name]).fails(64, tool)
    }
    try dir.run(.cat, "a.vma", name).fails(66, .cat, saying: "drive-scsi0")
    try dir.run(.unpack, "-C", name, "a.vma").fails(73, .unpack, saying: "File name too long")
    try dir.run(.toTar, "-o", name, "a.vma").fails(73, .toTar, saying: "File name too long")
    let disks = (0..<200).map { Archive.Disk("drive-\($0)", Image.zeros(512)) }
    try dir.write(Archive(disks).bytes(), to: "many.vma")
    try dir.run(.cat, "many.vma").fails(64, .cat, saying: "drive-0", "more")
  }

  // MARK: Outputs

  @Test func `a descriptor as output`() throws {
    try dir.write(Sample.scsi, to: "d.img")
    let pack = "vma-pack --uuid 00000000-0000-4000-8000-000000000001 --ctime 1 d=d.img"
    try dir.sh("\(pack) > expected").succeeds()
    let expected = try dir.read("expected")
    for (index, command) in [
      "-o /dev/fd/1 > F", "-o /dev/stdout > F", "-o /dev/fd/5 5> F", "-o /proc/self/fd/5 5> F",
      "-o /dev/fd/5 5>&1 > F.other > F", "-o /dev/fd/1 | cat > F", "-o /dev/fd/5 5>&1 | cat > F",
      "-o >(cat > F) && sleep 0.5", "-fo /dev/fd/5 5> F",
    ].enumerated() {
      let name = "out\(index)"
      let words = command.replacingOccurrences(of: "F", with: name)
      let isOther = command.contains("F.other")
      let outcome = try dir.sh("\(pack) \(words)").succeeds()
      // There, standard output of the test itself is descriptor 5.
      expectSame(isOther ? outcome.output : try dir.read(name), expected, command)
    }
    // Like `>`, it writes from the current position on and does not truncate.
    try dir.sh("{ printf start; \(pack) -o /dev/fd/5 5>&1; printf end; } > joined").succeeds()
    expectSame(try dir.read("joined"), Array("start".utf8) + expected + Array("end".utf8))
    try dir.sh("vma-unpack -t expected && vma-to-tar -o /dev/fd/7 expected 7> t.tar").succeeds()
    expectSame(try dir.read("t.tar"), try dir.run(.toTar, "expected").succeeds().output)
  }

  @Test func `a descriptor that cannot be written is 73`() throws {
    try dir.write(Sample.scsi, to: "d.img")
    for command in [
      // Closed ones, which the tool may have opened for itself.
      "-o /dev/fd/3 3>&-", "-o /dev/fd/4 4>&-", "-o /dev/fd/5 5>&-", "-o /dev/fd/9 9>&-",
      "-o /dev/fd/5 5< d.img", "-o /dev/fd/x",
    ] {
      try dir.sh("vma-pack d=d.img \(command)").fails(73, .pack, saying: "/dev/fd")
    }
    try dir.sh("vma-pack d=d.img -o /dev/fd/2 2> log; s=$?; cat log >&2; exit $s")
      .fails(64, .pack, saying: "standard error")
    try dir.sh("vma-pack d=d.img -o /dev/fd/5 5<> d.img").fails(64, .pack, saying: "both")
    try dir.expect("d.img", holds: Sample.scsi)
  }

  /// Root may read any directory, so the tools are run as nobody.
  @Test(requires(.root, "setpriv"))
  func `a directory that is writable but not readable`() throws {
    try dir.write(Sample.scsi, to: "d.img")
    try dir.makeDirectory("out")
    let sudo = "setpriv --reuid=65534 --regid=65534 --clear-groups"
    try dir.sh(
      """
      chmod 755 . && chmod 644 a.vma d.img && chmod 300 out && chown 65534:65534 out
      ! \(sudo) ls out 2> /dev/null || exit 9
      run() { PATH=$PATH \(sudo) "$@"; }
      run vma-unpack -C out a.vma
      run vma-unpack -f -C out a.vma
      run vma-pack -o out/b.vma d=d.img
      run vma-to-tar -o out/t.tar a.vma
      run vma-cat --tmpdir out - scsi0 < a.vma | cmp - d.img
      rm out/b.vma out/t.tar
      chmod 755 out
      """
    ).succeeds()
    try dir.expectWhole(in: "out")
  }

  @Test func `an empty input is reported as empty`() throws {
    for tool in Tool.readers {
      try dir.run(tool, ["-"], input: .pipe([])).fails(65, tool, saying: "is empty")
    }
  }

  @Test func `inputs are not written to`() throws {
    try dir.write(Sample.scsi, to: "d.img")
    try dir.write("a config", to: "list.txt")
    for command in [
      "vma-pack -fo d.img d=d.img", "vma-pack -fo ./d.img d=- < d.img",
      "vma-pack -fo list.txt c=a.vma -c list.txt", "ln d.img e.img; vma-pack -fo e.img d.img",
    ] {
      try dir.sh(command).fails(64, .pack, saying: "both an output and an input")
    }
    for command in ["vma-to-tar -fo a.vma a.vma", "vma-to-tar -fo a.vma < a.vma"] {
      try dir.sh(command).fails(64, .toTar, saying: "both an output and an input")
    }
    try dir.expect("d.img", holds: Sample.scsi)
    try dir.sh("vma-pack -o /dev/null d=d.img < /dev/null").succeeds()
  }

  @Test func `the usual short forms of options`() throws {
    try dir.write(Sample.scsi, to: "d.img")
    try dir.sh("vma-pack -z -T1 -ob.vma -ca.vma d=d.img").fails(65, .pack, saying: "a.vma")
    try dir.sh("vma-pack -z -T1 -ob.vma d=d.img && vma-unpack -Cout -dd b.vma").succeeds()
    try dir.expect("out/disk-d.raw", holds: Sample.scsi)
    try dir.sh("vma-pack -qv d=d.img").fails(64, .pack, saying: "--quiet and --verbose")
  }

  // MARK: Descriptors

  @Test(arguments: ["<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- 2>&-", "<&- >&- 2>&-"])
  func `closed standard descriptors never mean a file`(closed: String) throws {
    try dir.write(Sample.scsi, to: "d.img")
    func run(_ command: String) throws {
      // Whether it works or not, it exits with a status of its own.
      let ending = try dir.sh("\(command) \(closed)").ending
      #expect(
        [0, 64, 66, 73, 74].map(Ending.exit).contains(ending), "\(command) \(closed): \(ending)")
    }
    try run("vma-unpack -v -C out a.vma")
    if dir.exists("out/disk-drive-scsi0.raw") { try dir.expectWhole(in: "out") }
    try run("vma-pack -v -o b.vma d=d.img")
    if dir.exists("b.vma") { try dir.run(.unpack, "-t", "b.vma").succeeds(closed) }
    try run("vma-to-tar -v --progress always -o t.tar a.vma")
    if dir.exists("t.tar") {
      expectSame(try dir.read("t.tar"), try dir.run(.toTar, "a.vma").succeeds().output, closed)
    }
  }

  @Test func `no standard output to write to, no standard input to read from`() throws {
    try dir.sh("vma-cat a.vma scsi0 >&-").fails(74, .cat)
    try dir.sh("vma-to-tar a.vma >&-").fails(74, .toTar)
    for command in ["vma-unpack -t <&-", "vma-unpack -C out - <&-"] {
      let outcome = try dir.sh(command)
      #expect(outcome.ending != .exit(0))
      #expect(outcome.complaint(about: .unpack) == nil)
    }
  }

  // MARK: Concurrent changes

  @Test(arguments: Sample.wholeFiles)
  func `a file that appears meanwhile is 73, and no other file appears`(name: String) throws {
    try dir.makeDirectory("out")
    let running = try stall(.unpack, ["-C", "out"])
    try dir.write("precious", to: "out/\(name)")
    finish(running).fails(73, .unpack, saying: name)
    try dir.expectNames([name], in: "out")
    try dir.expect("out/\(name)", holds: Array("precious".utf8))
  }

  @Test func `a symlink that appears meanwhile is not followed`() throws {
    try dir.makeDirectory("out")
    try dir.write("precious", to: "target")
    let running = try stall(.unpack, ["-f", "-C", "out"])
    try dir.link("out/qemu-server.conf", to: dir("target"))
    finish(running).succeeds()
    try dir.expectWhole(in: "out")
    try dir.expect("target", holds: Array("precious".utf8))
  }

  @Test func `an output that appears meanwhile is 73`() throws {
    let running = try stall(.toTar, ["-o", "t.tar"])
    try dir.write("precious", to: "t.tar")
    finish(running).fails(73, .toTar, saying: "t.tar")
    try dir.expect("t.tar", holds: Array("precious".utf8))
    let packing = try dir.start(.pack, ["-o", "b.vma", "--size", "d=512", "d=-"], input: .open)
    packing.send([1])
    #expect(packing.wait { packing.hasTakenAll })
    try dir.write("precious", to: "b.vma")
    packing.send(Image.zeros(511))
    packing.finish().fails(73, .pack, saying: "b.vma")
    try dir.expect("b.vma", holds: Array("precious".utf8))
  }

  @Test func `of two runs into one directory, one succeeds completely`() throws {
    try dir.makeDirectory("out")
    let first = try stall(.unpack, ["-C", "out"])
    let second = try stall(.unpack, ["-C", "out"])
    finish(second).succeeds()
    try dir.expectWhole(in: "out")
    finish(first).fails(73, .unpack)
    try dir.expectWhole(in: "out")
  }

  @Test func `an archive that becomes shorter while it is read`() throws {
    // Truncated after the tool has started: any error is right, in one line.
    let disk = Archive.Disk("d", Image.full(8 << 20, seed: 8))
    try dir.write(Archive([disk]).bytes(), to: "b.vma")
    let running = try dir.start(.cat, ["b.vma"])
    _ = running.wait { running.output.count >= 4096 }
    try dir.resize("b.vma", to: 1 << 20)
    let outcome = running.finish()
    if outcome.ending == .exit(0) {
      expectSame(outcome.output, disk.image)
    } else {
      #expect([.exit(65), .exit(74)].contains(outcome.ending))
      #expect(outcome.complaint(about: .cat) == nil)
    }
  }
}
