// SPDX-License-Identifier: Apache-2.0

public import SystemPackage
public import VMA

extension ArchiveHeader {
  /// The device a user means: an exact name wins, then `drive-` before it (`scsi0`).
  public func device(named name: String) -> Device? {
    devices.first { $0.name == Array(name.utf8) }
      ?? devices.first { $0.name == Array("drive-\(name)".utf8) }
  }

  /// Names for a message, which must not become endless: 20 of them, and 80 bytes of each.
  public static func list(_ names: [[UInt8]]) -> String {
    let shown = names.prefix(20).map { String(decoding: $0.prefix(80), as: UTF8.self) }
    let rest = names.count - shown.count
    return shown.joined(separator: ", ") + (rest > 0 ? " and \(rest) more" : "")
  }

  public func config(named name: String) -> Config? {
    configs.first { $0.name == Array(name.utf8) }
  }

  /// The devices a user means; all of them where nothing is said.
  ///
  /// - Throws: status 66 for one that is not there.
  public func devices(named names: [String], in archive: String) throws -> [Device] {
    guard !names.isEmpty else { return devices }
    let ids = try names.map { try requireDevice(named: $0, in: archive).id }
    return devices.filter { ids.contains($0.id) }
  }

  /// - Throws: status 66 if it is not there.
  public func requireDevice(named name: String, in archive: String) throws -> Device {
    guard let device = device(named: name) else {
      let list = Self.list(devices.map(\.name))
      throw Failure(
        .noInput,
        "\(archive): no drive \(name); there \(devices.isEmpty ? "is none" : "are: \(list)")")
    }
    return device
  }
}

/// The file name that a member of an archive gets outside.
public struct OutputName: Hashable, Sendable {
  public let bytes: [UInt8]
  /// The most bytes that a file name can have.
  public static let longest = 255
  /// The name inside of the archive.
  private let member: [UInt8]

  private init(_ bytes: [UInt8], member: [UInt8]) {
    self.bytes = bytes
    self.member = member
  }

  /// `disk-<device>.raw`, or `vmstate.bin`.
  public init(_ device: Device) {
    self.init(
      device.isVMState
        ? Array("vmstate.bin".utf8) : Array("disk-".utf8) + device.name + Array(".raw".utf8),
      member: device.name)
  }

  public init(_ config: Config) {
    self.init(config.name, member: config.name)
  }

  /// A name that was put together elsewhere.
  public init(memberName bytes: [UInt8]) {
    self.init(bytes, member: bytes)
  }

  /// The name with something behind it.
  public func appending(_ suffix: String) -> OutputName {
    OutputName(bytes + Array(suffix.utf8), member: member)
  }

  /// The name with another ending of four characters, `disk-x.map` for `disk-x.raw`.
  public func replacingExtension(with suffix: String) -> OutputName {
    OutputName(bytes.dropLast(4) + Array(suffix.utf8), member: member)
  }

  public var path: FilePath { FilePath(bytes: bytes) }

  public var text: String { String(decoding: bytes, as: UTF8.self) }

  /// Checks that these names can be given to files in one directory, before any is.
  ///
  /// - Throws: status 65 for a member whose name is empty, `.` or `..`, makes a file name of more
  ///   than 255 bytes, holds a slash, NUL or other control character, or makes one that is there
  ///   already.
  public static func check(_ names: [OutputName], archive: String) throws {
    var seen: Set<[UInt8]> = []
    for name in names {
      let fault: String? =
        if name.member.isEmpty {
          "has no name"
        } else if name.member == [46] || name.member == [46, 46] {
          "names a directory"
        } else if name.bytes.count > longest {
          "has a name of more than 255 bytes"
        } else if name.bytes.contains(47) {
          "has a slash in its name"
        } else if name.bytes.contains(where: { $0 < 32 || $0 == 127 }) {
          "has control characters in its name"
        } else if !seen.insert(name.bytes).inserted {
          "is there twice"
        } else {
          nil
        }
      if let fault {
        throw Failure(.badData, "\(archive): member '\(name.text.prefix(80))' \(fault)")
      }
    }
  }
}
