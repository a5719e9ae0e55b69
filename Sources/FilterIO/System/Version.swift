// SPDX-License-Identifier: Apache-2.0

internal import CToolsVersion

/// The version of all tools, which `Package.swift` sets.
public let toolsVersion = unsafe String(cString: vma_tools_version())
