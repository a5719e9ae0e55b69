# SPDX-License-Identifier: Apache-2.0
# In the form of nixpkgs, except that src is the checkout: callPackage ./packaging/nix { }
{
  lib,
  bzip2,
  fetchFromGitHub,
  installShellFiles,
  libarchive,
  libmd,
  libnbd,
  lz4,
  pkg-config,
  swift,
  swiftPackages,
  swiftpm,
  xxHash,
  xz,
  zlib,
  zstd,
}:

let
  # The versions in packaging/pins.json.
  dependency =
    repo: tag: hash:
    fetchFromGitHub {
      owner = "apple";
      inherit repo tag hash;
    };
  dependencies = {
    swift-argument-parser = dependency "swift-argument-parser" "1.8.2" "sha256-87davPixt6+/NIuYi2HSc/L6SJqfQClToWPK89N3ToQ=";
    swift-collections = dependency "swift-collections" "1.6.0" "sha256-nt43pWIwFFjdsHdbKSOOK3CCT32YGHvEt1jQ9PFp4dg=";
    swift-system = dependency "swift-system" "1.8.1" "sha256-mnQcCHYW0oCadmIE9ayjs3aZiCVQRuliQ0qWpQ22OFQ=";
  };
in
swift.stdenv.mkDerivation {
  pname = "vma-tools";
  version = "1.1.0";

  src = lib.cleanSource ../..;

  nativeBuildInputs = [
    installShellFiles
    pkg-config
    swift
    swiftpm
  ];

  buildInputs = [
    bzip2
    libarchive
    libmd
    libnbd
    lz4
    swiftPackages.Foundation
    xxHash
    xz
    zlib
    zstd
  ];

  # Package.swift uses this directory if it exists.
  postPatch = ''
    mkdir -p Dependencies
    ${lib.concatStrings (
      lib.mapAttrsToList (name: source: "cp -r ${source} Dependencies/${name}\n") dependencies
    )}
    chmod -R u+w Dependencies
  '';

  swiftpmFlags = [ "--product vma-tools" ];

  # The same as scripts/install. Nix strips the program.
  installPhase = ''
    runHook preInstall
    program=$(swiftpmBinPath)/vma-tools
    install -D -m 755 "$program" $out/bin/vma-tools
    for completion in completions/*.bash; do
      tool=$(basename "$completion" .bash)
      ln -s vma-tools $out/bin/$tool
      installShellCompletion --cmd $tool --bash $completion --fish completions/$tool.fish \
        --zsh completions/_$tool
    done
    installManPage man/*
    runHook postInstall
  '';

  meta = {
    description = "Unix filters for VMA, the Virtual Machine Archive of Proxmox VE";
    license = lib.licenses.asl20;
    mainProgram = "vma-tools";
    platforms = lib.platforms.linux;
    maintainers = [ ];
  };
}
