// SPDX-License-Identifier: Apache-2.0

/// A node of QEMU's block graph, as `query-named-block-nodes` lists it.
package struct BlockNode: Decodable {
  struct Image: Decodable {
    var virtualSize: UInt64
    enum CodingKeys: String, CodingKey { case virtualSize = "virtual-size" }
  }

  var name: String?
  var file: String
  var isReadOnly: Bool
  var image: Image

  enum CodingKeys: String, CodingKey {
    case name = "node-name"
    case file
    case isReadOnly = "ro"
    case image
  }

  /// All nodes that have a name.
  ///
  /// Without `flat`, each node includes all nodes below it, which grows with the square of the
  /// length of a backing chain, and QEMU's guest stops meanwhile. Even with `flat` it is expensive:
  /// call it once.
  static func all(_ client: QMPClient) throws -> [BlockNode] {
    try client.execute(
      "query-named-block-nodes", ["flat": .bool(true)], returning: [BlockNode].self)
  }
}
