// SPDX-License-Identifier: Apache-2.0

import FilterIO
import PackTool

packTool.main()
