// SPDX-License-Identifier: Apache-2.0

package import Command

/// The tool as the programs `vma-to-tar` and `vma-tools` run it.
package let toTarTool: any Filter.Type = VMAToTar.self
