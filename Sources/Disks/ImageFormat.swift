// SPDX-License-Identifier: Apache-2.0

import System

/// A format of disk images that contains a disk, recognized by the start of the file.
enum ImageFormat: String, CaseIterable, CustomStringConvertible {
  case qcow2, qed, vmdk, vdi, vhdx, vpc, parallels

  var description: String { rawValue }

  /// Signatures at the start of a file; QEMU's names for the formats.
  private var signatures: [[UInt8]] {
    switch self {
    case .qcow2: [Array("QFI".utf8) + [0xfb]]
    case .qed: [Array("QED\0".utf8)]
    case .vmdk: ["KDMV", "COWD", "# Disk DescriptorFile"].map { Array($0.utf8) }
    case .vdi: [Array("<<< ".utf8)]
    case .vhdx: [Array("vhdxfile".utf8)]
    case .vpc: [Array("conectix".utf8)]
    case .parallels: ["WithoutFreeSpace", "WithouFreSpacExt"].map { Array($0.utf8) }
    }
  }

  /// The footer of a VHD image of fixed size, which has no signature at its start.
  private static let footerSize: UInt64 = 512

  /// - Returns: nil if it is not a file, or is a raw disk.
  init?(of content: any DiskContent) throws {
    guard let file = content as? FileContent else { return nil }
    let start = try Self.bytes(of: file, at: 0)
    if let format = Self.allCases.first(where: {
      $0.signatures.contains { start.starts(with: $0) }
    }) {
      self = format
    } else if file.size >= Self.footerSize,
      ImageFormat.vpc.signatures.contains(
        try Array(Self.bytes(of: file, at: file.size - Self.footerSize).prefix(8)))
    {
      self = .vpc
    } else {
      return nil
    }
  }

  private static func bytes(of file: FileContent, at offset: UInt64) throws -> [UInt8] {
    let buffer = try Buffer(capacity: 32)
    let count = min(UInt64(buffer.capacity), file.size - offset)
    let found = try file.read(into: buffer, 0..<Int(count), at: offset)
    return buffer.withBytes(0..<found) { bytes in bytes.indices.map { bytes[$0] } }
  }
}
