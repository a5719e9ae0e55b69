// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

@Suite(
  "make install and make uninstall",
  requires("make", "strip", "readelf", "nbdkit", "pkg-config"))
struct InstallTests {
  let dir: Scratch

  init() throws {
    dir = try Scratch()
    // A checkout of its own, because make depends on its files. Building is not tested: "swift"
    // copies the program of this build, and records that it was called.
    try dir.sh(
      """
      mkdir checkout tools && cd checkout
      cp -r '\(Repository.path)'/{Makefile,Package.swift,scripts,man,completions,examples} .
      mkdir -p Sources/VMA .build/release && touch Sources/VMA/VMA.swift
      cat >../tools/swift <<'.'
      #!/bin/sh
      echo "$VMA_TOOLS_VERSION" >>called
      mkdir -p .build/release && cp '\(Repository.program)' .build/release/vma-tools
      cp '\(Tool.directory)/libnbdkit-vma-plugin.so' .build/release
      .
      chmod +x ../tools/swift
      """
    ).succeeds()
  }

  /// Runs make in the checkout, without its output.
  private func make(_ arguments: String, swift: String = "../tools/swift") throws -> Outcome {
    try dir.sh("make -s -C checkout SWIFT=\(swift) \(arguments) 2>&1 >/dev/null | cat >messages")
  }

  /// Everything in a folder, one path a line.
  private func tree(_ folder: String) throws -> [String] {
    try dir.sh("cd \(folder) && find . -mindepth 1 | sort").lines
  }

  @Test("one program, a link for each tool, and their pages and completions")
  func files() throws {
    try make("install DESTDIR=$PWD/root PREFIX=/usr").succeeds()
    let files = Set(try tree("root/usr"))
    for tool in Tool.allCases.map(\.rawValue) {
      #expect(try dir.sh("readlink root/usr/bin/\(tool)").text == "vma-tools\n")
      #expect(try dir.sh("root/usr/bin/\(tool) --version").text.hasPrefix("\(tool) "))
      for file in [
        "share/man/man1/\(tool).1", "share/bash-completion/completions/\(tool)",
        "share/zsh/site-functions/_\(tool)", "share/fish/vendor_completions.d/\(tool).fish",
      ] {
        #expect(files.contains("./" + file))
      }
    }
    for page in [
      "man1/nbdkit-vma-plugin.1", "man1/vma-tools.1", "man5/vma.5", "man5/vma-events.5",
      "man7/vma-recipes.7",
    ] {
      #expect(files.contains("./share/man/" + page))
    }
    let folder = try dir.sh("pkg-config --variable=plugindir nbdkit").lines.first ?? ""
    let plugin = "root\(folder)/nbdkit-vma-plugin.so"
    try dir.sh("nbdkit $PWD/\(plugin) --dump-plugin | grep -q ^name=vma").succeeds()
    for file in ["root/usr/bin/vma-tools", plugin] {
      let symbols = try dir.sh("readelf -S \(file)").text
      #expect(!symbols.contains(".symtab") && !symbols.contains(".comment"))
    }
    // All users can read it, whatever the umask.
    try dir.sh("! find root -not -type l -not -perm -444 | grep .").succeeds()
  }

  @Test("STRIP= keeps the symbols")
  func symbols() throws {
    try make("install DESTDIR=$PWD/root STRIP=").succeeds()
    #expect(try dir.sh("readelf -S root/usr/local/bin/vma-tools").text.contains(".symtab"))
  }

  @Test("paths with blanks and quotes, and a narrow umask")
  func quoting() throws {
    try dir.sh(
      #"""
      umask 077
      make -s -C checkout SWIFT=../tools/swift install \
        DESTDIR="$PWD/a 'b\" *" PREFIX="/opt/it's a \"prefix" >/dev/null
      cd "a 'b\" */opt/it's a \"prefix" && bin/vma-cat --version && test -f share/man/man5/vma.5
      test -f lib/nbdkit/plugins/nbdkit-vma-plugin.so
      test -z "$(find . -type d -not -perm 755)"
      """#
    ).succeeds()
    #expect(try dir.names(in: ".") == ["a 'b\" *", "checkout", "tools"])
  }

  @Test("uninstall keeps other files and directories")
  func uninstall() throws {
    // A directory that existed before is kept, even if it is empty; so is one that others use now.
    try dir.sh("mkdir -p root/usr/share/man/man5").succeeds()
    let before = try tree("root")
    try make("install DESTDIR=$PWD/root PREFIX=/usr").succeeds()
    try make("install DESTDIR=$PWD/root PREFIX=/usr").succeeds()
    try make("uninstall DESTDIR=$PWD/root PREFIX=/usr").succeeds()
    #expect(try tree("root") == before)

    try make("install DESTDIR=$PWD/root PREFIX=/usr").succeeds()
    try dir.sh("touch root/usr/share/fish/vendor_completions.d/other.fish").succeeds()
    try make("uninstall DESTDIR=$PWD/root PREFIX=/usr").succeeds()
    #expect(
      try tree("root/usr/share") == [
        "./fish", "./fish/vendor_completions.d", "./fish/vendor_completions.d/other.fish",
        "./man", "./man/man5",
      ])
  }

  @Test("uninstall removes an entire new DESTDIR")
  func uninstallAll() throws {
    try make("install DESTDIR=$PWD/root").succeeds()
    try make("uninstall DESTDIR=$PWD/root").succeeds()
    #expect(!dir.exists("root"))
    try make("uninstall DESTDIR=$PWD/root").succeeds()
  }

  @Test("five programs of an older version are replaced by links")
  func older() throws {
    try dir.sh("mkdir -p root/usr/bin && cp /bin/true root/usr/bin/vma-cat").succeeds()
    try make("install DESTDIR=$PWD/root PREFIX=/usr").succeeds()
    #expect(try dir.sh("root/usr/bin/vma-cat --version").text.hasPrefix("vma-cat "))
  }

  @Test("it is rebuilt only if sources are newer")
  func rebuild() throws {
    func calls() throws -> Int {
      try dir.sh("cat checkout/called 2>/dev/null | wc -l; true").lines.compactMap { Int($0) }.first
        ?? 0
    }
    try make("install DESTDIR=$PWD/root").succeeds()
    let built = try calls()
    #expect(built > 0)
    try make("install DESTDIR=$PWD/root").succeeds()
    #expect(try calls() == built, "nothing has changed")
    for change in ["touch", "rm"] {
      let before = try calls()
      try dir.sh("sleep 0.1; \(change) checkout/Sources/VMA/VMA.swift").succeeds()
      try make("install DESTDIR=$PWD/root").succeeds()
      #expect(try calls() > before, "\(change) is a change")
    }
  }

  @Test("without Swift, an existing build is installed, with a warning if it is old")
  func noSwift() throws {
    let missing = try dir.sh("make -s -C checkout SWIFT=no-swift install DESTDIR=$PWD/root")
    #expect(missing.ending == .exit(2) && missing.errors.contains("Swift was not found"))
    try make("build").succeeds()
    let fresh = try dir.sh("make -s -C checkout SWIFT=no-swift install DESTDIR=$PWD/root")
    #expect(fresh.ending == .exit(0) && fresh.errors == "")
    try dir.sh("sleep 0.1; touch checkout/Sources/VMA/VMA.swift").succeeds()
    let old = try dir.sh("make -s -C checkout SWIFT=no-swift install DESTDIR=$PWD/root")
    #expect(old.ending == .exit(0) && old.errors.contains("older than the sources"))
  }

  @Test("a directory that cannot be created, or is not absolute, is an error")
  func errors() throws {
    try dir.write("", to: "file")
    for arguments in ["DESTDIR=$PWD/file", "PREFIX=relative"] {
      #expect(
        try dir.sh("make -s -C checkout SWIFT=../tools/swift install \(arguments)").ending
          == .exit(2))
    }
  }
}
