"""Which image is shown when: a function of the seed and the global sample index, and nothing else."""

import contextlib
import itertools
from collections.abc import Generator, Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from dnnlib.errors import UserError
from dnnlib.pool import WorkerDied, ordered_map
from training.data.dataset import Dataset


class SampleOrder:
    """Global sample index -> (image index, mirrored): a new permutation of the dataset every epoch."""

    def __init__(self, length: int, seed: int, mirror: bool) -> None:
        self.length = length
        self.seed = seed
        self.mirror = mirror
        self._epoch = lru_cache(2)(self._draw_epoch)

    def __reduce__(self) -> tuple[Any, ...]:
        return SampleOrder, (self.length, self.seed, self.mirror)

    def _draw_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng((self.seed, epoch))
        return rng.permutation(self.length), rng.random(self.length) < 0.5

    def __getitem__(self, sample: int) -> tuple[int, bool]:
        epoch, i = divmod(sample, self.length)
        order, mirrored = self._epoch(epoch)
        return int(order[i]), bool(mirrored[i]) and self.mirror


def read_batch(dataset: Dataset, order: SampleOrder, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Read samples start ... start+count-1: images uint8 [count,C,H,W], labels float32 [count,c_dim]."""
    samples = [order[start + k] for k in range(count)]
    return _mirrored(samples, *dataset.batch(_indices(samples)))


Samples = list[tuple[int, bool]]  # image index, mirrored


def _indices(samples: Samples) -> np.ndarray:
    return np.array([i for i, _ in samples])


def _mirrored(samples: Samples, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    flip = np.array([mirrored for _, mirrored in samples])
    images[flip] = images[flip][..., ::-1]
    return images, labels


def batches(
    dataset: Dataset, order: SampleOrder, start: int, step: int, offset: int, count: int, workers: int = 1
) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
    """Yield the batches of this process without end, from global sample `start` on: samples start+offset ...
    start+offset+count-1, then the same `step` samples further, and so on.

    Images are uint8 [count,C,H,W], labels float32 [count,c_dim].
    """
    samples = ([order[first + k] for k in range(count)] for first in itertools.count(start + offset, step))

    # The indices are drawn ahead by the reader, the flips when the batch arrives.
    for_indices, for_flips = itertools.tee(samples)
    with contextlib.closing(read_ahead(dataset, map(_indices, for_indices), workers)) as read:
        for pairs, (images, labels) in zip(for_flips, read, strict=False):
            yield _mirrored(pairs, images, labels)


def read_ahead(
    dataset: Dataset, groups: Iterable[np.ndarray], workers: int = 1
) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
    """Yield `dataset.batch` of each group of indices while the next ones are being read.

    A thread reads, or `workers` processes if the dataset has to decode. Raises UserError, naming the image, if reading
    an image ends its process.
    """
    processes = workers if dataset.decodes else 0
    try:
        yield from ordered_map(dataset.batch, groups, processes)
    except WorkerDied as e:
        raise UserError(crash(dataset, e.tasks)) from e


def crash(dataset: Dataset, groups: Sequence[np.ndarray]) -> str:
    """Return which image of these groups ends a worker process, found by reading each in a process of its own."""
    for i in np.unique(np.concatenate(groups)).tolist():
        try:
            next(ordered_map(dataset.__getitem__, [i], workers=1))
        except WorkerDied:
            return f"{dataset.where(i)}: reading image {i} ends the process that reads it"

    return f"{dataset.name}: a process that reads images was ended from outside (out of memory?)"
