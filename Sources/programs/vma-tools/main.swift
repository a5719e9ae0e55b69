// SPDX-License-Identifier: Apache-2.0

import CatTool
import Command
import PackTool
import TapTool
import ToTarTool
import UnpackTool

ToolFamily.main([packTool, unpackTool, catTool, toTarTool, tapTool])
