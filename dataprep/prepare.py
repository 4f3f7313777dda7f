"""Images of any size for train.py: cropped and scaled once, and kept in the user's cache."""

import hashlib
import io
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from dataprep.rules import Rules
from dataprep.sources.images import MORE, ImageFiles, create_from_images
from dnnlib.errors import UserError
from dnnlib.files import PARTIAL, lock, make_dir
from training.data.archives import FolderFiles, ZipFiles, image_names
from training.data.dataset import FORMATS
from training.data.decode import bands_of, decode, planes
from training.spec import pyramid_sizes, shape_text, size_error, size_text

PHOTOS = (".heic", ".heif", ".hif")  # which training does not read itself
LOOKED_AT = 1000  # images whose headers are looked at, evenly spread
ORIENTATION = 0x0112  # tag of EXIF; from 5 on, the picture lies on its side
VERSION = 1  # of what the cache holds; a new one makes all of it anew


def needs_scaling(data: Path, resolution: int | None) -> str | None:
    """Return why networks cannot be trained on images as they are, None if they can or if there are no images.

    data: what --data names. resolution: height of the images that are asked for, None = their own. Only some of the
    images are looked at, since a collection may have millions. Raises UserError if they need to be scaled and
    `resolution` names no size to which they can be.
    """
    reason = _hindrance(data, resolution)
    if reason is not None:
        _rules(data, reason, resolution)
    return reason


def count_images(data: Path) -> int:
    """Return the number of images in a folder or zip that is to be scaled, by their names."""
    return len(image_names(FolderFiles(data) if data.is_dir() else ZipFiles(data), MORE))


def _hindrance(data: Path, resolution: int | None) -> str | None:
    """Return why images cannot be trained on as they are, None if they can or if there are none."""
    is_images = FORMATS["folder of images"].is_it(data) or FORMATS["zip of images"].is_it(data)
    if FORMATS["TFRecords"].is_it(data) or not is_images:
        return None

    # Files that training does not read matter only if there are no others.
    files = FolderFiles(data) if data.is_dir() else ZipFiles(data)
    names = [name for name in image_names(files, MORE) if not name.lower().endswith(PHOTOS)]
    photos = [name for name in image_names(files, MORE) if name.lower().endswith(PHOTOS)]
    if photos and not names:
        return f"photos such as {photos[0]}"

    # The shapes of images, with an example of each.
    shapes: dict[tuple[int, int, int], str] = {}
    for i in sorted({int(i) for i in np.linspace(0, len(names) - 1, min(LOOKED_AT, len(names)))}):
        shape = _shape(files, names[i])
        if shape is not None:
            shapes.setdefault(shape, names[i])

    # All of one shape, in a size that has the resolution?
    if len(shapes) > 1:
        (first, name), (second, other), *_ = ((shape_text(shape), name) for shape, name in shapes.items())
        return f"images of several shapes: {name} is {first}, {other} is {second}"
    for _, height, width in shapes:
        has_level = resolution is None or resolution in [level for level, _ in pyramid_sizes(height, width)]
        if size_error(height, width) is not None or not has_level:
            return f"images of {size_text(height, width)}"

    if photos:
        count = f"{len(photos)} photo{'s' * (len(photos) > 1)} such as {photos[0]}"
        print(f"{data}: left out {count}, which dataset_tool.py create_from_images reads", file=sys.stderr)
    return None


def _shape(files: FolderFiles | ZipFiles, name: str) -> tuple[int, int, int] | None:
    """Return the (channels, height, width) that the beginning of a file tells, as training reads it upright.

    None if it tells none: such files are skipped, or reported by whoever reads them.
    """
    try:
        data: Path | io.BytesIO = files.path / name if isinstance(files, FolderFiles) else io.BytesIO(files.read(name))
        if name.lower().endswith(".npy"):
            content = data.read_bytes() if isinstance(data, Path) else data.getvalue()
            bands = bands_of(content)
            return planes(decode(content)[0]).shape if bands is None else bands.shape

        with Image.open(data) as im:
            channels = 1 if im.mode in ("1", "L", "LA", "I", "F") or im.mode.startswith("I;16") else 3
            height, width = im.height, im.width
            is_lying = im.getexif().get(ORIENTATION, 1) >= 5
            return (channels, width, height) if is_lying else (channels, height, width)
    except Exception:  # whatever a damaged file leads readers to
        return None


def _rules(data: Path, reason: str, resolution: int | None) -> Rules:
    """Return the rules by which images are scaled; raise UserError unless there is a resolution for them."""
    if resolution is None:
        raise UserError(
            f"{data}: {reason}, expected --resolution, e.g. 256, to which they are cropped and scaled; or make a "
            "dataset of them: dataset_tool.py create_from_images"
        )
    try:
        return Rules(resolution=str(resolution))
    except ValueError as e:
        raise UserError(str(e)) from e


def scaled(data: Path, reason: str, resolution: int | None) -> Path:
    """Return a dataset of the images of a folder or zip, cropped to squares and scaled to `resolution`.

    It is made once and kept in the cache until an image changes. Its labels come from dataset.json among the images.
    Raises UserError if there is no such resolution, or if no image can be read.
    """
    rules = _rules(data, reason, resolution)

    # What the dataset depends on gives it its place.
    files = FolderFiles(data) if data.is_dir() else ZipFiles(data)
    source = ImageFiles(files, "auto")
    key = hashlib.sha256(f"{VERSION} {rules} {data.resolve()} {source.names}".encode("utf-8", "surrogateescape"))
    key.update(files.stamp([*source.names, *(name for name in files.names if name.endswith("dataset.json"))]))
    folder = make_dir(default_folder() / key.hexdigest()[:16])
    dataset = folder / (data.resolve().name if data.is_dir() else data.resolve().stem)

    # Of several processes one makes it, and the others wait.
    with open(folder / ".lock", "w") as file:
        while not lock(file):
            time.sleep(0.2)
        for rest in folder.glob(f".*{PARTIAL}"):  # of a process that was killed
            shutil.rmtree(rest, ignore_errors=True)
        if not dataset.exists():
            print(f"{data}: {reason}; they are cropped and scaled to {resolution}x{resolution}, once", file=sys.stderr)
            try:
                create_from_images(dataset, data, shuffle=0, picture=rules)
            except UserError:
                # Where there are no locks, another process may have made it meanwhile.
                if not dataset.exists():
                    raise
    print(f"{data}: {reason}; training on {dataset}", file=sys.stderr)
    return dataset


def default_folder() -> Path:
    """Return the folder of this user where scaled images are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "msg-gan" / "datasets"
