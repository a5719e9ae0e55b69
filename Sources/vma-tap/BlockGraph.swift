// SPDX-License-Identifier: Apache-2.0

/// The nodes of QEMU at one moment, what they stand on, and which devices of the guest have them.
struct BlockGraph {
  struct Node: Decodable {
    struct Cache: Decodable {
      var direct: Bool
      var noFlush: Bool
      enum CodingKeys: String, CodingKey {
        case direct
        case noFlush = "no-flush"
      }
    }

    struct Image: Decodable {
      var virtualSize: UInt64
      enum CodingKeys: String, CodingKey { case virtualSize = "virtual-size" }
    }

    var name: String?
    var driver: String
    var isReadOnly: Bool
    var detectZeroes: String
    var cache: Cache
    var image: Image

    enum CodingKeys: String, CodingKey {
      case name = "node-name"
      case driver = "drv"
      case isReadOnly = "ro"
      case detectZeroes = "detect_zeroes"
      case cache, image
    }
  }

  private struct Drawing: Decodable {
    struct Vertex: Decodable {
      var id: UInt64
      var name: String
    }
    struct Edge: Decodable {
      var parent: UInt64
      var child: UInt64
      var name: String
    }
    var nodes: [Vertex]
    var edges: [Edge]
  }

  private struct Block: Decodable {
    var device: String
    var qdev: String?
    var inserted: Node?
  }

  let nodes: [Node]
  /// The name of the node that each has as its `file`.
  private let files: [String: String]
  /// Where in QEMU's object model the device is whose disk begins with this node.
  private let devices: [String: String]
  private let drives: [String: String]

  init(_ client: QMPClient) throws {
    nodes = try client.execute(
      "query-named-block-nodes", ["flat": .bool(true)], returning: [Node].self)
    // QEMU 7.2 tells the children of a node nowhere else.
    let drawing = try client.execute("x-debug-query-block-graph", returning: Drawing.self)
    let names = Dictionary(drawing.nodes.map { ($0.id, $0.name) }) { name, _ in name }
    files = Dictionary(
      drawing.edges.compactMap { edge in
        guard edge.name == "file", let parent = names[edge.parent] else { return nil }
        return names[edge.child].map { (parent, $0) }
      }
    ) { name, _ in name }
    let blocks = try client.execute("query-block", returning: [Block].self)
    devices = Dictionary(
      blocks.compactMap { block in
        guard let node = block.inserted?.name, let path = block.qdev, !path.isEmpty else {
          return nil
        }
        // One that has an id may be called by it alone.
        return (node, path.hasPrefix("/") ? path : "/machine/peripheral/" + path)
      }
    ) { path, _ in path }
    drives = Dictionary(
      blocks.compactMap { block in block.inserted?.name.map { (block.device, $0) } }
    ) { name, _ in name }
  }

  /// The node of a drive, or the node of that name.
  func node(_ name: String) -> Node? {
    let name = name.isEmpty ? name : drives[name] ?? name
    return nodes.first { $0.name == name }
  }

  func file(of name: String) -> String? { files[name] }

  func device(having name: String) -> String? { devices[name] }

  /// The nodes of the driver `raw` that have this one as their `file`.
  func rawNodes(on name: String) -> [Node] {
    nodes.filter { $0.driver == "raw" && $0.name.map { files[$0] } == name }
  }
}
