// SPDX-License-Identifier: Apache-2.0

import Foundation
import TestSupport
import Testing

@Suite("Versions, dates and pins agree", requires("git"))
struct VersionTests {
  let dir: Scratch

  /// A checkout that would pass as a release.
  init() throws {
    dir = try Scratch()
    try dir.sh(
      """
      mkdir checkout && cd checkout && mkdir scripts
      cp -r '\(Repository.path)'/{Package.swift,CHANGELOG.md,packaging} .
      cp '\(Repository.path)'/scripts/{version,check-versions} scripts
      sed -i 's/^let version = .*/let version = "2.3.4"/' Package.swift
      sed -i 's/^  version = .*/  version = "2.3.4";/' packaging/nix/default.nix
      printf '# Changelog\\n\\n## 2.3.4 - 2027-01-31\\n\\n## 2.3.3 - 2026-12-31\\n' >CHANGELOG.md
      git init -q && git config user.name me && git config user.email me@example.org
      git add -A && git commit -q -m first
      """
    ).succeeds()
  }

  private func check(_ arguments: String = "") throws -> Outcome {
    try dir.sh("checkout/scripts/check-versions \(arguments)")
  }

  @Test func `those of this checkout agree`() throws {
    try dir.sh("'\(Repository.path)/scripts/check-versions'").succeeds()
  }

  @Test func `a consistent checkout can be released`() throws {
    try check().succeeds()
    try check("--release").succeeds()
  }

  @Test(
    "each inconsistency is found",
    arguments: [
      (#"s/^let version = .*/let version = "2.3.5"/"#, "Package.swift"),
      (#"s/^let version = .*/let version = "two"/"#, "Package.swift"),
      (#"s/^let version = .*//"#, "Package.swift"),
      (#"s/^let version = .*/let version = "2.3.4-dev"/"#, "Package.swift"),
      (#"s/dependency("swift-system"/dependency("swift-others"/"#, "Package.swift"),
      ("s/2.3.4 - .*/2.3.4 - unreleased/", "CHANGELOG.md"),
      ("s/2.3.4 - .*/2.3.4/", "CHANGELOG.md"),
      ("s/2.3.4 - .*/2.3.4 - 2027-02-30/", "CHANGELOG.md"),
      ("s/2.3.4 - .*/2.3.4 - 31.1.2027/", "CHANGELOG.md"),
      ("s/2.3.3 - .*/2.3.3 - unreleased/", "CHANGELOG.md"),
      ("s/2.3.3 - .*/2.3.3 - 2027-02-01/", "CHANGELOG.md"),
      ("/^## /d", "CHANGELOG.md"),
      (#"s/version = "2.3.4"/version = "2.3.3"/"#, "packaging/nix/default.nix"),
      (#"s/"swift-system" "/"swift-system" "0./"#, "packaging/nix/default.nix"),
      (#"s/"version" : "1/"version" : "0/"#, "packaging/pins.json"),
    ])
  func lie(edit: String, file: String) throws {
    try dir.sh("sed -i '\(edit)' 'checkout/\(file)' && ! git -C checkout diff --quiet").succeeds()
    let outcome = try check()
    #expect(outcome.ending == .exit(1))
    #expect(outcome.errors.hasPrefix("check-versions: "))
  }

  @Test func `a development version cannot be released, and its changes have no date`() throws {
    try dir.sh(
      """
      cd checkout
      sed -i 's/^let version = .*/let version = "2.3.4-dev"/' Package.swift
      sed -i 's/2.3.4 - .*/2.3.4 - unreleased/' CHANGELOG.md
      git commit -q -a -m second
      """
    ).succeeds()
    try check().succeeds()
    #expect(try check("--release").errors.contains("development version"))
  }

  @Test(
    "uncommitted or released changes cannot be released",
    arguments: ["touch checkout/new", "git -C checkout tag v2.3.4"])
  func released(change: String) throws {
    try dir.sh(change).succeeds()
    try check().succeeds()
    #expect(try check("--release").ending == .exit(1))
  }

  @Test func `a development version names the commit, a release does not`() throws {
    let script = "checkout/scripts/version"
    #expect(try dir.sh(script).succeeds().text == "2.3.4\n")
    try dir.sh(
      "cd checkout; sed -i 's/^let version = .*/let version = \"2.3.5-dev\"/' Package.swift"
    ).succeeds()
    let commit = try dir.sh("git -C checkout rev-parse --short=7 HEAD").lines[0]
    #expect(try dir.sh(script).text == "2.3.5-dev+\(commit).changed\n")
    let second = try dir.sh(
      "cd checkout && git commit -q -a -m second && git rev-parse --short=7 HEAD"
    ).succeeds().lines[0]
    #expect(try dir.sh(script).text == "2.3.5-dev+\(second)\n")
    // An unpacked archive inside another checkout.
    try dir.sh("rm -rf checkout/.git && git init -q .").succeeds()
    #expect(try dir.sh(script).succeeds().text == "2.3.5-dev\n")
  }

  @Test func `the Debian package is built with the packages of scripts/install-packages`() throws {
    let script = try Repository.text("scripts/install-packages")
    let group = try #require(script.components(separatedBy: "[build]=\"").last)
    let installed = group.prefix { $0 != "\"" }.split(whereSeparator: \.isWhitespace).map(
      String.init)
    let control = try Repository.text("packaging/debian/control")
    let field = try #require(control.components(separatedBy: "Build-Depends:").last)
    let needed = field.components(separatedBy: "\nStandards-Version")[0].split(separator: ",").map {
      $0.trimmingCharacters(in: .whitespacesAndNewlines)
    }
    #expect(needed.filter { !$0.hasPrefix("debhelper") } == installed.sorted())
  }

  @Test("Nix can read its expression, whose arguments nixpkgs has", requires("nix-instantiate"))
  func nix() throws {
    let file = "'\(Repository.path)/packaging/nix/default.nix'"
    #expect(try dir.sh("nix-instantiate --parse \(file)").ending == .exit(0))
    let packages = try dir.sh(
      "nix-instantiate --eval --strict --json -E "
        + "'builtins.attrNames (builtins.functionArgs (import \(file.dropFirst().dropLast())))'")
    #expect(packages.text.contains("libnbd") && packages.text.contains("swiftpm"))
  }
}
