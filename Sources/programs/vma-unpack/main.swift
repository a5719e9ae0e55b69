// SPDX-License-Identifier: Apache-2.0

import Command
import UnpackTool

unpackTool.main()
