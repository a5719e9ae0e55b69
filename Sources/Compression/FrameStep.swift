// SPDX-License-Identifier: Apache-2.0

/// The result of one call.
struct FrameStep {
  var consumed = 0
  var produced = 0
  /// Bytes of input needed to continue; 0 if any number is sufficient.
  var wanted = 0
  var end: FrameEnd?
}
