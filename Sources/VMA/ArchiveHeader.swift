// SPDX-License-Identifier: Apache-2.0

/// The start of an archive: its identity, configuration files and devices.
public struct ArchiveHeader: Hashable, Sendable {
  public var uuid: UUID
  /// Seconds since 1970.
  public var creationTime: Int64
  /// In the order of the config table.
  public var configs: [Config]
  /// In the order of their ids if the header was read.
  public var devices: [Device]

  public init(uuid: UUID, creationTime: Int64, configs: [Config], devices: [Device]) {
    self.uuid = uuid
    self.creationTime = creationTime
    self.configs = configs
    self.devices = devices
  }
}
