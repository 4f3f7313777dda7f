"""Small pictures of the page."""

import base64

import numpy as np

from dnnlib.images import encode, enlarge, opaque

THUMBNAIL = 128  # height in pixels, about


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Return uint8 [C,h,w] opaque and about as high as THUMBNAIL; small images are enlarged by a whole factor."""
    _, h, w = image.shape
    if h < THUMBNAIL:
        return opaque(enlarge(image, THUMBNAIL))
    step = h // THUMBNAIL

    # What is left of blocks of pixels at the right and at the bottom is cut off.
    blocks = opaque(image)[:, : h // step * step, : w // step * step]
    return blocks.reshape(len(blocks), h // step, step, w // step, step).mean((2, 4)).round().astype(np.uint8)


def strip(images: list[np.ndarray], titles: list[str], chosen: int | None = None) -> str:
    """Return HTML of small pictures side by side."""
    figures = []
    for i, (image, title) in enumerate(zip(images, titles, strict=True)):
        small = opaque(image) if image.shape[1] < THUMBNAIL else thumbnail(image)
        data = base64.b64encode(encode(small, ".png")).decode()
        mark = ' class="chosen"' if i == chosen else ""
        picture = f'<img src="data:image/png;base64,{data}" alt="{title}">'
        figures.append(f"<figure{mark}>{picture}<figcaption>{title}</figcaption></figure>")
    return f'<div class="pictures">{"".join(figures)}</div>' if figures else ""
