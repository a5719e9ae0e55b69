// SPDX-License-Identifier: Apache-2.0

import CToolsVersion

/// The version of all tools, which `Package.swift` sets.
package let toolsVersion = unsafe String(cString: vma_tools_version())
