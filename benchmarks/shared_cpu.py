"""Measure how fast a CPU trains while another program keeps one core busy: with all threads, and with fewer.

python benchmarks/shared_cpu.py [--preset robohash] [--fmap-base 512] [--fmap-max 64] [--batch 8] [--json FILE]

The three cases take turns. `all threads` is what PyTorch does by itself; `chosen` is the number of threads that
`dnnlib/cpu_threads.py` chooses beside the busy core, as `train.py` does when it starts.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import tyro
from timing import machine, save
from train_step import configure, prepare_steps

from dnnlib.cpu_threads import CpuThreads
from training.spec import ImageSpec


@contextmanager
def busy_core() -> Iterator[None]:
    """Keep one core busy."""
    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        loop.kill()
        loop.wait()


def main(
    preset: str = "robohash",
    fmap_base: int = 512,
    fmap_max: int = 64,
    batch: int = 8,
    steps: int = 20,
    rounds: int = 5,
    json: Path | None = None,
) -> None:
    """Measure and print.

    Args:
        preset: Preset that the networks and losses come from, but for their sizes.
        fmap_base: Feature maps of G and D, see `train.py --help`.
        fmap_max: Most feature maps in any layer.
        batch: Images a step.
        steps: Steps of D and G in each case and round.
        rounds: How often each case is measured; the median counts.
        json: Also write the figures to this file.
    """
    cfg = configure(preset, fmap_base, fmap_max, batch, "cpu")
    facts = machine(torch.device("cpu"))
    run = prepare_steps(cfg, ImageSpec(resolution=64, c_dim=5 if cfg.use_labels else 0), torch.device("cpu"))

    def rate() -> float:
        start = time.perf_counter()
        for _ in range(steps):
            run["D step"]()
            run["G step"]()
        return steps * batch / (time.perf_counter() - start)

    # The first steps allocate memory.
    rate()
    threads = CpuThreads()
    rates: dict[str, list[float]] = {"quiet": [], "all threads": [], "chosen": []}
    chosen = []
    for _ in range(rounds):
        torch.set_num_threads(threads.most)
        rates["quiet"].append(rate())
        with busy_core():
            rates["all threads"].append(rate())

            # The load since the last choice would count otherwise.
            threads.measure()
            chosen.append(threads.choose())
            rates["chosen"].append(rate())

    medians = {name: float(np.median(values)) for name, values in rates.items()}
    save({**facts, "network": f"{preset}, fmap_base {fmap_base}, batch {batch}", "threads": chosen, **medians}, json)
    print("\n| case | img/s | of quiet |\n|---|---|---|")
    for name, value in medians.items():
        print(f"| {name} | {value:.1f} | {value / medians['quiet']:.0%} |")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
