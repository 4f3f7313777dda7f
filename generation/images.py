"""Pictures of latents: a file for each, one grid, a zip with the latents, or sheets of all levels."""

import math
import zipfile
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from dnnlib.cli import Switch
from dnnlib.errors import UserError
from dnnlib.files import atomic, make_dir
from dnnlib.images import PICTURES, encode, opaque, save_grid, sheet
from generation import latent_files
from generation.output import Format, add_to_zip, check_outdir, check_output, in_threads, write_file
from generation.sampling import Options, Sample, Sampler
from generation.selection import Latents, Selection, check_level, open_sampler, parse_grid, parse_levels
from training.spec import size_text


def images(
    *,
    sampling: Options,
    latents: Latents,
    level: int = -1,
    outdir: Path = Path("out"),
    format: Literal["png", "jpg", "webp", "npy"] | None = None,
    output: Path | None = None,
    grid: str | None = None,
    overwrite: Switch = False,
) -> None:
    """Write images: one file each (OUTDIR/seed0000.png), one grid of all, or a zip.

    Args:
        level: Level of the pyramid to write: -1 = full resolution, 0 = smallest, e.g. 4x4.
        outdir: Folder for one file each.
        format: Kind of these files, and of those in a zip: pictures, or arrays uint8 [C,H,W] (npy), which have all
            channels of images with more than four. Default: png.
        output: Instead of files, write one grid of all images (.png, .jpg, .webp), or a .zip of images with
            latents.npz: their z, c and w.
        grid: Columns and rows of the grid, WIDTHxHEIGHT. Default: about as wide as high.
        overwrite: Replace files that exist.
    """
    # Everything that needs no network is checked first.
    selection = Selection(latents)
    count = len(selection.names)
    columns = _columns(grid, count)
    names = [f"{name}.{format or 'png'}" for name in selection.names]
    is_zip = output is not None and output.suffix.lower() == ".zip"
    if grid is not None and (output is None or is_zip):
        raise UserError(f"--grid {grid}: expected --output with the name of a picture as well")
    if format is not None and output is not None and not is_zip:
        raise UserError(f"--format {format}: the name {output} decides already")
    if output is not None:
        check_output(output, (*PICTURES, ".zip"), overwrite)
    else:
        check_outdir(outdir, names, overwrite)

    # Open the network.
    sampler = open_sampler(sampling, latents.only_noise)
    level = check_level(level, len(sampler.sizes))
    beside = sampler.device.type == "cuda"

    # Files are written as the images come, while a grid needs all of them.
    with _with_progress(sampler, selection) as samples:
        if output is None:
            _write_folder(outdir, names, (sample.images[level] for sample in samples), beside)
        elif is_zip:
            _write_zip(output, names, samples, level, beside)
        else:
            make_dir(output.parent)
            save_grid([sample.images[level] for sample in samples], output, columns)
    print(f"{output or outdir}: {count} image{'s' * (count > 1)}")


def multiscale(
    *,
    sampling: Options,
    latents: Latents,
    level: str = "all",
    columns: int | None = None,
    own_size: Switch = False,
    output: Path = Path("multiscale.png"),
    outdir: Path | None = None,
    format: Format | None = None,
    overwrite: Switch = False,
) -> None:
    """Write the levels of each sample side by side or as a tower: one sheet of all samples, or a file for each.

    Args:
        level: Levels to show: all, or numbers such as 0,2,-1 (0 = smallest, -1 = full resolution).
        columns: Number of columns for the levels of a sample. Default: side by side; 1 = a tower, the largest on top.
        own_size: Show each level at its own size. Otherwise all are scaled up to the full one by repeating pixels.
        output: Sheet of all samples (.png, .jpg, .webp).
        outdir: Write a file for each sample into this folder instead.
        format: Kind of these files. Default: png.
        overwrite: Replace files that exist.
    """
    # Everything that needs no network is checked first.
    selection = Selection(latents)
    if columns is not None and columns < 1:
        raise UserError(f"--columns {columns}: expected >= 1")
    names = [f"{name}.{format or 'png'}" for name in selection.names]
    if outdir is None:
        check_output(output, PICTURES, overwrite)
        if format is not None:
            raise UserError(f"--format {format}: expected --outdir as well")
    else:
        check_outdir(outdir, names, overwrite)

    sampler = open_sampler(sampling, latents.only_noise)
    levels = parse_levels(level, len(sampler.sizes))

    # A picture for each sample.
    across = min(columns or len(levels), len(levels))
    with _with_progress(sampler, selection) as samples:
        pictures = (lay_out([sample.images[i] for i in levels], across, own_size) for sample in samples)
        if outdir is not None:
            _write_folder(outdir, names, pictures, sampler.device.type == "cuda")
        else:
            # Rows of levels stand one below the other; towers, which are high, side by side.
            make_dir(output.parent)
            save_grid(list(pictures), output, len(names) if columns == 1 else 1)

    shown = ", ".join(size_text(*sampler.sizes[i]) for i in levels)
    print(f"{outdir or output}: {len(names)} sample{'s' * (len(names) > 1)}, levels {shown}")


def lay_out(levels: list[np.ndarray], columns: int, own_size: bool) -> np.ndarray:
    """Return an opaque picture uint8 [C,H,W] of the levels uint8 [C,h,w] of one sample, on white.

    columns: 1 = a tower, the largest level on top.
    own_size: whether levels keep their size, in the middle of their cells; otherwise all are scaled up to the largest.
    """
    # A tower stands on its smallest level.
    if columns == 1:
        levels = sorted(levels, key=lambda image: -image.shape[1])

    # Cells of one size.
    size = max(image.shape[1:] for image in levels)
    if not own_size:
        return sheet(np.stack([sheet(image[None], 1, size) for image in levels]), columns)

    # A row is as high as its highest level, a column as wide as its widest.
    rows = [levels[i : i + columns] for i in range(0, len(levels), columns)]
    heights = [max(image.shape[1] for image in row) for row in rows]
    widths = [max(image.shape[2] for image in levels[k::columns]) for k in range(columns)]

    # Each image in the middle of its cell.
    levels = [opaque(image) for image in levels]
    picture = np.full((levels[0].shape[0], sum(heights), sum(widths)), 255, np.uint8)
    for i, image in enumerate(levels):
        row, column = divmod(i, columns)
        y = sum(heights[:row]) + (heights[row] - image.shape[1]) // 2
        x = sum(widths[:column]) + (widths[column] - image.shape[2]) // 2
        picture[:, y : y + image.shape[1], x : x + image.shape[2]] = image
    return picture


def _columns(grid: str | None, count: int) -> int:
    """Return the number of columns of a grid for `count` images; raise UserError if they do not fit into it."""
    if grid is None:
        return math.ceil(math.sqrt(count))

    columns, rows = parse_grid(grid)
    if columns * rows < count:
        raise UserError(f"--grid {grid}: room for {columns * rows} images, expected at least {count}")
    return columns


def _with_progress(sampler: Sampler, selection: Selection) -> "tqdm[Sample]":
    """Return the samples of a selection with a progress bar, which ends with the `with` block that it is used in."""
    return tqdm(selection.draw(sampler), total=len(selection.names), unit="img")


def _write_folder(folder: Path, names: list[str], pictures: Iterable[np.ndarray], beside: bool) -> None:
    """Write each picture, uint8 [C,H,W], into a folder."""

    def write(item: tuple[str, np.ndarray]) -> None:
        name, picture = item
        write_file(folder / name, encode(picture, Path(name).suffix))

    make_dir(folder)
    with closing(in_threads(write, zip(names, pictures, strict=True), beside)) as written:
        for _ in written:
            pass


def _write_zip(path: Path, names: list[str], samples: Iterable[Sample], level: int, beside: bool) -> None:
    """Write an image of each sample into a zip, and the latents as arrays into its latents.npz."""
    kept = []
    make_dir(path.parent)
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        suffix = Path(names[0]).suffix
        encoded = in_threads(lambda sample: (sample, encode(sample.images[level], suffix)), samples, beside)
        with closing(encoded):
            # All latents are kept until the end, but not the images, which are larger.
            for name, (sample, data) in zip(names, encoded, strict=True):
                add_to_zip(archive, name, data)
                kept.append(sample._replace(images=[]))

        add_to_zip(archive, latent_files.NAME, latent_files.pack_latents([Path(n).stem for n in names], kept))
