"""How an image file of any kind becomes a training image: the rules of docs/datasets.md."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from PIL import Image, ImageColor

from training.data.decode import decode, decoding_error, planes
from training.spec import is_power_of_two


@dataclass(frozen=True)
class Picture:
    """An image uint8 [C,R,R], and notes for the user on how it was made."""

    image: np.ndarray
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refused:
    """The reason why a file gives no image."""

    reason: str
    readable: bool = False  # it is an image, but not of a size that can be stored


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How pictures become training images."""

    # Size.
    resize: int | None = None
    """Scale to 2^N pixels: 6 = 64x64, 8 = 256x256. Without it, all images must be squares of one power-of-two size."""
    fit: Literal["crop", "pad", "stretch"] = "crop"
    """How to make images square: crop the centre, pad with the background colour, or stretch."""
    filter: Literal["lanczos", "box", "area"] = "lanczos"
    """How to scale: lanczos and box are Pillow's filters, area is the exact mean over the area of each new pixel."""

    # Colours.
    channels: Literal["auto", "1", "3"] = "auto"
    """1 = gray, 3 = RGB, auto = gray if all images are gray."""
    background: str = "white"
    """Colour behind transparent pixels and in padding: a name or #rrggbb."""

    def __post_init__(self) -> None:
        if self.resize is not None and not 3 <= self.resize <= 14:
            raise ValueError(f"--resize {self.resize}: expected log2 of the resolution, 3 (8x8) to 14 (16384x16384)")
        if self.resize is None and (self.fit, self.filter) != ("crop", "lanczos"):
            raise ValueError("--fit and --filter: expected --resize LOG2 with them")

        # Pillow knows the names of colours.
        try:
            ImageColor.getrgb(self.background)
        except ValueError as e:
            raise ValueError(f"--background {self.background}: expected a colour, e.g. white or #ff8000") from e

    def facts(self) -> dict[str, Any]:
        """Return the options that have an effect, for dataset.json."""
        scaling = {"fit": self.fit, "filter": self.filter} if self.resize else {}
        return {"resize": self.resize, **scaling, "wanted_channels": self.channels, "background": self.background}

    def __call__(self, source: Path | bytes) -> Picture | Refused:
        """Convert a file, or the content of one."""
        try:
            im, notes = decode(source, self.background)
        except Exception as e:  # decoders raise whatever a damaged file leads them to
            return Refused(decoding_error(e, source))

        # Make it gray or RGB where the options decide that.
        if self.channels != "auto":
            im = im.convert("L" if self.channels == "1" else "RGB")
        elif self.fit == "pad" and len(set(ImageColor.getrgb(self.background)[:3])) > 1:
            im = im.convert("RGB")  # the borders have a colour

        # Make it a square of the wanted size, or insist on one.
        if self.resize:
            im = fit(im, 2**self.resize, self.fit, self.filter, self.background)
        elif im.width != im.height or not is_power_of_two(im.width) or im.width < 8:
            return Refused(f"{im.width}x{im.height} pixels", readable=True)
        return Picture(planes(im), notes)


Pictures = Annotated[Rules, tyro.conf.OmitArgPrefixes]
PLAIN = Rules()


def fit(im: Image.Image, side: int, how: str, filter: str, background: str = "white") -> Image.Image:
    """Scale an L or RGB image to side x side: `crop` its centre, `pad` it with a border, or `stretch` it."""
    w, h = im.size
    if how == "crop":
        s = min(w, h)
        left, top = (w - s) // 2, (h - s) // 2
        return scale(im.crop((left, top, left + s, top + s)), side, side, filter)
    if how == "stretch":
        return scale(im, side, side, filter)

    # The longer edge fills the square, the border is beside the other one.
    width, height = (max(1, round(x * side / max(w, h))) for x in (w, h))
    color = Image.new("RGB", (1, 1), background).convert(im.mode).getpixel((0, 0))
    canvas = Image.new(im.mode, (side, side), color)
    canvas.paste(scale(im, width, height, filter), ((side - width) // 2, (side - height) // 2))
    return canvas


def scale(im: Image.Image, width: int, height: int, filter: str) -> Image.Image:
    """Scale an image with a filter.

    `lanczos` is Pillow's and antialiased. `box`, also Pillow's, is the mean of the pixels whose centres are within a
    new pixel. `area` is the mean over its exact area: a pixel on the edge counts by the part of it that is inside.
    """
    if im.size == (width, height):
        return im
    if filter != "area":
        return im.resize((width, height), Image.Resampling[filter.upper()])

    # Rows first, then columns.
    x = area_means(area_means(np.asarray(im, np.float64), height).swapaxes(0, 1), width).swapaxes(0, 1)
    return Image.fromarray(np.rint(x).clip(0, 255).astype(np.uint8))


def area_means(x: np.ndarray, n: int) -> np.ndarray:
    """Return the means of x [m,...] over n equal stretches of its first axis, [n,...]; m/n need not be whole."""
    m = len(x)

    # The integral up to the end of each stretch; within a pixel it grows evenly.
    integral = np.concatenate([np.zeros_like(x[:1]), np.cumsum(x, 0)])  # [m+1,...], from the start to each pixel
    ends = np.arange(n + 1) * m / n
    below = np.minimum(ends.astype(np.int64), m - 1)
    part = (ends - below).reshape(-1, *[1] * (x.ndim - 1))
    integral_at_ends = integral[below] + part * x[below]  # [n+1,...]
    return np.diff(integral_at_ends, axis=0) * (n / m)
