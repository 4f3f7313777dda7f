"""What a metric is given, and what it returns."""

from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dnnlib import distributed
from dnnlib.errors import UserError
from metrics.detectors.detector import Detector, DetectorOptions
from metrics.features import FeatureStore
from metrics.samples import Both, Fakes, Reals, Samples
from training.data.dataset import Dataset

Facts = dict[str, Any]
"""What a result depends on, by name."""


class Measurement(NamedTuple):
    """Named values of a metric, and what they depend on."""

    values: dict[str, float]
    facts: Facts


class DrawnFakes(NamedTuple):
    """The first n fakes, and what results depend on because of them."""

    samples: Samples
    n: int
    facts: Facts


class DrawnReals(NamedTuple):
    """The first n reals, and what results depend on because of them."""

    samples: Reals
    n: int
    facts: Facts


@dataclass
class Context:
    """A set of images to be judged, the reals to judge it by, and how."""

    fakes: Samples
    reals: Dataset | None
    device: torch.device
    detectors: DetectorOptions = field(default_factory=DetectorOptions)
    mirror: bool = False
    seed: int = 0
    crop: str | None = None  # of path lengths: face or none, instead of what a metric has by itself
    loaded: dict[str, Detector] = field(default_factory=dict)  # detectors so far; may be shared
    features: FeatureStore = field(init=False)
    batch: InitVar[int] = 32
    shared: InitVar[dict[str, int] | None] = None  # see FeatureStore
    cache_dir: InitVar[Path | None] = None
    stop: InitVar[Callable[[], bool] | None] = None

    def __post_init__(
        self,
        batch: int,
        shared: dict[str, int] | None,
        cache_dir: Path | None,
        stop: Callable[[], bool] | None,
    ) -> None:
        self.features = FeatureStore(self.fakes, batch, shared, cache_dir, stop)

    def generator(self) -> Fakes:
        """Return the fakes, for metrics that need a generator."""
        if not isinstance(self.fakes, Fakes):
            raise UserError("this metric looks at a generator, expected --network instead of --images")
        return self.fakes

    def dataset(self) -> Dataset:
        """Return the reals."""
        if self.reals is None:
            raise UserError("this metric compares with real images, expected --data DATASET")
        return self.reals

    def detector(self, name: str) -> Detector:
        """Return a detector, loaded once."""
        if name not in self.loaded:
            self.loaded[name] = distributed.main_first(lambda: Detector(name, self.detectors, self.device))
        return self.loaded[name]

    def draw_fakes(self, n: int) -> DrawnFakes:
        """Draw n fakes, or as many as there are."""
        facts = self.fakes.facts
        if isinstance(self.fakes, Reals):
            n = min(n, len(self.fakes))
            if n < 2:
                raise UserError(f"{self.fakes.dataset.name}: {n} images, expected at least 2")
            facts = {f"fake_{key}": value for key, value in facts.items()}
        return DrawnFakes(self.fakes, n, facts | {"num_fakes": n})

    def draw_reals(self, n: int | None) -> DrawnReals:
        """Draw n reals by repeating the set, mirrored at random if so asked; or, for None, all of them once, with their
        mirror images if so asked."""
        dataset = self.dataset()
        if len(dataset) < 2:
            raise UserError(f"{dataset.name}: {len(dataset)} images, expected at least 2")

        if n is None:
            reals = Both(dataset) if self.mirror else Reals(dataset, seed=self.seed)
            n = len(reals)
        else:
            reals = Reals(dataset, self.mirror, self.seed)
        return DrawnReals(reals, n, reals.facts | {"num_reals": n})
