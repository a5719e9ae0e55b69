// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("Names in tar are correct for every reader, or refused")
struct TarNameTests {
  let dir: Scratch
  private static let images = [Image.mixed(200_704, seed: 550), Image.mixed(200_704, seed: 551)]
  private static let readers = [
    "tar -xf t.tar -C out", "bsdtar -xf t.tar -C out",
    "python3 -W ignore -c 'import tarfile; tarfile.open(\"t.tar\").extractall(\"out\")'",
    "busybox tar -xf t.tar -C out",
  ]

  init() throws { dir = try Scratch() }

  /// Two names that differ only at their end.
  private static func pair(_ start: [UInt8]) -> [[UInt8]] { [start + [49], start + [50]] }

  static let names: [[[UInt8]]] = {
    var pairs: [[[UInt8]]] = []
    for length in [86, 91, 99, 155, 245] {
      pairs.append(pair(Array(repeating: 97, count: length - 1)))
      pairs.append(pair(Array(repeating: 0xff, count: length - 1)))
      pairs.append(pair(Array(repeating: 97, count: length - 2) + [0xfe]))
      pairs.append(pair(Array(String(repeating: "é", count: (length - 1) / 2).utf8)))
    }
    for text in [
      "a=", "=", " a ", "a\"\\n", "%2", "12 path=x", "😀", "\u{2028}", "\u{85}", "-", "@", "#",
      "*?[",
      "GNUSparseFile.0", "PaxHeader",
    ] {
      pairs.append(pair(Array(text.utf8)))
    }
    pairs += [
      pair(Array("gr".utf8) + [0xf6, 0xdf]), pair([0xed, 0xa0, 0x80]), pair([0xc0, 0xaf]),
      pair([0xef, 0xbf, 0xbe]), [Array("é".utf8), Array("e\u{301}".utf8)],
      [Array("x ".utf8), Array("x".utf8)], [[0xe9], [0xc3, 0xa9]],
    ]
    return pairs
  }()

  @Test(
    "B3: names of disks are correct for every reader, or refused",
    requires("tar", "bsdtar", "python3", "busybox"),
    arguments: [
      "", "--no-sparse", "--format gnutar", "--format ustar", "--prefix p", "--prefix long",
    ])
  func names(options: String) throws {
    let prefix = options == "--prefix p" ? "p/" : ""
    let long = String(repeating: "p", count: 130)
    let isLong = options == "--prefix long"
    let words = isLong ? "--prefix \(long)" : options
    let start = Array((isLong ? long + "/" : prefix).utf8) + Array("disk-".utf8)
    var written = 0
    for names in Self.names {
      var archive = Archive(zip(["a", "b"], Self.images).map { Archive.Disk($0, $1) })
      for index in 0..<2 { archive.devices[index].blob = names[index] + [0] }
      let bytes = archive.bytes()
      try dir.write(bytes, to: "a.vma")
      let outcome = try dir.sh("vma-to-tar \(words) a.vma > t.tar")
      guard outcome.ending == .exit(0) else {
        #expect(outcome.ending == .exit(64) && outcome.complaint(about: .toTar) == nil)
        continue
      }
      written += 1
      // The result from a pipe is the same.
      if written % 4 == 1 { try dir.sh("cat a.vma | vma-to-tar \(words) | cmp - t.tar").succeeds() }
      let isPAX = options.isEmpty || options.hasPrefix("--prefix")
      for reader in Self.readers where !(isPAX && reader.hasPrefix("busybox")) {
        _ = try dir.sh("rm -rf out; mkdir out; \(reader) 2> /dev/null")
        for index in 0..<2 {
          let path = Array(dir("out/").utf8) + start + names[index] + Array(".raw".utf8)
          let found = contents(path)
          if found != Self.images[index] {
            Issue.record(
              "\(words) \(reader): \(String(decoding: names[index], as: UTF8.self).debugDescription)"
            )
          }
        }
      }
    }
    #expect(written > (options.hasSuffix("ustar") ? 10 : 35))
  }

  /// The content of a file whose name need not be text.
  private func contents(_ path: [UInt8]) -> [UInt8]? {
    let file = (path + [0]).map { CChar(bitPattern: $0) }.withUnsafeBufferPointer {
      $0.baseAddress.flatMap { fopen($0, "r") }
    }
    guard let file else { return nil }
    defer { fclose(file) }
    var bytes = [UInt8](repeating: 0, count: 1 << 20)
    let count = fread(&bytes, 1, bytes.count, file)
    return Array(bytes.prefix(count))
  }
}
