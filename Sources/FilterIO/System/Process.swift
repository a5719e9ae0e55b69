// SPDX-License-Identifier: Apache-2.0

internal import CLinux
internal import Glibc
internal import SystemPackage

/// What a tool asks of the process around it.
public enum Host {
  public static func environment(_ name: String) -> String? {
    guard let value = unsafe getenv(name) else { return nil }
    return unsafe String(cString: value)
  }

  /// Takes the places of standard descriptors that are closed, so that no file we open gets one of
  /// them and messages into it. Using such a one for what it is for still fails.
  static func occupyStandardDescriptors() {
    for (raw, flags) in [(0, O_WRONLY), (1, O_RDONLY), (2, O_RDONLY)] as [(Int32, Int32)] {
      if linux_is_open(raw) == 0 { _ = unsafe linux_open_at(AT_FDCWD, "/dev/null", flags, 0) }
    }
  }

  /// Allows as many open files as the process may have.
  ///
  /// - Throws: status 1 if that is too few for any run.
  static func raiseFileLimit() throws(Failure) {
    let least: rlim_t = 16
    var limit = rlimit()
    guard unsafe getrlimit(__rlimit_resource_t(7 /* RLIMIT_NOFILE */), &limit) == 0 else { return }
    limit.rlim_cur = limit.rlim_max
    unsafe setrlimit(__rlimit_resource_t(7), &limit)
    guard limit.rlim_max >= least else {
      throw Failure(
        .general,
        "only \(limit.rlim_max) open files are allowed, at least \(least) are needed (ulimit -n)")
    }
  }

  /// Has memory for small things from the start: what Swift allocates itself cannot fail without
  /// ending the process. Large things are allocated by `Buffer`, or checked by `requireMemory`.
  ///
  /// - Throws: status 1 if there is none.
  static func reserveMemory() throws(Failure) {
    guard linux_reserve_heap() == 0 else {
      throw Failure(.general, "cannot allocate 4.00 MiB", .noMemory)
    }
  }

  /// Checks that so much memory can be had, before Swift allocates it, which cannot fail.
  ///
  /// - Throws: status 1 if not.
  public static func requireMemory(_ bytes: Int) throws(Failure) {
    // Below this it comes from the reserve.
    if bytes >= 1 << 19 { _ = try Buffer(capacity: bytes) }
  }

  /// Whether all arguments of the process are UTF-8.
  static var argumentsAreText: Bool {
    (0..<Int(CommandLine.argc)).allSatisfy { index in
      guard let argument = unsafe CommandLine.unsafeArgv[index] else { return true }
      return unsafe String(validatingCString: argument) != nil
    }
  }

  /// Seconds since 1970.
  public static var now: Int64 { Int64(time(nil)) }

  /// Seconds since some moment, for measuring.
  public static var uptime: Double {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  public static var processorCount: Int {
    max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))
  }

  /// The time as ctime(3) writes it, in the local zone, without its newline.
  public static func localTime(_ seconds: Int64) -> String {
    var time = time_t(seconds)
    var text = [CChar](repeating: 0, count: 64)
    guard unsafe ctime_r(&time, &text) != nil else { return "\(seconds)" }
    return String(
      decoding: text.prefix { $0 != 0 && $0 != 10 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  }

  /// Names of any language in what libraries write; a Swift program starts in the C locale.
  public static func useUTF8() {
    _ = unsafe setlocale(LC_CTYPE, "C.UTF-8")
  }

  /// Ends the process, when what was said on standard error is written or has waited for long.
  public static func exit(_ status: Int32) -> Never {
    Console.drain()
    Glibc.exit(status)
  }
}
