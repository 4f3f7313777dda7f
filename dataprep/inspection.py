"""dataset_tool.py's commands that look at datasets: display, extract, compare."""

import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from tqdm import tqdm

from dataprep.build import DEFAULT, Options
from dataprep.checks import inspect, validate
from dataprep.convert import convert
from dnnlib.errors import UserError
from dnnlib.files import make_dir
from dnnlib.images import save_png, sheet
from training.data.dataset import open_dataset

Folder = tyro.conf.Positional[Path]
SHOWN = 10  # differences that compare prints of each kind


def display(
    tfrecord_dir: Folder,
    *,
    output: Path | None = None,
    first: int = 0,
    open: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Write a contact sheet of a dataset's images.

    Args:
        tfrecord_dir: Dataset folder, or a zip of images.
        output: PNG file; default: NAME.png in the current folder.
        first: Index of the first image shown.
        open: Show it with the system's viewer.
    """
    dataset = open_dataset(tfrecord_dir)
    if not 0 <= first < len(dataset):
        raise UserError(f"--first {first}: expected 0 to {len(dataset) - 1}")
    path = output or Path(f"{dataset.name}.png")
    if path.suffix.lower() != ".png":
        raise UserError(f"--output {path}: expected a file name that ends in .png")
    r = dataset.spec.resolution
    columns, rows = max(3, min(16, 1920 // r)), max(2, min(9, 1080 // r))
    images = np.stack([dataset[i][0] for i in range(first, min(first + columns * rows, len(dataset)))])
    make_dir(path.parent)
    save_png(sheet(images, columns), path)
    print(f"{path}: images {first} to {first + len(images) - 1} of {len(dataset)}, {r}x{r}")
    if open:
        webbrowser.open(path.resolve().as_uri())


def extract(tfrecord_dir: Folder, output_dir: Folder, *, output: Options = DEFAULT) -> None:
    """Write every image of a dataset as img00000000.png ..., and its labels as dataset.json.

    Args:
        tfrecord_dir: Dataset folder, or a zip of images.
        output_dir: New folder for the images.
    """
    convert(tfrecord_dir, output_dir, to="folder", output=output)


def compare(tfrecord_dir_a: Folder, tfrecord_dir_b: Folder, *, ignore_labels: Literal[0, 1] = 0) -> int:
    """Compare two datasets image by image and label by label; exit status 1 if they differ.

    Args:
        tfrecord_dir_a: First dataset, of any form.
        tfrecord_dir_b: Second dataset, of any form.
        ignore_labels: 1 = compare images only.
    """
    a, b = (open_dataset(path, use_labels=not ignore_labels) for path in (tfrecord_dir_a, tfrecord_dir_b))
    same = True
    shapes = ([d.spec.channels, d.spec.resolution, d.spec.resolution] for d in (a, b))
    for what, x, y in (("images", len(a), len(b)), ("pixels", *shapes)):
        if x != y:
            print(f"{what}: {x} and {y}")
            same = False
    if a.labels.shape[1] != b.labels.shape[1]:
        print(f"label values: {a.labels.shape[1]} and {b.labels.shape[1]}")
        same = False
    n = min(len(a), len(b))
    images = [i for i in tqdm(range(n), unit="img") if not np.array_equal(a[i][0], b[i][0])]
    labels = [i for i in range(n) if not np.array_equal(a.labels[i], b.labels[i])]
    for what, found in (("image", images), ("label", labels)):
        for i in found[:SHOWN]:
            print(f"{what} {i} differs")
        if len(found) > SHOWN:
            print(f"... and {len(found) - SHOWN} more")
    print(f"identical images: {n - len(images)} of {n}")
    if not ignore_labels:
        print(f"identical labels: {n - len(labels)} of {n}")
    return 0 if same and not images and not labels else 1


COMMANDS: dict[str, Callable[..., int | None]] = {
    "convert": convert,
    "display": display,
    "extract": extract,
    "compare": compare,
    "inspect": inspect,
    "validate": validate,
}
