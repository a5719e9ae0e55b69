// SPDX-License-Identifier: Apache-2.0

package import Command

/// The tool as the programs `vma-tap` and `vma-tools` run it.
package let tapTool: any Filter.Type = VMATap.self
