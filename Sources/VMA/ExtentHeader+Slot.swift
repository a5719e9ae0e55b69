// SPDX-License-Identifier: Apache-2.0

extension ExtentHeader {
  /// One cluster in an extent.
  public struct Slot: Hashable, Sendable {
    /// 1…254.
    public var device: UInt8
    /// The cluster's place on the device, in units of 64 KiB.
    public var cluster: UInt32
    /// Bit j set: block j of the cluster (4 KiB each) is stored; otherwise it is all zeros.
    public var mask: UInt16

    public init(device: UInt8, cluster: UInt32, mask: UInt16) {
      self.device = device
      self.cluster = cluster
      self.mask = mask
    }
  }
}
