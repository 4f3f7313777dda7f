"""Pictures of single seeds: one file each, or a sheet of all levels."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from dnnlib.errors import UserError
from dnnlib.files import make_dir
from dnnlib.images import save_png, sheet
from generation.sampling import Options, check_level, parse_seeds, sample


def images(*, sampling: Options, seeds: str = "0-15", outdir: Path = Path("out"), level: int = -1) -> None:
    """Write one PNG per seed: OUTDIR/seed0000.png.

    Args:
        seeds: Seeds to use, as numbers and ranges, e.g. 0-15,20.
        outdir: Folder for the images.
        level: Level of the pyramid to write: -1 = full resolution, 0 = 4x4, 1 = 8x8, ...
    """
    numbers = parse_seeds(seeds)
    for seed, levels in tqdm(sample(sampling, numbers), total=len(numbers), unit="img"):
        # The network tells how many levels there are, and no folder is made for a wrong one.
        check_level(level, levels)
        save_png(levels[level], make_dir(outdir) / f"seed{seed:04d}.png")

    print(f"{outdir}: {len(numbers)} images")


def multiscale(*, sampling: Options, seeds: str = "0-7", output: Path = Path("multiscale.png")) -> None:
    """Write one sheet: a row per seed, a column per level from 4x4 to the full resolution, all scaled up to full size.

    Args:
        seeds: Seeds to use, as numbers and ranges, e.g. 0-7,20.
        output: PNG file to write.
    """
    if output.suffix.lower() != ".png":
        raise UserError(f"--output {output}: expected a file name that ends in .png")

    # Each image becomes a cell of the full size.
    cells = []
    for _, levels in sample(sampling, parse_seeds(seeds)):
        size = levels[-1].shape[1:]
        cells += [sheet(image[None], 1, size) for image in levels]

    make_dir(output.parent)
    save_png(sheet(np.stack(cells), len(levels)), output)
    print(output)
