// SPDX-License-Identifier: Apache-2.0

import Archives
import VMA

/// The names of all files that a salvage may create. A name that plain unpacking can use is never
/// refused because of a suffix: it is shortened, or numbered, until it fits and is free. The same
/// applies to names of a damaged header, whose files are all partial.
struct SalvageNames {
  private(set) var partial: [UInt8: OutputName] = [:]
  private(set) var map: [UInt8: OutputName] = [:]
  private(set) var configs: [OutputName] = []
  private var taken: Set<[UInt8]>

  /// - Parameters:
  ///   - unmapped: the drives that become files.
  ///   - mapped: all drives, if they get maps.
  ///   - unprovenConfigs: configuration files that may be wrong.
  init(
    taken names: [OutputName], unmapped: [ArchiveHeader.Device], mapped: [ArchiveHeader.Device],
    unprovenConfigs: [ArchiveHeader.Config]
  ) {
    taken = Set(names.map(\.bytes))
    for device in unmapped {
      partial[device.id] = free(OutputName(device).bytes, ".partial")
    }
    for device in mapped {
      map[device.id] = free(OutputName(device).bytes.dropLast(4), ".map")
    }
    configs = unprovenConfigs.map { free($0.name, ".partial") }
  }

  private mutating func free(_ base: some Collection<UInt8>, _ suffix: String) -> OutputName {
    // Names of a damaged header can contain anything.
    let base = base.map { $0 < 32 || $0 == 127 || $0 == 47 ? UInt8(ascii: "_") : $0 }
    var number = 1
    while true {
      let ending = Array(((number == 1 ? "" : ".\(number)") + suffix).utf8)
      var start = Array(base.prefix(OutputName.longest - ending.count))
      // Not within a character.
      while start.count < base.count, let last = start.last, last & 0xc0 == 0x80 {
        start.removeLast()
      }
      if start.count < base.count, let last = start.last, last >= 0xc0 { start.removeLast() }
      let name = start + ending
      if taken.insert(name).inserted { return OutputName(memberName: name) }
      number += 1
    }
  }
}
