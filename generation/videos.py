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
from dnnlib.images import enlarge, sheet
from dnnlib.video import CONTAINERS, open_video
from generation.directions import check_components, check_strength
from generation.images import lay_out
from generation.latent_directions import Directions, read_directions
from generation.output import check_fps, check_frame, check_output, check_range
from generation.sampling import Latent, Options, Sampler
from generation.selection import open_sampler, parse_grid, parse_levels, parse_seeds
from generation.walks import gaussian_walk, slerp_walk, spline_walk, there_and_back

MOST_FRAMES = 10**6


def interpolate(
    *,
    sampling: Options,
    seeds: str = "0-3",
    walk: Literal["gauss", "spline", "slerp", "direction"] = "spline",
    directions: Path | None = None,
    component: int = 0,
    strength: float = 3.0,
    frames: int = 240,
    fps: float = 30.0,
    smoothing: float | None = None,
    only_noise: Switch = False,
    grid: str = "1x1",
    level: str = "-1",
    columns: int | None = None,
    size: int = 256,
    output: Path = Path("walk.mp4"),
    overwrite: Switch = False,
) -> None:
    """Make a film of a smooth walk through latent space that ends where it began.

    Args:
        seeds: Seeds, as numbers and ranges, e.g. 0-3,20. Walks of spline and slerp pass through all of them; with gauss
            each seed is a walk of its own.
        walk: spline = a smooth curve in w; slerp = along great circles in z; gauss = random latents z, smoothed along
            time, as in the films of the originals; direction = from the seed along a direction of w, there and back.
        directions: For direction: a file that the command `directions` saved.
        component: For direction: which one of the file, 0 = the one that changes most.
        strength: For direction: how far, in standard deviations of w along it.
        frames: Length of the film in frames.
        fps: Frames per second.
        smoothing: For gauss: standard deviation of the smoothing in seconds. Default: 1, or an eighth of a shorter
            film.
        only_noise: Stay at the seeds, and draw new noise for each frame.
        grid: How many walks the film shows, WIDTHxHEIGHT. Those of spline and slerp start at successive seeds.
        level: Levels of the pyramid to show for each walk: -1 = full resolution, or several such as 0,2,-1, or all.
        columns: Number of columns for the levels of a walk. Default: side by side; 1 = a tower, the largest on top.
        size: Smallest height of each image in pixels; smaller images are enlarged by a whole factor.
        output: File to write: .mp4, .webm or .gif; or a folder, without a suffix, for frames as PNG.
        overwrite: Replace the file if it exists.
    """
    # Everything is checked before the first frame is computed.
    check_output(output, (*CONTAINERS, ""), overwrite)
    check_fps(fps, output)
    check_range("--frames", frames, 1, MOST_FRAMES)
    check_range("--size", size, 1, 4096)
    if columns is not None and columns < 1:
        raise UserError(f"--columns {columns}: expected >= 1")
    seconds = frames / fps
    smoothing = min(1.0, seconds / 8) if smoothing is None else smoothing
    if not 0 < smoothing <= seconds:
        raise UserError(f"--smoothing {smoothing}: expected more than 0, at most the {seconds:g} seconds of the film")

    # Random walks need a seed each; the others share a path, along which they start at different seeds.
    numbers = parse_seeds(seeds)
    across, down = parse_grid(grid)
    count = across * down
    if walk == "gauss" and len(numbers) < count:
        raise UserError(f"--seeds {seeds}: {len(numbers)} seeds, expected one for each of the {count} walks")
    if (walk == "direction") != (directions is not None):
        raise UserError(f"--walk {walk}: expected --directions FILE with --walk direction, and only there")
    if only_noise and directions is not None:
        raise UserError("--only-noise: it stays at the seeds, so it cannot be combined with --walk direction")
    check_strength(strength)

    # The network, the direction to follow, and the size of a frame.
    sampler = open_sampler(sampling, only_noise)
    move = None if directions is None else _Move(read_directions(directions, sampler), component, strength)
    levels = parse_levels(level, len(sampler.sizes))
    columns = min(columns or len(levels), len(levels))
    height, width = sampler.sizes[max(levels)]
    factor = max(1, math.ceil(size / height))
    lines = math.ceil(len(levels) / columns)
    check_frame(width * factor * columns * across, height * factor * lines * down, f"--grid {grid}, --size {size}")

    # The latents of all frames are small; images are made as the film needs them.
    films = []
    for k in range(count):
        start = k % len(numbers)
        own_seeds = numbers[start:] + numbers[:start]
        w = _path(sampler, own_seeds, "still" if only_noise else walk, frames, smoothing * fps, move)
        noise_seeds = list(range(frames)) if only_noise else [numbers[0]] * frames
        films.append(_pictures(sampler, w, noise_seeds, levels, columns, size))

    with open_video(output, fps) as add, tqdm(total=frames, unit="frame") as bar:
        for cells in zip(*films, strict=True):
            add(sheet(np.stack(cells), across))
            bar.update()
    print(f"{output}: {frames} frame{'s' * (frames > 1)} of {count} walk{'s' * (count > 1)}, {seconds:g} s")


class _Move:
    """A direction to follow, and how far."""

    def __init__(self, directions: Directions, component: int, strength: float) -> None:
        """Raise UserError if there is no such component."""
        check_components("--component", str(component), [component], directions)
        self.directions, self.component, self.strength = directions, component, strength

    def path(self, w: torch.Tensor, frames: int) -> torch.Tensor:
        """Return w [frames,num_ws,w_dim] of a swing along the direction, from w [1,num_ws,w_dim]."""
        strengths = self.strength * there_and_back(frames)
        return torch.cat([self.directions.shift(w, self.component, strength) for strength in strengths])


def _path(
    sampler: Sampler, seeds: list[int], kind: str, frames: int, smoothing: float, move: _Move | None
) -> torch.Tensor:
    """Return w [frames,num_ws,w_dim] of a closed walk that starts at the first of the seeds.

    kind: gauss, spline, slerp, still, or, with `move`, direction. smoothing: standard deviation along time of `gauss`,
    in frames.
    """
    # The class stays the same all the way.
    first = sampler.latent(seeds[0])
    keys = [sampler.latent(seed)._replace(c=first.c) for seed in seeds]

    # Splines go through mapped latents; the other walks are in z, and mapped afterwards.
    if move is not None:
        return move.path(sampler.map([first]), frames)
    if kind == "still":
        return sampler.map([first]).expand(frames, -1, -1)
    if kind == "spline":
        points = spline_walk(sampler.map(keys).double().cpu().numpy(), frames)
        return torch.from_numpy(points).float().to(sampler.device)
    if kind == "slerp":
        z = slerp_walk(np.stack([key.z for key in keys]), frames)
    else:
        z = gaussian_walk(frames, len(first.z), smoothing, seeds[0])
    return sampler.map([Latent(point, first.c, first.noise_seed) for point in z])


def _pictures(
    sampler: Sampler, w: torch.Tensor, noise_seeds: list[int], levels: list[int], columns: int, size: int
) -> Iterator[np.ndarray]:
    """Yield a picture uint8 [C,H,W] of some levels of each w; images are enlarged to at least `size` pixels."""
    # Enlarged by a whole factor, the network's own pixels stay visible.
    largest = max(levels)
    for images in sampler.render(w, noise_seeds):
        images = [*images[:largest], enlarge(images[largest], size)]
        yield lay_out([images[i] for i in levels], columns, own_size=False)
