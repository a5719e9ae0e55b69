// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

extension Requirement {
  /// libvirtd with its driver for QEMU, in namespaces.
  static let libvirt = Requirement(
    "libvirt in namespaces", "libvirtd", "virsh", "unshare", "nsenter", orLacks: .kernel,
    script: """
      [ "$(id -u)" = 0 ] && unshare --mount --pid --fork --mount-proc mount -t tmpfs none /run
      """)
  static let libvirtQEMU = Requirement(
    "libvirt-daemon-driver-qemu", orLacks: .program,
    script: "ls /usr/lib/*/libvirt/connection-driver/libvirt_driver_qemu.so")
}

enum Programs {
  static let examples = TestCache.root + "/examples"
  static let own = TestCache.root + "/Tests/ExampleTests/Programs"
  static let live = TestCache.root + "/Tests/TapTests/Programs"
}

/// A host of its own with libvirt, and a domain with two disks whose guest writes all the time. A
/// separate thread serves disk vda; vdb is a qcow2 image.
final class Host: @unchecked Sendable {
  /// For the running suite.
  @TaskLocal static var current: Host?

  let dir: Scratch
  private let daemon: Running
  private let enter: String

  init() throws {
    dir = try Scratch()
    try dir.sh(
      """
      # The user that runs QEMU must reach the images.
      chmod 755 ..
      mkdir vm && cd vm
      head -c 40M /dev/urandom >a.raw
      head -c 16M /dev/urandom >b.raw
      cp a.raw ../base-a && cp b.raw ../base-b
      qemu-img convert -O qcow2 b.raw b.qcow2 && rm b.raw
      cp '\(TestCache.linuxGuest)'/{vmlinuz,initrd} .
      """
    ).succeeds()
    // It ends when its input does: with this object, or with the tests.
    let daemon = try Running(
      "unshare",
      [
        "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
        Programs.own + "/libvirt-host",
      ],
      in: dir.path,
      environment: ["PATH": ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"],
      input: .open)
    self.daemon = daemon
    let isReady = daemon.wait { !daemon.output.isEmpty }
    try #require(isReady, "\(String(decoding: daemon.errors, as: UTF8.self))")
    let children = "/proc/\(daemon.id)/task/\(daemon.id)/children"
    let child = try String(contentsOfFile: children, encoding: .utf8).split(separator: " ")
    enter = "nsenter --target \(try #require(child.first)) --mount --pid"
    for (name, isOn) in [("web server", true), ("off", false)] {
      try dir.write(domain(name), to: "domain.xml")
      try sh("virsh -q define domain.xml").succeeds()
      if isOn { try ensureRunning() }
    }
    pause()
  }

  private func domain(_ name: String) -> String {
    let vm = dir("vm")
    return """
      <domain type='qemu'>
        <name>\(name)</name> <memory unit='MiB'>192</memory> <iothreads>1</iothreads>
        <os>
          <type arch='x86_64' machine='pc'>hvm</type>
          <kernel>\(vm)/vmlinuz</kernel> <initrd>\(vm)/initrd</initrd>
          <cmdline>console=ttyS0 loglevel=4 no_timer_check panic=-1</cmdline>
        </os>
        <devices>
          <disk type='file' device='disk'>
            <driver name='qemu' type='raw' iothread='1'/>
            <source file='\(vm)/a.raw'/> <target dev='vda' bus='virtio'/>
          </disk>
          <disk type='file' device='disk'>
            <driver name='qemu' type='qcow2'/>
            <source file='\(vm)/b.qcow2'/> <target dev='vdb' bus='virtio'/>
          </disk>
          <disk type='file' device='cdrom'> <target dev='hda' bus='ide'/> <readonly/> </disk>
          <serial type='file'> <source path='\(vm)/console'/> </serial>
          <channel type='unix'> <target type='virtio' name='org.qemu.guest_agent.0'/> </channel>
          <memballoon model='none'/>
        </devices>
      </domain>
      """
  }

  /// Runs a script of bash on the host, with the examples in its path.
  func sh(_ script: String, sourceLocation: SourceLocation = #_sourceLocation) throws -> Outcome {
    try dir.write(
      """
      # A working directory from outside would not contain the mounts of this host.
      cd '\(dir.path)'
      export PATH='\(Programs.own):\(Programs.examples)':$PATH TOOLS='\(Tool.directory)'
      domain='web server'
      # Starts the example as an interactive shell would. Usage: start [VARIABLE=VALUE]... ARGUMENT...
      start() {
        local variables=()
        while [[ $1 = [A-Z]*=* ]]; do
          variables+=("$1")
          shift
        done
        env --default-signal=INT,QUIT "${variables[@]}" vma-libvirt "$@" 2>errors &
        main=$!
      }

      # The same, but stops during the backup: of 56 MiB, 1 MiB is in the file `part`, and vma-pack
      # waits for its reader. The rest can be read from descriptor 4.
      begin() {
        mkfifo archive
        start "$@" archive
        exec 4<archive
        head -c 1M <&4 >part
        keeper=$(pgrep -P $main -x vma-libvirt)
      }

      # Reads the rest of the archive, if any.
      rest() {
        cat <&4 >>part
        exec 4<&-
      }

      # Waits until all processes of the example have exited.
      gone() { while pgrep -x vma-libvirt >/dev/null; do sleep 0.02; done; }

      # Prints the exit status, and the messages on standard error.
      finish() {
        wait $main
        echo $?
        cat errors >&2
        gone
      }

      \(script)
      """, to: "script")
    return try dir.sh("\(enter) bash '\(dir("script"))'", sourceLocation: sourceLocation)
  }

  // MARK: The guest

  /// The output of the guest.
  var console: [String] {
    let data = FileManager.default.contents(atPath: dir("vm/console")) ?? Data()
    return String(decoding: data, as: UTF8.self).split(whereSeparator: \.isNewline).map(String.init)
  }

  /// The number of records that the guest has reported as written.
  var recordCount: Int {
    let last = console.last { $0.hasPrefix("guest: ") }
    return last?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
  }

  func waitForRecords(_ count: Int, sourceLocation: SourceLocation = #_sourceLocation) throws {
    let limit = Date().addingTimeInterval(60)
    while recordCount < count, Date() < limit { usleep(50_000) }
    try #require(recordCount >= count, "\(console)", sourceLocation: sourceLocation)
    let bad = console.filter {
      $0.contains("I/O error") || $0.hasPrefix("guest: ") && !$0.contains(" 0 failed")
    }
    #expect(bad == [], sourceLocation: sourceLocation)
  }

  func ensureRunning() throws {
    try sh(
      """
      case $(virsh -q domstate "$domain") in
      running) ;;
      paused) virsh -q resume "$domain" ;;
      *) virsh -q start "$domain" ;;
      esac
      """
    ).succeeds()
    try waitForRecords(10)
    // The guest's agent opens its port slightly later.
    try sh(
      """
      for _ in {1..300}; do
        ! virsh -q dumpxml "$domain" | grep -q "guest_agent.0' state='connected'" || break
        sleep 0.1
      done
      """
    ).succeeds()
  }

  /// Between two tests of the suite, tests of other suites run, which a guest that writes would slow
  /// down.
  func pause() {
    do { _ = try sh("virsh -q suspend \"$domain\"") } catch { Issue.record(error) }
  }

  /// The domain runs and writes, without a job and without leftovers of a backup.
  func expectUnharmed(sourceLocation: SourceLocation = #_sourceLocation) throws {
    let state = try sh(
      """
      virsh -q domstate "$domain"
      virsh domjobinfo "$domain" | grep Job
      ls vm
      ls /var/lib/libvirt/qemu/domain-*
      """)
    #expect(
      state.lines.map { $0.split(separator: " ").joined(separator: " ") } == [
        "running", "Job type: None", "a.raw", "b.qcow2", "console", "initrd", "vmlinuz",
        "master-key.aes", "monitor.sock",
      ], sourceLocation: sourceLocation)
    try waitForRecords(recordCount + 10, sourceLocation: sourceLocation)
  }

  /// - Returns: the last record on each disk of an archive.
  func records(in archive: String) throws -> [Int] {
    try dir.sh("rm -rf restored && vma-unpack -C restored \(archive)").succeeds()
    let outcome = try dir.sh(
      """
      /usr/bin/python3 '\(Programs.live)/records.py' restored/disk-vda.raw=base-a \
        restored/disk-vdb.raw=base-b
      """
    ).succeeds()
    return try JSONDecoder().decode([Int].self, from: Data(outcome.output))
  }
}

/// Gives all tests of a suite one host.
struct OnHost: SuiteTrait, TestScoping {
  func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    try await Host.$current.withValue(Host()) { try await function() }
  }
}
