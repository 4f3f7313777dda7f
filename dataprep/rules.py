"""How an image file of any kind becomes a training image: the rules of docs/datasets.md."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import tyro
from PIL import Image, ImageColor

from training.data.decode import decode, decoding_error, planes
from training.spec import is_power_of_two

ENLARGED = "smaller than the dataset, enlarged"
DROPPED = ("drop", "drop-scaled")  # ways to treat transparency without a colour


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
    """Scale to 2^N pixels: 6 = 64x64, 8 = 256x256. Without it, all images must be squares of one power-of-two size."""
    resolution: int | None = None
    """The same in pixels: 64, 256."""
    like: Like | None = None
    """Give the pixels and the order of another tool: original = msg-stylegan-tf, stylegan3 = also StyleGAN2-ADA and
    EDM, edm2. Options below change single rules."""
    fit: Fit | None = None
    """How to make images square: crop the centre; pad with the background colour; stretch; crop-wide = the middle of
    the height, on a black square; dhariwal = crop as ADM and EDM2 did for ImageNet. Default: crop, or as `like`."""
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
    """Another colour behind transparent pixels; drop = ignore transparency; drop-scaled = ignore it after scaling,
    which darkens edges, as the original did. Default: the background, or as `like`."""
    raw: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Take pixels as they are stored, whatever a file says of its orientation and colour profile."""

    def __post_init__(self) -> None:
        if self.resize is not None and not 3 <= self.resize <= 14:
            raise ValueError(f"--resize {self.resize}: expected log2 of the resolution, 3 (8x8) to 14 (16384x16384)")
        if self.resolution is not None:
            if not is_power_of_two(self.resolution) or not 8 <= self.resolution <= 2**14:
                raise ValueError(f"--resolution {self.resolution}: expected a power of two, 8 to 16384")
            if self.resize is not None and 2**self.resize != self.resolution:
                raise ValueError(f"--resize {self.resize} --resolution {self.resolution}: expected one of them")
        if self.side is None and (self.fit is not None or self.filter is not None):
            raise ValueError("--fit and --filter: expected --resize LOG2 or --resolution PIXELS with them")
        most = self.side or 0 if self.look.fit == "crop-wide" else 0
        if self.wide_height is not None and not 1 <= self.wide_height <= most:
            raise ValueError(f"--wide-height {self.wide_height}: expected --fit crop-wide, and at most the resolution")

        # Pillow knows the names of colours.
        for option, colour in (("background", self.background), ("alpha", self.alpha)):
            try:
                if colour not in (None, *DROPPED):
                    ImageColor.getrgb(colour)
            except ValueError as e:
                raise ValueError(f"--{option} {colour}: expected a colour, e.g. white or #ff8000") from e

    @property
    def side(self) -> int | None:
        """Height and width of the images in pixels, or None if they keep their size."""
        return 2**self.resize if self.resize is not None else self.resolution

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
        look, side = self.look, self.side
        scaling = {"fit": look.fit, "filter": look.filter} if side else {}
        wide = {"wide_height": self.wide_height or side * 3 // 4} if side and look.fit == "crop-wide" else {}
        colours = {"wanted_channels": look.channels, "background": self.background}
        more = {"alpha": look.alpha} if look.alpha != self.background else {}
        like = {"like": self.like} if self.like else {}
        raw = {"raw": True} if look.raw else {}
        return {"resize": side and side.bit_length() - 1, **like, **scaling, **wide, **colours, **more, **raw}

    def __call__(self, source: Path | bytes) -> Picture | Refused:
        """Convert a file, or the content of one."""
        look = self.look
        try:
            im, notes = decode(source, None if look.alpha in DROPPED else look.alpha, look.raw)
        except Exception as e:  # decoders raise whatever a damaged file leads them to
            return Refused(decoding_error(e, source))
        if look.alpha != "drop-scaled":
            im = _opaque(im)

        # Make it gray or RGB where the options decide that.
        if look.channels != "auto":
            im = im.convert(("L" if look.channels == "1" else "RGB") + "A" * (im.mode in ("LA", "RGBA")))
        elif look.fit == "pad" and len(set(ImageColor.getrgb(self.background)[:3])) > 1:
            im = im.convert("RGB")  # the borders have a colour

        # What is enlarged is blurred, and a generator learns the blur.
        if self.side and (max if look.fit == "pad" else min)(im.size) < self.side:
            notes = (*notes, ENLARGED)

        # Make it a square of the wanted size, or insist on one.
        if self.side and look.fit == "crop-wide":
            height = self.wide_height or self.side * 3 // 4
            wide = crop_wide(im, self.side, height, look.filter)
            if wide is None:
                return Refused(f"{im.width}x{im.height} pixels, too small or too wide for {self.side}x{height}")
            im = wide
        elif self.side:
            im = fit(im, self.side, look.fit, look.filter, self.background)
        elif im.width != im.height or not is_power_of_two(im.width) or im.width < 8:
            return Refused(f"{im.width}x{im.height} pixels", readable=True)
        return Picture(planes(_opaque(im)), notes)


Pictures = Annotated[Rules, tyro.conf.OmitArgPrefixes]
PLAIN = Rules()


def _opaque(im: Image.Image) -> Image.Image:
    """Return an image without its transparency."""
    return im.convert(im.mode[:-1]) if im.mode in ("LA", "RGBA") else im


def fit(im: Image.Image, side: int, how: Fit, filter: Filter, background: str = "white") -> Image.Image:
    """Scale an image to side x side: `crop` its centre, `pad` it with a border, `stretch` it, or crop as `dhariwal`."""
    w, h = im.size
    if how == "crop":
        s = min(w, h)
        left, top = (w - s) // 2, (h - s) // 2
        return scale(im.crop((left, top, left + s, top + s)), side, side, filter)
    if how == "stretch":
        return scale(im, side, side, filter)
    if how == "dhariwal":
        return _crop_as_dhariwal(im, side)

    # The longer edge fills the square, the border is beside the other one.
    width, height = (max(1, round(x * side / max(w, h))) for x in (w, h))
    color = Image.new("RGB", (1, 1), background).convert(im.mode).getpixel((0, 0))
    canvas = Image.new(im.mode, (side, side), color)
    canvas.paste(scale(im, width, height, filter), ((side - width) // 2, (side - height) // 2))
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
