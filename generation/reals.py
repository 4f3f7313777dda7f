"""What a network is shown: real images with all their levels."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from dnnlib.cli import Place, Switch
from dnnlib.errors import UserError
from dnnlib.files import make_dir
from dnnlib.images import PICTURES, save_grid, save_image
from generation.images import lay_out
from generation.output import Format, check_outdir, check_output
from generation.sampling import parse_channels
from generation.selection import parse_levels, parse_seeds
from training import pyramid
from training.augment.augmenter import Augmenter
from training.augment.steps import Augmentation, augmented
from training.data.dataset import open_dataset
from training.step_config import AugmentConfig


def reals(
    dataset: Place,
    *,
    indices: str | None = None,
    level: str = "all",
    channels: str | None = None,
    columns: int | None = None,
    own_size: Switch = False,
    augment: Literal["none", "ada", "diffaugment"] = "none",
    augment_parts: str = "all",
    augment_p: float = 0.8,
    seed: int = 0,
    output: Path = Path("reals.png"),
    outdir: Path | None = None,
    format: Format | None = None,
    overwrite: Switch = False,
) -> None:
    """Write real images as the discriminator is shown them: one sheet, or each level as a file.

    Args:
        dataset: Dataset: a folder of TFRecords or of images, or a zip.
        indices: Images to show, as numbers and ranges, e.g. 0-7,20. Default: the first eight.
        level: Levels to show: all, or numbers such as 0,2,-1 (0 = smallest, -1 = full resolution).
        channels: Channels to show, counted from 0, as gray (one number) or red, green and blue (three, e.g. 3,2,1).
            Default: all.
        columns: Number of columns for the levels of an image. Default: side by side; 1 = a tower, the largest on top.
        own_size: Show each level at its own size. Otherwise all are scaled up to the full one by repeating pixels.
        augment: Show what augmentation makes of the images before the discriminator sees them.
        augment_parts: What to change; as `train.py --augment.parts`.
        augment_p: Probability of each change.
        seed: Seed of the changes.
        output: Sheet of all images (.png, .jpg, .webp).
        outdir: Write each level of each image as a file of its own size into this folder instead.
        format: Kind of these files. Default: png.
        overwrite: Replace files that exist.
    """
    # Everything that needs no dataset is checked first.
    numbers = list(dict.fromkeys(parse_seeds(indices or "0-7", "--indices")))
    if columns is not None and columns < 1:
        raise UserError(f"--columns {columns}: expected >= 1")
    if outdir is None:
        check_output(output, PICTURES, overwrite)
        if format is not None:
            raise UserError(f"--format {format}: expected --outdir as well")
    elif own_size or columns is not None:
        raise UserError("--own-size, --columns: expected no --outdir with them, where each level is a file")

    images = open_dataset(dataset)
    if indices is None:
        numbers = numbers[: len(images)]
    if max(numbers) >= len(images):
        raise UserError(f"--indices {indices}: {dataset} has {len(images)} images, expected numbers below that")

    # All levels that were asked for, of each image.
    levels = parse_levels(level, len(images.spec.sizes))
    shown_channels = parse_channels(channels, images.spec.channels)
    shown = np.stack([images[n][0][shown_channels] for n in numbers])
    spec = replace(images.spec, channels=len(shown_channels))
    augmenter = Augmenter(_augment_config(augment, augment_parts, augment_p), spec, torch.device("cpu"))
    pyramids = [
        [picture for i, picture in enumerate(all_levels) if i in levels]
        for all_levels in _levels(shown, augmenter.draw(len(shown), (seed, "reals")))
    ]

    # One sheet.
    if outdir is None:
        across = min(columns or len(levels), len(levels))
        pictures = [lay_out(shown, across, own_size) for shown in pyramids]
        make_dir(output.parent)
        save_grid(pictures, output, len(pictures) if columns == 1 else 1)
        print(f"{output}: {len(numbers)} of {len(images)} images")
        return

    # Or a file for each level.
    files = {
        f"real{n:06d}-{picture.shape[2]}x{picture.shape[1]}.{format or 'png'}": picture
        for n, shown in zip(numbers, pyramids, strict=True)
        for picture in shown
    }
    check_outdir(outdir, files, overwrite)
    make_dir(outdir)
    for name, picture in files.items():
        save_image(picture, outdir / name)
    print(f"{outdir}: {len(files)} files, {len(numbers)} of {len(images)} images at {len(levels)} levels")


def _augment_config(name: Literal["none", "ada", "diffaugment"], parts: str, p: float) -> AugmentConfig:
    """Return the options of an augmentation; raise UserError for those that cannot be."""
    try:
        return AugmentConfig(name=name, parts=parts, p=None if name == "none" else p)
    except ValueError as e:
        raise UserError(f"--augment-{e}") from e


def _levels(images: np.ndarray, augmentation: Augmentation) -> list[list[np.ndarray]]:
    """Return the pyramid of each image uint8 [N,C,H,W], augmented, smallest level first, rounded to uint8."""
    levels = augmented(pyramid.from_uint8(torch.from_numpy(images)), augmentation)
    return [list(levels_of_one) for levels_of_one in zip(*(pyramid.to_uint8(x).numpy() for x in levels), strict=True)]
