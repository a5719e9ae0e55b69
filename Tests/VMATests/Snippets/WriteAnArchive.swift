// SPDX-License-Identifier: Apache-2.0

// The text between the two marks is in Sources/VMA/VMA.docc, and a test compares.
// snippet.begin
import VMA

/// Writes an archive of one disk.
func writeArchive(
  of disk: [UInt8], digest: any MessageDigest.Type, output: (ArraySlice<UInt8>) throws -> Void
) throws {
  let device = ArchiveHeader.Device(
    id: 1, name: Array("drive-scsi0".utf8), size: UInt64(disk.count))
  let header = ArchiveHeader(
    uuid: .init(.random(in: .min ... .max)), creationTime: 0, configs: [], devices: [device])
  var builder = try ArchiveBuilder(header, digest: digest)
  try output(builder.headerBytes[...])

  // The last cluster is filled up with zeros.
  let size = VMAFormat.clusterSize
  let clusters = disk + [UInt8](repeating: 0, count: (size - disk.count % size) % size)
  func write(_ extent: ArchiveBuilder.Extent) throws {
    try output(extent.headerBytes[...])
    for range in extent.blocks { try output(clusters[range]) }
  }
  for cluster in 0..<device.clusterCount {
    let start = Int(cluster) * size
    let data = clusters.span.extracting(start..<start + size)
    try builder.add(data, device: 1, cluster: cluster, at: start)
    while let extent = builder.nextExtent() { try write(extent) }
  }
  try builder.finish()
  while let extent = builder.nextExtent() { try write(extent) }
}
// snippet.end
