"""One image file of any kind to a training image: the rules of docs/datasets.md."""

import io
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageCms, ImageColor, ImageOps

from training.networks.config import is_power_of_two

ANIMATED = "animated, its first frame taken"
BAD_PROFILE = "with a colour profile that is not readable, taken as sRGB"
DEEP_PIXELS = "pixels of 32 bits have no known range, expected at most 16"
FLOAT_PIXELS = "float pixels have no known range, expected integers"


@dataclass(frozen=True)
class Picture:
    """An image uint8 [C,R,R], and what is worth telling of how it came about."""

    image: np.ndarray
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refused:
    """Why a file gave no image."""

    reason: str
    readable: bool = False  # an image, but not of a size that can be stored


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How pictures become training images."""

    resize: int | None = None
    """log2 of the resolution to scale to: 6 = 64x64, 8 = 256x256; without it all must be squares of one such size"""
    fit: Literal["crop", "pad", "stretch"] = "crop"
    """what makes them square: the centre, a border of the background colour, or distortion"""
    filter: Literal["lanczos", "box", "area"] = "lanczos"
    """how they are scaled; lanczos and box are Pillow's, area is the exact mean over the area of each new pixel"""
    channels: Literal["auto", "1", "3"] = "auto"
    """1 = gray, 3 = RGB, auto = gray if all are gray"""
    background: str = "white"
    """behind transparent pixels and beside padded ones: a name or #rrggbb"""

    def __post_init__(self) -> None:
        if self.resize is not None and not 3 <= self.resize <= 14:
            raise ValueError(f"--resize {self.resize}: expected log2 of the resolution, 3 (8x8) to 14 (16384x16384)")
        if self.resize is None and (self.fit, self.filter) != ("crop", "lanczos"):
            raise ValueError("--fit and --filter: expected --resize LOG2 with them")
        try:
            ImageColor.getrgb(self.background)
        except ValueError as e:
            raise ValueError(f"--background {self.background}: expected a colour, e.g. white or #ff8000") from e

    def __call__(self, source: Path | bytes) -> Picture | Refused:
        """A file, or the content of one."""
        try:
            im, notes = decode(source, self.background)
        except Exception as e:  # decoders raise whatever a damaged file leads them to
            return unreadable(e, source)
        if self.channels != "auto":
            im = im.convert("L" if self.channels == "1" else "RGB")
        elif self.fit == "pad" and len(set(ImageColor.getrgb(self.background)[:3])) > 1:
            im = im.convert("RGB")  # coloured borders
        if self.resize:
            im = fit(im, 2**self.resize, self.fit, self.filter, self.background)
        elif im.width != im.height or not is_power_of_two(im.width) or im.width < 8:
            return Refused(f"{im.width}x{im.height} pixels", readable=True)
        return Picture(planes(im), notes)


def unreadable(e: Exception, source: object = "") -> Refused:
    """What a decoder's error is reported as."""
    if isinstance(e, PermissionError):
        return Refused("not readable: permission denied")
    reason = str(e).replace(repr(str(source)), "").strip() if isinstance(source, Path) else str(e)
    reason = "" if "BytesIO" in reason else reason
    return Refused(f"not a readable image{': ' if reason else ''}{reason}")


def decode(source: Path | bytes, background: str = "white") -> tuple[Image.Image, tuple[str, ...]]:
    """An encoded image as L or RGB of 8 bits in sRGB, upright, and notes; raises whatever Pillow does."""
    data = source if isinstance(source, bytes) else source.read_bytes()
    with warnings.catch_warnings(action="ignore"):  # large images, odd metadata
        with Image.open(io.BytesIO(data)) as im:
            if im.format == "PNG":
                im.verify()  # checksums, which decoding does not look at
        with Image.open(io.BytesIO(data)) as im:
            notes = (ANIMATED,) if getattr(im, "is_animated", False) else ()
            im.load()  # damage shows here, and is not taken for that of a profile
            converted: Image.Image = im
            try:
                converted = _to_srgb(im)
            except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
                notes = (*notes, BAD_PROFILE)
            return to_8bit(converted, background), notes


def _to_srgb(im: Image.Image) -> Image.Image:
    """Colours of another profile to sRGB (perceptual intent); alpha stays."""
    profile = im.info.get("icc_profile")
    if not profile:
        return im
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if "sRGB" in ImageCms.getProfileDescription(source):
        return im
    if im.mode in ("P", "PA"):
        im = im.convert("RGBA" if "transparency" in im.info or im.mode == "PA" else "RGB")
    elif "transparency" in im.info and im.mode in ("L", "RGB"):
        im = im.convert(im.mode + "A")
    alpha = im.getchannel("A") if im.mode in ("RGBA", "LA") else None
    colours = im.convert(im.mode[:-1]) if alpha else im
    if colours.mode not in ("L", "RGB", "CMYK", "LAB"):
        return im
    exif, gray = im.getexif(), colours.mode == "L"
    out = ImageCms.profileToProfile(colours, source, _srgb(), outputMode="RGB")
    assert out is not None  # only with inPlace
    if gray:
        out = out.convert("L")
    if alpha:
        out.putalpha(alpha)
    out.info["exif"] = exif.tobytes()
    return out


@lru_cache(1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def to_8bit(im: Image.Image, background: str = "white") -> Image.Image:
    """Any Pillow mode to L or RGB: palettes looked up, 16 bit gray divided by 257, alpha laid on `background`, EXIF
    turned upright; the first frame of animations. Changes `im`."""
    ImageOps.exif_transpose(im, in_place=True)
    if im.mode.startswith("I;16") or im.mode == "I":
        wide = np.asarray(im).astype(np.float64)
        if wide.max() > 65535:
            raise ValueError(DEEP_PIXELS)
        return Image.fromarray(np.rint(wide / 257).clip(0, 255).astype(np.uint8))
    if im.mode == "F":
        raise ValueError(FLOAT_PIXELS)
    if im.mode in ("LA", "La", "PA", "RGBa", "RGBA") or "transparency" in im.info:
        rgba = im.convert("RGBA")
        canvas = Image.new("RGBA", rgba.size, ImageColor.getrgb(background)[:3])
        r, g, b = ImageColor.getrgb(background)[:3]
        gray = im.mode in ("1", "L", "LA", "La") and r == g == b
        return Image.alpha_composite(canvas, rgba).convert("L" if gray else "RGB")
    if im.mode in ("L", "RGB"):
        im.load()
        return im
    return im.convert("L" if im.mode == "1" else "RGB")


def fit(im: Image.Image, side: int, how: str, filter: str, background: str = "white") -> Image.Image:
    """An L or RGB image scaled to side x side: its centre square, the whole with a border, or the whole distorted."""
    w, h = im.size
    if how == "crop":
        s = min(w, h)
        left, top = (w - s) // 2, (h - s) // 2
        return scale(im.crop((left, top, left + s, top + s)), side, side, filter)
    if how == "stretch":
        return scale(im, side, side, filter)
    width, height = (max(1, round(x * side / max(w, h))) for x in (w, h))
    color = Image.new("RGB", (1, 1), background).convert(im.mode).getpixel((0, 0))
    canvas = Image.new(im.mode, (side, side), color)
    canvas.paste(scale(im, width, height, filter), ((side - width) // 2, (side - height) // 2))
    return canvas


def scale(im: Image.Image, width: int, height: int, filter: str) -> Image.Image:
    """Scaled with `lanczos` (Pillow's, antialiased), `box` (Pillow's: the mean of the pixels whose centres are within)
    or `area` (the mean over the exact area: a pixel on the edge counts by the part of it that is inside)."""
    if im.size == (width, height):
        return im
    if filter != "area":
        return im.resize((width, height), Image.Resampling[filter.upper()])
    x = area_means(area_means(np.asarray(im, np.float64), height).swapaxes(0, 1), width).swapaxes(0, 1)
    return Image.fromarray(np.rint(x).clip(0, 255).astype(np.uint8))


def area_means(x: np.ndarray, n: int) -> np.ndarray:
    """Means of x [m,...] over n equal stretches of its first axis, of which m/n need not be whole: [n,...]."""
    m = len(x)
    integral = np.concatenate([np.zeros_like(x[:1]), np.cumsum(x, 0)])  # [m+1,...], from the start to each pixel
    ends = np.arange(n + 1) * m / n
    below = np.minimum(ends.astype(np.int64), m - 1)
    part = (ends - below).reshape(-1, *[1] * (x.ndim - 1))
    at = integral[below] + part * x[below]  # [n+1,...]
    return np.diff(at, axis=0) * (n / m)


def planes(im: Image.Image) -> np.ndarray:
    """An L or RGB image as uint8 [C,H,W]."""
    x = np.asarray(im)
    return x[None] if x.ndim == 2 else x.transpose(2, 0, 1)
