"""Films of a network: walks through its latent space."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from tqdm import tqdm

from dnnlib.cli import Switch
from dnnlib.errors import UserError
from dnnlib.images import sheet
from dnnlib.video import CONTAINERS, open_video
from generation.output import check_fps, check_output
from generation.sampling import (
    Options,
    SamplingOptions,
    check_level,
    latent,
    map_latents,
    open_generator,
    parse_grid,
    parse_seeds,
    render,
)
from generation.walks import gaussian_walk, slerp_walk, spline_walk
from training.networks.base import Generator


def interpolate(
    *,
    sampling: Options,
    seeds: str = "0-3",
    walk: Literal["gauss", "spline", "slerp"] = "spline",
    frames: int = 240,
    fps: float = 30.0,
    smoothing: float | None = None,
    grid: str = "1x1",
    level: int = -1,
    size: int = 256,
    output: Path = Path("walk.mp4"),
    overwrite: Switch = False,
) -> None:
    """Make a film of a smooth walk through latent space that ends where it began.

    Args:
        seeds: Seeds, as numbers and ranges, e.g. 0-3,20. Walks of spline and slerp pass through all of them; with gauss
            each seed is a walk of its own.
        walk: spline = a smooth curve in w; slerp = along great circles in z; gauss = random latents z, smoothed along
            time, as in the films of the originals.
        frames: Length of the film in frames.
        fps: Frames per second.
        smoothing: Of gauss: standard deviation of the smoothing in seconds. Default: 1, or an eighth of a shorter film.
        grid: How many walks the film shows, WIDTHxHEIGHT. Those of spline and slerp start at successive seeds.
        level: Level of the pyramid to show: -1 = full resolution, 0 = 4x4, 1 = 8x8, ...
        size: Smallest height and width of each walk in pixels; smaller images are enlarged by a whole factor.
        output: File to write: .mp4, .webm or .gif; or a folder, without a suffix, for frames as PNG.
        overwrite: Replace the file if it exists.
    """
    # Everything is checked before the first frame is computed.
    check_output(output, (*CONTAINERS, ""), overwrite)
    numbers = parse_seeds(seeds)
    columns, rows = parse_grid(grid)

    # Length, speed and size.
    if frames < 1:
        raise UserError(f"--frames {frames}: expected >= 1")
    check_fps(fps)
    if not 1 <= size <= 4096:
        raise UserError(f"--size {size}: expected 1 to 4096")
    seconds = frames / fps
    smoothing = min(1.0, seconds / 8) if smoothing is None else smoothing
    if not 0 < smoothing <= seconds:
        raise UserError(f"--smoothing {smoothing}: expected more than 0, at most the {seconds:g} seconds of the film")

    # Random walks need a seed each; the others share a path, along which they start at different seeds.
    if walk == "gauss" and len(numbers) < columns * rows:
        raise UserError(f"--seeds {seeds}: {len(numbers)} seeds, expected one for each of the {columns * rows} walks")

    # The latents of all frames are small; images are made as the film needs them.
    G = open_generator(sampling)
    walks = [
        _walk(G, numbers[k % len(numbers) :] + numbers[: k % len(numbers)], walk, frames, smoothing * fps, sampling)
        for k in range(columns * rows)
    ]
    check_level(level, next(render(G, walks[0][:1], sampling, numbers[0])))

    with open_video(output, fps) as add, tqdm(total=frames, unit="frame") as bar:
        for cells in zip(*(_images(G, w, sampling, numbers[0], level, size) for w in walks), strict=True):
            add(sheet(np.stack(cells), columns))
            bar.update()
    print(f"{output}: {frames} frames of {columns * rows} walk{'s' * (columns * rows > 1)}, {seconds:g} seconds")


def _walk(
    G: Generator, seeds: list[int], kind: str, frames: int, smoothing: float, options: SamplingOptions
) -> torch.Tensor:
    """Return w [frames,num_ws,w_dim] of a closed walk that starts at the first of the seeds.

    smoothing: standard deviation along time of `gauss`, in frames.
    """
    # The class stays the same all the way.
    z, c = latent(G, seeds[0], options)
    device = z.device

    # Splines go through mapped latents; the other walks are in z, and mapped afterwards.
    if kind == "spline":
        keys = torch.cat([map_latents(G, latent(G, seed, options)[0], c, options) for seed in seeds])
        return torch.from_numpy(spline_walk(keys.double().cpu().numpy(), frames)).float().to(device)

    if kind == "slerp":
        points = slerp_walk(torch.cat([latent(G, seed, options)[0] for seed in seeds]).double().cpu().numpy(), frames)
    else:
        points = gaussian_walk(frames, G.cfg.z_dim, smoothing, seeds[0])
    return map_latents(G, torch.from_numpy(points).float().to(device), c.expand(frames, -1), options)


def _images(
    G: Generator, w: torch.Tensor, options: SamplingOptions, noise_seed: int, level: int, size: int
) -> Iterator[np.ndarray]:
    """Yield one level of each w as uint8 [C,h,w], enlarged by a whole factor to at least `size` pixels."""
    # Pixels are repeated, so that the network's own pixels stay visible.
    for levels in render(G, w, options, noise_seed):
        image = levels[level]
        factor = max(1, math.ceil(size / image.shape[1]))
        yield image.repeat(factor, axis=1).repeat(factor, axis=2)
