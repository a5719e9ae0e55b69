// SPDX-License-Identifier: Apache-2.0

import System
import SystemPackage

/// The URIs of NBD exports, as far as needed to distinguish them from paths and from each other.
package enum NBDURI {
  private static let schemes: Set = [
    "nbd", "nbds", "nbd+unix", "nbds+unix", "nbd+vsock", "nbds+vsock",
  ]

  /// Whether this is meant as a URI and not as a path; libnbd checks whether it is valid.
  package static func matches(_ text: String) -> Bool {
    guard let end = text.firstRange(of: "://") else { return false }
    return schemes.contains(String(text[..<end.lowerBound]))
  }

  /// The same text for all usual ways to name an export.
  package static func key(_ uri: String) -> String {
    let parts = uri.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
    let place = parts[0].firstRange(of: "://").map { parts[0][$0.upperBound...] } ?? parts[0]
    let slash = place.firstIndex(of: "/") ?? place.endIndex
    let export = decoded(place[slash...].dropFirst())
    if uri.prefix(while: { $0 != ":" }).hasSuffix("unix") {
      let arguments = parts.count > 1 ? parts[1].split(separator: "&") : []
      let socket = arguments.first { $0.hasPrefix("socket=") }
        .map { decoded($0.dropFirst("socket=".count)) }
      // Without a socket, there is nothing to connect to; connecting reports that.
      let status = socket.flatMap { try? Descriptor.status(of: FilePath($0)) } ?? nil
      return "\(status.map { "\($0.identity)" } ?? socket ?? ""): \(export)"
    }
    var host = place[..<slash].lowercased()
    if let user = host.lastIndex(of: "@") { host.removeSubrange(...user) }
    if host.hasSuffix(":10809") { host.removeLast(6) }
    return "\(["localhost", "[::1]", "::1"].contains(host) ? "127.0.0.1" : host): \(export)"
  }

  private static func decoded(_ text: Substring) -> String {
    var bytes: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "%"), rest.count >= 2,
        let code = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
      {
        bytes.append(code)
        rest = rest.dropFirst(2)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
