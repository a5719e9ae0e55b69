// SPDX-License-Identifier: Apache-2.0

/// What is wrong with an archive, or with values that are to become one.
public struct FormatError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The kind of an error. New kinds may be added in any version.
  public struct Code: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    public let rawValue: String

    public init(rawValue: String) {
      self.rawValue = rawValue
    }

    public var description: String { rawValue }
  }

  public var code: Code
  /// One line for people, without the position. Text from the archive in it is not escaped for a
  /// terminal.
  public var message: String
  /// Bytes from the start of the uncompressed archive; nil for an error of the entire archive, and
  /// of values that were not read from one.
  public var byte: UInt64?
  /// The number of the extent, counted from 0; nil for an error outside of extents.
  public var extent: Int?

  public init(_ code: Code, _ message: String, byte: UInt64? = nil, extent: Int? = nil) {
    self.code = code
    self.message = message
    self.byte = byte
    self.extent = extent
  }

  /// The message and its position.
  public var description: String {
    switch (extent, byte) {
    case (let extent?, let byte?): "extent \(extent) at byte \(byte): \(message)"
    case (nil, let byte?): "header at byte \(byte): \(message)"
    case (_, nil): message
    }
  }
}

extension FormatError.Code {
  // The entire archive.
  /// Not a VMA archive at all.
  public static let notAnArchive = Self(rawValue: "not-an-archive")
  /// The archive ends in the middle of its header or of an extent.
  public static let truncated = Self(rawValue: "truncated")
  /// Clusters are missing.
  public static let incomplete = Self(rawValue: "incomplete")

  // The header.
  public static let version = Self(rawValue: "version")
  public static let headerSize = Self(rawValue: "header-size")
  public static let headerChecksum = Self(rawValue: "header-checksum")
  /// The blob buffer, or something that refers to it, is not inside the header.
  public static let blob = Self(rawValue: "blob")
  /// A blob is too long.
  public static let blobSize = Self(rawValue: "blob-size")
  /// A name does not end with NUL, or has a NUL inside.
  public static let name = Self(rawValue: "name")
  /// More configs than an archive can hold.
  public static let configCount = Self(rawValue: "config-count")
  /// An invalid device id, or one that two devices have.
  public static let deviceID = Self(rawValue: "device-id")
  public static let deviceSize = Self(rawValue: "device-size")

  // Extents.
  public static let notAnExtent = Self(rawValue: "not-an-extent")
  /// An extent that belongs to another archive.
  public static let foreignExtent = Self(rawValue: "foreign-extent")
  public static let extentChecksum = Self(rawValue: "extent-checksum")
  /// The number of blocks is impossible, or differs from the blocks that are marked.
  public static let blockCount = Self(rawValue: "block-count")
  /// More clusters than an extent can hold.
  public static let slotCount = Self(rawValue: "slot-count")
  /// A cluster of a device that is not in the header.
  public static let unknownDevice = Self(rawValue: "unknown-device")
  /// A cluster, or a block of it, beyond the end of its device.
  public static let beyondEnd = Self(rawValue: "beyond-end")
  public static let duplicateCluster = Self(rawValue: "duplicate-cluster")
  /// A cluster of `vmstate` out of order.
  public static let clusterOrder = Self(rawValue: "cluster-order")

  /// Digests that do not match the number of extents before them, or that are missing.
  public static let digestCount = Self(rawValue: "digest-count")
  /// Blocks that do not match their digest.
  public static let dataDigest = Self(rawValue: "data-digest")

  /// An invalid argument of a call.
  public static let argument = Self(rawValue: "argument")
}

extension FormatError {
  static func truncated(_ found: Int, of expected: Int, byte: UInt64, extent: Int?) -> Self {
    Self(
      .truncated, "archive is truncated: \(found) of \(expected) bytes present", byte: byte,
      extent: extent)
  }
}
