"""Which image is shown when: a function of the seed and the global sample index, and nothing else."""

from collections import deque
from collections.abc import Generator
from concurrent.futures import Executor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache, partial
from typing import Any, Protocol

import numpy as np

from dnnlib.errors import UserError
from dnnlib.launch import process_pool
from training.data.labels import LabelTable
from training.networks.config import ImageSpec


class Dataset(Protocol):
    """What training needs of a dataset, whatever its format."""

    spec: ImageSpec
    labels: LabelTable  # float32 [len, c_dim]
    decodes: bool  # does reading an image take time, as decoding a PNG does?

    @property
    def name(self) -> str: ...

    def verify(self, limit: int) -> None:
        """Check what can be checked before training, if it is at most `limit` bytes; UserError."""

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]: ...

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images uint8 [n,C,R,R], to be changed at will, and labels float32 [n,c_dim] of these indices."""

    def where(self, i: int) -> str:
        """Which file, and what in it, image i is, for messages."""


class SampleOrder:
    """Global sample index -> (image index, mirrored): a new permutation of the dataset every epoch."""

    def __init__(self, length: int, seed: int, mirror: bool) -> None:
        self.length, self.seed, self.mirror = length, seed, mirror
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
    """Samples start ... start+count-1: images uint8 [count,C,H,W], labels float32 [count,c_dim]."""
    indices, mirrored = zip(*[order[start + k] for k in range(count)], strict=True)
    images, labels = dataset.batch(np.array(indices))
    flip = np.array(mirrored)
    images[flip] = images[flip][..., ::-1]
    return images, labels


def batches(
    dataset: Dataset, order: SampleOrder, start: int, step: int, offset: int, count: int, workers: int = 1
) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
    """Batches of this process from global sample `start` on: samples start+offset ... +count-1, then `step` further,
    and so on without end. The next ones are read meanwhile: in a thread, or by `workers` processes if the dataset has
    to decode."""
    pool: Executor
    if dataset.decodes:
        pool = process_pool(workers, _setup, (dataset, order))
        ahead, read = 2 * workers, _read
    else:
        pool = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        ahead, read = 2, partial(read_batch, dataset, order)
    try:
        first = start + offset
        pending = deque(pool.submit(read, first + i * step, count) for i in range(ahead))
        while True:
            try:
                batch = pending.popleft().result()
            except BrokenProcessPool as e:
                raise UserError(_crash(dataset, order, first, step, count, ahead)) from e
            pending.append(pool.submit(read, first + ahead * step, count))
            first += step
            yield batch
    finally:
        pool.shutdown(cancel_futures=True)


_source: tuple[Dataset, SampleOrder]  # of a worker process


def _setup(dataset: Dataset, order: SampleOrder) -> None:
    global _source
    _source = dataset, order


def _read(start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    return read_batch(*_source, start, count)


def _crash(dataset: Dataset, order: SampleOrder, first: int, step: int, count: int, ahead: int) -> str:
    """Which image ends a worker process: each of those that were being read, in a process of its own."""
    samples = [first + i * step + k for i in range(ahead) for k in range(count)]
    for i in sorted({order[sample][0] for sample in samples}):
        with process_pool(1, _setup, (dataset, order)) as pool:
            try:
                pool.submit(_touch, i).result()
            except BrokenProcessPool:
                return f"{dataset.where(i)}: reading image {i} ends the process that reads it"
    return f"{dataset.name}: a process that reads images was ended from outside (out of memory?)"


def _touch(i: int) -> None:
    _source[0][i]
