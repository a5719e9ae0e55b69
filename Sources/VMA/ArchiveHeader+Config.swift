// SPDX-License-Identifier: Apache-2.0

extension ArchiveHeader {
  /// A configuration file in an archive.
  public struct Config: Hashable, Sendable {
    /// The stored name without its terminating NUL. It may contain any bytes: check it before you
    /// use it as a file name. A name that contains a NUL can be read, but not written.
    public var name: [UInt8]
    /// At most 65535 bytes.
    public var data: [UInt8]

    public init(name: [UInt8], data: [UInt8]) {
      self.name = name
      self.data = data
    }
  }
}
