"""A program that is interrupted, with its processes, SECONDS after its first worker was started."""

import os
import signal
import sys
import time

from dnnlib.pool import ordered_map


def tasks():
    yield 1
    time.sleep(float(sys.argv[1]))
    os.killpg(0, signal.SIGINT)
    yield from range(2, 100)


if __name__ == "__main__":
    try:
        list(ordered_map(abs, tasks(), workers=2))
    except KeyboardInterrupt:
        print("interrupted")
