// SPDX-License-Identifier: Apache-2.0

package import Command

/// The tool as the programs `vma-pack` and `vma-tools` run it.
package let packTool: any Filter.Type = VMAPack.self
