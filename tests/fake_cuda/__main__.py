"""python -m tests.fake_cuda: print what training steps do on a GPU, on a machine without one."""

import os
import sys

from tests.fake_cuda import shim

if __name__ == "__main__":
    shim.install()
    from tests.fake_cuda.trace_copies import print_copies
    from tests.fake_cuda.trace_steps import print_traces

    print_traces()
    print_copies()
    sys.stdout.flush()
    os._exit(0)
