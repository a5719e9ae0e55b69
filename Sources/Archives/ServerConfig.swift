// SPDX-License-Identifier: Apache-2.0

package import System

/// A `qemu-server.conf`, as far as restoring with `qmrestore` depends on it: the lines that connect
/// disks of the VM to devices of the archive, as vma(5) describes them.
///
/// A backup made by Proxmox VE does not contain some settings, so they are omitted: sections, which
/// describe snapshots and pending changes, and `lock`, `parent` and `unused<N>`. All other lines
/// remain unchanged, whatever their bytes.
package struct ServerConfig {
  package static let name: [UInt8] = Array("qemu-server.conf".utf8)

  /// `#qmdump#map:<disk>:<device>:<storage>:<format>:`
  package struct MapLine: Hashable, Sendable {
    /// `scsi0`
    package var disk: String
    /// `drive-scsi0`
    package var device: String
    /// May be empty, like the format.
    package var storage: String
    package var format: String

    package init(disk: String, device: String, storage: String, format: String) {
      self.disk = disk
      self.device = device
      self.storage = storage
      self.format = format
    }

    fileprivate static let mark = Array("#qmdump#map:".utf8)

    /// - Returns: nil for a line that `qmrestore` would not accept.
    fileprivate init?(_ line: ArraySlice<UInt8>) {
      let text = String(decoding: line.dropFirst(Self.mark.count), as: UTF8.self)
      let fields = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
      guard fields.count == 5, fields[4].isEmpty, !fields[0].isEmpty, !fields[1].isEmpty,
        !text.unicodeScalars.contains(where: \.properties.isWhitespace)
      else { return nil }
      self.init(disk: fields[0], device: fields[1], storage: fields[2], format: fields[3])
    }

    fileprivate var bytes: [UInt8] {
      Self.mark + Array("\(disk):\(device):\(storage):\(format):".utf8)
    }
  }

  private enum Line {
    case map(MapLine)
    case other(ArraySlice<UInt8>)
  }

  private var lines: [Line] = []
  /// The omitted keys and headings of sections.
  private var leftOut: [String] = []

  /// - Throws: status 65 for a map line that `qmrestore` would not accept.
  package init(_ content: [UInt8]) throws {
    var isInSection = false
    var lines = content.split(separator: 10, omittingEmptySubsequences: false)
    if lines.last?.isEmpty == true { lines.removeLast() }
    for line in lines {
      if line.starts(with: MapLine.mark) {
        // qmrestore reads these lines anywhere, even after a section header.
        guard let map = MapLine(line) else {
          throw Self.refusal("invalid line '\(String(decoding: line, as: UTF8.self))'")
        }
        self.lines.append(.map(map))
        continue
      }
      if line.first == UInt8(ascii: "[") {
        isInSection = true
        leftOut.append(String(decoding: line, as: UTF8.self))
      } else if !isInSection {
        if let key = Self.key(of: line), Self.isLeftOut(key) {
          leftOut.append(key)
        } else {
          self.lines.append(.other(line))
        }
      }
    }
  }

  private static func isLeftOut(_ key: String) -> Bool {
    key == "lock" || key == "parent" || isNumbered(key, "unused")
  }

  /// What was omitted, for a warning; nil if nothing was.
  package var omission: String? {
    leftOut.isEmpty ? nil : "qemu-server.conf: left out: " + leftOut.joined(separator: ", ")
  }

  /// The key of a setting, before the colon.
  private static func key(of line: ArraySlice<UInt8>) -> String? {
    line.firstIndex(of: UInt8(ascii: ":")).map { String(decoding: line[..<$0], as: UTF8.self) }
  }

  /// Whether a key is this word with a number.
  private static func isNumbered(_ key: String, _ word: String) -> Bool {
    key.hasPrefix(word) && key.utf8.count > word.utf8.count
      && key.utf8.dropFirst(word.utf8.count).allSatisfy { (48...57).contains($0) }
  }

  package static func refusal(_ why: String) -> Failure {
    Failure(.badData, "qemu-server.conf: \(why)")
  }

  package var mapLines: [MapLine] {
    lines.compactMap { if case .map(let map) = $0 { map } else { nil } }
  }

  package mutating func add(_ map: MapLine) {
    lines.append(.map(map))
  }

  /// All disks that a VM can have.
  private static let diskNames = Set(
    [("ide", 3), ("sata", 5), ("scsi", 30), ("virtio", 15), ("efidisk", 0), ("tpmstate", 0)]
      .flatMap { bus, last in (0...last).map { "\(bus)\($0)" } })

  /// The disks that have a line of their own, such as `scsi0: local-lvm:vm-101-disk-0,size=32G`,
  /// and its value.
  package var disks: [String: String] {
    var disks: [String: String] = [:]
    for case .other(let line) in lines {
      guard let key = Self.key(of: line), Self.diskNames.contains(key) else { continue }
      disks[key] = String(decoding: line.dropFirst(key.utf8.count + 1), as: UTF8.self)
    }
    return disks
  }

  /// Whether the value of a disk's line excludes it from backups.
  package static func isExcludedFromBackup(_ value: String) -> Bool {
    value.split { $0 == "," || $0.isWhitespace }.contains { option in
      let parts = option.split(separator: "=", maxSplits: 1)
      return parts.count == 2 && parts[0] == "backup"
        && ["0", "no", "off", "false"].contains(parts[1].lowercased())
    }
  }

  /// The entire file.
  ///
  /// - Parameter rewrite: returns the replacement of a map line.
  package func content(rewrite: ((MapLine) -> String)? = nil) -> [UInt8] {
    var content: [UInt8] = []
    for line in lines {
      switch line {
      case .map(let map): content += rewrite.map { Array($0(map).utf8) } ?? map.bytes
      case .other(let bytes): content += bytes
      }
      content.append(10)
    }
    return content
  }
}
