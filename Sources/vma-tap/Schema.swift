// SPDX-License-Identifier: Apache-2.0

/// What `query-qmp-schema` reports about the arguments of commands.
package struct Schema: Decodable {
  private struct Entry: Decodable {
    /// Members of alternate types have no name.
    struct Member: Decodable { var name: String? }
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
    self = try client.execute("query-qmp-schema", returning: Schema.self)
  }

  package init(from decoder: any Decoder) throws {
    entries = try [Entry](from: decoder)
  }

  /// Whether a command has an argument. Types have numbers as names, commands their own.
  package func has(_ argument: String, in command: String) -> Bool {
    guard let type = entries.first(where: { $0.name == command })?.argType,
      let members = entries.first(where: { $0.name == type })?.members
    else { return false }
    return members.contains { $0.name == argument }
  }
}
