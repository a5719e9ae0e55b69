// SPDX-License-Identifier: Apache-2.0

package import SystemPackage

extension FilePath {
  /// A path of any bytes but NUL, UTF-8 or not.
  package init(bytes: [UInt8]) {
    self = unsafe FilePath(platformString: (bytes + [0]).map { CChar(bitPattern: $0) })
  }

  package var bytes: [UInt8] {
    unsafe withPlatformString { text in
      (0..<length).map { unsafe UInt8(bitPattern: text[$0]) }
    }
  }
}
