"""Prints the seconds that opening a network file takes, the peak of memory (bytes beyond that of the imports) after the
generator to sample was read, and that after all networks were: `python -m tests.pretrained.peak_memory FILE`."""

import sys
import time
from pathlib import Path

from pretrained import load_network
from tests.golden_data import GOLDEN

SMALL = GOLDEN / "c2_network-final.pkl"


def peak() -> int:
    """Return the peak of this program alone; ru_maxrss begins with that of the process that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


def main(path: str) -> None:
    load_network(SMALL).generator()  # so that what torch loads on first use is not counted
    before = peak()
    start = time.perf_counter()
    net = load_network(path)
    opened = time.perf_counter() - start

    net.generator()
    first = peak() - before

    for network in (net.G, net.D):
        assert network is not None
    print(opened, first, peak() - before)


if __name__ == "__main__":
    main(sys.argv[1])
