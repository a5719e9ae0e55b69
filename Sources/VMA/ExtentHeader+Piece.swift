// SPDX-License-Identifier: Apache-2.0

extension ExtentHeader {
  /// A range of a device in an extent: stored bytes, or zeros.
  public struct Piece: Hashable, Sendable {
    public var device: UInt8
    /// Bytes from the start of the device; a multiple of 4096.
    public var offset: UInt64
    /// Bytes; a multiple of 4096.
    public var length: Int
    /// Where the bytes are among the extent's blocks, in bytes; nil for zeros.
    public var position: Int?

    public init(device: UInt8, offset: UInt64, length: Int, position: Int?) {
      self.device = device
      self.offset = offset
      self.length = length
      self.position = position
    }
  }

  /// Calls `body` for each piece, in the order of the stored blocks. Pieces that are adjacent on
  /// the device are joined, so that a run of full clusters is one piece.
  ///
  /// Blocks are not split: the last piece of a device can extend beyond its size.
  @inlinable
  public func forEachPiece<Failure: Error>(
    _ body: (Piece) throws(Failure) -> Void
  ) throws(Failure) {
    var pending = Piece(device: 0, offset: 0, length: 0, position: nil)
    var position = 0
    for slot in slots {
      let start = UInt64(slot.cluster) &* UInt64(VMAFormat.clusterSize)
      var block = 0
      while block < VMAFormat.blocksPerCluster {
        let rest = slot.mask &>> UInt16(block)
        let isStored = rest & 1 == 1
        let run = min(
          isStored ? (~rest).trailingZeroBitCount : rest.trailingZeroBitCount,
          VMAFormat.blocksPerCluster - block)
        let piece = Piece(
          device: slot.device, offset: start &+ UInt64(block &* VMAFormat.blockSize),
          length: run &* VMAFormat.blockSize, position: isStored ? position : nil)
        if piece.device == pending.device, (piece.position == nil) == (pending.position == nil),
          piece.offset == pending.offset &+ UInt64(pending.length)
        {
          pending.length &+= piece.length
        } else {
          if pending.length > 0 { try body(pending) }
          pending = piece
        }
        if isStored { position &+= piece.length }
        block &+= run
      }
    }
    if pending.length > 0 { try body(pending) }
  }
}
