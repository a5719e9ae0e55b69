// SPDX-License-Identifier: Apache-2.0

import Command
import System
import SystemPackage

/// What the worker reports to the guard before each step: how to end in QEMU what it starts.
package enum GuardMessage {
  case monitor(path: String)
  /// A disk that is served, in the order of the export names.
  case export(size: UInt64)
  case node(String)
  case job(String)
  /// Nothing remains in QEMU, or nothing that the guard could remove better.
  case done

  package var bytes: [UInt8] {
    switch self {
    case .monitor(let path): [UInt8(ascii: "M")] + Array(path.utf8)
    case .export(let size): [UInt8(ascii: "E")] + Array(String(size).utf8)
    case .node(let name): [UInt8(ascii: "N")] + Array(name.utf8)
    case .job(let name): [UInt8(ascii: "J")] + Array(name.utf8)
    case .done: [UInt8(ascii: "D")]
    }
  }

  package init?(_ bytes: [UInt8]) {
    guard let kind = bytes.first else { return nil }
    let text = String(decoding: bytes.dropFirst(), as: UTF8.self)
    switch kind {
    case UInt8(ascii: "M"): self = .monitor(path: text)
    case UInt8(ascii: "E"):
      guard let size = UInt64(text) else { return nil }
      self = .export(size: size)
    case UInt8(ascii: "N"): self = .node(text)
    case UInt8(ascii: "J"): self = .job(text)
    case UInt8(ascii: "D"): self = .done
    default: return nil
    }
  }
}

/// The worker's connection to its guard.
final class GuardLink: Sendable {
  let listener: Descriptor
  private let control: Descriptor

  /// - Throws: if this process was not started by a guard.
  init() throws {
    guard let listener = Descriptor.inheritedSocket(Worker.inherited.listener),
      let control = Descriptor.inheritedSocket(Worker.inherited.control)
    else { throw Failure(.usage, "--worker is internal to vma-tap") }
    self.listener = listener
    self.control = control
    Host.becomeWorker(name: "vma-tap-worker")
    _ = try Thread { [control] in
      // The guard sends nothing. Reading ends when the guard exits, which no signal reports.
      control.waitUntilReadable()
      Signals.terminate()
    }
  }

  func tell(_ message: GuardMessage) throws {
    do {
      try control.write(message.bytes)
    } catch {
      throw Failure(.general, "the guard process has exited")
    }
  }
}
