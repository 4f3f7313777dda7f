"""How many images a process takes at once, where memory decides."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from dnnlib import distributed, hardware
from training.config import TrainConfig
from training.losses import LOSSES
from training.run.checkpoint import load_checkpoint
from training.run.cost import estimate_cost
from training.spec import ImageSpec

USABLE = 0.9  # of the memory that is free: allocators and libraries take some, and forecasts are not exact


def choose_micro_batch(cfg: TrainConfig, spec: ImageSpec, checkpoint: Path | None = None) -> TrainConfig:
    """Return the options with a number in place of `--micro-batch auto`; say which, and why.

    A run that goes on from a checkpoint keeps the number that it has, which its random inputs depend on, unless another
    one is asked for. All processes must call it together: they take what fits on all of them.
    """
    if cfg.micro_batch in ("auto", None) and checkpoint is not None:
        content = distributed.on_main(lambda: load_checkpoint(checkpoint)["config"])

        # With another number of processes, the whole of a process's share is another number of images.
        size = content["micro_batch"]
        if size is None and content["gpus"] != cfg.gpus:
            size = content["batch"] // content["gpus"]
        return replace(cfg, micro_batch=size)
    if cfg.micro_batch != "auto":
        return cfg

    free = min(distributed.gather_objects(free_memory(cfg)))
    size, peak = distributed.on_main(lambda: largest_fitting(cfg, spec, free))
    if distributed.is_main():
        about = f"micro-batch {size}: about {peak / 2**30:.2f} GiB per process"
        usable = f"the {free / 2**30:.2f} GiB that can be used"
        print(
            f"{about} of {usable}" if peak <= free else f"{about}, more than {usable}, but no smaller one is the same"
        )
    return replace(cfg, micro_batch=size)


def largest_fitting(cfg: TrainConfig, spec: ImageSpec, budget: float) -> tuple[int, int]:
    """Return the largest micro-batch whose forecast stays within `budget` bytes, and its forecast in bytes.

    If none does, the smallest one is returned. Only sizes that leave the mathematics as they are count.
    """
    for size in sizes(cfg):
        peak = estimate_cost(replace(cfg, micro_batch=size), spec).peak_bytes
        if peak <= budget:
            break
    return size, peak


def sizes(cfg: TrainConfig) -> Iterator[int]:
    """Yield the micro-batches that compute what the whole batch of a process would, from the largest to the smallest.

    Gradients are means over images, however they are divided. Minibatch stddev needs whole groups, and losses that
    compare with a mean over the batch need all of it.
    """
    share = cfg.batch // cfg.gpus
    yield share

    group = 1
    if cfg.D.uses_mbstd:
        group = min(cfg.D.mbstd_group_size or share, share)
    if LOSSES[cfg.loss.name].compares_means:
        group = share
    yield from (size for size in range(share - 1, 0, -1) if share % size == 0 and size % group == 0)


def free_memory(cfg: TrainConfig) -> float:
    """Return the bytes that each process can use: those free on its GPU, or its part of the machine's memory."""
    device = distributed.pick_device(cfg.device)
    if device.type == "cuda":
        return USABLE * torch.cuda.mem_get_info(device)[0]

    return USABLE * hardware.free_memory() / cfg.gpus
