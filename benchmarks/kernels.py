"""Show which kernels a training step spends its time in, on a GPU.

python benchmarks/kernels.py [--preset flowers256] [--resolution 256] [--batch 8] [--compile] [--json FILE]
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from timing import machine, save
from torch.profiler import ProfilerActivity, profile

from config import PRESETS
from dnnlib.distributed import pick_device
from training.precision import choose_kernels
from training.spec import ImageSpec
from training.state import TrainState
from training.update import Updater


def main(
    preset: str = "flowers256",
    resolution: int = 256,
    batch: int = 8,
    compile: bool = False,
    steps: int = 3,
    rows: int = 25,
    json: Path | None = None,
) -> None:
    """Measure and print.

    Args:
        preset: Preset that is trained, with its gradient penalty in every step.
        resolution: Width and height of the images in pixels.
        batch: Images a step, in one micro-batch.
        compile: Compile the steps.
        steps: Steps of D and G that are measured.
        rows: Kernels to show, those with the most time first.
        json: Also write the figures to this file.
    """
    cfg = PRESETS[preset]()
    cfg = replace(cfg, batch=batch, micro_batch=None, compile=compile, loss=replace(cfg.loss, reg_interval=1))
    device = pick_device("auto")
    hardware = machine(device)
    choose_kernels(cfg.deterministic)

    # A batch of noise serves all steps; the first ones allocate memory, and compile.
    state = TrainState(cfg, ImageSpec(resolution=resolution), device)
    no_labels = np.zeros((batch, 0), np.float32)
    updater = Updater(state, no_labels[:1])
    images = np.random.default_rng(0).integers(0, 256, (batch, 3, resolution, resolution), dtype=np.uint8)

    def step() -> None:
        updater.d_update(images, no_labels, 0.001)
        updater.g_update(0.001)

    for _ in range(3):
        step()

    activities = [ProfilerActivity.CUDA if device.type == "cuda" else ProfilerActivity.CPU]
    with profile(activities=activities) as profiler:
        for _ in range(steps):
            step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    # Time and launches of each kernel in one step of D and one of G; what the host does is no kernel.
    def seconds(event: Any) -> float:
        return (event.self_device_time_total if device.type == "cuda" else event.self_cpu_time_total) / 1e6

    events = sorted(profiler.key_averages(), key=seconds, reverse=True)
    if device.type == "cuda":
        events = [event for event in events if event.device_type == torch.autograd.DeviceType.CUDA]
    total = sum(map(seconds, events))
    table = [
        {"kernel": event.key, "share": seconds(event) / total, "ms": seconds(event) / steps * 1e3}
        | {"launches": event.count / steps}
        for event in events[:rows]
    ]
    launches = sum(event.count for event in events) / steps
    facts = {"network": f"{preset} {resolution}x{resolution}, batch {batch}", "compile": compile}
    save({**hardware, **facts, "ms": total / steps * 1e3, "launches": launches, "kernels": table}, json)

    print("\n| share | ms | launches | kernel |\n|---|---|---|---|")
    for row in table:
        print(f"| {row['share']:.1%} | {row['ms']:.3f} | {row['launches']:.0f} | {str(row['kernel'])[:90]} |")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
