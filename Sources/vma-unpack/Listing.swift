// SPDX-License-Identifier: Apache-2.0

import Command
import FoundationEssentials
import System
import VMA

/// Prints the header of an archive, for users and for programs.
struct Listing {
  enum Form {
    case text, json, pve
  }

  private let header: ArchiveHeader

  init(_ header: ArchiveHeader) {
    self.header = header
  }

  /// Writes the listing to standard output, a row at a time: names can be long.
  func write(_ form: Form) throws {
    switch form {
    case .text: try writeText()
    case .json: try writeJSON()
    case .pve: try writePVE()
    }
  }

  private func put(_ text: String) throws {
    try Descriptor.standardOutput.write(Array(text.utf8))
  }

  private func writeText() throws {
    let kinds = ["uuid", "ctime", "config", "drive", "vmstate"]
    let numbers = header.devices.map { "\($0.id)" }
    let sizes = header.configs.map { "\($0.data.count)" } + header.devices.map { "\($0.size)" }
    let widths = [kinds, numbers, sizes].map { column in column.map(\.count).max() ?? 0 }
    func row(_ kind: String, _ number: String, _ size: String, _ text: String) throws {
      func padding(_ text: String, _ column: Int) -> String {
        String(repeating: " ", count: widths[column] - text.count)
      }
      try put(
        "\(kind)\(padding(kind, 0)) \(padding(number, 1))\(number) \(padding(size, 2))\(size) \(text)\n"
      )
    }
    let time = Host.localTime(header.creationTime)
    try row("uuid", "", "", header.uuid.description)
    try row("ctime", "", "", "\(header.creationTime) (\(time))")
    for config in header.configs {
      try row("config", "", "\(config.data.count)", String(printable: config.name))
    }
    for device in header.devices {
      try row(
        device.isVMState ? "vmstate" : "drive", "\(device.id)", "\(device.size)",
        String(printable: device.name))
    }
  }

  /// The output format of the reference tool.
  private func writePVE() throws {
    for config in header.configs {
      try put("CFG: size: \(config.data.count) name: \(String(printable: config.name))\n")
    }
    for device in header.devices {
      try put(
        device.isVMState
          ? "VMSTATE: dev_id=\(device.id) memory: \(device.size)\n"
          : "DEV: dev_id=\(device.id) size: \(device.size) devname: "
            + "\(String(printable: device.name))\n")
    }
    try put("CTIME: \(Host.localTime(header.creationTime))\n")
  }

  // MARK: JSON

  private struct ConfigEntry: Encodable {
    var name: String
    var size: Int
  }

  private struct DriveEntry: Encodable {
    var id: Int
    var name: String
    var size: UInt64
  }

  private struct StateEntry: Encodable {
    var id: Int
    var size: UInt64
  }

  private func writeJSON() throws {
    try put("{\"uuid\":\"\(header.uuid)\",\"ctime\":\(header.creationTime),\"configs\":[")
    try putElements(header.configs) {
      ConfigEntry(name: String(decoding: $0.name, as: UTF8.self), size: $0.data.count)
    }
    try put("],\"drives\":[")
    try putElements(header.devices.filter { !$0.isVMState }) {
      DriveEntry(
        id: Int($0.id), name: String(decoding: $0.name, as: UTF8.self), size: $0.size)
    }
    let state = header.devices.first(where: \.isVMState)
    try put("],\"vmstate\":")
    try put(state.map { try json(StateEntry(id: Int($0.id), size: $0.size)) } ?? "null")
    try put("}\n")
  }

  private func putElements<Element>(
    _ elements: [Element], _ entry: (Element) -> some Encodable
  ) throws {
    for (index, element) in elements.enumerated() {
      try put((index > 0 ? "," : "") + json(entry(element)))
    }
  }

  private func json(_ value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    let text = String(decoding: try encoder.encode(value), as: UTF8.self)
    // The encoder does not escape characters that change the direction of writing; only strings
    // contain them.
    guard text.unicodeScalars.contains(where: { !$0.isHarmless }) else { return text }
    var safe = ""
    for scalar in text.unicodeScalars {
      if !scalar.isHarmless, let unit = UInt16(exactly: scalar.value) {
        let digits = String(unit, radix: 16)
        safe += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      } else {
        safe.unicodeScalars.append(scalar)
      }
    }
    return safe
  }
}
