// SPDX-License-Identifier: Apache-2.0

import CZlib
import System

/// Blocks of lzop members, which can be decoded independently.
///
/// All integers are big-endian. A member is a magic, a header with a checksum, and blocks. A block
/// is its size, its compressed size, the checksums that the flags require, and its data; a size of
/// 0 ends the member.
@safe final class LzopFrames: FrameDecoder {
  let format = "lzop"
  /// Whether a member has begun whose end was not read yet.
  private(set) var isOpen = false
  private static let magic: [UInt8] = [0x89, 0x4c, 0x5a, 0x4f, 0x00, 0x0d, 0x0a, 0x1a, 0x0a]

  fileprivate struct Flags: OptionSet {
    let rawValue: UInt32
    static let dataAdler = Flags(rawValue: 0x1)
    static let compressedAdler = Flags(rawValue: 0x2)
    static let extraField = Flags(rawValue: 0x40)
    static let dataCRC = Flags(rawValue: 0x100)
    static let compressedCRC = Flags(rawValue: 0x200)
    static let filter = Flags(rawValue: 0x800)
    static let headerCRC = Flags(rawValue: 0x1000)
    /// 14 flags, and the system and the character set of the program that wrote the file.
    static let known = Flags(rawValue: 0xfff0_3fff)
  }

  private struct Block {
    var size: Int
    var compressedSize: Int
    var header: Int
    var checksums: [(kind: Flags, value: UInt32)] = []
    var isStored: Bool { compressedSize == size }
  }

  private var flags: Flags = []
  /// The distance of the bytes whose differences are stored; 0 for plain data.
  private var filter = 0
  private var block = Block(size: 0, compressedSize: 0, header: 0)
  /// The rest of a decoded block for which the caller had no space.
  private var decoded: Buffer?
  private var undelivered = 0..<0
  private var end: FrameEnd?
  /// Space after a block, because it is processed in words.
  private static let slack = 16
  /// The size of all blocks of a file except its last.
  private var usualSize: Int?

  /// What the blocks of a member need of its header.
  struct Member: Equatable {
    fileprivate let flags: Flags
    fileprivate let filter: Int
  }

  /// The member that has begun.
  var member: Member {
    get { Member(flags: flags, filter: filter) }
    set {
      flags = newValue.flags
      filter = newValue.filter
      isOpen = true
    }
  }

  /// Bytes of the block that has begun, without its header.
  var blockSizes: (content: Int, stored: Int) { (block.size, block.compressedSize) }

  var magics: [[UInt8]] {
    guard isOpen, let usualSize else { return [Self.magic] }
    return [Self.magic, (0..<4).map { UInt8(truncatingIfNeeded: usualSize >> (24 - 8 * $0)) }]
  }

  // MARK: Headers

  func begin(_ bytes: Span<UInt8>, isSearching: Bool) throws(FrameFault) -> FrameStart {
    let isMember =
      bytes.count >= Self.magic.count
      && Self.magic.indices.allSatisfy { bytes[$0] == Self.magic[$0] }
    if isOpen, !isMember || !isSearching { return try beginBlock(bytes, isSearching: isSearching) }
    guard isMember else { return bytes.count < Self.magic.count ? .needs(9) : .nothing }
    return try beginMember(bytes)
  }

  private func beginMember(_ bytes: Span<UInt8>) throws(FrameFault) -> FrameStart {
    var position = Self.magic.count
    var missing = 0
    func next(_ count: Int) -> UInt64 {
      guard position + count <= bytes.count else {
        missing = max(missing, position + count)
        position += count
        return 0
      }
      defer { position += count }
      return bytes.bigEndian(position..<position + count)
    }
    let version = next(2)
    _ = next(2)
    let neededVersion = next(2)
    let method = next(1)
    _ = next(1)
    let flags = Flags(rawValue: UInt32(next(4)))
    let filter = flags.contains(.filter) ? Int(next(4)) : 0
    _ = next(12)
    let nameLength = Int(next(1))
    position += nameLength
    let checksumStart = position
    let checksum = next(4)
    guard missing == 0 else { return .needs(missing) }
    var extra = 0
    if flags.contains(.extraField) {
      extra = Int(next(4)) + 4
      guard missing == 0 else { return .needs(missing) }
    }
    let found = bytes.extracting(Self.magic.count..<checksumStart).checksum(
      isCRC: flags.contains(.headerCRC))
    guard checksum == UInt64(found) else { throw FrameFault("the checksum of a header is wrong") }
    guard version >= 0x0940, neededVersion <= 0x1040, (1...3).contains(method),
      flags.isSubset(of: .known), filter <= 16
    else { throw FrameFault("the lzop version is not supported") }
    self.flags = flags
    self.filter = filter
    isOpen = true
    usualSize = nil
    return .passed(UInt64(position + extra))
  }

  private func beginBlock(
    _ bytes: Span<UInt8>, isSearching: Bool
  ) throws(FrameFault) -> FrameStart {
    guard bytes.count >= 4 else { return .needs(4) }
    let size = bytes.bigEndian(0..<4)
    if size == 0 {
      isOpen = false
      return .passed(4)
    }
    guard size != 0xffff_ffff else { throw FrameFault("split files are not supported") }
    if !isSearching { try DecompressionLimit.check(size, for: "block") }
    guard bytes.count >= 24 || !isSearching else { return .needs(24) }
    guard bytes.count >= 8 else { return .needs(8) }
    let compressedSize = bytes.bigEndian(4..<8)
    guard compressedSize > 0, compressedSize <= size, size <= DecompressionLimit.window else {
      throw FrameFault("a block header is damaged")
    }
    var block = Block(size: Int(size), compressedSize: Int(compressedSize), header: 8)
    for (kind, isOfData) in [
      (Flags.dataAdler, true), (.dataCRC, true), (.compressedAdler, false), (.compressedCRC, false),
    ] where flags.contains(kind) && (isOfData || !block.isStored) {
      guard bytes.count >= block.header + 4 else { return .needs(block.header + 4) }
      let value = bytes.bigEndian(block.header..<block.header + 4)
      block.checksums.append((kind, UInt32(value)))
      block.header += 4
    }
    self.block = block
    undelivered = 0..<0
    end = nil
    if usualSize == nil { usualSize = block.size }
    return .frame(header: block.header)
  }

  /// Whether a block, a member or nothing can start here.
  private func isPlausible(_ bytes: Span<UInt8>) -> Bool {
    guard bytes.count >= 8 else { return true }
    let (size, compressedSize) = (bytes.bigEndian(0..<4), bytes.bigEndian(4..<8))
    return size == 0 || size <= DecompressionLimit.window && (1...size).contains(compressedSize)
  }

  // MARK: Blocks

  func decode(
    _ input: Buffer, _ range: Range<Int>, into output: Buffer, _ target: Range<Int>
  ) throws(Failure) -> FrameStep {
    var step = FrameStep()
    if let end, let decoded {
      step.produced = min(undelivered.count, target.count)
      let part = undelivered.lowerBound..<undelivered.lowerBound + step.produced
      output.copy(from: decoded, part, to: target.lowerBound)
      undelivered = part.upperBound..<undelivered.upperBound
      if undelivered.isEmpty { step.end = end }
      return step
    }
    guard range.count >= block.compressedSize else {
      return FrameStep(wanted: block.compressedSize)
    }
    let fits = target.count >= block.size + Self.slack
    if !fits, (decoded?.capacity ?? 0) < block.size + Self.slack {
      decoded = try Buffer(capacity: block.size + Self.slack)
    }
    let buffer = fits ? output : decoded ?? output
    let end = decode(input, range, into: buffer, at: fits ? target.lowerBound : 0)
    if case .broken = end { return FrameStep(end: end) }
    step.consumed = block.compressedSize
    if fits {
      step.produced = block.size
      step.end = end
    } else {
      self.end = end
      undelivered = 0..<block.size
    }
    return step
  }

  /// Decodes the entire block.
  private func decode(
    _ input: Buffer, _ range: Range<Int>, into output: Buffer, at start: Int
  ) -> FrameEnd {
    let compressed = range.lowerBound..<range.lowerBound + block.compressedSize
    let data = start..<start + block.size
    var fault: String?
    for checksum in block.checksums where !checksum.kind.isDisjoint(with: .ofCompressed) {
      let found = input.withBytes(compressed) {
        $0.checksum(isCRC: checksum.kind == .compressedCRC)
      }
      if found != checksum.value { fault = "the checksum of a compressed block is wrong" }
    }
    var count = block.size
    if block.isStored {
      output.copy(from: input, compressed, to: start)
    } else {
      let readable = compressed.lowerBound..<min(compressed.upperBound + 8, input.capacity)
      let result = input.withRawBytes(readable) { source in
        output.withMutableRawBytes(start..<start + block.size + Self.slack) { target in
          LZO1X.decode(source, count: compressed.count, into: &target, count: block.size)
        }
      }
      if let found = result.fault {
        fault = "\(found)"
        count = result.count
        output.fillWithZeros(start + count..<data.upperBound)
      }
    }
    if filter > 0 {
      output.withMutableBytes(data) { bytes in
        for index in bytes.indices.dropFirst(filter) { bytes[index] &+= bytes[index - filter] }
      }
    }
    for checksum in block.checksums where checksum.kind.isDisjoint(with: .ofCompressed) {
      let found = output.withBytes(data) { $0.checksum(isCRC: checksum.kind == .dataCRC) }
      if found != checksum.value, fault == nil { fault = "the checksum of a block is wrong" }
    }
    guard let fault else { return .sound }
    // The following data shows whether the sizes can be trusted.
    let next = compressed.upperBound..<min(compressed.upperBound + 8, range.upperBound)
    guard input.withBytes(next, isPlausible) else { return .broken(fault) }
    return .damaged(fault, filler: UInt64(block.size - count))
  }
}

extension LzopFrames.Flags {
  fileprivate static let ofCompressed: LzopFrames.Flags = [.compressedAdler, .compressedCRC]
}
