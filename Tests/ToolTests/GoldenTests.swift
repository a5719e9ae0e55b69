// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// One line of `Golden/SHA256SUMS`: the expected hash of a member of a reference archive.
struct GoldenMember: Sendable, CustomTestStringConvertible {
  var hash: String
  var archive: String
  var name: String

  var testDescription: String { "\(archive) \(name)" }

  static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().path + "/Golden"

  static let all: [GoldenMember] = {
    let sums = (try? String(contentsOfFile: folder + "/SHA256SUMS", encoding: .utf8)) ?? ""
    return sums.split(separator: "\n").filter { !$0.hasPrefix("#") }.map { line in
      let words = line.split(separator: " ").map(String.init)
      return GoldenMember(hash: words[0], archive: words[1], name: words[2])
    }
  }()

  static let archives = Set(all.map(\.archive)).sorted()

  /// The file name of this member.
  var file: String {
    switch name {
    case "vmstate": "vmstate.bin"
    case let name where name.hasPrefix("drive-"): "disk-\(name).raw"
    default: name
    }
  }
}

@Suite("Archives of the reference implementation are read exactly", requires("zstd"))
struct GoldenTests {
  let dir: Scratch

  init() throws {
    dir = try Scratch()
    for archive in GoldenMember.archives {
      let source = "\(GoldenMember.folder)/\(archive).zst"
      try dir.sh("zstd -qdc '\(source)' > \(archive) && cp '\(source)' .").succeeds()
    }
  }

  @Test func `there are seven members to check`() {
    #expect(GoldenMember.all.count == 7)
  }

  @Test(arguments: GoldenMember.archives)
  func `the tests' own reader agrees`(archive: String) throws {
    let parsed = ParsedArchive(try dir.read(archive))
    #expect(parsed.faults == [])
    for member in GoldenMember.all where member.archive == archive {
      let config = parsed.configs.first { $0.name == member.name }
      try dir.write(config?.data ?? parsed.image(member.name), to: "member")
      try expectHash(of: "member", member)
    }
  }

  @Test(arguments: GoldenMember.archives)
  func `a strict test passes`(archive: String) throws {
    for options in [["-t"], ["-t", "--quick"]] {
      try dir.run(.unpack, options + [archive]).succeeds()
      try dir.run(.unpack, options + [archive + ".zst"]).succeeds()
      try dir.run(.unpack, options, input: .pipe(dir.read(archive))).succeeds()
    }
  }

  @Test(arguments: GoldenMember.archives, ["$A", "- < $A", "$A.zst", "- < $A.zst"])
  func `unpacking gives every member`(archive: String, source: String) throws {
    try dir.sh("A=\(archive); vma-unpack -C out \(source)").succeeds()
    let members = GoldenMember.all.filter { $0.archive == archive }
    #expect(try Set(members.map(\.file)).isSubset(of: dir.names(in: "out")))
    for member in members { try expectHash(of: "out/\(member.file)", member) }
  }

  @Test(arguments: GoldenMember.archives)
  func `unpacking from a pipe gives every member`(archive: String) throws {
    for (target, source) in [("plain", archive), ("packed", archive + ".zst")] {
      try dir.sh("cat \(source) | vma-unpack -C \(target)").succeeds()
      for member in GoldenMember.all where member.archive == archive {
        try expectHash(of: "\(target)/\(member.file)", member)
      }
    }
  }

  @Test(arguments: GoldenMember.all)
  func `every member can be written alone`(member: GoldenMember) throws {
    let sources = [
      "vma-cat $A $M > member", "vma-cat $A $M | cat > member",
      "vma-cat - $M < <(cat $A) > member", "vma-cat $A.zst $M > member",
      "vma-cat - $M < <(cat $A.zst) | cat > member",
    ]
    for source in sources {
      try dir.sh("A=\(member.archive) M=\(member.name); \(source)").succeeds()
      try expectHash(of: "member", member)
    }
  }

  @Test(requires("tar"), arguments: GoldenMember.archives)
  func `a tar contains every member`(archive: String) throws {
    let sources = ["vma-to-tar $A", "cat $A | vma-to-tar", "cat $A.zst | vma-to-tar -"]
    for (index, source) in sources.enumerated() {
      try dir.sh("A=\(archive); mkdir out\(index); \(source) | tar -x -C out\(index)").succeeds()
      for member in GoldenMember.all where member.archive == archive {
        try expectHash(of: "out\(index)/\(member.file)", member)
      }
    }
  }

  @Test func `the listing has the reference tool's format`() throws {
    let lines = try dir.run(.unpack, "-l", "--pve", "vmstate.vma").succeeds().lines
    let size = try dir.sh("vma-cat vmstate.vma qemu-server.conf | wc -c").text
      .trimmingCharacters(in: .whitespacesAndNewlines)
    #expect(lines.contains("CFG: size: \(size) name: qemu-server.conf"))
    #expect(lines.last == "CTIME: Mon Nov 23 06:07:35 2026")
    let disks = try dir.run(.unpack, "-l", "--pve", "two-disks.vma").succeeds().lines
    #expect(disks.contains("DEV: dev_id=1 size: 540672 devname: drive-efidisk0"))
  }

  private func expectHash(
    of file: String, _ member: GoldenMember, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let hash = try dir.sh("sha256sum < \(file)").text.prefix(64)
    #expect(hash == member.hash, "\(file)", sourceLocation: sourceLocation)
  }
}
