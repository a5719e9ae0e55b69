# SPDX-License-Identifier: Apache-2.0
"""start.py PROGRAM [ARGUMENT...]: becomes the program, with signals as a shell would give them.

What runs the tests may block or ignore some, and every process that it starts inherits that.
"""
import os
import signal
import sys

signal.pthread_sigmask(signal.SIG_SETMASK, [])
# The last two Python itself ignores.
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(number, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])
