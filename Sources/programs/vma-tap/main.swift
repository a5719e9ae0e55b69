// SPDX-License-Identifier: Apache-2.0

import FilterIO
import TapTool

tapTool.main()
