// SPDX-License-Identifier: Apache-2.0

/// A size as users write it on a command line: `512`, `528K`, `32G`.
package struct ByteCount: Hashable, Sendable {
  package var bytes: UInt64

  package init(_ bytes: UInt64) {
    self.bytes = bytes
  }

  /// Reads digits and, optionally, one of `K M G T` (powers of 1024, in either case).
  package init?(argument: String) {
    var digits = Substring(argument)
    var factor: UInt64 = 1
    if let unit = digits.last?.uppercased(), let power = ["K", "M", "G", "T"].firstIndex(of: unit) {
      digits.removeLast()
      factor = 1 << (10 * (UInt64(power) + 1))
    }
    guard !digits.isEmpty, digits.utf8.allSatisfy({ (48...57).contains($0) }),
      let number = UInt64(digits)
    else { return nil }
    let (bytes, overflow) = number.multipliedReportingOverflow(by: factor)
    guard !overflow, bytes <= UInt64(Int64.max) else { return nil }
    self.bytes = bytes
  }

  /// For messages: `3 bytes`, `1.50 GiB`.
  package var description: String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    guard bytes >= 1024 else { return "\(bytes) bytes" }
    var value = Double(bytes) / 1024
    var unit = 0
    while value >= 999.5, unit < units.count - 1 {
      value /= 1024
      unit += 1
    }
    return "\(value.rounded(significant: 3)) \(units[unit])"
  }
}

extension ByteCount: CustomStringConvertible {}

extension Double {
  /// `1.23`, `12.3`, `123`.
  fileprivate func rounded(significant digits: Int) -> String {
    let places = self >= 99.95 ? 0 : self >= 9.995 ? 1 : 2
    let scale = [1, 10, 100][places]
    let scaled = Int((self * Double(scale)).rounded())
    guard places > 0 else { return "\(scaled)" }
    let fraction = String(scaled % scale)
    let padding = String(repeating: "0", count: places - fraction.count)
    return "\(scaled / scale).\(padding)\(fraction)"
  }
}
