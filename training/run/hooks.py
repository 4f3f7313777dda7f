"""What the root scripts have done at each network snapshot of a run."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from training.config import TrainConfig
from training.data.dataset import Dataset
from training.networks.base import Generator


@dataclass(frozen=True)
class SavedSnapshot:
    """A network snapshot that was just written, and its checkpoint."""

    cfg: TrainConfig
    run_dir: Path
    path: Path
    G_ema: Generator
    dataset: Dataset
    device: torch.device
    say: Callable[[str], None]  # to terminal and log.txt
    stop: Callable[[], bool]  # has someone asked the run to end? All processes must ask together


Hook = Callable[[SavedSnapshot], None]
"""Called by all processes together; whatever it draws must not come from torch's or numpy's global generators."""
