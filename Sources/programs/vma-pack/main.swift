// SPDX-License-Identifier: Apache-2.0

import Command
import PackTool

packTool.main()
