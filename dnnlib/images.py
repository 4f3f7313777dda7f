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

ARRAY = ".npy"
"""Suffix of images as arrays uint8 [C,H,W], which may have any number of channels."""

SQUARE = 8  # pixels of a square of the checkerboard
BOARD_GRAYS = (204, 255)

LABEL_HEIGHT = 16
"""Height in pixels of the strip that `labelled` adds."""


def to_pil(image: np.ndarray) -> Image.Image:
    """Convert uint8 [C,H,W] to a picture: C = 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA; of more the first three."""
    image = image if len(image) <= 4 else image[:3]
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(pixels), {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[len(image)])


def opaque(images: np.ndarray) -> np.ndarray:
    """Return images uint8 [...,C,H,W] as gray or RGB: on a checkerboard if they have alpha (C = 2 or 4), and only the
    first three channels of more than four."""
    channels, height, width = images.shape[-3:]
    if channels in (1, 3):
        return images
    if channels > 4:
        return images[..., :3, :, :]

    # Squares of two light grays, as image programs show what is transparent.
    row, column = np.ogrid[:height, :width]
    board = np.where((row // SQUARE + column // SQUARE) % 2, *BOARD_GRAYS)
    alpha = images[..., -1:, :, :] / 255
    mixed = images[..., :-1, :, :] * alpha + board * (1 - alpha)
    return np.rint(mixed).astype(np.uint8)


def sheet(images: np.ndarray, columns: int, size: tuple[int, int] | None = None) -> np.ndarray:
    """Lay images uint8 [N,C,h,w] out as one picture [1 or 3,rows*H,columns*W], row by row; unused cells are white.

    Each image is scaled up to `size` = (H, W) by repeating pixels, and made opaque.
    """
    n, _, h, w = images.shape
    height, width = size or (h, w)
    images = opaque(images.repeat(height // h, axis=2).repeat(width // w, axis=3))  # [N,1 or 3,H,W]
    c = images.shape[1]

    # Fill the cells, the last row perhaps in part.
    rows = -(-n // columns)
    cells = np.full((rows * columns, c, height, width), 255, np.uint8)
    cells[:n] = images

    # Join them.
    grid = cells.reshape(rows, columns, c, height, width).transpose(2, 0, 3, 1, 4)  # [C,rows,H,columns,W]
    return grid.reshape(c, rows * height, columns * width)


def screenful(height: int, width: int) -> tuple[int, int]:
    """Return the columns and rows of a sheet of images of this size that fills about a full HD screen."""
    return max(3, min(16, 1920 // width)), max(2, min(9, 1080 // height))


def enlarge(image: np.ndarray, size: int) -> np.ndarray:
    """Return uint8 [...,h,w] at a whole multiple of its size: the first that is at least `size` pixels high."""
    factor = max(1, math.ceil(size / image.shape[-2]))
    return image.repeat(factor, axis=-2).repeat(factor, axis=-1)


def labelled(image: np.ndarray, text: str) -> np.ndarray:
    """Return uint8 [C,h,w], made opaque, with a line of text in a white strip below it, LABEL_HEIGHT pixels high."""
    image = opaque(image)
    channels, _, width = image.shape
    strip = Image.new("L", (width, LABEL_HEIGHT), "white")
    ImageDraw.Draw(strip).text((4, 2), text, fill="black")
    return np.concatenate([image, np.asarray(strip)[None].repeat(channels, 0)], 1)


def save_grid(images: Sequence[np.ndarray], path: Path | str, columns: int | None = None) -> None:
    """Write images uint8 [C,h,w] of one size as one opaque picture, row by row; default: about as wide as high."""
    if not images:
        raise ValueError(f"{path}: no images, expected at least one")
    save_image(sheet(np.stack(images), columns or math.ceil(math.sqrt(len(images)))), path)


def save_image(image: np.ndarray, path: Path | str) -> None:
    """Write uint8 [C,H,W], whole or not at all; the suffix, one of PICTURES, decides the kind of file."""
    path = Path(path)
    with atomic(path) as temporary:
        temporary.write_bytes(encode(image, path.suffix))


def encode(image: np.ndarray, suffix: str) -> bytes:
    """Return uint8 [C,H,W] as a file of the kind that `suffix`, one of PICTURES, names, or as an array (.npy).

    Raises UserError for another suffix, or if such files cannot be that large.
    """
    if suffix.lower() == ARRAY:
        file = io.BytesIO()
        np.save(file, image)
        return file.getvalue()
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
    if kind == "JPEG" and len(image) in (2, 4):
        picture = to_pil(opaque(image))
    data = io.BytesIO()
    picture.save(data, format=kind, **options)
    return data.getvalue()
