// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0

import PackageDescription

/// One set of rules for every module: no silent `unsafe`, no warnings.
let settings: [SwiftSetting] = [
  .strictMemorySafety(),
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
]

let argumentParser = Target.Dependency.product(
  name: "ArgumentParser", package: "swift-argument-parser")
let system = Target.Dependency.product(name: "SystemPackage", package: "swift-system")

let package = Package(
  name: "vma-tools",
  products: [
    .library(name: "VMA", targets: ["VMA"]),
    .library(name: "MD5", targets: ["MD5"]),
    .executable(name: "vma-pack", targets: ["vma-pack"]),
    .executable(name: "vma-unpack", targets: ["vma-unpack"]),
    .executable(name: "vma-cat", targets: ["vma-cat"]),
    .executable(name: "vma-to-tar", targets: ["vma-to-tar"]),
    .executable(name: "vma-tap", targets: ["vma-tap"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
  ],
  targets: [
    .systemLibrary(
      name: "CArchive", pkgConfig: "libarchive", providers: [.apt(["libarchive-dev"])]),
    .systemLibrary(name: "CBzip2", providers: [.apt(["libbz2-dev"])]),
    .systemLibrary(name: "CLinux"),
    .systemLibrary(name: "CLZ4", pkgConfig: "liblz4", providers: [.apt(["liblz4-dev"])]),
    .systemLibrary(name: "CLzma", pkgConfig: "liblzma", providers: [.apt(["liblzma-dev"])]),
    .systemLibrary(name: "CMD5", pkgConfig: "libmd", providers: [.apt(["libmd-dev"])]),
    .systemLibrary(name: "CNBD", pkgConfig: "libnbd", providers: [.apt(["libnbd-dev"])]),
    .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
    .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),

    .target(name: "ChangedBlocks", swiftSettings: settings),
    .target(name: "VMA", swiftSettings: settings),
    .target(name: "MD5", dependencies: ["CMD5", "VMA"], swiftSettings: settings),
    .target(
      name: "FilterIO",
      dependencies: [
        "CLinux", "MD5", "VMA", system, argumentParser,
        .product(name: "HeapModule", package: "swift-collections"),
      ],
      swiftSettings: settings),
    .target(
      name: "NBD", dependencies: ["CNBD", "FilterIO", "VMA", system], swiftSettings: settings),
    .target(name: "Zstd", dependencies: ["CZstd", "FilterIO"], swiftSettings: settings),
    .target(
      name: "Decompression",
      dependencies: ["CBzip2", "CLZ4", "CLzma", "CZlib", "CZstd", "FilterIO", "VMA"],
      swiftSettings: settings),
    .target(name: "TarWriter", dependencies: ["CArchive", "FilterIO"], swiftSettings: settings),

    .executableTarget(
      name: "vma-pack",
      dependencies: [
        "ChangedBlocks", "FilterIO", "MD5", "NBD", "VMA", "Zstd", argumentParser, system,
      ],
      swiftSettings: settings),
    .executableTarget(
      name: "vma-unpack",
      dependencies: ["Decompression", "FilterIO", "NBD", "VMA", argumentParser],
      swiftSettings: settings),
    .executableTarget(
      name: "vma-cat", dependencies: ["Decompression", "FilterIO", "VMA", argumentParser],
      swiftSettings: settings),
    .executableTarget(
      name: "vma-to-tar",
      dependencies: ["Decompression", "FilterIO", "TarWriter", "VMA", argumentParser],
      swiftSettings: settings),
    .executableTarget(
      name: "vma-tap",
      dependencies: ["ChangedBlocks", "FilterIO", "VMA", argumentParser, system],
      swiftSettings: settings),

    .target(name: "TestSupport", path: "Tests/TestSupport", swiftSettings: settings),
    .testTarget(name: "VMATests", dependencies: ["MD5", "TestSupport", "VMA"]),
    .testTarget(name: "FilterIOTests", dependencies: ["FilterIO", "TestSupport", "VMA"]),
    .target(
      name: "FuzzTargets",
      dependencies: ["ChangedBlocks", "Decompression", "FilterIO", "MD5", "VMA", argumentParser],
      path: "Tests/Fuzz/Targets"),
    .testTarget(name: "FuzzTests", dependencies: ["FuzzTargets"]),
    .testTarget(
      name: "DecompressionTests", dependencies: ["Decompression", "FilterIO", "TestSupport"]),
    .testTarget(
      name: "OptionTests",
      dependencies: [
        "FilterIO", "TestSupport", "vma-cat", "vma-pack", "vma-tap", "vma-to-tar", "vma-unpack",
        argumentParser,
      ]),
    .testTarget(
      name: "NBDTests", dependencies: ["TestSupport", "vma-pack", "vma-unpack", "vma-cat"]),
    .testTarget(
      name: "PackTests",
      dependencies: ["ChangedBlocks", "FilterIO", "TestSupport", "VMA", "vma-pack"]),
    .testTarget(
      name: "ToolTests",
      dependencies: [
        "TestSupport", "vma-pack", "vma-unpack", "vma-cat", "vma-to-tar", "vma-tap",
      ],
      exclude: ["Golden"]),
    .testTarget(
      name: "QueueTests", dependencies: ["FilterIO", "TestSupport", "VMA", "vma-tap"]),
    .testTarget(
      name: "TapTests", dependencies: ["TestSupport", "vma-pack", "vma-tap", "vma-unpack"],
      exclude: ["Programs"]),
  ],
  swiftLanguageModes: [.v6]
)

// `make fuzz` builds all of it with coverage, and libFuzzer brings the main function.
if Context.environment["FUZZ"] != nil {
  package.targets.append(
    .executableTarget(
      name: "fuzz", dependencies: ["FuzzTargets"], path: "Tests/Fuzz/Program"))
}
