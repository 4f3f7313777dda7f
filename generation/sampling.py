"""The one place where generate.py turns a seed into an image."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro

from dnnlib.distributed import pick_device
from dnnlib.errors import UserError
from generation.networks import find_network
from pretrained import load_network
from training import pyramid
from training.networks.base import Generator

MAX_SEEDS = 10**6


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How images are drawn from a network."""

    network: str
    """Network file of any kind (snapshot, TF1 pickle, BMSG-GAN .pth) or its URL, a run dir, or the number of a run."""
    snapshot: str = "latest"
    """Which snapshot of a run dir: latest, best (the lowest FID so far), or its kimg."""
    result_dir: Path = Path("results")
    """Folder of run dirs, in which the number of a run is looked for."""
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


def parse_grid(text: str) -> tuple[int, int]:
    """Return the numbers of columns and rows that `4x2` stands for."""
    match = re.fullmatch(r"(\d{1,3})x(\d{1,3})", text)
    if not match or not int(match[1]) * int(match[2]):
        raise UserError(f"--grid {text}: expected columns and rows such as 4x2")
    return int(match[1]), int(match[2])


def check_level(level: int, pyramid: Sequence[object]) -> None:
    """Raise UserError unless a pyramid has this level; negative ones count from the largest."""
    if not -len(pyramid) <= level < len(pyramid):
        raise UserError(f"--level {level}: expected {-len(pyramid)} to {len(pyramid) - 1}")


def sample(options: SamplingOptions, seeds: Sequence[int]) -> Iterator[tuple[int, list[np.ndarray]]]:
    """Open the network now, and return an iterator that draws (seed, pyramid of uint8 [C,r,r]) for each seed.

    Everything random about an image follows from its seed, including the class of a conditional network if none is
    given. Raise UserError if there is no generator in the file, or no such class.
    """
    G = open_generator(options)
    return ((seed, draw(G, seed, options)) for seed in seeds)


def open_generator(options: SamplingOptions) -> Generator:
    """Return the generator that the options name, on their device; raise UserError if it has no such class."""
    network = find_network(options.network, options.snapshot, options.result_dir)
    G = load_network(network).generator().to(pick_device(options.device))

    # The class is checked before the first image.
    c_dim = G.spec.c_dim
    if options.class_idx is not None and not 0 <= options.class_idx < c_dim:
        expected = f"0 to {c_dim - 1}" if c_dim else "no --class: the network is unconditional"
        raise UserError(f"--class {options.class_idx}: expected {expected}")
    return G


@torch.no_grad()
def draw(G: Generator, seed: int, options: SamplingOptions) -> list[np.ndarray]:
    """Return the pyramid of one seed as uint8 [C,r,r], smallest first.

    Images are drawn one at a time, so that a seed gives the same pixels whatever else is asked for.
    """
    z, c = latent(G, seed, options)
    (images,) = render(G, map_latents(G, z, c, options), options, seed)
    return images


def latent(G: Generator, seed: int, options: SamplingOptions) -> tuple[torch.Tensor, torch.Tensor]:
    """Return z [1,z_dim] and c [1,c_dim] of a seed."""
    # A seed gives the same latent as in StyleGAN's scripts.
    device = next(G.parameters()).device
    rng = np.random.RandomState(seed)
    z = torch.from_numpy(rng.randn(1, G.cfg.z_dim)).float().to(device)

    # A class that is not given is drawn next.
    c = torch.zeros(1, G.spec.c_dim, device=device)
    if G.spec.c_dim:
        label = rng.randint(G.spec.c_dim) if options.class_idx is None else options.class_idx
        c[0, label] = 1
    return z, c


@torch.no_grad()
def map_latents(G: Generator, z: torch.Tensor, c: torch.Tensor, options: SamplingOptions) -> torch.Tensor:
    """Return w [N,num_ws,w_dim] of z [N,z_dim] and c [N,c_dim], truncated as the options or the network say."""
    # What the options leave open, the network was configured with.
    psi = G.cfg.truncation_psi if options.trunc is None else options.trunc
    cutoff = G.cfg.truncation_cutoff if options.cutoff is None else options.cutoff
    w = G.mapping(z, c)
    return w if psi == 1 else G.mapping.truncate(w, psi, cutoff)


@torch.no_grad()
def render(
    G: Generator, w: torch.Tensor, options: SamplingOptions, noise_seed: int, batch: int = 16
) -> Iterator[list[np.ndarray]]:
    """Yield the pyramid of each w [N,num_ws,w_dim] as uint8 [C,r,r], smallest first; all with the same noise."""
    # Drawn on the CPU, so that every device adds the same noise.
    noise = None
    if options.noise_mode == "random":
        rng = torch.Generator().manual_seed(noise_seed)
        noise = [torch.randn(shape, generator=rng).to(w.device) for shape in G.synthesis.noise_shapes(1)]

    for part in w.split(batch):
        images = G.synthesis(part, noise_mode=options.noise_mode, noise=noise)
        levels = [pyramid.to_uint8(level).cpu().numpy() for level in images]  # [n,C,r,r] each
        for i in range(len(part)):
            yield [level[i] for level in levels]
