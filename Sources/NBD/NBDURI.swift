// SPDX-License-Identifier: Apache-2.0

/// The URIs of NBD exports, as far as they must be told from paths.
public enum NBDURI {
  private static let schemes: Set = [
    "nbd", "nbds", "nbd+unix", "nbds+unix", "nbd+vsock", "nbds+vsock",
  ]

  /// Whether this is meant as a URI and not as a path; libnbd finds out whether it is a sound one.
  public static func matches(_ text: String) -> Bool {
    guard let end = text.firstRange(of: "://") else { return false }
    return schemes.contains(String(text[..<end.lowerBound]))
  }
}
