// SPDX-License-Identifier: Apache-2.0

import Testing

/// The archives that most tests start from.
enum Sample {
  static let scsi = Image.mixed(1_048_576, seed: 101)
  static let efi = Image.mixed(540_672, seed: 102)
  static let state = Image.mixed(4 * clusterSize, seed: 103)
  static let configText = "boot: order=scsi0\ncores: 4\nscsi0: store:vm-1-disk-0,size=1M\n"

  static let config = Archive.Config("qemu-server.conf", configText)
  static let firewall = Archive.Config("qemu-server.fw", "[OPTIONS]\nenable: 1\n")

  /// Two disks, two configs and a VM state, cluster by cluster in turn.
  static let whole: Archive = {
    var archive = Archive(
      [Archive.Disk("drive-efidisk0", efi), Archive.Disk("drive-scsi0", scsi)],
      configs: [config, firewall])
    archive.devices.append(Archive.Device(id: 7, name: "vmstate", size: UInt64(state.count)))
    archive.extents = Archive.extents(
      [
        Archive.slots(of: efi, device: 1), Archive.slots(of: scsi, device: 2),
        Archive.slots(of: state, device: 7),
      ], order: .interleaved, perExtent: 13)
    return archive
  }()

  static let wholeFiles = [
    "disk-drive-efidisk0.raw", "disk-drive-scsi0.raw", "qemu-server.conf", "qemu-server.fw",
    "vmstate.bin",
  ]

  static let wholeBytes = whole.bytes()

  /// One small disk and one config in four extents: small enough to be damaged at every byte.
  static let smallImage = Image.mixed(200_704, seed: 104)
  static let small = Archive(
    [Archive.Disk("drive-scsi0", smallImage)], configs: [config], perExtent: 1)
  static let smallBytes = small.bytes()
}

extension Scratch {
  /// All files of `Sample.whole`, byte by byte.
  func expectWhole(
    in directory: String, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    try expectNames(Sample.wholeFiles, in: directory, sourceLocation: sourceLocation)
    let contents = [
      Sample.efi, Sample.scsi, Array(Sample.configText.utf8), Sample.firewall.data, Sample.state,
    ]
    for (name, bytes) in zip(Sample.wholeFiles, contents) {
      try expect("\(directory)/\(name)", holds: bytes, sourceLocation: sourceLocation)
    }
  }
}
