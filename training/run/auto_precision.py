"""Which precision a run takes where it is left open."""

from dataclasses import replace
from pathlib import Path

import torch

from dnnlib import distributed
from training.config import TrainConfig
from training.precision import resolve_precision
from training.run.checkpoint import load_checkpoint
from training.run.cost import estimate_cost
from training.spec import ImageSpec

# On a CPU with fast bf16, the operations of a D and a G step per pixel of the image from which on bf16 is faster than
# fp32. With fewer, what convolutions gain is lost to the conversion of maps and weights (docs/performance.md).
BF16_PAYS = 150e3


def choose_precision(
    cfg: TrainConfig, spec: ImageSpec, device: torch.device, checkpoint: Path | None = None
) -> TrainConfig:
    """Return the options with bf16, fp16 or fp32 in place of `--precision auto`: what trains these networks faster.

    A run that goes on from a checkpoint keeps its precision, where this hardware is fast at it. All processes must call
    it together.
    """
    precision = resolve_precision(cfg.precision, device)
    if cfg.precision != "auto" or precision == "fp32":
        return replace(cfg, precision=precision)

    # Runs that were started before there was a choice have "auto" for what the hardware is fast at.
    if checkpoint is not None:
        kept: str = distributed.on_main(lambda: load_checkpoint(checkpoint)["config"]["precision"])
        return replace(cfg, precision="fp32" if kept == "fp32" else precision)
    if device.type != "cpu":
        return replace(cfg, precision=precision)

    # Compiled steps convert in passing.
    cost = distributed.on_main(lambda: estimate_cost(cfg, spec))
    per_pixel = (cost.d_flops + cost.g_flops) / (spec.resolution * spec.width)
    return replace(cfg, precision="bf16" if cfg.compile or per_pixel >= BF16_PAYS else "fp32")
