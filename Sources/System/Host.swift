// SPDX-License-Identifier: Apache-2.0

import CLinux
import Glibc
import SystemPackage

/// What a tool needs from its process and system.
package enum Host {
  package static func environment(_ name: String) -> String? {
    guard let value = unsafe getenv(name) else { return nil }
    return unsafe String(cString: value)
  }

  /// Occupies closed standard descriptors. Otherwise a file that we open would get such a number,
  /// and messages would be written into it. Using one of them as intended still fails.
  package static func occupyStandardDescriptors() {
    for (raw, flags) in [(0, O_WRONLY), (1, O_RDONLY), (2, O_RDONLY)] as [(Int32, Int32)] {
      if linux_is_open(raw) == 0 { _ = unsafe linux_open_at(AT_FDCWD, "/dev/null", flags, 0) }
    }
  }

  /// Raises the limit of open files to the maximum for the process.
  ///
  /// - Throws: status 1 if that is too few for any run.
  package static func raiseFileLimit() throws(Failure) {
    let least: rlim_t = 16
    var limit = rlimit()
    guard unsafe getrlimit(__rlimit_resource_t(7 /* RLIMIT_NOFILE */), &limit) == 0 else { return }
    limit.rlim_cur = limit.rlim_max
    unsafe setrlimit(__rlimit_resource_t(7), &limit)
    guard limit.rlim_max >= least else {
      throw Failure(
        .general,
        "the limit of \(limit.rlim_max) open files is too low: \(least) required (use ulimit -n)")
    }
  }

  /// Reserves memory for small allocations: if Swift cannot allocate, the process ends. Large
  /// blocks are allocated by `Buffer`, or checked by `requireMemory`.
  ///
  /// - Throws: status 1 if the memory is not available.
  package static func reserveMemory() throws(Failure) {
    guard linux_reserve_heap() == 0 else {
      throw Failure(.general, "cannot allocate 4.00 MiB", .noMemory)
    }
  }

  /// Checks that this much memory is available before Swift allocates it, because Swift ends the
  /// process if it is not.
  ///
  /// - Throws: status 1 if not.
  package static func requireMemory(_ bytes: Int) throws(Failure) {
    // Smaller allocations come from the reserve.
    if bytes >= 1 << 19 { _ = try Buffer(capacity: bytes) }
  }

  /// Whether all arguments of the process are UTF-8.
  package static var argumentsAreText: Bool {
    (0..<Int(CommandLine.argc)).allSatisfy { index in
      guard let argument = unsafe CommandLine.unsafeArgv[index] else { return true }
      return unsafe String(validatingCString: argument) != nil
    }
  }

  /// Seconds since 1970.
  package static var now: Int64 { Int64(time(nil)) }

  /// Seconds since an arbitrary point in time, for measuring.
  package static var uptime: Double {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  package static var processorCount: Int {
    max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))
  }

  /// The time as ctime(3) writes it, in the local zone, without its newline.
  package static func localTime(_ seconds: Int64) -> String {
    var time = time_t(seconds)
    var text = [CChar](repeating: 0, count: 64)
    guard unsafe ctime_r(&time, &text) != nil else { return "\(seconds)" }
    return String(
      decoding: text.prefix { $0 != 0 && $0 != 10 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  }

  /// Allows names of any language in the output of libraries; a Swift program starts in the C
  /// locale.
  package static func useUTF8() {
    _ = unsafe setlocale(LC_CTYPE, "C.UTF-8")
  }

  /// A path without links.
  static func realPath(_ path: FilePath) -> FilePath? {
    guard let resolved = unsafe realpath(path.string, nil) else { return nil }
    defer { unsafe free(resolved) }
    return unsafe FilePath(platformString: resolved)
  }

  /// The maximum size of a file that this process writes.
  static var largestFile: UInt64 {
    var limit = rlimit()
    guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit) == 0 else {
      return .max
    }
    return UInt64(limit.rlim_cur)
  }

  /// The names in a directory, unordered; none if it cannot be read.
  static func names(in directory: String) -> [String] {
    guard let stream = unsafe opendir(directory) else { return [] }
    defer { unsafe closedir(stream) }
    var names: [String] = []
    while let entry = unsafe readdir(stream) {
      let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names
  }

  /// The number of threads of this process; nil if it is not known.
  package static var threadCount: Int? {
    let names = names(in: "/proc/self/task")
    return names.isEmpty ? nil : names.count
  }

  package static var processID: Int32 { getpid() }
  package static var userID: UInt32 { getuid() }
  package static var effectiveUserID: UInt32 { geteuid() }

  /// The user that a process opens files as; nil if the process is not visible from here.
  static func fileSystemUser(ofProcess process: UInt32) -> UInt32? {
    guard process > 0,
      let status = try? Descriptor.open(FilePath("/proc/\(process)/status"), .read)
        .contents(atMost: 4096)
    else { return nil }
    let text = String(decoding: status, as: UTF8.self)
    // Real, effective, saved, and that of files.
    let line = text.split(separator: "\n").first { $0.hasPrefix("Uid:") }
    let users = line?.split(whereSeparator: \.isWhitespace).dropFirst().map { UInt32($0) } ?? []
    return users.count == 4 ? users[3] : nil
  }

  /// The number of a user given by name or by number.
  package static func userID(named name: String) -> UInt32? {
    if let number = UInt32(name) { return number }
    guard let entry = unsafe getpwnam(name) else { return nil }
    return unsafe entry.pointee.pw_uid
  }

  package static func sleep(milliseconds: UInt32) {
    usleep(milliseconds * 1000)
  }

  /// Makes the kernel prefer this process when it is out of memory, and gives the process its own
  /// name.
  package static func becomeWorker(name: String) {
    unsafe linux_name_process(name)
    guard let file = try? Descriptor.open("/proc/self/oom_score_adj", .readWrite),
      let content = try? file.contents(atMost: 16)
    else { return }
    let text = String(decoding: content, as: UTF8.self)
    let score = Int(text.split(whereSeparator: \.isNewline).first ?? "0") ?? 0
    // If this is not allowed, the kernel may choose the other process, which is harmless, too.
    try? file.write(Array("\(min(score + 500, 1000))".utf8))
  }
}
