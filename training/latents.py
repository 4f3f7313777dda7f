"""Random inputs of G, as a function of (seed, purpose, cur_nimg, global micro-batch index) and nothing else, so that a
resumed run and a run on another number of processes draw the same."""

import numpy as np
import torch

from dnnlib.seeds import seed_of
from training.data.labels import LabelTable
from training.networks.base import Generator
from training.step import GeneratorInputs


def generator_inputs(
    G: Generator,
    labels: torch.Tensor,
    key: tuple[int | str, ...],
    style_mixing_prob: float = 0.0,
) -> GeneratorInputs:
    """Latents and noise for images with the given labels [N,c_dim], on the device of the labels."""
    n, device = len(labels), labels.device
    host = np.random.default_rng(seed_of(*key, "host"))
    rng = torch.Generator(device).manual_seed(seed_of(*key))
    z = torch.randn(n, G.cfg.z_dim, generator=rng, device=device)
    noise = tuple(torch.randn(s, generator=rng, device=device) for s in G.synthesis.noise_shapes(n))
    mixed = host.random() < style_mixing_prob and G.mapping.num_ws > 1
    return GeneratorInputs(
        z,
        labels,
        noise,
        torch.randn(n, G.cfg.z_dim, generator=rng, device=device) if mixed else None,
        torch.tensor(int(host.integers(1, G.mapping.num_ws)), device=device) if mixed else None,
    )


def random_labels(table: LabelTable, n: int, key: tuple[int | str, ...]) -> np.ndarray:
    """`n` rows of the dataset's labels [M,c_dim] -> [n,c_dim]."""
    return table[np.random.default_rng(seed_of(*key, "labels")).integers(len(table), size=n)]


def mixing_factors(n: int, key: tuple[int | str, ...], device: torch.device) -> torch.Tensor:
    """Uniform [n] in [0,1): where between a real and a fake the gradient penalty is taken."""
    rng = torch.Generator(device).manual_seed(seed_of(*key, "mixing"))
    return torch.rand(n, generator=rng, device=device)
