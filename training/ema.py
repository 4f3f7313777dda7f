"""Moving average of the generator's weights, by half-life in images."""

import torch

from training.config import TrainConfig
from training.networks.base import Generator


def ema_beta(cfg: TrainConfig, cur_nimg: int) -> float:
    """Return the decay of one D step that ends at `cur_nimg` images: `ema_decay`, or 0.5^(batch / half-life)."""
    if cfg.ema_decay is not None:
        return cfg.ema_decay

    # In short runs the half-life starts small, so that the untrained G is soon forgotten.
    half_life = cfg.ema_kimg * 1000
    if cfg.ema_rampup is not None:
        half_life = min(half_life, cur_nimg * cfg.ema_rampup)
    return 0.5 ** (cfg.batch / half_life) if half_life > 0 else 0.0


@torch.no_grad()
def update_ema(ema: torch.Tensor, weights: torch.Tensor, G_ema: Generator, G: Generator, beta: float) -> None:
    """Move the flat parameters `ema` towards `weights`, and copy buffers (noise, w_avg) as they are."""
    ema.lerp_(weights, 1 - beta)

    for average, buffer in zip(G_ema.buffers(), G.buffers(), strict=True):
        average.copy_(buffer)
