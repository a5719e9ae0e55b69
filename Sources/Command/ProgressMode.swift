// SPDX-License-Identifier: Apache-2.0

import ArgumentParser

/// When to show progress.
package enum ProgressMode: String, CaseIterable, ExpressibleByArgument, Sendable {
  case auto, always, never
}
