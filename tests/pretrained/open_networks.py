"""Opens every file of a folder and prints how that ended: `python -m tests.pretrained.open_networks FOLDER`.

Memory and time are limited, so that a file that allocates at will or never ends ends this process instead.
"""

import json
import resource
import signal
import sys
import time
from pathlib import Path

from dnnlib.errors import UserError
from pretrained import load_network

MORE = 2**20  # KiB of address space beyond what this process has after its imports
SECONDS = 20  # for each file


def main(folder: Path) -> None:
    lines = Path("/proc/self/status").read_text().splitlines()
    size = int(next(line for line in lines if line.startswith("VmSize")).split()[1])
    resource.setrlimit(resource.RLIMIT_AS, ((size + MORE) * 1024,) * 2)

    for path in sorted(folder.iterdir()):
        signal.alarm(SECONDS)
        start = time.monotonic()
        try:
            load_network(path).generator()
            message = "LOADED"
        except UserError as e:
            message = str(e)
        print(json.dumps([path.name, message, time.monotonic() - start]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
