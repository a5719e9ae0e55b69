// SPDX-License-Identifier: Apache-2.0

import Files
import Foundation
import Glibc
import System
import SystemPackage
import TestSupport
import Testing

/// A folder in which another process renames and replaces things.
@Suite("A private directory")
struct PrivateDirectoryTests {
  private let root: String

  init() throws {
    root = NSTemporaryDirectory() + "/private-\(UInt32.random(in: 0 ... .max))"
    try FileManager.default.createDirectory(
      atPath: root + "/victim", withIntermediateDirectories: true)
    _ = FileManager.default.createFile(atPath: root + "/victim/nbd", contents: Data([1]))
  }

  private func make() throws -> PrivateDirectory {
    let directory = try PrivateDirectory(in: FilePath(root), prefix: "vma-tap-", files: ["nbd"])
    _ = FileManager.default.createFile(atPath: "\(directory.path)/nbd", contents: nil)
    return directory
  }

  private func owner(_ path: String) -> uid_t {
    var status = stat()
    return lstat(path, &status) == 0 ? status.st_uid : .max
  }

  @Test("A12: removing it removes nothing else if a link has replaced it")
  func removal() throws {
    defer { try? FileManager.default.removeItem(atPath: root) }
    let directory = try make()
    let path = "\(directory.path)"
    rename(path, root + "/moved")
    symlink(root + "/victim", path)
    directory.remove()
    #expect(FileManager.default.fileExists(atPath: root + "/victim/nbd"))
    // The file is removed from the directory's present place.
    #expect(try FileManager.default.contentsOfDirectory(atPath: root + "/moved") == [])
  }

  @Test("A12: changing its owner changes nothing else", Requirements([.root]))
  func gift() throws {
    defer { try? FileManager.default.removeItem(atPath: root) }
    let directory = try make()
    let path = "\(directory.path)"
    rename(path, root + "/moved")
    symlink(root + "/victim", path)
    try directory.give(to: 1234)
    #expect(owner(root + "/victim") == 0 && owner(root + "/victim/nbd") == 0)
    #expect(owner(root + "/moved") == 1234 && owner(root + "/moved/nbd") == 1234)
  }

  @Test("A12: links that appear and disappear while it is created, given to a user and removed")
  func race() throws {
    defer { try? FileManager.default.removeItem(atPath: root) }
    let done = DispatchSemaphore(value: 0)
    let end = DispatchTime.now() + .seconds(2)
    DispatchQueue.global().async { [root] in
      while DispatchTime.now() < end {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: root)) ?? []
        for name in names where name.hasPrefix("vma-tap-") {
          rename("\(root)/\(name)", "\(root)/moved-\(UInt32.random(in: 0 ... .max))")
          symlink("\(root)/victim", "\(root)/\(name)")
        }
      }
      done.signal()
    }
    var count = 0
    while DispatchTime.now() < end {
      // It may be refused if it was replaced before it was opened.
      guard
        let directory = try? PrivateDirectory(
          in: FilePath(root), prefix: "vma-tap-", files: ["nbd"])
      else { continue }
      if getuid() == 0 { try? directory.give(to: 1234) }
      directory.remove()
      count += 1
    }
    done.wait()
    #expect(count > 0)
    #expect(FileManager.default.fileExists(atPath: root + "/victim/nbd"))
    #expect(owner(root + "/victim") == getuid() && owner(root + "/victim/nbd") == getuid())
  }

  @Test("A12: leftovers of a run are removed only if they look like a run's")
  func remains() throws {
    defer { try? FileManager.default.removeItem(atPath: root) }
    let directory = try make()
    // Not a socket.
    PrivateDirectory.removeRemains(of: directory.path.appending("nbd"), prefix: "vma-tap-")
    #expect(FileManager.default.fileExists(atPath: "\(directory.path)/nbd"))
    PrivateDirectory.removeRemains(of: FilePath(root + "/victim/nbd"), prefix: "vma-tap-")
    #expect(FileManager.default.fileExists(atPath: root + "/victim/nbd"))
    unlink("\(directory.path)/nbd")
    _ = try Descriptor.listen(at: directory.path.appending("nbd"))
    PrivateDirectory.removeRemains(of: directory.path.appending("nbd"), prefix: "vma-tap-")
    #expect(!FileManager.default.fileExists(atPath: "\(directory.path)"))
  }
}
