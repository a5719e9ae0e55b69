// SPDX-License-Identifier: Apache-2.0

/// The type of file that a descriptor or a path refers to.
package enum FileKind: Sendable {
  case regular, directory, blockDevice, characterDevice, fifo, socket, symlink, other
}
