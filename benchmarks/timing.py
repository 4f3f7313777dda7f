"""What the benchmarks share: timing in turns, a description of the machine, noise to make images of, figures as JSON.

Importing it makes the packages of the repository importable, from wherever a benchmark is started.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))


class Timing(NamedTuple):
    """How long something takes."""

    seconds: float  # by the clock
    cpu_seconds: float  # of this process and of those that it waited for


def time_in_turns(functions: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 0) -> dict[str, Timing]:
    """Return the median timing of each function.

    They are called in turns, so that a machine that gets slower or faster meanwhile does so for all of them. The first
    `warm_up` turns do not count.
    """
    # Seconds by the clock, and CPU seconds of this process and its children: user, system, theirs.
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in functions}
    for _ in range(warm_up + repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            cpu_start = sum(os.times()[:4])
            function()

            # A GPU works on after the call has returned.
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()
            samples[name].append((time.perf_counter() - start, sum(os.times()[:4]) - cpu_start))

    return {name: Timing(*np.median(values[warm_up:], axis=0).tolist()) for name, values in samples.items()}


def machine(device: torch.device) -> dict[str, str]:
    """Return what the figures depend on: the processor or GPU, and the version of torch; of a GPU, also its clocks.

    Call it before measuring, so that nothing is lost if it fails.
    """
    if device.type == "cpu":
        hardware = f"{torch.cpu.get_capabilities()['cpu_name']}, {torch.get_num_threads()} threads"
        return {"hardware": hardware, "torch": torch.__version__}

    fields = "driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.limit"
    uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader", f"--id={uuid}"]
    values = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().split(", ")
    return {
        "hardware": torch.cuda.get_device_name(device),
        "torch": torch.__version__,
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),
        **dict(zip(fields.split(","), values, strict=True)),
    }


def multiscale_noise(rng: np.random.Generator, width: int, height: int, scales: tuple[int, ...]) -> np.ndarray:
    """Return noise as float32 [height,width,3] around 0, with detail at all scales as photographs have it.

    A scale is the number of random values along the width.
    """
    # Random values at a few points, and smooth transitions between them; fine detail is the weakest.
    total = np.zeros((height, width, 3), np.float32)
    for scale in scales:
        small = Image.fromarray(rng.integers(0, 256, (scale * height // width, scale, 3), dtype=np.uint8))
        large = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), np.float32)
        total += (large - 128) * scale**-0.25
    return total


def save(figures: dict[str, Any], path: Path | None) -> None:
    """Print the figures as JSON, and write them to a file if one is given."""
    text = json.dumps(figures, indent=1)
    print(text)
    if path:
        path.write_text(text + "\n", encoding="utf-8")
