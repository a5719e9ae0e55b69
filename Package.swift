// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0

import Foundation
import PackageDescription

/// The version of all tools, changed here and nowhere else. `make` adds the commit to one that ends
/// in `-dev`.
let version = "1.1.0-dev"

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
let deque = Target.Dependency.product(name: "DequeModule", package: "swift-collections")
let system = Target.Dependency.product(name: "SystemPackage", package: "swift-system")

/// A package from the network, or, in a source archive (`make dist`), from the archive itself.
func dependency(_ name: String, from version: Version) -> Package.Dependency {
  let folder = Context.packageDirectory + "/Dependencies/" + name
  return FileManager.default.fileExists(atPath: folder)
    ? .package(path: folder)
    : .package(url: "https://github.com/apple/" + name, from: version)
}

/// The programs: one for each tool, and one for installing that is all of them.
let programs = [
  "vma-pack": ["PackTool"],
  "vma-unpack": ["UnpackTool"],
  "vma-cat": ["CatTool"],
  "vma-to-tar": ["ToTarTool"],
  "vma-tap": ["TapTool"],
  "vma-tools": ["PackTool", "UnpackTool", "CatTool", "ToTarTool", "TapTool"],
].sorted { $0.key < $1.key }

let package = Package(
  name: "vma-tools",
  products: [
    .library(name: "VMA", targets: ["VMA"]),
    .library(name: "nbdkit-vma-plugin", type: .dynamic, targets: ["NBDKitPlugin"]),
  ] + programs.map { .executable(name: $0.key, targets: [$0.key]) },
  dependencies: [
    dependency("swift-argument-parser", from: "1.8.2"),
    dependency("swift-collections", from: "1.6.0"),
    dependency("swift-system", from: "1.8.1"),
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
    .systemLibrary(
      name: "CNBDKit", pkgConfig: "nbdkit", providers: [.apt(["nbdkit-plugin-dev"])]),
    .target(
      name: "CToolsVersion",
      cSettings: [
        .define(
          "VMA_TOOLS_VERSION", to: "\"\(Context.environment["VMA_TOOLS_VERSION"] ?? version)\"")
      ]),
    // The library's functions are inline, in its header.
    .target(name: "CXXHash"),
    .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
    .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),

    .target(name: "ChangedBlocks", swiftSettings: settings),
    .target(name: "VMA", swiftSettings: settings),
    .target(name: "System", dependencies: ["CLinux", deque, system], swiftSettings: settings),
    .target(name: "Files", dependencies: ["System", system], swiftSettings: settings),
    .target(name: "NBD", dependencies: ["CNBD", "System", system], swiftSettings: settings),
    .target(
      name: "Compression",
      dependencies: [
        "CBzip2", "CLZ4", "CLzma", "CXXHash", "CZlib", "CZstd", "Files", "NBD", "System", deque,
        system,
      ],
      swiftSettings: settings),
    .target(
      name: "Disks", dependencies: ["Files", "NBD", "System", "VMA", deque, system],
      swiftSettings: settings),
    .target(
      name: "Archives",
      dependencies: [
        "CMD5", "Compression", "Disks", "Files", "System", "VMA", system,
        .product(name: "HeapModule", package: "swift-collections"),
      ],
      swiftSettings: settings),
    .target(name: "Tar", dependencies: ["CArchive", "System"], swiftSettings: settings),
    .target(
      name: "Command",
      dependencies: ["CToolsVersion", "Files", "System", "VMA", argumentParser, system],
      swiftSettings: settings),

    .target(
      name: "PackTool",
      dependencies: [
        "Archives", "ChangedBlocks", "Command", "Compression", "Disks", "Files", "System", "VMA",
        argumentParser, system,
      ],
      path: "Sources/vma-pack",
      swiftSettings: settings),
    .target(
      name: "UnpackTool",
      dependencies: [
        "Archives", "Command", "Compression", "Disks", "Files", "NBD", "System", "VMA",
        argumentParser,
      ],
      path: "Sources/vma-unpack",
      swiftSettings: settings),
    .target(
      name: "CatTool",
      dependencies: [
        "Archives", "Command", "Compression", "Disks", "Files", "System", "VMA", argumentParser,
      ],
      path: "Sources/vma-cat",
      swiftSettings: settings),
    .target(
      name: "ToTarTool",
      dependencies: [
        "Archives", "Command", "Compression", "Disks", "Files", "System", "Tar", "VMA",
        argumentParser,
      ],
      path: "Sources/vma-to-tar",
      swiftSettings: settings),
    .target(
      name: "TapTool",
      dependencies: [
        "ChangedBlocks", "Command", "Files", "System", "VMA", argumentParser, deque, system,
      ],
      path: "Sources/vma-tap",
      swiftSettings: settings),

    .target(
      name: "NBDKitPlugin",
      dependencies: [
        "Archives", "CNBDKit", "CToolsVersion", "Compression", "Files", "System", "VMA",
      ],
      path: "Sources/nbdkit-vma-plugin",
      exclude: ["symbols"],
      swiftSettings: settings,
      linkerSettings: [
        // nbdkit is not linked with Swift's libraries; --static-swift-stdlib is only for programs.
        .unsafeFlags(
          [
            "-static-stdlib", "-Xlinker",
            "--version-script=\(Context.packageDirectory)/Sources/nbdkit-vma-plugin/symbols",
          ], .when(configuration: .release))
      ]),

    .target(name: "TestSupport", path: "Tests/TestSupport", swiftSettings: settings),
    .testTarget(name: "VMATests", dependencies: ["Archives", "TestSupport", "VMA"]),
    .testTarget(name: "FilesTests", dependencies: ["Files", "System", "TestSupport", system]),
    .testTarget(
      name: "CompressionTests", dependencies: ["Compression", "System", "TestSupport", system]),
    .testTarget(
      name: "ArchivesTests",
      dependencies: ["Archives", "Compression", "Disks", "System", "TestSupport", "VMA"]),
    .testTarget(
      name: "CommandTests",
      dependencies: [
        "CatTool", "Command", "FuzzTargets", "PackTool", "System", "TapTool", "TestSupport",
        "ToTarTool", "UnpackTool", argumentParser,
      ]),
    .target(
      name: "FuzzTargets",
      dependencies: [
        "Archives", "ChangedBlocks", "Command", "Compression", "System", "TapTool", "VMA",
        argumentParser,
      ],
      path: "Tests/Fuzz/Targets"),
    .testTarget(name: "FuzzTests", dependencies: ["FuzzTargets"]),
    .testTarget(
      name: "NBDTests", dependencies: ["TestSupport", "vma-pack", "vma-unpack", "vma-cat"]),
    .testTarget(
      name: "PackTests",
      dependencies: ["Archives", "ChangedBlocks", "PackTool", "System", "TestSupport", "VMA"]),
    .testTarget(
      name: "ToolTests",
      dependencies: [
        "CXXHash", "TestSupport", "vma-pack", "vma-unpack", "vma-cat", "vma-to-tar", "vma-tap",
      ],
      exclude: ["Golden", "Programs"]),
    .testTarget(
      name: "QueueTests", dependencies: ["System", "TapTool", "TestSupport", "VMA"]),
    .testTarget(
      name: "TapTests",
      dependencies: ["TapTool", "TestSupport", "vma-pack", "vma-tap", "vma-unpack"],
      exclude: ["Programs"]),
    .testTarget(
      name: "ExampleTests", dependencies: ["TestSupport", "vma-pack", "vma-tap", "vma-unpack"],
      exclude: ["Programs"]),
    // The tests load the library that `swift build` creates.
    .testTarget(
      name: "PluginTests",
      dependencies: ["TestSupport", "vma-cat", "vma-pack", "vma-unpack"]),
    .testTarget(
      name: "PackageTests",
      dependencies: ["TestSupport"] + programs.map { .target(name: $0.key) }),
  ]
    + programs.map { name, tools in
      .executableTarget(
        name: name, dependencies: ["Command"] + tools.map { .target(name: $0) },
        path: "Sources/programs/" + name, swiftSettings: settings)
    },
  swiftLanguageModes: [.v6]
)

// `make fuzz` builds all of it with coverage, and libFuzzer brings the main function.
if Context.environment["FUZZ"] != nil {
  package.targets.append(
    .executableTarget(
      name: "fuzz", dependencies: ["FuzzTargets"], path: "Tests/Fuzz/Program"))
}
