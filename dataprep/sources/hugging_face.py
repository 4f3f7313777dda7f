"""Hugging Face image datasets on this machine: parquet files, or what `Dataset.save_to_disk` writes.

The library `datasets` (an extra) reads these files as streams. Nothing is downloaded, nothing is copied to its cache,
and no code that comes with a dataset runs: only .parquet and .arrow files are opened. A row group of a parquet file is
read as a whole, so that memory grows with the largest of them, to about three times its size.
"""

import glob
import logging
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dataprep.build import DEFAULT, Options, build
from dataprep.rules import PLAIN, Pictures, Refused
from dataprep.sources.source import Entry, Stream, as_label, reading, require
from dnnlib.cli import Place
from dnnlib.extras import import_extra
from training.data.archives import outside

ROWS = 32  # read at a time

# Types of columns, as Arrow writes them, that have encoded images or labels.
IMAGES = re.compile(r"(large_)?binary|struct<(.*, )?bytes: (large_)?binary")
NUMBERS = re.compile(r"(\w*list<\w+: )?(u?int|\w*float|double|bool)")


class HuggingFace(Stream):
    """The rows of a dataset with an image column (structs of `bytes` and `path`, or bytes), in the order of its files.

    path: a .parquet or .arrow file, or a folder that has such files at any depth.
    split: the files to take, named by the first part of their names or by their folder, e.g. `train`.
    image, label: names of columns; `auto` finds them, and label `none` takes no labels.
    """

    def __init__(self, path: Path, split: str | None = None, image: str = "auto", label: str = "auto") -> None:
        datasets = import_extra("datasets", "create_from_hf")
        logging.getLogger("datasets").setLevel(logging.CRITICAL)  # errors are reported here, once

        # Every file is opened now, which reads no rows, so that a damaged one is noticed before the work begins.
        self._parts = [(file, *_open(file)) for file in _files(path, split)]
        self.length = sum(rows for _, _, rows in self._parts)
        require(self.length > 0, f"{path}: no rows")

        # The first file decides about the columns.
        file, part, _ = self._parts[0]
        features = part.features
        types = {field.name: str(field.type) for field in features.arrow_schema}
        self.image = _image_column(types, image, file)

        # Only columns that were stored as class labels have names for their numbers.
        classes = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
        self.label = _label_column(types, label, classes, file)
        self.class_names = features[self.label].names if self.label in classes else None
        self.classes = len(self.class_names or ())

    def stream(self) -> Iterator[Entry]:
        datasets = import_extra("datasets", "create_from_hf")
        columns = [self.image, self.label] if self.label else [self.image]
        for file, part, _ in self._parts:
            with reading(file, "not readable"):
                # Images of all kinds of columns come as structs, still encoded: worker processes decode them.
                rows = part.select_columns(columns).cast_column(self.image, datasets.Image(decode=False))
                for i, row in enumerate(rows):
                    name = f"{file}: row {i}"
                    label = as_label(row[self.label], name) if self.label else None
                    yield Entry(name, _data(row[self.image], file), label)


def _files(path: Path, split: str | None) -> list[Path]:
    """Return the files of a split, or the only file; raise UserError if there is none."""
    if path.is_file():
        require(split is None, f"--split {split}: {path} is a file, expected a folder with --split")
        return [path]

    # Files in the order of their paths. `datasets` leaves caches beside the files that it writes.
    tables = sorted(p for p in path.rglob("*") if p.suffix in (".parquet", ".arrow") and p.is_file())
    by_file = {p: _split(p, path) for p in tables if not p.name.startswith((".", "cache-"))}
    require(by_file, f"{path}: no such file, or no *.parquet or *.arrow in it")

    # The images of several splits are never mixed.
    splits = sorted(set(by_file.values()))
    several = f"{path}: has the splits {', '.join(splits)}, expected one to be chosen with --split"
    require(split is not None or len(splits) == 1, several)
    require(split in (None, *splits), f"--split {split}: not in {path}, expected one of {', '.join(splits)}")
    return [p for p in by_file if split in (None, by_file[p])]


def _split(file: Path, root: Path) -> str:
    """Return `train` for train-00000-of-00002.parquet, train/0000.parquet and train/data-00000-of-00001.arrow."""
    front = file.stem.split("-")[0]
    inside = file.relative_to(root).parent
    return inside.name if (front == "data" or front.isdigit()) and inside.name else front


def _open(file: Path) -> tuple[Any, int]:
    """Return a file as a `datasets.IterableDataset`, and its number of rows."""
    datasets = import_extra("datasets", "create_from_hf")

    # `datasets` is built on pyarrow.
    import pyarrow.dataset
    import pyarrow.parquet

    with reading(file, "not readable"), tempfile.TemporaryDirectory() as cache:
        if file.suffix == ".arrow":
            return datasets.IterableDataset.from_file(str(file)), datasets.Dataset.from_file(str(file)).num_rows

        # The cache stays empty, but `datasets` wants a place for it. To it, names of files are patterns.
        options = pyarrow.dataset.ParquetFragmentScanOptions(use_buffered_stream=True, pre_buffer=False)
        part = datasets.Dataset.from_parquet(
            glob.escape(str(file)),
            streaming=True,
            cache_dir=cache,
            batch_size=ROWS,
            fragment_scan_options=options,
        )
        return part, pyarrow.parquet.ParquetFile(file).metadata.num_rows


def _image_column(types: dict[str, str], wanted: str, file: Path) -> str:
    """Return the name of the first column that has images, or of the one that is wanted."""
    columns = [name for name, kind in types.items() if IMAGES.match(kind) and wanted in ("auto", name)]
    named = "" if wanted == "auto" else f" {wanted}"
    require(columns, f"{file}: no column of images{named}, found {list(types)}")
    return columns[0]


def _label_column(types: dict[str, str], wanted: str, classes: list[str], file: Path) -> str | None:
    """Return the name of the label column; None if there is none, or none is wanted."""
    if wanted == "auto":
        wanted = next(iter(classes), "label" if "label" in types else "none")

    if wanted == "none":
        return None
    require(wanted in types, f"--label {wanted}: no such column in {file}, found {list(types)}")
    expected = "expected class numbers or lists of numbers; or --label none"
    require(NUMBERS.match(types[wanted]), f"{file}: column {wanted} is {types[wanted]}, {expected}")
    return wanted


def _data(cell: dict[str, Any] | None, file: Path) -> bytes | Path | Refused:
    """Return an encoded image, or the file beside the table that has it."""
    # A row without an image has no struct, or an empty one.
    cell = cell or {}
    path = cell.get("path")
    if cell.get("bytes") is not None or not path:
        return cell.get("bytes") or Refused("no image")

    # A dataset must not reach other files of this machine.
    if outside(path) or not (file.parent / path).is_file():
        return Refused(f"its image is not in the file but at {path}, expected there or beside the file")
    return file.parent / path


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
    facts = {
        "command": "create_from_hf",
        "source": str(hf_dir),
        **picture.facts(),
        "split": split,
        "image": source.image,
        "label": source.label,
    }
    build(dataset_dir, source, picture, output, facts)
