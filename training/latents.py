"""Random inputs of G.

They are a function of (seed, purpose, cur_nimg, global micro-batch index) and nothing else, so that a resumed run and a
run on another number of processes draw the same.
"""

from typing import NamedTuple

import numpy as np
import torch

from dnnlib.seeds import seed_of
from training.augment.steps import Augmentation
from training.data.labels import LabelTable
from training.networks.base import Generator

Key = tuple[int | str, ...]


class GeneratorInputs(NamedTuple):
    """Everything random that one evaluation of G needs."""

    z: torch.Tensor  # [N,z_dim]
    c: torch.Tensor  # [N,c_dim]
    noise: tuple[torch.Tensor, ...]  # [N,1,h,w] per layer, empty without noise
    z_mix: torch.Tensor | None = None  # [N,z_dim], for style mixing
    mix_from: torch.Tensor | None = None  # [], first layer that follows z_mix
    augmentation: Augmentation = ()  # of the images before D sees them


def generator_inputs(G: Generator, labels: torch.Tensor, key: Key, style_mixing_prob: float = 0.0) -> GeneratorInputs:
    """Draw latents and noise for images with the given labels [N,c_dim], on the device of the labels."""
    n, device = len(labels), labels.device

    # Decisions are drawn on the host, tensors on the device.
    host_rng = np.random.default_rng(seed_of(*key, "host"))
    rng = torch.Generator(device).manual_seed(seed_of(*key))

    z = torch.randn(n, G.cfg.z_dim, generator=rng, device=device)  # [N,z_dim]
    noise = tuple(torch.randn(shape, generator=rng, device=device) for shape in G.synthesis.noise_shapes(n))

    # Style mixing needs at least two layers.
    is_mixed = host_rng.random() < style_mixing_prob and G.mapping.num_ws > 1
    if not is_mixed:
        return GeneratorInputs(z, labels, noise)
    z_mix = torch.randn(n, G.cfg.z_dim, generator=rng, device=device)  # [N,z_dim]
    mix_from = torch.full((), int(host_rng.integers(1, G.mapping.num_ws)), device=device)  # []
    return GeneratorInputs(z, labels, noise, z_mix, mix_from)


def random_labels(table: LabelTable, n: int, key: Key) -> np.ndarray:
    """Draw n rows of the dataset's labels [M,c_dim] -> [n,c_dim]."""
    # Rows rather than classes, so that classes are as frequent as in the dataset.
    rows = np.random.default_rng(seed_of(*key, "labels")).integers(len(table), size=n)
    return table[rows]


def mixing_factors(n: int, key: Key, device: torch.device) -> torch.Tensor:
    """Draw [n] uniformly from [0,1): where between a real and a fake the gradient penalty is taken."""
    rng = torch.Generator(device).manual_seed(seed_of(*key, "mixing"))
    return torch.rand(n, generator=rng, device=device)
