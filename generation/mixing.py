"""Style mixing: images whose layers follow two latents (StyleGAN, section 3.1)."""

import re
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from dnnlib.cli import Switch
from dnnlib.errors import UserError
from dnnlib.files import make_dir
from dnnlib.images import PICTURES, save_grid
from generation.output import check_output
from generation.sampling import Options, Sampler
from generation.selection import check_level, parse_seeds


def mix(
    *,
    sampling: Options,
    rows: str = "0-3",
    columns: str = "4-7",
    layers: str = "0-3",
    level: int = -1,
    output: Path = Path("mix.png"),
    overwrite: Switch = False,
) -> None:
    """Write a table of style mixing: each image has the layers of its column's seed, and all others of its row's.

    The first row and the first column show the seeds by themselves.

    Args:
        rows: Seeds of the rows, as numbers and ranges, e.g. 0-3,20.
        columns: Seeds of the columns.
        layers: Layers that follow the column, e.g. 0-3 (coarse: pose and shape) or 8-15 (fine: colours); or a range for
            each row, as in 0-3,0-3,4-7,8-15. Each level has two layers, the smallest the layers 0 and 1.
        level: Level of the pyramid to show: -1 = full resolution, 0 = smallest, e.g. 4x4.
        output: Picture to write (.png, .jpg, .webp).
        overwrite: Replace the file if it exists.
    """
    check_output(output, PICTURES, overwrite)
    row_seeds = parse_seeds(rows, "--rows")
    column_seeds = parse_seeds(columns, "--columns")

    sampler = Sampler(sampling)
    level = check_level(level, len(sampler.sizes))
    ranges = parse_layers(layers, len(row_seeds), sampler.G.synthesis.num_ws)
    cells = mixing_table(sampler, row_seeds, column_seeds, ranges, level)
    make_dir(output.parent)
    save_grid(cells, output, len(column_seeds) + 1)
    print(f"{output}: {len(row_seeds)}x{len(column_seeds)} mixtures of layers {layers}")


def mixing_table(
    sampler: Sampler, row_seeds: list[int], column_seeds: list[int], ranges: list[tuple[int, int]], level: int
) -> list[np.ndarray]:
    """Return the cells of a mixing table row by row, uint8 [C,h,w] each; that in the corner is white.

    ranges: for each row, the first and the last layer that follow the column.
    """
    # Mapped latents of all seeds, [rows,num_ws,w_dim] and [columns,num_ws,w_dim].
    row_w = sampler.map([sampler.latent(seed) for seed in row_seeds])
    column_w = sampler.map([sampler.latent(seed) for seed in column_seeds])

    # The table row by row: the seeds of the columns, then each seed of the rows with its mixtures.
    mixed = [column_w]
    for own, (first, last) in zip(row_w, ranges, strict=True):
        styles = own.repeat(len(column_w), 1, 1)  # [columns,num_ws,w_dim]
        styles[:, first : last + 1] = column_w[:, first : last + 1]
        mixed += [own[None], styles]
    w = torch.cat(mixed)

    # All cells have the same noise, so that they differ in their styles only.
    drawn = tqdm(sampler.render(w, [row_seeds[0]] * len(w)), total=len(w), unit="img")
    images = [levels[level] for levels in drawn]
    return [np.full_like(images[0], 255), *images]


def parse_layers(text: str, rows: int, count: int) -> list[tuple[int, int]]:
    """Return for each row the first and the last layer that `0-3`, `5`, or a list with an entry for each row names.

    count: number of layers of the network. Raises UserError if there is no such layer, or too few entries.
    """
    if count < 2:
        raise UserError("mix: this network has no styles to mix, expected one of the StyleGAN family")

    parts = text.split(",")
    if len(parts) not in (1, rows):
        raise UserError(f"--layers {text}: {len(parts)} ranges, expected one, or one for each of the {rows} rows")

    return [parse_layer_range(text, part, count) for part in (parts * rows if len(parts) == 1 else parts)]


def parse_layer_range(text: str, part: str, count: int) -> tuple[int, int]:
    """Return the first and the last of `count` layers that a part of --layers names, such as `0-3` or `5`."""
    # A single layer is a range of one; text that is no range becomes one that fits nowhere.
    match = re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?", part)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if not first <= last < count:
        raise UserError(f"--layers {text}: expected layers or ranges such as 0-3, of the layers 0 to {count - 1}")
    return first, last
