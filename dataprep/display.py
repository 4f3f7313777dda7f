"""dataset_tool.py display: a contact sheet of a dataset."""

import webbrowser
from pathlib import Path

import numpy as np

from dnnlib.cli import Place, Switch
from dnnlib.errors import UserError
from dnnlib.files import make_dir
from dnnlib.images import save_image, screenful, sheet
from training.data.dataset import open_dataset


def display(
    tfrecord_dir: Place,
    *,
    output: Path | None = None,
    first: int = 0,
    open: Switch = False,
) -> None:
    """Write a contact sheet of a dataset's images.

    Args:
        tfrecord_dir: Dataset folder, or a zip of images.
        output: PNG file; default: NAME.png in the current folder.
        first: Index of the first image on the sheet.
        open: Show the sheet in the system's viewer.
    """
    dataset = open_dataset(tfrecord_dir)
    if not 0 <= first < len(dataset):
        raise UserError(f"--first {first}: expected 0 to {len(dataset) - 1}")

    # The form follows from the name, so only one name will do.
    path = output or Path(f"{dataset.name}.png")
    if path.suffix.lower() != ".png":
        raise UserError(f"--output {path}: expected a file name that ends in .png")

    # As many images as a screen has room for.
    columns, rows = screenful(dataset.spec.resolution, dataset.spec.width)
    images = np.stack([dataset[i][0] for i in range(first, min(first + columns * rows, len(dataset)))])

    # Write the sheet, and say what is on it.
    make_dir(path.parent)
    save_image(sheet(images, columns), path)
    print(f"{path}: images {first} to {first + len(images) - 1} of {len(dataset)}, {dataset.spec.size_text}")
    if open:
        webbrowser.open(path.resolve().as_uri())
