"""LSUN's LMDB databases (Yu et al. 2015), one a category, of encoded images."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from PIL import Image

from dataprep.build import DEFAULT, Options, build
from dataprep.rules import Picture, Refused
from dataprep.sources.source import Entry, digest, stamp
from dnnlib.errors import UserError
from training.data.decode import decode, decoding_error
from training.spec import is_power_of_two

Folder = tyro.conf.Positional[Path]


class LSUN:
    """The images of one category in the order of their keys."""

    class_names: list[str] | None = None
    classes = 0

    def __init__(self, folder: Path) -> None:
        self.path = folder if folder.is_file() else folder / "data.mdb"
        if not self.path.is_file():
            raise UserError(f"{folder}: no data.mdb in it, expected an unpacked LMDB such as bedroom_train_lmdb")
        self.refused: list[str] = []
        with self._opened() as database:
            self._length = int(database.stat()["entries"])

    def __len__(self) -> int:
        return self._length

    def fingerprint(self) -> str:
        return digest([stamp(self.path), len(self)])

    def entries(self, indices: np.ndarray) -> Iterator[Entry]:
        wanted = iter(indices.tolist())
        want = next(wanted, None)
        with self._opened() as database, database.begin() as transaction:
            for i, (key, value) in enumerate(transaction.cursor()):
                if i == want:
                    yield Entry(f"{self.path}: {key.decode('utf-8', 'replace')}", value)
                    want = next(wanted, None)

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        """Open the database for reading; raise its library's errors as UserError."""
        try:
            import lmdb
        except ImportError as e:
            raise UserError("create_lsun: needs lmdb: pip install lmdb") from e

        try:
            with lmdb.open(str(self.path), subdir=False, readonly=True, lock=False, readahead=False) as database:
                yield database
        except lmdb.Error as e:
            raise UserError(f"{self.path}: not a readable LMDB: {e}") from e


def _rgb(data: bytes) -> np.ndarray | Refused:
    """An encoded image (JPEG, WebP, ...) as uint8 [H,W,3]."""
    try:
        return np.asarray(decode(data)[0].convert("RGB"))
    except Exception as e:  # decoders raise whatever a damaged image leads them to
        return Refused(decoding_error(e))


def square(data: bytes, resolution: int) -> Picture | Refused:
    """Centre crop to a square, scaled by Lanczos: uint8 [3,R,R]."""
    x = _rgb(data)
    if isinstance(x, Refused):
        return x
    h, w = x.shape[:2]
    side = min(h, w)
    x = x[(h - side) // 2 : (h + side) // 2, (w - side) // 2 : (w + side) // 2]
    small = Image.fromarray(x).resize((resolution, resolution), Image.Resampling.LANCZOS)
    return Picture(np.asarray(small).transpose(2, 0, 1))


def wide(data: bytes, width: int, height: int) -> Picture | Refused:
    """Scaled to `width` x `height` with rows cut off above and below, on black: uint8 [3,width,width]. Images that are
    too small are left out, as in the original."""
    x = _rgb(data)
    if isinstance(x, Refused):
        return x
    h, w = x.shape[:2]
    rows = round(width * h / w)
    if w < width or rows < height:
        return Refused(f"{w}x{h} pixels, too small for {width}x{height}")
    x = x[(h - rows) // 2 : (h + rows) // 2]
    small = np.asarray(Image.fromarray(x).resize((width, height), Image.Resampling.LANCZOS))
    canvas = np.zeros([3, width, width], np.uint8)
    canvas[:, (width - height) // 2 : (width + height) // 2] = small.transpose(2, 0, 1)
    return Picture(canvas)


def create_lsun(
    dataset_dir: Folder,
    lmdb_dir: Folder,
    *,
    resolution: int = 256,
    output: Options = DEFAULT,
) -> None:
    """One category of LSUN, centre crops scaled by Lanczos, in the order of the database.

    Args:
        dataset_dir: New folder for the dataset.
        lmdb_dir: Unpacked LMDB, e.g. church_outdoor_train_lmdb.
        resolution: Height and width in pixels.
    """
    if not is_power_of_two(resolution) or not 8 <= resolution <= 2**14:
        raise UserError(f"--resolution {resolution}: expected a power of two, 8 to 16384")
    facts = {"command": "create_lsun", "source": str(lmdb_dir), "resolution": resolution, "filter": "lanczos"}
    build(dataset_dir, LSUN(lmdb_dir), partial(square, resolution=resolution), output, facts)


def create_lsun_wide(
    dataset_dir: Folder,
    lmdb_dir: Folder,
    *,
    width: int = 512,
    height: int = 384,
    output: Options = DEFAULT,
) -> None:
    """One category of LSUN at another aspect ratio, on black squares, without images that are too small.

    Args:
        dataset_dir: New folder for the dataset.
        lmdb_dir: Unpacked LMDB, e.g. car_lmdb.
        width: Width in pixels, a power of two; also the height of the square.
        height: Height of the picture in it.
    """
    if not is_power_of_two(width) or not 8 <= width <= 2**14:
        raise UserError(f"--width {width}: expected a power of two, 8 to 16384")
    if not 1 <= height <= width:
        raise UserError(f"--height {height}: expected 1 to {width}")
    facts = {"command": "create_lsun_wide", "source": str(lmdb_dir), "width": width, "height": height}
    build(dataset_dir, LSUN(lmdb_dir), partial(wide, width=width, height=height), output, facts)
