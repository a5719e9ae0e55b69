// SPDX-License-Identifier: Apache-2.0

import Command
import ToTarTool

toTarTool.main()
