// SPDX-License-Identifier: Apache-2.0

import FilterIO
import FoundationEssentials
import VMA

/// What the header of an archive says, for people and for programs.
struct Listing {
  enum Form {
    case text, json, pve
  }

  private let header: ArchiveHeader

  init(_ header: ArchiveHeader) {
    self.header = header
  }

  /// Writes the listing to standard output.
  func write(_ form: Form) throws {
    let text =
      switch form {
      case .text: text
      case .json: try json
      case .pve: pve
      }
    try Descriptor.standardOutput.write(Array(text.utf8))
  }

  private var text: String {
    var rows: [[String]] = [
      ["uuid", "", "", header.uuid.description],
      ["ctime", "", "", "\(header.creationTime) (\(Host.localTime(header.creationTime)))"],
    ]
    for config in header.configs {
      rows.append(["config", "", "\(config.data.count)", String(printable: config.name)])
    }
    for device in header.devices {
      rows.append([
        device.isVMState ? "vmstate" : "drive", "\(device.id)", "\(device.size)",
        String(printable: device.name),
      ])
    }
    let widths = (0..<3).map { column in rows.map(\.[column].count).max() ?? 0 }
    return rows.map { row in
      func padding(_ column: Int) -> String {
        String(repeating: " ", count: widths[column] - row[column].count)
      }
      return row[0] + padding(0) + " " + padding(1) + row[1] + " " + padding(2) + row[2] + " "
        + row[3] + "\n"
    }.joined()
  }

  /// The lines of the reference tool.
  private var pve: String {
    var lines = header.configs.map {
      "CFG: size: \($0.data.count) name: \(String(printable: $0.name))"
    }
    for device in header.devices {
      lines.append(
        device.isVMState
          ? "VMSTATE: dev_id=\(device.id) memory: \(device.size)"
          : "DEV: dev_id=\(device.id) size: \(device.size) devname: \(String(printable: device.name))"
      )
    }
    lines.append("CTIME: \(Host.localTime(header.creationTime))")
    return lines.map { $0 + "\n" }.joined()
  }

  private struct Document: Encodable {
    struct Config: Encodable {
      var name: String
      var size: Int
    }
    struct Drive: Encodable {
      var id: Int
      var name: String
      var size: UInt64
    }
    struct VMState: Encodable {
      var id: Int
      var size: UInt64
    }
    var uuid: String
    var ctime: Int64
    var configs: [Config]
    var drives: [Drive]
    var vmstate: VMState?

    private enum CodingKeys: CodingKey {
      case uuid, ctime, configs, drives, vmstate
    }

    /// As the compiler would write it, but that the state of a machine without any is `null`.
    func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: CodingKeys.self)
      try container.encode(uuid, forKey: .uuid)
      try container.encode(ctime, forKey: .ctime)
      try container.encode(configs, forKey: .configs)
      try container.encode(drives, forKey: .drives)
      try container.encode(vmstate, forKey: .vmstate)
    }
  }

  private var json: String {
    get throws {
      let document = Document(
        uuid: header.uuid.description, ctime: header.creationTime,
        configs: header.configs.map {
          .init(name: String(decoding: $0.name, as: UTF8.self), size: $0.data.count)
        },
        drives: header.devices.filter { !$0.isVMState }.map {
          .init(id: Int($0.id), name: String(decoding: $0.name, as: UTF8.self), size: $0.size)
        },
        vmstate: header.devices.first(where: \.isVMState).map {
          .init(id: Int($0.id), size: $0.size)
        })
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
      let text = String(decoding: try encoder.encode(document), as: UTF8.self)
      // The encoder leaves characters raw that turn a terminal's head; they stand in strings only.
      return text.unicodeScalars.map { scalar in
        guard !scalar.isHarmless, let unit = UInt16(exactly: scalar.value) else {
          return String(scalar)
        }
        let digits = String(unit, radix: 16)
        return "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      }.joined() + "\n"
    }
  }
}
