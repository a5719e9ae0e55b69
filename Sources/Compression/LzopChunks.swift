// SPDX-License-Identifier: Apache-2.0

package import System

/// The blocks of lzop members, whose headers are an index.
package final class LzopChunks: ChunkedData, @unchecked Sendable {
  /// A decoder, and space for a compressed block.
  private final class Decoder {
    let frames = LzopFrames()
    var input: Buffer
    init() throws { input = try Buffer(capacity: 1 << 18) }
  }

  private let access: any RandomAccess
  package let chunks: [Chunk]
  /// The members, and the first block of each; consecutive ones of the same kind count as one.
  private let members: [(firstChunk: Int, member: LzopFrames.Member)]
  private let decoders = Pool<Decoder>()

  private init(
    _ access: any RandomAccess, chunks: [Chunk],
    members: [(firstChunk: Int, member: LzopFrames.Member)]
  ) {
    self.access = access
    self.chunks = chunks
    self.members = members
  }

  package var name: String { access.name }

  /// Finds the blocks from their headers.
  ///
  /// - Parameter access: the compressed data.
  /// - Returns: nil if the data is damaged.
  /// - Throws: `Failure` 74 if reading fails.
  package static func find(in access: any RandomAccess) throws -> LzopChunks? {
    let reader = try HeaderReader(access)
    let decoder = LzopFrames()
    var members: [(firstChunk: Int, member: LzopFrames.Member)] = []
    var chunks: [Chunk] = []
    var position: UInt64 = 0
    var wanted = smallestHeader
    while position < access.size {
      let wasOpen = decoder.isOpen
      let start = try reader.read(wanted, at: position) { bytes -> FrameStart in
        do throws(FrameFault) {
          return try decoder.begin(bytes, isSearching: false)
        } catch {
          return .nothing
        }
      }
      switch start {
      case .nothing: return nil
      case .needs(let count):
        guard count > wanted, count <= largestHeader else { return nil }
        wanted = count
        continue
      case .passed(let count):
        // At most 2^32 bytes and a header, so this does not overflow.
        position += count
        if !wasOpen, members.last?.member != decoder.member {
          guard members.count < largestMemberCount else { return nil }
          members.append((chunks.count, decoder.member))
        }
      case .frame(let header):
        let sizes = decoder.blockSizes
        let end = position + UInt64(header + sizes.stored)
        try chunks.add(stored: position..<end, contentSize: UInt64(sizes.content))
        position = end
      }
      wanted = smallestHeader
    }
    guard position == access.size, !decoder.isOpen, !chunks.isEmpty else { return nil }
    return LzopChunks(access, chunks: chunks, members: members)
  }

  private static let smallestHeader = 24
  private static let largestHeader = 4096
  private static let largestMemberCount = 1000

  package func decode(_ index: Int, into buffer: Buffer) throws {
    let chunk = chunks[index]
    let decoder = try decoders.take() ?? Decoder()
    defer { decoders.put(decoder) }
    let count = chunk.stored.count
    if decoder.input.capacity < count { decoder.input = try Buffer(capacity: count) }
    let read = try access.read(into: decoder.input, 0..<count, at: chunk.stored.lowerBound)
    guard read == count else {
      throw Failure(.inputOutput, "\(name): was truncated while it was read")
    }
    guard let member = members.last(where: { $0.firstChunk <= index })?.member else { return }
    let start: FrameStart
    do throws(FrameFault) {
      decoder.frames.member = member
      start = try decoder.input.withBytes(0..<count) { (bytes) throws(FrameFault) in
        try decoder.frames.begin(bytes, isSearching: false)
      }
    } catch {
      throw failure(error.description, chunk)
    }
    let sizes = decoder.frames.blockSizes
    guard case .frame(let header) = start, header + sizes.stored == count,
      sizes.content == chunk.content.count
    else { throw failure("a block has a different size than before", chunk) }
    var done = 0
    while true {
      let step = try decoder.frames.decode(
        decoder.input, header..<count, into: buffer, done..<buffer.capacity)
      done += step.produced
      switch step.end {
      case .sound: return
      case .damaged(let fault, _), .broken(let fault): throw failure(fault, chunk)
      case nil: continue
      }
    }
  }

  private func failure(_ fault: String, _ chunk: Chunk) -> Failure {
    Failure(.badData, "\(name): lzop: block at byte \(chunk.stored.lowerBound): \(fault)")
  }
}
