"""What a command draws: seeds, grids and levels as they are written on a command line."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro

from dnnlib.cli import Switch
from dnnlib.errors import UserError
from generation.latent_files import StoredLatents, check_latents, read_latents
from generation.sampling import Sample, Sampler, SamplingOptions

MAX_SEEDS = 10**6


@dataclass(frozen=True, kw_only=True)
class LatentOptions:
    """Which latents are drawn."""

    seeds: str | None = None
    """Seeds to use, as numbers and ranges, e.g. 0-15,20. Default: 0-15."""
    random_state: int | None = None
    """Instead of seeds, use the latents that the scripts of msg-stylegan-tf draw with this random state."""
    num_samples: int | None = None
    """How many latents to use with a random state. Default: 16."""
    latents: Path | None = None
    """Instead of seeds, use the mapped latents of this file: latents.npz, or a zip that `images` wrote."""
    only_noise: Switch = False
    """Use the first latent for all images, each with noise of its own."""


Latents = Annotated[LatentOptions, tyro.conf.OmitArgPrefixes]
"""The type of a command's parameter whose fields become options of the command."""


class Selection:
    """The latents that the options name, which are drawn one by one.

    `names` holds for each the name of its image without a suffix, e.g. seed0003; several may be the same.
    """

    def __init__(self, options: LatentOptions) -> None:
        """Check the options, which needs no network; raise UserError if they are wrong."""
        self.options = options

        # Ranges, and options that exclude one another.
        self.seeds = list(dict.fromkeys(parse_seeds(options.seeds or "0-15")))
        count = 16 if options.num_samples is None else options.num_samples

        state = options.random_state
        if state is not None and not 0 <= state < 2**32:
            raise UserError(f"--random-state {state}: expected 0 to 2^32 - 1")
        if not 1 <= count <= MAX_SEEDS:
            raise UserError(f"--num-samples {count}: expected 1 to {MAX_SEEDS}")
        if options.num_samples is not None and state is None:
            raise UserError(f"--num-samples {count}: expected --random-state as well")
        if options.seeds is not None and state is not None:
            raise UserError(f"--seeds {options.seeds}: cannot be combined with --random-state")
        if options.latents is not None and (options.only_noise or state is not None or options.seeds is not None):
            raise UserError(
                f"--latents {options.latents}: cannot be combined with --seeds, --random-state or --only-noise"
            )

        # What tells the images apart, and their file names.
        self.stored = None if options.latents is None else read_latents(options.latents)
        self.noise_seeds = self.seeds if state is None else list(range(count))
        if self.stored is not None:
            self.names = [Path(str(name)).name for name in self.stored.names]
            if len(set(self.names)) < len(self.names):
                raise UserError(f"{options.latents}: a name is there twice, expected a name for each image")
        else:
            kind = "noise" if options.only_noise else "seed" if state is None else "sample"
            self.names = [f"{kind}{seed:04d}" for seed in self.noise_seeds]

    def draw(self, sampler: Sampler) -> Iterator[Sample]:
        """Yield the images that a network makes; raise UserError if the latents are those of another one."""
        # Stored latents are mapped already.
        options = self.options
        if self.stored is not None:
            assert options.latents is not None
            check_latents(self.stored, options.latents, sampler)
            if sampler.options.trunc is not None or sampler.options.class_idx is not None:
                raise UserError(f"--latents {options.latents}: they are mapped, expected no --trunc and no --class")
            return self._render(sampler, self.stored)

        # Others follow from seeds, each by itself or one after the other.
        if options.random_state is None:
            latents = sampler.latents(self.seeds)
        else:
            latents = sampler.random_state(options.random_state, len(self.names))

        if options.only_noise:
            first = next(latents)
            latents = (first._replace(noise_seed=seed) for seed in self.noise_seeds)
        return sampler.draw(latents)

    def _render(self, sampler: Sampler, stored: StoredLatents) -> Iterator[Sample]:
        """Yield the images of stored latents."""
        latents = stored.latents()
        w = torch.from_numpy(stored.w).float().to(sampler.device)
        noise = [torch.from_numpy(layer).float().to(sampler.device) for layer in stored.noise]
        images = sampler.render(w, [latent.noise_seed for latent in latents], noise=noise)
        return (Sample(*row) for row in zip(latents, stored.w, images, strict=True))


def open_sampler(options: SamplingOptions, only_noise: bool) -> Sampler:
    """Open the network of the options, with random noise if only noise tells the images apart.

    Raises UserError if that is asked of a network without noise.
    """
    if not only_noise:
        return Sampler(options)

    if options.noise_mode == "none":
        raise UserError("--only-noise with --noise-mode none: expected noise to be random")
    sampler = Sampler(replace(options, noise_mode="random"))
    if not sampler.has_noise:
        raise UserError("--only-noise: this network has no noise inputs")
    return sampler


def parse_seeds(text: str, option: str = "--seeds") -> list[int]:
    """Return the seeds that `0-15,20` stands for: [0, ..., 15, 20]."""
    seeds: list[int] = []
    for part in text.split(","):
        # A single number is a range of one.
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise UserError(f"{option} {text}: found `{part}`, expected numbers and ranges such as 0-15,20")

        # numpy takes 32 bits, and a typo should not fill the disk.
        first = int(match[1])
        last = int(match[2] or match[1])
        if last >= 2**32:
            raise UserError(f"{option} {text}: found {last}, expected seeds below 2^32")
        if last - first >= MAX_SEEDS:
            raise UserError(f"{option} {text}: found `{part}`, expected at most {MAX_SEEDS} seeds in a range")

        seeds += range(first, last + 1)
    return seeds


def parse_grid(text: str) -> tuple[int, int]:
    """Return the numbers of columns and rows that `4x2` stands for."""
    match = re.fullmatch(r"(\d{1,3})x(\d{1,3})", text)
    if not match or not int(match[1]) * int(match[2]):
        raise UserError(f"--grid {text}: expected columns and rows such as 4x2")
    return int(match[1]), int(match[2])


def parse_levels(text: str, count: int) -> list[int]:
    """Return the levels, 0 = smallest, that `all`, `-1` or `0,2,-1` stands for, of a pyramid with `count` levels."""
    if text == "all":
        return list(range(count))

    levels = []
    for part in text.split(","):
        if not re.fullmatch(r"-?\d{1,3}", part):
            raise UserError(f"--level {text}: found `{part}`, expected all, or numbers such as -1 or 0,2")
        levels.append(check_level(int(part), count))
    return levels


def check_level(level: int, count: int) -> int:
    """Return a level counted from the smallest, 0; raise UserError unless a pyramid of `count` levels has it.

    Negative levels count from the largest, which is -1.
    """
    if not -count <= level < count:
        raise UserError(f"--level {level}: expected {-count} to {count - 1}")
    return level % count
