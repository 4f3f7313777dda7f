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
    """File of the snapshot."""
    G_ema: Generator
    dataset: Dataset
    device: torch.device
    say: Callable[[str], None]
    """Write a line to the terminal and to log.txt."""
    stop: Callable[[], bool]
    """Return whether someone has asked the run to end. All processes must ask together."""


# Whatever a hook draws must not come from the global generators of torch or numpy: a run with hooks must end in the
# bits of one without.
Hook = Callable[[SavedSnapshot], None]
"""A function that is called by all processes together."""

LoadWeights = Callable[[Sequence[str]], InitialWeights]
"""A function that opens the files of `--init`."""
