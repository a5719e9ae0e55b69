// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

@Suite(
  "The recipes of vma-recipes(7) work as written",
  requires(
    "nbdkit", "nbdcopy", "nbdfuse", "debugfs", "sfdisk", "mkfs.ext4", "mkfs.vfat", "mcopy",
    "syslinux",
    "busybox", .linuxGuest))
struct RecipeTests {
  let dir: Scratch

  /// An archive of a disk with a file system and a boot loader, packed once.
  private static let machine: Result<Scratch, any Error> = Result { try makeMachine() }

  init() throws {
    dir = try Scratch()
    try dir.installPlugin()
    let machine = try Self.machine.get()
    for name in ["disk.raw", "hostname", "notes", "vm.vma.zst"] {
      try dir.link(name, to: machine(name))
    }
    // Booting without KVM is slow, but works everywhere.
    try dir.write(
      """
      #!/bin/bash
      words=()
      for word in "$@"; do words+=("${word/#kvm/tcg}"); done
      exec '\(dir.sh("command -v qemu-system-x86_64").lines.first ?? "")' "${words[@]}"

      """, to: "bin/qemu-system-x86_64")
    try dir.sh("chmod +x bin/*").succeeds()
  }

  private static func makeMachine() throws -> Scratch {
    let dir = try Scratch()
    try dir.sh(
      #"""
      set -e
      guest='\#(TestCache.linuxGuest)'
      mkdir -p root/etc root/home unpacked init/{bin,dev,proc,sys}
      echo vm101 >root/etc/hostname
      head -c 300000 /dev/urandom >root/home/notes
      cp root/etc/hostname root/home/notes .
      truncate -s 32M p1
      mkfs.ext4 -q -d root p1
      # The system in the machine: a kernel, and an initrd that asks for a login.
      (cd unpacked && gzip -dc "$guest/initrd" | busybox cpio -idm 2>/dev/null)
      cp unpacked/bin/busybox init/bin
      ln -s busybox init/bin/sh
      cat >init/init <<.
      #!/bin/sh
      /bin/busybox --install -s /bin
      mount -t devtmpfs none /dev
      hostname vm101
      exec getty 115200 ttyS0
      .
      chmod +x init/init
      (cd init && find . | busybox cpio -o -H newc -R 0:0 2>/dev/null | gzip >../initrd)
      cat >syslinux.cfg <<.
      SERIAL 0 115200
      DEFAULT linux
      LABEL linux
        KERNEL vmlinuz
        INITRD initrd
        APPEND console=ttyS0 quiet
      .
      truncate -s 48M p2
      mkfs.vfat -F 16 p2 >/dev/null
      mcopy -i p2 "$guest/vmlinuz" initrd syslinux.cfg ::
      syslinux -i p2
      truncate -s 96M disk.raw
      sfdisk -q disk.raw <<.
      label: dos
      start=1MiB, size=32MiB, type=83
      start=33MiB, size=48MiB, type=6, bootable
      .
      dd if=/usr/lib/syslinux/mbr/mbr.bin of=disk.raw bs=440 conv=notrunc status=none
      dd if=p1 of=disk.raw bs=1M seek=1 conv=notrunc,sparse status=none
      dd if=p2 of=disk.raw bs=1M seek=33 conv=notrunc,sparse status=none
      head -c 1M /dev/urandom >efi.raw
      vma-pack drive-scsi0=disk.raw drive-efidisk0=efi.raw | split -b 1M - part.
      for part in part.*; do zstd -q "$part"; done
      cat part.*.zst >vm.vma.zst
      """#
    ).succeeds()
    return dir
  }

  /// The commands of a recipe, with the changes that the test needs.
  private func commands(_ title: String, replacing changes: [String: String] = [:]) throws -> String
  {
    let page = try String(contentsOfFile: TestCache.root + "/man/vma-recipes.7", encoding: .utf8)
    let recipe = try #require(
      page.components(separatedBy: "\n.Ss ").first { $0.hasPrefix(title + "\n") })
    let code = try #require(recipe.components(separatedBy: ".Bd -literal").dropFirst().first)
      .components(separatedBy: "\n.Ed")[0]
    var text = code.split(separator: "\n").dropFirst().joined(separator: "\n")
    for (escape, character) in [("\\-", "-"), ("\\(aq", "'"), ("\\(dq", "\""), ("\\e", "\\")] {
      text = text.replacingOccurrences(of: escape, with: character)
    }
    for (old, new) in changes {
      #expect(text.contains(old))
      text = text.replacingOccurrences(of: old, with: new)
    }
    return text
  }

  private func run(
    _ title: String, replacing changes: [String: String] = [:], then check: String = "",
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws -> Outcome {
    let script = try commands(title, replacing: changes)
    let outcome = try dir.shWithPlugin("set -e\n\(script)\n\(check)")
    #expect(outcome.ending == .exit(0), "\(outcome)", sourceLocation: sourceLocation)
    return outcome
  }

  @Test func `one file out of a partition`() throws {
    _ = try run(
      "Copy one file out of a partition", then: "cmp -n 6 hostname \(machineFile("hostname"))")
  }

  private func machineFile(_ name: String) throws -> String { "'\(try Self.machine.get()(name))'" }

  @Test(requires(.fuse, "fusermount"))
  func `the list of a directory`() throws {
    let outcome = try run("List a directory", then: "cmp home/notes notes")
    #expect(outcome.text.contains("/home/") && outcome.text.contains("/etc/"))
  }

  @Test(requires(.fuse, "fusermount", "fdisk", "blkid"))
  func `partitions and file systems`() throws {
    let text = try run("List partitions and file systems").text
    #expect(
      text.contains("disk/scsi0p1") && text.contains("FAT16") && text.contains("TYPE=\"ext4\""))
  }

  @Test(requires(.fuse, .root, .loopDevices))
  func `a mounted file system`() throws {
    _ = try run(
      "Mount a file system", replacing: ["cp mnt/etc/hostname .": "cmp mnt/etc/hostname hostname"])
  }

  @Test(requires(.guestfish, .fuse))
  func `a directory by guestfish`() throws {
    let text = try run("Read LVM, XFS and NTFS", replacing: ["-i ls": "-m /dev/sda1 ls"]).text
    #expect(text.contains("notes"))
  }

  @Test(requires("qemu-img"))
  func `other formats of disks`() throws {
    _ = try run(
      "Convert a disk to other formats",
      then: """
        for format in qcow2 vmdk vhdx; do
          qemu-img compare -q -f $format -F raw disk.$format disk.raw
        done
        """)
  }

  @Test func `one drive of an archive in another archive`() throws {
    _ = try run(
      "Pack one drive of an archive into another",
      then: "vma-cat scsi0.vma.zst | cmp - disk.raw; vma-unpack -t scsi0.vma.zst")
  }

  @Test(requires("qemu-system-x86_64"))
  func `booting from a backup`() throws {
    let script = try commands("Boot from a backup")
    let running = try Running(
      "bash", ["-c", "PATH=$PWD/bin:$PATH\n" + script], in: dir.path,
      environment: ProcessInfo.processInfo.environment, input: .open)
    let asksForLogin = running.wait(atMost: 100) {
      running.output.suffix(1000).contains(Array("vm101 login:".utf8))
    }
    #expect(asksForLogin, "\(String(decoding: running.output + running.errors, as: UTF8.self))")
    // The escape of QEMU's console that ends it.
    running.send([1, UInt8(ascii: "x")])
    #expect(running.finish(within: 20).ending == .exit(0))
  }

  @Test(requires("qemu-system-x86_64", "qemu-img", "socat"))
  func `recovery at once`() throws {
    _ = try run(
      "Recover at once",
      then: """
        timeout 100 sh -c 'until grep -q login: console; do sleep 0.2; done'
        monitor quit
        wait
        qemu-img info disk.qcow2 | grep backing && exit 1
        qemu-img compare -q -f qcow2 -F raw disk.qcow2 disk.raw
        """)
  }

  @Test(requires("qemu-system-x86_64"))
  func `all backups of a directory`() throws {
    try dir.sh(
      """
      mkdir backups
      ln -s ../vm.vma.zst backups/a.vma.zst
      truncate -s 1M empty.raw
      vma-pack -o backups/b.vma.zst drive-scsi0=empty.raw
      head -c 1000000 vm.vma.zst >backups/c.vma.zst
      """
    ).succeeds()
    let outcome = try run(
      "Boot all backups in a directory to test them", replacing: ["timeout 120": "timeout 20"])
    #expect(
      outcome.lines == [
        "backups/a.vma.zst: boots", "backups/b.vma.zst: FAILED", "backups/c.vma.zst: FAILED",
      ])
  }

  @Test(requires("python3", .nbdkitCurl))
  func `an archive on a web server`() throws {
    try dir.write(
      """
      import http.server, os, sys
      sent = 0
      class Handler(http.server.BaseHTTPRequestHandler):
          protocol_version = "HTTP/1.1"
          def do_GET(self, hasBody=True):
              global sent
              data = open("." + self.path, "rb")
              size = os.fstat(data.fileno()).st_size
              first, last = 0, size - 1
              if range := self.headers["Range"]:
                  first, last = map(int, range.removeprefix("bytes=").split("-"))
                  last = min(last, size - 1)
                  self.send_response(206)
                  self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
              else:
                  self.send_response(200)
              self.send_header("Accept-Ranges", "bytes")
              self.send_header("Content-Length", last - first + 1)
              self.end_headers()
              if hasBody:
                  data.seek(first)
                  self.wfile.write(data.read(last - first + 1))
                  sent += last - first + 1
                  open("sent", "w").write(f"{sent}\\n")
          def do_HEAD(self):
              self.do_GET(hasBody=False)
          def log_message(self, *arguments):
              pass
      server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
      open("port.new", "w").write(str(server.server_address[1]))
      os.rename("port.new", "port")
      server.serve_forever()

      """, to: "server.py")
    let server = try Running(
      "python3", ["server.py"], in: dir.path, environment: ProcessInfo.processInfo.environment)
    try #require(server.wait(atMost: 10) { dir.exists("port") })
    let port = String(decoding: try dir.read("port"), as: UTF8.self)
    _ = try run(
      "Read an archive on a web server",
      replacing: ["https://backup.example/": "http://127.0.0.1:\(port)/"],
      then: "test \"$(tr -d '\\0' <hostname)\" = vm101")
    let sent = try #require(Int(String(decoding: dir.read("sent"), as: UTF8.self).dropLast()))
    let size = try #require(dir.sh("stat -Lc %s vm.vma.zst").lines.first.flatMap { Int($0) })
    print("transferred \(sent) of \(size) bytes")
    #expect(sent < size / 2)
    server.signal(SIGTERM)
  }
}

extension Requirement {
  fileprivate static let fuse = Requirement(
    "FUSE", "nbdfuse", "nbdkit", orLacks: .kernel,
    script: """
      d=$(mktemp -d) && { nbdfuse "$d/x" --command nbdkit -s null 1M >/dev/null 2>&1 & } && n=0
      until [ -e "$d/x" ] || [ $n = 50 ]; do sleep 0.1; n=$((n + 1)); done
      test -e "$d/x"; code=$?; fusermount -u "$d"; rmdir "$d"; exit $code
      """)
  fileprivate static let nbdkitCurl = Requirement(
    "nbdkit-plugin-curl", "nbdkit", orLacks: .program, script: "nbdkit --dump-plugin curl")
}
