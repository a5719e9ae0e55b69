// SPDX-License-Identifier: Apache-2.0

import System

/// Decodes LZO1X, as the documentation of the Linux kernel describes the stream
/// (Documentation/staging/lzo.rst, version 0).
///
/// A stream consists of instructions. Each copies bytes that were decoded before, or literals that
/// follow, and most of them end with up to three more literals. The meaning of the smallest opcodes
/// depends on how many literals the previous instruction copied: none, one to three, or more.
enum LZO1X {
  enum Fault: Error, Equatable, CustomStringConvertible {
    case inputEnds, outputOverflow, distance, inputLeft, outputMissing

    var description: String {
      switch self {
      case .inputEnds: "the compressed data ends early"
      case .outputOverflow: "more data than the block header states"
      case .distance: "a reference before the start of the block"
      case .inputLeft: "bytes after the end of the compressed data"
      case .outputMissing: "less data than the block header states"
      }
    }
  }

  /// Decodes one block.
  ///
  /// - Parameters:
  ///   - input: the block; bytes after `inputCount` are never used, but allow reading in words.
  ///   - output: receives the data; the bytes after `outputCount` may be overwritten.
  ///   - outputCount: the expected size of the decoded block.
  /// - Returns: the number of bytes decoded before the fault, which is nil for an intact block.
  static func decode(
    _ input: RawSpan, count inputCount: Int, into output: inout MutableRawSpan,
    count outputCount: Int
  ) -> (count: Int, fault: Fault?) {
    precondition(inputCount <= input.byteCount && outputCount <= output.byteCount)
    var decoder = Decoder(inputCount: inputCount, outputCount: outputCount)
    do throws(Fault) {
      try decoder.run(input, &output)
      return (decoder.written, nil)
    } catch {
      return (decoder.written, error)
    }
  }
}

private struct Decoder {
  /// Bytes of the input that were read, and of the output that were written.
  var read = 0
  var written = 0
  let inputCount: Int
  let outputCount: Int

  init(inputCount: Int, outputCount: Int) {
    self.inputCount = inputCount
    self.outputCount = outputCount
  }

  mutating func run(
    _ input: RawSpan, _ output: inout MutableRawSpan
  ) throws(LZO1X.Fault) {
    /// The literals that the last instruction copied; 4 means any larger number.
    var state = 0
    let first = try peek(input)
    if first > 17 {
      read = 1
      let count = Int(first) - 17
      try copyLiterals(count, input, &output)
      state = min(count, 4)
    }
    while true {
      let opcode = Int(try nextByte(input))
      let length: Int
      let distance: Int
      let literals: Int
      switch opcode {
      case 64...:
        length = opcode < 128 ? 3 + (opcode >> 5 & 1) : 5 + (opcode >> 5 & 3)
        distance = Int(try nextByte(input)) << 3 + (opcode >> 2 & 7) + 1
        literals = opcode & 3
      case 32..<64:
        length = 2 + (try count(opcode & 31, largest: 31, input))
        let operand = try nextPair(input)
        distance = operand >> 2 + 1
        literals = operand & 3
      case 16..<32:
        length = 2 + (try count(opcode & 7, largest: 7, input))
        let operand = try nextPair(input)
        distance = 16384 + (opcode & 8) << 11 + operand >> 2
        literals = operand & 3
        if distance == 16384 {
          guard read == inputCount else { throw .inputLeft }
          guard written == outputCount else { throw .outputMissing }
          return
        }
      default:
        if state == 0 {
          try copyLiterals(3 + (try count(opcode, largest: 15, input)), input, &output)
          state = 4
          continue
        }
        let near = Int(try nextByte(input)) << 2 + opcode >> 2
        length = state == 4 ? 3 : 2
        distance = near + (state == 4 ? 2049 : 1)
        literals = opcode & 3
      }
      try copyMatch(length, distance, &output)
      if literals > 0 { try copyLiterals(literals, input, &output) }
      state = literals
    }
  }

  // MARK: Input

  @inline(__always)
  private func peek(_ input: RawSpan) throws(LZO1X.Fault) -> UInt8 {
    guard read < inputCount else { throw .inputEnds }
    return input.byte(at: read)
  }

  @inline(__always)
  private mutating func nextByte(_ input: RawSpan) throws(LZO1X.Fault) -> UInt8 {
    let byte = try peek(input)
    read &+= 1
    return byte
  }

  @inline(__always)
  private mutating func nextPair(_ input: RawSpan) throws(LZO1X.Fault) -> Int {
    let low = Int(try nextByte(input))
    return low | Int(try nextByte(input)) << 8
  }

  /// A count that does not fit in the bits of its opcode continues in bytes: a zero for each 255,
  /// and one byte for the rest.
  @inline(__always)
  private mutating func count(
    _ bits: Int, largest: Int, _ input: RawSpan
  ) throws(LZO1X.Fault) -> Int {
    guard bits == 0 else { return bits }
    var count = largest
    while true {
      let byte = Int(try nextByte(input))
      if byte > 0 { return count &+ byte }
      count &+= 255
    }
  }

  // MARK: Output

  @inline(__always)
  private mutating func copyLiterals(
    _ count: Int, _ input: RawSpan, _ output: inout MutableRawSpan
  ) throws(LZO1X.Fault) {
    guard count <= inputCount &- read else { throw .inputEnds }
    guard count <= outputCount &- written else { throw .outputOverflow }
    var done = 0
    if read &+ count &+ 8 <= input.byteCount, written &+ count &+ 8 <= output.byteCount {
      // In words: up to 7 bytes too many, which are overwritten later.
      while done < count {
        output.store(input.word(at: read &+ done), at: written &+ done)
        done &+= 8
      }
    } else {
      while done < count {
        output.store(input.byte(at: read &+ done), at: written &+ done)
        done &+= 1
      }
    }
    read &+= count
    written &+= count
  }

  /// Copies what was written `distance` bytes before; source and target may overlap, which repeats
  /// the last bytes.
  @inline(__always)
  private mutating func copyMatch(
    _ length: Int, _ distance: Int, _ output: inout MutableRawSpan
  ) throws(LZO1X.Fault) {
    guard distance <= written else { throw .distance }
    guard length <= outputCount &- written else { throw .outputOverflow }
    let end = written &+ length
    var step = distance
    if step < 8 {
      // Repeated bytes repeat at every multiple of the distance, too; 8 of them are a word.
      while step < 8 { step &+= distance }
      let head = min(end, written &+ step &- distance)
      while written < head {
        output.store(output.bytes.byte(at: written &- distance), at: written)
        written &+= 1
      }
    }
    if end &+ 8 <= output.byteCount {
      while written < end {
        output.store(output.bytes.word(at: written &- step), at: written)
        written &+= 8
      }
      written = end
    } else {
      while written < end {
        output.store(output.bytes.byte(at: written &- distance), at: written)
        written &+= 1
      }
    }
  }
}
