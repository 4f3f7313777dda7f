"""The one place where generate.py turns a seed into an image."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
import tyro

from dnnlib.distributed import pick_device
from dnnlib.errors import UserError
from pretrained import load_network
from training import pyramid
from training.networks.base import Generator

MAX_SEEDS = 10**6


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How images are drawn from a network."""

    network: str
    """Network file of any kind (snapshot, TF1 pickle, BMSG-GAN .pth), or its URL."""
    trunc: float | None = None
    """Truncation psi: 1 = none, 0 = the average image. Default: the network's own setting."""
    cutoff: int | None = None
    """Number of layers that truncation applies to. Default: the network's own setting."""
    class_idx: Annotated[int | None, tyro.conf.arg(name="class")] = None
    """Class to generate with a conditional network. Default: drawn from the seed."""
    noise_mode: Literal["const", "random", "none"] = "const"
    """Noise inputs: const = stored noise, random = noise drawn from the seed, none = no noise."""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """auto = CUDA if a GPU is available."""

    def __post_init__(self) -> None:
        if self.trunc is not None and not -10 <= self.trunc <= 10:
            raise ValueError(f"--trunc {self.trunc}: expected -10 to 10")
        if self.cutoff is not None and self.cutoff < 0:
            raise ValueError(f"--cutoff {self.cutoff}: expected >= 0")


Options = Annotated[SamplingOptions, tyro.conf.OmitArgPrefixes]
"""The type of a command's parameter whose fields become options of the command."""


def parse_seeds(text: str) -> list[int]:
    """Return the seeds that `0-15,20` stands for: [0, ..., 15, 20]."""
    seeds: list[int] = []
    for part in text.split(","):
        # A single number is a range of one.
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise UserError(f"--seeds {text}: found `{part}`, expected numbers and ranges such as 0-15,20")

        # numpy takes 32 bits, and a typo should not fill the disk.
        first = int(match[1])
        last = int(match[2] or match[1])
        if last >= 2**32:
            raise UserError(f"--seeds {text}: found {last}, expected seeds below 2^32")
        if last - first >= MAX_SEEDS:
            raise UserError(f"--seeds {text}: found `{part}`, expected at most {MAX_SEEDS} seeds in a range")

        seeds += range(first, last + 1)
    return seeds


def sample(options: SamplingOptions, seeds: Sequence[int]) -> Iterator[tuple[int, list[np.ndarray]]]:
    """Open the network now, and return an iterator that draws (seed, pyramid of uint8 [C,r,r]) for each seed.

    Everything random about an image follows from its seed, including the class of a conditional network if none is
    given.    Raise UserError if there is no generator in the file, or no such class.
    """
    net = load_network(options.network)
    G = net.generator().to(pick_device(options.device))

    # The class is checked before the first image.
    c_dim = net.spec.c_dim
    if options.class_idx is not None and not 0 <= options.class_idx < c_dim:
        expected = f"0 to {c_dim - 1}" if c_dim else "no --class: the network is unconditional"
        raise UserError(f"--class {options.class_idx}: expected {expected}")

    return ((seed, draw(G, seed, options)) for seed in seeds)


@torch.no_grad()
def draw(G: Generator, seed: int, options: SamplingOptions) -> list[np.ndarray]:
    """Return the pyramid of one seed as uint8 [C,r,r], smallest first.

    Images are drawn one at a time, so that a seed gives the same pixels whatever else is asked for.
    """
    # A seed gives the same latent as in StyleGAN's scripts.
    device = next(G.parameters()).device
    rng = np.random.RandomState(seed)
    z = torch.from_numpy(rng.randn(1, G.cfg.z_dim)).float().to(device)

    # A class that is not given is drawn next.
    c = torch.zeros(1, G.spec.c_dim, device=device)
    if G.spec.c_dim:
        label = rng.randint(G.spec.c_dim) if options.class_idx is None else options.class_idx
        c[0, label] = 1

    # Drawn on the CPU, so that every device adds the same noise.
    noise = None
    if options.noise_mode == "random":
        noise_rng = torch.Generator().manual_seed(seed)
        noise = [torch.randn(shape, generator=noise_rng).to(device) for shape in G.synthesis.noise_shapes(1)]

    images = G(
        z,
        c,
        truncation_psi=G.cfg.truncation_psi if options.trunc is None else options.trunc,
        truncation_cutoff=G.cfg.truncation_cutoff if options.cutoff is None else options.cutoff,
        noise_mode=options.noise_mode,
        noise=noise,
    )
    return [pyramid.to_uint8(image)[0].cpu().numpy() for image in images]
