"""CelebA's aligned faces (Liu et al. 2015)."""

from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from dataprep.build import DEFAULT, Options, build, shuffled
from dataprep.rules import Picture, Refused
from dataprep.sources.images import ImageFiles, open_files
from dataprep.sources.source import reading, require
from dnnlib.cli import Place, Switch
from dnnlib.errors import UserError
from training.data.decode import decode, decoding_error, planes

CELEBA_IMAGES = 202599
PATTERNS = ("img_align_celeba_png/*.png", "img_align_celeba/*.jpg")


def face(path: Path, cx: int, cy: int) -> Picture | Refused:
    """Return the 128x128 pixels around a point of an aligned face."""
    try:
        im, notes = decode(path)
    except Exception as e:  # decoders raise whatever a damaged file leads them to
        return Refused(decoding_error(e, path))

    # Another size means another version of CelebA, whose faces lie elsewhere.
    if im.size != (178, 218):
        return Refused(f"{im.width}x{im.height} pixels, expected 178x218")
    return Picture(planes(im.convert("RGB").crop((cx - 64, cy - 64, cx + 64, cy + 64))), notes)


def read_attributes(folder: Path) -> tuple[list[str], dict[str, list[int]]]:
    """Return the names of the attributes, and for each image, by its name without suffix, 1 or 0 for each of them.

    Raises UserError if there is no list, or if it is damaged.
    """
    places = [folder / sub / f"list_attr_celeba.{suffix}" for sub in ("", "Anno") for suffix in ("txt", "csv")]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise UserError(f"{folder}: no list_attr_celeba.txt in it, expected the annotations of CelebA")

    # The text file has the number of images in its first line; the table has a name for its first column.
    with reading(path, "not readable"):
        text = path.read_text(encoding="utf-8").replace(",", " ")
        lines = [line.split() for line in text.splitlines() if line.strip()]
        header = lines[0][1:] if path.suffix == ".csv" else lines[1]
        rows = lines[1:] if path.suffix == ".csv" else lines[2:]
    attributes: dict[str, list[int]] = {}
    for number, (name, *values) in enumerate(rows, len(lines) - len(rows) + 1):
        is_right = len(values) == len(header) and set(values) <= {"1", "-1", "0"}
        require(is_right, f"{path}, line {number}: expected a name and {len(header)} numbers, 1 or -1")
        attributes[Path(name).stem] = [int(value == "1") for value in values]
    return header, attributes


def _row(name: str, rows: dict[str, list[int]], folder: Path) -> list[int]:
    """Return the attributes of an image; raise UserError if it has none."""
    found = rows.get(Path(name).stem)
    if found is None:
        raise UserError(f"{folder}: no attributes for {name} in list_attr_celeba")
    return found


def create_celeba(
    dataset_dir: Place,
    celeba_dir: Place,
    *,
    cx: int = 89,
    cy: int = 121,
    labels: Literal["none", "attributes"] = "none",
    allow_missing: Switch = False,
    output: Options = DEFAULT,
) -> None:
    """Make a dataset from CelebA: the 128x128 pixels around a point of each aligned face.

    Args:
        dataset_dir: New folder for the dataset.
        celeba_dir: Folder with img_align_celeba_png/*.png or img_align_celeba/*.jpg.
        cx: Column of the centre in the 178x218 image.
        cy: Row of the centre in the 178x218 image.
        labels: attributes = for each image zeros and ones for the 40 attributes of list_attr_celeba.txt (or .csv),
            which is in the folder or in Anno; none.
        allow_missing: Take any number of images, not only all 202,599.
    """
    require(64 <= cx <= 114 and 64 <= cy <= 154, f"--cx {cx} --cy {cy}: expected 64 to 114 and 64 to 154")

    # If both folders exist, the lossless images are preferred.
    image = next((path for pattern in PATTERNS for path in celeba_dir.glob(pattern)), None)
    if image is None:
        raise UserError(f"{celeba_dir}: no {' or '.join(PATTERNS)} in it")
    source = ImageFiles(open_files(image.parent), "none")
    if labels == "attributes":
        names, rows = read_attributes(celeba_dir)
        source.labels = np.array([_row(name, rows, celeba_dir) for name in source.names], np.float32)
        source.classes, source.class_names = len(names), names

    # An incomplete download must not pass for the whole set.
    require(
        allow_missing or len(source) == CELEBA_IMAGES,
        f"{image.parent}: {len(source)} images, expected {CELEBA_IMAGES}, or --allow-missing",
    )

    # The original shuffled as well.
    build(
        dataset_dir,
        source,
        partial(face, cx=cx, cy=cy),
        output,
        {"command": "create_celeba", "source": str(celeba_dir), "cx": cx, "cy": cy, "labels": labels, "shuffle": 1},
        order=shuffled(len(source)),
    )
