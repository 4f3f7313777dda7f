"""Contact sheets and image files."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from dnnlib.errors import UserError
from dnnlib.files import atomic

# How each kind of file is encoded: PNG quickly, by run lengths, since effort hardly makes it smaller; the others so
# that losses are hard to see.
ENCODINGS: dict[str, tuple[str, dict[str, int]]] = {
    ".png": ("PNG", {"compress_level": 1, "compress_type": 3}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".webp": ("WEBP", {"quality": 95}),
}
LIMITS = {"JPEG": 65500, "WEBP": 16383}  # pixels of height and width
PICTURES = tuple(ENCODINGS)
"""Suffixes of pictures."""

LABEL_HEIGHT = 16
"""Height in pixels of the strip that `labelled` adds."""


def to_pil(image: np.ndarray) -> Image.Image:
    """Convert uint8 [C,H,W] to a picture: C = 1 gray, 3 RGB, 4 RGBA; of any other number the first channel."""
    pixels = image.transpose(1, 2, 0) if len(image) in (3, 4) else image[0]
    return Image.fromarray(np.ascontiguousarray(pixels))


def sheet(images: np.ndarray, columns: int, size: tuple[int, int] | None = None) -> np.ndarray:
    """Lay images uint8 [N,C,h,w] out as one picture [C,rows*H,columns*W], row by row; unused cells are white.

    Each image is scaled up to `size` = (H, W) by repeating pixels.
    """
    n, c, h, w = images.shape
    height, width = size or (h, w)
    images = images.repeat(height // h, axis=2).repeat(width // w, axis=3)  # [N,C,H,W]

    # Fill the cells, the last row perhaps in part.
    rows = -(-n // columns)
    cells = np.full((rows * columns, c, height, width), 255, np.uint8)
    cells[:n] = images

    # Join them.
    grid = cells.reshape(rows, columns, c, height, width).transpose(2, 0, 3, 1, 4)  # [C,rows,H,columns,W]
    return grid.reshape(c, rows * height, columns * width)


def enlarge(image: np.ndarray, size: int) -> np.ndarray:
    """Return uint8 [...,h,w] at a whole multiple of its size: the first that is at least `size` pixels high."""
    factor = max(1, math.ceil(size / image.shape[-2]))
    return image.repeat(factor, axis=-2).repeat(factor, axis=-1)


def labelled(image: np.ndarray, text: str) -> np.ndarray:
    """Return uint8 [C,h,w] with a line of text in a white strip below it, LABEL_HEIGHT pixels high."""
    channels, _, width = image.shape
    strip = Image.new("L", (width, LABEL_HEIGHT), "white")
    ImageDraw.Draw(strip).text((4, 2), text, fill="black")
    return np.concatenate([image, np.asarray(strip)[None].repeat(channels, 0)], 1)


def save_grid(images: Sequence[np.ndarray], path: Path | str, columns: int | None = None) -> None:
    """Write images uint8 [C,h,w] of one size as one picture, row by row; default: about as wide as high."""
    if not images:
        raise ValueError(f"{path}: no images, expected at least one")
    save_image(sheet(np.stack(images), columns or math.ceil(math.sqrt(len(images)))), path)


def save_image(image: np.ndarray, path: Path | str) -> None:
    """Write uint8 [C,H,W], whole or not at all; the suffix, one of PICTURES, decides the kind of file."""
    path = Path(path)
    with atomic(path) as temporary:
        temporary.write_bytes(encode(image, path.suffix))


def encode(image: np.ndarray, suffix: str) -> bytes:
    """Return uint8 [C,H,W] as a file of the kind that `suffix`, one of PICTURES, names.

    Raises UserError for another suffix, or if such files cannot be that large.
    """
    if suffix.lower() not in ENCODINGS:
        raise UserError(
            f"unknown kind of picture {suffix or 'without a suffix'}, expected one of {', '.join(ENCODINGS)}"
        )
    kind, options = ENCODINGS[suffix.lower()]
    picture = to_pil(image)
    limit = LIMITS.get(kind, max(picture.size))
    if max(picture.size) > limit:
        raise UserError(f"{picture.width}x{picture.height} pixels: expected at most {limit} in a {suffix}, or a .png")

    # JPEG has no alpha.
    if kind == "JPEG" and picture.mode == "RGBA":
        picture = picture.convert("RGB")
    data = io.BytesIO()
    picture.save(data, format=kind, **options)
    return data.getvalue()
