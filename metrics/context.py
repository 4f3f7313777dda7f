"""What a metric is given, and what it returns."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from dnnlib.errors import UserError
from metrics.detectors.detector import Detectors
from metrics.features import Drawn, Facts, FeatureStore
from metrics.samples import Fakes, Members, Reals, Samples
from metrics.settings import Settings
from training.data.dataset import Dataset


class Measurement(NamedTuple):
    """Named values of a metric, the one that its name means first, and what they depend on."""

    values: dict[str, float]
    facts: Facts


@dataclass
class Context:
    """A set of images to be judged, the reals to judge it by, and how."""

    fakes: Samples
    """Images of a generator or of a second dataset."""
    reals: Dataset | None
    """The dataset to compare with, if there is one."""
    device: torch.device
    """Where networks and detectors run."""
    detectors: Detectors
    """Detectors by name; they may be shared with other contexts."""
    features: FeatureStore = field(default_factory=FeatureStore)
    """What detectors saw in these fakes and reals."""
    members: Members | None = None
    """The reals of one class, if only they count."""
    settings: Settings = field(default_factory=Settings)
    """Options of the call, some of which are for single metrics."""
    seed: int = 0
    """Seed of all draws but those of the fakes, which have their own. Repetitions have one each."""
    previous: Callable[[], Any] | None = None
    """Opens the generator of the snapshot before this one, if there is one."""

    def generator(self) -> Fakes:
        """Return the fakes; raise UserError if they are not those of a generator."""
        if not isinstance(self.fakes, Fakes):
            raise UserError("this metric looks at a generator, expected --network instead of --images")
        return self.fakes

    def dataset(self) -> Dataset:
        """Return the dataset of reals; raise UserError if there is none."""
        if self.reals is None:
            raise UserError("this metric compares with real images, expected --data DATASET")
        return self.reals

    def draw_fakes(self, n: int) -> Drawn:
        """Draw n fakes, or as many as there are."""
        facts = self.fakes.facts

        # A generator makes as many as are asked for, a set of images ends.
        if isinstance(self.fakes, Reals):
            n = min(n, len(self.fakes))

            # Facts of the same names are those of the reals.
            facts = {f"fake_{key}": value for key, value in facts.items()}
        return Drawn("fakes", self.fakes, n, n, facts | {"num_fakes": n})

    def draw_reals(self, n: int) -> Drawn:
        """Draw n reals by repeating the set, each mirrored at random if reals are mirrored."""
        # The convention of the original metrics.
        reals = Reals(self.dataset(), self.settings.mirror, self.seed, members=self.members)
        return Drawn("reals", reals, n, min(n, len(reals)), reals.facts | {"num_reals": n})

    def draw_reals_once(self, limit: int | None = None) -> Drawn:
        """Draw all reals once, but `limit` of them at most; their mirror images too if reals are mirrored."""
        # The convention of StyleGAN2.
        reals = Reals(self.dataset(), both=self.settings.mirror, members=self.members)
        n = len(reals) if limit is None else min(limit, len(reals))
        return Drawn("reals", reals, n, n, reals.facts | {"num_reals": n})
