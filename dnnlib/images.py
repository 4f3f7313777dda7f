"""Contact sheets and image files."""

from pathlib import Path

import numpy as np
from PIL import Image

from dnnlib.files import atomic


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


def save_png(image: np.ndarray, path: Path) -> None:
    """Write uint8 [C,H,W] as PNG, whole or not at all."""
    with atomic(path) as temporary:
        to_pil(image).save(temporary, format="PNG")
