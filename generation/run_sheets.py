"""The sheets of samples in a run dir, read again: `4x4/fakes000000.png` and so on, one file per level and time.

Folders are named by width x height.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from dnnlib.errors import UserError
from training.data.decode import decoding_error
from training.spec import size_text

FOLDER = re.compile(r"[1-9][0-9]{0,5}x[1-9][0-9]{0,5}")
SHEET_NAME = re.compile(r"fakes(\d+(?:\.\d+)?)\.png")


class RunSheets(NamedTuple):
    """Which sheets of a run there are at every level."""

    folders: list[Path]
    """A folder for each level, smallest first."""
    names: list[str]
    """File names that all folders have, earliest first."""

    @property
    def kimg(self) -> list[float]:
        """The thousands of images after which each sheet was made."""
        return [kimg_of_sheet(name) for name in self.names]

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(height, width) of the images of each level in pixels, smallest first."""
        return [_size(folder) for folder in self.folders]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of a cell in pixels, the same in all sheets of the run."""
        return self.sizes[-1]

    def cells(self, level: int, name: str) -> np.ndarray:
        """Return the samples of one sheet, uint8 [N,C,H,W]; smaller levels are scaled up in it.

        Raises UserError if the file is damaged.
        """
        # Gray runs have gray sheets. Those of runs with alpha have a checkerboard, and older ones alpha.
        path = self.folders[level] / name
        try:
            with Image.open(path) as im:
                pixels = np.asarray(im if im.mode == "L" else im.convert("RGB"))
        except Exception as e:  # Pillow raises whatever a damaged file leads it to
            raise UserError(f"{path}: {decoding_error(e, path)}") from e
        pixels = pixels.reshape(*pixels.shape[:2], -1)  # [rows*H,columns*W,C]

        height, width = self.size
        rows, columns = pixels.shape[0] // height, pixels.shape[1] // width
        if not rows or not columns:
            found, expected = size_text(*pixels.shape[:2]), size_text(height, width)
            raise UserError(f"{path}: a sheet of {found} pixels, expected images of {expected} in it")
        grid = pixels[: rows * height, : columns * width].reshape(rows, height, columns, width, -1)
        return grid.transpose(0, 2, 4, 1, 3).reshape(rows * columns, -1, height, width)


def find_sheets(run_dir: Path) -> RunSheets:
    """Return the sheets of a run; raise UserError if there is none that is complete."""
    folders = [path for path in run_dir.glob("*x*") if FOLDER.fullmatch(path.name)]
    folders.sort(key=_size)

    # While a run goes on, the newest sheet may not be there for all levels yet.
    names = [{path.name for path in folder.iterdir() if SHEET_NAME.fullmatch(path.name)} for folder in folders]
    complete = set.intersection(*names) if names else set()
    if not complete:
        raise UserError(f"{run_dir}: no sheets in it, expected a run dir with e.g. 64x64/fakes000000.png")
    return RunSheets(folders, sorted(complete, key=kimg_of_sheet))


def kimg_of_sheet(name: str) -> float:
    """Return the number in fakes000123.png, or in fakes000000.064.png."""
    match = SHEET_NAME.fullmatch(name)
    assert match is not None
    return float(match[1])


def mean_squared_change(before: Sequence[np.ndarray], after: Sequence[np.ndarray]) -> list[float]:
    """Return for each level the mean squared difference of images uint8 [N,C,h,w], which count in [-1,1].

    From one sheet of a run to the next, this is its stability (MSG-GAN, Karnewar & Wang 2020, section 4.3, figure 5).
    """
    # The offset of the range cancels out.
    pairs = zip(before, after, strict=True)
    return [float(np.square((a.astype(np.float32) - b) / 127.5).mean(dtype=np.float64)) for b, a in pairs]


def _size(folder: Path) -> tuple[int, int]:
    """Return the height and width in the name of a folder, which is width x height."""
    width, height = folder.name.split("x")
    return int(height), int(width)
