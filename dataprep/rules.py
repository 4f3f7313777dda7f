"""How an image file of any kind becomes a training image: the rules of docs/datasets.md."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import tyro
from PIL import Image, ImageColor

from training.data.decode import bands_of, decode, decoding_error, planes, with_alpha
from training.spec import is_power_of_two, size_error, size_text

ENLARGED = "smaller than the dataset, enlarged"
KEEP = "keep"
DROPPED = ("drop", "drop-scaled")  # ways to treat transparency without a colour


@dataclass(frozen=True)
class Picture:
    """An image uint8 [C,H,W], and notes for the user on how it was made."""

    image: np.ndarray
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refused:
    """The reason why a file gives no image."""

    reason: str
    readable: bool = False  # it is an image, but not of a size that can be stored


Fit = Literal["crop", "pad", "stretch", "crop-wide", "dhariwal"]
Filter = Literal["lanczos", "bicubic", "bilinear", "box", "area"]
Like = Literal["original", "stylegan3", "edm2"]


class Look(NamedTuple):
    """How a tool made its datasets."""

    filter: Filter = "lanczos"
    fit: Fit = "crop"
    alpha: str = "white"
    raw: bool = False
    channels: Literal["auto", "1", "3"] = "auto"
    shuffle: bool = True


OURS = Look()
LIKE: dict[Like, Look] = {
    # create_from_images of msg-stylegan-tf: transparency goes after images have been scaled with it.
    "original": Look("bilinear", "stretch", "drop-scaled", raw=True),
    # The tools of StyleGAN2-ADA, StyleGAN3 and EDM without --transform, and of EDM2.
    "stylegan3": Look("lanczos", "stretch", "drop", raw=True, shuffle=False),
    "edm2": Look("lanczos", "stretch", "drop", raw=True, channels="3", shuffle=False),
}


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How pictures become training images."""

    # Size.
    resize: int | None = None
    """Scale to squares of 2^N pixels: 6 = 64x64, 8 = 256x256. Without it, all images must have one size already."""
    resolution: str | None = None
    """The same in pixels, also for rectangles: 256, or WIDTHxHEIGHT such as 384x512."""
    like: Like | None = None
    """Give the pixels and the order of another tool: original = msg-stylegan-tf, stylegan3 = also StyleGAN2-ADA and
    EDM, edm2. Options below change single rules."""
    fit: Fit | None = None
    """How to make images of the wanted proportions: crop the centre; pad with the background colour; stretch;
    crop-wide = the middle of the height, on a black square; dhariwal = crop as ADM and EDM2 did for ImageNet. Default:
    crop, or as `like`."""
    wide_height: int | None = None
    """Height in pixels of the picture that crop-wide puts on the square. Default: three quarters."""
    filter: Filter | None = None
    """How to scale: lanczos, bicubic, bilinear and box are Pillow's filters, area is the exact mean over the area of
    each new pixel. Default: lanczos, or as `like`."""

    # Colours.
    channels: Literal["auto", "1", "3"] | None = None
    """1 = gray, 3 = RGB, auto = gray if all images are gray. Default: auto, or as `like`."""
    background: str = "white"
    """Colour behind transparent pixels and in padding: a name or #rrggbb."""
    alpha: str | None = None
    """Another colour behind transparent pixels; keep = train on transparency as a channel of its own; drop = ignore it;
    drop-scaled = ignore it after scaling, which darkens edges, as the original did. Default: the background, or as
    `like`."""
    raw: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Take pixels as they are stored, whatever a file says of its orientation and colour profile."""

    def __post_init__(self) -> None:
        if self.resize is not None and not 3 <= self.resize <= 14:
            raise ValueError(f"--resize {self.resize}: expected log2 of the resolution, 3 (8x8) to 14 (16384x16384)")
        if self.resolution is not None and self.resize is not None:
            raise ValueError(f"--resize {self.resize} --resolution {self.resolution}: expected one of them")
        if self.size is None and (self.fit is not None or self.filter is not None):
            raise ValueError("--fit and --filter: expected --resize LOG2 or --resolution PIXELS with them")
        width, height = self.size or (0, 0)
        if width != height and self.look.fit in ("crop-wide", "dhariwal"):
            raise ValueError(f"--fit {self.look.fit}: expected a square, found --resolution {self.resolution}")
        most = height if self.look.fit == "crop-wide" else 0
        if self.wide_height is not None and not 1 <= self.wide_height <= most:
            raise ValueError(f"--wide-height {self.wide_height}: expected --fit crop-wide, and at most the resolution")

        # Pillow knows the names of colours.
        for option, colour in (("background", self.background), ("alpha", self.alpha)):
            try:
                if colour not in (None, KEEP, *DROPPED) or (option == "background" and colour == KEEP):
                    ImageColor.getrgb(colour)
            except ValueError as e:
                raise ValueError(f"--{option} {colour}: expected a colour, e.g. white or #ff8000") from e

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of the images in pixels, or None if they keep their size."""
        if self.resize is not None:
            return 2**self.resize, 2**self.resize
        return None if self.resolution is None else parse_size(self.resolution)

    @property
    def look(self) -> Look:
        """What the options mean: what `like` says where they are open."""
        base = OURS._replace(alpha=self.background) if self.like is None else LIKE[self.like]
        return base._replace(
            filter=self.filter or base.filter,
            fit=self.fit or base.fit,
            alpha=self.alpha or base.alpha,
            channels=self.channels or base.channels,
            raw=self.raw or base.raw,
        )

    def facts(self) -> dict[str, Any]:
        """Return the options that have an effect, for dataset.json."""
        look = self.look
        width, height = self.size or (0, 0)
        scaling = {"fit": look.fit, "filter": look.filter} if width else {}
        wide = {"wide_height": self.wide_height or width * 3 // 4} if width and look.fit == "crop-wide" else {}

        # Squares of 2^k pixels are called by k, as they always were.
        resize = {"resize": width.bit_length() - 1 if width and width == height and is_power_of_two(width) else None}
        size = {"size": size_text(height, width)} if width and resize["resize"] is None else {}
        colours = {"wanted_channels": look.channels, "background": self.background}
        more = {"alpha": look.alpha} if look.alpha != self.background else {}
        like = {"like": self.like} if self.like else {}
        raw = {"raw": True} if look.raw else {}
        return {**resize, **size, **like, **scaling, **wide, **colours, **more, **raw}

    def __call__(self, source: Path | bytes) -> Picture | Refused:
        """Convert a file, or the content of one."""
        look = self.look
        try:
            content = source if isinstance(source, bytes) else source.read_bytes()
            bands = bands_of(content)
            if bands is not None:
                return self._multi_channel(bands)
            im, notes = decode(content, None if look.alpha in (KEEP, *DROPPED) else look.alpha, look.raw)
        except Exception as e:  # decoders raise whatever a damaged file leads them to
            return Refused(decoding_error(e, source))
        if look.alpha == KEEP:
            im = with_alpha(im)
        elif look.alpha != "drop-scaled":
            im = _opaque(im)

        # Make it gray or RGB where the options decide that.
        if look.channels != "auto":
            im = im.convert(("L" if look.channels == "1" else "RGB") + "A" * (im.mode in ("LA", "RGBA")))
        elif look.fit == "pad" and len(set(ImageColor.getrgb(self.background)[:3])) > 1:
            im = im.convert("RGB" + "A" * (im.mode in ("LA", "RGBA")))  # the borders have a colour

        # What is enlarged is blurred, and a generator learns the blur.
        if self._enlarges(im):
            notes = (*notes, ENLARGED)
        fitted = self._fitted(im)
        if isinstance(fitted, Refused):
            return fitted
        return Picture(planes(fitted if look.alpha == KEEP else _opaque(fitted)), notes)

    def _enlarges(self, im: Image.Image) -> bool:
        """Return whether an image has too few pixels for the wanted size."""
        if self.size is None:
            return False
        ratios = im.width / self.size[0], im.height / self.size[1]
        return (max if self.look.fit == "pad" else min)(ratios) < 1

    def _fitted(self, im: Image.Image) -> Image.Image | Refused:
        """Return an image at the wanted size, or as it is if there is none and networks exist for its own."""
        if self.size is None:
            problem = size_error(im.height, im.width)
            return im if problem is None else Refused(problem, readable=True)

        width, height = self.size
        if self.look.fit != "crop-wide":
            return fit(im, width, height, self.look.fit, self.look.filter, self.background)
        wide_height = self.wide_height or width * 3 // 4
        wide = crop_wide(im, width, wide_height, self.look.filter)
        return wide or Refused(f"{im.width}x{im.height} pixels, too small or too wide for {width}x{wide_height}")

    def _multi_channel(self, bands: np.ndarray) -> Picture | Refused:
        """Convert an image uint8 [C,H,W] of other channels than gray or RGB, each channel by itself."""
        if self.look.channels != "auto":
            return Refused(f"{len(bands)} channels, expected gray or RGB with --channels {self.look.channels}")

        planes = [Image.fromarray(np.ascontiguousarray(band)) for band in bands]
        fitted = []
        for plane in planes:
            result = self._fitted(plane)
            if isinstance(result, Refused):
                return result
            fitted.append(np.asarray(result))
        return Picture(np.stack(fitted), (ENLARGED,) if self._enlarges(planes[0]) else ())


Pictures = Annotated[Rules, tyro.conf.OmitArgPrefixes]
PLAIN = Rules()


def _opaque(im: Image.Image) -> Image.Image:
    """Return an image without its transparency."""
    return im.convert(im.mode[:-1]) if im.mode in ("LA", "RGBA") else im


def parse_size(text: str) -> tuple[int, int]:
    """Return the width and height that `256` or `384x512` stands for; raise ValueError if no network has them."""
    match = re.fullmatch(r"(\d{1,9})(?:x(\d{1,9}))?", text)
    if not match:
        raise ValueError(f"--resolution {text}: expected pixels such as 256, or WIDTHxHEIGHT such as 384x512")
    width, height = int(match[1]), int(match[2] or match[1])
    if problem := size_error(height, width):
        raise ValueError(f"--resolution {text}: {problem}")
    return width, height


def fit(im: Image.Image, width: int, height: int, how: Fit, filter: Filter, background: str = "white") -> Image.Image:
    """Scale an image to a size: `crop` its centre, `pad` it with a border, `stretch` it, or crop as `dhariwal`."""
    w, h = im.size
    if how == "crop":
        # The largest part of the wanted proportions.
        crop_w, crop_h = (round(h * width / height), h) if w * height >= h * width else (w, round(w * height / width))
        left, top = (w - crop_w) // 2, (h - crop_h) // 2
        return scale(im.crop((left, top, left + max(1, crop_w), top + max(1, crop_h))), width, height, filter)
    if how == "stretch":
        return scale(im, width, height, filter)
    if how == "dhariwal":
        return _crop_as_dhariwal(im, width)

    # One edge fills the canvas, the border is beside the other one.
    is_wide = w * height >= h * width
    inner_w, inner_h = (width, max(1, round(h * width / w))) if is_wide else (max(1, round(w * height / h)), height)
    canvas = Image.new("RGB", (width, height), background).convert(im.mode)
    if im.mode in ("LA", "RGBA"):
        canvas.putalpha(0)  # where transparency is kept, the border is transparent
    canvas.paste(scale(im, inner_w, inner_h, filter), ((width - inner_w) // 2, (height - inner_h) // 2))
    return canvas


def crop_wide(im: Image.Image, width: int, height: int, filter: Filter = "lanczos") -> Image.Image | None:
    """Return an image in the middle of a black square width x width, or None if it is too small.

    The top and bottom of the image are cut off, and the rest is scaled to `width` x `height`, as in the tools of
    StyleGAN for LSUN Cars.
    """
    # The rows in the middle that have the wanted aspect ratio.
    w, h = im.size
    rows = round(width * h / w)
    if w < width or rows < height:
        return None
    middle = im.crop((0, (h - rows) // 2, w, (h + rows) // 2))

    # The square around them, which is black.
    canvas = Image.new(im.mode, (width, width))
    canvas.paste(scale(middle, width, height, filter), (0, (width - height) // 2))
    return canvas


def _crop_as_dhariwal(im: Image.Image, side: int) -> Image.Image:
    """Crop and scale as ADM did for ImageNet (Dhariwal and Nichol 2021, their code): halve by box, then bicubic."""
    while min(im.size) >= 2 * side:
        im = im.resize((im.width // 2, im.height // 2), Image.Resampling.BOX)

    # The shorter edge gets the wanted length, and the middle of the longer one stays.
    factor = side / min(im.size)
    im = im.resize((round(im.width * factor), round(im.height * factor)), Image.Resampling.BICUBIC)
    left, top = (im.width - side) // 2, (im.height - side) // 2
    return im.crop((left, top, left + side, top + side))


def scale(im: Image.Image, width: int, height: int, filter: Filter) -> Image.Image:
    """Scale an image with a filter.

    `lanczos`, `bicubic` and `bilinear` are Pillow's and antialiased. `box`, also Pillow's, is the mean of the pixels
    whose centres are within a new pixel. `area` is the mean over its exact area: a pixel on the edge counts by the part
    of it that is inside.
    """
    if im.size == (width, height):
        return im
    if filter != "area":
        return im.resize((width, height), Image.Resampling[filter.upper()])

    # Gray with transparency has no array of its own in Pillow.
    if im.mode == "LA":
        return Image.merge("LA", [scale(band, width, height, filter) for band in im.split()])

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
