"""Sheets of samples from fixed latents, which show how the generator changes over a run."""

import re
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch

from dnnlib.errors import UserError
from dnnlib.images import save_image, screenful, sheet
from dnnlib.seeds import seed_of
from training import pyramid
from training.config import TrainConfig
from training.data.dataset import Dataset
from training.data.labels import LabelTable, OneHot
from training.data.sampler import SampleOrder, read_batch
from training.networks.base import Generator
from training.precision import autocast
from training.spec import size_text

# The screens that the original fills, with the fewest and the most images either way.
SCREENS = {"1080p": (1920, 1080, (3, 32), (2, 32)), "4k": (3840, 2160, (7, 32), (4, 32))}


class Sheets:
    """Writes `reals.png` and one sheet per level; the latents and labels of a sheet are the same throughout a run."""

    def __init__(self, cfg: TrainConfig, dataset: Dataset, device: torch.device) -> None:
        """Read the reals; raise UserError if the options do not fit the dataset."""
        spec = dataset.spec
        self.columns, rows = sheet_grid(cfg.sheet_size, spec.resolution, spec.width)
        count = self.columns * rows

        # All levels are scaled up to the full size, so that they can be compared.
        self.size = (spec.resolution, spec.width)
        self.images_per_pass, self.precision = cfg.images_per_pass, cfg.precision

        # Which channels are shown.
        self.channels = list(cfg.sheet_channels) or list(range(spec.channels))
        if not all(0 <= channel < spec.channels for channel in self.channels):
            raise UserError(f"--sheet-channels: found {self.channels}, expected 0 to {spec.channels - 1}")

        # Reals with their labels, which the fakes share, and latents.
        order = SampleOrder(len(dataset), seed_of(cfg.seed, "sheet"), mirror=False)
        if cfg.sheet_layout == "random":
            self.reals, labels = read_batch(dataset, order, 0, count)
        elif spec.c_dim:
            shuffled, _ = order.take(0, len(dataset))
            self.reals, labels = dataset.batch(by_class(dataset.labels, shuffled, self.columns, rows, cfg.sheet_layout))
        else:
            raise UserError(f"--sheet-layout {cfg.sheet_layout}: the images have no labels, expected random")
        rng = torch.Generator().manual_seed(seed_of(cfg.seed, "sheet latents"))
        self.z = torch.randn(count, cfg.G.z_dim, generator=rng).to(device)  # [count,z_dim]
        self.c = torch.from_numpy(labels).to(device)  # [count,c_dim]

    def save_reals(self, run_dir: Path) -> None:
        """Write `reals.png`."""
        save_image(sheet(self.reals[:, self.channels], self.columns), run_dir / "reals.png")

    @torch.no_grad()
    def save_fakes(self, run_dir: Path, G_ema: Generator, tag: str) -> None:
        """Write `WxH/fakesTAG.png` for every level, scaled up to full size; stored noise, not truncated."""
        # Pyramids of all latents, a few at a time.
        z_parts = self.z.split(self.images_per_pass)
        c_parts = self.c.split(self.images_per_pass)
        with autocast(self.precision, self.z.device):
            pyramids = [G_ema(z, c, noise_mode="const") for z, c in zip(z_parts, c_parts, strict=True)]

        # One sheet per level.
        for parts in zip(*pyramids, strict=True):
            images = pyramid.to_uint8(torch.cat(parts)[:, self.channels]).cpu().numpy()  # [count,C,h,w]
            folder = run_dir / size_text(*images.shape[2:])
            folder.mkdir(exist_ok=True)
            save_image(sheet(images, self.columns, self.size), folder / f"fakes{tag}.png")


def sheet_grid(size: str, height: int, width: int) -> tuple[int, int]:
    """Return the columns and rows of a sheet of images of this size.

    size: `auto`, one of SCREENS, or COLUMNSxROWS.
    """
    if size == "auto":
        return screenful(height, width)
    if size in SCREENS:
        screen_width, screen_height, columns, rows = SCREENS[size]
        return int(np.clip(screen_width // width, *columns)), int(np.clip(screen_height // height, *rows))

    match = re.fullmatch(r"(\d+)x(\d+)", size)
    assert match is not None  # checked with the other options
    return int(match[1]), int(match[2])


def by_class(labels: LabelTable, shuffled: np.ndarray, columns: int, rows: int, layout: str) -> np.ndarray:
    """Return the index of an image for each cell of a sheet, row by row, int64 [rows*columns].

    layout: `row_per_class`, `col_per_class`, or `class4x4` = squares of 4x4 cells. Each row, column or square has
    images of one class, all classes in turn; the class of a label vector is where its largest value is. `shuffled` are
    the indices of all images in the order in which they are taken, again from the first if a class has too few.
    """
    classes = (labels.numbers if isinstance(labels, OneHot) else np.asarray(labels).argmax(1))[shuffled]
    images = {k: cycle(shuffled[classes == k].tolist()) for k in np.unique(classes).tolist()}
    present = list(images)

    # The number of the block that each cell is in, from left to right and from top to bottom.
    block_w, block_h = {"row_per_class": (columns, 1), "col_per_class": (1, rows), "class4x4": (4, 4)}[layout]
    across = -(-columns // block_w)
    y, x = np.mgrid[:rows, :columns]
    blocks = (y // block_h * across + x // block_w).ravel()

    # A block is filled at once, so that its images come in their order.
    cells = np.zeros(rows * columns, np.int64)
    for block in range(blocks.max() + 1):
        where = np.flatnonzero(blocks == block)
        cells[where] = list(islice(images[present[block % len(present)]], len(where)))
    return cells
