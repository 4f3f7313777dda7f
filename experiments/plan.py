"""What an experiment consists of."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Dataset:
    """Characters of `create_robohash`, made when they are first needed."""

    images: int = 4000
    seed: int = 0
    sets: tuple[int, ...] = ()
    """Kinds of characters; () = all."""

    def path(self, folder: Path) -> Path:
        """Return where the dataset belongs."""
        sets = "".join(f"-set{n}" for n in self.sets)
        return folder / f"robohash64{sets}-{self.images}-seed{self.seed}"


BASE = "base"  # name of the folder of an experiment's base
HELD_OUT = Dataset(seed=1)  # other characters than those of any training set


@dataclass(frozen=True)
class Setting:
    """One row of the table of an experiment: the values that it is named by, and the options that set them."""

    values: tuple[str, ...]
    """One for each of the experiment's columns."""
    args: tuple[str, ...]
    """Further options of train.py; `{base}` stands for the network of the experiment's `base`, and `{half}` for half of
    the run's kimg."""
    data: Dataset = Dataset()
    preset: str | None = None
    """Another preset than the experiment's."""
    share: float = 1.0
    """Share of the experiment's kimg, where settings of equal time see unequally many images."""


@dataclass(frozen=True)
class Figure:
    """A figure of the table: a value of a metric."""

    title: str
    metric: str
    """Name of the metric, as `run_metrics.py --metrics` takes it."""
    lower_is_better: bool = True
    key: str = ""
    """Which of the values of the metric; empty = the one that it is named after."""
    over_snapshots: bool = False
    """Take the mean over all snapshots that have a value, rather than that of the last one."""
    names_best: bool = True
    """Whether the best mean is set in bold; not where the lowest value need not be the best."""


QUALITY = (Figure("swd", "swd2000"), Figure("msssim", "msssim400", names_best=False))
"""How far fakes are from reals, and how similar fakes are to one another."""

SMALL = ("--resolution", "32", "--on-divergence", "ignore")
"""The 32x32 level, which trains faster; a run that diverges is a result as well."""

CONNECTIONS = {
    "all": (),
    "coarse (4)": ("--D.resolutions", "4"),
    "middle (8)": ("--D.resolutions", "8"),
    "fine (16)": ("--D.resolutions", "16"),
    "none": ("--D.resolutions",),
}
"""Options of D for the levels below the full one whose images it sees; those of `none` are an empty list. At 32x32."""


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
    base: Setting | None = None
    """A run that comes first, with seed 0, for others to start from."""
    random_detectors: bool = True
    """Whether detectors have random weights, because downloading trained ones may be impossible."""


def label(experiment: Experiment, setting: Setting) -> str:
    """Return what a setting is called in pictures: its first value, and the others with the names of their columns."""
    first, *others = setting.values
    names = experiment.columns[1:]
    return "\n".join([first, *(f"{name} {value}" for name, value in zip(names, others, strict=True))])


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
        if self.setting == self.experiment.base:
            return BASE
        words = [re.sub(r"[^a-z0-9.]+", "-", value.lower()).strip("-") for value in self.setting.values]
        return "_".join([*words, f"seed{self.seed}"])

    @property
    def length(self) -> float:
        """Thousands of images that the run sees."""
        return self.kimg * self.setting.share

    def train_args(self, out: Path, datasets: Path) -> list[str]:
        """Return the arguments of train.py, except the result folder.

        out: the folder of the experiment, in which its base is.
        """
        experiment, setting, kimg = self.experiment, self.setting, self.length
        stands_for = {"{half}": lambda: f"{kimg / 2:g}", "{base}": lambda: str(_newest_network(out / BASE))}
        return [
            *(setting.preset or experiment.preset, "--data", str(setting.data.path(datasets))),
            *("--seed", str(self.seed), "--total-kimg", f"{kimg:g}", "--lr-decay-kimg", f"{kimg:g}"),
            *experiment.args,
            *(stands_for[arg]() if arg in stands_for else arg for arg in setting.args),
        ]


def _newest_network(folder: Path) -> Path:
    """Return the last network of the runs in a folder."""
    return max(folder.glob("*/network-snapshot-*.safetensors"), default=folder)
