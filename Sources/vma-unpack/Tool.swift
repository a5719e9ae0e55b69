// SPDX-License-Identifier: Apache-2.0

package import Command

/// The tool as the programs `vma-unpack` and `vma-tools` run it.
package let unpackTool: any Filter.Type = VMAUnpack.self
