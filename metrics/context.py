"""What every metric is given, and the features that most of them start from."""

import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dnnlib import distributed
from dnnlib.errors import UserError
from dnnlib.files import make_dir
from metrics.detectors import Detector, DetectorOptions
from metrics.samples import Both, Fakes, Reals, Samples, stream
from metrics.statistics import Moments
from training.data.sampler import Dataset

CACHE_VERSION = 2


@dataclass
class Context:
    """A set of images to be judged, the reals to judge it by, and how."""

    fakes: Samples
    reals: Dataset | None
    device: torch.device
    detectors: DetectorOptions = field(default_factory=DetectorOptions)
    mirror: bool = False
    seed: int = 0
    batch: int = 32
    cache_dir: Path | None = None  # None = nothing is cached
    facts: dict[str, Any] = field(default_factory=dict)  # filled by what is used
    loaded: dict[str, Detector] = field(default_factory=dict)  # detectors so far; may be shared

    def generator(self) -> Fakes:
        """The fakes, for metrics that need a generator."""
        if not isinstance(self.fakes, Fakes):
            raise UserError("this metric looks at a generator, expected --network instead of --images")
        return self.fakes

    def dataset(self) -> Dataset:
        """The reals."""
        if self.reals is None:
            raise UserError("this metric compares with real images, expected --data DATASET")
        return self.reals

    def detector(self, name: str) -> Detector:
        """A detector, loaded once."""
        if name not in self.loaded:
            self.loaded[name] = distributed.together(lambda: Detector(name, self.detectors, self.device))
        self.facts |= self.loaded[name].facts
        return self.loaded[name]

    def fakes_of(self, n: int) -> tuple[Samples, int]:
        """The fakes, and how many: n, or as many as there are."""
        if isinstance(self.fakes, Reals):
            n = min(n, len(self.fakes))
        self.facts |= {f"fake_{k}" if isinstance(self.fakes, Reals) else k: v for k, v in self.fakes.facts.items()}
        self.facts["num_fakes"] = n
        return self.fakes, n

    def reals_of(self, n: int | None) -> tuple[Reals, int]:
        """The reals: n, drawn by repeating the set, mirrored at random if so asked; or, for None, all of them once,
        with their mirror images if so asked."""
        dataset = self.dataset()
        reals = Both(dataset) if n is None and self.mirror else Reals(dataset, self.mirror and n is not None, self.seed)
        n = len(reals) if n is None else n
        self.facts |= {**reals.facts, "num_reals": n}
        return reals, n

    def features(
        self, samples: Samples, n: int, detector: Detector, title: str, output: int = 0
    ) -> Iterator[np.ndarray]:
        """Features float32 [batch,F] of images 0 to n-1, in order, the same on all processes."""
        return stream(n, self.batch, samples, lambda x, _: detector(x)[output].cpu().numpy(), title)

    def moments(self, samples: Samples, n: int, detector: Detector, title: str) -> Moments:
        """Moments of their features; those of reals are cached."""
        path = self._cache_file(samples, n, detector)
        cached = distributed.broadcast_object(_load(path) if distributed.is_main() and path else None)
        if cached:
            return cached
        moments: Moments | None = None
        seen = 0
        for features in self.features(samples, n, detector, title):
            moments = moments or Moments(features.shape[1])
            moments.add(features, samples.second_half(np.arange(seen, seen + len(features)), n))
            seen += len(features)
        assert moments is not None
        if path and distributed.is_main():
            try:
                make_dir(path.parent)
                moments.save(path)
            except UserError as e:
                warnings.warn(f"statistics of the reals are not kept: {e}", stacklevel=2)
        return moments

    def _cache_file(self, samples: Samples, n: int, detector: Detector) -> Path | None:
        """Named by all that the moments depend on, so that another dataset, file or option has another name."""
        if self.cache_dir is None or not isinstance(samples, Reals):
            return None
        depends = {
            **samples.facts,
            **detector.facts,
            "seed": samples.seed if samples.mirror else None,
            "n": n,
            "version": CACHE_VERSION,
        }
        key = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:32]
        return self.cache_dir / f"{detector.name}-{key}.npz"


def _load(path: Path) -> Moments | None:
    try:
        return Moments.load(path) if path.is_file() else None
    except ValueError:  # half-written by something else: computed again
        return None


def default_cache() -> Path:
    """Where statistics of reals are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "msg-gan" / "metrics"


def on_disk(rows: Iterator[np.ndarray], n: int) -> np.ndarray:
    """Arrays [batch,...] that come one after the other, as one of n rows in a temporary file that goes with it: memory
    does not grow with n."""
    out: np.ndarray | None = None
    start = 0
    for part in rows:
        if out is None:
            needed, free = n * part[0].nbytes, shutil.disk_usage(tempfile.gettempdir()).free
            if needed > free:
                raise UserError(
                    f"{tempfile.gettempdir()}: {free:,} bytes free, expected {needed:,} (TMPDIR: another place)"
                )
            with tempfile.NamedTemporaryFile(prefix="msg-gan-", delete=True) as f:
                out = np.memmap(f.name, part.dtype, "w+", shape=(n, *part.shape[1:]))
        out[start : start + len(part)] = part
        start += len(part)
    assert out is not None and start == n
    return out
