"""The store of detector features.

What several metrics need of the fakes is computed once. Features and moments of datasets are also kept on disk.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import torch

from dnnlib import distributed
from metrics import cache, tables
from metrics.blocks import in_blocks
from metrics.detectors.detector import Detector
from metrics.moments import Moments
from metrics.samples import Fakes, Reals, Samples
from metrics.tables import Table

# Grows when what is kept changes, so that older files are not used.
CACHE_VERSION = 2

Facts = dict[str, Any]
"""What a result depends on, by name."""

Outputs = tuple[np.ndarray, ...]
T = TypeVar("T")


class Drawn(NamedTuple):
    """The first n images of the fakes or reals, and the facts about them that are recorded with results."""

    kind: Literal["fakes", "reals"]
    samples: Samples
    n: int
    distinct: int  # how many different ones are among them
    facts: Facts


@dataclass
class FeatureStore:
    """Computes features of images and keeps them; one store for each pair of fakes and reals."""

    batch: int = 32
    """Images per batch."""
    shared: dict[str, int] = field(default_factory=dict)
    """For each detector that several metrics use, the largest number of fakes that one of them needs. The detector sees
    those only once."""
    cache_dir: Path | None = None
    """Where tables and moments of datasets are kept; None = nowhere."""
    stop: Callable[[], bool] | None = None
    """Has someone asked the measurement to end? Asked between batches, on all processes together."""
    outputs_of_fakes: dict[str, tuple[Table, ...]] = field(default_factory=dict, init=False)
    """What shared detectors have seen so far."""

    def stream(self, n: int, compute: Callable[[np.ndarray], T], title: str) -> Iterator[T]:
        """Yield `compute(indices)` for images 0 to n-1 in batches.

        The batches are divided among the processes, and every process receives all results, in order. They must be on
        the host; `title` heads the progress bar. Raises Stopped if `stop` returns True.
        """
        return in_blocks(n, self.batch, lambda start, end: compute(np.arange(start, end)), title, "img", self.stop)

    def stream_images(
        self, drawn: Drawn, compute: Callable[[torch.Tensor, np.ndarray], T], title: str, multiple: int = 1
    ) -> Iterator[T]:
        """Yield `compute(images, indices)` as `stream` does, for images uint8 [batch,C,H,W].

        The size of every batch but the last is divisible by `multiple`.
        """
        batch = max(self.batch // multiple, 1) * multiple

        # Each process reads, or makes, only the images of its own batches: those that `in_blocks` lets it compute.
        starts = range(0, drawn.n, batch)[distributed.rank() :: distributed.world_size()]
        groups = (np.arange(start, min(start + batch, drawn.n)) for start in starts)
        with contextlib.closing(drawn.samples.batches(groups)) as images:

            def compute_block(start: int, end: int) -> T:
                return compute(next(images), np.arange(start, end))

            yield from in_blocks(drawn.n, batch, compute_block, title, "img", self.stop)

    def batches(self, drawn: Drawn, detector: Detector, output: int = 0) -> Iterator[np.ndarray]:
        """Yield one output of a detector, float32 [batch,F], in order, the same on all processes.

        output: its number; 0 = features, others as the detector says, e.g. probabilities of classes.
        """
        # What was seen for another metric is read instead.
        if self._is_shared(drawn, detector):
            table = self._shared_outputs(drawn, detector)[output]
            return (table[start : min(start + self.batch, drawn.n)] for start in range(0, drawn.n, self.batch))
        return (outputs[output] for outputs in self._outputs(drawn, detector))

    def table(self, drawn: Drawn, detector: Detector) -> Table:
        """Return features as one array [n,F] in a file; that of a dataset is kept for other calls."""
        if self._is_shared(drawn, detector):
            return self._shared_outputs(drawn, detector)[0][: drawn.n]

        # Processes on other machines may have other caches, so they use theirs only if all can.
        path = self._cache_file(drawn, detector, "npy")
        cached = cache.load(path, partial(_read_table, n=drawn.n))
        available = distributed.gather_objects(cached is not None)
        if cached is not None and all(available):
            return cached

        features = ((outputs[0],) for outputs in self._outputs(drawn, detector))
        (table,) = tables.on_disk(features, drawn.n)
        cache.keep(path, lambda file: np.save(file, table))
        return table

    def moments(self, drawn: Drawn, detector: Detector) -> Moments:
        """Return moments of the features on the main process, empty ones on the others.

        Those of a dataset are kept for other calls.
        """
        is_main = distributed.is_main()
        path = self._cache_file(drawn, detector, "npz")
        cached = cache.load(path, Moments.load) if is_main else None
        if distributed.broadcast_object(cached is not None):
            return cached or Moments(0)

        # The main process adds up the features, also by halves of the images, from which the bias is estimated.
        moments = Moments(0)
        start = 0
        for features in self.batches(drawn, detector):
            indices = np.arange(start, start + len(features))
            if is_main:
                moments = moments if start else Moments(features.shape[1])
                moments.add(features, drawn.samples.second_half(indices, drawn.n))
            start += len(features)

        cache.keep(path, moments.save)
        return moments

    def _outputs(self, drawn: Drawn, detector: Detector) -> Iterator[Outputs]:
        """Yield all outputs of a detector, batch by batch."""

        def outputs(images: torch.Tensor, indices: np.ndarray) -> Outputs:
            return tuple(output.cpu().numpy() for output in detector(images))

        return self.stream_images(drawn, outputs, drawn.kind)

    def _is_shared(self, drawn: Drawn, detector: Detector) -> bool:
        """Return whether several metrics look at these images through this detector."""
        return drawn.kind == "fakes" and drawn.n <= self.shared.get(detector.name, 0)

    def _shared_outputs(self, drawn: Drawn, detector: Detector) -> tuple[Table, ...]:
        """Return all outputs for as many fakes as the metric that wants most."""
        if detector.name not in self.outputs_of_fakes:
            # A set of images may have fewer than the metrics ask for.
            n = self.shared[detector.name]
            if isinstance(drawn.samples, Reals):
                n = min(n, len(drawn.samples))
            outputs = self._outputs(drawn._replace(n=n), detector)
            self.outputs_of_fakes[detector.name] = tables.on_disk(outputs, n)
        return self.outputs_of_fakes[detector.name]

    def _cache_file(self, drawn: Drawn, detector: Detector, suffix: str) -> Path | None:
        """Return a path that depends on all that the features depend on, or None if they are not kept."""
        # Nobody would read those of generated images again, and those of each of many classes would fill the disk.
        samples = drawn.samples
        if self.cache_dir is None or isinstance(samples, Fakes) or samples.members is not None:
            return None

        # Flips depend on the seed, the order of images does not.
        conditions = {
            **samples.facts,
            **detector.facts,
            "seed": samples.seed if samples.mirror else None,
            "n": drawn.n,
            "version": CACHE_VERSION,
        }
        key = hashlib.sha256(json.dumps(conditions, sort_keys=True).encode()).hexdigest()[:32]
        return self.cache_dir / f"{detector.name}-{key}.{suffix}"


def _read_table(path: Path, n: int) -> Table:
    """Return features [n,F] from a file; raise ValueError, or whatever numpy raises, for a damaged file."""
    table: Table = np.load(path, mmap_mode="r", allow_pickle=False)
    if table.ndim != 2 or len(table) != n or table.dtype.kind != "f":
        raise ValueError(f"{table.dtype} {list(table.shape)}, expected floats [{n},F]")
    return table
