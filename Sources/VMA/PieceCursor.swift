// SPDX-License-Identifier: Apache-2.0

/// Iterates over the pieces of an extent as its data arrives, in parts of any size.
struct PieceCursor: Sendable {
  private(set) var extent = ExtentHeader()
  /// Bytes of the extent's data that have not arrived yet.
  private(set) var dataRest = 0
  /// Created for the first piece: most callers skip the data.
  private var pieces: [ExtentHeader.Piece]?
  private var index = 0
  /// Bytes of the current piece that are processed.
  private var done = 0
  /// Bytes of each device, by its id.
  private var sizes = [UInt64](repeating: 0, count: 256)

  mutating func setSizes(_ devices: [ArchiveHeader.Device]) {
    // The size of `vmstate` is only an estimate.
    for device in devices { sizes[Int(device.id)] = device.isVMState ? .max : device.size }
  }

  /// Bytes of a device from `offset` to its end.
  func rest(of device: UInt8, from offset: UInt64) -> UInt64 {
    sizes[Int(device)] - min(sizes[Int(device)], offset)
  }

  mutating func begin(_ extent: ExtentHeader) {
    self.extent = extent
    dataRest = extent.dataSize
    pieces = nil
    index = 0
    done = 0
  }

  /// The next piece, or as much of it as has arrived.
  ///
  /// - Parameter available: the number of available bytes of data.
  /// - Returns: nil if the extent has no more pieces, or if the next one needs data.
  mutating func next(_ available: Int) -> ExtentHeader.Piece? {
    if pieces == nil {
      var all: [ExtentHeader.Piece] = []
      extent.forEachPiece { all.append($0) }
      pieces = all
    }
    guard let pieces, index < pieces.count else { return nil }
    var piece = pieces[index]
    piece.offset += UInt64(done)
    piece.length -= done
    if let position = piece.position {
      guard available > 0 else { return nil }
      piece.position = position + done
      piece.length = min(piece.length, available)
      dataRest -= piece.length
    }
    done += piece.length
    if done == pieces[index].length {
      index += 1
      done = 0
    }
    return piece
  }

  /// Skips data, and with the last of it all zeros.
  ///
  /// - Returns: the bytes of data skipped.
  mutating func skip(_ count: Int) -> Int {
    let count = min(max(count, 0), dataRest)
    if count == dataRest {
      dataRest = 0
      pieces = []
    } else {
      let end = dataRest - count
      while dataRest > end, next(dataRest - end) != nil {}
    }
    return count
  }
}
