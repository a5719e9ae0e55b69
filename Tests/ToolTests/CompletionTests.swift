// SPDX-License-Identifier: Apache-2.0

import Foundation
import Testing

/// An interactive shell that a test types into.
enum Shell: String, CaseIterable, Sendable {
  case bash, zsh, fish
}

@Suite("Completions of typed text in bash, zsh and fish")
struct CompletionTests {
  let dir: Scratch

  private static let typist =
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().path
    + "/Programs/complete.py"

  init() throws { dir = try Scratch() }

  /// The terminal after the Tab key was pressed.
  private struct Screen {
    /// The command line.
    var line: String
    /// Everything on the terminal, including candidates.
    var text: String
  }

  /// - Parameter preparation: commands of the shell script that starts the shell.
  private func press(
    _ shell: Shell, _ text: String, after preparation: String = "", showing words: [String] = []
  ) throws -> Screen {
    let tool = text.prefix { $0 != " " }
    let outcome = try dir.sh(
      """
      \(preparation)
      mkdir -p ../scripts
      \(tool) --generate-completion-script \(shell.rawValue) > ../scripts/\(tool)
      python3 '\(Self.typist)' \(shell.rawValue) "$PWD/../scripts/\(tool)" "$(cat)"$'\\t' \
        \(words.joined(separator: " "))
      """, input: .pipe(Array(text.utf8)))
    outcome.succeeds()
    let parts = outcome.text.split(separator: "\n", maxSplits: 1, omittingEmptySubsequences: false)
    return Screen(line: String(parts[0]), text: String(parts.last ?? ""))
  }

  /// Expects that Tab completes a text to a line.
  private func expect(
    _ shell: Shell, _ text: String, _ line: String, _ location: SourceLocation = #_sourceLocation
  ) throws {
    let screen = try press(shell, text)
    #expect(screen.line == line, "\(screen.text)", sourceLocation: location)
  }

  @Test(
    requires("bash", "zsh", "fish", "python3"), arguments: Shell.allCases,
    [
      ("vma-unpack --salv", "vma-unpack --salvage "), ("vma-pack --pa", "vma-pack --pad "),
      ("vma-pack --ev", "vma-pack --events "),
      ("vma-to-tar --format g", "vma-to-tar --format gnutar "),
      ("vma-cat --progress al", "vma-cat --progress always "),
      ("vma-cat --progress=al", "vma-cat --progress=always "),
    ])
  func `options and their values`(shell: Shell, typed: (text: String, line: String)) throws {
    try expect(shell, typed.text, typed.line)
  }

  @Test(requires("bash", "zsh", "fish", "python3"), arguments: Shell.allCases)
  func `files`(shell: Shell) throws {
    try dir.write(Sample.smallBytes, to: "backup.vma")
    try dir.write("x", to: "a config")
    for tool in Tool.allCases where tool != .tap {
      try expect(shell, "\(tool.rawValue) back", "\(tool.rawValue) backup.vma ")
    }
    for text in [
      "vma-pack back", "vma-pack scsi0=back", "vma-pack -c back", "vma-pack -c qm.conf=back",
      "vma-pack --config=qm.conf=back", "vma-unpack -m scsi0=back", "vma-unpack --map=scsi0=back",
      "vma-unpack --only scsi0=./back", "vma-tap -c x=./back", "vma-pack -o back",
    ] {
      try expect(shell, text, text + "up.vma ")
    }
    try expect(shell, "vma-pack scsi0=a", "vma-pack scsi0=a\\ config ")
  }

  @Test(requires("bash", "zsh", "fish", "python3"), arguments: Shell.allCases)
  func `a directory stays open for its contents`(shell: Shell) throws {
    try dir.sh("mkdir -p sub").succeeds()
    try expect(shell, "vma-unpack -m scsi0=su", "vma-unpack -m scsi0=sub/")
    try expect(shell, "vma-unpack -C su", "vma-unpack -C sub/")
  }

  @Test(requires("bash", "zsh", "fish", "python3"), arguments: Shell.allCases)
  func `help is an option, not a command`(shell: Shell) throws {
    for tool in Tool.allCases {
      let start = "\(tool.rawValue) "
      #expect([start, start + "-"].contains(try press(shell, start).line))
      try expect(shell, "\(tool.rawValue) a hel", "\(tool.rawValue) a hel")
      try expect(shell, "\(tool.rawValue) --hel", "\(tool.rawValue) --help ")
    }
  }

  @Test(requires("bash", "zsh", "fish", "python3"), arguments: Shell.allCases)
  func `the drives of an archive, and for vma-cat its configs`(shell: Shell) throws {
    try dir.write(Sample.wholeBytes, to: "my a.vma")
    for text in ["vma-unpack my\\ a.vma -d ", "vma-to-tar 'my a.vma' --drive "] {
      let screen = try press(shell, text, showing: ["drive-efidisk0", "drive-scsi0"])
      #expect(screen.text.contains("drive-efidisk0") && screen.text.contains("drive-scsi0"))
      #expect(!screen.text.contains("qemu-server"))
    }
    let names = ["drive-efidisk0", "drive-scsi0", "qemu-server.conf", "qemu-server.fw"]
    let members = try press(shell, "vma-cat my\\ a.vma ", showing: names).text
    #expect(names.allSatisfy { members.contains($0) })
    try expect(shell, "vma-cat ~/here/my\\ a.vma drive-s", "vma-cat ~/here/my\\ a.vma drive-scsi0 ")
    try expect(shell, "vma-unpack my\\ a.vma -d s", "vma-unpack my\\ a.vma -d scsi0 ")
    try expect(
      shell, "vma-unpack my\\ a.vma --drive=drive-s", "vma-unpack my\\ a.vma --drive=drive-scsi0 ")
  }

  @Test(requires("bash", "zsh", "fish", "python3"), arguments: Shell.allCases)
  func `a drive, then a file, for --map and --only`(shell: Shell) throws {
    try dir.write(Sample.wholeBytes, to: "a.vma")
    for option in ["-m", "--map", "--only"] {
      let screen = try press(
        shell, "vma-unpack a.vma \(option) ", showing: ["drive-efidisk0=", "drive-scsi0="])
      #expect(screen.text.contains("drive-efidisk0=") && screen.text.contains("drive-scsi0="))
      #expect(!screen.text.contains("qemu-server"))
      for start in ["s", "drive-s"] {
        let name = start == "s" ? "scsi0" : "drive-scsi0"
        try expect(
          shell, "vma-unpack a.vma \(option) \(start)", "vma-unpack a.vma \(option) \(name)=")
      }
    }
  }

  @Test(requires("bash", "zsh", "fish", "python3"), arguments: Shell.allCases)
  func `no archive, a damaged one, or a missing one: no completions`(shell: Shell) throws {
    try dir.write("hello", to: "text")
    try dir.write(Sample.smallBytes.prefix(1000), to: "cut.vma")
    for name in ["text", "cut.vma", "missing.vma", "."] {
      let text = "vma-cat \(name) q"
      let screen = try press(shell, text)
      #expect(screen.line == text)
      #expect(!screen.text.contains("header") && !screen.text.contains("vma-cat:"))
    }
  }

  @Test(requires("bash", "zsh", "fish", "python3"), arguments: Shell.allCases)
  func `names that a shell would expand are not offered`(shell: Shell) throws {
    let evil = ["$(touch owned)", "`touch owned`", "a;touch owned", "a\u{1b}[31m", "a b", "$HOME"]
    for name in evil {
      let archive = Archive([Archive.Disk(name, Sample.efi), Archive.Disk("good", Sample.efi)])
      try dir.write(archive.bytes(), to: "a.vma")
      try expect(shell, "vma-cat a.vma g", "vma-cat a.vma good ")
      try expect(shell, "vma-cat a.vma ", "vma-cat a.vma good ")
      try dir.expectNames(["a.vma"])
    }
    // A file of such a name is completed, quoted.
    try dir.write("x", to: "$(touch owned)")
    _ = try press(shell, "vma-pack scsi0=$")
    _ = try press(shell, "vma-pack scsi0=\\$")
    try dir.expectNames(["$(touch owned)", "a.vma"])
  }

  @Test(
    requires("bash", "zsh", "fish", "python3", "qemu-storage-daemon"), arguments: Shell.allCases)
  func `the disks of a running QEMU`(shell: Shell) throws {
    let start = """
      truncate -s 1M disk.img
      qemu-storage-daemon --blockdev driver=file,node-name=scsi0,filename=disk.img \
        --nbd-server addr.type=unix,addr.path=nbd --export type=nbd,id=e,node-name=scsi0,writable=on \
        --chardev socket,id=m,path=vm.qmp,server=on,wait=off --monitor chardev=m >/dev/null 2>&1 &
      trap 'kill %1' EXIT
      until [ -S vm.qmp ]; do sleep 0.05; done
      """
    for text in ["vma-tap --qmp vm.qmp -d s", "vma-tap --qmp=vm.qmp --device=s"] {
      let screen = try press(shell, text, after: start)
      #expect(screen.line == text + "csi0 ", "\(screen.text)")
    }
  }

  @Test(requires("bash", "zsh", "fish", "python3"), arguments: Shell.allCases)
  func `a QMP socket that does not answer delays a shell only briefly`(shell: Shell) throws {
    let start = """
      python3 -c '
      import socket, time
      silent = socket.socket(socket.AF_UNIX)
      silent.bind("vm.qmp")
      silent.listen()
      time.sleep(600)' &
      trap 'kill %1' EXIT
      until [ -S vm.qmp ]; do sleep 0.05; done
      """
    #expect(try press(shell, "vma-tap --qmp vm.qmp -d s", after: start).line.hasSuffix("-d s"))
  }
}
