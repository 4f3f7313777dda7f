"""Images of any size for train.py: cropped and scaled once, and kept in the user's cache."""

import hashlib
import io
import os
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from dataprep.rules import Rules
from dataprep.sources.images import MORE, ImageFiles, create_from_images
from dnnlib.errors import UserError
from dnnlib.files import lock, make_dir
from training.data.archives import FolderFiles, ZipFiles, image_names
from training.data.dataset import FORMATS
from training.spec import pyramid_sizes, size_error, size_text

PHOTOS = (".heic", ".heif", ".hif")  # which training does not read itself
LOOKED_AT = 64  # images whose sizes are looked at, evenly spread
VERSION = 1  # of what the cache holds; a new one makes all of it anew


def needs_scaling(data: Path, resolution: int | None) -> str | None:
    """Return why networks cannot be trained on images as they are, None if they can or if there are no images.

    data: what --data names. resolution: height of the images that are asked for, None = their own. Only some of the
    images are looked at, since a collection may have millions.
    """
    is_images = FORMATS["folder of images"].is_it(data) or FORMATS["zip of images"].is_it(data)
    if FORMATS["TFRecords"].is_it(data) or not is_images:
        return None

    # Sizes are at the beginning of a file; files that tell none are skipped or reported by whoever reads them.
    files = FolderFiles(data) if data.is_dir() else ZipFiles(data)
    names = image_names(files, MORE)
    photos = [name for name in names if name.lower().endswith(PHOTOS)]
    if photos:
        return f"photos such as {photos[0]}"
    sizes: dict[tuple[int, int], str] = {}
    for i in sorted({int(i) for i in np.linspace(0, len(names) - 1, min(LOOKED_AT, len(names)))}):
        size = _size(files.read(names[i]))
        if size is not None:
            sizes.setdefault(size, names[i])

    # All of one size that has the resolution?
    if len(sizes) > 1:
        (first, name), (second, other), *_ = ((size_text(*size), name) for size, name in sizes.items())
        return f"images of several sizes: {name} has {first}, {other} has {second}"
    for height, width in sizes:
        has_level = resolution is None or resolution in [level for level, _ in pyramid_sizes(height, width)]
        if size_error(height, width) is not None or not has_level:
            return f"images of {size_text(height, width)}"
    return None


def _size(data: bytes) -> tuple[int, int] | None:
    """Return the (height, width) that the beginning of an image file tells; None if it tells none."""
    try:
        with Image.open(io.BytesIO(data)) as im:
            return im.height, im.width
    except Exception:  # arrays, damaged files, formats that Pillow does not know by itself
        return None


def scaled(data: Path, reason: str, resolution: int | None) -> Path:
    """Return a dataset of the images of a folder or zip, cropped to squares and scaled to `resolution`.

    It is made once and kept in the cache until an image changes. Its labels come from dataset.json among the images.
    Raises UserError without a resolution, or if no image can be read.
    """
    if resolution is None:
        raise UserError(
            f"{data}: {reason}, expected --resolution, e.g. 256, to which they are cropped and scaled; or make a "
            "dataset of them: dataset_tool.py create_from_images"
        )
    rules = Rules(resolution=str(resolution))

    # What the dataset depends on gives it its place.
    files = FolderFiles(data) if data.is_dir() else ZipFiles(data)
    source = ImageFiles(files, "auto")
    key = hashlib.sha256(f"{VERSION} {rules} {data.resolve()} {source.names}".encode("utf-8", "surrogateescape"))
    key.update(files.stamp([*source.names, *(name for name in files.names if name.endswith("dataset.json"))]))
    folder = make_dir(default_folder() / key.hexdigest()[:16])
    dataset = folder / (data.resolve().name if data.is_dir() else data.resolve().stem)

    # Of several processes one makes it, and the others wait.
    with open(folder / "lock", "w") as file:
        while not lock(file):
            time.sleep(0.2)
        if not dataset.exists():
            print(f"{data}: {reason}; they are cropped and scaled to {resolution}x{resolution}, once", file=sys.stderr)
            create_from_images(dataset, data, shuffle=0, picture=rules)
    print(f"{data}: {reason}; training on {dataset}", file=sys.stderr)
    return dataset


def default_folder() -> Path:
    """Return the folder of this user where scaled images are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "msg-gan" / "datasets"
