"""Measure how much of a network's own rate is left when `generate.py images` writes files, in one run.

python benchmarks/sampling.py [--network FILE] [--num-images 2048] [--json FILE]

The network's own rate is that of mapping, synthesis and rounding to uint8 alone, in the same batches.
"""

import contextlib
import os
import tempfile
from functools import partial
from pathlib import Path

import torch
import tyro
from timing import machine, save, time_in_turns

from generation.images import images
from generation.output import Format
from generation.sampling import Sampler, SamplingOptions
from generation.selection import LatentOptions
from training.pyramid import to_uint8


@torch.no_grad()
def network_alone(sampler: Sampler, count: int) -> None:
    """Compute `count` images and drop them."""
    G = sampler.G
    z = torch.randn(sampler.batch, G.cfg.z_dim, device=sampler.device)
    c = torch.zeros(sampler.batch, G.spec.c_dim, device=sampler.device)
    for _ in range(-(-count // sampler.batch)):
        for level in G.synthesis(G.mapping(z, c), noise_mode="const"):
            to_uint8(level)


def to_files(options: SamplingOptions, count: int, format: Format, folder: Path) -> None:
    """Run the command, silently, into a folder in `folder` that is deleted afterwards."""
    latents = LatentOptions(seeds=f"0-{count - 1}")
    with (
        tempfile.TemporaryDirectory(dir=folder) as temporary,
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        images(sampling=options, latents=latents, outdir=Path(temporary) / "out", format=format)


def main(
    network: str | None = None,
    num_images: int = 2048,
    repeats: int = 5,
    folder: Path = Path("."),
    json: Path | None = None,
) -> None:
    """Measure and print.

    Args:
        network: Network to sample. Default: the one that ships with the project.
        num_images: Images of each measurement.
        repeats: How often everything is measured, in turns; the median counts.
        folder: Where the files are written. Some file systems take longer to create a file than a CPU to make an image.
        json: Also write the figures to this file.
    """
    # Whole batches, so that all compute the same number of images.
    options = SamplingOptions(network=network)
    sampler = Sampler(options)
    num_images -= num_images % sampler.batch

    programs = {
        "network alone": partial(network_alone, sampler, num_images),
        "png files": partial(to_files, options, num_images, "png", folder),
        "jpg files": partial(to_files, options, num_images, "jpg", folder),
    }
    timings = time_in_turns(programs, repeats, warm_up=1)

    # What is left of the network's own rate.
    figures = {
        "images": num_images,
        "resolution": sampler.sizes[-1][0],
        "batch": sampler.batch,
        **machine(sampler.device),
    }
    for name, timing in timings.items():
        share = timings["network alone"].seconds / timing.seconds
        figures[name] = {"img_per_s": num_images / timing.seconds, "share": share}
    save(figures, json)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
