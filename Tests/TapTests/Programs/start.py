# SPDX-License-Identifier: Apache-2.0
"""start.py PROGRAM [ARGUMENT...]: becomes the program, with signals as from a shell.

The parent of the tests may block or ignore some, and every child process inherits that.
"""
import os
import signal
import sys

signal.pthread_sigmask(signal.SIG_SETMASK, [])
# Python itself ignores the last two.
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(number, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])
