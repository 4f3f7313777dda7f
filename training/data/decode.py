"""Encoded images of any kind as 8-bit sRGB pixels."""

import io
import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageColor, ImageOps

from dnnlib.arrays import read_npy
from dnnlib.extras import import_extra

ANIMATED = "animated, its first frame taken"
BAD_PROFILE = "with a colour profile that is not readable, taken as sRGB"
DEEP_PIXELS = "pixels of 32 bits have no known range, expected at most 16"
NPY = b"\x93NUMPY"
HEIC = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")  # brands of files that phones write
FLOAT_PIXELS = "float pixels have no known range, expected integers"


def decoding_error(error: Exception, source: object = "") -> str:
    """Return a one-line reason why decoding failed, for the user; the path `source` is left out of it."""
    if isinstance(error, PermissionError):
        return "not readable: permission denied"

    # Pillow names what it was given: a path that the caller names too, or an object that tells a user nothing.
    reason = str(error).replace(repr(str(source)), "").strip() if isinstance(source, Path) else str(error)
    if not reason or "BytesIO" in reason:
        return "not a readable image"
    return f"not a readable image: {reason}"


def decode(
    source: Path | bytes, background: str | None = "white", raw: bool = False
) -> tuple[Image.Image, tuple[str, ...]]:
    """Return an encoded image as L or RGB of 8 bits in sRGB, upright, and notes on what was done to it.

    source: the file, or its content. background: a colour name or #rrggbb to lay transparent images on; None = leave
    them transparent, LA or RGBA. raw: take pixels as they are stored, whatever the file says of their orientation and
    colour profile. The notes are ANIMATED and BAD_PROFILE. Raises whatever Pillow does, of any type, if the image is
    damaged.
    """
    data = source if isinstance(source, bytes) else source.read_bytes()
    if data.startswith(NPY):
        return _from_array(data), ()
    if data[4:8] == b"ftyp" and data[8:12] in HEIC:
        import_extra("pillow_heif", "HEIC").register_heif_opener()

    with warnings.catch_warnings(action="ignore"):  # large images, odd metadata
        with Image.open(io.BytesIO(data)) as im:
            if im.format == "PNG":
                im.verify()  # the checksums, which decoding ignores

        # `verify` leaves an image that cannot be used, so it is opened anew.
        with Image.open(io.BytesIO(data)) as im:
            notes = (ANIMATED,) if getattr(im, "is_animated", False) else ()
            im.load()  # an error of the pixels is raised here and is not taken for one of the profile

            # Without a profile that can be used, the colours are taken as they are.
            converted: Image.Image = im
            try:
                converted = im if raw else _to_srgb(im)
            except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
                notes = (*notes, BAD_PROFILE)
            if not raw:
                ImageOps.exif_transpose(converted, in_place=True)
            return to_8bit(converted, background), notes


def bands_of(data: bytes, channels: int | None = None) -> np.ndarray | None:
    """Return the image in a .npy file as uint8 [C,H,W] if it has other channels than gray or RGB; None for pictures.

    A file holds [C,H,W] or [H,W,C], perhaps in a batch of one. channels: how many there are, if that is known. Raises
    ValueError if it holds something else, or if the order of its axes is ambiguous.
    """
    if not data.startswith(NPY):
        return None
    array = _array(data, channels)
    return None if len(array) in (1, 3) else array


def _array(data: bytes, channels: int | None = None) -> np.ndarray:
    """Return the image in a .npy file as uint8 [C,H,W]."""
    array = read_npy(data)
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or not array.size:
        raise ValueError(f"{array.dtype} {list(array.shape)}, expected uint8 [C,H,W], [H,W,C] or [H,W]")
    if array.ndim == 2:
        return array[None]

    # Usually there are fewer channels than pixels either way, which tells the order of the axes.
    first, middle, last = array.shape
    if first == channels or (channels is None and first < min(middle, last)):
        return array
    if last == channels or (channels is None and last < min(first, middle)):
        return array.transpose(2, 0, 1)
    expected = f"{channels} channels" if channels else "fewer channels than pixels either way"
    raise ValueError(f"{list(array.shape)}, expected {expected}")


def _from_array(data: bytes) -> Image.Image:
    """Return the image in a .npy file, gray or RGB, as in CelebA-HQ."""
    array = _array(data)
    if len(array) not in (1, 3):
        raise ValueError(f"{len(array)} channels, expected one or three")
    return Image.fromarray(np.ascontiguousarray(array[0] if len(array) == 1 else array.transpose(1, 2, 0)))


def _to_srgb(im: Image.Image) -> Image.Image:
    """Convert the colours of an image with another profile to sRGB, with perceptual intent; alpha stays."""
    profile = im.info.get("icc_profile")
    if not profile:
        return im
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if "sRGB" in ImageCms.getProfileDescription(source):
        return im

    # Palettes and transparent colours become plain channels; alpha is kept for later.
    if im.mode in ("P", "PA"):
        im = im.convert("RGBA" if "transparency" in im.info or im.mode == "PA" else "RGB")
    elif "transparency" in im.info and im.mode in ("L", "RGB"):
        im = im.convert(im.mode + "A")
    alpha = im.getchannel("A") if im.mode in ("RGBA", "LA") else None
    colours = im.convert(im.mode[:-1]) if alpha else im
    if colours.mode not in ("L", "RGB", "CMYK", "LAB"):
        return im

    # Convert, and put gray, alpha and the orientation back.
    out = ImageCms.profileToProfile(colours, source, _srgb(), outputMode="RGB")
    assert out is not None  # only with inPlace
    if colours.mode == "L":
        out = out.convert("L")
    if alpha:
        out.putalpha(alpha)
    out.info["exif"] = im.getexif().tobytes()
    return out


# One profile serves all images.
@lru_cache(1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def to_8bit(im: Image.Image, background: str | None = "white") -> Image.Image:
    """Convert an image of any Pillow mode to L or RGB; take the first frame of an animation.

    Palettes are looked up, gray of 16 bits is divided by 257, and transparent images are laid on `background`, or stay
    transparent (LA, RGBA) without one. Raises ValueError if the range of the pixels is not known.
    """
    # Gray of more than 8 bits.
    if im.mode.startswith("I;16") or im.mode == "I":
        wide = np.asarray(im).astype(np.float64)
        if wide.max() > 65535:
            raise ValueError(DEEP_PIXELS)
        return Image.fromarray(np.rint(wide / 257).clip(0, 255).astype(np.uint8))
    if im.mode == "F":
        raise ValueError(FLOAT_PIXELS)

    # Transparency of any kind.
    if im.mode in ("LA", "La", "PA", "RGBa", "RGBA") or "transparency" in im.info:
        if background is None:
            return im.convert("LA" if im.mode in ("1", "L", "LA", "La") else "RGBA")
        rgb = ImageColor.getrgb(background)[:3]
        canvas = Image.new("RGBA", im.size, rgb)
        gray = im.mode in ("1", "L", "LA", "La") and len(set(rgb)) == 1
        return Image.alpha_composite(canvas, im.convert("RGBA")).convert("L" if gray else "RGB")

    if im.mode in ("L", "RGB"):
        return im
    return im.convert("L" if im.mode == "1" else "RGB")


def with_alpha(im: Image.Image) -> Image.Image:
    """Return an L, LA, RGB or RGBA image as LA or RGBA; what has no transparency is opaque."""
    return im.convert({"L": "LA", "RGB": "RGBA"}.get(im.mode, im.mode))


def planes(im: Image.Image) -> np.ndarray:
    """Return an L, LA, RGB or RGBA image as uint8 [C,H,W]."""
    x = np.asarray(im)
    return x[None] if x.ndim == 2 else x.transpose(2, 0, 1)
