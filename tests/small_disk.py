"""train.py where no file may grow past SIZE bytes: `python -m tests.small_disk SIZE ARGUMENT...`."""

import resource
import runpy
import sys

size = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
sys.argv = ["train.py", *sys.argv[2:]]
runpy.run_path("train.py", run_name="__main__")
