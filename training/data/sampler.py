"""Which image is shown when: a function of the seed and the global sample index, and nothing else."""

import contextlib
import itertools
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from dnnlib.errors import UserError
from dnnlib.pool import WorkerDied, ordered_map
from training.data.dataset import Dataset
from training.data.permutation import Permutation, coins


class Order(Protocol):
    """What says which image each global sample index stands for."""

    def take(self, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the images of samples start ... start+count-1, int64 [count], and which are mirrored, bool [count]."""


# Datasets of more images are shuffled without a permutation in memory: that of a billion images takes 8 GB.
LARGE = 2**24


# A permutation is kept until the next two epochs need others: a batch may lie in two.
@lru_cache(2)
def _epoch(length: int, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the images of an epoch in their order, int64 [length], and which to mirror, bool [length]."""
    rng = np.random.default_rng((seed, epoch))
    return rng.permutation(length), rng.random(length) < 0.5


@dataclass(frozen=True)
class SampleOrder:
    """The image that each global sample index stands for: a new permutation of the dataset every epoch."""

    length: int
    """Number of images of the dataset."""
    seed: int
    mirror: bool
    """Mirror half of the images, chosen anew every epoch."""

    def __getitem__(self, sample: int) -> tuple[int, bool]:
        """Return the index of an image, and whether it is mirrored."""
        if self.length > LARGE:
            indices, mirrored = self._take_large(sample, 1)
            return int(indices[0]), bool(mirrored[0])
        epoch, i = divmod(sample, self.length)

        # Both are drawn whether images are mirrored or not, so that the order does not depend on it.
        order, mirrored = _epoch(self.length, self.seed, epoch)
        return int(order[i]), bool(mirrored[i]) and self.mirror

    def take(self, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the images of samples start ... start+count-1, int64 [count], and which are mirrored, bool [count]."""
        if self.length > LARGE:
            return self._take_large(start, count)
        samples = [self[sample] for sample in range(start, start + count)]
        return np.array([i for i, _ in samples]), np.array([mirrored for _, mirrored in samples])

    def _take_large(self, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Do what `take` does, in an order of which only this part is computed."""
        epochs, places = np.divmod(np.arange(start, start + count), self.length)
        indices, mirrored = [], []
        for epoch in np.unique(epochs).tolist():
            part = places[epochs == epoch]
            indices.append(Permutation(self.length, (self.seed, epoch))(part))
            mirrored.append(coins(part, (self.seed, epoch, 1)))
        return np.concatenate(indices), np.concatenate(mirrored) & self.mirror


def read_batch(dataset: Dataset, order: Order, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Read samples start ... start+count-1: images uint8 [count,C,H,W], labels float32 [count,c_dim]."""
    indices, mirrored = order.take(start, count)
    images, labels = dataset.batch(indices)

    # Labels stay: a mirrored image has the class of the original.
    images[mirrored] = images[mirrored][..., ::-1]
    return images, labels


def batches(
    dataset: Dataset, order: Order, start: int, step: int, offset: int, count: int, workers: int = 1
) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
    """Yield the batches of this process without end, as `read_batch` reads them.

    The first holds samples start+offset ... start+offset+count-1, each further one the samples `step` after the last.
    """
    samples = (order.take(first, count) for first in itertools.count(start + offset, step))

    # The indices are drawn ahead by the reader, the flips when the batch arrives.
    for_reader, for_flips = itertools.tee(samples)
    groups = (indices for indices, _ in for_reader)
    with contextlib.closing(read_ahead(dataset, groups, workers)) as results:
        for (_, mirrored), (images, labels) in zip(for_flips, results, strict=False):
            images[mirrored] = images[mirrored][..., ::-1]
            yield images, labels


def read_ahead(
    dataset: Dataset, groups: Iterable[np.ndarray], workers: int = 1
) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
    """Yield `dataset.batch` of each group of indices while the next ones are being read.

    A thread reads, or `workers` processes if the dataset has to decode. Raises UserError, naming the image, if reading
    an image ends its process.
    """
    try:
        yield from ordered_map(dataset.batch, groups, workers if dataset.decodes else 0)
    except WorkerDied as e:
        raise UserError(crash(dataset, e.tasks)) from e


def crash(dataset: Dataset, groups: Sequence[np.ndarray]) -> str:
    """Return which image of these groups ends a worker process, as a message for the user."""
    # Each image is read once more, in a process of its own.
    for i in np.unique(np.concatenate(groups)).tolist():
        try:
            next(ordered_map(dataset.__getitem__, [i], workers=1))
        except WorkerDied:
            return f"{dataset.where(i)}: reading image {i} ends the process that reads it"

    # No image does: the memory of the machine may have been used up by all processes together.
    return f"{dataset.name}: a process that reads images was ended from outside (out of memory?)"
