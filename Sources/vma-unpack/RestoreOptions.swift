// SPDX-License-Identifier: Apache-2.0

/// What to restore, and where.
struct RestoreOptions {
  /// The drives to restore, as the user named them; all drives if empty.
  var drives: [String] = []
  /// For each of these drives, an existing file, device or NBD export to overwrite.
  var targets: [(drive: String, path: String)] = []
  /// Whether the targets already read as zeros.
  var targetIsZero = false
  var restoresConfigs = true
  /// Where files are created; nil for the working directory.
  var directory: String?
  /// Whether to overwrite existing files, and to allow devices in use.
  var replaces = false
  /// Whether to restore what is left of a damaged archive.
  var salvages = false
  /// Where salvaging writes a map of each disk.
  var mapDirectory: String?
  var printsSummary = false
}
