"""The images that are measured: by index, so that any number of processes and any batch size see the same ones."""

import contextlib
import itertools
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from tqdm import tqdm

from dnnlib import distributed
from dnnlib.errors import UserError
from dnnlib.pool import cpu_count
from dnnlib.seeds import seed_of
from training import pyramid
from training.data.dataset import Dataset
from training.data.labels import LabelTable
from training.data.sampler import read_ahead
from training.pyramid import Pyramid

LABELS_AT_ONCE = 2**14


class Samples(Protocol):
    """Images uint8 [n,C,H,W] by index. `facts` is what results depend on."""

    facts: dict[str, Any]

    def batches(self, groups: Iterable[np.ndarray]) -> Generator[torch.Tensor, None, None]:
        """Yield the images of each group of indices."""

    def second_half(self, indices: np.ndarray, n: int) -> np.ndarray:
        """Return which of the first n images belong to their second half: bool [n]."""


class Reals:
    """Images of a dataset, in an order that is random but always the same, so that the first n are of all classes;
    round by round if more are asked for than there are. With `mirror` each is flipped or not as its index says."""

    def __init__(self, dataset: Dataset, mirror: bool = False, seed: int = 0) -> None:
        self.dataset = dataset
        self.mirror = mirror
        self.seed = seed
        self.order = np.random.RandomState(0).permutation(len(dataset))
        self.facts = {
            "dataset": dataset.name,
            "dataset_images": len(dataset),
            "fingerprint": dataset.fingerprint(),
            "mirror": mirror,
        }

    def __len__(self) -> int:
        return len(self.dataset)

    def place(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the place of each index's image in `order`, and whether it is flipped."""
        flip = [bool(seed_of(self.seed, int(i), "mirror") & 1) if self.mirror else False for i in indices]
        return indices % len(self.dataset), np.array(flip, bool)

    def second_half(self, indices: np.ndarray, n: int) -> np.ndarray:
        """Return which of the first n images belong to the second half of the images that they show."""
        return self.place(indices)[0] >= min(n, len(self.dataset)) // 2

    def batches(self, groups: Iterable[np.ndarray]) -> Generator[torch.Tensor, None, None]:
        placed, flips = itertools.tee(map(self.place, groups))
        workers = max(1, cpu_count() // distributed.world_size())
        read = read_ahead(self.dataset, (self.order[place] for place, _ in placed), workers)

        with contextlib.closing(read):  # its worker processes end with it
            for (_, flip), (images, _) in zip(flips, read, strict=True):
                images[flip] = images[flip][..., ::-1]
                yield torch.from_numpy(images)


class Both(Reals):
    """Every image of a dataset as it is and flipped, mixed: StyleGAN2's convention for mirrored sets."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset)
        self.facts["mirror"] = True
        self._mixed = np.random.RandomState(1).permutation(2 * len(dataset))

    def __len__(self) -> int:
        return 2 * len(self.dataset)

    def place(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mixed = self._mixed[indices % len(self)]
        return mixed % len(self.dataset), mixed >= len(self.dataset)

    def second_half(self, indices: np.ndarray, n: int) -> np.ndarray:
        return self.place(indices)[0] >= len(self.dataset) // 2


class OfClass:
    """The images of one class of a dataset."""

    def __init__(self, dataset: Dataset, class_idx: int) -> None:
        self.dataset = dataset
        self.class_idx = class_idx
        self.spec = dataset.spec
        self.decodes = dataset.decodes
        if not 0 <= class_idx < self.spec.c_dim:
            raise UserError(f"--class {class_idx}: expected 0 to {self.spec.c_dim - 1} as in {dataset.name}")

        # Labels may lie in a file: a part at a time.
        starts = range(0, len(dataset), LABELS_AT_ONCE)
        column = [np.asarray(dataset.labels[i : i + LABELS_AT_ONCE])[:, class_idx] for i in starts]
        self.indices = np.flatnonzero(np.concatenate(column) == 1)
        if len(self.indices) < 2:
            raise UserError(f"{dataset.name}: {len(self.indices)} images of class {class_idx}, expected at least 2")
        self.labels: LabelTable = np.asarray(dataset.labels[self.indices])

    @property
    def name(self) -> str:
        return self.dataset.name

    def verify(self, limit: int) -> None:
        self.dataset.verify(limit)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        return self.dataset[int(self.indices[i])]

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.dataset.batch(self.indices[indices])

    def where(self, i: int) -> str:
        return self.dataset.where(int(self.indices[i]))

    def fingerprint(self) -> str:
        return f"{self.dataset.fingerprint()} class {self.class_idx}"


class Synthesizer(Protocol):
    """What metrics need of a generator (training.networks.base.Generator)."""

    cfg: Any
    spec: Any
    mapping: Any
    synthesis: Any

    def __call__(self, z: torch.Tensor, c: torch.Tensor | None = None, **options: Any) -> Pyramid: ...


class Fakes:
    """Images of a generator. Latents, noise and label of image i follow from (seed, i). Labels are drawn from `labels`
    [M,c_dim], those of a dataset, or else are all classes alike. Not truncated unless `psi` says so; then in as many
    layers as the network's own cutoff says."""

    def __init__(
        self,
        G: Synthesizer,
        device: torch.device,
        seed: int = 0,
        labels: LabelTable | None = None,
        psi: float = 1.0,
        class_idx: int | None = None,
    ) -> None:
        self.G = G
        self.device = device
        self.seed = seed
        self.psi = psi
        self.class_idx = class_idx
        self.labels = labels if labels is not None and labels.shape[1] == G.spec.c_dim else None
        self.cutoff = None if psi == 1 else G.cfg.truncation_cutoff

        self.facts: dict[str, Any] = {"seed": seed, "truncation_psi": psi, "class": class_idx, "device": device.type}
        if self.cutoff is not None:
            self.facts["truncation_cutoff"] = self.cutoff
        if G.spec.c_dim:
            self.facts["labels"] = "of the dataset" if self.labels is not None else "all alike"

    def of(self, G: Synthesizer) -> "Fakes":
        """Return the same draws of another generator."""
        return Fakes(G, self.device, self.seed, self.labels, self.psi, self.class_idx)

    def batches(self, groups: Iterable[np.ndarray]) -> Generator[torch.Tensor, None, None]:
        for group in groups:
            yield pyramid.to_uint8(self.pyramid(group)[-1])

    def second_half(self, indices: np.ndarray, n: int) -> np.ndarray:
        return indices >= n // 2

    @torch.no_grad()
    def pyramid(self, indices: np.ndarray) -> Pyramid:
        """Return all levels, float [-1,1]."""
        psi = None if self.psi == 1 else self.psi
        z = self.latents(indices)
        c = self.conditions(indices)
        levels = self.G(z, c, truncation_psi=psi, truncation_cutoff=self.cutoff, noise=self.noise(indices))
        if not levels[-1].isfinite().all():
            raise UserError("the generator makes images that are not finite numbers")
        return levels

    def latents(self, indices: np.ndarray, purpose: str = "z") -> torch.Tensor:
        """Draw z [n,z_dim], the same on all devices."""
        shape = (1, self.G.cfg.z_dim)
        cpu = torch.device("cpu")
        z = [torch.randn(shape, generator=self._rng(index, purpose, cpu)) for index in indices]
        return torch.cat(z).to(self.device)

    def conditions(self, indices: np.ndarray) -> torch.Tensor | None:
        """Draw c [n,c_dim]; None if the generator has no classes."""
        c_dim = self.G.spec.c_dim
        if not c_dim:
            return None

        rngs = [np.random.default_rng(seed_of(self.seed, index, "label")) for index in indices.tolist()]
        if self.class_idx is not None:
            rows = np.eye(c_dim, dtype=np.float32)[[self.class_idx] * len(indices)]
        elif self.labels is not None:
            rows = np.asarray(self.labels[np.array([rng.integers(len(self.labels)) for rng in rngs])])
        else:
            rows = np.eye(c_dim, dtype=np.float32)[[rng.integers(c_dim) for rng in rngs]]
        return torch.from_numpy(rows).to(self.device)

    def noise(self, indices: np.ndarray) -> list[torch.Tensor]:
        """Draw [n,1,h,w] for each layer that takes noise; on the device, since it is much."""
        shapes = self.G.synthesis.noise_shapes(1)
        by_image = []
        for index in indices:
            rng = self._rng(index, "noise", self.device)
            by_image.append([torch.randn(shape, generator=rng, device=self.device) for shape in shapes])
        return [torch.cat(layer) for layer in zip(*by_image, strict=True)]

    def _rng(self, index: int, purpose: str, device: torch.device) -> torch.Generator:
        return torch.Generator(device).manual_seed(seed_of(self.seed, int(index), purpose))


class NoImages:
    """Samples for `stream` of a metric that makes its own images."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}

    def batches(self, groups: Iterable[np.ndarray]) -> Generator[torch.Tensor, None, None]:
        return (torch.empty(0) for _ in groups)

    def second_half(self, indices: np.ndarray, n: int) -> np.ndarray:
        return indices >= n // 2


def progress(total: int, title: str, unit: str) -> "tqdm[Any]":
    """Return a bar with the time left, drawn on the main process, and seldom where nobody watches, as in log files."""
    seconds = 0.1 if sys.stderr.isatty() else 10
    return tqdm(total=total, unit=unit, desc=title, disable=not distributed.is_main(), leave=False, mininterval=seconds)


class Stopped(Exception):
    """Raised when whoever wanted a measurement wants it to end now."""


def stream(
    n: int,
    batch: int,
    samples: Samples,
    compute: Callable[[torch.Tensor, np.ndarray], Any],
    title: str,
    stop: Callable[[], bool] | None = None,
) -> Iterator[Any]:
    """Yield `compute(images, indices)` for images 0 to n-1 in batches, in order, on all processes: each computes every
    world_size-th batch, and gets the results of the others, which must be on the host. `stop` is asked in between, on
    all processes; if it says yes, Stopped is raised."""
    starts = range(0, n, batch)

    def chunk(start: int) -> np.ndarray:
        return np.arange(start, min(start + batch, n))

    def check_stop() -> None:
        if stop is not None and stop():
            raise Stopped

    # Each process reads, or makes, only the images of its own batches.
    own_starts = starts[distributed.rank() :: distributed.world_size()]
    images = samples.batches(map(chunk, own_starts))

    with progress(n, title, "img") as bar, contextlib.closing(images):
        outputs = distributed.striped(
            len(starts), lambda index: compute(next(images), chunk(starts[index])), check_stop
        )
        for start, output in zip(starts, outputs, strict=True):
            bar.update(len(chunk(start)))
            yield output
