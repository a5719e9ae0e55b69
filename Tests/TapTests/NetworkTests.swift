// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

@Suite(
  "A backup through ssh", .serialized,
  requires("qemu-storage-daemon", .pythonNBD, .sshServer, "zstd"))
struct NetworkTests {
  let machine: Machine

  // More data than the buffers of all tools.
  init() throws { machine = try Machine(megabytes: 96) }

  /// Runs a backup that takes some seconds and is restored at the other end of the connection
  /// meanwhile. It uses an sshd of its own, without any files of the user or of the machine.
  ///
  /// - Parameter fault: happens in the middle of it.
  /// - Returns: the exit statuses of the tap, vma-pack, zstd, ssh and the restore.
  private func backUp(during fault: String = "") throws -> String {
    let run = try machine.sh(
      """
      ssh-keygen -q -t ed25519 -N '' -f host
      ssh-keygen -q -t ed25519 -N '' -f user
      port=$(\(Programs.python) -c 'import socket
      s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
      cat > sshd.conf <<.
      ListenAddress 127.0.0.1:$port
      HostKey $PWD/host
      AuthorizedKeysFile $PWD/user.pub
      PidFile none
      StrictModes no
      UsePAM no
      PasswordAuthentication no
      KbdInteractiveAuthentication no
      PermitRootLogin prohibit-password
      .
      # For root, sshd requires this folder, which its service would create.
      [ "$(id -u)" != 0 ] || { mkdir /run/sshd 2> /dev/null && made=yes; }
      /usr/sbin/sshd -D -e -f sshd.conf 2> sshd.log & sshd=$!
      there=(ssh -F none -p $port -i user -o IdentitiesOnly=yes -o BatchMode=yes
        -o UserKnownHostsFile=known -o StrictHostKeyChecking=accept-new 127.0.0.1)
      for try in $(seq 50); do "${there[@]}" true 2> try.log && break; sleep 0.1; done

      mkdir restored; mkfifo events archive compressed
      echo "cd $PWD; zstdcat | \(Programs.tools)/vma-unpack -C restored 2> unpack.log
        echo \\${PIPESTATUS[1]} > ended" > restore
      "${there[@]}" "bash $PWD/restore" < compressed 2> ssh.log & ssh=$!
      zstd -q < archive > compressed & zstd=$!
      (vma-pack --events < events; echo $? > packed) 2> pack.log |
        \(Programs.python) $P/sink.py 15 > archive & sink=$!
      vma-tap --qmp vm.qmp > events 2> stderr & tap=$!
      sleep 0.8
      \(fault)
      wait $tap; tapped=$?; wait $zstd; compressed=$?; wait $ssh; sent=$?
      for try in $(seq 100); do [ -s ended ] && break; sleep 0.1; done
      wait $sink
      echo $tapped $(cat packed) $compressed $sent $(cat ended)
      kill $sshd; wait $sshd
      [ -z "$made" ] || rmdir /run/sshd
      cat stderr unpack.log pack.log ssh.log sshd.log >&2
      """)
    #expect(run.status == 0, "\(run.errors)")
    return run.output.trimmed
  }

  @Test func `the disks arrive as of the same point in time`() throws {
    let guest = try machine.withGuest(seed: 7) {
      let ends = try backUp()
      #expect(ends == "0 0 0 0 0")
    }
    #expect(guest.errors == [])
    #expect(try machine.check("restored", seed: "7").ended)
    try machine.expectNothingLeft()
  }

  /// The other end is the process that serves this connection; some users have a second one.
  @Test(arguments: [
    ("$ssh", 137), ("$(pgrep -P $sshd) $(pgrep -x -P $(pgrep -P $sshd) sshd)", 255),
  ])
  func `the connection breaks`(end: String, status: Int) throws {
    let guest = try machine.withGuest(seed: 8, pause: 0.001) {
      let ends = try backUp(during: "kill -KILL \(end)")
      #expect(ends == "74 141 141 \(status) 65")
    }
    #expect(guest.errors == [] && guest.worst < 5, "\(guest)")
    #expect(
      try FileManager.default.contentsOfDirectory(atPath: machine.path + "/restored") == [])
    try machine.expectNothingLeft()
  }
}
