// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

@Suite(
  "vma-libvirt backs up a running domain, and never leaves it with a job or frozen", .serialized,
  requires("qemu-system-x86_64", "qemu-img", .libvirt, .libvirtQEMU, .linuxGuest), OnHost())
final class LibvirtTests {
  let host: Host

  init() throws {
    host = try #require(Host.current)
    try host.dir.sh("rm -rf archive part restored fault pack.pid errors").succeeds()
    try host.ensureRunning()
  }

  deinit { host.pause() }

  /// The records at which the guest was frozen, and how often it was thawed.
  private func freezes() -> (records: [Int], thaws: Int) {
    let lines = host.console.filter { $0.hasPrefix("agent: ") }
    return (
      lines.compactMap { $0.split(separator: " ").last.flatMap { Int($0) } },
      lines.count { $0 == "agent: thawed" }
    )
  }

  @Test func `all disks at the point in time at which the guest is frozen, and its XML`() throws {
    let before = freezes().records.count
    let outcome = try host.sh("start --freeze \"$domain\" archive; finish")
    #expect(outcome.text == "0\n")
    #expect(outcome.errors == "vma-libvirt: hda is not backed up: cdrom, readonly\n")
    try host.expectUnharmed()
    let freezes = freezes()
    #expect(freezes.records.count == before + 1 && freezes.thaws == before + 1)
    let last = try #require(freezes.records.last)
    #expect(try host.records(in: "archive") == [last, last])
    let xml = try host.sh("virsh -q dumpxml --inactive \"$domain\"").output
    try host.dir.expect("restored/domain.xml", holds: xml)
    #expect(try host.dir.names(in: "restored") == ["disk-vda.raw", "disk-vdb.raw", "domain.xml"])
  }

  @Test func `without an agent, and with scratch files in another folder`() throws {
    let before = host.recordCount
    let outcome = try host.sh(
      """
      mkdir scratch
      begin --scratch scratch "$domain"
      ls scratch | wc -l; sleep 0.5; rest; finish; rmdir scratch; echo $?
      """)
    #expect(outcome.lines == ["2", "0", "0"])
    try host.expectUnharmed()
    // The guest reports every tenth record.
    #expect(try host.records(in: "part")[0] >= before)
  }

  @Test(
    "a signal during a backup, to any of the processes",
    arguments: [
      ("kill -TERM $main", 143), ("kill -INT $main", 130), ("kill -HUP $main", 129),
      ("kill -ALRM $main", 142), ("kill -KILL $main; gone", 137), ("kill -KILL $keeper", 74),
      ("kill -KILL $(cat pack.pid)", 137), ("kill -TERM $keeper; kill -TERM $main", 143),
    ])
  func interrupted(kill: String, status: Int) throws {
    let outcome = try host.sh("begin --freeze \"$domain\"; \(kill); rest; finish")
    #expect(outcome.text == "\(status)\n", "\(outcome.errors)")
    try host.dir.run(.unpack, "-t", "part").fails(65, .unpack)
    let freezes = freezes()
    #expect(freezes.thaws == freezes.records.count)
    try host.expectUnharmed()
  }

  @Test(
    "a signal, or a killed process, after any step of libvirt",
    arguments: [
      ("TERM domfsfreeze", 143), ("main domfsfreeze", 137), ("keeper domfsfreeze", 1),
      ("TERM backup-begin", 143), ("main backup-begin", 137), ("keeper backup-begin", 1),
      ("TERM domjobabort", 143), ("main domjobabort", 137), ("keeper domjobabort", 1),
    ])
  func interrupted(fault: String, status: Int) throws {
    let outcome = try host.sh("start FAULT='\(fault)' --freeze \"$domain\" archive; finish")
    #expect(outcome.text == "\(status)\n", "\(outcome.errors)")
    #expect(host.dir.exists("fault"))
    // Before the job is aborted, the archive is complete.
    #expect(host.dir.exists("archive") == fault.hasSuffix("domjobabort"))
    let freezes = freezes()
    #expect(freezes.thaws == freezes.records.count)
    try host.expectUnharmed()
  }

  @Test(
    "a step that fails once",
    arguments: [
      ("domfsfreeze", 1), ("backup-begin", 1), ("domfsthaw", 0), ("backup-dumpxml", 0),
      ("domjobabort", 0),
    ])
  func failing(command: String, status: Int) throws {
    let outcome = try host.sh("start FAULT='fail \(command)' --freeze \"$domain\" archive; finish")
    #expect(outcome.text == "\(status)\n", "\(outcome.errors)")
    #expect(host.dir.exists("fault"))
    #expect(host.dir.exists("archive") == (status == 0))
    #expect(outcome.errors.contains("no luck") == (status == 1))
    try host.expectUnharmed()
  }

  @Test func `a guest that cannot be thawed is reported`() throws {
    let outcome = try host.sh(
      """
      start FAULT='fail-always domfsthaw' --freeze "$domain" archive; finish
      virsh -q domfsthaw "$domain" >/dev/null; echo $?
      """)
    #expect(outcome.text == "1\n0\n")
    #expect(
      outcome.errors.contains("no luck with domfsthaw (the guest may still be frozen: run virsh"))
    try host.dir.run(.unpack, "-t", "archive").succeeds()
    try host.expectUnharmed()
  }

  @Test func `a full disk, and an archive that already exists`() throws {
    let outcome = try host.sh(
      """
      mkdir full && mount -t tmpfs -o size=1M none full || exit
      start "$domain" full/archive; finish; ls -A full
      echo old >archive; start "$domain" archive; finish; cat archive
      umount full
      """)
    #expect(outcome.lines == ["74", "73", "old"])
    #expect(outcome.errors.contains("vma-pack: full/archive: No space left on device"))
    try host.expectUnharmed()
  }

  @Test func `a job of another program is left alone`() throws {
    let outcome = try host.sh(
      """
      echo '<domainbackup mode="pull"><server transport="unix" socket="'$(echo /var/lib/libvirt/qemu/domain-*)'/other"/>
        <disks><disk name="vdb" type="file"><scratch file="'$PWD'/vm/scratch"/></disk></disks>
        </domainbackup>' >pull.xml
      virsh -q backup-begin "$domain" pull.xml >/dev/null; echo $?
      start --freeze "$domain" archive; finish
      virsh domjobinfo "$domain" | grep -c Backup
      virsh -q domjobabort "$domain"; echo $?
      while virsh domjobinfo "$domain" | grep -q Backup; do sleep 0.1; done
      """)
    #expect(outcome.text == "0\n66\n1\n0\n", "\(outcome)")
    #expect(outcome.errors.contains("busy with another job"))
    try host.expectUnharmed()
  }

  @Test(
    "missing domains, disks and programs",
    arguments: [
      ("none archive", 66, "failed to get domain 'none'"),
      ("off archive", 66, "off: shut off: start it, or pack its disks with vma-pack"),
      ("--scratch none \"$domain\" archive", 1, "virsh backup-begin: "), ("off", 64, "archive"),
      ("--thaw off archive", 64, "--thaw"),
    ])
  func missing(arguments: String, status: Int, words: String) throws {
    let outcome = try host.sh("start \(arguments); finish")
    #expect(outcome.text == "\(status)\n")
    #expect(outcome.errors.contains(words), "\(outcome.errors)")
    #expect(!host.dir.exists("archive"))
    try host.expectUnharmed()
  }

  @Test func `a domain that ends during a backup`() throws {
    let outcome = try host.sh(
      """
      begin "$domain"; virsh -q destroy "$domain" >/dev/null; rest; finish; ls vm
      """)
    #expect(outcome.lines == ["74", "a.raw", "b.qcow2", "console", "initrd", "vmlinuz"])
    try host.dir.run(.unpack, "-t", "part").fails(65, .unpack)
  }
}
