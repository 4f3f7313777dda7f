"""What the root scripts hand to a run: how to open other networks, and what to do at each network snapshot."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from training.config import TrainConfig
from training.data.dataset import Dataset
from training.networks.base import Generator
from training.warm_start import InitialWeights


@dataclass(frozen=True)
class SavedSnapshot:
    """A network snapshot that was just written, and its checkpoint."""

    cfg: TrainConfig
    run_dir: Path
    path: Path
    G_ema: Generator
    dataset: Dataset
    device: torch.device
    say: Callable[[str], None]
    """Writes a line to the terminal and to log.txt."""
    stop: Callable[[], bool]
    """Has someone asked the run to end? All processes must ask together."""


Hook = Callable[[SavedSnapshot], None]
"""Called by all processes together; whatever it draws must not come from torch's or numpy's global generators."""

LoadWeights = Callable[[Sequence[str]], InitialWeights]
"""Opens the files of `--init`."""
