"""What every metric is given, and the features that most of them start from."""

import contextlib
import hashlib
import json
import os
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from dnnlib import distributed
from dnnlib.errors import UserError
from dnnlib.files import make_dir
from metrics import tables
from metrics.detectors.detector import Detector, DetectorOptions
from metrics.moments import Moments
from metrics.samples import Both, Fakes, OfClass, Reals, Samples, stream
from metrics.tables import Table
from training.data.dataset import Dataset

CACHE_VERSION = 2
CACHE_BYTES = 10 * 2**30
T = TypeVar("T")


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
    crop: str | None = None  # of path lengths: face or none, instead of what a metric has by itself
    facts: dict[str, Any] = field(default_factory=dict)  # what the metric at hand depends on, filled by what is used
    loaded: dict[str, Detector] = field(default_factory=dict)  # detectors so far; may be shared
    several: dict[str, int] = field(default_factory=dict)  # fakes wanted of a detector that several metrics ask
    stop: Callable[[], bool] | None = None  # asked now and then, on all processes: end this by raising Stopped?
    seen: dict[str, tuple[Table, ...]] = field(default_factory=dict)  # what such a detector saw of them

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
            self.loaded[name] = distributed.main_first(lambda: Detector(name, self.detectors, self.device))
        self.facts |= self.loaded[name].facts
        return self.loaded[name]

    def fakes_of(self, n: int) -> tuple[Samples, int]:
        """The fakes, and how many: n, or as many as there are."""
        if isinstance(self.fakes, Reals):
            n = min(n, len(self.fakes))
            if n < 2:
                raise UserError(f"{self.fakes.dataset.name}: {n} images, expected at least 2")
        self.facts |= {f"fake_{k}" if isinstance(self.fakes, Reals) else k: v for k, v in self.fakes.facts.items()}
        self.facts["num_fakes"] = n
        return self.fakes, n

    def reals_of(self, n: int | None) -> tuple[Reals, int]:
        """The reals: n, drawn by repeating the set, mirrored at random if so asked; or, for None, all of them once,
        with their mirror images if so asked."""
        dataset = self.dataset()
        reals = Both(dataset) if n is None and self.mirror else Reals(dataset, self.mirror and n is not None, self.seed)
        n = len(reals) if n is None else n
        if len(dataset) < 2:
            raise UserError(f"{dataset.name}: {len(dataset)} images, expected at least 2")
        self.facts |= {**reals.facts, "num_reals": n}
        return reals, n

    def stream(
        self,
        samples: Samples,
        n: int,
        compute: Callable[[torch.Tensor, np.ndarray], T],
        title: str,
        multiple: int = 1,
    ) -> Iterator[T]:
        """`compute(images, indices)` of images 0 to n-1 in batches, each of a multiple of so many, in order and on all
        processes; what it returns must be on the host."""
        batch = max(self.batch // multiple, 1) * multiple
        return stream(n, batch, samples, compute, title, self.stop)

    def features(
        self, samples: Samples, n: int, detector: Detector, title: str, output: int = 0
    ) -> Iterator[np.ndarray]:
        """Features float32 [batch,F] of images 0 to n-1, in order, the same on all processes."""
        if samples is self.fakes and n <= self.several.get(detector.name, 0):
            table = self._features_of_fakes(detector)[output]
            return (table[i : min(i + self.batch, n)] for i in range(0, n, self.batch))
        return (out[output] for out in self._see(samples, n, detector, title))

    def table(self, samples: Samples, n: int, detector: Detector, title: str) -> Table:
        """The same as one array [n,F] in a file; that of reals is kept."""
        if samples is self.fakes and n <= self.several.get(detector.name, 0):
            return self._features_of_fakes(detector)[0][:n]
        path = self._cache_file(samples, n, detector, "npy")
        cached = distributed.together(lambda: _load(tables.load, path))
        had = distributed.gather_objects(cached is not None)
        if cached is not None and all(had):
            return cached
        (found,) = tables.on_disk(((out[0],) for out in self._see(samples, n, detector, title)), n)
        self._keep(path, lambda path: tables.save(found, path))
        return found

    def moments(self, samples: Samples, n: int, detector: Detector, title: str) -> Moments:
        """Moments of their features, on the main process; those of reals are kept."""
        path = self._cache_file(samples, n, detector, "npz")
        main = distributed.is_main()
        cached = distributed.together(lambda: _load(Moments.load, path) if main else None)
        if distributed.broadcast_object(cached is not None):
            return cached or Moments(0)
        moments = Moments(0)
        seen = 0
        for features in self.features(samples, n, detector, title):
            if main:
                moments = moments if seen else Moments(features.shape[1])
                moments.add(features, samples.second_half(np.arange(seen, seen + len(features)), n))
            seen += len(features)
        self._keep(path, moments.save)
        return moments

    def _see(self, samples: Samples, n: int, detector: Detector, title: str) -> Iterator[tuple[np.ndarray, ...]]:
        """All outputs of a detector."""
        return self.stream(samples, n, lambda x, _: tuple(y.cpu().numpy() for y in detector(x)), title)

    def _features_of_fakes(self, detector: Detector) -> tuple[Table, ...]:
        """All outputs for as many fakes as the metric that wants most: computed once for all metrics."""
        if detector.name not in self.seen:
            n = self.several[detector.name]
            n = min(n, len(self.fakes)) if isinstance(self.fakes, Reals) else n
            self.seen[detector.name] = tables.on_disk(self._see(self.fakes, n, detector, "fakes"), n)
        return self.seen[detector.name]

    def _keep(self, path: Path | None, save: Callable[[Path], None]) -> None:
        if path and distributed.is_main():
            try:
                make_dir(path.parent)
                save(path)
            except UserError as e:
                warnings.warn(f"what was computed of the reals is not kept: {e}", stacklevel=2)
            else:
                _forget(path.parent, CACHE_BYTES)

    def _cache_file(self, samples: Samples, n: int, detector: Detector, form: str) -> Path | None:
        """Named by all that the moments depend on, so that another dataset, file or option has another name."""
        if self.cache_dir is None or not isinstance(samples, Reals) or isinstance(samples.dataset, OfClass):
            return None  # of each of many classes would fill the disk
        depends = {
            **samples.facts,
            **detector.facts,
            "seed": samples.seed if samples.mirror else None,
            "n": n,
            "version": CACHE_VERSION,
        }
        key = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:32]
        return self.cache_dir / f"{detector.name}-{key}.{form}"


def _load(load: Callable[[Path], T], path: Path | None) -> T | None:
    try:
        if not path or not path.is_file():
            return None
        found = load(path)
        with contextlib.suppress(OSError):
            os.utime(path)  # used now: see _forget
        return found
    except (ValueError, OSError):  # half-written by something else, or not for us to read: computed again
        return None


def _forget(folder: Path, limit: int) -> None:
    """Delete what was not used for longest, so that the rest is within `limit` bytes; files of other names stay."""
    with contextlib.suppress(OSError):  # another process may do the same
        ours = [f for f in folder.iterdir() if re.fullmatch(r"[a-z0-9]+-[0-9a-f]{32}\.np[yz]", f.name)]
        files = sorted((f.stat().st_mtime, f.stat().st_size, f) for f in ours)
        total = sum(size for _, size, _ in files)
        for _, size, f in files[:-1]:  # the last is new
            if total > limit:
                f.unlink()
                total -= size


def default_cache() -> Path:
    """Where statistics of reals are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "msg-gan" / "metrics"
