// SPDX-License-Identifier: Apache-2.0

/// What is wrong with a frame.
struct FrameFault: Error {
  let description: String
  init(_ description: String) { self.description = description }
}
