"""Image files in a folder or zip archive."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from dataprep.build import DEFAULT, Options, build, shuffled
from dataprep.rules import PLAIN, Pictures, Refused
from dataprep.sources.source import Entry, Source, require
from dnnlib.cli import Place
from dnnlib.errors import UserError
from training.data.archives import Files, FolderFiles, ZipFiles, image_names, other_suffixes
from training.data.labels import LabelTable, OneHot, label_of, labels_from_json, no_labels


class ImageFiles(Source):
    """The image files of a folder or zip, in the order of their names.

    labels: `auto` = from its dataset.json (StyleGAN2's form) if there is one, `folders` = the first level of folders
    that tells images apart as classes in alphabetical order, `none`.
    """

    def __init__(self, files: Files, labels: str) -> None:
        self.files = files
        self.names = image_names(files)
        self.length = len(self.names)
        self.refused = files.refused

        # The message says what is there instead, e.g. videos.
        if not self.names:
            others = other_suffixes(files)
            actual = f" but {others}" if others else ""
            raise UserError(f"{files.path}: no image in it{actual}, expected files such as .png or .jpg")

        # Labels come from folders, from dataset.json, or there are none.
        table: LabelTable | None = None
        if labels == "folders":
            numbers, self.class_names = _classes(self.names, files.path)
            table = OneHot(numbers, len(self.class_names))
        elif labels == "auto" and "dataset.json" in files.names:
            table = labels_from_json(files.read("dataset.json"), self.names, f"{files.path}: dataset.json")
        self.labels = no_labels(self.length) if table is None else table
        self.classes = int(self.labels.shape[1])

    def entries(self, indices: np.ndarray) -> Iterator[Entry]:
        for i in map(int, indices):
            name = self.names[i]
            yield Entry(f"{self.files.path}: {name}", self._data(name), label_of(self.labels, i))

    def _data(self, name: str) -> Path | bytes | Refused:
        """Return a file or its content, or why it cannot be read."""
        # Worker processes read the files of a folder themselves.
        if isinstance(self.files, FolderFiles):
            return self.files.path / name

        # A damaged member of a zip is skipped like a damaged file; the reason need not name it again.
        try:
            return self.files.read(name)
        except UserError as e:
            return Refused(str(e).removeprefix(f"{self.files.path}: {name}: "))


def open_files(path: Path) -> Files:
    """Open a folder or a zip archive; raise UserError if `path` is neither."""
    if path.is_dir():
        return FolderFiles(path)

    # Whatever else exists has to be a zip archive; opening it tells.
    require(path.exists(), f"{path}: no such file or folder, expected a folder or zip of images")
    return ZipFiles(path)


def _classes(names: list[str], path: Path) -> tuple[np.ndarray, list[str]]:
    """Return class numbers [N] and the names of classes, by folder."""
    # A folder around everything is no class.
    level = 0
    while all(n.count("/") > level + 1 for n in names) and len({n.split("/")[level] for n in names}) == 1:
        level += 1

    outside = next((n for n in names if n.count("/") <= level), None)
    require(
        outside is None,
        f"{path}: {outside}: not in a sub-folder, expected one folder per class with `--labels folders`",
    )

    # Numbers follow the alphabetical order of names.
    classes, numbers = np.unique([n.split("/")[level] for n in names], return_inverse=True)
    return numbers, classes.tolist()


def create_from_images(
    dataset_dir: Place,
    image_dir: Place,
    *,
    shuffle: Literal[0, 1] = 1,
    labels: Literal["auto", "folders", "none"] = "auto",
    picture: Pictures = PLAIN,
    output: Options = DEFAULT,
) -> None:
    """Make a dataset from a folder (with its sub-folders) or zip of images, of any format that Pillow reads.

    Everything becomes 8 bit sRGB, upright. Without --resize all images must be squares of one power-of-two size.

    Args:
        dataset_dir: New folder for the dataset.
        image_dir: Folder or zip of images.
        shuffle: 1 = store in the order of RandomState(123), as the original; 0 = in the order of names.
        labels: auto = from dataset.json among the images if there is one; folders = each sub-folder is a class; none.
    """
    source = ImageFiles(open_files(image_dir), labels)
    facts = {
        "command": "create_from_images",
        "source": str(image_dir),
        **picture.facts(),
        "shuffle": shuffle,
        "labels": labels,
    }
    build(dataset_dir, source, picture, output, facts, order=shuffled(len(source)) if shuffle else None)
