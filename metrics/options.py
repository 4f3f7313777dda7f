"""The options of run_metrics.py: how to measure (Settings), which training hands in as well, and what (Options)."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from metrics.catalog import choose
from metrics.detectors.detector import DetectorOptions

Flag = tyro.conf.FlagCreatePairsOff


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to measure."""

    metrics: str = "swd"
    """Names of metrics, separated by commas: fid50k, kid50k, is50k, pr50k3, ppl_wend, swd, ...; see docs/metrics.md."""
    mirror: Annotated[bool, Flag] = False
    """Mirror reals at random; done anyway for the snapshots of a run that was trained so."""
    trunc: float = 1.0
    """Truncation psi of the fakes; 1 = none, as in published figures."""
    crop: Literal["face", "none"] | None = None
    """What path lengths look at: the region of an aligned face, or all; default: face, but all for ppl2_wend."""
    class_idx: Annotated[int | None, tyro.conf.arg(name="class")] = None
    """Measure fakes of this class only, against reals of the same class."""
    per_class: Annotated[bool, Flag] = False
    """Also score each class by itself."""
    seed: int | None = None
    """Seed of latents and all other draws; default: that of the run, else 0."""
    repeats: int = 1
    """How many times to measure, each with the next seed; mean and deviation are printed."""
    batch: int = 32
    """Images at a time; changes no result beyond rounding."""
    cache_dir: Path | None = None
    """Folder where statistics of reals are kept; default: ~/.cache/msg-gan/metrics."""
    out: Path | None = None
    """File to which results are added as JSON lines, besides those of the run dir."""
    detectors: Annotated[DetectorOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=DetectorOptions)
    """Options of detectors."""

    def __post_init__(self) -> None:
        # An unknown metric is reported before anything starts.
        choose(self.metrics)

        # Ranges that tyro does not check.
        for name, value, lowest in (
            ("seed", self.seed or 0, 0),
            ("repeats", self.repeats, 1),
            ("batch", self.batch, 1),
        ):
            if value < lowest:
                raise ValueError(f"--{name} {value}: expected >= {lowest}")
        # The range that networks accept.
        if not -10 <= self.trunc <= 10:
            raise ValueError(f"--trunc {self.trunc}: expected -10 to 10")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Score networks, or a set of images, against a dataset."""

    network: str | None = None
    """Network file of any kind or its URL, or a run dir of train.py."""
    run_id: int | None = None
    """Number of a run dir in --result-dir, instead of --network."""
    result_dir: Path = Path("results")
    """Folder of run dirs."""
    snapshot: str = "latest"
    """Which snapshot of a run dir: its kimg, latest, or all."""
    images: Path | None = None
    """Score these images instead of a network: a dataset of any form."""
    data: Path | None = None
    """Dataset of reals; default: that of the run."""
    gpus: int = 1
    """Number of processes, each with a GPU of its own; results do not depend on it."""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """Where to compute: auto = cuda if there is one."""
    settings: Annotated[Settings, tyro.conf.OmitArgPrefixes] = field(default_factory=Settings)
    """How to measure."""

    def __post_init__(self) -> None:
        sources = (self.network, self.run_id, self.images)
        if sum(source is not None for source in sources) != 1:
            raise ValueError("expected one of --network, --run-id and --images")
        if self.gpus < 1:
            raise ValueError(f"--gpus {self.gpus}: expected >= 1")

        # A set of images is scored as a whole.
        if self.images is not None and (self.settings.class_idx is not None or self.settings.per_class):
            raise ValueError("--class and --per-class: expected a network, not --images, with them")
