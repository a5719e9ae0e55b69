// SPDX-License-Identifier: Apache-2.0

/// What kind of thing a descriptor or a path stands for.
package enum FileKind: Sendable {
  case regular, directory, blockDevice, characterDevice, fifo, socket, symlink, other
}
