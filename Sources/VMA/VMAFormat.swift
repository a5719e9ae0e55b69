// SPDX-License-Identifier: Apache-2.0

/// The constants of the VMA format, version 1.
///
/// ```
/// archive  = header extent*                    no end marker
/// header   = 12288 fixed bytes, blob buffer    rounded up to 512
/// extent   = 512 byte header, block{0,944}     sum of all mask bits
/// block    = 4096 bytes
/// ```
///
/// All integers are big-endian, except the lengths of blobs, which are little-endian.
public enum VMAFormat {
  /// Bytes in a block, the smallest unit of data in an archive.
  public static let blockSize = 4096
  /// Blocks in a cluster.
  public static let blocksPerCluster = 16
  /// Bytes in a cluster, the unit into which a disk is divided.
  public static let clusterSize = blockSize * blocksPerCluster
  /// Bytes in the header of an extent.
  public static let extentHeaderSize = 512
  /// Slots in an extent header, one cluster each.
  public static let slotsPerExtent = 59
  /// The maximum number of blocks in an extent.
  public static let blocksPerExtent = slotsPerExtent * blocksPerCluster
  /// Sizes of devices, and of the header, are multiples of this.
  public static let sectorSize = 512
  /// Bytes of the archive header before its blob buffer.
  package static let fixedHeaderSize = 12288
  /// The largest header that is read, in bytes: the tables cannot refer to more than about 50 MiB.
  package static let maximumHeaderSize = 52 << 20
  /// The maximum number of bytes in a blob: a name with its NUL, or the data of a config.
  public static let maximumBlobSize = 65535
  /// The maximum number of configs in an archive.
  public static let maximumConfigCount = 256
  /// The ids that a device can have.
  public static let deviceIDs: ClosedRange<UInt8> = 1...254
  /// The largest device, in bytes: cluster numbers have 32 bits.
  public static let maximumDeviceSize: UInt64 = 1 << 48
  /// The name of the device that holds the state of a running machine.
  public static let vmstateName: [UInt8] = Array("vmstate".utf8)

  static let archiveMagic: UInt32 = 0x564d_4100  // "VMA\0"
  static let extentMagic: UInt32 = 0x564d_4145  // "VMAE"
  static let version: UInt32 = 1

  /// Where the fields of the archive header are.
  enum HeaderOffset {
    static let magic = 0
    static let version = 4
    static let uuid = 8
    static let creationTime = 24
    static let md5 = 32
    static let blobBufferOffset = 48
    static let blobBufferSize = 52
    static let headerSize = 56
    static let configNames = 2044
    static let configData = 3068
    static let devices = 4096
    static let deviceStride = 32
    static let deviceSize = 8
  }

  /// Where the fields of an extent header are.
  enum ExtentOffset {
    static let magic = 0
    static let blockCount = 6
    static let uuid = 8
    static let md5 = 24
    static let slots = 40
    static let slotStride = 8
  }
}
