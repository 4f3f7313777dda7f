"""The store of detector features: computed once for all metrics of a detector, and kept on disk for reals."""

import contextlib
import hashlib
import json
import os
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from dnnlib import distributed
from dnnlib.errors import UserError
from dnnlib.files import make_dir
from metrics import tables
from metrics.detectors.detector import Detector
from metrics.moments import Moments
from metrics.samples import OfClass, Reals, Samples, stream
from metrics.tables import Table

CACHE_VERSION = 2
CACHE_BYTES = 10 * 2**30
T = TypeVar("T")


class FeatureStore:
    """Features of samples, as batches, as one table, or as moments.

    shared: by the name of a detector that several metrics use, the largest number of fakes that one of them wants.
    Those fakes are seen once. cache_dir: where tables and moments of reals are kept; None = nowhere.
    """

    def __init__(
        self,
        fakes: Samples,
        batch: int = 32,
        shared: dict[str, int] | None = None,
        cache_dir: Path | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> None:
        self.fakes = fakes
        self.batch = batch
        self.shared = shared or {}
        self.cache_dir = cache_dir
        self.stop = stop
        self._outputs_of_fakes: dict[str, tuple[Table, ...]] = {}

    def stream(
        self,
        samples: Samples,
        n: int,
        compute: Callable[[torch.Tensor, np.ndarray], T],
        title: str,
        multiple: int = 1,
    ) -> Iterator[T]:
        """Yield `compute(images, indices)` of images 0 to n-1 in batches, in order and on all processes; the size of a
        batch is divisible by `multiple`. What `compute` returns must be on the host."""
        batch = max(self.batch // multiple, 1) * multiple
        return stream(n, batch, samples, compute, title, self.stop)

    def batches(
        self, samples: Samples, n: int, detector: Detector, title: str, output: int = 0
    ) -> Iterator[np.ndarray]:
        """Yield features float32 [batch,F] of images 0 to n-1, in order, the same on all processes."""
        if self._is_shared(samples, n, detector):
            table = self._shared_outputs(detector)[output]
            return (table[start : min(start + self.batch, n)] for start in range(0, n, self.batch))
        return (outputs[output] for outputs in self._outputs(samples, n, detector, title))

    def table(self, samples: Samples, n: int, detector: Detector, title: str) -> Table:
        """Return features of images 0 to n-1 as one array [n,F] in a file; that of reals is kept."""
        if self._is_shared(samples, n, detector):
            return self._shared_outputs(detector)[0][:n]

        # Processes on other machines may have other caches: all must agree to use theirs.
        path = self._cache_file(samples, n, detector, "npy")
        cached = distributed.together(lambda: _load(tables.load, path))
        everywhere = all(distributed.gather_objects(cached is not None))
        if cached is not None and everywhere:
            return cached

        features = ((outputs[0],) for outputs in self._outputs(samples, n, detector, title))
        (table,) = tables.on_disk(features, n)
        self._keep(path, lambda path: tables.save(table, path))
        return table

    def moments(self, samples: Samples, n: int, detector: Detector, title: str) -> Moments:
        """Return moments of the features of images 0 to n-1, on the main process; those of reals are kept."""
        path = self._cache_file(samples, n, detector, "npz")
        is_main = distributed.is_main()
        cached = distributed.together(lambda: _load(Moments.load, path) if is_main else None)
        if distributed.broadcast_object(cached is not None):
            return cached or Moments(0)

        moments = Moments(0)
        seen = 0
        for features in self.batches(samples, n, detector, title):
            if is_main:
                if not seen:
                    moments = Moments(features.shape[1])
                indices = np.arange(seen, seen + len(features))
                moments.add(features, samples.second_half(indices, n))
            seen += len(features)

        self._keep(path, moments.save)
        return moments

    def _outputs(self, samples: Samples, n: int, detector: Detector, title: str) -> Iterator[tuple[np.ndarray, ...]]:
        """Yield all outputs of a detector, batch by batch."""
        return self.stream(samples, n, lambda x, _: tuple(output.cpu().numpy() for output in detector(x)), title)

    def _is_shared(self, samples: Samples, n: int, detector: Detector) -> bool:
        return samples is self.fakes and n <= self.shared.get(detector.name, 0)

    def _shared_outputs(self, detector: Detector) -> tuple[Table, ...]:
        """Return all outputs for as many fakes as the metric that wants most."""
        if detector.name not in self._outputs_of_fakes:
            n = self.shared[detector.name]
            if isinstance(self.fakes, Reals):
                n = min(n, len(self.fakes))
            outputs = self._outputs(self.fakes, n, detector, "fakes")
            self._outputs_of_fakes[detector.name] = tables.on_disk(outputs, n)
        return self._outputs_of_fakes[detector.name]

    def _keep(self, path: Path | None, save: Callable[[Path], None]) -> None:
        """Write a file of the cache on the main process; a failure is a warning."""
        if path is None or not distributed.is_main():
            return
        try:
            make_dir(path.parent)
            save(path)
        except UserError as e:
            warnings.warn(f"statistics of the reals are not kept: {e}", stacklevel=2)
        else:
            _evict(path.parent, CACHE_BYTES)

    def _cache_file(self, samples: Samples, n: int, detector: Detector, form: str) -> Path | None:
        """Return a name that depends on all that the features depend on: dataset, weight files, options."""
        if self.cache_dir is None or not isinstance(samples, Reals):
            return None
        if isinstance(samples.dataset, OfClass):  # each of many classes would fill the disk
            return None
        conditions = {
            **samples.facts,
            **detector.facts,
            "seed": samples.seed if samples.mirror else None,
            "n": n,
            "version": CACHE_VERSION,
        }
        key = hashlib.sha256(json.dumps(conditions, sort_keys=True).encode()).hexdigest()[:32]
        return self.cache_dir / f"{detector.name}-{key}.{form}"


def default_cache() -> Path:
    """Return the folder of this user where statistics of reals are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "msg-gan" / "metrics"


def _load(load: Callable[[Path], T], path: Path | None) -> T | None:
    """Return what a file of the cache holds, and mark it as used; None if it is missing or damaged."""
    try:
        if path is None or not path.is_file():
            return None
        content = load(path)
        with contextlib.suppress(OSError):
            os.utime(path)  # see _evict
        return content
    except (ValueError, OSError):  # damaged, or not readable for this user: computed again
        return None


def _evict(folder: Path, limit: int) -> None:
    """Delete the least recently used files until the rest fits into `limit` bytes; files of other names stay."""
    with contextlib.suppress(OSError):  # another process may do the same
        cached = [path for path in folder.iterdir() if re.fullmatch(r"[a-z0-9]+-[0-9a-f]{32}\.np[yz]", path.name)]
        files = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in cached)
        total = sum(size for _, size, _ in files)
        for _, size, path in files[:-1]:  # the last is new
            if total > limit:
                path.unlink()
                total -= size
