// SPDX-License-Identifier: Apache-2.0

/// What `query-qmp-schema` tells of the arguments of commands.
struct Schema {
  private struct Entry: Decodable {
    struct Member: Decodable { var name: String }
    var name: String
    var argType: String?
    var members: [Member]?

    enum CodingKeys: String, CodingKey {
      case name
      case argType = "arg-type"
      case members
    }
  }

  private let entries: [Entry]

  init(_ client: QMPClient) throws {
    entries = try client.execute("query-qmp-schema", returning: [Entry].self)
  }

  /// Whether a command knows an argument. Types have numbers for names, commands their own.
  func has(_ argument: String, in command: String) -> Bool {
    guard let type = entries.first(where: { $0.name == command })?.argType,
      let members = entries.first(where: { $0.name == type })?.members
    else { return false }
    return members.contains { $0.name == argument }
  }
}
