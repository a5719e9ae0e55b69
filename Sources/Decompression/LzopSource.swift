// SPDX-License-Identifier: Apache-2.0

internal import FilterIO
internal import SystemPackage

/// What the program `lzop` decompresses, which checks its checksums: no library that every Debian
/// has reads its files.
final class LzopSource: ByteSource, @unchecked Sendable {
  private let child: ChildProgram
  private let feeder: Thread
  private let feederEnd = Channel<Void>()
  private let name: String
  private var isAtEnd = false

  /// - Throws: status 66 where there is no such program.
  init(_ source: any ByteSource, name: String) throws {
    self.name = name
    do {
      child = try ChildProgram(["lzop", "-dcf"], name: "lzop")
    } catch .noSuchFileOrDirectory {
      throw Failure(.noInput, "\(name): the program lzop is needed to read this; install lzop")
    } catch {
      throw Failure(.general, "lzop", error)
    }
    let buffer = try Buffer(capacity: 1 << 18)
    feeder = try Thread { [child, feederEnd] in
      // A child that ends early must not end us.
      SignalMask.ignoreBrokenPipes()
      do {
        while true {
          let count = try source.read(into: buffer, 0..<buffer.capacity)
          if count == 0 { break }
          // That it takes no more is for its exit status to explain.
          do { try child.input?.write(buffer, 0..<count) } catch { break }
        }
        feederEnd.finish()
      } catch {
        feederEnd.finish(.failure(error))
      }
      child.closeInput()
    }
  }

  func read(into buffer: Buffer, _ range: Range<Int>) throws -> Int {
    guard !isAtEnd else { return 0 }
    let count = try child.output.read(into: buffer, range)
    if count == 0 {
      isAtEnd = true
      // Reading the compressed file may have failed: that is the cause then.
      _ = try feederEnd.receive()
      if let fault = child.wait() { throw Failure(.badData, "\(name): damaged or cut: \(fault)") }
    }
    return count
  }
}
