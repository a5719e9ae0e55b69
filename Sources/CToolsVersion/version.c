// SPDX-License-Identifier: Apache-2.0
#include "CToolsVersion.h"

const char *vma_tools_version(void) { return VMA_TOOLS_VERSION; }
