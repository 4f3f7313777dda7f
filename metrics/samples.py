"""The images that are measured, by index, so that any number of processes and any batch size see the same ones."""

import contextlib
import itertools
from collections.abc import Generator, Iterable
from typing import Any, NamedTuple

import numpy as np
import torch

from dnnlib import distributed
from dnnlib.errors import UserError
from dnnlib.seeds import seed_of
from training import pyramid
from training.data.dataset import Dataset
from training.data.labels import LabelTable
from training.data.sampler import read_ahead
from training.pyramid import Pyramid
from training.spec import ImageSpec

LABELS_AT_ONCE = 2**14


class Members(NamedTuple):
    """The images of one class of a dataset."""

    class_idx: int
    indices: np.ndarray


def members_of(dataset: Dataset, class_idx: int) -> Members:
    """Find the images of a class; raise UserError if there is no such class or if it has less than two images."""
    c_dim = dataset.spec.c_dim
    if not 0 <= class_idx < c_dim:
        raise UserError(f"--class {class_idx}: expected 0 to {c_dim - 1} as in {dataset.name}")

    # Labels may lie in a file, so they are read in parts.
    starts = range(0, len(dataset), LABELS_AT_ONCE)
    column = [np.asarray(dataset.labels[i : i + LABELS_AT_ONCE])[:, class_idx] for i in starts]
    indices = np.flatnonzero(np.concatenate(column) == 1)
    if len(indices) < 2:
        raise UserError(f"{dataset.name}: {len(indices)} images of class {class_idx}, expected at least 2")
    return Members(class_idx, indices)


class Reals:
    """Images of a dataset, or of one class of it, in an order that is random but always the same, so that the first n
    are of all classes. Indices beyond the last image start again with the first.

    With `mirror` each image is flipped or not as its index says. With `both` every image is there twice, as it is and
    flipped: StyleGAN2's convention for mirrored sets. `facts` holds what results depend on.
    """

    def __init__(
        self,
        dataset: Dataset,
        mirror: bool = False,
        seed: int = 0,
        both: bool = False,
        members: Members | None = None,
    ) -> None:
        self.dataset = dataset
        self.mirror = mirror
        self.seed = seed
        self.members = members

        indices = np.arange(len(dataset)) if members is None else members.indices
        self.images = len(indices)
        if self.images < 2:
            raise UserError(f"{dataset.name}: {self.images} images, expected at least 2")

        # Seeds are constants: the order is the same in every call. `shown` holds places in `order`, and those beyond
        # its end stand for flipped images.
        self.order = indices[np.random.RandomState(0).permutation(self.images)]
        self.shown = np.random.RandomState(1).permutation(2 * self.images) if both else np.arange(self.images)

        # A part of a dataset must not be taken for the whole.
        of_class = "" if members is None else f" class {members.class_idx}"
        self.facts: dict[str, Any] = {
            "dataset": dataset.name,
            "dataset_images": self.images,
            "fingerprint": dataset.fingerprint() + of_class,
            "mirror": mirror or both,
            **_channels(dataset.spec),
        }

    def __len__(self) -> int:
        return len(self.shown)

    def place(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the place in `order` of each index's image, and whether it is flipped."""
        shown = self.shown[indices % len(self)]
        flip = shown >= self.images

        if self.mirror:
            flip = np.array([seed_of(self.seed, int(index), "mirror") & 1 for index in indices], bool)
        return shown % self.images, flip

    def second_half(self, indices: np.ndarray, n: int) -> np.ndarray:
        """Return which of the first n images belong to the second half of the images that they show: bool [n]."""
        return self.place(indices)[0] >= min(n, self.images) // 2

    def batches(self, groups: Iterable[np.ndarray]) -> Generator[torch.Tensor, None, None]:
        """Yield the images of each group of indices: uint8 [n,C,H,W]."""
        # The reader works ahead, so it takes its places from a copy of the iterator.
        placed, flips = itertools.tee(map(self.place, groups))
        read = read_ahead(self.dataset, (self.order[place] for place, _ in placed), distributed.cores())

        # Its worker processes end when it is closed.
        with contextlib.closing(read):
            for (_, flip), (images, _) in zip(flips, read, strict=True):
                images[flip] = images[flip][..., ::-1]
                yield torch.from_numpy(images)


class Fakes:
    """Images of a generator. Latents, noise and label of image i follow from (seed, i).

    G: a generator (training.networks.base.Generator). labels: the labels [M,c_dim] of a dataset, from which those of
    the images are drawn; without them all classes are equally likely. psi: truncation psi; 1 = none, otherwise as many
    layers are truncated as the network's own cutoff says. class_idx: the class of all images. `facts` holds what
    results depend on.
    """

    def __init__(
        self,
        G: Any,
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

        # Labels of another dataset may have another length.
        self.labels = labels if labels is not None and labels.shape[1] == G.spec.c_dim else None
        self.cutoff = None if psi == 1 else G.cfg.truncation_cutoff

        self.facts: dict[str, Any] = {"seed": seed, "truncation_psi": psi, "class": class_idx, "device": device.type}
        self.facts |= _channels(G.spec)
        if self.cutoff is not None:
            self.facts["truncation_cutoff"] = self.cutoff
        if G.spec.c_dim:
            self.facts["labels"] = "of the dataset" if self.labels is not None else "all alike"

    def of(self, G: Any) -> "Fakes":
        """Return the same draws of another generator."""
        return Fakes(G, self.device, self.seed, self.labels, self.psi, self.class_idx)

    def second_half(self, indices: np.ndarray, n: int) -> np.ndarray:
        """Return which of the first n images belong to their second half: bool [n]."""
        return indices >= n // 2

    def batches(self, groups: Iterable[np.ndarray]) -> Generator[torch.Tensor, None, None]:
        """Yield the images of each group of indices: uint8 [n,C,H,W]."""
        for group in groups:
            yield pyramid.to_uint8(self.pyramid(group)[-1])

    @torch.no_grad()
    def pyramid(self, indices: np.ndarray) -> Pyramid:
        """Return all levels of these images, float, about [-1,1]; raise UserError if they are not finite."""
        z = self.latents(indices)
        c = self.conditions(indices)
        levels = self.G(z, c, truncation_psi=self.psi, truncation_cutoff=self.cutoff, noise=self.noise(indices))
        if not levels[-1].isfinite().all():
            raise UserError("the generator makes images that are not finite numbers")
        return levels  # type: ignore[no-any-return]

    def latents(self, indices: np.ndarray, purpose: str = "z") -> torch.Tensor:
        """Draw z [n,z_dim], the same on all devices."""
        cpu = torch.device("cpu")
        # One generator for each image, so that the size of a batch changes nothing.
        z = [torch.randn(1, self.G.cfg.z_dim, generator=self._rng(index, purpose, cpu)) for index in indices]
        return torch.cat(z).to(self.device)

    def conditions(self, indices: np.ndarray) -> torch.Tensor | None:
        """Draw c [n,c_dim]; return None if the generator has no classes."""
        c_dim = self.G.spec.c_dim
        if not c_dim:
            return None

        rngs = [np.random.default_rng(seed_of(self.seed, index, "label")) for index in indices.tolist()]
        # Rows of the dataset's labels, or else one-hot rows.
        if self.class_idx is None and self.labels is not None:
            rows = np.asarray(self.labels[np.array([rng.integers(len(self.labels)) for rng in rngs])])
        else:
            classes = [rng.integers(c_dim) if self.class_idx is None else self.class_idx for rng in rngs]
            rows = np.eye(c_dim, dtype=np.float32)[classes]
        return torch.from_numpy(rows).to(self.device)

    def noise(self, indices: np.ndarray) -> list[torch.Tensor]:
        """Draw [n,1,h,w] for each layer that takes noise; on the device, since there is much of it."""
        shapes = self.G.synthesis.noise_shapes(1)
        by_image = []
        for index in indices:
            rng = self._rng(index, "noise", self.device)
            by_image.append([torch.randn(shape, generator=rng, device=self.device) for shape in shapes])

        # From lists of layers for each image to one batch for each layer.
        return [torch.cat(layer) for layer in zip(*by_image, strict=True)]

    def _rng(self, index: int, purpose: str, device: torch.device) -> torch.Generator:
        """Return the generator of random numbers for one purpose of one image."""
        return torch.Generator(device).manual_seed(seed_of(self.seed, int(index), purpose))


def _channels(spec: ImageSpec) -> dict[str, int]:
    """Return the number of channels as a fact, unless images are gray or RGB: detectors do not see all of others."""
    return {} if spec.channels in (1, 3) else {"channels": spec.channels}


Samples = Reals | Fakes
