// SPDX-License-Identifier: Apache-2.0

#if DEBUG
  internal import Glibc
  internal import Synchronization

  /// Makes system calls fail, for tests of the tools as processes. Debug builds only.
  ///
  /// The environment variable `VMA_FAULT` holds rules, separated by commas. A rule is
  /// `CALL:WHICH:EFFECT`:
  ///
  /// - CALL is a case of `SystemCall`.
  /// - WHICH is `3` (the third call of this name in the process), `3+` (the third and all after it)
  ///   or `*` (all).
  /// - EFFECT is what happens instead of the call, or to it:
  ///   - an errno by name (`ENOSPC`) or number (`28`): the call is not made and fails;
  ///   - `short` or `short=N`: the call moves at most 1 or N bytes (read, pread, write, writev,
  ///     pwrite);
  ///   - `delay=MS`: the call is made after this many milliseconds; another rule may then also
  ///     apply.
  ///
  /// `VMA_FAULT=pwrite:3:ENOSPC`, `VMA_FAULT=linkat:*:EPERM,renameat2:*:EINVAL`,
  /// `VMA_FAULT=pthread_create:2:EAGAIN`, `VMA_FAULT=fsync:1:delay=2000`.
  ///
  /// `VMA_FAULT_LOG` names a file. Each call appends its name and a newline to it, which lists what
  /// a test can make fail. Calls are counted across all threads. Calls that libraries (libnbd) make
  /// are not included. An invalid rule ends the tool with status 99.
  enum FaultInjection {
    /// The effect on a call: it fails, or moves at most this many bytes.
    struct Effect {
      var code: Int32?
      var mostBytes = Int.max
    }

    private struct Rule {
      var call: SystemCall
      /// Counted from 1.
      var calls: ClosedRange<Int>
      var effect = Effect()
      var delay: UInt32 = 0
    }

    private static let rules: [Rule] = (variable("VMA_FAULT") ?? "").split(separator: ",").map {
      guard let rule = parse(String($0)) else { refuse(String($0)) }
      return rule
    }

    private static let log: Int32? = variable("VMA_FAULT_LOG").map {
      unsafe Glibc.open($0, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o666)
    }

    private static let counts = Mutex<[SystemCall: Int]>([:])

    /// Counts a call.
    ///
    /// - Returns: the effect on it, after the delay of a rule.
    static func strike(_ call: SystemCall) -> Effect {
      guard !rules.isEmpty || log != nil else { return Effect() }
      let code = errno
      defer { errno = code }
      if let log {
        let line = Array("\(call.rawValue)\n".utf8)
        unsafe Glibc.write(log, line, line.count)
      }
      let count = counts.withLock {
        $0[call, default: 0] += 1
        return $0[call, default: 0]
      }
      var effect = Effect()
      for rule in rules where rule.call == call && rule.calls.contains(count) {
        if rule.delay > 0 {
          usleep(rule.delay * 1000)
        } else {
          effect = rule.effect
        }
      }
      return effect
    }

    private static func parse(_ text: String) -> Rule? {
      let parts = text.split(separator: ":").map(String.init)
      guard parts.count == 3, let call = SystemCall(rawValue: parts[0]),
        let calls = range(parts[1])
      else { return nil }
      var rule = Rule(call: call, calls: calls)
      let words = parts[2].split(separator: "=").map(String.init)
      switch words[0] {
      case "short":
        guard let count = words.count == 1 ? 1 : Int(words[1]), count > 0 else { return nil }
        rule.effect.mostBytes = count
      case "delay":
        guard words.count == 2, let delay = UInt32(words[1]) else { return nil }
        rule.delay = delay
      default:
        guard let code = Int32(words[0]) ?? codes[words[0]] else { return nil }
        rule.effect.code = code
      }
      return rule
    }

    private static func range(_ text: String) -> ClosedRange<Int>? {
      if text == "*" { return 1...Int.max }
      let isOpen = text.hasSuffix("+")
      guard let first = Int(isOpen ? String(text.dropLast()) : text), first > 0 else { return nil }
      return first...(isOpen ? Int.max : first)
    }

    private static func variable(_ name: String) -> String? {
      unsafe getenv(name).map { unsafe String(cString: $0) }
    }

    private static func refuse(_ rule: String) -> Never {
      let line = Array("VMA_FAULT: cannot read the rule '\(rule)'\n".utf8)
      unsafe Glibc.write(2, line, line.count)
      _exit(99)
    }

    private static let codes: [String: Int32] = [
      "EPERM": EPERM, "ENOENT": ENOENT, "EINTR": EINTR, "EIO": EIO, "ENXIO": ENXIO, "EBADF": EBADF,
      "EAGAIN": EAGAIN, "ENOMEM": ENOMEM, "EACCES": EACCES, "EBUSY": EBUSY, "EEXIST": EEXIST,
      "EXDEV": EXDEV, "ENODEV": ENODEV, "ENOTDIR": ENOTDIR, "EISDIR": EISDIR, "EINVAL": EINVAL,
      "ENFILE": ENFILE, "EMFILE": EMFILE, "ENOTTY": ENOTTY, "ETXTBSY": ETXTBSY, "EFBIG": EFBIG,
      "ENOSPC": ENOSPC, "ESPIPE": ESPIPE, "EROFS": EROFS, "EMLINK": EMLINK, "EPIPE": EPIPE,
      "ENAMETOOLONG": ENAMETOOLONG, "ENOSYS": ENOSYS, "ELOOP": ELOOP, "EOPNOTSUPP": EOPNOTSUPP,
      "ENOTSUP": ENOTSUP, "EDQUOT": EDQUOT, "ESTALE": ESTALE, "ECHILD": ECHILD,
      "ECONNREFUSED": ECONNREFUSED, "ECONNRESET": ECONNRESET, "ETIMEDOUT": ETIMEDOUT,
      "EADDRINUSE": EADDRINUSE, "ENOTCONN": ENOTCONN,
    ]
  }
#endif
