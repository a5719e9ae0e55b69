// SPDX-License-Identifier: Apache-2.0

extension Array {
  /// Makes room for more elements, if the memory is available, for an array whose final size is not
  /// known: at least doubles its capacity if they do not fit.
  package mutating func makeRoom(for more: Int) throws(Failure) {
    guard capacity - count < more else { return }
    let larger = 2 * (capacity + more)
    try Host.requireMemory(larger * MemoryLayout<Element>.stride)
    reserveCapacity(larger)
  }
}
