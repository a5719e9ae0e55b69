// SPDX-License-Identifier: Apache-2.0

import CatTool
import Command

catTool.main()
