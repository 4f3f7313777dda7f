"""The command that finds and shows directions along which the images of a network change."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from dnnlib.cli import Switch
from dnnlib.errors import UserError
from dnnlib.files import make_dir
from dnnlib.images import PICTURES, enlarge, save_image, sheet
from dnnlib.video import CONTAINERS, open_video
from generation.latent_directions import Directions, ganspace, pack_directions, sefa
from generation.mixing import parse_layer_range
from generation.output import check_fps, check_frame, check_output, check_range, write_file
from generation.sampling import Options, Sampler
from generation.selection import check_level, parse_seeds
from generation.walks import there_and_back

METHODS = {"sefa": sefa, "ganspace": ganspace}


def directions(
    *,
    sampling: Options,
    method: Literal["sefa", "ganspace"] = "sefa",
    layers: str | None = None,
    components: str = "0-4",
    seeds: str = "0-1",
    strength: float = 3.0,
    steps: int = 7,
    level: int = -1,
    size: int = 64,
    frames: int = 90,
    fps: float = 30.0,
    output: Path = Path("directions.png"),
    save: Path | None = None,
    overwrite: Switch = False,
) -> None:
    """Find directions in w along which images change, without labels, and show them as strips or as a film.

    Args:
        method: sefa = the directions that the layers magnify most (closed form); ganspace = the principal components of
            w.
        layers: Layers that move, e.g. 0-3 (coarse: pose and shape) or 4-9 (fine: colours). Default: all.
        components: Directions to show, as numbers and ranges; 0 changes most.
        seeds: Seeds of the images that are moved.
        strength: How far they move either way, in standard deviations of w along the direction.
        steps: Pictures in a strip.
        level: Level of the pyramid to show: -1 = full resolution, 0 = smallest, e.g. 4x4.
        size: Smallest height of each image in pixels; smaller images are enlarged by a whole factor.
        frames: Length of a film in frames.
        fps: Frames per second of a film.
        output: Strips (.png, .jpg, .webp), with a row for each direction and seed; or a film (.mp4, .webm, .gif, or a
            folder for frames), with a row for each direction and a column for each seed.
        save: Also write the directions to this file (.npz), for films of `interpolate`.
        overwrite: Replace files that exist.
    """
    # Everything that needs no network is checked first.
    check_output(output, (*PICTURES, *CONTAINERS, ""), overwrite)
    if save is not None:
        check_output(save, (".npz",), overwrite, "--save")
    is_film = output.suffix.lower() not in PICTURES
    numbers, chosen = parse_seeds(seeds), parse_seeds(components, "--components")
    check_strength(strength)
    check_range("--steps", steps, 2, 1000)
    check_range("--size", size, 1, 4096)
    check_range("--frames", frames, 1, 10**6)
    if is_film:
        check_fps(fps, output)

    # The network, and its directions.
    sampler = Sampler(sampling)
    level = check_level(level, len(sampler.sizes))
    num_ws = sampler.G.synthesis.num_ws
    layer_range = (0, num_ws - 1) if layers is None else parse_layer_range(layers, layers, num_ws)
    found = METHODS[method](sampler, layer_range)
    check_components("--components", components, chosen, found)
    if save is not None:
        make_dir(save.parent)
        write_file(save, pack_directions(found))
        print(f"{save}: {len(found.vectors)} directions of layers {layer_range[0]}-{layer_range[1]}")

    # Show them.
    w = sampler.map([sampler.latent(seed) for seed in numbers])
    show = _Show(sampler, found, w, numbers[0], level, size)
    columns, rows = (len(numbers), len(chosen)) if is_film else (steps, len(chosen) * len(numbers))
    check_frame(show.cell[1] * columns, show.cell[0] * rows, "--components, --seeds, --steps, --size")
    make_dir(output.parent)
    if is_film:
        show.film(chosen, strength, frames, fps, output)
    else:
        show.strips(chosen, np.linspace(-strength, strength, steps), output)
    print(f"{output}: {len(chosen)} directions by {method}, {len(numbers)} images, strength {strength:g}")


def check_strength(strength: float) -> None:
    """Raise UserError unless this is how far w can be moved."""
    if not 0 < strength <= 1000:
        raise UserError(f"--strength {strength:g}: expected more than 0, at most 1000")


def check_components(option: str, text: str, chosen: list[int], found: Directions) -> None:
    """Raise UserError unless there are these directions."""
    count = len(found.vectors)
    if not all(0 <= k < count for k in chosen):
        raise UserError(f"{option} {text}: expected 0 to {count - 1}")


class _Show:
    """Shows images that are moved along directions, all with the same noise."""

    def __init__(
        self, sampler: Sampler, found: Directions, w: torch.Tensor, noise_seed: int, level: int, size: int
    ) -> None:
        self.sampler, self.found, self.w = sampler, found, w
        self.noise_seed, self.level, self.size = noise_seed, level, size
        height, width = sampler.sizes[level]
        factor = max(1, math.ceil(size / height))
        self.cell = (height * factor, width * factor)
        """Height and width of an image in pixels."""

    def strips(self, components: Sequence[int], strengths: np.ndarray, output: Path) -> None:
        """Write a picture with a row for each direction and image, and a column for each strength."""
        rows = [self._images(k, [(i, s) for s in strengths]) for k in components for i in range(len(self.w))]
        save_image(sheet(np.concatenate(rows), len(strengths)), output)

    def film(self, components: Sequence[int], strength: float, frames: int, fps: float, output: Path) -> None:
        """Write a film that swings there and back, with a row for each direction and a column for each image."""
        with open_video(output, fps) as add:
            for moved in strength * there_and_back(frames):
                rows = [self._images(k, [(i, moved) for i in range(len(self.w))]) for k in components]
                add(sheet(np.concatenate(rows), len(self.w)))

    def _images(self, component: int, moves: Sequence[tuple[int, float]]) -> np.ndarray:
        """Return uint8 [N,C,h,w], one image for each move: its number, and how far it moves."""
        w = torch.cat([self.found.shift(self.w[i : i + 1], component, moved) for i, moved in moves])
        pictures = self.sampler.render(w, [self.noise_seed] * len(w))
        return np.stack([enlarge(levels[self.level], self.size) for levels in pictures])
