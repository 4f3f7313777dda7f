"""The options of run_metrics.py: what to measure, and how."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from metrics.catalog import choose
from metrics.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Options:
    """Score networks, or a set of images, against a dataset."""

    network: str | None = None
    """Network file of any kind, its URL or hf://user/repo, or a run dir of train.py."""
    run_id: int | None = None
    """Number of a run dir in --result-dir, instead of --network."""
    result_dir: Path = Path("results")
    """Folder of run dirs."""
    snapshot: str = "latest"
    """Which snapshot of a run dir: its kimg, latest, or all."""
    images: Path | None = None
    """Score these images instead of a network: a dataset of any form."""
    data: Path | None = None
    """Dataset of reals. Default: the dataset of the run."""
    gpus: int = 1
    """Number of processes, each with a GPU of its own; results do not depend on it."""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """Where to compute: auto = CUDA if a GPU is available."""
    settings: Annotated[Settings, tyro.conf.OmitArgPrefixes] = field(default_factory=Settings)
    """How to measure."""

    def __post_init__(self) -> None:
        sources = (self.network, self.run_id, self.images)
        if sum(source is not None for source in sources) != 1:
            raise ValueError("expected one of --network, --run-id and --images")

        # An unknown metric is reported before anything starts.
        choose(self.settings.metrics)
        if self.gpus < 1:
            raise ValueError(f"--gpus {self.gpus}: expected >= 1")

        # A set of images is scored as a whole.
        if self.images is not None and (self.settings.class_idx is not None or self.settings.per_class):
            raise ValueError("--class and --per-class: expected a network, not --images, with them")
