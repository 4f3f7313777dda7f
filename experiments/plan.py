"""What an experiment consists of."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Dataset:
    """Characters of `create_robohash`, made when they are first needed."""

    images: int = 4000
    seed: int = 0

    def path(self, folder: Path) -> Path:
        """Return where the dataset belongs."""
        return folder / f"robohash64-{self.images}-seed{self.seed}"


HELD_OUT = Dataset(seed=1)  # other characters than those of any training set


@dataclass(frozen=True)
class Setting:
    """One row of the table of an experiment: what is varied, and how train.py is told so."""

    values: tuple[str, ...]
    """One for each of the experiment's columns."""
    args: tuple[str, ...]
    """Further options of train.py."""
    data: Dataset = Dataset()


@dataclass(frozen=True)
class Figure:
    """A figure of the table: a value of a metric, of the last snapshot of a run unless a name of `results` is given."""

    title: str
    metric: str
    """As run_metrics.py is told it."""
    lower_is_better: bool = True
    over_snapshots: bool = False
    """Take the mean over all snapshots but the first, rather than the last one."""


QUALITY = (Figure("swd", "swd2000"), Figure("msssim", "msssim400"))
"""How far fakes are from reals, and how much those of a class are alike."""

SMALL = ("--resolution", "32", "--on-divergence", "ignore")
"""The 32x32 level, which trains three times as fast; a run that diverges is a result as well."""

CONNECTIONS = {
    "all": (),
    "coarse (4, 8)": ("--D.resolutions", "4", "8"),
    "fine (16)": ("--D.resolutions", "16"),
    "none": ("--D.resolutions",),
}
"""Options of D for the levels below the full one whose images it sees, at 32x32."""


@dataclass(frozen=True)
class Experiment:
    """A question, and the runs that answer it."""

    name: str
    question: str
    columns: tuple[str, ...]
    settings: Sequence[Setting]
    figures: Sequence[Figure]
    kimg: float
    """Default length of each run, in thousands of images."""
    preset: str = "robohash"
    args: tuple[str, ...] = ()
    """Options of train.py that all runs have."""
    held_out: Dataset = HELD_OUT
    random_detectors: bool = field(default=True)
    """Whether detectors have random weights, since those on the web may be out of reach."""


@dataclass(frozen=True)
class Trial:
    """One run of a setting with one seed."""

    experiment: Experiment
    setting: Setting
    seed: int
    kimg: float

    @property
    def name(self) -> str:
        """Return a name for its folder."""
        words = [re.sub(r"[^a-z0-9.]+", "-", value.lower()).strip("-") for value in self.setting.values]
        return "_".join([*words, f"seed{self.seed}"])

    def train_args(self, datasets: Path) -> list[str]:
        """Return the command line of train.py, but for where results belong."""
        experiment, kimg = self.experiment, f"{self.kimg:g}"
        return [
            *(experiment.preset, "--data", str(self.setting.data.path(datasets)), "--seed", str(self.seed)),
            *("--total-kimg", kimg, "--lr-decay-kimg", kimg),
            *experiment.args,
            *self.setting.args,
        ]
