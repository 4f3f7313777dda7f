"""A folder of pictures of any format Pillow reads, as training images."""

import json
import math
import warnings
from collections.abc import Generator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from dnnlib.errors import UserError
from dnnlib.launch import process_pool
from training.networks.config import is_power_of_two

MAX_CLASSES = 2**16


@dataclass(frozen=True)
class Refused:
    """Why a file gave no image."""

    reason: str
    readable: bool  # an image, but not of a size that can be stored


Picture = np.ndarray | Refused  # uint8 [C,R,R]


@dataclass(frozen=True)
class ImageFile:
    """One file of a collection and its label vector, if the collection has labels."""

    path: Path
    label: tuple[float, ...] | None


def find_images(folder: Path, labels: str) -> list[ImageFile]:
    """Files of `folder` and below with a suffix that Pillow knows, in the order of their relative paths.

    labels: `auto` = from dataset.json (StyleGAN2 form: {"labels": [[relative path, class or vector], ...]}) if there is
    one, `folders` = the first folder level as classes in alphabetical order, `none`.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: {'a file' if folder.exists() else 'no such folder'}, expected a folder of images")
    Image.init()
    files = sorted(
        p
        for p in folder.rglob("*")
        if p.suffix.lower() in Image.EXTENSION and p.is_file() and not p.name.startswith(".")
    )
    if not files:
        raise UserError(f"{folder}: no image in it, expected files such as .png or .jpg")
    if labels == "folders":
        return _labels_from_folders(folder, files)
    if labels == "auto" and (folder / "dataset.json").is_file():
        return _labels_from_json(folder, files)
    return [ImageFile(p, None) for p in files]


def _labels_from_folders(folder: Path, files: list[Path]) -> list[ImageFile]:
    outside = [p for p in files if p.parent == folder]
    if outside:
        raise UserError(f"{outside[0]}: not in a sub-folder, expected one folder per class with `--labels folders`")
    names = folder_names([ImageFile(p, None) for p in files], folder)
    return [ImageFile(p, _one_hot(names.index(p.relative_to(folder).parts[0]), len(names))) for p in files]


def folder_names(files: list[ImageFile], folder: Path) -> list[str]:
    """The first folder level of a collection: its classes, in order."""
    return sorted({f.path.relative_to(folder).parts[0] for f in files})


def _labels_from_json(folder: Path, files: list[Path]) -> list[ImageFile]:
    path = folder / "dataset.json"
    labels = labels_from_json(path.read_bytes(), [p.relative_to(folder).as_posix() for p in files], str(path))
    if labels is None:
        return [ImageFile(p, None) for p in files]
    return [ImageFile(p, label) for p, label in zip(files, labels, strict=True)]


def labels_from_json(data: bytes, names: list[str], where: str) -> list[tuple[float, ...]] | None:
    """The label of each name from a dataset.json in the form of StyleGAN2; None if it has none. UserError, headed
    `where`, unless all have class numbers, or vectors of one length."""
    try:
        entries = json.loads(data.decode("utf-8")).get("labels")
        if entries is None:
            return None
        table = dict(entries)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise UserError(f'{where}: not readable ({e}), expected {{"labels": [["a.png", 0], ...]}}') from e
    missing = [name for name in names if name not in table]
    if missing:
        raise UserError(f"{where}: no label for {len(missing)} of {len(names)} images, the first is {missing[0]}")
    values = [table[name] for name in names]
    if all(type(v) is int for v in values):
        for v in values:
            if not 0 <= v < MAX_CLASSES:
                raise UserError(f"{where}: class {v}, expected 0 to {MAX_CLASSES - 1}")
        classes = max(values) + 1
        return [_one_hot(v, classes) for v in values]
    for name, v in zip(names, values, strict=True):
        numbers = isinstance(v, list) and v and all(type(x) in (int, float) and math.isfinite(x) for x in v)
        if not numbers or len(v) != len(values[0]):
            expected = "class numbers for all images, or lists of as many finite numbers for all"
            raise UserError(f"{where}: label of {name} is {v!r:.40}, expected {expected}")
    return [tuple(map(float, v)) for v in values]


def _one_hot(k: int, n: int) -> tuple[float, ...]:
    return tuple(float(i == k) for i in range(n))


def to_8bit(im: Image.Image) -> Image.Image:
    """Any Pillow mode to L or RGB: palettes looked up, 16 bit divided by 257, alpha laid on white, EXIF turned upright;
    the first frame of animations."""
    im = ImageOps.exif_transpose(im)
    if im.mode.startswith("I;16") or im.mode == "I":
        wide = np.asarray(im).astype(np.float64)
        return Image.fromarray(np.rint(wide / 257).clip(0, 255).astype(np.uint8))
    if im.mode == "F":
        raise ValueError("float pixels have no known range, expected integers")
    if im.mode in ("LA", "La", "PA", "RGBa", "RGBA") or "transparency" in im.info:
        gray = im.mode in ("LA", "La")
        rgba = im.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("L" if gray else "RGB")
    return im.convert("L" if im.mode in ("1", "L") else "RGB")


def read_image(path: Path, resolution: int | None, channels: int | None) -> Picture:
    """One file as uint8 [C,R,R], or why not.

    resolution: centre-crop to a square and scale (Lanczos); None = the image must be a square with a power of two as
    side. channels: 1 or 3 converts; None keeps gray images gray.
    """
    try:
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning), Image.open(path) as f:
            im = to_8bit(f)
    except Exception as e:  # decoders raise whatever a damaged file leads them to
        reason = str(e).replace(repr(str(path)), "").strip()
        return Refused(f"not a readable image: {reason or type(e).__name__}", readable=False)
    if channels:
        im = im.convert("L" if channels == 1 else "RGB")
    if resolution:
        side = min(im.size)
        left, top = (im.width - side) // 2, (im.height - side) // 2
        im = im.crop((left, top, left + side, top + side))
        im = im.resize((resolution, resolution), Image.Resampling.LANCZOS)
    elif im.width != im.height or not is_power_of_two(im.width):
        return Refused(f"{im.width}x{im.height} pixels", readable=True)
    x = np.asarray(im)
    return x[None] if x.ndim == 2 else x.transpose(2, 0, 1)


def read_images(
    files: list[ImageFile], resolution: int | None, channels: int | None, workers: int
) -> Generator[tuple[ImageFile, Picture], None, None]:
    """`read_image` of all files by `workers` processes, in their order, a bounded number ahead."""
    with process_pool(workers) as pool:
        ahead: list[tuple[ImageFile, Future[Picture]]] = []
        todo = iter(files)
        try:
            while True:
                while len(ahead) < 4 * workers and (f := next(todo, None)):
                    ahead.append((f, pool.submit(read_image, f.path, resolution, channels)))
                if not ahead:
                    return
                f, future = ahead.pop(0)
                yield f, future.result()
        finally:
            pool.shutdown(cancel_futures=True)
