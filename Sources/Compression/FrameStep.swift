// SPDX-License-Identifier: Apache-2.0

/// What one call has done.
struct FrameStep {
  var consumed = 0
  var produced = 0
  /// So many bytes of input are needed to go on; 0 where any will do.
  var wanted = 0
  var end: FrameEnd?
}
