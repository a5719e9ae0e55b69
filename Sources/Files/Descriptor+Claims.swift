// SPDX-License-Identifier: Apache-2.0

package import System
import SystemPackage

extension Descriptor {
  /// Standard input, for reading.
  ///
  /// - Throws: status 66 for a directory, 64 if it is also an output.
  package static func claimedStandardInput() throws -> Descriptor {
    try standardInput.claimAsInput()
    return standardInput
  }

  /// Claims an inherited descriptor for writing.
  ///
  /// - Throws: status 64 if it is an input or another output.
  package func claimAsOutput() throws {
    try Claims.output(status(), name: name)
  }

  private func claimAsInput() throws {
    let status = try status()
    if status.kind == .directory { throw Failure(.noInput, name, .isDirectory) }
    try Claims.input(status, name: name)
  }

  /// Opens a file that the user named, for reading.
  ///
  /// - Throws: status 66; 64 if it is also an output.
  package static func input(at path: String) throws -> Descriptor {
    let descriptor: Descriptor
    do {
      descriptor = try open(FilePath(path), .read)
    } catch {
      throw Failure(.noInput, path, error)
    }
    try descriptor.claimAsInput()
    return descriptor
  }
}
