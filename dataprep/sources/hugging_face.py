"""Hugging Face image datasets on this machine: parquet files, or what `Dataset.save_to_disk` writes.

The library `datasets` (an extra) reads these files as streams. Nothing is downloaded, nothing is copied to its cache,
and no code that comes with a dataset runs: only .parquet and .arrow files are opened.
"""

import glob
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from dataprep.build import DEFAULT, Options, build
from dataprep.rules import PLAIN, Pictures, Refused
from dataprep.sources.source import Entry, Source, as_label, import_extra
from dnnlib.errors import UserError
from training.data.archives import outside
from training.data.labels import Label

Place = tyro.conf.Positional[Path]
ROWS = 32  # read at a time
IMAGES = ("PIL.Image.Image", "binary", "large_binary")  # types of columns that have encoded images
NUMBERS = ("int", "uint", "float", "bool")  # how the types of columns that have labels begin


class HuggingFace(Source):
    """The rows of a dataset with an image column (structs of `bytes` and `path`, or bytes), in the order of its files.

    path: a .parquet or .arrow file, or a folder with them at any depth. split: only files whose name, or the folder
    that they are in, begins with it, e.g. `train`. image, label: names of columns; `auto` finds them; label `none`.
    """

    def __init__(self, path: Path, split: str | None = None, image: str = "auto", label: str = "auto") -> None:
        datasets = import_extra("datasets", "create_from_hf")
        files = _files(path, split)
        parts = [(file, *_open(file)) for file in files]
        self._length = sum(rows for _, _, rows in parts)
        if not self._length:
            raise UserError(f"{path}: no rows")

        # The first file decides about the columns; the others have to have them as well.
        features = parts[0][1].features
        self.image = _image_column(features, image, files[0])
        self.label = _label_column(features, label, files[0], datasets.ClassLabel)
        self.class_names = getattr(features.get(self.label), "names", None)
        self.classes = len(self.class_names or ())
        columns = [name for name in (self.image, self.label) if name]
        for file, part, _ in parts:
            for name in columns:
                if part.features.get(name) != features[name]:
                    raise UserError(f"{file}: no column {name} as in {files[0]}")

        # Images stay encoded: worker processes decode them.
        encoded = datasets.Image(decode=False)
        self._parts = [(f, part.select_columns(columns).cast_column(self.image, encoded), n) for f, part, n in parts]

    def __len__(self) -> int:
        return self._length

    def entries(self, indices: np.ndarray) -> Iterator[Entry]:
        wanted = set(indices.tolist())
        start = 0
        for file, part, rows in self._parts:
            with _readable(file):
                for i, row in enumerate(part):
                    if start + i in wanted:
                        name = f"{file}: row {i}"
                        yield Entry(name, _data(row[self.image], file), _label(row.get(self.label), name, self.label))
            start += rows


def _files(path: Path, split: str | None) -> list[Path]:
    """Return the files of a split, or the only file; raise UserError if there is none."""
    if path.is_file():
        if split is not None:
            raise UserError(f"--split {split}: {path} is a file, expected a folder with --split")
        return [path]

    # `datasets` leaves caches beside the files that it writes.
    tables = sorted(p for p in path.rglob("*") if p.suffix in (".parquet", ".arrow") and p.is_file())
    by_file = {p: _split(p, path) for p in tables if not p.name.startswith((".", "cache-"))}
    if not by_file:
        raise UserError(f"{path}: no such file, or no *.parquet or *.arrow in it")

    splits = ", ".join(sorted(set(by_file.values())))
    files = [p for p in by_file if split in (None, by_file[p])]
    if not files:
        raise UserError(f"--split {split}: not in {path}, expected one of {splits}")
    if len({by_file[p] for p in files}) > 1:
        raise UserError(f"{path}: has the splits {splits}, expected one to be chosen with --split")
    return files


def _split(file: Path, root: Path) -> str:
    """Return `train` for train-00000-of-00002.parquet, train/0000.parquet and train/data-00000-of-00001.arrow."""
    front = file.stem.split("-")[0]
    inside = file.relative_to(root).parent
    return inside.name if (front == "data" or front.isdigit()) and inside.name else front


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Raise whatever the libraries raise for a damaged file as UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as e:
        raise UserError(f"{file}: not readable: {e!s:.200}") from e


def _open(file: Path) -> tuple[Any, int]:
    """Return a file as a `datasets.IterableDataset`, and its number of rows."""
    datasets = import_extra("datasets", "create_from_hf")
    logging.getLogger("datasets").setLevel(logging.CRITICAL)  # errors are reported below, once
    with _readable(file), tempfile.TemporaryDirectory() as cache:
        if file.suffix == ".arrow":
            rows = datasets.Dataset.from_file(str(file)).num_rows
            return datasets.IterableDataset.from_file(str(file)), rows

        # The cache stays empty, but `datasets` wants a place for it.
        pattern = glob.escape(str(file))
        rows = import_extra("pyarrow.parquet", "create_from_hf").read_metadata(file).num_rows
        return datasets.IterableDataset.from_parquet(pattern, cache_dir=cache, batch_size=ROWS), rows


def _image_column(features: dict[str, Any], wanted: str, file: Path) -> str:
    """Return the name of the first column that has images, or of the one that is wanted."""
    possible = []
    for name, feature in features.items():
        if "bytes" in feature if isinstance(feature, dict) else getattr(feature, "dtype", None) in IMAGES:
            possible.append(name)
    if not possible or wanted not in ("auto", *possible):
        named = "" if wanted == "auto" else f" {wanted}"
        raise UserError(f"{file}: no column of images{named}, found {list(features)}")
    return possible[0] if wanted == "auto" else wanted


def _label_column(features: dict[str, Any], wanted: str, file: Path, class_label: type) -> str | None:
    """Return the name of the label column; None if there is none, or none is wanted."""
    if wanted == "auto":
        named = [name for name, feature in features.items() if isinstance(feature, class_label)]
        wanted = next(iter(named), "label" if "label" in features else "none")
    if wanted == "none":
        return None
    if wanted not in features:
        raise UserError(f"--label {wanted}: no such column in {file}, found {list(features)}")

    # Numbers, or lists of numbers.
    feature = features[wanted]
    kind = getattr(feature, "dtype", None) or feature
    if not str(getattr(getattr(feature, "feature", feature), "dtype", "")).startswith(NUMBERS):
        raise UserError(f"{file}: column {wanted} is {kind}, expected class numbers or lists of numbers; or --label none")
    return wanted


def _data(cell: dict[str, Any] | None, file: Path) -> bytes | Path | Refused:
    """Return an encoded image, or the file beside the table that has it."""
    if cell and cell["bytes"] is not None:
        return bytes(cell["bytes"])
    if not cell or not cell["path"]:
        return Refused("no image")
    path = file.parent / cell["path"]
    if outside(cell["path"]) or not path.is_file():
        return Refused(f"its image is not in the file but at {cell['path']}, expected there or beside the file")
    return path


def _label(value: Any, name: str, column: str | None) -> Label:
    if column is None:
        return None
    try:
        return as_label(value)
    except ValueError as e:
        raise UserError(f"{name}: {e}; or --label none") from e


def create_from_hf(
    dataset_dir: Place,
    hf_dir: Place,
    *,
    split: str | None = None,
    image: str = "auto",
    label: str = "auto",
    picture: Pictures = PLAIN,
    output: Options = DEFAULT,
) -> None:
    """Make a dataset from a Hugging Face image dataset on this machine, in its order; it needs the package datasets.

    Args:
        dataset_dir: New folder for the dataset.
        hf_dir: Folder of .parquet files (as on the hub) or of `save_to_disk`, or one such file.
        split: Which part to take, e.g. train; needed if there are several.
        image: Column of images; auto = the first one.
        label: Column of labels: class numbers or lists of numbers; auto = the class label, or `label`; none.
    """
    source = HuggingFace(hf_dir, split, image, label)
    facts = {"command": "create_from_hf", "source": str(hf_dir), **picture.facts()}
    facts = {**facts, "split": split, "image": source.image, "label": source.label}
    build(dataset_dir, source, picture, output, facts)
