// SPDX-License-Identifier: Apache-2.0

extension ArchiveHeader {
  /// A disk, or the state of a running machine.
  public struct Device: Hashable, Sendable {
    /// 1…254; the index in the device table.
    public var id: UInt8
    /// The stored name without its terminating NUL. It may contain any bytes: check it before you
    /// use it as a file name. A name that contains a NUL can be read, but not written.
    public var name: [UInt8]
    /// Bytes; a multiple of 512. The size of `vmstate` is only an estimate, and can be any number.
    public var size: UInt64

    public init(id: UInt8, name: [UInt8], size: UInt64) {
      self.id = id
      self.name = name
      self.size = size
    }

    /// Whether this is the RAM stream, whose clusters are in order, and which may be longer than
    /// `size`.
    public var isVMState: Bool { name == VMAFormat.vmstateName }

    /// The clusters of `size` bytes; the last one may be partial.
    public var clusterCount: UInt64 {
      size.dividedRoundingUp(by: UInt64(VMAFormat.clusterSize))
    }

    /// Checks the limits of the format, for reading and writing.
    ///
    /// - Parameter byte: where the entry is in the header.
    func check(byte: UInt64? = nil) throws(FormatError) {
      guard VMAFormat.deviceIDs.contains(id) else {
        throw FormatError(.deviceID, "a device has the reserved id \(id)", byte: byte)
      }
      let isRound = isVMState || size.isMultiple(of: UInt64(VMAFormat.sectorSize))
      guard isRound, (1...VMAFormat.maximumDeviceSize).contains(size) else {
        throw FormatError(.deviceSize, "device \(id) has the invalid size \(size)", byte: byte)
      }
    }
  }
}

extension Array where Element == ArchiveHeader.Device {
  /// The number of clusters of all devices; on overflow, the largest number.
  var clusterCount: UInt64 {
    reduce(0) { sum, device in
      let (sum, overflows) = sum.addingReportingOverflow(device.clusterCount)
      return overflows ? .max : sum
    }
  }
}
