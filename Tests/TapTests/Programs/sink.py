# SPDX-License-Identifier: Apache-2.0
"""sink.py RATE: copies standard input to standard output at RATE MiB per second."""
import os
import sys
import time

rate, begin, count = float(sys.argv[1]) * (1 << 20), time.monotonic(), 0
while data := os.read(0, 65536):
    sys.stdout.buffer.write(data)
    count += len(data)
    time.sleep(max(0, count / rate - (time.monotonic() - begin)))
