"""Image files in a folder or zip archive."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from dataprep.build import DEFAULT, Options, build, shuffled
from dataprep.rules import PLAIN, Like, Pictures, Refused
from dataprep.sources.source import Entry, Source, require
from dnnlib.cli import Place
from dnnlib.errors import UserError
from training.data.archives import Files, FolderFiles, ZipFiles, by_suffix, image_names, label_file, other_files
from training.data.labels import LabelTable, OneHot, label_of, labels_from_json, names_from_json, no_labels

# Suffixes of images that Pillow does not know by itself: arrays, as in CelebA-HQ, and the photos of phones.
MORE = (".npy", ".heic", ".heif", ".hif")


# Files that other commands are for, by the ends of their names.
COMMANDS_OF = {
    (".tar", ".tar.gz", ".tgz"): "create_from_webdataset",
    (".parquet", ".arrow"): "create_from_hf",
    (".h5", ".hdf5"): "create_from_hdf5",
    (".mdb",): "create_lsun",
    (".mat",): "create_svhn",
    (".tfrecords",): "convert, with the folder of the file,",
}
LABEL_TABLES = (".csv", ".tsv", "metadata.jsonl", "labels.json", "annotations.json")


class ImageFiles(Source):
    """The image files of a folder or zip, in the order of their names.

    labels: `auto` = from its dataset.json (StyleGAN2's form) if there is one, `folders` = the first level of folders
    that tells images apart as classes in alphabetical order, `none`.
    """

    def __init__(self, files: Files, labels: str, like: Like | None = None) -> None:
        self.files = files
        self.names = image_names(files, MORE)
        self.length = len(self.names)
        self.refused = files.refused
        self.ignored = other_files(files, MORE)

        # The original sorted each folder by itself: a/b.png comes before a.png.
        if like == "original":
            self.names.sort(key=lambda name: name.split("/"))

        # The message says what is there instead, e.g. videos.
        if not self.names:
            actual = f" but {by_suffix(self.ignored)}" if self.ignored else ""
            actual += f"; {self.refused[0]}" if self.refused else ""
            raise UserError(f"{files.path}: no image in it{actual}, expected files such as .png or .jpg")

        # Labels come from folders, from dataset.json, or there are none.
        table: LabelTable | None = None
        if labels == "folders":
            numbers, self.class_names = _classes(self.names, files.path)
            table = OneHot(numbers, len(self.class_names))
        elif labels == "auto" and (found := label_file(files, self.names)) is not None:
            name, folder = found
            relative = [image.removeprefix(folder) for image in self.names]
            table = labels_from_json(files.read(name), relative, f"{files.path}: {name}")
            names = names_from_json(files.read(name))
            if table is not None and names is not None and len(names) >= table.shape[1]:
                self.class_names = names
        elif labels == "auto":
            self.hints = _hints(files, self.names)
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


def _hints(files: Files, names: list[str]) -> list[str]:
    """Return what the user should know about labels that were not read."""
    hints = []
    with contextlib.suppress(UserError):  # images beside the folders are of no class
        _, classes = _classes(names, files.path)
        if len(classes) > 1:
            hints.append(
                f"no labels: the images are in {len(classes)} folders, which --labels folders makes classes of"
            )
    tables = [name for name in files.names if name.endswith(LABEL_TABLES)]
    if tables:
        form = '{"labels": [["a.png", 0], ...]}'
        hints.append(f"no labels: {tables[0]} is not read, write them as dataset.json beside the images: {form}")
    return hints


def open_files(path: Path) -> Files:
    """Open a folder or a zip archive; raise UserError if `path` is neither."""
    if path.is_dir():
        return FolderFiles(path)

    # What another command is for, and what has to be downloaded first.
    require(
        not path.as_posix().startswith(("http:/", "https:/")),
        f"{path}: a URL, expected a folder or zip on this computer",
    )
    for suffixes, command in COMMANDS_OF.items():
        is_other = path.is_file() and path.name.lower().endswith(suffixes)
        require(not is_other, f"{path}: not a folder or zip of images, expected the command {command} for this file")

    is_image = path.is_file() and path.suffix.lower() in Image.registered_extensions()
    require(not is_image, f"{path}: a single file, expected a folder or zip of images")

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
    shuffle: Literal[0, 1] | None = None,
    labels: Literal["auto", "folders", "none"] = "auto",
    picture: Pictures = PLAIN,
    output: Options = DEFAULT,
) -> None:
    """Make a dataset from a folder (with its sub-folders) or zip of images, of any format that Pillow reads.

    Everything becomes 8 bit sRGB, upright. Without --resize or --resolution all images must have one size that networks
    can be built for. HEIC needs the package pillow-heif.

    Args:
        dataset_dir: New folder for the dataset.
        image_dir: Folder or zip of images.
        shuffle: 1 = store in the order of RandomState(123), as the original; 0 = in the order of names. Default: 1, or
            as --like.
        labels: auto = from dataset.json among the images if there is one; folders = each sub-folder is a class; none.
    """
    is_shuffled = picture.look.shuffle if shuffle is None else bool(shuffle)
    source = ImageFiles(open_files(image_dir), labels, picture.like)
    facts = {
        "command": "create_from_images",
        "source": str(image_dir),
        **picture.facts(),
        "shuffle": int(is_shuffled),
        "labels": labels,
    }
    build(dataset_dir, source, picture, output, facts, order=shuffled(len(source)) if is_shuffled else None)
