// SPDX-License-Identifier: Apache-2.0

extension BinaryInteger {
  // Not `(self + divisor - 1) / divisor`: that overflows for sizes that an archive can claim.
  package func dividedRoundingUp(by divisor: Self) -> Self {
    self / divisor + (isMultiple(of: divisor) ? 0 : 1)
  }

  package func roundedUp(toMultipleOf unit: Self) -> Self {
    dividedRoundingUp(by: unit) * unit
  }
}
