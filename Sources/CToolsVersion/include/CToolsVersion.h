// SPDX-License-Identifier: Apache-2.0
// The version, which Package.swift knows. Swift code cannot be given a text when it is compiled.
#pragma once

const char *vma_tools_version(void);
