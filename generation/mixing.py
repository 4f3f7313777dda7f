"""Style mixing: images whose layers follow two latents (StyleGAN, section 3.1)."""

import re
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from dnnlib.cli import Switch
from dnnlib.errors import UserError
from dnnlib.files import make_dir
from dnnlib.images import save_png, sheet
from generation.output import check_output
from generation.sampling import Options, latent, map_latents, open_generator, parse_seeds, render


def mix(
    *,
    sampling: Options,
    rows: str = "0-3",
    columns: str = "4-7",
    layers: str = "0-3",
    output: Path = Path("mix.png"),
    overwrite: Switch = False,
) -> None:
    """Write a table of style mixing: each image has the layers of its column's seed, and all others of its row's.

    The first row and the first column show the seeds by themselves.

    Args:
        rows: Seeds of the rows, as numbers and ranges, e.g. 0-3,20.
        columns: Seeds of the columns.
        layers: Layers that follow the column, e.g. 0-3 (coarse: pose and shape) or 8-15 (fine: colours). Each
            resolution has two, 4x4 the layers 0 and 1.
        output: PNG file to write.
        overwrite: Replace the file if it exists.
    """
    check_output(output, (".png",), overwrite)
    row_seeds = parse_seeds(rows)
    column_seeds = parse_seeds(columns)

    # Mapped latents of all seeds, [rows,num_ws,w_dim] and [columns,num_ws,w_dim].
    G = open_generator(sampling)
    first, last = _parse_layers(layers, G.synthesis.num_ws)
    row_w = torch.cat([map_latents(G, *latent(G, seed, sampling), sampling) for seed in row_seeds])
    column_w = torch.cat([map_latents(G, *latent(G, seed, sampling), sampling) for seed in column_seeds])

    # The table row by row: the seeds of the columns, then each seed of the rows with its mixtures.
    mixed = [column_w]
    for own in row_w:
        styles = own.repeat(len(column_w), 1, 1)  # [columns,num_ws,w_dim]
        styles[:, first : last + 1] = column_w[:, first : last + 1]
        mixed += [own[None], styles]

    # The cell in the corner stays white.
    w = torch.cat(mixed)
    drawn = tqdm(render(G, w, sampling, row_seeds[0]), total=len(w), unit="img")
    images = [levels[-1] for levels in drawn]
    corner = np.full_like(images[0], 255)
    make_dir(output.parent)
    save_png(sheet(np.stack([corner, *images]), len(column_seeds) + 1), output)
    print(f"{output}: {len(row_seeds)} rows, {len(column_seeds)} columns, layers {first} to {last}")


def _parse_layers(text: str, count: int) -> tuple[int, int]:
    """Return the first and the last layer that `0-3` or `5` stands for, of `count` layers."""
    if count < 2:
        raise UserError("mix: w enters this network in one layer only, expected a network of the StyleGAN family")

    # A single layer is a range of one; text that is no range becomes one that fits nowhere.
    match = re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?", text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if not first <= last < count:
        raise UserError(f"--layers {text}: expected a layer or a range such as 0-3, of the layers 0 to {count - 1}")
    return first, last
