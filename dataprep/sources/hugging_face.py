"""Hugging Face image datasets on this machine: parquet files, or what `Dataset.save_to_disk` writes; read by pyarrow
(an extra)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from dataprep.build import DEFAULT, Options, build
from dataprep.rules import PLAIN, Pictures, Refused
from dataprep.sources.source import Entry, digest, stamp
from dnnlib.errors import UserError
from training.data.labels import Label

Place = tyro.conf.Positional[Path]
ROWS = 32  # read at a time


class HuggingFace:
    """The rows of a dataset with an image column (structs of `bytes` and `path`, or bytes), in the order of its files.

    path: a .parquet or .arrow file, or a folder with them at any depth. split: only files whose name, or the folder
    that they are in, begins with it, e.g. `train`. image, label: names of columns; `auto` finds them; label `none`.
    """

    def __init__(self, path: Path, split: str | None = None, image: str = "auto", label: str = "auto") -> None:
        try:
            import pyarrow  # noqa: F401
        except ImportError as e:
            raise UserError("create_from_hf: needs pyarrow: pip install pyarrow") from e
        self.refused: list[str] = []
        self.files = _files(path, split)
        schema = _schema(self.files[0])
        self.image = _image_column(schema, image, self.files[0])
        self.label, self.class_names = _label_column(schema, label, self.files[0])
        self.classes = len(self.class_names or ())
        self._counts = []
        for file in self.files:
            other = _schema(file)
            for column in filter(None, (self.image, self.label)):
                if column not in other.names or other.field(column).type != schema.field(column).type:
                    raise UserError(f"{file}: no column {column} as in {self.files[0]}")
            self._counts.append(_rows(file))
        if not sum(self._counts):
            raise UserError(f"{path}: no rows")

    def __len__(self) -> int:
        return sum(self._counts)

    def fingerprint(self) -> str:
        return digest([*map(stamp, self.files), self.image, self.label])

    def entries(self, indices: np.ndarray) -> Iterator[Entry]:
        start = 0
        for file, count in zip(self.files, self._counts, strict=True):
            wanted = set((indices[(indices >= start) & (indices < start + count)] - start).tolist())
            columns = [c for c in (self.image, self.label) if c]
            row = 0
            for batch in _batches(file, columns) if wanted else ():
                images = batch.column(0)
                labels = batch.column(1) if self.label else None
                for i in range(batch.num_rows):
                    if row + i in wanted:
                        name = f"{file}: row {row + i}"
                        label = _as_label(labels[i].as_py(), name) if labels is not None else None
                        yield Entry(name, self._data(images[i].as_py(), file), label)
                row += batch.num_rows
            start += count

    def _data(self, cell: Any, file: Path) -> bytes | Path | Refused:
        if isinstance(cell, dict):
            if cell.get("bytes") is not None:
                return bytes(cell["bytes"])
            if cell.get("path"):
                path = Path(cell["path"])
                beside = file.parent / path
                if path.is_absolute() or ".." in path.parts or not beside.is_file():
                    return Refused(f"its image is not in the file but at {path}, expected there or beside the file")
                return beside
        return bytes(cell) if isinstance(cell, bytes) else Refused("no image")


def _files(path: Path, split: str | None) -> list[Path]:
    if not path.exists():
        raise UserError(f"{path}: no such file or folder, expected parquet files or a folder saved by `datasets`")
    if path.is_file():
        if split is not None:
            raise UserError(f"--split {split}: {path} is a file, expected a folder with --split")
        return [path]
    found = sorted(p for suffix in ("parquet", "arrow") for p in path.rglob(f"*.{suffix}") if p.is_file())
    found = [p for p in found if not p.name.startswith((".", "cache-"))]
    if not found:
        raise UserError(f"{path}: no *.parquet or *.arrow in it")
    splits = sorted({_split(p, path) for p in found})
    if split is not None:
        found = [p for p in found if _split(p, path) == split]
        if not found:
            raise UserError(f"--split {split}: not in {path}, expected one of {', '.join(splits)}")
    elif len(splits) > 1:
        raise UserError(f"{path}: has the splits {', '.join(splits)}, expected one to be chosen with --split")
    return found


def _split(file: Path, root: Path) -> str:
    """`train` of train-00000-of-00002.parquet, or of train/0000.parquet and train/data-00000-of-00001.arrow."""
    front = file.stem.split("-")[0]
    inside = file.relative_to(root).parent
    return inside.name if (front == "data" or front.isdigit()) and inside.name else front


def _guard(file: Path, read: Any) -> Any:
    """What `read` returns; errors of pyarrow as UserError."""
    import pyarrow

    try:
        return read()
    except (pyarrow.ArrowException, OSError, ValueError, MemoryError) as e:
        raise UserError(f"{file}: not readable: {e!s:.200}") from e


def _stream(file: Path) -> Any:
    """A .arrow file, in the stream format that `datasets` writes, or in the file format."""
    import pyarrow

    source = pyarrow.memory_map(str(file))
    magic = source.read(6)
    source.seek(0)
    return pyarrow.ipc.open_file(source) if magic == b"ARROW1" else pyarrow.ipc.open_stream(source)


def _schema(file: Path) -> Any:
    import pyarrow.parquet

    if file.suffix == ".arrow":
        return _guard(file, lambda: _stream(file).schema)
    return _guard(file, lambda: pyarrow.parquet.read_schema(file))


def _rows(file: Path) -> int:
    import pyarrow.parquet

    if file.suffix == ".arrow":
        return sum(batch.num_rows for batch in _batches(file, []))
    return int(_guard(file, lambda: pyarrow.parquet.read_metadata(file)).num_rows)


def _batches(file: Path, columns: list[str]) -> Iterator[Any]:
    """Record batches with these columns, in this order."""
    import pyarrow.parquet

    def each() -> Iterator[Any]:
        if file.suffix == ".arrow":
            reader = _stream(file)
            total = getattr(reader, "num_record_batches", None)
            batches = reader if total is None else map(reader.get_batch, range(total))
            for batch in batches:
                yield batch.select(columns)
        else:
            with pyarrow.parquet.ParquetFile(file, memory_map=True) as f:
                for batch in f.iter_batches(ROWS, columns=columns):
                    yield batch.select(columns)

    batches = each()
    while (batch := _guard(file, lambda: next(batches, None))) is not None:
        yield batch


def _features(schema: Any) -> dict[str, Any]:
    """The types that `datasets` recorded, by column; empty if it did not."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return features if isinstance(features, dict) else {}
    except (KeyError, ValueError, TypeError):
        return {}


def _image_column(schema: Any, wanted: str, file: Path) -> str:
    import pyarrow.types as t

    def holds_images(field: Any) -> bool:
        if t.is_struct(field.type):
            return "bytes" in [field.type.field(i).name for i in range(field.type.num_fields)]
        return bool(t.is_binary(field.type) or t.is_large_binary(field.type))

    possible = [f.name for f in schema if holds_images(f)]
    name = (possible or [None])[0] if wanted == "auto" else wanted
    if name not in possible:
        raise UserError(f"{file}: no column of images{'' if wanted == 'auto' else f' {wanted}'}, found {schema.names}")
    return str(name)


def _label_column(schema: Any, wanted: str, file: Path) -> tuple[str | None, list[str] | None]:
    """Name of the label column, and names of its classes."""
    import pyarrow.types as t

    features = _features(schema)
    name: str | None = None if wanted in ("auto", "none") else wanted
    if wanted == "auto":
        classes = [c for c, f in features.items() if isinstance(f, dict) and f.get("_type") == "ClassLabel"]
        name = (classes or ["label"])[0]
        if name not in schema.names:
            return None, None
    if name is None:
        return None, None
    if name not in schema.names:
        raise UserError(f"--label {name}: no such column in {file}, found {schema.names}")
    kind = schema.field(name).type
    inner = kind.value_type if t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind) else kind
    if not (t.is_integer(inner) or t.is_floating(inner) or t.is_boolean(inner)):
        raise UserError(f"{file}: column {name} is {kind}, expected class numbers or lists of numbers; or --label none")
    names = features.get(name, {}).get("names") if isinstance(features.get(name), dict) else None
    return name, [str(n) for n in names] if isinstance(names, list) else None


def _as_label(value: Any, name: str) -> Label:
    if isinstance(value, list) and all(isinstance(x, (int, float)) for x in value):
        return tuple(map(float, value))
    if isinstance(value, int) and value >= 0:
        return int(value)
    if isinstance(value, float):
        return (value,)
    raise UserError(f"{name}: label {value!r:.40}, expected a class number or numbers; or --label none")


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
    """Make a dataset from a Hugging Face image dataset on this machine, in its order; needs pyarrow.

    Args:
        dataset_dir: New folder for the dataset.
        hf_dir: Folder of .parquet files (as on the hub) or of `save_to_disk`, or one such file.
        split: e.g. train; needed if there are several.
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
