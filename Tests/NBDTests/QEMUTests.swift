// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite("qcow2 through qemu-nbd, and disks of a running QEMU")
struct QEMUTests {
  let dir: Scratch
  let image = Image.mixed(20_000_256, seed: 730)

  init() throws { dir = try Scratch() }

  /// A qcow2 image with a backing file; each contains a part of the disk, and some of the zeros.
  private func makeChain() throws {
    try dir.write(image, to: "base.img")
    try dir.sh(
      """
      qemu-img convert -f raw -O qcow2 base.img base.qcow2
      qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2 32M
      qemu-io -f qcow2 top.qcow2 -c 'write -q -P 7 1M 300k' -c 'write -q -z 5M 1M' \
        -c 'write -q -P 9 31M 64k' -c 'write -q -P 3 3333632 1536'
      qemu-img convert -f qcow2 -O raw top.qcow2 flat.img
      """
    ).succeeds()
  }

  @Test(requires("qemu-nbd", "qemu-img", "qemu-io"))
  func `qcow2 with a backing file as a source`() throws {
    try makeChain()
    let server = try Server.qemuNBD(dir, "-r", "-f", "qcow2", "top.qcow2")
    let packed = try dir.packed("d=\(server.uri)")
    #expect(server.end().ending == .exit(0))
    expectSame(packed, try dir.packed("d=flat.img"))
  }

  @Test(requires("qemu-nbd", "qemu-img", "qemu-io"), arguments: [false, true])
  func `into qcow2, in one pipe`(withBackingFile: Bool) throws {
    try makeChain()
    // Its backing image must not be visible in the result.
    try dir.sh(
      withBackingFile
        ? "qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 t.qcow2 32M"
        : "qemu-img create -q -f qcow2 t.qcow2 32M"
    ).succeeds()
    let source = try Server.qemuNBD(dir, "-r", "-f", "qcow2", "top.qcow2", name: "s1")
    let target = try Server.qemuNBD(
      dir, "-f", "qcow2", "--discard=unmap", "t.qcow2", name: "s2")
    try dir.sh(
      """
      vma-pack 'drive-scsi0=\(source.uri)' | zstd -q | zstdcat |
        vma-unpack -m 'scsi0=\(target.uri)'
      """
    ).succeeds()
    #expect(source.end().ending == .exit(0))
    #expect(target.end().ending == .exit(0))
    try dir.sh("qemu-img compare -q -f qcow2 -F qcow2 top.qcow2 t.qcow2").succeeds()
    try dir.sh("qemu-img check -q -f qcow2 t.qcow2").succeeds()
  }

  @Test(requires("qemu-storage-daemon", "qemu-img", "qemu-io"))
  func `fleecing: two disks at the same point in time, while the guest writes`() throws {
    let other = Image.full(8 << 20, seed: 731)
    for (name, bytes) in [("a", image), ("b", other)] {
      try dir.write(bytes, to: "\(name).img")
      try dir.write(bytes, to: "\(name).then")
      try dir.sh("qemu-img create -q -f qcow2 sc-\(name).qcow2 \(bytes.count)").succeeds()
    }
    let daemon = try Server.storageDaemon(
      dir, "--blockdev", "driver=file,node-name=fa,filename=a.img",
      "--blockdev", "driver=raw,node-name=a,file=fa",
      "--blockdev", "driver=file,node-name=fb,filename=b.img",
      "--blockdev", "driver=raw,node-name=b,file=fb",
      "--export", "nbd,id=guest-a,node-name=a,name=guest-a,writable=on",
      "--export", "nbd,id=guest-b,node-name=b,name=guest-b,writable=on")
    func scratch(_ name: String) -> String {
      """
      {"execute":"blockdev-add","arguments":{"driver":"qcow2","node-name":"sc-\(name)",\
      "file":{"driver":"file","filename":"sc-\(name).qcow2"},"backing":"\(name)"}}
      """
    }
    func job(_ name: String) -> String {
      """
      {"type":"blockdev-backup","data":{"job-id":"fl-\(name)","device":"\(name)",\
      "target":"sc-\(name)","sync":"none"}}
      """
    }
    func export(_ name: String) -> String {
      """
      {"execute":"block-export-add","arguments":{"type":"nbd","id":"e-\(name)",\
      "node-name":"sc-\(name)","name":"\(name)","writable":false}}
      """
    }
    daemon.qmp(
      #"{"execute":"qmp_capabilities"}"#, scratch("a"), scratch("b"),
      #"{"execute":"transaction","arguments":{"actions":[\#(job("a")),\#(job("b"))]}}"#,
      export("a"), export("b"))

    // The archive's reader is slow, so there is time to write.
    try dir.sh(
      """
      write() {
        qemu-io -f raw "nbd+unix:///guest-$1?socket=q" -c "write -q -P $2 $3 $4" >/dev/null
      }
      vma-pack \(fixed.joined(separator: " ")) 'a=nbd+unix:///a?socket=q' \
        'b=nbd+unix:///b?socket=q' | { head -c 100K; touch started; sleep 2; cat; } > got.vma &
      until [ -e started ]; do sleep 0.02; done
      write a 17 0 4M; write b 18 0 8M; write a 19 18M 1M; write a 20 7M 12345344
      wait $!
      """
    ).succeeds()
    #expect(try dir.read("a.img") != image)
    #expect(try dir.read("b.img") != other)
    expectSame(try dir.read("got.vma"), try dir.packed("a=a.then", "b=b.then"))
  }

  /// QEMU 7.2 dies when the client of an export in an iothread disconnects, so nbdkit stays in
  /// between.
  @Test(requires("qemu-storage-daemon", "nbdkit"))
  func `an export in an iothread, through nbdkit, which keeps its connection`() throws {
    try dir.write(image, to: "a.img")
    let daemon = try Server.storageDaemon(
      dir, "--object", "iothread,id=io0", "--blockdev", "driver=file,node-name=fa,filename=a.img",
      "--blockdev", "driver=raw,node-name=a,file=fa")
    daemon.qmp(
      #"{"execute":"qmp_capabilities"}"#,
      """
      {"execute":"block-export-add","arguments":{"type":"nbd","id":"e","node-name":"a",\
      "name":"a","iothread":"io0"}}
      """)
    let proxy = try Server.nbdkit(dir, "-r", "nbd", "shared=true", "uri=nbd+unix:///a?socket=q")
    for _ in 0..<2 {
      expectSame(try dir.packed("d=\(proxy.uri)"), try dir.packed("d=a.img"))
    }
    daemon.qmp(
      #"{"execute":"block-export-del","arguments":{"id":"e","mode":"hard"}}"#,
      #"{"execute":"query-named-block-nodes"}"#)
    proxy.stop()
    daemon.qmp(#"{"execute":"quit"}"#)
    #expect(daemon.end().ending == .exit(0))
  }
}
