// SPDX-License-Identifier: Apache-2.0

package import Command

/// The tool as the programs `vma-cat` and `vma-tools` run it.
package let catTool: any Filter.Type = VMACat.self
