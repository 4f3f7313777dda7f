"""LSUN's LMDB databases (Yu et al. 2015), one a category, of encoded images; read by lmdb (an extra)."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from dnnlib.errors import UserError
from training.data.image_folder import to_8bit


def open_lsun(folder: Path) -> tuple[int, Iterator[tuple[str, bytes]]]:
    """Number of entries, and (key, encoded image) in the order of the database."""
    try:
        import lmdb
    except ImportError as e:
        raise UserError("create_lsun: needs lmdb: pip install lmdb") from e
    if not (folder / "data.mdb").is_file():
        raise UserError(f"{folder}: no data.mdb in it, expected an unpacked LMDB of LSUN such as bedroom_train_lmdb")
    try:
        database = lmdb.open(str(folder), readonly=True, lock=False, readahead=False)
        total = database.stat()["entries"]
    except lmdb.Error as e:
        raise UserError(f"{folder}: not a readable LMDB: {e}") from e

    def entries() -> Iterator[tuple[str, bytes]]:
        try:
            with database, database.begin() as transaction:
                for key, value in transaction.cursor():
                    yield bytes(key).decode("utf-8", "replace"), bytes(value)
        except lmdb.Error as e:
            raise UserError(f"{folder}: damaged LMDB: {e}") from e

    return total, entries()


def decode(data: bytes) -> Image.Image:
    """An encoded image (JPEG, WebP, ...) as RGB; ValueError if it is none."""
    try:
        with Image.open(io.BytesIO(data)) as im:
            return to_8bit(im).convert("RGB")
    except Exception as e:  # decoders raise whatever a damaged image leads them to
        raise ValueError(f"not a readable image: {e}") from e


def square(im: Image.Image, resolution: int) -> np.ndarray:
    """Centre crop to a square, scaled by Lanczos: uint8 [3,R,R]."""
    x = np.asarray(im)
    h, w = x.shape[:2]
    side = min(h, w)
    x = x[(h - side) // 2 : (h + side) // 2, (w - side) // 2 : (w + side) // 2]
    small = Image.fromarray(x).resize((resolution, resolution), Image.Resampling.LANCZOS)
    return np.asarray(small).transpose(2, 0, 1)


def wide(im: Image.Image, width: int, height: int) -> np.ndarray | None:
    """Scaled to `width` x `height` with rows cut off above and below, on black: uint8 [3,width,width]. None for images
    that are too small, which the original left out."""
    x = np.asarray(im)
    h, w = x.shape[:2]
    rows = round(width * h / w)
    if w < width or rows < height:
        return None
    x = x[(h - rows) // 2 : (h + rows) // 2]
    small = np.asarray(Image.fromarray(x).resize((width, height), Image.Resampling.LANCZOS))
    canvas = np.zeros([3, width, width], np.uint8)
    canvas[:, (width - height) // 2 : (width + height) // 2] = small.transpose(2, 0, 1)
    return canvas
