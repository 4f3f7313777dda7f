"""How to measure: options of run_metrics.py that training hands in as well, and that metrics look at."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dnnlib.cli import Switch
from metrics.detectors.detector import DetectorOptions


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to measure."""

    metrics: str = "swd"
    """Names of metrics, separated by commas: fid50k, kid50k, is50k, pr50k3, ppl_wend, swd, ...; see docs/metrics.md."""
    mirror: Switch = False
    """Mirror reals at random. This is done anyway for snapshots of a run that was trained with mirroring."""
    trunc: float = 1.0
    """Truncation psi of the fakes; 1 = none, as in published figures."""
    crop: Literal["face", "none"] | None = None
    """Region that path lengths look at: face (of an aligned face) or none (the whole image). Default: face, but none
    for ppl2_wend."""
    class_idx: Annotated[int | None, tyro.conf.arg(name="class")] = None
    """Measure fakes of this class only, against reals of the same class."""
    per_class: Switch = False
    """Also score each class by itself."""
    seed: int | None = None
    """Seed of latents and all other draws. Default: the run's seed, or 0."""
    repeats: int = 1
    """How many times to measure, each with the next seed; mean and deviation are printed."""
    batch: int = 32
    """Images per pass; affects results only by rounding."""
    cache_dir: Path | None = None
    """Folder where statistics of reals are kept. Default: ~/.cache/msg-gan/metrics."""
    out: Path | None = None
    """File to which results are added as JSON lines, besides those of the run dir."""
    detectors: Annotated[DetectorOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=DetectorOptions)
    """Options of detectors."""

    def __post_init__(self) -> None:
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
