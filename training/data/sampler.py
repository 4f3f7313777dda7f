"""Which image is shown when: a function of the seed and the global sample index, and nothing else."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Protocol

import numpy as np

from training.networks.config import ImageSpec


class Dataset(Protocol):
    """What training needs of a dataset, whatever its format."""

    spec: ImageSpec
    labels: np.ndarray  # float32 [len, c_dim]

    @property
    def name(self) -> str: ...

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]: ...


class SampleOrder:
    """Global sample index -> (image index, mirrored): a new permutation of the dataset every epoch."""

    def __init__(self, length: int, seed: int, mirror: bool) -> None:
        self.length, self.seed, self.mirror = length, seed, mirror
        self._epoch = lru_cache(2)(self._draw_epoch)

    def _draw_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng((self.seed, epoch))
        return rng.permutation(self.length), rng.random(self.length) < 0.5

    def __getitem__(self, sample: int) -> tuple[int, bool]:
        epoch, i = divmod(sample, self.length)
        order, mirrored = self._epoch(epoch)
        return int(order[i]), bool(mirrored[i]) and self.mirror


def read_batch(dataset: Dataset, order: SampleOrder, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples start ... start+count-1: images uint8 [count,C,H,W], labels float32 [count,c_dim]."""
    spec = dataset.spec
    images = np.empty((count, spec.channels, spec.resolution, spec.resolution), np.uint8)
    labels = np.empty((count, spec.c_dim), np.float32)
    for k in range(count):
        i, mirrored = order[start + k]
        image, labels[k] = dataset[i]
        images[k] = image[:, :, ::-1] if mirrored else image
    return images, labels


def batches(
    dataset: Dataset, order: SampleOrder, start: int, step: int, offset: int, count: int
) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
    """Batches of this process from global sample `start` on: samples start+offset ... +count-1, then `step` further,
    and so on without end; the next one is read in a thread meanwhile."""
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as pool:
        ahead = [pool.submit(read_batch, dataset, order, start + offset + i * step, count) for i in range(2)]
        while True:
            start += step
            batch = ahead.pop(0).result()
            ahead.append(pool.submit(read_batch, dataset, order, start + step + offset, count))
            yield batch
