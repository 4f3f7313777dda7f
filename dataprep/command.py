"""The commands of dataset_tool.py."""

from collections.abc import Callable
from pathlib import Path

import tyro

from dataprep import inspection
from dataprep.build import DEFAULT, Options, build
from dataprep.sources import classic
from dataprep.sources import image_files as collections
from dataprep.sources.characters import Characters
from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.pool import cpu_count


def create_robohash(
    dataset_dir: tyro.conf.Positional[Path],
    *,
    resolution: int = 64,
    num_images: int = 4000,
    sets: tuple[int, ...] = (1, 2, 3, 4, 5),
    seed: int = 0,
    output: Options = DEFAULT,
) -> None:
    """Draw characters from the artwork of the robohash package, on white; no download.

    Args:
        dataset_dir: New folder for the dataset.
        resolution: Height and width in pixels: 32, 64, 128 or 256.
        num_images: Number of images.
        sets: Character sets: 1 robots, 2 monsters, 3 robot heads, 4 cats, 5 humans. Labels are one-hot over the five.
        seed: Another seed draws other characters.
    """
    if resolution not in (32, 64, 128, 256):
        raise UserError(f"--resolution {resolution}: expected 32, 64, 128 or 256")
    if num_images < 1:
        raise UserError(f"--num-images {num_images}: expected >= 1")
    if not sets or len(set(sets)) != len(sets) or not set(sets) <= {1, 2, 3, 4, 5}:
        raise UserError(f"--sets {' '.join(map(str, sets))}: expected some of 1 2 3 4 5, each once")
    if seed < 0:
        raise UserError(f"--seed {seed}: expected >= 0")
    sets = tuple(sorted(sets))
    characters = Characters(num_images, resolution, sets, seed, output.workers or cpu_count())
    facts = {"command": "create_robohash", "sets": sets, "seed": seed}
    build(dataset_dir, characters, None, output, facts)


COMMANDS: dict[str, Callable[..., int | None]] = {
    "create_robohash": create_robohash,
    **collections.COMMANDS,
    **classic.COMMANDS,
    **inspection.COMMANDS,
}


def main() -> int | None:
    """Parse the command line and run the command."""
    return cli.run_command(COMMANDS, "Create datasets for training, and look at them.")
