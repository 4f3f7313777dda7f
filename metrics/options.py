"""Options of run_metrics.py."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from metrics.detectors.detector import DetectorOptions

Flag = tyro.conf.FlagCreatePairsOff


@dataclass(frozen=True, kw_only=True)
class Options:
    """Score networks, or a set of images, against a dataset."""

    network: str | None = None
    """network file of any kind or its URL, or a run dir of train.py"""
    run_id: int | None = None
    """number of a run dir instead, looked for in --result-dir"""
    result_dir: Path = Path("results")
    """where run dirs are"""
    snapshot: str = "latest"
    """of a run dir: its kimg, latest, or all"""
    images: Path | None = None
    """score these images instead of a network: a dataset of any form"""
    metrics: str = "swd"
    """names, separated by commas; fid50k, kid50k, is50k, pr50k3, ppl_wend, swd, ...: see docs/metrics.md"""
    data: Path | None = None
    """dataset of reals; default: that of the run"""
    mirror: Annotated[bool, Flag] = False
    """mirror reals at random; done anyway for the snapshots of a run that was trained so"""
    trunc: float = 1.0
    """truncation psi of the fakes; 1 = none, as published figures have it"""
    crop: Literal["face", "none"] | None = None
    """what path lengths look at: the region of an aligned face, or all; default: face, but all for ppl2_wend"""
    class_idx: Annotated[int | None, tyro.conf.arg(name="class")] = None
    """fakes of one class only, against reals of that class"""
    per_class: Annotated[bool, Flag] = False
    """also score each class by itself"""
    seed: int | None = None
    """of latents and all other draws; default: that of the run, else 0"""
    repeats: int = 1
    """times to measure, each with the next seed: mean and deviation are printed"""
    batch: int = 32
    """images at a time; changes no result beyond rounding"""
    gpus: int = 1
    """processes, one a GPU; results do not depend on it"""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """auto = cuda if there is one"""
    cache_dir: Path | None = None
    """statistics of reals are kept here; default: ~/.cache/msg-gan/metrics"""
    out: Path | None = None
    """file to which results are added as JSON lines, besides those of the run dir"""
    detectors: Annotated[DetectorOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=DetectorOptions)

    def __post_init__(self) -> None:
        sources = (self.network, self.run_id, self.images)
        if sum(source is not None for source in sources) != 1:
            raise ValueError("expected one of --network, --run-id and --images")
        for name in ("repeats", "batch", "gpus"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} {getattr(self, name)}: expected >= 1")
        if self.seed is not None and self.seed < 0:
            raise ValueError(f"--seed {self.seed}: expected >= 0")
        if self.images is not None and (self.class_idx is not None or self.per_class):
            raise ValueError("--class and --per-class: expected a network, not --images, with them")
        if not -10 <= self.trunc <= 10:
            raise ValueError(f"--trunc {self.trunc}: expected -10 to 10")
